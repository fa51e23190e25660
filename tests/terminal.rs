//! The table of a terminal, on a real pseudo-terminal, with the program of a terminal emulator (vt100) to say what a user
//! would see. All targets are TCP ports on loopback.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod lab;

use lab::run::TempDir;
use lab::service::Service;
use lab::{sys, wait_until};
use std::fs::{self, File};
use std::io::ErrorKind::WouldBlock;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// Refuses every connection.
const DEAD: &str = "dead=127.0.0.1:1";

/// What came out of the program, as it came and as it looks.
struct Seen {
    bytes: Vec<u8>,
    emulator: vt100::Parser,
}

/// A user's terminal, with a command in it. The command ends with it.
struct Terminal {
    user: File,
    child: Child,
    seen: Arc<Mutex<Seen>>,
    dir: TempDir,
}

impl Terminal {
    /// Runs a script by `sh`, with the program as `$reach`; 24 x 80 characters in UTF-8.
    fn run(script: &str, env: &[(&str, &str)]) -> Terminal {
        let (user, program) = sys::open_pty().unwrap();
        sys::set_window(&user, 24, 80).unwrap();
        let dir = TempDir::new();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c", script]).current_dir(dir.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("TERM", "xterm").env("LANG", "C.UTF-8").env("reach", env!("CARGO_BIN_EXE_reachabilitycheck"));
        command.envs(env.iter().copied());
        let end = || program.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let size = |n| NonZeroU16::new(n).unwrap();
        let emulator = vt100::Parser::new(size(24), size(80), 1000);
        let seen = Arc::new(Mutex::new(Seen { bytes: Vec::new(), emulator }));
        let (mut from, to) = (user.try_clone().unwrap(), Arc::clone(&seen));
        // Until all that runs there has ended.
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                let mut seen = to.lock().unwrap();
                seen.bytes.extend(&buffer[..length]);
                seen.emulator.process(&buffer[..length]);
            }
        });
        Terminal { user, child, seen, dir }
    }

    /// The program alone, with these arguments, checking ten times a second.
    fn of(args: &str, env: &[(&str, &str)]) -> Terminal {
        Terminal::run(&format!("exec $reach {args} -i 100ms"), env)
    }

    fn type_keys(&self, keys: &str) {
        (&self.user).write_all(keys.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        // As a terminal does it: its own screen first.
        let size = |n| NonZeroU16::new(n).unwrap();
        self.seen.lock().unwrap().emulator.screen_mut().set_size(size(rows), size(columns));
        sys::set_window(&self.user, rows, columns).unwrap();
    }

    /// What is on the screen.
    fn screen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let screen = seen.emulator.screen();
        let columns = screen.size().1.get();
        screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
    }

    /// What was written.
    fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// All that scrolled by, and the screen, as the lines that were written.
    fn everything(&self) -> Vec<String> {
        let mut seen = self.seen.lock().unwrap();
        let screen = seen.emulator.screen_mut();
        let (rows, columns) = screen.size();
        let mut all = vec![String::new()];
        let mut add = |row: String, wrapped: bool| {
            let last = all.last_mut().unwrap();
            last.push_str(if wrapped { &row } else { row.trim_end() });
            if !wrapped {
                all.push(String::new());
            }
        };
        for back in (1..=screen.scrollback_len()).rev() {
            screen.set_scrollback(back);
            add(screen.rows(0, columns.get()).next().unwrap(), screen.row_wrapped(0));
        }
        screen.set_scrollback(0);
        for (place, row) in (0..rows.get()).zip(screen.rows(0, columns.get())) {
            add(row, screen.row_wrapped(place));
        }
        all
    }

    fn wait(&self, what: &str, done: impl Fn(&[String]) -> bool) {
        let came = wait_until(LONG, || done(&self.screen()));
        assert!(came, "{what} did not come; what there is:\n{}", self.everything().join("\n"));
    }

    /// Waits for the table of just these targets, in this order, as the beginnings of its lines.
    fn wait_table(&self, rows: &[&str]) {
        self.wait(&format!("{rows:?}"), |screen| table(screen).is_some_and(|table| is_of(table, rows)));
    }

    fn cursor_is_shown(&self) -> bool {
        !self.seen.lock().unwrap().emulator.screen().hide_cursor()
    }

    fn log(&self) -> String {
        self.dir.read("reachability.log")
    }

    fn wait_log(&self, text: &str) {
        assert!(wait_until(LONG, || self.log().contains(text)), "no {text} in {}", self.log());
    }

    /// Waits for the end, and for all that was written till then.
    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = wait_until(LONG, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "still running:\n{}", self.everything().join("\n"));
        // What it wrote last is on its way.
        let mut length = 0;
        wait_until(Duration::from_millis(300), || {
            let before = std::mem::replace(&mut length, self.written().len());
            thread::sleep(Duration::from_millis(50));
            before == length
        });
        status.unwrap()
    }

    /// The program itself, which a shell may have started: the newest process with its name in this session.
    fn pid(&self) -> i32 {
        let session = self.child.id().to_string();
        let is_ours = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            stat.contains("(reachabilityche") && fields.get(3) == Some(&&*session)
        };
        let mut found = None;
        wait_until(LONG, || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            found = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours);
            found.is_some()
        });
        found.expect("the program runs")
    }

    /// Its state as proc(5) has it: T is stopped.
    fn state(&self, pid: i32) -> char {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?')
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of the table, without its head, if there is exactly one.
fn table(screen: &[String]) -> Option<&[String]> {
    let mut heads = screen.iter().enumerate().filter(|(_, row)| row.starts_with("STATE   TARGET"));
    let (head, None) = (heads.next()?.0, heads.next()) else { return None };
    let rows = &screen[head + 1..];
    Some(&rows[..rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1)])
}

fn is_of(table: &[String], rows: &[&str]) -> bool {
    table.len() == rows.len() && table.iter().zip(rows).all(|(row, begin)| row.starts_with(begin))
}

fn count(lines: &[String], text: &str) -> usize {
    lines.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn the_table_shows_the_worst_first_and_notifications_scroll_by_above_it() {
    let (web, db) = (Service::start(), Service::start());
    let args = format!("{} {} {DEAD} -r 2", web.target("web"), db.target("db"));
    let mut terminal = Terminal::of(&args, &[]);
    terminal.wait_table(&["down    dead", "up      web", "up      db"]);
    terminal.wait("the reason", |screen| count(screen, "s: connection refused  ") == 1);
    terminal.wait("the totals", |screen| count(screen, "1 down, 2 up") == 1);
    terminal.wait("a picture", |screen| count(screen, "▁▁▁▁▁▁▁▁") == 2);
    // Up and down again until the window is full many times over; nothing of it is lost or repeated.
    for round in 1..=10 {
        let told = |text| wait_until(LONG, || terminal.log().matches(text).count() == round);
        db.stop();
        assert!(told(" DOWN db "));
        terminal.wait_table(&["down    dead", "down    db", "up      web"]);
        db.restart();
        assert!(told(" UP db "));
        terminal.wait_table(&["down    dead", "up      web", "up      db"]);
    }
    assert!(terminal.cursor_is_shown());
    terminal.type_keys("\x03");
    assert_eq!(terminal.end().code(), Some(0));
    let all = terminal.everything();
    for line in terminal.log().lines() {
        assert_eq!(all.iter().filter(|shown| *shown == line).count(), 1, "{line}\n{all:#?}");
    }
    // No table any more, but the summary, and the log's last line above it.
    let screen = terminal.screen();
    assert_eq!(count(&terminal.everything(), "STATE   TARGET"), 0);
    let stop = screen.iter().position(|row| row.contains(" STOP - Monitoring stops: SIGINT")).unwrap();
    for (place, name) in (1..).zip(["web  : ", "db   : ", "dead : "]) {
        assert!(screen[stop + place].starts_with(&format!("{name}xmt/rcv/%loss = ")), "{screen:#?}");
    }
    assert!(terminal.cursor_is_shown());
    let seen = terminal.seen.lock().unwrap();
    assert_eq!(seen.emulator.screen().attributes_formatted(), "\x1b[m", "colours are set back");
    assert!(!seen.emulator.screen().alternate_screen());
}

#[test]
fn it_fits_into_every_window() {
    let web = Service::start();
    let label = "a-label-that-is-longer-than-the-window-of-a-telephone-is-wide";
    let more: Vec<String> = (0..40).map(|n| web.target(&format!("日本語{n}"))).collect();
    let args = format!("{DEAD} {} {}", web.target(label), more.join(" "));
    let terminal = Terminal::of(&args, &[]);
    let not_wrapped = || {
        let seen = terminal.seen.lock().unwrap();
        let screen = seen.emulator.screen();
        let head =
            (0..screen.size().0.get()).find(|row| screen.cell(*row, 0).is_some_and(|cell| cell.contents() == "S"));
        head.is_some_and(|head| (head..screen.size().0.get()).all(|row| !screen.row_wrapped(row)))
    };
    terminal.wait("the table", |screen| count(screen, "+26 more, all up") == 1 && not_wrapped());
    terminal.wait("a cut label", |screen| count(screen, "a-label-that-is-long…") == 1);
    for (rows, columns, last) in [
        (12, 60, "+35 more, all up"),
        (40, 120, "+10 more, all up"),
        (8, 40, "+38 more, all up"),
        (60, 200, "日本語39"),
    ] {
        terminal.resize(rows, columns);
        terminal.wait(last, |screen| table(screen).and_then(<[String]>::last).is_some_and(|row| row.contains(last)));
        assert!(not_wrapped(), "{rows} x {columns}: {:#?}", terminal.screen());
    }
    for (rows, columns, shown) in [
        (3, 30, vec!["1 down, 41 up", "down    dead", "up      a-label-that…"]),
        (2, 10, vec!["1 down, …", "down dead"]),
        (1, 10, vec!["1 down, …"]),
    ] {
        terminal.resize(rows, columns);
        terminal.wait(&format!("{shown:?}"), |screen| {
            screen.len() == shown.len() && screen.iter().zip(&shown).all(|(row, begin)| row.starts_with(begin))
        });
    }
}

#[test]
fn keys_do_no_lasting_harm() {
    let terminal = Terminal::of(&format!("{DEAD} -i 50ms"), &[]);
    terminal.wait_table(&["down    dead"]);
    terminal.type_keys("what is this?\r\r\rq");
    terminal.wait("the echo", |screen| count(screen, "what is this?") == 1 || table(screen).is_some());
    for _ in 0..3 {
        // Two whole frames more.
        let frames = || terminal.written().matches("\x1b7").count();
        let before = frames();
        assert!(wait_until(LONG, || frames() > before + 1));
        terminal.wait_table(&["down    dead"]);
        assert_eq!(count(&terminal.everything(), "STATE   TARGET"), 1, "{:#?}", terminal.everything());
        assert_eq!(count(&terminal.everything(), "what is this?"), 0);
        terminal.type_keys("\r\r");
    }
}

#[test]
fn each_frame_is_one_write() {
    let terminal = Terminal::of(DEAD, &[]);
    terminal.wait_table(&["down    dead"]);
    let tasks = fs::read_dir(format!("/proc/{}/task", terminal.pid())).unwrap().flatten();
    let screen =
        tasks.map(|task| task.path()).find(|task| fs::read(task.join("comm")).is_ok_and(|name| name == b"screen\n"));
    let Ok(_) = fs::read(screen.as_ref().unwrap().join("io")) else {
        return lab::skip("each_frame_is_one_write", "this kernel does not count writes");
    };
    // The count of writes between two moments at which all that was written has come.
    let at_rest = || {
        let mut found = (0, 0);
        let came = wait_until(LONG, || {
            let writes = || -> usize {
                let text = fs::read_to_string(screen.as_ref().unwrap().join("io")).unwrap();
                text.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
            };
            let frames = || terminal.written().matches("\x1b[?2026l").count();
            let before = (writes(), frames());
            thread::sleep(Duration::from_millis(100));
            found = (writes(), frames());
            before == found
        });
        assert!(came);
        found
    };
    let before = at_rest();
    assert!(wait_until(LONG, || at_rest().1 >= before.1 + 4));
    let after = at_rest();
    assert_eq!(after.0 - before.0, after.1 - before.1);
}

#[test]
fn colours_and_plain_terminals() {
    let colours = |text: &str| {
        text.split("\x1b[")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    let coloured = Terminal::of(DEAD, &[("NO_COLOR", "")]);
    coloured.wait_table(&["down    dead"]);
    assert!(colours(&coloured.written()));
    let plain = Terminal::of(DEAD, &[("NO_COLOR", "1")]);
    plain.wait_table(&["down    dead"]);
    assert!(!colours(&plain.written()));
    assert!(plain.written().contains("\x1b[K"));
    let ascii = Terminal::of(DEAD, &[("LC_ALL", "C")]);
    ascii.wait_table(&["down    dead"]);
    ascii.wait("a picture", |screen| count(screen, "xxxxx") == 1);
    assert!(ascii.written().is_ascii());
    for (args, term) in [("", "dumb"), ("", ""), ("-v", "xterm"), ("--json", "xterm"), ("-q", "xterm")] {
        let mut dumb = Terminal::of(&format!("{DEAD} -n 9 {args}"), &[("TERM", term)]);
        dumb.end();
        let written = dumb.written();
        assert!(!written.contains('\x1b'), "{args} {term}: {written:?}");
        assert_eq!(args == "-q", !written.contains("TCP connection to dead is failing"), "{args} {term}: {written:?}");
    }
}

/// The summary comes in the place of the table also when all checks of --count are done.
#[test]
fn with_count_the_summary_replaces_the_table() {
    let web = Service::start();
    let mut terminal = Terminal::of(&format!("{} {DEAD} -n 30", web.target("web")), &[]);
    terminal.wait_table(&["down    dead", "up      web"]);
    assert_eq!(terminal.end().code(), Some(1));
    let screen = terminal.screen();
    assert_eq!(count(&terminal.everything(), "STATE"), 0, "{screen:#?}");
    assert_eq!(count(&screen, "web  : xmt/rcv/%loss = 30/30/0%"), 1, "{screen:#?}");
    assert_eq!(count(&screen, "dead : xmt/rcv/%loss = 30/0/100%"), 1, "{screen:#?}");
}

#[test]
fn the_shell_gets_its_terminal_back_and_lends_it_again() {
    let script = format!(
        "set -m; stty -g >before; $reach {DEAD} -i 100ms; stty -g >stopped; echo prompt; read go; fg; \
         stty -g >after; echo over"
    );
    let mut terminal = Terminal::run(&script, &[]);
    for round in 0..2 {
        terminal.wait_table(&["down    dead"]);
        let pid = terminal.pid();
        if round == 1 {
            break;
        }
        terminal.type_keys("\x1a");
        terminal.wait("the shell", |screen| count(screen, "prompt") == 1);
        assert!(wait_until(LONG, || terminal.state(pid) == 'T'));
        assert!(table(&terminal.screen()).is_none(), "{:#?}", terminal.screen());
        assert!(terminal.cursor_is_shown());
        terminal.type_keys("\r");
    }
    terminal.type_keys("\x03");
    terminal.end();
    let screen = terminal.screen();
    assert_eq!(count(&terminal.everything(), "STATE   TARGET"), 0, "{screen:#?}");
    let place =
        |text: &str| screen.iter().position(|row| row.contains(text)).unwrap_or_else(|| panic!("{text}: {screen:#?}"));
    assert!(place("prompt") < place("STOP") && place("STOP") < place("dead : ") && place("dead : ") < place("over"));
    let [before, stopped, after] = ["before", "stopped", "after"].map(|name| terminal.dir.read(name));
    assert!(!before.is_empty() && before == stopped && before == after, "the terminal is set as it was");
}

/// Where no shell could let it go on, Ctrl-Z must not stop a monitor for ever.
#[test]
fn without_a_shell_it_is_not_stopped() {
    let terminal = Terminal::of(DEAD, &[]);
    terminal.wait_table(&["down    dead"]);
    let frames = || terminal.written().matches("\x1b7").count();
    for _ in 0..3 {
        let before = frames();
        terminal.type_keys("\x1a");
        assert!(wait_until(LONG, || frames() > before + 2), "it was stopped");
    }
    terminal.wait_table(&["down    dead"]);
}

/// Also when SIGHUP would make it read a file again.
#[test]
fn it_ends_with_its_terminal() {
    let dir = TempDir::new();
    dir.write("targets", DEAD);
    let (user, program) = sys::open_pty().unwrap();
    let mut command = Command::new("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_reachabilitycheck"), "--file", "targets", "-i", "100ms"]);
    command.current_dir(dir.path()).env("TERM", "xterm").env_remove("SLACK_WEBHOOK_URL");
    let end = || program.try_clone().unwrap();
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    drop((command, program));
    assert!(wait_until(LONG, || dir.read("reachability.log").contains(" DOWN dead ")));
    sys::kill(child.id() as i32, libc::SIGHUP).unwrap();
    assert!(wait_until(LONG, || dir.read("reachability.log").matches(" START ").count() == 2));
    drop(user);
    let ended = wait_until(LONG, || child.try_wait().unwrap().is_some());
    let _ = child.kill();
    assert!(ended, "it goes on without a terminal");
    assert!(dir.read("reachability.log").ends_with("Monitoring stops: SIGHUP\n"));
}

#[test]
fn in_the_background_it_draws_nothing() {
    for tostop in ["-tostop", "tostop"] {
        let web = Service::start();
        let script = format!("set -m; stty {tostop}; $reach {} {DEAD} -i 100ms & read go; fg", web.target("web"));
        let terminal = Terminal::run(&script, &[]);
        terminal.wait_log(" DOWN dead ");
        let pid = terminal.pid();
        web.stop();
        terminal.wait_log(" DOWN web ");
        if tostop == "-tostop" {
            terminal.wait("a line", |screen| count(screen, " DOWN web ") == 1);
        }
        // More than a tick.
        thread::sleep(Duration::from_millis(1500));
        assert!(!terminal.written().contains('\x1b'), "{:?}", terminal.written());
        assert_eq!(terminal.written().contains("DOWN"), tostop == "-tostop", "{:?}", terminal.written());
        assert_ne!(terminal.state(pid), 'T');
        terminal.type_keys("\r");
        terminal.wait_table(&["down    dead", "down    web"]);
        // What it had to keep to itself.
        assert_eq!(count(&terminal.everything(), " DOWN web "), 1, "{:#?}", terminal.everything());
    }
}

#[test]
fn a_stopped_terminal_stops_nothing_else() {
    let web = Service::start();
    let mut terminal = Terminal::of(&format!("{} -r 3", web.target("web")), &[]);
    terminal.wait_table(&["up      web"]);
    terminal.type_keys("\x13");
    let mut written = 0;
    // As long as what was written before is on its way, and longer than a tick.
    assert!(wait_until(LONG, || {
        let before = std::mem::replace(&mut written, terminal.written().len());
        thread::sleep(Duration::from_millis(2500));
        before == written
    }));
    for _ in 0..3 {
        let before = terminal.log().len();
        web.stop();
        assert!(wait_until(LONG, || terminal.log()[before..].contains(" DOWN web ")));
        web.restart();
        assert!(wait_until(LONG, || terminal.log()[before..].contains(" UP web ")));
    }
    assert_eq!(terminal.written().len(), written, "the terminal was stopped");
    terminal.type_keys("\x11");
    terminal
        .wait("what happened meanwhile", |screen| count(screen, " UP web ") == 3 && count(screen, " DOWN web ") == 3);
    terminal.wait_table(&["up      web"]);
    terminal.type_keys("\x03");
    assert_eq!(terminal.end().code(), Some(0));
}

#[test]
fn a_slack_that_never_answers_freezes_nothing() {
    let slack = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = Service::start();
    let url = format!("http://{}/services/T/B/secret", slack.local_addr().unwrap());
    let terminal = Terminal::of(&web.target("web"), &[("SLACK_WEBHOOK_URL", &url)]);
    terminal.wait_table(&["up      web"]);
    // The START is under way; whatever it asks, nobody says a word.
    let (mut post, _) = slack.accept().unwrap();
    post.read_exact(&mut [0; 5]).unwrap();
    web.stop();
    terminal.wait_table(&["down    web"]);
    web.restart();
    terminal.wait_table(&["up      web"]);
    post.set_nonblocking(true).unwrap();
    let open = wait_until(LONG, || matches!(post.read(&mut [0; 4096]), Err(error) if error.kind() == WouldBlock));
    assert!(open, "the POST was over before the table was looked at");
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_and_other_messages_stand_above_the_table() {
    let mut terminal = Terminal::of(DEAD, &[("REACHABILITYCHECK_TEST_PANIC", "dead")]);
    terminal.wait_table(&["down    dead"]);
    let all = terminal.everything().join("\n");
    assert_eq!(all.matches("reachabilitycheck: a bug, please report: thread dead failed at ").count(), 1, "{all}");
    assert_eq!(all.matches("reachabilitycheck: Slack is off: ").count(), 1, "{all}");
    assert_eq!(all.matches("The thread that checks dead failed and was started again").count(), 1, "{all}");
    // SIGQUIT ends it as ever, but without the table.
    terminal.type_keys("\x1c");
    let status = terminal.end();
    assert!(status.signal() == Some(libc::SIGQUIT) || status.code() == Some(128 + libc::SIGQUIT), "{status}");
    assert_eq!(count(&terminal.everything(), "STATE   TARGET"), 0, "{:#?}", terminal.everything());
}
