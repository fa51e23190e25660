//! `make soak`: months of checks in half an hour. 100 targets at an interval of 10 ms, while faults come and go: memory
//! and descriptors stay what they were, and every count is the far end's.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::lab_test;
use lab::packet::{Out, Packet};
use lab::run::{Monitor, counts};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const TARGETS: usize = 100;

/// How long each fault lasts, and the calm after it.
const PHASE: Duration = Duration::from_secs(4);

/// What the far end does in turn; between them all is well.
const FAULTS: [&str; 8] =
    ["silence", "a tenth lost", "twice", "too late", "damaged", "unreachable", "forged", "no route"];

/// What the far end has had from a target.
#[derive(Clone, Copy, Default)]
struct Seen {
    checks: u64,
    answered: u64,
    /// The last check's sequence number, and the fault that it met.
    last: Option<(u16, usize)>,
}

type Tally = Arc<Mutex<HashMap<IpAddr, Seen>>>;

fn far_end(fault: Arc<AtomicU32>, tally: Tally) -> impl FnMut(&Packet) -> Vec<Out> + Send {
    move |packet| {
        let mut tally = tally.lock().unwrap();
        let seen = tally.entry(packet.dst).or_default();
        // While a target is down, the request on the socket before goes out beside the first check of a new one, with
        // its number. It is no check, and has its fate.
        let beside = seen.last.filter(|last| last.0 == packet.seq());
        let now = beside.map_or(fault.load(Ordering::Relaxed) as usize, |last| last.1);
        let fault = FAULTS.get(now).copied().unwrap_or_default();
        let outs = match fault {
            "silence" => vec![],
            "a tenth lost" if packet.seq() % 10 == 0 => vec![],
            "twice" => vec![packet.reply(), packet.reply()],
            "too late" => vec![packet.reply().after(Duration::from_millis(700))],
            "damaged" => vec![packet.reply_with(|reply| reply.payload[20] ^= 1)],
            "unreachable" => vec![packet.host_unreachable("10.9.255.1".parse().unwrap())],
            "forged" => vec![packet.reply_with(|reply| reply.src = "10.9.255.2".parse().unwrap())],
            _ => vec![packet.reply()],
        };
        if beside.is_none() {
            let lost = matches!(fault, "silence" | "too late" | "damaged" | "unreachable" | "forged");
            seen.checks += 1;
            seen.answered += u64::from(!lost && !outs.is_empty());
            seen.last = Some((packet.seq(), now));
        }
        outs
    }
}

lab_test!(
    #[ignore = "half an hour: make soak"]
    months_in_half_an_hour,
    |lab| {
        let seconds: u64 = env::var("SOAK_SECONDS").ok().map_or(1800, |seconds| seconds.parse().unwrap());
        let (fault, tally) = (Arc::new(AtomicU32::new(u32::MAX)), Tally::default());
        lab.far.on("10.9.1.0/24", far_end(fault.clone(), tally.clone()));
        let targets: Vec<String> = (1..=TARGETS).map(|number| format!("10.9.1.{number}")).collect();
        let checks = (seconds * 100).to_string();
        let args = ["-q", "-f", "-", "-i", "10ms", "-w", "500ms", "-n", &checks];
        // The summary is wanted, and no line of 100 targets at each fault.
        let mut monitor = Monitor::with(&args[1..]).stdin(&targets.join("\n")).start();
        let begin = Instant::now();
        let settled = Duration::from_secs(60.min(seconds / 2));
        let (mut memory, mut descriptors) = (Vec::new(), Vec::new());
        for round in 0.. {
            if !monitor.running() || begin.elapsed() > Duration::from_secs(2 * seconds + 60) {
                break;
            }
            fault.store(round % FAULTS.len() as u32, Ordering::Relaxed);
            let no_route = FAULTS[round as usize % FAULTS.len()] == "no route";
            if no_route {
                lab.ip("route add prohibit 10.9.1.0/24");
            }
            thread::sleep(PHASE);
            if no_route {
                lab.ip("route del prohibit 10.9.1.0/24");
            }
            fault.store(u32::MAX, Ordering::Relaxed);
            thread::sleep(PHASE);
            // What was seen is kept packet by packet, and is not needed.
            lab.far.forget();
            if begin.elapsed() > settled && monitor.running() {
                memory.push(rss(monitor.pid()));
                descriptors.push(monitor.fds());
            }
        }
        let ended = monitor.finish(Duration::from_secs(20));
        let tally = tally.lock().unwrap();
        let (mut sent, mut answered, mut unsent, mut gaps) = (0, 0, 0, 0);
        for target in &targets {
            let all = counts(&ended, target);
            let seen = tally[&target.parse::<IpAddr>().unwrap()];
            assert_eq!((all[0], all[1]), (seen.checks, seen.answered), "{target}: {all:?}");
            assert_eq!(all[0] + all[2], seconds * 100, "{target}: {all:?}");
            (sent, answered, unsent, gaps) = (sent + all[0], answered + all[1], unsent + all[2], gaps + all[3]);
        }
        // The last sample may be of a program that is ending.
        memory.pop();
        descriptors.pop();
        let (least, most) = (memory.iter().min().unwrap(), memory.iter().max().unwrap());
        println!(
            "{:.0} s: {sent} sent, {answered} answered, {unsent} unsent, {gaps} gaps, as the far end has them; RSS {least} to \
             {most} KiB; descriptors {descriptors:?}; {} lines of log",
            begin.elapsed().as_secs_f64(),
            ended.log.lines().count()
        );
        assert!(most - least <= 64, "RSS in KiB, from the first minute on: {memory:?}");
        assert!(descriptors.iter().all(|count| *count == descriptors[0]), "{descriptors:?}");
    }
);

/// In KiB.
fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
