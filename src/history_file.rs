//! The file of the [`History`]: lines, beside the state and under its lock. A slice is appended when it is over, every 5
//! minutes for all targets, and not synced: what a power cut takes is unknown. When more than half of the file is old it
//! is written anew (new file, sync, rename). While it cannot be written, monitoring goes on.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::history::{FINE, History, Wrong};
use crate::state::{sibling, sync_directory};
use crate::target::shown_path;

/// The file is written anew when it is larger than twice what it needs, and this.
const ROOM: u64 = 64 * 1024;

/// The history file.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    /// None: it must be written anew.
    file: Option<File>,
    length: u64,
    /// What the history needed when that was last counted.
    needed: u64,
    /// Slices up to the one of this number are saved.
    through: u32,
}

impl HistoryFile {
    /// Opens and reads the file into `history`, if there is one. `Some` behind it: a damaged file was moved there. Errors: one
    /// line for the user (exit 2): a symbolic link, no right.
    pub fn open(path: &Path, history: &mut History) -> Result<(HistoryFile, Option<PathBuf>), String> {
        let wrong = |why: &dyn std::fmt::Display| format!("--page: its history {} {why}", shown_path(path));
        let mut opened = HistoryFile { path: path.to_owned(), file: None, length: 0, needed: 0, through: 0 };
        let mut file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((opened, None)),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(wrong(&"is a symbolic link; remove it"));
            }
            Err(error) => return Err(wrong(&format_args!("cannot be opened: {error}"))),
        };
        if !file.metadata().is_ok_and(|about| about.is_file()) {
            return Err(wrong(&"is not a file"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
        let found = if bytes.is_empty() { Wrong::Torn(0) } else { history.read(&bytes) };
        match found {
            Wrong::Damaged => {
                let aside = sibling(path, ".damaged");
                fs::rename(path, &aside)
                    .map_err(|error| wrong(&format_args!("is damaged, and cannot be moved aside: {error}")))?;
                return Ok((opened, Some(aside)));
            }
            // As every power cut may leave it.
            Wrong::Torn(whole) => {
                opened.length = whole as u64;
                let cut = file.set_len(opened.length).and_then(|()| file.seek(SeekFrom::Start(opened.length)));
                opened.file = cut.ok().filter(|_| whole > 0).map(|_| file);
            }
            Wrong::Nothing => {
                opened.length = bytes.len() as u64;
                opened.file = Some(file);
            }
        }
        Ok((opened, None))
    }

    /// Writes what is due at this time, by both clocks: the slices that are over; at the `end` of the program also the one that is not. Errors:
    /// of the file system; it is tried again with the next call, and the caller says so once.
    pub fn save(&mut self, history: &mut History, (now, unix): (Duration, u64), end: bool) -> io::Result<()> {
        let through = u32::try_from(unix / u64::from(FINE)).unwrap_or(u32::MAX).saturating_sub(1);
        // Not `<`: the clock may have been set back.
        if through == self.through && !end {
            return Ok(());
        }
        history.tidy(now, unix);
        let news = history.news(if end { u32::MAX } else { through });
        if self.file.is_none() || self.length + news.len() as u64 > 2 * self.needed + ROOM {
            let lines = history.lines();
            self.needed = lines.len() as u64;
            if self.file.is_none() || self.length + news.len() as u64 > 2 * self.needed + ROOM {
                self.rewrite(&lines)?;
                history.saved(u32::MAX);
                self.through = through;
                return Ok(());
            }
        }
        self.append(&news)?;
        history.saved(if end { u32::MAX } else { through });
        self.through = through;
        Ok(())
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        match file.write_all(lines.as_bytes()) {
            Ok(()) => self.length += lines.len() as u64,
            Err(error) => {
                // Disk full half-way through: take the part back, or leave the file for a new one.
                let back = file.set_len(self.length).and_then(|()| file.seek(SeekFrom::Start(self.length)));
                if back.is_err() {
                    self.file = None;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, lines: &str) -> io::Result<()> {
        let new = sibling(&self.path, ".new");
        let result = (|| {
            // A left-over of a run that was killed may be in the way; a link there is removed, not followed.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options().create_new(true).open(&new)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        })();
        let file = result.inspect_err(|_| drop(fs::remove_file(&new)))?;
        self.file = Some(file);
        self.length = lines.len() as u64;
        sync_directory(&self.path);
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}
