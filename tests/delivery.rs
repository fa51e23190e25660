//! From the judgement to Slack and the log, with the faults of the way between. Needs no rights: TCP targets on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::Monitor;
use lab::slack::{Answer, Post, Slack};
use lab::{installed, lab_test};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);

/// A service that can go away and come back on its port.
struct Service {
    address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Service {
    fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Service { address: listener.local_addr().unwrap(), listener: Some(listener) }
    }

    fn stop(&mut self) {
        self.listener = None;
    }

    fn restart(&mut self) {
        self.listener = Some(TcpListener::bind(self.address).unwrap());
    }

    fn target(&self, label: &str) -> String {
        format!("{label}={}", self.address)
    }
}

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
    let (mut db, slack) = (Service::start(), Slack::start(vec![]));
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
                let (mut db, slack) = (Service::start(), Slack::start(vec![refusal.clone()]));
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

#[test]
fn a_webhook_that_is_gone_is_loud_and_not_hammered() {
    let (mut db, slack) = (Service::start(), Slack::start(vec![]));
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &slack.url()]);
    assert!(slack.wait_delivered("Monitoring", LONG));
    slack.otherwise(Answer::Status(404, "no_service"));
    db.stop();
    assert!(monitor.wait_line(|all| all.stderr.contains("status 404, no_service"), LONG));
    db.restart();
    assert!(monitor.wait_log(" UP db ", LONG), "checks and the log go on");
    assert_eq!(slack.posts().len(), 2);
    let ended = monitor.stop();
    assert_eq!(slack.posts().len(), 3, "one more try at the end");
    assert!(ended.stderr.contains("2 notifications were not delivered"), "{}", ended.stderr);
}

#[test]
fn a_slack_that_is_away_gets_all_of_it_when_it_is_back() {
    let (mut db, mut slack) = (Service::start(), Slack::start(vec![]));
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
    let (mut db, slack) = (Service::start(), Slack::start(vec![]));
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

#[test]
fn the_secret_is_shown_nowhere() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    slack.otherwise(Answer::Status(403, "invalid_token"));
    let secret = "secretsecret";
    assert!(slack.url().contains(secret));
    let monitor =
        Monitor::with(&[&db.target("db"), "-n", "3", "-i", "10ms", "-v"]).env("SLACK_WEBHOOK_URL", slack.url());
    let ended = monitor.run();
    let all = format!("{}{}{}", ended.stdout, ended.stderr, ended.log);
    assert!(!all.contains(secret), "{all}");
}

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
