//! `make bench`: cost and accuracy beside fping, ping and std, in one run on one path, as one table. No limit here makes
//! a test fail: machines differ and are noisy, so ours and theirs are measured in turn, the best round of each counts,
//! and the ratio is what tells.
//!
//! Processor time is the kernel's count for the process, between two moments of its steady state. Answers are those that
//! the kernel counted meanwhile.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::far::{answer, delay, tcp_accept};
use lab::run::{Monitor, TempDir};
use lab::slack::Slack;
use lab::{Lab, lab_test, sys};
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

lab_test!(
    #[ignore = "a measurement: make bench"]
    cost_and_accuracy,
    ["ping", "fping", "raw"],
    |lab| {
        let peer = lab.veth();
        // Each of 65,536 addresses is the peer.
        peer.ip("route add local 10.20.0.0/16 dev lo");
        lab.ip("route add 10.20.0.0/16 via 10.8.0.2");
        if lab.ipv6 {
            peer.ip("-6 route add local fd20::/64 dev lo");
            lab.ip("-6 route add fd20::/64 via fd08::2");
        }
        println!("\n{:<64}{:>11}{:>11}{:>8}  reach", "what", "ours", "theirs", "ratio");
        // There is no way back from dgram to raw sockets.
        let raw = steady(&addresses(1000), &mut ours);
        lab.dgram();
        cpu(&raw);
        ten_thousand(lab);
        forks();
        tcp(lab);
        lateness(lab);
        one_target(lab);
        post(lab);
        system_calls(lab);
        sizes();
        for address in ["10.8.0.2", "fd08::2"] {
            let (ours, theirs) = round_trips(address);
            row(&format!("round trip to {address}, median of 300, beside ping (us)"), ours, Some(theirs), "1.0");
        }
    }
);

fn row(what: &str, ours: f64, theirs: Option<f64>, reach: impl Display) {
    let theirs_and_ratio =
        theirs.map_or(format!("{:>19}", ""), |theirs| format!("{theirs:>11.1}{:>8.2}", ours / theirs));
    println!("{what:<64}{ours:>11.1}{theirs_and_ratio}  {reach}");
}

/// A program in its steady state.
struct Steady {
    /// Processor time for an answer, in microseconds.
    cpu: f64,
    /// Answers in percent of targets and seconds.
    kept: f64,
    /// Resident and virtual memory, in KiB.
    rss: f64,
    size: f64,
    writer_wakes: f64,
}

/// Of the peer.
fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.20.{}.{}", n / 250, n % 250 + 1)).collect()
}

fn v6_addresses(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("fd20::{n:x}")).collect()
}

/// Writes a file of targets, and starts a program with it.
type Start<'a> = &'a mut dyn FnMut(&TempDir, &str) -> Child;

fn ours(dir: &TempDir, file: &str) -> Child {
    let exe = env::var_os("REACH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_reachabilitycheck").into());
    let mut command = Command::new(exe);
    command.args(["-q", "-f", file]).current_dir(dir.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// fping sends to one after the other; `-i` is small enough that all fit into a second.
fn fping(between: &'static str) -> impl FnMut(&TempDir, &str) -> Child {
    move |_, file| {
        let mut command = Command::new("fping");
        command.args(["-q", "-l", "-p", "1000", "-i", between, "-f", file]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn steady(targets: &[String], start: Start) -> Steady {
    let (dir, count) = (TempDir::new(), targets.len());
    dir.write("targets", targets.join("\n"));
    let mut child = start(&dir, &dir.file("targets"));
    thread::sleep(Duration::from_secs(if count > 2000 { 5 } else { 3 }));
    let (begin, answers, cpu, wakes) = (Instant::now(), answers(), sys::cpu_time(child.id()), writer_wakes(child.id()));
    thread::sleep(Duration::from_secs(5));
    let answered = (self::answers() - answers) as f64;
    let used = (sys::cpu_time(child.id()) - cpu).as_secs_f64();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let steady = Steady {
        cpu: used * 1e6 / answered,
        kept: 100.0 * answered / (count as f64 * begin.elapsed().as_secs_f64()),
        rss: field(&status, "VmRSS:"),
        size: field(&status, "VmSize:"),
        writer_wakes: writer_wakes(child.id()) - wakes,
    };
    let _ = child.kill();
    let _ = child.wait();
    steady
}

/// The number behind a name in a text such as /proc/PID/status.
fn field(text: &str, name: &str) -> f64 {
    let mut words = text.split_whitespace().skip_while(|word| *word != name);
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

/// Echo replies that this namespace has received.
fn answers() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:")).map(str::split_whitespace);
    let (mut names, mut values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.position(|name| name == "InEchoReps").unwrap();
    values.nth(place).unwrap().parse().unwrap()
}

/// How often the writer's thread went to sleep.
fn writer_wakes(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let status = tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default());
    let writer = status.into_iter().find(|status| status.starts_with("Name:\twriter\n"));
    writer.map_or(0.0, |status| field(&status, "voluntary_ctxt_switches:"))
}

/// The better of two rounds of each, in turn.
fn in_turn(count: usize, theirs: Start) -> (Steady, Steady) {
    let targets = addresses(count);
    let rounds = [0, 1].map(|_| (steady(&targets, &mut ours), steady(&targets, theirs)));
    let [(ours, theirs), (ours_2, theirs_2)] = rounds;
    let better = |one: Steady, two: Steady| if two.cpu < one.cpu { two } else { one };
    (better(ours, ours_2), better(theirs, theirs_2))
}

fn cpu(raw: &Steady) {
    let (ours, theirs) = in_turn(1000, &mut fping("0.1"));
    row("CPU an answered check, 1,000 targets, beside fping -l (us)", ours.cpu, Some(theirs.cpu), "1.0");
    row("the same on raw sockets, beside dgram sockets (us)", raw.cpu, Some(ours.cpu), "1.3");
    row("wake-ups of the writer in 5 s", ours.writer_wakes, None, "0");
}

fn ten_thousand(lab: &Lab) {
    let limit = fs::read_to_string("/proc/self/limits").unwrap();
    let hard =
        limit.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().nth(4).unwrap();
    let count = hard.parse().map_or(10_000, |hard: usize| hard.saturating_sub(100).min(10_000));
    let (ours, theirs) = in_turn(count, &mut fping("0.08"));
    row(&format!("CPU an answered check, {count} targets, beside fping (us)"), ours.cpu, Some(theirs.cpu), "1.0");
    row(&format!("slots kept, {count} targets (%)"), ours.kept, Some(theirs.kept), "99.9");
    let one = steady(&addresses(1), &mut self::ours);
    let each = |all: f64, one: f64| (all - one) / (count - 1) as f64;
    row("RSS with one target (KiB)", one.rss, None, "2048");
    row("RSS of each further target (KiB)", each(ours.rss, one.rss), None, "6");
    row("address space of each further target (KiB)", each(ours.size, one.size), None, "100");
    if lab.ipv6 {
        let all = steady(&v6_addresses(count), &mut self::ours);
        row("RSS of each further target, IPv6 (KiB)", each(all.rss, one.rss), None, "6");
    }
}

/// What the Python original did: a process for each check.
fn forks() {
    let before = children_ticks();
    for address in addresses(200) {
        let done = Command::new("sh").args(["-c", "ping -n -q -c 1 \"$1\"", "sh", &address]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let theirs = (children_ticks() - before) * 10_000.0 / 200.0;
    let ours = steady(&addresses(1000), &mut ours).cpu;
    row("CPU an answered check, beside a loop that forks ping -c 1 (us)", ours, Some(theirs), "");
}

/// Beside a loop of connect and close by std, at the same pace: a thousand a second.
fn tcp(lab: &Lab) {
    lab.far.on("10.9.0.0/16", tcp_accept());
    let address = |n: usize| format!("10.9.{}.{}:80", 16 + n / 250, 1 + n % 250);
    let (mut best, mut theirs) = (f64::MAX, f64::MAX);
    for _ in 0..2 {
        let targets: Vec<String> = (0..1000).map(address).collect();
        let monitor = Monitor::with(&["-q", "-f", "-"]).stdin(&targets.join("\n")).start();
        thread::sleep(Duration::from_secs(3));
        let (begin, cpu) = (Instant::now(), sys::cpu_time(monitor.pid()));
        thread::sleep(Duration::from_secs(4));
        let used = (sys::cpu_time(monitor.pid()) - cpu).as_secs_f64();
        best = best.min(used * 1e6 / (1000.0 * begin.elapsed().as_secs_f64()));
        drop(monitor);
        let peers: Vec<SocketAddr> = targets.iter().map(|target| target.parse().unwrap()).collect();
        let cpu = sys::own_cpu_time();
        for peer in peers.iter().cycle().take(3000) {
            drop(TcpStream::connect_timeout(peer, Duration::from_secs(2)).unwrap());
            thread::sleep(Duration::from_micros(800));
        }
        theirs = theirs.min((sys::own_cpu_time() - cpu).as_secs_f64() * 1e6 / 3000.0);
        lab.far.forget();
    }
    row("CPU a TCP check, beside connect and close by std (us)", best, Some(theirs), "1.3");
}

/// By the far end's clock: how much later than its earliest place on the grid of a second each check of a target came.
fn lateness(lab: &Lab) {
    lab.far.on("10.9.0.0/16", answer());
    let targets: Vec<String> = (0..1000).map(|n| format!("10.9.{}.{}", 4 + n / 250, 1 + n % 250)).collect();
    lab.far.forget();
    let monitor = Monitor::with(&["-q", "-n", "10", "-f", "-"]).stdin(&targets.join("\n")).start();
    monitor.finish(Duration::from_secs(60));
    let mut late = Vec::new();
    let seen = lab.far.seen("10.9.0.0/16");
    for target in &targets {
        let target: IpAddr = target.parse().unwrap();
        let times: Vec<Instant> = seen.iter().filter(|packet| packet.dst == target).map(|packet| packet.at).collect();
        let off = |(k, at): (usize, &Instant)| (*at - times[0]).as_secs_f64() - k as f64 * 1.0;
        let offs: Vec<f64> = times.iter().enumerate().map(off).collect();
        let earliest = offs.iter().copied().fold(f64::MAX, f64::min);
        late.extend(offs.iter().map(|off| (off - earliest) * 1e6));
    }
    late.sort_by(f64::total_cmp);
    row("lateness of sending, 1,000 targets, median (us)", late[late.len() / 2], None, "");
    row("lateness of sending, 1,000 targets, p99 (us)", late[late.len() * 99 / 100], None, "5000");
}

/// From before the program is started to when the far end has its first packet; the median of 11.
fn one_target(lab: &Lab) {
    let mut times: Vec<f64> = (0..11)
        .map(|_| {
            lab.far.forget();
            let begin = Instant::now();
            let monitor = Monitor::start(&["10.9.4.1", "-q", "-n", "1"]);
            assert!(lab.far.wait_count("10.9.4.1", "echo", 1, Duration::from_secs(10)));
            let first = lab.far.seen("10.9.4.1")[0].at;
            drop(monitor);
            (first - begin).as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    row("start to first packet, median of 11 (us)", times[5], None, "10000");
}

/// From the far end's refusal of a connection, or its taking one again, to when the stand-in for Slack has the POST.
fn post(lab: &Lab) {
    let slack = Slack::start(vec![]);
    let mut accept = tcp_accept();
    lab.far.on("10.9.4.2", move |packet| match packet.is_syn() && packet.nth / 20 % 2 == 0 {
        true => vec![packet.rst()],
        false => accept(packet),
    });
    lab.far.forget();
    let args = ["10.9.4.2:80", "-i", "100ms", "-ct", "1", "-q", "--slack-url", &slack.url()];
    let monitor = Monitor::start(&args);
    thread::sleep(Duration::from_secs(15));
    drop(monitor);
    let syns = lab.far.seen("10.9.4.2").into_iter().filter(|packet| packet.is_syn() && packet.nth % 20 == 0);
    // The first is with the START, and waits for the pace of one POST a second.
    let changes: Vec<Instant> = syns.skip(1).map(|packet| packet.at).collect();
    let posts = slack.posts();
    let after = |change: &Instant| posts.iter().map(|post| post.at).find(|at| at > change);
    let mut times: Vec<f64> =
        changes.iter().filter_map(|change| Some((after(change)? - *change).as_secs_f64() * 1e6)).collect();
    times.sort_by(f64::total_cmp);
    row("judged to POST begun, nothing waits, median (us)", times[times.len() / 2], None, "10000");
}

/// Counted by strace while a hundred targets are checked ten times a second: where answers come at once, as from the peer,
/// and where they take 10 ms.
fn system_calls(lab: &Lab) {
    if !lab::installed("strace") {
        return println!("system calls an answered check: skipped, there is no strace");
    }
    let at_once = addresses(100);
    for net in ["10.9.0.0/16", "fd09::/64"] {
        lab.far.on(net, delay(Duration::from_millis(10)));
    }
    let later: Vec<String> = (1..=100).map(|n| format!("10.9.4.{n}")).collect();
    let v6_later: Vec<String> = (1..=100).map(|n| format!("fd09::{n:x}")).collect();
    let kinds = [
        ("at once", at_once),
        ("after 10 ms", later),
        ("at once, IPv6", v6_addresses(100)),
        ("after 10 ms, IPv6", v6_later),
    ];
    for (what, targets) in kinds.into_iter().take(if lab.ipv6 { 4 } else { 2 }) {
        row(&format!("system calls a check, answered {what}"), calls_a_check(&targets), None, "4");
    }
}

fn calls_a_check(targets: &[String]) -> f64 {
    let monitor = Monitor::with(&["-q", "-i", "100ms", "-f", "-"]).stdin(&targets.join("\n")).start();
    thread::sleep(Duration::from_secs(2));
    let dir = TempDir::new();
    let (pid, report) = (monitor.pid().to_string(), dir.file("report"));
    let args = ["-f", "-c", "-o", &report, "-p", &pid];
    let mut strace = Command::new("strace").args(args).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(5));
    // On SIGINT it lets go and reports.
    sys::kill(strace.id() as i32, libc::SIGINT).unwrap();
    let _ = strace.wait();
    let report = dir.read("report");
    let calls = |name: &str| {
        let line = report.lines().find(|line| line.split_whitespace().last() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    calls("total") / calls("sendto")
}

/// Of the static binaries, where the variables name them.
fn sizes() {
    for (variable, what, reach) in
        [("REACH_PROGRAM", "the binary with TLS (KiB)", "2048"), ("REACH_BIN_HTTP", "without TLS (KiB)", "900")]
    {
        if let Some(path) = env::var_os(variable) {
            let bytes = fs::metadata(Path::new(&path)).map_or(f64::NAN, |data| data.len() as f64);
            row(what, bytes / 1024.0, None, reach);
        }
    }
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

/// cutime and cstime of proc(5), in ticks of 10 ms.
fn children_ticks() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(13).take(2).map(|field| field.parse::<f64>().unwrap()).sum()
}
