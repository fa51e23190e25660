//! What is shown. Everything for stdout and stderr goes through one thread, so that a terminal that is stopped (Ctrl-S)
//! or a pipe that nobody reads holds up no check, no log line and no POST.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

pub mod files;
pub mod json;
pub mod metrics;
pub mod page;
pub mod summary;
pub mod terminal;
pub mod verbose;

use crate::clock::Clock;
use crate::stats::Board;
use crate::sync::{self, Channel};
use crate::sys;
use terminal::{Style, Window};

/// Where each check is shown, with `--verbose`.
#[derive(Clone)]
pub struct Verbose {
    /// The way there.
    pub screen: Screen,
    /// As a JSON line?
    pub json: bool,
}

/// How often the table is drawn, if nothing else is to be shown.
const TICK: Duration = Duration::from_secs(1);

/// So many lines may wait for a slow reader; beyond that lines are left out, and stderr says so.
const WAITING: usize = 2000;

/// So many bytes of lines, or somewhat more, go above the table with one frame.
const FRAME: usize = 64 * 1024;

enum Line {
    Out(String),
    Err(String),
    Flush(Arc<Channel<()>>),
    /// From now on there is a table.
    Table(Table),
    /// Takes the table away.
    Hide,
    /// The table begins where the cursor stands.
    Show,
}

/// The way to stdout and stderr. Never blocks.
#[derive(Clone)]
pub struct Screen {
    lines: Arc<Channel<Line>>,
    closed: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    /// The thread that shows, and the one that started it.
    threads: [ThreadId; 2],
}

impl Screen {
    /// Starts the thread; `on_closed` is called when stdout turns out to be closed (a broken pipe). Errors: no thread
    /// could be made; the caller exits with 2.
    pub fn start(on_closed: impl FnOnce() + Send + 'static) -> io::Result<Screen> {
        let lines = Arc::<Channel<Line>>::default();
        let closed = Arc::new(AtomicBool::new(false));
        let full = Arc::new(AtomicBool::new(false));
        let mut shower = Shower {
            waiting: Arc::clone(&lines),
            closed: Arc::clone(&closed),
            full: Arc::clone(&full),
            on_closed: Some(Box::new(on_closed)),
            terminal: io::stdout().is_terminal() || io::stderr().is_terminal(),
            table: None,
        };
        let shows = sync::start("screen", move || shower.run())?;
        Ok(Screen { lines, closed, full, threads: [shows.id(), thread::current().id()] })
    }

    /// A line for stdout, with or without its newline.
    pub fn out(&self, line: String) {
        self.put(Line::Out(line));
    }

    /// A message for stderr, prefixed with the program's name.
    pub fn err(&self, message: &str) {
        self.put(Line::Err(format!("reachabilitycheck: {message}\n")));
    }

    /// Says that the current thread has panicked.
    pub fn panicked(&self, message: &str) {
        let [shows, main] = self.threads;
        let current = thread::current().id();
        if current == shows {
            // It cannot tell itself.
            let _ = writeln!(io::stderr(), "reachabilitycheck: {message}");
            return;
        }
        self.err(message);
        if current == main {
            // The program ends with it.
            self.hide();
            self.flush(TICK);
        }
    }

    /// From now on a table is drawn below all lines.
    pub fn table(&self, table: Table) {
        self.put(Line::Table(table));
    }

    /// Takes the table off the terminal, until [`Screen::show`].
    pub fn hide(&self) {
        self.put(Line::Hide);
    }

    /// Draws the table, if there is one, where the cursor stands now: after `hide`, or when something else may have
    /// moved the cursor.
    pub fn show(&self) {
        self.put(Line::Show);
    }

    /// Was stdout found closed?
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits until what was given so far is shown, for `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let shown = Arc::<Channel<()>>::default();
        let mut line = Line::Flush(Arc::clone(&shown));
        // While the queue is full there is all the more to wait for.
        while let Err(back) = self.lines.put_below(WAITING, line) {
            if Instant::now() >= until {
                return;
            }
            line = back;
            thread::sleep(Duration::from_millis(10));
        }
        shown.wait(Some(until.saturating_duration_since(Instant::now())));
    }

    fn put(&self, line: Line) {
        if self.lines.put_below(WAITING, line).is_err() {
            self.full.store(true, Ordering::Relaxed);
        }
    }
}

/// The live table, and the terminal that it is drawn on.
pub struct Table {
    terminal: File,
    /// Is stderr the same terminal?
    takes_stderr: bool,
    style: Style,
    board: Arc<Board>,
    clock: Clock,
    hidden: bool,
    /// The window in which it stands now, with the cursor at its upper left.
    drawn: Option<Window>,
}

impl Table {
    /// On stdout; None: that is no terminal, or one that can show no table.
    pub fn new(board: Arc<Board>, clock: Clock) -> Option<Table> {
        let style = Style::of(|name| env::var(name).ok())?;
        let file = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from).ok();
        let device = |file: &File| file.metadata().map(|data| data.rdev()).ok();
        let terminal = file(io::stdout().as_fd()).filter(File::is_terminal)?;
        let takes_stderr = file(io::stderr().as_fd()).is_some_and(|stderr| device(&stderr) == device(&terminal));
        Some(Table { terminal, takes_stderr, style, board, clock, hidden: false, drawn: None })
    }

    /// Writes lines, and below them the table: in one call, so that nothing flickers.
    fn draw(&mut self, above: &str) {
        let above = self.style.plain(above);
        let front = sys::in_foreground(self.terminal.as_fd());
        let window = self.window().filter(|_| front && !self.hidden);
        let lines = window.map_or_else(Vec::new, |window| {
            let targets = self.board.targets();
            let counts: Vec<_> = targets.iter().map(|(target, stats)| (Arc::clone(target), stats.read())).collect();
            terminal::lines(&counts, |at| targets[at].1.latest(), self.clock.now(), window, self.style)
        });
        // In the background the screen is another's, and what is on it.
        let text = match self.drawn.filter(|_| front) {
            None if lines.is_empty() => above,
            before => terminal::frame(&above, &lines, before.is_some() && (before == window || window.is_none())),
        };
        // A terminal that is gone sends SIGHUP.
        let _ = self.terminal.write_all(text.as_bytes());
        self.drawn = window;
    }

    /// The window; None: the terminal is gone.
    fn window(&self) -> Option<Window> {
        let (rows, columns) = sys::window(self.terminal.as_fd())?;
        // A serial line does not know.
        let or = |size: u16, usual| if size == 0 { usual } else { usize::from(size) };
        Some(Window { rows: or(rows, 24), columns: or(columns, 80) })
    }
}

/// Would writing stop the whole program, as it runs in the background and `stty tostop` is set?
fn must_wait() -> bool {
    let stops = |fd: BorrowedFd<'_>| !sys::in_foreground(fd) && sys::stops_background(fd);
    stops(io::stdout().as_fd()) || stops(io::stderr().as_fd())
}

/// The thread behind a [`Screen`].
struct Shower {
    waiting: Arc<Channel<Line>>,
    closed: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
    on_closed: Option<Box<dyn FnOnce() + Send>>,
    /// Is anything that is written to a terminal?
    terminal: bool,
    table: Option<Table>,
}

impl Shower {
    fn run(&mut self) {
        loop {
            let next = self.waiting.wait(self.table.is_some().then_some(TICK));
            while self.terminal && must_wait() {
                thread::sleep(TICK);
            }
            match next {
                None => self.draw(""),
                Some(line) => self.show(line),
            }
        }
    }

    /// Shows a line; with a table, all that wait, in one go.
    fn show(&mut self, line: Line) {
        let mut above = String::new();
        let mut shown = Vec::new();
        let mut next = Some(line);
        while let Some(line) = next.take() {
            match line {
                Line::Out(mut line) => {
                    if !line.ends_with('\n') {
                        line.push('\n');
                    }
                    match self.table {
                        Some(_) => above.push_str(&line),
                        None => self.write(&line),
                    }
                }
                Line::Err(line) => self.complain(&line, &mut above),
                Line::Flush(done) => shown.push(done),
                Line::Table(table) => self.table = Some(table),
                Line::Hide => self.with_table(|table| table.hidden = true),
                Line::Show => self.with_table(|table| (table.hidden, table.drawn) = (false, None)),
            }
            if self.full.swap(false, Ordering::Relaxed) {
                self.complain("reachabilitycheck: stdout is slow, some lines were not shown\n", &mut above);
            }
            if self.table.is_some() && shown.is_empty() && above.len() < FRAME {
                next = self.waiting.take();
            }
        }
        self.draw(&above);
        for done in shown {
            done.put(());
        }
    }

    fn with_table(&mut self, change: impl FnOnce(&mut Table)) {
        self.table.as_mut().map(change);
    }

    /// Draws the table, if there is one. Should that fail, there is none any more.
    fn draw(&mut self, above: &str) {
        if let Some(mut table) = self.table.take() {
            table.draw(above);
            self.table = Some(table);
        }
    }

    fn write(&mut self, line: &str) {
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        // Only a reader that went away ends the program; a full disk behind a redirect does not.
        if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.closed.store(true, Ordering::Relaxed);
            if let Some(tell) = self.on_closed.take() {
                tell();
            }
        }
    }

    /// Writes to stderr; nobody can be told when that fails. If the table may be in the way there, it goes among the lines
    /// above it.
    fn complain(&mut self, text: &str, above: &mut String) {
        match &self.table {
            Some(table) if table.takes_stderr => above.push_str(text),
            _ => drop(io::stderr().write_all(text.as_bytes())),
        }
    }
}
