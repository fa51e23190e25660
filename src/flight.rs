//! The checks of a target that are on their way: which answers count, and in which order checks are judged.
//!
//! Pure: times come in as arguments, the next deadline goes out. Checks leave in the order in which they were sent,
//! so "failures in a row" does not depend on which answer came first.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::{Check, Outcome, Reason, What};

/// One check on its way, as its probe knows it.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// The target's checks are numbered from 1.
    pub number: u64,
    /// When it was sent.
    pub sent: Duration,
    /// The sequence number on the wire.
    pub sequence: u16,
    /// The payload's cookie.
    pub cookie: u64,
    /// Which of the probe's sockets sent it.
    pub socket: u32,
    /// Where only the kernel's stamps tell how far it came: the how manieth datagram of the socket it was.
    pub stamped: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    launch: Launch,
    /// The ICMP error that came for it: the reason, should no answer come.
    hint: Option<Reason>,
    way: Way,
    settled: Option<(Duration, Outcome)>,
}

/// How far a datagram came on this machine, by the kernel's stamps.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// To the interface's queue.
    queued: bool,
    /// To the driver.
    left: bool,
}

/// The checks that have begun and are not judged yet.
#[derive(Clone, Debug)]
pub struct Flight {
    timeout: Duration,
    entries: VecDeque<Entry>,
    /// Of the entries, those without an outcome.
    open: usize,
    /// The last answered check that was to be stamped: its socket and index.
    answered: Option<(u32, u32)>,
    /// Its stamps. Not every path gives all of them, so the absence of one only tells something where it was there before.
    given: Way,
}

impl Flight {
    /// No check yet; each will have `timeout` for its answer.
    pub fn new(timeout: Duration) -> Flight {
        // Mostly one at a time; while nothing answers there are more.
        Flight { timeout, entries: VecDeque::with_capacity(1), open: 0, answered: None, given: Way::default() }
    }

    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A check was sent.
    pub fn launch(&mut self, launch: Launch) {
        self.open += 1;
        self.entries.push_back(Entry { launch, hint: None, way: Way::default(), settled: None });
    }

    /// A check whose outcome was known at once, as when it could not be sent.
    pub fn settled(&mut self, number: u64, at: Duration, outcome: Outcome) {
        let launch = Launch { number, sent: at, sequence: 0, cookie: 0, socket: 0, stamped: None };
        self.entries.push_back(Entry { launch, hint: None, way: Way::default(), settled: Some((at, outcome)) });
    }

    /// An answer arrived at `arrived` with this sequence number and a payload that `genuine` accepts for the
    /// cookie of the check. False when it answers no check that is still waiting: a stray, a duplicate, too late.
    pub fn answer(&mut self, arrived: Duration, socket: u32, sequence: u16, genuine: impl Fn(u64) -> bool) -> bool {
        let timeout = self.timeout;
        let Some(entry) = self.waiting(socket, sequence) else {
            return false;
        };
        if arrived > entry.launch.sent + timeout || !genuine(entry.launch.cookie) {
            return false;
        }
        let rtt = arrived.saturating_sub(entry.launch.sent);
        entry.settled = Some((arrived, Outcome::Answered(rtt)));
        let (index, way) = (entry.launch.stamped, entry.way);
        self.answered = index.map(|index| (socket, index));
        self.given = way;
        self.open -= 1;
        true
    }

    /// An ICMP error came for the check: it gives the reason if no answer comes, and decides nothing.
    pub fn error(&mut self, socket: u32, sequence: u16, reason: Reason) -> bool {
        match self.waiting(socket, sequence) {
            Some(entry) => {
                entry.hint = Some(reason);
                true
            }
            None => false,
        }
    }

    /// The kernel says how far the socket's datagram of this index came: to the queue, or to the driver. May come after
    /// the answer, but before [`Flight::expire`].
    pub fn stamped(&mut self, socket: u32, index: u32, left: bool) {
        let ours = |entry: &&mut Entry| entry.launch.socket == socket && entry.launch.stamped == Some(index);
        let waiting = self.entries.iter_mut().find(ours).map(|entry| &mut entry.way);
        let answered = (self.answered == Some((socket, index))).then_some(&mut self.given);
        for way in waiting.into_iter().chain(answered) {
            way.queued = true;
            way.left |= left;
        }
    }

    /// Checks whose time is over at `now` are unanswered, or unsent if the kernel's stamps show that they never left. Call it only after the sockets were read until they were
    /// empty, with a `now` from before that.
    pub fn expire(&mut self, now: Duration) {
        for entry in &mut self.entries {
            let deadline = entry.launch.sent + self.timeout;
            if deadline > now {
                break; // Those behind it were sent later.
            }
            if entry.settled.is_none() {
                let lost = match (entry.launch.stamped, entry.way) {
                    _ if entry.hint.is_some() => None,
                    (Some(_), Way { queued: false, .. }) if self.given.queued => Some(What::NotPermitted),
                    (Some(_), Way { left: false, .. }) if self.given.left => Some(What::QueueFull),
                    _ => None,
                };
                let outcome = match lost {
                    Some(what) => Outcome::Unsent(what.into()),
                    None => Outcome::Unanswered(entry.hint.unwrap_or(What::NoAnswer.into())),
                };
                entry.settled = Some((deadline, outcome));
                self.open -= 1;
            }
        }
    }

    /// The next check to be judged: the oldest, once its outcome is known.
    pub fn pop(&mut self) -> Option<Check> {
        let entry = self.entries.front()?;
        let (ended, outcome) = entry.settled?;
        let Launch { number, sent, .. } = entry.launch;
        let check = Check { number, sent, ended, outcome, only_fresh: false };
        self.entries.pop_front();
        Some(check)
    }

    /// When [`Flight::expire`] has something to do: the oldest open check's end.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.entries.iter().find(|entry| entry.settled.is_none()).map(|entry| entry.launch.sent + self.timeout)
    }

    /// Is any check waiting for its answer?
    pub fn is_waiting(&self) -> bool {
        self.open > 0
    }

    /// Is any check waiting that this socket sent?
    pub fn waits_for_socket(&self, socket: u32) -> bool {
        self.entries.iter().any(|entry| entry.settled.is_none() && entry.launch.socket == socket)
    }

    /// Nothing on its way, nothing to be judged.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn waiting(&mut self, socket: u32, sequence: u16) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.settled.is_none() && entry.launch.socket == socket && entry.launch.sequence == sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn flight_of(count: u64) -> Flight {
        let mut flight = Flight::new(ms(1000));
        for number in 1..=count {
            flight.launch(Launch {
                number,
                sent: ms(number * 100),
                sequence: number as u16,
                cookie: number,
                socket: 1,
                stamped: None,
            });
        }
        flight
    }

    fn all(flight: &mut Flight) -> Vec<(u64, Outcome)> {
        std::iter::from_fn(|| flight.pop()).map(|check| (check.number, check.outcome)).collect()
    }

    #[test]
    fn swapped_answers_are_judged_in_the_order_of_sending() {
        let mut flight = flight_of(2);
        assert!(flight.answer(ms(250), 1, 2, |cookie| cookie == 2));
        assert_eq!(flight.pop(), None, "check 1 is still open");
        assert!(flight.answer(ms(260), 1, 1, |cookie| cookie == 1));
        assert_eq!(all(&mut flight), [(1, Outcome::Answered(ms(160))), (2, Outcome::Answered(ms(50)))]);
        assert!(flight.is_empty());
    }

    #[test]
    fn only_a_timely_genuine_first_answer_counts() {
        let mut flight = flight_of(1);
        assert!(!flight.answer(ms(150), 1, 9, |_| true), "sequence never sent");
        assert!(!flight.answer(ms(150), 2, 1, |_| true), "another socket");
        assert!(!flight.answer(ms(150), 1, 1, |_| false), "wrong cookie");
        assert!(!flight.answer(ms(1101), 1, 1, |_| true), "too late");
        assert!(flight.answer(ms(1100), 1, 1, |_| true));
        assert!(!flight.answer(ms(1100), 1, 1, |_| true), "duplicate");
    }

    #[test]
    fn an_error_gives_the_reason_and_never_beats_an_answer() {
        let mut flight = flight_of(2);
        let reason = Reason { what: What::HostUnreachable, from: "10.0.0.1".parse().ok() };
        assert!(flight.error(1, 1, reason));
        assert!(flight.error(1, 2, reason));
        assert!(flight.answer(ms(300), 1, 1, |_| true));
        assert_eq!(flight.next_deadline(), Some(ms(1200)));
        flight.expire(ms(1200));
        assert_eq!(all(&mut flight), [(1, Outcome::Answered(ms(200))), (2, Outcome::Unanswered(reason))]);
    }

    /// The absence of a stamp tells something only where the last answered check had it.
    #[test]
    fn stamps_tell_what_never_left() {
        let outcomes = |stamps: &[(u32, bool)]| {
            let mut flight = Flight::new(ms(1000));
            for number in 0..4 {
                let (sequence, stamped) = (number as u16, Some(number as u32));
                flight.launch(Launch { number, sent: ms(number), sequence, cookie: 0, socket: 1, stamped });
            }
            // The answer may be read before its stamps are.
            let (before, after) = stamps.split_at(stamps.len() / 2);
            before.iter().for_each(|(index, left)| flight.stamped(1, *index, *left));
            flight.answer(ms(5), 1, 0, |_| true);
            after.iter().for_each(|(index, left)| flight.stamped(1, *index, *left));
            flight.expire(ms(2000));
            all(&mut flight)[1..].iter().map(|check| check.1).collect::<Vec<_>>()
        };
        let unsent = |what: What| Outcome::Unsent(what.into());
        let silent = Outcome::Unanswered(What::NoAnswer.into());
        assert_eq!(outcomes(&[]), [silent; 3]);
        assert_eq!(
            outcomes(&[(0, false), (1, false)]),
            [silent, unsent(What::NotPermitted), unsent(What::NotPermitted)]
        );
        let stamps = [(0, false), (0, true), (1, false), (1, true), (2, false)];
        assert_eq!(outcomes(&stamps), [silent, unsent(What::QueueFull), unsent(What::NotPermitted)]);
        // A driver that gives no stamp of its own.
        assert_eq!(outcomes(&[(0, false), (1, false), (2, false), (3, false)]), [silent; 3]);
    }

    #[test]
    fn unsent_checks_keep_their_place() {
        let mut flight = flight_of(1);
        flight.settled(2, ms(200), Outcome::Unsent(What::NoRoute.into()));
        assert_eq!(flight.pop(), None);
        flight.expire(ms(1100));
        let checks = all(&mut flight);
        assert_eq!(checks[0], (1, Outcome::Unanswered(What::NoAnswer.into())));
        assert_eq!(checks[1], (2, Outcome::Unsent(What::NoRoute.into())));
        assert!(!flight.is_waiting() && flight.next_deadline().is_none());
    }
}
