//! A whole run: read what the options name, start the threads, wait, end.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::checkup;
use crate::clock::Clock;
use crate::config::{Config, Given, Output};
use crate::event::{Event, Subject};
use crate::flags::{self, Typed};
use crate::monitor::{Monitor, Source};
use crate::resolver::Resolver;
use crate::schedule::spread;
use crate::sink::log::LogFile;
use crate::sink::slack::{self, Slack};
use crate::stats::{Counts, Stats};
use crate::sync;
use crate::target::{Check, Host, Target, shown};
use crate::view::{Screen, summary};
use crate::writer::{Message, Sinks, Writer};

/// Bad usage, bad configuration, no right to send.
const UNUSABLE: u8 = 2;

/// With `--count`: some target is not well.
const NOT_WELL: u8 = 1;

/// At the end by a signal Slack gets this long.
const LAST_TRY: Duration = Duration::from_secs(2);

/// At the end stdout gets this long to take what was not shown yet.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Runs the program with these arguments (without its name) and returns its exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(status) => status.into(),
        Err(message) => {
            let _ = writeln!(io::stderr(), "reachabilitycheck: {message}");
            UNUSABLE.into()
        }
    }
}

fn run(args: impl IntoIterator<Item = OsString>) -> Result<u8, String> {
    let typed = flags::parse(args)?;
    if typed.help || typed.version {
        let text =
            if typed.help { flags::help(80) } else { format!("reachabilitycheck {}\n", env!("CARGO_PKG_VERSION")) };
        // A reader that went away (`--help | head`) has what it wanted.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(0);
    }
    let config = configure(&typed)?;
    if config.check_up {
        return Ok(if checkup::run(config) { 0 } else { UNUSABLE });
    }
    watch(config)
}

/// Reads the files and the variable that the options name. Errors: one line that names the file.
fn configure(typed: &Typed) -> Result<Config, String> {
    let target_files = typed.files.iter().map(|file| read_text("--file", file)).collect::<Result<Vec<_>, _>>()?;
    let url_file = typed.slack_url_file.as_deref().map(|file| read_text("--slack-url-file", file)).transpose()?;
    let slack_env = match std::env::var("SLACK_WEBHOOK_URL") {
        Ok(url) => Some(url),
        Err(std::env::VarError::NotPresent) => None,
        Err(_) => return Err("SLACK_WEBHOOK_URL: not a URL (not UTF-8)".to_owned()),
    };
    Config::new(
        typed,
        Given {
            target_files: &target_files,
            slack_url_file: url_file.as_ref().map(|(name, text)| (&**name, &**text)),
            slack_env: slack_env.as_deref(),
        },
    )
}

/// A file's name for messages, and its text; `-` is stdin.
fn read_text(option: &str, path: &Path) -> Result<(String, String), String> {
    let stdin = path.as_os_str() == "-";
    let name = if stdin { "stdin".to_owned() } else { path.to_string_lossy().into_owned() };
    let mut text = String::new();
    let read = if stdin {
        io::stdin().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|read| text = read)
    };
    match read {
        Ok(()) => Ok((name, text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(format!("{option}: {} cannot be read: it is not UTF-8 text", shown(&name)))
        }
        Err(error) => Err(format!("{option}: {} cannot be read: {error}", shown(&name))),
    }
}

/// Why the program ends.
enum End {
    AllChecksDone,
    StdoutClosed,
    Signal(&'static str),
}

fn watch(config: Config) -> Result<u8, String> {
    sync::report_panics_on_one_line();
    let clock = Clock::start();
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("cannot take signals: {error}"))?;
    let (on_closed, on_done) = (signals.handle(), signals.handle());
    let no_thread = |error| format!("cannot start a thread: {error}");
    let screen = Screen::start(move || on_closed.close()).map_err(no_thread)?;
    checkup::may_send(&config.targets)?;
    let log = config.log.as_deref().map(open_log).transpose()?;
    if config.slack.is_none() {
        screen.err("Slack is off: no --slack-url, --slack-url-file or SLACK_WEBHOOK_URL");
    }
    let sinks = Sinks { log, slack: config.slack.map(Slack::new), show: config.output != Output::Quiet };
    let writer = Writer::start(sinks, clock, screen.clone()).map_err(no_thread)?;
    let targets: Vec<Arc<Target>> = config.targets.into_iter().map(Arc::new).collect();
    let tell = |subject| {
        let at = clock.wall(clock.now());
        let _ = writer.sender().send(Message::Event(Event { at, subject }));
    };
    if config.count.is_none() {
        tell(Subject::Start(targets.clone()));
    }

    let mut resolver = Resolver::default();
    let sources: Vec<Source> = targets
        .iter()
        .map(|target| match &target.host {
            Host::Address(address) => Source::Fixed(*address),
            Host::Name(name) => Source::Name(resolver.add(name, target.options.family)),
        })
        .collect();
    resolver.start(clock).map_err(no_thread)?;
    let left = Arc::new(AtomicUsize::new(targets.len()));
    let stats: Vec<Arc<Stats>> = targets.iter().map(|_| Arc::default()).collect();
    let start = clock.now();
    for (index, (target, source)) in targets.iter().zip(sources).enumerate() {
        let monitor = Monitor {
            target: Arc::clone(target),
            source,
            clock,
            events: writer.sender(),
            verbose: (config.output == Output::Verbose).then(|| screen.clone()),
            stats: Arc::clone(&stats[index]),
            count: config.count,
            first: start + spread(index, targets.len(), target.options.interval),
        };
        let (left, on_done) = (Arc::clone(&left), on_done.clone());
        let done = move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                on_done.close();
            }
        };
        monitor
            .spawn(done)
            .map_err(|error| format!("cannot start thread {} of {}: {error}", index + 1, targets.len()))?;
    }

    let end = match signals.forever().next() {
        Some(SIGINT) => End::Signal("SIGINT"),
        Some(_) => End::Signal("SIGTERM"),
        None if screen.is_closed() => End::StdoutClosed,
        None => End::AllChecksDone,
    };
    if config.count.is_none() {
        tell(Subject::Stop(match end {
            End::Signal(name) => name.to_owned(),
            End::StdoutClosed => "stdout was closed".to_owned(),
            End::AllChecksDone => "all checks are done".to_owned(),
        }));
    }
    writer.finish(match end {
        End::AllChecksDone => slack::LIMIT,
        End::StdoutClosed | End::Signal(_) => LAST_TRY,
    });
    let results: Vec<(Arc<Target>, Counts)> =
        targets.into_iter().zip(stats).map(|(target, stats)| (target, stats.read())).collect();
    if config.output != Output::Quiet {
        screen.out(summary::lines(&results));
    }
    screen.flush(LAST_LINES);
    let well = results.iter().all(|(target, counts)| summary::is_well(target, counts));
    Ok(match end {
        End::AllChecksDone if !well => NOT_WELL,
        _ => 0,
    })
}

fn open_log(path: &Path) -> Result<LogFile, String> {
    LogFile::open(path).map_err(|error| {
        format!(
            "--log: {} cannot be written: {error}; name another file, or use --no-log",
            shown(&path.to_string_lossy())
        )
    })
}

/// Is it checked by ICMP?
pub fn is_icmp(target: &Target) -> bool {
    target.check == Check::Icmp
}
