//! The judgement of one target: what a check changes. One funnel, [`Judge::on`], for every outcome.
//!
//! Pure: the times are those of the checks. Loss is unanswered checks / checks in the sample; a check that could not
//! be sent is in no sample, yet it counts towards down.

use std::time::Duration;

use crate::event::{Change, Check, Failure, Loss, Move, Outcome, What};
use crate::target::{Check as CheckKind, Target};

/// The rules that a target is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Packet loss is notified (ICMP); a TCP target knows up and down only.
    pub loss: bool,
    /// The sample: the last so many checks.
    pub size: usize,
    /// Hundredths of a percentage point that the loss must move by, and more, to be notified.
    pub change: u32,
    /// Failures in a row before the target is down; 0: never.
    pub failures: u32,
    /// Successes in a row before it is up again.
    pub recover: u32,
    /// Notify again so often while down.
    pub remind: Option<Duration>,
}

impl Rules {
    /// The rules that the target's options ask for.
    pub fn of(target: &Target) -> Rules {
        let options = &target.options;
        Rules {
            loss: target.check == CheckKind::Icmp,
            size: options.size,
            change: options.change.hundredths(),
            failures: options.failures,
            recover: options.recover,
            remind: options.remind,
        }
    }

    /// So many checks must be in the sample before its loss is judged: then one lost packet alone is never more
    /// than the threshold.
    pub fn enough(&self) -> usize {
        match self.change {
            0 => 1,
            change => self.size.min(10_000_usize.div_ceil(change as usize)),
        }
    }
}

/// The state of one target.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Rules,
    sample: Sample,
    /// The loss last notified.
    told: Loss,
    /// Failures in a row, while up: the outage that may begin.
    run: Option<Run>,
    /// The outage, while down.
    outage: Option<Outage>,
    answered_ever: bool,
    told_at: Duration,
}

/// An outage from before the program started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// When its first check failed.
    pub since: Duration,
    /// When it was last told.
    pub reminded: Duration,
    /// Failed checks so far.
    pub failed: u64,
}

/// An outage that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ongoing {
    /// When its first check failed.
    pub since: Duration,
    /// Failed checks so far.
    pub failed: u64,
    /// The most telling failure.
    pub failure: Failure,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Duration,
    failed: u64,
    /// Those of them that stand in the sample.
    in_sample: usize,
    failure: Failure,
}

impl Run {
    fn add(&mut self, failure: Failure) {
        self.failed += 1;
        // An ICMP error is rate-limited by those who send it: silence after it does not unsay it.
        if !silence(failure) || silence(self.failure) {
            self.failure = failure;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    run: Run,
    /// Successes in a row.
    recovered: u32,
    /// Of these successes, one was only answered on a new identifier.
    only_fresh: bool,
    reminded: Duration,
}

fn silence(failure: Failure) -> bool {
    matches!(failure.reason.what, What::NoAnswer | What::NotYetSeen)
}

impl Judge {
    /// A target of which nothing is known yet: it counts as up, with no loss told.
    pub fn new(rules: Rules) -> Judge {
        Judge {
            rules,
            sample: Sample::new(rules.size, rules.failures as usize),
            told: Loss::default(),
            run: None,
            outage: None,
            answered_ever: false,
            told_at: Duration::ZERO,
        }
    }

    /// A target of which this is known from before: the loss last told, and the outage that goes on, if there is one.
    /// Its sample is empty: those checks are too old to tell.
    pub fn resume(rules: Rules, told: Loss, down: Option<Resumed>) -> Judge {
        let failure = Failure { reason: What::NotYetSeen.into(), sent: true };
        let outage = down.map(|Resumed { since, reminded, failed }| Outage {
            run: Run { since, failed, in_sample: 0, failure },
            recovered: 0,
            only_fresh: false,
            reminded,
        });
        Judge { told, outage, ..Judge::new(rules) }
    }

    /// While down: the outage so far.
    pub fn outage(&self) -> Option<Ongoing> {
        let run = self.outage.as_ref()?.run;
        Some(Ongoing { since: run.since, failed: run.failed, failure: run.failure })
    }

    /// Takes the next check, in the order in which they were sent, and says what it changes.
    pub fn on(&mut self, check: &Check) -> Option<Change> {
        let change = self.change(check);
        self.note_time(&change, check.ended);
        change
    }

    /// The time of the latest change: when the check that made it ended. Only that an answer may have come before the
    /// timeout of an older check was over: the later change is then not dated before the earlier one.
    pub fn told_at(&self) -> Duration {
        self.told_at
    }

    fn note_time(&mut self, change: &Option<Change>, ended: Duration) {
        if change.is_some() {
            self.told_at = self.told_at.max(ended);
        }
    }

    fn change(&mut self, check: &Check) -> Option<Change> {
        let failure = check.outcome.failure();
        self.answered_ever |= failure.is_none();
        if self.outage.is_some() {
            return self.on_while_down(check, failure);
        }
        match failure {
            None => {
                self.sample.push(false);
                self.run = None;
            }
            Some(failure) => {
                let unanswered = matches!(check.outcome, Outcome::Unanswered(_));
                if unanswered {
                    self.sample.push(true);
                }
                let run = self.run.get_or_insert(Run { since: check.sent, failed: 0, in_sample: 0, failure });
                run.add(failure);
                run.in_sample += usize::from(unanswered);
                if self.rules.failures > 0 && run.failed >= u64::from(self.rules.failures) {
                    return self.go_down(check.ended);
                }
            }
        }
        self.judge_loss(self.rules.enough())
    }

    /// The last check is done (`--count`): judges the sample whatever its size, and a target that never
    /// answered is down. With down turned off its loss says so, unless nothing could even be sent.
    pub fn finish(&mut self, now: Duration) -> Option<Change> {
        if self.outage.is_some() {
            return None;
        }
        let silent = self.rules.failures == 0 && self.loss().of == 0;
        let change = if !self.answered_ever && self.run.is_some() && (self.rules.failures > 0 || silent) {
            self.go_down(now)
        } else {
            self.judge_loss(1)
        };
        self.note_time(&change, now);
        change
    }

    /// Is it down?
    pub fn is_down(&self) -> bool {
        self.outage.is_some()
    }

    /// Was any check answered?
    pub fn answered_ever(&self) -> bool {
        self.answered_ever
    }

    /// The loss in the sample now.
    pub fn loss(&self) -> Loss {
        self.sample.loss()
    }

    fn go_down(&mut self, now: Duration) -> Option<Change> {
        let run = self.run.take()?;
        let loss = self.tell_loss();
        // From here on the outage tells of these checks; the sample goes on from before it.
        for _ in 0..run.in_sample {
            self.sample.pop();
        }
        self.outage = Some(Outage { run, recovered: 0, only_fresh: false, reminded: now });
        Some(Change::Down { failed: run.failed, lasted: now.saturating_sub(run.since), failure: run.failure, loss })
    }

    fn on_while_down(&mut self, check: &Check, failure: Option<Failure>) -> Option<Change> {
        let outage = self.outage.as_mut()?;
        let lasted = check.ended.saturating_sub(outage.run.since);
        if let Some(failure) = failure {
            outage.recovered = 0;
            outage.only_fresh = false;
            outage.run.add(failure);
            // On a grid from the outage's start, so that a reminder that came late does not delay the next.
            let passed = check.ended.saturating_sub(outage.reminded);
            let every = self.rules.remind.filter(|every| passed >= *every);
            if let Some(every) = every {
                let periods = passed.as_nanos() / every.as_nanos().max(1);
                outage.reminded += every.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
            }
            return every.map(|_| Change::Remind { failed: outage.run.failed, lasted, failure });
        }
        outage.recovered += 1;
        outage.only_fresh |= check.only_fresh;
        if outage.recovered < self.rules.recover {
            return None;
        }
        let (failed, only_fresh) = (outage.run.failed, outage.only_fresh);
        // The answers that end the outage are the first of the time after it.
        for _ in 0..outage.recovered {
            self.sample.push(false);
        }
        self.outage = None;
        Some(Change::Up { failed, lasted, loss: self.tell_loss(), only_fresh })
    }

    fn judge_loss(&mut self, enough: usize) -> Option<Change> {
        let loss = self.loss();
        if !self.rules.loss || (loss.of as usize) < enough {
            return None;
        }
        let moved = loss.differs_by_more(self.told, self.rules.change);
        let edge = (loss.is_none() && !self.told.is_none()) || (loss.is_all() && !self.told.is_all());
        if !moved && !edge {
            return None;
        }
        self.tell_loss().map(Change::Loss)
    }

    /// The loss goes into a notification: from now on it is the loss last told.
    fn tell_loss(&mut self) -> Option<Move> {
        if !self.rules.loss {
            return None;
        }
        let moved = Move { from: self.told, to: self.loss() };
        self.told = moved.to;
        Some(moved)
    }
}

/// The last `size` checks as bits, and some before them, so that the checks of an outage can be taken out again.
#[derive(Clone, Debug)]
struct Sample {
    bits: Box<[u64]>,
    /// Entries that fit.
    room: usize,
    size: usize,
    /// Where the next entry goes.
    head: usize,
    held: usize,
    /// Unanswered checks among the last `size`.
    lost: u32,
}

impl Sample {
    /// A sample of `size`, of which up to `undo` pushes can be taken back exactly.
    fn new(size: usize, undo: usize) -> Sample {
        let room = size + undo;
        Sample { bits: vec![0; room.div_ceil(64)].into_boxed_slice(), room, size, head: 0, held: 0, lost: 0 }
    }

    fn loss(&self) -> Loss {
        Loss { lost: self.lost, of: self.held.min(self.size) as u32 }
    }

    fn push(&mut self, lost: bool) {
        if self.held >= self.size {
            self.lost -= self.at(self.size);
        }
        let bit = 1 << (self.head % 64);
        let word = &mut self.bits[self.head / 64];
        *word = if lost { *word | bit } else { *word & !bit };
        self.head = (self.head + 1) % self.room;
        self.held = (self.held + 1).min(self.room);
        self.lost += u32::from(lost);
    }

    fn pop(&mut self) {
        if self.held == 0 {
            return;
        }
        self.lost -= self.at(1);
        self.head = (self.head + self.room - 1) % self.room;
        self.held -= 1;
        if self.held >= self.size {
            self.lost += self.at(self.size);
        }
    }

    /// 1 when the entry pushed `age` pushes ago (1: the last) is a lost one.
    fn at(&self, age: usize) -> u32 {
        let place = (self.head + self.room - age) % self.room;
        (self.bits[place / 64] >> (place % 64) & 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The sample against a plain list, over pushes and pops from a fixed pseudo-random sequence.
    #[test]
    fn sample_agrees_with_a_plain_list() {
        for (size, undo) in [(1, 0), (1, 3), (7, 10), (64, 3), (300, 10)] {
            let mut sample = Sample::new(size, undo);
            let mut plain: VecDeque<bool> = VecDeque::new();
            let mut undoable = 0;
            let mut x: u32 = 12345;
            for _ in 0..5000 {
                x = x.wrapping_mul(1_103_515_245).wrapping_add(12345);
                let roll = x >> 16 & 7;
                if roll == 7 && undoable > 0 {
                    sample.pop();
                    plain.pop_back();
                    undoable -= 1;
                } else {
                    sample.push(roll < 3);
                    plain.push_back(roll < 3);
                    undoable = (undoable + 1).min(undo);
                }
                let window: Vec<_> = plain.iter().rev().take(size).collect();
                let lost = window.iter().filter(|lost| ***lost).count() as u32;
                assert_eq!((sample.lost, sample.loss().of), (lost, window.len() as u32));
            }
        }
    }
}
