//! `make bench`: accuracy and cost beside ping and fping, in one run on one path, as one table. No limit here makes a
//! test fail: machines differ and are noisy; the ratios are what counts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::lab_test;
use lab::run::Monitor;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

lab_test!(
    #[ignore = "a measurement: make bench"]
    accuracy_and_cost,
    ["ping", "fping", "raw"],
    |lab| {
        lab.dgram();
        let _peer = lab.veth();
        println!("\n{:<58}{:>12}{:>12}{:>8}", "", "ours", "theirs", "ratio");
        for (name, address) in [("IPv4", "10.8.0.2"), ("IPv6", "fd08::2")] {
            let (ours, theirs) = round_trips(address);
            row(&format!("round trip to a veth peer, {name}, median of 300, beside ping (us)"), ours, theirs);
        }
        let (ours, theirs) = cpu(1000, 10);
        row("CPU an answered check, 1000 targets, beside fping -l (us)", ours, theirs);
    }
);

fn row(what: &str, ours: f64, theirs: f64) {
    println!("{what:<70}{ours:>10.1}{theirs:>10.1}{:>8.2}", ours / theirs);
}

/// The median round trip in microseconds as we and as ping see it, both running at the same time.
fn round_trips(address: &str) -> (f64, f64) {
    let ping =
        Command::new("ping").args(["-n", "-c", "300", "-i", "0.02", address]).stdout(Stdio::piped()).spawn().unwrap();
    let monitor = Monitor::start(&[address, "-v", "-n", "300", "-i", "20ms"]);
    let ours = monitor.finish(Duration::from_secs(60)).stdout;
    let theirs = String::from_utf8(ping.wait_with_output().unwrap().stdout).unwrap();
    (median(&ours), median(&theirs))
}

/// Of all `time=0.123 ms` in the text, in microseconds.
fn median(text: &str) -> f64 {
    let times = text.split("time=").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2] * 1000.0
}

/// User and system time for each answered check, in microseconds: ours and fping's, one after the other, the better of
/// two rounds each.
fn cpu(targets: usize, checks: usize) -> (f64, f64) {
    let addresses: Vec<String> = (0..targets).map(|n| format!("127.1.{}.{}", n / 250, n % 250 + 1)).collect();
    let count = checks.to_string();
    let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..2 {
        let mut args: Vec<&str> = addresses.iter().map(String::as_str).collect();
        args.extend(["-n", &count, "-i", "1s", "--no-log"]);
        let (used, answered) = used_by(|| {
            let ended = Monitor::start(&args).finish(Duration::from_secs(120));
            ended.stdout.lines().filter_map(|line| line.split('/').nth(3)?.parse::<usize>().ok()).sum()
        });
        ours = ours.min(used / answered as f64);
        let (used, answered) = used_by(|| {
            // -i: small enough that it keeps up.
            let output =
                Command::new("fping").args(["-q", "-i", "0.1", "-p", "1000", "-C", &count]).args(&addresses).output();
            let text = String::from_utf8(output.unwrap().stderr).unwrap();
            text.lines()
                .flat_map(|line| line.split(':').nth(1))
                .flat_map(str::split_whitespace)
                .filter(|t| *t != "-")
                .count()
        });
        theirs = theirs.min(used / answered as f64);
    }
    (ours, theirs)
}

/// Processor time in microseconds that the children used which ended during `work`, and what it returned.
fn used_by(work: impl FnOnce() -> usize) -> (f64, usize) {
    let before = children_ticks();
    let begin = Instant::now();
    let answered = work();
    let used = (children_ticks() - before) * 10_000.0;
    eprintln!("# {answered} answers in {:.1} s, {:.0} ms of CPU", begin.elapsed().as_secs_f64(), used / 1000.0);
    (used, answered)
}

/// cutime and cstime of proc(5), in ticks of 10 ms.
fn children_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(13).take(2).map(|field| field.parse::<f64>().unwrap()).sum()
}
