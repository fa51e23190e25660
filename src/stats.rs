//! What is counted for each target, shared with the views. A mutex, not atomics: one lock a check, always consistent,
//! and there are machines without 64-bit atomics.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::event::{Check, Loss, Outcome};
use crate::judge::{Judge, Ongoing};
use crate::sync::lock;
use crate::target::Target;

/// Upper bounds of the round-trip time histogram, in microseconds, each included; above the last there is one more bucket.
pub const RTT_BOUNDS: [u32; 12] =
    [500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000];

/// All targets that are watched now, for those who show them.
#[derive(Debug, Default)]
pub struct Board(Mutex<Vec<(Arc<Target>, Arc<Stats>)>>);

/// What a target's thread shares with others: its counts, and whether it is to end. With what an Arc adds it is to stay
/// below 400 bytes, or musl's malloc takes 496.
#[derive(Debug)]
pub struct Stats {
    shared: Mutex<Shared>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    counts: Counts,
    /// For a picture, if there is one.
    latest: Option<Box<Latest>>,
    /// Checks unanswered since the last answer that belong to no outage yet.
    run: u64,
    /// The longest round trip since it was last asked for.
    peak: Duration,
}

/// The latest checks, oldest first; at most `keep`.
#[derive(Debug)]
struct Latest {
    blips: VecDeque<Blip>,
    keep: usize,
}

/// One of the latest slots, as a picture shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blip {
    /// Answered after so many microseconds.
    Answered(u32),
    /// Sent, and not answered.
    Unanswered,
    /// Could not be sent.
    Unsent,
    /// Slept through.
    Gap,
}

/// A target's counts since it is watched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// When its watching began, on the monotonic clock.
    pub begun: Duration,
    /// When its thread last took a slot; before the first, `begun`.
    pub ticked: Duration,
    /// Checks answered.
    pub answered: u64,
    /// Checks sent and not answered.
    pub unanswered: u64,
    /// Those of them that belong to an outage; the checks that made a target go down among them.
    pub unanswered_down: u64,
    /// Checks that could not be sent.
    pub unsent: u64,
    /// Slots slept through.
    pub gaps: u64,
    /// Datagrams that answered no check of ours.
    pub strays: u64,
    /// The latest round trip; None before the first.
    pub rtt_last: Option<Duration>,
    /// The shortest round trip.
    pub rtt_min: Duration,
    /// The longest round trip.
    pub rtt_max: Duration,
    /// All round trips, added up.
    pub rtt_sum: Duration,
    /// How many round trips took at most the bound of that place in [`RTT_BOUNDS`], and more than the one before; the other
    /// answered checks took longer than all.
    pub rtt_buckets: [u64; RTT_BOUNDS.len()],
    /// The loss in the sample.
    pub loss: Loss,
    /// The outage that goes on; None: not down.
    pub outage: Option<Ongoing>,
    /// How many outages there were, the one that goes on among them.
    pub outages: u64,
    /// How long the target was down in outages that are over, since `begun`.
    pub down: Duration,
}

impl Board {
    /// From now on these are watched.
    pub fn set(&self, targets: Vec<(Arc<Target>, Arc<Stats>)>) {
        *lock(&self.0) = targets;
    }

    /// The targets, in the order of the configuration.
    pub fn targets(&self) -> Vec<(Arc<Target>, Arc<Stats>)> {
        lock(&self.0).clone()
    }

    /// Each target with its counts now.
    pub fn counts(&self) -> Vec<(Arc<Target>, Counts)> {
        self.targets().into_iter().map(|(target, stats)| (target, stats.read())).collect()
    }
}

impl Stats {
    /// Nothing counted yet; watched since `begun`. The latest `keep` checks are kept for a picture.
    pub fn new(begun: Duration, keep: usize) -> Stats {
        let counts = Counts { begun, ticked: begun, ..Counts::default() };
        let latest = (keep > 0).then(|| Box::new(Latest { blips: VecDeque::with_capacity(keep), keep }));
        let shared = Shared { counts, latest, run: 0, peak: Duration::ZERO };
        Stats { shared: Mutex::new(shared), stopped: AtomicBool::new(false) }
    }

    /// The target is watched no more: its thread, once unparked, ends.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Is it watched no more?
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The counts now.
    pub fn read(&self) -> Counts {
        lock(&self.shared).counts
    }

    /// The longest round trip since this was last asked; for one asker only. Zero: there was none.
    pub fn take_peak(&self) -> Duration {
        std::mem::take(&mut lock(&self.shared).peak)
    }

    /// The latest checks, oldest first.
    pub fn latest(&self) -> Vec<Blip> {
        let shared = lock(&self.shared);
        shared.latest.iter().flat_map(|latest| &latest.blips).copied().collect()
    }

    /// The thread took a slot, after `gaps` that it slept through.
    pub fn tick(&self, now: Duration, gaps: u64) {
        let mut shared = lock(&self.shared);
        shared.counts.ticked = now;
        shared.counts.gaps += gaps;
        if let Some(latest) = &mut shared.latest {
            let shown = usize::try_from(gaps).unwrap_or(usize::MAX).min(latest.keep);
            (0..shown).for_each(|_| latest.push(Blip::Gap));
        }
    }

    /// Datagrams came that answer nothing.
    pub fn strays(&self, strays: u64) {
        lock(&self.shared).counts.strays += strays;
    }

    /// A check was judged.
    pub fn judged(&self, check: &Check, judge: &Judge) {
        let mut shared = lock(&self.shared);
        shared.counts.count(&check.outcome);
        match check.outcome {
            Outcome::Answered(rtt) => {
                shared.run = 0;
                shared.peak = shared.peak.max(rtt);
            }
            Outcome::Unanswered(_) => shared.run += 1,
            Outcome::Unsent(_) => {}
        }
        shared.show(judge, check.ended);
        if let Some(latest) = &mut shared.latest {
            latest.push(match check.outcome {
                Outcome::Answered(rtt) => Blip::Answered(micros(rtt)),
                Outcome::Unanswered(_) => Blip::Unanswered,
                Outcome::Unsent(_) => Blip::Unsent,
            });
        }
    }

    /// Shows what the judge holds, without a check: at the start and at the end.
    pub fn show(&self, judge: &Judge, now: Duration) {
        lock(&self.shared).show(judge, now);
    }
}

impl Shared {
    fn show(&mut self, judge: &Judge, now: Duration) {
        self.counts.show(judge, now);
        if self.counts.outage.is_some() {
            self.counts.unanswered_down += std::mem::take(&mut self.run);
        }
    }
}

impl Latest {
    fn push(&mut self, blip: Blip) {
        if self.blips.len() >= self.keep {
            self.blips.pop_front();
        }
        self.blips.push_back(blip);
    }
}

impl Counts {
    fn count(&mut self, outcome: &Outcome) {
        match *outcome {
            Outcome::Answered(rtt) => {
                if self.answered == 0 || rtt < self.rtt_min {
                    self.rtt_min = rtt;
                }
                self.answered += 1;
                self.rtt_last = Some(rtt);
                self.rtt_max = self.rtt_max.max(rtt);
                self.rtt_sum += rtt;
                let micros = micros(rtt);
                let place = RTT_BOUNDS.partition_point(|bound| *bound < micros);
                if let Some(bucket) = self.rtt_buckets.get_mut(place) {
                    *bucket += 1;
                }
            }
            Outcome::Unanswered(_) => self.unanswered += 1,
            Outcome::Unsent(_) => self.unsent += 1,
        }
    }

    fn show(&mut self, judge: &Judge, now: Duration) {
        self.loss = judge.loss();
        let outage = judge.outage();
        match (self.outage, outage) {
            (None, Some(_)) => self.outages += 1,
            // Not before the slot that was taken last: what was shown as down until then must not become less.
            (Some(over), None) => self.down += now.max(self.ticked).saturating_sub(over.since.max(self.begun)),
            _ => {}
        }
        self.outage = outage;
    }

    /// Checks that were sent and are judged.
    pub fn sent(&self) -> u64 {
        self.answered + self.unanswered
    }

    /// How long the target was down since `begun`, the outage that goes on included.
    pub fn down_until(&self, now: Duration) -> Duration {
        let ongoing = self.outage.map(|outage| now.saturating_sub(outage.since.max(self.begun)));
        self.down + ongoing.unwrap_or_default()
    }

    /// The mean round trip; None without any.
    pub fn rtt_mean(&self) -> Option<Duration> {
        (self.answered > 0).then(|| self.rtt_sum.div_f64(self.answered as f64))
    }
}

/// Rounded up, so that what took longer than a bound stays above it.
fn micros(time: Duration) -> u32 {
    let whole = time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_nanos().div_ceil(1000).into());
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::What;
    use crate::flags;
    use crate::judge::Rules;

    #[test]
    fn counts_and_outages() {
        let target = Target::parse("gw", &flags::parse(["-ct".into(), "2".into()]).unwrap().target).unwrap();
        let at = |secs| Duration::from_secs(secs);
        let mut judge = Judge::new(Rules::of(&target));
        let stats = Stats::new(at(100), 3);
        let micro = |n| Outcome::Answered(Duration::from_micros(n));
        let lost = Outcome::Unanswered(What::NoAnswer.into());
        let outcomes = [micro(500), micro(501), lost, lost, lost, micro(3_000_000), lost];
        for (number, outcome) in (1..).zip(outcomes) {
            let check = Check { number, sent: at(100 + number), ended: at(101 + number), outcome, only_fresh: false };
            judge.on(&check);
            stats.judged(&check, &judge);
            if number == 5 {
                let counts = stats.read();
                assert_eq!(counts.outage.map(|outage| (outage.since, outage.failed)), Some((at(103), 3)));
                assert_eq!(counts.down_until(at(110)), at(7));
            }
        }
        stats.tick(at(120), 1);
        let counts = stats.read();
        assert_eq!((counts.answered, counts.unanswered, counts.gaps, counts.ticked), (3, 4, 1, at(120)));
        assert_eq!(counts.unanswered_down, 3);
        assert_eq!((stats.take_peak(), stats.take_peak()), (at(3), Duration::ZERO));
        assert_eq!((counts.outages, counts.down, counts.outage), (1, at(4), None));
        assert_eq!((counts.rtt_buckets[0], counts.rtt_buckets[1], counts.rtt_buckets.iter().sum()), (1, 1, 2));
        assert_eq!(stats.latest(), [Blip::Answered(3_000_000), Blip::Unanswered, Blip::Gap]);
    }

    /// See [`Stats`].
    #[test]
    fn ten_thousand_take_four_megabytes() {
        assert!(size_of::<Stats>() <= 400 - 4 - 2 * size_of::<usize>(), "{}", size_of::<Stats>());
    }

    /// An answer that came before the slot that was taken last (the wall clock was stepped): metrics that showed the outage
    /// up to that slot must not go back.
    #[test]
    fn down_time_never_goes_back() {
        let target = Target::parse("gw", &flags::parse(["-ct".into(), "1".into()]).unwrap().target).unwrap();
        let at = |secs| Duration::from_secs(secs);
        let mut judge = Judge::new(Rules::of(&target));
        let stats = Stats::new(at(100), 0);
        let mut judged = |number, ended, outcome| {
            let check = Check { number, sent: at(101), ended: at(ended), outcome, only_fresh: false };
            judge.on(&check);
            stats.judged(&check, &judge);
        };
        judged(1, 103, Outcome::Unanswered(What::NoAnswer.into()));
        stats.tick(at(110), 0);
        let shown = stats.read().down_until(at(110));
        judged(2, 105, Outcome::Answered(at(1)));
        assert_eq!((shown, stats.read().down), (at(9), at(9)));
    }
}
