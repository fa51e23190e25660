//! The targets that are watched: their threads, started, kept and stopped as the configuration says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::Thread;

use crate::clock::Clock;
use crate::monitor::{Common, Monitor, Source};
use crate::probe::icmp::{self, CROWD};
use crate::resolver::Resolver;
use crate::schedule::spread;
use crate::state::Known;
use crate::stats::{Board, Stats};
use crate::sys;
use crate::target::{Host, Target};
use crate::view::Verbose;
use crate::writer::Message;

/// Descriptors that are not for checks: log, state, Slack, name servers, standard streams.
const OTHER_DESCRIPTORS: usize = 32;

/// The threads of all targets that are watched now.
pub struct Fleet {
    common: Arc<Common>,
    board: Arc<Board>,
    /// So many of the latest checks are kept for a picture.
    keep: usize,
    resolver: Resolver,
    watched: Vec<Watched>,
    /// How many spare descriptors there are in all.
    spare: isize,
}

struct Watched {
    target: Arc<Target>,
    stats: Arc<Stats>,
    thread: Thread,
}

impl Fleet {
    /// No target yet. Events go to `events`, each check to `verbose`; the counts stand on `board`, with the latest `keep`
    /// checks of each target. `done` is called when the last target has made all checks of `--count`.
    pub fn new(
        clock: Clock,
        events: Sender<Message>,
        verbose: Option<Verbose>,
        count: Option<u64>,
        (board, keep): (Arc<Board>, usize),
        done: impl Fn() + Send + Sync + 'static,
    ) -> Fleet {
        let (probes, left, done) = (Arc::<icmp::Shared>::default(), AtomicUsize::new(0), Box::new(done));
        let common = Arc::new(Common { clock, events, verbose, count, probes, left, done });
        Fleet { common, board, keep, resolver: Resolver::new(clock), watched: Vec::new(), spare: 0 }
    }

    /// Watches exactly these targets from now on: those that are watched already, with the same options, go on with
    /// their samples; the others are stopped or started. `known` tells what is known of one from before. Errors: too few
    /// descriptors, and all stays as it was; no thread could be made, and those that fit are watched. Both say how many fit.
    pub fn watch(&mut self, targets: &[Arc<Target>], known: &dyn Fn(&str) -> Known) -> Result<(), String> {
        self.share_descriptors(targets)?;
        let before = std::mem::take(&mut self.watched).into_iter();
        let mut before: HashMap<String, Watched> = before.map(|one| (one.target.name.clone(), one)).collect();
        let start = self.common.clock.now();
        self.watched.reserve(targets.len());
        self.common.left.fetch_add(targets.len(), Ordering::AcqRel);
        for (index, target) in targets.iter().enumerate() {
            let mut known = known(&target.name);
            match before.remove(&target.name) {
                Some(same) if same.target == *target => {
                    self.watched.push(same);
                    continue;
                }
                // Its thread may not have ended yet; the new one must not be taken for it.
                Some(changed) => {
                    changed.stop();
                    // The outage went on since it was told.
                    if let Some(down) = &mut known.down {
                        down.failed = down.failed.max(changed.stats.read().outage.map_or(0, |outage| outage.failed));
                    }
                }
                None => {}
            }
            let stats = Arc::new(Stats::new(start, self.keep));
            let monitor = Monitor {
                target: Arc::clone(target),
                source: match &target.host {
                    Host::Address(address) => Source::Fixed(*address),
                    Host::Name(name) => Source::Name(self.resolver.add(name, target.options.family)),
                },
                known,
                stats: Arc::clone(&stats),
                first: start + spread(index, targets.len(), target.options.interval),
                common: Arc::clone(&self.common),
            };
            let thread = match monitor.spawn() {
                Ok(thread) => thread,
                Err(error) => {
                    // What is watched already and stands further down goes on.
                    for watched in before.into_values() {
                        match targets[index..].contains(&watched.target) {
                            true => self.watched.push(watched),
                            false => watched.stop(),
                        }
                    }
                    self.show();
                    let (fit, count) = (self.watched.len(), targets.len());
                    return Err(format!(
                        "{fit} of {count} targets fit: no thread for another: {error}; threads are limited by ulimit -u, \
                         vm.max_map_count (4 a target), memory, and the pids.max of the cgroup (TasksMax= of systemd)"
                    ));
                }
            };
            self.watched.push(Watched { target: Arc::clone(target), stats, thread });
        }
        before.values().for_each(Watched::stop);
        self.show();
        self.resolver.start().map_err(|error| format!("cannot start a thread for names: {error}"))
    }

    /// Raises the limit of descriptors, and shares out those that the targets leave. Errors: they do not even suffice for
    /// a socket each. (A TCP target has one while it connects; if there is none, that check is unsent.)
    fn share_descriptors(&mut self, targets: &[Arc<Target>]) -> Result<(), String> {
        let icmp = targets.iter().filter(|target| target.is_icmp()).count();
        // In an outage a target has three sockets.
        let wanted = OTHER_DESCRIPTORS + targets.len() + 2 * icmp;
        let limit = sys::raise_descriptor_limit(wanted as u64);
        let fit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS);
        if icmp > fit {
            return Err(format!(
                "{fit} of {icmp} ICMP targets fit: each needs a file descriptor, and the limit is {limit}; raise it \
                 (ulimit -Hn, LimitNOFILE= of systemd)"
            ));
        }
        let spare = isize::try_from(fit.saturating_sub(targets.len())).unwrap_or(isize::MAX);
        self.common.probes.spare.add(spare - self.spare);
        self.spare = spare;
        self.common.probes.is_crowd.store(icmp > CROWD, Ordering::Relaxed);
        Ok(())
    }

    fn show(&self) {
        let shown = self.watched.iter().map(|watched| (Arc::clone(&watched.target), Arc::clone(&watched.stats)));
        self.board.set(shown.collect());
    }
}

impl Watched {
    fn stop(&self) {
        self.stats.stop();
        self.thread.unpark();
    }
}
