//! TCP checks, end to end: the real program against the far end of the laboratory.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::far::{Far, tcp_accept, tcp_refuse};
use lab::packet::{Kind, Out, Packet};
use lab::run::{Monitor, counts, run, told};
use lab::slack::Slack;
use lab::{Lab, lab_test, wait_until};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, UNIX_EPOCH};

const LONG: Duration = Duration::from_secs(30);

/// A family of addresses, by what it has at the same place.
struct Family {
    name: &'static str,
    far: &'static str,
    router: &'static str,
    lo: &'static str,
    /// No route leads there.
    nowhere: &'static str,
}

/// The families of this machine.
fn families(lab: &Lab) -> &'static [Family] {
    const BOTH: [Family; 2] = [
        Family { name: "v4", far: "10.9.1.", router: "10.9.0.254", lo: "127.0.0.1", nowhere: "192.0.2.1" },
        Family { name: "v6", far: "fd09::1:", router: "fd09::fe", lo: "::1", nowhere: "2001:db8::1" },
    ];
    &BOTH[..if lab.ipv6 { 2 } else { 1 }]
}

impl Family {
    /// An address of the far end.
    fn far(&self, number: u32) -> String {
        format!("{}{number}", self.far)
    }
}

/// A target word: an address and a port.
fn at(address: &str, port: u16) -> String {
    SocketAddr::new(address.parse().unwrap(), port).to_string()
}

/// A text in which times are replaced by their shape: `TIME`, `SPAN` (also for `1m 5s`), `(MS ms)`.
fn shape(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        for word in line.split(' ') {
            let last = words.last().copied().unwrap_or_default();
            let time = if word.len() == 9 { format!("2026-01-01T{word}") } else { word.to_owned() };
            if time.len() == 20 && humantime::parse_rfc3339(&time).is_ok() {
                words.push("TIME");
            } else if humantime::parse_duration(word).is_ok() {
                words.extend((last != "SPAN").then_some("SPAN"));
            } else if word == "ms)" && last.strip_prefix('(').is_some_and(|ms| ms.parse::<f64>().is_ok()) {
                words.pop();
                words.push("(MS ms)");
            } else {
                words.push(word);
            }
        }
        words.join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// When each connection to an address began: a SYN that is repeated counts once.
fn begun(lab: &Lab, addresses: &str) -> HashMap<IpAddr, Vec<Instant>> {
    let (mut known, mut begun) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
    for packet in lab.far.seen(addresses) {
        if matches!(&packet.kind, Kind::Syn(tcp) if known.insert((packet.dst, tcp.from, tcp.seq))) {
            begun.entry(packet.dst).or_default().push(packet.at);
        }
    }
    begun
}

/// As `tcp_accept`, but the first SYN of each address is lost.
fn accept_second() -> impl FnMut(&Packet) -> Vec<Out> + Send {
    let mut accept = tcp_accept();
    move |packet| if packet.is_syn() && packet.nth == 0 { Vec::new() } else { accept(packet) }
}

lab_test!(down_and_up_are_told_in_full, |lab| {
    let mut runs = Vec::new();
    for family in families(lab) {
        for (number, label) in [(5, None), (6, Some("db"))] {
            let address = family.far(number);
            lab.far.on(&address, tcp_refuse());
            let slack = Slack::start(Vec::new());
            let word = at(&address, 5432);
            let (name, host) = label.map_or((word.clone(), address.clone()), |db: &str| (db.into(), db.into()));
            let word = label.map_or(word.clone(), |label| format!("{label}={word}"));
            let monitor = Monitor::start(&["-i", "200ms", "--slack-url", &slack.url(), &word]);
            runs.push((address, name, host, slack, monitor));
        }
    }
    for (address, _, _, slack, _) in &runs {
        assert!(slack.wait_delivered("is failing", LONG), "{address}");
        lab.far.on(address, tcp_accept());
    }
    for (address, name, host, slack, monitor) in runs {
        assert!(slack.wait_delivered("succeeded", LONG), "{address}");
        let ended = monitor.stop();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        // Connections until the script was changed, which starts `nth` anew.
        let syns = lab.far.seen(&address).into_iter().filter(Packet::is_syn).skip(1);
        let failed = 1 + syns.take_while(|packet| packet.nth > 0).count();
        let (lines, stop) = ended.log.split_at(1 + ended.log.trim_end().rfind('\n').unwrap());
        let wanted = format!(
            "TIME #1 START - Monitoring 1 target: {name}\n\
             TIME #2 DOWN {name} TCP connection to {host} is failing on port 5432: \
             3 checks in a row failed since TIME (connection refused)\n\
             TIME #3 UP {name} TCP connection to {host} succeeded on port 5432 after SPAN down ({failed} checks failed)\n"
        );
        assert_eq!(shape(lines), wanted);
        assert!(shape(stop).starts_with("TIME #4 STOP - "), "{stop}");
        assert!(ended.stdout.starts_with(&ended.log), "stdout shows the log: {}", ended.stdout);
        // Slack has the same texts (all but STOP), each with the time of its line.
        let posted = slack.delivered_texts().join("\n");
        assert_eq!(posted.lines().count(), 3, "{posted}");
        assert!(posted.lines().zip(lines.lines()).all(|(posted, line)| is_for(posted, line)), "{posted}\n{lines}");
    }
});

/// Is this what Slack must be sent for that line of the log: its time (the fallback is free) and its text?
fn is_for(posted: &str, line: &str) -> bool {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let unix = humantime::parse_rfc3339(words[0]).unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (date, rest) = posted.split_once('|').expect(posted);
    date == format!("<!date^{unix}^{{date_short_pretty}} {{time_secs}}") && rest.split_once("> ").unwrap().1 == words[4]
}

type Script = Box<dyn FnMut(&Packet) -> Vec<Out> + Send>;

/// ICMP errors come a little later, as over any network: not while connect(2) still holds the socket.
fn icmp(error: impl Fn(&Packet) -> Out + Send + 'static) -> Script {
    Box::new(move |packet| vec![error(packet).after(Duration::from_millis(2))])
}

lab_test!(reasons_are_told_apart, |lab| {
    let (mut file, mut cases, mut full) = (String::new(), Vec::new(), Vec::new());
    for family in families(lab) {
        let router: IpAddr = family.router.parse().unwrap();
        // Type 3 code 0, in IPv6 "no route to destination".
        let net = if router.is_ipv4() { (3, 0) } else { (1, 0) };
        let scripts: [(u32, Script); 5] = [
            (1, Box::new(tcp_refuse())),
            (2, icmp(move |packet| packet.port_unreachable(router))),
            (3, icmp(move |packet| packet.host_unreachable(router))),
            (4, icmp(move |packet| packet.prohibited(router))),
            (5, icmp(move |packet| packet.error(net.0, net.1, router))),
        ];
        for (number, script) in scripts {
            lab.far.on(&family.far(number), script);
        }
        for (number, kind) in [(11, "unreachable"), (12, "blackhole"), (13, "prohibit")] {
            lab.ip(&format!("route add {kind} {}", family.far(number)));
        }
        full.push(lab::full_listener(&at(family.lo, 0)));
        let port = full.last().unwrap().0.local_addr().unwrap().port();
        let far = |number| at(&family.far(number), 80);
        for (name, target, reason) in [
            ("reset", far(1), "connection refused"),
            ("closed", at(family.lo, 9), "connection refused"),
            ("port", far(2), "port unreachable"),
            ("host", far(3), "host unreachable"),
            ("prohibited", far(4), "administratively prohibited"),
            ("net", far(5), "network unreachable"),
            ("silent", far(6), "timed out"),
            ("full", at(family.lo, port), "timed out"),
            ("unreachable", far(11), "host unreachable"),
            ("blackhole", far(12), "not sent: blackhole route or invalid argument"),
            ("prohibit", far(13), "not sent: prohibited by a route"),
            ("nowhere", at(family.nowhere, 80), "not sent: no route"),
        ] {
            let name = format!("{name}-{}", family.name);
            let timeout = if reason == "timed out" { "300ms" } else { "10s" };
            file.push_str(&format!("{name}={target} --timeout {timeout}\n"));
            cases.push((name, target.rsplit_once(':').unwrap().1.to_owned(), reason));
        }
    }
    let ended = Monitor::with(&["-f", "-", "-n", "3", "-i", "20ms", "-v"]).stdin(&file).run();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    // Who said it may stand behind the reason.
    let unsigned = |text: &str| {
        families(lab).iter().fold(shape(text), |text, family| text.replace(&format!(", from {}", family.router), ""))
    };
    let (log, shown) = (unsigned(&told(&ended).join("\n")), unsigned(&ended.stdout));
    assert_eq!(log.lines().count(), cases.len(), "{log}");
    let mut wrong = Vec::new();
    for (name, port, reason) in &cases {
        let (sent, took) = if reason.starts_with("not sent") { ([0, 0, 3], "") } else { ([3, 0, 0], " (MS ms)") };
        let told: Vec<&str> = log.lines().filter(|line| line.contains(&format!(" DOWN {name} "))).collect();
        let text = format!("TCP connection to {name} is failing on port {port}: 3 checks in a row failed since TIME");
        let checks = shown.lines().filter(|line| *line == format!("{name}: {reason}{took}")).count();
        let well = told.len() == 1 && told[0].ends_with(&format!(" DOWN {name} {text} ({reason})"));
        if !well || checks != 3 || counts(&ended, name)[..3] != sent {
            wrong.push(format!("{name}: not {reason}, but {:?} {told:?}", counts(&ended, name)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
});

lab_test!(a_connection_to_itself_is_refused, |lab| {
    // One port to connect from, and the target is that port.
    lab.sysctl("net.ipv4.ip_local_port_range", "40000 40000");
    for family in families(lab) {
        let target = at(family.lo, 40000);
        let ended = run(&["-n", "3", "-i", "20ms", "-v", &target]);
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert_eq!(counts(&ended, &target)[..3], [3, 0, 0], "{ended:#?}");
        // Each time: a socket in TIME_WAIT would hold the port, also against a server that wants to listen there.
        let itself = format!("{target}: connected to itself, nothing listens there (MS ms)\n");
        assert_eq!(shape(&ended.stdout).matches(&itself).count(), 3, "{ended:#?}");
        assert!(ended.log.contains(&format!(" DOWN {target} ")), "{ended:#?}");
    }
});

lab_test!(a_lost_syn_is_no_failure, |lab| {
    for family in families(lab) {
        let target = at(&family.far(5), 443);
        lab.far.on(&family.far(5), accept_second());
        let ended = run(&["-n", "1", "-w", "2s", "-v", &target]);
        assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""), "{ended:#?}");
        assert!(shape(&ended.stdout).starts_with(&format!("{target}: connected (MS ms)\n")), "{ended:#?}");
        assert_eq!(counts(&ended, &target)[..3], [1, 1, 0]);
        assert!(lab.far.count(&family.far(5), "syn") >= 2);
    }
});

lab_test!(without_descriptors_checks_are_unsent, |lab| {
    let mut accept = tcp_accept();
    let slowly = Duration::from_millis(50);
    lab.far.on("10.9.1.0/24", move |packet| accept(packet).into_iter().map(|out| out.after(slowly)).collect());
    let targets: Vec<String> = (1..=100).map(|number| at(&format!("10.9.1.{number}"), 80)).collect();
    let ended = Monitor::with(&["-f", "-", "-n", "5", "-i", "100ms", "-w", "10s"])
        .stdin(&targets.join("\n"))
        .under(&["sh", "-c", "ulimit -n 20; exec \"$@\"", "sh"])
        .run();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let all: Vec<[u64; 4]> = targets.iter().map(|target| counts(&ended, target)).collect();
    assert!(all.iter().all(|[xmt, rcv, unsent, _]| xmt + unsent == 5 && xmt == rcv), "{all:?}");
    assert!(all.iter().any(|[_, _, unsent, _]| *unsent > 0), "{all:?}");
    let mut downs = ended.log.lines().filter(|line| line.contains(" DOWN "));
    assert!(downs.all(|line| line.ends_with("(not sent: no file descriptor left)")), "{}", ended.log);
});

/// 1,000 targets with so many checks each: descriptors are bounded and every slot is kept.
fn thousand(lab: &Lab, checks: u64) {
    // For a second all of them are connecting.
    lab.far.on("10.9.4.0/22", accept_second());
    let targets: Vec<String> =
        (0..1000).map(|number| at(&format!("10.9.{}.{}", 4 + number / 250, 1 + number % 250), 80)).collect();
    let mut monitor =
        Monitor::with(&["-f", "-", "-n", &checks.to_string(), "-w", "10s"]).stdin(&targets.join("\n")).start();
    let mut most = 0;
    wait_until(Duration::from_secs(100), || {
        most = most.max(monitor.fds());
        !monitor.running()
    });
    let ended = monitor.finish(LONG);
    assert!((500..1020).contains(&most), "{most} descriptors");
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""), "{}", ended.stderr);
    let begun = begun(lab, "10.9.4.0/22");
    for target in targets {
        let [xmt, rcv, _, gaps] = counts(&ended, &target);
        assert_eq!((xmt, rcv), (checks, checks), "{target}");
        // From the second check on each slot is a check or a gap, but for those that passed while connecting.
        let line = ended.stdout.lines().find(|line| line.starts_with(&format!("{target} "))).unwrap();
        let average: f64 = line.split('/').rev().nth(1).unwrap().parse().unwrap();
        let most = gaps + 1 + (average * checks as f64 / 1000.0) as u64;
        let begun = &begun[&target.parse::<SocketAddr>().unwrap().ip()][1..];
        let slots = (begun[begun.len() - 1] - begun[0]).as_secs_f64().round() as u64;
        let kept = begun.len() as u64 - 1;
        assert!(slots + 2 >= kept && slots <= kept + most, "{slots} slots, {kept} kept: {line}");
    }
}

lab_test!(a_thousand_targets, |lab| {
    thousand(lab, 5);
});

lab_test!(
    #[ignore = "takes a minute"]
    a_thousand_targets_for_a_minute,
    |lab| {
        thousand(lab, 59);
    }
);

lab_test!(any_address_of_a_name_will_do, ["ipv6"], |lab| {
    lab.far.on("10.9.1.1", tcp_refuse());
    lab.far.on("10.9.1.2", tcp_accept());
    // All others are silent. Whatever order the system brings them into, a bad one is once before the good one.
    let names = [
        ("refused-first", "10.9.1.1 10.9.1.2", "connected (MS ms)"),
        ("refused-last", "10.9.1.2 10.9.1.1", "connected (MS ms)"),
        ("silent-first", "10.9.1.3 10.9.1.2", "connected (MS ms)"),
        ("silent-last", "10.9.1.2 10.9.1.3", "connected (MS ms)"),
        ("silent-v6", "fd09::1:3 10.9.1.2", "connected (MS ms)"),
        ("no-route", "192.0.2.1 2001:db8::1 10.9.1.2", "connected (MS ms)"),
        ("none", "2001:db8::1 10.9.1.1 192.0.2.1", "connection refused (MS ms)"),
        ("nowhere", "192.0.2.1 2001:db8::1", "not sent: no route"),
        ("db", "10.9.1.1", "connection refused (MS ms)"),
    ];
    let (mut hosts, mut words) = (String::new(), String::new());
    for (name, addresses, _) in names {
        hosts.extend(addresses.split(' ').map(|address| format!("{address} {name}\n")));
        words.push_str(&format!("{name}:5432\n"));
    }
    lab.bind_file("/etc/hosts", &hosts);
    let ended = Monitor::with(&["-f", "-", "-n", "1", "-w", "4s", "-v"]).stdin(&words).run();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    for (name, _, wanted) in names {
        let line = format!("{name}:5432: {wanted}\n");
        assert!(shape(&ended.stdout).contains(&line), "{line} {ended:#?}");
    }
    for bad in ["10.9.1.1", "10.9.1.3", "fd09::1:3"] {
        assert!(lab.far.count(bad, "syn") > 0, "{bad} was tried");
    }
});

lab_test!(the_way_out_and_the_header_are_as_asked, ["ipv6"], |lab| {
    // A second way: without -I, everything to 10.9.1.0/24 takes it.
    let other = Far::start("far1").unwrap();
    lab.ip("link set far1 up");
    lab.ip("addr add 10.9.0.2/32 dev far1");
    lab.ip("route add 10.9.1.0/24 dev far1 src 10.9.0.2");
    for far in [&lab.far, &other] {
        far.on("10.9.1.5", tcp_accept());
        far.on("fd09::1:5", tcp_accept());
    }
    // By which device, from where, TTL, TOS; else why it is not sent.
    let cases = [
        ("10.9.1.5", "", "far1 10.9.0.2 64 0"),
        ("10.9.1.5", "-I 10.9.0.1", "far1 10.9.0.1 64 0"),
        ("10.9.1.5", "-I far0", "far0 10.9.0.1 64 0"),
        ("10.9.1.5", "-I far1 --ttl 7", "far1 10.9.0.2 7 0"),
        ("10.9.1.5", "--tos 0xb8", "far1 10.9.0.2 64 184"),
        ("10.9.1.5", "-I nope0", "(not sent: no such interface)"),
        ("10.9.1.5", "-I 10.9.9.9", "(not sent: source address is not on this machine)"),
        ("fd09::1:5", "--ttl 255 --tos 4", "far0 fd09::1 255 4"),
        ("fd09::1:5", "-I fd09::1", "far0 fd09::1 64 0"),
        ("fd09::1:5", "-I far0 --ttl 1", "far0 fd09::1 1 0"),
        ("fd09::1:5", "-I nope0", "(not sent: no such interface)"),
        ("fd09::1:5", "-I fd09::9", "(not sent: source address is not on this machine)"),
    ];
    for (target, options, wanted) in cases {
        let word = at(target, 80);
        let mut args = vec!["-n", "3", "-i", "10ms", "-w", "10s", &word];
        args.extend(options.split_whitespace());
        let ended = run(&args);
        let mut found = BTreeSet::new();
        for (device, far) in [("far0", &lab.far), ("far1", &other)] {
            let seen = far.seen(target).into_iter().filter(Packet::is_syn);
            found.extend(seen.map(|syn| format!("{device} {} {} {}", syn.src, syn.ttl(), syn.tos())));
            far.forget();
        }
        found.extend(told(&ended).iter().map(|line| line[line.rfind('(').unwrap()..].to_owned()));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [wanted], "{options}");
        let sent = if wanted.starts_with("(not sent") { [0, 0, 3] } else { [3, 3, 0] };
        assert_eq!((ended.code, &counts(&ended, &word)[..3]), (Some(i32::from(sent[0] == 0)), &sent[..]), "{options}");
    }
});

lab_test!(a_timeout_longer_than_the_interval_makes_no_gaps, |lab| {
    // A check ends in the middle of a slot; the next one begins with the slot after it: three slots each.
    let ended = run(&["-n", "3", "-i", "400ms", "-w", "1s", "slow=10.9.1.5:80"]);
    let [xmt, rcv, unsent, gaps] = counts(&ended, "slow");
    assert_eq!((ended.code, xmt, rcv, unsent), (Some(1), 3, 0, 0), "{ended:#?}");
    let begun = &begun(lab, "10.9.1.5")[&"10.9.1.5".parse().unwrap()];
    let slots = ((begun[2] - begun[0]).as_secs_f64() / 0.4).round() as u64;
    // Six, or more where this machine overslept, and then it says so.
    assert!((gaps + 5..gaps + 9).contains(&slots), "{slots} slots, {gaps} gaps");
});
