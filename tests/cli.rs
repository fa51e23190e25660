//! The command line as a user meets it, on the real program: what is refused and how that is said, what works, how it
//! ends. Checks go to loopback, and into the laboratory where they need the right to send ICMP.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::far::{answer, drop_pattern};
use lab::lab_test;
use lab::run::{Ended, Monitor, Setup, TempDir};
use lab::slack::{Answer, PATH, Slack};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const OFF: &str = "reachabilitycheck: Slack is off: no --slack-url, --slack-url-file or SLACK_WEBHOOK_URL\n";
/// What must never be shown; the stand-in's webhook has it in its path.
const SECRET: &str = "secretsecret";
const URL_ACCEPTED: &str = "accepted: an http:// or https:// URL, such as https://hooks.slack.com/services/...";
const ONE_HOST: &str = "write the address of one host";
const SHORTHAND: &str = "shorthand or no address; write four numbers up to 255, such as 192.0.2.1";
const BRACKETS: &str = "write an IPv6 address with a port as [2001:db8::1]:443";
const TWICE: &str = "is named twice; tell them apart with LABEL= before the host";
const LONG: Duration = Duration::from_secs(20);

/// Runs it to its end, and says what was run if that does not come.
fn end(what: &str, setup: Setup) -> Ended {
    let mut monitor = setup.start();
    let ended = lab::wait_until(LONG, || !monitor.running());
    assert!(ended, "{what}: still running: {:#?}", monitor.output());
    monitor.finish(LONG)
}

/// Runs what must be refused; the message, without the program's name.
fn refusal(what: &str, setup: Setup) -> String {
    let ended = end(what, setup);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{what}: {ended:#?}");
    let shown = ended.stderr.strip_suffix('\n').and_then(|line| line.strip_prefix("reachabilitycheck: "));
    let message = shown.unwrap_or_else(|| panic!("{what}: {ended:#?}"));
    assert!(!message.chars().any(char::is_control), "{what}: not one plain line: {message:?}");
    assert!(![&ended.stderr, &ended.log].iter().any(|text| text.contains(SECRET)), "{what}: shows the secret");
    assert_eq!(ended.log, "", "{what}");
    message.to_owned()
}

/// These arguments are refused with exactly this message.
fn refused(args: &[&str], message: &str) {
    let what = format!("{args:?}");
    assert_eq!(refusal(&what, Monitor::with(args)), message, "{what}");
}

/// These arguments are refused, and the message has all of these words.
fn refused_with(args: &[&str], words: &[&str]) {
    let what = format!("{args:?}");
    let message = refusal(&what, Monitor::with(args));
    assert!(words.iter().all(|word| message.contains(word)), "{what}: {message}\nlacks one of {words:?}");
}

/// A run by a shell, in which `"$@"` is the program with its arguments.
fn shell(script: &str, args: &[&str]) -> Setup {
    Monitor::with(args).under(&["sh", "-c", script, "sh"])
}

/// A service on loopback that takes every connection: its address and port.
fn open_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    thread::spawn(move || listener.incoming().for_each(drop));
    at
}

/// An address and port on loopback that refuses connections, and stays ours as long as the socket is kept.
fn closed_port() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let at = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, at.to_string())
}

fn port(at: &str) -> &str {
    at.rsplit(':').next().unwrap()
}

/// A log line taken apart: number, kind, target and text. Panics if it is not whole.
fn log_line(line: &str) -> (u64, &str, &str, &str) {
    let mut parts = line.splitn(5, ' ');
    let mut next = || parts.next().unwrap_or_else(|| panic!("a torn log line: {line:?}"));
    let (time, number, kind, target, text) = (next(), next(), next(), next(), next());
    assert!(time.len() == 20 && humantime::parse_rfc3339(time).is_ok(), "{line:?}");
    (number.strip_prefix('#').expect(line).parse().expect(line), kind, target, text)
}

/// The kinds of the notifications of a log, in order. Panics if the numbers have a hole.
fn kinds(log: &str) -> Vec<&str> {
    let lines: Vec<_> = log.lines().map(log_line).collect();
    assert!(log.is_empty() || log.ends_with('\n'), "{log:?}");
    assert!(lines.iter().zip(1..).all(|(line, number)| line.0 == number), "{log}");
    lines.iter().map(|line| line.1).collect()
}

/// `gw : xmt/rcv/%loss = 300/284/5%, min/avg/max = 1.2/3.4/20.1 ms`: sent and received, if the line is of that shape.
fn summary(line: &str, name: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix(name)?.trim_start_matches(' ').strip_prefix(": xmt/rcv/%loss = ")?;
    let (counts, times) = rest.split_once("%").map(|(counts, rest)| (counts, rest.strip_prefix(", min/avg/max = ")))?;
    let counts: Vec<u64> = counts.split('/').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [sent, received, loss] = counts[..] else { return None };
    if loss != ((sent - received) * 100).checked_div(sent).unwrap_or(0) || times.is_some() != (received > 0) {
        return None;
    }
    if let Some(times) = times {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let times = times.split(" ms").next()?.split('/');
        let times: Vec<f64> = times.map(|t| t.parse().ok().filter(|_| plain(t))).collect::<Option<_>>()?;
        // Rounded, each to its own digits.
        let [min, avg, max] = times[..] else { return None };
        if min > avg * 1.01 || avg > max * 1.01 {
            return None;
        }
    }
    Some((sent, received))
}

/// The summary line of this target, somewhere in stdout.
fn summed(stdout: &str, name: &str) -> (u64, u64) {
    let found = stdout.lines().find_map(|line| summary(line, name));
    found.unwrap_or_else(|| panic!("no summary line for {name}:\n{stdout}"))
}

// What is refused: words.

#[test]
fn wrong_words() {
    let long_part = "a".repeat(64);
    let long_name = format!("{}ab", "a.".repeat(126));
    let cut = format!("\"{}\"...", &long_name[..100]);
    let cases: &[(&str, &str)] = &[
        ("", "no host; write one, such as 192.0.2.1 or db=10.0.0.5:5432"),
        ("gw=", "no host; write one, such as 192.0.2.1 or db=10.0.0.5:5432"),
        ("=127.0.0.1", "the label is empty; write LABEL=host or host"),
        ("=", "the label is empty; write LABEL=host or host"),
        ("127.0.0.1:0", "port \"0\" is not a number from 1 to 65535"),
        ("[::1]:0", "port \"0\" is not a number from 1 to 65535"),
        ("https://127.0.0.1:0/", "port \"0\" is not a number from 1 to 65535"),
        ("127.0.0.1:65536", "port \"65536\" is not a number from 1 to 65535"),
        ("gw=127.0.0.1:80x", "port \"80x\" is not a number from 1 to 65535"),
        ("127.0.0.1:-1", "port \"-1\" is not a number from 1 to 65535"),
        ("127.0.0.1:+80", "port \"+80\" is not a number from 1 to 65535"),
        ("127.0.0.1:", "port \"\" is not a number from 1 to 65535"),
        ("0.0.0.0", &format!("0.0.0.0 is the unspecified address; {ONE_HOST}")),
        ("http://0.0.0.0/", &format!("0.0.0.0 is the unspecified address; {ONE_HOST}")),
        ("::ffff:0.0.0.0", &format!("0.0.0.0 is the unspecified address; {ONE_HOST}")),
        ("::", &format!(":: is the unspecified address; {ONE_HOST}")),
        ("[::]:80", &format!(":: is the unspecified address; {ONE_HOST}")),
        ("255.255.255.255", &format!("255.255.255.255 is the broadcast address; {ONE_HOST}")),
        ("tcp://255.255.255.255:80", &format!("255.255.255.255 is the broadcast address; {ONE_HOST}")),
        ("224.0.0.1", &format!("224.0.0.1 is a multicast address; {ONE_HOST}")),
        ("239.255.255.255:9", &format!("239.255.255.255 is a multicast address; {ONE_HOST}")),
        ("ff02::1", &format!("ff02::1 is a multicast address; {ONE_HOST}")),
        ("[ff0e::1]:80", &format!("ff0e::1 is a multicast address; {ONE_HOST}")),
        ("1", SHORTHAND),
        ("10.1", SHORTHAND),
        ("10.1:80", SHORTHAND),
        ("http://10.1/", SHORTHAND),
        ("0177.0.0.1", SHORTHAND),
        ("0x7f.1", SHORTHAND),
        ("0x7f000001", SHORTHAND),
        ("2130706433", SHORTHAND),
        ("256.1.1.1", SHORTHAND),
        ("1.2.3.4.5", SHORTHAND),
        ("127.0.0.1.", SHORTHAND),
        ("ftp://127.0.0.1", "unknown scheme; known: icmp, tcp, http, https"),
        ("udp://127.0.0.1:53", "unknown scheme; known: icmp, tcp, http, https"),
        ("tcp://127.0.0.1", "a port is missing; write tcp://host:443"),
        ("icmp://127.0.0.1:80", "icmp:// has no port; write tcp://"),
        ("tcp://::1:22", &format!("brackets are missing; {BRACKETS}")),
        ("2001:db8::1::22", &format!("it is not an IPv6 address; {BRACKETS}")),
        ("localhost:80:90", &format!("it is not an IPv6 address; {BRACKETS}")),
        ("[::1", &format!("a ] is missing; {BRACKETS}")),
        ("[::1]22", &format!("after ] only :PORT may follow; {BRACKETS}")),
        ("[127.0.0.1]:80", &format!("not an IPv6 address in the brackets; {BRACKETS}")),
        ("[localhost]:80", &format!("not an IPv6 address in the brackets; {BRACKETS}")),
        ("fe80::1", "a link-local address needs its interface: fe80::1%eth0, or -I eth0"),
        ("[fe80::1]:22", "a link-local address needs its interface: fe80::1%eth0, or -I eth0"),
        ("fe80::1%", "the zone after % is not the name of an interface, such as fe80::1%eth0"),
        ("::1%lo", "only a link-local address has a zone; leave out the %, or use --interface"),
        (&long_part, "too long; at most 253 characters, 63 between dots"),
        ("bücher.example", "not ASCII; write the punycode form (xn--...)"),
        ("a..b", "a part between dots is empty or starts with -"),
        ("a.-b", "a part between dots is empty or starts with -"),
        ("10.0.0.0/24", "'/' is not for host names, only letters, digits, -, _ and ."),
        ("a,b", "',' is not for host names, only letters, digits, -, _ and ."),
        ("a=b=c", "'=' is not for host names, only letters, digits, -, _ and ."),
        (":80", "no host; write a name or an address"),
        ("gw=:80", "no host; write a name or an address"),
        (".", "no host; write a name or an address"),
    ];
    for (word, why) in cases {
        refused(&[word], &format!("target \"{word}\": {why}"));
    }
    // After `--` too, and among good ones.
    refused(&["--", "-gw"], "target \"-gw\": a part between dots is empty or starts with -");
    refused(&["127.0.0.1", "10.1", "::1"], &format!("target \"10.1\": {SHORTHAND}"));
    // Shown cut, or not in full.
    refused(&[&long_name], &format!("target {cut}: too long; at most 253 characters, 63 between dots"));
    refused(&["https:///x"], "target \"https:///...\": no host; write a name or an address");
    let user = format!("https://u:{SECRET}@127.0.0.1/");
    refused(&[&user], "target \"https://...@127.0.0.1/\": a user has no use here; leave out all before @");
}

#[test]
fn white_space_and_control_characters_in_words() {
    for (word, shown) in [
        ("my host", "my host"),
        (" 127.0.0.1", " 127.0.0.1"),
        ("127.0.0.1\t", "127.0.0.1\\t"),
        ("127.0.0.1\n", "127.0.0.1\\n"),
        ("a\nb=127.0.0.1", "a\\nb=127.0.0.1"),
        ("a\r=127.0.0.1", "a\\r=127.0.0.1"),
        ("\u{1b}[2Jgw=127.0.0.1", "\\u{1b}[2Jgw=127.0.0.1"),
        ("gw\u{7f}", "gw\\u{7f}"),
        ("gw\u{a0}", "gw\\u{a0}"),
        ("gw\u{2028}=127.0.0.1", "gw\\u{2028}=127.0.0.1"),
    ] {
        refused(&[word], &format!("target \"{shown}\": white space or a control character; leave it out"));
    }
}

#[test]
fn a_target_named_twice() {
    for (words, name) in [
        (&["127.0.0.1", "127.0.0.1"][..], "127.0.0.1"),
        (&["127.0.0.1", "::1", "icmp://127.0.0.1"], "127.0.0.1"),
        (&["127.0.0.1", "::ffff:127.0.0.1"], "127.0.0.1"),
        (&["::1", "[::1]"], "::1"),
        (&["::1", "0:0:0::1"], "::1"),
        (&["LOCALHOST", "localhost"], "localhost"),
        (&["127.0.0.1:443", "https://127.0.0.1/a?b=c"], "127.0.0.1:443"),
        (&["http://127.0.0.1", "tcp://127.0.0.1:80"], "127.0.0.1:80"),
        (&["127.0.0.1", "127.0.0.1:80", "-p", "80"], "127.0.0.1:80"),
        (&["[::1]:22", "tcp://[0::1]:22"], "[::1]:22"),
        (&["gw=127.0.0.1", "gw=127.0.0.2"], "gw"),
        (&["gw=127.0.0.1", "gw"], "gw"),
    ] {
        refused(words, &format!("target \"{name}\" {TWICE}"));
    }
}

#[test]
fn no_target() {
    let message = "no target given: name a host to watch, such as 192.0.2.1 or db=10.0.0.5:5432, or a file of them with \
                   --file; try --help";
    for args in [&[][..], &["--"], &["-n", "5", "-q"], &["--check"]] {
        refused(args, message);
    }
}

#[test]
fn arguments_that_are_not_utf8() {
    for (printed, args, message) in [
        ("gw\\377", &[][..], "a target: \"gw\u{fffd}\" is not valid UTF-8"),
        ("\\377", &["127.0.0.1", "-i"], "--interval: \"\u{fffd}\" is not valid UTF-8"),
        ("--interval=\\377", &[], "--interval: \"\u{fffd}\" is not valid UTF-8"),
        ("--lo\\377", &[], "unknown option --lo; did you mean --log? see --help"),
        ("http://secretsecret\\377", &["127.0.0.1", "--slack-url"], "--slack-url: the value is not valid UTF-8"),
    ] {
        let script = format!("exec \"$@\" \"$(printf '%b' '{}')\"", printed.replace("\\377", "\\0377"));
        assert_eq!(refusal(printed, shell(&script, args)), message);
    }
}

// What is refused: options.

#[test]
#[rustfmt::skip] // A table.
fn wrong_values() {
    const WHOLE: &str = "is not a whole number";
    const OUT: &str = "is out of range";
    // An option, its name in messages, what it accepts, and values with what is wrong with them.
    type Row = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);
    let tables: &[Row] = &[
        ("-p", "--port", "1 to 65535",
            &[("0", OUT), ("65536", OUT), ("80x", WHOLE), ("-1", WHOLE), ("+80", WHOLE), ("1.5", WHOLE), ("", WHOLE)]),
        ("-i", "--interval", "10ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)",
            &[("9ms", "is too short"), ("0", "is too short"), ("0.009", "is too short"), ("366d", "is more than 365d"),
              ("5x", "is not a time"), ("-1", "is not a time"), ("1e3", "is not a time"), ("1m30", "is not a time"),
              ("ms", "is not a time"), ("inf", "is not a time"), ("", "is not a time")]),
        ("-w", "--timeout", "1ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)",
            &[("0", "is too short"), ("999us", "is too short"), ("366d", "is more than 365d"), ("x", "is not a time"), ("", "is not a time")]),
        ("-s", "--size", "1 to 100000",
            &[("0", OUT), ("100001", OUT), ("x", WHOLE), ("-1", WHOLE), ("", WHOLE)]),
        ("-c", "--change", "0 to 100, such as 5 or 2.5, in percentage points",
            &[("100.01", "is more than 100"), ("101", "is more than 100"), ("-1", "is not a percentage"), ("x", "is not a percentage"),
              ("NaN", "is not a percentage"), ("1.234", "has more than two decimals"), ("", "is not a percentage")]),
        ("-ct", "--ctimeout", "0 to 100000; for ICMP, 0 turns down and up off",
            &[("100001", OUT), ("99999999999999999999", OUT), ("-1", WHOLE), ("x", WHOLE), ("", WHOLE)]),
        ("-r", "--recover", "1 to 100000",
            &[("0", OUT), ("100001", OUT), ("x", WHOLE), ("", WHOLE)]),
        ("--remind", "--remind", "1s or more, such as 90s, 30m or 12h (a bare number is seconds)",
            &[("0", "is too short"), ("999ms", "is too short"), ("366d", "is more than 365d"), ("x", "is not a time"), ("", "is not a time")]),
        ("-I", "--interface", "an interface, such as eth0, or an address of this machine",
            &[("", "is neither an interface name nor an address"), ("a/b", "is neither an interface name nor an address"),
              ("sixteen-bytes-ab", "is neither an interface name nor an address"), ("eth0 ", "is neither an interface name nor an address")]),
        ("-l", "--length", "16 to 65000",
            &[("15", OUT), ("65001", OUT), ("x", WHOLE), ("", WHOLE)]),
        ("--ttl", "--ttl", "1 to 255",
            &[("0", OUT), ("256", OUT), ("x", WHOLE), ("", WHOLE)]),
        ("--tos", "--tos", "0 to 255, or 0x0 to 0xff",
            &[("256", OUT), ("-1", WHOLE), ("0x100", WHOLE), ("0xgg", "is not a number"), ("x", WHOLE), ("", WHOLE)]),
        ("-n", "--count", "1 or more",
            &[("0", OUT), ("18446744073709551616", OUT), ("-1", WHOLE), ("x", WHOLE), ("", WHOLE)]),
    ];
    for (short, long, accepted, cases) in tables {
        for (value, why) in *cases {
            refused(&["127.0.0.1", short, value], &format!("{long}: \"{value}\" {why}; accepted: {accepted}"));
        }
        let (value, why) = cases[0];
        refused(&[&format!("{long}={value}"), "127.0.0.1"], &format!("{long}: \"{value}\" {why}; accepted: {accepted}"));
        refused(&["127.0.0.1", short], &format!("{long} needs a value; accepted: {accepted}"));
        refused(&["127.0.0.1", long], &format!("{long} needs a value; accepted: {accepted}"));
    }
    for (flag, accepted) in [
        ("--file", "a file of targets, or - for stdin"),
        ("--log", "a file"),
        ("--slack-url-file", "a file whose first line is the webhook's URL"),
    ] {
        refused(&["127.0.0.1", flag], &format!("{flag} needs a value; accepted: {accepted}"));
        refused(&["127.0.0.1", flag, ""], &format!("{flag}: the name is empty; accepted: {accepted}"));
    }
    for (address, kind) in [("0.0.0.0", "the unspecified address"), ("224.0.0.1", "a multicast address")] {
        refused_with(&["127.0.0.1", "-I", address], &["--interface: ", address, kind, "accepted: an interface"]);
    }
    // `-c` with something attached is not `-ct`, and the other way about.
    refused(&["127.0.0.1", "-ct5x"], "--ctimeout: \"5x\" is not a whole number; accepted: 0 to 100000; for ICMP, 0 turns down and up off");
    refused(&["127.0.0.1", "-c=t5"], "--change: \"t5\" is not a percentage; accepted: 0 to 100, such as 5 or 2.5, in percentage points");
}

#[test]
fn unknown_options() {
    for (option, meant) in [
        ("--intervall", "--interval"),
        ("--counts", "--count"),
        ("--timeot", "--timeout"),
        ("--verison", "--version"),
        ("--no-logg", "--no-log"),
        ("--slackurl", "--slack-url"),
        ("--ctimeout5", "--ctimeout"),
        ("--time", "--timeout"),
    ] {
        refused(&["127.0.0.1", option, "5"], &format!("unknown option {option}; did you mean {meant}? see --help"));
        refused(&[&format!("{option}=5")], &format!("unknown option {option}; did you mean {meant}? see --help"));
    }
    for option in ["--colour", "-x", "-C", "-1", "---"] {
        refused(&["127.0.0.1", option], &format!("unknown option {option}; see --help"));
    }
    refused(&["-qx", "127.0.0.1"], "unknown option -x; see --help");
    refused(&["-\u{1b}[2J"], "unknown option -\\u{1b}; see --help");
    refused_with(&["--a\u{1b}b\n"], &["unknown option --a", "see --help"]);
    refused(&["--quiet=5", "127.0.0.1"], "--quiet takes no value");
    refused(&["-q=5", "127.0.0.1"], "--quiet takes no value");
}

#[test]
#[rustfmt::skip] // A table.
fn options_that_contradict() {
    let far_above = "target \"127.0.0.1\": --timeout 1m 41s is more than 10000 times --interval 10ms: too many checks at once; \
                     shorten the timeout or lengthen the interval";
    for (args, message) in [
        (&["127.0.0.1", "-q", "-v"][..], "--quiet and --verbose contradict each other; give only one of them"),
        (&["127.0.0.1", "--log", "x", "--no-log"], "--log and --no-log contradict each other; give only one of them"),
        (&["127.0.0.1", "--slack-url", "http://h/secretsecret", "--slack-url-file", "f"],
            "--slack-url and --slack-url-file contradict each other; give only one of them"),
        (&["127.0.0.1:1", "-ct", "0"],
            "target \"127.0.0.1:1\": --ctimeout for TCP: 1 at the least; 0 turns down/up off for ICMP only"),
        (&["127.0.0.1", "-p", "1", "--ctimeout=0"],
            "target \"127.0.0.1\": --ctimeout for TCP: 1 at the least; 0 turns down/up off for ICMP only"),
        (&["127.0.0.1", "-w", "101s", "-i", "10ms"], far_above),
        (&["127.0.0.1", "-6"], "target \"127.0.0.1\": the address is IPv4, which -6 rules out"),
        (&["[::1]:80", "-4"], "target \"[::1]:80\": the address is IPv6, which -4 rules out"),
        (&["127.0.0.1", "-I", "::1"], "target \"127.0.0.1\": --interface ::1 is of the other address family"),
        (&["localhost", "-6", "-I", "127.0.0.1"],
            "target \"localhost\": the address of --interface is IPv4, which -6 rules out"),
        (&["fe80::1%lo", "-I", "eth0"], "target \"fe80::1%lo\": zone lo and --interface eth0 differ; give only one"),
    ] {
        refused(args, message);
    }
}

/// The last one must not win in silence. For -4 and -6 ping refuses it too; with two files, the targets of the first
/// would go unwatched.
#[test]
fn options_that_contradict_themselves() {
    refused_with(&["localhost:1", "-n", "1", "-4", "-6"], &["-4", "-6"]);
}

#[test]
fn two_target_files_are_both_read_or_refused() {
    let at = open_port();
    let dir = Arc::new(TempDir::new());
    dir.write("a", format!("a={at}\n"));
    dir.write("b", format!("b={at}\n"));
    let ended = end("-f a -f b", Monitor::with(&["-f", "a", "-f", "b", "-n", "1"]).dir(&dir));
    if ended.code == Some(2) {
        assert!(ended.stderr.contains("--file"), "{ended:#?}");
    } else {
        assert_eq!((summed(&ended.stdout, "a"), summed(&ended.stdout, "b")), ((1, 1), (1, 1)));
    }
}

// What is refused: files.

#[test]
#[rustfmt::skip] // A table.
fn wrong_lines_of_target_files() {
    let dir = Arc::new(TempDir::new());
    for (text, message) in [
        ("gw=127.0.0.1\n\ndb=127.0.0.1:0\n", "line 3: target \"db=127.0.0.1:0\": port \"0\" is not a number from 1 to 65535"),
        ("# ours\r\n\r\n10.1\r\n", &format!("line 3: target \"10.1\": {SHORTHAND}")),
        ("\u{feff}10.1", &format!("line 1: target \"10.1\": {SHORTHAND}")),
        ("gw=127.0.0.1 --interval 9ms # fast",
            "line 1: --interval: \"9ms\" is too short; accepted: 10ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)"),
        ("gw -s # 5", "line 1: --size needs a value; accepted: 1 to 100000"),
        ("gw --intervall 5", "line 1: unknown option --intervall; did you mean --interval? see --help"),
        ("127.0.0.1\n127.0.0.1:1 -ct 0",
            "line 2: target \"127.0.0.1:1\": --ctimeout for TCP: 1 at the least; 0 turns down/up off for ICMP only"),
        ("127.0.0.1 ::1", "line 1: \"127.0.0.1\" and \"::1\" are two targets; write one a line"),
        ("127.0.0.1\n-ct 5", "line 2: options without a target; write the target before them"),
        ("gw\nicmp://GW", &format!("line 2: target \"gw\" {TWICE}")),
        ("a\0b", "line 1: target \"a\\0b\": white space or a control character; leave it out"),
        ("\u{1b}[2J", "line 1: target \"\\u{1b}[2J\": white space or a control character; leave it out"),
    ] {
        dir.write("targets.txt", text);
        let from_file = refusal(text, Monitor::with(&["-f", "targets.txt"]).dir(&dir));
        assert_eq!(from_file, format!("targets.txt {message}"));
        let from_stdin = refusal(text, Monitor::with(&["--file=-"]).stdin(text));
        assert_eq!(from_stdin, format!("stdin {message}"));
    }
    // Named on the command line and in the file.
    dir.write("targets.txt", "\n::1");
    let message = refusal("twice", Monitor::with(&["::1", "-f", "targets.txt"]).dir(&dir));
    assert_eq!(message, format!("targets.txt line 2: target \"::1\" {TWICE}"));
}

#[test]
fn options_of_the_run_are_not_for_target_files() {
    for (option, name) in [
        ("-f x", "--file"),
        ("-n 5", "--count"),
        ("--check", "--check"),
        ("--slack-url https://h/secretsecret", "--slack-url"),
        ("--slack-url-file x", "--slack-url-file"),
        ("--log x", "--log"),
        ("--no-log", "--no-log"),
        ("-q", "--quiet"),
        ("--verbose", "--verbose"),
        ("-h", "-h"),
        ("--help", "--help"),
        ("--man", "--man"),
        ("-V", "--version"),
    ] {
        let line = format!("127.0.0.1 {option}");
        let message = refusal(&line, Monitor::with(&["-f", "-"]).stdin(&line));
        let why = "is not allowed in a target file, only the options of a target are";
        assert_eq!(message, format!("stdin line 1: {name} {why}"));
    }
}

#[test]
fn files_that_cannot_be_read() {
    let dir = Arc::new(TempDir::new());
    dir.write("latin1", b"# caf\xe9\n127.0.0.1\n");
    dir.write("empty", "");
    dir.write("comments", "# nothing\r\n   \r\n\t# at all");
    let say = |args: &[&str]| refusal(&format!("{args:?}"), Monitor::with(args).dir(&dir));
    let holds_none = "holds no target; write one a line, such as db=10.0.0.5:5432";
    for option in ["-f", "--slack-url-file"] {
        let missing = say(&["127.0.0.1", option, "nofile"]);
        assert!(missing.contains(": nofile cannot be read: No such file or directory"), "{missing}");
        let directory = say(&["127.0.0.1", option, "."]);
        assert!(directory.contains(": . cannot be read: Is a directory"), "{directory}");
        let latin1 = say(&["127.0.0.1", option, "latin1"]);
        assert!(latin1.contains(": latin1 cannot be read: it is not UTF-8 text"), "{latin1}");
    }
    assert_eq!(say(&["-f", "empty"]), format!("empty {holds_none}"));
    assert_eq!(say(&["-f", "comments"]), format!("comments {holds_none}"));
    // Also beside another target: nobody names an empty file on purpose.
    assert_eq!(say(&["127.0.0.1", "-f", "empty"]), format!("empty {holds_none}"));
    assert_eq!(say(&["-f", "-"]), format!("stdin {holds_none}"));
    assert_eq!(refusal("no stdin", shell("exec \"$@\" <&-", &["-f", "-"])), format!("stdin {holds_none}"));
}

#[test]
fn names_of_files_are_shown_on_one_line() {
    for args in [
        ["127.0.0.1:1", "-f", "no\nsuch"],
        ["127.0.0.1:1", "-f", "no\u{1b}[2Jsuch"],
        ["127.0.0.1:1", "--slack-url-file", "no\nsuch"],
        ["127.0.0.1:1", "--log", "no\nsuch/log"],
        ["127.0.0.1:1", "--log", "no\u{1b}[2Jsuch/log"],
    ] {
        refused_with(&args, &["No such file or directory"]);
    }
    let ended = end("check", Monitor::with(&[&open_port(), "--check", "--log", "no\nsuch\u{1b}/log"]));
    assert!(ended.stdout.lines().all(|line| line.starts_with("ok ") || line.starts_with("FAIL ")), "{ended:#?}");
    assert!(!ended.stdout.contains('\u{1b}'), "{ended:#?}");
}

#[test]
fn a_quote_in_the_name_of_a_file_is_no_control_character() {
    let dir = Arc::new(TempDir::new());
    dir.write("bob's.txt", "127.0.0.1:0");
    let message = refusal("bob's", Monitor::with(&["-f", "bob's.txt"]).dir(&dir));
    assert!(message.starts_with("bob's.txt line 1: "), "{message}");
}

#[test]
fn a_log_that_cannot_be_written() {
    let hint = "name another file, or use --no-log";
    for (log, why) in [("no/such/log", "No such file or directory"), (".", "Is a directory")] {
        refused_with(&[&open_port(), "-n", "1", "--log", log], &["--log: ", log, "cannot be written: ", why, hint]);
    }
}

// What is refused: webhooks. The secret is looked for by `refusal`.

#[test]
fn wrong_webhooks() {
    for (url, why) in [
        ("", "the URL is empty"),
        ("secretsecret", "the URL does not start with http:// or https://"),
        ("hooks.slack.com/services/secretsecret", "the URL does not start with http:// or https://"),
        ("ftp://h/secretsecret", "the URL does not start with http:// or https://"),
        ("http:///secretsecret", "the URL has no host"),
        ("https://:443/secretsecret", "the URL has no host"),
        ("http://h:0/secretsecret", "the URL's port is not a number from 1 to 65535"),
        ("http://h:65536/secretsecret", "the URL's port is not a number from 1 to 65535"),
        ("http://secretsecret:x@h:x/", "the URL's port is not a number from 1 to 65535"),
        ("http://h/secretsecret x", "the URL contains white space or a control character"),
        ("http://h/\u{1b}[2Jsecretsecret", "the URL contains white space or a control character"),
        ("http://hé/secretsecret", "the URL contains a character that is not ASCII"),
    ] {
        refused(&["127.0.0.1", "--slack-url", url], &format!("--slack-url: {why}; {URL_ACCEPTED}"));
        refused(&["127.0.0.1", &format!("--slack-url={url}")], &format!("--slack-url: {why}; {URL_ACCEPTED}"));
        if url.is_empty() {
            continue;
        }
        let message = refusal(url, Monitor::with(&["127.0.0.1"]).env("SLACK_WEBHOOK_URL", url));
        assert_eq!(message, format!("SLACK_WEBHOOK_URL: {why}; {URL_ACCEPTED}"));
        let dir = Arc::new(TempDir::new());
        dir.write("hook", format!("{url}\n"));
        let message = refusal(url, Monitor::with(&["127.0.0.1", "--slack-url-file", "hook"]).dir(&dir));
        assert_eq!(message, format!("--slack-url-file: hook holds no webhook URL: {why}; {URL_ACCEPTED}"));
    }
    refused(&["127.0.0.1", "--slack-url"], &format!("--slack-url needs a value; {URL_ACCEPTED}"));
    let env = shell("SLACK_WEBHOOK_URL=$(printf 'http://secretsecret\\377') exec \"$@\"", &["127.0.0.1"]);
    assert_eq!(refusal("not UTF-8", env), "SLACK_WEBHOOK_URL: not a URL (not UTF-8)");
    for text in ["", "\n \r\n", "\u{feff}"] {
        let dir = Arc::new(TempDir::new());
        dir.write("hook", text);
        let message = refusal("empty", Monitor::with(&["127.0.0.1", "--slack-url-file", "hook"]).dir(&dir));
        assert_eq!(message, format!("--slack-url-file: hook is empty; {URL_ACCEPTED}"));
    }
}

#[test]
fn webhooks_that_no_request_can_be_sent_to() {
    let at = open_port();
    for url in
        ["http://[::1/secretsecret", "http://<h>/secretsecret", "http://h:+80/secretsecret", "http://u@/secretsecret"]
    {
        refused_with(&[&at, "-n", "1", "--slack-url", url], &["--slack-url: ", URL_ACCEPTED]);
    }
}

#[test]
fn a_webhook_in_the_wrong_place_is_not_shown() {
    let url = "https://hooks.slack.com/services/secretsecret";
    for args in [
        &["127.0.0.1", "--slack-url-file", url][..],
        &["127.0.0.1", "--log", url],
        &["-f", url],
        &["127.0.0.1", "-i", url],
        &["127.0.0.1", "-n", url],
        &["127.0.0.1", "-I", url],
        &["127.0.0.1", "--quiet=https://hooks.slack.com/services/secretsecret"],
        &["127.0.0.1", "--slack-urlhttps://hooks.slack.com/services/secretsecret"],
        &["127.0.0.1", "--slackurl", url],
        &["127.0.0.1", "--slack-url", "x", url],
        &["ftp://hooks.slack.com/services/secretsecret"],
        &["https://hooks.slack.com:x/services/secretsecret"],
        &["127.0.0.1", "x=https://hooks.slack.com:0/services/secretsecret"],
    ] {
        refused_with(args, &[]);
    }
}

/// A webhook copied without `https://` is a likely slip.
#[test]
fn half_a_webhook_in_the_wrong_place_is_not_shown() {
    for args in [
        ["127.0.0.1", "--slack-url-file", "hooks.slack.com/services/secretsecret"],
        ["127.0.0.1", "--", "hooks.slack.com/services/secretsecret"],
    ] {
        refused_with(&args, &[]);
    }
}

// What works.

#[test]
fn help_and_version() {
    for args in [&["-h"][..], &["--help"], &["127.0.0.1", "-qh"], &["--help", "--bogus", "10.1"]] {
        let ended = lab::run::run(args);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(ended.stdout.starts_with("Usage: reachabilitycheck [OPTION]... TARGET...\n"), "{}", ended.stdout);
        let last = ended.stdout.lines().last().unwrap();
        assert!(last.ends_with("The manual: reachabilitycheck --man | man -l -"), "{}", ended.stdout);
        assert!(ended.stdout.ends_with('\n') && !ended.stdout.contains('\t'), "{}", ended.stdout);
        let wide = ended.stdout.lines().find(|line| line.chars().count() > 80 || line.ends_with(' '));
        assert_eq!(wide, None, "{args:?}");
    }
    // One screen of 24 lines, with the prompt below.
    let (all, common) = (lab::run::run(&["--help"]).stdout, lab::run::run(&["-h"]).stdout);
    let is_option = |line: &&str| line.starts_with("  -");
    assert!(common.lines().count() < 24 && common.lines().filter(is_option).count() >= 12, "{common}");
    assert!(common.lines().filter(is_option).all(|line| all.lines().any(|other| other == line)), "{common}");
    assert!(all.lines().filter(is_option).count() >= 2 * common.lines().filter(is_option).count(), "{all}");
    assert!(common.contains("--help") && common.contains("--slack-url-file"), "{common}");
    let version = concat!("reachabilitycheck ", env!("CARGO_PKG_VERSION"), "\n");
    for args in [&["-V"][..], &["--version"], &["-V", "--bogus"]] {
        let dir = Arc::new(TempDir::new());
        let ended = end("version", Monitor::with(args).dir(&dir));
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), version, ""), "{args:?}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "no log is begun");
    }
}

#[test]
fn help_has_every_option_and_default() {
    let help = lab::run::run(&["--help"]).stdout;
    // An option's line, and those that go on with it.
    let mut entries: Vec<String> = Vec::new();
    for line in help.lines() {
        match line.starts_with("  -") {
            true => entries.push(format!("{} ", line.trim())),
            false if line.starts_with("     ") => {
                if let Some(last) = entries.last_mut() {
                    *last += &format!("{} ", line.trim());
                }
            }
            false => {}
        }
    }
    for (option, default) in [
        ("-p, --port PORT", ""),
        ("-i, --interval TIME", "1s"),
        ("-w, --timeout TIME", "2s"),
        ("-s, --size N", "300"),
        ("-c, --change PCT", "5"),
        ("-ct, --ctimeout N", "TCP 3, ICMP 10"),
        ("-r, --recover N", "1"),
        ("--remind TIME", "never"),
        ("-4", "the first address that resolves"),
        ("-6", ""),
        ("-I, --interface IFACE", "the kernel's choice"),
        ("-l, --length BYTES", "56"),
        ("--ttl N", "the kernel's"),
        ("--tos N", "the kernel's"),
        ("-f, --file FILE", ""),
        ("-n, --count N", "until stopped"),
        ("--check", ""),
        ("--slack-url URL", "Slack is off"),
        ("--slack-url-file FILE", ""),
        ("--log FILE", "reachability.log"),
        ("--no-log", ""),
        ("-q, --quiet", ""),
        ("-v, --verbose", ""),
        ("-h", ""),
        ("--help", ""),
        ("--man", ""),
        ("--completions SHELL", ""),
        ("-V, --version", ""),
    ] {
        let entry = entries.iter().find(|entry| entry.strip_prefix(option).is_some_and(|rest| rest.starts_with(' ')));
        let entry = entry.unwrap_or_else(|| panic!("{option} is not in\n{help}"));
        assert!(default.is_empty() || entry.contains("(default: ") && entry.contains(default), "{option}: {entry}");
    }
    assert!(help.contains("SLACK_WEBHOOK_URL") && help.contains("Exit status"), "{help}");
}

/// `-ct` is one word, in every spelling.
#[test]
fn spellings_of_ctimeout() {
    let (_kept, at) = closed_port();
    for words in [&["-ct", "5"][..], &["-ct=5"], &["-ct5"], &["--ctimeout", "5"], &["--ctimeout=5"], &["-qct5"]] {
        let mut args = vec![at.as_str(), "-n", "6", "-i", "10ms"];
        args.extend(words);
        let ended = end(&format!("{words:?}"), Monitor::with(&args));
        assert_eq!(ended.code, Some(1), "{words:?}: {ended:#?}");
        let lines: Vec<_> = ended.log.lines().map(log_line).collect();
        assert!(matches!(lines[..], [(1, "DOWN", _, text)] if text.contains(": 5 checks in a row")), "{ended:#?}");
    }
}

lab_test!(spellings_of_change, |lab| {
    lab.far.on("10.9.0.5", drop_pattern(|nth| nth % 4 == 0));
    lab.far.on("10.9.0.6", answer());
    // A loss of 25 % is more than 24.99 points, and not more than 25.
    let spellings: &[(&[&str], i32)] = &[
        (&[], 1),
        (&["-c5"], 1),
        (&["-c", "24.99"], 1),
        (&["-c25"], 0),
        (&["-c", "25"], 0),
        (&["-c=25"], 0),
        (&["-c25%"], 0),
        (&["--change", "25.00"], 0),
        (&["--change=25"], 0),
        (&["-qc25"], 0),
    ];
    for (words, code) in spellings {
        let mut args = vec!["10.9.0.5", "10.9.0.6", "-n", "4", "-i", "10ms", "-w", "1s"];
        args.extend(*words);
        let ended = end(&format!("{words:?}"), Monitor::with(&args));
        assert_eq!(ended.code, Some(*code), "{words:?}: {ended:#?}");
        if !words.iter().any(|word| word.starts_with("-q")) {
            assert_eq!(summed(&ended.stdout, "10.9.0.5"), (4, 3));
            assert_eq!(summed(&ended.stdout, "10.9.0.6"), (4, 4));
        }
    }
});

// The first command anyone types.
lab_test!(loopback_is_well, ["ipv6"], |lab| {
    let _ = lab;
    let dir = Arc::new(TempDir::new());
    let ended = end("first", Monitor::with(&["127.0.0.1", "-n", "2", "-i", "10ms"]).dir(&dir));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), OFF));
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    assert_eq!(summed(&ended.stdout, "127.0.0.1"), (2, 2));
    // The log is opened at once, so that a wrong name is seen at once; nothing happened, so there is nothing in it.
    assert_eq!(ended.log, "");
    let ended = end("v6", Monitor::with(&["::1", "gw=127.0.0.1", "-n3", "-i10ms", "-v"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), OFF));
    for name in ["::1", "gw"] {
        assert_eq!(summed(&ended.stdout, name), (3, 3));
        for seq in 1..=3 {
            let line = format!("{name}: seq={seq} time=");
            let found = ended.stdout.lines().find_map(|l| l.strip_prefix(&line)?.strip_suffix(" ms"));
            assert!(found.is_some_and(|ms| ms.parse::<f64>().is_ok()), "{line}: {}", ended.stdout);
        }
    }
    let ended = end("quiet", Monitor::with(&["127.0.0.1", "-n", "2", "-i", "10ms", "-q"]));
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", OFF));
});

#[test]
fn tcp_is_well() {
    let at = open_port();
    let port = port(&at);
    let dir = Arc::new(TempDir::new());
    let url = format!("www=http://{at}/path?a=b");
    let tcp = format!("tcp=tcp://{at}");
    let args = [at.as_str(), &url, &tcp, "p=127.0.0.1", "-p", port, "-n", "2", "-i", "10ms", "-v"];
    let ended = end("tcp", Monitor::with(&args).dir(&dir));
    assert_eq!((ended.code, ended.stderr.as_str(), ended.log.as_str()), (Some(0), OFF, ""), "{ended:#?}");
    for name in [at.as_str(), "www", "tcp", "p"] {
        assert_eq!(summed(&ended.stdout, name), (2, 2));
        let line = format!("{name}: connected (");
        assert_eq!(ended.stdout.lines().filter(|l| l.starts_with(&line)).count(), 2, "{}", ended.stdout);
    }
    assert_eq!(ended.stdout.lines().count(), 12, "{}", ended.stdout);
    // `--` ends the options.
    let ended = end("--", Monitor::with(&["-n1", "-i=10ms", "--", &at]));
    assert_eq!((ended.code, summed(&ended.stdout, &at)), (Some(0), (1, 1)));
}

#[test]
fn tcp_is_down() {
    let (_kept, at) = closed_port();
    let port = port(&at).to_owned();
    let args = [&at, &format!("db={at}"), "-n", "4", "-i", "10ms"];
    let ended = end("closed", Monitor::with(&args));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), OFF), "{ended:#?}");
    assert_eq!(kinds(&ended.log), ["DOWN", "DOWN"]);
    for (name, host) in [(at.as_str(), "127.0.0.1"), ("db", "db")] {
        assert_eq!(summed(&ended.stdout, name), (4, 0));
        let text = ended.log.lines().map(log_line).find(|line| line.2 == name).expect(&ended.log).3;
        let start = format!("TCP connection to {host} is failing on port {port}: 3 checks in a row failed since ");
        let rest = text.strip_prefix(&start).and_then(|rest| rest.strip_suffix("Z (connection refused)"));
        let rest = rest.unwrap_or_else(|| panic!("{text}"));
        assert!(rest.len() == 8 && rest.split(':').all(|n| n.len() == 2 && n.parse::<u8>().is_ok()), "{text}");
    }
    // What is on stdout before the summary is the log.
    let shown: String = ended.stdout.lines().filter(|line| line.contains(" DOWN ")).map(|l| format!("{l}\n")).collect();
    assert_eq!(shown, ended.log);
    assert_eq!(ended.stdout.lines().count(), 4, "{}", ended.stdout);
}

#[test]
fn exit_status_is_that_of_the_worst() {
    let (_kept, shut) = closed_port();
    let (a, b) = (open_port(), open_port());
    for (targets, code) in [([&a, &b], 0), ([&a, &shut], 1), ([&shut, &b], 1)] {
        let args = [targets[0], targets[1], "-n", "3", "-i", "10ms"];
        assert_eq!(end("exit", Monitor::with(&args)).code, Some(code), "{args:?}");
    }
    // Fewer checks than it takes to be down: no success is not well either, and is notified.
    let ended = end("one", Monitor::with(&[&shut, "-n", "1"]));
    assert_eq!((ended.code, kinds(&ended.log)), (Some(1), vec!["DOWN"]), "{ended:#?}");
}

#[test]
fn quiet_says_nothing_on_stdout() {
    let (_kept, at) = closed_port();
    for quiet in ["-q", "--quiet"] {
        let ended = end("quiet", Monitor::with(&[&at, "-n", "4", "-i", "10ms", quiet]));
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(1), "", OFF));
        assert_eq!(kinds(&ended.log), ["DOWN"]);
    }
}

#[test]
fn a_lines_options_win() {
    let (_kept, at) = closed_port();
    let port = port(&at);
    let text = format!(
        "\u{feff}# ours\r\n\r\none={at} --ctimeout 1\r\n\tthree={at}\t# the command line's\r\n\
         two=127.0.0.1 -ct=2 -p {port} -i 15ms"
    );
    let args = ["four=127.0.0.1:1", "-f", "-", "-ct", "3", "-n", "4", "-i", "10ms"];
    let ended = end("lines", Monitor::with(&args).stdin(&text));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), OFF), "{ended:#?}");
    for (name, failed) in [("one", "1 check"), ("two", "2 checks in a row"), ("three", "3 checks in a row")] {
        let text = ended.log.lines().map(log_line).find(|line| line.2 == name).expect(&ended.log).3;
        let start = format!("TCP connection to {name} is failing on port {port}: {failed} failed since ");
        assert!(text.starts_with(&start), "{text}");
    }
    // Those of the command line come first, then the file's, in their order.
    let summary = ended.stdout.lines().filter(|line| line.contains(" : xmt/rcv/%loss = "));
    let names: Vec<&str> = summary.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["four", "one", "three", "two"]);
}

#[test]
fn where_the_log_goes() {
    let (_kept, at) = closed_port();
    let names = |dir: &TempDir| -> Vec<String> {
        let entries = dir.path().read_dir().unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let dir = Arc::new(TempDir::new());
    let ended = end("--log", Monitor::with(&[&at, "-n", "3", "-i", "10ms", "--log", "own log"]).dir(&dir));
    assert_eq!((ended.code, names(&dir)), (Some(1), vec!["own log".to_owned(), "own log.state".to_owned()]));
    assert_eq!(kinds(&dir.read("own log")), ["DOWN"]);
    // Appended to; what stands there already stays.
    dir.write("own log", "before\n");
    end("again", Monitor::with(&[&at, "-n", "3", "-i", "10ms", "--no-state", "--log=own log"]).dir(&dir));
    let log = dir.read("own log");
    assert_eq!(kinds(log.strip_prefix("before\n").unwrap()), ["DOWN"]);
    let dir = Arc::new(TempDir::new());
    let ended = end("--no-log", Monitor::with(&[&at, "-n", "3", "-i", "10ms", "--no-log"]).dir(&dir));
    assert_eq!((ended.code, names(&dir)), (Some(1), vec![]));
    // The notification is shown all the same.
    assert_eq!(log_line(ended.stdout.lines().next().unwrap()).1, "DOWN");
}

/// Each way to name the webhook, and which one wins.
#[test]
fn ways_to_the_webhook() {
    let (_kept, at) = closed_port();
    let dir = Arc::new(TempDir::new());
    let (one, two) = (Slack::start(vec![]), Slack::start(vec![]));
    dir.write("hook", format!("\u{feff}\r\n {}\r\nmore\r\n", one.url()));
    let args = [at.as_str(), "-n", "1", "--no-state"];
    let run = |more: &[&str], env: &str| {
        let words: Vec<&str> = args.iter().chain(more).copied().collect();
        let ended = end(&format!("{more:?}"), Monitor::with(&words).dir(&dir).env("SLACK_WEBHOOK_URL", env));
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(![&ended.stdout, &ended.stderr, &ended.log].iter().any(|text| text.contains(SECRET)), "{ended:#?}");
        ended.stderr
    };
    assert_eq!(run(&["--slack-url", &one.url()], &two.url()), "");
    assert_eq!(run(&["--slack-url-file", "hook"], &two.url()), "");
    assert_eq!((one.posts().len(), two.posts().len()), (2, 0));
    assert_eq!(run(&[], &two.url()), "");
    assert_eq!(run(&[], &format!(" {}\n", two.url())), "");
    assert_eq!((one.posts().len(), two.posts().len()), (2, 2));
    // An empty variable is how crontabs and unit files turn a thing off.
    assert_eq!(run(&[], ""), OFF);
    assert_eq!(run(&[], " "), OFF);
    assert!(one.delivered_texts()[0].contains("is failing on port"), "{:?}", one.posts());
}

/// Whatever the webhook does, its secret is not shown, and the exit status is that of the targets.
#[test]
fn a_failing_webhook_is_named_without_its_secret() {
    let at = open_port();
    let (_kept, shut) = closed_port();
    let refusing = format!("http://user:{SECRET}@{shut}{PATH}?{SECRET}");
    let slack = Slack::start(vec![]);
    for (answer, url, word) in [
        (Answer::Status(404, "no_service"), slack.url(), "404, no_service"),
        (Answer::Status(500, "oops"), slack.url(), "500"),
        (Answer::Body200("<html>Welcome</html>".into()), slack.url(), "status 200"),
        (Answer::Redirect(format!("{}/{SECRET}", slack.base())), slack.url(), "302"),
        (Answer::Reset, slack.url(), "connection failed"),
        (Answer::Close, slack.url(), ""),
        (Answer::Ok, refusing, "connection failed: Connection refused"),
    ] {
        slack.otherwise(answer.clone());
        let args = [at.as_str(), &shut, "-v", "-n", "2", "-i", "10ms", "--slack-url", &url];
        let ended = end(&format!("{answer:?}"), Monitor::with(&args));
        assert_eq!(ended.code, Some(1), "{answer:?}: {ended:#?}");
        let shown = [&ended.stdout, &ended.stderr, &ended.log].iter().any(|text| text.contains(SECRET));
        assert!(!shown, "{answer:?}: {ended:#?}");
        assert!(ended.stderr.contains(word) && ended.stderr.contains("Slack"), "{answer:?}: {ended:#?}");
        assert!(ended.stderr.lines().all(|line| line.starts_with("reachabilitycheck: ")), "{answer:?}: {ended:#?}");
    }
    assert_eq!(slack.others().len(), 0, "a redirect was followed");
}

#[test]
fn a_webhook_that_refuses_for_good_ends_it_at_the_start() {
    let slack = Slack::start(vec![]);
    slack.otherwise(Answer::Status(404, "no_service"));
    let ended = end("404", Monitor::with(&[&open_port(), "-i", "20ms", "--slack-url", &slack.url()]));
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("no_service"), "{ended:#?}");
}

#[test]
fn an_unreachable_webhook_does_not_end_it() {
    let (_kept, shut) = closed_port();
    let url = format!("http://{shut}{PATH}");
    let at = open_port();
    let mut monitor = Monitor::start(&[&at, "-i", "20ms", "-v", "--slack-url", &url]);
    let connected = format!("{at}: connected");
    assert!(monitor.wait_line(|all| all.stderr.contains("Connection refused"), LONG), "{:#?}", monitor.output());
    let before = monitor.output().stdout.matches(&connected).count();
    assert!(monitor.wait_line(|all| all.stdout.matches(&connected).count() > before + 3, LONG));
    assert_eq!(monitor.stop().code, Some(0));
}

// How it ends.

#[test]
fn signals_end_it_well() {
    let at = open_port();
    let (_kept, shut) = closed_port();
    for (signal, name) in [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM")] {
        let mut monitor = Monitor::start(&[&format!("gw={at}"), &format!("long-name={shut}"), "-i", "20ms"]);
        assert!(monitor.wait_log(" DOWN ", LONG), "{:#?}", monitor.output());
        monitor.signal(signal);
        let ended = monitor.finish(Duration::from_secs(10));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), OFF), "{ended:#?}");
        assert_eq!(kinds(&ended.log), ["START", "DOWN", "STOP"]);
        let texts: Vec<_> = ended.log.lines().map(|line| log_line(line).3).collect();
        assert_eq!(texts[0], "Monitoring 2 targets: gw, long-name");
        assert!(texts[2].contains(name), "{}", ended.log);
        // The log lines, then the summary.
        let summary = ended.stdout.strip_prefix(&ended.log).unwrap_or_else(|| panic!("{ended:#?}"));
        assert_eq!(summary.lines().count(), 2);
        assert!(summed(summary, "gw").1 > 0 && summed(summary, "long-name").1 == 0, "{summary}");
    }
}

#[test]
fn a_signal_ends_a_counted_run_too() {
    let (_kept, shut) = closed_port();
    let mut monitor = Monitor::start(&[&shut, "-i", "20ms", "-n", "1000000"]);
    assert!(monitor.wait_log(" DOWN ", LONG), "{:#?}", monitor.output());
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(summed(&ended.stdout, &shut).0 >= 3);
}

/// Slack has 2 s for the last message, also when it hangs in one before.
#[test]
fn a_signal_ends_it_when_slack_hangs() {
    let at = open_port();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let slack = Slack::start(vec![]);
        slack.otherwise(Answer::Hang(Duration::from_secs(60)));
        let monitor = Monitor::start(&[&at, "-i", "20ms", "--slack-url", &slack.url()]);
        assert!(slack.wait_posts(1, LONG), "{:#?}", monitor.output());
        let start = Instant::now();
        monitor.signal(signal);
        let ended = monitor.finish(LONG);
        // A POST has 10 s in all: that was not waited for.
        assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
        assert_eq!((ended.code, kinds(&ended.log)), (Some(0), vec!["START", "STOP"]), "{ended:#?}");
        assert!(summed(&ended.stdout, &at).0 > 0);
        assert!(ended.stderr.contains("not delivered to Slack"), "{ended:#?}");
        assert!(!format!("{ended:?}").contains(SECRET), "{ended:#?}");
    }
}

#[test]
fn one_notification_is_not_many() {
    let (_kept, shut) = closed_port();
    let url = format!("http://{shut}{PATH}");
    let ended = end("refused", Monitor::with(&[&shut, "-n", "1", "--slack-url", &url]));
    assert!(!ended.stderr.contains("1 notifications"), "{ended:#?}");
}

#[test]
fn a_broken_pipe_ends_it_quietly() {
    let at = open_port();
    let script = "( \"$@\"; echo \"status $?\" >&2 ) | head -n 1";
    for more in [&["-v"][..], &["-v", "-n", "1000000"]] {
        let mut args = vec![at.as_str(), "-i", "10ms"];
        args.extend(more);
        let ended = end(&format!("{more:?}"), shell(script, &args));
        assert_eq!((ended.code, ended.stderr), (Some(0), format!("{OFF}status 0\n")), "{more:?}: {}", ended.stdout);
        assert_eq!(ended.stdout.lines().count(), 1);
        let kinds = kinds(&ended.log);
        assert!(kinds == ["START", "STOP"] || more.contains(&"-n") && kinds.is_empty(), "{}", ended.log);
    }
    let ended = end("help", shell(script, &["--help"]));
    assert_eq!((ended.stderr.as_str(), ended.stdout.lines().count()), ("status 0\n", 1));
}

/// What a script behind a pipe learns by its `pipefail`.
#[test]
fn a_broken_pipe_does_not_hide_that_a_counted_target_is_down() {
    let (_kept, shut) = closed_port();
    let script = "( \"$@\"; echo \"status $?\" >&2 ) | head -n 1";
    let ended = end("down", shell(script, &[&shut, "-v", "-n", "1000000", "-i", "10ms"]));
    assert_eq!(ended.stderr, format!("{OFF}status 1\n"), "{}", ended.stdout);
}

/// More lines than may wait, and a reader that comes late: the summary is there all the same.
#[test]
fn a_slow_reader_gets_the_summary() {
    let at = open_port();
    let targets: Vec<String> = (0..100).map(|number| format!("t{number}={at}")).collect();
    let mut args = vec!["--no-log", "-v", "-n", "60", "-i", "10ms"];
    args.extend(targets.iter().map(String::as_str));
    let ended = end("slow", shell("( \"$@\"; echo \"status $?\" >&2 ) | ( sleep 2; cat )", &args));
    let summaries = ended.stdout.lines().filter(|line| line.contains(" : xmt/rcv/%loss = ")).count();
    assert_eq!(summaries, 100, "{}", ended.stderr);
    assert!(ended.stderr.ends_with("status 0\n"), "{}", ended.stderr);
}

/// As nohup(1) starts it.
#[test]
fn a_hangup_that_was_ignored_stays_so() {
    let mut monitor = shell("trap '' HUP; exec \"$@\"", &[&open_port(), "-i", "50ms"]).start();
    assert!(monitor.wait_log(" START ", LONG));
    monitor.signal(libc::SIGHUP);
    thread::sleep(Duration::from_millis(300));
    assert!(monitor.running(), "{:#?}", monitor.output());
    assert_eq!(monitor.stop().code, Some(0));
}

/// Streams that are closed or full: the checks, the log and the exit status are as ever, and nothing that was meant for
/// a stream gets into a file or socket that has its number.
#[test]
fn closed_and_full_streams() {
    let at = open_port();
    let (_kept, shut) = closed_port();
    for redirect in [">&-", "2>&-", "<&-", ">/dev/full", "2>/dev/full", ">&- 2>&- <&-", ">/dev/full 2>/dev/full"] {
        for (target, code) in [(&at, 0), (&shut, 1)] {
            let script = format!("exec \"$@\" {redirect}");
            let ended = end(redirect, shell(&script, &[target, "-n", "4", "-i", "10ms", "-v"]));
            assert_eq!(ended.code, Some(code), "{redirect}: {ended:#?}");
            assert_eq!(kinds(&ended.log), if code == 0 { vec![] } else { vec!["DOWN"] }, "{redirect}");
            let words: Vec<&str> = redirect.split(' ').collect();
            let gone = |number: &str| words.iter().any(|word| word.starts_with(number));
            assert_eq!(ended.stderr, if gone("2") { "" } else { OFF }, "{redirect}");
            if gone(">") {
                assert_eq!(ended.stdout, "", "{redirect}");
            } else {
                assert_eq!(summed(&ended.stdout, target).0, 4, "{redirect}");
            }
        }
        let ended = end(redirect, shell(&format!("exec \"$@\" {redirect}"), &["10.1"]));
        assert_eq!(ended.code, Some(2), "{redirect}: {ended:#?}");
    }
}

// --check

/// The lines of a check-up; each begins with its verdict.
fn verdicts(stdout: &str) -> Vec<(bool, &str)> {
    let verdict = |line: &'_ str| line.starts_with("ok ") || line.starts_with("FAIL ");
    assert!(stdout.lines().all(verdict), "{stdout}");
    stdout.lines().map(|line| (line.starts_with("ok "), line)).collect()
}

fn has(stdout: &str, well: bool, words: &[&str]) {
    let lines = verdicts(stdout);
    let found = lines.iter().any(|(verdict, line)| *verdict == well && words.iter().all(|word| line.contains(word)));
    assert!(found, "no {} line with {words:?} in\n{stdout}", if well { "ok" } else { "FAIL" });
}

lab_test!(check_when_all_is_well, ["ipv6"], |lab| {
    let slack = Slack::start(vec![]);
    let dns = lab.dns();
    dns.set("gw.test", &["10.9.0.7"]);
    lab.far.on("10.9.0.0/16", answer());
    let args = ["127.0.0.1", "far=10.9.0.5", "gw.test", "::1", "10.9.0.6:80", "--check", "--slack-url", &slack.url()];
    let ended = end("check", Monitor::with(&args));
    assert_eq!((ended.code, ended.stderr.as_str(), ended.log.as_str()), (Some(0), "", ""), "{ended:#?}");
    assert!(verdicts(&ended.stdout).iter().all(|(well, _)| *well), "{}", ended.stdout);
    for words in [&["4 by ICMP", "1 by TCP"][..], &["IPv4", "socket"], &["IPv6", "socket"], &["gw.test", "10.9.0.7"]] {
        has(&ended.stdout, true, words);
    }
    has(&ended.stdout, true, &["Slack", "test message"]);
    has(&ended.stdout, true, &["log", "reachability.log"]);
    assert_eq!(slack.posts().len(), 1);
    assert!(slack.delivered_texts()[0].contains("Test message"), "{:?}", slack.posts());
    // Nothing else was sent.
    assert_eq!(lab.far.count("10.9.0.0/16", "echo") + lab.far.count("10.9.0.0/16", "syn"), 0);
});

#[test]
fn check_with_tcp_targets_only() {
    let slack = Slack::start(vec![]);
    let at = open_port();
    let (_kept, shut) = closed_port();
    // No checks are sent, so it does not matter that this one is closed. The count neither.
    let args = [&at, &shut, "--check", "-n", "5", "--no-log", "--slack-url", &slack.url()];
    let dir = Arc::new(TempDir::new());
    let ended = end("check", Monitor::with(&args).dir(&dir));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:#?}");
    has(&ended.stdout, true, &["0 by ICMP", "2 by TCP"]);
    has(&ended.stdout, true, &["log", "off"]);
    assert!(!ended.stdout.contains("xmt/rcv"), "{}", ended.stdout);
    assert_eq!((slack.posts().len(), dir.path().read_dir().unwrap().count()), (1, 0));
    let ended = end("Slack off", Monitor::with(&[&at, "--check"]));
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""), "{ended:#?}");
    has(&ended.stdout, true, &["Slack", "off"]);
}

#[test]
fn check_when_the_webhook_fails() {
    let at = open_port();
    let slack = Slack::start(vec![]);
    let (_kept, shut) = closed_port();
    let refusing = format!("http://{shut}{PATH}");
    for (answer, url, word) in [
        (Answer::Status(404, "no_service"), slack.url(), "no_service"),
        (Answer::Status(403, "invalid_token"), slack.url(), "403, invalid_token"),
        (Answer::Status(500, ""), slack.url(), "500"),
        (Answer::Body200("<html>".into()), slack.url(), "captive portal"),
        (Answer::Redirect(slack.base()), slack.url(), "302"),
        (Answer::Ok, refusing, "Connection refused"),
    ] {
        slack.otherwise(answer);
        let before = slack.posts().len();
        let ended = end(word, Monitor::with(&[&at, "--check", "--slack-url", &url]));
        assert_eq!((ended.code, ended.stderr.as_str(), ended.log.as_str()), (Some(2), "", ""), "{ended:#?}");
        has(&ended.stdout, false, &["Slack", word]);
        has(&ended.stdout, true, &["0 by ICMP", "1 by TCP"]);
        assert!(!ended.stdout.contains(SECRET), "{}", ended.stdout);
        assert!(slack.posts().len() <= before + 1, "{word}: tried again");
    }
    assert_eq!(slack.others().len(), 0, "a redirect was followed");
}

lab_test!(check_when_a_name_does_not_resolve, |lab| {
    let dns = lab.dns();
    dns.set("gw.test", &["10.9.0.7"]);
    let args = ["no-such-host.invalid", "web=no-such-host.invalid:80", "gw.test", "--check"];
    let ended = end("check", Monitor::with(&args));
    assert_eq!((ended.code, ended.stderr.as_str(), ended.log.as_str()), (Some(2), "", ""), "{ended:#?}");
    has(&ended.stdout, false, &["no-such-host.invalid", "cannot be resolved"]);
    has(&ended.stdout, false, &["web", "cannot be resolved"]);
    has(&ended.stdout, true, &["gw.test", "10.9.0.7"]);
    assert_eq!(lab.far.count("10.9.0.0/16", "echo") + lab.far.count("10.9.0.0/16", "syn"), 0);
});

#[test]
fn check_when_the_log_cannot_be_written() {
    let ended = end("log", Monitor::with(&[&open_port(), "--check", "--log", "no/such/log"]));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""), "{ended:#?}");
    has(&ended.stdout, false, &["log", "no/such/log", "No such file or directory"]);
}

#[test]
fn check_when_the_interface_is_not_there() {
    let at = open_port();
    for interface in ["nosuch0", "192.0.2.77"] {
        let ended = end(interface, Monitor::with(&[&at, "--check", "-I", interface]));
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        has(&ended.stdout, false, &[interface]);
    }
}

#[test]
fn check_is_quiet_too() {
    let ended = end("quiet", Monitor::with(&[&open_port(), "--check", "-q"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{ended:#?}");
}

// No right to send: row 24 of the faults.

lab_test!(no_right_to_send, ["raw", "setpriv", "ipv6"], |lab| {
    let _ = lab;
    let without = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let cures = ["net.ipv4.ping_group_range", "CAP_NET_RAW"];
    let at = open_port();
    for targets in [&["127.0.0.1"][..], &["::1"], &["localhost"], &[&at, "127.0.0.1", "::1"], &["localhost", "-6"]] {
        let mut args = targets.to_vec();
        args.extend(["-n", "1"]);
        let message = refusal(&format!("{targets:?}"), Monitor::with(&args).under(&without));
        assert!(cures.iter().all(|cure| message.contains(cure)), "{message}");
    }
    // TCP needs no such right.
    let ended = end("tcp", Monitor::with(&[&at, "-n", "1"]).under(&without));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), OFF), "{ended:#?}");
    let ended = end("check", Monitor::with(&["127.0.0.1", &at, "--check"]).under(&without));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""), "{ended:#?}");
    has(&ended.stdout, false, &["ICMP", cures[0], cures[1]]);
    // Each cure cures.
    assert_eq!(end("raw", Monitor::with(&["127.0.0.1", "-n", "1"])).code, Some(0));
    lab.dgram();
    assert_eq!(end("dgram", Monitor::with(&["127.0.0.1", "-n", "1"]).under(&without)).code, Some(0));
});
