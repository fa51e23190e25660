//! From the judgement to Slack and the log, with the faults of the way between. Needs no rights: TCP targets on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Monitor, TempDir};
use lab::service::Service;
use lab::slack::{Answer, Post, Slack};
use lab::{command, installed, lab_test, wait_until};
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);

/// The notifications of delivered messages, one a line, without their times.
fn delivered(slack: &Slack) -> Vec<String> {
    let texts = slack.delivered_texts();
    texts.iter().flat_map(|text| text.lines()).map(|line| without_time(line).to_owned()).collect()
}

fn without_time(line: &str) -> &str {
    line.split_once("> ").map_or(line, |(_, text)| text)
}

/// The texts of the log's lines, without time, number, kind and target; the numbers must have no hole.
fn logged(log: &str) -> Vec<String> {
    log.lines()
        .enumerate()
        .map(|(at, line)| {
            let mut words = line.splitn(5, ' ');
            assert!(humantime::parse_rfc3339(words.next().unwrap()).is_ok(), "{line}");
            assert_eq!(words.next().unwrap(), format!("#{}", at + 1), "{line}");
            words.nth(2).unwrap().to_owned()
        })
        .collect()
}

#[test]
fn an_outage_is_told_in_the_log_and_at_slack() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
    assert!(slack.wait_delivered("Monitoring 1 target: db", LONG));
    db.stop();
    assert!(slack.wait_delivered("TCP connection to db is failing", LONG));
    db.restart();
    assert!(slack.wait_delivered("TCP connection to db succeeded", LONG));
    assert!(monitor.wait_log(" UP db ", LONG));
    let ended = monitor.stop();
    let port = db.address.port();
    let log = logged(&ended.log);
    assert_eq!(ended.code, Some(0));
    assert_eq!(log.len(), 4, "{}", ended.log);
    assert_eq!(log[0], "Monitoring 1 target: db");
    let down = format!("TCP connection to db is failing on port {port}: 3 checks in a row failed since ");
    assert!(log[1].starts_with(&down) && log[1].ends_with("Z (connection refused)"), "{}", log[1]);
    let up = format!("TCP connection to db succeeded on port {port} after ");
    assert!(log[2].starts_with(&up) && log[2].ends_with(" checks failed)"), "{}", log[2]);
    assert_eq!(log[3], "Monitoring stops: SIGINT");
    // Slack gets the same texts, and not the STOP.
    assert_eq!(delivered(&slack), log[..3]);
    for post in slack.posts() {
        assert_eq!(post.method, "POST");
        assert!(post.headers.contains(&("content-type".into(), "application/json".into())), "{post:?}");
        let unix = post.text.strip_prefix("<!date^").and_then(|rest| rest.split_once('^')).unwrap().0;
        let line = ended.log.lines().find(|line| line.ends_with(without_time(&post.text))).unwrap();
        let at = humantime::parse_rfc3339(line.split(' ').next().unwrap()).unwrap();
        let logged = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(unix.parse(), Ok(logged), "Slack and the log name the same time");
    }
}

/// Each of these answers is no delivery. The message is sent again and arrives once, before what came after it.
#[test]
fn what_slack_did_not_take_is_sent_again_in_order() {
    let refusals = [
        Answer::Status(500, "server_error"),
        Answer::Status(503, ""),
        Answer::RetryAfter(429, 1),
        Answer::Redirect("/elsewhere".into()),
        Answer::Body200("<html>Please log in to this network".into()),
        Answer::Body200(String::new()),
        Answer::Close,
        Answer::Reset,
    ];
    let runs: Vec<_> = refusals
        .into_iter()
        .map(|refusal| {
            std::thread::spawn(move || {
                let (db, slack) = (Service::start(), Slack::start(vec![refusal.clone()]));
                let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
                assert!(slack.wait_posts(1, LONG));
                db.stop();
                assert!(monitor.wait_log(" DOWN db ", LONG));
                assert!(slack.wait_delivered("is failing", LONG), "{refusal:?}");
                let ended = monitor.stop();
                assert_eq!(delivered(&slack), logged(&ended.log)[..2], "{refusal:?}");
                let posts: Vec<Post> = slack.posts();
                assert!(!posts[0].delivered && posts.len() <= 3, "{refusal:?}: {posts:?}");
                let waited = posts[1].at - posts[0].at;
                assert!(waited >= Duration::from_millis(900), "{refusal:?}: tried again after {waited:?}");
                assert!(ended.stderr.contains("Slack did not take a message"), "{}", ended.stderr);
                assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
                assert!(slack.others().is_empty(), "a redirect was followed: {:?}", slack.others());
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
}

/// Row 46, after a START that was taken.
#[test]
fn a_webhook_that_is_gone_is_loud_and_not_hammered() {
    let refusals =
        [(400, "invalid_payload"), (403, "invalid_token"), (404, "no_service"), (410, "channel_is_archived")];
    at_once(refusals, |(status, word)| {
        let (db, slack) = (Service::start(), Slack::start(vec![]));
        let (target, url) = (db.target("db"), slack.url());
        let args = [&*target, "-i", "20ms", "--slack-url", &url];
        let mut monitor = Monitor::start(&args);
        let dir = monitor.dir();
        assert!(slack.wait_delivered("Monitoring", LONG));
        slack.otherwise(Answer::Status(status, word));
        db.stop();
        let said = format!("Slack did not take a message: status {status}, {word} (");
        assert!(monitor.wait_line(|all| all.stderr.contains(&said), LONG));
        db.restart();
        assert!(monitor.wait_log(" UP db ", LONG), "checks and the log go on");
        // Longer than the backoff of an error that may pass.
        thread::sleep(Duration::from_secs(3));
        assert_eq!(slack.posts().len(), 2);
        let ended = monitor.stop();
        assert_eq!(ended.code, Some(0));
        assert_eq!(slack.posts().len(), 3, "one more try at the end");
        assert!(ended.stderr.contains("2 notifications were not delivered"), "{}", ended.stderr);
        // Mended: the next start delivers them.
        slack.otherwise(Answer::Ok);
        let again = Monitor::with(&args).dir(&dir).start();
        assert!(slack.wait_delivered("succeeded", LONG));
        let ended = again.stop();
        assert_told(&slack, &ended.log);
    });
}

/// Row 46, at the start.
#[test]
fn a_webhook_that_is_wrong_from_the_start_ends_it() {
    let refusals =
        [(400, "invalid_payload"), (403, "invalid_token"), (404, "no_service"), (410, "channel_is_archived")];
    at_once(refusals, |(status, word)| {
        let (db, slack) = (Service::start(), Slack::start(vec![]));
        slack.otherwise(Answer::Status(status, word));
        let monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
        let ended = monitor.finish(LONG);
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(
            ended.stderr.contains(&format!("Slack refuses the webhook: status {status}, {word}; ")),
            "{}",
            ended.stderr
        );
        assert_eq!(slack.posts().len(), 1);
        assert_eq!(logged(&ended.log)[0], "Monitoring 1 target: db");
        // With --count a script gets its answer all the same.
        let ended =
            Monitor::start(&["dead=127.0.0.1:1", "-n", "3", "-i", "10ms", "--slack-url", &slack.url()]).finish(LONG);
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        assert!(ended.stderr.contains(&format!("status {status}, {word}")), "{}", ended.stderr);
    });
}

/// Row 44: nothing is posted while Slack asks for patience, whatever happens meanwhile.
#[test]
fn retry_after_is_kept_to() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
    assert!(slack.wait_delivered("Monitoring", LONG));
    slack.plan(vec![Answer::RetryAfter(429, 3)]);
    db.stop();
    assert!(slack.wait_posts(2, LONG));
    for round in 1..=3 {
        db.restart();
        assert!(monitor.wait_line(|all| all.log.matches(" UP ").count() == round, LONG));
        db.stop();
        assert!(monitor.wait_line(|all| all.log.matches(" DOWN ").count() == round + 1, LONG));
    }
    assert!(slack.wait_posts(3, LONG));
    let ended = monitor.stop();
    let posts = slack.posts();
    assert!(posts[2].at - posts[1].at >= Duration::from_millis(2990), "{:?}", posts[2].at - posts[1].at);
    assert_told(&slack, &ended.log);
}

/// Row 45: 1, 2, 4, 8 and 16 s, up to a quarter more, and then all that was made meanwhile, once, in order.
#[test]
fn a_500_five_times_loses_nothing() {
    let (db, slack) = (Service::start(), Slack::start(vec![Answer::Status(500, "server_error"); 5]));
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
    for tries in 1..=5 {
        assert!(slack.wait_posts(tries, LONG));
        db.stop();
        assert!(monitor.wait_line(|all| all.log.matches(" DOWN ").count() == tries, LONG));
        db.restart();
        assert!(monitor.wait_line(|all| all.log.matches(" UP ").count() == tries, LONG));
    }
    assert!(slack.wait_delivered("Monitoring", LONG));
    let ended = monitor.stop();
    let posts = slack.posts();
    for (pair, wait) in posts.windows(2).zip([1000, 2000, 4000, 8000, 16000]) {
        let waited = (pair[1].at - pair[0].at).as_millis();
        assert!(waited >= wait - 20, "tried again after {waited} ms, not {wait}");
    }
    assert_eq!(ended.stderr.matches("Slack did not take a message").count(), 1, "{}", ended.stderr);
    assert_eq!(assert_told(&slack, &ended.log), 11);
}

/// Row 48: 10 s in all, however slowly the answer drips; other targets are checked as in a run without Slack.
#[test]
fn a_slack_that_hangs_or_drips_is_given_up_and_delays_no_check() {
    at_once([Answer::Hang(LONG), Answer::DripHeader, Answer::DripBody], |answer| {
        let (db, slack) = (Service::start(), Slack::start(vec![answer.clone()]));
        let (target, url) = (db.target("db"), slack.url());
        let args = [&*target, "other=127.0.0.1:1", "-ct", "3", "-i", "50ms"];
        let mut monitor = Monitor::start(&[&args[..], &["--slack-url", &url]].concat());
        let control = Monitor::start(&args);
        assert!(slack.wait_posts(1, LONG));
        db.stop();
        assert!(slack.wait_posts(2, LONG), "{answer:?}");
        assert!(monitor.wait_log(" DOWN db ", LONG));
        assert!(slack.wait_delivered("connection to db is failing", LONG));
        let (ended, control) = (monitor.stop(), control.stop());
        let posts = slack.posts();
        let waited = posts[1].at - posts[0].at;
        assert!(waited >= Duration::from_millis(10_900), "{answer:?}: 10 s and 1 s: {waited:?}");
        assert!(waited < Duration::from_secs(25), "{answer:?}: a drip would go on for a minute: {waited:?}");
        assert!(ended.stderr.contains("Slack did not take a message: timed out ("), "{answer:?}: {}", ended.stderr);
        let ((sent, gaps), (control_sent, control_gaps)) = (counts(&ended.stdout), counts(&control.stdout));
        assert!(
            sent + gaps + 40 >= control_sent + control_gaps,
            "{answer:?}: {sent} {gaps} {control_sent} {control_gaps}"
        );
        assert!(gaps <= control_gaps + sent / 10, "{answer:?}: {sent} checks, {gaps} gaps; alone {control_gaps}");
        assert_told(&slack, &ended.log);
    });
}

/// Checks and gaps of the target `other` in the summary.
fn counts(stdout: &str) -> (u64, u64) {
    let line = stdout.lines().find(|line| line.starts_with("other ") && line.contains("%loss = ")).unwrap();
    let after = |word: &str| line.split(word).nth(1)?.split(['/', ',']).next()?.parse().ok();
    (after("%loss = ").unwrap(), after(", gaps ").unwrap_or(0))
}

/// Runs the same for all, each in a thread of its own.
fn at_once<T: Send + 'static>(all: impl IntoIterator<Item = T>, run: impl Fn(T) + Copy + Send + 'static) {
    let threads: Vec<_> = all.into_iter().map(|one| thread::spawn(move || run(one))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Each notification of the log but STOP and GAP is told exactly once, in order (an outage at its DOWN); how many.
fn assert_told(slack: &Slack, log: &str) -> usize {
    let lines = || log.lines().zip(logged(log));
    let made: Vec<_> = lines().filter(|(line, _)| !line.contains(" STOP - ") && !line.contains(" GAP ")).collect();
    let told: Vec<String> = delivered(slack)
        .iter()
        .filter(|line| !is_headline(line))
        .flat_map(|line| line.split(" | ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let sorted = |texts: &mut dyn Iterator<Item = String>| {
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(&mut told.iter().cloned()), sorted(&mut made.iter().map(|made| made.1.clone())));
    for target in ["db", "one", "two"] {
        let of = |text: &&String| text.contains(&format!("connection to {target} "));
        let one: Vec<_> = told.iter().filter(of).collect();
        let other: Vec<_> = made.iter().map(|made| &made.1).filter(of).collect();
        assert_eq!(one, other, "in order");
    }
    made.len()
}

fn is_headline(line: &str) -> bool {
    line.starts_with(|first: char| first.is_ascii_digit())
}

/// Row 52: 20,000 notifications while the webhook is down, and `kill -9` on top of it.
#[test]
fn after_a_storm_of_20_000_slack_gets_one_message_with_exact_counts() {
    const TARGETS: usize = 100;
    let (mut slack, dir) = (Slack::start(vec![]), Arc::new(TempDir::new()));
    let url = slack.url();
    slack.stop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    dir.write("targets", (0..TARGETS).map(|n| format!("t{n}={address}\n")).collect::<String>());
    let over = AtomicBool::new(false);
    let flap = || {
        while !over.load(Ordering::Relaxed) {
            if let Ok(listener) = TcpListener::bind(address) {
                listener.set_nonblocking(true).unwrap();
                let end = Instant::now() + Duration::from_millis(30);
                while Instant::now() < end {
                    while listener.accept().is_ok() {}
                    thread::sleep(Duration::from_millis(1));
                }
            }
            thread::sleep(Duration::from_millis(30));
        }
    };
    let args = ["-f", "targets", "-i", "20ms", "-ct", "1", "-q", "--slack-url", &url];
    let mut largest = 0;
    let first = thread::scope(|scope| {
        scope.spawn(flap);
        let monitor = Monitor::with(&args).dir(&dir).start();
        let enough = wait_until(LONG, || {
            largest = largest.max(fs::metadata(dir.path().join("reachability.state")).map_or(0, |about| about.len()));
            monitor.log().lines().count() >= 20_000
        });
        over.store(true, Ordering::Relaxed);
        assert!(enough, "{} in a minute", monitor.log().lines().count());
        monitor.kill_9()
    });
    let made = first.log.lines().count();
    assert!(largest < 4 << 20, "the state grew to {largest} bytes");
    slack.restart();
    let second = Monitor::with(&args).dir(&dir).start();
    assert!(slack.wait_delivered(" earlier notifications are only in the log", LONG));
    let before_end = slack.delivered_texts().len();
    let ended = second.stop();
    let log = logged(&ended.log);
    let texts = slack.delivered_texts();
    assert!(before_end <= 3 && texts.len() <= 5, "{texts:#?}");
    let text = &texts[0];
    let count = |of: &str, behind: &str| -> usize {
        let word = of.split(behind).next().unwrap().rsplit([' ', '\n']).next().unwrap();
        word.parse().unwrap_or_else(|_| panic!("{word} before {behind} in {text}"))
    };
    let dropped = count(text, " earlier notifications are only in the log");
    let told = count(text.split("there were ").nth(1).unwrap(), " notifications; the log has every line");
    assert_eq!(told, 10_000);
    // What comes after it is told line by line, or in short.
    let later: usize = texts[1..]
        .iter()
        .map(|text| match text.split("there were ").nth(1) {
            Some(short) => count(short, " notifications; "),
            None => text.lines().filter(|line| line.starts_with("<!date")).map(|line| line.split(" | ").count()).sum(),
        })
        .sum();
    let for_slack = ended.log.lines().filter(|line| !line.contains(" GAP ") && !line.contains(" STOP ")).count();
    // On a slow machine the last two seconds may not do for the last of them; the program says how many.
    let (were, was) = (" notifications were not delivered", " notification was not delivered");
    let left =
        [were, was].iter().find(|word| ended.stderr.contains(**word)).map_or(0, |word| count(&ended.stderr, word));
    assert_eq!(dropped + told + later + left, for_slack, "{} lines in the log", log.len());
    // Where each target stands: counted once each.
    let head = text.lines().find(|line| line.contains(" target")).unwrap();
    let stands: usize = head.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok()).sum();
    assert_eq!(stands, TARGETS, "{head}");
    println!(
        "{made} made before kill -9; state at most {largest} bytes; {} POSTs; {dropped} + {told} + {later}",
        slack.posts().len()
    );
}

#[test]
fn a_slack_that_is_away_gets_all_of_it_when_it_is_back() {
    let (db, mut slack) = (Service::start(), Slack::start(vec![]));
    let url = slack.url();
    slack.stop();
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &url]);
    for round in 1..=2 {
        db.stop();
        assert!(monitor.wait_line(|all| all.log.matches(" DOWN ").count() == round, LONG));
        db.restart();
        assert!(monitor.wait_line(|all| all.log.matches(" UP ").count() == round, LONG));
    }
    slack.restart();
    assert!(slack.wait_delivered("succeeded", LONG));
    let ended = monitor.stop();
    let log = logged(&ended.log);
    // Each outage that is over is one line.
    let outages = [format!("{} | {}", log[1], log[2]), format!("{} | {}", log[3], log[4])];
    assert_eq!(delivered(&slack), [&log[..1], &outages[..]].concat(), "{}", ended.log);
    assert_eq!(slack.delivered_texts().len(), 1, "one message for all that waited");
    assert!(ended.stderr.contains("Slack takes messages again"), "{}", ended.stderr);
}

/// A POST that hangs holds up neither checks nor, at the end, the log or the program.
#[test]
fn the_end_does_not_wait_for_a_slack_that_hangs() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    slack.otherwise(Answer::Hang(LONG));
    let monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "-v", "--slack-url", &slack.url()]);
    assert!(slack.wait_posts(1, LONG));
    let mut monitor = monitor;
    db.stop();
    let refused = |all: &lab::run::Output| all.stdout.matches("connection refused").count() >= 10;
    assert!(monitor.wait_line(refused, LONG), "checks go on");
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0));
    let log = logged(&ended.log);
    assert_eq!(log.len(), 3, "START, DOWN, STOP: {}", ended.log);
    assert!(ended.stderr.contains("not delivered"), "{}", ended.stderr);
}

/// Row 54.
#[test]
fn the_secret_is_shown_nowhere() {
    let secret = "secretsecret";
    let answers = [
        Answer::Ok,
        Answer::Status(403, "invalid_token"),
        Answer::Status(500, "Cannot POST /services/T000/B000/secretsecret"),
        Answer::Body200("Cannot POST /services/T000/B000/secretsecret".into()),
        Answer::Redirect(format!("http://127.0.0.1:1/{secret}")),
        Answer::Close,
        Answer::Reset,
    ];
    at_once(answers, move |answer| {
        for how in ["file", "variable"] {
            let (db, mut slack, dir) = (Service::start(), Slack::start(vec![Answer::Ok]), Arc::new(TempDir::new()));
            let target = db.target("db");
            let mut args = vec![&*target, "-i", "10ms", "-v"];
            dir.write("url", slack.url() + "\n");
            if how == "file" {
                args.extend(["--slack-url-file", "url"]);
            }
            let mut setup = Monitor::with(&args).dir(&dir);
            if how == "variable" {
                setup = setup.env("SLACK_WEBHOOK_URL", slack.url());
            }
            slack.otherwise(answer.clone());
            let mut monitor = setup.start();
            assert!(slack.wait_delivered("Monitoring", LONG));
            let argv = fs::read_to_string(format!("/proc/{}/cmdline", monitor.pid())).unwrap();
            assert!(argv.contains("10ms") && !argv.contains(secret), "{argv}");
            db.stop();
            assert!(slack.wait_posts(2, LONG));
            slack.stop();
            let ended = {
                assert!(monitor.wait_log(" DOWN db ", LONG));
                monitor.stop()
            };
            fs::remove_file(dir.path().join("url")).unwrap();
            for entry in fs::read_dir(dir.path()).unwrap() {
                let path = entry.unwrap().path();
                assert!(!String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(secret), "{}", path.display());
            }
            let all = format!("{}{}", ended.stdout, ended.stderr);
            assert!(!all.contains(secret) && !all.contains("/services/"), "{all}");
        }
    });
    // Nor where the URL itself is wrong.
    for url in
        ["htp://hooks.test/secretsecret", "http://:99999/secretsecret", "http://[::1/secretsecret", "secretsecret"]
    {
        for (args, variable) in
            [(vec!["127.0.0.1:1", "-n", "1", "--slack-url", url], None), (vec!["127.0.0.1:1", "-n", "1"], Some(url))]
        {
            let mut setup = Monitor::with(&args);
            if let Some(url) = variable {
                setup = setup.env("SLACK_WEBHOOK_URL", url);
            }
            let ended = setup.run();
            let all = format!("{}{}{}", ended.stdout, ended.stderr, ended.log);
            assert!(!all.contains(secret), "{url}: {all}");
        }
    }
}

// Row 55: the disk is full for a while, of the log alone, or of the state too.
lab_test!(a_full_disk_loses_no_line_and_no_message, ["mount"], |lab| {
    let _ = lab;
    for both in [false, true] {
        let (one, slack, dir) = (Service::start(), Slack::start(vec![]), Arc::new(TempDir::new()));
        fs::create_dir(dir.path().join("small")).unwrap();
        command("mount", &["-t", "tmpfs", "-o", "size=16k", "lab", &dir.file("small")]).unwrap();
        let (target, url) = (one.target("one"), slack.url());
        let state = if both { "small/state" } else { "state" };
        let args = [&*target, "-i", "10ms", "-ct", "1", "--log", "small/log", "--state", state, "--slack-url", &url];
        let mut monitor = Monitor::with(&args).dir(&dir).start();
        assert!(slack.wait_delivered("Monitoring", LONG));
        let shown = |text: &str, n: usize| {
            let text = text.to_owned();
            move |all: &lab::run::Output| all.stdout.matches(&*text).count() >= n
        };
        let mut rounds = 0;
        let mut flap = |monitor: &mut Monitor, more: usize| {
            for _ in 0..more {
                rounds += 1;
                one.stop();
                assert!(monitor.wait_line(shown(" DOWN ", rounds), LONG));
                one.restart();
                assert!(monitor.wait_line(shown(" UP ", rounds), LONG));
            }
        };
        flap(&mut monitor, 3);
        // Not a whole number of pages is left: a batch may fit half.
        let mut filler = fs::File::create(dir.path().join("small/filler")).unwrap();
        while std::io::Write::write_all(&mut filler, b"x").is_ok() {}
        let mut tries = 0;
        while !monitor.output().stderr.contains("the log cannot be written") {
            flap(&mut monitor, 1);
            tries += 1;
            assert!(tries < 200, "4 KiB are not full: {}", dir.read("small/log"));
        }
        flap(&mut monitor, 10);
        let full = dir.read("small/log");
        assert!(full.ends_with('\n'), "a torn line: {full}");
        drop(filler);
        fs::remove_file(dir.path().join("small/filler")).unwrap();
        flap(&mut monitor, 3);
        assert!(monitor.wait_line(|all| all.stderr.contains("the log is written again"), LONG));
        if both {
            assert!(monitor.wait_line(|all| all.stderr.contains("the state is written again"), LONG));
        }
        let ended = monitor.stop();
        assert_eq!(ended.code, Some(0));
        assert_eq!(ended.stderr.contains("the state cannot be written"), both, "{}", ended.stderr);
        let log = dir.read("small/log");
        let made = assert_told(&slack, &log);
        assert_eq!(made, 2 * rounds + 1, "{log}");
        // The state went on as well: nothing is told twice, and numbers go on.
        let again = Monitor::with(&args).dir(&dir).start();
        assert!(wait_until(LONG, || dir.read("small/log").matches(" START ").count() == 2));
        assert!(
            wait_until(LONG, || slack.delivered_texts().iter().filter(|text| text.contains("Monitoring")).count() == 2)
        );
        again.stop();
        assert_eq!(assert_told(&slack, &dir.read("small/log")), made + 1);
        println!("both {both}: {} made and told", made + 1);
    }
});

lab_test!(the_static_binary_runs_in_an_empty_root, |lab| {
    let binary = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/x86_64-unknown-linux-musl/release/reachabilitycheck");
    if !binary.exists() || !installed("chroot") {
        return lab.skip("no static binary here (make static), or no chroot");
    }
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    let root = lab::run::TempDir::new();
    std::fs::copy(&binary, root.path().join("reachabilitycheck")).unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    root.write("etc/resolv.conf", "nameserver 127.0.0.1\n");
    let dns = lab.dns();
    dns.set("slack.test", &["127.0.0.1"]);
    let url = slack.url().replace("127.0.0.1", "slack.test");
    let output = std::process::Command::new("chroot")
        .arg(root.path())
        .args(["/reachabilitycheck", "127.0.0.1", &db.target("db"), "dead=127.0.0.1:1", "-n", "3", "-i", "10ms"])
        .args(["--slack-url", &url])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("127.0.0.1 : xmt/rcv/%loss = 3/3/0%"), "{stdout}{stderr}");
    assert_eq!(delivered(&slack), logged(&root.read("reachability.log")), "{stderr}");
    assert_eq!(delivered(&slack).len(), 1);
});
