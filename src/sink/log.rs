//! The notification log: one line a notification, appended and synced a batch at a time.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// While the log cannot be written, at most so many bytes of lines wait for it.
const WAITING: usize = 1 << 20;

/// So much of the file's end is looked at for the last number.
const TAIL: u64 = 64 * 1024;

/// After a failed write the next try comes with the next line, or after this time.
const RETRY: Duration = Duration::from_secs(5);

/// The log file. It is opened for each batch, so a rename by logrotate needs no signal and loses no line.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Whole lines that are not on disk yet.
    waiting: String,
    /// Lines given up because too many waited.
    given_up: u64,
    retry_at: Option<Duration>,
}

impl LogFile {
    /// Opens (and makes) the file once, to see that it can be. Errors: as open(2); the caller exits with 2.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        open(path)?;
        Ok(LogFile { path: path.to_owned(), waiting: String::new(), given_up: 0, retry_at: None })
    }

    /// Adds lines, each with its newline; [`LogFile::write`] puts them on disk.
    pub fn add(&mut self, lines: &str) {
        if self.waiting.len() + lines.len() > WAITING {
            self.given_up += lines.lines().count() as u64;
        } else {
            self.waiting.push_str(lines);
        }
    }

    /// Writes and syncs what waits. Errors: of open, write or sync; the lines stay, and are tried again at
    /// [`LogFile::next_at`]. The caller says so once.
    pub fn write(&mut self, now: Duration) -> io::Result<()> {
        if self.waiting.is_empty() && self.given_up == 0 {
            return Ok(());
        }
        self.retry_at = Some(now + RETRY);
        if self.given_up > 0 {
            let lines = self.given_up;
            append(
                &self.path,
                &format!("{}# {lines} lines are missing here: the log could not be written\n", self.waiting),
            )?;
        } else {
            append(&self.path, &self.waiting)?;
        }
        self.waiting.clear();
        self.given_up = 0;
        self.retry_at = None;
        Ok(())
    }

    /// The number of the last notification in the file, if one stands near its end: `#17` is the second word of a line.
    pub fn last_number(&self) -> Option<u64> {
        let mut file = open(&self.path).ok()?;
        // A pipe has no end to look at.
        let length = file.metadata().ok().filter(Metadata::is_file)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
        let mut tail = Vec::new();
        file.take(TAIL).read_to_end(&mut tail).ok()?;
        let text = String::from_utf8_lossy(&tail);
        let number = |line: &str| line.split(' ').nth(1)?.strip_prefix('#')?.parse().ok();
        text.lines().rev().find_map(number)
    }

    /// When to try again; None while all is written.
    pub fn next_at(&self) -> Option<Duration> {
        self.retry_at
    }
}

/// Opened for reading too, where that is allowed, to see whether the last line is whole.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    options.clone().read(true).open(path).or_else(|_| options.open(path))
}

/// Appends whole lines: all of them, or (after an error) none, as far as the file lets us take back a part.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = open(path)?;
    let before = file.metadata()?;
    let mut text = lines.as_bytes();
    let whole;
    if before.is_file() && !ends_with_newline(&mut file, before.len()) {
        whole = format!("\n{lines}");
        text = whole.as_bytes();
    }
    match file.write_all(text) {
        Ok(()) => match file.sync_data() {
            // A pipe or a terminal cannot be synced, and need not be.
            Err(_) if !before.is_file() => Ok(()),
            synced => synced,
        },
        Err(error) => {
            if before.is_file() {
                // Disk full half-way through: take the part back. If that fails too, the next batch begins with a
                // newline, and the reader sees a cut line and its whole repeat.
                let _ = file.set_len(before.len());
            }
            Err(error)
        }
    }
}

/// True for an empty file, and for one that cannot be read.
fn ends_with_newline(file: &mut File, length: u64) -> bool {
    let mut last = [b'\n'];
    if length > 0 && file.seek(SeekFrom::End(-1)).is_ok() {
        let _ = file.read_exact(&mut last);
    }
    last == [b'\n']
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("reach-log-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_cut_line_is_never_merged_with_the_next() {
        let path = scratch("cut");
        fs::write(&path, "whole\ncut in the mid").unwrap();
        let mut log = LogFile::open(&path).unwrap();
        log.add("next\n");
        log.write(Duration::ZERO).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ncut in the mid\nnext\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_rename_between_batches_loses_nothing() {
        let (path, old) = (scratch("new"), scratch("old"));
        let mut log = LogFile::open(&path).unwrap();
        log.add("one\n");
        log.write(Duration::ZERO).unwrap();
        fs::rename(&path, &old).unwrap();
        log.add("two\n");
        log.write(Duration::ZERO).unwrap();
        let texts = [&old, &path].map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["one\n", "two\n"]);
        fs::remove_file(&path).unwrap();
        fs::remove_file(&old).unwrap();
    }

    #[test]
    fn lines_wait_while_the_log_cannot_be_written() {
        let path = scratch("dir");
        let mut log = LogFile::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        log.add("one\n");
        assert!(log.write(Duration::ZERO).is_err());
        assert_eq!(log.next_at(), Some(RETRY));
        fs::remove_dir(&path).unwrap();
        log.add("two\n");
        log.write(Duration::ZERO).unwrap();
        assert_eq!(log.next_at(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        fs::remove_file(&path).unwrap();
    }
}
