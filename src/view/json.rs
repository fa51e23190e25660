//! `--json`: one object a line, for programs. Times are RFC 3339 in UTC with milliseconds, durations numbers in the unit
//! that the key names, what is not known is left out. Pure.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::event::{Check, Event, Item, Loss, Outcome};
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
    put("loss_percent", details.loss.map(percent));
    put("told_percent", details.told.map(percent));
    put("since", details.since.map(time));
    put("down_seconds", details.down.map(|down| rounded(down.as_secs_f64(), 3)));
    put("failed_checks", details.failed.map(Value::from));
    put("reason", details.reason.map(|reason| reason.to_string().into()));
    line(object)
}

/// One check, sent at `at`.
pub fn check(target: &Target, check: &Check, at: SystemTime) -> String {
    let mut object = object("check", at, Some(target));
    object.insert("number".to_owned(), check.number.into());
    let (result, rtt, reason) = match check.outcome {
        Outcome::Answered(rtt) => ("answered", Some(rtt), None),
        Outcome::Unanswered(reason) => ("unanswered", None, Some(reason)),
        Outcome::Unsent(reason) => ("unsent", None, Some(reason)),
    };
    object.insert("result".to_owned(), result.into());
    if let Some(rtt) = rtt {
        object.insert("rtt_ms".to_owned(), millis(rtt));
    }
    if let Some(reason) = reason {
        object.insert("reason".to_owned(), reason.to_string().into());
    }
    line(object)
}

/// The summary at the end: an object a target.
pub fn summary(targets: &[(Arc<Target>, Counts)], at: SystemTime) -> String {
    let one = |(target, counts): &(Arc<Target>, Counts)| {
        let mut object = object("summary", at, Some(target));
        let numbers = json!({
            "sent": counts.sent(), "answered": counts.answered, "unanswered": counts.unanswered, "unsent": counts.unsent,
            "gaps": counts.gaps, "strays": counts.strays, "down": counts.outage.is_some(),
            "sample_loss_percent": percent(counts.loss),
        });
        object.extend(numbers.as_object().cloned().unwrap_or_default());
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
        object.insert("target".to_owned(), (*target.place).into());
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

/// To a hundredth, as the texts say it.
fn percent(loss: Loss) -> Value {
    rounded(loss.percent(), 2)
}

/// To a microsecond.
fn millis(time: Duration) -> Value {
    rounded(time.as_secs_f64() * 1000.0, 3)
}

fn rounded(number: f64, places: i32) -> Value {
    let scale = 10_f64.powi(places);
    ((number * scale).round() / scale).into()
}
