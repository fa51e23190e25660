//! `--exec`: the real program and the real shell. Most of it needs no rights: TCP targets on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::{Monitor, TempDir};
use lab::service::Service;
use lab::slack::Slack;
use lab::{skip, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; nothing waits so long unless it fails.
const LONG: Duration = Duration::from_secs(60);

/// Leaves what it finds in the environment in `env.NUMBER`, whole or not at all.
const NOTE: &str = "env -0 >new && mv new env.$REACH_NUMBER";

/// The variables that the command found for this notification, without those that are not ours.
fn found(dir: &TempDir, number: u32) -> Vec<(String, String)> {
    let text = dir.read(&format!("env.{number}"));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut found: Vec<_> = text.split('\0').filter_map(pair).filter(|(name, _)| name.starts_with("REACH_")).collect();
    found.sort();
    found
}

fn value(found: &[(String, String)], name: &str) -> String {
    found.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name} in {found:?}")).1.clone()
}

fn is_there(dir: &TempDir, name: &str) -> bool {
    dir.path().join(name).exists()
}

/// Is there such a process, other than one that has ended and that its parent has not asked for yet?
fn lives(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

#[test]
fn a_command_finds_the_notification_in_its_environment() {
    let db = Service::start();
    let monitor = Monitor::with(&[&db.target("db"), "-i", "20ms", "--remind", "1s", "--exec", NOTE])
        .env("REACH_LOSS", "99.99")
        .env("REACH_ME", "not")
        .env("OTHER", "kept")
        .env("SLACK_WEBHOOK_URL", "http://127.0.0.1:1/secretsecret");
    let mut monitor = monitor.start();
    let dir = monitor.dir();
    assert!(wait_until(LONG, || is_there(&dir, "env.1")));
    db.stop();
    assert!(monitor.wait_log(" REMIND db ", LONG));
    db.restart();
    assert!(monitor.wait_log(" UP db ", LONG));
    assert!(wait_until(LONG, || dir.read(&format!("env.{}", monitor.log().lines().count())).contains("REACH_KIND=UP")));
    let ended = monitor.stop();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let mut lines: Vec<&str> = ended.log.lines().collect();
    if ended.stderr.contains("--exec") {
        // This machine is too slow for the 2 s of the end.
        lines.pop();
    }
    for (number, line) in (1..).zip(&lines) {
        let found = found(&dir, number);
        assert_eq!(found.len(), 11, "{found:?}");
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let of_line = ["REACH_TIME", "REACH_NUMBER", "REACH_KIND", "REACH_LABEL", "REACH_TEXT"];
        let label = if words[3] == "-" { "" } else { words[3] };
        let expected = [words[0], words[1].trim_start_matches('#'), words[2], label, words[4]];
        assert_eq!(of_line.map(|name| value(&found, name)), expected);
        let details = ["REACH_TARGET", "REACH_SINCE", "REACH_DOWN_SECONDS", "REACH_REASON"].map(|v| value(&found, v));
        match words[2] {
            "START" | "STOP" => assert_eq!(details, [""; 4], "{line}"),
            kind => {
                assert_eq!(details[0], db.address.to_string(), "{line}");
                let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
                let lasted = time(words[0]).duration_since(time(&details[1])).unwrap().as_secs();
                let told: u64 = details[2].parse().unwrap();
                assert!(lasted.abs_diff(told) <= 1, "{line}: {details:?}");
                assert_eq!(details[3], if kind == "UP" { "" } else { "connection refused" }, "{line}");
            }
        }
        assert_eq!((value(&found, "REACH_LOSS"), value(&found, "REACH_TOLD")), (String::new(), String::new()));
        let env = dir.read(&format!("env.{number}"));
        assert!(env.contains("OTHER=kept\0") && !env.contains("secretsecret"), "{env}");
    }
    let kinds: Vec<&str> = ended.log.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    let mut expected = vec!["START", "DOWN"];
    expected.resize(kinds.len() - 2, "REMIND");
    expected.extend(["UP", "STOP"]);
    assert_eq!(kinds, expected);
}

lab::lab_test!(packet_loss_is_a_number, |lab| {
    let _ = &lab.far;
    let args = ["gw=10.9.0.5", "-n", "4", "-i", "20ms", "-w", "50ms", "-ct", "0", "--exec", NOTE];
    lab.far.on("10.9.0.5", |packet: &lab::packet::Packet| if packet.nth == 2 { vec![] } else { vec![packet.reply()] });
    let monitor = Monitor::start(&args);
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    let found = found(&dir, 1);
    assert_eq!(value(&found, "REACH_KIND"), "LOSS", "{ended:#?}");
    assert_eq!((value(&found, "REACH_LOSS"), value(&found, "REACH_TOLD")), ("25.00".into(), "0.00".into()));
    assert_eq!(value(&found, "REACH_TARGET"), "10.9.0.5");
});

lab::lab_test!(the_examples_of_the_readme_do_what_they_say, |lab| {
    let _peer = lab.veth();
    lab.ip("route add default dev far0");
    lab::command("mount", &["-t", "tmpfs", "lab", "/sys/class"]).unwrap();
    fs::create_dir_all("/sys/class/leds/red:status").unwrap();
    let well = Arc::new(AtomicBool::new(true));
    let answers = well.clone();
    lab.far.on(
        "10.9.0.5",
        move |packet: &lab::packet::Packet| {
            if answers.load(Ordering::Relaxed) { vec![packet.reply()] } else { vec![] }
        },
    );
    let route = "case $REACH_KIND in\n\
                 DOWN) ip route replace default via 10.8.0.2 dev own0 ;;\n\
                 UP) ip route replace default dev far0 ;;\n\
                 esac";
    let led = "case $REACH_KIND in\n\
               DOWN) echo timer >/sys/class/leds/red:status/trigger ;;\n\
               UP) echo none >/sys/class/leds/red:status/trigger ;;\n\
               esac";
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let args = |command| ["gw=10.9.0.5", "-i", "20ms", "-w", "50ms", "-q", "--exec", command];
    let monitors = [route, led].map(|command| Monitor::with(&args(command)).env("PATH", &path).start());
    let has = |route: &str, led: &str| {
        let set = fs::read_to_string("/sys/class/leds/red:status/trigger").unwrap_or_default();
        lab.ip("route show default").contains(route) && set.trim() == led
    };
    well.store(false, Ordering::Relaxed);
    assert!(wait_until(LONG, || has("via 10.8.0.2 dev own0", "timer")));
    well.store(true, Ordering::Relaxed);
    assert!(wait_until(LONG, || has("dev far0", "none")));
    for ended in monitors.map(Monitor::stop) {
        assert!(ended.code == Some(0) && !ended.stderr.contains("exit status"), "{ended:#?}");
    }
});

/// A name that is a whole attack: it is a value, and nothing more.
#[test]
fn nothing_in_a_name_is_run() {
    let label = r#"a'"`touch$IFS"pwned`$(touch${IFS}pwned);touch<pwned;%n\x\"#;
    let target = format!("{label}=127.0.0.1:1");
    let command = r#"printf '%s' "$REACH_LABEL" >label"#;
    let monitor = Monitor::start(&[&target, "-n", "3", "-i", "20ms", "--exec", command]);
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert_eq!(dir.read("label"), label);
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["label", "reachability.log", "reachability.state"]);
}

/// The first command does not end before it is let go; log, Slack and checks do not wait for it, and the others come after
/// it, in order and one at a time.
#[test]
fn a_slow_command_holds_up_only_the_next_one() {
    let (db, slack) = (Service::start(), Slack::start(vec![]));
    let command =
        "echo begin $REACH_NUMBER >>order; while [ ! -e go ]; do sleep 0.02; done; echo end $REACH_NUMBER >>order";
    let url = slack.url();
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--slack-url", &url, "--exec", command]);
    let dir = monitor.dir();
    assert!(wait_until(LONG, || dir.read("order") == "begin 1\n"));
    for round in 1..=2 {
        db.stop();
        assert!(monitor.wait_line(|all| all.log.matches(" DOWN ").count() == round, LONG));
        db.restart();
        assert!(monitor.wait_line(|all| all.log.matches(" UP ").count() == round, LONG));
    }
    assert!(slack.wait_delivered("succeeded", LONG));
    assert_eq!(dir.read("order"), "begin 1\n");
    dir.write("go", "");
    let all: String = (1..=5).map(|number| format!("begin {number}\nend {number}\n")).collect();
    assert!(wait_until(LONG, || dir.read("order") == all), "{}", dir.read("order"));
    monitor.stop();
}

/// A command that ignores SIGTERM is ended with what it started, is reported, and the next one runs.
#[test]
#[cfg(debug_assertions)]
fn a_command_that_hangs_is_ended_with_its_children() {
    let command = "[ $REACH_KIND = START ] || exec echo next >next; trap '' TERM; sleep 1000 & echo $! $$ >new; \
                   mv new pids; echo I wait; wait; wait";
    let db = Service::start();
    let mut monitor = Monitor::with(&[&db.target("db"), "-i", "20ms", "--exec", command])
        .env("REACHABILITYCHECK_TEST_EXEC_MS", "500")
        .start();
    let dir = monitor.dir();
    assert!(monitor.wait_line(|_| is_there(&dir, "pids"), LONG));
    db.stop();
    assert!(monitor.wait_line(|_| is_there(&dir, "next"), LONG), "{:#?}", monitor.output());
    let pids = dir.read("pids");
    assert!(wait_until(LONG, || !pids.split(' ').any(lives)), "{pids} live");
    let ended = monitor.stop();
    let said: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("--exec")).collect();
    assert_eq!(said.len(), 2, "{}", ended.stderr);
    assert_eq!(said[0], "reachabilitycheck: --exec for #1 START - says: I wait");
    assert!(said[1].starts_with("reachabilitycheck: --exec for #1 START -: ended after "), "{}", said[1]);
    assert!(ended.log.contains(" STOP "), "{}", ended.log);
}

/// One that ends at SIGTERM is given the time to clean up.
#[test]
#[cfg(debug_assertions)]
fn a_command_may_clean_up() {
    let command = "trap 'echo clean >clean; exit' TERM; while :; do sleep 0.05; done";
    let monitor = Monitor::with(&["127.0.0.1:1", "-n", "3", "-i", "20ms", "--exec", command])
        .env("REACHABILITYCHECK_TEST_EXEC_MS", "300")
        .start();
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    assert!(ended.stderr.contains("--exec for #1 DOWN 127.0.0.1:1: ended after "), "{}", ended.stderr);
    assert!(is_there(&dir, "clean"));
}

/// What a command leaves in the background, with its stdout and stderr, is not waited for.
#[test]
fn what_goes_on_in_the_background_holds_up_nothing() {
    let command = "sleep 1000 & echo $! >>pids; echo done $REACH_NUMBER >>order";
    let db = Service::start();
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--exec", command]);
    let dir = monitor.dir();
    assert!(monitor.wait_line(|_| dir.read("order") == "done 1\n", LONG));
    let begun = Instant::now();
    db.stop();
    assert!(monitor.wait_line(|_| dir.read("order") == "done 1\ndone 2\n", LONG));
    let ended = monitor.stop();
    assert!(begun.elapsed() < Duration::from_secs(59), "the first one was waited for");
    assert!(!ended.stderr.contains("--exec"), "{}", ended.stderr);
    let pids = dir.read("pids");
    for pid in pids.lines() {
        assert!(lives(pid), "it is left alone");
        Command::new("kill").arg(pid).status().unwrap();
    }
    assert_eq!(pids.lines().count(), 3);
}

/// What a command says goes to stderr, whatever it is, and stdout stays a table or JSON.
#[test]
fn what_a_command_says_and_how_it_fails_is_on_stderr() {
    let run = |command: &str| {
        let args = ["db=127.0.0.1:1", "-n", "3", "-i", "20ms", "--json", "--exec", command];
        let ended = Monitor::start(&args).finish(LONG);
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        for line in ended.stdout.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        }
        let said =
            ended.stderr.lines().filter_map(|line| line.strip_prefix("reachabilitycheck: --exec for #1 DOWN db"));
        said.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(run("exit 3"), [": exit status 3"]);
    assert_eq!(run("kill -9 $$"), [": signal 9"]);
    assert_eq!(
        run("printf 'out\\033[2J\\n\\nerr' >&2; echo; exit 1"),
        [" says: out [2J", " says: err", ": exit status 1"]
    );
    assert_eq!(run("echo to stdout; exit 0"), [" says: to stdout"]);
    let said = run("no-such-program-here");
    assert!(said.len() == 2 && said[0].contains("not found") && said[1] == ": exit status 127", "{said:?}");
    let said = run("yes many words | head -n 100000; echo the end >there");
    assert_eq!(said.len(), 4096_usize.div_ceil("many words\n".len()) + 1, "{said:?}");
    assert_eq!(said.last().unwrap(), " says: (more than 4096 bytes; the rest is not shown)");
    assert!(run(":").is_empty());
}

#[test]
fn a_command_that_the_shell_does_not_take_ends_it_at_the_start() {
    for args in [&["--exec", "if then"][..], &["--exec", "echo 'x"], &["--check", "--exec", "echo 'x"]] {
        let ended = Monitor::start(&[&["127.0.0.1:1"][..], args].concat()).finish(LONG);
        assert_eq!(ended.code, Some(2), "{ended:#?}");
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains("exec: sh does not take the command: ") && told.contains("yntax"), "{told}");
        assert_eq!(ended.log, "");
    }
    // No shell at all; and one that goes away later.
    let dir = Arc::new(TempDir::new());
    let path = dir.file("bin");
    let set_up =
        || Monitor::with(&["127.0.0.1:1", "-n", "3", "-i", "20ms", "--exec", ":"]).dir(&dir).env("PATH", &path);
    let ended = set_up().run();
    assert_eq!(ended.code, Some(2), "{ended:#?}");
    assert!(ended.stderr.contains("--exec: sh cannot be run: No such file or directory"), "{}", ended.stderr);
    fs::create_dir(&path).unwrap();
    let sh = Path::new(&path).join("sh");
    std::os::unix::fs::symlink("/bin/sh", &sh).unwrap();
    let service = Service::start();
    let args = [&service.target("db"), "-i", "20ms", "--exec", ": >done"];
    let mut monitor = Monitor::with(&args).dir(&dir).env("PATH", &path).start();
    assert!(monitor.wait_line(|_| is_there(&dir, "done"), LONG));
    fs::remove_file(&sh).unwrap();
    service.stop();
    let line = "DOWN db: sh cannot be run: No such file or directory";
    assert!(monitor.wait_line(|all| all.stderr.contains(line), LONG), "{:#?}", monitor.output());
    assert_eq!(monitor.stop().code, Some(0));
}

/// Statuses are not lost when it was started by a program that ignores SIGCHLD.
#[test]
fn statuses_are_seen_when_sigchld_was_ignored() {
    let args = ["127.0.0.1:1", "-n", "3", "-i", "20ms", "--exec", "exit 4; "];
    let under = ["env", "--ignore-signal=CHLD"];
    if !Command::new(under[0]).args([under[1], "true"]).output().is_ok_and(|output| output.status.success()) {
        return skip("statuses_are_seen_when_sigchld_was_ignored", "no env --ignore-signal");
    }
    let ended = Monitor::with(&args).under(&under).run();
    assert!(ended.stderr.contains("DOWN 127.0.0.1:1: exit status 4"), "{ended:#?}");
}

/// `--check` does not run it.
#[test]
fn a_check_up_reads_the_command_and_does_not_run_it() {
    let monitor = Monitor::start(&["127.0.0.1:1", "--check", "--exec", ": >there"]);
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.stdout.contains("ok    exec: sh takes the command; it was not run\n"), "{}", ended.stdout);
    assert!(!is_there(&dir, "there"));
}

/// Nothing of ours is open in a command, its stdin is empty, and it takes signals as every program does.
#[test]
fn a_command_gets_no_descriptor_and_no_blocked_signal() {
    let command = "cat >stdin; cat /proc/self/status >status; ls -l /proc/$PPID/fd >ours; \
                   exec ls -l /proc/self/fd >fds.$REACH_NUMBER";
    let slack = Slack::start(vec![]);
    let db = Service::start();
    // An ICMP target where that is allowed: its socket must not be seen either.
    let icmp = Monitor::start(&["127.0.0.1", "-n", "1"]).finish(LONG).code == Some(0);
    let (target, url) = (db.target("db"), slack.url());
    let mut args = vec![&*target, "-i", "20ms", "--slack-url", &url, "--exec", command];
    args.extend(icmp.then_some("127.0.0.1"));
    let mut monitor = Monitor::with(&args).stdin("not for the command").start();
    let dir = monitor.dir();
    assert!(slack.wait_delivered("Monitoring", LONG));
    // Another one, when all that is ever open is open.
    db.stop();
    assert!(monitor.wait_log(" DOWN db ", LONG));
    assert!(monitor.wait_line(|_| dir.read("fds.2").contains(" -> /proc/"), LONG));
    monitor.stop();
    assert_eq!(dir.read("stdin"), "");
    // Number and file.
    let open = |name: &str| -> Vec<(String, String)> {
        let text = dir.read(name);
        let of_line = |line: &str| {
            let (left, file) = line.split_once(" -> ")?;
            Some((left.rsplit(' ').next()?.to_owned(), file.to_owned()))
        };
        text.lines().filter_map(of_line).collect()
    };
    for (number, file) in open("fds.2") {
        let right = match &*number {
            "0" => file == "/dev/null",
            "1" => file.ends_with("/fds.2"),
            "2" => file.starts_with("pipe:"),
            // What this test was started with and handed on (cargo's jobserver), and what ls reads.
            n => {
                fs::read_link(format!("/proc/self/fd/{n}")).is_ok_and(|own| own == Path::new(&file))
                    || file.ends_with("/fd")
            }
        };
        assert!(right, "{number} -> {file} in {}", dir.read("fds.2"));
    }
    let ours = open("ours");
    let has = |what: &str| ours.iter().any(|(_, file)| file.contains(what));
    assert!(has("reachability.state") && has("socket:"), "the test sees what is open there: {ours:?}");
    let status = dir.read("status");
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    let of = |signal: i32| 1u64 << (signal - 1);
    assert_eq!(mask("SigBlk:"), 0);
    assert_eq!(mask("SigIgn:") & (of(libc::SIGPIPE) | of(libc::SIGTERM) | of(libc::SIGCHLD)), 0);
}

/// SIGTERM: what waits gets 2 s, then it is said what was not run, and nothing goes on.
#[test]
fn the_end_does_not_wait_for_a_command_that_hangs() {
    let command = "echo $$ >new; mv new pid; trap '' TERM; sleep 1000 & wait; wait";
    let db = Service::start();
    let mut monitor = Monitor::start(&[&db.target("db"), "-i", "20ms", "--exec", command]);
    let dir = monitor.dir();
    assert!(monitor.wait_line(|_| is_there(&dir, "pid"), LONG));
    db.stop();
    assert!(monitor.wait_log(" DOWN db ", LONG));
    monitor.signal(libc::SIGTERM);
    let begun = Instant::now();
    let ended = monitor.finish(LONG);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("--exec for #1 START -: ended after "), "{}", ended.stderr);
    assert!(ended.stderr.contains("--exec was not run for 2 notifications"), "{}", ended.stderr);
    assert!(!lives(&dir.read("pid")));
    assert!(ended.log.ends_with("Monitoring stops: SIGTERM\n"), "{}", ended.log);
}

/// With `--count` every command is run before the end; a signal then ends it.
#[test]
fn the_end_of_a_count_waits_for_the_commands() {
    let targets: Vec<String> = (1..=5).map(|n| format!("t{n}=127.0.0.1:{n}")).collect();
    let mut args: Vec<&str> = targets.iter().map(String::as_str).collect();
    let command = "sleep 0.7; echo $REACH_LABEL >>labels";
    args.extend(["-n", "3", "-i", "20ms", "--exec", command]);
    let monitor = Monitor::start(&args);
    let dir = monitor.dir();
    let ended = monitor.finish(LONG);
    assert_eq!(ended.code, Some(1));
    let logged: String = ended.log.lines().map(|line| line.split(' ').nth(3).unwrap().to_owned() + "\n").collect();
    assert_eq!(dir.read("labels"), logged);
    assert_eq!(logged.lines().count(), 5);
    assert!(!ended.stderr.contains("--exec"), "{}", ended.stderr);
    // Ctrl-C while a command hangs.
    args.pop();
    args.push("echo $$ >new; mv new pid; sleep 1000");
    let mut monitor = Monitor::start(&args);
    let dir = monitor.dir();
    assert!(monitor.wait_line(|all| is_there(&dir, "pid") && all.log.lines().count() == 5, LONG));
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    // The checks may not all be done yet; a signal before that ends it as well, after 2 s.
    assert!(wait_until(LONG, || {
        if begun.elapsed() > last {
            monitor.signal(libc::SIGINT);
            last += Duration::from_secs(1);
        }
        !monitor.running()
    }));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let ended = monitor.finish(LONG);
    assert!(ended.stderr.contains("--exec was not run for 4 notifications"), "{}", ended.stderr);
    assert!(!lives(&dir.read("pid")));
}

/// As process 1 of a container it inherits what its commands left behind, and takes their statuses.
#[test]
fn as_process_1_it_leaves_no_zombies() {
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let works = Command::new(unshare[0]).args(&unshare[1..]).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skip("as_process_1_it_leaves_no_zombies", "no namespaces");
    }
    // The first command leaves a child behind that ends soon. What is there of zombies before the reaping and after it is
    // seen by the two commands after that.
    let command = "echo $PPID >parent; sleep 0.1 & \
                   grep -c '^State:.*Z' /proc/[0-9]*/status 2>/dev/null | grep -c ':1$' >>zombies; echo $REACH_NUMBER >>done";
    let db = Service::start();
    let mut monitor = Monitor::with(&[&db.target("db"), "-i", "20ms", "--exec", command]).under(&unshare).start();
    let dir = monitor.dir();
    let done = |n: usize| move |dir: &TempDir| dir.read("done").lines().count() == n;
    assert!(monitor.wait_line(|_| done(1)(&dir), LONG), "{:#?}", monitor.output());
    for round in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        if round % 2 == 0 {
            db.stop()
        } else {
            db.restart()
        }
        assert!(monitor.wait_line(|_| done(2 + round)(&dir), LONG), "{:#?}", monitor.output());
    }
    assert_eq!(dir.read("parent"), "1\n");
    assert_eq!(dir.read("zombies"), "0\n0\n0\n0\n");
    monitor.signal(libc::SIGKILL);
}
