//! The single writer: numbers the events, appends them to the log, shows them, and posts them to Slack, in that order.
//!
//! What it decides with ([`Desk`]) stands behind a lock that is free while a POST is under way, so that the end of the
//! program can still bring the last events to disk when Slack hangs.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::clock::Clock;
use crate::event::Event;
use crate::outbox::{Item, Outbox};
use crate::sink::log::LogFile;
use crate::sink::slack::{self, Slack};
use crate::sync::{keep_running, lock};
use crate::view::Screen;

/// What the writer is told.
pub enum Message {
    /// Something to notify.
    Event(Event),
    /// The program ends: deliver what waits, until this time on the monotonic clock at the latest, and stop.
    Quit(Duration),
}

/// The writer thread, as the program's main thread sees it.
pub struct Writer {
    inbox: Sender<Message>,
    ended: Receiver<()>,
    shared: Arc<Shared>,
}

struct Shared {
    inbox: Mutex<Receiver<Message>>,
    desk: Mutex<Desk>,
    clock: Clock,
    screen: Screen,
}

/// What the writer decides with.
struct Desk {
    /// The number of the last notification.
    number: u64,
    log: Option<LogFile>,
    log_fails: bool,
    /// None while Slack is off.
    outbox: Option<Outbox>,
    slack_fails: bool,
    /// Are log lines shown on stdout?
    show: bool,
}

/// The sinks that the options ask for.
pub struct Sinks {
    /// The log file, opened once already.
    pub log: Option<LogFile>,
    /// The webhook.
    pub slack: Option<Slack>,
    /// Log lines go to stdout too.
    pub show: bool,
}

impl Writer {
    /// Starts the thread. Errors: none could be made; the caller exits with 2.
    pub fn start(sinks: Sinks, clock: Clock, screen: Screen) -> std::io::Result<Writer> {
        let (inbox, waiting) = mpsc::channel();
        let (tell_end, ended) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            inbox: Mutex::new(waiting),
            desk: Mutex::new(Desk {
                number: 0,
                log: sinks.log,
                log_fails: false,
                outbox: sinks.slack.is_some().then(Outbox::default),
                slack_fails: false,
                show: sinks.show,
            }),
            clock,
            screen,
        });
        let for_thread = Arc::clone(&shared);
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            let mut slack = sinks.slack;
            keep_running(|| for_thread.run(slack.as_mut(), &tell_end), |_| ());
        })?;
        Ok(Writer { inbox, ended, shared })
    }

    /// The way for events.
    pub fn sender(&self) -> Sender<Message> {
        self.inbox.clone()
    }

    /// Brings everything told so far to the log, and to Slack if that is done within `limit`.
    pub fn finish(self, limit: Duration) {
        let _ = self.inbox.send(Message::Quit(self.shared.clock.now() + limit));
        // A POST that was under way had its own limit, which may be longer.
        if self.ended.recv_timeout(limit + Duration::from_millis(200)).is_err() {
            self.shared.rescue();
        }
    }
}

impl Shared {
    fn run(&self, mut slack: Option<&mut Slack>, tell_end: &SyncSender<()>) {
        loop {
            let wake = lock(&self.desk).next_at();
            let quit = self.take_in(wake);
            if let Some(slack) = &mut slack {
                match quit {
                    None => {
                        self.post_due(slack, slack::LIMIT);
                    }
                    Some(deadline) => self.post_last(slack, deadline),
                }
            }
            if quit.is_some() {
                let _ = tell_end.try_send(());
                return;
            }
        }
    }

    /// Waits for something to do, until `wake` at the latest, and puts it on the desk. Returns the deadline when the
    /// program ends.
    fn take_in(&self, wake: Option<Duration>) -> Option<Duration> {
        let mut quit = None;
        let mut events = Vec::new();
        let mut sort = |message| match message {
            Message::Event(event) => events.push(event),
            Message::Quit(deadline) => quit = Some(deadline),
        };
        {
            let inbox = lock(&self.inbox);
            let first = match wake {
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wake) => inbox.recv_timeout(wake.saturating_sub(self.clock.now())),
            };
            match first {
                Ok(message) => sort(message),
                Err(RecvTimeoutError::Timeout) => {}
                // Every sender is gone, so nothing more can come.
                Err(RecvTimeoutError::Disconnected) => sort(Message::Quit(self.clock.now())),
            }
            for message in inbox.try_iter() {
                sort(message);
            }
        }
        lock(&self.desk).enter(&events, self.clock.now(), &self.screen);
        quit
    }

    /// Posts what is due. False when nothing was, or it was refused.
    fn post_due(&self, slack: &mut Slack, limit: Duration) -> bool {
        let message = {
            let mut desk = lock(&self.desk);
            let now = self.clock.now();
            desk.outbox.as_mut().and_then(|outbox| outbox.due(now, slack::line))
        };
        let Some(message) = message else {
            return false;
        };
        let result = slack.post(&message, limit);
        let mut desk = lock(&self.desk);
        let now = self.clock.now();
        let Some(outbox) = desk.outbox.as_mut() else {
            return false;
        };
        match result {
            Ok(()) => {
                outbox.delivered(now);
                if std::mem::take(&mut desk.slack_fails) {
                    self.screen.err("Slack takes messages again");
                }
                true
            }
            Err(refused) => {
                outbox.refused(now, &refused);
                let waiting = outbox.len();
                if !std::mem::replace(&mut desk.slack_fails, true) || refused.permanent {
                    let then = if refused.permanent {
                        "mend the webhook; tried again in an hour"
                    } else {
                        "tried again until it is taken"
                    };
                    self.screen
                        .err(&format!("Slack did not take a message: {} ({waiting} waiting, {then})", refused.why));
                }
                false
            }
        }
    }

    fn post_last(&self, slack: &mut Slack, deadline: Duration) {
        loop {
            let left = deadline.saturating_sub(self.clock.now());
            if left.is_zero() {
                break;
            }
            if let Some(outbox) = lock(&self.desk).outbox.as_mut() {
                outbox.hurry();
            }
            if !self.post_due(slack, left.min(slack::LIMIT)) {
                break;
            }
        }
        let waiting = lock(&self.desk).outbox.as_ref().map_or(0, Outbox::len);
        if waiting > 0 {
            self.screen.err(&undelivered(waiting, ""));
        }
    }

    /// The writer hangs in a POST at the end of the program: what it has not seen yet goes to the log from here.
    fn rescue(&self) {
        let (Ok(inbox), Ok(mut desk)) = (self.inbox.try_lock(), self.desk.try_lock()) else {
            return;
        };
        let events: Vec<Event> = inbox
            .try_iter()
            .filter_map(|message| match message {
                Message::Event(event) => Some(event),
                Message::Quit(_) => None,
            })
            .collect();
        desk.enter(&events, self.clock.now(), &self.screen);
        let waiting = desk.outbox.as_ref().map_or(0, Outbox::len);
        self.screen.err(&undelivered(waiting, ": its answer did not come"));
    }
}

fn undelivered(waiting: usize, why: &str) -> String {
    let were = if waiting == 1 { "notification was" } else { "notifications were" };
    format!("{waiting} {were} not delivered to Slack{why}")
}

impl Desk {
    /// Numbers the events, brings them to the log, the screen and the outbox; also tries lines again that the log did
    /// not take.
    fn enter(&mut self, events: &[Event], now: Duration, screen: &Screen) {
        let mut lines = String::new();
        for event in events {
            self.number += 1;
            lines.push_str(&event.log_line(self.number));
        }
        if let Some(log) = &mut self.log {
            log.add(&lines);
            let failed = log.write(now).err();
            match (&failed, self.log_fails) {
                (Some(error), false) => {
                    screen.err(&format!("the log cannot be written: {error}; lines are kept and tried again"))
                }
                (None, true) => screen.err("the log is written again"),
                _ => {}
            }
            self.log_fails = failed.is_some();
        }
        if self.show && !lines.is_empty() {
            screen.out(lines);
        }
        if let Some(outbox) = &mut self.outbox {
            for event in events.iter().filter(|event| event.kind().for_slack()) {
                outbox.add(Item { at: event.at, text: event.text() });
            }
        }
    }

    fn next_at(&self) -> Option<Duration> {
        let log = self.log.as_ref().and_then(LogFile::next_at);
        let slack = self.outbox.as_ref().and_then(Outbox::next_at);
        log.into_iter().chain(slack).min()
    }
}
