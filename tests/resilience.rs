//! What the program mends by itself: its own bugs, and NAT boxes that have grown deaf to an identifier.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::lab_test;
use lab::packet::Packet;
use lab::run::Monitor;
use std::collections::HashSet;
use std::net::TcpListener;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// The thread of one target panics in the middle: that is said, and both targets get all their checks.
#[test]
#[cfg(debug_assertions)]
fn a_thread_that_panics_is_reported_and_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, two) =
        (format!("one={}", listener.local_addr().unwrap()), format!("two={}", listener.local_addr().unwrap()));
    let monitor = Monitor::with(&[&one, &two, "-n", "20", "-i", "20ms"]).env("REACHABILITYCHECK_TEST_PANIC", "one");
    let ended = monitor.start().finish(LONG);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let reports: Vec<&str> =
        ended.stderr.lines().filter(|line| line.contains("a bug, please report: thread one")).collect();
    assert_eq!(reports.len(), 1, "{}", ended.stderr);
    assert!(reports[0].ends_with("asked to fail"), "{}", ended.stderr);
    assert_eq!(ended.log.matches(" ERROR one The thread that checks one failed and was started again").count(), 1);
    // The check it died in is lost, the others are not.
    assert!(ended.stdout.contains("one : xmt/rcv/%loss = 19/19/0%"), "{}", ended.stdout);
    assert!(ended.stdout.contains("two : xmt/rcv/%loss = 20/20/0%"), "{}", ended.stdout);
}

/// A NAT box that forgets how to bring answers back for every identifier it knew when it was `deaf`.
fn nat(deaf: std::ops::Range<u64>) -> impl FnMut(&Packet) -> Vec<lab::packet::Out> + Send + 'static {
    let mut stale = HashSet::new();
    move |packet| {
        if packet.nth < deaf.start {
            stale.insert(packet.id());
        }
        if stale.contains(&packet.id()) && packet.nth >= deaf.start || deaf.contains(&packet.nth) {
            return vec![];
        }
        vec![packet.reply()]
    }
}

lab_test!(an_identifier_that_a_nat_forgot_is_told_from_an_outage, ["raw"], |lab| {
    for sockets in ["raw", "dgram"] {
        if sockets == "dgram" {
            lab.dgram();
        }
        // One is deaf to the first identifier for ever, the other to everything for a while.
        lab.far.on("10.9.0.5", nat(10..10));
        let mut dead = 0;
        lab.far.on("10.9.0.6", move |packet: &Packet| {
            dead += 1;
            if (10..16).contains(&dead) { vec![] } else { vec![packet.reply()] }
        });
        let mut args = vec!["nat=10.9.0.5", "dead=10.9.0.6", "-i", "40ms", "-w", "60ms", "-ct", "3", "-n", "40"];
        if lab.ipv6 {
            lab.far.on("fd09::5", nat(10..10));
            args.push("nat6=fd09::5");
        }
        let ended = Monitor::start(&args).finish(LONG);
        let up =
            |name: &str| ended.log.lines().find(|line| line.contains(&format!(" UP {name} "))).unwrap_or("").to_owned();
        let hint = "; answers again since a new identifier: a stale NAT session?";
        assert!(up("nat").ends_with(hint), "{sockets}: {ended:#?}");
        assert!(!lab.ipv6 || up("nat6").ends_with(hint), "{sockets}: {ended:#?}");
        assert!(up("dead").contains(" is up after ") && !up("dead").contains("NAT"), "{sockets}: {ended:#?}");
        assert_eq!(ended.log.matches(" DOWN ").count(), args.len() - 8, "{sockets}: {}", ended.log);
    }
});

lab_test!(a_stale_session_heals_also_where_descriptors_are_scarce, |lab| {
    lab.dgram();
    // The timeout is longer than the interval: answers that may be on their way stand against a fresh identifier.
    for limit in ["33", "34", "64"] {
        lab.far.forget();
        lab.far.on("10.9.0.5", nat(10..10));
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        let args = ["nat=10.9.0.5", "-i", "50ms", "-w", "250ms", "-ct", "3"];
        let mut monitor = Monitor::with(&args).under(&["sh", "-c", &script, "sh"]).start();
        assert!(monitor.wait_log(" UP nat ", LONG), "{limit}: {:#?}", monitor.output());
        monitor.stop();
    }
});
