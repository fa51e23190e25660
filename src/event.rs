//! What happened: outcomes of checks, changes that are worth a notification, and their one text table.
//!
//! Pure: no clock, socket, file or thread.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::target::{Check as CheckKind, Target};

/// Why a check was not answered or not sent, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The reason itself.
    pub what: What,
    /// The host that reported it by an ICMP error, when it was not this machine's kernel.
    pub from: Option<IpAddr>,
}

/// The reasons a check can fail for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// ICMP: the timeout passed.
    NoAnswer,
    /// TCP: the timeout passed.
    TimedOut,
    /// TCP: RST.
    Refused,
    /// TCP: connection reset while connecting.
    Reset,
    /// TCP: the kernel connected the socket to itself, so nothing listens there.
    SelfConnect,
    /// RFC 792 type 3 code 1, RFC 4443 type 1 code 3, or EHOSTUNREACH (no ARP answer, an `unreachable` route).
    HostUnreachable,
    /// RFC 792 type 3 code 0, RFC 4443 type 1 code 0.
    NetUnreachable,
    /// RFC 792 type 3 code 2.
    ProtocolUnreachable,
    /// RFC 792 type 3 code 3, RFC 4443 type 1 code 4.
    PortUnreachable,
    /// RFC 1812 type 3 codes 9, 10, 13; RFC 4443 type 1 codes 1, 5, 6.
    Prohibited,
    /// RFC 792 type 11, RFC 4443 type 3.
    TtlExceeded,
    /// RFC 792 type 3 code 4, RFC 4443 type 2.
    TooBig,
    /// Any other ICMP error.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// ENETUNREACH from this machine's own routing table.
    NoRoute,
    /// EACCES from a `prohibit` route, or a broadcast address of a connected network.
    ProhibitRoute,
    /// EINVAL from a `blackhole` route.
    BlackholeRoute,
    /// ENETDOWN.
    InterfaceDown,
    /// ENODEV, ENXIO: the interface of `--interface` is not there.
    NoInterface,
    /// EADDRNOTAVAIL: the source address of `--interface` is not on this machine.
    NoSourceAddress,
    /// EADDRNOTAVAIL from connect(2): every local port is in use.
    NoLocalPort,
    /// EPERM: the output firewall, or a right that is missing.
    NotPermitted,
    /// ENOBUFS, EAGAIN: the send queue is full.
    QueueFull,
    /// EMFILE, ENFILE.
    NoDescriptor,
    /// EMSGSIZE: larger than the interface or path takes.
    MessageTooLong,
    /// EAFNOSUPPORT: the kernel lacks this address family.
    NoFamily,
    /// The name has no address (yet).
    CannotResolve,
    /// An outage from before the start, of which no check has failed since.
    NotYetSeen,
    /// Any other errno.
    Errno(i32),
}

impl Reason {
    /// A reason that this machine found itself.
    pub const fn local(what: What) -> Reason {
        Reason { what, from: None }
    }
}

impl From<What> for Reason {
    fn from(what: What) -> Reason {
        Reason::local(what)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)?;
        match self.from {
            Some(from) => write!(f, ", from {from}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::NoAnswer => "no answer",
            What::TimedOut => "timed out",
            What::Refused => "connection refused",
            What::Reset => "connection reset",
            What::SelfConnect => "connected to itself, nothing listens there",
            What::HostUnreachable => "host unreachable",
            What::NetUnreachable => "network unreachable",
            What::ProtocolUnreachable => "protocol unreachable",
            What::PortUnreachable => "port unreachable",
            What::Prohibited => "administratively prohibited",
            What::TtlExceeded => "time to live exceeded",
            What::TooBig => "packet too big",
            What::Icmp { kind, code } => return write!(f, "ICMP type {kind} code {code}"),
            What::NoRoute => "no route",
            What::ProhibitRoute => "prohibited by a route",
            What::BlackholeRoute => "blackhole route or invalid argument",
            What::InterfaceDown => "interface is down",
            What::NoInterface => "no such interface",
            What::NoSourceAddress => "source address is not on this machine",
            What::NoLocalPort => "no local port left",
            What::NotPermitted => "not permitted by this machine (firewall?)",
            What::QueueFull => "send queue is full",
            What::NoDescriptor => "no file descriptor left",
            What::MessageTooLong => "message too long for the path",
            What::NoFamily => "address family not supported here",
            What::CannotResolve => "cannot resolve",
            What::NotYetSeen => "from before the start, not checked since",
            What::Errno(errno) => {
                return write!(f, "{}", std::io::Error::from_raw_os_error(*errno));
            }
        })
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A valid answer came in time, after this round-trip time.
    Answered(Duration),
    /// Sent, and no valid answer in time.
    Unanswered(Reason),
    /// This machine could not even send. Says nothing about the path.
    Unsent(Reason),
}

impl Outcome {
    /// The failure, if it is one.
    pub fn failure(&self) -> Option<Failure> {
        match *self {
            Outcome::Answered(_) => None,
            Outcome::Unanswered(reason) => Some(Failure { reason, sent: true }),
            Outcome::Unsent(reason) => Some(Failure { reason, sent: false }),
        }
    }
}

/// A failed check: the reason, and whether this machine got as far as sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// False when the check is unsent.
    pub sent: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.sent {
            f.write_str("not sent: ")?;
        }
        self.reason.fmt(f)
    }
}

/// One check of a target. Times are on the monotonic clock, since the program started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// 1 for the target's first check.
    pub number: u64,
    /// When it was sent, or should have been.
    pub sent: Duration,
    /// When its outcome was certain: the answer's arrival, or the end of the timeout.
    pub ended: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Answered on a new identifier, while the one before it, tried at the same time, was not.
    pub only_fresh: bool,
}

/// Packet loss as the fraction that it is, so that comparisons are exact.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// Checks that were sent and not answered.
    pub lost: u32,
    /// Checks in the sample.
    pub of: u32,
}

impl Loss {
    /// In hundredths of a percent, rounded, a half to the even one. An empty sample has lost nothing.
    pub fn hundredths(self) -> u32 {
        let (lost, of) = (u64::from(self.lost) * 10_000, u64::from(self.of.max(1)));
        let (whole, rest) = (lost / of, lost % of * 2);
        let up = rest > of || (rest == of && whole % 2 == 1);
        // At most 10,000.
        (whole + u64::from(up)) as u32
    }

    /// In percent with two places, as all texts have it.
    pub fn percent(self) -> String {
        // What prints floats would be 10 KB of the program.
        let hundredths = self.hundredths();
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }

    /// True when everything was answered, or nothing is known.
    pub fn is_none(self) -> bool {
        self.lost == 0
    }

    /// True when nothing was answered.
    pub fn is_all(self) -> bool {
        self.of > 0 && self.lost == self.of
    }

    /// Is this more than `hundredths` of a percentage point away from `other`? Exact.
    pub fn differs_by_more(self, other: Loss, hundredths: u32) -> bool {
        let (a, b) = self.crossed(other);
        let common = u64::from(self.of.max(1)) * u64::from(other.of.max(1));
        // At most 1e5 * 1e5 * 1e4: fits.
        a.abs_diff(b) * 10_000 > u64::from(hundredths) * common
    }

    fn crossed(self, other: Loss) -> (u64, u64) {
        (u64::from(self.lost) * u64::from(other.of.max(1)), u64::from(other.lost) * u64::from(self.of.max(1)))
    }
}

impl PartialEq for Loss {
    fn eq(&self, other: &Loss) -> bool {
        let (a, b) = self.crossed(*other);
        a == b
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

/// How the packet loss moved, as told to people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// The loss last notified.
    pub from: Loss,
    /// The loss now.
    pub to: Loss,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, from) = self.to.crossed(self.from);
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => write!(f, "increased from {} to {}", self.from, self.to),
            std::cmp::Ordering::Less => write!(f, "decreased from {} to {}", self.from, self.to),
            std::cmp::Ordering::Equal => write!(f, "unchanged at {}", self.to),
        }
    }
}

/// What a check changed for its target: always worth a notification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The packet loss moved by more than the threshold, or to 0 or 100 %.
    Loss(Move),
    /// So many failures in a row that the target is down.
    Down {
        /// Failures in a row.
        failed: u64,
        /// From the first failure to now.
        lasted: Duration,
        /// The most telling failure of the run.
        failure: Failure,
        /// ICMP: the loss last told, and now.
        loss: Option<Move>,
    },
    /// The outage is over.
    Up {
        /// Failed checks of the outage.
        failed: u64,
        /// From the first failure to now.
        lasted: Duration,
        /// ICMP: the loss told when it went down, and now.
        loss: Option<Move>,
        /// Only a new identifier is answered.
        only_fresh: bool,
    },
    /// Still down.
    Remind {
        /// Failed checks so far.
        failed: u64,
        /// From the first failure to now.
        lasted: Duration,
        /// The latest failure.
        failure: Failure,
    },
}

/// Kinds of notifications, as the log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The program began to monitor.
    Start,
    /// Packet loss moved.
    Loss,
    /// A target went down.
    Down,
    /// A target is up again.
    Up,
    /// A target is still down.
    Remind,
    /// This machine slept through checks. Log only.
    Gap,
    /// A part of the program failed and was started again. Log only.
    Error,
    /// The program ends. Log only.
    Stop,
}

impl Kind {
    /// The kind that the log and the state call so.
    pub fn from_name(name: &str) -> Option<Kind> {
        use Kind::{Down, Error, Gap, Loss, Remind, Start, Stop, Up};
        [Start, Loss, Down, Up, Remind, Gap, Error, Stop].into_iter().find(|kind| kind.to_string() == name)
    }

    /// Does Slack get it? The others stand in the log only.
    pub fn for_slack(self) -> bool {
        !matches!(self, Kind::Stop | Kind::Gap | Kind::Error)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Start => "START",
            Kind::Loss => "LOSS",
            Kind::Down => "DOWN",
            Kind::Up => "UP",
            Kind::Remind => "REMIND",
            Kind::Gap => "GAP",
            Kind::Error => "ERROR",
            Kind::Stop => "STOP",
        })
    }
}

/// Something to notify, on its way to the writer.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened, by the wall clock.
    pub at: SystemTime,
    /// What happened.
    pub subject: Subject,
}

/// What an [`Event`] is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Monitoring began, for these targets.
    Start(Vec<Arc<Target>>),
    /// A target changed.
    Target(Arc<Target>, Change),
    /// This machine slept through `slots` checks of the target, for `lasted` in all.
    Gap(Arc<Target>, u64, Duration),
    /// A target's thread failed and was started again.
    Panic(Arc<Target>, String),
    /// Monitoring ends, for this reason.
    Stop(String),
}

/// A notification: what the log, the state and Slack get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number, higher than any before.
    pub number: u64,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub kind: Kind,
    /// The name of the target that it is about; None: about none or all.
    pub target: Option<String>,
    /// Its text, not yet escaped.
    pub text: String,
}

impl Item {
    /// The line of the log, with its newline: `TIME #NUMBER KIND TARGET TEXT`.
    pub fn log_line(&self) -> String {
        let time = humantime::format_rfc3339_seconds(self.at);
        let target = self.target.as_deref().unwrap_or("-");
        format!("{time} #{} {} {target} {}\n", self.number, self.kind, self.text)
    }
}

/// What a notification says, apart: for programs. What does not belong to its kind is None.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The packet loss in the sample.
    pub loss: Option<Loss>,
    /// The packet loss that was told before.
    pub told: Option<Loss>,
    /// When the outage, or the gap, began.
    pub since: Option<SystemTime>,
    /// How long the outage has lasted.
    pub down: Option<Duration>,
    /// Failed checks of the outage so far.
    pub failed: Option<u64>,
    /// Why the checks failed.
    pub reason: Option<Failure>,
}

/// How many names the START message spells out; the others it counts.
const NAMED_AT_START: usize = 20;

impl Event {
    /// The kind of notification it becomes.
    pub fn kind(&self) -> Kind {
        match &self.subject {
            Subject::Start(_) => Kind::Start,
            Subject::Target(_, Change::Loss(_)) => Kind::Loss,
            Subject::Target(_, Change::Down { .. }) => Kind::Down,
            Subject::Target(_, Change::Up { .. }) => Kind::Up,
            Subject::Target(_, Change::Remind { .. }) => Kind::Remind,
            Subject::Gap(..) => Kind::Gap,
            Subject::Panic(..) => Kind::Error,
            Subject::Stop(_) => Kind::Stop,
        }
    }

    /// The target that it is about; None when it is about none or all.
    pub fn target(&self) -> Option<&Target> {
        match &self.subject {
            Subject::Target(target, _) | Subject::Gap(target, ..) | Subject::Panic(target, _) => Some(target),
            Subject::Start(_) | Subject::Stop(_) => None,
        }
    }

    /// What its text says, apart.
    pub fn details(&self) -> Details {
        let since = |lasted| Some(earlier(self.at, lasted));
        let outage = |failed, lasted, reason, moved: Option<Move>| Details {
            loss: moved.map(|moved| moved.to),
            told: moved.map(|moved| moved.from),
            since: since(lasted),
            down: Some(lasted),
            failed: Some(failed),
            reason,
        };
        match &self.subject {
            Subject::Target(_, Change::Loss(moved)) => {
                Details { loss: Some(moved.to), told: Some(moved.from), ..Details::default() }
            }
            Subject::Target(_, Change::Down { failed, lasted, failure, loss }) => {
                outage(*failed, *lasted, Some(*failure), *loss)
            }
            Subject::Target(_, Change::Up { failed, lasted, loss, .. }) => outage(*failed, *lasted, None, *loss),
            Subject::Target(_, Change::Remind { failed, lasted, failure }) => {
                outage(*failed, *lasted, Some(*failure), None)
            }
            Subject::Gap(_, _, lasted) => Details { since: since(*lasted), ..Details::default() },
            Subject::Start(_) | Subject::Panic(..) | Subject::Stop(_) => Details::default(),
        }
    }

    /// The notification, with its number.
    pub fn item(&self, number: u64) -> Item {
        let target = self.target().map(|target| target.name.clone());
        Item { number, at: self.at, kind: self.kind(), target, text: self.text() }
    }

    /// The notification's text: one line, whatever a name or reason contains.
    pub fn text(&self) -> String {
        let text = match &self.subject {
            Subject::Start(targets) => start_text(targets),
            Subject::Target(target, change) => change_text(target, change, self.at),
            Subject::Gap(target, slots, lasted) => format!(
                "{} was not checked for {}: this machine slept through {slots} checks",
                target.name,
                span(*lasted)
            ),
            Subject::Panic(target, message) => {
                format!("The thread that checks {} failed and was started again; please report: {message}", target.name)
            }
            Subject::Stop(reason) => format!("Monitoring stops: {reason}"),
        };
        one_line(text)
    }
}

fn start_text(targets: &[Arc<Target>]) -> String {
    let mut text = match targets.len() {
        1 => "Monitoring 1 target: ".to_owned(),
        many => format!("Monitoring {many} targets: "),
    };
    for (at, target) in targets.iter().take(NAMED_AT_START).enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(&target.name);
    }
    if targets.len() > NAMED_AT_START {
        text.push_str(&format!(" and {} more", targets.len() - NAMED_AT_START));
    }
    text
}

fn change_text(target: &Target, change: &Change, at: SystemTime) -> String {
    let name = &target.name;
    match *change {
        Change::Loss(moved) => {
            format!("Packet loss for {name} {moved} ({} of {} unanswered)", moved.to.lost, moved.to.of)
        }
        Change::Down { failed, lasted, failure, loss } => {
            let checks = checks(failed);
            let row = if failed == 1 { "" } else { " in a row" };
            let since = clock_time(at, lasted);
            let loss = loss_clause(loss);
            format!(
                "{}: {checks}{row} failed since {since} ({failure}){loss}",
                match target.tcp() {
                    None => format!("{name} is down"),
                    Some((host, port)) => format!("TCP connection to {host} is failing on port {port}"),
                }
            )
        }
        Change::Up { failed, lasted, loss, only_fresh } => {
            let (lasted, checks, loss) = (span(lasted), checks(failed), loss_clause(loss));
            let fresh = if only_fresh { "; answers again since a new identifier: a stale NAT session?" } else { "" };
            match target.tcp() {
                None => format!("{name} is up after {lasted} down ({checks} failed){loss}{fresh}"),
                Some((host, port)) => {
                    format!("TCP connection to {host} succeeded on port {port} after {lasted} down ({checks} failed)")
                }
            }
        }
        Change::Remind { failed, lasted, failure } => {
            let (lasted, checks) = (span(lasted), checks(failed));
            match target.tcp() {
                None => format!("{name} is still down after {lasted} ({checks} failed: {failure})"),
                Some((host, port)) => format!(
                    "TCP connection to {host} is still failing on port {port} after {lasted} ({checks} failed: {failure})"
                ),
            }
        }
    }
}

/// A loss that stands in the sample, which is no event: one line too.
pub fn loss_text(target: &Target, loss: Loss) -> String {
    let what = match target.tcp() {
        None => format!("Packet loss for {}", target.name),
        Some((host, port)) => format!("Loss of TCP connections to {host} on port {port}"),
    };
    one_line(format!("{what} is {loss} ({} of {} unanswered)", loss.lost, loss.of))
}

impl Target {
    /// For a TCP target, the host as the texts name it (its label, if it has one) and the port.
    fn tcp(&self) -> Option<(String, u16)> {
        match self.check {
            CheckKind::Icmp => None,
            CheckKind::Tcp { port } => {
                let host = self.host.to_string();
                let unlabelled = self.name == format!("{host}:{port}") || self.name == format!("[{host}]:{port}");
                Some((if unlabelled { host } else { self.name.clone() }, port))
            }
        }
    }
}

fn checks(count: u64) -> String {
    match count {
        1 => "1 check".to_owned(),
        many => format!("{many} checks"),
    }
}

fn loss_clause(loss: Option<Move>) -> String {
    loss.map_or_else(String::new, |moved| format!("; packet loss {moved}"))
}

/// A length of time for people: whole seconds from one second on, milliseconds below.
pub fn span(length: Duration) -> String {
    let whole = if length >= Duration::from_secs(1) {
        Duration::from_secs(length.as_secs())
    } else {
        Duration::from_millis(length.as_millis() as u64)
    };
    humantime::format_duration(whole).to_string()
}

/// The time that lies `by` before `at`, 1970 at the earliest: a clock that nobody has set is close to it, and there is no
/// way to write what comes before.
pub fn earlier(at: SystemTime, by: Duration) -> SystemTime {
    at.checked_sub(by).map_or(SystemTime::UNIX_EPOCH, |time| time.max(SystemTime::UNIX_EPOCH))
}

/// The time of day that lies `before` `at`, in UTC; with the date when it was another day.
fn clock_time(at: SystemTime, before: Duration) -> String {
    let then = earlier(at, before);
    let (now, then) =
        (humantime::format_rfc3339_seconds(at).to_string(), humantime::format_rfc3339_seconds(then).to_string());
    match (now.split_once('T'), then.split_once('T')) {
        (Some((today, _)), Some((day, time))) if today == day => time.to_owned(),
        _ => then,
    }
}

/// Control characters out of the text: a notification is one line.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_what_a_float_would_print() {
        for of in 0..=400_u32 {
            for lost in 0..=of {
                let float = f64::from(lost) * 100.0 / f64::from(of.max(1));
                assert_eq!(Loss { lost, of }.percent(), format!("{float:.2}"), "{lost} of {of}");
            }
        }
        assert_eq!(Loss { lost: u32::MAX, of: u32::MAX }.to_string(), "100.00%");
    }
}
