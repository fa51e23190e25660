//! `--exec`: a command for each notification.

use std::io;
use std::time::Duration;

use crate::view::Screen;
use crate::writer::Listener;

/// The thread that runs the command.
pub struct Exec;

impl Exec {
    /// Starts the thread. Errors: none could be made; the caller exits with 2.
    pub fn start(_command: String, _screen: Screen) -> io::Result<Exec> {
        Ok(Exec)
    }

    /// To be told of the notifications.
    pub fn listener(&self) -> Listener {
        Box::new(|_| ())
    }

    /// Waits until all that was told is done, for `limit` at most.
    pub fn finish(self, _limit: Duration) {}
}
