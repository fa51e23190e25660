//! What waits for Slack: what goes into the next message, and when it may be sent.
//!
//! Pure: `now` is monotonic time since the start; [`Outbox::next_at`] is the next wake-up.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use crate::event::{Item, Kind};

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

/// At most so many notifications wait; beyond that the oldest are only counted (the log has them all).
pub const BOUND: usize = 10_000;

/// A message has fewer characters than this: Slack cuts longer ones itself.
const LONGEST: usize = 4000;

/// What would need more messages than this is told in short, in one.
const MESSAGES: usize = 3;

/// In a short message: room for the names of each later group, and for `and 10000 more`.
const GROUP: usize = 400;
const TAIL: usize = 20;

/// At most one POST in this time, as Slack asks of webhooks.
const PACE: Duration = Duration::from_secs(1);

/// The longest wait between two tries, before jitter.
const SLOWEST: Duration = Duration::from_secs(300);

/// The wait after a permanent refusal, and the longest that Slack may ask for.
const HOUR: Duration = Duration::from_secs(3600);

/// Renders a time and a text that is yet to be escaped.
type Line<'a> = &'a dyn Fn(SystemTime, &str) -> String;

/// The queue to Slack.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Item>,
    dropped: u64,
    under_way: UnderWay,
    not_before: Duration,
    failures: u32,
}

/// What is in the message whose fate is not known yet.
#[derive(Debug, Default)]
struct UnderWay {
    numbers: Vec<RangeInclusive<u64>>,
    /// So many dropped notifications it counts.
    told: u64,
    /// So many of `numbers` the bound has dropped since. They are counted as dropped unless it is delivered.
    dropped: u64,
}

impl UnderWay {
    fn holds(&self, number: u64) -> bool {
        self.numbers.iter().any(|range| range.contains(&number))
    }
}

impl Outbox {
    /// What waited when the program ended, in any order, and how many were dropped by then. Due at once.
    pub fn restore(mut waiting: Vec<Item>, dropped: u64) -> Outbox {
        waiting.sort_by_key(|item| item.number);
        let mut outbox = Outbox { dropped, ..Outbox::default() };
        waiting.into_iter().for_each(|item| outbox.add(item));
        outbox
    }

    /// A notification happened.
    pub fn add(&mut self, item: Item) {
        self.waiting.push_back(item);
        if self.waiting.len() > BOUND {
            if let Some(oldest) = self.waiting.pop_front() {
                self.dropped = self.dropped.saturating_add(1);
                self.under_way.dropped += u64::from(self.under_way.holds(oldest.number));
            }
        }
    }

    /// When there is something to do; None while nothing waits.
    pub fn next_at(&self) -> Option<Duration> {
        (!self.waiting.is_empty() || self.dropped > 0).then_some(self.not_before)
    }

    /// How many notifications wait, those under way among them.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Does nothing wait?
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Item> {
        self.waiting.iter()
    }

    /// How many the bound has dropped that no delivered message has told or counted.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When the oldest that waits happened.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.waiting.front().map(|item| item.at)
    }

    /// The next message, if one is due at `now`, composed anew of all that waits; `line` renders a time and a text,
    /// which it escapes. The message's fate must be told by [`Outbox::delivered`] or [`Outbox::refused`] before the
    /// next call; what is added until then goes into the next.
    pub fn due(&mut self, now: Duration, line: &impl Fn(SystemTime, &str) -> String) -> Option<String> {
        if self.next_at()? > now {
            return None;
        }
        let (message, mut taken) = compose(&self.waiting, self.dropped, line);
        taken.sort_unstable();
        let runs = taken.chunk_by(|one, next| one + 1 == *next);
        let numbers = runs.filter_map(|run| Some(*run.first()?..=*run.last()?)).collect();
        self.under_way = UnderWay { numbers, told: self.dropped, dropped: 0 };
        Some(message)
    }

    /// The message was delivered. Returns the numbers that it told, as few ranges as there can be.
    pub fn delivered(&mut self, now: Duration) -> Vec<RangeInclusive<u64>> {
        let done = std::mem::take(&mut self.under_way);
        self.waiting.retain(|item| !done.holds(item.number));
        self.dropped = self.dropped.saturating_sub(done.told.saturating_add(done.dropped));
        self.failures = 0;
        self.not_before = now + PACE;
        done.numbers
    }

    /// The message was not delivered; it is tried again after 1, 2, 4 ... 300 s, and up to a quarter more by `jitter`
    /// (0 to 1), or hourly, but not before Slack's own time.
    pub fn refused(&mut self, now: Duration, refused: &Refused, jitter: f64) {
        self.under_way = UnderWay::default();
        let backoff = Duration::from_secs(1 << self.failures.min(9)).min(SLOWEST);
        self.failures = self.failures.saturating_add(1);
        // Not a number is in no range.
        let jitter = if (0.0..=1.0).contains(&jitter) { jitter } else { 0.0 };
        let wait = if refused.permanent { HOUR } else { backoff.mul_f64(1.0 + jitter / 4.0) };
        self.not_before = now + wait.max(refused.retry_after.unwrap_or_default().min(HOUR));
    }

    /// The program ends: one try may come now, whatever the wait.
    pub fn hurry(&mut self) {
        self.not_before = Duration::ZERO;
    }
}

/// Where a target stands after all that waits, against what was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Down,
    DownAndUp,
    Up,
    Loss,
}

/// In the order in which they are told: in a headline, and before names.
const STANDS: [(Stand, &str, &str); 4] = [
    (Stand::Down, "down", "Down"),
    (Stand::DownAndUp, "down and up again", "Down and up again"),
    (Stand::Up, "up", "Up"),
    (Stand::Loss, "with changed loss", "Changed loss"),
];

/// Each target that changed, in the order of their first changes.
fn stands(waiting: &VecDeque<Item>) -> Vec<(&str, Stand)> {
    let mut stands: Vec<(&str, Stand)> = Vec::new();
    // Of each of them: was its first change from up to down?
    let mut were_up: Vec<Option<bool>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for item in waiting {
        let (Kind::Loss | Kind::Down | Kind::Up | Kind::Remind, Some(name)) = (item.kind, item.target.as_deref())
        else {
            continue;
        };
        let place = *places.entry(name).or_insert(stands.len());
        if place == stands.len() {
            stands.push((name, Stand::Loss));
            were_up.push(None);
        }
        if item.kind != Kind::Loss {
            let was_up = *were_up[place].get_or_insert(item.kind == Kind::Down);
            stands[place].1 = match item.kind {
                Kind::Up if was_up => Stand::DownAndUp,
                Kind::Up => Stand::Up,
                _ => Stand::Down,
            };
        }
    }
    stands
}

/// Counts targets: `12 targets down, 1 up`.
fn headline(stands: impl Iterator<Item = Stand> + Clone) -> String {
    let mut text = String::new();
    for (stand, said, _) in STANDS {
        let count = stands.clone().filter(|other| *other == stand).count();
        match (text.is_empty(), count) {
            (_, 0) => {}
            (true, 1) => text = format!("1 target {said}"),
            (true, _) => text = format!("{count} targets {said}"),
            (false, _) => text.push_str(&format!(", {count} {said}")),
        }
    }
    text
}

/// The lines: a notification, or an outage that is over, from its DOWN to its UP, at the place of the DOWN.
fn fold(waiting: &VecDeque<Item>) -> Vec<Vec<&Item>> {
    let mut lines: Vec<Vec<&Item>> = Vec::new();
    // Of each outage that is not over: the lines of its DOWN and REMINDs, and where these stand in `outages`.
    let mut outages: Vec<Vec<usize>> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for item in waiting {
        let name = item.target.as_deref().unwrap_or_default();
        let over = if item.kind == Kind::Up { open.remove(name) } else { None };
        if let Some(outage) = over {
            let outage = &outages[outage];
            let parts: Vec<&Item> = outage.iter().flat_map(|line| std::mem::take(&mut lines[*line])).collect();
            lines[outage[0]] = parts.into_iter().chain([item]).collect();
            continue;
        }
        match item.kind {
            Kind::Down => {
                open.insert(name, outages.len());
                outages.push(vec![lines.len()]);
            }
            Kind::Remind => open.get(name).into_iter().for_each(|outage| outages[*outage].push(lines.len())),
            _ => {}
        }
        lines.push(vec![item]);
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// A message of the oldest that wait, as many as fit, and their numbers; all of them in short if they are too many.
fn compose(waiting: &VecDeque<Item>, dropped: u64, line: Line) -> (String, Vec<u64>) {
    let all = stands(waiting);
    let lost = match dropped {
        0 => String::new(),
        1 => "1 earlier notification is only in the log: too many waited for Slack\n".to_owned(),
        many => format!("{many} earlier notifications are only in the log: too many waited for Slack\n"),
    };
    let head = headline(all.iter().map(|one| one.1));
    // No message has a longer head, and each line ends in a newline.
    let room = LONGEST - 1 - width(&head) - width(&lost);
    let (mut messages, mut length) = (1, 0);
    // The names are a set; a map of the kind that is here anyway costs no code.
    let (mut body, mut taken, mut names) = (String::new(), Vec::new(), HashMap::new());
    for parts in fold(waiting) {
        let (at, text) = match parts.as_slice() {
            [down, .., up] => (down.at, format!("{} | {}", down.text, up.text)),
            [only] => (only.at, only.text.clone()),
            [] => continue,
        };
        let text = cut(at, &text, room - 1, line);
        length += width(&text) + 1;
        if length > room {
            (messages, length) = (messages + 1, width(&text) + 1);
        }
        if messages > MESSAGES {
            let message = short(waiting, &all, &format!("{head}\n{lost}"), line);
            return (message, waiting.iter().map(|item| item.number).collect());
        }
        if messages == 1 {
            body.push_str(&text);
            body.push('\n');
            taken.extend(parts.iter().map(|item| item.number));
            names.extend(parts.iter().filter_map(|item| Some((item.target.as_deref()?, 0_usize))));
        }
    }
    let told = all.iter().filter(|one| names.contains_key(one.0)).map(|one| one.1);
    let head = if told.clone().count() > 1 { headline(told) } else { String::new() };
    let message = [&head, lost.trim_end(), body.trim_end()].into_iter().filter(|part| !part.is_empty());
    (message.collect::<Vec<_>>().join("\n"), taken)
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text as a line of at most `room` characters. It is cut before it is escaped, so no escape is cut in two.
fn cut(at: SystemTime, text: &str, room: usize, line: Line) -> String {
    let whole = line(at, text);
    if width(&whole) <= room {
        return whole;
    }
    let cut_to = |count: usize| line(at, &format!("{}…", text.chars().take(count).collect::<String>()));
    let (mut fits, mut too_many) = (0, width(text));
    while too_many - fits > 1 {
        let middle = fits.midpoint(too_many);
        if width(&cut_to(middle)) <= room { fits = middle } else { too_many = middle }
    }
    cut_to(fits)
}

/// All that waits in one message: exact counts, and as many names as fit.
fn short(waiting: &VecDeque<Item>, all: &[(&str, Stand)], head: &str, line: Line) -> String {
    let times = || waiting.iter().map(|item| item.at);
    let first = times().min().unwrap_or(SystemTime::UNIX_EPOCH);
    let last = times().max().unwrap_or(first);
    let mut text = format!("there were {} notifications; the log has every line", waiting.len());
    let start = format!("{}{} ", head.trim_start(), line(first, "until"));
    let escaped = |text: &str| width(&line(last, text)).saturating_sub(width(&line(last, "")));
    let mut left = (LONGEST - 1).saturating_sub(width(&start) + width(&line(last, &text)));
    let groups = STANDS.map(|(stand, _, title)| {
        let names = all.iter().filter(|one| one.1 == stand).map(|one| one.0);
        (title, names.collect::<Vec<_>>())
    });
    let mut later = groups.iter().filter(|group| !group.1.is_empty()).count();
    for (title, names) in groups.into_iter().filter(|group| !group.1.is_empty()) {
        later -= 1;
        let mut group = format!("\n{title}: ");
        let room = left.saturating_sub(later * GROUP + TAIL);
        let mut length = width(&group);
        let fits = names.iter().take_while(|name| {
            length += escaped(name) + 2;
            length <= room
        });
        let named = fits.count();
        group.push_str(&names[..named].join(", "));
        match names.len() - named {
            0 => {}
            more => group.push_str(&format!(" and {more} more")),
        }
        left = left.saturating_sub(escaped(&group));
        text.push_str(&group);
    }
    format!("{start}{}", line(last, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sec(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn item(number: u64, kind: Kind, target: &str) -> Item {
        let (at, text) = (SystemTime::UNIX_EPOCH + sec(number), format!("{target} {kind}"));
        Item { number, at, kind, target: Some(target.to_owned()), text }
    }

    fn line(at: SystemTime, text: &str) -> String {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        format!("{at}> {}", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
    }

    fn targets(range: std::ops::Range<u64>, kind: Kind) -> Vec<Item> {
        range.map(|n| item(n, kind, &format!("server-{:04}.example.net", n % 10_000))).collect()
    }

    /// Names and counts of a group in a short message.
    fn group(message: &str, title: &str) -> usize {
        let names = message.lines().find_map(|line| line.strip_prefix(&format!("{title}: "))).unwrap();
        let (names, more) = names.split_once(" and ").unwrap_or((names, "0 more"));
        names.split(", ").count() + more.strip_suffix(" more").unwrap().parse::<usize>().unwrap()
    }

    /// Slack is away until `back`, and a POST takes 200 ms. What it gets.
    fn run(events: Vec<(Duration, Item)>, back: Duration) -> Vec<String> {
        let (mut outbox, mut now, mut posts) = (Outbox::default(), sec(0), Vec::new());
        let mut events = events.into_iter().peekable();
        loop {
            let message = outbox.due(now, &line);
            let next = outbox.next_at().into_iter().chain(events.peek().map(|next| next.0)).min();
            match (&message, next) {
                (Some(_), _) => now += Duration::from_millis(200),
                (None, Some(next)) => now = now.max(next),
                (None, None) => return posts,
            }
            while let Some((_, item)) = events.next_if(|event| event.0 <= now) {
                outbox.add(item);
            }
            match message {
                Some(_) if now < back => outbox.refused(now, &Refused::later(String::new()), 0.5),
                Some(message) => {
                    assert!(width(&message) < LONGEST);
                    outbox.delivered(now);
                    posts.push(message);
                }
                None => {}
            }
        }
    }

    /// 1,000 targets go down within a second, and up a minute later.
    fn storm() -> Vec<(Duration, Item)> {
        let downs = targets(0..1000, Kind::Down).into_iter().map(|item| (Duration::from_millis(item.number), item));
        let ups = downs.clone().map(|(when, down)| {
            let target = down.target.unwrap();
            (when + sec(60), item(down.number + 1000, Kind::Up, &target))
        });
        downs.clone().chain(ups).collect()
    }

    #[test]
    fn a_storm_while_slack_is_away_is_one_message() {
        let posts = run(storm(), sec(3600));
        assert_eq!(posts.len(), 1);
        let start =
            "1000 targets down and up again\n0> until 1999> there were 2000 notifications; the log has every line";
        assert!(posts[0].starts_with(start), "{}", posts[0]);
        assert_eq!(group(&posts[0], "Down and up again"), 1000);
        let ten_thousand = Outbox::restore(targets(0..10_000, Kind::Down), 0).due(sec(0), &line).unwrap();
        assert_eq!(group(&ten_thousand, "Down"), 10_000);
        assert!((3900..LONGEST).contains(&width(&ten_thousand)));
    }

    #[test]
    fn a_storm_while_slack_is_there_is_four_messages() {
        let posts = run(storm(), sec(0));
        let heads: Vec<&str> = posts.iter().map(|post| post.lines().next().unwrap()).collect();
        assert_eq!(
            heads,
            [
                "0> server-0000.example.net DOWN",
                "999 targets down",
                "1000> server-0000.example.net UP",
                "999 targets up"
            ]
        );
        assert_eq!((group(&posts[1], "Down"), group(&posts[3], "Up")), (999, 999));
    }

    #[test]
    fn beyond_the_bound_the_oldest_are_counted_until_slack_has_the_count() {
        let mut outbox = Outbox::default();
        targets(0..30_000, Kind::Down).into_iter().for_each(|item| outbox.add(item));
        assert_eq!(
            (outbox.len(), outbox.dropped(), outbox.oldest()),
            (BOUND, 20_000, Some(SystemTime::UNIX_EPOCH + sec(20_000)))
        );
        let message = outbox.due(sec(0), &line).unwrap();
        assert!(message.contains("\n20000 earlier notifications are only in the log"), "{message}");
        outbox.refused(sec(0), &Refused::later(String::new()), 0.0);
        outbox.due(sec(1), &line).unwrap();
        // 3 of those under way are dropped as well: delivered all the same.
        targets(30_000..30_003, Kind::Down).into_iter().for_each(|item| outbox.add(item));
        assert_eq!((outbox.len(), outbox.dropped()), (BOUND, 20_003));
        assert_eq!(outbox.delivered(sec(2)), [20_000..=29_999]);
        assert_eq!((outbox.len(), outbox.dropped()), (3, 0));
        let mut only_count = Outbox::restore(Vec::new(), 1);
        assert!(only_count.due(sec(0), &line).unwrap().starts_with("1 earlier notification is"));
        assert_eq!((only_count.delivered(sec(0)), only_count.next_at()), (vec![], None));
    }

    #[test]
    fn an_outage_that_is_over_is_one_line_and_a_headline_counts_targets() {
        // a target and what happened to it; the message, its lines by semicolon
        for (events, message) in [
            ("aD aU", "0> a DOWN | a UP"),
            ("aU", "0> a UP"),
            ("aD aU aD", "0> a DOWN | a UP;2> a DOWN"),
            ("aD aU aD aL aU", "0> a DOWN | a UP;2> a DOWN | a UP;3> a LOSS"),
            ("aU aD", "0> a UP;1> a DOWN"),
            ("aD aD aU", "0> a DOWN;1> a DOWN | a UP"),
            ("aD aR aR aU", "0> a DOWN | a UP"),
            ("aD aR", "0> a DOWN;1> a REMIND"),
            ("aR aU", "0> a REMIND;1> a UP"),
            ("-S aD", "0> - START;1> a DOWN"),
            ("aD bD aR aU bU", "2 targets down and up again;0> a DOWN | a UP;1> b DOWN | b UP"),
            ("bD aD aU bR", "1 target down, 1 down and up again;0> b DOWN;1> a DOWN | a UP;3> b REMIND"),
            ("aU aD bR aU bU", "2 targets up;0> a UP;1> a DOWN | a UP;2> b REMIND;4> b UP"),
            (
                "aD bU cL dL eD",
                "2 targets down, 1 up, 2 with changed loss;0> a DOWN;1> b UP;2> c LOSS;3> d LOSS;4> e DOWN",
            ),
        ] {
            let mut outbox = Outbox::default();
            for (number, event) in (0..).zip(events.split(' ')) {
                let kinds =
                    [('D', Kind::Down), ('U', Kind::Up), ('R', Kind::Remind), ('L', Kind::Loss), ('S', Kind::Start)];
                let kind = kinds.into_iter().find(|kind| event.ends_with(kind.0)).unwrap().1;
                let item = item(number, kind, &event[..1]);
                outbox.add(Item { target: item.target.filter(|name| name != "-"), ..item });
            }
            assert_eq!(outbox.due(sec(0), &line).unwrap().replace('\n', ";"), message, "{events}");
            assert_eq!(outbox.delivered(sec(0)), [0..=events.split(' ').count() as u64 - 1], "{events}");
        }
    }

    #[test]
    fn long_messages_are_split_between_lines_and_a_long_line_is_cut_between_escapes() {
        let long = |n| Item { text: format!("{n:03}{}", "é".repeat(95)), ..item(n, Kind::Loss, &n.to_string()) };
        let (mut outbox, mut lines) = (Outbox::restore((0..100).map(long).collect(), 0), Vec::new());
        for (second, last) in [37, 75, 99].into_iter().enumerate() {
            let now = sec(second as u64);
            assert_eq!(outbox.due(now.saturating_sub(Duration::from_millis(1)), &line).is_some(), second == 0);
            let message = outbox.due(now, &line).unwrap();
            assert!(width(&message) < LONGEST && message.contains(" targets with changed loss\n"));
            lines.extend(message.lines().skip(1).map(|line| line.split_once("> ").unwrap().0.parse::<u64>().unwrap()));
            assert_eq!(*outbox.delivered(now)[0].end(), last);
        }
        assert_eq!(lines, (0..100).collect::<Vec<_>>());
        outbox.add(Item { text: "<&>".repeat(2000), ..item(100, Kind::Down, "<a>") });
        let message = outbox.due(sec(9), &line).unwrap();
        assert!(message.starts_with("100> &lt;&amp;&gt;&lt;") && message.ends_with(";…"), "{message}");
        assert!((3900..LONGEST).contains(&width(&message)) && !message.contains('<'));
        let odd = (0..2000).map(|n| item(n, Kind::Down, &format!("<&{n}>"))).collect();
        let message = Outbox::restore(odd, 0).due(sec(0), &line).unwrap();
        assert!((3900..LONGEST).contains(&width(&message)) && message.contains("\nDown: &lt;&amp;0&gt;, &lt;"));
        assert_eq!(group(&message, "Down"), 2000);
    }

    #[test]
    fn refusals_are_waited_out() {
        let mut outbox = Outbox::restore(targets(0..1, Kind::Down), 0);
        let mut now = sec(0);
        let mut wait = |outbox: &mut Outbox, retry_after: Option<u64>, permanent, jitter| {
            assert!(outbox.due(now, &line).is_some());
            let refused = Refused { why: String::new(), retry_after: retry_after.map(sec), permanent };
            outbox.refused(now, &refused, jitter);
            let wait = outbox.next_at().unwrap() - now;
            assert_eq!(outbox.due(now + wait - Duration::from_nanos(1), &line), None);
            now += wait;
            wait.as_millis()
        };
        for base in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(wait(&mut outbox, None, false, 0.0), base * 1000);
        }
        assert_eq!(wait(&mut outbox, Some(900), false, 0.0), 900_000);
        assert_eq!(wait(&mut outbox, Some(u64::MAX), false, 0.0), 3_600_000);
        assert_eq!(wait(&mut outbox, Some(30), true, 1.0), 3_600_000);
        assert_eq!(wait(&mut outbox, Some(30), false, f64::NAN), 300_000);
        outbox.hurry();
        assert!(outbox.due(sec(0), &line).is_some());
        assert_eq!(outbox.delivered(sec(0)), [0..=0]);
        outbox.add(item(1, Kind::Up, "a"));
        assert_eq!(outbox.next_at(), Some(sec(1)));
        outbox.hurry();
        for base in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300] {
            let waited = wait(&mut outbox, Some(0), false, 0.999_999);
            assert!((base * 1249..=base * 1250).contains(&waited), "{waited}");
        }
    }

    #[test]
    fn what_comes_while_a_message_is_under_way_is_in_the_next() {
        let mut outbox = Outbox::restore(vec![item(7, Kind::Down, "a"), item(4, Kind::Start, "-")], 0);
        assert_eq!(outbox.due(sec(0), &line).unwrap(), "4> - START\n7> a DOWN");
        outbox.add(item(8, Kind::Up, "a"));
        outbox.refused(sec(1), &Refused::later(String::new()), 0.0);
        assert_eq!(outbox.due(sec(2), &line).unwrap(), "4> - START\n7> a DOWN | a UP");
        outbox.add(item(9, Kind::Down, "a"));
        assert_eq!(outbox.delivered(sec(2)), [4..=4, 7..=8]);
        assert_eq!(outbox.waiting().map(|item| item.number).collect::<Vec<_>>(), [9]);
        assert_eq!(outbox.due(sec(3), &line).unwrap(), "9> a DOWN");
    }

    #[test]
    fn every_number_is_delivered_once_or_counted() {
        let mut seed = 0x5eed_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..8 {
            let (mut outbox, mut now, mut made, mut told) = (Outbox::default(), sec(0), 0, 0);
            let mut done = std::collections::BTreeSet::new();
            for _ in 0..60 {
                let burst = [3, 40, 400, 4000][random(4) as usize];
                for _ in 0..random(burst) {
                    let kind = [Kind::Down, Kind::Up, Kind::Loss, Kind::Remind, Kind::Start][random(5) as usize];
                    outbox.add(item(made, kind, &format!("<{}>", random(burst))));
                    made += 1;
                }
                now += sec(random(400));
                let counted = outbox.dropped();
                let message = outbox.due(now, &line);
                assert!(message.is_none_or(|message| !message.is_empty() && width(&message) < LONGEST));
                for _ in 0..random(burst) {
                    outbox.add(item(made, Kind::Down, "x"));
                    made += 1;
                }
                match random(3) {
                    0 => outbox.refused(now, &Refused::later(String::new()), 0.5),
                    _ => {
                        let numbers: Vec<u64> = outbox.delivered(now).into_iter().flatten().collect();
                        told += if numbers.is_empty() { 0 } else { counted };
                        assert!(numbers.into_iter().all(|number| number < made && done.insert(number)));
                    }
                }
                assert!(outbox.len() <= BOUND && outbox.waiting().all(|item| !done.contains(&item.number)));
                assert_eq!(done.len() as u64 + outbox.dropped() + told + outbox.len() as u64, made);
            }
        }
    }
}
