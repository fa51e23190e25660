//! The one table of flags, and what was typed.
//!
//! A new flag is one row of [`FLAGS`] (and a field of [`Typed`] or [`TargetOptions`]): parsing, the options of target
//! lines and `--help` come from the table. Pure: the arguments come in, nothing is opened.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser};

use crate::alerts;
use crate::secret::Secret;
use crate::target::{Family, TargetOptions, digits, quote};

/// What was typed on the command line, each value checked on its own. What it means is `Config`'s.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the flag of that name.
pub struct Typed {
    /// Options that hold for all targets.
    pub target: TargetOptions,
    /// Target words, in order, not looked into.
    pub words: Vec<String>,
    pub files: Vec<PathBuf>,
    pub count: Option<u64>,
    pub check: bool,
    pub slack_url: Option<Secret>,
    pub slack_url_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub log: Option<PathBuf>,
    pub no_log: bool,
    pub state: Option<PathBuf>,
    pub no_state: bool,
    pub exec: Option<String>,
    pub heartbeat: Option<Secret>,
    pub alertmanagers: Vec<Secret>,
    pub monitor: Option<String>,
    pub metrics: Option<PathBuf>,
    pub page: Option<PathBuf>,
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// Show this, and watch nothing.
    pub show: Option<Show>,
}

/// What can be shown instead of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The common options, on one screen.
    CommonHelp,
    /// All options.
    Help,
    /// The version.
    Version,
    /// The manual page.
    Manual,
    /// The completions for a shell.
    Completions(Shell),
}

/// A shell that completions can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Their names.
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// All of them, by name.
    pub const ALL: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];
}

/// One row of the table.
pub struct Flag {
    /// Without its dash; `ct` is the only one of two letters. Empty: there is none.
    pub short: &'static str,
    /// Without its dashes. Empty: there is none.
    pub long: &'static str,
    /// What stands for the value in the help; empty for a switch.
    pub value: &'static str,
    /// Where the help shows it.
    pub group: Group,
    /// Does `-h` show it too?
    pub common: bool,
    /// What the help says.
    pub help: &'static str,
    /// What holds without the flag; empty if that needs no telling.
    pub default: &'static str,
    /// Which values are accepted, for messages.
    pub accepted: &'static str,
    /// What it does.
    pub set: Setter,
}

/// Where a flag writes. A setter with a value returns what is wrong with it; [`parse`] adds the flag and what is accepted.
pub enum Setter {
    /// A target option with a value. Target options are allowed in target files.
    Target(fn(&mut TargetOptions, &str) -> Result<(), String>),
    /// A target option without a value.
    TargetSwitch(fn(&mut TargetOptions) -> Result<(), String>),
    /// An option of the whole run with a value.
    Global(fn(&mut Typed, &str) -> Result<(), String>),
    /// An option of the whole run without a value.
    Switch(fn(&mut Typed)),
}
use Setter::{Global, Switch, Target, TargetSwitch};

/// A heading of the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// How targets are checked and judged: the target options.
    Checking,
    /// Which targets, how long.
    Run,
    /// The webhook.
    Slack,
    /// The notification log.
    Log,
    /// Programs and services that are told too.
    Others,
    /// What stdout gets.
    Output,
    /// The rest.
    Other,
}
use Group::{Checking, Log, Other, Others, Output, Run, Slack};

/// The headings of `--help` and of the manual page, in their order.
pub const GROUPS: [(Group, &str); 7] = [
    (Checking, "Checking (in a target file, also after a target, for it alone)"),
    (Run, "Targets and run"),
    (Slack, "Slack"),
    (Log, "Log and state"),
    (Others, "Other programs and services"),
    (Output, "Output"),
    (Other, "Other"),
];

/// Every flag there is.
#[rustfmt::skip] // A table: two lines a row can be read and compared, ten cannot.
pub static FLAGS: &[Flag] = &[
    Flag { short: "p", long: "port", value: "PORT", group: Checking, common: false, default: "", accepted: "1 to 65535",
        help: "check this TCP port, not ICMP", set: Target(|t, v| put(&mut t.port, number(v, 1, 65535))) },
    Flag { short: "i", long: "interval", value: "TIME", group: Checking, common: true, default: "1s", accepted: "10ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)",
        help: "time between checks, 10ms at the least", set: Target(|t, v| put(&mut t.interval, time(v, 10))) },
    Flag { short: "w", long: "timeout", value: "TIME", group: Checking, common: true, default: "2s", accepted: "1ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)",
        help: "how long an answer may take", set: Target(|t, v| put(&mut t.timeout, time(v, 1))) },
    Flag { short: "s", long: "size", value: "N", group: Checking, common: true, default: "300", accepted: "1 to 100000",
        help: "sample for packet loss, in checks", set: Target(|t, v| put(&mut t.size, number(v, 1, 100_000))) },
    Flag { short: "c", long: "change", value: "PCT", group: Checking, common: true, default: "5 points", accepted: "0 to 100, such as 5 or 2.5, in percentage points",
        help: "change in packet loss to notify", set: Target(|t, v| put(&mut t.change, v.parse())) },
    Flag { short: "ct", long: "ctimeout", value: "N", group: Checking, common: true, default: "TCP 3, ICMP 10", accepted: "0 to 100000; for ICMP, 0 turns down and up off",
        help: "failures in a row before down", set: Target(|t, v| put(&mut t.failures, number(v, 0, 100_000))) },
    Flag { short: "r", long: "recover", value: "N", group: Checking, common: true, default: "1", accepted: "1 to 100000",
        help: "successes in a row before up again", set: Target(|t, v| put(&mut t.recover, number(v, 1, 100_000))) },
    Flag { short: "", long: "remind", value: "TIME", group: Checking, common: false, default: "never", accepted: "1s or more, such as 90s, 30m or 12h (a bare number is seconds)",
        help: "notify again every TIME while down", set: Target(|t, v| put(&mut t.remind, time(v, 1000))) },
    Flag { short: "4", long: "", value: "", group: Checking, common: false, default: "the first address that resolves", accepted: "",
        help: "only IPv4", set: TargetSwitch(|t| only(t, Family::V4)) },
    Flag { short: "6", long: "", value: "", group: Checking, common: false, default: "", accepted: "",
        help: "only IPv6", set: TargetSwitch(|t| only(t, Family::V6)) },
    Flag { short: "I", long: "interface", value: "IFACE", group: Checking, common: false, default: "the kernel's choice", accepted: "an interface, such as eth0, or an address of this machine",
        help: "interface or source address to send from", set: Target(|t, v| put(&mut t.interface, v.parse())) },
    Flag { short: "l", long: "length", value: "BYTES", group: Checking, common: false, default: "56", accepted: "16 to 65000",
        help: "ICMP payload, 16 to 65000", set: Target(|t, v| put(&mut t.length, number(v, 16, 65_000))) },
    Flag { short: "", long: "ttl", value: "N", group: Checking, common: false, default: "the kernel's", accepted: "1 to 255",
        help: "TTL or hop limit to send", set: Target(|t, v| put(&mut t.ttl, number(v, 1, 255))) },
    Flag { short: "", long: "tos", value: "N", group: Checking, common: false, default: "the kernel's", accepted: "0 to 255, or 0x0 to 0xff",
        help: "TOS or traffic class to send", set: Target(|t, v| put(&mut t.tos, tos(v))) },
    Flag { short: "f", long: "file", value: "FILE", group: Run, common: true, default: "", accepted: "a file of targets, or - for stdin",
        help: "targets from a file, one a line; - is stdin; repeatable", set: Global(|g, v| path(v).map(|file| g.files.push(file))) },
    Flag { short: "n", long: "count", value: "N", group: Run, common: true, default: "until stopped", accepted: "1 or more",
        help: "N checks of each, then exit", set: Global(|g, v| put(&mut g.count, number(v, 1, u64::MAX))) },
    Flag { short: "", long: "check", value: "", group: Run, common: true, default: "", accepted: "",
        help: "try the whole set-up, post one test message, exit", set: Switch(|g| g.check = true) },
    Flag { short: "", long: "slack-url", value: "URL", group: Slack, common: false, default: "$SLACK_WEBHOOK_URL, else Slack is off", accepted: Secret::ACCEPTED,
        help: "Incoming Webhook; it shows in ps, a file does not", set: Global(|g, v| put(&mut g.slack_url, Secret::from_url(v))) },
    Flag { short: "", long: "slack-url-file", value: "FILE", group: Slack, common: true, default: "", accepted: "a file whose first line is the webhook's URL",
        help: "file whose first line is the webhook's URL", set: Global(|g, v| put(&mut g.slack_url_file, path(v))) },
    Flag { short: "", long: "ca-file", value: "FILE", group: Slack, common: false, default: "", accepted: "a file of PEM certificates",
        help: "PEM roots to trust besides the built-in ones", set: Global(|g, v| put(&mut g.ca_file, path(v))) },
    Flag { short: "", long: "log", value: "FILE", group: Log, common: true, default: "reachability.log", accepted: "a file",
        help: "log of notifications", set: Global(|g, v| put(&mut g.log, path(v))) },
    Flag { short: "", long: "no-log", value: "", group: Log, common: false, default: "", accepted: "",
        help: "keep no log", set: Switch(|g| g.no_log = true) },
    Flag { short: "", long: "state", value: "FILE", group: Log, common: false, default: "the log's name with .state for its ending", accepted: "a file",
        help: "what must outlive the process", set: Global(|g, v| put(&mut g.state, path(v))) },
    Flag { short: "", long: "no-state", value: "", group: Log, common: false, default: "", accepted: "",
        help: "keep no state; so it is with --no-log and no --state", set: Switch(|g| g.no_state = true) },
    Flag { short: "", long: "exec", value: "COMMAND", group: Others, common: false, default: "", accepted: "a command for sh -c",
        help: "run by sh -c for each notification, told in REACH_*", set: Global(|g, v| put(&mut g.exec, command(v))) },
    Flag { short: "", long: "heartbeat", value: "URL", group: Others, common: false, default: "", accepted: "an http:// or https:// URL",
        help: "GET it every 60s while the monitor itself is well", set: Global(|g, v| put(&mut g.heartbeat, Secret::from_url(v))) },
    Flag { short: "", long: "alertmanager", value: "URL", group: Others, common: false, default: "", accepted: "an http:// or https:// URL, such as http://192.0.2.9:9093",
        help: "tell this Alertmanager what is wrong; repeatable", set: Global(|g, v| Secret::from_url(v)?.below(alerts::PATH).map(|url| g.alertmanagers.push(url))) },
    Flag { short: "", long: "name", value: "NAME", group: Others, common: false, default: "the host's name", accepted: "a name without control characters",
        help: "of this monitor, in alerts", set: Global(|g, v| put(&mut g.monitor, monitor(v))) },
    Flag { short: "", long: "metrics", value: "FILE", group: Output, common: false, default: "", accepted: "a file",
        help: "Prometheus textfile, replaced every 10s", set: Global(|g, v| put(&mut g.metrics, path(v))) },
    Flag { short: "", long: "page", value: "FILE", group: Output, common: false, default: "", accepted: "a file",
        help: "status page, one HTML file, replaced every 10s", set: Global(|g, v| put(&mut g.page, path(v))) },
    Flag { short: "", long: "json", value: "", group: Output, common: false, default: "", accepted: "",
        help: "notifications (with -v, checks too) as JSON lines", set: Switch(|g| g.json = true) },
    Flag { short: "q", long: "quiet", value: "", group: Output, common: true, default: "", accepted: "",
        help: "nothing on stdout", set: Switch(|g| g.quiet = true) },
    Flag { short: "v", long: "verbose", value: "", group: Output, common: true, default: "", accepted: "",
        help: "each check on stdout, as ping shows it", set: Switch(|g| g.verbose = true) },
    Flag { short: "h", long: "", value: "", group: Other, common: false, default: "", accepted: "",
        help: "show the common options", set: Switch(|g| g.show = Some(Show::CommonHelp)) },
    Flag { short: "", long: "help", value: "", group: Other, common: false, default: "", accepted: "",
        help: "show all options", set: Switch(|g| g.show = Some(Show::Help)) },
    Flag { short: "V", long: "version", value: "", group: Other, common: false, default: "", accepted: "",
        help: "show the version", set: Switch(|g| g.show = Some(Show::Version)) },
    Flag { short: "", long: "man", value: "", group: Other, common: false, default: "", accepted: "",
        help: "show the manual page (try: --man | man -l -)", set: Switch(|g| g.show = Some(Show::Manual)) },
    Flag { short: "", long: "completions", value: "SHELL", group: Other, common: false, default: "", accepted: "bash, zsh or fish",
        help: "show the completions for bash, zsh or fish", set: Global(|g, v| shell(v).map(|shell| g.show = Some(Show::Completions(shell)))) },
];

impl Flag {
    /// With their dashes: the short name, the long one, or both.
    pub fn names(&self) -> Vec<String> {
        let names = [("-", self.short), ("--", self.long)];
        names.iter().filter(|(_, name)| !name.is_empty()).map(|(dash, name)| format!("{dash}{name}")).collect()
    }

    /// As messages call it: `--interval`, or `-4` where there is no long name.
    pub fn name(&self) -> String {
        match self.long {
            "" => format!("-{}", self.short),
            long => format!("--{long}"),
        }
    }

    /// Whether target files may have it.
    pub fn of_target(&self) -> bool {
        matches!(self.set, Target(_) | TargetSwitch(_))
    }

    /// Is it followed by a value?
    pub fn takes_value(&self) -> bool {
        matches!(self.set, Target(_) | Global(_))
    }
}

/// Reads the command line, without the program's name. `-h` and `-V` end it: what follows is not looked at.
///
/// # Errors
/// The first thing that is wrong, on one line, without ever showing a webhook's URL.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Typed, String> {
    let typed = walk(args, false)?;
    let contradictions = [
        (typed.slack_url.is_some() && typed.slack_url_file.is_some(), "--slack-url and --slack-url-file"),
        (typed.quiet && typed.verbose, "--quiet and --verbose"),
        (typed.quiet && typed.json, "--quiet and --json"),
        (typed.log.is_some() && typed.no_log, "--log and --no-log"),
        (typed.state.is_some() && typed.no_state, "--state and --no-state"),
    ];
    match contradictions.iter().find(|(both, _)| *both && typed.show.is_none()) {
        Some((_, names)) => Err(format!("{names} contradict each other; give only one of them")),
        None => Ok(typed),
    }
}

/// Reads one line of a target file: a target word and its options, in any order. `None` for blanks and comments; a word
/// that starts with `#` begins a comment.
///
/// # Errors
/// As [`parse`]; the caller adds file and line.
pub fn parse_line(line: &str) -> Result<Option<(String, TargetOptions)>, String> {
    let words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let args: Vec<OsString> = words.map(OsString::from).collect();
    if args.is_empty() {
        return Ok(None);
    }
    let mut typed = walk(args, true)?;
    match (typed.words.pop(), typed.words.pop()) {
        (Some(word), None) => Ok(Some((word, typed.target))),
        (Some(second), Some(first)) => {
            Err(format!("{} and {} are two targets; write one a line", quote(&first), quote(&second)))
        }
        (None, _) => Err("options without a target; write the target before them".into()),
    }
}

fn walk(args: impl IntoIterator<Item = OsString>, in_file: bool) -> Result<Typed, String> {
    let mut parser = Parser::from_args(args);
    // Taking off the `=` of `-c=5` is left to us: done by lexopt, `-c=t5` would look like `-ct5`.
    parser.set_short_equals(false);
    let mut typed = Typed::default();
    let mut last = String::new();
    loop {
        let (mut flag, short) = match parser.next() {
            Ok(None) => return Ok(typed),
            Ok(Some(Arg::Value(word))) => {
                typed.words.push(utf8(word, "a target")?);
                continue;
            }
            Ok(Some(Arg::Long(name))) => (find_long(name)?, None),
            // A value where none belongs. It is not shown: it may be one that was meant for --slack-url.
            Ok(Some(Arg::Short('='))) | Err(_) => return Err(format!("{last} takes no value")),
            Ok(Some(Arg::Short(short))) => (find_short(short)?, Some(short)),
        };
        let mut value = None;
        if flag.takes_value() {
            value = parser.optional_value().map(|value| utf8(value, &flag.name())).transpose()?;
        }
        if let (Some(short), Some(attached)) = (short, &value) {
            (flag, value) = split_short(flag, short, attached);
        }
        last = flag.name();
        if in_file && !flag.of_target() {
            return Err(format!("{last} is not allowed in a target file, only the options of a target are"));
        }
        let value = match value {
            None if flag.takes_value() => match parser.value() {
                Ok(value) => utf8(value, &last)?,
                Err(_) => return Err(format!("{last} needs a value; accepted: {}", flag.accepted)),
            },
            value => value.unwrap_or_default(),
        };
        let done = match flag.set {
            Target(set) => set(&mut typed.target, &value),
            Global(set) => set(&mut typed, &value),
            TargetSwitch(set) => set(&mut typed.target),
            Switch(set) => {
                set(&mut typed);
                Ok(())
            }
        };
        done.map_err(|why| match flag.accepted {
            "" => why,
            accepted => format!("{last}: {why}; accepted: {accepted}"),
        })?;
        if typed.show.is_some() {
            return Ok(typed);
        }
    }
}

/// `-ct5` reaches us as `-c` with `t5` attached: finds the flag that is meant, and its value if that is attached too.
fn split_short(flag: &'static Flag, short: char, attached: &str) -> (&'static Flag, Option<String>) {
    let longer = FLAGS.iter().find_map(|flag| {
        let rest = flag.short.strip_prefix(short).filter(|rest| !rest.is_empty())?;
        Some((flag, attached.strip_prefix(rest)?))
    });
    let (flag, rest) = longer.unwrap_or((flag, attached));
    (flag, (!rest.is_empty()).then(|| rest.strip_prefix('=').unwrap_or(rest).to_owned()))
}

fn find_short(short: char) -> Result<&'static Flag, String> {
    let found = FLAGS.iter().find(|flag| flag.short.chars().eq([short]));
    found.ok_or_else(|| format!("unknown option -{}; see --help", short.escape_debug()))
}

fn find_long(typed: &str) -> Result<&'static Flag, String> {
    if let Some(flag) = FLAGS.iter().find(|flag| flag.long == typed && !typed.is_empty()) {
        return Ok(flag);
    }
    // Cut where no name goes on: after a forgotten space a webhook's URL may follow.
    let name = typed.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default();
    let names = FLAGS.iter().map(|flag| flag.long).filter(|long| !long.is_empty());
    // A prefix is as good as equal.
    let far = |long: &str| match long.starts_with(name) && name.len() > 2 {
        true => 0,
        false => distance(name, long),
    };
    let near = names
        .map(|long| (far(long), long))
        .filter(|(distance, long)| *distance <= 2 && *distance * 2 <= long.len())
        .min();
    let hint = near.map(|(_, long)| format!("did you mean --{long}? ")).unwrap_or_default();
    Err(format!("unknown option --{name}; {hint}see --help"))
}

/// Edit distance: how many letters to add, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn utf8(text: OsString, what: &str) -> Result<String, String> {
    text.into_string().map_err(|text| match what {
        // Most likely from the wrong clipboard, but still not to be shown.
        "--slack-url" | "--heartbeat" | "--alertmanager" => format!("{what}: the value is not valid UTF-8"),
        _ => format!("{what}: {} is not valid UTF-8", quote(&text.to_string_lossy())),
    })
}

fn put<T>(slot: &mut Option<T>, value: Result<T, String>) -> Result<(), String> {
    *slot = Some(value?);
    Ok(())
}

fn only(options: &mut TargetOptions, family: Family) -> Result<(), String> {
    match options.family.replace(family) {
        Some(other) if other != family => Err("-4 and -6 contradict each other; give only one of them".into()),
        _ => Ok(()),
    }
}

fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    if !digits(text) {
        return Err(format!("{} is not a whole number", quote(text)));
    }
    let value = text.parse().ok().filter(|n| (least..=most).contains(n));
    value.and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("{} is out of range", quote(text)))
}

/// The TOS octet is written in hex as often as not.
fn tos(text: &str) -> Result<u8, String> {
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) if (1..=2).contains(&hex.len()) && !hex.starts_with('+') => {
            u8::from_str_radix(hex, 16).map_err(|_| format!("{} is not a number", quote(text)))
        }
        _ => number(text, 0, 255),
    }
}

/// `500ms`, `1m30s`; a bare number is seconds. From `least_ms` milliseconds to 365 days.
fn time(text: &str, least_ms: u64) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let spelled = if bare { format!("0{text}s") } else { text.to_owned() };
    // humantime 2.4 panics on 18446744073709551615s1000ms. No 15 digits can make it.
    let short = text.bytes().filter(u8::is_ascii_digit).count() <= 15;
    match humantime::parse_duration(if short { &spelled } else { "" }) {
        Err(_) => Err(format!("{} is not a time", quote(text))),
        Ok(time) if time < Duration::from_millis(least_ms) => Err(format!("{} is too short", quote(text))),
        Ok(time) if time > Duration::from_secs(365 * 86400) => Err(format!("{} is more than 365d", quote(text))),
        Ok(time) => Ok(time),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the name is empty".into()),
        // A file's name is shown when it cannot be opened; a webhook's URL must not be.
        url if url.contains("://") || url.contains("hooks.slack.com/") => {
            Err(format!("{} is a URL, not a file", quote(url)))
        }
        name => Ok(name.into()),
    }
}

fn command(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("the command is empty".into()) } else { Ok(text.to_owned()) }
}

fn monitor(text: &str) -> Result<String, String> {
    match text {
        text if text.trim().is_empty() => Err("the name is empty".into()),
        text if text.chars().any(char::is_control) => Err("the name has a control character".into()),
        text => Ok(text.to_owned()),
    }
}

fn shell(text: &str) -> Result<Shell, String> {
    let found = Shell::ALL.iter().find(|(name, _)| *name == text);
    found
        .map(|(_, shell)| *shell)
        .ok_or_else(|| format!("{} is not a shell that completions are made for", quote(text)))
}

/// The text of `--help`: all options, by group.
pub fn help() -> String {
    let mut text = String::from(
        "Usage: reachabilitycheck [OPTION]... TARGET...

Watches hosts and services; notifications go to Slack and to a log file.

A TARGET is
  HOST, icmp://HOST      watched by ICMP echo
  HOST:443, tcp://...    watched by TCP connect, as is http(s)://HOST
  LABEL=TARGET           the same, shown as LABEL

Examples
  reachabilitycheck gw=192.0.2.1 db=10.0.0.5:5432
  reachabilitycheck -i 500ms -n 20 -q example.org https://example.org/
",
    );
    for (group, title) in GROUPS {
        text += &format!("\n{title}\n");
        text.extend(FLAGS.iter().filter(|flag| flag.group == group).map(Flag::entry));
    }
    text + "
TIME is 500ms, 2s or 1m30s; a bare number is seconds. Exit status: 0 all targets
are up, 1 with --count some target is not or lost more than --change, 2 wrong
usage or set-up. The manual: reachabilitycheck --man | man -l -
"
}

/// The text of `-h`: the common options, on one screen of 24 lines.
pub fn common_help() -> String {
    let options: String = FLAGS.iter().filter(|flag| flag.common).map(Flag::entry).collect();
    format!(
        "Usage: reachabilitycheck [OPTION]... TARGET...
such as reachabilitycheck gw=192.0.2.1 db=10.0.0.5:5432

HOST is watched by ICMP echo, HOST:443 by TCP connect; LABEL=HOST is shown as
LABEL. Notifications go to Slack and to a log file.

{options}
All options: --help. The manual: reachabilitycheck --man | man -l -
"
    )
}

impl Flag {
    /// Its lines in the help, at most 80 columns wide.
    fn entry(&self) -> String {
        let head = format!("  {} {}", self.names().join(", "), self.value);
        let default = if self.default.is_empty() { String::new() } else { format!("(default: {})", self.default) };
        let mut text = String::new();
        let mut line = format!("{:24}", head.trim_end());
        for word in self.help.split(' ').chain([&*default]).filter(|word| !word.is_empty()) {
            if line.len() + 1 + word.len() > 80 {
                text += &line;
                text += "\n";
                line = " ".repeat(24);
            }
            line += " ";
            line += word;
        }
        text + line.trim_end() + "\n"
    }
}

#[cfg(test)]
#[rustfmt::skip] // Tables, a case a line.
mod tests {
    use super::*;

    fn read(args: &str) -> Result<Typed, String> {
        parse(args.split(' ').filter(|arg| !arg.is_empty()).map(|arg| arg.trim_matches('\'').into()))
    }

    #[test]
    fn every_spelling_of_a_value_works() {
        for args in ["-ct 5", "-ct=5", "-ct5", "--ctimeout 5", "--ctimeout=5", "-qct 5", "-ct 4 -ct 5"] {
            assert_eq!(read(args).unwrap().target.failures, Some(5), "{args}");
        }
        for args in ["-c5", "-c 5", "-c=5", "-c 5%", "--change 5.00", "-qc5"] {
            assert_eq!(read(args).unwrap().target.change, "5".parse().ok(), "{args}");
        }
        for (arg, millis) in [("500ms", 500), ("0.2", 200), (".5", 500), ("2", 2000), ("1m30s", 90_000), ("365d", 31_536_000_000)] {
            assert_eq!(read(&format!("-i {arg}")).unwrap().target.interval, Some(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn every_flag_is_read() {
        let all = "-p 1 -i 2 -w 3 -s 4 -c 5 -ct 6 -r 7 --remind 8 -6 -I eth0 -l 16 --ttl 9 --tos 0x10 ";
        let rest = "-f - -n 5 --check --slack-url-file s --log l -v a -- -q";
        let t = read(&format!("{all}{rest}")).unwrap();
        let o = t.target.clone();
        assert_eq!((o.port, o.interval, o.timeout), (Some(1), Some(Duration::from_secs(2)), Some(Duration::from_secs(3))));
        assert_eq!((o.size, o.failures, o.recover, o.remind), (Some(4), Some(6), Some(7), Some(Duration::from_secs(8))));
        assert_eq!((o.family, o.interface.clone(), o.length), (Some(Family::V6), "eth0".parse().ok(), Some(16)));
        assert_eq!((o.ttl, o.tos, t.count, t.check, t.verbose), (Some(9), Some(16), Some(5), true, true));
        assert_eq!((t.files, t.slack_url_file, t.log), (vec!["-".into()], Some("s".into()), Some("l".into())));
        assert_eq!(t.words, ["a", "-q"]);
        assert_eq!(parse_line(&format!(" {all} gw # -q")), Ok(Some(("gw".into(), o))));
        let t = read("-qn5 --no-log --slack-url https://h/S").unwrap();
        assert_eq!((t.quiet, t.count, t.no_log, t.slack_url), (true, Some(5), true, Secret::from_url("https://h/S").ok()));
        for (args, show) in [
            ("-h --wrong", Show::CommonHelp), ("--help -x", Show::Help), ("-qvV -x", Show::Version), ("-qv --man", Show::Manual),
            ("--completions zsh -x", Show::Completions(Shell::Zsh)),
        ] {
            assert_eq!(read(args).unwrap().show, Some(show));
        }
    }

    #[test]
    fn refusals() {
        const NUMBER: &str = "is not a whole number; accepted: ";
        for (args, why) in [
            ("-i 5x", "--interval: \"5x\" is not a time; accepted: 10ms or more, such as 500ms, 2s or 1m30s (a bare number is seconds)"),
            ("-i -v", "--interval: \"-v\" is not a time; accepted: 10ms"),
            ("-i ''", "--interval: \"\" is not a time"),
            ("-i .", "--interval: \".\" is not a time"),
            ("-i 18446744073709551615s1000ms", "--interval: \"18446744073709551615s1000ms\" is not a time"),
            ("-i 9ms", "--interval: \"9ms\" is too short; accepted: 10ms or more"),
            ("-w 0", "--timeout: \"0\" is too short; accepted: 1ms or more"),
            ("--remind 999ms", "--remind: \"999ms\" is too short; accepted: 1s or more"),
            ("--remind 366d", "--remind: \"366d\" is more than 365d"),
            ("-p 0", "--port: \"0\" is out of range; accepted: 1 to 65535"),
            ("-p 80x", &["--port: \"80x\" ", NUMBER, "1 to 65535"].concat()),
            ("-s 100001", "--size: \"100001\" is out of range; accepted: 1 to 100000"),
            ("-s +1", &["--size: \"+1\" ", NUMBER].concat()),
            ("-c 100.5", "--change: \"100.5\" is more than 100; accepted: 0 to 100, such as 5 or 2.5"),
            ("-c 1.234", "--change: \"1.234\" has more than two decimals; accepted: "),
            ("-c=t5", "--change: \"t5\" is not a percentage; accepted: "),
            ("-ct=", &["--ctimeout: \"\" ", NUMBER, "0 to 100000"].concat()),
            ("-ct 99999999999999999999", "--ctimeout: \"99999999999999999999\" is out of range; accepted: 0 to"),
            ("-r 0", "--recover: \"0\" is out of range; accepted: 1 to 100000"),
            ("-I a/b", "--interface: \"a/b\" is neither an interface name nor an address; accepted: an interface, such as eth0"),
            ("-l 15", "--length: \"15\" is out of range; accepted: 16 to 65000"),
            ("--ttl 0", "--ttl: \"0\" is out of range; accepted: 1 to 255"),
            ("--tos 256", "--tos: \"256\" is out of range; accepted: 0 to 255, or 0x0 to 0xff"),
            ("--tos 0xgg", "--tos: \"0xgg\" is not a number; accepted: 0 to 255"),
            ("-n 0", "--count: \"0\" is out of range; accepted: 1 or more"),
            ("--log ''", "--log: the name is empty; accepted: a file"),
            ("--slack-url-file https://h/S", "--slack-url-file: \"https://h/...\" is a URL, not a file; accepted: "),
            ("--slack-url h/S", "--slack-url: the URL does not start with http:// or https://; accepted: an http:// or"),
            ("-ct", "--ctimeout needs a value; accepted: 0 to 100000"),
            ("a -i", "--interval needs a value; accepted: 10ms or more"),
            ("--intervall 5", "unknown option --intervall; did you mean --interval? see --help"),
            ("--time=5", "unknown option --time; did you mean --timeout? see --help"),
            ("--colour", "unknown option --colour; see --help"),
            ("--slack-urlhttps://h/S", "unknown option --slack-urlhttps; see --help"),
            ("-qx", "unknown option -x; see --help"),
            ("--quiet=S", "--quiet takes no value"),
            ("-q=S", "--quiet takes no value"),
            ("-q -v", "--quiet and --verbose contradict each other; give only one of them"),
            ("-q --json", "--quiet and --json contradict each other; give only one of them"),
            ("--exec ''", "--exec: the command is empty; accepted: a command for sh -c"),
            ("--heartbeat x", "--heartbeat: the URL does not start with http:// or https://; accepted: an http"),
            ("--alertmanager http://h?x", "--alertmanager: the URL has a ? or a #; leave out all from there on; accepted: an http"),
            ("--completions tcsh", "--completions: \"tcsh\" is not a shell that completions are made for; accepted: bash, zsh or fish"),
            ("--no-log --log l", "--log and --no-log contradict each other; give only one of them"),
            ("--slack-url-file f --slack-url http://h", "--slack-url and --slack-url-file contradict each other"),
        ] {
            let message = read(args).unwrap_err();
            assert!(message.starts_with(why), "{message}\nis not\n{why}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn refused_bytes() {
        use std::os::unix::ffi::OsStringExt;
        for (args, why) in [
            ([&b"-4"[..], b"gw\xff"], r#"a target: "gw�" is not valid UTF-8"#),
            ([b"-i", b"\xff"], r#"--interval: "�" is not valid UTF-8"#),
            ([b"-q", b"-i\xff"], r#"--interval: "�" is not valid UTF-8"#),
            ([b"--slack-url", b"http://\xff"], "--slack-url: the value is not valid UTF-8"),
            ([b"-q", b"--lo\xff\n"], "unknown option --lo; did you mean --log? see --help"),
            ([b"-q", b"-\n"], r"unknown option -\n; see --help"),
        ] {
            assert_eq!(parse(args.map(|arg| OsString::from_vec(arg.to_vec()))), Err(why.to_owned()));
        }
    }

    #[test]
    fn refused_lines() {
        assert_eq!(parse_line("  "), Ok(None));
        assert_eq!(parse_line("#gw"), Ok(None));
        for (line, why) in [
            ("gw --log x", "--log is not allowed in a target file, only the options of a target are"),
            ("gw -h", "-h is not allowed in a target file, only the options of a target are"),
            ("a b", "\"a\" and \"b\" are two targets; write one a line"),
            ("-ct 5", "options without a target; write the target before them"),
            ("gw -s # 5", "--size needs a value; accepted: 1 to 100000"),
        ] {
            assert_eq!(parse_line(line), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_table_and_its_help() {
        let (help, common) = (help(), common_help());
        assert!(help.lines().chain(common.lines()).all(|line| line.len() <= 80 && line.trim_end() == line), "{help}{common}");
        assert!(common.lines().count() < 24, "no room for the prompt below:\n{common}");
        for flag in FLAGS {
            let entry = flag.entry();
            assert!(help.contains(&entry) && entry.lines().count() <= 2 && common.contains(&entry) == flag.common, "{entry}");
            assert!(!flag.common || entry.lines().count() == 1, "{entry}");
        }
        for (i, flag) in FLAGS.iter().enumerate() {
            let twice = |other: &Flag| other.name() == flag.name() || (!flag.short.is_empty() && other.short == flag.short);
            assert!(!FLAGS[..i].iter().any(twice), "{} is there twice", flag.name());
            assert!(!flag.help.is_empty() && flag.is_whole(), "{}", flag.name());
        }
    }

    impl Flag {
        /// The columns agree: a value has a name and says what is accepted, target options stand under Checking.
        fn is_whole(&self) -> bool {
            [self.value, self.accepted].iter().all(|text| text.is_empty() != self.takes_value()) && self.of_target() == (self.group == Checking)
        }
    }
}
