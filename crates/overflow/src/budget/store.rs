//! The budget's file: SQLite with a row for each open reservation and one for each day.
//!
//! Invariants: what [`Store::write`] has written is on the disk when it returns; one process at a
//! time has the file; what is not whole is refused, never taken for a new one, because a ledger
//! that has forgotten would let the money be spent again. Absent: decisions ([`causeway_policy::Budget`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_policy::{Day, DayBook, ReservationId, Usd};
use rusqlite::{Connection, ErrorCode, MAIN_DB, OpenFlags, Row, params};

/// How long a start waits for the file's lock: a predecessor that is being killed is gone by then.
const BUSY: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(2) };

/// Bytes of a page.
const PAGE: u64 = 4_096;

/// Largest file, pages: 4 MiB, a hundred times what the rows below need.
const MAX_PAGES: u32 = 1_024;

/// Pages kept in memory, KiB: the whole file as it usually is.
const CACHE_KIB: u32 = 64;

/// The log is moved into the file when it has this many pages: 1 MiB.
const LOG_PAGES: u32 = 256;

/// Days that are remembered, count: a year and a month, about 20 bytes each.
const DAYS: u64 = 400;

/// The schema's version, SQLite's `user_version`. A file without one is none of ours, or cut to nothing.
const VERSION: i64 = 1;

/// Numbers are at least 0 by the checks, so that a damaged page gives nobody money.
const SCHEMA: &str = "
    PRAGMA page_size = 4096;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    CREATE TABLE days (
        day INTEGER PRIMARY KEY CHECK (day >= 0), spent INTEGER NOT NULL CHECK (spent >= 0),
        calls INTEGER NOT NULL CHECK (calls >= 0), overruns INTEGER NOT NULL CHECK (overruns >= 0)
    ) STRICT;
    CREATE TABLE open (
        id INTEGER PRIMARY KEY CHECK (id >= 0), amount INTEGER NOT NULL CHECK (amount >= 0)
    ) STRICT;
    INSERT INTO days VALUES (0, 0, 0, 0);
    PRAGMA user_version = 1;";

/// Why the budget cannot be kept; each says what to do. Nothing overflows until it is done.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// Its disk has no room.
    #[error("the budget file {} cannot be written: its disk is full; make room, then overflow goes on by itself", .0.display())]
    Full(PathBuf),
    /// What stands there is not ours.
    #[error("the budget file {} is damaged ({detail}); restore it, or move it away, which forgets what was spent today", .path.display())]
    #[expect(missing_docs, reason = "the message says it")]
    Damaged { path: PathBuf, detail: String },
    /// Of a later version.
    #[error("the budget file {} was made by a newer version of this program; run that one, or move the file away, which forgets what was spent today", .0.display())]
    Newer(PathBuf),
    /// No right to it.
    #[error("the budget file {} cannot be read and written; let the user that runs this write it and in its directory, on a disk that is not read-only", .0.display())]
    Denied(PathBuf),
    /// Somebody else has it.
    #[error("the budget file {} is held by another program; end it (a second copy of this program, an open `sqlite3`), then start again", .0.display())]
    Locked(PathBuf),
    /// Nowhere to make it.
    #[error("the budget file {}: its directory is not there; make it, owned by the user that runs this", .0.display())]
    NoDirectory(PathBuf),
    /// Whatever else the system says.
    #[error("the budget file {}: {detail}; see what the system's log says of its disk", .path.display())]
    #[expect(missing_docs, reason = "the message says it")]
    Other { path: PathBuf, detail: String },
}

/// What the file holds.
pub(super) struct Kept {
    /// The newest day.
    pub(super) book: DayBook,
    pub(super) open: Vec<(ReservationId, Usd)>,
}

/// What is to be written, all of it or nothing.
#[derive(Default, Debug)]
pub(super) struct Change {
    pub(super) books: BTreeMap<Day, DayBook>,
    pub(super) opened: BTreeMap<ReservationId, Usd>,
    /// Resolved; also such as never were in the file.
    pub(super) closed: BTreeSet<ReservationId>,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.books.is_empty() && self.opened.is_empty() && self.closed.is_empty()
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens the file and reads it whole; makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<(Self, Kept), PurseError> {
        match path.try_exists() {
            Ok(true) if is_cut(path).map_err(|error| explain_io(path, &error))? => {
                return Err(damaged(path, "it is cut short"));
            }
            Ok(true) => {}
            Ok(false) => create(path)?,
            Err(error) => return Err(explain_io(path, &error)),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
        let store = Self { path: path.to_owned(), connection };
        let kept = store.check_and_read()?;
        Ok((store, kept))
    }

    fn check_and_read(&self) -> Result<Kept, PurseError> {
        let told = |error: rusqlite::Error| explain(&self.path, &error);
        // SQLite is content with reading; then taking the lock fails for no reason that one could tell.
        if self.connection.is_readonly(MAIN_DB).map_err(told)? {
            return Err(PurseError::Denied(self.path.clone()));
        }
        self.set_up().map_err(told)?;
        match self.connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)? {
            VERSION => {}
            newer if newer > VERSION => return Err(PurseError::Newer(self.path.clone())),
            _none => return Err(damaged(&self.path, "it is not a budget, or nothing of it is left")),
        }
        // Without this a cut or an overwritten page would be noticed only when it is read.
        let verdict: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(told)?;
        if verdict != "ok" {
            return Err(damaged(&self.path, &verdict));
        }
        self.connection.execute_batch("PRAGMA journal_mode = WAL").map_err(told)?;
        self.read().map_err(told)
    }

    /// Exclusive before anything is read: then the log's index is in memory and no second process,
    /// which could spend the same money, gets in.
    fn set_up(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY)?;
        self.connection.execute_batch(&format!(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA max_page_count = {MAX_PAGES}; PRAGMA wal_autocheckpoint = {LOG_PAGES};"
        ))
    }

    fn read(&self) -> rusqlite::Result<Kept> {
        let newest = "SELECT day, spent, calls, overruns FROM days ORDER BY day DESC LIMIT 1";
        let book = self.connection.query_row(newest, [], |row| {
            let (day, spent) = (Day::from_number(natural(row, 0)?), Usd::from_nanos(natural(row, 1)?));
            Ok(DayBook { day, spent, calls: natural(row, 2)?, overruns: natural(row, 3)? })
        })?;
        let mut rows = self.connection.prepare("SELECT id, amount FROM open ORDER BY id")?;
        let open = rows.query_map([], |row| {
            Ok((ReservationId::from_number(natural(row, 0)?), Usd::from_nanos(natural(row, 1)?)))
        })?;
        Ok(Kept { book, open: open.collect::<rusqlite::Result<_>>()? })
    }

    /// Writes it all and waits until the disk has it.
    pub(super) fn write(&mut self, change: &Change) -> Result<(), PurseError> {
        self.write_raw(change).map_err(|error| explain(&self.path, &error))
    }

    fn write_raw(&mut self, change: &Change) -> rusqlite::Result<()> {
        let step = self.connection.transaction()?;
        {
            let mut close = step.prepare("DELETE FROM open WHERE id = ?1")?;
            for id in &change.closed {
                close.execute([integer(id.number())])?;
            }
            let mut open = step.prepare("INSERT INTO open VALUES (?1, ?2)")?;
            for (id, amount) in &change.opened {
                open.execute([integer(id.number()), integer(amount.nanos())])?;
            }
            let mut book = step.prepare("INSERT OR REPLACE INTO days VALUES (?1, ?2, ?3, ?4)")?;
            for (day, told) in &change.books {
                let (day, spent) = (integer(day.number()), integer(told.spent.nanos()));
                book.execute(params![day, spent, integer(told.calls), integer(told.overruns)])?;
            }
            if let Some((newest, _)) = change.books.last_key_value() {
                let mut forget = step.prepare("DELETE FROM days WHERE day < ?1")?;
                forget.execute([integer(newest.number().saturating_sub(DAYS))])?;
            }
        }
        step.commit()
    }

    /// Moves the log into the file, so that at rest there is one whole file. Where that fails nothing
    /// is lost: the log stays, and it is tried again.
    pub(super) fn settle_down(&self) {
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "the budget's log stays beside it for now");
        }
    }

    /// Any SQL, as another program or a failing disk would do it.
    #[cfg(test)]
    pub(super) fn tamper(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }
}

/// Whether the last page is not whole, which SQLite takes for zeros. Beside a log it may be: a write
/// of it that failed is in the log still.
fn is_cut(path: &Path) -> io::Result<bool> {
    let log = fs::metadata(with_ending(path, "-wal")).map_or(0, |log| log.len());
    let file = fs::metadata(path)?;
    Ok(file.is_file() && log == 0 && !file.len().is_multiple_of(PAGE))
}

/// Makes the file beside and gives it its name when it is whole, so that a file with the name that
/// is not whole is always damage. Mode 0600.
fn create(path: &Path) -> Result<(), PurseError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        return Err(PurseError::NoDirectory(path.to_owned()));
    }
    let new = with_ending(path, &format!(".{:016x}.new", rand::random::<u64>()));
    let made = fill(&new, path).and_then(|()| {
        // Unlike a rename this fails where another process was faster.
        let named = fs::hard_link(&new, path).and_then(|()| fs::File::open(directory)?.sync_all());
        named.map_err(|error| explain_io(path, &error))
    });
    // What is told is why it could not be made.
    let _ = fs::remove_file(&new);
    made
}

/// Fills a new file, which gets the name `path` later.
fn fill(new: &Path, path: &Path) -> Result<(), PurseError> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(new);
    drop(file.map_err(|error| explain_io(path, &error))?);
    let filled = || {
        let connection = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch(SCHEMA)?;
        connection.close().map_err(|(_, error)| error)
    };
    filled().map_err(|error| explain(path, &error))?;
    // Closing has moved the log in; its last write is on the disk only after this.
    fs::File::open(new).and_then(|file| file.sync_all()).map_err(|error| explain_io(path, &error))
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn damaged(path: &Path, detail: &str) -> PurseError {
    PurseError::Damaged { path: path.to_owned(), detail: detail.to_owned() }
}

fn explain(path: &Path, error: &rusqlite::Error) -> PurseError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => PurseError::Full(path),
        // `Unknown` is a table or a column that is not there.
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown,
        )
        | None => PurseError::Damaged { path, detail },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => PurseError::Denied(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => PurseError::Locked(path),
        Some(_) => PurseError::Other { path, detail },
    }
}

fn explain_io(path: &Path, error: &io::Error) -> PurseError {
    use io::ErrorKind::{AlreadyExists, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};

    let (path, kind) = (path.to_owned(), error.kind());
    if matches!(kind, StorageFull | QuotaExceeded) {
        PurseError::Full(path)
    } else if matches!(kind, PermissionDenied | ReadOnlyFilesystem) {
        PurseError::Denied(path)
    } else if kind == AlreadyExists {
        // Another process has just made it.
        PurseError::Locked(path)
    } else {
        PurseError::Other { path, detail: error.to_string() }
    }
}

/// A number that is at least 0; anything else was not written by this program.
fn natural(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(index)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, number))
}

/// A number as SQLite has it; above 9 billion dollars all amounts are one.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_flushed_and_the_file_is_held_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (store, _kept) = Store::open(&directory.path().join("budget.sqlite")).unwrap();
        let pragma = |name: &str| -> String {
            store.connection.pragma_query_value(None, name, |row| Ok(format!("{:?}", row.get_ref(0)?))).unwrap()
        };
        // 2 is FULL.
        assert!(pragma("synchronous").contains('2') && pragma("page_size").contains(&PAGE.to_string()));
        assert_eq!(pragma("journal_mode"), format!("{:?}", rusqlite::types::ValueRef::Text(b"wal")));
        assert_eq!(pragma("locking_mode"), format!("{:?}", rusqlite::types::ValueRef::Text(b"exclusive")));
    }
}
