//! `--metrics`: a Prometheus textfile, in the text exposition format (version 0.0.4). Pure.
//!
//! Names and units are those that users build alerts on: they stay. What is not known is left out, never 0.

use std::fmt::{self, Display, Formatter, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::stats::{Counts, RTT_BOUNDS};
use crate::target::Target;

/// So many lines has a target at most.
const LINES: usize = 26;

/// So many bytes has a line on average, its labels apart.
const LINE: usize = 48;

/// A target's labels, as they stand between the braces, with the target and its counts.
type Row<'a> = (String, &'a Target, &'a Counts);

/// The whole file: the targets with their counts, how many notifications wait for Slack, and the monotonic time now.
pub fn render(targets: &[(Arc<Target>, Counts)], waiting: usize, now: Duration) -> String {
    let rows: Vec<Row<'_>> = targets.iter().map(|(target, counts)| (labels(target), &**target, counts)).collect();
    let room = rows.iter().map(|(labels, ..)| LINES * (labels.len() + LINE)).sum::<usize>();
    let mut out = String::with_capacity(4096 + room);
    head(&mut out, "build_info", "gauge", "Always 1; its label is the version of reachabilitycheck.");
    put(&mut out, "build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "", 1);
    head(&mut out, "notifications_waiting", "gauge", "Notifications that Slack has not had yet.");
    put(&mut out, "notifications_waiting", "", "", waiting);

    let help = "1: the target is up, 0: it is down. Left out before its first answer, and with --ctimeout 0.";
    each(&mut out, &rows, "up", "gauge", help, |target, counts| match counts.outage {
        Some(_) => Some(0),
        None => (counts.answered > 0 && target.options.failures > 0).then_some(1),
    });
    head(&mut out, "checks_total", "counter", "Checks, by what became of them; unsent is this machine's own fault.");
    for (labels, _, counts) in &rows {
        let results = [
            (",result=\"answered\"", counts.answered),
            (",result=\"unanswered\"", counts.unanswered),
            (",result=\"unsent\"", counts.unsent),
        ];
        results.iter().for_each(|(result, count)| put(&mut out, "checks_total", labels, result, count));
    }
    let help = "Unanswered checks in the sample, 0 to 1; an outage is not in it. Left out while the sample is empty.";
    each(&mut out, &rows, "loss_ratio", "gauge", help, |_, counts| {
        (counts.loss.of > 0).then(|| Value::from(f64::from(counts.loss.lost) / f64::from(counts.loss.of)))
    });
    head(&mut out, "rtt_seconds", "histogram", "Round-trip times of the answered checks.");
    let bounds = RTT_BOUNDS.map(|bound| {
        let text = format!("{}.{:06}", bound / 1_000_000, bound % 1_000_000);
        format!(",le=\"{}\"", text.trim_end_matches('0').trim_end_matches('.'))
    });
    for (labels, _, counts) in &rows {
        let mut count = 0;
        for (bucket, le) in counts.rtt_buckets.iter().zip(&bounds) {
            count += bucket;
            put(&mut out, "rtt_seconds_bucket", labels, le, count);
        }
        put(&mut out, "rtt_seconds_bucket", labels, ",le=\"+Inf\"", counts.answered);
        put(&mut out, "rtt_seconds_sum", labels, "", Seconds(counts.rtt_sum));
        put(&mut out, "rtt_seconds_count", labels, "", counts.answered);
    }
    let help = "Outages, the one that goes on among them.";
    each(&mut out, &rows, "outages_total", "counter", help, |_, counts| Some(counts.outages));
    // Up to the last slot, not up to now: an outage is over when its answer came, which may be a moment before we are told,
    // and a counter that goes back counts as a restart.
    let help = "How long the target was down, of the time in monitored_seconds_total.";
    each(&mut out, &rows, "outage_seconds_total", "counter", help, |_, counts| {
        Some(Seconds(counts.down_until(counts.ticked)))
    });
    let help =
        "How long the outage that goes on has lasted, also before a restart. Left out while the target is not down.";
    each(&mut out, &rows, "outage_duration_seconds", "gauge", help, |_, counts| {
        counts.outage.map(|outage| Seconds(now.saturating_sub(outage.since)))
    });
    let help = "How long the target has been watched, up to its latest check.";
    each(&mut out, &rows, "monitored_seconds_total", "counter", help, |_, counts| {
        Some(Seconds(counts.ticked.saturating_sub(counts.begun)))
    });
    let help = "Checks that were left out because this machine slept through them.";
    each(&mut out, &rows, "gaps_total", "counter", help, |_, counts| Some(counts.gaps));
    let help = "Datagrams that came to the target's socket and answered no check: late, forged or for others.";
    each(&mut out, &rows, "strays_total", "counter", help, |_, counts| Some(counts.strays));
    out
}

/// What a family of metrics begins with.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // To a String: cannot fail.
    let _ = write!(out, "# HELP reachability_{name} {help}\n# TYPE reachability_{name} {kind}\n");
}

/// A family of at most one value a target.
fn each<V: Display>(
    out: &mut String,
    rows: &[Row<'_>],
    name: &str,
    kind: &str,
    help: &str,
    value: impl Fn(&Target, &Counts) -> Option<V>,
) {
    head(out, name, kind, help);
    for (labels, target, counts) in rows {
        if let Some(value) = value(target, counts) {
            put(out, name, labels, "", value);
        }
    }
}

/// One line; `more` goes on where `labels` end.
fn put(out: &mut String, name: &str, labels: &str, more: &str, value: impl Display) {
    out.push_str("reachability_");
    out.push_str(name);
    if !labels.is_empty() {
        out.extend(["{", labels, more, "}"]);
    }
    let _ = writeln!(out, " {value}");
}

fn labels(target: &Target) -> String {
    let mut labels = String::with_capacity(64);
    for (name, value) in [("target=\"", target.place()), ("\",label=\"", &target.name)] {
        labels.push_str(name);
        for char in value.chars() {
            match char {
                '\\' => labels.push_str("\\\\"),
                '"' => labels.push_str("\\\""),
                '\n' => labels.push_str("\\n"),
                plain => labels.push(plain),
            }
        }
    }
    let _ = write!(labels, "\",check=\"{}\"", target.check);
    labels
}

/// In seconds, cut to microseconds: exact, where a float would grow digits.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Failure, Loss, What};
    use crate::flags;
    use crate::judge::Ongoing;

    fn target(word: &str, options: &[&str]) -> Arc<Target> {
        let options = flags::parse(options.iter().map(Into::into)).unwrap().target;
        Arc::new(Target::parse(word, &options).unwrap())
    }

    /// The lines of a family, without those that begin with `#`.
    fn lines<'a>(file: &'a str, name: &str) -> Vec<&'a str> {
        let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        file.lines().filter(of).collect()
    }

    #[test]
    fn a_whole_file() {
        let secs = Duration::from_secs;
        let mut buckets = [0; RTT_BOUNDS.len()];
        (buckets[0], buckets[1]) = (1, 2);
        let failure = Failure { reason: What::Refused.into(), sent: true };
        let counts = Counts {
            begun: secs(100),
            ticked: secs(160),
            answered: 4,
            unanswered: 5,
            unsent: 6,
            gaps: 7,
            strays: 8,
            rtt_last: Some(secs(3)),
            rtt_max: secs(3),
            rtt_sum: Duration::from_nanos(3_002_400_999),
            rtt_buckets: buckets,
            loss: Loss { lost: 1, of: 20 },
            outage: Some(Ongoing { since: secs(90), failed: 9, failure }),
            outages: 2,
            down: secs(1),
            ..Counts::default()
        };
        let file = render(&[(target("db=h:5432", &[]), counts)], 3, secs(161));
        let values: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
        let version = format!("reachability_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        let of_db = |name: &str, more: &str, value: &str| {
            format!("reachability_{name}{{target=\"h:5432\",label=\"db\",check=\"tcp\"{more}}} {value}")
        };
        let bounds =
            ["0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "+Inf"];
        let counted = [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4];
        let mut expected = vec![version, "reachability_notifications_waiting 3".to_owned(), of_db("up", "", "0")];
        expected.push(of_db("checks_total", ",result=\"answered\"", "4"));
        expected.push(of_db("checks_total", ",result=\"unanswered\"", "5"));
        expected.push(of_db("checks_total", ",result=\"unsent\"", "6"));
        expected.push(of_db("loss_ratio", "", "0.05"));
        for (bound, count) in bounds.iter().zip(counted) {
            expected.push(of_db("rtt_seconds_bucket", &format!(",le=\"{bound}\""), &count.to_string()));
        }
        expected.push(of_db("rtt_seconds_sum", "", "3.002400"));
        expected.push(of_db("rtt_seconds_count", "", "4"));
        expected.push(of_db("outages_total", "", "2"));
        // The outage began before the watching.
        expected.push(of_db("outage_seconds_total", "", "61.000000"));
        expected.push(of_db("outage_duration_seconds", "", "71.000000"));
        expected.push(of_db("monitored_seconds_total", "", "60.000000"));
        expected.push(of_db("gaps_total", "", "7"));
        expected.push(of_db("strays_total", "", "8"));
        assert_eq!(values, expected);
        assert!(file.ends_with('\n'));
        assert!(values.len() <= LINES + 2, "{} lines", values.len());
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let icmp = target("gw", &[]);
        let left_out = |target: &Arc<Target>, counts| {
            let file = render(&[(Arc::clone(target), counts)], 0, Duration::ZERO);
            let names = ["up", "loss_ratio", "outage_duration_seconds"];
            names.map(|name| lines(&file, &format!("reachability_{name}")).is_empty())
        };
        assert_eq!(left_out(&icmp, Counts::default()), [true, true, true]);
        let lost = Counts { unanswered: 1, loss: Loss { lost: 1, of: 1 }, ..Counts::default() };
        assert_eq!(left_out(&icmp, lost), [true, false, true], "not yet known to be up");
        let answered = Counts { answered: 1, loss: Loss { lost: 0, of: 1 }, ..Counts::default() };
        assert_eq!(left_out(&icmp, answered), [false, false, true]);
        assert_eq!(left_out(&target("gw", &["-ct", "0"]), answered), [true, false, true], "never said to be down");
    }

    #[test]
    fn families_stand_together_and_labels_are_escaped() {
        let odd = r#"a"b\cé="#;
        let targets = [target(&format!("{odd}192.0.2.1"), &[]), target("[2001:db8::1]:22", &[])];
        let rows: Vec<_> = targets.into_iter().map(|target| (target, Counts::default())).collect();
        let file = render(&rows, 0, Duration::ZERO);
        let escaped = r#"{target="192.0.2.1",label="a\"b\\cé",check="icmp"}"#;
        assert_eq!(
            lines(&file, "reachability_gaps_total"),
            [
                format!("reachability_gaps_total{escaped} 0"),
                r#"reachability_gaps_total{target="[2001:db8::1]:22",label="[2001:db8::1]:22",check="tcp"} 0"#
                    .to_owned(),
            ]
        );
        let mut family = "";
        for line in file.lines() {
            match line.strip_prefix("# HELP ") {
                Some(rest) => family = rest.split(' ').next().unwrap(),
                None if line.starts_with("# TYPE ") => assert_eq!(line.split(' ').nth(2), Some(family)),
                None => assert!(line.starts_with(family), "{line} is not of {family}"),
            }
        }
    }
}
