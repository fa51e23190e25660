//! What must outlive the process: the number of the last notification, what is known of each target, and what Slack has
//! not had. One file of JSON lines, locked, mode 0600: each change is appended and synced; now and then the file is
//! written anew (new file, sync, rename, sync of the directory), so it is whole or not there at all.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::event::{Item, Loss};
use crate::outbox::{BOUND, Outbox};
use crate::seal::{item_from, item_value, millis, sealed, time, unsealed};
use crate::sys;
use crate::target::shown_path;

/// The file is written anew when it has grown to so many bytes more than what it needs.
const SLACK_SPACE: u64 = 256 * 1024;

/// A write that failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(5);

/// What is known of a target from before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// While down: the outage.
    pub down: Option<Down>,
    /// The packet loss last told.
    pub told: Loss,
}

/// An outage that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// When its first check failed.
    pub since: SystemTime,
    /// When it was last told, by a DOWN or REMIND.
    pub reminded: SystemTime,
    /// Failed checks so far.
    pub failed: u64,
}

/// All that the state holds.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The number of the last notification; 0 before the first.
    pub number: u64,
    /// By the target's name.
    pub targets: BTreeMap<String, Known>,
    /// Notifications up to this number are in the log.
    logged: u64,
    /// Notifications that are not, as far as is known.
    unlogged: Numbered,
}

/// Notifications by their numbers, the lowest first; [`BOUND`] at most.
#[derive(Clone, Debug, Default)]
struct Numbered(VecDeque<Item>);

impl Numbered {
    /// Adds one; how many had to go for it.
    fn insert(&mut self, item: Item) -> u64 {
        // Nearly always it is the last.
        let at = self.0.iter().rposition(|one| one.number <= item.number).map_or(0, |last| last + 1);
        match at.checked_sub(1).filter(|last| self.0[*last].number == item.number) {
            Some(same) => self.0[same] = item,
            None => self.0.insert(at, item),
        }
        let surplus = self.0.len().saturating_sub(BOUND);
        self.0.drain(..surplus);
        surplus as u64
    }
}

/// What a state file held.
#[derive(Clone, Debug, Default)]
struct Found {
    memory: Memory,
    /// What Slack has not had, by number.
    waiting: Numbered,
    /// See [`Outbox::dropped`].
    dropped: u64,
}

/// One change of the state: one line of the file.
#[derive(Clone, Debug)]
pub enum Record {
    /// A notification was made.
    Made {
        /// The notification.
        item: Item,
        /// Does it wait for Slack?
        waits: bool,
        /// What it makes known of its target.
        known: Option<Known>,
    },
    /// Slack has these.
    Sent {
        /// Their numbers.
        numbers: Vec<RangeInclusive<u64>>,
        /// [`Outbox::dropped`] from now on.
        dropped: u64,
    },
    /// More is known of a target, without a notification (an outage at the end of the program).
    Known {
        /// The target's name.
        target: String,
        /// What is known.
        known: Known,
    },
}

impl Memory {
    /// A memory of nothing but the last number.
    pub fn of_number(number: u64) -> Memory {
        Memory { number, ..Memory::default() }
    }

    /// Takes a change of what is known.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Made { item, known, .. } => {
                self.number = self.number.max(item.number);
                self.unlogged.insert(item.clone());
                if let (Some(target), Some(known)) = (&item.target, known) {
                    self.targets.insert(target.clone(), known.clone());
                }
            }
            Record::Known { target, known } => {
                self.targets.insert(target.clone(), known.clone());
            }
            Record::Sent { .. } => {}
        }
    }

    /// The log has all notifications so far, or there is none.
    pub fn all_logged(&mut self) {
        self.log_has(self.number);
    }

    fn log_has(&mut self, number: u64) {
        self.logged = self.logged.max(number);
        self.unlogged.0.retain(|item| item.number > self.logged);
    }

    /// The log's last number is this: what is missing there, oldest first. Numbers go on from it at least.
    pub fn missing_in_log(&mut self, last: u64) -> impl Iterator<Item = &Item> {
        self.log_has(last);
        self.number = self.number.max(last);
        self.unlogged.0.iter()
    }

    /// The whole state as the lines of a new file.
    fn lines(&self, outbox: &Outbox) -> String {
        let dropped = outbox.dropped();
        let head = json!({ "reachabilitycheck": 1, "number": self.number, "logged": self.logged, "dropped": dropped });
        let mut lines = sealed(&head);
        for (target, known) in &self.targets {
            let record = Record::Known { target: target.clone(), known: known.clone() };
            lines.push_str(&line(&record, self.logged));
        }
        let waiting = outbox.waiting().map(|item| (item, true));
        let mut items: Vec<(&Item, bool)> = waiting.chain(self.unlogged.0.iter().map(|item| (item, false))).collect();
        // What is both waits: the sort is stable.
        items.sort_by_key(|(item, _)| item.number);
        items.dedup_by_key(|(item, _)| item.number);
        for (item, waits) in items {
            lines.push_str(&line(&Record::Made { item: item.clone(), waits, known: None }, self.logged));
        }
        lines
    }
}

impl Found {
    fn apply(&mut self, record: Record) {
        self.memory.apply(&record);
        match record {
            Record::Made { item, waits, .. } => {
                if waits {
                    self.dropped += self.waiting.insert(item);
                }
            }
            Record::Sent { numbers, dropped } => {
                for range in numbers {
                    self.waiting.0.retain(|item| !range.contains(&item.number));
                }
                self.dropped = dropped;
            }
            Record::Known { .. } => {}
        }
    }

    /// Reads lines; false if one of them was not whole or not understood. What is whole is kept.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let mut whole = bytes.is_empty() || bytes.ends_with(b"\n");
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            whole &= unsealed(line).is_some_and(|value| self.take(&value).is_some());
        }
        whole
    }

    fn take(&mut self, value: &Value) -> Option<()> {
        if let Some(version) = value.get("reachabilitycheck") {
            self.memory.number = self.memory.number.max(value.get("number")?.as_u64()?);
            self.dropped = value.get("dropped")?.as_u64()?;
            self.memory.log_has(value.get("logged")?.as_u64()?);
            return (version.as_u64()? == 1).then_some(());
        }
        self.apply(record(value)?);
        if let Some(logged) = value.get("logged").and_then(Value::as_u64) {
            self.memory.log_has(logged);
        }
        Some(())
    }
}

/// A change as a line of the file; `logged`: see [`Memory`].
fn line(record: &Record, logged: u64) -> String {
    let value = match record {
        Record::Made { item, waits, known } => {
            let mut value = item_value(item);
            value["waits"] = (*waits).into();
            value["known"] = known.as_ref().map(known_value).into();
            value["logged"] = logged.into();
            value
        }
        Record::Sent { numbers, dropped } => {
            let ranges: Vec<[u64; 2]> = numbers.iter().map(|range| [*range.start(), *range.end()]).collect();
            json!({ "sent": ranges, "dropped": dropped })
        }
        Record::Known { target, known } => json!({ "target": target, "known": known_value(known) }),
    };
    sealed(&value)
}

fn record(value: &Value) -> Option<Record> {
    if value.get("made").is_some() {
        let item = item_from(value)?;
        let known = match value.get("known")? {
            Value::Null => None,
            known => Some(known_from(known)?),
        };
        return Some(Record::Made { item, waits: value.get("waits")?.as_bool()?, known });
    }
    if let Some(sent) = value.get("sent") {
        let range = |pair: &Value| Some(pair.get(0)?.as_u64()?..=pair.get(1)?.as_u64()?);
        let numbers = sent.as_array()?.iter().map(range).collect::<Option<_>>()?;
        return Some(Record::Sent { numbers, dropped: value.get("dropped")?.as_u64()? });
    }
    let target = value.get("target")?.as_str()?.to_owned();
    Some(Record::Known { target, known: known_from(value.get("known")?)? })
}

fn known_value(known: &Known) -> Value {
    let down = known
        .down
        .map(|down| json!({ "since": millis(down.since), "reminded": millis(down.reminded), "failed": down.failed }));
    json!({ "down": down, "told": [known.told.lost, known.told.of] })
}

fn known_from(value: &Value) -> Option<Known> {
    let share = |at| u32::try_from(value.get("told")?.get(at)?.as_u64()?).ok();
    Some(Known {
        down: match value.get("down")? {
            Value::Null => None,
            down => Some(Down {
                since: time(down.get("since")?)?,
                reminded: time(down.get("reminded")?)?,
                failed: down.get("failed")?.as_u64()?,
            }),
        },
        told: Loss { lost: share(0)?, of: share(1)? },
    })
}

/// The state file, open and locked.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// What a file without history would need, at the last count.
    needed: u64,
    /// A write failed: the file must be written anew.
    behind: bool,
    retry_at: Option<Duration>,
}

/// What opening the state found.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: StateFile,
    /// What it held of numbers and targets.
    pub memory: Memory,
    /// What it held for Slack.
    pub outbox: Outbox,
    /// A damaged file was moved here.
    pub damaged: Option<PathBuf>,
}

impl StateFile {
    /// Opens, locks and reads the state, or makes it. Errors: one line for the user (exit 2): a symbolic link, another
    /// instance, no right.
    pub fn open(path: &Path) -> Result<Opened, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("--state: {} {why}", shown_path(path));
        let mut file = lock(path).map_err(|why| wrong(&why))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| wrong(&format_args!("cannot be read: {error}")))?;
        let mut found = Found::default();
        let whole = found.read(&bytes);
        let Found { memory, waiting, dropped } = found;
        let outbox = Outbox::restore(waiting.0.into(), dropped);
        let mut damaged = None;
        if !whole {
            let aside = sibling(path, ".damaged");
            fs::rename(path, &aside)
                .map_err(|error| wrong(&format_args!("is damaged, and cannot be moved aside: {error}")))?;
            damaged = Some(aside);
        }
        let mut state = StateFile {
            path: path.to_owned(),
            file,
            length: bytes.len() as u64,
            needed: bytes.len() as u64,
            behind: false,
            retry_at: None,
        };
        match state.rewrite(&memory, &outbox) {
            Ok(()) => {}
            // A box that boots with a full disk must be watched all the same; the first write says so, and tries again.
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                state.behind = true;
            }
            Err(error) => return Err(wrong(&format_args!("cannot be written: {error}"))),
        }
        Ok(Opened { file: state, memory, outbox, damaged })
    }

    /// Brings changes, already in `memory` and `outbox`, to disk. Errors: of write or sync; nothing of it is in the file then, and
    /// all of it is tried again at [`StateFile::next_at`]. The caller says so once.
    pub fn write(&mut self, records: &[Record], memory: &Memory, outbox: &Outbox, now: Duration) -> io::Result<()> {
        if records.is_empty() && !self.behind {
            return Ok(());
        }
        let result = if self.behind || self.length > self.needed + SLACK_SPACE {
            self.rewrite(memory, outbox)
        } else {
            self.append(&records.iter().map(|record| line(record, memory.logged)).collect::<String>())
        };
        self.behind = result.is_err();
        self.retry_at = self.behind.then_some(now + RETRY);
        result
    }

    /// When to try again; None while all is written.
    pub fn next_at(&self) -> Option<Duration> {
        self.retry_at
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += lines.len() as u64,
            Err(_) => {
                // Disk full half-way through: take the part back. If that fails, the next start finds a damaged line.
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
            }
        }
        written
    }

    /// Writes the whole memory into a new file that takes the old one's place, locked before it is there.
    fn rewrite(&mut self, memory: &Memory, outbox: &Outbox) -> io::Result<()> {
        let new = sibling(&self.path, ".new");
        let lines = memory.lines(outbox);
        let result = (|| {
            // A left-over of a run that was killed may be in the way; a link there is removed, not followed.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = options().create_new(true).open(&new)?;
            sys::lock_file(file.as_fd())?;
            file.write_all(lines.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        })();
        match result {
            Ok(file) => {
                self.file = file;
                self.length = lines.len() as u64;
                self.needed = self.length;
                sync_directory(&self.path);
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&new);
                Err(error)
            }
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

/// Opens and locks the file at the path. Errors: what is wrong with it, for the user.
fn lock(path: &Path) -> Result<File, String> {
    // Another instance may put a new file in the place of the one that was opened, just before it is locked.
    for _ in 0..100 {
        let file = match options().create(true).truncate(false).open(path) {
            Ok(file) => file,
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err("is a symbolic link; name the file itself".to_owned());
            }
            Err(error) => return Err(format!("cannot be opened: {error}; name another file, or use --no-state")),
        };
        let about = |error: io::Error| format!("cannot be used: {error}");
        if !file.metadata().map_err(about)?.is_file() {
            return Err("is not a file".to_owned());
        }
        if let Err(error) = sys::lock_file(file.as_fd()) {
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock => {
                    "is in use by another instance; stop that one, or name another file".to_owned()
                }
                _ => format!("cannot be locked: {error}"),
            });
        }
        let (ours, there) = (file.metadata().map_err(about)?, fs::symlink_metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            file.set_permissions(Permissions::from_mode(0o600)).map_err(about)?;
            return Ok(file);
        }
    }
    Err("is replaced again and again".to_owned())
}

/// The path with something behind it.
pub(crate) fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// The rename itself must reach the disk. Where a directory cannot be synced there is nothing more to do.
pub(crate) fn sync_directory(path: &Path) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
}
