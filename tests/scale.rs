//! Many targets in one process: what limits them is said, with how many fit, and near the limit nothing is lost.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::far::{answer, drop_pattern};
use lab::lab_test;
use lab::run::{Monitor, counts};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// So many addresses of the far end, one a line.
fn targets(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("10.9.{}.{}", 4 + number / 250, 1 + number % 250)).collect()
}

fn under_limit(limit: &str, args: &[&str], targets: &[String]) -> lab::run::Setup {
    let script = format!("ulimit {limit}; exec \"$@\"");
    Monitor::with(&[&["-f", "-"], args].concat()).stdin(&targets.join("\n")).under(&["sh", "-c", &script, "sh"])
}

lab_test!(icmp_targets_without_a_descriptor_each_are_refused, |lab| {
    lab.far.on("10.9.0.0/16", answer());
    let ended = under_limit("-n 60", &["-n", "2", "-i", "50ms"], &targets(40)).run();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("28 of 40 ICMP targets fit"), "{}", ended.stderr);
    assert_eq!(lab.far.count("10.9.0.0/16", "echo"), 0);
    // The soft limit is no limit.
    let ended = under_limit("-Sn 60", &["-n", "2", "-i", "50ms"], &targets(100)).run();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
});

lab_test!(in_an_outage_of_all_the_descriptors_suffice, |lab| {
    // Sockets are opened anew after 3 failures; of 20 targets 8 may keep the old one meanwhile.
    lab.far.on("10.9.0.0/16", drop_pattern(|nth| (3..23).contains(&nth)));
    let targets = targets(20);
    let args = ["-n", "40", "-i", "50ms", "-w", "120ms", "-ct", "5"];
    let ended = under_limit("-n 60", &args, &targets).start().finish(LONG);
    for target in &targets {
        let [sent, answered, unsent, gaps] = counts(&ended, target);
        assert_eq!((sent + gaps, unsent), (40, 0), "{target}: {ended:#?}");
        assert!(answered + gaps >= 20, "{target}: {ended:#?}");
    }
    assert_eq!((ended.log.matches(" DOWN ").count(), ended.log.matches(" UP ").count()), (20, 20), "{}", ended.log);
    assert!(!ended.stderr.contains("cannot be written"), "{}", ended.stderr);
});

lab_test!(many_raw_sockets_are_said_to_cost_much, ["raw"], |lab| {
    lab.far.on("10.9.0.0/16", answer());
    let warnings = |count: usize| {
        let ended = under_limit("-Sn 1024", &["-n", "1"], &targets(count)).start().finish(LONG);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended.stderr.lines().filter(|line| line.contains("net.ipv4.ping_group_range")).count()
    };
    assert_eq!((warnings(300), warnings(301)), (0, 1));
    lab.dgram();
    assert_eq!(warnings(301), 0);
});

// More than 300: each socket is open for a check at a time, with the identifier that it had, and an outage is judged as ever.
lab_test!(a_crowd_on_raw_sockets_rests, ["raw"], |lab| {
    lab.far.on("10.9.0.0/16", drop_pattern(|nth| (10..25).contains(&nth)));
    let targets = targets(301);
    let args = ["-n", "40", "-i", "200ms", "-w", "150ms", "-ct", "5"];
    let monitor = under_limit("-Sn 1024", &args, &targets).start();
    assert!(lab.far.wait_count("10.9.0.0/16", "echo", 2 * targets.len(), LONG));
    let sockets = || std::fs::read_to_string("/proc/self/net/raw").unwrap().lines().skip(1).count();
    let rests = || (0..500).map(|_| sockets()).any(|open| open < 150);
    assert!(rests(), "{} sockets are open", sockets());
    let ended = monitor.finish(LONG);
    let seen = lab.far.seen("10.9.0.0/16");
    for target in &targets {
        let [sent, answered, unsent, gaps] = counts(&ended, target);
        assert_eq!((sent + gaps, unsent), (40, 0), "{target}: {ended:#?}");
        assert!(answered + gaps >= 25, "{target}: {ended:#?}");
        let address: std::net::IpAddr = target.parse().unwrap();
        let ids = seen.iter().filter(|packet| packet.dst == address).map(|packet| packet.id());
        let first: Vec<u16> = ids.take(10).collect();
        assert!(first.iter().all(|id| *id == first[0]), "{target}: {first:?}");
    }
    assert_eq!(
        (ended.log.matches(" DOWN ").count(), ended.log.matches(" UP ").count()),
        (301, 301),
        "{}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("stray"), "{}", ended.stdout);
});

// A socket of a crowd gets all that its peer sends. After a check that was lost it is not read for a while; what fills it
// meanwhile must not cost the next answer.
lab_test!(a_peer_that_pings_us_much_loses_nothing, ["raw", "ping"], |lab| {
    lab.far.on("10.9.0.0/16", answer());
    let peer = lab.veth();
    let deaf = |yes: &str| peer.exec(&["sysctl", "-qw", &format!("net.ipv4.icmp_echo_ignore_all={yes}")]);
    deaf("1");
    let targets = [vec!["gw=10.8.0.2".to_owned()], targets(300)].concat();
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| peer.exec(&["ping", "-q", "-i", "0.002", "-w", "10", "10.8.0.1"]));
        let mut monitor = under_limit("-Sn 1024", &["-i", "2s", "-w", "300ms", "-n", "6", "-v"], &targets).start();
        let is_lost = |line: &str| line.contains("gw") && line.contains("no answer");
        assert!(monitor.wait_line(|output| output.stdout.lines().any(is_lost), LONG));
        deaf("0");
        monitor.finish(LONG)
    });
    let [sent, answered, unsent, gaps] = counts(&ended, "gw");
    assert!(
        sent + gaps == 6 && unsent == 0 && answered + gaps >= 4,
        "{sent} {answered} {unsent} {gaps}: {}",
        ended.log
    );
});

/// The limit of threads holds for a user who is not root, with all his processes: for a user that nobody is. (He keeps the
/// right to reach the program where it was built.)
#[test]
fn when_no_thread_can_be_made_it_is_said_how_many_fit() {
    let name = "when_no_thread_can_be_made_it_is_said_how_many_fit";
    let rights = ["--inh-caps", "-all,+dac_override", "--ambient-caps", "+dac_override"];
    let nobody = [&["setpriv", "--reuid", "54321"], &rights[..], &["prlimit", "--nproc=9"]].concat();
    let tried = Command::new(nobody[0]).args(&nobody[1..]).arg("true").output();
    if !tried.is_ok_and(|output| output.status.success()) {
        return lab::skip(name, "cannot become another user");
    }
    let targets: Vec<String> = (1..=20).map(|port| format!("127.0.0.1:{port}")).collect();
    let setup = Monitor::with(&["-f", "-", "--no-log"]).stdin(&targets.join("\n")).under(&nobody);
    let ended = setup.run();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    let line = ended.stderr.lines().find(|line| line.contains(" of 20 targets fit")).unwrap_or_default();
    let fit = line.split(' ').nth(1).and_then(|word| word.parse::<usize>().ok());
    // The main thread, the writer and that of the screen are there before.
    assert!(fit.is_some_and(|fit| (1..9).contains(&fit)) && line.contains("ulimit -u"), "{ended:#?}");
}
