//! Names, end to end: the resolver thread against the stub DNS server of the laboratory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::dns::{Dns, Mode};
use lab::far::{answer, tcp_accept};
use lab::packet::Packet;
use lab::run::{Ended, Monitor, counts, run, told};
use lab::{Lab, lab_test, wait_until};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);
/// How soon something of a second at most must have happened, on a machine that is busy with other things too.
const SOON: Duration = Duration::from_secs(3);

/// Answers echo requests and connections.
fn well() -> impl FnMut(&Packet) -> Vec<lab::packet::Out> + Send {
    let (mut echo, mut tcp) = (answer(), tcp_accept());
    move |packet| if packet.is_echo() { echo(packet) } else { tcp(packet) }
}

/// All checks since the first that was seen at `address` were answered, and each slot of 50 ms was a check or a gap.
fn assert_well(lab: &Lab, ended: &Ended, name: &str, address: &str) {
    let seen = lab.far.seen(address).into_iter().filter(|packet| packet.is_echo() || packet.is_syn());
    let times: Vec<Instant> = seen.map(|packet| packet.at).collect();
    let slots = (times[times.len() - 1] - times[0]).as_secs_f64() / 0.05;
    let ([xmt, rcv, _, gaps], slots) = (counts(ended, name), slots.round() as u64 + 1);
    // The end may come before the answer to the last one.
    assert!(xmt == rcv && (xmt..=xmt + 1).contains(&(times.len() as u64)), "{name}: {} {ended:#?}", times.len());
    assert!(slots <= xmt + gaps + 2 && xmt <= slots + 2, "{name}: {slots} slots: {ended:#?}");
}

/// Row 31: at the start the resolver is dead, or silent; later it answers.
fn alive_later(lab: &Lab, dead: bool) {
    lab.resolv_conf("nameserver 127.0.0.1\noptions timeout:1 attempts:1");
    let start = || Dns::start("127.0.0.1:53");
    let early = (!dead).then(start);
    early.iter().for_each(|dns| dns.mode(Mode::Silent));
    for address in ["10.9.0.5", "10.9.0.6", "10.9.0.7"] {
        lab.far.on(address, well());
    }
    let args = ["-i", "50ms", "-w", "10s", "gw=gw.test", "db.test:5432", "near=10.9.0.7"];
    let mut monitor = Monitor::start(&args);
    for down in [
        "DOWN gw gw is down: 10 checks in a row failed since ",
        "DOWN db.test:5432 TCP connection to db.test is failing on port 5432: 3 checks in a row failed since ",
    ] {
        assert!(monitor.wait_log(down, LONG), "{:#?}", monitor.output());
    }
    let dns = early.unwrap_or_else(start);
    dns.set("gw.test", &["10.9.0.5"]);
    dns.set("db.test", &["10.9.0.6"]);
    dns.mode(Mode::Answer);
    assert!(monitor.wait_log(" UP gw ", LONG) && monitor.wait_log(" UP db.test:5432 ", LONG), "{}", monitor.log());
    for (name, address) in [("gw.test", "10.9.0.5"), ("db.test", "10.9.0.6")] {
        let checked = lab.far.seen(address)[0].at;
        let lookup = dns.queries().into_iter().rfind(|(at, asked)| *at < checked && asked == name);
        assert!(checked.duration_since(lookup.unwrap().0) < SOON, "{name}");
    }
    let ended = monitor.stop();
    let lines = told(&ended);
    assert!(lines[0].ends_with(" #1 START - Monitoring 3 targets: gw, db.test:5432, near"), "{}", ended.log);
    let unsent = |line: &&&str| line.contains(" DOWN ") && line.contains("Z (not sent: cannot resolve)");
    assert_eq!((lines.len(), lines.iter().filter(unsent).count()), (6, 2), "{}", ended.log);
    for (name, address, least) in [("gw", "10.9.0.5", 10), ("db.test:5432", "10.9.0.6", 3), ("near", "10.9.0.7", 0)] {
        assert_well(lab, &ended, name, address);
        let unsent = counts(&ended, name)[2];
        assert!(unsent >= least && (least > 0 || unsent == 0), "{ended:#?}");
    }
}

lab_test!(a_resolver_that_is_dead_at_the_start, |lab| {
    alive_later(lab, true);
});

lab_test!(a_resolver_that_is_silent_at_the_start, |lab| {
    alive_later(lab, false);
});

lab_test!(
    #[ignore = "takes a minute: the refresh time"]
    an_address_that_changes_is_followed,
    |lab| {
        let dns = lab.dns();
        lab.far.on("10.9.0.0/24", well());
        dns.set("gw.test", &["10.9.0.5"]);
        dns.set("db.test", &["10.9.0.6"]);
        let start = Instant::now();
        let monitor = Monitor::start(&["-i", "50ms", "gw.test", "db.test:5432"]);
        assert!(lab.far.wait_count("10.9.0.5", "echo", 5, LONG) && lab.far.wait_count("10.9.0.6", "syn", 5, LONG));
        dns.set("gw.test", &["10.9.0.15"]);
        dns.set("db.test", &["10.9.0.16"]);
        let left = (Duration::from_secs(60) + SOON).saturating_sub(start.elapsed());
        assert!(lab.far.wait_count("10.9.0.15", "echo", 5, left) && lab.far.wait_count("10.9.0.16", "syn", 5, SOON));
        let old = || lab.far.count("10.9.0.5", "echo") + lab.far.count("10.9.0.6", "syn");
        let before = old();
        assert!(lab.far.wait_count("10.9.0.15", "echo", 25, LONG));
        assert_eq!(old(), before, "the old ones rest");
        let ended = monitor.stop();
        assert_eq!(told(&ended).len(), 2, "START and STOP: {}", ended.log);
    }
);

/// Row 33: the resolver fails while the program runs; `refresh` waits until good names are asked for again too.
fn fails_later(lab: &Lab, refresh: bool) {
    let dns = lab.dns();
    lab.far.on("10.9.0.0/24", well());
    dns.set("gw.test", &["10.9.0.5"]);
    dns.set("db.test", &["10.9.0.6"]);
    let start = Instant::now();
    // The name that does not exist keeps the resolver thread busy.
    let monitor = Monitor::start(&["-i", "50ms", "-w", "10s", "gw=gw.test", "db=db.test:5432", "none=none.test:1"]);
    assert!(lab.far.wait_count("10.9.0.5", "echo", 5, LONG) && lab.far.wait_count("10.9.0.6", "syn", 5, LONG));
    let (names, after) = if refresh { (&["none.test", "gw.test", "db.test"][..], 50) } else { (&["none.test"][..], 0) };
    for mode in [Mode::Silent, Mode::ServFail] {
        dns.mode(mode);
        let since = Instant::now().max(start + Duration::from_secs(after));
        let asked = |name: &&str| dns.queries().iter().any(|(at, asked)| *at > since && asked == name);
        assert!(wait_until(Duration::from_secs(75), || names.iter().all(asked)), "{mode:?}");
        let echoes = lab.far.count("10.9.0.5", "echo");
        assert!(lab.far.wait_count("10.9.0.5", "echo", echoes + 10, LONG), "the last good address is kept");
    }
    let ended = monitor.stop();
    let of_none = ended.log.matches(" DOWN none ").count();
    assert_eq!((of_none, told(&ended).len()), (1, 3), "and START and STOP: {}", ended.log);
    for (name, address) in [("gw", "10.9.0.5"), ("db", "10.9.0.6")] {
        assert_well(lab, &ended, name, address);
        assert_eq!(counts(&ended, name)[2], 0, "{ended:#?}");
    }
}

lab_test!(a_resolver_that_fails_later_disturbs_nothing, |lab| {
    fails_later(lab, false);
});

lab_test!(
    #[ignore = "takes a minute: the refresh time"]
    the_last_good_address_outlives_a_failed_refresh,
    |lab| {
        fails_later(lab, true);
    }
);

lab_test!(the_family_is_as_asked, ["ipv6"], |lab| {
    let dns = lab.dns();
    // Its address, the option, and the families that may be seen: IPv4, IPv6.
    let cases = [
        ("both4", "10.9.1.1 fd09::1:1", "-4", &[(3, 0)][..]),
        ("both6", "10.9.1.2 fd09::1:2", "-6", &[(0, 3)]),
        ("both", "10.9.1.3 fd09::1:3", "", &[(3, 0), (0, 3)]),
        ("only6", "fd09::1:4", "", &[(0, 3)]),
        ("six", "fd09::1:5", "-6", &[(0, 3)]),
        ("none4", "fd09::1:6", "-4", &[(0, 0)]),
        ("none6", "10.9.1.7", "-6", &[(0, 0)]),
    ];
    for address in ["10.9.1.0/24", "fd09::/64"] {
        lab.far.on(address, well());
    }
    for (name, addresses, ..) in cases {
        dns.set(&format!("{name}.test"), &addresses.split(' ').collect::<Vec<_>>());
    }
    for (kind, suffix) in [("echo", ""), ("syn", ":443")] {
        let lines = cases.iter().map(|(name, _, option, _)| format!("{name}={name}.test{suffix} {option}\n"));
        let args = ["-f", "-", "-n", "3", "-i", "20ms", "-w", "10s"];
        let ended = Monitor::with(&args).stdin(&lines.collect::<String>()).run();
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        for (number, (name, .., wanted)) in (1..).zip(cases) {
            let seen = [format!("10.9.1.{number}"), format!("fd09::1:{number}")].map(|at| lab.far.count(&at, kind));
            assert!(wanted.contains(&seen.into()), "{name} {kind}: {seen:?}");
            let sent = (seen[0] + seen[1]) as u64;
            assert_eq!(counts(&ended, name)[..3], [sent, sent, 3 - sent], "{name} {kind}");
        }
        let none = |line: &&str| line.contains(" DOWN none") && line.contains("(not sent: cannot resolve)");
        assert_eq!((told(&ended).len(), told(&ended).into_iter().filter(none).count()), (2, 2), "{}", ended.log);
    }
});

lab_test!(a_name_that_does_not_resolve_is_down, |lab| {
    let _dns = lab.dns();
    let ended = run(&["-n", "3", "-i", "20ms", "-v", "no.test:80", "gw=no.test"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert_eq!(told(&ended).len(), 2, "{}", ended.log);
    for (name, what) in [("no.test:80", "TCP connection to no.test is failing on port 80"), ("gw", "gw is down")] {
        let text = format!(" DOWN {name} {what}: 3 checks in a row failed since ");
        let reason = |line: &str| line.contains(&text) && line.contains("Z (not sent: cannot resolve)");
        assert!(ended.log.lines().any(reason), "{}", ended.log);
        assert_eq!(counts(&ended, name)[..3], [0, 0, 3], "{ended:#?}");
    }
    assert_eq!(ended.stdout.matches("no.test:80: not sent: cannot resolve\n").count(), 3, "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("gw: seq=2 not sent: cannot resolve\n").count(), 1, "{}", ended.stdout);
});

lab_test!(a_slow_resolver_delays_nobody, |lab| {
    // One lookup hangs for longer than the whole run. The name near.test needs none.
    lab.resolv_conf("nameserver 127.0.0.1\noptions timeout:20 attempts:1");
    lab.bind_file("/etc/hosts", "10.9.0.6 near.test\n");
    let dns = Dns::start("127.0.0.1:53");
    dns.mode(Mode::Silent);
    lab.far.on("10.9.0.0/24", well());
    let start = Instant::now();
    let file = "slow=slow.test\nslow.test:80\nnear=10.9.0.5 --timeout 10s\nnear.test --timeout 5s";
    let ended = Monitor::with(&["-f", "-", "-n", "20", "-i", "50ms", "-w", "300ms"]).stdin(file).run();
    assert!(start.elapsed() < Duration::from_secs(15), "the end waits for no lookup");
    assert!(ended.code == Some(1) && dns.queries().len() <= 2, "{ended:#?}");
    assert_well(lab, &ended, "near", "10.9.0.5");
    for (name, wanted) in
        [("near", [20, 20, 0]), ("slow", [0, 0, 20]), ("slow.test:80", [0, 0, 20]), ("near.test", [20, 20, 0])]
    {
        assert_eq!(counts(&ended, name)[..3], wanted, "{name}: {ended:#?}");
    }
});
