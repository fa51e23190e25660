//! What can be known before the first check: the right to send ICMP (every run), and the whole check-up of `--check`.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, Output};
use crate::probe::icmp::{self, Access};
use crate::probe::send_failure;
use crate::probe::tcp::TcpProbe;
use crate::resolver::look_up;
use crate::sink::alertmanager::{self, Cluster};
use crate::sink::exec;
use crate::sink::http::{self, Http};
use crate::sink::log::LogFile;
use crate::sink::slack::{self, Slack};
use crate::state::StateFile;
use crate::target::{Check, Family, Host, Target, shown, shown_path};
use crate::view::files;
use crate::wire::Version;

/// May this process send what the ICMP targets need? Errors: one line with both cures; the caller exits with 2. Anything
/// but a missing right (no IPv6 in the kernel, no descriptor) may pass, and shows as unsent checks. Ok: what is to be said
/// of many targets on raw sockets.
pub fn may_send(targets: &[Arc<Target>]) -> Result<Option<String>, String> {
    let mut raw = false;
    let icmp = || targets.iter().filter(|target| target.is_icmp());
    for (version, wanted) in [
        (Version::V4, icmp().any(|target| may_use(target, Family::V4))),
        (Version::V6, icmp().any(|target| may_use(target, Family::V6))),
    ] {
        if !wanted {
            continue;
        }
        match icmp::access(version) {
            Err((dgram, raw)) if raw.kind() == io::ErrorKind::PermissionDenied => return Err(no_right(&dgram, &raw)),
            Ok(Access::Raw) => raw = true,
            _ => {}
        }
    }
    let count = icmp().count();
    Ok((raw && count > icmp::CROWD).then(|| {
        format!(
            "{count} ICMP targets on raw sockets: the kernel shows each packet to all that are open, so each is opened for a \
             check at a time, and repeated answers go unseen; ping sockets spare all that: sysctl \
             -w net.ipv4.ping_group_range=\"0 2147483647\""
        )
    }))
}

fn no_right(dgram: &io::Error, raw: &io::Error) -> String {
    format!(
        "no right to send ICMP (dgram socket: {dgram}; raw socket: {raw}); cure: \
         sysctl -w net.ipv4.ping_group_range=\"0 2147483647\", or give the program CAP_NET_RAW: \
         setcap cap_net_raw+ep /path/to/reachabilitycheck"
    )
}

/// Could the target be checked in this family?
fn may_use(target: &Target, wanted: Family) -> bool {
    match &target.host {
        Host::Address(address) => Family::of(*address) == wanted,
        Host::Name(_) => target.options.family.is_none_or(|only| only == wanted),
    }
}

/// `--check`: tries everything but the checks themselves, says line by line what it found, and posts one test message. The
/// command is not run, and no sign of life is given. True when all is well.
pub fn run(config: Config, slack: Option<Slack>, heartbeat: Option<Http>, cluster: Option<Cluster>) -> bool {
    let mut report = Report { well: true, quiet: config.output == Output::Quiet };
    let (icmp, tcp): (Vec<_>, Vec<_>) = config.targets.iter().partition(|target| target.is_icmp());
    report.ok("options and targets", format!("{} by ICMP, {} by TCP", icmp.len(), tcp.len()));
    for (version, family, name) in
        [(Version::V4, Family::V4, "ICMP for IPv4"), (Version::V6, Family::V6, "ICMP for IPv6")]
    {
        if !icmp.iter().any(|target| may_use(target, family)) {
            continue;
        }
        match icmp::access(version) {
            Ok(Access::Dgram) => report.ok(name, "dgram sockets"),
            Ok(Access::Raw) => report.ok(name, "raw sockets"),
            Err((dgram, raw)) if raw.kind() == io::ErrorKind::PermissionDenied => {
                report.fail(name, no_right(&dgram, &raw));
            }
            Err((_, raw)) => report.fail(name, raw),
        }
    }
    for target in &config.targets {
        let address = match &target.host {
            Host::Address(address) => Some(*address),
            Host::Name(name) => match look_up(name, target.options.family) {
                Some(addresses) => {
                    let words: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                    report.ok(&target.name, format!("resolves to {}", words.join(", ")));
                    addresses.first().copied()
                }
                None => {
                    report.fail(&target.name, "cannot be resolved; is the name right, does DNS work?");
                    None
                }
            },
        };
        if let (Some(address), Some(interface)) = (address, &target.options.interface) {
            let tried = match target.check {
                Check::Icmp => icmp::try_open(&target.options, address),
                Check::Tcp { port } => TcpProbe::new(port, &target.options).open(address).map(drop),
            };
            match tried.map_err(|error| send_failure(&error).failure()) {
                Ok(()) => report.ok(&target.name, format!("can be sent to from {interface}")),
                Err(failure) => {
                    let why = failure.map_or_else(String::new, |failure| failure.to_string());
                    report.fail(&target.name, format!("from {interface}: {why}"));
                }
            }
        }
    }
    match config.log.as_deref() {
        None => report.ok("log", "off"),
        Some(path) => match LogFile::open(path) {
            Ok(_) => report.ok("log", format!("{} can be written", shown_path(path))),
            Err(error) => report.fail("log", format!("{} cannot be written: {error}", shown_path(path))),
        },
    }
    match config.state.as_deref() {
        None => report.ok("state", "off"),
        Some(path) => match StateFile::open(path) {
            Ok(_) => report.ok("state", format!("{} can be written", shown_path(path))),
            Err(why) => report.fail("state", why),
        },
    }
    match slack {
        None => report.ok("Slack", "off: no --slack-url, --slack-url-file or SLACK_WEBHOOK_URL"),
        Some(mut slack) => {
            let test = slack::line(SystemTime::now(), "Test message of reachabilitycheck --check");
            match slack.post(&test, http::LIMIT) {
                Ok(()) => report.ok("Slack", "took the test message"),
                Err(refused) => report.fail("Slack", refused.why),
            }
        }
    }
    for (what, path) in [("metrics", &config.metrics), ("page", &config.page)] {
        if let Some(path) = path {
            match files::try_place(path) {
                Ok(()) => report.ok(what, format!("{} can be written", shown_path(path))),
                Err(error) => report.fail(what, format!("{} cannot be written: {error}", shown_path(path))),
            }
        }
    }
    if let Some(command) = &config.exec {
        match exec::try_command(command) {
            Ok(()) => report.ok("exec", "sh takes the command; it was not run"),
            Err(why) => report.fail("exec", why),
        }
    }
    if let Some(place) = heartbeat {
        match place.try_connect(http::LIMIT) {
            Ok(()) => report.ok("heartbeat", "can be connected to; no sign of life was given"),
            Err(why) => report.fail("heartbeat", why),
        }
    }
    if let Some(Cluster { members, monitor }) = cluster {
        for mut member in members {
            let what = format!("Alertmanager {}", member.host());
            match alertmanager::try_post(&mut member) {
                Ok(()) => report.ok(&what, format!("takes alerts; this monitor is {}", shown(&monitor))),
                Err(why) => report.fail(&what, why),
            }
        }
    }
    report.well
}

struct Report {
    well: bool,
    quiet: bool,
}

impl Report {
    fn ok(&mut self, what: &str, found: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stdout(), "ok    {what}: {found}");
        }
    }

    fn fail(&mut self, what: &str, why: impl Display) {
        self.well = false;
        let _ = match self.quiet {
            false => writeln!(io::stdout(), "FAIL  {what}: {why}"),
            true => writeln!(io::stderr(), "reachabilitycheck: {what}: {why}"),
        };
    }
}
