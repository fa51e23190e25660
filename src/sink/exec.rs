//! `--exec`: a command for each notification, what it says in the environment (pure), and its run. One thread runs them
//! one at a time, in order: a command that is slow or hangs holds up the next one and nothing else.

use std::collections::VecDeque;
use std::env;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::{Loss, span};
use crate::sync::{self, Channel, lock};
use crate::sys;
use crate::view::Screen;
use crate::writer::{Listener, Told};

/// A command may run this long.
const LIMIT: Duration = Duration::from_secs(60);

/// Between SIGTERM and SIGKILL, and again until it is left alone.
const GRACE: Duration = Duration::from_secs(1);

/// At most so many notifications wait; beyond that the oldest are left out, so that the latest are acted upon.
const BOUND: usize = 10_000;

/// So much of what a command says is shown, in bytes; the rest is read and dropped.
const SHOWN: usize = 4096;

/// The longest pause before a command is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// The thread that runs the command, as the program's main thread sees it.
pub struct Exec {
    shared: Arc<Shared>,
}

struct Shared {
    command: String,
    limit: Duration,
    queue: Mutex<Queue>,
    changed: Condvar,
    ended: Channel<()>,
    screen: Screen,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Told>,
    /// Notifications that the bound left out, not reported yet.
    left_out: u64,
    /// The program ends: until then all is to be done.
    until: Option<Instant>,
}

/// Does the shell take the command? It is read and not run. Errors: one line: there is no shell, or the syntax is wrong.
pub fn try_command(command: &str) -> Result<(), String> {
    sys::keep_statuses();
    let until = Instant::now() + LIMIT;
    let (said, ended) = run(&["-n", "-c", command], &[], || until);
    ended.map_err(|why| said.first().map_or(why, |line| format!("sh does not take the command: {line}")))
}

impl Exec {
    /// Starts the thread. Errors: one line: the shell does not take the command, or no thread could be made; the caller
    /// exits with 2.
    pub fn start(command: String, screen: Screen) -> Result<Exec, String> {
        try_command(&command).map_err(|why| format!("--exec: {why}"))?;
        let limit = clock::or_for_tests(LIMIT, "REACHABILITYCHECK_TEST_EXEC_MS");
        let (queue, changed, ended) = Default::default();
        let shared = Arc::new(Shared { command, limit, queue, changed, ended, screen });
        let for_thread = Arc::clone(&shared);
        let started = sync::start("exec", move || for_thread.work());
        started.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Exec { shared })
    }

    /// To be told of the notifications.
    pub fn listener(&self) -> Listener {
        let shared = Arc::clone(&self.shared);
        Box::new(move |told| shared.add(told))
    }

    /// Waits until all that was told is done, for `limit` at most, or until `hurry` is set; then ends a command that still
    /// runs, and says what was not run.
    pub fn finish(self, limit: Duration, hurry: &AtomicBool) {
        let mut until = Instant::now() + limit;
        self.shared.end(until);
        // The thread leaves a command alone that does not end; this much more is for a slow machine.
        while Instant::now() < until + 5 * GRACE {
            if self.shared.ended.wait(Some(PAUSE)).is_some() {
                break;
            }
            if hurry.swap(false, Ordering::Relaxed) {
                until = until.min(Instant::now());
                self.shared.end(until);
            }
        }
        let queue = lock(&self.shared.queue);
        let not_run = queue.left_out + queue.waiting.len() as u64;
        if not_run > 0 {
            self.shared.screen.err(&format!("--exec was not run for {}", notifications(not_run)));
        }
    }
}

impl Shared {
    fn add(&self, told: &[Told]) {
        let mut queue = lock(&self.queue);
        if queue.add(told) {
            self.screen.err(&format!("--exec: {BOUND} notifications wait for the command; the oldest are left out"));
        }
        self.changed.notify_one();
    }

    fn end(&self, until: Instant) {
        lock(&self.queue).until = Some(until);
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(told) = self.next() {
            // Only here: nothing of ours runs now that somebody waits for.
            sys::reap();
            let begun = Instant::now();
            let until = || lock(&self.queue).until.map_or(begun + self.limit, |end| end.min(begun + self.limit));
            let (said, ended) = run(&["-c", &self.command], &variables(&told), until);
            let item = &told.item;
            let of = format!("--exec for #{} {} {}", item.number, item.kind, item.target.as_deref().unwrap_or("-"));
            for line in said {
                self.screen.err(&format!("{of} says: {line}"));
            }
            if let Err(why) = ended {
                self.screen.err(&format!("{of}: {why}"));
            }
        }
        self.ended.put(());
    }

    /// Waits for the next notification; None when the program ends and all is done, or it is time.
    fn next(&self) -> Option<Told> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.until.is_some_and(|until| queue.waiting.is_empty() || until <= Instant::now()) {
                return None;
            }
            if let Some(told) = queue.waiting.pop_front() {
                return Some(told);
            }
            let left_out = std::mem::take(&mut queue.left_out);
            if left_out > 0 {
                self.screen.err(&format!("--exec was not run for {}", notifications(left_out)));
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    /// Adds notifications. True when the first ones were left out for it.
    fn add(&mut self, told: &[Told]) -> bool {
        let before = self.left_out;
        self.waiting.extend(told.iter().cloned());
        let excess = self.waiting.len().saturating_sub(BOUND);
        self.waiting.drain(..excess);
        self.left_out += excess as u64;
        before == 0 && self.left_out > 0
    }
}

fn notifications(count: u64) -> String {
    if count == 1 { "1 notification".to_owned() } else { format!("{count} notifications") }
}

/// What a command finds in its environment. What does not belong to the notification's kind is empty.
fn variables(told: &Told) -> [(&'static str, String); 11] {
    let Told { event, item } = told;
    let details = event.details();
    let target = event.target();
    let percent = |loss: Option<Loss>| loss.map(Loss::percent).unwrap_or_default();
    let time = |at| humantime::format_rfc3339_seconds(at).to_string();
    [
        ("REACH_KIND", item.kind.to_string()),
        ("REACH_TARGET", target.map(|target| target.place().to_owned()).unwrap_or_default()),
        ("REACH_LABEL", target.map(|target| target.name.clone()).unwrap_or_default()),
        ("REACH_TEXT", item.text.clone()),
        ("REACH_LOSS", percent(details.loss)),
        ("REACH_TOLD", percent(details.told)),
        ("REACH_SINCE", details.since.map(time).unwrap_or_default()),
        ("REACH_DOWN_SECONDS", details.down.map(|down| down.as_secs().to_string()).unwrap_or_default()),
        ("REACH_REASON", details.reason.map(|reason| reason.to_string()).unwrap_or_default()),
        ("REACH_NUMBER", item.number.to_string()),
        ("REACH_TIME", time(item.at)),
    ]
}

/// Runs the shell to its end, until `until()` at the latest, which is asked again and again. Returns the lines that it said,
/// and whether it went well; if not, why. The webhook and `REACH_*` of our own environment are kept from it.
fn run(
    arguments: &[&str],
    variables: &[(&str, String)],
    until: impl Fn() -> Instant,
) -> (Vec<String>, Result<(), String>) {
    let mut command = Command::new("sh");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that it can be ended with all that it started, and Ctrl-C is for us alone.
    command.process_group(0).env_remove("SLACK_WEBHOOK_URL");
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"REACH_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let begun = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return (Vec::new(), Err(format!("sh cannot be run: {error}"))),
    };
    let mut output = Output::of(&mut child);
    let (mut status, mut asked) = (None, None);
    let mut pause = Duration::from_millis(1);
    loop {
        // Most often its end closes the pipes, and so ends the pause.
        output.read(pause);
        pause = (pause * 2).min(PAUSE);
        status = status.or_else(|| child.try_wait().transpose());
        let now = Instant::now();
        match asked {
            None if status.is_some() => break,
            None if now >= until() => {
                sys::signal_group(child.id(), libc::SIGTERM);
                asked = Some(now);
            }
            None => {}
            Some(asked) => {
                // All of the group: the shell may be gone while what it started goes on.
                let gone = status.is_some() && !sys::signal_group(child.id(), 0);
                if gone || now >= asked + 2 * GRACE {
                    break;
                }
                if now >= asked + GRACE {
                    sys::signal_group(child.id(), libc::SIGKILL);
                }
            }
        }
    }
    let ended = match (asked, status) {
        (Some(asked), Some(_)) => Err(format!("ended after {}, it was still running", span(asked - begun))),
        (Some(_), None) => Err("cannot be ended, and is left alone".to_owned()),
        (None, Some(Ok(status))) => judge(status),
        (None, Some(Err(error))) => Err(format!("its status is lost: {error}")),
        (None, None) => Ok(()),
    };
    (output.lines(), ended)
}

fn judge(status: ExitStatus) -> Result<(), String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(format!("exit status {code}")),
        (None, Some(signal)) => Err(format!("signal {signal}")),
        (None, None) => Err(status.to_string()),
    }
}

/// What a command says. Not waited for to its end: what it left in the background may hold the pipes for ever.
struct Output {
    pipes: [Option<File>; 2],
    kept: Vec<u8>,
    more: bool,
}

impl Output {
    fn of(child: &mut Child) -> Output {
        let stdout = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let stderr = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        Output { pipes: [stdout, stderr], kept: Vec::new(), more: false }
    }

    /// Waits until it says something, or its pipes are closed, or the time is over; reads a bit. False when there was
    /// nothing.
    fn read(&mut self, timeout: Duration) -> bool {
        let readable = |pipes: [Option<&File>; 2], timeout| {
            let waited = sys::wait_readable(pipes.map(|pipe| pipe.map(AsFd::as_fd)), timeout);
            waited.map(|ready| ready.data || ready.errors).unwrap_or_else(|_| {
                thread::sleep(timeout);
                false
            })
        };
        if !readable(self.pipes.each_ref().map(Option::as_ref), timeout) {
            return false;
        }
        for slot in &mut self.pipes {
            let Some(pipe) = slot.as_mut().filter(|pipe| readable([Some(pipe), None], Duration::ZERO)) else {
                continue;
            };
            let mut buffer = [0; SHOWN];
            match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => *slot = None,
                Ok(length) => {
                    let room = length.min(SHOWN - self.kept.len());
                    self.kept.extend(&buffer[..room]);
                    self.more |= room < length;
                }
            }
        }
        true
    }

    /// All that it has said by now, as lines without control characters.
    fn lines(mut self) -> Vec<String> {
        // A full pipe of each, and no more: somebody in the background may go on and on.
        for _ in 0..2 * 65536 / SHOWN {
            if !self.read(Duration::ZERO) {
                break;
            }
        }
        let text = String::from_utf8_lossy(&self.kept);
        let lines = text.lines().map(|line| line.replace(char::is_control, " ").trim_end().to_owned());
        let more = self.more.then(|| format!("(more than {SHOWN} bytes; the rest is not shown)"));
        lines.filter(|line| !line.is_empty()).chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Change, Event, Failure, Move, Subject, What};
    use crate::target::{Target, TargetOptions};
    use std::time::SystemTime;

    fn told(number: u64, subject: impl FnOnce(Arc<Target>) -> Subject) -> Told {
        let target = Target::parse("gw=192.0.2.1", &TargetOptions::default()).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_354_029);
        let event = Event { at, subject: subject(Arc::new(target)) };
        Told { item: event.item(number), event }
    }

    #[test]
    fn each_kind_has_its_variables_and_the_others_are_empty() {
        let moved = Move { from: Loss::default(), to: Loss { lost: 16, of: 300 } };
        let failure = Failure { reason: What::NoRoute.into(), sent: false };
        let lasted = Duration::from_millis(5400);
        let change = |change: Change| move |target| Subject::Target(target, change);
        let told = [
            told(1, |target| Subject::Start(vec![target])),
            told(2, change(Change::Loss(moved))),
            told(3, change(Change::Down { failed: 10, lasted, failure, loss: Some(moved) })),
            told(4, change(Change::Up { failed: 10, lasted, loss: None, only_fresh: false })),
            told(5, |target| Subject::Gap(target, 4, lasted)),
        ];
        let texts = told.each_ref().map(|told| told.item.text.clone());
        let since = "2026-11-22T13:27:03Z";
        let expected: [[&str; 11]; 5] = [
            ["START", "", "", &texts[0], "", "", "", "", "", "1", ""],
            ["LOSS", "192.0.2.1", "gw", &texts[1], "5.33", "0.00", "", "", "", "2", ""],
            ["DOWN", "192.0.2.1", "gw", &texts[2], "5.33", "0.00", since, "5", "not sent: no route", "3", ""],
            ["UP", "192.0.2.1", "gw", &texts[3], "", "", since, "5", "", "4", ""],
            ["GAP", "192.0.2.1", "gw", &texts[4], "", "", since, "", "", "5", ""],
        ];
        for (told, mut expected) in told.iter().zip(expected) {
            expected[10] = "2026-11-22T13:27:09Z";
            assert_eq!(variables(told).map(|(_, value)| value), expected);
        }
    }

    #[test]
    fn beyond_the_bound_the_oldest_are_left_out() {
        let mut queue = Queue::default();
        let batch: Vec<_> = (1..=BOUND as u64 - 1).map(|number| told(number, |_| Subject::Stop("x".into()))).collect();
        let one = |number| [told(number, |_| Subject::Stop("x".into()))];
        assert!(!queue.add(&batch) && !queue.add(&one(10_000)));
        assert!(queue.add(&one(10_001)), "the first that is left out is told of");
        assert!(!queue.add(&one(10_002)), "and no other");
        let number = |told: Option<&Told>| told.map(|told| told.item.number);
        assert_eq!((number(queue.waiting.front()), number(queue.waiting.back())), (Some(3), Some(10_002)));
        assert_eq!((queue.waiting.len(), queue.left_out), (BOUND, 2));
    }
}
