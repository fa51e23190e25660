//! What every build must do, on every kind of machine: run natively here, and on binaries for other machines under
//! qemu-user by `make foreign`, which names them in REACH_PROGRAM.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Monitor, counts, run, told};
use lab::service::Service;
use lab::slack::Slack;
use std::time::Duration;

/// The emulator is slow.
const LONG: Duration = Duration::from_secs(120);

#[test]
fn version_help_and_check() {
    let ended = run(&["--version"]);
    assert_eq!(ended.stdout, format!("reachabilitycheck {}\n", env!("CARGO_PKG_VERSION")));
    assert!(run(&["--help"]).stdout.contains("--interval TIME"));
    let service = Service::start();
    let ended = run(&["--check", "--no-log", &format!("web={}", service.address)]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.stdout.starts_with("ok    options and targets: 0 by ICMP, 1 by TCP\n"), "{ended:#?}");
    assert_eq!(run(&["-i", "5ms", "gw"]).code, Some(2));
}

#[test]
fn a_service_on_loopback_is_watched_and_told() {
    let (service, slack) = (Service::start(), Slack::start(Vec::new()));
    let watched = format!("web={}", service.address);
    let mut monitor =
        Monitor::with(&["-i", "100ms", "-ct", "2", &watched]).env("SLACK_WEBHOOK_URL", slack.url()).start();
    assert!(monitor.wait_log(" START ", LONG));
    service.stop();
    assert!(monitor.wait_log(" DOWN web ", LONG));
    service.restart();
    assert!(monitor.wait_log(" UP web ", LONG));
    monitor.signal(libc::SIGINT);
    let ended = monitor.finish(LONG);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let kinds: Vec<&str> = told(&ended).iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(kinds, ["START", "DOWN", "UP", "STOP"], "{ended:#?}");
    let posted: String = slack.delivered_texts().concat();
    assert!(posted.contains("TCP connection to web "), "{posted}");
}

#[test]
fn hosts_on_loopback_are_measured() {
    let ended = Monitor::start(&["--no-log", "-n", "5", "-i", "100ms", "127.0.0.1"]).finish(LONG);
    if ended.code == Some(2) && ended.stderr.contains("no right to send ICMP") {
        return lab::skip("hosts_on_loopback_are_measured", "no right to send ICMP here");
    }
    assert_eq!(counts(&ended, "127.0.0.1")[..2], [5, 5], "{ended:#?}");
    let average: f64 = ended.stdout.split(['/', ' ']).rev().nth(2).unwrap().parse().unwrap();
    assert!(average > 0.0 && average < 1000.0, "a round trip of {average} ms on loopback: {ended:#?}");
}

#[test]
fn a_hundred_targets_are_checked() {
    let service = Service::start();
    let targets: Vec<String> = (0..100).map(|n| format!("t{n}={}", service.address)).collect();
    let mut args = vec!["--no-log", "-q", "-n", "3", "-w", "30s"];
    args.extend(targets.iter().map(String::as_str));
    assert_eq!(Monitor::start(&args).finish(LONG).code, Some(0));
}
