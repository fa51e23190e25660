//! `--json`, end to end: every line is an object of the keys that the README lists, it says what the log and the summary say,
//! and the README's jq examples do what it says of them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod lab;

use lab::far::{drop_pattern, tcp_accept, tcp_refuse};
use lab::lab_test;
use lab::run::{Ended, Monitor, TempDir};
use lab::service::Service;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs, thread};

const LONG: Duration = Duration::from_secs(60);
const ODD: &str = "odd\"\\'é";

/// The README's section on JSON.
fn section() -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, from) = readme.split_once("\n## For programs: JSON\n").expect("the README has the section");
    from.split("\n## ").next().unwrap().to_owned()
}

/// For each type of object, its keys with the kind of their values, as the README lists them.
fn listed() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut listed = BTreeMap::<String, BTreeMap<String, String>>::new();
    for row in section().lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [key, value, types] = cells[..] else { panic!("{row}") };
        let types = if types.starts_with("all") { "notification, check, summary" } else { types };
        for kind in types.split(", ") {
            let value = value.split(':').next().unwrap().to_owned();
            listed.entry(kind.to_owned()).or_default().insert(key.trim_matches('`').to_owned(), value);
        }
    }
    listed
}

/// Every line of stdout. Panics at one that is no object of the keys and values that the README lists.
fn objects(stdout: &str) -> Vec<Value> {
    assert!(stdout.ends_with('\n'), "{stdout}");
    let listed = listed();
    let object = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let keys = &listed[object["type"].as_str().expect(line)];
        for (key, value) in object.as_object().expect(line) {
            let kind = keys.get(key).unwrap_or_else(|| panic!("{key} is not in the README: {line}"));
            let right = match kind.as_str() {
                "string" => value.as_str().is_some_and(|text| !text.is_empty()),
                "number" => value.as_f64().is_some_and(|number| number >= 0.0),
                "boolean" => value.is_boolean(),
                "time" => value.as_str().is_some_and(|text| text.len() == 24 && humantime::parse_rfc3339(text).is_ok()),
                other => panic!("{other} is no kind of value"),
            };
            assert!(right, "{key} is no {kind}: {line}");
        }
        object
    };
    stdout.lines().map(object).collect()
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().expect("a time")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// Those of a type or kind.
fn of<'a>(objects: &'a [Value], name: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["type"] == name || object["kind"] == name).collect()
}

lab_test!(every_key_and_every_kind, |lab| {
    // Answered, then every second one lost, then answered again.
    lab.far.on("10.9.1.1", drop_pattern(|n| (40..80).contains(&n) && n % 2 == 1));
    let service = Service::start();
    let odd = service.target(ODD);
    let options = ["--json", "-v", "-i", "25ms", "-w", "100ms", "-s", "50", "--remind", "1s"];
    let mut monitor = Monitor::start(&[&options[..], &["gw=10.9.1.1", &odd, "192.0.2.1"]].concat());
    let mut wait = |what: &str| assert!(monitor.wait_log(what, LONG), "{what}: {:#?}", monitor.output());
    wait(" LOSS gw ");
    service.stop();
    wait(&format!(" REMIND {ODD} "));
    service.restart();
    wait(&format!(" UP {ODD} "));
    monitor.signal(libc::SIGSTOP);
    thread::sleep(Duration::from_millis(500));
    monitor.signal(libc::SIGCONT);
    assert!(monitor.wait_log(" GAP ", LONG));
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let objects = objects(&ended.stdout);

    // All that the README lists was there.
    let mut seen = BTreeMap::<String, BTreeSet<String>>::new();
    for object in &objects {
        let keys = object.as_object().unwrap().keys().cloned();
        seen.entry(object["type"].as_str().unwrap().to_owned()).or_default().extend(keys);
    }
    let listed = listed().into_iter().map(|(kind, keys)| (kind, keys.into_keys().collect()));
    assert_eq!(seen, listed.collect());

    // Notifications say what the log says, in its order.
    let line = |one: &&Value| {
        let text = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
        let time = text("time");
        format!("{}Z #{} {} {} {}", &time[..19], one["number"], text("kind"), text("label"), text("text"))
    };
    let told: Vec<String> = of(&objects, "notification").iter().map(line).collect();
    assert_eq!(told, ended.log.lines().collect::<Vec<_>>());

    let one = |kind: &str, label: &str| {
        let mut found = of(&objects, kind).into_iter().filter(|one| one["label"] == label);
        found.next().unwrap_or_else(|| panic!("no {kind} of {label}: {told:#?}"))
    };
    let down = one("DOWN", ODD);
    assert_eq!((&down["result"], &down["reason"]), (&"unanswered".into(), &"connection refused".into()), "{down}");
    assert_eq!((&down["target"], &down["check"]), (&service.address.to_string().into(), &"tcp".into()), "{down}");
    assert!(number(&down["failed_checks"]) == 3.0 && down.get("loss_percent").is_none(), "{down}");
    let up = one("UP", ODD);
    let apart = |one: &Value, other: &Value| {
        let (one, other) = (time(&one["since"]), time(&other["since"]));
        one.duration_since(other).unwrap_or_else(|error| error.duration())
    };
    // The wall clock's time of a moment is reckoned anew each time.
    assert!(apart(up, down) < Duration::from_millis(100) && up.get("reason").is_none(), "{up}");
    assert!(number(&up["failed_checks"]) > 3.0, "{up}");
    for outage in [down, one("REMIND", ODD), up] {
        let lasted = time(&outage["time"]).duration_since(time(&outage["since"])).unwrap().as_secs_f64();
        assert!((lasted - number(&outage["down_seconds"])).abs() < 0.002, "{outage}");
    }
    let unsent = one("DOWN", "192.0.2.1");
    assert_eq!((&unsent["result"], &unsent["reason"]), (&"unsent".into(), &"no route".into()), "{unsent}");
    assert_eq!(unsent.get("loss_percent"), None, "nothing was sent, so nothing is known: {unsent}");
    let loss = one("LOSS", "gw");
    assert!(number(&loss["loss_percent"]) > 5.0 && loss["told_percent"] == 0.0, "{loss}");
    let gap = of(&objects, "GAP")[0];
    let slept = time(&gap["time"]).duration_since(time(&gap["since"])).unwrap().as_secs_f64();
    assert!((slept - number(&gap["gaps"]) * 0.025).abs() < 0.002, "{gap}");
    for alone in ["START", "STOP"] {
        assert!(of(&objects, alone)[0].get("label").is_none(), "{alone}");
    }
});

lab_test!(checks_and_summary_agree, |lab| {
    lab.far.on("10.9.1.1", drop_pattern(|n| n % 4 == 3));
    lab.far.on("10.9.1.3", tcp_refuse());
    let options = ["--json", "-v", "--no-log", "-n", "20", "-i", "25ms", "-w", "200ms"];
    let targets = ["gw=10.9.1.1", "[fd09::1]:1", "closed=10.9.1.3:22", "nowhere=192.0.2.1"];
    let targets = if lab.ipv6 { &targets[..] } else { &["gw=10.9.1.1", "closed=10.9.1.3:22", "nowhere=192.0.2.1"] };
    let ended = Monitor::start(&[&options[..], targets].concat()).finish(LONG);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let objects = objects(&ended.stdout);
    let summary = of(&objects, "summary");
    assert_eq!(summary.len(), targets.len());
    for one in summary {
        let checks: Vec<&Value> =
            of(&objects, "check").into_iter().filter(|check| check["label"] == one["label"]).collect();
        let count = |result: &str| checks.iter().filter(|check| check["result"] == result).count();
        for result in ["answered", "unanswered", "unsent"] {
            assert_eq!(one[result], count(result), "{result}: {one}");
        }
        assert_eq!((checks.len(), &one["sent"]), (20, &(20 - count("unsent")).into()), "{one}");
        let numbers: BTreeSet<u64> = checks.iter().map(|check| check["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=20).collect());
        for check in &checks {
            let answered = check["result"] == "answered";
            assert_eq!((check.get("rtt_ms").is_some(), check.get("reason").is_none()), (answered, answered), "{check}");
        }
        let times: Vec<f64> = checks.iter().filter_map(|check| check["rtt_ms"].as_f64()).collect();
        let down = times.is_empty();
        assert_eq!((&one["down"], &one["outages"]), (&down.into(), &u64::from(down).into()), "{one}");
        if down {
            assert!(one.get("rtt_min_ms").is_none() && one.get("sample_loss_percent").is_none(), "{one}");
        } else {
            let lost = number(&one["unanswered"]) * 100.0 / number(&one["sent"]);
            assert!(lost > 0.0 && (number(&one["sample_loss_percent"]) - lost).abs() < 0.01, "{one}");
            assert_eq!(number(&one["rtt_min_ms"]), times.iter().copied().fold(f64::MAX, f64::min), "{one}");
            assert_eq!(number(&one["rtt_max_ms"]), times.iter().copied().fold(0.0, f64::max), "{one}");
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            assert!((number(&one["rtt_avg_ms"]) - mean).abs() < 0.002, "{one}");
        }
    }
});

#[test]
fn without_verbose_there_are_no_checks() {
    let service = Service::start();
    let ended = Monitor::start(&["--json", "-n", "3", "-i", "10ms", &service.target("db")]).finish(LONG);
    let objects = objects(&ended.stdout);
    assert_eq!((ended.code, objects.len(), &objects[0]["type"]), (Some(0), 1, &"summary".into()), "{ended:#?}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let service = Service::start();
    let script = "{ \"$@\"; echo $? > status; } | head -n 2";
    let target = service.target("db");
    let monitor =
        Monitor::with(&["--json", "-v", "--no-log", "-i", "10ms", &target]).under(&["sh", "-c", script, "sh"]).start();
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    assert_eq!((objects(&ended.stdout).len(), dir.read("status").trim()), (2, "0"), "{ended:#?}");
    assert_eq!(ended.stderr.lines().filter(|line| !line.contains("Slack is off")).count(), 0, "{ended:#?}");
}

// The README's examples.

/// A shell that finds the program on its PATH, runs a line of the README and is over when told so.
fn shell(dir: &Arc<TempDir>, line: &str) -> Monitor {
    let path = format!("{}:{}", dir.path().join("bin").display(), env::var("PATH").unwrap_or_default());
    // timeout(1) passes a SIGTERM on to all that the shell started.
    Monitor::with(&[]).dir(dir).env("PATH", path).under(&["timeout", "60", "sh", "-c", line]).start()
}

lab_test!(the_examples_of_the_readme, ["jq", "timeout"], |lab| {
    let examples = section();
    let examples: Vec<&str> = examples.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let dir = Arc::new(TempDir::new());
    fs::create_dir(dir.path().join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_reachabilitycheck"), dir.path().join("bin/reachabilitycheck")).unwrap();
    // The README's addresses are at the far end.
    lab.ip("route add 192.0.2.0/24 dev far0 src 10.9.0.1");
    lab.ip("route add 10.0.0.0/24 dev far0 src 10.9.0.1");
    lab.far.on("192.0.2.1", drop_pattern(|n| n % 8 == 7));
    let (mut accept, mut refuse) = (tcp_accept(), tcp_refuse());
    lab.far.on("10.0.0.5", move |packet| match packet.kind_name() {
        "syn" if (20..30).contains(&packet.nth) => refuse(packet),
        _ => accept(packet),
    });
    let mut done = BTreeSet::new();
    let mut all: Vec<Value> = Vec::new();
    for line in &examples {
        let run = |line: &str| -> Ended { shell(&dir, line).finish(LONG) };
        let name = if line.contains("> reach.json") {
            // Not for a minute: the same at twenty times the pace.
            let ended = run(&line.replace("--json", "--json -i 50ms"));
            assert_eq!(ended.signal, None, "{ended:#?}");
            all = objects(&dir.read("reach.json"));
            "makes the file"
        } else if line.starts_with("reachabilitycheck ") {
            lab.far.on("192.0.2.1", drop_pattern(|n| n % 2 == 1));
            let mut live = shell(&dir, line);
            let shown = live.wait_line(|said| said.stdout.contains("Z gw no answer\n"), LONG);
            assert!(shown && live.running(), "not while it runs: {:#?}", live.output());
            live.signal(libc::SIGTERM);
            live.finish(LONG);
            "live"
        } else {
            let ended = run(line);
            assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{line}: {ended:#?}");
            let lines: Vec<&str> = ended.stdout.lines().collect();
            let db = |kind: &str| *of(&all, kind).iter().find(|one| one["label"] == "db").expect(kind);
            if line.contains("\"DOWN\"") {
                let [down, up] = ["DOWN", "UP"].map(|kind| db(kind)["time"].as_str().unwrap());
                let expected = [format!("{down} DOWN db connection refused"), format!("{up} UP db ")];
                assert_eq!(lines, expected);
                "changes"
            } else if line.contains("@tsv") {
                let up = db("UP");
                assert_eq!(lines, [format!("db\t{}\t{}", up["since"].as_str().unwrap(), up["down_seconds"])]);
                "outages"
            } else if line.contains("@csv") {
                let csv = dir.read("rtt.csv");
                let row = |check: &&Value| {
                    let rtt = check.get("rtt_ms").map(Value::to_string).unwrap_or_default();
                    format!("{},{},{},{rtt}", check["time"], check["label"], check["result"])
                };
                let expected: Vec<String> = of(&all, "check").iter().map(row).collect();
                assert_eq!(
                    (csv.lines().collect::<Vec<_>>(), expected.len()),
                    (expected.iter().map(|row| &**row).collect(), 120)
                );
                "csv"
            } else if line.contains("max_by") {
                let lost = |one: &&&Value| (number(&one["unanswered"]) / number(&one["sent"]) * 1e6) as u64;
                let worst = of(&all, "summary").iter().max_by_key(lost).unwrap()["label"].clone();
                assert_eq!(lines, [worst.as_str().unwrap()]);
                "worst"
            } else if line.contains("all(.down | not)") {
                let whole = dir.read("reach.json");
                for (text, code) in
                    [(whole.replace("\"down\":false", "\"down\":true"), Some(1)), (String::new(), Some(1))]
                {
                    dir.write("reach.json", text);
                    assert_eq!(run(line).code, code, "{line}");
                }
                dir.write("reach.json", whole);
                "exit status"
            } else {
                panic!("nobody looks at what this example does: {line}");
            }
        };
        done.insert(name);
    }
    let expected = ["makes the file", "changes", "outages", "csv", "worst", "exit status", "live"];
    assert_eq!(done, BTreeSet::from(expected));
});
