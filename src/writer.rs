//! The single writer: numbers the events, brings them to the state and the log, shows them, and posts them to Slack, in
//! that order, so that whatever is at Slack can be found in the log, and what is not will be sent after a restart.
//!
//! What it decides with (its desk) stands behind a lock that is free while a POST is under way, so that the end of the
//! program can still bring the last events to disk when Slack hangs.

use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::event::{Change, Event, Item, Subject, earlier};
use crate::outbox::{Outbox, Refused};
use crate::sink::http;
use crate::sink::log::LogFile;
use crate::sink::slack::{self, Slack};
use crate::state::{Down, Known, Memory, Record, StateFile};
use crate::sync::{self, Channel, lock};
use crate::view::Screen;

/// What the writer is told.
pub enum Message {
    /// Something to notify. Boxed, as it is copied about on the small stack of a target's thread.
    Event(Box<Event>),
    /// The program ends.
    Quit(Box<LastWords>),
}

/// What the writer still does at the end of the program.
#[derive(Clone, Debug)]
pub struct LastWords {
    /// Slack gets what waits, until this time on the monotonic clock at the latest.
    pub until: Duration,
    /// Names of the targets that are down, and the failed checks of their outages, for the state.
    pub down: Vec<(String, u64)>,
}

/// The writer thread, as the program's main thread sees it.
pub struct Writer {
    inbox: Sender<Message>,
    shared: Arc<Shared>,
}

/// Something to notify, with the notification that it became.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// What the log and Slack are told of it.
    pub item: Item,
}

/// Is told of each batch when it is in the log. Must not block: Slack waits.
pub type Listener = Box<dyn Fn(&[Told]) + Send>;

/// What waits for Slack, as others may ask.
#[derive(Clone)]
pub struct Waiting(Arc<Shared>);

impl Waiting {
    /// How many notifications Slack has not had; 0 without a webhook.
    pub fn len(&self) -> usize {
        let desk = lock(&self.0.desk);
        if desk.slack { desk.outbox.len() } else { 0 }
    }

    /// Has Slack had all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the oldest of them happened.
    pub fn oldest(&self) -> Option<SystemTime> {
        let desk = lock(&self.0.desk);
        desk.outbox.oldest().filter(|_| desk.slack)
    }
}

/// Called once, when Slack refuses the first message for good.
pub type OnRefusal = Box<dyn FnOnce(String) + Send>;

struct Shared {
    inbox: Mutex<Receiver<Message>>,
    ended: Channel<()>,
    desk: Mutex<Desk>,
    on_refusal: Mutex<Option<OnRefusal>>,
    clock: Clock,
    screen: Screen,
}

/// What the writer decides with.
struct Desk {
    memory: Memory,
    state: Option<StateFile>,
    state_fails: bool,
    log: Option<LogFile>,
    log_fails: bool,
    outbox: Outbox,
    /// Is there a webhook? If not, nothing new goes into the outbox, and what was in it stays.
    slack: bool,
    slack_fails: bool,
    /// Who else is told.
    listeners: Vec<Listener>,
}

/// The sinks that the options ask for, and what they hold from before.
pub struct Sinks {
    /// Numbers and targets from before.
    pub memory: Memory,
    /// What Slack has not had yet.
    pub outbox: Outbox,
    /// The state file.
    pub state: Option<StateFile>,
    /// The log file, opened once already.
    pub log: Option<LogFile>,
    /// The webhook.
    pub slack: Option<Slack>,
    /// Called when Slack refuses the very first message for good: the webhook is wrong. None: that is only said.
    pub on_refusal: Option<OnRefusal>,
    /// Who else is told of each notification.
    pub listeners: Vec<Listener>,
}

impl Writer {
    /// Starts the thread. Errors: none could be made; the caller exits with 2.
    pub fn start(sinks: Sinks, clock: Clock, screen: Screen) -> std::io::Result<Writer> {
        let (inbox, waiting) = mpsc::channel();
        let shared = Arc::new(Shared {
            inbox: Mutex::new(waiting),
            ended: Channel::default(),
            desk: Mutex::new(Desk {
                memory: sinks.memory,
                state: sinks.state,
                state_fails: false,
                log: sinks.log,
                log_fails: false,
                outbox: sinks.outbox,
                slack: sinks.slack.is_some(),
                slack_fails: false,
                listeners: sinks.listeners,
            }),
            on_refusal: Mutex::new(sinks.on_refusal),
            clock,
            screen,
        });
        let for_thread = Arc::clone(&shared);
        let mut slack = sinks.slack;
        sync::start("writer", move || for_thread.run(slack.as_mut()))?;
        Ok(Writer { inbox, shared })
    }

    /// The way for events.
    pub fn sender(&self) -> Sender<Message> {
        self.inbox.clone()
    }

    /// What waits for Slack.
    pub fn waiting(&self) -> Waiting {
        Waiting(Arc::clone(&self.shared))
    }

    /// What is known of a target now.
    pub fn known(&self, name: &str) -> Known {
        lock(&self.shared.desk).memory.targets.get(name).cloned().unwrap_or_default()
    }

    /// Brings everything told so far to the log and the state, and to Slack if that is done within `limit`. `down`: see
    /// [`LastWords`].
    pub fn finish(self, limit: Duration, down: Vec<(String, u64)>) {
        let words = LastWords { until: self.shared.clock.now() + limit, down };
        let _ = self.inbox.send(Message::Quit(Box::new(words.clone())));
        // A POST that was under way had its own limit, which may be longer.
        if self.shared.ended.wait(Some(limit + Duration::from_millis(200))).is_none() {
            self.shared.rescue(&words);
        }
    }
}

impl Shared {
    fn run(&self, mut slack: Option<&mut Slack>) {
        loop {
            let wake = lock(&self.desk).next_at();
            let quit = self.take_in(wake);
            if let Some(slack) = &mut slack {
                match &quit {
                    None => drop(self.post_due(slack, http::LIMIT)),
                    Some(words) => self.post_last(slack, words.until),
                }
            }
            if quit.is_some() {
                self.ended.put(());
                return;
            }
        }
    }

    /// Waits for something to do, until `wake` at the latest, and puts it on the desk. Returns the last words when the
    /// program ends.
    fn take_in(&self, wake: Option<Duration>) -> Option<LastWords> {
        let mut quit = None;
        let mut events = Vec::new();
        let mut sort = |message| match message {
            Message::Event(event) => events.push(*event),
            Message::Quit(words) => quit = Some(*words),
        };
        {
            let inbox = lock(&self.inbox);
            let limit = wake.map_or(Duration::MAX, |wake| wake.saturating_sub(self.clock.now()));
            match inbox.recv_timeout(limit) {
                Ok(message) => sort(message),
                Err(RecvTimeoutError::Timeout) => {}
                // Every sender is gone, so nothing more can come.
                Err(RecvTimeoutError::Disconnected) => {
                    sort(Message::Quit(Box::new(LastWords { until: self.clock.now(), down: Vec::new() })));
                }
            }
            inbox.try_iter().for_each(sort);
        }
        let down = quit.as_ref().map_or(&[][..], |words| &words.down);
        lock(&self.desk).enter(events, down, self.clock.now(), &self.screen);
        quit
    }

    /// Posts what is due. False when nothing was, or it was refused.
    fn post_due(&self, slack: &mut Slack, limit: Duration) -> bool {
        let message = lock(&self.desk).outbox.due(self.clock.now(), &slack::line);
        let Some(message) = message else {
            return false;
        };
        let result = slack.post(&message, limit);
        let first = lock(&self.on_refusal).take();
        let mut desk = lock(&self.desk);
        let now = self.clock.now();
        match result {
            Ok(()) => {
                let numbers = desk.outbox.delivered(now);
                let sent = Record::Sent { numbers, dropped: desk.outbox.dropped() };
                desk.save(&[sent], now, &self.screen);
                if std::mem::take(&mut desk.slack_fails) {
                    self.screen.err("Slack takes messages again");
                }
                true
            }
            Err(refused) => {
                desk.outbox.refused(now, &refused, jitter(now));
                match first {
                    Some(tell) if refused.permanent => tell(refused.why),
                    _ => desk.complain(&refused, &self.screen),
                }
                false
            }
        }
    }

    fn post_last(&self, slack: &mut Slack, deadline: Duration) {
        // Whatever was to be waited for, one try comes now; after it the pace is kept to.
        lock(&self.desk).outbox.hurry();
        loop {
            let left = deadline.saturating_sub(self.clock.now());
            if left.is_zero() || !self.post_due(slack, left.min(http::LIMIT)) {
                break;
            }
            let Some(next) = lock(&self.desk).outbox.next_at().filter(|next| *next < deadline) else {
                break;
            };
            thread::sleep(next.saturating_sub(self.clock.now()));
        }
        lock(&self.desk).say_undelivered("", &self.screen);
    }

    /// The writer hangs in a POST at the end of the program: what it has not seen yet goes to disk from here.
    fn rescue(&self, words: &LastWords) {
        let Ok(inbox) = self.inbox.try_lock() else {
            return;
        };
        // Others look at the desk too, for a moment; only a disk that hangs keeps it.
        let mut tries = 0;
        let mut desk = loop {
            match self.desk.try_lock() {
                Ok(desk) => break desk,
                Err(_) if tries == 10 => return,
                Err(_) => tries += 1,
            }
            thread::sleep(Duration::from_millis(20));
        };
        let events: Vec<Event> = inbox
            .try_iter()
            .filter_map(|message| match message {
                Message::Event(event) => Some(*event),
                Message::Quit(_) => None,
            })
            .collect();
        desk.enter(events, &words.down, self.clock.now(), &self.screen);
        desk.say_undelivered(": its answer did not come", &self.screen);
    }
}

/// From 0 to 1: a thousand monitors that lost the same uplink must not all come back at once.
fn jitter(now: Duration) -> f64 {
    f64::from(RandomState::new().hash_one(now) as u32) / f64::from(u32::MAX)
}

impl Desk {
    /// Numbers the events, and brings them to the state, the log, the listeners and the outbox; also tries again what the
    /// disk did not take before.
    fn enter(&mut self, events: Vec<Event>, down: &[(String, u64)], now: Duration, screen: &Screen) {
        let (mut lines, mut records, mut told) = (String::new(), Vec::new(), Vec::new());
        for event in events {
            let item = event.item(self.memory.number + 1);
            lines.push_str(&item.log_line());
            let waits = self.slack && event.kind().for_slack();
            if waits {
                self.outbox.add(item.clone());
            }
            let record = Record::Made { item: item.clone(), waits, known: self.known(&event) };
            self.memory.apply(&record);
            records.push(record);
            told.push(Told { event, item });
        }
        for (target, failed) in down {
            let before = self.memory.targets.get(target);
            let known = before.and_then(|known| Some((known, known.down.filter(|down| down.failed != *failed)?)));
            if let Some((known, outage)) = known {
                let known = Known { down: Some(Down { failed: *failed, ..outage }), ..known.clone() };
                let record = Record::Known { target: target.clone(), known };
                self.memory.apply(&record);
                records.push(record);
            }
        }
        // First the state: what a crash keeps from the log is brought there by the next start.
        self.save(&records, now, screen);
        if let Some(log) = &mut self.log {
            log.add(&lines);
            let failed = log.write(now).err();
            match (&failed, self.log_fails) {
                (Some(error), false) => {
                    screen.err(&format!("the log cannot be written: {error}; lines are kept and tried again"));
                }
                (None, true) => screen.err("the log is written again"),
                _ => {}
            }
            self.log_fails = failed.is_some();
        }
        if !self.log_fails {
            self.memory.all_logged();
        }
        if !told.is_empty() {
            self.listeners.iter().for_each(|listener| listener(&told));
        }
    }

    /// Brings changes to the state file. While it cannot be written, checks, log and Slack go on.
    fn save(&mut self, records: &[Record], now: Duration, screen: &Screen) {
        let Some(state) = &mut self.state else {
            return;
        };
        let failed = state.write(records, &self.memory, &self.outbox, now).err();
        match (&failed, self.state_fails) {
            (Some(error), false) => screen.err(&format!("the state cannot be written: {error}; tried again")),
            (None, true) => screen.err("the state is written again"),
            _ => {}
        }
        self.state_fails = failed.is_some();
    }

    /// What an event makes known of its target.
    fn known(&self, event: &Event) -> Option<Known> {
        let Subject::Target(target, change) = &event.subject else {
            return None;
        };
        let before = self.memory.targets.get(&target.name).cloned().unwrap_or_default();
        Some(match *change {
            Change::Loss(moved) => Known { told: moved.to, ..before },
            Change::Down { failed, lasted, loss, .. } => Known {
                down: Some(Down { since: earlier(event.at, lasted), reminded: event.at, failed }),
                told: loss.map_or(before.told, |moved| moved.to),
            },
            Change::Up { loss, .. } => Known { down: None, told: loss.map_or(before.told, |moved| moved.to) },
            Change::Remind { failed, lasted, .. } => {
                Known { down: Some(Down { since: earlier(event.at, lasted), reminded: event.at, failed }), ..before }
            }
        })
    }

    /// Slack did not take a message: loud the first time, and each time that somebody must act.
    fn complain(&mut self, refused: &Refused, screen: &Screen) {
        if !std::mem::replace(&mut self.slack_fails, true) || refused.permanent {
            let then = match refused.permanent {
                true => "mend the webhook; tried again in an hour",
                false => "tried again until it is taken",
            };
            let waiting = self.outbox.len();
            screen.err(&format!("Slack did not take a message: {} ({waiting} waiting, {then})", refused.why));
        }
    }

    /// At the end: says what Slack has not had.
    fn say_undelivered(&self, why: &str, screen: &Screen) {
        let waiting = self.outbox.len();
        if !self.slack || waiting == 0 {
            return;
        }
        let were = if waiting == 1 { "notification was" } else { "notifications were" };
        let then = if self.state.is_some() && !self.state_fails { "; the next start sends them" } else { "" };
        screen.err(&format!("{waiting} {were} not delivered to Slack{why}{then}"));
    }

    fn next_at(&self) -> Option<Duration> {
        let log = self.log.as_ref().and_then(LogFile::next_at);
        let state = self.state.as_ref().and_then(StateFile::next_at);
        let slack = self.outbox.next_at().filter(|_| self.slack);
        log.into_iter().chain(state).chain(slack).min()
    }
}
