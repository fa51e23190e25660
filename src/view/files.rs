//! Files that others read: the metrics and the status page. One thread with a tick of its own writes each beside its place
//! and renames it, so that a reader sees a whole one or the one before.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use super::Screen;
use super::metrics;
use crate::clock::Clock;
use crate::stats::Board;
use crate::target::shown_path;
use crate::writer::Waiting;

/// How often the files are replaced.
const TICK: Duration = Duration::from_secs(10);

/// What is written, and of what.
pub struct Sources {
    /// The Prometheus textfile.
    pub metrics: Option<PathBuf>,
    /// The counts.
    pub board: Arc<Board>,
    /// What waits for Slack.
    pub waiting: Waiting,
    /// The clocks.
    pub clock: Clock,
    /// For what goes wrong.
    pub screen: Screen,
}

/// The thread, as the program's main thread sees it.
pub struct Files {
    end: SyncSender<SyncSender<()>>,
}

impl Files {
    /// Writes every file once, so that a place that cannot be written is found at the start, and starts the thread. Errors:
    /// one line for the user; the caller exits with 2.
    pub fn start(sources: Sources) -> Result<Files, String> {
        sources.write().map_err(|(name, error)| format!("{name} cannot be written: {error}"))?;
        let (end, ended) = mpsc::sync_channel::<SyncSender<()>>(1);
        let run = move || {
            let mut failing = false;
            loop {
                let done = ended.recv_timeout(TICK);
                let failed = sources.write().err();
                match (&failed, failing) {
                    (Some((name, error)), false) => {
                        sources.screen.err(&format!("{name} cannot be written: {error}; tried again"));
                    }
                    (None, true) => sources.screen.err("metrics and page are written again"),
                    _ => {}
                }
                failing = failed.is_some();
                match done {
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Ok(done) => {
                        let _ = done.try_send(());
                        return;
                    }
                }
            }
        };
        let started = thread::Builder::new().name("files".to_owned()).spawn(run);
        started.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Files { end })
    }

    /// Writes everything a last time, for `limit` at most.
    pub fn finish(self, limit: Duration) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.end.try_send(done).is_ok() {
            let _ = wait.recv_timeout(limit);
        }
    }
}

impl Sources {
    /// Errors: the file and what is wrong; tried again at the next tick.
    fn write(&self) -> Result<(), (String, io::Error)> {
        if let Some(path) = &self.metrics {
            let text = metrics::render(&self.board.counts(), self.waiting.len(), self.clock.now());
            replace(path, text.as_bytes()).map_err(|error| (format!("--metrics: {}", shown_path(path)), error))?;
        }
        Ok(())
    }
}

/// Replaces a file as a whole. It may be read by all: a web server or an exporter runs as another user. Errors: of the file
/// system; the old file stays.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.set_permissions(Permissions::from_mode(0o644)));
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}
