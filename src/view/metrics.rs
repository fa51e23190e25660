//! `--metrics`: a Prometheus textfile, in the text exposition format. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::stats::Counts;
use crate::target::Target;

/// The whole file: the targets with their counts, how many notifications wait for Slack, and the monotonic time now.
pub fn render(_targets: &[(Arc<Target>, Counts)], _waiting: usize, _now: Duration) -> String {
    String::new()
}
