//! `--json`: one object a line, for programs. Times are RFC 3339 in UTC with milliseconds, durations numbers in the unit
//! that the key names, what is not known is left out. Pure.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::event::{Check, Event, Failure, Item, Loss, Outcome, Subject};
use crate::stats::Counts;
use crate::target::Target;

/// A notification.
pub fn notification(event: &Event, item: &Item) -> String {
    let details = event.details();
    let mut object = object("notification", item.at, event.target());
    let mut put = |key: &str, value: Option<Value>| value.map(|value| object.insert(key.to_owned(), value));
    put("number", Some(item.number.into()));
    put("kind", Some(item.kind.to_string().into()));
    put("text", Some((*item.text).into()));
    put("loss_percent", details.loss.and_then(known_percent));
    // Before anything was told this is 0 by definition.
    put("told_percent", details.told.map(percent));
    put("since", details.since.map(time));
    put("down_seconds", details.down.map(|down| rounded(down, 1.0)));
    put("failed_checks", details.failed.map(Value::from));
    put("result", details.reason.map(|failure| result(failure).into()));
    put("reason", details.reason.map(|failure| failure.reason.to_string().into()));
    if let Subject::Gap(_, slots, _) = event.subject {
        put("gaps", Some(slots.into()));
    }
    line(object)
}

/// One check, sent at `at`.
pub fn check(target: &Target, check: &Check, at: SystemTime) -> String {
    let mut object = object("check", at, Some(target));
    object.insert("number".to_owned(), check.number.into());
    match check.outcome.failure() {
        None => object.insert("result".to_owned(), "answered".into()),
        Some(failure) => {
            object.insert("reason".to_owned(), failure.reason.to_string().into());
            object.insert("result".to_owned(), result(failure).into())
        }
    };
    if let Outcome::Answered(rtt) = check.outcome {
        object.insert("rtt_ms".to_owned(), millis(rtt));
    }
    line(object)
}

/// The summary at the end: an object a target.
pub fn summary(targets: &[(Arc<Target>, Counts)], at: SystemTime) -> String {
    let one = |(target, counts): &(Arc<Target>, Counts)| {
        let mut object = object("summary", at, Some(target));
        let numbers = json!({
            "sent": counts.sent(), "answered": counts.answered, "unanswered": counts.unanswered, "unsent": counts.unsent,
            "gaps": counts.gaps, "strays": counts.strays, "down": counts.outage.is_some(), "outages": counts.outages,
        });
        object.extend(numbers.as_object().cloned().unwrap_or_default());
        object.extend(known_percent(counts.loss).map(|loss| ("sample_loss_percent".to_owned(), loss)));
        if let Some(mean) = counts.rtt_mean() {
            let times = [("rtt_min_ms", counts.rtt_min), ("rtt_avg_ms", mean), ("rtt_max_ms", counts.rtt_max)];
            object.extend(times.map(|(key, time)| (key.to_owned(), millis(time))));
        }
        line(object)
    };
    targets.iter().map(one).collect()
}

fn object(kind: &str, at: SystemTime, target: Option<&Target>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".to_owned(), kind.into());
    object.insert("time".to_owned(), time(at));
    if let Some(target) = target {
        object.insert("label".to_owned(), (*target.name).into());
        object.insert("target".to_owned(), target.place().into());
        object.insert("check".to_owned(), target.check.to_string().into());
    }
    object
}

fn line(object: Map<String, Value>) -> String {
    format!("{}\n", Value::Object(object))
}

fn time(at: SystemTime) -> Value {
    humantime::format_rfc3339_millis(at).to_string().into()
}

/// What became of a failed check.
fn result(failure: Failure) -> &'static str {
    if failure.sent { "unanswered" } else { "unsent" }
}

/// None of an empty sample: nothing is known.
fn known_percent(loss: Loss) -> Option<Value> {
    (loss.of > 0).then(|| percent(loss))
}

/// To a hundredth, as the texts say it.
fn percent(loss: Loss) -> Value {
    (f64::from(loss.hundredths()) / 100.0).into()
}

/// To a microsecond.
fn millis(time: Duration) -> Value {
    rounded(time, 1000.0)
}

/// So many of it in a second, to three places.
fn rounded(time: Duration, scale: f64) -> Value {
    ((time.as_secs_f64() * scale * 1000.0).round() / 1000.0).into()
}
