//! `--heartbeat`: the real program, and a stand-in for a dead-man service on loopback. Needs no rights.
#![cfg(debug_assertions)] // The minute between two signs of life is shortened by a variable that release builds ignore.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Ended, Monitor, Setup};
use lab::service::Service;
use lab::slack::{Answer, Slack};
use lab::{full_listener, wait_until};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);

const SECRET: &str = "/ping/5ecre7-5ecre7?status=up&msg=OK&ping=";

/// Answers each connection with the next status of the plan, then with 200, and keeps the first lines of the requests.
struct DeadMan {
    address: SocketAddr,
    plan: Arc<Mutex<VecDeque<u16>>>,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl DeadMan {
    /// Its thread ends with the test's process.
    fn start(plan: &[u16]) -> DeadMan {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(plan.iter().copied().collect::<VecDeque<u16>>()));
        let requests = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let (of_thread, kept) = (plan.clone(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(first) = lines.next() else {
                    continue;
                };
                // The rest of the head.
                while lines.next().is_some_and(|line| !line.is_empty()) {}
                kept.lock().unwrap().push((Instant::now(), first));
                let status = of_thread.lock().unwrap().pop_front().unwrap_or(200);
                let place =
                    if status / 100 == 3 { format!("Location: http://{address}/other\r\n") } else { String::new() };
                let body = if status == 204 { "" } else { "OK" };
                let head = format!("HTTP/1.1 {status} Planned\r\n{place}Content-Length: {}\r\n", body.len());
                let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
            }
        });
        DeadMan { address, plan, requests }
    }

    fn url(&self) -> String {
        format!("http://{}{SECRET}", self.address)
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn wait(&self, count: usize) -> bool {
        wait_until(LONG, || self.count() >= count)
    }

    fn plan(&self, more: &[u16]) {
        self.plan.lock().unwrap().extend(more);
    }

    /// Only signs of life came, each a plain GET.
    fn assert_gets(&self) {
        for (_, line) in self.requests.lock().unwrap().iter() {
            assert_eq!(line, &format!("GET {SECRET} HTTP/1.1"));
        }
    }
}

/// With this many milliseconds for a minute.
fn with(args: &[&str], minute: u32) -> Setup {
    Monitor::with(args).env("REACHABILITYCHECK_TEST_HEARTBEAT_MS", minute.to_string())
}

/// What stderr says of the heartbeat. The secret is nowhere.
fn said(ended: &Ended) -> Vec<&str> {
    let all = [&ended.stdout, &ended.stderr, &ended.log];
    assert!(!all.iter().any(|text| text.contains("5ecre7")), "{ended:#?}");
    let lines = ended.stderr.lines().filter_map(|line| line.strip_prefix("reachabilitycheck: "));
    lines.filter(|line| line.contains("heartbeat")).collect()
}

/// One soon after the start, then at each minute; none at the end.
#[test]
fn signs_of_life_come_every_minute() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[204]));
    let begun = Instant::now();
    let monitor = with(&[&db.target("db"), "-i", "20ms", "--heartbeat", &dead_man.url()], 600).start();
    assert!(dead_man.wait(4));
    let ended = monitor.stop();
    assert!(said(&ended).is_empty(), "{}", ended.stderr);
    dead_man.assert_gets();
    let most = 1 + begun.elapsed().as_millis() / 600;
    assert!(dead_man.count() as u128 <= most, "{} in {:?}", dead_man.count(), begun.elapsed());
}

/// The real minute.
#[test]
fn the_first_one_comes_at_once() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[]));
    let url = dead_man.url();
    let args = [&*db.target("db"), "far=127.0.0.1:1", "-i", "1h", "--heartbeat", &url];
    let begun = Instant::now();
    let monitor = Monitor::start(&args);
    assert!(dead_man.wait(1));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let ended = monitor.stop();
    assert!(said(&ended).is_empty(), "{}", ended.stderr);
    assert_eq!(dead_man.count(), 1);
}

#[test]
fn long_intervals_are_no_silence() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[]));
    // The second one's first check is half an hour away.
    let args = [&*db.target("db"), "far=127.0.0.1:1", "-i", "1h", "-w", "1ms", "--heartbeat", &dead_man.url()];
    let monitor = with(&args, 100).start();
    assert!(dead_man.wait(10));
    assert!(said(&monitor.stop()).is_empty());
}

/// One thread of two hangs: the sign is withheld, and stderr says so once.
#[test]
fn a_thread_that_hangs_ends_the_signs() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[]));
    let url = dead_man.url();
    let args = [&*db.target("one"), "two=127.0.0.1:1", "-i", "20ms", "-w", "100ms", "--heartbeat", &url];
    let mut monitor = with(&args, 1000).env("REACHABILITYCHECK_TEST_HANG", "one").start();
    assert!(monitor.wait_line(|all| all.stderr.contains("heartbeat"), LONG));
    let count = dead_man.count();
    // Longer than two of its minutes.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(dead_man.count(), count);
    let ended = monitor.stop();
    let said = said(&ended);
    assert_eq!(said.len(), 1, "{}", ended.stderr);
    assert!(said[0].starts_with("the heartbeat is withheld: the thread of one has not ticked for "), "{}", said[0]);
    assert!(ended.log.contains(" DOWN two "), "the others go on: {}", ended.log);
}

/// SIGSTOP: silence. SIGCONT: life, and no thread is called silent for having been stopped with us.
#[test]
fn a_stopped_program_is_silent() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[]));
    let args = [&*db.target("db"), "-i", "20ms", "-w", "100ms", "--heartbeat", &dead_man.url()];
    let monitor = with(&args, 2400).start();
    assert!(dead_man.wait(2));
    monitor.signal(libc::SIGSTOP);
    // What was on its way has come by then.
    thread::sleep(Duration::from_millis(500));
    let count = dead_man.count();
    thread::sleep(Duration::from_secs(8));
    assert_eq!(dead_man.count(), count);
    monitor.signal(libc::SIGCONT);
    assert!(dead_man.wait(count + 2));
    let ended = monitor.stop();
    assert!(said(&ended).is_empty(), "{}", ended.stderr);
}

/// Slack takes nothing: after five minutes that is a fault of ours too; and when it takes all, life goes on.
#[test]
fn what_waits_long_for_slack_ends_the_signs() {
    let (db, dead_man, slack) = (Service::start(), DeadMan::start(&[]), Slack::start(vec![]));
    slack.otherwise(Answer::Status(503, ""));
    let (url, hook) = (dead_man.url(), slack.url());
    let args = [&*db.target("db"), "-i", "20ms", "--slack-url", &hook, "--heartbeat", &url];
    let mut monitor = with(&args, 400).start();
    assert!(monitor.wait_line(|all| all.stderr.contains("the heartbeat is withheld: "), LONG));
    let count = dead_man.count();
    assert!(count >= 1, "five minutes are not over at once");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(dead_man.count(), count);
    slack.otherwise(Answer::Ok);
    assert!(slack.wait_delivered("Monitoring", LONG));
    assert!(dead_man.wait(count + 2));
    assert!(monitor.wait_line(|all| all.stderr.contains("the heartbeat is sent again"), LONG));
    let ended = monitor.stop();
    let said = said(&ended);
    assert_eq!(said.len(), 2, "{}", ended.stderr);
    assert!(said[0].starts_with("the heartbeat is withheld: a notification waits for Slack since 20"), "{}", said[0]);
}

/// Each run of failures is told once, with its end.
#[test]
fn failures_are_told_once() {
    for (status, why) in [
        (301, "status 301, a redirect; give the URL that it leads to (https, not http?)"),
        (404, "status 404; is the URL right?"),
        (503, "status 503"),
    ] {
        let (db, dead_man) = (Service::start(), DeadMan::start(&[200, status, status, status]));
        let args = [&*db.target("db"), "-i", "20ms", "--heartbeat", &dead_man.url()];
        let mut monitor = with(&args, 150).start();
        assert!(monitor.wait_line(|all| all.stderr.contains("gets through again"), LONG));
        dead_man.plan(&[status]);
        assert!(monitor.wait_line(|all| all.stderr.matches("gets through again").count() == 2, LONG));
        let ended = monitor.stop();
        let failed = format!("the heartbeat did not get through: {why}; tried again every minute");
        let again = "the heartbeat gets through again";
        assert_eq!(said(&ended), [&failed, again, &failed, again], "{}", ended.stderr);
        // A redirect was not followed.
        dead_man.assert_gets();
    }
}

#[test]
fn a_dead_service_is_told_without_its_url() {
    let db = Service::start();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (url, target) = (format!("http://{closed}{SECRET}"), db.target("db"));
    let mut monitor = with(&[&target, "-i", "20ms", "--heartbeat", &url], 200).start();
    let refused = "the heartbeat did not get through: connection failed: Connection refused";
    assert!(monitor.wait_line(|all| all.stderr.contains(refused), LONG), "{:#?}", monitor.output());
    assert_eq!(said(&monitor.stop()).len(), 1);
    // Not a URL: the value is not shown either.
    let ended = Monitor::start(&[&target, "--heartbeat", &url["http://".len()..]]).finish(LONG);
    assert_eq!((ended.code, said(&ended).len()), (Some(2), 1));
}

/// From cron: one at the end, when all was checked and Slack has had everything.
#[test]
fn with_a_count_there_is_one_at_the_end() {
    let (db, dead_man, slack) = (Service::start(), DeadMan::start(&[]), Slack::start(vec![]));
    let (target, url, hook) = (db.target("db"), dead_man.url(), slack.url());
    let args = [&*target, "-n", "20", "-i", "20ms", "--heartbeat", &url];
    let ended = with(&args, 50).start().finish(LONG);
    assert_eq!((ended.code, said(&ended).len(), dead_man.count()), (Some(0), 0, 1), "{ended:#?}");
    // A target that is down is no fault of the monitor.
    let down = ["db=127.0.0.1:1", "-n", "3", "-i", "20ms", "--slack-url", &hook, "--heartbeat", &url];
    let ended = Monitor::start(&down).finish(LONG);
    assert_eq!((ended.code, said(&ended).len(), dead_man.count()), (Some(1), 0, 2), "{ended:#?}");
    dead_man.assert_gets();
    // Slack takes nothing.
    slack.otherwise(Answer::Status(503, ""));
    let ended = Monitor::start(&down).finish(LONG);
    assert_eq!((ended.code, dead_man.count()), (Some(1), 2), "{ended:#?}");
    assert!(said(&ended)[0].starts_with("the heartbeat is withheld: a notification waits for Slack since 20"));
    // Ctrl-C before the checks are done.
    let mut monitor = Monitor::start(&[&target, "-n", "1000", "-i", "1s", "--heartbeat", &url]);
    let dir = monitor.dir();
    assert!(monitor.wait_line(|_| dir.path().join("reachability.log").exists(), LONG));
    monitor.stop();
    assert_eq!(dead_man.count(), 2);
    // It fails: said, and the exit status is that of the checks.
    dead_man.plan(&[500]);
    let ended = Monitor::start(&args).finish(LONG);
    assert_eq!(said(&ended), ["the heartbeat did not get through: status 500"]);
    assert_eq!(ended.code, Some(0));
}

/// A service that takes connections and says nothing delays the end by its 10 s and no more.
#[test]
fn a_dead_service_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{SECRET}", listener.local_addr().unwrap());
    let begun = Instant::now();
    let ended = Monitor::start(&["db=127.0.0.1:1", "-n", "3", "-i", "20ms", "--heartbeat", &url]).finish(LONG);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(said(&ended), ["the heartbeat did not get through: timed out"]);
    assert_eq!(ended.code, Some(1));
}

/// `--check` connects, and gives no sign of life.
#[test]
fn a_check_up_tries_the_way_there() {
    let (db, dead_man) = (Service::start(), DeadMan::start(&[]));
    let check = |url: &str, env: (&str, &str)| {
        let setup = Monitor::with(&[&db.target("db"), "--check", "--heartbeat", url]).env(env.0, env.1);
        let ended = setup.start().finish(LONG);
        said(&ended);
        let line = ended.stdout.lines().find_map(|line| line.split_once("heartbeat: ")).unwrap().1.to_owned();
        (ended.code, line)
    };
    let no_env = ("OTHER", "");
    let well = "can be connected to; no sign of life was given".to_owned();
    assert_eq!(check(&dead_man.url(), no_env), (Some(0), well.clone()));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{closed}");
    let (code, line) = check(&format!("{closed}{SECRET}"), no_env);
    assert!(code == Some(2) && line.starts_with("connection failed: Connection refused"), "{line}");
    let (code, line) = check(&format!("http://no-such-name.invalid{SECRET}"), no_env);
    assert_eq!((code, &*line), (Some(2), "the name of its host cannot be resolved"));
    // By a proxy it is the proxy that must be there.
    let proxy = format!("http://{}", dead_man.address);
    assert_eq!(check(&format!("http://no-such-name.invalid{SECRET}"), ("http_proxy", &proxy)), (Some(0), well));
    let (code, line) = check(&dead_man.url(), ("http_proxy", &closed));
    assert!(code == Some(2) && line.starts_with("the proxy of the environment: connection failed: "), "{line}");
    let (full, _streams) = full_listener("127.0.0.1:0");
    let (code, line) = check(&format!("http://{}{SECRET}", full.local_addr().unwrap()), no_env);
    assert!(code == Some(2) && line.starts_with("connection failed: "), "{line}");
    assert!(dead_man.requests.lock().unwrap().is_empty());
}
