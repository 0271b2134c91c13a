//! The books: requests that have ended, their daily sums, and what was done to keys.
//!
//! Invariants: a request is entered together with its part of the day's sum, or not at all; the
//! sums stay when the requests they were made of are forgotten. Absent: texts.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::spend::{self, Settlement};
use super::{Store, StoreError, integer};
use crate::core::account::Account;

/// Requests remembered one by one, count: 500 to 1,600 bytes each. Where they fill the books' part of
/// the store before, the oldest quarter goes.
const MAX_REQUESTS: i64 = 1_000_000;

/// Events remembered, count: about 100 bytes each.
const MAX_EVENTS: i64 = 500_000;

/// Rows that a report reads at most, count.
const MAX_ROWS: u32 = 100_000;

pub(super) const SCHEMA: &str = "
    ALTER TABLE keys ADD COLUMN local_only INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE keys ADD COLUMN rpm INTEGER;
    ALTER TABLE keys ADD COLUMN concurrent INTEGER;
    ALTER TABLE keys ADD COLUMN min_first_token_ms INTEGER NOT NULL DEFAULT 250;
    ALTER TABLE keys ADD COLUMN batch_only INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, own_id TEXT, key TEXT NOT NULL,
        ended_ms INTEGER NOT NULL, result TEXT NOT NULL, served_by TEXT, edge TEXT, model TEXT,
        told TEXT NOT NULL
    ) STRICT;
    CREATE INDEX requests_own ON requests (key, own_id) WHERE own_id IS NOT NULL;
    CREATE INDEX requests_ended ON requests (ended_ms);
    CREATE TABLE usage (
        day TEXT NOT NULL, key TEXT NOT NULL, model TEXT NOT NULL, edge TEXT NOT NULL,
        served_by TEXT NOT NULL, requests INTEGER NOT NULL, failed INTEGER NOT NULL,
        input INTEGER NOT NULL, output INTEGER NOT NULL, usd REAL NOT NULL,
        PRIMARY KEY (day, key, model, edge, served_by)
    ) STRICT;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, what TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_at ON events (at_ms);
    CREATE TABLE versions (keys INTEGER NOT NULL) STRICT;
    INSERT INTO versions VALUES (0);";

/// What usage is summed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum By {
    Key,
    Model,
    Edge,
    Day,
}

/// One sum.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize)]
pub(crate) struct Sum {
    /// The key's id, the model, the edge or the day.
    pub(crate) of: String,
    pub(crate) requests: i64,
    pub(crate) failed: i64,
    pub(crate) input_tokens: i64,
    pub(crate) output_tokens: i64,
    pub(crate) usd: f64,
}

/// What an audit finds.
pub(crate) struct Trail {
    /// Oldest first.
    pub(crate) entries: Vec<Entry>,
    /// There are older requests of the same time.
    pub(crate) cut: bool,
}

/// One line of the audit.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Entry {
    /// Milliinteger since 1970.
    pub(crate) at_ms: i64,
    /// `key_created`, `key_revoked`, `left_out`, `refused`, `failed`, `overflow`, `grant_lost`, `overspent`.
    pub(crate) kind: String,
    pub(crate) what: String,
}

impl Store {
    /// Enters requests that have ended, then settles what they spent. `day` is the day of one of them
    /// (UTC, `2026-11-23`), `now` in Unix seconds.
    pub(crate) fn enter<'a>(
        &mut self,
        accounts: impl Iterator<Item = &'a Account> + Clone,
        settlements: &[Settlement],
        day: impl Fn(&Account) -> String,
        now: u64,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let told = |error: rusqlite::Error| super::explain(&path, &error);
        match self.enter_raw(accounts.clone(), settlements, &day, now).map_err(told) {
            Err(StoreError::Full(_)) => {
                self.forget_oldest().map_err(told)?;
                self.enter_raw(accounts, settlements, &day, now).map_err(told)
            }
            outcome => outcome,
        }
    }

    /// Makes room.
    pub(super) fn forget_oldest(&self) -> rusqlite::Result<()> {
        self.connection.execute(OLDEST_QUARTER, []).map(drop)
    }

    fn enter_raw<'a>(
        &mut self,
        accounts: impl Iterator<Item = &'a Account>,
        settlements: &[Settlement],
        day: impl Fn(&Account) -> String,
        now: u64,
    ) -> rusqlite::Result<()> {
        let batch = self.connection.transaction()?;
        {
            let mut request = batch.prepare(
                "INSERT OR IGNORE INTO requests (id, own_id, key, ended_ms, result, served_by, edge, model, told)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let mut usage = batch.prepare(
                "INSERT INTO usage (day, key, model, edge, served_by, requests, failed, input, output)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE SET requests = requests + 1, failed = failed + excluded.failed,
                 input = input + excluded.input, output = output + excluded.output",
            )?;
            for account in accounts {
                let served_by = account.served_by();
                let ended = account.started_ms.saturating_add(account.total.as_millis().try_into().unwrap_or(u64::MAX));
                let new = request.execute(params![
                    account.id,
                    account.own_id,
                    account.key,
                    integer(ended),
                    account.result(),
                    served_by,
                    account.edge,
                    account.model,
                    account.to_json().to_string(),
                ])?;
                // Only what a backend answered is a use; refusals are in `requests`.
                let (Some(served_by), 1..) = (served_by, new) else { continue };
                usage.execute(params![
                    day(account),
                    account.key,
                    account.model.as_deref().unwrap_or_default(),
                    account.edge.as_deref().unwrap_or_default(),
                    served_by,
                    i64::from(account.result() != "ok"),
                    tokens(account.outcome.input_tokens),
                    tokens(account.outcome.output_tokens),
                ])?;
            }
        }
        for settlement in settlements {
            spend::settle(&batch, settlement, now)?;
        }
        batch
            .execute("DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?1", [MAX_REQUESTS])?;
        batch.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?1", [MAX_EVENTS])?;
        batch.commit()
    }

    /// What is told of an ended request of this key, by our id or the caller's own (the latest of
    /// that name).
    pub(crate) fn request(&self, key: &str, id: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT told FROM requests WHERE key = ?1 AND (id = ?2 OR own_id = ?2) ORDER BY number DESC LIMIT 1";
        let found = self.connection.query_row(sql, [key, id], |row| row.get(0)).optional();
        found.map_err(|error| self.explain(&error))
    }

    /// Notes that refusals were not entered, there being too many; `now` in Unix seconds.
    pub(crate) fn note_left_out(&self, now: u64, count: u64) -> Result<(), StoreError> {
        let what = format!("{count} refusals beyond what is entered of one key");
        note(&self.connection, now, "left_out", &what).map_err(|error| self.explain(&error))
    }

    /// Everything since then (milliinteger since 1970), oldest first: what was done to keys, requests
    /// that were refused or failed, and those that another backend answered.
    pub(crate) fn audit(&self, since_ms: u64) -> Result<Trail, StoreError> {
        let events = "SELECT at_ms, kind, what FROM events WHERE at_ms >= ?1 ORDER BY number DESC LIMIT ?2";
        let requests = "
            SELECT ended_ms,
                CASE WHEN served_by = 'bedrock' THEN 'overflow' WHEN served_by IS NULL THEN 'refused' ELSE 'failed' END,
                id || ' ' || result || ' key ' || iif(key = '', '-', key) || ' model ' || coalesce(model, '-')
                    || ' edge ' || coalesce(edge, '-') || iif(served_by = 'bedrock', ' reason '
                    || coalesce(json_extract(told, '$.reason'), '-') || ' usd '
                    || printf('%.9f', json_extract(told, '$.cost_usd')), '')
            FROM requests WHERE ended_ms >= ?1 AND (result != 'ok' OR served_by = 'bedrock')
            ORDER BY number DESC LIMIT ?2";
        let read = |sql| {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map(params![integer(since_ms), MAX_ROWS], |row| {
                Ok(Entry { at_ms: row.get(0)?, kind: row.get(1)?, what: row.get(2)? })
            })?;
            rows.collect::<rusqlite::Result<Vec<Entry>>>()
        };
        // Each with its own limit: no number of refusals hides what was done to keys.
        let read = |sql| read(sql).map_err(|error| self.explain(&error));
        let (mut entries, requests) = (read(events)?, read(requests)?);
        let cut = requests.len() >= MAX_ROWS as usize;
        entries.reverse();
        entries.extend(requests.into_iter().rev());
        entries.sort_by_key(|entry| entry.at_ms);
        Ok(Trail { entries, cut })
    }

    /// Sums of what was used.
    pub(crate) fn usage(&self, by: By) -> Result<Vec<Sum>, StoreError> {
        let column = match by {
            By::Key => "key",
            By::Model => "model",
            By::Edge => "edge",
            By::Day => "day",
        };
        let sql = format!(
            "SELECT {column}, sum(requests), sum(failed), sum(input), sum(output), total(nanos) / 1e9
             FROM usage GROUP BY 1 ORDER BY 1 LIMIT {MAX_ROWS}"
        );
        let read = || {
            let mut statement = self.connection.prepare(&sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Sum {
                    of: row.get(0)?,
                    requests: row.get(1)?,
                    failed: row.get(2)?,
                    input_tokens: row.get(3)?,
                    output_tokens: row.get(4)?,
                    usd: row.get(5)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<Sum>>>()
        };
        read().map_err(|error| self.explain(&error))
    }
}

/// Tokens of one request as summed; more than any model reads is nonsense, and must not leave a
/// database's integers in a sum.
fn tokens(count: Option<u64>) -> i64 {
    const MOST: u64 = 1_000_000_000;
    integer(count.unwrap_or(0).min(MOST))
}

/// The oldest quarter of the requests.
const OLDEST_QUARTER: &str =
    "DELETE FROM requests WHERE number <= (SELECT min(number) + (max(number) - min(number)) / 4 FROM requests)";

/// Notes what was done to a key, which whoever holds the keys must learn; `now` in Unix seconds.
pub(super) fn note_key(connection: &Connection, now: u64, kind: &str, what: &str) -> rusqlite::Result<()> {
    connection.execute("UPDATE versions SET keys = keys + 1", [])?;
    note(connection, now, kind, what)
}

pub(super) fn note(connection: &Connection, now: u64, kind: &str, what: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO events (at_ms, kind, what) VALUES (?1, ?2, ?3)";
    connection.execute(sql, params![integer(now.saturating_mul(1_000)), kind, what]).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use causeway_wire::{Backend, Code, Outcome};

    use super::*;

    fn account(id: &str) -> Account {
        Account {
            id: id.to_owned(),
            own_id: Some(format!("mine-{id}")),
            started_ms: 1_000,
            key: "k".to_owned(),
            model: Some("m:latest".to_owned()),
            edge: Some("gpu-1".to_owned()),
            status: Some(200),
            outcome: Outcome {
                input_tokens: Some(3),
                output_tokens: Some(16),
                served_by: Some(Backend::Local),
                ..Outcome::default()
            },
            total: Duration::from_millis(500),
            ..Account::default()
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::create(&directory.path().join("s.db")).unwrap();
        (directory, store)
    }

    fn today(_: &Account) -> String {
        "2026-11-23".to_owned()
    }

    #[test]
    fn a_request_is_found_by_either_id_and_by_its_own_key_alone() {
        let (_directory, mut store) = store();
        store.enter([account("a")].iter(), &[], today, 0).unwrap();
        for id in ["a", "mine-a"] {
            assert!(store.request("k", id).unwrap().unwrap().contains("\"output_tokens\":16"), "{id}");
            assert_eq!(store.request("other", id).unwrap(), None);
        }
        assert_eq!(store.request("k", "b").unwrap(), None);
    }

    #[test]
    fn sums_count_what_was_answered_once_and_refusals_not_at_all() {
        let (_directory, mut store) = store();
        let refused = Account { code: Some(Code::Saturated), outcome: Outcome::default(), ..account("r") };
        let unsaid = Outcome::default();
        let broken =
            Account { code: Some(Code::LinkLost), backend: Some(Backend::Local), outcome: unsaid, ..account("b") };
        store.enter([account("a"), account("a"), refused, broken].iter(), &[], today, 0).unwrap();
        for (by, of) in [(By::Key, "k"), (By::Model, "m:latest"), (By::Edge, "gpu-1"), (By::Day, "2026-11-23")] {
            let sum = Sum { of: of.to_owned(), requests: 2, failed: 1, input_tokens: 3, output_tokens: 16, usd: 0.0 };
            assert_eq!(store.usage(by).unwrap(), [sum]);
        }
    }

    #[test]
    fn books_that_are_full_forget_the_oldest_and_leave_room_for_keys() {
        let (directory, mut store) = store();
        store.limit_pages(60).unwrap();
        for batch in 0..100 {
            let accounts: Vec<Account> = (0..20).map(|n| account(&format!("{batch}-{n}"))).collect();
            store.enter(accounts.iter(), &[], today, 0).unwrap();
        }
        assert!(store.request("k", "99-19").unwrap().is_some() && store.request("k", "0-0").unwrap().is_none());
        assert_eq!(store.usage(By::Key).unwrap()[0].requests, 2_000, "the sums stay");
        let keys = Store::open(&directory.path().join("s.db")).unwrap();
        keys.add_key(&crate::core::auth::Key::for_test(&[]), 1).unwrap();
    }

    #[test]
    fn what_is_entered_is_no_change_of_the_keys() {
        let (_directory, mut store) = store();
        let before = store.keys_version().unwrap();
        store.enter([account("a")].iter(), &[], today, 0).unwrap();
        assert_eq!(store.keys_version().unwrap(), before);
    }

    #[test]
    fn the_audit_has_refusals_failures_and_what_was_done_to_keys_but_no_answer_that_went_well() {
        let (_directory, mut store) = store();
        note_key(&store.connection, 1, "key_created", "k (test)").unwrap();
        let refused =
            Account { code: Some(Code::ForbiddenModel), outcome: Outcome::default(), edge: None, ..account("r") };
        let left = Account { abandoned: true, ..account("l") };
        store.enter([account("a"), refused, left].iter(), &[], today, 0).unwrap();
        let kinds: Vec<String> = store.audit(0).unwrap().entries.into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, ["key_created", "refused", "failed"]);
        assert!(store.audit(2_000).unwrap().entries.is_empty());
        assert!(store.audit(0).unwrap().entries[1].what.contains("forbidden_model key k model m:latest edge -"));
    }
}
