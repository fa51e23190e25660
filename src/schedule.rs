//! The grid of check times: start + k x interval on the monotonic clock. No drift, no bursts.
//!
//! Pure: times are durations on the caller's monotonic clock.

use std::time::Duration;

/// Start times in an interval: at a second one each 20 ms, at which each of 1,000 targets sends with 19 others.
const PLACES: usize = 50;

/// So many send at a time; where they would be more there are more places.
const TOGETHER: usize = 50;

/// When the checks of one target are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Duration,
    interval: Duration,
    /// The next slot, counted from `start`.
    next: u64,
}

/// A slot that came due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it should have begun.
    pub at: Duration,
    /// Slots before it that were slept through: neither sent nor counted.
    pub gaps: u64,
}

impl Schedule {
    /// A grid whose first slot is at `start`. `interval` must not be zero (the options see to that; zero is
    /// taken as a nanosecond).
    pub fn new(start: Duration, interval: Duration) -> Schedule {
        Schedule { start, interval: interval.max(Duration::from_nanos(1)), next: 0 }
    }

    /// When the next slot begins.
    pub fn next_at(&self) -> Duration {
        self.at(self.next)
    }

    /// The slot that is due at `now`, or None before [`Schedule::next_at`]. Of several that have passed the
    /// latest is taken and the others are gaps, so that a pause is never made up for in a burst.
    pub fn take(&mut self, now: Duration) -> Option<Slot> {
        if now < self.next_at() {
            return None;
        }
        let current = self.slot_at(now);
        let gaps = current - self.next;
        self.next = current + 1;
        Some(Slot { at: self.at(current), gaps })
    }

    /// The target was busy with a check until `until`: slots that began before then are passed over, and they
    /// are no gaps. For checks that do not overlap (TCP).
    pub fn busy_until(&mut self, until: Duration) {
        if until > self.start {
            self.next = self.next.max(self.slot_at(until) + 1);
        }
    }

    fn at(&self, slot: u64) -> Duration {
        // Whole nanoseconds in u128: k x interval without rounding, for centuries.
        let nanos = self.interval.as_nanos() * u128::from(slot);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The last slot that began at or before `now`, which is not before `start`.
    fn slot_at(&self, now: Duration) -> u64 {
        let passed = now.saturating_sub(self.start).as_nanos() / self.interval.as_nanos();
        u64::try_from(passed).unwrap_or(u64::MAX - 1)
    }
}

/// When target `index` of `count` starts: evenly spread over its interval, so that targets do not send in step. More than
/// [`PLACES`] share their places: each wakes the processor once, which saves a third of what a check of 1,000 targets costs.
pub fn spread(index: usize, count: usize, interval: Duration) -> Duration {
    let places = count.clamp(1, PLACES).max(count.div_ceil(TOGETHER)) as u128;
    let place = index as u128 * places / count.max(1) as u128;
    let nanos = interval.as_nanos() * place / places;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn slots_lie_on_the_grid_however_late_each_is_taken() {
        let mut grid = Schedule::new(ms(100), ms(1000));
        assert_eq!(grid.take(ms(99)), None);
        for k in 0..1000 {
            let late = ms(100 + k * 1000 + (k * 7) % 900);
            let slot = grid.take(late).unwrap();
            assert_eq!((slot.at, slot.gaps), (ms(100 + k * 1000), 0));
            assert_eq!(grid.take(late), None, "one check a slot");
            assert_eq!(grid.next_at(), ms(1100 + k * 1000));
        }
    }

    #[test]
    fn slots_slept_through_are_gaps_and_make_no_burst() {
        let mut grid = Schedule::new(ms(0), ms(1000));
        assert_eq!(grid.take(ms(0)).unwrap().gaps, 0);
        let slot = grid.take(ms(4300)).unwrap();
        assert_eq!((slot.at, slot.gaps), (ms(4000), 3));
        assert_eq!(grid.take(ms(4300)), None);
        assert_eq!(grid.next_at(), ms(5000));
    }

    #[test]
    fn slots_during_a_long_check_are_no_gaps() {
        let mut grid = Schedule::new(ms(0), ms(1000));
        grid.take(ms(0)).unwrap();
        grid.busy_until(ms(2000));
        assert_eq!(grid.next_at(), ms(3000), "the slot that began at 2000 is passed over");
        assert_eq!(grid.take(ms(3000)).unwrap().gaps, 0);
        grid.busy_until(ms(3001));
        assert_eq!(grid.next_at(), ms(4000));
    }

    #[test]
    fn starts_are_spread_over_one_interval() {
        let starts: Vec<_> = (0..4).map(|i| spread(i, 4, ms(1000))).collect();
        assert_eq!(starts, [ms(0), ms(250), ms(500), ms(750)]);
        assert_eq!(spread(0, 0, ms(1000)), ms(0));
        let starts: Vec<_> = (0..1000).map(|i| spread(i, 1000, ms(1000))).collect();
        assert_eq!((starts[19], starts[20], starts[999]), (ms(0), ms(20), ms(980)));
        assert!((0..50).all(|i| spread(i, 50, ms(1000)) == ms(20 * i as u64)), "one at a time");
        assert_eq!(
            (spread(49, 10_000, ms(1000)), spread(50, 10_000, ms(1000))),
            (ms(0), ms(5)),
            "at most 50 at a time"
        );
    }
}
