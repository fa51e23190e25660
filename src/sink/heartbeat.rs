//! `--heartbeat`: a sign of life for a dead-man service, whether it may be given (pure), and its GET.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use super::http::{self, Http};
use crate::clock::{self, Clock};
use crate::event::span;
use crate::stats::{Board, Counts};
use crate::sync;
use crate::target::Target;
use crate::view::Screen;
use crate::writer::Waiting;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(60);

/// A notification may wait for Slack for so many beats.
const BEATS_OF_WAITING: u32 = 5;

/// The wall clock was stepped when it moved by more than this beside the monotonic one between two looks.
const STEP: Duration = Duration::from_secs(5);

/// How things stand, as stderr is told.
#[derive(Clone, Debug, PartialEq)]
enum Standing {
    Well,
    /// The program is not as it should be: no sign of life is given.
    Withheld(Withheld),
    /// It was given and did not get through.
    Failed(String),
}

/// Why no sign of life is given.
#[derive(Clone, Debug, PartialEq)]
enum Withheld {
    /// The thread of this target has not taken a slot for so long.
    Target(String, Duration),
    /// A notification of this time waits for Slack.
    Slack(SystemTime),
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Withheld::Target(name, silent) => write!(f, "the thread of {name} has not ticked for {}", span(*silent)),
            Withheld::Slack(since) => {
                write!(f, "a notification waits for Slack since {}", humantime::format_rfc3339_seconds(*since))
            }
        }
    }
}

impl Standing {
    /// What stderr is told of a change from `before`: of each run of the same kind its first.
    fn news(&self, before: &Standing) -> Option<String> {
        match (before, self) {
            (Standing::Withheld(_), Standing::Withheld(_)) | (Standing::Failed(_), Standing::Failed(_)) => None,
            (_, Standing::Withheld(why)) => Some(format!("the heartbeat is withheld: {why}")),
            (_, Standing::Failed(why)) => {
                Some(format!("the heartbeat did not get through: {why}; tried again every minute"))
            }
            (Standing::Withheld(_), Standing::Well) => Some("the heartbeat is sent again".to_owned()),
            (Standing::Failed(_), Standing::Well) => Some("the heartbeat gets through again".to_owned()),
            (Standing::Well, Standing::Well) => None,
        }
    }
}

/// The first target whose thread is silent for longer than it may be: for its interval and its timeout, and a beat more, as
/// the machine may be slow.
fn silent(targets: &[(Arc<Target>, Counts)], beat: Duration, now: Duration) -> Option<Withheld> {
    targets.iter().find_map(|(target, counts)| {
        let silent = now.saturating_sub(counts.ticked);
        let may = target.options.interval + target.options.timeout + beat;
        (silent > may).then(|| Withheld::Target(target.name.clone(), silent))
    })
}

/// For how long the oldest notification has waited for Slack. Their times are the wall clock's, which may be stepped (a
/// router without a battery starts in 1970): then it counts from when it was first seen.
#[derive(Debug, Default)]
struct Age {
    /// The oldest notification, and when it was first seen as such.
    seen: Option<(SystemTime, Duration)>,
    /// The two clocks at the last look.
    last: Option<(Duration, SystemTime)>,
    /// Times before this are from before a step.
    stepped: Option<SystemTime>,
}

impl Age {
    /// Looks at the time of the oldest notification, if any waits. Returns for how long it has waited.
    fn of(&mut self, oldest: Option<SystemTime>, now: Duration, wall: SystemTime) -> Option<Duration> {
        if let Some((then, wall_then)) = self.last.replace((now, wall)) {
            let expected = wall_then + now.saturating_sub(then);
            let off = wall.duration_since(expected).unwrap_or_else(|early| early.duration());
            if off > STEP {
                self.stepped = Some(wall);
            }
        }
        let oldest = oldest?;
        let since = match self.seen {
            Some((seen, since)) if seen == oldest => since,
            _ => now,
        };
        self.seen = Some((oldest, since));
        let seen = now.saturating_sub(since);
        let by_wall = wall.duration_since(oldest).ok().filter(|_| self.stepped.is_none_or(|step| oldest >= step));
        Some(seen.max(by_wall.unwrap_or_default()))
    }
}

/// Starts the thread. It gives a sign of life every minute, from the first check on, while every target's thread ticks and
/// nothing older than five minutes waits for Slack. Errors: none could be made; the caller exits with 2.
pub fn start(mut place: Http, board: Arc<Board>, waiting: Waiting, clock: Clock, screen: Screen) -> io::Result<()> {
    let beat = clock::or_for_tests(BEAT, "REACHABILITYCHECK_TEST_HEARTBEAT_MS");
    let (mut age, mut before) = (Age::default(), Standing::Well);
    let work = move || {
        let begun = clock.now();
        // Dead-man services want to hear soon that somebody lives.
        while clock.now() < begun + beat && !board.counts().iter().any(|(_, counts)| counts.ticked > counts.begun) {
            thread::sleep(beat / 60);
        }
        let mut due = clock.now();
        loop {
            if clock.now().saturating_sub(due) > beat / 6 {
                // All of us were stopped, or starved: the other threads need a moment too.
                thread::sleep(beat / 6);
            }
            let now = clock.now();
            let oldest = waiting.oldest();
            let waited = age.of(oldest, now, clock.wall(now)).filter(|waited| *waited > beat * BEATS_OF_WAITING);
            let stuck = oldest.filter(|_| waited.is_some()).map(Withheld::Slack);
            let standing = match stuck.or_else(|| silent(&board.counts(), beat, now)) {
                Some(why) => Standing::Withheld(why),
                None => give(&mut place).map_or_else(Standing::Failed, |()| Standing::Well),
            };
            if let Some(news) = standing.news(&before) {
                screen.err(&news);
            }
            before = standing;
            due = clock.now().max(due + beat);
            thread::sleep(due.saturating_sub(clock.now()));
        }
    };
    sync::start("heartbeat", work).map(drop)
}

/// With `--count`, when all checks are done: one sign of life, if Slack has had everything.
pub fn once(place: &mut Http, waiting: &Waiting, screen: &Screen) {
    match waiting.oldest().map(Withheld::Slack) {
        Some(why) => screen.err(&format!("the heartbeat is withheld: {why}")),
        None => {
            if let Err(why) = give(place) {
                screen.err(&format!("the heartbeat did not get through: {why}"));
            }
        }
    }
}

/// Errors: why it did not get through, without the URL, which is a secret: whoever has it can feign that we live.
fn give(place: &mut Http) -> Result<(), String> {
    let status = place.get(http::LIMIT)?.status;
    match status {
        200..300 => Ok(()),
        300..400 => Err(format!("status {status}, a redirect; give the URL that it leads to (https, not http?)")),
        404 | 410 => Err(format!("status {status}; is the URL right?")),
        _ => Err(format!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn wall(secs: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + s(secs)
    }

    #[test]
    fn a_thread_is_silent_when_its_own_interval_and_timeout_are_long_over() {
        let target = |word: &str, options: &str, ticked| {
            let options = flags::parse(options.split(' ').map(Into::into)).unwrap().target;
            let counts = Counts { begun: s(100), ticked, ..Counts::default() };
            (Arc::new(Target::parse(word, &options).unwrap()), counts)
        };
        let gw = |ticked| target("gw", "-i 1s -w 2s", s(ticked));
        let slow = |ticked| target("slow", "-i 1h -w 10s", s(ticked));
        assert_eq!(silent(&[gw(1000), slow(100)], BEAT, s(1063)), None);
        assert_eq!(silent(&[slow(1000), gw(1000)], BEAT, s(1064)), Some(Withheld::Target("gw".into(), s(64))));
        assert_eq!(silent(&[slow(100)], BEAT, s(100 + 3670)), None);
        assert_eq!(silent(&[slow(100)], BEAT, s(100 + 3671)), Some(Withheld::Target("slow".into(), s(3671))));
        assert_eq!(silent(&[gw(1000)], BEAT, s(900)), None);
    }

    #[test]
    fn the_age_of_what_waits() {
        let mut age = Age::default();
        assert_eq!(age.of(None, s(100), wall(1100)), None);
        // By the wall clock, from its own time on; also what waited before the start.
        assert_eq!(age.of(Some(wall(1110)), s(160), wall(1160)), Some(s(50)));
        assert_eq!(age.of(Some(wall(1110)), s(220), wall(1220)), Some(s(110)));
        assert_eq!(age.of(Some(wall(1200)), s(280), wall(1280)), Some(s(80)));
        assert_eq!(age.of(None, s(340), wall(1340)), None);
        assert_eq!(Age::default().of(Some(wall(7)), s(100), wall(1000)), Some(s(993)));
    }

    #[test]
    fn a_step_of_the_wall_clock_makes_nothing_old_or_young() {
        // Forth, by 30 years: from when it was first seen.
        let mut age = Age::default();
        assert_eq!(age.of(Some(wall(50)), s(100), wall(60)), Some(s(10)));
        assert_eq!(age.of(Some(wall(50)), s(160), wall(1_000_000_000)), Some(s(60)));
        assert_eq!(age.of(Some(wall(50)), s(220), wall(1_000_000_060)), Some(s(120)));
        // Another one from before the step.
        assert_eq!(age.of(Some(wall(55)), s(280), wall(1_000_000_120)), Some(s(0)));
        assert_eq!(age.of(Some(wall(55)), s(340), wall(1_000_000_180)), Some(s(60)));
        // And one from after it.
        assert_eq!(age.of(Some(wall(1_000_000_200)), s(400), wall(1_000_000_240)), Some(s(40)));
        // Back, by an hour.
        let mut age = Age::default();
        assert_eq!(age.of(Some(wall(9000)), s(100), wall(9010)), Some(s(10)));
        assert_eq!(age.of(Some(wall(9000)), s(160), wall(5400)), Some(s(60)));
        assert_eq!(age.of(Some(wall(9000)), s(460), wall(5700)), Some(s(360)));
    }

    #[test]
    fn each_change_is_told_once() {
        let withheld = |n| Standing::Withheld(Withheld::Target("gw".into(), s(n)));
        let failed = |why: &str| Standing::Failed(why.into());
        let run = [
            (Standing::Well, None),
            (withheld(185), Some("the heartbeat is withheld: the thread of gw has not ticked for 3m 5s")),
            (withheld(245), None),
            (Standing::Well, Some("the heartbeat is sent again")),
            (failed("status 500"), Some("the heartbeat did not get through: status 500; tried again every minute")),
            (failed("timed out"), None),
            (Standing::Well, Some("the heartbeat gets through again")),
            (
                Standing::Withheld(Withheld::Slack(wall(1_795_354_029))),
                Some("the heartbeat is withheld: a notification waits for Slack since 2026-11-22T13:27:09Z"),
            ),
        ];
        let mut before = Standing::Well;
        for (standing, news) in run {
            assert_eq!(standing.news(&before).as_deref(), news);
            before = standing;
        }
    }
}
