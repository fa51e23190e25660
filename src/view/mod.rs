//! What is shown. Everything for stdout and stderr goes through one thread, so that a terminal that is stopped (Ctrl-S)
//! or a pipe that nobody reads holds up no check, no log line and no POST.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

pub mod files;
pub mod json;
pub mod metrics;
pub mod summary;
pub mod verbose;

/// Where each check is shown, with `--verbose`.
#[derive(Clone)]
pub struct Verbose {
    /// The way there.
    pub screen: Screen,
    /// As a JSON line?
    pub json: bool,
}

/// So many lines may wait for a slow reader; beyond that lines are left out, and stderr says so.
const WAITING: usize = 2000;

enum Line {
    Out(String),
    Err(String),
    Flush(SyncSender<()>),
}

/// The way to stdout and stderr. Never blocks.
#[derive(Clone)]
pub struct Screen {
    lines: SyncSender<Line>,
    closed: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
}

impl Screen {
    /// Starts the thread; `on_closed` is called when stdout turns out to be closed (a broken pipe). Errors: no thread
    /// could be made; the caller exits with 2.
    pub fn start(on_closed: impl FnOnce() + Send + 'static) -> io::Result<Screen> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let closed = Arc::new(AtomicBool::new(false));
        let full = Arc::new(AtomicBool::new(false));
        let screen = Screen { lines, closed: Arc::clone(&closed), full: Arc::clone(&full) };
        thread::Builder::new().name("screen".to_owned()).spawn(move || show(&waiting, &closed, &full, on_closed))?;
        Ok(screen)
    }

    /// A line for stdout, with or without its newline.
    pub fn out(&self, line: String) {
        self.put(Line::Out(line));
    }

    /// A message for stderr, prefixed with the program's name.
    pub fn err(&self, message: &str) {
        self.put(Line::Err(format!("reachabilitycheck: {message}\n")));
    }

    /// Was stdout found closed?
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits until what was given so far is shown, for `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let (shown, wait) = mpsc::sync_channel(1);
        self.put(Line::Flush(shown));
        let _ = wait.recv_timeout(limit);
    }

    fn put(&self, line: Line) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.full.store(true, Ordering::Relaxed);
        }
    }
}

fn show(waiting: &Receiver<Line>, closed: &AtomicBool, full: &AtomicBool, on_closed: impl FnOnce()) {
    let mut on_closed = Some(on_closed);
    while let Ok(line) = waiting.recv() {
        match line {
            Line::Out(mut line) => {
                if closed.load(Ordering::Relaxed) {
                    continue;
                }
                if !line.ends_with('\n') {
                    line.push('\n');
                }
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
                // Only a reader that went away ends the program; a full disk behind a redirect does not.
                if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                    closed.store(true, Ordering::Relaxed);
                    if let Some(tell) = on_closed.take() {
                        tell();
                    }
                }
            }
            Line::Err(line) => complain(&line),
            Line::Flush(shown) => {
                let _ = shown.try_send(());
            }
        }
        if full.swap(false, Ordering::Relaxed) {
            complain("reachabilitycheck: stdout is slow, some lines were not shown\n");
        }
    }
}

/// Writes to stderr; nobody can be told when that fails.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
