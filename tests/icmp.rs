//! ICMP end to end in the laboratory: rows 1 to 25 of the fault table, on dgram and raw sockets, IPv4 and IPv6, and
//! what the notifications and the summary then say. Row 24 (no right to send) is with the other refusals.
//!
//! Counts are exact. Times are not looked at but where a row is about them: a slot that a slow machine slept through is
//! a gap, and gaps are counted in.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::far::{answer, delay, drop_pattern, duplicate, silent};
use lab::packet::{Out, Packet, Reply};
use lab::run::{Ended, Monitor};
use lab::slack::Slack;
use lab::{Lab, command, lab_test, wait_until};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

type Script = Box<dyn FnMut(&Packet) -> Vec<Out> + Send>;

const LONG: Duration = Duration::from_secs(60);

/// Checks of each target in the tables, and their interval.
const CHECKS: u64 = 100;
const INTERVAL: Duration = Duration::from_millis(20);

/// One case of a table: what the far end does, and what must come out of 100 checks.
struct Row {
    name: &'static str,
    /// Options of the target. `{own}` is our own address on `far0`.
    options: &'static str,
    script: fn() -> Script,
    /// Not behind `far0`, but these: IPv4 and IPv6.
    hosts: Option<[&'static str; 2]>,
    rcv: u64,
    unsent: u64,
    /// Where it is the same on every kind of socket.
    strays: Option<u64>,
    /// How many notifications: LOSS, DOWN, UP.
    told: [usize; 3],
    /// Must (not) be in the target's log lines or checks. `{name}` is the target, `{from}` the router.
    says: &'static [&'static str],
    never: &'static [&'static str],
    /// What every request must look like at the far end.
    seen: fn(&Packet) -> bool,
}

/// All is answered, and nothing is worth a notification.
const WELL: Row = Row {
    name: "well",
    options: "",
    script: || Box::new(answer()),
    hosts: None,
    rcv: CHECKS,
    unsent: 0,
    strays: Some(0),
    told: [0, 0, 0],
    says: &["{name}: seq=100 time="],
    never: &["no answer", "not sent", "unreachable"],
    seen: |_| true,
};

/// Nothing that comes back counts.
const LOST: Row = Row {
    script: || Box::new(silent()),
    rcv: 0,
    told: [0, 1, 0],
    says: &[
        "{name} is down: 10 checks in a row failed since ",
        " (no answer); packet loss increased from 0.00% to 100.00%",
        "{name}: seq=1 no answer",
        "{name}: seq=100 no answer",
    ],
    never: &["time=", "not sent", "unreachable"],
    ..WELL
};

/// A changed answer reaches us and is counted as a stray.
const STRAY: Row = Row { strays: Some(CHECKS), ..LOST };

/// Every other check is answered, the first of them too.
const HALF: Row = Row {
    rcv: CHECKS / 2,
    strays: None,
    told: [1, 0, 0],
    says: &["Packet loss for {name} increased from 0.00% to 50.00% (10 of 20 unanswered)", "{name}: seq=2 no answer"],
    never: &["not sent"],
    ..WELL
};

const EXACT: Row = Row {
    options: "-s 100 -c 1",
    rcv: 70,
    says: &["Packet loss for {name} increased from 0.00% to 30.00% (30 of 100 unanswered)"],
    ..HALF
};

/// Every check gets an ICMP error from the router, and nothing else.
macro_rules! reason {
    ($name:literal, $v4:expr, $v6:expr, $text:literal) => {
        Row {
            says: &[
                concat!("{name}: seq=1 ", $text, ", from {from}"),
                concat!("{name}: seq=100 ", $text, ", from {from}"),
                concat!(" (", $text, ", from {from}); packet loss increased from 0.00% to 100.00%"),
            ],
            never: &["no answer", "not sent"],
            ..row($name, || each(|p| vec![error(p, $v4, $v6)]), LOST)
        }
    };
}

/// This machine cannot even send.
macro_rules! unsent {
    ($name:literal, $reason:literal) => {
        Row {
            unsent: CHECKS,
            says: &[
                concat!("{name}: seq=1 not sent: ", $reason),
                concat!("(not sent: ", $reason, "); packet loss unchanged at 0.00%"),
            ],
            never: &["no answer"],
            ..row($name, LOST.script, LOST)
        }
    };
}

/// The other end cannot be reached, says our own kernel.
const UNREACHABLE: Row = Row {
    says: &["{name}: seq=1 host unreachable", " (host unreachable", "; packet loss increased from 0.00% to 100.00%"],
    never: &["no answer", "not sent"],
    ..LOST
};

fn row(name: &'static str, script: fn() -> Script, like: Row) -> Row {
    Row { name, script, ..like }
}

/// What the far end does.
fn far_rows() -> Vec<Row> {
    const ONE_LOST: Row = Row { rcv: 99, never: &["not sent"], ..WELL };
    let says_first = &["{name}: seq=1 no answer", "{name}: seq=2 time="];
    let says_50th = &["{name}: seq=50 host unreachable, from {from}", "{name}: seq=51 time="];
    let says_once = &["{name}: seq=2 no answer", " (host unreachable, from {from}); packet loss increased"];
    vec![
        WELL,
        row("1-exact-loss", || Box::new(drop_pattern(|nth| nth % 10 < 3)), Row { strays: Some(0), ..EXACT }),
        row("2-first-lost", || Box::new(drop_pattern(|nth| nth == 0)), Row { says: says_first, ..ONE_LOST }),
        row("3-silent", LOST.script, LOST),
        row("3-silent-for-10-intervals", LOST.script, Row { options: "-w 200ms", ..LOST }),
        row("10-error-pending", || each(|p| vec![p.reply(), unreachable(p).after(ms(3))]), WELL),
        row(
            "10-one-rejected",
            || each(|p| if p.nth == 49 { vec![unreachable(p)] } else { vec![p.reply()] }),
            Row { says: says_50th, ..ONE_LOST },
        ),
        row("11-error-then-answer", || each(|p| vec![unreachable(p), p.reply().after(ms(5))]), WELL),
        reason!("12-host", (3, 1), (1, 3), "host unreachable"),
        reason!("12-net", (3, 0), (1, 0), "network unreachable"),
        reason!("12-port", (3, 3), (1, 4), "port unreachable"),
        reason!("12-prohibited", (3, 13), (1, 1), "administratively prohibited"),
        reason!("12-ttl", (11, 0), (3, 0), "time to live exceeded"),
        row(
            "12-error-once",
            || each(|p| if p.nth == 0 { vec![unreachable(p)] } else { vec![] }),
            Row { says: says_once, never: &["not sent"], ..LOST },
        ),
        row("12-error-too-late", || each(|p| vec![unreachable(p).after(ms(300))]), Row { options: "-w 100ms", ..LOST }),
        row("13-other-address", || forged(|r| r.src = address(r.src.is_ipv6(), 0xfff)), Row { strays: None, ..LOST }),
        row("14-first-byte", || forged(|r| r.payload[0] ^= 1), STRAY),
        row("14-last-byte", || forged(|r| r.payload[55] ^= 0x80), STRAY),
        row("14-emptied", || forged(|r| r.payload.clear()), STRAY),
        row("14-cut", || forged(|r| r.payload.truncate(55)), STRAY),
        row("14-longer", || forged(|r| r.payload.push(0)), STRAY),
        row("14-zeroed", || forged(|r| r.payload.fill(0)), STRAY),
        row("15-checksum", || forged(|r| r.bad_checksum = true), Row { strays: None, ..LOST }),
        // One that the kernel gives to nobody.
        row("16-identifier", || forged(|r| r.id = 0), LOST),
        row("16-never-sent", || forged(|r| r.seq += 1000), STRAY),
        row("16-answered-before", || after_each(|_, before| before.reply()), HALF),
        row("16-answered-number", || after_each(|p, before| p.reply_with(|r| r.seq = before.seq())), HALF),
        row("17-own-request", || each(|p| vec![p.request_back()]), LOST),
        row("17-own-request-too", || each(|p| vec![p.request_back(), p.reply()]), WELL),
        row("18-three-times", || Box::new(duplicate(3)), Row { strays: None, ..WELL }),
        row("18-hundred-times", || Box::new(duplicate(100)), Row { strays: None, ..WELL }),
        row("19-late", || Box::new(delay(ms(1500))), Row { options: "-w 1s", strays: None, ..LOST }),
        row("19-every-other-late", || each(|p| vec![p.reply().after(ms(3500 * (p.nth % 2)))]), HALF),
        row("20-swapped", || swapped(2), WELL),
        row("20-ten-backwards", || swapped(10), WELL),
        row("25-junk", junk, Row { strays: None, ..WELL }),
        Row { name: "length-16", options: "-l 16", seen: |p| p.payload().len() == 16, ..WELL },
        Row { name: "length-56", seen: |p| (p.payload().len(), p.tos(), p.ttl()) == (56, 0, 64), ..WELL },
        Row { name: "length-57", options: "-l 57", seen: |p| p.payload().len() == 57, ..WELL },
        Row { name: "length-8000", options: "-l 8000", seen: |p| p.payload().len() == 8000, ..WELL },
        Row { name: "ttl", options: "--ttl 7", seen: |p| p.ttl() == 7, ..WELL },
        Row { name: "tos", options: "--tos 72", seen: |p| p.tos() == 72, ..WELL },
        Row { name: "interface", options: "-I far0", seen: |p| p.src == own(p.src.is_ipv6()), ..WELL },
        Row { name: "source", options: "-I {own}", seen: |p| p.src == own(p.src.is_ipv6()), ..WELL },
        Row { options: "-I nope0", ..unsent!("no-interface", "no such interface") },
    ]
}

/// What our own kernel does.
fn kernel_rows() -> Vec<Row> {
    vec![
        Row { name: "loopback", hosts: Some(["127.0.0.1", "::1"]), ..WELL },
        Row { name: "1-firewall", hosts: Some(["10.8.0.2", "fd08::2"]), ..EXACT },
        // The kernel may limit the rate of its own errors: some checks just get no answer.
        Row {
            name: "4-nobody",
            hosts: Some(["10.8.0.9", "fd08::9"]),
            says: &[" host unreachable, from ", " (host unreachable, from "],
            never: &["not sent"],
            ..UNREACHABLE
        },
        Row { name: "5-unreachable", hosts: Some(["10.7.0.1", "fd07:0::1"]), ..UNREACHABLE },
        Row { hosts: Some(["10.7.1.1", "fd07:1::1"]), ..unsent!("5-blackhole", "blackhole route or invalid argument") },
        Row { hosts: Some(["10.7.2.1", "fd07:2::1"]), ..unsent!("5-prohibit", "prohibited by a route") },
        Row { hosts: Some(["10.7.3.1", "fd07:3::1"]), ..unsent!("5-none", "no route") },
    ]
}

lab_test!(table_of_far_faults, ["raw"], |lab| {
    each_kind(lab, |kind| run_table(lab, kind, &far_rows()));
});

lab_test!(table_of_kernel_faults, ["raw", "nft"], |lab| {
    lab.veth();
    lab.ip("ntable change name arp_cache dev own0 retrans 100");
    lab.nft("add table inet lab; add chain inet lab in { type filter hook input priority 0; }");
    lab.nft("add rule inet lab in iif own0 icmp type echo-reply numgen inc mod 10 < 3 drop");
    lab.nft("add rule inet lab in iif own0 icmpv6 type echo-reply numgen inc mod 10 < 3 drop");
    for (n, route) in ["unreachable", "blackhole", "prohibit"].iter().enumerate() {
        lab.ip(&format!("route add {route} 10.7.{n}.0/24"));
        if lab.ipv6 {
            lab.ip(&format!("route add {route} fd07:{n}::/64"));
        }
    }
    if lab.ipv6 {
        lab.ip("ntable change name ndisc_cache dev own0 retrans 100");
    }
    each_kind(lab, |kind| run_table(lab, kind, &kernel_rows()));
});

fn run_table(lab: &Lab, kind: &str, rows: &[Row]) {
    let (mut cases, mut targets) = (Vec::new(), String::new());
    for (v6, family) in families(lab) {
        for (n, row) in rows.iter().enumerate() {
            let name = format!("{}-{family}", row.name);
            let address = row.hosts.map_or(address(v6, n), |hosts| hosts[usize::from(v6)].parse().unwrap());
            let options = row.options.replace("{own}", &own(v6).to_string());
            lab.far.on(&address.to_string(), (row.script)());
            targets.push_str(&format!("{name}={address} {options}\n"));
            cases.push((row, v6, name, address));
        }
    }
    let monitor = start("-v -n 100 -i 20ms -w 3s", &targets);
    assert!(wait_until(LONG, || sockets()[usize::from(kind == "dgram")] > 2), "{kind}: {:?}", sockets());
    let ended = monitor.finish(LONG);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    let (echoes, mut wrong, mut identifiers) = (echoes(lab), Vec::new(), HashSet::new());
    for (row, v6, name, address) in &cases {
        let sent = row.hosts.is_none().then(|| echoes.get(address).map_or(&[][..], Vec::as_slice));
        let whys = check_row(row, kind, &ended, name, *v6, sent);
        wrong.extend(whys.into_iter().map(|why| format!("{kind} {name}: {why}")));
        // A raw socket's are random and may meet; it is connected, so that does no harm.
        let first = sent.and_then(|sent| sent.first()).filter(|_| kind == "dgram" && row.rcv == CHECKS);
        if first.is_some_and(|first| !identifiers.insert((*v6, first.id()))) {
            wrong.push(format!("{kind} {name}: shares an identifier"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check_row(row: &Row, kind: &str, ended: &Ended, name: &str, v6: bool, packets: Option<&[Packet]>) -> Vec<String> {
    let mut wrong = Vec::new();
    let summary = summary(&ended.stdout, name);
    let told = ["LOSS", "DOWN", "UP"].map(|kind| texts(&ended.log, name, kind).len());
    println!("{name}: {summary:?} LOSS/DOWN/UP {told:?}");
    if (summary.xmt, summary.rcv, summary.unsent) != (CHECKS - row.unsent, row.rcv, row.unsent) {
        wrong.push(format!("wanted rcv {}, unsent {}: {summary:?}", row.rcv, row.unsent));
    }
    // By chance a late answer to an identifier that was given up meets the dgram socket that has the same now.
    let chance = if kind == "dgram" { 3 } else { 0 };
    if row.strays.is_some_and(|strays| !(strays..=strays + chance).contains(&summary.strays)) {
        wrong.push(format!("wanted strays {:?}: {summary:?}", row.strays));
    }
    if told != row.told {
        wrong.push(format!("wanted LOSS/DOWN/UP {:?}: {told:?}", row.told));
    }
    let shown = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": seq="));
    let mut text: Vec<&str> = ended.stdout.lines().filter(shown).collect();
    if text.len() as u64 != CHECKS {
        wrong.push(format!("{} checks shown", text.len()));
    }
    text.extend(ended.log.lines().filter(|line| line.split(' ').nth(3) == Some(name)));
    let text = text.join("\n");
    let fill = |words: &str| words.replace("{name}", name).replace("{from}", &router(v6).to_string());
    let unsaid = row.says.iter().filter(|words| !text.contains(&fill(words))).map(|words| format!("not said: {words}"));
    let said = row.never.iter().filter(|words| text.contains(&fill(words))).map(|words| format!("said: {words}"));
    let before = wrong.len();
    wrong.extend(unsaid.chain(said));
    if wrong.len() > before {
        wrong.push(text);
    }
    let Some(packets) = packets else { return wrong };
    // At the far end: each check once, all in their slots, and one identifier while all is well.
    let checks = checks(packets);
    if checks.len() as u64 != CHECKS - row.unsent {
        wrong.push(format!("{} checks at the far end", checks.len()));
    } else if !checks.is_empty() {
        let drift = drift(&checks, INTERVAL);
        if !(-1.0..summary.gaps as f64 + 1.0).contains(&drift) {
            wrong.push(format!("late by {drift} intervals, gaps {}", summary.gaps));
        }
    }
    let identifiers: HashSet<u16> = packets.iter().map(Packet::id).collect();
    if row.rcv == CHECKS && identifiers.len() != 1 {
        wrong.push(format!("{} identifiers", identifiers.len()));
    }
    if let Some(p) = packets.iter().find(|p| !(row.seen)(p)) {
        wrong.push(format!("seen at the far end: {p:?}"));
    }
    wrong
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn each(script: fn(&Packet) -> Vec<Out>) -> Script {
    Box::new(script)
}

fn forged(change: fn(&mut Reply)) -> Script {
    Box::new(move |p| vec![p.reply_with(change)])
}

/// Answers every other request; to those between it sends what `forge` makes of them and the one before.
fn after_each(forge: fn(&Packet, &Packet) -> Out) -> Script {
    let mut before: Option<Packet> = None;
    Box::new(move |p| match before.take() {
        Some(before) => vec![forge(p, &before)],
        None => {
            before = Some(p.clone());
            vec![p.reply()]
        }
    })
}

/// Holds back answers until there are `many`, and sends the newest first.
fn swapped(many: usize) -> Script {
    let mut held = Vec::new();
    Box::new(move |p| {
        held.push(p.reply());
        if held.len() < many { Vec::new() } else { held.drain(..).rev().collect() }
    })
}

/// Datagrams of every length from 0 to 1,999, half of them with the right header of an answer; then the true answer.
fn junk() -> Script {
    let (mut length, mut x) = (0, 1_u32);
    Box::new(move |p| {
        let mut outs = Vec::new();
        for turn in 0..20 {
            let mut body = Vec::new();
            if turn % 2 == 0 {
                body.extend([if p.src.is_ipv4() { 0 } else { 129 }, 0, 0, 0]);
                body.extend([p.id().to_be_bytes(), p.seq().to_be_bytes()].concat());
            }
            body.resize_with(length, || {
                x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (x >> 24) as u8
            });
            length += 1;
            outs.push(p.icmp(&body, turn % 4 < 3));
        }
        outs.push(p.reply());
        outs
    })
}

/// An ICMP error from the router, with type and code of the request's family.
fn error(p: &Packet, v4: (u8, u8), v6: (u8, u8)) -> Out {
    let (icmp_type, code) = if p.src.is_ipv4() { v4 } else { v6 };
    p.error(icmp_type, code, router(p.src.is_ipv6()))
}

fn unreachable(p: &Packet) -> Out {
    p.host_unreachable(router(p.src.is_ipv6()))
}

/// Address `n` of the far end.
fn address(v6: bool, n: usize) -> IpAddr {
    if v6 { format!("fd09::1:{n:x}") } else { format!("10.9.{}.{}", 1 + n / 250, 1 + n % 250) }.parse().unwrap()
}

fn own(v6: bool) -> IpAddr {
    if v6 { "fd09::1" } else { "10.9.0.1" }.parse().unwrap()
}

fn router(v6: bool) -> IpAddr {
    if v6 { "fd09::fe" } else { "10.9.0.254" }.parse().unwrap()
}

/// Whether it is IPv6, and its name, for each family that the kernel has.
fn families(lab: &Lab) -> Vec<(bool, &'static str)> {
    [(false, "v4"), (true, "v6")].into_iter().filter(|(v6, _)| !v6 || lab.ipv6).collect()
}

/// A target line for each family.
fn pair(lab: &Lab, v4: &str, v6: &str) -> String {
    if lab.ipv6 { format!("v4={v4}\nv6={v6}\n") } else { format!("v4={v4}\n") }
}

/// Runs a test with raw sockets, then with dgram sockets. The laboratory must have been asked for `raw`.
fn each_kind(lab: &Lab, body: impl Fn(&str)) {
    for kind in ["raw", "dgram"] {
        if kind == "dgram" {
            lab.dgram();
        }
        lab.far.forget();
        println!("--- {kind}");
        body(kind);
    }
}

/// How many sockets of each kind this namespace has: raw, dgram.
fn sockets() -> [usize; 2] {
    let read = |name: String| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
    let count = |name: String| read(name).lines().skip(1).count();
    ["raw", "icmp"].map(|table| count(table.to_owned()) + count(format!("{table}6")))
}

/// Starts it with target lines by stdin.
fn start(args: &str, targets: &str) -> Monitor {
    let mut words: Vec<&str> = args.split_whitespace().collect();
    words.extend(["-f", "-"]);
    Monitor::with(&words).stdin(targets).start()
}

/// The fields of each line of the log: time, number, kind, target, text.
fn lines(log: &str) -> Vec<[&str; 5]> {
    let fields = log.lines().map(|line| line.splitn(5, ' ').collect::<Vec<_>>().try_into());
    fields.map(|fields| fields.unwrap_or_else(|_| panic!("not a log: {log}"))).collect()
}

/// The texts of one kind about one target.
fn texts<'a>(log: &'a str, target: &str, kind: &str) -> Vec<&'a str> {
    lines(log).into_iter().filter(|line| line[2..4] == [kind, target]).map(|line| line[4]).collect()
}

/// Waits until there are `n` lines of this kind.
fn wait_told(monitor: &mut Monitor, kind: &str, n: usize) {
    let told = |log: &str| log.lines().filter(|line| line.split(' ').nth(2) == Some(kind)).count();
    assert!(monitor.wait_line(|all| told(&all.log) >= n, LONG), "{:#?}", monitor.output());
}

/// Nothing else is in the log, but that the machine was slow.
fn only(log: &str, allowed: &[&str]) {
    assert!(lines(log).iter().all(|line| allowed.contains(&line[2]) || line[2] == "GAP"), "{log}");
}

#[derive(Debug, Default, PartialEq)]
struct Summary {
    xmt: u64,
    rcv: u64,
    unsent: u64,
    gaps: u64,
    strays: u64,
}

/// The target's line at the end.
fn summary(stdout: &str, name: &str) -> Summary {
    let find = |line: &str| {
        let (who, counts) = line.split_once(" : xmt/rcv/%loss = ")?;
        (who.trim_end() == name).then(|| counts.to_owned())
    };
    let counts = stdout.lines().find_map(find).unwrap_or_else(|| panic!("no summary of {name}: {stdout}"));
    let mut parts = counts.split(", ");
    let loss: Vec<u64> =
        parts.next().unwrap().trim_end_matches('%').split('/').map(|number| number.parse().unwrap()).collect();
    let mut summary = Summary { xmt: loss[0], rcv: loss[1], ..Summary::default() };
    assert_eq!(loss[2], ((loss[0] - loss[1]) * 100).checked_div(loss[0]).unwrap_or(0), "{counts}");
    for part in parts {
        match part.split_once(' ').unwrap() {
            ("min/avg/max", _) => assert!(summary.rcv > 0, "{counts}"),
            ("unsent", n) => summary.unsent = n.parse().unwrap(),
            ("gaps", n) => summary.gaps = n.parse().unwrap(),
            ("strays", n) => summary.strays = n.parse().unwrap(),
            _ => panic!("unknown: {counts}"),
        }
    }
    summary
}

/// Every echo request that the far end has seen, by address, oldest first.
fn echoes(lab: &Lab) -> HashMap<IpAddr, Vec<Packet>> {
    let mut all: HashMap<IpAddr, Vec<Packet>> = HashMap::new();
    for packet in ["10.9.0.0/16", "fd09::/64"].iter().flat_map(|prefix| lab.far.seen(prefix)) {
        if packet.is_echo() {
            all.entry(packet.dst).or_default().push(packet);
        }
    }
    all
}

/// The first request of each check: while a target is down, a second may go out under its old identifier.
fn checks(packets: &[Packet]) -> Vec<&Packet> {
    let mut seen = HashSet::new();
    packets.iter().filter(|p| seen.insert(p.seq())).collect()
}

/// By how many intervals the last checks are later than the first ones and the interval say. Medians: one packet may be
/// held up on the way.
fn drift(checks: &[&Packet], interval: Duration) -> f64 {
    let offset = |p: &&Packet| {
        let due = interval * u32::from(p.seq() - checks[0].seq());
        p.at.duration_since(checks[0].at).as_secs_f64() - due.as_secs_f64()
    };
    let quarter = checks.len().div_ceil(4);
    let median = |part: &[&Packet]| {
        let mut offsets: Vec<f64> = part.iter().map(offset).collect();
        offsets.sort_by(f64::total_cmp);
        offsets[offsets.len() / 2]
    };
    (median(&checks[checks.len() - quarter..]) - median(&checks[..quarter])) / interval.as_secs_f64()
}

// Nothing but true answers, and an end by Ctrl-C: no strays, no loss, checks on their way count nowhere. Two targets at one
// address do not trouble each other.
lab_test!(healthy_targets_see_no_strays, ["raw"], |lab| {
    lab.far.on("10.9.0.0/16", answer());
    lab.far.on("fd09::/64", answer());
    each_kind(lab, |_| {
        let targets = pair(lab, "10.9.0.5", "fd09::5");
        let targets = format!("{targets}{}", targets.replace("v4=", "same4=").replace("v6=", "same6="));
        let monitor = start("-i 20ms -w 5s", &targets);
        assert!(lab.far.wait_count("10.9.0.5", "echo", 100, LONG));
        let ended = monitor.stop();
        assert_eq!(ended.code, Some(0));
        for name in targets.lines().map(|line| line.split('=').next().unwrap()) {
            let Summary { xmt, gaps, .. } = summary(&ended.stdout, name);
            assert!(xmt + gaps > 20, "{name}: {}", ended.stdout);
            assert_eq!(summary(&ended.stdout, name), Summary { xmt, rcv: xmt, gaps, ..Summary::default() });
        }
        only(&ended.log, &["START", "STOP"]);
        for packets in echoes(lab).values() {
            let identifiers: HashSet<u16> = packets.iter().map(Packet::id).collect();
            assert_eq!(identifiers.len(), 2, "one for each target");
        }
    });
});

// Row 6: checks are sent again within 2 s after the link is up.
lab_test!(link_down_and_up, ["raw"], |lab| {
    each_kind(lab, |_| {
        let (mut targets, mut list) = (Vec::new(), String::new());
        for (v6, family) in families(lab) {
            for (n, option) in ["", "-I far0", "-I {own}"].iter().enumerate() {
                let (name, address) = (format!("t{n}-{family}"), address(v6, n).to_string());
                lab.far.on(&address, answer());
                list.push_str(&format!("{name}={address} {}\n", option.replace("{own}", &own(v6).to_string())));
                targets.push((name, address));
            }
        }
        let mut monitor = start("-i 50ms -w 500ms", &list);
        let seen = |n| wait_until(LONG, || targets.iter().all(|(_, address)| lab.far.count(address, "echo") >= n));
        assert!(seen(20));
        lab.far_down();
        wait_told(&mut monitor, "DOWN", targets.len());
        // Not only at once.
        thread::sleep(ms(1000));
        lab.far.forget();
        let up = Instant::now();
        lab.far_up();
        assert!(seen(1), "{:#?}", monitor.output());
        let first = echoes(lab).values().map(|packets| packets[0].at.duration_since(up)).max().unwrap();
        wait_told(&mut monitor, "UP", targets.len());
        let ended = monitor.stop();
        println!("sent again {first:?} after the link was up");
        for (name, _) in &targets {
            let summary = summary(&ended.stdout, name);
            assert!(first < ms(2000 + 50 * summary.gaps), "{first:?}");
            assert!(summary.unsent > 10 && summary.rcv > 20, "{}", ended.stdout);
            assert!(texts(&ended.log, name, "DOWN")[0].contains("(not sent: "), "{}", ended.log);
        }
    });
});

// Row 7: the address that the sockets had is gone, another is there. The timeout is two intervals, as by default.
lab_test!(own_address_is_replaced, ["raw"], |lab| {
    lab.veth();
    each_kind(lab, |kind| {
        let mut monitor = start("-v -n 20 -i 200ms -w 400ms", &pair(lab, "10.8.0.2", "fd08::2"));
        assert!(monitor.wait_line(|all| all.stdout.contains("v4: seq=5 time="), LONG), "{:#?}", monitor.output());
        let (old, new) = if kind == "raw" { (1, 3) } else { (3, 4) };
        let mut script = format!("ip addr del 10.8.0.{old}/24 dev own0; ip addr add 10.8.0.{new}/24 dev own0;");
        if lab.ipv6 {
            script.push_str(&format!("ip addr del fd08::{old}/64 dev own0; ip addr add fd08::{new}/64 dev own0 nodad"));
        }
        command("sh", &["-c", &script]).unwrap();
        let ended = monitor.finish(LONG);
        for (_, name) in families(lab) {
            let summary = summary(&ended.stdout, name);
            println!("{name} {summary:?}");
            assert!(ended.stdout.contains(&format!("{name}: seq=20 time=")), "{}", ended.stdout);
            assert_eq!(summary.xmt + summary.unsent, 20);
            assert!(summary.rcv >= 17, "{}", ended.stdout);
        }
        only(&ended.log, &["LOSS"]);
    });
});

// Row 8: our own firewall. And after a send error, a fresh identifier.
lab_test!(output_firewall_is_no_loss, ["raw", "nft"], |lab| {
    lab.far.on("10.9.0.0/16", answer());
    lab.far.on("fd09::/64", answer());
    each_kind(lab, |_| {
        let count = families(lab).len();
        let mut monitor = start("-i 20ms -w 5s", &pair(lab, "10.9.0.5", "fd09::5"));
        assert!(wait_until(LONG, || echoes(lab).values().filter(|packets| packets.len() >= 30).count() == count));
        lab.nft("add table inet lab; add chain inet lab out { type filter hook output priority 0; policy drop; }");
        wait_told(&mut monitor, "DOWN", count);
        let before = echoes(lab);
        lab.far.forget();
        lab.nft("delete table inet lab");
        wait_told(&mut monitor, "UP", count);
        let (ended, after) = (monitor.stop(), echoes(lab));
        for (_, name) in families(lab) {
            let summary = summary(&ended.stdout, name);
            // IPv6 by dgram sockets, too, where the kernel says of each that it was sent.
            assert_eq!((summary.rcv, summary.unsent >= 10), (summary.xmt, true), "{}", ended.stdout);
            let reason = "(not sent: not permitted by this machine (firewall?)); packet loss unchanged at 0.00%";
            assert!(texts(&ended.log, name, "DOWN")[0].ends_with(reason), "{}", ended.log);
        }
        assert_eq!(after.len(), count);
        for (address, packets) in after {
            // The last: while it was down, requests under the old identifier went along with the checks.
            assert!(packets.last().unwrap().id() != before[&address].last().unwrap().id(), "the old identifier");
        }
        only(&ended.log, &["START", "DOWN", "UP", "STOP"]);
    });
});

// Row 9: the queue of the interface is full.
lab_test!(full_send_queue_is_no_loss, ["raw", "tc"], |lab| {
    let peer = lab.veth();
    // Neighbours for good: their discovery must not be dropped too.
    let link = peer.ip("link show own1");
    let mac = link.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).unwrap();
    for (v6, _) in families(lab) {
        let host = if v6 { "fd08::2" } else { "10.8.0.2" };
        lab.ip(&format!("neigh replace {host} lladdr {mac} nud permanent dev own0"));
    }
    if let Err(why) = command("sh", &["-c", "tc qdisc add dev own0 root tbf rate 8kbit burst 1600 limit 300"]) {
        return lab.skip(&why);
    }
    each_kind(lab, |_| {
        let ended = start("-v -n 100 -i 20ms -w 10s -ct 0", &pair(lab, "10.8.0.2", "fd08::2")).finish(LONG);
        for (_, name) in families(lab) {
            let summary = summary(&ended.stdout, name);
            println!("{name} {summary:?}");
            // IPv6 by dgram sockets, too, where the kernel says of each that it was sent.
            assert_eq!((summary.xmt, summary.xmt + summary.unsent), (summary.rcv, 100), "{name}");
            assert!(summary.unsent > 0, "{name}: {summary:?}");
            assert!(ended.stdout.contains(" not sent: send queue is full"), "{}", ended.stdout);
        }
        only(&ended.log, &[]);
    });
});

// Row 21: the answers of one do not bring the other's target to life.
lab_test!(two_monitors_with_one_process_id, ["raw"], |lab| {
    lab.far.on("10.9.0.5", answer());
    lab.far.on("fd09::5", answer());
    let run = |targets: String| {
        Monitor::with(&["-f", "-", "-n", "100", "-i", "20ms", "-w", "3s"])
            .under(&["unshare", "--pid", "--fork", "--kill-child", "--"])
            .stdin(&targets)
            .start()
    };
    let (alive, dead) = (run(pair(lab, "10.9.0.5", "fd09::5")), run(pair(lab, "10.9.0.6", "fd09::6")));
    let (alive, dead) = (alive.finish(LONG), dead.finish(LONG));
    assert_eq!((alive.code, dead.code), (Some(0), Some(1)), "{} {}", alive.stderr, dead.stderr);
    for (_, name) in families(lab) {
        let (alive, silent) = (summary(&alive.stdout, name), summary(&dead.stdout, name));
        assert_eq!((alive.xmt, alive.rcv, silent.xmt, silent.rcv), (100, 100, 100, 0));
        assert_eq!((texts(&dead.log, name, "DOWN").len(), texts(&dead.log, name, "UP").len()), (1, 0));
    }
});

// Row 22: what arrived while we were stopped had arrived in time.
lab_test!(stopped_for_four_seconds, ["raw"], |lab| {
    lab.far.on("10.9.0.0/16", delay(ms(300)));
    lab.far.on("fd09::/64", delay(ms(300)));
    let begin = |host: &str| {
        let monitor = start("-i 200ms -w 2s", &pair(lab, host, &host.replace("10.9.0.", "fd09::")));
        assert!(lab.far.wait_count(host, "echo", 5, LONG));
        monitor
    };
    let raw = begin("10.9.0.5");
    lab.dgram();
    let monitors = [raw, begin("10.9.0.6")];
    assert!(sockets().iter().all(|count| *count > 0), "one of each kind: {:?}", sockets());
    monitors.iter().for_each(|monitor| monitor.signal(libc::SIGSTOP));
    thread::sleep(ms(4000));
    monitors.iter().for_each(|monitor| monitor.signal(libc::SIGCONT));
    lab.far.forget();
    for host in ["10.9.0.5", "10.9.0.6"] {
        assert!(lab.far.wait_count(host, "echo", 10, LONG));
    }
    for ended in monitors.map(Monitor::stop) {
        for (_, name) in families(lab) {
            let summary = summary(&ended.stdout, name);
            assert_eq!((summary.xmt, summary.unsent, summary.strays), (summary.rcv, 0, 0), "{}", ended.stdout);
            assert!(summary.rcv >= 10 && summary.gaps >= 15, "{}", ended.stdout);
            // "v4 was not checked for 4s: this machine slept through 20 checks"; a slow machine may add short ones.
            let slept = texts(&ended.log, name, "GAP");
            assert!(slept.iter().all(|text| text.starts_with(&format!("{name} was not checked for "))), "{slept:?}");
            let slots = |text: &&str| -> u64 { text.split(' ').nth_back(1).unwrap().parse().unwrap() };
            assert_eq!(slept.iter().map(slots).filter(|slots| *slots >= 15).count(), 1, "{slept:?}");
            assert!(slept.iter().map(slots).sum::<u64>() <= summary.gaps, "{}", ended.log);
        }
        only(&ended.log, &["START", "STOP"]);
    }
});

// Row 23: every slot of each of 1,000 targets is used.
lab_test!(a_thousand_targets, ["raw"], |lab| {
    lab.far.on("10.9.0.0/16", answer());
    lab.far.on("fd09::/64", answer());
    each_kind(lab, |kind| {
        let target = |n: usize| (format!("t{n}"), address(lab.ipv6 && n % 2 == 1, n));
        let targets: String = (0..1000).map(target).map(|(name, address)| format!("{name}={address}\n")).collect();
        let ended = start("-n 4 -i 1s -w 5s", &targets).finish(LONG);
        let (echoes, mut gaps, mut identifiers) = (echoes(lab), 0, HashSet::new());
        for (name, address) in (0..1000).map(target) {
            let (summary, packets) = (summary(&ended.stdout, &name), &echoes[&address]);
            assert_eq!((summary.xmt, packets.len()), (4, 4), "{name} {summary:?}");
            assert_eq!((summary.rcv, summary.unsent), (4, 0), "{name} {summary:?} {packets:#?}");
            let span = packets[3].at.duration_since(packets[0].at).as_secs_f64();
            assert!((span - 3.0 - summary.gaps as f64).abs() < 1.0, "{name}: {span} s, {summary:?}");
            let id = packets[0].id();
            assert!(packets.iter().all(|p| p.id() == id), "{name}");
            // A raw socket's are random and may meet; it is connected, so that does no harm.
            assert!(identifiers.insert((address.is_ipv6(), id)) || kind == "raw", "{name} shares an identifier");
            gaps += summary.gaps;
        }
        println!("gaps {gaps}, identifiers {}", identifiers.len());
        only(&ended.log, &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    });
});

// A fresh identifier after three unanswered checks in a row, and not before; it heals a stale NAT session.
lab_test!(silence_brings_a_fresh_identifier, ["raw"], |lab| {
    each_kind(lab, |_| {
        let mut targets = String::new();
        for (v6, family) in families(lab) {
            let at = |n| address(v6, n).to_string();
            lab.far.on(&at(1), drop_pattern(|nth| nth % 3 != 0));
            // Deaf, from the 20th packet on, for the identifier that it knows.
            let mut known = 0;
            lab.far.on(&at(2), move |p: &Packet| {
                known = if p.nth < 20 { p.id() } else { known };
                if p.nth >= 20 && p.id() == known { vec![] } else { vec![p.reply()] }
            });
            let list = format!("silent={}\ntwo={} -w 2s\nnat={} -ct 3\n", at(0), at(1), at(2));
            targets.push_str(&list.replace('=', &format!("-{family}=")));
        }
        let ended = start("-n 38 -i 100ms -w 80ms", &targets).finish(LONG);
        let echoes = echoes(lab);
        for (v6, family) in families(lab) {
            let ids = |n| -> Vec<u16> { echoes[&address(v6, n)].iter().map(Packet::id).collect() };
            let runs: Vec<usize> = ids(0).chunk_by(|a, b| a == b).map(<[u16]>::len).collect();
            println!("checks by identifier: {runs:?}");
            // Longer where the machine was slow: that check was due before the third was given up.
            assert!(runs[0] >= 3 && (8..=13).contains(&runs.len()), "{runs:?}");
            assert_eq!(runs.iter().sum::<usize>(), 38);
            assert!(ids(1).iter().all(|id| *id == ids(1)[0]), "two in a row change nothing");
            let (name, told) = (format!("nat-{family}"), "answers again since a new identifier: a stale NAT session?");
            assert!(texts(&ended.log, &name, "UP").iter().any(|text| text.contains(told)), "{}", ended.log);
            assert!(summary(&ended.stdout, &name).rcv > 15, "{}", ended.stdout);
        }
    });
});

/// The text with its times, which differ from run to run, checked and taken out.
fn timeless(text: &str) -> String {
    let since = text.split_once(" since ").map(|(_, rest)| rest.split_once(' ').unwrap().0);
    let span = text.split_once(" after ").map(|(_, rest)| rest.split_once(" down ").unwrap().0);
    if let Some(time) = since {
        // With the date, if it is another day than that of the event.
        let whole = format!("2026-11-22T{}", time.rsplit('T').next().unwrap());
        assert!(humantime::parse_rfc3339(&whole).is_ok() && whole.len() == 20, "{text}");
    }
    assert!(span.is_none_or(|span| humantime::parse_duration(span).is_ok()), "{text}");
    text.replacen(since.unwrap_or("TIME"), "TIME", 1).replacen(span.unwrap_or("SPAN"), "SPAN", 1)
}

// DOWN, UP and LOSS, whole, in the log and at Slack.
lab_test!(notifications_in_log_and_slack, |lab| {
    let slack = Slack::start(vec![]);
    let (open, mut targets, mut outages) = (Arc::new(AtomicBool::new(false)), String::new(), Vec::new());
    for (v6, family) in families(lab) {
        let (gw, lossy, dropped) =
            (address(v6, 0).to_string(), address(v6, 1).to_string(), Arc::new(AtomicU64::new(0)));
        let (opened, drops, mut last) = (open.clone(), dropped.clone(), 0);
        // 40 answers, then none until it is opened; a check may bring a second request, under its old identifier.
        lab.far.on(&gw, move |p: &Packet| {
            if p.nth < 40 || opened.load(Ordering::SeqCst) {
                return vec![p.reply()];
            }
            drops.fetch_add(u64::from(p.seq() != last), Ordering::SeqCst);
            last = p.seq();
            vec![]
        });
        lab.far.on(&lossy, drop_pattern(|nth| nth % 10 < 3));
        targets.push_str(&format!("gw-{family}={gw} -c 50\nlossy-{family}={lossy} -c 1 -s 100\n"));
        outages.push((format!("gw-{family}"), format!("lossy-{family}"), dropped));
    }
    let monitor = start(&format!("-i 20ms -w 3s --slack-url {}", slack.url()), &targets);
    let wait = |text: String| assert!(slack.wait_delivered(&text, LONG), "{text}: {:#?}", monitor.output());
    outages.iter().for_each(|(gw, ..)| wait(format!("{gw} is down")));
    open.store(true, Ordering::SeqCst);
    outages.iter().for_each(|(gw, ..)| wait(format!("{gw} is up")));
    outages.iter().for_each(|(_, lossy, _)| wait(format!("{lossy} increased")));
    let ended = monitor.stop();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert!(ended.stdout.starts_with(&ended.log), "{}", ended.stdout);
    only(&ended.log, &["START", "LOSS", "DOWN", "UP", "STOP"]);
    let all = lines(&ended.log);
    for (number, line) in (1..).zip(&all) {
        assert_eq!(line[1], format!("#{number}"));
    }
    let names: Vec<String> = outages.iter().map(|(gw, lossy, _)| format!("{gw}, {lossy}")).collect();
    let text = format!("Monitoring {} targets: {}", names.len() * 2, names.join(", "));
    assert_eq!(texts(&ended.log, "-", "START"), [text]);
    assert_eq!(texts(&ended.log, "-", "STOP"), ["Monitoring stops: SIGINT"]);
    for (gw, lossy, dropped) in &outages {
        let said = |target: &str, kind: &str| -> Vec<String> {
            texts(&ended.log, target, kind).into_iter().map(timeless).collect()
        };
        let failed = dropped.load(Ordering::SeqCst);
        let down = "10 checks in a row failed since TIME (no answer); packet loss increased from 0.00% to 20.00%";
        let up = format!("after SPAN down ({failed} checks failed); packet loss decreased from 20.00% to 0.00%");
        let loss = format!("Packet loss for {lossy} increased from 0.00% to 30.00% (30 of 100 unanswered)");
        assert_eq!(said(gw, "DOWN"), [format!("{gw} is down: {down}")]);
        assert_eq!(said(gw, "UP"), [format!("{gw} is up {up}")]);
        assert_eq!(said(lossy, "LOSS"), [loss]);
        assert_eq!((said(gw, "LOSS").len(), said(lossy, "DOWN").len()), (0, 0), "{}", ended.log);
    }
    // Slack got each but STOP once, in order, with the time of the log.
    let delivered = slack.delivered_texts().join("\n");
    let shown: Vec<&str> = delivered.lines().filter(|line| line.starts_with("<!date^")).collect();
    let wanted = all.iter().filter(|line| !["STOP", "GAP"].contains(&line[2])).map(|[time, .., text]| {
        let unix = humantime::parse_rfc3339(time).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        format!("<!date^{unix}^{{date_short_pretty}} {{time_secs}}|{}> {text}", time.replace('T', " "))
    });
    assert_eq!(shown, wanted.collect::<Vec<_>>());
});

/// Voluntary and other context switches of the thread with this name.
fn switches(pid: u32, thread: &str) -> u64 {
    let statuses = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let text = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("status")).unwrap_or_default();
    let status = statuses.flatten().map(text).find(|text| text.starts_with(&format!("Name:\t{thread}\n"))).unwrap();
    let count = |line: &str| line.split_once("ctxt_switches:").map_or(0, |(_, n)| n.trim().parse().unwrap());
    status.lines().map(count).sum()
}

lab_test!(
    #[ignore = "a minute"]
    hundred_mixed_targets_for_a_minute,
    |lab| {
        lab.far.on("10.9.0.0/16", answer());
        lab.far.on("fd09::/64", answer());
        let slack = Slack::start(vec![]);
        let listeners: Vec<TcpListener> = (0..33).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let target = |n: usize| match n % 3 {
            0 => format!("t{n}={}", address(false, n)),
            1 => format!("t{n}={}", address(lab.ipv6, n)),
            _ => format!("t{n}={}", listeners[n / 3].local_addr().unwrap()),
        };
        let targets = (0..100).map(target).collect::<Vec<_>>().join("\n");
        for listener in &listeners {
            let listener = listener.try_clone().unwrap();
            thread::spawn(move || listener.incoming().for_each(drop));
        }
        let begun = Instant::now();
        let monitor = start(&format!("--slack-url {}", slack.url()), &targets);
        assert!(slack.wait_delivered("Monitoring 100 targets", LONG));
        thread::sleep(Duration::from_secs(3));
        let before = switches(monitor.pid(), "writer");
        thread::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed()));
        let after = switches(monitor.pid(), "writer");
        let ended = monitor.stop();
        let passed = begun.elapsed().as_secs();
        let counts: Vec<Summary> = (0..100).map(|n| summary(&ended.stdout, &format!("t{n}"))).collect();
        let sum = |of: fn(&Summary) -> u64| counts.iter().map(of).sum::<u64>();
        println!("checks {}, answered {}, gaps {}", sum(|s| s.xmt), sum(|s| s.rcv), sum(|s| s.gaps));
        println!("{passed} s; the writer was switched {before} times at first, {after} at the end");
        for summary in &counts {
            assert_eq!((summary.xmt, summary.unsent, summary.strays), (summary.rcv, 0, 0), "{summary:?}");
            assert!((58..=passed + 1).contains(&(summary.xmt + summary.gaps)), "{summary:?}");
        }
        if sum(|s| s.gaps) == 0 {
            assert_eq!(after, before, "healthy targets woke the writer");
        }
        only(&ended.log, &["START", "STOP"]);
    }
);
