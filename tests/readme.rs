//! The README: each command in it is run as it stands there, and each link leads somewhere.
//!
//! A command is a line indented by four spaces, with those after it that are indented further or belong to its quotes. Each
//! needs a rule below, by which words it begins with. Rules run in laboratories where the README's addresses, names and paths
//! are the test's own (`Place`); where a command is lengthened or shortened, that is said there. Programs that act on the whole
//! machine or on another one (systemctl, ssh, rustup ...) have stand-ins (`STAND_INS`).
#![cfg(feature = "tls")] // The README is about the usual build.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::far::{answer, tcp_accept, tcp_refuse};
use lab::openwrt::OPENWRT;
use lab::packet::{Out, Packet};
use lab::run::{Ended, Monitor, Output, TempDir, told};
use lab::slack::Slack;
use lab::{Lab, command, installed, lab_test, wait_until};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs, thread};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(100);
const PROGRAM: &str = env!("CARGO_BIN_EXE_reachabilitycheck");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HEARTBEAT: &str = "hc-ping.com";

/// How a command begins, and what runs it and looks at what it did.
type Rule = (&'static str, fn(&Place, &str));

/// Monitors that only watch; all at the same time.
const WATCHING: &[Rule] = &[
    ("cargo run --release -- ", watch),
    ("reachabilitycheck gw=192.0.2.1 world=", watch),
    ("reachabilitycheck db=10.0.0.5:5432 https:", watch),
    ("reachabilitycheck -q -n 5 ", run_from_cron),
    ("if reachabilitycheck ", run_in_a_script),
    ("reachabilitycheck --slack-url-file ", tell_slack),
    ("reachabilitycheck --metrics ", write_metrics),
    ("reachabilitycheck --page ", write_page),
    ("reachabilitycheck --heartbeat ", give_signs_of_life),
];

/// Whether `--exec` has done what it is for, once it was run for this kind of notification.
type Effect = fn(&str) -> bool;

/// Monitors with `--exec`.
const ACTING: &[(&str, Effect)] = &[
    ("reachabilitycheck gw=192.0.2.1 --exec 'case $REACH_KIND in\n  DOWN) ip route replace ", has_changed_the_route),
    ("reachabilitycheck gw=192.0.2.1 --exec 'case $REACH_KIND in\n  DOWN) echo timer ", has_set_the_led),
];

/// What `two_alertmanagers_and_a_box` runs.
const ALERTING: [&str; 3] = ["prometheus-alertmanager ", "reachabilitycheck --name paris-1 ", "amtool "];

/// Run one after the other, as one does.
const INSTALLING: &[Rule] = &[
    ("make test", make_test),
    ("install -m 755 ", succeed),
    ("install -m 644 contrib/systemd/", succeed),
    ("mkdir -p ", succeed),
    ("echo 'gw=192.0.2.1' >", succeed),
    ("install -m 600 /dev/stdin ", put_the_webhook),
    ("systemctl ", enable_the_unit),
    ("scp ", succeed),
    ("cd ", change_directory),
    ("ssh root@router ", set_up_the_router),
    ("make build && sudo make install", make_install),
    ("sudo make uninstall", make_uninstall),
    ("reachabilitycheck --man | man -l -", read_the_manual),
    ("source <(", complete),
    ("rustup target add ", build_static),
    ("make static ", build_static),
];

/// Either gives the right to send, which was not there before (`rights`).
const RIGHTS: [&str; 2] = ["sysctl -w ", "setcap "];

/// In the section that tests/json.rs runs; it fails at one that it does not know.
const JSON: [&str; 3] = ["jq ", "reachabilitycheck --json -v -n 60 ", "reachabilitycheck --json -v gw="];

// What the README says.

fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The lines outside of fences.
fn prose(readme: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    readme.lines().filter(move |line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Every command, in order.
fn commands() -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut inside = false;
    for line in prose(&readme()) {
        let Some(line) = line.strip_prefix("    ") else {
            inside = false;
            continue;
        };
        match commands.last_mut() {
            Some(last) if inside && (line.starts_with(' ') || has_open_quote(last)) => *last += &format!("\n{line}"),
            _ => commands.push(line.to_owned()),
        }
        inside = true;
    }
    commands
}

fn has_open_quote(text: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (None, '\'' | '"') => quote = Some(char),
            // A comment may have an apostrophe.
            (None, '#') if before.is_whitespace() => while chars.next().is_some_and(|char| char != '\n') {},
            _ => {}
        }
        before = char;
    }
    quote.is_some()
}

/// The commands that begin so.
fn commands_of(rule: &str) -> Vec<String> {
    commands().into_iter().filter(|command| command.starts_with(rule)).collect()
}

/// The section with this heading.
fn section(heading: &str) -> String {
    let readme = readme();
    let (_, from) = readme.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    from.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn every_command_is_run_by_a_test() {
    let rules = WATCHING.iter().chain(INSTALLING).map(|rule| rule.0).chain(ACTING.iter().map(|rule| rule.0));
    let rules: Vec<&str> = rules.chain(ALERTING).chain(RIGHTS).chain(JSON).collect();
    let commands = commands();
    for command in &commands {
        let mine: Vec<&&str> = rules.iter().filter(|rule| command.starts_with(**rule)).collect();
        assert!(mine.len() == 1, "run by {} rules {mine:?}, not by one: {command}", mine.len());
    }
    for rule in rules {
        assert!(commands.iter().any(|command| command.starts_with(rule)), "no command begins with {rule}");
    }
    let json = section("For programs: JSON");
    for command in JSON.into_iter().flat_map(commands_of) {
        assert!(json.contains(&format!("\n    {command}\n")), "not where tests/json.rs looks: {command}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let readme = readme();
    let headings = prose(&readme)
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    // As GitHub does it; no heading is there twice, which it would number.
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
    };
    let anchors: Vec<String> = headings.map(anchor).collect();
    assert_eq!(anchors.iter().collect::<HashSet<_>>().len(), anchors.len(), "{anchors:?}");
    let mut links: Vec<&str> = readme.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(links.len() > 10, "{links:?}");
    // Paths in plain text are meant to be found, too.
    let path = |word: &&str| word.starts_with("contrib/");
    links.extend(readme.split(|c: char| c.is_whitespace() || "`(),;".contains(c)).filter(path));
    for link in links {
        let there = match link.strip_prefix('#') {
            Some(name) => anchors.iter().any(|anchor| anchor == name),
            None => link.contains("://") || Path::new(ROOT).join(link.trim_end_matches('.')).exists(),
        };
        assert!(there, "{link} leads nowhere");
    }
}

// Where commands are run.

/// Stand-ins for what acts on the whole machine or on another one. What they are told goes to the file `told`.
const STAND_INS: &[(&str, &str)] = &[
    ("cargo", r#"[ "$1 $2 $3" = "run --release --" ] && shift 3 && exec reachabilitycheck "$@""#),
    // What takes minutes is only looked at; what installs does so, but elsewhere and with the program that is tested.
    (
        "make",
        r#"PATH=${PATH#*:}; unset MAKEFLAGS MAKELEVEL MFLAGS
        case $1 in
        install | uninstall) exec make -C "$ROOT" "$@" DESTDIR="$HERE/installed" PROGRAM="$PROGRAM" ;;
        *) exec make -n -C "$ROOT" "$@" ;;
        esac"#,
    ),
    ("sudo", r#"exec "$@""#),
    ("rustup", r#"[ "$1 $2" = "target add" ] && [ $# = 3 ]"#),
    // The part of it that needs no systemd to run is done.
    (
        "systemctl",
        r#"echo "systemctl $*" >>"$HERE/told"
        PATH=${PATH#*:}
        [ "$1" != enable ] || ! command -v systemctl >/dev/null || systemctl --quiet --root=/ enable "$3""#,
    ),
    // This machine is the router, too.
    (
        "scp",
        r#"[ "$1" = -O ] && [ $# = 3 ] || exit 2
        to=${3#root@router:}
        case $to in /*/) cat "$2" >"$to${2##*/}" ;; /*) cat "$2" >"$to" ;; *) exit 2 ;; esac"#,
    ),
    ("ssh", r#"[ "$1" = root@router ] && [ $# = 2 ] && exec sh -ec "$2""#),
    (
        "uci",
        r#"case "$1 $2" in
        "add reachabilitycheck") printf '\nconfig %s\n' "$3" >>"$HERE/uci.new" ;;
        "set reachabilitycheck.@target[-1]."*=*)
            option=${2#*].}
            printf "\toption %s '%s'\n" "${option%%=*}" "${option#*=}" >>"$HERE/uci.new" ;;
        "commit reachabilitycheck") cat "$HERE/uci.new" >>/etc/config/reachabilitycheck ;;
        *) exit 2 ;;
        esac"#,
    ),
    ("logread", r#"echo "logread $*" >>"$HERE/told""#),
];

/// What `#!/bin/sh /etc/rc.common` makes of an init script on OpenWrt.
const RC_COMMON: &str = r#"
init=$1 action=$2
cd "$HERE"
{ echo n=0; cat /etc/config/reachabilitycheck; } >uci
. "$init"
case $action in
enable) echo "enable $START" >>told ;;
start) start_service ;;
*) exit 2 ;;
esac
"#;

/// A machine as the README has them, with a root of its own to write to, and hosts around it.
struct Place {
    /// Holds `bin`, which comes first in PATH, and `contrib` and the program, as a source tree does that was built in.
    dir: Arc<TempDir>,
    cwd: Mutex<String>,
    slack: Slack,
    /// The first lines of what was asked of the dead-man service.
    signs: Arc<Mutex<Vec<String>>>,
}

/// Covers a directory with one that may be written to. What was there is still there, but for `fresh` and us.
fn cover(dir: &str, fresh: &[&str]) {
    // Not below a directory that is removed at the end.
    let was = format!("/run/was{dir}");
    fs::create_dir_all(&was).unwrap();
    command("mount", &["--rbind", dir, &was]).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "mode=755", "lab", dir]).unwrap();
    for entry in fs::read_dir(was).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let ours =
            name.starts_with("reachabilitycheck") || fresh.iter().any(|path| path.split('/').next() == Some(&name));
        if !ours {
            symlink(entry.path(), Path::new(dir).join(name)).unwrap();
        }
    }
    for path in fresh {
        fs::create_dir_all(Path::new(dir).join(path)).unwrap();
    }
}

impl Place {
    fn new(lab: &Lab) -> Place {
        command("mount", &["-t", "tmpfs", "lab", "/run"]).unwrap();
        let files = ["hosts", "nsswitch.conf", "rc.common"];
        cover("/etc", &[&["systemd/system", "init.d", "config"], &files[..]].concat());
        for file in files {
            fs::remove_dir(Path::new("/etc").join(file)).unwrap();
        }
        cover("/usr/bin", &[]);
        cover("/usr/local/bin", &[]);
        cover("/var/lib", &["prometheus/node-exporter"]);

        let slack = Slack::start(Vec::new());
        fs::write("/etc/nsswitch.conf", "hosts: files\n").unwrap();
        fs::write("/etc/hosts", format!("127.0.0.1 localhost\n192.0.2.80 example.org\n127.0.0.1 {HEARTBEAT}\n"))
            .unwrap();
        for net in ["192.0.2.1", "192.0.2.66", "192.0.2.80", "10.0.0.0/24"] {
            lab.ip(&format!("route add {net} dev far0 src 10.9.0.1"));
        }
        lab.far.on("192.0.2.1", answer());
        lab.far.on("10.0.0.5", tcp_accept());
        let (mut echo, mut accept) = (answer(), tcp_accept());
        lab.far.on("192.0.2.80", move |packet| if packet.is_echo() { echo(packet) } else { accept(packet) });

        let dir = Arc::new(TempDir::new());
        let here = dir.path();
        let variables = format!("HERE='{}' ROOT='{ROOT}' PROGRAM='{PROGRAM}'", here.display());
        fs::create_dir(here.join("bin")).unwrap();
        for (name, text) in STAND_INS {
            dir.write(&format!("bin/{name}"), format!("#!/bin/sh\n{variables}\n{text}\n"));
            fs::set_permissions(here.join("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write("/etc/rc.common", format!("{variables}\n{OPENWRT}{RC_COMMON}")).unwrap();
        fs::create_dir_all(here.join("target/release")).unwrap();
        for link in ["bin/reachabilitycheck", "reachabilitycheck", "target/release/reachabilitycheck"] {
            symlink(PROGRAM, here.join(link)).unwrap();
        }
        symlink(Path::new(ROOT).join("contrib"), here.join("contrib")).unwrap();
        Place { dir, cwd: Mutex::new(".".into()), slack, signs: Arc::default() }
    }

    /// Starts a line by a shell, in this directory.
    fn start(&self, dir: &Arc<TempDir>, line: &str) -> Monitor {
        let path = format!("{}:{}", self.dir.file("bin"), env::var("PATH").unwrap());
        Monitor::with(&[]).dir(dir).env("PATH", path).under(&["bash", "-c", line]).start()
    }

    /// Runs a line to its end in the directory where the last `cd` led.
    fn run(&self, line: &str) -> Ended {
        let cwd = self.cwd.lock().unwrap().clone();
        self.start(&self.dir, &format!("cd '{cwd}' || exit\n{line}")).finish(LONG)
    }

    /// Waits until every target was answered and `more` is there; then Ctrl-C, which ends it well.
    fn watch(&self, line: &str, more: impl Fn(&Output) -> bool) -> Ended {
        let dir = Arc::new(TempDir::new());
        // With -v to see which target was answered; exec, as a signal is for the program.
        let mut monitor = self.start(&dir, &format!("exec {line} -v"));
        let is_answer = |line: &str, name: &str| {
            let said = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
            said.is_some_and(|said| said.contains("time=") || said.contains("connected"))
        };
        let answered = |all: &Output| {
            let names = all.stdout.lines().find_map(|line| line.split_once(" START ")?.1.split_once(": "));
            names.is_some_and(|names| {
                names.1.split(", ").all(|name| all.stdout.lines().any(|line| is_answer(line, name)))
            })
        };
        let seen = monitor.wait_line(|all| answered(all) && more(all), LONG);
        assert!(seen, "{line}: {:#?}", monitor.output());
        let ended = monitor.stop();
        let complaints: Vec<&str> = ended.stderr.lines().filter(|line| !line.contains("Slack is off")).collect();
        assert_eq!((ended.code, complaints.len()), (Some(0), 0), "{line}: {ended:#?}");
        ended
    }
}

/// Runs a line, which is to succeed and to complain of nothing.
fn succeed(place: &Place, line: &str) {
    let ended = place.run(line);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{line}: {ended:#?}");
}

// Watching.

lab_test!(watching, ["bash"], |lab| {
    let place = &Place::new(lab);
    thread::scope(|scope| {
        for (rule, run) in WATCHING {
            for line in commands_of(rule) {
                scope.spawn(move || run(place, &line));
            }
        }
        // The README's example of a target file is read without complaint; of its targets one cannot be reached here.
        scope.spawn(|| {
            let targets = section("Targets");
            let targets = targets.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
            let ended = Monitor::with(&["-n", "1", "--file", "-"]).stdin(targets).run();
            let names: Vec<&str> =
                ended.stdout.lines().filter_map(|line| line.split_once(" : ")).map(|of| of.0.trim()).collect();
            assert_eq!((ended.code, names), (Some(1), vec!["gw", "db", "dns"]), "{ended:#?}");
        });
    });
});

fn watch(place: &Place, line: &str) {
    assert!(place.watch(line, |_| true).stderr.contains("Slack is off"));
}

fn run_from_cron(place: &Place, line: &str) {
    let dir = Arc::new(TempDir::new());
    let ended = place.start(&dir, line).finish(LONG);
    assert_eq!((ended.code, &*ended.stdout, told(&ended).len()), (Some(0), "", 0), "{ended:#?}");
    assert!(dir.path().join("reachability.state").exists(), "what the next run goes on from");
}

fn run_in_a_script(place: &Place, line: &str) {
    assert_eq!(place.run(line).stdout, "reachable\n");
    // Where nobody answers.
    let silent = line.replace("192.0.2.1", "192.0.2.66");
    assert_ne!(silent, line);
    assert_eq!(place.run(&silent).stdout, "");
}

fn tell_slack(place: &Place, line: &str) {
    let (_, file) = line.split_once("--slack-url-file ").unwrap();
    let file = Path::new(file.split(' ').next().unwrap());
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, place.slack.url()).unwrap();
    let ended = place.watch(line, |_| place.slack.wait_delivered("Monitoring 1 target: gw", LONG));
    assert_eq!(ended.stderr, "");
}

fn write_metrics(place: &Place, line: &str) {
    let file = "/var/lib/prometheus/node-exporter/reachability.prom";
    assert!(line.contains(file));
    place.watch(line, |_| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.contains("reachability_up{target=\"192.0.2.1\",label=\"gw\",check=\"icmp\"} 1\n")
    });
    let left: Vec<_> = fs::read_dir(Path::new(file).parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

/// Into the test's own directory, not where others of this machine look.
fn write_page(place: &Place, line: &str) {
    let file = place.dir.path().join("status.html");
    let line = line.replace("/tmp/status.html", file.to_str().unwrap());
    place.watch(&line, |_| fs::read_to_string(&file).is_ok_and(|page| page.contains("The target is up")));
}

/// With `--ca-file` more: the stand-in's certificate is no known authority's.
fn give_signs_of_life(place: &Place, line: &str) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![HEARTBEAT.to_owned()]).unwrap().self_signed(&key).unwrap();
    place.dir.write("ca.pem", cert.pem());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.serialize_der().try_into().unwrap());
    let (config, signs) = (Arc::new(config.unwrap()), place.signs.clone());
    let listener = TcpListener::bind("127.0.0.1:443").unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream.unwrap());
            let mut lines = BufReader::new(&mut stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            signs.lock().unwrap().extend(head.into_iter().take(1));
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK");
        }
    });
    place.watch(&format!("{line} --ca-file {}", place.dir.file("ca.pem")), |_| !place.signs.lock().unwrap().is_empty());
    assert_eq!(place.signs.lock().unwrap()[0], "GET /YOUR-UUID HTTP/1.1");
}

// Acting.

lab_test!(acting, ["bash"], |lab| {
    let place = Place::new(lab);
    for (name, address) in [("eth0", "192.0.2.2/24"), ("wwan0", "198.51.100.2/24")] {
        lab.ip(&format!("tuntap add dev {name} mode tap"));
        lab.ip(&format!("addr add {address} dev {name}"));
        lab.ip(&format!("link set {name} up"));
    }
    // No LED here blinks.
    command("mount", &["-t", "tmpfs", "lab", "/sys"]).unwrap();
    fs::create_dir_all("/sys/class/leds/red:status").unwrap();
    let silent = Arc::<AtomicBool>::default();
    let of_script = silent.clone();
    lab.far.on("192.0.2.1", move |packet: &Packet| -> Vec<Out> {
        if of_script.load(Ordering::Relaxed) { Vec::new() } else { vec![packet.reply()] }
    });
    let start = |line: &String| place.start(&Arc::new(TempDir::new()), &format!("exec {line}"));
    let mut monitors: Vec<(Monitor, Effect)> = ACTING
        .iter()
        .flat_map(|(rule, effect)| commands_of(rule).iter().map(|line| (start(line), *effect)).collect::<Vec<_>>())
        .collect();
    for kind in ["START", "DOWN", "UP"] {
        silent.store(kind == "DOWN", Ordering::Relaxed);
        for (monitor, has_done) in &mut monitors {
            assert!(monitor.wait_log(&format!(" {kind} "), LONG), "{:#?}", monitor.output());
            let done = kind == "START" || wait_until(LONG, || has_done(kind));
            assert!(done, "{kind}: {}{:#?}", lab.ip("route"), monitor.output());
        }
    }
    for (monitor, _) in monitors {
        let ended = monitor.stop();
        assert!(ended.code == Some(0) && !ended.stderr.contains("--exec"), "{ended:#?}");
    }
});

fn has_changed_the_route(kind: &str) -> bool {
    let route = if kind == "DOWN" { "via 198.51.100.1 dev wwan0 " } else { "via 192.0.2.1 dev eth0 " };
    command("ip", &["route", "show", "default"]).unwrap().contains(route)
}

fn has_set_the_led(kind: &str) -> bool {
    let trigger = fs::read_to_string("/sys/class/leds/red:status/trigger").unwrap_or_default();
    trigger == if kind == "DOWN" { "timer\n" } else { "none\n" }
}

// More than one box.

/// What an Alertmanager's API says.
fn ask(member: &str, path: &str) -> Option<Value> {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(LONG)).build().into();
    let text = agent.get(format!("http://{member}:9093{path}")).call().ok()?.body_mut().read_to_string().ok()?;
    serde_json::from_str(&text).ok()
}

lab_test!(two_alertmanagers_and_a_box, ["bash", "prometheus-alertmanager", "amtool"], |lab| {
    let place = Place::new(lab);
    lab.far.on("10.0.0.0/24", tcp_refuse());
    lab.far.on("10.0.0.5", tcp_refuse());
    let [members, boxes, operator] = ALERTING.map(commands_of);
    let start = |line: &str| {
        let (_, address) = line.split_once("--cluster.listen-address=").unwrap();
        let address = address.split(':').next().unwrap().to_owned();
        lab.ip(&format!("addr add {address}/32 dev lo"));
        let dir = Arc::new(TempDir::new());
        fs::copy(Path::new(ROOT).join("contrib/alertmanager/alertmanager.yml"), dir.file("alertmanager.yml")).unwrap();
        // Both are on one machine here, so each takes its own address only.
        let line = format!("exec {line} --web.listen-address={address}:9093");
        (address, place.start(&dir, &line))
    };
    let mut members: Vec<(String, Monitor)> = members.iter().map(|line| start(line)).collect();
    assert_eq!(members.len(), 2);
    let mut wait = |path: &str, wanted: &dyn Fn(&Value) -> bool| {
        for (address, member) in &mut members {
            let come = wait_until(LONG, || ask(address, path).is_some_and(|said| wanted(&said)) || !member.running());
            assert!(come && member.running(), "{path}: {:?} {:#?}", ask(address, path), member.output());
        }
    };
    wait("/api/v2/status", &|status| status["cluster"]["peers"].as_array().is_some_and(|peers| peers.len() == 2));

    let dir = Arc::new(TempDir::new());
    dir.write("targets.txt", "gw=192.0.2.1\ndb=10.0.0.5:5432 -i 100ms\nmail=10.0.0.6:25 -i 100ms\n");
    let monitors: Vec<Monitor> = boxes.iter().map(|line| place.start(&dir, &format!("exec {line}"))).collect();
    wait("/api/v2/alerts", &|alerts| alerts.as_array().is_some_and(|alerts| alerts.len() == 2));
    for line in operator {
        let ended = place.run(&line);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{line}: {ended:#?}");
        if line.contains(" alert query ") {
            // The silence of the line before holds for the one, not for the other.
            assert!(ended.stdout.contains("ReachabilityDown") && ended.stdout.contains("mail"), "{ended:#?}");
            assert!(!ended.stdout.contains("db"), "{ended:#?}");
        }
    }
    for monitor in monitors {
        let ended = monitor.stop();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    }
});

// Installing.

lab_test!(installing, ["bash", "make"], |lab| {
    let place = Place::new(lab);
    for line in commands() {
        for (rule, run) in INSTALLING {
            if line.starts_with(rule) {
                run(&place, &line);
            }
        }
    }
    if !installed("man") {
        lab.skip("one of its commands needs man, which is missing");
    }
});

fn put_the_webhook(place: &Place, line: &str) {
    // What is pasted, with its Enter.
    let url = place.slack.url();
    succeed(place, &format!("echo '{url}' | {line}"));
    let file = "/etc/reachabilitycheck/webhook";
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{url}\n"));
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// That the unit itself works is tried in tests/contrib.rs, by a systemd. Here: what it needs is where it looks.
fn enable_the_unit(place: &Place, line: &str) {
    succeed(place, line);
    let told = ["daemon-reload", "enable --now reachabilitycheck"].map(|words| format!("systemctl {words}\n"));
    assert_eq!(place.dir.read("told"), told.concat());
    let unit = fs::read_to_string("/etc/systemd/system/reachabilitycheck.service").unwrap();
    for path in ["/usr/local/bin/reachabilitycheck", "/etc/reachabilitycheck/targets", "/etc/reachabilitycheck/webhook"]
    {
        assert!(unit.contains(path) && Path::new(path).exists(), "{path}");
    }
    let wanted = "/etc/systemd/system/multi-user.target.wants/reachabilitycheck.service";
    assert!(!installed("systemctl") || fs::symlink_metadata(wanted).is_ok(), "not enabled");
}

fn change_directory(place: &Place, line: &str) {
    succeed(place, line);
    *place.cwd.lock().unwrap() = line.strip_prefix("cd ").unwrap().to_owned();
}

fn set_up_the_router(place: &Place, line: &str) {
    let config = fs::read_to_string("/etc/config/reachabilitycheck").unwrap();
    succeed(place, line);
    let more = "\nconfig target\n\toption name 'modem'\n\toption host '192.168.100.1'\n";
    assert_eq!(fs::read_to_string("/etc/config/reachabilitycheck").unwrap(), format!("{config}{more}"));
    assert!(
        place.dir.read("told").ends_with("enable 95\nlogread -e reachabilitycheck\n"),
        "{}",
        place.dir.read("told")
    );
    // What procd was given, which would run it for ever.
    let calls = place.dir.read("calls");
    let command = calls.lines().find_map(|call| call.strip_prefix("command\x1f")).unwrap_or_else(|| panic!("{calls}"));
    let command = command.replace('\x1f', " ");
    assert!(command.starts_with("/usr/bin/reachabilitycheck --file="), "{command}");
    let ended = place.run(&format!("{command} -n 1 -w 10ms"));
    let names: Vec<&str> =
        ended.stdout.lines().filter_map(|line| line.split_once(" : ")).map(|of| of.0.trim()).collect();
    assert_eq!((ended.code, names), (Some(1), vec!["dns", "modem"]), "{ended:#?}");
    *place.cwd.lock().unwrap() = ".".into();
}

fn make_test(place: &Place, line: &str) {
    let ended = place.run(line);
    assert!(ended.code == Some(0) && ended.stdout.contains("cargo test "), "{ended:#?}");
}

const INSTALLED: &str = "installed/usr/local/bin/reachabilitycheck";

fn make_install(place: &Place, line: &str) {
    let ended = place.run(line);
    assert!(ended.code == Some(0) && ended.stdout.contains("cargo build --release"), "{ended:#?}");
    assert!(
        place.dir.path().join(INSTALLED).exists() && ended.stdout.contains("man8/reachabilitycheck.8"),
        "{ended:#?}"
    );
}

fn make_uninstall(place: &Place, line: &str) {
    let ended = place.run(line);
    assert!(ended.code == Some(0) && !place.dir.path().join(INSTALLED).exists(), "{ended:#?}");
}

fn build_static(place: &Place, line: &str) {
    let ended = place.run(line);
    let target = line.split([' ', '=']).find(|word| word.contains("-linux-musl")).unwrap();
    assert!(
        ended.code == Some(0) && ended.stdout.contains(&format!("contrib/cross/static.sh {target}\n")),
        "{ended:#?}"
    );
    let script = fs::read_to_string(Path::new(ROOT).join("contrib/cross/static.sh")).unwrap();
    assert!(script.contains(&format!("\n{target}) ")), "{target}");
}

fn read_the_manual(place: &Place, line: &str) {
    if installed("man") {
        let ended = place.run(line);
        let read = ended.stdout.contains("REACHABILITYCHECK(8)") && ended.stdout.contains("--interval");
        assert!(ended.code == Some(0) && read, "{ended:#?}");
    }
}

fn complete(place: &Place, line: &str) {
    let ended = place.run(&format!("{line}\ncomplete -p reachabilitycheck"));
    assert!(ended.code == Some(0) && ended.stdout.contains("_reachabilitycheck"), "{ended:#?}");
}

// Rights.

/// Before the command the program may not send, afterwards it may. In a network of its own, as ping_group_range belongs to that.
#[test]
fn rights() {
    let missing = ["unshare", "setpriv", "ip", "sysctl", "setcap"].into_iter().find(|program| !installed(program));
    if let Some(program) = missing {
        return lab::skip("rights", &format!("{program} is missing"));
    }
    let script = |line: &str| {
        // A user namespace may have no other group than ours.
        let narrower = line.replace("0 2147483647", "0 0");
        format!(
            "set -e
            mount -t tmpfs lab /usr/local/bin
            cp '{PROGRAM}' /usr/local/bin/reachabilitycheck
            ip link set lo up
            cd /usr/local/bin
            send() {{
                # As if root were any other user; and then exit status 2, or 0.
                setpriv --securebits +noroot --inh-caps -all --ambient-caps -all -- \
                    /usr/local/bin/reachabilitycheck -q --no-log -n 1 127.0.0.1 2>&1 && echo sent
            }}
            send || echo \"status $?\"
            {{ {line}; }} 2>&1 || {{ {narrower}; }} 2>&1
            send"
        )
    };
    let mut user = vec!["--net", "--mount"];
    if command("unshare", &[&user[..], &["true"]].concat()).is_err() {
        user.extend(["--user", "--map-root-user"]);
    }
    if let Err(why) = command("unshare", &[&user[..], &["true"]].concat()) {
        return lab::skip("rights", &format!("no namespaces: {why}"));
    }
    for line in RIGHTS.into_iter().flat_map(commands_of) {
        let mut unshare = Command::new("unshare");
        unshare.args(&user).args(["sh", "-c", &script(&line)]).env_remove("SLACK_WEBHOOK_URL");
        unshare.env("PATH", format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap())).stdin(Stdio::null());
        let output = unshare.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let (before, after) = said.split_once("status 2\n").unwrap_or_else(|| panic!("{line}: {output:?}"));
        assert!(before.contains("net.ipv4.ping_group_range") && before.contains("CAP_NET_RAW"), "{said}");
        assert!(output.status.success() && after.ends_with("sent\n"), "{line}: {output:?}");
    }
}
