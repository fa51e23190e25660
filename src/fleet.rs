//! The targets that are watched: their threads, started, kept and stopped as the configuration says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::Thread;

use crate::clock::Clock;
use crate::monitor::{Monitor, Source};
use crate::resolver::Resolver;
use crate::schedule::spread;
use crate::state::Known;
use crate::stats::{Board, Stats};
use crate::target::{Host, Target};
use crate::view::Verbose;
use crate::writer::Message;

/// The threads of all targets that are watched now.
pub struct Fleet {
    clock: Clock,
    events: Sender<Message>,
    verbose: Option<Verbose>,
    count: Option<u64>,
    board: Arc<Board>,
    /// So many of the latest checks are kept for a picture.
    keep: usize,
    resolver: Resolver,
    watched: Vec<Watched>,
    /// With `--count`: targets that are not done.
    left: Arc<AtomicUsize>,
}

struct Watched {
    target: Arc<Target>,
    stats: Arc<Stats>,
    stop: Arc<AtomicBool>,
    thread: Thread,
}

impl Fleet {
    /// No target yet. Events go to `events`, each check to `verbose`; the counts stand on `board`, with the latest `keep`
    /// checks of each target.
    pub fn new(
        clock: Clock,
        events: Sender<Message>,
        verbose: Option<Verbose>,
        count: Option<u64>,
        (board, keep): (Arc<Board>, usize),
    ) -> Fleet {
        let resolver = Resolver::new(clock);
        Fleet { clock, events, verbose, count, board, keep, resolver, watched: Vec::new(), left: Arc::default() }
    }

    /// Watches exactly these targets from now on: those that are watched already, with the same options, go on with
    /// their samples; the others are stopped or started. `known` tells what is known of one from before; `done` is called
    /// when the last one has made all checks of `--count`. Errors: no thread could be made: how many fit. Those that did
    /// are watched.
    pub fn watch(
        &mut self,
        targets: &[Arc<Target>],
        known: impl Fn(&str) -> Known,
        done: impl Fn() + Clone + Send + 'static,
    ) -> Result<(), String> {
        let mut before = std::mem::take(&mut self.watched);
        let start = self.clock.now();
        self.left.fetch_add(targets.len(), Ordering::AcqRel);
        for (index, target) in targets.iter().enumerate() {
            if let Some(place) = before.iter().position(|watched| watched.target == *target) {
                self.watched.push(before.swap_remove(place));
                continue;
            }
            // Its thread may not have ended yet; the new one must not be taken for it.
            let mut known = known(&target.name);
            if let Some(changed) = before.iter().find(|watched| watched.target.name == target.name) {
                changed.stop();
                // The outage went on since it was told.
                if let Some(down) = &mut known.down {
                    down.failed = down.failed.max(changed.stats.read().outage.map_or(0, |outage| outage.failed));
                }
            }
            let (stats, stop) = (Arc::new(Stats::new(start, self.keep)), Arc::<AtomicBool>::default());
            let monitor = Monitor {
                target: Arc::clone(target),
                source: match &target.host {
                    Host::Address(address) => Source::Fixed(*address),
                    Host::Name(name) => Source::Name(self.resolver.add(name, target.options.family)),
                },
                clock: self.clock,
                events: self.events.clone(),
                verbose: self.verbose.clone(),
                known,
                stats: Arc::clone(&stats),
                count: self.count,
                first: start + spread(index, targets.len(), target.options.interval),
                stop: Arc::clone(&stop),
            };
            let (left, done) = (Arc::clone(&self.left), done.clone());
            let thread = monitor.spawn(move || {
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    done();
                }
            });
            let thread = thread.map_err(|error| {
                before.iter().for_each(Watched::stop);
                self.show();
                format!("cannot start a thread for target {} of {}: {error}", index + 1, targets.len())
            })?;
            self.watched.push(Watched { target: Arc::clone(target), stats, stop, thread });
        }
        before.iter().for_each(Watched::stop);
        self.show();
        self.resolver.start().map_err(|error| format!("cannot start a thread for names: {error}"))
    }

    fn show(&self) {
        let shown = self.watched.iter().map(|watched| (Arc::clone(&watched.target), Arc::clone(&watched.stats)));
        self.board.set(shown.collect());
    }
}

impl Watched {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
