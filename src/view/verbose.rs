//! `--verbose`: each check on a line, as ping shows it. Pure.

use std::time::Duration;

use crate::event::{Check, Outcome};
use crate::target::{self, Target};

/// The line for one check.
pub fn line(target: &Target, check: &Check) -> String {
    let name = &target.name;
    match target.check {
        target::Check::Icmp => match check.outcome {
            Outcome::Answered(rtt) => format!("{name}: seq={} time={}", check.number, ms(rtt)),
            _ => format!("{name}: seq={} {}", check.number, failure(check)),
        },
        target::Check::Tcp { .. } => {
            let took = ms(check.ended.saturating_sub(check.sent));
            match check.outcome {
                Outcome::Answered(rtt) => format!("{name}: connected ({})", ms(rtt)),
                Outcome::Unanswered(reason) => format!("{name}: {reason} ({took})"),
                Outcome::Unsent(_) => format!("{name}: {}", failure(check)),
            }
        }
    }
}

fn failure(check: &Check) -> String {
    check.outcome.failure().map_or_else(String::new, |failure| failure.to_string())
}

/// Milliseconds as ping writes them: about three digits that matter.
pub fn ms(time: Duration) -> String {
    format!("{} ms", bare_ms(time))
}

/// [`ms`] without the unit.
pub fn bare_ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}
