//! What waits for Slack: what goes into the next message, and when it may be sent.
//!
//! Pure: `now` is monotonic time since the start; [`Outbox::next_at`] is the next wake-up.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// A notification for Slack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// When it happened.
    pub at: SystemTime,
    /// Its text, not yet escaped.
    pub text: String,
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For people; never contains the webhook's URL.
    pub why: String,
    /// Slack asked to wait so long.
    pub retry_after: Option<Duration>,
    /// Trying again soon is no use: somebody must mend the webhook.
    pub permanent: bool,
}

impl Refused {
    /// A failure that may pass.
    pub fn later(why: String) -> Refused {
        Refused { why, retry_after: None, permanent: false }
    }
}

/// A message is cut below this many characters: Slack cuts longer ones itself.
const LONGEST: usize = 4000;

/// At most so many notifications wait; beyond that the oldest are only counted (the log has them all).
const BOUND: usize = 10_000;

/// At most one POST in this time, as Slack asks of webhooks.
const PACE: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
const SLOWEST: Duration = Duration::from_secs(300);

/// The wait after a permanent refusal.
const PERMANENT: Duration = Duration::from_secs(3600);

/// The queue to Slack.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Item>,
    /// Notifications dropped since the last delivery, because too many waited.
    dropped: u64,
    /// Of `waiting`, those in the message that is under way.
    under_way: usize,
    not_before: Duration,
    failures: u32,
}

impl Outbox {
    /// A notification happened.
    pub fn add(&mut self, item: Item) {
        if self.waiting.len() >= BOUND {
            self.waiting.pop_front();
            // One that is under way is not lost: if it comes to that, it is in no second message.
            match self.under_way {
                0 => self.dropped += 1,
                _ => self.under_way -= 1,
            }
        }
        self.waiting.push_back(item);
    }

    /// When there is something to do; None while nothing waits.
    pub fn next_at(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.not_before)
    }

    /// How many notifications wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next message, if one is due at `now`: as many lines as fit, oldest first. Its fate must be told by
    /// [`Outbox::delivered`] or [`Outbox::refused`] before the next call.
    pub fn due(&mut self, now: Duration, render: impl Fn(&Item) -> String) -> Option<String> {
        if self.next_at()? > now {
            return None;
        }
        let mut message = match self.dropped {
            0 => String::new(),
            dropped => format!("{dropped} earlier notifications are only in the log: too many waited for Slack"),
        };
        let mut length = message.chars().count();
        self.under_way = 0;
        for item in &self.waiting {
            let line: String = render(item).chars().take(LONGEST - 1).collect();
            let more = line.chars().count() + usize::from(!message.is_empty());
            // A single line always goes: without this guard one behind the count above could wait for ever.
            if length + more >= LONGEST && self.under_way > 0 {
                break;
            }
            if !message.is_empty() {
                message.push('\n');
            }
            message.push_str(&line);
            length += more;
            self.under_way += 1;
        }
        Some(message)
    }

    /// The message was delivered.
    pub fn delivered(&mut self, now: Duration) {
        self.waiting.drain(..self.under_way);
        self.under_way = 0;
        self.dropped = 0;
        self.failures = 0;
        self.not_before = now + PACE;
    }

    /// The message was not delivered; it is tried again after 1, 2, 4 ... 300 s, or when Slack said, or hourly.
    pub fn refused(&mut self, now: Duration, refused: &Refused) {
        self.under_way = 0;
        let backoff = Duration::from_secs(1 << self.failures.min(9)).min(SLOWEST);
        self.failures = self.failures.saturating_add(1);
        let wait = if refused.permanent { PERMANENT } else { backoff };
        self.not_before = now + wait.max(refused.retry_after.unwrap_or_default().min(PERMANENT));
    }

    /// The program ends: one last try may come now, whatever the wait.
    pub fn hurry(&mut self) {
        self.not_before = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sec(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn outbox_of(texts: impl IntoIterator<Item = String>) -> Outbox {
        let mut outbox = Outbox::default();
        for text in texts {
            outbox.add(Item { at: SystemTime::UNIX_EPOCH, text });
        }
        outbox
    }

    fn plain(item: &Item) -> String {
        item.text.clone()
    }

    #[test]
    fn all_that_waits_goes_in_one_message_and_no_second_within_a_second() {
        let mut outbox = outbox_of(["a".to_owned(), "b".to_owned()]);
        assert_eq!(outbox.due(sec(0), plain).unwrap(), "a\nb");
        outbox.delivered(sec(0));
        assert_eq!(outbox.next_at(), None);
        outbox.add(Item { at: SystemTime::UNIX_EPOCH, text: "c".to_owned() });
        assert_eq!(outbox.due(Duration::from_millis(999), plain), None);
        assert_eq!(outbox.due(sec(1), plain).unwrap(), "c");
    }

    #[test]
    fn a_refused_message_stays_and_the_waits_grow() {
        let mut outbox = outbox_of(["a".to_owned()]);
        let mut now = sec(0);
        let mut waits = Vec::new();
        for _ in 0..11 {
            assert_eq!(outbox.due(now, plain).unwrap(), "a");
            outbox.refused(now, &Refused::later(String::new()));
            waits.push((outbox.next_at().unwrap() - now).as_secs());
            now = outbox.next_at().unwrap();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn slacks_own_wait_is_kept_to_and_a_permanent_refusal_is_tried_hourly() {
        let mut outbox = outbox_of(["a".to_owned()]);
        let limited = Refused { why: String::new(), retry_after: Some(sec(30)), permanent: false };
        outbox.due(sec(0), plain).unwrap();
        outbox.refused(sec(0), &limited);
        assert_eq!(outbox.next_at(), Some(sec(30)));
        let gone = Refused { permanent: true, retry_after: None, ..limited };
        outbox.due(sec(30), plain).unwrap();
        outbox.refused(sec(30), &gone);
        assert_eq!(outbox.next_at(), Some(sec(3630)));
        outbox.hurry();
        assert!(outbox.due(sec(31), plain).is_some());
    }

    #[test]
    fn long_messages_are_split_between_lines_and_nothing_is_lost() {
        let mut outbox = outbox_of((0..100).map(|n| format!("{n:03}{}", "x".repeat(97))));
        let (mut now, mut lines) = (sec(0), Vec::new());
        while let Some(message) = outbox.due(now, plain) {
            assert!(message.chars().count() < LONGEST);
            lines.extend(message.lines().map(|line| line[..3].parse::<u32>().unwrap()));
            outbox.delivered(now);
            now += sec(1);
        }
        assert_eq!(lines, (0..100).collect::<Vec<_>>());
        assert_eq!(now, sec(3), "39 lines of 101 characters fit");
    }

    #[test]
    fn the_queue_is_bounded_and_says_what_it_dropped() {
        let mut outbox = outbox_of((0..BOUND + 5).map(|n| n.to_string()));
        assert_eq!(outbox.len(), BOUND);
        let message = outbox.due(sec(0), plain).unwrap();
        let mut lines = message.lines();
        assert!(lines.next().unwrap().starts_with("5 earlier notifications"));
        assert_eq!(lines.next(), Some("5"));
    }
}
