//! Runs the program under test, in a directory of its own and without the caller's proxies and webhook.

use super::{sys, wait_until};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs, process};

/// What the program has said until now.
#[derive(Clone, Debug, Default)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    /// The text of `reachability.log` in its directory.
    pub log: String,
}

/// How a run ended, and all it said.
#[derive(Clone, Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub log: String,
}

/// A run being prepared.
pub struct Setup {
    args: Vec<OsString>,
    before: Vec<OsString>,
    env: Vec<(String, OsString)>,
    stdin: Option<String>,
    dir: Option<Arc<TempDir>>,
}

/// A run of the program. Killed when dropped.
pub struct Monitor {
    child: Child,
    status: Option<ExitStatus>,
    stdout: Gather,
    stderr: Gather,
    dir: Arc<TempDir>,
}

/// Runs the program with these arguments to its end (30 s at most).
pub fn run(args: &[&str]) -> Ended {
    Monitor::start(args).finish(Duration::from_secs(30))
}

/// Of a target's line of the summary: sent, answered, unsent, gaps.
pub fn counts(ended: &Ended, name: &str) -> [u64; 4] {
    let line = |line: &&str| line.split_once(" : ").is_some_and(|(of, _)| of.trim_end() == name);
    let line = ended.stdout.lines().find(line).unwrap_or_else(|| panic!("no summary of {name}: {ended:#?}"));
    let words: Vec<&str> = line.split([' ', '/', ',']).collect();
    let find = |word| words.iter().position(|one| *one == word);
    let at = |word, by: usize| find(word).map_or(0, |at| words[at + by].parse().expect(line));
    [at("=", 1), at("=", 2), at("unsent", 1), at("gaps", 1)]
}

/// The log's lines but for GAP: whether this machine oversleeps is not the question here.
pub fn told(ended: &Ended) -> Vec<&str> {
    ended.log.lines().filter(|line| !line.contains(" GAP ")).collect()
}

impl Monitor {
    /// Starts the program with these arguments.
    pub fn start(args: &[&str]) -> Monitor {
        Monitor::with(args).start()
    }

    /// Prepares a run with these arguments.
    pub fn with(args: &[&str]) -> Setup {
        Setup {
            args: args.iter().map(OsString::from).collect(),
            before: Vec::new(),
            env: Vec::new(),
            stdin: None,
            dir: None,
        }
    }

    /// The directory it runs in; give it to another run's `Setup::dir` to go on from its state.
    pub fn dir(&self) -> Arc<TempDir> {
        self.dir.clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: i32) {
        let _ = sys::kill(self.pid() as i32, signal);
    }

    /// How many threads it has now.
    pub fn threads(&self) -> usize {
        entries(&format!("/proc/{}/task", self.pid()))
    }

    /// How many file descriptors it has open now.
    pub fn fds(&self) -> usize {
        entries(&format!("/proc/{}/fd", self.pid()))
    }

    pub fn log(&self) -> String {
        self.dir.read("reachability.log")
    }

    pub fn output(&self) -> Output {
        Output { stdout: self.stdout.text(), stderr: self.stderr.text(), log: self.log() }
    }

    pub fn running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child");
        }
        self.status.is_none()
    }

    /// Waits until what it said satisfies `wanted`; false if it does not in time, or ended before.
    pub fn wait_line(&mut self, wanted: impl Fn(&Output) -> bool, timeout: Duration) -> bool {
        let mut found = false;
        wait_until(timeout, || {
            // In this order: what it said last is looked at once more after it ended.
            let running = self.running();
            found = wanted(&self.output());
            found || !running
        });
        found
    }

    /// Waits until the log has `text`.
    pub fn wait_log(&mut self, text: &str, timeout: Duration) -> bool {
        self.wait_line(|all| all.log.contains(text), timeout)
    }

    /// Waits for its end; kills it and panics with all it said if that does not come in time.
    pub fn finish(mut self, timeout: Duration) -> Ended {
        if !wait_until(timeout, || !self.running()) {
            let all = self.output();
            self.kill();
            panic!("still running after {timeout:?}: {all:#?}");
        }
        self.ended()
    }

    /// Ctrl-C, then waits for its end (20 s at most).
    pub fn stop(self) -> Ended {
        self.signal(libc::SIGINT);
        self.finish(Duration::from_secs(20))
    }

    /// `kill -9`.
    pub fn kill_9(mut self) -> Ended {
        self.kill();
        self.ended()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        if self.status.is_none() {
            self.status = self.child.wait().ok();
        }
    }

    fn ended(&self) -> Ended {
        Ended {
            code: self.status.and_then(|status| status.code()),
            signal: self.status.and_then(|status| status.signal()),
            stdout: self.stdout.text_at_end(),
            stderr: self.stderr.text_at_end(),
            log: self.log(),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Setup {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Setup {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// What it reads from stdin (else nothing).
    pub fn stdin(mut self, text: &str) -> Setup {
        self.stdin = Some(text.into());
        self
    }

    /// The directory it runs in (else a fresh one), kept until the last that holds it lets go.
    pub fn dir(mut self, dir: &Arc<TempDir>) -> Setup {
        self.dir = Some(dir.clone());
        self
    }

    /// Runs it by another program that then becomes it: `.under(&["setpriv", "--bounding-set", "-all"])`, or
    /// `.under(&["sh", "-c", "ulimit -n 20; exec \"$@\"", "sh"])`.
    pub fn under(mut self, words: &[&str]) -> Setup {
        self.before = words.iter().map(OsString::from).collect();
        self
    }

    pub fn start(self) -> Monitor {
        let dir = self.dir.unwrap_or_else(|| Arc::new(TempDir::new()));
        let mut words = VecDeque::from(self.before);
        // Another build may be named, with what runs it: REACH_PROGRAM="qemu-arm /path/to/reachabilitycheck".
        match env::var("REACH_PROGRAM") {
            Ok(program) => words.extend(program.split_whitespace().map(OsString::from)),
            Err(_) => words.push_back(env!("CARGO_BIN_EXE_reachabilitycheck").into()),
        }
        words.extend(self.args);
        let program = words.pop_front().expect("at least the program itself");
        let mut command = Command::new(&program);
        command.args(words).current_dir(dir.path());
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command.env_remove("SLACK_WEBHOOK_URL").envs(self.env);
        command.stdin(match self.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {program:?}: {error}"));
        if let (Some(text), Some(mut stdin)) = (self.stdin, child.stdin.take()) {
            // By a thread: a program that does not read must not hold up the test.
            thread::spawn(move || stdin.write_all(text.as_bytes()));
        }
        let stdout = gather(child.stdout.take().expect("stdout is a pipe"));
        let stderr = gather(child.stderr.take().expect("stderr is a pipe"));
        Monitor { child, status: None, stdout, stderr, dir }
    }

    /// Starts it and waits for its end (30 s at most).
    pub fn run(self) -> Ended {
        self.start().finish(Duration::from_secs(30))
    }
}

fn entries(dir: &str) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// What a thread reads from a pipe.
pub struct Gather {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

/// Reads a pipe to its end by a thread.
pub fn gather(mut pipe: impl Read + Send + 'static) -> Gather {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let to = bytes.clone();
    let thread = thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            to.extend(&buffer[..length]);
        }
    });
    Gather { bytes, thread }
}

impl Gather {
    /// What was read until now.
    pub fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All of it, once the writer has ended. Not waited for long: a child that the writer left behind may hold the pipe.
    pub fn text_at_end(&self) -> String {
        wait_until(Duration::from_secs(5), || self.thread.is_finished());
        self.text()
    }
}

/// A fresh directory, removed when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("reach-lab-{}-{count}", process::id());
            let dir = env::temp_dir().join(name);
            match fs::create_dir(&dir) {
                Ok(()) => return TempDir(dir),
                // Left by an earlier process with our number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make {}: {error}", dir.display()),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, as text for an argument.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").into()
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).expect("our own directory can be written to");
    }

    /// Reads a file in it; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
