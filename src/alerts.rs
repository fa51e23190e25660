//! What is wrong with the targets now, as alerts of Alertmanager's API v2, for one member of a cluster: what it was told,
//! what it is to be told next, and when. Other than events, alerts are states: a member that missed some is told what is.
//!
//! Pure.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::event::{self, Change, Event, Loss, Subject};
use crate::judge::Rules;
use crate::stats::Counts;
use crate::target::Target;

/// Where alerts are posted, below the URL of a member.
pub const PATH: &str = "/api/v2/alerts";

/// The most alerts in one POST.
pub const MOST: usize = 500;

/// After a POST events are gathered for so long, so that a thousand targets that fail together are no thousand POSTs.
const PACE: Duration = Duration::from_secs(1);

/// A member that took nothing is tried again after this time, then twice that, up to [`Pace::repeat`].
const RETRY: Duration = Duration::from_secs(5);

/// A member's clock that differs by more from ours is another one, and not only a slow answer.
const CLOCKS_APART: Duration = Duration::from_secs(30);

/// How long alerts stand.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// All are told again so often.
    pub repeat: Duration,
    /// One that is not told again ends by itself after this time: when the monitor was killed, or cut off.
    pub hold: Duration,
    /// The same for those told when the checks of `--count` are done: until the next run, from cron.
    pub hold_once: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Pace { repeat: minutes(1), hold: minutes(5), hold_once: minutes(60) }
    }
}

/// The kinds of alerts. One target may have both: its loss from before an outage stands in its sample meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Down,
    Loss,
}

impl Kind {
    /// The label `alertname`.
    fn name(self) -> &'static str {
        match self {
            Kind::Down => "ReachabilityDown",
            Kind::Loss => "ReachabilityLoss",
        }
    }
}

/// The place and the name of a target, and the kind: with these the labels never change.
type Key<'a> = (&'a str, &'a str, Kind);

fn key_of(target: &Target, kind: Kind) -> Key<'_> {
    (target.place(), &target.name, kind)
}

/// What one member was told.
#[derive(Debug)]
pub struct Ledger {
    monitor: String,
    pace: Pace,
    /// In the order of their keys, so that each is found fast. Boxed, as one in the middle moves all behind it.
    #[allow(clippy::vec_box)]
    alerts: Vec<Box<Alert>>,
    clock: Wall,
    /// The clock is the member's, as ours is plainly another.
    theirs: bool,
    /// Not before this time again because of an event.
    rest_until: Duration,
    /// When everything is told again.
    next: Duration,
    /// Failures in a row.
    failed: u32,
}

#[derive(Debug)]
struct Alert {
    target: Arc<Target>,
    kind: Kind,
    text: String,
    since: Duration,
    /// Resolved at this time.
    over: Option<Duration>,
    /// The member gives it up by itself then. None: it was never told.
    until: Option<Duration>,
    /// To be told in the next POST.
    due: bool,
    /// In the POST that is under way.
    under_way: bool,
    /// Its target is watched.
    watched: bool,
}

/// A wall clock as it was read once: its times then stay the same to the microsecond, which keeps `startsAt` what it is.
#[derive(Debug)]
struct Wall {
    at: Duration,
    shows: SystemTime,
}

impl Wall {
    fn of(&self, at: Duration) -> SystemTime {
        match at.checked_sub(self.at) {
            Some(later) => self.shows + later,
            None => event::earlier(self.shows, self.at - at),
        }
    }

    /// It shows `shows` at `now`: it was set if that is more than `slack` away from what it should show.
    fn read(&mut self, now: Duration, shows: SystemTime, slack: Duration) {
        if apart(self.of(now), shows) > slack {
            *self = Wall { at: now, shows };
        }
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

impl Ledger {
    /// Nothing is told yet. The monitor calls itself `monitor`.
    pub fn new(monitor: String, pace: Pace) -> Ledger {
        Ledger {
            monitor,
            pace,
            alerts: Vec::new(),
            clock: Wall { at: Duration::ZERO, shows: SystemTime::UNIX_EPOCH },
            theirs: false,
            rest_until: Duration::ZERO,
            next: Duration::ZERO,
            failed: 0,
        }
    }

    /// When to look again: at the first of these times if something happened, else at the second.
    pub fn next_at(&self) -> (Duration, Duration) {
        (self.rest_until.min(self.next), self.next)
    }

    /// Looks at all targets, at `now`, which is `wall` by our wall clock. What began or ended is due to be told; if it is
    /// time to repeat, all is.
    pub fn look(&mut self, now: Duration, wall: SystemTime, targets: impl IntoIterator<Item = (Arc<Target>, Counts)>) {
        self.read_clock(now, wall);
        self.alerts.iter_mut().for_each(|alert| alert.watched = false);
        for (target, counts) in targets {
            for kind in [Kind::Down, Kind::Loss] {
                self.note(now, kind, &target, &counts, false);
            }
        }
        for alert in self.alerts.iter_mut().filter(|alert| !alert.watched && alert.over.is_none()) {
            alert.end(now, format!("{} is no longer watched", alert.target.name));
        }
        // What the member never heard of, or has given up itself, needs no end.
        self.alerts.retain(|alert| alert.over.is_none() || alert.until.is_some_and(|until| until > now));
        if now >= self.next {
            self.next = now + self.pace.repeat;
            self.alerts.iter_mut().for_each(|alert| alert.due = true);
        }
    }

    /// Looks for the last time: the checks of `--count` are done. Whatever a run before this one told is told anew or ended,
    /// so every target is due, and the samples are judged whatever their size.
    pub fn look_at_end(
        &mut self,
        now: Duration,
        wall: SystemTime,
        targets: impl IntoIterator<Item = (Arc<Target>, Counts)>,
    ) {
        self.pace.hold = self.pace.hold_once;
        self.read_clock(now, wall);
        for (target, counts) in targets {
            for kind in [Kind::Down, Kind::Loss] {
                self.note(now, kind, &target, &counts, true);
            }
        }
        self.alerts.iter_mut().for_each(|alert| alert.due = true);
    }

    fn read_clock(&mut self, now: Duration, wall: SystemTime) {
        if !self.theirs {
            self.clock.read(now, wall, Duration::from_secs(1));
        }
    }

    fn note(&mut self, now: Duration, kind: Kind, target: &Arc<Target>, counts: &Counts, at_end: bool) {
        let key = key_of(target, kind);
        let place = self.alerts.binary_search_by(|alert| key_of(&alert.target, alert.kind).cmp(&key));
        let at = self.clock.of(now);
        let text = |change| Event { at, subject: Subject::Target(Arc::clone(target), change) }.text();
        let loss_text = || event::loss_text(target, counts.loss);
        let wrong = match kind {
            Kind::Down => counts.outage.map(|outage| {
                let (failed, failure) = (outage.failed, outage.failure);
                let lasted = now.saturating_sub(outage.since);
                (Some(outage.since), text(Change::Down { failed, lasted, failure, loss: None }))
            }),
            Kind::Loss => loses(target, counts.loss, at_end).then(|| (None, loss_text())),
        };
        let new = |text, since, over, until| {
            let (target, under_way, watched) = (Arc::clone(target), false, true);
            Box::new(Alert { target, kind, text, since, over, until, due: true, under_way, watched })
        };
        let known = place.map(|place| &mut self.alerts[place]);
        match (wrong, known) {
            (Some((since, wrong)), Ok(alert)) => {
                let goes_on = alert.over.is_none();
                let since = since.unwrap_or(if goes_on { alert.since } else { now });
                let due = alert.due || !goes_on;
                let under_way = alert.under_way;
                **alert = Alert { due, under_way, ..*new(wrong, since, None, alert.until) };
            }
            (Some((since, text)), Err(place)) => {
                self.alerts.insert(place, new(text, since.unwrap_or(now), None, None));
            }
            (None, Ok(alert)) => {
                alert.watched = true;
                if alert.over.is_none() {
                    let lasted = now.saturating_sub(alert.since);
                    alert.end(
                        now,
                        match kind {
                            Kind::Down => {
                                before(" (", &text(Change::Up { failed: 0, lasted, loss: None, only_fresh: false }))
                            }
                            Kind::Loss => loss_text(),
                        },
                    );
                }
            }
            (None, Err(place)) if at_end => {
                self.alerts.insert(place, new(format!("{} is well", target.name), now, Some(now), Some(now)));
            }
            (None, Err(_)) => {}
        }
    }

    /// The next POST of what is due; None: nothing is left to be told.
    pub fn post(&mut self, now: Duration) -> Option<String> {
        let mut body = String::new();
        self.refused();
        let end = now + self.pace.hold;
        for alert in self.alerts.iter_mut().filter(|alert| alert.due).take(MOST) {
            (alert.due, alert.under_way) = (false, true);
            if alert.over.is_none() {
                // Also if its answer never comes, it may have been heard.
                alert.until = Some(end);
            }
            body.push(if body.is_empty() { '[' } else { ',' });
            body.push_str(&alert.json(&self.monitor, &self.clock, end));
        }
        if body.is_empty() {
            return None;
        }
        body.push(']');
        self.rest_until = now + PACE;
        Some(body)
    }

    /// The member took the POST.
    pub fn taken(&mut self) {
        self.failed = 0;
        self.alerts.retain(|alert| !alert.under_way || alert.over.is_none());
        self.refused();
    }

    /// The member refuses the POST, and will again: no use before everything is told again.
    pub fn refused(&mut self) {
        self.alerts.iter_mut().for_each(|alert| alert.under_way = false);
    }

    /// The POST did not get through. All is told again, after a while.
    pub fn not_taken(&mut self, now: Duration) {
        for alert in &mut self.alerts {
            alert.due |= std::mem::take(&mut alert.under_way);
        }
        let wait = RETRY.saturating_mul(1 << self.failed.min(10)).min(self.pace.repeat);
        self.failed = self.failed.saturating_add(1);
        self.next = now + wait;
        self.rest_until = self.next;
    }

    /// The member's answer was dated `date`, at `now`, when our wall clock showed `wall`. Where these are far apart, times are
    /// told by its clock from now on: by a router's that has not been set yet, an alert would be over before it began.
    /// Returns how far they are apart when that has just come out; all is told again soon.
    pub fn dated(&mut self, now: Duration, wall: SystemTime, date: SystemTime) -> Option<Duration> {
        let apart = apart(wall, date);
        let theirs = apart > CLOCKS_APART;
        let news = theirs && !self.theirs;
        self.theirs = theirs;
        if theirs {
            // It is told in whole seconds.
            self.clock.read(now, date, Duration::from_secs(3));
        }
        if news {
            self.next = self.next.min(self.rest_until);
        }
        news.then_some(apart)
    }
}

/// Is the loss in the sample more than the target's `change`, and the sample large enough to tell?
fn loses(target: &Target, loss: Loss, at_end: bool) -> bool {
    let rules = Rules::of(target);
    (at_end || loss.of as usize >= rules.enough()) && loss.differs_by_more(Loss::default(), rules.change)
}

fn before(end: &str, text: &str) -> String {
    text.split_once(end).map_or(text, |(start, _)| start).to_owned()
}

impl Alert {
    fn end(&mut self, now: Duration, text: String) {
        self.over = Some(now);
        self.text = text;
        self.due = true;
    }

    /// As Alertmanager takes it. `end` is when it ends if it is not told again.
    fn json(&self, monitor: &str, clock: &Wall, end: Duration) -> String {
        // Whole seconds, so that the same outage, read back from the state, began at the same time.
        let starts = humantime::format_rfc3339_seconds(clock.of(self.since + Duration::from_millis(1)));
        // A resolved alert must not end before that.
        let ends = clock.of(self.over.unwrap_or(end)).max(clock.of(self.since + Duration::from_millis(1)));
        let target = &self.target;
        json!({
            "labels": {
                "alertname": self.kind.name(),
                "target": target.place(),
                "label": target.name,
                "check": target.check.to_string(),
                "monitor": monitor,
            },
            // No name has a space in it.
            "annotations": { "summary": before(": ", &before(" (", &self.text)), "description": self.text },
            "startsAt": starts.to_string(),
            "endsAt": humantime::format_rfc3339_millis(ends).to_string(),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, What};
    use crate::flags;
    use crate::judge::Ongoing;
    use serde_json::Value;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    /// By a wall clock that is right.
    fn wall(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_354_000 + seconds)
    }

    fn target(line: &str) -> Arc<Target> {
        let (word, options) = flags::parse_line(line).unwrap().unwrap();
        Arc::new(Target::parse(&word, &options).unwrap())
    }

    fn down(since: u64, failed: u64) -> Counts {
        let failure = Failure { reason: What::Refused.into(), sent: true };
        Counts { outage: Some(Ongoing { since: at(since), failed, failure }), ..Counts::default() }
    }

    fn lossy(lost: u32, of: u32) -> Counts {
        Counts { loss: Loss { lost, of }, answered: 1, ..Counts::default() }
    }

    fn well() -> Counts {
        lossy(0, 300)
    }

    fn ledger() -> Ledger {
        Ledger::new("box".to_owned(), Pace::default())
    }

    impl Ledger {
        fn see(&mut self, now: u64, board: &[(&Arc<Target>, Counts)]) {
            self.look(at(now), wall(now), board.iter().map(|(target, counts)| (Arc::clone(target), *counts)));
        }

        /// All that is posted now, each alert in short; the member takes it.
        fn told(&mut self, now: u64) -> Vec<String> {
            let mut told = Vec::new();
            while let Some(json) = self.post(at(now)) {
                self.taken();
                told.extend(alerts(&json).iter().map(short));
            }
            told
        }
    }

    fn alerts(json: &str) -> Vec<Value> {
        serde_json::from_str(json).unwrap()
    }

    /// `Down db 10..310 TEXT`: the times in seconds.
    fn short(alert: &Value) -> String {
        let time = |key: &str| {
            let time = humantime::parse_rfc3339(alert[key].as_str().unwrap()).unwrap();
            time.duration_since(wall(0))
                .map_or_else(|before| -(before.duration().as_secs() as i64), |time| time.as_secs() as i64)
        };
        let label = |key: &str| alert["labels"][key].as_str().unwrap();
        let name = label("alertname").strip_prefix("Reachability").unwrap();
        let text = alert["annotations"]["description"].as_str().unwrap();
        format!("{name} {} {}..{} {text}", label("label"), time("startsAt"), time("endsAt"))
    }

    #[test]
    fn an_outage_from_its_beginning_to_its_end() {
        let db = target("db=192.0.2.1:5432");
        let mut ledger = ledger();
        ledger.see(0, &[(&db, well())]);
        assert_eq!((ledger.post(at(0)), ledger.next_at()), (None, (Duration::ZERO, at(60))));
        ledger.see(13, &[(&db, down(10, 3))]);
        let json = ledger.post(at(13)).unwrap();
        let text = "TCP connection to db is failing on port 5432: 3 checks in a row failed since 13:26:50Z (connection refused)";
        let expected = json!([{
            "labels": {
                "alertname": "ReachabilityDown", "target": "192.0.2.1:5432", "label": "db", "check": "tcp", "monitor": "box"
            },
            "annotations": { "summary": "TCP connection to db is failing on port 5432", "description": text },
            "startsAt": "2026-11-22T13:26:50Z",
            "endsAt": "2026-11-22T13:31:53.000Z",
        }]);
        assert_eq!(Value::from(alerts(&json)), expected);
        ledger.taken();
        // Nothing new, so nothing is told before the minute is over.
        assert_eq!(ledger.next_at(), (at(14), at(60)));
        ledger.see(14, &[(&db, down(10, 4))]);
        assert_eq!(ledger.told(14), [""; 0]);
        ledger.see(60, &[(&db, down(10, 50))]);
        let again = ledger.told(60);
        assert!(again[0].starts_with("Down db 10..360 ") && again[0].contains("50 checks"), "{again:?}");
        ledger.see(70, &[(&db, well())]);
        assert_eq!(ledger.told(70), ["Down db 10..70 TCP connection to db succeeded on port 5432 after 1m down"]);
        ledger.see(200, &[(&db, well())]);
        assert_eq!(ledger.told(200), [""; 0], "it is over once");
    }

    #[test]
    fn loss_above_the_change_in_a_sample_that_can_tell() {
        let gw = target("gw -c 5");
        let mut ledger = ledger();
        for (now, counts, told) in [
            (0, lossy(1, 1), vec![]),
            (1, lossy(5, 19), vec![]),
            (2, lossy(1, 20), vec![]),
            (3, lossy(2, 20), vec!["Loss gw 3..303 Packet loss for gw is 10.00% (2 of 20 unanswered)"]),
            (4, lossy(16, 300), vec![]),
            (5, lossy(15, 300), vec!["Loss gw 3..5 Packet loss for gw is 5.00% (15 of 300 unanswered)"]),
            (6, lossy(16, 300), vec!["Loss gw 6..306 Packet loss for gw is 5.33% (16 of 300 unanswered)"]),
        ] {
            ledger.see(now, &[(&gw, counts)]);
            assert_eq!(ledger.told(now), told, "{now}");
        }
        // An outage is another alert. The loss from before it stands in the sample.
        ledger.see(7, &[(&gw, Counts { outage: down(1, 10).outage, ..lossy(16, 300) })]);
        let told = ledger.told(7);
        assert!(
            told.len() == 1 && told[0].starts_with("Down gw 1..307 gw is down: 10 checks in a row failed"),
            "{told:?}"
        );
        let [(never, all), (tcp, _)] =
            [("gw -c 100", 300), ("h:1", 300)].map(|(word, of)| (target(word), lossy(of, of)));
        let mut ledger = self::ledger();
        ledger.see(0, &[(&never, all), (&tcp, all)]);
        assert_eq!(
            ledger.told(0),
            ["Loss h:1 0..300 Loss of TCP connections to h on port 1 is 100.00% (300 of 300 unanswered)"]
        );
    }

    #[test]
    fn a_member_that_was_away_is_told_what_is() {
        let (db, web) = (target("db=192.0.2.1:5432"), target("web=192.0.2.2:80"));
        let mut ledger = ledger();
        ledger.see(0, &[(&db, down(0, 3)), (&web, well())]);
        let mut now = 0;
        for wait in [5, 10, 20, 40, 60, 60] {
            assert!(ledger.post(at(now)).is_some());
            ledger.not_taken(at(now));
            assert_eq!(ledger.next_at(), (at(now + wait), at(now + wait)), "nothing hurries it");
            now += wait;
            ledger.see(now, &[(&db, down(0, 3)), (&web, well())]);
        }
        // Meanwhile one is over, of which it may have heard, and one has begun.
        ledger.see(now, &[(&db, well()), (&web, down(100, 3))]);
        let told = ledger.told(now);
        assert!(told.len() == 2 && told[0].starts_with("Down db 0..195 TCP connection to db succeeded"), "{told:?}");
        assert!(told[1].starts_with("Down web 100..495 "), "{told:?}");
        // What it took it is not told again before the minute is over.
        ledger.see(now + 1, &[(&db, well()), (&web, down(100, 3))]);
        assert_eq!(ledger.told(now + 1), [""; 0]);
        assert_eq!(ledger.next_at().1, at(now + 60));
        // It fails anew: from the shortest wait.
        ledger.see(now + 60, &[(&web, down(100, 3))]);
        assert!(ledger.post(at(now + 60)).is_some());
        ledger.not_taken(at(now + 60));
        assert_eq!(ledger.next_at().1, at(now + 65));
    }

    #[test]
    fn an_end_is_repeated_until_it_is_taken_or_has_come_by_itself() {
        let db = target("db=192.0.2.1:5432");
        let mut ledger = ledger();
        ledger.see(0, &[(&db, down(0, 3))]);
        assert_eq!(ledger.told(0).len(), 1);
        for now in [10, 70, 290] {
            ledger.see(now, &[(&db, well())]);
            let json = ledger.post(at(now)).unwrap();
            assert!(short(&alerts(&json)[0]).starts_with("Down db 0..10 "), "{json}");
            ledger.not_taken(at(now));
        }
        ledger.see(300, &[(&db, well())]);
        assert_eq!(ledger.told(300), [""; 0], "the member has given it up");
        // It never reached the wire: nobody has to be told of its end.
        let mut ledger = self::ledger();
        ledger.see(0, &[(&db, down(0, 3))]);
        ledger.see(1, &[(&db, well())]);
        assert_eq!(ledger.told(1), [""; 0]);
        // Over, not taken, and there again: it goes on.
        ledger.see(2, &[(&db, down(2, 3))]);
        assert_eq!(ledger.told(2).len(), 1);
        ledger.see(3, &[(&db, well())]);
        assert!(ledger.post(at(3)).is_some());
        ledger.not_taken(at(3));
        ledger.see(8, &[(&db, down(7, 3))]);
        let told = ledger.told(8);
        assert!(told.len() == 1 && told[0].starts_with("Down db 7..308 "), "{told:?}");
    }

    #[test]
    fn what_is_refused_waits_for_the_next_minute() {
        let (db, web) = (target("db=192.0.2.1:5432"), target("web=192.0.2.2:80"));
        let mut ledger = ledger();
        ledger.see(0, &[(&db, down(0, 3)), (&web, well())]);
        assert!(ledger.post(at(0)).is_some());
        ledger.refused();
        assert_eq!((ledger.post(at(0)), ledger.next_at()), (None, (at(1), at(60))));
        // What is new is tried at once.
        ledger.see(5, &[(&db, down(0, 3)), (&web, down(5, 3))]);
        assert!(ledger.told(5)[0].starts_with("Down web "));
        ledger.see(20, &[(&db, well()), (&web, down(5, 3))]);
        assert!(ledger.post(at(20)).is_some());
        ledger.refused();
        ledger.see(60, &[(&db, well()), (&web, down(5, 3))]);
        assert_eq!(ledger.told(60).len(), 2);
        // So is one that is there again while its end was refused.
        let mut ledger = self::ledger();
        ledger.see(0, &[(&db, down(0, 3))]);
        ledger.told(0);
        ledger.see(20, &[(&db, well())]);
        assert!(ledger.post(at(20)).is_some());
        ledger.refused();
        ledger.see(30, &[(&db, down(28, 3))]);
        assert!(ledger.told(30)[0].starts_with("Down db 28..330 "));
    }

    #[test]
    fn a_target_that_is_watched_no_more_or_elsewhere() {
        let (old, new) = (target("db=192.0.2.1:5432"), target("db=192.0.2.9:5432"));
        let mut ledger = ledger();
        ledger.see(0, &[(&old, down(0, 3))]);
        ledger.told(0);
        // The same name at another place is another alert.
        ledger.see(5, &[(&new, down(4, 3))]);
        let told = ledger.told(5);
        assert!(told.len() == 2 && told[0] == "Down db 0..5 db is no longer watched", "{told:?}");
        assert!(told[1].starts_with("Down db 4..305 "), "{told:?}");
        ledger.see(6, &[]);
        assert_eq!(ledger.told(6), ["Down db 4..6 db is no longer watched"]);
    }

    #[test]
    fn thousands_go_in_parts() {
        let targets: Vec<_> = (0..1200).map(|n| target(&format!("t{n:04}=192.0.2.1:80"))).collect();
        let board: Vec<_> = targets.iter().map(|target| (target, down(0, 3))).collect();
        let mut ledger = ledger();
        ledger.see(0, &board);
        let mut sizes = Vec::new();
        while let Some(json) = ledger.post(at(0)) {
            sizes.push(alerts(&json).len());
            ledger.taken();
        }
        assert_eq!(sizes, [500, 500, 200]);
        // The second part fails: all of it and the third are still due, and in the end each is told.
        ledger.see(60, &board);
        ledger.post(at(60));
        ledger.taken();
        ledger.post(at(60));
        ledger.not_taken(at(60));
        let mut left = 0;
        while let Some(json) = ledger.post(at(61)) {
            left += alerts(&json).len();
            ledger.taken();
        }
        assert_eq!(left, 700);
    }

    #[test]
    fn when_the_checks_are_done_every_target_is_told() {
        let (db, gw, www) = (target("db=192.0.2.1:5432"), target("gw"), target("www:80"));
        let mut ledger = ledger();
        let board = [(&db, down(0, 3)), (&gw, lossy(1, 3)), (&www, well())];
        ledger.see(3, &board[..1]);
        ledger.told(3);
        ledger.look_at_end(at(5), wall(5), board.map(|(target, counts)| (Arc::clone(target), counts)));
        let told = ledger.told(5);
        let [db_down, db_loss, gw_down, gw_loss, www_down, www_loss] = &told[..] else { panic!("{told:?}") };
        assert!(db_down.starts_with("Down db 0..3605 "), "{told:?}");
        assert_eq!(gw_loss, "Loss gw 5..3605 Packet loss for gw is 33.33% (1 of 3 unanswered)");
        assert_eq!([db_loss, gw_down], ["Loss db 5..5 db is well", "Down gw 5..5 gw is well"]);
        assert_eq!([www_down, www_loss], ["Down www:80 5..5 www:80 is well", "Loss www:80 5..5 www:80 is well"]);
    }

    #[test]
    fn clocks_that_are_set_and_clocks_that_are_wrong() {
        let db = target("db=192.0.2.1:5432");
        let board = || [(Arc::clone(&db), down(0, 3))];
        let told = |ledger: &mut Ledger, now| ledger.told(now).remove(0);
        // Set while it runs: the next alert is right.
        let mut ledger = ledger();
        ledger.look(at(0), SystemTime::UNIX_EPOCH, board());
        ledger.told(0);
        ledger.look(at(60), wall(60), board());
        assert!(told(&mut ledger, 60).starts_with("Down db 0..360 "));
        // Less than a second: no time moves.
        ledger.look(at(120), wall(120) + Duration::from_millis(900), board());
        assert!(told(&mut ledger, 120).starts_with("Down db 0..420 "));
        // Nor by the way of an outage's beginning through the state, whose times are a little off.
        for off in [0, 999] {
            let mut outage = down(0, 3);
            outage.outage = outage.outage.map(|one| Ongoing { since: one.since - Duration::from_micros(off), ..one });
            ledger.look(at(121), wall(121), [(Arc::clone(&db), outage)]);
            ledger.look(at(180), wall(180), [(Arc::clone(&db), outage)]);
            assert!(told(&mut ledger, 180).starts_with("Down db 0..480 "));
            ledger.next = at(180);
        }
        // A member whose clock is some seconds off: that may be a slow answer.
        assert_eq!(ledger.dated(at(120), wall(120), wall(150)), None);
        // Ours was never set: as soon as that is known all is told again, by its clock.
        for ours in [SystemTime::UNIX_EPOCH, wall(0) + Duration::from_secs(86400)] {
            let mut ledger = self::ledger();
            ledger.look(at(5), ours, board());
            ledger.told(5);
            assert!(ledger.dated(at(5), ours, wall(5)).is_some_and(|apart| apart >= Duration::from_secs(86390)));
            assert_eq!(ledger.next_at().1, at(6));
            ledger.look(at(6), ours, board());
            let again = told(&mut ledger, 6);
            assert!(again.starts_with("Down db 0..306 ") && again.contains("since 13:26:40Z"), "{again}");
            assert_eq!(ledger.dated(at(6), ours, wall(6)), None, "said once");
            assert_eq!(ledger.next_at().1, at(66));
            // And then it is set.
            assert_eq!(ledger.dated(at(66), wall(66), wall(66)), None);
            ledger.look(at(66), wall(66), board());
            assert!(told(&mut ledger, 66).starts_with("Down db 0..366 "));
        }
    }
}
