//! A target's thread: waits for the next slot, checks, judges, reports. The only things it waits for are its own socket
//! and the clock.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, Thread};
use std::time::Duration;

use crate::clock::Clock;
use crate::event::{Check, Event, Outcome, Subject, What};
use crate::flight::Flight;
use crate::judge::{Judge, Resumed, Rules};
use crate::probe::icmp::{self, IcmpProbe};
use crate::probe::tcp::TcpProbe;
use crate::resolver::Lookup;
use crate::schedule::{Schedule, Slot};
use crate::state::Known;
use crate::stats::Stats;
use crate::sync::keep_running;
use crate::target::{self, Target};
use crate::view::{Verbose, json, verbose};
use crate::writer::Message;

/// Enough for the deepest call of a target thread, debug builds included.
const STACK: usize = 64 * 1024;

/// After so many unanswered checks in a row the socket is opened anew, and again after as many more.
const REOPEN_AFTER: u32 = 3;

/// Sleeping through more intervals than this is worth a line in the log.
const GAP_WORTH_A_LINE: u64 = 3;

/// Where a target's addresses come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A literal address.
    Fixed(IpAddr),
    /// A name, looked up by the resolver.
    Name(Arc<Lookup>),
}

/// What the threads of all targets share.
pub struct Common {
    /// The clocks.
    pub clock: Clock,
    /// To the writer.
    pub events: Sender<Message>,
    /// Each check is shown here, with `--verbose`.
    pub verbose: Option<Verbose>,
    /// With `--count`: so many checks of each target.
    pub count: Option<u64>,
    /// What the probes share.
    pub probes: Arc<icmp::Shared>,
    /// Threads that have not ended.
    pub left: AtomicUsize,
    /// Called by the last one that ends.
    pub done: Box<dyn Fn() + Send + Sync>,
}

/// All that a target's thread needs.
pub struct Monitor {
    /// What is checked, and how.
    pub target: Arc<Target>,
    /// Where its addresses come from.
    pub source: Source,
    /// What is known of it from before.
    pub known: Known,
    /// Its counts, and whether it is still watched.
    pub stats: Arc<Stats>,
    /// When its first check is due.
    pub first: Duration,
    /// What it shares with all others.
    pub common: Arc<Common>,
}

/// What survives a failure of the thread.
struct Progress {
    schedule: Schedule,
    judge: Judge,
    /// The number of the last check that was begun.
    number: u64,
    version: u64,
    addresses: Vec<IpAddr>,
    /// Unanswered checks in a row.
    unanswered: u32,
}

impl Monitor {
    /// Starts the thread, which is one of those left until it ends: after the last check of `--count`, or stopped. Errors: no
    /// thread could be made (RLIMIT_NPROC, memory); the caller says how many fit and exits with 2.
    pub fn spawn(self) -> std::io::Result<Thread> {
        // An outage from before is shown from the start.
        self.stats.show(&self.resume(), self.common.clock.now());
        // The kernel shows 15 bytes of it.
        let name: String = self.target.name.chars().take(15).collect();
        // Boxed: what a thread is started with is copied about on its stack.
        let monitor = Box::new(self);
        thread::Builder::new()
            .name(name)
            .stack_size(STACK)
            .spawn(move || {
                monitor.run();
                monitor.end();
            })
            .map(|handle| handle.thread().clone())
    }

    fn run(&self) {
        let mut progress = self.start();
        // After a panic the target is watched on, with what was judged so far; checks on their way are forgotten.
        keep_running(
            || match self.target.check {
                target::Check::Icmp => self.run_icmp(&mut progress),
                target::Check::Tcp { port } => self.run_tcp(&mut progress, port),
            },
            |message| self.tell(self.common.clock.now(), |target| Subject::Panic(target, message)),
        );
        if !self.stats.is_stopped() {
            self.finish(&mut progress);
        }
    }

    // These are not part of `run`, and all is shallow: a target's thread is to do with one page of stack.
    #[inline(never)]
    fn start(&self) -> Progress {
        if let Source::Name(lookup) = &self.source {
            lookup.wait_for_first(self.target.options.timeout);
        }
        // The grid begins now: the wait for the first lookup is no gap.
        let start = self.common.clock.now().max(self.first);
        Progress {
            schedule: Schedule::new(start, self.target.options.interval),
            judge: self.resume(),
            number: 0,
            version: 0,
            addresses: match self.source {
                Source::Fixed(address) => vec![address],
                Source::Name(_) => Vec::new(),
            },
            unanswered: 0,
        }
    }

    #[inline(never)]
    fn end(&self) {
        if self.common.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.common.done)();
        }
    }

    #[inline(never)]
    fn finish(&self, progress: &mut Progress) {
        let now = self.common.clock.now();
        if let Some(change) = progress.judge.finish(now) {
            self.tell(now, |target| Subject::Target(target, change));
        }
        self.stats.show(&progress.judge, now);
    }

    fn resume(&self) -> Judge {
        let down = self.known.down.map(|down| Resumed {
            since: self.common.clock.at(down.since),
            reminded: self.common.clock.at(down.reminded),
            failed: down.failed,
        });
        Judge::resume(Rules::of(&self.target), self.known.told, down)
    }

    #[inline(never)]
    fn run_icmp(&self, progress: &mut Progress) {
        let mut probe = IcmpProbe::new(&self.target.options, Arc::clone(&self.common.probes));
        let mut flight = Flight::new(self.target.options.timeout);
        loop {
            // Taken before the socket is read: whatever came before this moment has then been seen.
            let now = self.common.clock.now();
            if flight.is_waiting() {
                let is_due = flight.next_deadline().is_some_and(|deadline| deadline <= now);
                probe.read(&mut flight, &self.common.clock, is_due);
                flight.expire(now);
                let strays = probe.take_strays();
                if strays > 0 {
                    self.stats.strays(strays);
                }
            }
            self.judge_all(progress, &mut flight, &mut probe);
            let more = self.more(progress);
            if !more && (flight.is_empty() || self.stats.is_stopped()) {
                return;
            }
            let slot = if more { progress.schedule.take(now) } else { None };
            if let Some(slot) = slot {
                self.check(progress, &mut flight, &mut probe, slot, now);
            } else {
                let slot = more.then(|| progress.schedule.next_at());
                let deadline = flight.next_deadline();
                let wake = slot.into_iter().chain(deadline).min().unwrap_or(now);
                if flight.is_waiting() {
                    probe.wait(wake, &self.common.clock);
                } else {
                    self.sleep_until(wake);
                }
            }
        }
    }

    #[inline(never)]
    fn check(
        &self,
        progress: &mut Progress,
        flight: &mut Flight,
        probe: &mut IcmpProbe<'_>,
        slot: Slot,
        now: Duration,
    ) {
        let number = self.begin(progress, slot, now);
        match progress.addresses.first() {
            Some(peer) => probe.send(flight, number, *peer, progress.judge.is_down(), &self.common.clock),
            None => flight.settled(number, now, unresolved()),
        }
    }

    #[inline(never)]
    fn judge_all(&self, progress: &mut Progress, flight: &mut Flight, probe: &mut IcmpProbe<'_>) {
        while let Some(mut check) = flight.pop() {
            check.only_fresh = probe.only_fresh_answers(check.number);
            self.judge(progress, &check);
            if self.reopen_is_due(progress, &check) {
                probe.retire(flight);
            }
        }
    }

    #[inline(never)]
    fn run_tcp(&self, progress: &mut Progress, port: u16) {
        let timeout = self.target.options.timeout;
        let probe = TcpProbe::new(port, &self.target.options);
        while self.more(progress) {
            let now = self.common.clock.now();
            let Some(slot) = progress.schedule.take(now) else {
                self.sleep_until(progress.schedule.next_at());
                continue;
            };
            let number = self.begin(progress, slot, now);
            let sent = self.common.clock.now();
            let outcome = if progress.addresses.is_empty() {
                unresolved()
            } else {
                probe.check(&progress.addresses, &self.common.clock)
            };
            let ended = self.common.clock.now();
            self.judge(progress, &Check { number, sent, ended, outcome, only_fresh: false });
            // What a check took beyond its timeout was not the check: those slots are gaps.
            progress.schedule.busy_until(ended.min(sent + timeout));
        }
    }

    /// Are there checks left to begin?
    fn more(&self, progress: &Progress) -> bool {
        !self.stats.is_stopped() && self.common.count.is_none_or(|count| progress.number < count)
    }

    /// Begins the check of a slot: counts the gaps before it, brings the addresses up to date, numbers it.
    fn begin(&self, progress: &mut Progress, slot: Slot, now: Duration) -> u64 {
        self.stats.tick(now, slot.gaps);
        if slot.gaps > GAP_WORTH_A_LINE {
            let lasted = self.target.options.interval.saturating_mul(u32::try_from(slot.gaps).unwrap_or(u32::MAX));
            self.tell(slot.at, |target| Subject::Gap(target, slot.gaps, lasted));
        }
        if let Source::Name(lookup) = &self.source {
            let before = progress.addresses.first().copied();
            let seen = progress.version;
            lookup.update(&mut progress.version, &mut progress.addresses);
            // Round-robin answers come in another order each time: an address that is still there is kept.
            if seen != progress.version && self.target.check == target::Check::Icmp {
                let kept = progress.addresses.iter().position(|known| Some(*known) == before);
                if let Some(place) = kept {
                    progress.addresses.swap(0, place);
                }
            }
        }
        progress.number += 1;
        #[cfg(debug_assertions)]
        self.fail_if_asked(progress.number);
        progress.number
    }

    /// For the tests, in debug builds only: the thread of the target that the variable names panics, or hangs, at its third
    /// check.
    #[cfg(debug_assertions)]
    fn fail_if_asked(&self, number: u64) {
        let asked = |variable| std::env::var_os(variable).is_some_and(|name| name == *self.target.name);
        assert!(number != 3 || !asked("REACHABILITYCHECK_TEST_PANIC"), "asked to fail");
        while number == 3 && asked("REACHABILITYCHECK_TEST_HANG") {
            thread::park();
        }
    }

    /// The one way of every outcome: counted, shown, judged, and if that changes anything, told.
    fn judge(&self, progress: &mut Progress, check: &Check) {
        if let Some(Verbose { screen, json }) = &self.common.verbose {
            screen.out(match json {
                true => json::check(&self.target, check, self.common.clock.wall(check.sent)),
                false => verbose::line(&self.target, check),
            });
        }
        let change = progress.judge.on(check);
        self.stats.judged(check, &progress.judge);
        // One that is watched no more, or by another thread with other options, has nothing to tell.
        if let Some(change) = change.filter(|_| !self.stats.is_stopped()) {
            self.tell(progress.judge.told_at(), |target| Subject::Target(target, change));
        }
    }

    fn reopen_is_due(&self, progress: &mut Progress, check: &Check) -> bool {
        match check.outcome {
            Outcome::Answered(_) => progress.unanswered = 0,
            Outcome::Unanswered(_) => progress.unanswered += 1,
            // Found out late: the kernel did not say so when it was sent, or the probe would have a new socket already.
            Outcome::Unsent(_) if check.ended > check.sent => progress.unanswered += 1,
            Outcome::Unsent(_) => {}
        }
        let due = progress.unanswered >= REOPEN_AFTER;
        if due {
            progress.unanswered = 0;
        }
        due
    }

    #[inline(never)]
    fn tell(&self, at: Duration, subject: impl FnOnce(Arc<Target>) -> Subject) {
        let event = Event { at: self.common.clock.wall(at), subject: subject(Arc::clone(&self.target)) };
        // The writer is gone only when the program ends.
        let _ = self.common.events.send(Message::Event(Box::new(event)));
    }

    fn sleep_until(&self, wake: Duration) {
        // May end early, which the loops notice; a stopped target's thread is unparked.
        thread::park_timeout(wake.saturating_sub(self.common.clock.now()));
    }
}

fn unresolved() -> Outcome {
    Outcome::Unsent(What::CannotResolve.into())
}
