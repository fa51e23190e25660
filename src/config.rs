//! What the flags, the target file and the environment mean together.
//!
//! Pure: the edge reads files and the environment, and hands their text in as [`Given`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::flags::{self, Typed};
use crate::secret::Secret;
use crate::target::{Target, TargetOptions, quote, shown};

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// At least one, each with a name of its own: those of the command line, then those of the file.
    pub targets: Vec<Arc<Target>>,
    /// Checks of each target, then exit; `None` is until stopped.
    pub count: Option<u64>,
    /// `--check`: check the set-up, post one test message, exit.
    pub check_up: bool,
    /// Slack's Incoming Webhook; `None` is Slack off.
    pub slack: Option<Secret>,
    /// The notification log; `None` with `--no-log`.
    pub log: Option<PathBuf>,
    /// What must outlive the process; `None` with `--no-state`, or without a log to name it after.
    pub state: Option<PathBuf>,
    /// How much goes to stdout.
    pub output: Output,
    /// Is stdout for programs: JSON lines?
    pub json: bool,
    /// Run for each notification.
    pub exec: Option<String>,
    /// Asked for every minute while all is well.
    pub heartbeat: Option<Secret>,
    /// Where each member of an Alertmanager cluster takes alerts.
    pub alertmanagers: Vec<Secret>,
    /// What this monitor calls itself there; None: the host's name.
    pub monitor: Option<String>,
    /// The Prometheus textfile.
    pub metrics: Option<PathBuf>,
    /// The status page.
    pub page: Option<PathBuf>,
    /// With a page: what it must know of the last 30 days, beside the state; None: that ends with the process.
    pub history: Option<PathBuf>,
}

/// How much goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nothing.
    Quiet,
    /// The notifications.
    Normal,
    /// Each check too.
    Verbose,
}

/// What the edge has read for [`Config::new`]: names, as messages are to show them, and texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// Name and text of each `--file`.
    pub target_files: &'a [(String, String)],
    /// Name and text of `--slack-url-file`.
    pub slack_url_file: Option<(&'a str, &'a str)>,
    /// The variable `SLACK_WEBHOOK_URL`.
    pub slack_env: Option<&'a str>,
}

impl Config {
    /// Puts everything together: a target line's options win over the command line's, and for Slack the flag wins
    /// over the file, the file over the environment.
    ///
    /// # Errors
    /// The first thing that is wrong, on one line; in a target file with its name and line.
    pub fn new(typed: &Typed, given: Given<'_>) -> Result<Config, String> {
        let mut targets = Targets::default();
        for word in &typed.words {
            targets.add(word, &typed.target)?;
        }
        for (name, text) in given.target_files {
            targets.add_file(name, text, &typed.target)?;
        }
        if targets.list.is_empty() {
            return Err("no target given: name a host to watch, such as 192.0.2.1 or db=10.0.0.5:5432, or a \
                        file of them with --file; try --help"
                .into());
        }
        let log = typed.log.clone().unwrap_or_else(|| PathBuf::from("reachability.log"));
        let log = (!typed.no_log).then_some(log);
        let state = typed.state.clone().or_else(|| Some(beside(log.as_ref()?, "state")));
        let state = state.filter(|_| !typed.no_state);
        let history = state.as_ref().filter(|_| typed.page.is_some()).map(|state| beside(state, "history"));
        let named = [
            ("--log", &log),
            ("--state", &state),
            ("--metrics", &typed.metrics),
            ("--page", &typed.page),
            ("the history of --page", &history),
        ];
        for (index, (one, file)) in named.iter().enumerate() {
            if let Some((other, _)) = named[..index].iter().find(|(_, other)| file.is_some() && other == file) {
                return Err(format!("{other} and {one} name the same file; name two"));
            }
        }
        Ok(Config {
            targets: targets.list,
            count: typed.count,
            check_up: typed.check,
            slack: slack(typed, given)?,
            log,
            state,
            output: match (typed.quiet, typed.verbose) {
                (true, _) => Output::Quiet,
                (_, true) => Output::Verbose,
                _ => Output::Normal,
            },
            json: typed.json,
            exec: typed.exec.clone(),
            heartbeat: typed.heartbeat.clone(),
            alertmanagers: typed.alertmanagers.clone(),
            monitor: typed.monitor.clone(),
            metrics: typed.metrics.clone(),
            page: typed.page.clone(),
            history,
        })
    }
}

/// The name of a file with another ending; where that is its own already, behind it.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let other = file.with_extension(ending);
    if other == file { PathBuf::from(format!("{}.{ending}", file.display())) } else { other }
}

/// Targets share their options with one of so many before them that has the same: memory is saved where there are many.
const ALIKE_WITHIN: usize = 8;

/// Targets in the order given. The names aside, so that ten thousand lines do not take a hundred million comparisons.
#[derive(Default)]
struct Targets {
    list: Vec<Arc<Target>>,
    names: HashSet<String>,
}

impl Targets {
    fn add(&mut self, word: &str, options: &TargetOptions) -> Result<(), String> {
        let mut target = Target::parse(word, options)?;
        if !self.names.insert(target.name.clone()) {
            let name = quote(&target.name);
            return Err(format!("target {name} is named twice; tell them apart with LABEL= before the host"));
        }
        let alike = self.list.iter().rev().take(ALIKE_WITHIN).find(|other| other.options == target.options);
        if let Some(alike) = alike {
            target.options = Arc::clone(&alike.options);
        }
        self.list.push(Arc::new(target));
        Ok(())
    }

    fn add_file(&mut self, name: &str, text: &str, base: &TargetOptions) -> Result<(), String> {
        let name = shown(name);
        let before = self.list.len();
        // Editors on Windows write a byte order mark; it would become part of the first word.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let added = flags::parse_line(line).and_then(|read| match read {
                Some((word, options)) => self.add(&word, &options.over(base)),
                None => Ok(()),
            });
            added.map_err(|why| format!("{name} line {}: {why}", index + 1))?;
        }
        // Also with other targets: a file that a full disk cut to nothing must not go unnoticed.
        if self.list.len() == before {
            return Err(format!("{name} holds no target; write one a line, such as db=10.0.0.5:5432"));
        }
        Ok(())
    }
}

/// The webhook. What is wrong with it is said without its text, since that is the secret.
fn slack(typed: &Typed, given: Given<'_>) -> Result<Option<Secret>, String> {
    if typed.slack_url.is_some() {
        return Ok(typed.slack_url.clone());
    }
    if let Some((name, text)) = given.slack_url_file {
        let name = shown(name);
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty()) else {
            return Err(format!("--slack-url-file: {name} is empty; accepted: {}", Secret::ACCEPTED));
        };
        return Secret::from_url(line).map(Some).map_err(|why| {
            format!("--slack-url-file: {name} holds no webhook URL: {why}; accepted: {}", Secret::ACCEPTED)
        });
    }
    match given.slack_env.map(str::trim) {
        None | Some("") => Ok(None),
        Some(url) => Secret::from_url(url)
            .map(Some)
            .map_err(|why| format!("SLACK_WEBHOOK_URL: {why}; accepted: {}", Secret::ACCEPTED)),
    }
}

#[cfg(test)]
#[rustfmt::skip] // Tables, a case a line.
mod tests {
    use super::*;

    fn typed(args: &str) -> Typed {
        flags::parse(args.split_whitespace().map(Into::into)).unwrap()
    }

    fn file(text: &str) -> Given<'static> {
        let files = Box::leak(Box::new([("f.txt".to_owned(), text.to_owned())]));
        Given { target_files: files, ..Given::default() }
    }

    #[test]
    fn defaults() {
        let config = Config::new(&typed("gw"), Given::default()).unwrap();
        assert_eq!((config.count, config.check_up, config.slack), (None, false, None));
        assert_eq!((config.log, config.output), (Some("reachability.log".into()), Output::Normal));
        let config = Config::new(&typed("gw -qn 3 --check --no-log"), Given::default()).unwrap();
        assert_eq!((config.count, config.check_up), (Some(3), true));
        assert_eq!((config.log, config.output), (None, Output::Quiet));
        let config = Config::new(&typed("gw -v --log l"), Given::default()).unwrap();
        assert_eq!((config.log, config.output), (Some("l".into()), Output::Verbose));
    }

    #[test]
    fn lines_win_over_the_command_line() {
        let text = "\u{feff}# ours\r\n\r\ndb=10.0.0.5:5432 -ct 7 # x y\r\n  gw\t-s 5";
        let config = Config::new(&typed("a -s 9 -r 2"), file(text)).unwrap();
        let seen = config.targets.iter().map(|t| (&*t.name, t.options.size, t.options.failures, t.options.recover));
        assert_eq!(seen.collect::<Vec<_>>(), [("a", 9, 10, 2), ("db", 9, 7, 2), ("gw", 5, 10, 2)]);
    }

    #[test]
    fn refusals() {
        for (args, text, why) in [
            ("", None, "no target given: name a host to watch, such as 192.0.2.1 or db=10.0.0.5:5432, or a file of them with --file; try --help"),
            ("gw", Some("# none\n\n"), "f.txt holds no target; write one a line, such as db=10.0.0.5:5432"),
            ("gw GW", None, "target \"gw\" is named twice; tell them apart with LABEL= before the host"),
            ("gw", Some("a\ngw=b"), "f.txt line 2: target \"gw\" is named twice; tell them apart with LABEL= before the host"),
            ("", Some("a\n\nb --log x"), "f.txt line 3: --log is not allowed in a target file, only the options of a target are"),
            ("", Some("host:0"), "f.txt line 1: target \"host:0\": port \"0\" is not a number from 1 to 65535"),
        ] {
            let given = text.map_or(Given::default(), file);
            assert_eq!(Config::new(&typed(args), given), Err(why.to_owned()));
        }
    }

    #[test]
    fn slack_comes_from_flag_then_file_then_environment() {
        let (env, in_file) = ("https://env/S", "\n  https://file/S \nrest");
        for (args, text, env, expected) in [
            ("gw --slack-url https://flag/S", Some(in_file), Some(env), Ok(Some("https://flag/S"))),
            ("gw", Some(in_file), Some("bad"), Ok(Some("https://file/S"))),
            ("gw", None, Some(env), Ok(Some("https://env/S"))),
            ("gw", None, Some(" "), Ok(None)),
            ("gw", Some(" \n"), Some(env), Err("--slack-url-file: f is empty")),
            ("gw", Some("SECRET"), None, Err("--slack-url-file: f holds no webhook URL: the URL does not start with")),
            ("gw", None, Some("ftp://SECRET"), Err("SLACK_WEBHOOK_URL: the URL does not start with http:// or https://; accepted: an http")),
        ] {
            let given = Given { slack_url_file: text.map(|text| ("f", text)), slack_env: env, target_files: &[] };
            match (Config::new(&typed(args), given), expected) {
                (Ok(config), Ok(url)) => assert_eq!(config.slack.as_ref().map(Secret::expose), url),
                (Err(message), Err(why)) => assert!(message.starts_with(why) && !message.contains("SECRET"), "{message}"),
                (got, _) => panic!("{got:?} is not {expected:?}"),
            }
        }
    }

    #[test]
    fn secrets() {
        for url in ["HTTPS://h", "http://[::1]:8080/S", "http://[::1]/S", "https://u@h:1?S"] {
            let secret = Secret::from_url(url).unwrap();
            assert_eq!((secret.expose(), format!("{secret:?}")), (url, "Secret(..)".into()));
        }
        for (url, why) in [
            ("https://h/a b", "the URL contains white space or a control character"),
            ("https://h/\u{7f}", "the URL contains white space or a control character"),
            ("https://bücher", "the URL contains a character that is not ASCII"),
            ("hooks.slack.com/S", "the URL does not start with http:// or https://"),
            ("https:///S", "the URL has no host"),
            ("https://:80/S", "the URL has no host"),
            ("https://h:0/S", "the URL's port is not a number from 1 to 65535"),
            ("https://h:x/S", "the URL's port is not a number from 1 to 65535"),
        ] {
            assert_eq!(Secret::from_url(url), Err(why.to_owned()));
        }
    }

    #[test]
    fn what_lies_below_a_url() {
        for (url, below, host) in [
            ("http://h", "http://h/p/q", "h"),
            ("http://h:9093/", "http://h:9093/p/q", "h:9093"),
            ("https://u:p@h/am//", "https://u:p@h/am/p/q", "h"),
            ("http://u@[::1]:1/p/q", "http://u@[::1]:1/p/q", "[::1]:1"),
        ] {
            let secret = Secret::from_url(url).unwrap();
            assert_eq!((secret.below("/p/q").unwrap().expose(), secret.host()), (below, host));
        }
        for url in ["http://h?x", "http://h/#x", "http://h/p/q?"] {
            assert!(Secret::from_url(url).unwrap().below("/p/q").unwrap_err().contains("leave out all from there on"));
        }
    }
}
