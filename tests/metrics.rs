//! `--metrics`, end to end: the file as promtool, node_exporter and Prometheus itself read it, beside what the far end saw;
//! and the rules and the dashboard of contrib/, which must name what is there.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::far::{answer, delay, drop_pattern, tcp_refuse};
use lab::run::{Monitor, TempDir, counts};
use lab::service::Service;
use lab::{command, installed, lab_test, wait_until};
use reachabilitycheck::flags;
use reachabilitycheck::stats::Counts;
use reachabilitycheck::target::Target;
use reachabilitycheck::view::metrics::render;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

const LONG: Duration = Duration::from_secs(60);
const FILE: &str = "reachability.prom";

/// Every sample: `name{label="value",...}`, its labels in the order of the alphabet, and its value.
type Samples = BTreeMap<String, f64>;

/// Reads the text exposition format. Panics at what is not whole.
fn samples(text: &str) -> Samples {
    assert!(text.ends_with('\n'), "torn: {:?}", &text[text.len().saturating_sub(100)..]);
    text.lines().filter(|line| !line.starts_with('#')).map(|line| sample(line).expect(line)).collect()
}

fn sample(line: &str) -> Option<(String, f64)> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeSet::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let mut escaped = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            labels.insert(format!("{label}=\"{}\"", &value[..end]));
            rest = value[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let labels: Vec<String> = labels.into_iter().collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    Some((format!("{name}{labels}"), rest.strip_prefix(' ')?.parse().ok()?))
}

/// Those of one target, by name, with what stands behind its label: `checks_total result="answered"`.
fn of(samples: &Samples, label: &str) -> Samples {
    let label = format!("label=\"{label}\"");
    let of_it = samples.iter().filter(|(key, _)| key.contains(&label));
    let short = of_it.map(|(key, value)| {
        let (name, labels) = key.strip_prefix("reachability_").expect(key).split_once('{').expect(key);
        let own = labels.trim_end_matches('}').split("\",").map(|one| format!("{}\"", one.trim_end_matches('"')));
        let own: Vec<String> = own.filter(|one| one.starts_with("result=") || one.starts_with("le=")).collect();
        (format!("{name} {}", own.join(",")).trim_end().to_owned(), *value)
    });
    short.collect()
}

/// What an HTTP server on loopback says.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: */*\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}

/// A server of Prometheus' family, on an address of its own. Killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Server {
    fn start(program: &str, options: impl Fn(&TempDir) -> Vec<String>) -> Server {
        let dir = TempDir::new();
        // In a namespace of our own: nobody takes it meanwhile.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = fs::File::create(dir.path().join("said")).unwrap();
        let mut command = Command::new(program);
        command.args(options(&dir)).arg(format!("--web.listen-address={address}"));
        command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        Server { child: command.spawn().unwrap(), address, dir }
    }

    fn node_exporter(textfiles: &Path) -> Server {
        Server::start("prometheus-node-exporter", |_| {
            let directory = format!("--collector.textfile.directory={}", textfiles.display());
            vec!["--collector.disable-defaults".into(), "--collector.textfile".into(), directory]
        })
    }

    /// Prometheus, scraping that exporter each second, with our rules.
    fn prometheus(exporter: &Server) -> Server {
        Server::start("prometheus", |dir| {
            let config = format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\nscrape_configs:\n- job_name: \
                 node\n  static_configs: [{{targets: [{:?}]}}]\n",
                contrib("prometheus/rules.yml"),
                exporter.address.to_string(),
            );
            dir.write("prometheus.yml", config);
            let config = format!("--config.file={}", dir.file("prometheus.yml"));
            vec![config, format!("--storage.tsdb.path={}", dir.file("data")), "--log.level=warn".into()]
        })
    }

    fn get(&self, path: &str) -> String {
        let mut body = None;
        wait_until(LONG, || {
            body = get(self.address, path);
            body.is_some()
        });
        body.unwrap_or_else(|| panic!("{path} is not served: {}", self.dir.read("said")))
    }

    /// The result of a query to Prometheus: an array.
    fn query(&self, expr: &str) -> Vec<Value> {
        let escaped: String = expr.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer: Value = serde_json::from_str(&self.get(&format!("/api/v1/query?query={escaped}"))).unwrap();
        assert_eq!(answer["status"], "success", "{expr}: {answer}");
        answer["data"]["result"].as_array().expect(expr).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `promtool check metrics`: what it says, "" when all is well.
fn lint(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if said.status.success() { text } else { format!("failed: {text}") }
}

fn contrib(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(file)
}

// The values.

lab_test!(what_the_file_says, ["promtool", "prometheus-node-exporter"], |lab| {
    lab.far.on("10.9.1.1", drop_pattern(|n| n % 5 == 4));
    lab.far.on("10.9.1.3", tcp_refuse());
    lab.far.on("10.9.1.4", delay(Duration::from_millis(30)));
    let dir = Arc::new(TempDir::new());
    let exporter = Server::node_exporter(dir.path());
    let targets = ["odd\"\\é=10.9.1.1", "silent=10.9.1.2", "closed=10.9.1.3:80", "slow=10.9.1.4", "nowhere=192.0.2.1"];
    let options = ["--no-log", "-n", "60", "-i", "50ms", "-w", "200ms", "--metrics", FILE];
    let monitor = Monitor::with(&[&options[..], &targets[..]].concat()).dir(&dir).start();
    assert!(lab.far.wait_count("10.9.1.1", "echo", 20, LONG));
    monitor.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_millis(500));
    monitor.signal(libc::SIGCONT);
    let ended = monitor.finish(LONG);
    assert_eq!(ended.code, Some(1), "{ended:#?}");

    let file = dir.read(FILE);
    assert_eq!(lint(&file), "");
    let said = samples(&file);
    let gap = |label: &str| said[&format!("reachability_gaps_total{label}")];
    assert!(gap("{check=\"icmp\",label=\"odd\\\"\\\\é\",target=\"10.9.1.1\"}") >= 5.0, "{file}");

    // As the summary and the far end have it.
    for (target, shown, address, kind) in [
        ("odd\"\\é", "odd\\\"\\\\é", "10.9.1.1", "echo"),
        ("silent", "silent", "10.9.1.2", "echo"),
        ("closed", "closed", "10.9.1.3", "syn"),
        ("slow", "slow", "10.9.1.4", "echo"),
        ("nowhere", "nowhere", "192.0.2.1", "echo"),
    ] {
        let own = of(&said, shown);
        let [sent, answered, unsent, gaps] = counts(&ended, target).map(|count| count as f64);
        let checks = |result: &str| own[&format!("checks_total result=\"{result}\"")];
        let what = format!("{target}: {own:#?}\n{}", ended.stdout);
        assert_eq!((checks("answered"), checks("unanswered")), (answered, sent - answered), "{what}");
        assert_eq!((checks("unsent"), own["gaps_total"]), (unsent, gaps), "{what}");
        assert_eq!(checks("answered") + checks("unanswered") + checks("unsent"), 60.0, "{what}");
        assert_eq!(lab.far.count(address, kind) as f64, sent, "{what}");
        assert_eq!((own["rtt_seconds_count"], own["rtt_seconds_bucket le=\"+Inf\""]), (answered, answered), "{what}");
        let (down, watched) = (own["outage_seconds_total"], own["monitored_seconds_total"]);
        if answered > 0.0 {
            assert_eq!((own["up"], own["outages_total"], down), (1.0, 0.0, 0.0), "{what}");
            assert_eq!(own["loss_ratio"], (sent - answered) / sent, "{what}");
            assert!(!own.contains_key("outage_duration_seconds") && own["rtt_seconds_sum"] > 0.0, "{what}");
        } else {
            assert_eq!((own["up"], own["outages_total"], own["rtt_seconds_sum"]), (0.0, 1.0, 0.0), "{what}");
            assert!(!own.contains_key("loss_ratio"), "an empty sample has no loss: {what}");
            // Down since the first check, so as long as it was watched but for the first moment.
            assert!(watched - 1.0 < down && down <= watched, "{what}");
            assert!(own["outage_duration_seconds"] >= down, "{what}");
        }
        assert!(watched > 50.0 * 0.05, "{what}");
    }
    let slow = of(&said, "slow");
    assert_eq!(slow["rtt_seconds_bucket le=\"0.02\""], 0.0, "{slow:#?}");
    assert!(slow["rtt_seconds_sum"] >= 0.03 * slow["rtt_seconds_count"], "{slow:#?}");
    assert_eq!(said["reachability_notifications_waiting"], 0.0);
    assert_eq!(said[&format!("reachability_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);

    // The exporter serves every one of them, and no other of ours.
    let served = exporter.get("/metrics");
    assert!(served.contains("node_textfile_scrape_error 0"), "{served}");
    let served: Samples = samples(&served).into_iter().filter(|(key, _)| key.starts_with("reachability_")).collect();
    assert_eq!(served, said);
});

#[test]
fn a_target_that_was_not_checked_yet_is_neither_up_nor_down() {
    let service = Service::start();
    // The first checks are spread over the hour.
    let targets = ["now", "later", "last"].map(|label| service.target(label));
    let [now, later, last] = targets.each_ref().map(String::as_str);
    let mut monitor = Monitor::start(&["--no-log", "-v", "-i", "1h", "--metrics", FILE, now, later, last]);
    assert!(monitor.wait_line(|said| said.stdout.contains("now: connected"), LONG));
    let dir = monitor.dir();
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let said = samples(&dir.read(FILE));
    let up: Vec<&String> = said.keys().filter(|key| key.starts_with("reachability_up{")).collect();
    assert!(up.len() == 1 && up[0].contains("label=\"now\""), "{said:#?}");
    let later = of(&said, "later");
    assert_eq!((later["checks_total result=\"answered\""], later.get("loss_ratio")), (0.0, None), "{later:#?}");
}

lab_test!(kept_up_to_date_on_a_disk_that_is_full_for_a_while, |lab| {
    lab.far.on("10.9.1.1", answer());
    let dir = Arc::new(TempDir::new());
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "size=64k", "lab", disk.to_str().unwrap()]).unwrap();
    let path = disk.join(FILE);
    let mut monitor = Monitor::with(&["--no-log", "-i", "20ms", "--metrics", path.to_str().unwrap(), "gw=10.9.1.1"])
        .dir(&dir)
        .under(&["sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .start();
    let answered = || {
        let said = fs::read_to_string(&path).ok().map(|text| of(&samples(&text), "gw"));
        said.map_or(-1.0, |said| said["checks_total result=\"answered\""])
    };
    assert!(wait_until(LONG, || answered() >= 0.0));
    let first = answered();
    assert!(wait_until(LONG, || answered() > first), "replaced while it runs: {:#?}", monitor.output());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644, "read by others, whatever the umask");

    let last = answered();
    let filler = disk.join("filler");
    let _ = fs::write(&filler, vec![0; 65536]);
    let full = |said: &lab::run::Output| said.stderr.matches("cannot be written").count();
    assert!(monitor.wait_line(|said| full(said) > 0, LONG));
    // Tried again, which the directory shows; said once; and the file from before is still there, whole.
    let tried = || fs::metadata(&disk).map(|disk| (disk.mtime(), disk.mtime_nsec())).unwrap();
    let before = tried();
    assert!(wait_until(LONG, || tried() != before), "not tried again: {:#?}", monitor.output());
    assert_eq!((full(&monitor.output()), answered()), (1, last), "{:#?}", monitor.output());
    assert!(monitor.output().stderr.contains(FILE), "which file: {:#?}", monitor.output());
    fs::remove_file(&filler).unwrap();
    assert!(monitor.wait_line(|said| said.stderr.contains("written again"), LONG), "{:#?}", monitor.output());
    assert!(wait_until(LONG, || answered() > last));

    let checked = lab.far.count("10.9.1.1", "echo") as f64;
    let ended = monitor.stop();
    // The file is otherwise up to ten seconds old: 500 checks.
    assert!(answered() >= checked - 50.0, "fresh at the end: {} of {checked}", answered());
    assert_eq!((ended.code, ended.stderr.matches("cannot be written").count()), (Some(0), 1), "{ended:#?}");
    command("umount", &[disk.to_str().unwrap()]).unwrap();
});

#[test]
fn a_reader_sees_a_whole_file_at_any_moment() {
    const TARGETS: usize = 150;
    let service = Service::start();
    let dir = Arc::new(TempDir::new());
    let words: Vec<String> = (0..TARGETS).map(|n| service.target(&format!("t{n}"))).collect();
    dir.write("targets", words.join("\n"));
    let run = || {
        let options = ["--no-log", "-q", "-n", "1", "-i", "10ms", "--metrics", FILE, "-f", "targets"];
        let ended = Monitor::with(&options).dir(&dir).run();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    };
    run();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut seen) = (0, BTreeSet::new());
            while !over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(dir.path().join(FILE)).expect("there at any moment");
                assert!(text.starts_with("# HELP reachability_build_info ") && text.ends_with('\n'));
                let last = text.lines().filter(|line| line.starts_with("reachability_strays_total{")).count();
                assert_eq!(last, TARGETS, "the last family is whole");
                seen.insert(text);
                reads += 1;
            }
            (reads, seen.len())
        });
        // Each writes it at its start and at its end.
        (0..15).for_each(|_| run());
        over.store(true, Ordering::Relaxed);
        let (reads, seen) = reader.join().expect("the reader saw a torn file");
        assert!(reads > 30 && seen > 5, "{reads} reads, {seen} files: too few to tell");
    });
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from([FILE.into(), "targets".into()]), "nothing is left");
}

#[test]
fn a_place_that_cannot_be_written_is_refused() {
    let service = Service::start();
    for place in ["missing/reachability.prom", "."] {
        let ended = Monitor::with(&["--metrics", place, &service.target("db")]).run();
        assert_eq!(ended.code, Some(2), "{place}: {ended:#?}");
        let said = ended.stderr.lines().find(|line| line.starts_with("reachabilitycheck: --metrics: "));
        assert!(said.is_some_and(|line| line.contains(place)), "{place}: {ended:#?}");
        assert_eq!(ended.log, "", "nothing was begun");
    }
}

// What contrib/ and the README say.

/// The families that the file has.
fn families() -> BTreeMap<String, String> {
    let file = render(&[(target("gw"), Counts::default())], 0, Duration::ZERO);
    let types = file.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// The names that samples of these families have.
fn sample_names() -> BTreeSet<String> {
    let names = families().into_iter().flat_map(|(name, kind)| match &*kind {
        "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
        _ => vec![name],
    });
    names.collect()
}

fn target(word: &str) -> Arc<Target> {
    Arc::new(Target::parse(word, &flags::parse([]).unwrap().target).unwrap())
}

/// The words of a text that begin with `reachability_`.
fn ours(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("reachability_")).map(str::to_owned).collect()
}

/// What is asked with a promtool; without one, skipped.
fn promtool(name: &str, args: &[&str]) -> Option<Result<String, String>> {
    if !installed("promtool") {
        lab::skip(name, "promtool is missing");
        return None;
    }
    Some(command("promtool", args))
}

#[test]
fn the_alert_rules_are_right() {
    let (rules, tests) = (contrib("prometheus/rules.yml"), contrib("prometheus/rules.test.yml"));
    let text = fs::read_to_string(&rules).unwrap();
    assert!(ours(&text).is_subset(&sample_names()), "{:?}", ours(&text));
    let tested = fs::read_to_string(&tests).unwrap();
    let alerts: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(tested.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
    for (what, file) in [("check", rules), ("test", tests)] {
        let said = promtool("the_alert_rules_are_right", &[what, "rules", file.to_str().unwrap()]);
        assert!(said.as_ref().is_none_or(Result::is_ok), "{said:?}");
    }
}

/// The dashboard's queries, its variables filled in.
fn queries(range: &str) -> Vec<String> {
    let text = fs::read_to_string(contrib("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let fill = |expr: &str| {
        let filled = expr.replace("$__rate_interval", range).replace("$__range", range);
        filled.replace("$instance", ".*").replace("$target", ".*")
    };
    targets.map(|target| fill(target["expr"].as_str().unwrap())).collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let queries = queries("5m");
    assert!(queries.len() > 10 && queries.iter().all(|query| !query.contains('$')), "{queries:#?}");
    let text = fs::read_to_string(contrib("grafana/dashboard.json")).unwrap();
    assert!(ours(&text).is_subset(&sample_names()), "{:?}", ours(&text));
    let asked = queries.iter().flat_map(|query| ours(query)).collect();
    let missing: Vec<String> = sample_names().difference(&asked).cloned().collect();
    assert_eq!(missing, ["reachability_build_info"], "what nobody sees");
    // As rules, which promtool can read.
    let dir = TempDir::new();
    let rules = queries.iter().enumerate().map(|(n, expr)| format!("  - record: q:{n}\n    expr: {:?}\n", expr));
    dir.write("rules.yml", format!("groups:\n- name: all\n  rules:\n{}", rules.collect::<String>()));
    let said = promtool("the_dashboard_asks_for_what_there_is", &["check", "rules", &dir.file("rules.yml")]);
    assert!(said.as_ref().is_none_or(Result::is_ok), "{said:?}");
    // Every panel has its own place.
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut cells = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{}", panel["title"]);
        let own = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        own.for_each(|cell| assert!(cells.insert(cell), "{} lies over another", panel["title"]));
    }
}

#[test]
fn the_readme_lists_the_metrics() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let listed = readme.lines().filter_map(|line| line.strip_prefix("| `reachability_")?.split(['`', '{']).next());
    let listed: BTreeSet<String> = listed.map(|name| format!("reachability_{name}")).collect();
    assert_eq!(listed, families().into_keys().collect());
}

lab_test!(
    prometheus_reads_it_and_the_dashboard_and_the_alerts_work,
    ["prometheus", "prometheus-node-exporter"],
    |lab| {
        lab.far.on("10.9.1.1", drop_pattern(|n| n % 10 == 9));
        let dir = Arc::new(TempDir::new());
        let exporter = Server::node_exporter(dir.path());
        let prometheus = Server::prometheus(&exporter);
        let options = ["--no-log", "-q", "-i", "100ms", "-w", "500ms", "--metrics", FILE];
        let targets = ["gw=10.9.1.1", "dead=10.9.1.2", "nowhere=192.0.2.1", "closed=127.0.0.1:1"];
        let monitor = Monitor::with(&[&options[..], &targets[..]].concat()).dir(&dir).start();
        let firing = "ALERTS{alertname=\"ReachabilityTargetDown\",alertstate=\"firing\"}";
        let down = || {
            let alerts = prometheus.query(firing);
            let labels = alerts.iter().filter_map(|alert| Some(alert["metric"]["label"].as_str()?.to_owned()));
            labels.collect::<BTreeSet<_>>()
        };
        let expected = ["closed", "dead", "nowhere"].map(str::to_owned).into();
        assert!(wait_until(LONG, || down() == expected), "{:?}", prometheus.query("reachability_up"));
        // Rates need two files that differ.
        let queries = queries("1m");
        let empty = || queries.iter().filter(|query| prometheus.query(query).is_empty()).collect::<Vec<_>>();
        assert!(wait_until(LONG, || empty().is_empty()), "nothing to see: {:#?}", empty());
        let loss = prometheus.query("reachability_loss_ratio{label=\"gw\"}");
        let loss: f64 = loss[0]["value"][1].as_str().unwrap().parse().unwrap();
        assert!((0.02..0.2).contains(&loss), "{loss}");
        let strange = prometheus.query("scrape_samples_scraped == 0 or node_textfile_scrape_error == 1");
        assert!(strange.is_empty(), "{strange:?}");
        assert_eq!(monitor.stop().code, Some(0));
    }
);

/// `cargo test --release --test metrics cost -- --ignored --nocapture`: bytes and time of one file.
#[test]
#[ignore = "a measurement"]
fn cost() {
    println!("| targets | bytes | time of one render |\n| --- | --- | --- |");
    for count in [1, 50, 1000] {
        let counts = Counts { answered: 123_456, rtt_sum: Duration::from_micros(123_456_789), ..Counts::default() };
        let targets: Vec<_> =
            (0..count).map(|n| (target(&format!("site-{n}=10.0.{}.{}", n / 250, n % 250)), counts)).collect();
        let mut times: Vec<Duration> = (0..51)
            .map(|_| {
                let start = Instant::now();
                std::hint::black_box(render(&targets, 0, Duration::from_secs(1)));
                start.elapsed()
            })
            .collect();
        times.sort();
        let file = render(&targets, 0, Duration::from_secs(1));
        println!("| {count} | {} (room for {}) | {:?} |", file.len(), file.capacity(), times[25]);
    }
}
