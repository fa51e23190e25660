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
    let nanos = time.as_nanos();
    let (scale, places) = match nanos {
        0..1_000_000 => (1000, 3),
        1_000_000..10_000_000 => (100, 2),
        10_000_000..100_000_000 => (10, 1),
        _ => return format!("{}", (nanos + 500_000) / 1_000_000),
    };
    let rounded = (nanos * scale + 500_000) / 1_000_000;
    format!("{}.{:0places$}", rounded / scale, rounded % scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_have_the_digits_that_matter() {
        let cases = [(0, "0.000"), (499, "0.000"), (12_345, "0.012"), (999_999, "1.000"), (1_000_000, "1.00")];
        let more = [(9_996_000, "10.00"), (12_340_000, "12.3"), (99_990_000, "100.0"), (123_500_000, "124")];
        for (nanos, text) in cases.into_iter().chain(more).chain([(3_600_000_000_000, "3600000")]) {
            assert_eq!(bare_ms(Duration::from_nanos(nanos)), text, "{nanos} ns");
        }
    }
}
