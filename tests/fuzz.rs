//! Random and mutated input for everything that reads what others wrote: packets, options, target words and files.
//! A fixed seed, so that a failure can be repeated. `make fuzz` runs longer, with seeds of its own that it prints.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use reachabilitycheck::config::{Config, Given};
use reachabilitycheck::event::Outcome;
use reachabilitycheck::flags;
use reachabilitycheck::flight::{Flight, Launch};
use reachabilitycheck::target::{Target, TargetOptions};
use reachabilitycheck::wire::{self, Echo, Version};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant, SystemTime};

/// xorshift64*: good enough to reach odd places, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}

/// Runs `case` for a fixed number of rounds, or for FUZZ_SECONDS with a seed of the moment.
fn rounds(name: &str, fixed: u32, mut case: impl FnMut(&mut Random)) {
    let Some(seconds) = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()) else {
        let mut random = Random(0x5eed_0000_0000_0001);
        return (0..fixed).for_each(|_| case(&mut random));
    };
    let seed = match std::env::var("FUZZ_SEED") {
        Ok(seed) => seed.parse().expect("FUZZ_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1,
    };
    println!("{name}: FUZZ_SEED={seed}");
    let (mut random, start, mut count) = (Random(seed), Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        (0..100).for_each(|_| case(&mut random));
        count += 100;
    }
    println!("{name}: {count} rounds");
}

/// Only the very answer counts, whatever is done to it: of a valid reply with some bytes changed, cut off or added,
/// each variant that differs is refused, and none can make the parser panic.
#[test]
fn packets() {
    const COOKIE: u64 = 0x1122_3344_5566_7788;
    rounds("packets", 60_000, |random| {
        let length = 16 + random.below(100);
        let mut message = vec![0; wire::HEADER + length];
        wire::build(&mut message, Version::V4, 7, 1, COOKIE, false);
        message[0] = Version::V4.reply();
        message[2..4].fill(0);
        let sum = wire::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend(&message);
        let total = packet.len() as u16;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        if random.below(4) == 0 {
            packet = random.bytes(2000);
        }
        for _ in 0..random.below(4) {
            match random.below(4) {
                0 if !packet.is_empty() => {
                    let at = random.below(packet.len());
                    packet[at] ^= 1 << random.below(8);
                }
                1 => packet.truncate(random.below(packet.len() + 1)),
                2 => packet.extend(random.bytes(64)),
                _ if !packet.is_empty() => {
                    let at = random.below(packet.len());
                    packet[at] = random.next() as u8;
                }
                _ => {}
            }
        }
        let mut flight = Flight::new(Duration::from_secs(1));
        flight.launch(Launch {
            number: 1,
            sent: Duration::ZERO,
            sequence: 1,
            cookie: COOKIE,
            socket: 1,
            stamped: None,
        });
        let body = wire::ipv4_body(&packet);
        let accepted = body.is_some_and(|body| {
            Echo::parse(body).is_some_and(|(echo, payload)| {
                echo.kind == 0
                    && echo.code == 0
                    && echo.identifier == 7
                    && wire::checksum(body) == 0
                    && flight.answer(Duration::from_millis(5), 1, echo.sequence, |cookie| {
                        wire::payload_is(payload, length, cookie)
                    })
            })
        });
        assert_eq!(accepted, body == Some(&message[..]), "only the exact reply: {packet:02x?}");
        let judged = flight.pop().map(|check| matches!(check.outcome, Outcome::Answered(_)));
        assert_eq!(judged, accepted.then_some(true));
    });
}

const WORDS: &[&str] = &[
    "gw",
    "=",
    "db=",
    "10.0.0.5",
    ":",
    "::",
    "[",
    "]",
    ":443",
    "https://",
    "icmp://",
    "tcp://",
    "/",
    "?",
    "%",
    "fe80::1",
    "%eth0",
    "2001:db8::1",
    "0",
    "65535",
    "65536",
    "-",
    "--",
    "-ct",
    "-c",
    "5",
    "t",
    "--interval",
    "-i",
    "1s",
    "500ms",
    "--timeout=",
    "-w",
    "2s",
    "-s",
    "300",
    "--size",
    "-I",
    "eth0",
    "-l",
    "56",
    "--ttl",
    "--tos",
    "0x10",
    "-4",
    "-6",
    "-p",
    "--remind",
    "1h",
    "#",
    "..",
    "xn--",
    "é",
    "\u{202e}",
    "\u{0}",
    "\n",
    "\t",
    " ",
    "\u{1b}[31m",
    "255.255.255.255",
    "224.0.0.1",
    "0x7f.1",
    "1e9",
    "99999999999999999999",
    "18446744073709551615s",
    "-q",
    "-n",
    "--count",
    "localhost",
    "--help",
    "-V",
    "--slack-url",
    "https://hooks.slack.test/services/T0/B0/SECRETWORD",
    "--log",
    "-f",
    "@",
    "user:",
    "\u{feff}",
    "\"",
    "'",
];

fn word(random: &mut Random) -> String {
    let mut word = String::new();
    for _ in 0..=random.below(4) {
        match random.below(8) {
            0 => word.push(char::from_u32(random.below(0x3000) as u32).unwrap_or('x')),
            _ => word.push_str(random.pick(WORDS)),
        }
    }
    if random.below(6) == 0 {
        let cut = random.below(word.chars().count() + 1);
        word = word.chars().take(cut).collect();
    }
    word
}

/// A refusal is one line without anything a terminal would act on, and never holds the secret.
fn check_message(message: &str, input: &dyn std::fmt::Debug) {
    assert!(!message.is_empty() && !message.chars().any(char::is_control), "{message:?} for {input:?}");
    assert!(message.len() < 1000, "{message:?} for {input:?}");
}

/// What holds for every target that is accepted.
fn check_target(target: &Target) {
    assert!(!target.name.is_empty());
    assert!(!target.name.chars().any(|c| c.is_whitespace() || c.is_control()), "{target:?}");
    assert!(target.options.interval >= Duration::from_millis(10) && target.options.size >= 1, "{target:?}");
    assert!((16..=65_000).contains(&target.options.length), "{target:?}");
}

#[test]
fn target_words() {
    rounds("target words", 60_000, |random| {
        let word = word(random);
        match Target::parse(&word, &TargetOptions::default()) {
            Ok(target) => {
                check_target(&target);
                // A name without a label names the same target again.
                if !word.contains('=') {
                    let again = Target::parse(&target.name, &TargetOptions::default()).unwrap();
                    assert_eq!(again, target, "{word:?}");
                }
            }
            Err(message) => check_message(&message, &word),
        }
    });
}

#[test]
fn command_lines_and_files() {
    rounds("command lines and files", 30_000, |random| {
        let args: Vec<OsString> = (0..random.below(6))
            .map(|_| match random.below(12) {
                0 => OsString::from_vec(random.bytes(12)),
                _ => word(random).into(),
            })
            .collect();
        let lines: Vec<String> = (0..random.below(4))
            .map(|_| (0..random.below(5)).map(|_| word(random)).collect::<Vec<_>>().join(" "))
            .collect();
        let text = lines.join(random.pick(&["\n", "\r\n", "\n\n# x\n"]));
        let typed = match flags::parse(args.clone()) {
            Ok(typed) => typed,
            Err(message) => return check_message(&message, &args),
        };
        let files = [("targets.txt".to_owned(), text.clone())];
        let given = Given { target_files: &files[..random.below(2)], ..Given::default() };
        match Config::new(&typed, given) {
            Ok(config) => config.targets.iter().for_each(|target| check_target(target)),
            Err(message) => check_message(&message, &(&args, &text)),
        }
        assert!(!format!("{:?}", typed.slack_url).contains("SECRETWORD"));
    });
}
