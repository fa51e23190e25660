//! `--alertmanager` beside real Alertmanagers on loopback: two in a cluster, with the configuration of contrib/. Needs no
//! rights; where Alertmanager is not installed, what needs it is skipped.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Monitor, TempDir};
use lab::service::Service;
use lab::{command, installed, skip, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(150);
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/alertmanager/alertmanager.yml");

/// The programs, under the names of Debian or of the project itself; None (which is said) where they are missing.
fn alertmanager(test: &str) -> Option<&'static str> {
    let found = ["prometheus-alertmanager", "alertmanager"].into_iter().find(|name| installed(name));
    let found = found.filter(|_| installed("amtool"));
    if found.is_none() {
        skip(test, "prometheus-alertmanager (with amtool) is not installed");
    }
    found
}

/// A real Alertmanager. Killed when dropped.
struct Member {
    child: Child,
    port: u16,
    cluster: u16,
    dir: TempDir,
}

/// A port that is free for TCP and UDP on loopback.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Member {
    /// Starts one with this configuration and these options more, beside `peer`.
    fn start(program: &str, config: &str, peer: Option<&Member>, more: &[&str]) -> Member {
        // Somebody else may take a port before it does.
        for _ in 0..5 {
            let (port, cluster, dir) = (free_port(), free_port(), TempDir::new());
            dir.write("config.yml", config);
            let mut command = Command::new(program);
            command.arg(format!("--config.file={}", dir.file("config.yml")));
            command.arg(format!("--storage.path={}", dir.file("data")));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            command.arg(format!("--cluster.listen-address=127.0.0.1:{cluster}"));
            command.args(["--cluster.settle-timeout=1s", "--cluster.peer-timeout=10s"]).args(more);
            if let Some(peer) = peer {
                command.arg(format!("--cluster.peer=127.0.0.1:{}", peer.cluster));
            }
            let log = fs::File::create(dir.file("log")).unwrap();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let mut member = Member { child: command.spawn().unwrap(), port, cluster, dir };
            let mut ended = false;
            let mut ready = |member: &mut Member| {
                ended = member.child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            };
            assert!(wait_until(LONG, || ready(&mut member)), "{}", member.dir.read("log"));
            if !ended {
                return member;
            }
            eprintln!("{}", member.dir.read("log"));
        }
        panic!("Alertmanager does not start");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What its API says.
    fn get(&self, path: &str) -> Value {
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(LONG)).build().into();
        let text = agent.get(format!("{}{path}", self.url())).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The alerts that are active, by monitor.
    fn alerts(&self) -> Vec<Value> {
        let mut alerts = self.get("/api/v2/alerts").as_array().unwrap().clone();
        alerts.sort_by_key(|alert| alert["labels"].to_string());
        alerts
    }

    /// Waits until so many alerts are active.
    fn wait_alerts(&self, count: usize) -> Vec<Value> {
        let mut alerts = Vec::new();
        let done = wait_until(LONG, || {
            alerts = self.alerts();
            alerts.len() == count
        });
        assert!(done, "{count} alerts are not active: {alerts:#?}");
        alerts
    }

    fn signal(&self, name: &str) {
        command("kill", &["-s", name, &self.child.id().to_string()]).unwrap();
    }

    /// What amtool shows of its alerts.
    fn amtool(&self) -> Vec<Value> {
        let url = format!("--alertmanager.url={}", self.url());
        let out = command("amtool", &["alert", "query", &url, "-o", "json"]).unwrap();
        let mut alerts: Vec<Value> = serde_json::from_str(&out).unwrap();
        alerts.sort_by_key(|alert| alert["labels"].to_string());
        alerts
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on loopback that takes every POST: Alertmanager's webhook, or a stand-in for Alertmanager with another clock. It
/// lasts as long as the test.
struct Receiver {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
    /// It closes each connection without an answer.
    away: Arc<AtomicBool>,
}

impl Receiver {
    /// Its answers have this header more.
    fn start(header: impl Fn() -> String + Send + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::<Mutex<Vec<Value>>>::default();
        let away = Arc::<AtomicBool>::default();
        let (to, is_away) = (bodies.clone(), away.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.ok().filter(|_| !is_away.load(Ordering::Relaxed));
                let Some((stream, body)) = stream.and_then(read_post) else { continue };
                to.lock().unwrap().push(body);
                let _ =
                    write!({ stream }, "HTTP/1.1 200 OK\r\n{}Connection: close\r\nContent-Length: 0\r\n\r\n", header());
            }
        });
        Receiver { address, bodies, away }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }

    fn wait(&self, mut done: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let mut bodies = Vec::new();
        let done = wait_until(LONG, || {
            bodies = self.bodies();
            done(&bodies)
        });
        assert!(done, "not received: {bodies:#?}");
        bodies
    }
}

fn read_post(mut stream: TcpStream) -> Option<(TcpStream, Value)> {
    stream.set_read_timeout(Some(LONG)).ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 65536]);
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
        if let Some(body) = bytes.get(end + 4..end + 4 + length) {
            return Some((stream, serde_json::from_slice(body).ok()?));
        }
    }
}

/// The configuration of contrib/, with its receiver put in the place of people, and shorter times.
fn config(receiver: &Receiver) -> String {
    let text = fs::read_to_string(CONFIG).unwrap();
    let (text, _) = text.split_once("receivers:\n").unwrap();
    let text = text.replace("group_wait: 30s", "group_wait: 10s").replace("group_interval: 1m", "group_interval: 5s");
    assert!(text.contains("group_wait: 10s") && text.contains("group_interval: 5s"), "{text}");
    format!(
        "{text}receivers:\n- name: people\n  webhook_configs:\n  - url: {}\n    send_resolved: true\n",
        receiver.url()
    )
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

/// A monitor of the service `db` that tells these members.
fn monitor(service: &Service, name: &str, members: &[&str]) -> lab::run::Setup {
    let target = service.target("db");
    let mut args = vec![&*target, "-i", "50ms", "--name", name];
    args.extend(members.iter().flat_map(|member| ["--alertmanager", member]));
    Monitor::with(&args)
}

fn monitors(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| alert["labels"]["monitor"].as_str().unwrap()).collect()
}

#[test]
fn the_example_configuration_is_right() {
    if alertmanager("the_example_configuration_is_right").is_some() {
        let said = command("amtool", &["check-config", CONFIG]).unwrap();
        assert!(said.contains("SUCCESS") && said.contains("2 inhibit rules") && said.contains("1 receivers"), "{said}");
    }
}

/// The whole way: two boxes see the outage of one service, both members know of both, and people get one message.
#[test]
fn two_monitors_one_incident_one_group() {
    let Some(program) = alertmanager("two_monitors_one_incident_one_group") else { return };
    let people = Receiver::start(String::new);
    let one = Member::start(program, &config(&people), None, &[]);
    let two = Member::start(program, &config(&people), Some(&one), &[]);
    let joined = || one.get("/api/v2/status")["cluster"]["peers"].as_array().is_some_and(|peers| peers.len() == 2);
    assert!(wait_until(LONG, joined), "{}", one.get("/api/v2/status"));
    let service = Service::start();
    let boxes = ["east", "west"].map(|name| monitor(&service, name, &[&one.url(), &two.url()]).start());
    assert!(boxes.iter().all(|monitor| wait_until(LONG, || monitor.log().contains(" START "))));
    service.stop();
    let address = service.address.to_string();
    for member in [&one, &two] {
        let alerts = member.wait_alerts(2);
        assert_eq!(monitors(&alerts), ["east", "west"]);
        for alert in &alerts {
            let labels = serde_json::json!({
                "alertname": "ReachabilityDown", "target": address, "label": "db", "check": "tcp",
                "monitor": alert["labels"]["monitor"],
            });
            assert_eq!(alert["labels"], labels);
            let summary = format!("TCP connection to db is failing on port {}", service.address.port());
            assert_eq!(alert["annotations"]["summary"], *summary);
            let text = alert["annotations"]["description"].as_str().unwrap();
            assert!(
                text.starts_with(&summary) && text.contains("since ") && text.ends_with("(connection refused)"),
                "{text}"
            );
            // Five minutes on; a slow machine takes a while to carry it there.
            let left = time(&alert["endsAt"]).duration_since(time(&alert["updatedAt"])).unwrap().as_secs();
            assert!((270..=301).contains(&left), "{alert:#}");
            assert_eq!(alert["generatorURL"].as_str().unwrap_or_default(), "");
        }
        let shown = member.amtool();
        let parts = |alerts: &[Value]| {
            alerts.iter().map(|alert| (alert["labels"].clone(), alert["annotations"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(parts(&shown), parts(&alerts));
        let groups = member.get("/api/v2/alerts/groups");
        let group = &groups.as_array().unwrap()[..];
        assert_eq!(group.len(), 1, "{groups:#}");
        assert_eq!(group[0]["labels"], serde_json::json!({ "alertname": "ReachabilityDown", "target": address }));
        assert_eq!(monitors(group[0]["alerts"].as_array().unwrap()).len(), 2);
    }
    // Were both known to both before the first message could go out? Not if this machine stood still.
    let began = one.alerts().iter().map(|alert| time(&alert["startsAt"])).min().unwrap();
    let in_time = began.elapsed().unwrap() < Duration::from_secs(8);
    let whole = |body: &Value, status: &str| {
        body["alerts"].as_array().unwrap().iter().filter(|alert| alert["status"] == status).count() == 2
    };
    let bodies = people.wait(|bodies| bodies.iter().any(|body| whole(body, "firing")));
    if in_time {
        assert_eq!(bodies.len(), 1, "{bodies:#?}");
    } else {
        eprintln!("this machine is too slow to tell whether one message goes out");
    }
    service.restart();
    for member in [&one, &two] {
        member.wait_alerts(0);
    }
    let bodies = people.wait(|bodies| bodies.iter().any(|body| whole(body, "resolved")));
    let groups: BTreeSet<_> = bodies.iter().map(|body| body["groupKey"].to_string()).collect();
    assert_eq!(groups.len(), 1, "{bodies:#?}");
    let over = bodies.iter().find(|body| whole(body, "resolved")).unwrap();
    for alert in over["alerts"].as_array().unwrap() {
        let text = alert["annotations"]["description"].as_str().unwrap();
        assert!(text.contains("TCP connection to db succeeded on port ") && text.contains(" after "), "{text}");
    }
    for monitor in boxes {
        let ended = monitor.stop();
        assert_eq!((ended.code, ended.stderr.matches("Alertmanager").count()), (Some(0), 0), "{ended:#?}");
    }
}

/// One member hangs, another is not there: the third is told at once. Both are told what is when they are back.
#[test]
fn a_member_that_hangs_or_is_away_delays_nothing() {
    let Some(program) = alertmanager("a_member_that_hangs_or_is_away_delays_nothing") else { return };
    let people = Receiver::start(String::new);
    let [hangs, well] = [(); 2].map(|()| Member::start(program, &config(&people), None, &[]));
    let away = free_port();
    let away = format!("http://me:sesame@127.0.0.1:{away}/prefix");
    let service = Service::start();
    let monitor = monitor(&service, "box", &[&hangs.url(), &away, &well.url()]).start();
    assert!(wait_until(LONG, || monitor.log().contains(" START ")));
    hangs.signal("STOP");
    service.stop();
    well.wait_alerts(1);
    let stderr = monitor.output().stderr;
    assert!(!stderr.contains(&hangs.host()), "the member that hangs had its 10 s before: {stderr}");
    let complaint = |host: &str| format!("Alertmanager {host} did not take alerts: ");
    assert!(wait_until(LONG, || monitor.output().stderr.contains(&complaint(&hangs.host()))), "{:?}", monitor.output());
    service.restart();
    well.wait_alerts(0);
    // It may have read the first POST only now, and that says that it goes on for minutes.
    hangs.signal("CONT");
    let again = format!("Alertmanager {} takes alerts again", hangs.host());
    assert!(wait_until(LONG, || monitor.output().stderr.contains(&again)), "{:?}", monitor.output());
    hangs.wait_alerts(0);
    // It works as before.
    service.stop();
    hangs.wait_alerts(1);
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0));
    let away = away.split('@').next_back().unwrap().split('/').next().unwrap();
    assert_eq!(ended.stderr.matches(&complaint(away)).count(), 1, "once a run of failures: {}", ended.stderr);
    assert_eq!(ended.stderr.matches(&complaint(&hangs.host())).count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("sesame") && ended.stderr.contains("Connection refused"), "{}", ended.stderr);
    // Nobody knows that the outage is over because nobody looks any more.
    assert_eq!(well.alerts().len(), 1);
}

/// After `kill -9` the outage goes on with the next start. When there is none, the alert expires.
#[test]
fn a_killed_monitor() {
    let Some(program) = alertmanager("a_killed_monitor") else { return };
    let people = Receiver::start(String::new);
    let member = Member::start(program, &config(&people), None, &[]);
    let service = Service::start();
    let dir = Arc::new(TempDir::new());
    let start = || {
        let setup = monitor(&service, "box", &[&member.url()]).dir(&dir);
        setup.env("REACHABILITYCHECK_TEST_ALERT_MS", "10000").start()
    };
    let first = start();
    assert!(wait_until(LONG, || first.log().contains(" START ")));
    service.stop();
    let before = member.wait_alerts(1).remove(0);
    first.kill_9();
    let second = start();
    let mut after = Value::Null;
    let told = wait_until(LONG, || {
        after = member.alerts().first().cloned().unwrap_or_default();
        after["updatedAt"].is_string() && time(&after["updatedAt"]) > time(&before["updatedAt"])
    });
    assert!(told, "{after:#}");
    assert_eq!(after["startsAt"], before["startsAt"]);
    assert_eq!(after["labels"], before["labels"]);
    assert_eq!(second.log().matches(" DOWN ").count(), 1, "{}", second.log());
    second.kill_9();
    // Only debug builds can be told to hold an alert for 10 s; it is 5 minutes else, which the first test sees.
    if cfg!(debug_assertions) {
        member.wait_alerts(0);
    }
}

#[test]
fn a_target_that_is_taken_out_of_the_file() {
    let Some(program) = alertmanager("a_target_that_is_taken_out_of_the_file") else { return };
    let people = Receiver::start(String::new);
    let member = Member::start(program, &config(&people), None, &[]);
    let dir = Arc::new(TempDir::new());
    let away = free_port();
    dir.write("targets", format!("one=127.0.0.1:{away}\ntwo=127.0.0.1:{away}\n"));
    let args = ["-f", "targets", "-i", "50ms", "--name", "box", "--alertmanager", &member.url()];
    let monitor = Monitor::with(&args).dir(&dir).start();
    member.wait_alerts(2);
    dir.write("targets", format!("two=127.0.0.1:{away}\n"));
    monitor.signal(libc::SIGHUP);
    assert_eq!(member.wait_alerts(1)[0]["labels"]["label"], "two");
    let ended = monitor.stop();
    assert_eq!((ended.code, ended.stderr.contains("lertmanager")), (Some(0), false), "{ended:#?}");
}

/// From cron: each run tells how things stand at its end, without a state.
#[test]
fn runs_with_a_count() {
    let Some(program) = alertmanager("runs_with_a_count") else { return };
    let people = Receiver::start(String::new);
    let member = Member::start(program, &config(&people), None, &[]);
    let service = Service::start();
    let target = service.target("db");
    let url = member.url();
    let args = [&*target, "-n", "2", "-i", "50ms", "--no-log", "-q", "--name", "box", "--alertmanager", &url];
    let run = |code| {
        let ended = Monitor::with(&args).run();
        assert_eq!((ended.code, ended.stderr.contains("lertmanager")), (Some(code), false), "{ended:#?}");
    };
    run(0);
    assert_eq!(member.alerts(), [Value::Null; 0]);
    service.stop();
    run(1);
    let alert = member.alerts().remove(0);
    let left = time(&alert["endsAt"]).duration_since(time(&alert["updatedAt"])).unwrap().as_secs();
    assert!((3570..=3601).contains(&left), "until the next run: {alert:#}");
    run(1);
    let again = member.alerts();
    assert_eq!((again.len(), &again[0]["startsAt"]), (1, &alert["startsAt"]));
    service.restart();
    run(0);
    assert_eq!(member.alerts(), [Value::Null; 0]);
}

/// A user and a prefix, and what Alertmanager says of a wrong one; with `--check` and without.
#[test]
fn users_and_prefixes() {
    let Some(program) = alertmanager("users_and_prefixes") else { return };
    let (people, dir) = (Receiver::start(String::new), TempDir::new());
    // The hash of the password `test`.
    let hash = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
    dir.write("web.yml", format!("basic_auth_users:\n  admin: {hash}\n"));
    let web = format!("--web.config.file={}", dir.file("web.yml"));
    let member = Member::start(program, &config(&people), None, &[&web, "--web.route-prefix=/am"]);
    let at = |user: &str, prefix: &str| format!("http://{user}@{}{prefix}", member.host());
    let service = Service::start();
    let refused = format!("http://127.0.0.1:{}", free_port());
    for (url, code, said) in [
        (
            at("admin:test", "/am/"),
            0,
            format!("ok    Alertmanager {}: takes alerts; this monitor is box", member.host()),
        ),
        (at("admin:test", "/am/api/v2/alerts"), 0, format!("ok    Alertmanager {}: ", member.host())),
        (at("admin:sesame", "/am"), 2, format!("FAIL  Alertmanager {}: status 401, Unauthorized", member.host())),
        (at("admin:test", "/sesame"), 2, format!("FAIL  Alertmanager {}: status 404", member.host())),
        (refused.clone(), 2, format!("FAIL  Alertmanager {}: connection failed: Connection refused", &refused[7..])),
    ] {
        let ended =
            lab::run::run(&["--check", "--no-log", &service.target("db"), "--name", "box", "--alertmanager", &url]);
        assert_eq!(ended.code, Some(code), "{ended:#?}");
        assert!(ended.stdout.contains(&said), "{said} is not in {}", ended.stdout);
        assert!(!ended.stdout.contains("sesame") && !ended.stdout.contains("admin"), "{}", ended.stdout);
    }
    service.stop();
    let wrong = at("admin:sesame", "/am");
    let monitor = monitor(&service, "box", &[&wrong]).start();
    let said = format!(
        "Alertmanager {} did not take alerts: status 401, Unauthorized (mend that; tried again every minute)",
        member.host()
    );
    assert!(wait_until(LONG, || monitor.output().stderr.contains(&said)), "{:?}", monitor.output());
    let stderr = monitor.stop().stderr;
    assert!(!stderr.contains("sesame") && !stderr.contains("admin"), "{stderr}");
}

/// A box whose clock was never set: the alerts go by the clock of the one that takes them.
#[test]
fn clocks_that_differ() {
    let hour = Duration::from_secs(3600);
    let ahead = move || {
        let (date, time) = {
            let text = humantime::format_rfc3339_seconds(SystemTime::now() + hour).to_string();
            let (date, time) = text.trim_end_matches('Z').split_once('T').unwrap();
            (date.to_owned(), time.to_owned())
        };
        let parts: Vec<&str> = date.split('-').collect();
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months[parts[1].parse::<usize>().unwrap() - 1];
        format!("Date: Day, {} {month} {} {time} GMT\r\n", parts[2], parts[0])
    };
    let member = Receiver::start(ahead);
    let service = Service::start();
    service.stop();
    let monitor = monitor(&service, "box", &[&member.url()]).start();
    let bodies = member.wait(|bodies| bodies.len() >= 2);
    let ends = |body: &Value| time(&body[0]["endsAt"]);
    let later = ends(&bodies[1]).duration_since(ends(&bodies[0])).unwrap().as_secs();
    assert!((3590..3900).contains(&later), "{bodies:#?}");
    assert_eq!(bodies[0][0]["labels"], bodies[1][0]["labels"]);
    let stderr = monitor.stop().stderr;
    let said = stderr.lines().filter(|line| line.contains("its clock and this machine's are ")).count();
    assert_eq!(said, 1, "{stderr}");
}

/// Thousands that fail together are some POSTs, not thousands, each with 500 alerts at most.
#[test]
fn a_storm_is_told_in_parts() {
    let member = Receiver::start(String::new);
    let dir = Arc::new(TempDir::new());
    let away = free_port();
    let targets: String = (0..1200).map(|n| format!("t{n}=127.0.0.1:{away}\n")).collect();
    dir.write("targets", targets);
    let url = member.url();
    let args = ["-f", "targets", "-q", "--no-log", "-i", "2s", "--name", "box", "--alertmanager", &url];
    let begin = Instant::now();
    let monitor = Monitor::with(&args).dir(&dir).start();
    let told = |bodies: &[Value]| {
        let alerts = bodies.iter().flat_map(|body| body.as_array().unwrap());
        alerts.map(|alert| alert["labels"]["label"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>().len()
    };
    let bodies = member.wait(|bodies| told(bodies) == 1200);
    assert!(bodies.iter().all(|body| body.as_array().unwrap().len() <= 500));
    // One a second at most, and as many more as it takes to tell all, each minute.
    let most = 3 + begin.elapsed().as_secs() * 2;
    assert!(bodies.len() as u64 <= most, "{} POSTs, not {most}", bodies.len());
    monitor.stop();
}

/// The program ends while a member is due to hear that an outage is over.
#[test]
fn the_last_word() {
    let member = Receiver::start(String::new);
    let service = Service::start();
    let monitor = monitor(&service, "box", &[&member.url()]).start();
    service.stop();
    member.wait(|bodies| !bodies.is_empty());
    member.away.store(true, Ordering::Relaxed);
    service.restart();
    assert!(wait_until(LONG, || monitor.output().stderr.contains("did not take alerts")), "{:?}", monitor.output());
    member.away.store(false, Ordering::Relaxed);
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("takes alerts again"), "{}", ended.stderr);
    let last = member.bodies().pop().unwrap().as_array().unwrap().clone();
    assert!(last.len() == 1 && time(&last[0]["endsAt"]) <= SystemTime::now(), "{last:#?}");
}

/// Without `--name` a monitor is called as its host, if that has a name that tells it from others.
#[test]
fn the_hosts_name() {
    let member = Receiver::start(String::new);
    let service = Service::start();
    service.stop();
    let target = service.target("db");
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let monitor = Monitor::start(&[&target, "-i", "50ms", "--alertmanager", &member.url()]);
    match name.trim() {
        "" | "(none)" | "localhost" => {
            let ended = monitor.finish(LONG);
            assert_eq!(ended.code, Some(2));
            assert!(ended.stderr.contains("this host has no name of its own; give it one with --name"), "{ended:#?}");
        }
        name => {
            let bodies = member.wait(|bodies| !bodies.is_empty());
            assert_eq!(monitors(bodies[0].as_array().unwrap()), [name]);
        }
    }
}

#[test]
fn refused_at_the_start() {
    let service = Service::start();
    for (args, why) in [
        (
            ["--alertmanager", "http://h:9093/?x=sesame"],
            "--alertmanager: the URL has a ? or a #; leave out all from there on",
        ),
        (["--alertmanager", "h:9093"], "--alertmanager: the URL does not start with http:// or https://"),
        (["--name", " "], "--name: the name is empty"),
    ] {
        let ended = lab::run::run(&[&[&*service.target("db")][..], &args].concat());
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        assert!(ended.stderr.contains(why) && !ended.stderr.contains("sesame"), "{}", ended.stderr);
    }
}
