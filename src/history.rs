//! What the status page tells of the last 30 days: for each target slices of 5 minutes for 25 hours, slices of 3 hours
//! for what is older, and the latest notifications. What no slice tells is unknown: the monitor did not run, slept, or
//! could not send.
//!
//! Pure: the counts come in with both times, at every tick; files are lines of text.
//!
//! Slices lie on the wall clock, and a wall clock may be wrong. So: nothing is noted before it is set; a slice never knows
//! more than its length, also when its time comes twice; what is kept is bounded by number, not by age; and what a clock
//! that was ahead left in the future goes when the clock has been steady for an hour.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::event::Item;
use crate::seal::{item_from, item_value, sealed, unsealed};
use crate::stats::Counts;

/// Length of a fine slice, in seconds.
pub const FINE: u32 = 300;

/// Length of a coarse slice, in seconds.
pub const COARSE: u32 = 3 * 3600;

/// How many fine slices a target keeps (25 hours); older ones are added to the coarse ones.
const FINE_KEPT: usize = 300;

/// How many coarse slices a target keeps (31 days).
const COARSE_KEPT: usize = 248;

/// How many notifications are kept.
pub const TOLD_KEPT: usize = 20;

const DAY: u64 = 86400;

/// A target that nothing is known of for so long is forgotten.
const FORGOTTEN: u64 = 31 * DAY;

/// 2025-01-01: a wall clock before this is one that was not set yet.
const CLOCK_IS_SET: u64 = 1_735_689_600;

/// What lies further in the future was noted while the clock was ahead.
const FUTURE: u64 = DAY;

/// The clock is believed when it made no step for so long ...
const STEADY: Duration = Duration::from_secs(3600);

/// ... of more than so many seconds.
const STEP: i64 = 60;

/// A slot is overdue when it comes so much later than it should.
const LATE: Duration = Duration::from_secs(1);

/// What is known of a target for one slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Checks answered.
    pub answered: u32,
    /// Checks unanswered that belong to no outage. Below zero when it turned out that checks of the slice before do.
    pub lost: i32,
    /// The mean round trip, in microseconds.
    pub rtt_mean: u32,
    /// The longest round trip, in microseconds.
    pub rtt_max: u32,
    /// For so many seconds it was watched.
    pub known: u16,
    /// For so many of them it was down.
    pub down: u16,
}

/// How a slice is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not watched.
    Unknown,
    /// Answered, but for a check now and then.
    Up,
    /// More than one check was lost, and more than 1 %.
    Loss,
    /// Down for some of the time at least.
    Down,
}

/// Many slices in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Checks answered.
    pub answered: u64,
    /// Checks unanswered that belong to no outage.
    pub lost: i64,
    /// All round trips, in microseconds.
    pub rtt_sum: u64,
    /// The longest round trip, in microseconds.
    pub rtt_max: u32,
    /// Seconds watched.
    pub known: u64,
    /// Seconds down.
    pub down: u64,
}

/// What a tick sees of a target.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The target's name.
    pub name: &'a str,
    /// Time between its checks.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Its counts.
    pub counts: &'a Counts,
    /// The longest round trip since the last tick.
    pub peak: Duration,
}

/// The history of one target.
#[derive(Clone, Debug, Default)]
pub struct Track {
    name: String,
    /// By number of the slice (Unix time / length), ascending; what is missing is unknown.
    fine: VecDeque<(u32, Slice)>,
    coarse: VecDeque<(u32, Slice)>,
    /// Fine slices from this number on may have changed since they were saved.
    unsaved: u32,
    seen: Option<Seen>,
}

/// The counts at the last tick, and how far the slices tell.
#[derive(Clone, Copy, Debug)]
struct Seen {
    begun: Duration,
    answered: u64,
    unanswered: u64,
    lost: i64,
    unsent: u64,
    gaps: u64,
    rtt_sum: Duration,
    /// Seconds down.
    down: u64,
    is_down: bool,
    /// On the monotonic clock, and on the wall clock in seconds.
    told: Duration,
    until: u64,
    /// Nothing could be sent of late.
    blind: bool,
}

/// The history of all targets.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the file; targets are only added, but for [`History::tidy`].
    tracks: Vec<Track>,
    places: HashMap<String, usize>,
    /// The latest notifications, oldest first.
    told: VecDeque<Item>,
    told_unsaved: usize,
    /// The file names so many targets.
    named: usize,
    /// Unix time less monotonic time at the last tick, and since when it has been so.
    offset: Option<(i64, Duration)>,
}

/// What [`History::read`] found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// The end is torn, as a power cut leaves it; so many bytes before it are whole.
    Torn(usize),
    /// More than the end is damaged, or the file is none of ours.
    Damaged,
}

impl Slice {
    /// How it is shown.
    pub fn state(&self) -> State {
        let sent = i64::from(self.answered) + i64::from(self.lost);
        match self {
            Slice { known: 0, .. } => State::Unknown,
            Slice { down: 1.., .. } => State::Down,
            Slice { lost, .. } if *lost > 1 && i64::from(*lost) * 100 > sent => State::Loss,
            _ => State::Up,
        }
    }

    fn count(&mut self, answered: u32, lost: i32, rtt_mean: u32, rtt_max: u32) {
        let all = u64::from(self.answered) + u64::from(answered);
        let sum = u64::from(self.rtt_mean) * u64::from(self.answered);
        let sum = sum.saturating_add(u64::from(rtt_mean) * u64::from(answered));
        self.rtt_mean = sum.saturating_add(all / 2).checked_div(all).unwrap_or(0) as u32;
        self.rtt_max = self.rtt_max.max(rtt_max);
        self.answered = self.answered.saturating_add(answered);
        self.lost = self.lost.saturating_add(lost);
    }

    fn know(&mut self, seconds: u16, width: u32) {
        self.known = self.known.saturating_add(seconds).min(width as u16);
    }

    fn down(&mut self, seconds: u16) {
        self.down = self.down.saturating_add(seconds).min(self.known);
    }

    fn fold(&mut self, other: &Slice) {
        self.count(other.answered, other.lost, other.rtt_mean, other.rtt_max);
        self.know(other.known, COARSE);
        self.down(other.down);
    }

    /// What the file has: most slices end after the third number, as zeros at the end are left out.
    fn value(&self, width: u32) -> Value {
        let unknown = i64::from(width) - i64::from(self.known);
        let numbers = [
            i64::from(self.answered),
            self.rtt_mean.into(),
            self.rtt_max.into(),
            unknown,
            self.down.into(),
            self.lost.into(),
        ];
        let length = numbers.iter().rposition(|number| *number != 0).map_or(0, |last| last + 1);
        numbers[..length].into()
    }

    fn from(value: &Value, width: u32) -> Option<Slice> {
        let numbers = value.as_array().filter(|numbers| numbers.len() <= 6)?;
        let at = |place: usize| numbers.get(place).map_or(Some(0), Value::as_i64);
        let count = |place| u32::try_from(at(place)?).ok();
        let known = u16::try_from(i64::from(width) - at(3)?).ok()?;
        Some(Slice {
            answered: count(0)?,
            rtt_mean: count(1)?,
            rtt_max: count(2)?,
            known,
            down: u16::try_from(at(4)?).ok().filter(|down| *down <= known)?,
            lost: i32::try_from(at(5)?).ok()?,
        })
    }
}

impl Total {
    /// Adds a slice.
    pub fn add(&mut self, slice: &Slice) {
        self.answered += u64::from(slice.answered);
        self.lost += i64::from(slice.lost);
        self.rtt_sum = self.rtt_sum.saturating_add(u64::from(slice.rtt_mean) * u64::from(slice.answered));
        self.rtt_max = self.rtt_max.max(slice.rtt_max);
        self.known += u64::from(slice.known);
        self.down += u64::from(slice.down);
    }

    /// The mean round trip; None without any.
    pub fn rtt_mean(&self) -> Option<Duration> {
        self.rtt_sum.checked_div(self.answered).map(Duration::from_micros)
    }
}

impl Track {
    /// Everything from `from` to `to`, in Unix time; a slice that reaches into it counts as a whole.
    pub fn total(&self, from: u64, to: u64) -> Total {
        let mut total = Total::default();
        // A coarse slice may reach into the day, and yet tell only of what was before the fine ones.
        let fine_enough = self.fine.front().is_some_and(|(number, _)| u64::from(*number) * u64::from(FINE) <= from);
        for (slices, width) in [(&self.coarse, u64::from(COARSE)), (&self.fine, u64::from(FINE))] {
            if fine_enough && width == u64::from(COARSE) {
                continue;
            }
            let first = slices.partition_point(|(number, _)| (u64::from(*number) + 1) * width <= from);
            let within = slices.iter().skip(first).take_while(|(number, _)| u64::from(*number) * width <= to);
            within.for_each(|(_, slice)| total.add(slice));
        }
        total
    }

    /// The fine slices of the 24 hours to `to`: the place of each, the latest at 287, and what is known of it.
    pub fn day(&self, to: u64) -> impl Iterator<Item = (usize, &Slice)> {
        let last = number_of(to, FINE);
        let first = last.saturating_sub(DAY as u32 / FINE - 1);
        let from = self.fine.partition_point(|(number, _)| *number < first);
        let within = self.fine.iter().skip(from).take_while(move |(number, _)| *number <= last);
        within.map(move |(number, slice)| ((DAY as u32 / FINE - 1 + number - last) as usize, slice))
    }

    fn note(&mut self, sight: &Sight<'_>, now: Duration, unix: u64) {
        let counts = sight.counts;
        let begun_at = unix.saturating_sub(seconds(now.saturating_sub(counts.begun)));
        let seen = self.seen.filter(|seen| seen.begun == counts.begun).unwrap_or(Seen {
            begun: counts.begun,
            answered: 0,
            unanswered: 0,
            lost: 0,
            unsent: 0,
            gaps: 0,
            rtt_sum: Duration::ZERO,
            down: 0,
            is_down: false,
            told: counts.begun,
            until: begun_at,
            blind: true,
        });
        let lost = counts.unanswered as i64 - counts.unanswered_down as i64;
        let down = counts.down_until(now);
        let mut next = Seen {
            begun: counts.begun,
            answered: counts.answered,
            unanswered: counts.unanswered,
            lost,
            unsent: counts.unsent,
            gaps: counts.gaps,
            rtt_sum: counts.rtt_sum,
            down: down.as_secs() + u64::from(down.subsec_nanos() > 0),
            is_down: counts.outage.is_some(),
            // A thread that takes no slot any more tells nothing: all checks are done, or it starves.
            told: seen.told.max(now.min(counts.ticked + sight.interval.max(sight.timeout) + LATE)),
            ..seen
        };
        if counts.answered + counts.unanswered > seen.answered + seen.unanswered {
            next.blind = false;
        } else if counts.unsent > seen.unsent {
            next.blind = true;
        }
        if unix >= CLOCK_IS_SET {
            self.tell(&seen, &mut next, sight, now, unix);
        }
        self.seen = Some(next);
    }

    /// Adds to the slices what happened between two ticks.
    fn tell(&mut self, seen: &Seen, next: &mut Seen, sight: &Sight<'_>, now: Duration, unix: u64) {
        let at = |then: Duration| unix.saturating_sub(seconds(now.saturating_sub(then)));
        let slept =
            sight.interval.saturating_mul(u32::try_from(next.gaps.saturating_sub(seen.gaps)).unwrap_or(u32::MAX));
        let from = seen.told.saturating_add(slept).min(next.told);
        let (mut start, mut end) = (at(from), at(next.told));
        if slept.is_zero() && start.abs_diff(seen.until) <= 2 {
            start = seen.until;
        }
        if next.told > from && !next.blind {
            // A run of less than a second counts as one.
            end = end.max(start + u64::from(seen.blind || seen.told == seen.begun));
            self.span(start, end, |slice, seconds| slice.know(seconds, FINE));
        }
        next.until = end;
        let grew = next.down.saturating_sub(seen.down);
        if grew > 0 && !next.blind {
            // An outage is known of only after some failures, so that it may reach back beyond the last tick.
            let end = if seen.is_down && !next.is_down { seen.until + grew } else { end };
            self.span(end.saturating_sub(grew), end, |slice, seconds| slice.down(seconds));
        }
        let answered = next.answered.saturating_sub(seen.answered) as u32;
        let lost = next.lost.saturating_sub(seen.lost) as i32;
        if answered > 0 || lost != 0 {
            let sum = (next.rtt_sum.saturating_sub(seen.rtt_sum)).as_micros() as u64;
            let mean = sum.checked_div(u64::from(answered)).unwrap_or(0) as u32;
            let peak = (sight.peak.as_micros() as u32).max(mean);
            self.change(number_of(end.saturating_sub(1), FINE), |slice| slice.count(answered, lost, mean, peak));
        }
    }

    /// Gives each slice of a span its share of the seconds.
    fn span(&mut self, from: u64, to: u64, mut add: impl FnMut(&mut Slice, u16)) {
        let mut at = from.max(to.saturating_sub(FORGOTTEN));
        while at < to {
            let number = number_of(at, FINE);
            let end = to.min((u64::from(number) + 1) * u64::from(FINE));
            self.change(number, |slice| add(slice, (end - at) as u16));
            at = end;
        }
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut Slice)) {
        change(slice(&mut self.fine, number));
        self.unsaved = self.unsaved.min(number);
        self.limit();
    }

    /// Brings the oldest fine slices to the coarse ones, and lets the oldest of those go.
    fn limit(&mut self) {
        while self.fine.len() > FINE_KEPT {
            if let Some((number, old)) = self.fine.pop_front() {
                slice(&mut self.coarse, number / (COARSE / FINE)).fold(&old);
            }
        }
        while self.coarse.len() > COARSE_KEPT {
            self.coarse.pop_front();
        }
    }

    /// When the latest slice ends, in Unix time.
    fn newest(&self) -> u64 {
        let end = |slices: &VecDeque<(u32, Slice)>, width| {
            slices.back().map_or(0, |(number, _)| (u64::from(*number) + 1) * u64::from(width))
        };
        end(&self.fine, FINE).max(end(&self.coarse, COARSE))
    }
}

fn number_of(unix: u64, width: u32) -> u32 {
    u32::try_from(unix / u64::from(width)).unwrap_or(u32::MAX)
}

fn seconds(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}

/// The slice of that number, made if need be.
fn slice(slices: &mut VecDeque<(u32, Slice)>, number: u32) -> &mut Slice {
    let place = slices.binary_search_by_key(&number, |(number, _)| *number).unwrap_or_else(|place| {
        // Doubling would leave half of it empty for good.
        if slices.len() == slices.capacity() {
            slices.reserve_exact(64);
        }
        slices.insert(place, (number, Slice::default()));
        place
    });
    &mut slices[place].1
}

impl History {
    /// Takes what a tick sees of a target, at `now` of the monotonic clock and `unix` of the wall clock.
    pub fn note(&mut self, sight: &Sight<'_>, now: Duration, unix: u64) {
        let offset = unix as i64 - now.as_secs() as i64;
        if self.offset.is_none_or(|(before, _)| (offset - before).abs() > STEP) {
            self.offset = Some((offset, now));
        }
        let place = self.place(sight.name);
        self.tracks[place].note(sight, now, unix);
    }

    /// Takes a notification.
    pub fn tell(&mut self, item: Item) {
        self.told.push_back(item);
        if self.told.len() > TOLD_KEPT {
            self.told.pop_front();
        }
        self.told_unsaved = (self.told_unsaved + 1).min(self.told.len());
    }

    /// What is known of a target; None: nothing.
    pub fn track(&self, name: &str) -> Option<&Track> {
        self.places.get(name).map(|place| &self.tracks[*place])
    }

    /// The latest notifications, newest first.
    pub fn told(&self) -> impl Iterator<Item = &Item> {
        self.told.iter().rev()
    }

    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.tracks.push(Track { name: name.to_owned(), unsaved: u32::MAX, ..Track::default() });
        self.places.insert(name.to_owned(), self.tracks.len() - 1);
        self.tracks.len() - 1
    }

    /// When the clock can be believed: forgets targets of which nothing was known for 31 days, and what a clock that was
    /// ahead left in the future.
    pub fn tidy(&mut self, now: Duration, unix: u64) {
        let steady = self.offset.is_some_and(|(_, since)| now.saturating_sub(since) >= STEADY);
        // A run that has just begun believes it when the last one ended not long ago.
        let newest = self.tracks.iter().map(Track::newest).max().unwrap_or(0);
        let goes_on = self.offset.is_none() && newest <= unix + FUTURE && newest + FORGOTTEN > unix;
        if !(steady || goes_on) || unix < CLOCK_IS_SET {
            return;
        }
        for track in &mut self.tracks {
            for (slices, width) in [(&mut track.fine, FINE), (&mut track.coarse, COARSE)] {
                let keep = slices.partition_point(|(number, _)| u64::from(*number) * u64::from(width) <= unix + FUTURE);
                slices.truncate(keep);
            }
        }
        let recent = |seen: Seen| now.saturating_sub(seen.told).as_secs() < FORGOTTEN;
        let before = self.tracks.len();
        self.tracks.retain(|track| track.newest() + FORGOTTEN > unix || track.seen.is_some_and(recent));
        if self.tracks.len() < before {
            self.places = self.tracks.iter().enumerate().map(|(place, track)| (track.name.clone(), place)).collect();
            self.named = 0;
        }
    }

    /// Reads a file. What is whole in it is kept; what was in this history before stays.
    pub fn read(&mut self, bytes: &[u8]) -> Wrong {
        let (mut whole, mut at, mut torn) = (0, 0, false);
        let mut wrong = Wrong::Nothing;
        let mut names = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let value = line.strip_suffix(b"\n").and_then(unsealed);
            let taken = value.and_then(|value| if at == 0 { version(&value) } else { self.take(&value, &mut names) });
            at += line.len();
            match taken {
                None if whole == 0 => return Wrong::Damaged,
                None => torn = true,
                Some(()) if torn => wrong = Wrong::Damaged,
                Some(()) => whole = at,
            }
        }
        for track in &mut self.tracks {
            track.limit();
        }
        // Unless they are those of the last such line, the next lines name the targets anew.
        self.named = if names.iter().copied().eq(0..self.tracks.len()) { names.len() } else { 0 };
        if wrong == Wrong::Nothing && torn { Wrong::Torn(whole) } else { wrong }
    }

    fn take(&mut self, value: &Value, names: &mut Vec<usize>) -> Option<()> {
        if let Some(targets) = value.get("targets") {
            let targets: Vec<&str> = targets.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
            *names = targets.into_iter().map(|name| self.place(name)).collect();
            return Some(());
        }
        if value.get("made").is_some() {
            let item = item_from(value)?;
            if !self.told.contains(&item) {
                self.tell(item);
                self.told_unsaved = 0;
            }
            return Some(());
        }
        let width = u32::try_from(value.get("width")?.as_u64()?).ok()?;
        let number = u32::try_from(value.get("slice")?.as_u64()?).ok()?;
        let values = value.get("of")?.as_array().filter(|values| values.len() <= names.len())?;
        for (place, value) in names.iter().zip(values).filter(|(_, value)| value.is_array()) {
            let track = &mut self.tracks[*place];
            let slices = match width {
                FINE => &mut track.fine,
                COARSE => &mut track.coarse,
                _ => return None,
            };
            // A later line tells more of it.
            *slice(slices, number) = Slice::from(value, width)?;
        }
        Some(())
    }

    /// The whole file.
    pub fn lines(&self) -> String {
        let mut lines = sealed(&json!({ "reachabilitycheck_history": 1 }));
        lines.push_str(&self.names());
        self.slices(&mut lines, COARSE, |track| track.coarse.range(..));
        self.slices(&mut lines, FINE, |track| track.fine.range(..));
        lines.extend(self.told.iter().map(|item| sealed(&item_value(item))));
        lines
    }

    /// What has to be appended to a file that [`History::saved`] stands for: the notifications, and fine slices up to the
    /// one of that number. Empty: nothing.
    pub fn news(&self, through: u32) -> String {
        let mut slices = String::new();
        self.slices(&mut slices, FINE, |track| {
            let from = track.fine.partition_point(|(number, _)| *number < track.unsaved);
            let to = track.fine.partition_point(|(number, _)| *number <= through);
            track.fine.range(from..to.max(from))
        });
        let mut lines = if self.named == self.tracks.len() { String::new() } else { self.names() };
        lines.push_str(&slices);
        let told = self.told.iter().skip(self.told.len() - self.told_unsaved);
        lines.extend(told.map(|item| sealed(&item_value(item))));
        lines
    }

    /// The file now has all notifications, and the slices up to the one of that number.
    pub fn saved(&mut self, through: u32) {
        self.told_unsaved = 0;
        self.named = self.tracks.len();
        for track in &mut self.tracks {
            track.unsaved = track.unsaved.max(through.saturating_add(1));
        }
    }

    fn names(&self) -> String {
        sealed(&json!({ "targets": self.tracks.iter().map(|track| &*track.name).collect::<Vec<_>>() }))
    }

    /// A line for each number that occurs among the slices that `pick` picks, with a place for each target.
    fn slices<'a, I>(&'a self, lines: &mut String, width: u32, pick: impl Fn(&'a Track) -> I)
    where
        I: Iterator<Item = &'a (u32, Slice)>,
    {
        let mut picked: Vec<_> = self.tracks.iter().map(|track| pick(track).peekable()).collect();
        while let Some(number) = picked.iter_mut().filter_map(|slices| Some(slices.peek()?.0)).min() {
            let one = |slices: &mut std::iter::Peekable<I>| {
                slices.next_if(|(of, _)| *of == number).map_or(Value::from(0), |(_, slice)| slice.value(width))
            };
            let of: Vec<Value> = picked.iter_mut().map(one).collect();
            lines.push_str(&sealed(&json!({ "width": width, "slice": number, "of": of })));
        }
    }
}

fn version(value: &Value) -> Option<()> {
    (value.get("reachabilitycheck_history")?.as_u64()? == 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, What};
    use crate::judge::Ongoing;

    #[test]
    fn what_was_before_the_day_is_not_counted_into_it() {
        // An outage of twenty minutes, 26 hours ago, in a coarse slice that reaches into the day; then all was well.
        let begin = NOON / u64::from(COARSE) * u64::from(COARSE);
        let end = begin + 24 * 3600 + 2 * 3600 + 3000;
        let mut track = Track::default();
        for number in number_of(begin, FINE)..number_of(end, FINE) {
            track.change(number, |slice| {
                slice.know(300, FINE);
                if u64::from(number) * 300 < begin + 1200 {
                    slice.down(300);
                }
            });
        }
        let total = track.total(end - 86400, end);
        assert_eq!((total.known, total.down), (86400, 0));
    }

    /// 2026-11-22T13:25:00Z, where a fine slice begins.
    const NOON: u64 = 1_795_353_900;

    /// A target with a check a second, and the clocks.
    struct Run {
        history: History,
        counts: Counts,
        now: Duration,
        unix: u64,
    }

    impl Run {
        fn begin(history: History, unix: u64) -> Run {
            let now = Duration::from_secs(1_000_000);
            Run { history, counts: Counts { begun: now, ticked: now, ..Counts::default() }, now, unix }
        }

        fn tick(&mut self, seconds: u64) {
            self.counts.ticked = self.now + Duration::from_secs(seconds);
            self.pass(seconds);
        }

        /// Time passes, and the target's thread takes no slot.
        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            self.unix += seconds;
            self.note();
        }

        fn note(&mut self) {
            let second = Duration::from_secs(1);
            let counts = &self.counts;
            let sight = Sight { name: "gw", interval: second, timeout: second, counts, peak: second / 50 };
            self.history.note(&sight, self.now, self.unix);
        }

        fn up(&mut self, seconds: u64) {
            for _ in 0..seconds / 10 {
                self.counts.answered += 10;
                self.counts.rtt_sum += Duration::from_millis(80);
                self.tick(10);
            }
        }

        /// It does not answer; known to be down from the tenth second on.
        fn down(&mut self, seconds: u64) {
            let failure = Failure { reason: What::NoAnswer.into(), sent: true };
            let outage = Ongoing { since: self.now, failed: 10, failure };
            for _ in 0..seconds / 10 {
                self.counts.unanswered += 10;
                let before = self.counts.outage.replace(outage);
                self.counts.unanswered_down += 10;
                self.counts.outages += u64::from(before.is_none());
                self.tick(10);
            }
            self.counts.down += self.now - outage.since;
            self.counts.outage = None;
        }

        fn total(&self, seconds: u64) -> Total {
            self.history.track("gw").unwrap().total(self.unix - seconds, self.unix)
        }

        fn states(&self) -> String {
            let mut states = vec!['-'; 288];
            for (place, slice) in self.history.track("gw").unwrap().day(self.unix) {
                states[place] = match slice.state() {
                    State::Unknown => '?',
                    State::Up => 'u',
                    State::Loss => 'l',
                    State::Down => 'd',
                };
            }
            states.into_iter().collect::<String>().trim_start_matches('-').to_owned()
        }
    }

    fn fine(history: &History) -> Vec<Slice> {
        history.track("gw").unwrap().fine.iter().map(|(_, slice)| *slice).collect()
    }

    #[test]
    fn what_passed_is_in_its_slices() {
        let mut run = Run::begin(History::default(), NOON);
        run.up(600);
        let slice = Slice { answered: 300, rtt_mean: 8000, rtt_max: 20_000, known: 300, ..Slice::default() };
        assert_eq!(fine(&run.history), [slice, slice]);
        // Lost, but not down.
        run.counts.unanswered += 9;
        run.tick(10);
        run.up(290);
        run.down(120);
        run.up(190);
        assert_eq!(run.states(), "uuldu");
        let total = run.total(3600);
        assert_eq!((total.known, total.down, total.lost, total.answered), (1210, 120, 9, 1080));
        assert_eq!((total.rtt_mean(), total.rtt_max), (Some(Duration::from_millis(8)), 20_000));
    }

    /// Ten failures make an outage; two of them were in the slice before, and counted as loss there.
    #[test]
    fn an_outage_reaches_back() {
        let mut run = Run::begin(History::default(), NOON);
        run.up(290);
        run.counts.unanswered += 10;
        run.tick(8);
        assert_eq!(run.total(3600).lost, 10);
        run.down(10);
        run.counts.down += Duration::from_secs(8);
        run.counts.unanswered_down += 10;
        run.up(10);
        let total = run.total(3600);
        assert_eq!((total.down, total.lost), (18, 0));
        assert_eq!(fine(&run.history).iter().map(|slice| slice.down).sum::<u16>(), 18);
    }

    #[test]
    fn what_was_not_watched_is_unknown() {
        let mut run = Run::begin(History::default(), NOON);
        run.up(300);
        // Stopped for 10 minutes: this tick comes before the target's thread has counted its gaps.
        run.pass(600);
        run.counts.gaps += 600;
        run.up(300);
        let total = run.total(3600);
        assert!((600..=615).contains(&total.known), "{total:?}");
        // Suspended for 20 minutes: the monotonic clock stands still.
        run.unix += 1200;
        run.up(300);
        assert_eq!(run.total(3600).known, total.known + 300);
        // This machine cannot send: its targets are down, but nothing is known of them.
        run.counts.outage =
            Some(Ongoing { since: run.now, failed: 1, failure: Failure { reason: What::NoRoute.into(), sent: false } });
        for _ in 0..30 {
            run.counts.unsent += 10;
            run.tick(10);
        }
        let blind = run.total(3600);
        assert_eq!((blind.known, blind.down), (total.known + 300, 0));
        // All checks are done.
        run.up(10);
        run.pass(600);
        assert!(run.total(3600).known <= blind.known + 12);
    }

    #[test]
    fn a_restart_goes_on() {
        let mut first = Run::begin(History::default(), NOON);
        first.up(1000);
        let mut text = first.history.lines();
        first.history.saved(u32::MAX);
        first.down(200);
        first.up(200);
        text.push_str(&first.history.news(u32::MAX));
        let mut history = History::default();
        assert_eq!(history.read(text.as_bytes()), Wrong::Nothing);
        assert_eq!(fine(&history), fine(&first.history));
        // Seven minutes later, in the same slice at first.
        let mut second = Run::begin(history, first.unix + 420);
        second.up(600);
        let total = second.total(86400);
        assert_eq!((total.known, total.down), (2000, 200));
        assert_eq!(second.history.news(u32::MAX).lines().count(), 3, "the target is named already");
        assert_eq!(second.states(), "uuudu-uuu");
        // One that was down all the time was never up, however the seconds are rounded.
        let mut dead = Run::begin(History::default(), NOON);
        dead.note();
        dead.down(20);
        assert_eq!((dead.total(3600).known, dead.total(3600).down), (20, 20));
        // A run of less than a second (cron) counts as one.
        let mut short = Run::begin(History::default(), NOON);
        short.counts.answered = 1;
        short.note();
        short.counts.ticked += Duration::from_millis(1);
        short.now += Duration::from_millis(400);
        short.counts.answered = 5;
        short.note();
        assert_eq!(short.total(3600).known, 1);
    }

    /// The file names targets by their place in a line that comes before.
    #[test]
    fn targets_come_and_go() {
        let mut text = String::new();
        let mut history = History::default();
        for (number, names) in (0..).zip([&["a", "b"][..], &["b"], &["c", "b"], &["d", "a"]]) {
            for name in names {
                let place = history.place(name);
                history.tracks[place].change(7 + number, |slice| slice.know(100 + number as u16, FINE));
            }
            match number {
                0 => text.push_str(&history.lines()),
                _ => text.push_str(&history.news(u32::MAX)),
            }
            history.saved(u32::MAX);
            // Half of the runs are restarted.
            if number % 2 == 0 {
                history = History::default();
                assert_eq!(history.read(text.as_bytes()), Wrong::Nothing);
            }
        }
        let mut again = History::default();
        assert_eq!(again.read(text.as_bytes()), Wrong::Nothing);
        let known = ["a", "b", "c", "d"].map(|name| again.track(name).unwrap().total(0, u64::MAX).known);
        assert_eq!(known, [100 + 103, 100 + 101 + 102, 102, 103]);
        assert_eq!(text.matches("targets").count(), 3, "{text}");
    }

    /// A box without a clock of its own boots in 1970, or where it was shut down, and then learns the time.
    #[test]
    fn a_clock_that_steps() {
        let mut run = Run::begin(History::default(), 1000);
        run.up(600);
        assert_eq!(run.history.lines().lines().count(), 2, "noted before the clock was set");
        run.unix = NOON;
        run.up(7200);
        assert_eq!(run.total(86400).known, 7200);
        // Back by an hour: its time comes twice.
        run.unix -= 3600;
        run.up(7200);
        let total = run.total(86400);
        assert_eq!((total.known, total.answered), (7200 + 3600, 14_400));
        assert!(fine(&run.history).iter().all(|slice| slice.known <= 300 && slice.down <= slice.known));
        // Ahead by 20 years for half an hour: that goes when the clock has been right for an hour.
        run.unix += 20 * 365 * DAY;
        run.up(1800);
        run.history.tidy(run.now, run.unix);
        assert_eq!(run.total(1800).known, 1800);
        run.unix -= 20 * 365 * DAY + 1800;
        for hour in 1..=2 {
            run.up(3600);
            run.history.tidy(run.now, run.unix);
            assert_eq!(run.history.tracks[0].newest() > run.unix + DAY, hour == 1);
        }
        assert_eq!(run.total(86400).known, 7200 + 3600 + 7200);
        // Without a set clock again: nothing is lost by it.
        run.unix = 5;
        run.up(7200);
        run.history.tidy(run.now, run.unix);
        assert_eq!(run.history.tracks[0].total(NOON, NOON + DAY).known, 7200 + 3600 + 7200);
        // A clock that jumps at each tick neither blocks nor grows it.
        for jump in 0..2000 {
            run.unix = NOON + jump % 7 * 5_000_000 + jump * 3600;
            run.up(10);
        }
        let track = &run.history.tracks[0];
        assert!(track.fine.len() <= FINE_KEPT && track.coarse.len() <= COARSE_KEPT);
    }

    #[test]
    fn forty_days() {
        let mut run = Run::begin(History::default(), NOON);
        for day in 0..40 {
            for _ in 0..1440 {
                run.counts.answered += 60;
                run.counts.rtt_sum += Duration::from_micros(60 * 8123);
                run.tick(60);
            }
            run.down(300 * (day % 2));
        }
        let track = &run.history.tracks[0];
        assert_eq!((track.fine.len(), track.coarse.len()), (FINE_KEPT, COARSE_KEPT));
        let total = run.total(30 * DAY);
        assert!((30 * DAY..=30 * DAY + u64::from(COARSE)).contains(&total.known), "{total:?}");
        assert_eq!(total.down, 15 * 300);
        assert_eq!(total.rtt_mean(), Some(Duration::from_micros(8123)));
        let text = run.history.lines();
        assert!(text.len() < 45_000, "{} bytes", text.len());
        let mut again = History::default();
        assert_eq!(again.read(text.as_bytes()), Wrong::Nothing);
        assert_eq!(again.tracks[0].total(run.unix - 30 * DAY, run.unix), total);
        assert_eq!(again.lines(), text);
        // A target that is watched no more is forgotten after 31 days.
        again.tidy(Duration::ZERO, run.unix + 30 * DAY);
        assert!(again.track("gw").is_some());
        let newest = again.tracks[0].newest();
        let place = again.place("another");
        slice(&mut again.tracks[place].fine, number_of(newest + 20 * DAY, FINE)).know(300, FINE);
        again.tidy(Duration::ZERO, newest + 32 * DAY);
        assert!(again.track("gw").is_none() && again.track("another").is_some());
        assert!(again.lines().contains(r#"{"targets":["another"]}"#));
    }

    #[test]
    fn what_is_whole_is_kept() {
        let mut run = Run::begin(History::default(), NOON);
        run.up(900);
        let text = run.history.lines();
        let read = |bytes: &[u8]| {
            let mut history = History::default();
            (history.read(bytes), history.track("gw").map_or(0, |track| track.total(0, u64::MAX).known))
        };
        assert_eq!(read(text.as_bytes()), (Wrong::Nothing, 900));
        for cut in 0..text.len() {
            let (wrong, known) = read(&text.as_bytes()[..cut]);
            let whole = text[..cut].rfind('\n').map_or(0, |at| at + 1);
            let expected = match whole {
                _ if cut == whole && cut > 0 => Wrong::Nothing,
                0 if cut > 0 => Wrong::Damaged,
                0 => Wrong::Nothing,
                _ => Wrong::Torn(whole),
            };
            assert_eq!(wrong, expected, "cut at {cut}");
            assert_eq!(known, text[..whole].matches("slice").count().min(3) as u64 * 300);
        }
        // One digit in the middle, zeros at the end, a file of something else.
        let other = text.replacen("300", "301", 1);
        assert_eq!(read(other.as_bytes()), (Wrong::Damaged, 600));
        let zeros = format!("{text}{}", "\0".repeat(512));
        assert_eq!(read(zeros.as_bytes()), (Wrong::Torn(text.len()), 900));
        assert_eq!(read(b"number 1\n"), (Wrong::Damaged, 0));
        let newer = sealed(&json!({ "reachabilitycheck_history": 2 })) + text.split_once('\n').unwrap().1;
        assert_eq!(read(newer.as_bytes()), (Wrong::Damaged, 0));
        for (numbers, whole) in [
            (json!([]), true),
            (json!([1, 2, 3, 300]), true),
            (json!([1, 2, 3, 301]), false),
            (json!([1, 2, 3, 0, 301]), false),
            (json!([1, 2, 3, -1]), true),
            (json!([-1]), false),
            (json!([1, 2, 3, 4, 5, -6, 7]), false),
            (json!({}), false),
        ] {
            assert_eq!(Slice::from(&numbers, FINE).is_some(), whole, "{numbers}");
        }
    }

    #[test]
    fn the_latest_notifications_are_kept() {
        let item = |number| Item {
            number,
            at: std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(NOON + number),
            kind: crate::event::Kind::Up,
            target: Some("gw".to_owned()),
            text: format!("gw is up <{number}>"),
        };
        let mut history = History::default();
        (1..=3).for_each(|number| history.tell(item(number)));
        let mut text = history.lines();
        history.saved(0);
        assert_eq!(history.news(u32::MAX), "");
        (4..=30).for_each(|number| history.tell(item(number)));
        text.push_str(&history.news(0));
        let mut again = History::default();
        assert_eq!(again.read(text.as_bytes()), Wrong::Nothing);
        assert!(again.told().eq(history.told()));
        assert_eq!(again.told().map(|item| item.number).collect::<Vec<_>>(), (11..=30).rev().collect::<Vec<_>>());
        assert_eq!(again.news(u32::MAX), "");
    }
}
