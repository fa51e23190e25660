//! A whole run: read what the options name, start the threads, wait, end.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::checkup;
use crate::clock::Clock;
use crate::config::{Config, Given, Output};
use crate::event::{Event, Item, Subject};
use crate::flags::{self, Show, Typed};
use crate::fleet::Fleet;
use crate::manual;
use crate::outbox::Outbox;
use crate::secret::Secret;
use crate::sink::alertmanager::{Alertmanager, Cluster, Last};
use crate::sink::exec::Exec;
use crate::sink::heartbeat;
use crate::sink::http::{self, Http};
use crate::sink::log::LogFile;
use crate::sink::slack::Slack;
use crate::state::{Memory, Opened, StateFile};
use crate::stats::Board;
use crate::sync::{self, lock};
use crate::sys;
use crate::target::{shown, shown_path};
use crate::view::files::{self, Files, Latest, StatusPage};
use crate::view::{Screen, Table, Verbose, json, summary, terminal};
use crate::writer::{Listener, Message, OnRefusal, Sinks, Told, Writer};

/// Bad usage, bad configuration, no right to send.
const UNUSABLE: u8 = 2;

/// With `--count`: some target is not well.
const NOT_WELL: u8 = 1;

/// At the end by a signal Slack gets this long.
const LAST_TRY: Duration = Duration::from_secs(2);

/// With `--count`, when all checks are done, the commands of `--exec` get this long in all.
const LAST_COMMANDS: Duration = Duration::from_secs(300);

/// At the end stdout gets this long to take what was not shown yet.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A shell that takes the terminal back waits this long for the table to go.
const LAST_FRAME: Duration = Duration::from_millis(500);

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
    if let Some(show) = typed.show {
        let text = match show {
            Show::CommonHelp => flags::common_help(),
            Show::Help => flags::help(),
            Show::Version => format!("reachabilitycheck {}\n", env!("CARGO_PKG_VERSION")),
            Show::Manual => manual::page(),
            Show::Completions(shell) => manual::completions(shell),
        };
        // A reader that went away (`--help | head`) has what it wanted.
        let _ = io::stdout().write_all(text.as_bytes());
        return Ok(0);
    }
    let config = configure(&typed)?;
    let roots = typed.ca_file.as_deref().map(read_roots).transpose()?;
    let slack = config.slack.clone().map(|url| place("the webhook", url, &roots)).transpose()?.map(Slack::new);
    let heartbeat = config.heartbeat.clone().map(|url| place("--heartbeat", url, &roots)).transpose()?;
    let cluster = cluster(&config, &roots)?;
    if config.check_up {
        return Ok(if checkup::run(config, slack, heartbeat, cluster) { 0 } else { UNUSABLE });
    }
    watch(&typed, config, Places { slack, heartbeat, cluster })
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

/// The file of `--ca-file`, by name, and its text. Errors: one line that names the file.
fn read_roots(path: &Path) -> Result<(String, Vec<u8>), String> {
    let name = shown_path(path);
    let pem = fs::read(path).map_err(|error| format!("--ca-file: {name} cannot be read: {error}"))?;
    Ok((name, pem))
}

/// A place that is sent to, with the roots that it may need. Errors: one line that names what is wrong.
fn place(what: &str, url: Secret, roots: &Option<(String, Vec<u8>)>) -> Result<Http, String> {
    let mut place = Http::new(url, |name| std::env::var(name).ok()).map_err(|why| format!("{what}: {why}"))?;
    if let Some((name, pem)) = roots {
        place.trust(pem).map_err(|why| format!("--ca-file: {name} cannot be used: {why}"))?;
    }
    Ok(place)
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

/// Whom the options want to be told, besides the log.
struct Places {
    slack: Option<Slack>,
    heartbeat: Option<Http>,
    cluster: Option<Cluster>,
}

/// Why the program ends.
enum End {
    AllChecksDone,
    StdoutClosed,
    /// Slack refuses the webhook for good.
    Refused(String),
    Signal(&'static str),
}

fn watch(typed: &Typed, config: Config, Places { slack, mut heartbeat, cluster }: Places) -> Result<u8, String> {
    let clock = Clock::start();
    let once = config.count.is_some();
    let reloads = !once && typed.files.iter().any(|file| file.as_os_str() != "-");
    // Started by nohup(1) it goes on when the terminal goes away.
    let hangup = (reloads || !hangup_is_ignored()).then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))
        .map_err(|error| format!("cannot take signals: {error}"))?;
    let handle = signals.handle();
    let on_closed = handle.clone();
    let no_thread = |error| format!("cannot start a thread: {error}");
    let screen = Screen::start(move || on_closed.close()).map_err(no_thread)?;
    let for_panics = screen.clone();
    sync::report_panics(move |message| for_panics.panicked(message));
    if let Some(advice) = checkup::may_send(&config.targets)? {
        screen.err(&advice);
    }
    let mut log = config.log.as_deref().map(open_log).transpose()?;
    let (memory, outbox, state) = restore(config.state.as_deref(), log.as_mut(), &screen)?;
    if slack.is_none() {
        screen.err("Slack is off: no --slack-url, --slack-url-file or SLACK_WEBHOOK_URL");
    }
    let board = Arc::<Board>::default();
    let mut listeners: Vec<Listener> = Vec::new();
    if config.output != Output::Quiet {
        listeners.push(lines_for(screen.clone(), config.json));
    }
    let exec = config.exec.clone().map(|command| Exec::start(command, screen.clone())).transpose()?;
    listeners.extend(exec.as_ref().map(Exec::listener));
    let alertmanager = cluster.map(|cluster| Alertmanager::start(cluster, Arc::clone(&board), clock, screen.clone()));
    let alertmanager = alertmanager.transpose().map_err(no_thread)?;
    listeners.extend(alertmanager.as_ref().map(Alertmanager::listener));
    let status = config.page.clone().map(|path| StatusPage {
        path,
        history: config.history.clone(),
        monitor: config.monitor.clone().or_else(host_name).unwrap_or_else(|| "this machine".to_owned()),
        latest: Latest::default(),
    });
    listeners.extend(status.as_ref().map(|status| status.latest.listener()));
    let refusal = Arc::new(Mutex::new(None));
    let (told, on_refusal) = (Arc::clone(&refusal), handle.clone());
    let sinks = Sinks {
        memory,
        outbox,
        state,
        log,
        slack,
        on_refusal: (!once).then(|| -> OnRefusal {
            Box::new(move |why| {
                *lock(&told) = Some(why);
                on_refusal.close();
            })
        }),
        listeners,
    };
    let writer = Writer::start(sinks, clock, screen.clone()).map_err(no_thread)?;
    let files = match (config.metrics, status) {
        (None, None) => None,
        (metrics, page) => Some(Files::start(files::Sources {
            metrics,
            page,
            board: Arc::clone(&board),
            waiting: writer.waiting(),
            clock,
            screen: screen.clone(),
        })?),
    };
    let targets = config.targets;
    let tell = |subject| {
        let at = clock.wall(clock.now());
        let _ = writer.sender().send(Message::Event(Box::new(Event { at, subject })));
    };
    if !once {
        tell(Subject::Start(targets.clone()));
    }
    let verbose = (config.output == Output::Verbose).then(|| Verbose { screen: screen.clone(), json: config.json });
    let table = match config.output {
        Output::Normal if !config.json => Table::new(Arc::clone(&board), clock),
        _ => None,
    };
    let keep = table.as_ref().map_or(0, |_| terminal::LATEST);
    let mut fleet = Fleet::new(clock, writer.sender(), verbose, config.count, (Arc::clone(&board), keep), move || {
        handle.close();
    });
    fleet.watch(&targets, &|name| writer.known(name))?;
    if let Some(alertmanager) = &alertmanager {
        // An outage from before is no event.
        alertmanager.poke();
    }
    if let Some(place) = heartbeat.take_if(|_| !once) {
        heartbeat::start(place, Arc::clone(&board), writer.waiting(), clock, screen.clone()).map_err(no_thread)?;
    }
    let on_terminal = table.is_some();
    if let Some(table) = table {
        // What leaves the terminal to the shell, or comes back from there, or changes the window.
        for signal in [SIGTSTP, SIGCONT, SIGQUIT, SIGWINCH] {
            signals.add_signal(signal).map_err(|error| format!("cannot take signals: {error}"))?;
        }
        screen.table(table);
    }
    // A terminal that goes away ends a run that was started by hand, and one that showed its table there; else one with a
    // file of targets is told to read it again.
    let gone = || on_terminal && sys::window(io::stdout().as_fd()).is_none();
    let end = loop {
        match signals.forever().next() {
            Some(SIGHUP) if reloads && !gone() => match configure(typed) {
                Ok(Config { targets, .. }) => match fleet.watch(&targets, &|name| writer.known(name)) {
                    Ok(()) => tell(Subject::Start(targets)),
                    Err(why) => screen.err(&why),
                },
                Err(why) => screen.err(&format!("SIGHUP: {why}; the targets stay as they were")),
            },
            Some(SIGTSTP) => {
                screen.hide();
                screen.flush(LAST_FRAME);
                let _ = sys::stop();
                screen.show();
            }
            Some(SIGQUIT) => {
                screen.hide();
                screen.flush(LAST_FRAME);
                let _ = emulate_default_handler(SIGQUIT);
            }
            Some(SIGCONT | SIGWINCH) => screen.show(),
            Some(SIGINT) => break End::Signal("SIGINT"),
            Some(SIGHUP) => break End::Signal("SIGHUP"),
            Some(_) => break End::Signal("SIGTERM"),
            None => {
                break match lock(&refusal).take() {
                    Some(why) => End::Refused(why),
                    None if screen.is_closed() => End::StdoutClosed,
                    None => End::AllChecksDone,
                };
            }
        }
    };
    if !once {
        tell(Subject::Stop(match &end {
            End::Signal(name) => (*name).to_owned(),
            End::StdoutClosed => "stdout was closed".to_owned(),
            End::AllChecksDone => "all checks are done".to_owned(),
            End::Refused(why) => format!("Slack refuses the webhook: {why}"),
        }));
    }
    let results = board.counts();
    let down =
        results.iter().filter_map(|(target, counts)| Some((target.name.clone(), counts.outage?.failed))).collect();
    let limit = match end {
        End::AllChecksDone => http::LIMIT,
        End::StdoutClosed | End::Signal(_) => LAST_TRY,
        End::Refused(_) => Duration::ZERO,
    };
    // From here on a signal says: no more commands.
    let hurry = Arc::<AtomicBool>::default();
    for signal in [SIGINT, SIGTERM].into_iter().chain(hangup) {
        let _ = flag::register(signal, Arc::clone(&hurry));
    }
    let waiting = writer.waiting();
    if let Some(alertmanager) = &alertmanager {
        alertmanager.last_word(Last { all: matches!(end, End::AllChecksDone), limit: limit.max(LAST_TRY) });
    }
    writer.finish(limit, down);
    if let Some(exec) = exec {
        let limit = if matches!(end, End::AllChecksDone) { LAST_COMMANDS } else { LAST_TRY };
        exec.finish(limit, &hurry);
    }
    if let (Some(place), End::AllChecksDone) = (&mut heartbeat, &end) {
        heartbeat::once(place, &waiting, &screen);
    }
    if let Some(alertmanager) = alertmanager {
        alertmanager.finish(limit.max(LAST_TRY));
    }
    if let Some(files) = files {
        files.finish(LAST_LINES);
    }
    // The summary needs a place in the queue.
    screen.flush(LAST_LINES);
    screen.hide();
    if config.output != Output::Quiet {
        screen.out(match config.json {
            true => json::summary(&results, clock.wall(clock.now())),
            false => summary::lines(&results),
        });
    }
    screen.flush(LAST_LINES);
    let well = results.iter().all(|(target, counts)| summary::is_well(target, counts));
    match end {
        End::Refused(why) => {
            Err(format!("Slack refuses the webhook: {why}; mend it, or leave it out to run without Slack"))
        }
        End::AllChecksDone | End::StdoutClosed if once && !well => Ok(NOT_WELL),
        _ => Ok(0),
    }
}

/// Were we started with SIGHUP ignored (proc(5), SigIgn)? Where that cannot be known, not.
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// Shows notifications on stdout: log lines, or JSON.
fn lines_for(screen: Screen, json: bool) -> Listener {
    Box::new(move |told| {
        let line = |one: &Told| match json {
            true => json::notification(&one.event, &one.item),
            false => one.item.log_line(),
        };
        screen.out(told.iter().map(line).collect());
    })
}

/// The members of `--alertmanager`. Errors: one line that names what is wrong.
fn cluster(config: &Config, roots: &Option<(String, Vec<u8>)>) -> Result<Option<Cluster>, String> {
    if config.alertmanagers.is_empty() {
        return Ok(None);
    }
    let members = config.alertmanagers.iter().map(|url| place("--alertmanager", url.clone(), roots));
    let monitor = config
        .monitor
        .clone()
        .or_else(host_name)
        .ok_or("--alertmanager: this host has no name of its own; give it one with --name")?;
    Ok(Some(Cluster { members: members.collect::<Result<_, _>>()?, monitor }))
}

/// The host's name (gethostname(2), which proc(5) shows too). None: it has none that tells it from others.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !["", "(none)", "localhost"].contains(&&**name))
}

/// Opens the state, says what was wrong with it, and brings to the log what a crash kept from it.
fn restore(
    path: Option<&Path>,
    log: Option<&mut LogFile>,
    screen: &Screen,
) -> Result<(Memory, Outbox, Option<StateFile>), String> {
    let Some(path) = path else {
        let number = log.and_then(|log| log.last_number()).unwrap_or(0);
        return Ok((Memory::of_number(number), Outbox::default(), None));
    };
    let Opened { file, mut memory, outbox, damaged } = StateFile::open(path)?;
    if let Some(aside) = damaged {
        screen.err(&format!(
            "the state {} was damaged: moved to {}, what was whole is kept",
            shown_path(path),
            shown_path(&aside)
        ));
    }
    match log {
        // Written with the first batch, which the START is in.
        Some(log) => {
            let missing = memory.missing_in_log(log.last_number().unwrap_or(0));
            log.add(&missing.map(Item::log_line).collect::<String>());
        }
        None => memory.all_logged(),
    }
    Ok((memory, outbox, Some(file)))
}

fn open_log(path: &Path) -> Result<LogFile, String> {
    LogFile::open(path).map_err(|error| {
        format!("--log: {} cannot be written: {error}; name another file, or use --no-log", shown_path(path))
    })
}
