//! The judgement of targets and the texts of its notifications, by scenario: `tests/scenarios/NAME.txt`, one test each,
//! and by random runs against a naive model. Nothing is sent and nothing waits: the times are reckoned.
//!
//! A scenario is read line by line:
//!
//! ```text
//! # A comment.
//! $ gw=192.0.2.1 -s 300 -i 1s      the command line, read as the program reads its own; exactly one target
//! start 2026-11-22T13:00:00Z       when the first check is sent; this is the default
//! ok                               an answered check: 10 ms after it was sent
//! lost                             ICMP, no answer: certain when the timeout has passed
//! lost host-unreachable 10.0.0.1   the same, and an ICMP error came from there; see `what` for the words
//! timeout                          TCP, no answer
//! refused                          TCP; certain at once
//! unsent no-route                  not even sent; certain at once
//! gap                              a slot that was slept through: no check, but time
//! lost x290                        the same 290 times; goes with all of these
//! lost x3, ok                      several on a line
//! repeat 30: ok x9, lost           such a line 30 times
//! finish                           the checks of --count are done; ends the scenario
//!     > 2026-11-22T13:00:02Z LOSS gw Packet loss for gw increased from 0.00% to 5.33% (16 of 300 unanswered)
//! ```
//!
//! The lines with `>` are the notifications that the line above them must cause, in order, no more and no fewer: as the
//! log shows them, without the number. Check k is sent at start + (k - 1) x interval.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reachabilitycheck::config::{Config, Given};
use reachabilitycheck::event::{Change, Check, Event, Loss, Move, Outcome, Reason, Subject, What};
use reachabilitycheck::flags;
use reachabilitycheck::judge::{Judge, Rules};
use reachabilitycheck::target::Target;

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*
        const LISTED: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios! {
    change_0
    change_100
    change_2_5
    change_3
    clean_outage
    count_1_lost
    count_after_outage
    count_all_well
    count_already_down
    count_ctimeout_0
    count_ctimeout_0_unsent
    count_few_checks
    count_no_success
    count_no_success_loss_told
    count_success_and_failure
    count_tcp_no_success
    count_tcp_some_success
    count_told_already
    count_unsent
    count_unsent_and_answered
    count_while_recovering
    count_within_change
    ctimeout_0
    ctimeout_1
    first_packet_lost
    flapping_held_by_recover_3
    flapping_recover_1
    flapping_recover_3
    flapping_tcp_recover_1
    flapping_tcp_recover_3
    gap_in_an_outage
    icmp_error_beats_silence
    icmp_ipv6
    loss_back_to_0
    loss_to_100
    loss_told_by_an_outage
    midnight
    nine_failures_are_not_down
    one_of_300_lost
    outage_from_start
    outage_in_fresh_sample
    outage_longer_than_sample
    recover_3_with_relapse
    remind
    remind_between_checks
    remind_reason
    short_interval
    size_1
    size_below_100_over_change
    readme_example
    readme_example_tcp
    steady_10_percent
    steady_10_percent_full_sample
    tcp_ctimeout_1
    tcp_has_no_loss
    tcp_ipv6
    tcp_unsent
    threshold_met_exactly
    two_of_20_lost
    unsent_and_unanswered
    unsent_and_unanswered_small_sample
    unsent_from_start
    unsent_is_down
    unsent_is_in_no_sample
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

#[test]
fn every_file_is_listed() {
    let files: BTreeSet<String> = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let listed: BTreeSet<String> = LISTED.iter().map(|name| format!("{name}.txt")).collect();
    assert_eq!(files, listed, "files (left) and the list in tests/judging.rs (right) differ");
}

/// What makes the runner itself fail: a scenario that cannot fail proves nothing.
#[test]
fn a_wrong_scenario_fails() {
    let down = "    > 2026-11-22T13:00:00Z DOWN www TCP connection to www is failing on port 80: 1 check failed since \
                13:00:00Z (connection refused)\n";
    let good = format!("$ www=http://192.0.2.1 -ct 1\nrefused\n{down}refused\n");
    assert_eq!(play("a", &good), Ok(()));
    for (text, wrong) in [
        (good.replace(down, ""), "a:2: came, but is not expected:\n    > 2026-11-22T13:00:00Z DOWN"),
        (good.replace("80:", "81:"), "a:3: expected, but did not come:\n    > 2026-11-22T13:00:00Z DOWN"),
        (format!("{good}{down}"), "a:5: expected, but did not come:"),
        (good.replace("-ct 1", "-ct 1 -n 1"), "a:4: finish is missing after check 1 of --count 1"),
        (good.replace("-ct 1", "-ct 1 -n 3") + "finish\n", "a:5: finish after 2 checks, but --count is 3"),
        (format!("{good}finish\n"), "a:5: finish without --count"),
        (good.replace("refused\n ", "refuse\n "), "a:2: \"refuse\" is no check of TCP"),
        (good.replace("refused\n ", "lost\n "), "a:2: \"lost\" is no check of TCP"),
        (good.replace("refused\n ", "unsent refused\n "), "a:2: \"unsent refused\" is no check"),
        (good.replace("refused\n ", "refused x0\n "), "a:2: \"refused x0\": x1 is the least"),
        (good.replace("-ct 1", "-ct 0"), "a:1: target \"www=http://192.0.2.1\": --ctimeout for TCP"),
        ("refused\n".to_owned(), "a:1: the command line ($ ...) is missing"),
        (String::new(), "a:1: the command line ($ ...) is missing"),
        ("$ gw=192.0.2.1\n".to_owned(), "a:1: no check"),
    ] {
        let message = play("a", &text).unwrap_err();
        assert!(message.contains(wrong), "{message}\n--- has not:\n{wrong}");
    }
}

fn run(name: &str) {
    let text = std::fs::read_to_string(folder().join(name).with_extension("txt")).unwrap();
    if let Err(message) = play(&format!("tests/scenarios/{name}.txt"), &text) {
        panic!("{message}");
    }
}

/// Plays a scenario; what is wrong comes with `file` and line.
fn play(file: &str, text: &str) -> Result<(), String> {
    let mut stage: Option<Stage> = None;
    let mut wrong = String::new();
    let mut last = 1;
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        let fail = |why: String| format!("{file}:{at}: {why}");
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(command) = line.strip_prefix('$') {
            stage = Some(Stage::new(command).map_err(fail)?);
            continue;
        }
        let Some(stage) = &mut stage else { break };
        if let Some(expected) = line.strip_prefix("> ") {
            let came = if stage.told.is_empty() { None } else { Some(stage.told.remove(0)) };
            if came.as_deref() != Some(expected) {
                writeln!(wrong, "{file}:{at}: expected, but did not come:\n    > {expected}").unwrap();
                if let Some(came) = came {
                    writeln!(wrong, "  this came:\n    > {came}").unwrap();
                }
            }
            continue;
        }
        stage.leftovers(file, last, &mut wrong);
        last = at;
        stage.line(line).map_err(fail)?;
    }
    let Some(mut stage) = stage else {
        return Err(format!("{file}:1: the command line ($ ...) is missing"));
    };
    stage.leftovers(file, last, &mut wrong);
    if stage.number == 0 {
        return Err(format!("{file}:1: no check"));
    }
    if let (Some(count), false) = (stage.count, stage.finished) {
        return Err(format!("{file}:{last}: finish is missing at --count {count}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// A target, its judge and their clock.
struct Stage {
    target: Arc<Target>,
    count: Option<u64>,
    judge: Judge,
    start: SystemTime,
    /// Checks so far.
    number: u64,
    /// Slots so far: checks and gaps.
    slots: u32,
    /// When the last outcome was certain.
    now: Duration,
    finished: bool,
    /// Log lines that no line of the scenario expected yet.
    told: Vec<String>,
}

impl Stage {
    fn new(command: &str) -> Result<Stage, String> {
        let typed = flags::parse(command.split_whitespace().map(Into::into))?;
        let config = Config::new(&typed, Given::default())?;
        let [target] = <[Arc<Target>; 1]>::try_from(config.targets).map_err(|_| "one target is wanted".to_owned())?;
        Ok(Stage {
            judge: Judge::new(Rules::of(&target)),
            target,
            count: config.count,
            start: humantime::parse_rfc3339("2026-11-22T13:00:00Z").unwrap(),
            number: 0,
            slots: 0,
            now: Duration::ZERO,
            finished: false,
            told: Vec::new(),
        })
    }

    fn leftovers(&mut self, file: &str, line: usize, wrong: &mut String) {
        for came in self.told.drain(..) {
            writeln!(wrong, "{file}:{line}: came, but is not expected:\n    > {came}").unwrap();
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.finished {
            return Err("finish is the end".to_owned());
        }
        if line == "finish" {
            return self.finish();
        }
        if let Some(start) = line.strip_prefix("start ") {
            self.start = humantime::parse_rfc3339(start).map_err(|error| error.to_string())?;
            return if self.slots == 0 { Ok(()) } else { Err("start belongs before the first check".to_owned()) };
        }
        let (times, steps) = match line.strip_prefix("repeat ") {
            None => (1, line),
            Some(rest) => {
                let (times, steps) = rest.split_once(':').ok_or("repeat N: ... is wanted")?;
                (times.parse().map_err(|_| format!("repeat {times:?} is not a number"))?, steps)
            }
        };
        for _ in 0..times {
            for step in steps.split(',') {
                self.step(step.trim())?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &str) -> Result<(), String> {
        let mut words: Vec<&str> = step.split_whitespace().collect();
        let times = words.last().and_then(|word| word.strip_prefix('x')).and_then(|number| number.parse::<u32>().ok());
        if times.is_some() {
            words.pop();
        }
        if times == Some(0) {
            return Err(format!("{step:?}: x1 is the least"));
        }
        for _ in 0..times.unwrap_or(1) {
            self.check(&words)?;
        }
        Ok(())
    }

    fn check(&mut self, words: &[&str]) -> Result<(), String> {
        let options = &self.target.options;
        let sent = options.interval * self.slots;
        self.slots += 1;
        if words == ["gap"] {
            return Ok(());
        }
        let icmp = self.target.check == reachabilitycheck::target::Check::Icmp;
        let rtt = Duration::from_millis(10);
        let (takes, outcome) = match (words, icmp) {
            (["ok"], _) => (rtt, Outcome::Answered(rtt)),
            (["lost"], true) => (options.timeout, Outcome::Unanswered(What::NoAnswer.into())),
            (["lost", word, from], true) => {
                let from = from.parse().map_err(|_| format!("{from:?} is no address"))?;
                (options.timeout, Outcome::Unanswered(Reason { what: what(word)?, from: Some(from) }))
            }
            (["timeout"], false) => (options.timeout, Outcome::Unanswered(What::TimedOut.into())),
            (["refused"], false) => (Duration::ZERO, Outcome::Unanswered(What::Refused.into())),
            (["unsent", word], _) => (Duration::ZERO, Outcome::Unsent(what(word)?.into())),
            _ => {
                let kind = if icmp { "ICMP" } else { "TCP" };
                return Err(format!("{:?} is no check of {kind}", words.join(" ")));
            }
        };
        if self.count == Some(self.number) {
            return Err(format!("finish is missing after check {} of --count {}", self.number, self.number));
        }
        self.number += 1;
        let check = check_of(self.number, sent, takes, outcome);
        self.now = self.now.max(check.ended);
        let change = self.judge.on(&check);
        self.tell(self.judge.told_at(), change);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        match self.count {
            None => return Err("finish without --count".to_owned()),
            Some(count) if count != self.number => {
                return Err(format!("finish after {} checks, but --count is {count}", self.number));
            }
            Some(_) => {}
        }
        self.finished = true;
        let change = self.judge.finish(self.now);
        self.tell(self.now, change);
        Ok(())
    }

    fn tell(&mut self, at: Duration, change: Option<Change>) {
        let Some(change) = change else { return };
        let event = Event { at: self.start + at, subject: Subject::Target(Arc::clone(&self.target), change) };
        let line = event.item(7).log_line();
        assert!(line.ends_with('\n') && line.contains(" #7 "), "{line:?}");
        self.told.push(line.trim_end_matches('\n').replacen(" #7 ", " ", 1));
    }
}

fn check_of(number: u64, sent: Duration, takes: Duration, outcome: Outcome) -> Check {
    Check { number, sent, ended: sent + takes, outcome, only_fresh: false }
}

/// The reasons that scenarios may name.
fn what(word: &str) -> Result<What, String> {
    match word {
        "host-unreachable" => Ok(What::HostUnreachable),
        "prohibited" => Ok(What::Prohibited),
        "ttl-exceeded" => Ok(What::TtlExceeded),
        "no-route" => Ok(What::NoRoute),
        "interface-down" => Ok(What::InterfaceDown),
        "cannot-resolve" => Ok(What::CannotResolve),
        _ => Err(format!("\"unsent {word}\" is no check of a reason known here")),
    }
}

// Random runs against a naive model.

/// xorshift64*: the same runs each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Answered,
    Unanswered,
    Unsent,
}

const STEPS: usize = 600;

/// Rules and a sequence of outcomes: phases of good, bad, dead and unsendable times.
fn draw(random: &mut Random) -> (Rules, Vec<Step>) {
    let rules = Rules {
        loss: random.below(5) > 0,
        size: random.pick(&[1, 2, 3, 7, 10, 19, 20, 21, 50, 64, 300]),
        change: random.pick(&[0, 1, 250, 300, 500, 500, 500, 1000, 3333, 5000, 9999, 10_000]),
        failures: random.pick(&[0, 1, 2, 3, 3, 5, 10, 30]),
        recover: random.pick(&[1, 1, 1, 2, 3, 5]),
        remind: None,
    };
    let rules = if rules.loss { rules } else { Rules { failures: rules.failures.max(1), ..rules } };
    let mut steps = Vec::new();
    while steps.len() < STEPS {
        // Of 100 checks, so many are lost, and so many unsent.
        let (lost, unsent) =
            random.pick(&[(0, 0), (1, 0), (5, 0), (10, 2), (50, 0), (45, 45), (90, 5), (100, 0), (0, 100)]);
        for _ in 0..=random.below(80) {
            let roll = random.below(100);
            steps.push(match roll {
                roll if roll < lost => Step::Unanswered,
                roll if roll < lost + unsent => Step::Unsent,
                _ => Step::Answered,
            });
        }
    }
    steps.truncate(STEPS);
    (rules, steps)
}

fn check(index: usize, step: Step) -> Check {
    let sent = Duration::from_secs(index as u64);
    let outcome = match step {
        Step::Answered => Outcome::Answered(Duration::from_millis(10)),
        Step::Unanswered => Outcome::Unanswered(What::NoAnswer.into()),
        Step::Unsent => Outcome::Unsent(What::NoRoute.into()),
    };
    let takes = match step {
        Step::Answered => Duration::from_millis(10),
        Step::Unanswered => Duration::from_secs(2),
        Step::Unsent => Duration::ZERO,
    };
    check_of(index as u64 + 1, sent, takes, outcome)
}

/// The rules word for word. It keeps every check, and reckons everything anew each time.
struct Model {
    rules: Rules,
    /// All that ever was in the sample, `true` when lost; the sample is its end.
    sampled: Vec<bool>,
    /// (lost, of), of > 0.
    told: (i128, i128),
    /// All outcomes since the target was last up or down.
    since_change: Vec<(usize, Step)>,
    /// The first failure of the outage, and its failures.
    outage: Option<(usize, u64)>,
    success: bool,
}

impl Model {
    fn new(rules: Rules) -> Model {
        Model { rules, sampled: Vec::new(), told: (0, 1), since_change: Vec::new(), outage: None, success: false }
    }

    fn sample(&self) -> &[bool] {
        &self.sampled[self.sampled.len().saturating_sub(self.rules.size)..]
    }

    fn loss(&self) -> (i128, i128) {
        let lost = self.sample().iter().filter(|lost| **lost).count();
        (lost as i128, self.sample().len().max(1) as i128)
    }

    /// The outcomes at the end that are, or are not, answers.
    fn row(&self, answered: bool) -> &[(usize, Step)] {
        let is = |(_, step): &&(usize, Step)| (*step == Step::Answered) == answered;
        let length = self.since_change.iter().rev().take_while(is).count();
        &self.since_change[self.since_change.len() - length..]
    }

    fn on(&mut self, index: usize, step: Step) -> Option<Change> {
        self.success |= step == Step::Answered;
        self.since_change.push((index, step));
        let ended = check(index, step).ended;
        if let Some((first, failed)) = self.outage {
            self.outage = Some((first, failed + u64::from(step != Step::Answered)));
            if self.row(true).len() < self.rules.recover as usize {
                return None;
            }
            self.sampled.extend(self.row(true).iter().map(|_| false).collect::<Vec<_>>());
            self.outage = None;
            self.since_change.clear();
            return Some(Change::Up {
                failed,
                lasted: ended - check(first, step).sent,
                loss: self.tell(),
                only_fresh: false,
            });
        }
        if step != Step::Unsent {
            self.sampled.push(step == Step::Unanswered);
        }
        if self.rules.failures > 0 && self.row(false).len() >= self.rules.failures as usize {
            return Some(self.down(ended));
        }
        // 100 / change, rounded up, by trying.
        let change = i128::from(self.rules.change);
        let enough = (1..).find(|checks| checks * change >= 10_000 || change == 0).unwrap();
        self.judge(enough.min(self.rules.size as i128))
    }

    fn finish(&mut self, now: Duration) -> Option<Change> {
        if self.outage.is_some() {
            return None;
        }
        if !self.success && (self.rules.failures > 0 || self.sampled.is_empty()) {
            return Some(self.down(now));
        }
        self.judge(1)
    }

    fn down(&mut self, now: Duration) -> Change {
        let row = self.row(false).to_vec();
        let loss = self.tell();
        self.sampled.truncate(self.sampled.len() - row.iter().filter(|(_, step)| *step == Step::Unanswered).count());
        let (first, failed) = (row[0].0, row.len() as u64);
        self.outage = Some((first, failed));
        self.since_change.clear();
        let what = if row.iter().any(|(_, step)| *step == Step::Unsent) { Step::Unsent } else { Step::Unanswered };
        let failure = check(first, what).outcome.failure().unwrap();
        Change::Down { failed, lasted: now - Duration::from_secs(first as u64), failure, loss }
    }

    fn judge(&mut self, enough: i128) -> Option<Change> {
        if !self.rules.loss || (self.sample().len() as i128) < enough {
            return None;
        }
        let ((lost, of), (told_lost, told_of)) = (self.loss(), self.told);
        // In units of 1 / (of x told_of): exact.
        let apart = (lost * told_of - told_lost * of).abs() * 10_000 > i128::from(self.rules.change) * of * told_of;
        let none = lost == 0 && told_lost != 0;
        let all = lost == of && told_lost != told_of;
        if apart || none || all { self.tell().map(Change::Loss) } else { None }
    }

    fn tell(&mut self) -> Option<Move> {
        let from = as_loss(self.told);
        self.told = self.loss();
        self.rules.loss.then(|| Move { from, to: as_loss(self.told) })
    }
}

fn as_loss((lost, of): (i128, i128)) -> Loss {
    Loss { lost: lost as u32, of: of as u32 }
}

/// Sample of a judge, oldest first, by watching what leaves a copy of it: content, not only its sums.
fn sample_of(judge: &Judge, size: usize) -> Vec<bool> {
    let (mut judge, held) = (judge.clone(), judge.loss().of as usize);
    let mut lost = judge.loss().lost;
    let mut sample = Vec::new();
    for index in 0..size {
        judge.on(&check(index, Step::Answered));
        let now = judge.loss().lost;
        sample.push(now < lost);
        lost = now;
    }
    sample.split_off(size - held)
}

#[test]
fn random_runs_agree_with_a_naive_model() {
    let mut random = Random(20_261_122);
    let mut seen = [0_u32; 3];
    for run in 0..400 {
        let (rules, steps) = draw(&mut random);
        let (mut judge, mut model) = (Judge::new(rules), Model::new(rules));
        for (index, &step) in steps.iter().enumerate() {
            let (came, expected) = (judge.on(&check(index, step)), model.on(index, step));
            assert_eq!(came, expected, "run {run}, check {}, {rules:?}\n{:?}", index + 1, &steps[..=index]);
            assert_eq!(judge.is_down(), model.outage.is_some(), "run {run}, check {}", index + 1);
            assert_eq!(judge.answered_ever(), model.success, "run {run}, check {}", index + 1);
            match came {
                Some(Change::Loss(_)) => seen[0] += 1,
                Some(Change::Down { .. }) => seen[1] += 1,
                Some(Change::Up { .. }) => seen[2] += 1,
                _ => {}
            }
            // --count N ends here.
            if random.below(100) == 0 {
                let now = check(index, step).ended + Duration::from_secs(1);
                let (mut judge, mut model) = (judge.clone(), clone(&model));
                assert_eq!(judge.finish(now), model.finish(now), "run {run}, finish at {}, {rules:?}", index + 1);
            }
        }
    }
    assert!(seen.iter().all(|times| *times > 1000), "LOSS, DOWN, UP: {seen:?}: the runs are too tame");
}

/// The first checks of a run, then `--count` is reached: few checks, often none answered.
#[test]
fn random_short_runs_end_as_a_naive_model() {
    let mut random = Random(5);
    for run in 0..2000 {
        let (rules, steps) = draw(&mut random);
        let steps = &steps[..1 + random.below(40) as usize];
        let (mut judge, mut model) = (Judge::new(rules), Model::new(rules));
        for (index, &step) in steps.iter().enumerate() {
            assert_eq!(judge.on(&check(index, step)), model.on(index, step), "run {run}, {rules:?}\n{steps:?}");
        }
        let now = Duration::from_secs(100);
        assert_eq!(judge.finish(now), model.finish(now), "run {run}, {rules:?}\n{steps:?}");
    }
}

fn clone(model: &Model) -> Model {
    Model { sampled: model.sampled.clone(), since_change: model.since_change.clone(), ..*model }
}

/// The promises that a reader of the log relies on, without the model.
#[test]
fn random_runs_keep_the_promises() {
    let mut random = Random(42);
    for run in 0..200 {
        let (rules, steps) = draw(&mut random);
        let mut judge = Judge::new(rules);
        let (mut down, mut told) = (false, Loss { lost: 0, of: 1 });
        // The sample before the run of failures that is under way.
        let mut before = Vec::new();
        for (index, &step) in steps.iter().enumerate() {
            let whence = format!("run {run}, check {}, {rules:?}\n{:?}", index + 1, &steps[..=index]);
            let first_failure = index == 0 || steps[index - 1] == Step::Answered;
            if !down && step != Step::Answered && first_failure {
                before = sample_of(&judge, rules.size);
            }
            let change = judge.on(&check(index, step));
            let moved = match change {
                None => None,
                Some(Change::Loss(moved)) => {
                    assert!(!down, "LOSS while down: {whence}");
                    Some(moved)
                }
                Some(Change::Down { loss, .. }) => {
                    assert!(!down, "DOWN while down: {whence}");
                    down = true;
                    assert_eq!(sample_of(&judge_up(&judge, rules), rules.size), with(&before, rules), "{whence}");
                    loss
                }
                Some(Change::Up { loss, .. }) => {
                    assert!(down, "UP while up: {whence}");
                    down = false;
                    assert_eq!(sample_of(&judge, rules.size), with(&before, rules), "{whence}");
                    loss
                }
                Some(Change::Remind { .. }) => panic!("REMIND without --remind: {whence}"),
            };
            if let Some(moved) = moved {
                assert!(rules.loss, "packet loss of TCP: {whence}");
                assert_eq!(moved.from, told, "{whence}");
                assert_eq!(moved.to, judge_loss(&judge, moved.to, down), "{whence}");
                told = moved.to;
            }
        }
    }
}

/// The sample with the answers that end an outage.
fn with(before: &[bool], rules: Rules) -> Vec<bool> {
    let mut sample = before.to_vec();
    sample.extend(std::iter::repeat_n(false, rules.recover as usize));
    sample.split_off(sample.len().saturating_sub(rules.size))
}

/// A copy of a judge that is down, brought up.
fn judge_up(judge: &Judge, rules: Rules) -> Judge {
    let mut judge = judge.clone();
    for index in 0..rules.recover as usize {
        judge.on(&check(index + STEPS, Step::Answered));
    }
    assert!(!judge.is_down());
    judge
}

/// What the sample shows now; on DOWN the failures have left it by then.
fn judge_loss(judge: &Judge, told: Loss, down: bool) -> Loss {
    if down { told } else { judge.loss() }
}

/// `--remind` adds a notification at the first failed check of each such time after the DOWN, and changes nothing else.
#[test]
fn random_runs_with_remind() {
    let mut random = Random(7);
    let mut reminders = 0;
    for run in 0..200 {
        let (rules, steps) = draw(&mut random);
        let every = Duration::from_secs(1 + random.below(20));
        let (mut plain, mut judge) = (Judge::new(rules), Judge::new(Rules { remind: Some(every), ..rules }));
        let mut last = Duration::ZERO;
        for (index, &step) in steps.iter().enumerate() {
            let check = check(index, step);
            let (expected, came) = (plain.on(&check), judge.on(&check));
            match came {
                Some(Change::Remind { .. }) => {
                    assert!(plain.is_down() && expected.is_none(), "run {run}, check {}", index + 1);
                    assert!(check.ended >= last + every, "run {run}, check {}", index + 1);
                    reminders += 1;
                    // On the grid: a REMIND that came late does not delay the next.
                    while last + every <= check.ended {
                        last += every;
                    }
                }
                _ => assert_eq!(came, expected, "run {run}, check {}", index + 1),
            }
            if matches!(came, Some(Change::Down { .. })) {
                last = check.ended;
            }
            // A failed check brings it when it is due.
            let due = plain.is_down() && step != Step::Answered && check.ended >= last + every;
            assert!(!due, "run {run}, check {}: no REMIND", index + 1);
        }
    }
    assert!(reminders > 1000, "{reminders}");
}
