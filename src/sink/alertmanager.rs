//! `--alertmanager`: what is wrong now, for Alertmanager's API v2. A thread for each member of the cluster, so that one that
//! hangs delays neither the others nor anything else.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::http::{self, Answer, Http};
use crate::alerts::{Ledger, Pace};
use crate::clock::{self, Clock};
use crate::outbox::Refused;
use crate::stats::Board;
use crate::sync::{self, Channel, lock};
use crate::target::shown;
use crate::view::Screen;
use crate::writer::Listener;

/// So much of Alertmanager's own word for an error is shown.
const WORD: usize = 200;

/// The threads that keep each member of the cluster told.
pub struct Alertmanager {
    bells: Arc<Vec<Bell>>,
    clock: Clock,
    /// One for each thread that has ended.
    ended: Arc<Channel<()>>,
}

/// A cluster of Alertmanagers; one alone is a cluster of one.
pub struct Cluster {
    /// Where each member takes alerts.
    pub members: Vec<Http>,
    /// What this monitor calls itself: the label `monitor`.
    pub monitor: String,
}

/// How the program ends.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// The checks of `--count` are done: the state of every target is told, to stand until the next run. If not, outages
    /// are left to expire, as nobody knows that they are over.
    pub all: bool,
    /// A member gets this long.
    pub limit: Duration,
}

/// What wakes a thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    woken: Condvar,
}

#[derive(Default)]
struct Rung {
    /// Something happened.
    poked: bool,
    /// The program ends: see [`Last::all`], and until when.
    end: Option<(bool, Duration)>,
}

/// One member's thread.
struct Member {
    place: Http,
    ledger: Ledger,
    board: Arc<Board>,
    clock: Clock,
    screen: Screen,
    /// It fails: for good?
    failing: Option<bool>,
}

impl Alertmanager {
    /// Starts a thread for each member. Errors: none could be made; the caller exits with 2.
    pub fn start(cluster: Cluster, board: Arc<Board>, clock: Clock, screen: Screen) -> io::Result<Alertmanager> {
        let Cluster { members, monitor } = cluster;
        let bells: Arc<Vec<Bell>> = Arc::new(members.iter().map(|_| Bell::default()).collect());
        let ended = Arc::<Channel<()>>::default();
        for (index, place) in members.into_iter().enumerate() {
            let (bells, board, screen) = (Arc::clone(&bells), Arc::clone(&board), screen.clone());
            let tell_end = Arc::clone(&ended);
            let ledger = Ledger::new(monitor.clone(), pace());
            let mut member = Member { place, ledger, board, clock, screen, failing: None };
            sync::start("alertmanager", move || {
                member.run(&bells[index]);
                tell_end.put(());
            })?;
        }
        Ok(Alertmanager { bells, clock, ended })
    }

    /// Something may have changed. Never blocks.
    pub fn poke(&self) {
        self.bells.iter().for_each(Bell::poke);
    }

    /// To be told that something changed.
    pub fn listener(&self) -> Listener {
        let bells = Arc::clone(&self.bells);
        Box::new(move |_| bells.iter().for_each(Bell::poke))
    }

    /// The program ends: a last word to each member, on its way at once.
    pub fn last_word(&self, last: Last) {
        let until = self.clock.now() + last.limit;
        for bell in self.bells.iter() {
            lock(&bell.rung).end = Some((last.all, until));
            bell.woken.notify_one();
        }
    }

    /// Waits for the last words, for `limit` at most: a POST that was under way before may hang for longer.
    pub fn finish(self, limit: Duration) {
        let until = self.clock.now() + limit;
        for _ in self.bells.iter() {
            self.ended.wait(Some(until.saturating_sub(self.clock.now())));
        }
    }
}

fn pace() -> Pace {
    let hold = clock::or_for_tests(Pace::default().hold, "REACHABILITYCHECK_TEST_ALERT_MS");
    Pace { repeat: hold / 5, hold, ..Pace::default() }
}

impl Bell {
    fn poke(&self) {
        lock(&self.rung).poked = true;
        self.woken.notify_one();
    }

    /// Waits until it is time: see [`Ledger::next_at`]. Returns how the program ends, when it does.
    fn wait(&self, clock: &Clock, (if_poked, at_last): (Duration, Duration)) -> Option<(bool, Duration)> {
        let mut rung = lock(&self.rung);
        loop {
            let now = clock.now();
            let due = if rung.poked { if_poked } else { at_last };
            if rung.end.is_some() || now >= due {
                rung.poked = false;
                return rung.end;
            }
            rung = self.woken.wait_timeout(rung, due - now).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Member {
    fn run(&mut self, bell: &Bell) {
        loop {
            let end = bell.wait(&self.clock, self.ledger.next_at());
            let (now, wall) = (self.clock.now(), SystemTime::now());
            let counts = self.board.targets().into_iter().map(|(target, stats)| (target, stats.read()));
            match end {
                Some((true, _)) => self.ledger.look_at_end(now, wall, counts),
                _ => self.ledger.look(now, wall, counts),
            }
            self.tell(end.map(|(_, until)| until));
            if end.is_some() {
                return;
            }
        }
    }

    /// Posts what is due, until `until` if there is an end.
    fn tell(&mut self, until: Option<Duration>) {
        loop {
            let now = self.clock.now();
            let limit = until.map_or(http::LIMIT, |until| until.saturating_sub(now).min(http::LIMIT));
            if limit.is_zero() {
                return;
            }
            let Some(json) = self.ledger.post(now) else {
                return;
            };
            let answer = self.place.post(&json, limit);
            let (now, wall) = (self.clock.now(), SystemTime::now());
            match answer.map_err(Refused::later).and_then(taken) {
                Ok(date) => {
                    self.ledger.taken();
                    let apart = date.and_then(|date| self.ledger.dated(now, wall, date));
                    self.well(apart);
                }
                Err(refused) if refused.permanent => {
                    self.ledger.refused();
                    self.complain(&refused);
                }
                Err(refused) => {
                    self.ledger.not_taken(now);
                    self.complain(&refused);
                    return;
                }
            }
        }
    }

    fn well(&mut self, apart: Option<Duration>) {
        let host = self.place.host();
        if self.failing.take().is_some() {
            self.screen.err(&format!("Alertmanager {host} takes alerts again"));
        }
        if let Some(apart) = apart {
            let apart = humantime::format_duration(Duration::from_secs(apart.as_secs()));
            self.screen.err(&format!(
                "Alertmanager {host}: its clock and this machine's are {apart} apart; alerts are told by its clock"
            ));
        }
    }

    /// Loud the first time, and when it comes out that somebody must act.
    fn complain(&mut self, refused: &Refused) {
        if self.failing.is_none_or(|permanent| refused.permanent && !permanent) {
            let then = if refused.permanent { "mend that; tried again every minute" } else { "tried again" };
            self.screen.err(&format!(
                "Alertmanager {} did not take alerts: {} ({then})",
                self.place.host(),
                refused.why
            ));
            self.failing = Some(refused.permanent);
        }
    }
}

/// For `--check`: posts no alert at all, which asks for the same rights. Errors: why alerts would not be taken.
pub fn try_post(place: &mut Http) -> Result<(), String> {
    let answer = place.post("[]", http::LIMIT).map_err(Refused::later);
    answer.and_then(taken).map(drop).map_err(|refused| refused.why)
}

/// Was it taken? Then the time by the clock of who took it.
fn taken(answer: Answer) -> Result<Option<SystemTime>, Refused> {
    let said = answer.said.unwrap_or_default();
    match answer.status {
        200..300 if said.trim_start().starts_with('<') => {
            Err(Refused::later(format!("status {}, but a page: a captive portal or proxy?", answer.status)))
        }
        200..300 => Ok(answer.date),
        status => Err(Refused {
            why: format!("status {status}{}", word(&said)),
            retry_after: None,
            permanent: (300..500).contains(&status) && status != 408 && status != 429,
        }),
    }
}

/// Alertmanager's own word for an error: a JSON string, or an object with a message. A page is left out.
fn word(said: &str) -> String {
    let word = match serde_json::from_slice(said.as_bytes()) {
        Ok(Value::String(word)) => word,
        Ok(object) => object["message"].as_str().unwrap_or_default().to_owned(),
        Err(_) => said.to_owned(),
    };
    let word = word.trim();
    // One with a slash may repeat the path of the URL, which is as secret as the rest of it.
    if word.is_empty() || word.contains(['<', '/']) {
        return String::new();
    }
    let short: String = word.chars().take(WORD).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!(", {}", shown(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alertmanagers_word_is_shown() {
        for (said, shows) in [
            ("\"start time must be before end time\"\n", ", start time must be before end time"),
            (r#"{"code":422,"message":"alerts in body is required"}"#, ", alerts in body is required"),
            (r#"{"code":404,"message":"path /secret/api/v2/alerts was not found"}"#, ""),
            ("Unauthorized\n", ", Unauthorized"),
            ("\"a\\nb\\u001b[2J\\u202ec\"", ", a b [2J\\u{202e}c"),
            ("<html>", ""),
            ("{}", ""),
            ("5", ""),
            ("", ""),
        ] {
            assert_eq!(word(said), shows, "{said}");
        }
        assert_eq!(word(&"é".repeat(5000)).chars().count(), 2 + WORD);
    }

    #[test]
    fn what_is_taken() {
        let taken = |status, said: &str| {
            let answer = Answer { status, retry_after: None, date: None, said: Ok(said.to_owned()) };
            taken(answer).map(drop).map_err(|refused| (refused.permanent, refused.why))
        };
        for status in [200, 202, 204] {
            assert_eq!(taken(status, ""), Ok(()));
        }
        assert!(taken(200, " <!doctype html>").is_err_and(|(permanent, _)| !permanent));
        for (status, permanent) in
            [(301, true), (400, true), (401, true), (404, true), (408, false), (429, false), (503, false)]
        {
            assert_eq!(taken(status, "\"w\""), Err((permanent, format!("status {status}, w"))));
        }
    }
}
