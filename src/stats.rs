//! What is counted for each target, shared with the views. A mutex, not atomics: one lock a check, always consistent,
//! and there are machines without 64-bit atomics.

use std::sync::Mutex;
use std::time::Duration;

use crate::event::{Loss, Outcome};
use crate::judge::Judge;
use crate::sync::lock;

/// The shared counts of one target.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Counts>);

/// A target's counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Checks answered.
    pub answered: u64,
    /// Checks sent and not answered.
    pub unanswered: u64,
    /// Checks that could not be sent.
    pub unsent: u64,
    /// Slots slept through.
    pub gaps: u64,
    /// Datagrams that answered no check of ours.
    pub strays: u64,
    /// The shortest round trip.
    pub rtt_min: Duration,
    /// The longest round trip.
    pub rtt_max: Duration,
    /// All round trips, added up.
    pub rtt_sum: Duration,
    /// The loss in the sample.
    pub loss: Loss,
    /// Is the target down?
    pub down: bool,
    /// While down: failed checks of the outage.
    pub failed: u64,
}

impl Stats {
    /// The counts now.
    pub fn read(&self) -> Counts {
        *lock(&self.0)
    }

    /// Changes them.
    pub fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut lock(&self.0));
    }
}

impl Counts {
    /// Counts one check.
    pub fn count(&mut self, outcome: &Outcome) {
        match *outcome {
            Outcome::Answered(rtt) => {
                if self.answered == 0 || rtt < self.rtt_min {
                    self.rtt_min = rtt;
                }
                self.answered += 1;
                self.rtt_max = self.rtt_max.max(rtt);
                self.rtt_sum += rtt;
            }
            Outcome::Unanswered(_) => self.unanswered += 1,
            Outcome::Unsent(_) => self.unsent += 1,
        }
    }

    /// Shows what the judge holds now.
    pub fn show(&mut self, judge: &Judge) {
        self.loss = judge.loss();
        self.down = judge.is_down();
        self.failed = judge.failed();
    }

    /// Checks that were sent and are judged.
    pub fn sent(&self) -> u64 {
        self.answered + self.unanswered
    }
}
