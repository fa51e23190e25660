//! What must outlive the process: numbers, outages, the loss last told, and what Slack has not had. Needs no rights but
//! for the few tests that mount something or send ICMP.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Ended, Monitor, TempDir};
use lab::service::Service;
use lab::slack::{Answer, Slack};
use lab::{command, lab_test, wait_until};
use reachabilitycheck::event::Item;
use reachabilitycheck::state::{Opened, StateFile};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);
/// Nothing listens there.
const DEAD: &str = "127.0.0.1:1";
const LOG: &str = "reachability.log";
const STATE: &str = "reachability.state";

/// The service goes away and comes back until `over`.
fn flap(service: &Service, random: &mut Random, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        for step in [Service::stop, Service::restart] {
            step(service);
            thread::sleep(Duration::from_millis(15 + random.below(20)));
        }
    }
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    at: u64,
    number: u64,
    kind: String,
    target: String,
    text: String,
}

/// The lines of a log, each of which must be whole.
fn parse(log: &str) -> Vec<Line> {
    assert!(log.is_empty() || log.ends_with('\n'), "a torn line at the end: {log}");
    let whole = |line: &str| {
        let mut words = line.splitn(5, ' ');
        let at = humantime::parse_rfc3339(words.next()?).ok()?;
        let at = at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let number = words.next()?.strip_prefix('#')?.parse().ok()?;
        let (kind, target, text) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.to_owned());
        let kinds = ["START", "LOSS", "DOWN", "UP", "REMIND", "GAP", "STOP"];
        let once = line.matches("Z #").count() == 1;
        (once && kinds.contains(&&*kind)).then_some(Line { at, number, kind, target, text })
    };
    log.lines().map(|line| whole(line).unwrap_or_else(|| panic!("not a whole line: {line}\n{log}"))).collect()
}

/// The same, and the numbers must be 1, 2, 3 ...
fn numbered(log: &str) -> Vec<Line> {
    let lines = parse(log);
    let numbers: Vec<u64> = lines.iter().map(|line| line.number).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>(), "a hole or a repeat:\n{log}");
    lines
}

fn kinds(log: &str) -> String {
    numbered(log).iter().map(|line| format!("{} ", line.kind)).collect::<String>().trim().to_owned()
}

/// What a message of Slack tells: each text, with its time where that is shown. Headlines are left out.
fn told(message: &str) -> Vec<(Option<u64>, String)> {
    let lines = message.lines().filter_map(|line| line.strip_prefix("<!date^"));
    lines
        .flat_map(|line| {
            let at = line.split('^').next().unwrap().parse().ok();
            let text = line.split_once("> ").unwrap().1;
            let mut texts = text.split(" | ").map(str::to_owned);
            let first = texts.next().unwrap();
            let later: Vec<_> = texts.map(|text| (None, text)).collect();
            [vec![(at, first)], later].concat()
        })
        .collect()
}

/// Aligns what Slack was told with the log: in order, without a hole, and each repeat a message as a whole. Returns the
/// number of messages that were repeated.
fn repeats(log: &[Line], messages: &[String]) -> usize {
    let log: Vec<&Line> =
        log.iter().filter(|line| ["START", "LOSS", "DOWN", "UP", "REMIND"].contains(&&*line.kind)).collect();
    let fits = |from: usize, told: &[(Option<u64>, String)]| {
        let Some(slice) = log.get(from..from + told.len()) else {
            return false;
        };
        let mut left = slice.to_vec();
        told.iter().all(|(at, text)| {
            let place = left.iter().position(|line| line.text == *text && at.is_none_or(|at| at == line.at));
            place.map(|place| left.swap_remove(place)).is_some()
        })
    };
    // Lines of the same second may look alike: every way is followed (start and end of the last message, repeats).
    let mut ways = vec![(0, 0, 0)];
    for message in messages {
        let told = told(message);
        let before = ways.clone();
        ways = ways
            .into_iter()
            .flat_map(|(from, next, repeats)| {
                let fresh = fits(next, &told).then_some((next, next + told.len(), repeats));
                let repeat = fits(from, &told).then_some((from, from + told.len(), repeats + 1));
                fresh.into_iter().chain(repeat.filter(|_| next > from))
            })
            .collect();
        ways.sort_unstable();
        ways.dedup();
        let next = before.last().map(|way| way.1).unwrap_or_default();
        assert!(
            !ways.is_empty(),
            "neither next nor a repeat: {message}\nexpected {:#?}",
            log.get(next.saturating_sub(5)..)
        );
    }
    let repeats = ways.iter().filter(|way| way.1 == log.len()).map(|way| way.2).min();
    repeats.unwrap_or_else(|| panic!("not all was delivered: {ways:?} of {}", log.len()))
}

/// Row 51. The program is killed again and again while targets flap and (with a webhook) Slack fails now and then.
fn kill_again_and_again(kills: u64, with_slack: bool, seed: u64) {
    let (service, slack, dir) = (Service::start(), Slack::start(vec![]), Arc::new(TempDir::new()));
    let over = AtomicBool::new(false);
    let mut random = Random(seed);
    thread::scope(|scope| {
        scope.spawn(|| flap(&service, &mut Random(seed + 1), &over));
        let (one, two, url) = (service.target("one"), service.target("two"), slack.url());
        let mut args = vec![&*one, &*two, "-i", "10ms", "-ct", "1", "-q"];
        if with_slack {
            args.extend(["--slack-url", &url]);
        }
        for _ in 0..kills {
            let answer = match random.below(10) {
                0 => Answer::Status(500, "server_error"),
                1 => Answer::Close,
                2 => Answer::Reset,
                3 => Answer::Hang(Duration::from_millis(50)),
                _ => Answer::Ok,
            };
            slack.otherwise(answer);
            let posts = slack.posts().len();
            let monitor = Monitor::with(&args).dir(&dir).start();
            if with_slack && random.below(3) == 0 {
                // While its first message is under way, or being marked as delivered.
                let end = Instant::now() + LONG;
                while slack.posts().len() == posts && Instant::now() < end {
                    thread::sleep(Duration::from_micros(50));
                }
                thread::sleep(Duration::from_micros(random.below(500)));
            } else {
                thread::sleep(Duration::from_micros(random.below(120_000)));
            }
            let ended = monitor.kill_9();
            assert_eq!(ended.signal, Some(9), "{ended:#?}");
            assert!(!ended.stderr.contains("damaged"), "{}", ended.stderr);
        }
        over.store(true, Ordering::Relaxed);
        slack.otherwise(Answer::Ok);
        let starts = parse(&dir.read(LOG)).iter().filter(|line| line.kind == "START").count();
        let mut last = Monitor::with(&args).dir(&dir).start();
        assert!(last.wait_line(|all| all.log.matches(" START ").count() > starts, LONG));
        let ended = last.stop();
        assert_eq!((ended.code, ended.stderr.contains("not delivered")), (Some(0), false), "{ended:#?}");
    });
    let log = numbered(&dir.read(LOG));
    if !with_slack {
        return println!("{kills} kills without Slack: {} made, all in the log", log.len());
    }
    let messages = slack.delivered_texts();
    let repeated = repeats(&log, &messages);
    println!("{kills} kills: {} made, {} messages, {repeated} repeated", log.len(), messages.len());
    assert!(repeated as u64 <= kills, "more than one a kill");
}

#[test]
fn nothing_is_lost_by_kill_9_at_200_moments() {
    kill_again_and_again(200, true, 0xc0ffee);
}

/// Without Slack nothing waits, and the log is all there is.
#[test]
fn the_log_has_no_hole_after_kill_9() {
    kill_again_and_again(100, false, 7);
}

/// The state is on disk before the log: what a crash keeps from the log, the next start brings there. Here the crash
/// comes between the two, as `kill -9` does by chance: at the very first batch, and at a later one.
#[test]
fn what_a_crash_kept_from_the_log_is_brought_there() {
    let db = Service::start();
    for (target, last, kept) in [(db.target("up"), " START ", 0), ("dead=127.0.0.1:1".to_owned(), " DOWN ", 1)] {
        let args = [&*target, "-i", "10ms"];
        let mut monitor = Monitor::start(&args);
        assert!(monitor.wait_log(last, LONG));
        let dir = monitor.dir();
        monitor.kill_9();
        let whole = dir.read(LOG);
        assert_eq!(whole.lines().count(), kept + 1);
        dir.write(LOG, whole.split_inclusive('\n').take(kept).collect::<String>());
        let mut monitor = Monitor::with(&args).dir(&dir).start();
        assert!(monitor.wait_log(&format!("#{} START ", kept + 2), LONG));
        let ended = monitor.stop();
        assert!(ended.log.starts_with(&whole), "{kept} lines were left; now:\n{}\nbefore:\n{whole}", ended.log);
        numbered(&ended.log);
    }
}

// A crash while the disk of the log is full, and another one, before there is room again.
lab_test!(lines_that_the_log_could_not_take_survive_two_crashes, ["mount"], |lab| {
    let _ = lab;
    let dir = Arc::new(TempDir::new());
    fs::create_dir(dir.path().join("small")).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "size=16k", "lab", &dir.file("small")]).unwrap();
    let args = ["dead=127.0.0.1:1", "-i", "10ms", "--log", "small/log", "--state", "state"];
    let start = || Monitor::with(&args).dir(&dir).start();
    let first = start();
    assert!(wait_until(LONG, || dir.read("small/log").contains(" DOWN dead ")));
    first.stop();
    // The rest of its page is filled up with what a reader takes for a comment; then there is none left.
    let fill = 4096 - fs::metadata(dir.path().join("small/log")).unwrap().len() as usize;
    let log = dir.read("small/log") + "#" + &"x".repeat(fill - 2) + "\n";
    dir.write("small/log", &log);
    fill_up(&dir.file("small/filler"));
    for _ in 0..2 {
        let mut monitor = start();
        assert!(monitor.wait_line(|all| all.stderr.contains("the log cannot be written"), LONG));
        monitor.kill_9();
    }
    fs::remove_file(dir.path().join("small/filler")).unwrap();
    let last = start();
    assert!(wait_until(LONG, || dir.read("small/log").contains("#6 ")));
    last.stop();
    let log: String = dir.read("small/log").split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
    assert_eq!(kinds(&log), "START DOWN STOP START START START STOP");
});

// A box that boots with a full disk is watched all the same, and the lines are not lost when there is room again.
lab_test!(a_full_disk_at_the_start_stops_nothing, ["mount"], |lab| {
    let _ = lab;
    let dir = Arc::new(TempDir::new());
    fs::create_dir(dir.path().join("small")).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "size=16k", "lab", &dir.file("small")]).unwrap();
    fill_up(&dir.file("small/filler"));
    let args = ["dead=127.0.0.1:1", "-i", "10ms", "--log", "small/log"];
    let mut monitor = Monitor::with(&args).dir(&dir).start();
    assert!(monitor.wait_line(|all| all.stdout.contains(" DOWN dead "), LONG), "{:#?}", monitor.output());
    fs::remove_file(dir.path().join("small/filler")).unwrap();
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("the state cannot be written: No space left"), "{}", ended.stderr);
    assert_eq!(kinds(&dir.read("small/log")), "START DOWN STOP");
    assert!(dir.read("small/log.state").contains("\"dead\""), "{}", dir.read("small/log.state"));
});

/// Writes to a file until its disk is full.
fn fill_up(path: &str) {
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(b"x").is_ok() {}
}

/// A log that is no file: a pipe that somebody reads, as containers have it. Nothing is ever read from it.
#[test]
fn a_log_that_is_a_pipe_gets_its_lines() {
    let dir = Arc::new(TempDir::new());
    command("mkfifo", &[&dir.file("pipe")]).unwrap();
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(dir.path().join("pipe")).unwrap();
    let args = ["dead=127.0.0.1:1", "-n", "3", "-i", "10ms", "--log", "pipe", "--state", "state"];
    let mut monitor = Monitor::with(&args).dir(&dir).start();
    assert!(wait_until(Duration::from_secs(10), || !monitor.running()), "hangs: {:#?}", monitor.output());
    let mut line = [0; 40];
    reader.read_exact(&mut line).unwrap();
    assert!(String::from_utf8_lossy(&line).contains("Z #1 DOWN dead "));
}

fn unwell(ended: &Ended, label: &str) -> u64 {
    let line = ended
        .stdout
        .lines()
        .find(|line| line.split(" : xmt").next().unwrap().trim() == label && line.contains(" : xmt"))
        .unwrap();
    let numbers = line.split("%loss = ").nth(1).unwrap();
    let mut numbers = numbers.split('/').map(|number| number.parse::<u64>().unwrap_or(0));
    numbers.next().unwrap() - numbers.next().unwrap()
}

#[test]
fn an_outage_goes_on_after_a_restart() {
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let (db, mut slack, dir) = (Service::start(), Slack::start(vec![]), Arc::new(TempDir::new()));
        let (target, url) = (db.target("db"), slack.url());
        let args = [&*target, "-i", "20ms", "-v", "--slack-url", &url];
        let start = || Monitor::with(&args).dir(&dir).start();
        let refused = |n: usize| move |all: &lab::run::Output| all.stdout.matches("connection refused").count() >= n;
        slack.stop();
        let mut first = start();
        assert!(first.wait_log(" START ", LONG));
        db.stop();
        assert!(first.wait_log(" DOWN db ", LONG));
        assert!(first.wait_line(refused(60), LONG));
        first.signal(signal);
        let first = first.finish(LONG);
        assert!(first.code == Some(0) || signal == libc::SIGKILL, "{first:#?}");
        slack.restart();
        let mut second = start();
        assert!(second.wait_line(refused(30), LONG));
        assert!(slack.wait_delivered("is failing", LONG), "the first run's messages are delivered by the second");
        db.restart();
        assert!(second.wait_log(" UP db ", LONG));
        let second = second.stop();
        let log = numbered(&second.log);
        let expected = match signal {
            libc::SIGTERM => "START DOWN STOP START UP STOP",
            _ => "START DOWN START UP STOP",
        };
        assert_eq!(kinds(&second.log), expected);
        assert_eq!(repeats(&log, &slack.delivered_texts()), 0);
        let up = log.iter().find(|line| line.kind == "UP").unwrap();
        let down = log.iter().find(|line| line.kind == "DOWN").unwrap();
        // "... after 1s down (90 checks failed)"
        let (_, after) = up.text.split_once(" after ").unwrap();
        let (lasted, failed) = after.split_once(" down (").unwrap();
        let lasted = humantime::parse_duration(lasted).unwrap().as_secs();
        assert!((lasted + 2 >= up.at - down.at) && lasted <= up.at - down.at + 2, "{}", up.text);
        let failed: u64 = failed.split(' ').next().unwrap().parse().unwrap();
        if signal == libc::SIGTERM {
            assert_eq!(failed, unwell(&first, "db") + unwell(&second, "db"), "{}", up.text);
        } else {
            // Written only on change: what failed after the DOWN is not known after a crash.
            let seen = first.stdout.matches("connection refused").count() as u64;
            let later = unwell(&second, "db");
            assert!((3 + later..=seen + later).contains(&failed), "{}: {seen} {later}", up.text);
        }
    }
}

#[test]
fn cron_is_told_of_changes_only() {
    let (db, slack, dir) = (Service::start(), Slack::start(vec![]), Arc::new(TempDir::new()));
    let (target, url) = (db.target("db"), slack.url());
    let run = |expected: i32, log: &str| {
        let ended = Monitor::with(&[&target, "-n", "5", "-i", "10ms", "--slack-url", &url]).dir(&dir).run();
        assert_eq!((ended.code, &*kinds(&ended.log)), (Some(expected), log), "{ended:#?}");
        let shown = ended.stdout.lines().filter(|line| line.contains(" #")).count();
        (shown, ended)
    };
    assert_eq!(run(0, "").0, 0);
    db.stop();
    assert_eq!(run(1, "DOWN").0, 1);
    assert_eq!(run(1, "DOWN").0, 0);
    assert_eq!(run(1, "DOWN").0, 0);
    db.restart();
    let (_, ended) = run(0, "DOWN UP");
    assert!(ended.log.contains(" down (15 checks failed)"), "{}", ended.log);
    assert_eq!(run(0, "DOWN UP").0, 0);
    assert_eq!(repeats(&numbered(&ended.log), &slack.delivered_texts()), 0);
    assert_eq!(slack.posts().len(), 2);
}

/// Two targets of which one is down: exit status 1 also while nothing is notified.
#[test]
fn what_cron_could_not_deliver_the_next_run_delivers() {
    let (mut slack, dir) = (Slack::start(vec![]), Arc::new(TempDir::new()));
    let url = slack.url();
    let run = || Monitor::with(&["dead=127.0.0.1:1", "-n", "3", "-i", "10ms", "--slack-url", &url]).dir(&dir).run();
    slack.stop();
    let ended = run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("1 notification was not delivered to Slack; the next start sends"),
        "{}",
        ended.stderr
    );
    slack.restart();
    let ended = run();
    assert_eq!((ended.code, &*kinds(&ended.log)), (Some(1), "DOWN"));
    assert_eq!(repeats(&numbered(&ended.log), &slack.delivered_texts()), 0);
    assert_eq!(slack.posts().len(), 1);
}

lab_test!(the_loss_last_told_survives, |lab| {
    let dir = Arc::new(TempDir::new());
    let run = |expected: i32, log: &str| {
        let ended = Monitor::with(&["far=10.9.0.7", "-n", "20", "-i", "20ms", "-w", "200ms"]).dir(&dir).run();
        assert_eq!((ended.code, &*kinds(&ended.log)), (Some(expected), log), "{ended:#?}");
        ended.log
    };
    let lose = |every: u64| {
        lab.far.on(
            "10.9.0.7",
            move |packet: &lab::packet::Packet| {
                if every > 0 && packet.nth % every == 0 { vec![] } else { vec![packet.reply()] }
            },
        );
    };
    lose(4);
    assert!(run(1, "LOSS").contains("increased from 0.00% to 25.00% (5 of 20 unanswered)"));
    run(1, "LOSS");
    lose(0);
    assert!(run(0, "LOSS LOSS").contains("decreased from 25.00% to 0.00%"));
    run(0, "LOSS LOSS");
});

/// Row 58, and overlapping cron runs.
#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let db = Service::start();
    let target = db.target("db");
    let mut first = Monitor::start(&[&target, "-i", "10ms"]);
    assert!(first.wait_log(" START ", LONG));
    let dir = first.dir();
    for args in [
        &[&*target, "-i", "10ms"][..],
        &[&*target, "-n", "5", "-i", "10ms"],
        &[DEAD, "--log", "other.log", "--state", STATE],
    ] {
        let second = Monitor::with(args).dir(&dir).run();
        assert_eq!(second.code, Some(2), "{second:#?}");
        let lines: Vec<&str> = second.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains("--state: reachability.state is in use"), "{}", second.stderr);
        assert_eq!(second.stdout, "");
    }
    // Another state: no conflict.
    let other = Monitor::with(&[&target, "-n", "5", "-i", "10ms", "--log", "other.log"]).dir(&dir).run();
    assert_eq!(other.code, Some(0), "{other:#?}");
    assert!(first.running());
    db.stop();
    assert!(first.wait_log(" DOWN db ", LONG));
    let ended = first.stop();
    assert_eq!((ended.code, &*kinds(&ended.log)), (Some(0), "START DOWN STOP"));
    // The lock goes with the process, however it ended.
    let after = Monitor::with(&[&target, "-n", "1", "-i", "10ms"]).dir(&dir).run();
    assert_eq!(after.code, Some(1));
}

/// Row 59.
#[test]
fn a_link_is_refused_for_the_state_and_followed_for_the_log() {
    let dir = Arc::new(TempDir::new());
    let run = || Monitor::with(&[DEAD, "-n", "3", "-i", "10ms"]).dir(&dir).run();
    dir.write("precious", "not ours\n");
    for name in ["precious", "not there"] {
        symlink(name, dir.path().join(STATE)).unwrap();
        let ended = run();
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(ended.stderr.contains("--state: reachability.state is a symbolic link"), "{}", ended.stderr);
        fs::remove_file(dir.path().join(STATE)).unwrap();
    }
    // Nor does a link in the place of its helpers lead anywhere.
    for name in ["reachability.state.new", "reachability.state.damaged"] {
        symlink("precious", dir.path().join(name)).unwrap();
    }
    dir.write(STATE, "rubbish\n");
    fs::remove_file(dir.path().join(LOG)).unwrap();
    symlink("elsewhere.log", dir.path().join(LOG)).unwrap();
    assert_eq!(run().code, Some(1));
    assert_eq!(dir.read("precious"), "not ours\n");
    assert!(!dir.path().join("not there").exists());
    assert_eq!(kinds(&dir.read("elsewhere.log")), "DOWN");
    assert!(fs::symlink_metadata(dir.path().join(LOG)).unwrap().is_symlink());
    assert!(fs::symlink_metadata(dir.path().join(STATE)).unwrap().is_file());
    // A directory, or a pipe that would block, is refused as well.
    fs::remove_file(dir.path().join(STATE)).unwrap();
    fs::create_dir(dir.path().join(STATE)).unwrap();
    assert_eq!(run().code, Some(2));
    fs::remove_dir(dir.path().join(STATE)).unwrap();
    command("mkfifo", &[&dir.file(STATE)]).unwrap();
    assert_eq!(run().code, Some(2));
}

#[test]
fn the_state_is_for_its_owner_alone() {
    let dir = Arc::new(TempDir::new());
    let mode = || fs::metadata(dir.path().join(STATE)).unwrap().permissions().mode() & 0o7777;
    let run = || {
        Monitor::with(&[DEAD, "-n", "3", "-i", "10ms"])
            .dir(&dir)
            .under(&["sh", "-c", "umask 0; exec \"$@\"", "sh"])
            .run()
    };
    assert_eq!(run().code, Some(1));
    assert_eq!(mode(), 0o600);
    fs::set_permissions(dir.path().join(STATE), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(run().code, Some(1));
    assert_eq!(mode(), 0o600);
}

#[test]
fn options_say_where_log_and_state_are() {
    for (options, files) in [
        (&[][..], &["reachability.log", "reachability.state"][..]),
        (&["--no-state"], &["reachability.log"]),
        (&["--no-log"], &[]),
        (&["--no-log", "--state", "s"], &["s"]),
        (&["--log", "a.txt"], &["a.state", "a.txt"]),
        (&["--log", "a"], &["a", "a.state"]),
        (&["--log", "a", "--state", "b"], &["a", "b"]),
    ] {
        let dir = Arc::new(TempDir::new());
        let args = [&[DEAD, "-n", "3", "-i", "10ms"], options].concat();
        for _ in 0..2 {
            let ended = Monitor::with(&args).dir(&dir).run();
            assert_eq!(ended.code, Some(1), "{options:?}: {}", ended.stderr);
            let told =
                ended.stdout.lines().any(|line| line.contains(" DOWN dead ") || line.contains(" DOWN 127.0.0.1:1 "));
            let stateless = !files.iter().any(|file| file.ends_with("state") || *file == "s" || *file == "b");
            let first = fs::exists(dir.path().join("first")).unwrap();
            assert_eq!(told, !first || stateless, "{options:?}: with a state the second run has nothing to tell");
            dir.write("first", "");
        }
        let there: BTreeSet<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "first")
            .collect();
        assert_eq!(there.iter().map(String::as_str).collect::<Vec<_>>(), files, "{options:?}");
    }
}

#[test]
fn the_state_is_written_on_change_only() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    let mut monitor =
        Monitor::start(&[&db.target("db"), "dead=127.0.0.1:1", "-i", "10ms", "-v", "--slack-url", &slack.url()]);
    assert!(slack.wait_delivered("is failing", LONG));
    let path = monitor.dir().path().join(STATE);
    let look = || {
        let about = fs::metadata(&path).unwrap();
        (about.ino(), about.size(), about.mtime(), about.mtime_nsec())
    };
    // The record that Slack has it comes after Slack's answer.
    assert!(wait_until(LONG, || fs::read_to_string(&path).unwrap().lines().last().unwrap().contains("\"sent\"")));
    let lines = |monitor: &Monitor| monitor.output().stdout.lines().count();
    let (before, seen) = (look(), lines(&monitor));
    assert!(monitor.wait_line(|all| all.stdout.lines().count() >= seen + 300, LONG));
    assert_eq!(look(), before, "300 checks changed nothing");
    db.stop();
    assert!(monitor.wait_log(" DOWN db ", LONG));
    assert_ne!(look(), before);
}

#[test]
fn reminders_come_on_time() {
    let mut monitor = Monitor::start(&["dead=127.0.0.1:1", "-i", "100ms", "--remind", "1s"]);
    assert!(monitor.wait_line(|all| all.log.matches(" REMIND ").count() >= 3, LONG));
    let ended = monitor.stop();
    let log = numbered(&ended.log);
    let down = log.iter().find(|line| line.kind == "DOWN").unwrap();
    for (nth, line) in (1..).zip(log.iter().filter(|line| line.kind == "REMIND")) {
        assert!(line.at >= down.at + nth, "reminder {nth} came early:\n{}", ended.log);
        assert!(line.text.contains("dead") && line.target == "dead", "{}", line.text);
    }
}

#[test]
fn cron_does_not_remind_at_each_run() {
    let dir = Arc::new(TempDir::new());
    let run = || {
        let args = ["dead=127.0.0.1:1", "-n", "3", "-i", "10ms", "--remind", "3s"];
        kinds(&Monitor::with(&args).dir(&dir).run().log)
    };
    assert_eq!(run(), "DOWN");
    let down = SystemTime::now();
    for expected in ["DOWN", "DOWN REMIND", "DOWN REMIND REMIND"] {
        // As many runs as there is time for.
        while down.elapsed().unwrap() < Duration::from_secs(2) && expected == "DOWN" {
            assert_eq!(run(), expected);
            thread::sleep(Duration::from_millis(200));
        }
        if expected != "DOWN" {
            thread::sleep(Duration::from_millis(3100));
            assert_eq!(run(), expected);
            assert_eq!(run(), expected, "the next run has nothing new");
        }
    }
}

#[test]
fn sighup_reads_the_targets_again() {
    let (stays, changes, goes, comes) = (Service::start(), Service::start(), Service::start(), Service::start());
    let (down, dir) = (Service::start(), Arc::new(TempDir::new()));
    down.stop();
    let file = |lines: &[String]| dir.write("targets", lines.join("\n") + "\n");
    let steady = [stays.target("stays"), down.target("down")].join("\n");
    file(&[steady.clone(), changes.target("changes"), goes.target("goes")]);
    let mut monitor = Monitor::with(&["-f", "targets", "-i", "20ms", "-v"]).dir(&dir).start();
    assert!(monitor.wait_log(" DOWN down ", LONG));
    changes.stop();
    assert!(monitor.wait_log(" DOWN changes ", LONG));
    let checks =
        |monitor: &Monitor, text: &str| monitor.output().stdout.lines().filter(|line| line.contains(text)).count();
    let stays_at = stays.address.to_string();
    assert!(monitor.wait_line(|all| all.stdout.lines().filter(|line| line.contains("stays")).count() >= 50, LONG));
    // A broken file changes nothing, and is said in one line.
    for broken in ["stays=10.1\n", "a=127.0.0.1:1\na=127.0.0.1:2\n", "x --nonsense 3\n", ""] {
        dir.write("targets", broken);
        let said = monitor.output().stderr.lines().count();
        monitor.signal(libc::SIGHUP);
        assert!(monitor.wait_line(|all| all.stderr.lines().count() > said, LONG), "{broken:?}");
        let stderr = monitor.output().stderr;
        let last = stderr.lines().last().unwrap();
        assert!(last.contains("SIGHUP: ") && last.ends_with("the targets stay as they were"), "{last}");
        assert_eq!(stderr.lines().count(), said + 1, "{stderr}");
    }
    fs::remove_file(dir.path().join("targets")).unwrap();
    monitor.signal(libc::SIGHUP);
    assert!(monitor.wait_line(|all| all.stderr.contains("cannot be read"), LONG));
    assert_eq!(kinds(&monitor.log()).matches("START").count(), 1);
    let before = checks(&monitor, "stays");
    file(&[steady, format!("{} --interval 10ms", changes.target("changes")), comes.target("comes")]);
    monitor.signal(libc::SIGHUP);
    assert!(monitor.wait_line(|all| all.log.matches(" START ").count() == 2, LONG));
    assert!(monitor.wait_line(|all| all.stdout.contains("comes"), LONG));
    changes.restart();
    down.restart();
    assert!(monitor.wait_log(" UP changes ", LONG), "its outage went on, with the new options");
    assert!(monitor.wait_log(" UP down ", LONG));
    let goes_then = checks(&monitor, "goes");
    let comes_then = checks(&monitor, "comes");
    assert!(monitor.wait_line(|all| all.stdout.matches("comes").count() > comes_then + 50, LONG));
    assert!(checks(&monitor, "goes") <= goes_then, "it is watched no more");
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0));
    let log = numbered(&ended.log);
    assert_eq!(log.iter().filter(|line| line.kind == "DOWN").count(), 2, "{}", ended.log);
    assert!(
        log.iter().any(|line| line.text.starts_with("Monitoring 4 targets: stays, down, changes, comes")),
        "{}",
        ended.log
    );
    let summary = |label: &str| ended.stdout.lines().find(|line| line.starts_with(label) && line.contains("%loss = "));
    let counts = summary("stays").unwrap().split("%loss = ").nth(1).unwrap().split('/').next().unwrap();
    assert!(counts.parse::<usize>().unwrap() >= before, "the samples of {stays_at} went on: {counts} of {before}");
    assert!(summary("goes").is_none() && summary("comes").is_some(), "{}", ended.stdout);
    // What failed in both of its lives is told.
    let up = log.iter().find(|line| line.kind == "UP" && line.target == "down").unwrap();
    let failed = format!("({} checks failed)", unwell(&ended, "down"));
    assert!(up.text.ends_with(&failed), "{} {failed}", up.text);
}

/// An outage that goes on over a change of its target's options tells all its failed checks.
#[test]
fn an_outage_keeps_its_count_when_its_target_changes() {
    let (db, dir) = (Service::start(), Arc::new(TempDir::new()));
    dir.write("targets", db.target("db"));
    let mut monitor = Monitor::with(&["-f", "targets", "-i", "10ms", "-v"]).dir(&dir).start();
    assert!(monitor.wait_log(" START ", LONG));
    db.stop();
    let refused = |n: usize| move |all: &lab::run::Output| all.stdout.matches("connection refused").count() >= n;
    assert!(monitor.wait_line(refused(100), LONG));
    dir.write("targets", format!("{} --recover 2", db.target("db")));
    monitor.signal(libc::SIGHUP);
    assert!(monitor.wait_line(|all| all.log.matches(" START ").count() == 2, LONG));
    db.restart();
    assert!(monitor.wait_log(" UP db ", LONG));
    let ended = monitor.stop();
    let up = numbered(&ended.log).into_iter().find(|line| line.kind == "UP").unwrap();
    let failed = up.text.split(" down (").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    let seen = ended.stdout.matches("connection refused").count();
    // One may fail while its old thread is being stopped.
    assert!(failed >= 95 && failed <= seen, "{} of {seen}", up.text);
}

#[test]
fn sighup_ends_a_run_without_a_file() {
    let db = Service::start();
    for (args, stdin) in [(vec![db.target("db")], None), (vec!["-f".to_owned(), "-".to_owned()], Some(db.target("db")))]
    {
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["-i", "10ms"]).collect();
        let setup = Monitor::with(&args);
        let mut monitor = match &stdin {
            Some(text) => setup.stdin(text).start(),
            None => setup.start(),
        };
        assert!(monitor.wait_log(" START ", LONG));
        monitor.signal(libc::SIGHUP);
        let ended = monitor.finish(LONG);
        assert_eq!((ended.code, &*kinds(&ended.log)), (Some(0), "START STOP"), "{ended:#?}");
        assert!(ended.log.contains("SIGHUP") && ended.stdout.contains("db : xmt/rcv/%loss"), "{ended:#?}");
    }
}

/// A real state: two targets, one of them down, with messages that Slack has not had.
fn real_state() -> (Arc<TempDir>, Vec<u8>) {
    let mut slack = Slack::start(vec![]);
    let url = slack.url();
    slack.stop();
    let dir = Arc::new(TempDir::new());
    let args = ["dead=127.0.0.1:1", "gone=127.0.0.1:1", "-i", "10ms", "--slack-url", &url];
    let mut monitor = Monitor::with(&args).dir(&dir).start();
    assert!(monitor.wait_line(|all| all.log.matches(" DOWN ").count() == 2, LONG));
    monitor.kill_9();
    let bytes = fs::read(dir.path().join(STATE)).unwrap();
    assert!(bytes.ends_with(b"\n") && bytes.iter().filter(|byte| **byte == b'\n').count() >= 3);
    (dir, bytes)
}

/// What a state file of these bytes holds; `damaged`: the copy's bytes.
#[derive(Debug, PartialEq)]
struct Held {
    number: u64,
    targets: String,
    waiting: Vec<Item>,
    dropped: u64,
}

fn open(dir: &TempDir, bytes: &[u8]) -> (Held, Option<Vec<u8>>) {
    // Another name each time: a child that another test is just starting holds our lock for a moment.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("{}.state", COUNT.fetch_add(1, Ordering::Relaxed));
    let path = dir.path().join(&name);
    dir.write(&name, bytes);
    let Opened { memory, outbox, damaged, .. } = StateFile::open(&path).unwrap();
    let copy = damaged.map(|aside| {
        let bytes = fs::read(&aside).unwrap();
        fs::remove_file(aside).unwrap();
        bytes
    });
    let targets = format!("{:?}", memory.targets);
    let held = Held {
        number: memory.number,
        targets,
        waiting: outbox.waiting().cloned().collect(),
        dropped: outbox.dropped(),
    };
    (held, copy)
}

/// Row 60: torn at every length.
#[test]
fn a_state_that_was_cut_keeps_what_is_whole() {
    let (dir, bytes) = real_state();
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        let end = cut.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (held, copy) = open(&dir, cut);
        let (whole, none) = open(&dir, &bytes[..end]);
        assert_eq!(none, None);
        let complete = bytes[length] == b'\n';
        if complete {
            // Only the newline is missing: the line may be taken or left.
            let line = open(&dir, &bytes[..=length]).0;
            assert!(held == line || held == whole, "cut at {length}");
        } else {
            assert_eq!(held, whole, "cut at {length}");
        }
        // Without its last line a file looks whole: nobody can tell.
        assert_eq!(copy.as_deref(), (end != length).then_some(cut), "cut at {length}");
    }
}

/// Row 60: one bit or byte is wrong. Either it is noticed, and the other lines are kept, or it meant nothing.
#[test]
fn a_changed_byte_in_the_state_is_noticed() {
    let (dir, bytes) = real_state();
    let (whole, _) = open(&dir, &bytes);
    let mut random = Random(60);
    let mut unnoticed = Vec::new();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        let (held, copy) = open(&dir, &changed);
        match copy {
            Some(copy) => assert_eq!(copy, changed),
            None if held == whole => {}
            None => unnoticed.push(at),
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        unnoticed.is_empty(),
        "{} of {} changed bytes were taken as they are:\n{text}",
        unnoticed.len(),
        bytes.len()
    );
}

/// Row 60, by the program itself.
#[test]
fn a_damaged_state_is_said_and_kept_aside() {
    let (real, bytes) = real_state();
    let mut random = Random(1);
    let rubbish: Vec<u8> = (0..5000).map(|_| random.below(256) as u8).collect();
    let mut middle = bytes.clone();
    let third = middle.iter().position(|byte| *byte == b'\n').unwrap() + 10;
    middle[third] = b'\xff';
    let huge = b"{\"reachabilitycheck\":1,\"number\":99999999999999999999999,\"dropped\":0}\n".to_vec();
    for (what, damaged) in [
        ("random", rubbish),
        ("zeros", vec![0; 4096]),
        ("torn", bytes[..bytes.len() - 7].to_vec()),
        ("a byte", middle),
        ("zeros behind, as after a power cut", [&*bytes, &[0; 512]].concat()),
        ("too big", huge),
        ("another program's", b"[section]\nkey=value\n".to_vec()),
        ("JSON", b"{}\n[]\n\"x\"\nnull\n3\n".to_vec()),
        ("deep", vec![b'['; 100_000]),
    ] {
        let dir = Arc::new(TempDir::new());
        dir.write(STATE, &damaged);
        dir.write(LOG, real.read(LOG));
        let ended = Monitor::with(&["dead=127.0.0.1:1", "gone=127.0.0.1:1", "-n", "3", "-i", "10ms"]).dir(&dir).run();
        assert_eq!(ended.code, Some(1), "{what}: {ended:#?}");
        let said = ended.stderr.lines().filter(|line| line.contains("damaged")).count();
        assert_eq!(said, 1, "{what}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("the state reachability.state was damaged") && !ended.stderr.contains("panic"),
            "{}",
            ended.stderr
        );
        let copy = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("damaged"))
            .unwrap();
        assert_eq!(fs::read(copy).unwrap(), damaged, "{what}");
        // And the new one is whole.
        let again = Monitor::with(&["dead=127.0.0.1:1", "gone=127.0.0.1:1", "-n", "3", "-i", "10ms"]).dir(&dir).run();
        assert!(!again.stderr.contains("damaged"), "{what}: {}", again.stderr);
        if ["torn", "a byte", "zeros behind, as after a power cut"].contains(&what) {
            let downs = ended.log.matches(" DOWN dead ").count() + ended.log.matches(" DOWN gone ").count();
            assert!(downs <= 3, "{what}: what is whole is kept: {}", ended.log);
        }
    }
}

/// Each number is one more than the last: when the state is lost, the log still knows the last.
#[test]
fn numbers_go_on_from_the_log_when_the_state_is_lost() {
    for lost in ["damaged", "deleted"] {
        let (dir, _) = real_state();
        match lost {
            "damaged" => dir.write(STATE, "rubbish\n"),
            _ => fs::remove_file(dir.path().join(STATE)).unwrap(),
        }
        let ended = Monitor::with(&["dead=127.0.0.1:1", "-n", "3", "-i", "10ms"]).dir(&dir).run();
        assert_eq!(kinds(&ended.log), "START DOWN DOWN DOWN", "{lost}");
    }
}

/// A copy that was put aside is not overwritten by the next.
#[test]
fn an_earlier_damaged_copy_is_not_lost_silently() {
    let dir = Arc::new(TempDir::new());
    for rubbish in ["first\n", "second\n"] {
        dir.write(STATE, rubbish);
        assert_eq!(Monitor::with(&[DEAD, "-n", "1", "-i", "10ms"]).dir(&dir).run().code, Some(1));
        let copies: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("damaged"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        assert!(copies.contains(&rubbish.to_owned()), "{copies:?}");
    }
}

/// Values that are valid, and absurd.
#[test]
fn absurd_values_in_the_state_break_nothing() {
    let max = u64::MAX;
    for (what, text) in [
        ("number", format!("{{\"reachabilitycheck\":1,\"number\":{max},\"dropped\":0}}\n")),
        ("dropped", format!("{{\"reachabilitycheck\":1,\"number\":3,\"dropped\":{max}}}\n")),
        ("failed", format!("{{\"reachabilitycheck\":1,\"number\":3,\"dropped\":0}}\n{{\"target\":\"db\",\"known\":{{\"down\":{{\"since\":5,\"reminded\":5,\"failed\":{max}}},\"told\":[0,0]}}}}\n")),
        ("since", "{\"reachabilitycheck\":1,\"number\":3,\"dropped\":0}\n{\"target\":\"db\",\"known\":{\"down\":{\"since\":253402300798000,\"reminded\":253402300798000,\"failed\":3},\"told\":[7,2]}}\n".to_owned()),
        ("sent", format!("{{\"reachabilitycheck\":1,\"number\":3,\"dropped\":0}}\n{{\"sent\":[[{max},0],[0,{max}]],\"dropped\":0}}\n")),
    ] {
        let (db, dir, slack) = (Service::start(), Arc::new(TempDir::new()), Slack::start(vec![]));
        db.stop();
        dir.write(STATE, &text);
        let target = db.target("db");
        let mut monitor = Monitor::with(&[&target, "-i", "10ms", "-v", "--slack-url", &slack.url()]).dir(&dir).start();
        let refused = |all: &lab::run::Output| all.stdout.matches("connection refused").count() >= 10;
        assert!(monitor.wait_line(refused, LONG), "{what}: {:#?}", monitor.output());
        db.restart();
        assert!(monitor.wait_log(" UP db ", Duration::from_secs(10)), "{what}: {:#?}", monitor.output());
        let ended = monitor.stop();
        assert_eq!(ended.code, Some(0), "{what}: {ended:#?}");
        assert!(!ended.stderr.contains("bug") && !ended.stderr.contains("panic"), "{what}: {}", ended.stderr);
        parse(&ended.log);
    }
}

// Row 56.
lab_test!(a_read_only_directory_is_said_at_the_start, ["mount"], |lab| {
    let _ = lab;
    let dir = Arc::new(TempDir::new());
    fs::create_dir(dir.path().join("ro")).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "ro", "lab", &dir.file("ro")]).unwrap();
    for (options, name) in [
        (&["--log", "ro/r.log"][..], "--log: ro/r.log"),
        (&["--no-log", "--state", "ro/r.state"], "--state: ro/r.state"),
        (&["--log", "r.log", "--state", "ro/r.state"], "--state: ro/r.state"),
        (&["--log", "nowhere/r.log"], "--log: nowhere/r.log"),
    ] {
        let ended = Monitor::with(&[&[DEAD, "-n", "1"], options].concat()).dir(&dir).run();
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains(name), "{}", ended.stderr);
        assert!(lines[0].contains("--no-log") || lines[0].contains("--no-state"), "names a cure: {}", ended.stderr);
        assert!(lines[0].contains("Read-only file system") || name.contains("nowhere"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
});

/// Row 57: logrotate, ten times a second, under load.
#[test]
fn a_log_that_is_renamed_loses_no_line() {
    let (service, dir, over) = (Service::start(), Arc::new(TempDir::new()), AtomicBool::new(false));
    let lines: String = (0..20).map(|n| service.target(&format!("t{n}")) + "\n").collect();
    dir.write("targets", lines);
    let mut files = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| flap(&service, &mut Random(57), &over));
        let mut monitor = Monitor::with(&["-f", "targets", "-i", "10ms", "-ct", "1", "-q"]).dir(&dir).start();
        assert!(monitor.wait_log(" START ", LONG));
        for n in 0..25 {
            thread::sleep(Duration::from_millis(100));
            let old = format!("old{n}");
            // It may not be there yet, when nothing was written since the last time.
            if fs::rename(dir.path().join(LOG), dir.path().join(&old)).is_ok() {
                files.push(old);
            }
        }
        over.store(true, Ordering::Relaxed);
        let ended = monitor.stop();
        assert_eq!((ended.code, &*ended.stderr.replace(|_: char| false, "")), (Some(0), &*ended.stderr));
    });
    files.push(LOG.to_owned());
    let all: String = files.iter().map(|file| dir.read(file)).collect();
    let lines = numbered(&all);
    assert!(lines.len() > 200, "{} lines are no load", lines.len());
    println!("{} lines in {} files", lines.len(), files.len());
}
