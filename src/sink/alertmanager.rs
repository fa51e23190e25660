//! `--alertmanager`: what is wrong now, for Alertmanager's API v2.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::http::Http;
use crate::clock::Clock;
use crate::stats::Board;
use crate::view::Screen;
use crate::writer::Listener;

/// The threads that keep each member of the cluster told.
pub struct Alertmanager;

impl Alertmanager {
    /// Starts a thread for each member; `monitor` is what this monitor calls itself. Errors: none could be made; the caller
    /// exits with 2.
    pub fn start(
        _members: Vec<Http>,
        _monitor: String,
        _board: Arc<Board>,
        _clock: Clock,
        _screen: Screen,
    ) -> io::Result<Alertmanager> {
        Ok(Alertmanager)
    }

    /// To be told that something changed.
    pub fn listener(&self) -> Listener {
        Box::new(|_| ())
    }

    /// The program ends: a last word to each member, for `limit` at most.
    pub fn finish(self, _limit: Duration) {}
}
