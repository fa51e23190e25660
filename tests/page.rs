//! The status page and its history: made by the program itself on loopback, and looked at in a browser where there is one.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Monitor, TempDir};
use lab::service::Service;
use lab::{command, installed, lab_test, skip, wait_until};
use reachabilitycheck::event::{Check, Event, Outcome, Subject, What};
use reachabilitycheck::flags;
use reachabilitycheck::history::{History, Sight};
use reachabilitycheck::judge::{Judge, Rules};
use reachabilitycheck::stats::{Counts, Stats};
use reachabilitycheck::target::Target;
use reachabilitycheck::view::page::{self, Page};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);
/// Nothing listens there.
const DEAD: &str = "dead=127.0.0.1:1";
const HISTORY: &str = "reachability.history";

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
        // Lines that come again get names of their own.
        let (label, place) = word.split_once('=').unwrap();
        let word = if index < LINES.len() { (*word).to_owned() } else { format!("{label}-{index}={place}") };
        let target = Arc::new(Target::parse(&word, &typed.target).unwrap());
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
                events.push((unix, Subject::Target(Arc::clone(&target), change)));
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
    events.push((NOW - 37_000, Subject::Stop("SIGTERM".to_owned())));
    events.push((NOW - 34_300, Subject::Start(now.iter().map(|(target, _)| Arc::clone(target)).collect())));
    events.sort_by_key(|(unix, ..)| *unix);
    for (number, (unix, subject)) in (1..).zip(events) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(unix);
        history.tell(Event { at, subject }.item(number));
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

/// Starts the program with a page.
fn start(dir: &Arc<TempDir>, args: &[&str]) -> Monitor {
    let args = [&["--page", "page.html", "-i", "50ms", "-q"], args].concat();
    Monitor::with(&args).dir(dir).start()
}

/// Waits until the page has this text.
fn shows(dir: &TempDir, text: &str) -> bool {
    wait_until(LONG, || dir.read("page.html").contains(text))
}

/// For how many seconds the history file knows the target, and is it whole?
fn known(dir: &TempDir, name: &str) -> u64 {
    let mut history = History::default();
    let bytes = fs::read(dir.path().join(HISTORY)).unwrap_or_default();
    assert_eq!(history.read(&bytes), reachabilitycheck::history::Wrong::Nothing, "{}", dir.read(HISTORY));
    history.track(name).map_or(0, |track| track.total(0, u64::MAX).known)
}

#[test]
fn what_is_down_comes_first_and_the_history_survives() {
    let dir = Arc::new(TempDir::new());
    let service = Service::start();
    let monitor = start(&dir, &[&service.target("well"), DEAD, "--name", "the <box>"]);
    assert!(shows(&dir, "1 of 2 is down"), "{}", dir.read("page.html"));
    let page = dir.read("page.html");
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text} in {page}"));
    assert!(
        at("<bdi>dead</bdi></strong> for ") < at("<h2 id=all>Targets")
            && at(": <bdi>connection refused</bdi></li>") > 0
    );
    assert!(at("</b> <bdi>dead</bdi>") < at("</b> <bdi>well</bdi>"));
    assert!(page.contains("Seen from <bdi>the &lt;box&gt;</bdi> as of <time id=as-of datetime=20"));
    assert!(shows(&dir, "TCP connection to <bdi>dead</bdi> is failing on port 1: 3 checks in a row failed"));
    // It is saved after the page.
    assert!(wait_until(LONG, || dir.path().join(HISTORY).exists()));
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("page.html"), mode(HISTORY)), (0o644, 0o600));
    let ended = monitor.stop();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:#?}");
    let page = dir.read("page.html");
    assert!(page.contains("The monitor was stopped then") && page.contains("Monitoring stops: SIGINT"));
    let (well, dead) = (known(&dir, "well"), known(&dir, "dead"));
    assert!(well >= 2 && dead >= 2, "{well} {dead}");
    // A minute that nobody watched would be known if the gap were filled.
    thread::sleep(Duration::from_secs(2));
    let monitor = start(&dir, &[&service.target("well"), DEAD]);
    assert!(wait_until(LONG, || !dir.read("page.html").contains("The monitor was stopped then")));
    let page = dir.read("page.html");
    assert!(page.contains("Monitoring stops: SIGINT"), "{page}");
    assert_eq!(page.matches("is failing on port 1").count(), 1, "told twice: {page}");
    // The end of the first run was saved; kill -9 takes what came after it, and nothing else.
    let ended = monitor.kill_9();
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:#?}");
    let (well, dead) = (known(&dir, "well").max(well), known(&dir, "dead").max(dead));
    let ended = start(&dir, &[&service.target("well"), "-n", "20"]).finish(LONG);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:#?}");
    assert!((well + 1..well + 60).contains(&known(&dir, "well")), "{} after {well}", known(&dir, "well"));
    assert_eq!(known(&dir, "dead"), dead, "not watched by the last run");
    assert!(!dir.path().join("reachability.history.damaged").exists());
}

/// Each run saves once soon after its start, when there may be nothing to say yet, and at the end.
#[test]
fn targets_that_come_and_go_leave_the_history_whole() {
    let (dir, service) = (Arc::new(TempDir::new()), Service::start());
    let (a, b) = (service.target("a"), service.target("b"));
    for targets in [&[&a][..], &[&a, &b], &[&b, &a], &[&b], &[&a, &b]] {
        fs::remove_file(dir.path().join("page.html")).unwrap_or_default();
        let monitor = start(&dir, &targets.iter().map(|target| target.as_str()).collect::<Vec<_>>());
        assert!(shows(&dir, "id=as-of"));
        let ended = monitor.stop();
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:#?}");
    }
    assert!(known(&dir, "a") >= 4 && known(&dir, "b") >= 4);
    assert!(!dir.path().join("reachability.history.damaged").exists());
}

/// Stopped by SIGSTOP for longer than it ran.
#[test]
fn what_was_slept_through_is_unknown() {
    let dir = Arc::new(TempDir::new());
    let service = Service::start();
    let mut monitor = start(&dir, &[&service.target("well")]);
    assert!(shows(&dir, "The target is up"));
    monitor.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_secs(12));
    monitor.signal(libc::SIGCONT);
    assert!(monitor.wait_line(|all| all.log.contains(" GAP "), LONG), "{:#?}", monitor.output());
    let begun = humantime::parse_rfc3339(monitor.log().split(' ').next().unwrap()).unwrap();
    monitor.stop();
    let ran = SystemTime::now().duration_since(begun).unwrap().as_secs();
    assert!(known(&dir, "well") + 8 <= ran, "{} of {ran}", known(&dir, "well"));
}

#[test]
fn a_damaged_history_stops_nothing() {
    let dir = Arc::new(TempDir::new());
    let service = Service::start();
    let run = || start(&dir, &[&service.target("well"), "-n", "3"]).finish(LONG);
    assert_eq!(run().code, Some(0));
    let whole = fs::read(dir.path().join(HISTORY)).unwrap();
    let before = known(&dir, "well");
    // Torn at its end, as by a power cut: nothing to say.
    dir.write(HISTORY, [&whole[..], b"{\"of\":[[1,2"].concat());
    let ended = run();
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 1), "{ended:#?}");
    assert!(known(&dir, "well") >= before);
    // Damaged in its middle, or not ours at all: moved aside, what is whole is kept.
    let mut damaged = whole.clone();
    let middle = damaged.len() - 30;
    damaged[middle] ^= 1;
    damaged.extend(&whole[..whole.len() - 1]);
    damaged.extend(b"\n");
    for bytes in [damaged, b"\xff\x00random\n".to_vec()] {
        dir.write(HISTORY, &bytes);
        let ended = run();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let said = "the history reachability.history was damaged: moved to reachability.history.damaged, what was whole is kept";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(fs::read(dir.path().join("reachability.history.damaged")).unwrap(), bytes);
        assert!(known(&dir, "well") >= 1);
    }
    dir.write(HISTORY, "");
    assert_eq!((run().stderr.lines().count(), known(&dir, "well") >= 1), (1, true));
}

#[test]
fn places_that_cannot_be_written_are_found_at_the_start() {
    let dir = Arc::new(TempDir::new());
    let run = |page: &str| Monitor::with(&[DEAD, "-q", "-n", "1", "--page", page]).dir(&dir).run();
    let ended = run("nowhere/page.html");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--page: nowhere/page.html cannot be written: No such file"), "{}", ended.stderr);
    // A device would be replaced, and be gone.
    symlink("/dev/null", dir.path().join("device")).unwrap();
    let ended = run("device");
    assert!(ended.stderr.contains("cannot be written: it is not a regular file"), "{}", ended.stderr);
    assert!(dir.path().join("device").is_symlink());
    for (option, same) in [("--log", HISTORY), ("--metrics", "page.html")] {
        let ended = Monitor::with(&[DEAD, "-q", option, same, "--page", "page.html"]).dir(&dir).run();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("name the same file; name two"), "{}", ended.stderr);
    }
    // Another's file must not be written through a link.
    dir.write("theirs", "precious");
    symlink("theirs", dir.path().join("page.html.new")).unwrap();
    assert_eq!(run("page.html").code, Some(1));
    fs::remove_file(dir.path().join(HISTORY)).unwrap();
    symlink("theirs", dir.path().join(HISTORY)).unwrap();
    let ended = run("page.html");
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("reachability.history is a symbolic link; remove it"), "{}", ended.stderr);
    assert_eq!(dir.read("theirs"), "precious");
    fs::remove_file(dir.path().join(HISTORY)).unwrap();
    fs::create_dir(dir.path().join(HISTORY)).unwrap();
    assert_eq!(run("page.html").code, Some(2));
    fs::remove_dir(dir.path().join(HISTORY)).unwrap();
    // Whatever its mode was.
    dir.write(HISTORY, "");
    fs::set_permissions(dir.path().join(HISTORY), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(run("page.html").code, Some(1));
    assert_eq!(fs::metadata(dir.path().join(HISTORY)).unwrap().permissions().mode() & 0o777, 0o600);
    // Without a state there is a page, and no file beside it.
    fs::remove_file(dir.path().join(HISTORY)).unwrap();
    let ended = Monitor::with(&[DEAD, "-q", "-n", "1", "--page", "page.html", "--no-state"]).dir(&dir).run();
    assert_eq!((ended.code, dir.path().join(HISTORY).exists()), (Some(1), false));
    assert!(dir.read("page.html").contains("1 of 1 is down"));
}

#[test]
fn the_secret_is_in_neither() {
    let dir = Arc::new(TempDir::new());
    let monitor = start(&dir, &[DEAD, "--slack-url", "http://127.0.0.1:1/SECRET"]);
    assert!(shows(&dir, "notifications wait for Slack") || shows(&dir, "notification waits for Slack"));
    monitor.stop();
    assert!(!dir.read("page.html").contains("SECRET") && !dir.read(HISTORY).contains("SECRET"));
}

lab_test!(a_full_disk, |_lab| {
    let dir = Arc::new(TempDir::new());
    fs::create_dir(dir.path().join("small")).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "size=64k", "lab", &dir.file("small")]).unwrap();
    let fill = || {
        let mut file = fs::File::create(dir.path().join("small/filler")).unwrap();
        while file.write_all(&[b'x'; 4096]).is_ok() {}
    };
    let free = || fs::remove_file(dir.path().join("small/filler")).unwrap();
    let args = [DEAD, "-i", "100ms", "-q", "--page", "small/page.html", "--state", "small/state"];
    let said = |text: &str, monitor: &mut Monitor| {
        assert!(monitor.wait_line(|all| all.stderr.contains(text), LONG), "{text}: {:#?}", monitor.output());
    };
    // A box that boots with a full disk is watched all the same.
    fill();
    let mut monitor = Monitor::with(&args).dir(&dir).start();
    said("--page: small/page.html cannot be written: No space left on device (os error 28); tried again", &mut monitor);
    said("--page: its history small/state.history cannot be written: No space left", &mut monitor);
    assert!(monitor.wait_log(" DOWN dead ", LONG));
    free();
    said("--page: small/page.html is written again", &mut monitor);
    said("--page: its history small/state.history is written again", &mut monitor);
    // At the end too: what cannot be written is given up, and the file stays whole.
    fill();
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.stderr.matches("page.html cannot be written").count(), 2, "{}", ended.stderr);
    free();
    let mut monitor = Monitor::with(&args).dir(&dir).start();
    assert!(wait_until(LONG, || dir.read("small/page.html").contains("1 of 1 is down")));
    assert!(monitor.running());
    let ended = monitor.stop();
    assert!(!ended.stderr.contains("damaged") && !ended.stderr.contains("cannot"), "{}", ended.stderr);
    let mut history = History::default();
    let wrong = history.read(&fs::read(dir.path().join("small/state.history")).unwrap());
    assert_eq!(wrong, reachabilitycheck::history::Wrong::Nothing);
});

/// The worst that 30 days can bring: hardly two slices or two points that look alike.
const WILD: Line = ("", 30_000, 90_000, 60_000, 24_000, 120);

#[test]
fn twenty_targets_take_less_than_100_kib() {
    let usual = sample(&LINES, 60);
    let lines = LINES.map(|(word, ..)| (word, WILD.1, WILD.2, WILD.3, WILD.4, WILD.5));
    let wild = sample(&lines, 60);
    let runs = wild.matches("0h").count();
    assert!(runs > 20 * 50, "not wild: {runs} runs");
    eprintln!("{} and {} bytes, {runs} runs", usual.len(), wild.len());
    assert!(usual.len() < 64 * 1024 && wild.len() < 100 * 1024, "{} {}", usual.len(), wild.len());
    // Nothing is asked for from anywhere, whatever a browser thinks of the policy.
    for text in [usual, wild] {
        let names = "http://www.w3.org/2000/svg";
        assert_eq!(text.matches("://").count(), text.matches(names).count(), "an address in the page");
        assert!(!text.contains("src=") && !text.contains("@import") && !text.contains("url("));
    }
}

/// Pages in a real browser: see `tests/browser/check.mjs`.
#[test]
fn in_a_browser() {
    let name = "in_a_browser";
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().any(installed);
    for (there, what) in [
        (installed("node"), "node is missing"),
        (chromium, "chromium is missing"),
        (browser.join("node_modules/axe-core").is_dir(), "run npm ci in tests/browser first"),
    ] {
        if !there {
            return skip(name, what);
        }
    }
    let dir = Arc::new(TempDir::new());
    dir.write("sample.html", sample(&LINES, 60));
    // Of the program itself, while it runs and after it.
    let service = Service::start();
    let monitor = start(&dir, &[&service.target("well"), DEAD, "nobody=192.0.2.1:1"]);
    assert!(shows(&dir, " down</h1>"));
    fs::copy(dir.path().join("page.html"), dir.path().join("running.html")).unwrap();
    monitor.stop();
    let targets: Vec<_> = (0..120)
        .map(|number| {
            let word = format!("target-with-quite-a-long-name-{number}=192.0.2.1");
            let target = Target::parse(&word, &flags::parse([]).unwrap().target).unwrap();
            (Arc::new(target), Counts::default())
        })
        .collect();
    let (now, wall) = (Duration::from_secs(1), Duration::from_secs(NOW));
    let history = History::default();
    let many = Page { monitor: "box", targets: &targets, history: &history, waiting: 2, now, wall, next: Some(10) };
    dir.write("many.html", page::render(&many));
    let mut command = Command::new("node");
    command.arg("check.mjs").args(["sample.html", "running.html", "page.html", "many.html"].map(|name| dir.file(name)));
    command.current_dir(browser).env("PICTURES", env::var_os("PICTURES").unwrap_or_default());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("nothing wrong"), "{said}");
}

/// What a page costs with 30 days of history: `cargo test --release --test page -- --ignored --nocapture cost`.
#[test]
#[ignore = "measures"]
fn cost() {
    for count in [1, 20, 50, 1000] {
        let lines: Vec<Line> = (0..count).map(|at| LINES[at % LINES.len()]).collect();
        let before = memory();
        let (history, targets, now) = month(&lines, 300);
        let held = memory() - before;
        let wall = Duration::from_secs(NOW);
        let page = Page { monitor: "box", targets: &targets, history: &history, waiting: 0, now, wall, next: Some(10) };
        let begun = std::time::Instant::now();
        let bytes = (0..10).map(|_| page::render(&page).len()).sum::<usize>() / 10;
        let took = begun.elapsed() / 10;
        let begun = std::time::Instant::now();
        let file = history.lines().len();
        println!(
            "{count} targets: {bytes} bytes, made in {took:?}; history {held} KiB, file {file} bytes in {:?}",
            begun.elapsed()
        );
    }
}

/// Resident memory, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
