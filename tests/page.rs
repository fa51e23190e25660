//! The status page and its history: made by the program itself on loopback, and looked at in a browser where there is one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use reachabilitycheck::event::{Check, Event, Outcome, Subject, What};
use reachabilitycheck::flags;
use reachabilitycheck::history::{History, Sight};
use reachabilitycheck::judge::{Judge, Rules};
use reachabilitycheck::stats::{Counts, Stats};
use reachabilitycheck::target::Target;
use reachabilitycheck::view::page::{self, Page};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs};

/// 2026-11-22T13:27:09Z
const NOW: u64 = 1_795_354_029;
const DAY: u64 = 86400;

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn chance(&mut self, of_a_million: u64) -> bool {
        self.below(1_000_000) < of_a_million
    }
}

/// A line as lines are: (word, round trip in microseconds, jitter, lost of a million, outages of a million checks, longest
/// outage in seconds).
type Line = (&'static str, u64, u64, u64, u64, u64);

const LINES: [Line; 20] = [
    ("gw=192.0.2.1", 420, 80, 20, 0, 0),
    ("isp-dns=[2001:db8::53]:53", 9_800, 1_500, 400, 12, 2400),
    ("uplink-fibre=198.51.100.1", 6_200, 700, 150, 6, 900),
    ("uplink-lte=198.51.100.129", 46_000, 24_000, 22_000, 30, 5400),
    ("www=https://www.example.org/", 21_000, 2_600, 60, 4, 600),
    ("shop=https://shop.example.org/", 23_400, 5_000, 60, 8, 1200),
    ("db=10.0.0.5:5432", 610, 200, 0, 2, 400),
    ("db-replica=10.0.0.6:5432", 650, 300, 10, 10, 1800),
    ("mail=mail.example.org:25", 18_700, 2_000, 120, 5, 3000),
    ("vpn-berlin=203.0.113.7", 31_500, 4_000, 1_200, 14, 7200),
    ("vpn-são-paulo=203.0.113.77", 212_000, 18_000, 6_000, 22, 5400),
    ("مكتب-القاهرة=203.0.113.90", 88_000, 9_000, 3_000, 18, 3600),
    ("nas=10.0.0.20", 380, 60, 0, 1, 300),
    ("switch-1st-floor=10.0.1.2", 700, 400, 0, 0, 0),
    ("switch-2nd-floor=10.0.1.3", 720, 400, 0, 3, 600),
    ("ap-kitchen=10.0.1.31", 4_100, 6_000, 9_000, 40, 600),
    ("ap-warehouse=10.0.1.32", 5_300, 9_000, 30_000, 60, 900),
    ("camera-yard=10.0.1.40:554", 2_300, 900, 800, 26, 28_000),
    ("R&D<lab>\"x\"=10.0.2.9", 900, 300, 100, 5, 1200),
    ("printer=10.0.1.50:9100", 1_900, 700, 200, 20, 40_000),
];

/// Thirty days of these lines, a check every `interval` seconds, as the monitor would have counted and judged them; it did
/// not run for three quarters of an hour last night.
fn month(lines: &[Line], interval: u64) -> (History, Vec<(Arc<Target>, Counts)>, Duration) {
    let mut history = History::default();
    let mut random = Random(7);
    let begin = NOW - 30 * DAY;
    let mono = |unix: u64| Duration::from_secs(unix - begin + 1_000_000);
    let mut events = Vec::new();
    let mut now = Vec::new();
    for (index, (word, rtt, jitter, lost, outages, longest)) in lines.iter().enumerate() {
        let typed = flags::parse(["-ct", "3", "-i", &interval.to_string()].map(Into::into)).unwrap();
        let target = Arc::new(Target::parse(word, &typed.target).unwrap());
        let mut judge = Judge::new(Rules::of(&target));
        let mut stats = Stats::new(mono(begin), 0);
        // The last three are down, or losing, as the page is made.
        let mut down_until = 0;
        let mut unix = begin + index as u64;
        let mut number = 0;
        while unix < NOW {
            if (NOW - 37_000..NOW - 34_300).contains(&unix) {
                unix += interval;
                stats = Stats::new(mono(unix), 0);
                judge = Judge::resume(Rules::of(&target), judge.loss(), None);
                continue;
            }
            number += 1;
            if random.chance(outages * interval / 10) {
                down_until = unix + 120 + random.below(*longest);
            }
            match index {
                8 if unix + 312 > NOW => down_until = NOW + 1,
                17 if unix + 11_400 > NOW => down_until = NOW + 1,
                _ => {}
            }
            // In the evening everybody is at home.
            let busy = if (17 * 3600..23 * 3600).contains(&(unix % DAY)) { 2 } else { 1 };
            let fails = unix < down_until
                || random.chance(lost * busy)
                || (index == 16 && unix + 9_000 > NOW && random.chance(180_000));
            let took = rtt
                + random.below(jitter * busy) / 3 * (1 + random.below(3)) / 2
                + if random.chance(900) { rtt * random.below(12) } else { 0 };
            let what = if target.is_icmp() { What::NoAnswer } else { What::Refused };
            let outcome =
                if fails { Outcome::Unanswered(what.into()) } else { Outcome::Answered(Duration::from_micros(took)) };
            let ended = mono(unix);
            let check = Check { number, sent: ended, ended, outcome, only_fresh: false };
            stats.tick(ended, 0);
            if let Some(change) = judge.on(&check) {
                events.push((unix, Arc::clone(&target), change));
            }
            stats.judged(&check, &judge);
            let options = &target.options;
            let (counts, peak) = (stats.read(), stats.take_peak());
            let sight = Sight {
                name: &target.name,
                interval: options.interval,
                timeout: options.timeout,
                counts: &counts,
                peak,
            };
            history.note(&sight, ended, unix);
            unix += interval;
        }
        now.push((target, stats.read()));
    }
    events.sort_by_key(|(unix, ..)| *unix);
    for (number, (unix, target, change)) in (1..).zip(events) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
        history.tell(Event { at, subject: Subject::Target(target, change) }.item(number));
    }
    (history, now, mono(NOW))
}

fn sample(lines: &[Line], interval: u64) -> String {
    let (history, targets, now) = month(lines, interval);
    let page = Page {
        monitor: "router.example.org",
        targets: &targets,
        history: &history,
        waiting: 0,
        now,
        wall: Duration::from_secs(NOW),
        next: Some(10),
    };
    page::render(&page)
}

/// For pictures: `PAGE=/tmp/page.html cargo test --test page -- --ignored sample`.
#[test]
#[ignore = "writes a sample for people to look at"]
fn sample_page() {
    let html = sample(&LINES, 30);
    fs::write(env::var("PAGE").unwrap_or_else(|_| "page.html".into()), html).unwrap();
}
