//! Files that others read: the metrics and the status page. One thread with a tick of its own writes each beside its place
//! and renames it, so that a reader sees a whole one or the one before.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::page::{self, Page};
use super::{Screen, metrics};
use crate::clock::Clock;
use crate::event::Item;
use crate::history::{History, Sight, TOLD_KEPT};
use crate::history_file::HistoryFile;
use crate::state::sibling;
use crate::stats::Board;
use crate::sync::{self, Channel, lock};
use crate::target::shown_path;
use crate::writer::{Listener, Waiting};

/// How often the files are replaced.
const TICK: Duration = Duration::from_secs(10);

/// The first time: most targets have answered then, or not.
const FIRST: Duration = Duration::from_secs(2);

/// For more targets than this the page is written with every sixth tick only: it is large then.
const MANY: usize = 1000;

/// What is written, and of what.
pub struct Sources {
    /// The Prometheus textfile.
    pub metrics: Option<PathBuf>,
    /// The status page.
    pub page: Option<StatusPage>,
    /// The counts.
    pub board: Arc<Board>,
    /// What waits for Slack.
    pub waiting: Waiting,
    /// The clocks.
    pub clock: Clock,
    /// For what goes wrong.
    pub screen: Screen,
}

/// What the status page needs besides.
pub struct StatusPage {
    /// The page.
    pub path: PathBuf,
    /// Its history; None: it ends with the process.
    pub history: Option<PathBuf>,
    /// What this monitor calls itself.
    pub monitor: String,
    /// The notifications that the page has not seen yet.
    pub latest: Latest,
}

/// The latest notifications, on their way from the writer to the page.
#[derive(Clone, Default)]
pub struct Latest(Arc<Mutex<VecDeque<Item>>>);

impl Latest {
    /// For the writer.
    pub fn listener(&self) -> Listener {
        let latest = Arc::clone(&self.0);
        Box::new(move |told| {
            let mut latest = lock(&latest);
            latest.extend(told.iter().skip(told.len().saturating_sub(TOLD_KEPT)).map(|one| one.item.clone()));
            let surplus = latest.len().saturating_sub(TOLD_KEPT);
            latest.drain(..surplus);
        })
    }

    fn take(&self) -> VecDeque<Item> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// The thread, as the program's main thread sees it.
pub struct Files(Arc<Ends>);

/// What the two tell each other at the end of the program.
#[derive(Default)]
struct Ends {
    ask: Channel<()>,
    done: Channel<()>,
}

impl Files {
    /// Finds out whether each file can be written, and starts the thread. What an earlier run wrote stays until there is
    /// something to say of the targets. Errors: one line for the user; the caller exits with 2.
    pub fn start(sources: Sources) -> Result<Files, String> {
        let mut desk = Desk::open(sources)?;
        let files = Files(Arc::default());
        let ends = Arc::clone(&files.0);
        sync::start("files", move || desk.run(&ends)).map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(files)
    }

    /// Writes everything a last time, for `limit` at most.
    pub fn finish(self, limit: Duration) {
        self.0.ask.put(());
        self.0.done.wait(Some(limit));
    }
}

impl Sources {
    /// The files, each with its option.
    fn places(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let page = self.page.as_ref().map(|page| ("--page", &*page.path));
        self.metrics.as_deref().map(|path| ("--metrics", path)).into_iter().chain(page)
    }
}

/// What the thread works with.
struct Desk {
    sources: Sources,
    history: History,
    file: Option<HistoryFile>,
    /// Each file that is written, by name, and whether that failed the last time.
    failing: Vec<(String, bool)>,
    ticks: u32,
}

impl Desk {
    fn open(sources: Sources) -> Result<Desk, String> {
        let mut history = History::default();
        let mut file = None;
        if let Some(path) = sources.page.as_ref().and_then(|page| page.history.as_deref()) {
            let (opened, damaged) = HistoryFile::open(path, &mut history)?;
            if let Some(aside) = damaged {
                let (name, aside) = (shown_path(path), shown_path(&aside));
                sources
                    .screen
                    .err(&format!("the history {name} was damaged: moved to {aside}, what was whole is kept"));
            }
            file = Some(opened);
            history.tidy(sources.clock.now(), wall(&sources.clock).as_secs());
        }
        for (option, path) in sources.places() {
            try_place(path).map_err(|error| format!("{option}: {} cannot be written: {error}", shown_path(path)))?;
        }
        Ok(Desk { sources, history, file, failing: Vec::new(), ticks: 0 })
    }

    /// Until the end of the program.
    fn run(&mut self, ends: &Ends) {
        let mut pause = FIRST;
        loop {
            let end = ends.ask.wait(Some(pause)).is_some();
            pause = TICK;
            for (name, result) in self.write(end) {
                self.say(name, &result);
            }
            if end {
                ends.done.put(());
                return;
            }
        }
    }

    /// Says once that a file cannot be written, and once that it can again.
    fn say(&mut self, name: String, result: &io::Result<()>) {
        let known = self.failing.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.failing.push((name.clone(), false));
            self.failing.len() - 1
        });
        let failed = std::mem::replace(&mut self.failing[known].1, result.is_err());
        match result {
            Err(error) if !failed => {
                self.sources.screen.err(&format!("{name} cannot be written: {error}; tried again"));
            }
            Ok(()) if failed => self.sources.screen.err(&format!("{name} is written again")),
            _ => {}
        }
    }

    /// Writes each file; the name of each, and what is wrong with it. What failed is tried again at the next tick.
    fn write(&mut self, end: bool) -> Vec<(String, io::Result<()>)> {
        let (clock, board) = (self.sources.clock, Arc::clone(&self.sources.board));
        let mut written = Vec::new();
        if let Some(path) = &self.sources.metrics {
            let text = metrics::render(&board.counts(), self.sources.waiting.len(), clock.now());
            written.push((format!("--metrics: {}", shown_path(path)), replace(path, text.as_bytes())));
        }
        let Some(status) = &self.sources.page else {
            return written;
        };
        let (now, wall) = (clock.now(), wall(&clock));
        let mut targets = Vec::new();
        for (target, stats) in board.targets() {
            let (counts, peak, options) = (stats.read(), stats.take_peak(), &target.options);
            let sight = Sight {
                name: &target.name,
                interval: options.interval,
                timeout: options.timeout,
                counts: &counts,
                peak,
            };
            self.history.note(&sight, now, wall.as_secs());
            targets.push((target, counts));
        }
        status.latest.take().into_iter().for_each(|item| self.history.tell(item));
        let every = if targets.len() > MANY { 6 } else { 1 };
        if end || self.ticks % every == 0 {
            let page = Page {
                monitor: &status.monitor,
                targets: &targets,
                history: &self.history,
                waiting: self.sources.waiting.len(),
                now,
                wall,
                next: (!end).then_some(u64::from(every) * TICK.as_secs()),
            };
            let html = page::render(&page);
            written.push((format!("--page: {}", shown_path(&status.path)), replace(&status.path, html.as_bytes())));
        }
        self.ticks = self.ticks.wrapping_add(1);
        if let (Some(file), Some(path)) = (&mut self.file, &status.history) {
            let saved = file.save(&mut self.history, (now, wall.as_secs()), end);
            written.push((format!("--page: its history {}", shown_path(path)), saved));
        }
        written
    }
}

/// The wall clock, since 1970.
fn wall(clock: &Clock) -> Duration {
    clock.wall(clock.now()).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Replaces a file as a whole. It may be read by all: a web server or an exporter runs as another user. Errors: of the file
/// system; the old file stays.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (beside, mut file) = begin(path)?;
    let written = file.write_all(bytes).and_then(|()| file.set_permissions(Permissions::from_mode(0o644)));
    written.and_then(|()| fs::rename(&beside, path)).inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// Opens the file that will take the place of another.
fn begin(path: &Path) -> io::Result<(PathBuf, File)> {
    let beside = sibling(path, ".new");
    // A left-over of a run that was killed may be in the way; a link that somebody put there is removed, not followed.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    Ok((beside, file))
}

/// Can the file be replaced? Errors: why not; the caller exits with 2.
pub fn try_place(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        // A device or a pipe would be gone: the new file takes the place of the old.
        Ok(about) if !about.is_file() => return Err(io::Error::other("it is not a regular file")),
        _ => {}
    }
    begin(path).and_then(|(beside, _)| fs::remove_file(beside))
}
