//! The two clocks, for the edge only: decisions are handed their times.

use std::time::{Duration, Instant, SystemTime};

use crate::event::earlier;

/// The monotonic time of the program's start. Not zero, so that what began before (an outage that the state remembers)
/// has a time too.
const START: Duration = Duration::from_secs(10 * 365 * 86400);

/// Monotonic time, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

/// A time that tests may shorten by this variable (in milliseconds), in debug builds only.
pub fn or_for_tests(usual: Duration, variable: &str) -> Duration {
    let shorter = cfg!(debug_assertions).then(|| std::env::var(variable).ok()?.parse().ok()).flatten();
    shorter.map_or(usual, Duration::from_millis)
}

impl Clock {
    /// The clock of this run.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Monotonic time (CLOCK_MONOTONIC: no steps, stands still while the machine is suspended).
    pub fn now(&self) -> Duration {
        START + self.start.elapsed()
    }

    /// The monotonic time of a moment of the wall clock; for one in the future (the clock was stepped back), now.
    pub fn at(&self, wall: SystemTime) -> Duration {
        let ago = SystemTime::now().duration_since(wall).unwrap_or_default();
        self.now().saturating_sub(ago)
    }

    /// The wall clock's time for a moment of the monotonic clock.
    pub fn wall(&self, at: Duration) -> SystemTime {
        earlier(SystemTime::now(), self.now().saturating_sub(at))
    }

    /// The monotonic time of a datagram that the kernel stamped by the wall clock: exact also when we were stopped or
    /// starved after it came. A stamp from the future (the wall clock was stepped back meanwhile) counts as now.
    pub fn arrival(&self, stamp: Option<SystemTime>) -> Duration {
        let now = self.now();
        let ago = stamp.and_then(|stamp| SystemTime::now().duration_since(stamp).ok()).unwrap_or_default();
        now.saturating_sub(ago)
    }
}
