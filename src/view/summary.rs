//! The summary at the end, a line a target as fping prints it, and the exit status that follows from it. Pure.

use std::sync::Arc;

use super::verbose::bare_ms;
use crate::event::Loss;
use crate::stats::Counts;
use crate::target::Target;

/// `gw : xmt/rcv/%loss = 300/284/5%, min/avg/max = 1.2/3.4/20.1 ms`, and behind it what is not loss: unsent checks,
/// gaps, strays, where there are any.
pub fn lines(targets: &[(Arc<Target>, Counts)]) -> String {
    let width = targets.iter().map(|(target, _)| target.name.chars().count()).max().unwrap_or(0);
    targets.iter().map(|(target, counts)| line(&target.name, width, counts)).collect()
}

fn line(name: &str, width: usize, counts: &Counts) -> String {
    let sent = counts.sent();
    let percent = (counts.unanswered * 100).checked_div(sent).unwrap_or(0);
    let mut line = format!("{name:width$} : xmt/rcv/%loss = {sent}/{}/{percent}%", counts.answered);
    if let Some(average) = counts.rtt_mean() {
        line.push_str(&format!(
            ", min/avg/max = {}/{}/{} ms",
            bare_ms(counts.rtt_min),
            bare_ms(average),
            bare_ms(counts.rtt_max)
        ));
    }
    for (count, what) in [(counts.unsent, "unsent"), (counts.gaps, "gaps"), (counts.strays, "strays")] {
        if count > 0 {
            line.push_str(&format!(", {what} {count}"));
        }
    }
    line.push('\n');
    line
}

/// Is the target well: up, answered at least once, and with a loss of at most its `change`?
pub fn is_well(target: &Target, counts: &Counts) -> bool {
    let lost_too_much = counts.loss.differs_by_more(Loss::default(), target.options.change.hundredths());
    counts.outage.is_none() && counts.answered > 0 && !lost_too_much
}
