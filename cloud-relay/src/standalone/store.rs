//! The SQLite file: callers' keys, the books of requests that have ended ([`books`]),
//! what was spent ([`spend`]), and what edges said of their models ([`ceilings`]).
//!
//! A store of an older version is brought up to date when it is opened; one of a newer is refused.
//! Absent: secrets, of which only hashes are stored, and every text of a request.

pub(crate) mod books;
mod ceilings;
pub(crate) mod spend;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, TransactionBehavior, params};

use crate::core::auth::Key;
use crate::core::spend::Usd;
use crate::core::terms::Terms;

/// How long one process waits for the other's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Largest file, pages of 4 KiB: 1 GiB, about two million keys.
const MAX_PAGES: u32 = 262_144;

/// The books stop at half of it, so that there is always room for a key.
const BOOKS_PAGES: u32 = MAX_PAGES / 2;

/// Pages that a connection keeps in memory, KiB: a few hundred keys, and the ends of the books' indexes.
const CACHE_KIB: i64 = 512;

/// What each version adds to the one before; the store's `user_version` counts them.
const STEPS: [&str; 4] = [KEYS, books::SCHEMA, spend::SCHEMA, ceilings::SCHEMA];

const KEYS: &str = "
    CREATE TABLE IF NOT EXISTS keys (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, models TEXT NOT NULL,
        edges TEXT NOT NULL, admin INTEGER NOT NULL, created INTEGER NOT NULL,
        expires INTEGER, revoked INTEGER
    ) STRICT;";

/// Why the store did not do it; each says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("the store {} is full; make room on its disk, or move it to a larger one", .0.display())]
    Full(PathBuf),
    #[error("the store {} is damaged ({detail}); restore it from a backup, or move it away and run `init` for a new one", .path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("the store {} is not there; correct [store] sqlite, or let `init` make a new one, which knows no keys", .0.display())]
    Missing(PathBuf),
    #[error("the store {} was made by a newer causeway-relay; run that one, or restore the backup from before it", .0.display())]
    Newer(PathBuf),
    #[error("the store {} cannot be read and written by this user; run it as the file's owner, and let that user write in its directory too", .0.display())]
    Denied(PathBuf),
    #[error("the store {} is held by another program; end it (an open `sqlite3`, a backup that hangs), then try again", .0.display())]
    Locked(PathBuf),
    #[error("the store {}: {detail}; see what the system's log says of its disk", .path.display())]
    Other { path: PathBuf, detail: String },
    #[error(transparent)]
    File(#[from] crate::standalone::files::FileError),
    #[error("there is no key `{0}`; see `keys list`")]
    NoSuchKey(String),
}

/// An open store.
pub(crate) struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Makes a new store; the file must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        // Made empty first, with its mode, because SQLite knows no modes.
        crate::standalone::files::write_new(path, "")?;
        Self::open(path)
    }

    /// Opens an existing store and checks it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, &error))?;
        let mut store = Self { path: path.to_owned(), connection };
        store.set_up().map_err(|error| store.explain(&error))?;
        store.bring_up_to_date()?;
        // Read once, so that a damaged one is told now.
        store.keys()?;
        Ok(store)
    }

    /// The same for who only writes books: they never take the room that keys need.
    pub(crate) fn open_for_books(path: &Path) -> Result<Self, StoreError> {
        let store = Self::open(path)?;
        store.limit_pages(BOOKS_PAGES).map_err(|error| store.explain(&error))?;
        Ok(store)
    }

    fn set_up(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(BUSY)?;
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        self.limit_pages(MAX_PAGES)
    }

    /// Takes the steps that this store has not taken yet.
    fn bring_up_to_date(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let told = |error: rusqlite::Error| explain(&path, &error);
        // Two processes may open an old store at once: the second waits here and finds it done.
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
        let version: i64 = step.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)?;
        let taken = usize::try_from(version).unwrap_or(usize::MAX);
        let Some(missing) = STEPS.get(taken..) else {
            return Err(StoreError::Newer(path));
        };
        for sql in missing {
            step.execute_batch(sql).map_err(told)?;
        }
        if !missing.is_empty() {
            step.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(i64::MAX)).map_err(told)?;
        }
        step.commit().map_err(told)
    }

    fn limit_pages(&self, pages: u32) -> rusqlite::Result<()> {
        self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    }

    /// Changes whenever a process has changed the keys.
    pub(crate) fn keys_version(&self) -> Result<i64, StoreError> {
        let sql = "SELECT keys FROM versions";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|error| self.explain(&error))
    }

    /// All keys, oldest first.
    pub(crate) fn keys(&self) -> Result<Vec<Key>, StoreError> {
        self.keys_raw().map_err(|error| self.explain(&error))
    }

    fn keys_raw(&self) -> rusqlite::Result<Vec<Key>> {
        let sql = "SELECT id, name, hash, models, edges, admin, expires, revoked,
            local_only, rpm, concurrent, min_first_token_ms, batch_only, daily_nanos FROM keys ORDER BY created, id";
        let mut statement = self.connection.prepare(sql)?;
        statement.query_map([], key_of)?.collect()
    }

    /// Adds a key; `now` in Unix seconds.
    pub(crate) fn add_key(&self, key: &Key, now: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO keys (id, name, hash, models, edges, admin, created, expires,
            local_only, rpm, concurrent, min_first_token_ms, batch_only, daily_nanos)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let list = |items: &[String]| serde_json::Value::from(items).to_string();
        let values = params![
            key.id,
            key.name,
            key.hash,
            list(&key.models),
            list(&key.edges),
            key.admin,
            integer(now),
            key.expires.map(integer),
            key.terms.local_only,
            key.terms.rpm,
            key.terms.concurrent,
            i64::try_from(key.terms.min_first_token.as_millis()).unwrap_or(i64::MAX),
            key.terms.batch_only,
            key.terms.daily.map(|daily| integer(daily.nanos())),
        ];
        let change = || {
            let change = self.connection.unchecked_transaction()?;
            change.execute(sql, values)?;
            books::note_key(&change, now, "key_created", &format!("{} ({})", key.id, key.name))?;
            change.commit()
        };
        change().map_err(|error| self.explain(&error))
    }

    /// Marks a key as revoked; `now` in Unix seconds.
    pub(crate) fn revoke_key(&self, id: &str, now: u64) -> Result<(), StoreError> {
        let sql = "UPDATE keys SET revoked = coalesce(revoked, ?2) WHERE id = ?1";
        let change = || {
            let change = self.connection.unchecked_transaction()?;
            let changed = change.execute(sql, params![id, integer(now)])?;
            if changed > 0 {
                books::note_key(&change, now, "key_revoked", id)?;
                change.commit()?;
            }
            Ok(changed)
        };
        match change().map_err(|error| self.explain(&error))? {
            0 => Err(StoreError::NoSuchKey(id.to_owned())),
            _ => Ok(()),
        }
    }

    /// Writes a value that is none of ours over a key's scope, as a damaged page or another program would.
    #[cfg(test)]
    pub(crate) fn break_keys(&self) {
        self.connection
            .execute_batch("UPDATE keys SET models = '!' || models; UPDATE versions SET keys = keys + 1")
            .unwrap();
    }

    /// Undoes it.
    #[cfg(test)]
    pub(crate) fn mend_keys(&self) {
        let mended = "UPDATE keys SET models = substr(models, 2); UPDATE versions SET keys = keys + 1";
        self.connection.execute_batch(mended).unwrap();
    }

    fn explain(&self, error: &rusqlite::Error) -> StoreError {
        explain(&self.path, error)
    }
}

fn explain(path: &Path, error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(path),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt { path, detail },
        Some(ErrorCode::CannotOpen) if matches!(path.try_exists(), Ok(false)) => StoreError::Missing(path),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => StoreError::Denied(path),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked(path),
        Some(_) => StoreError::Other { path, detail },
        // A value that is not what we write: someone else wrote it.
        None => StoreError::Corrupt { path, detail },
    }
}

fn key_of(row: &Row<'_>) -> rusqlite::Result<Key> {
    let list = |index: usize| -> rusqlite::Result<Vec<String>> {
        let text: String = row.get(index)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    let whole = |index: usize| -> rusqlite::Result<Option<u64>> {
        let number: Option<i64> = row.get(index)?;
        Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
    };
    Ok(Key {
        id: row.get(0)?,
        name: row.get(1)?,
        hash: row.get(2)?,
        models: list(3)?,
        edges: list(4)?,
        admin: row.get(5)?,
        terms: Terms {
            local_only: row.get(8)?,
            rpm: row.get(9)?,
            concurrent: row.get(10)?,
            min_first_token: Duration::from_millis(u64::try_from(row.get::<_, i64>(11)?).unwrap_or(0)),
            batch_only: row.get(12)?,
            daily: whole(13)?.map(Usd::from_nanos),
        },
        expires: whole(6)?,
        revoked: whole(7)?,
    })
}

/// A number as SQLite has it.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key {
            id: id.to_owned(),
            name: "n".repeat(500),
            models: vec!["qwen3:*".to_owned()],
            edges: Vec::new(),
            admin: true,
            terms: Terms {
                local_only: true,
                rpm: Some(60),
                concurrent: Some(4),
                min_first_token: Duration::from_millis(900),
                batch_only: true,
                daily: Some(Usd::from_nanos(1_500_000_000)),
            },
            expires: Some(9),
            revoked: None,
            hash: [3; 32],
        }
    }

    #[test]
    fn a_key_is_read_back_as_it_was_stored_and_revoked_for_other_processes_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let store = Store::create(&path).unwrap();
        let other = Store::open(&path).unwrap();
        let before = other.keys_version().unwrap();
        store.add_key(&key("a"), 1).unwrap();
        assert_ne!(other.keys_version().unwrap(), before);
        assert_eq!(other.keys().unwrap(), [key("a")]);
        store.revoke_key("a", 7).unwrap();
        assert_eq!(other.keys().unwrap()[0].revoked, Some(7));
        assert!(matches!(store.revoke_key("b", 7), Err(StoreError::NoSuchKey(_))));
    }

    #[test]
    fn a_store_of_the_first_version_keeps_its_keys_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(KEYS).unwrap();
        old.execute_batch(
            "INSERT INTO keys (id, name, hash, models, edges, admin, created)
             VALUES ('a', 'n', zeroblob(32), '[]', '[]', 0, 1); PRAGMA user_version = 1;",
        )
        .unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.keys().unwrap()[0].terms, Terms::default());
        drop(store);
        assert!(Store::open(&path).is_ok(), "the second time there is nothing to do");
        old.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len() + 1)).unwrap();
        let newer = Store::open(&path).err().unwrap();
        assert!(matches!(newer, StoreError::Newer(_)) && newer.to_string().contains("newer"), "{newer}");
    }

    #[test]
    fn a_full_store_says_so_and_still_answers() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("s.db")).unwrap();
        store.add_key(&key("first"), 1).unwrap();
        store.limit_pages(1).unwrap();
        let full = (0..100).find_map(|n| store.add_key(&key(&n.to_string()), 1).err()).unwrap();
        assert!(matches!(full, StoreError::Full(_)), "{full}");
        assert!(store.keys().unwrap().contains(&key("first")));
    }

    #[test]
    fn a_damaged_or_missing_store_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        assert!(matches!(Store::open(&path), Err(StoreError::Missing(_))));
        std::fs::write(&path, "this is no database, but it is longer than a header of one hundred bytes".repeat(9))
            .unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_store_that_another_program_holds_says_so_and_is_written_after_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        let store = Store::create(&path).unwrap();
        store.connection.busy_timeout(Duration::ZERO).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let held = store.add_key(&key("a"), 1).unwrap_err();
        assert!(matches!(held, StoreError::Locked(_)) && held.to_string().contains("end it"), "{held}");
        other.execute_batch("COMMIT").unwrap();
        store.add_key(&key("a"), 1).unwrap();
    }

    #[test]
    fn a_store_that_this_user_may_not_use_names_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        for code in [rusqlite::ffi::SQLITE_PERM, rusqlite::ffi::SQLITE_READONLY, rusqlite::ffi::SQLITE_CANTOPEN] {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let denied = explain(directory.path(), &error);
            assert!(matches!(denied, StoreError::Denied(_)) && denied.to_string().contains("owner"), "{denied}");
        }
    }
}
