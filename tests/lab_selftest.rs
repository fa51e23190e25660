//! The laboratory itself works: proved with programs of the system, not with the one under test. Also an introduction to
//! how tests are written with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::dns::Mode;
use lab::far::{answer, delay, drop_pattern, duplicate, tcp_accept, tcp_refuse};
use lab::run::Monitor;
use lab::slack::{Answer, PATH, Slack};
use lab::{command, lab_test};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// 20 echo requests at once. For how long it then waits for more answers, one ping looks at -W, another at -i.
const BURST: &str = "-c 20 -l 20 -i 3 -W 3";
const LONG: Duration = Duration::from_secs(20);

/// `ping` with these words; what it says on stdout, whether or not it got an answer.
fn ping(words: &str) -> String {
    let script = format!("ping -n -i 0.02 {words}; true");
    command("sh", &["-c", &script]).unwrap()
}

lab_test!(far_end_answers, ["ping", "ipv6", "raw"], |lab| {
    lab.far.on("10.9.1.0/24", answer());
    lab.far.on("fd09::/64", answer());
    assert!(ping("-c 3 -w 20 10.9.1.5").contains("3 received"));
    assert!(ping("-c 3 -w 20 fd09::5").contains("3 received"));
    // So far by raw sockets; from here on by dgram sockets.
    lab.dgram();
    assert!(ping("-c 3 -w 20 10.9.1.5").contains("3 received"));
    assert!(ping("-c 3 -w 20 fd09::5").contains("3 received"));
    assert_eq!(lab.far.count("10.9.1.5", "echo"), 6);
    assert_eq!(lab.far.count("10.9.0.0/16", "echo"), 6);
    let nth: Vec<u64> = lab.far.seen("fd09::5").iter().map(|p| p.nth).collect();
    assert_eq!(nth, [0, 1, 2, 3, 4, 5]);
});

lab_test!(far_end_drops_exactly, ["ping"], |lab| {
    lab.far.on("10.9.0.5", drop_pattern(|nth| nth % 10 < 3));
    let said = ping(&format!("{BURST} 10.9.0.5"));
    assert!(said.contains("20 packets transmitted, 14 received"), "{said}");
    // An address without a script is silent, and counted all the same.
    let said = ping("-c 3 -W 1 10.9.0.6");
    assert!(said.contains("3 packets transmitted, 0 received"), "{said}");
    assert_eq!(lab.far.count("10.9.0.6", "echo"), 3);
});

lab_test!(far_end_delays_and_repeats, ["ping"], |lab| {
    lab.far.on("10.9.0.5", delay(Duration::from_millis(80)));
    let said = ping("-c 3 -w 20 10.9.0.5");
    // The shortest of "rtt min/avg/max/mdev = 80.1/..." or "round-trip min/avg/max = 80.1/...".
    let least = said.rsplit("= ").next().and_then(|rest| rest.split('/').next());
    let least: f64 = least.and_then(|text| text.parse().ok()).expect(&said);
    assert!(least >= 79.9, "{said}");
    lab.far.on("10.9.0.6", duplicate(3));
    // One more at the end, as ping does not wait for duplicates of the last.
    let said = ping("-c 3 -w 20 10.9.0.6");
    assert!(said.contains("3 received, +"), "{said}");
});

lab_test!(far_end_forges, ["ping"], |lab| {
    let router: IpAddr = "10.9.0.254".parse().unwrap();
    lab.far.on("10.9.0.5", move |p| vec![p.host_unreachable(router)]);
    let said = ping("-c 2 -W 20 10.9.0.5");
    assert!(said.contains("From 10.9.0.254"), "{said}");
    lab.far.on("10.9.0.6", |p| vec![p.reply_with(|r| r.bad_checksum = true)]);
    lab.far.on("10.9.0.7", |p| vec![p.reply_with(|r| r.seq += 1000)]);
    lab.far.on("10.9.0.8", |p| vec![p.request_back()]);
    // A wrong sequence number does not trouble ping; it shows that the change arrives.
    assert!(ping("-c 2 -W 1 10.9.0.6").contains(" 0 received"));
    assert!(ping("-c 1 -w 20 10.9.0.7").contains("icmp_seq=1001"));
    assert!(ping("-c 2 -W 1 10.9.0.8").contains(" 0 received"));
    // A request from there is answered by our own kernel, if its checksum is right.
    assert!(lab.far.wait_count("10.9.0.8", "other", 2, LONG));
});

lab_test!(far_end_speaks_tcp, ["ipv6"], |lab| {
    for (open, shut) in [("10.9.0.5", "10.9.0.6"), ("fd09::5", "fd09::6")] {
        lab.far.on(open, tcp_accept());
        lab.far.on(shut, tcp_refuse());
        let at = |address: &str| SocketAddr::new(address.parse().unwrap(), 443);
        let mut stream = TcpStream::connect_timeout(&at(open), LONG).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        let refused = TcpStream::connect_timeout(&at(shut), LONG).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(lab.far.count(open, "syn"), 1);
        assert_eq!(lab.far.count(shut, "syn"), 1);
    }
    let (listener, _held) = lab::full_listener("127.0.0.1:0");
    let at = listener.local_addr().unwrap();
    let error = TcpStream::connect_timeout(&at, Duration::from_millis(300)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
});

lab_test!(link_goes_down_and_up, ["ping"], |lab| {
    lab.far.on("10.9.0.5", answer());
    lab.far_down();
    assert!(!ping("-c 1 -W 1 10.9.0.5 2>&1").contains("1 received"));
    lab.far_up();
    assert!(ping("-c 1 -w 20 10.9.0.5").contains("1 received"));
});

lab_test!(firewall_drops_exactly, ["ping", "nft"], |lab| {
    lab.far.on("10.9.0.5", answer());
    lab.nft("add table ip lab; add chain ip lab in { type filter hook input priority 0; }");
    lab.nft("add rule ip lab in icmp type echo-reply numgen inc mod 10 < 3 drop");
    let said = ping(&format!("{BURST} 10.9.0.5"));
    assert!(said.contains("20 packets transmitted, 14 received"), "{said}");
});

lab_test!(peer_is_another_host, ["ping", "ipv6"], |lab| {
    let peer = lab.veth();
    assert!(ping("-c 1 -w 20 10.8.0.2").contains("1 received"));
    assert!(ping("-c 1 -w 20 fd08::2").contains("1 received"));
    // Nobody answers ARP for this one.
    let said = ping("-c 1 -W 20 10.8.0.9");
    assert!(said.contains("Host Unreachable"), "{said}");
    peer.ip("addr add 10.8.0.9/24 dev own1");
    assert!(ping("-c 1 -w 20 10.8.0.9").contains("1 received"));
    assert!(peer.exec(&["ping", "-c", "1", "-w", "20", "10.8.0.1"]).contains("1 received"));
});

lab_test!(names_are_ours, |lab| {
    let dns = lab.dns();
    let ask = |name: &str| (name, 1).to_socket_addrs().map(|mut list| list.next());
    dns.set("gw.test", &["10.9.0.5"]);
    let at = ask("gw.test").unwrap().unwrap();
    assert_eq!(at.ip().to_string(), "10.9.0.5");
    assert!(ask("other.test").is_err());
    dns.mode(Mode::ServFail);
    assert!(ask("gw.test").is_err());
    dns.mode(Mode::Answer);
    dns.set("gw.test", &["10.9.0.6"]);
    let at = ask("gw.test").unwrap().unwrap();
    assert_eq!(at.ip().to_string(), "10.9.0.6");
    assert!(dns.queries().len() >= 4);
});

/// One request by hand: what comes back, of it the first `most` bytes; None if refused or reset.
fn post(slack: &Slack, text: &str, most: u64) -> Option<String> {
    let at = slack.base().replace("http://", "");
    let mut stream = TcpStream::connect(at).ok()?;
    let body = format!("{{\"text\":\"{text}\"}}");
    let length = body.len();
    let head = format!("POST {PATH} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    let mut said = Vec::new();
    match stream.take(most).read_to_end(&mut said) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        _ => Some(String::from_utf8_lossy(&said).into_owned()),
    }
}

#[test]
fn slack_answers_as_planned() {
    let mut slack =
        Slack::start(vec![Answer::RetryAfter(429, 3), Answer::Reset, Answer::Close, Answer::Status(404, "no_service")]);
    assert!(post(&slack, "one", 1000).unwrap().contains("429 Planned\r\n"));
    assert_eq!(post(&slack, "two", 1000), None);
    assert_eq!(post(&slack, "three", 1000).unwrap(), "");
    assert!(post(&slack, "four", 1000).unwrap().ends_with("no_service"));
    slack.stop();
    assert_eq!(post(&slack, "five", 1000), None);
    slack.restart();
    assert!(post(&slack, "six", 1000).unwrap().ends_with("\r\n\r\nok"));
    assert!(slack.wait_posts(5, LONG));
    assert_eq!(slack.posts()[0].text, "one");
    assert_eq!(slack.delivered_texts(), ["six"]);
    slack.otherwise(Answer::DripHeader);
    let start = Instant::now();
    assert!(post(&slack, "seven", 3).unwrap() == "HTT");
    assert!(start.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn runner_sees_the_end() {
    let ended = Monitor::with(&[])
        .under(&["sh", "-c", "cat; echo log >reachability.log; echo bad >&2; exit 3", "sh"])
        .stdin("text\n")
        .run();
    assert_eq!(ended.code, Some(3));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("text\n", "bad\n"));
    assert_eq!(ended.log, "log\n");
    let mut monitor =
        Monitor::with(&[]).under(&["sh", "-c", "echo here; exec sleep 60", "sh"]).env("SLEEP", "60").start();
    assert!(monitor.wait_line(|all| all.stdout == "here\n", LONG));
    assert_eq!(monitor.threads(), 1);
    assert_eq!(monitor.stop().signal, Some(libc::SIGINT));
}
