//! Spending in the store: grants that are out, and what each key has spent on each day.
//!
//! Invariants: a grant of a key with a cap is here before it is used; a grant goes, and the day's
//! sums of the ledger and of `usage` grow, in one transaction, so that both always say the same.

use causeway_dialect::time::{Utc, utc};
use rusqlite::{Connection, TransactionBehavior, params};

use super::books::note;
use super::{Store, StoreError, integer};
use crate::core::spend::{Closed, Grant, Usd};

pub(super) const SCHEMA: &str = "
    ALTER TABLE keys ADD COLUMN daily_nanos INTEGER;
    ALTER TABLE usage ADD COLUMN nanos INTEGER NOT NULL DEFAULT 0;
    UPDATE usage SET nanos = CAST(round(usd * 1e9) AS INTEGER);
    ALTER TABLE usage DROP COLUMN usd;
    CREATE TABLE grants (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, day INTEGER NOT NULL, nanos INTEGER NOT NULL,
        model TEXT NOT NULL, edge TEXT NOT NULL
    ) STRICT;
    CREATE TABLE spend (
        key TEXT NOT NULL, day INTEGER NOT NULL, nanos INTEGER NOT NULL, PRIMARY KEY (key, day)
    ) STRICT;";

/// A sum stops here, nano-dollars: what hostile edges report must not leave a database's integers.
const MOST: i64 = 4_000_000_000_000_000_000;

/// Whose spending it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Of {
    /// The request's id.
    pub(crate) id: String,
    /// The key's.
    pub(crate) key: String,
    /// The edge that was asked last.
    pub(crate) edge: String,
    pub(crate) model: String,
}

/// A request that may have spent something is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settlement {
    pub(crate) of: Of,
    /// UTC day that it counts for.
    pub(crate) day: u64,
    /// The key has a cap.
    pub(crate) capped: bool,
    /// There is a grant in the store.
    pub(crate) reserved: bool,
    pub(crate) closed: Closed,
}

impl Settlement {
    /// What is booked: of a key with a cap also what nobody told of.
    pub(crate) fn booked(&self) -> Usd {
        if self.capped { self.closed.spent } else { self.closed.said }
    }

    /// There is nothing to write down.
    pub(crate) fn is_nothing(&self) -> bool {
        !self.reserved && !self.closed.silent && self.booked() == Usd::ZERO
    }
}

impl Store {
    /// Writes grants down; none of them may be used before.
    pub(crate) fn reserve<'a>(
        &mut self,
        grants: impl Iterator<Item = (&'a Of, Grant)> + Clone,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let told = |error: rusqlite::Error| super::explain(&path, &error);
        match self.reserve_raw(grants.clone()).map_err(told) {
            Err(StoreError::Full(_)) => {
                self.forget_oldest().map_err(told)?;
                self.reserve_raw(grants).map_err(told)
            }
            outcome => outcome,
        }
    }

    fn reserve_raw<'a>(&mut self, grants: impl Iterator<Item = (&'a Of, Grant)>) -> rusqlite::Result<()> {
        let step = self.connection.transaction()?;
        for (of, grant) in grants {
            let sql = "INSERT INTO grants (id, key, day, nanos, model, edge) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let nanos = integer(grant.amount.nanos());
            step.execute(sql, params![of.id, of.key, integer(grant.day), nanos, of.model, of.edge])?;
        }
        step.commit()
    }

    /// What was granted when the last process ended counts as spent. Then the latest day, and what
    /// each key has spent on it. Only for the one process that grants.
    pub(crate) fn recover(&mut self, now: u64) -> Result<(u64, Vec<(String, Usd)>), StoreError> {
        let path = self.path.clone();
        self.recover_raw(now).map_err(|error| super::explain(&path, &error))
    }

    fn recover_raw(&mut self, now: u64) -> rusqlite::Result<(u64, Vec<(String, Usd)>)> {
        let step = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let open: Vec<(Of, Grant)> = {
            let mut statement = step.prepare("SELECT id, key, edge, model, day, nanos FROM grants")?;
            let of = |row: &rusqlite::Row<'_>| {
                let of = Of { id: row.get(0)?, key: row.get(1)?, edge: row.get(2)?, model: row.get(3)? };
                Ok((of, Grant { day: whole(row.get(4)?), amount: Usd::from_nanos(whole(row.get(5)?)) }))
            };
            statement.query_map([], of)?.collect::<rusqlite::Result<_>>()?
        };
        for (of, grant) in &open {
            book(&step, of, grant.day, grant.amount, 1)?;
            let what = format!(
                "{} key {} edge {}: the relay ended before it was told what was spent; the grant of {} USD counts",
                of.id, of.key, of.edge, grant.amount
            );
            note(&step, now, "grant_lost", &what)?;
        }
        step.execute("DELETE FROM grants", [])?;
        let day: i64 = step.query_row("SELECT coalesce(max(day), 0) FROM spend", [], |row| row.get(0))?;
        let spent = {
            let mut statement = step.prepare("SELECT key, nanos FROM spend WHERE day = ?1")?;
            let rows = statement.query_map([day], |row| Ok((row.get(0)?, Usd::from_nanos(whole(row.get(1)?)))))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        step.commit()?;
        Ok((whole(day), spent))
    }

    /// What all keys have spent by the ledger, nano-dollars.
    #[cfg(test)]
    pub(crate) fn settled(&self) -> i64 {
        self.connection.query_row("SELECT coalesce(sum(nanos), 0) FROM spend", [], |row| row.get(0)).unwrap()
    }
}

/// Part of the transaction that enters ended requests; `now` in Unix seconds.
pub(super) fn settle(batch: &Connection, settlement: &Settlement, now: u64) -> rusqlite::Result<()> {
    let Settlement { of, day, capped, reserved, closed } = settlement;
    let booked = settlement.booked();
    if *reserved {
        batch.execute("DELETE FROM grants WHERE id = ?1", [&of.id])?;
    }
    if booked > Usd::ZERO {
        book(batch, of, *day, booked, 0)?;
        let sql = "UPDATE requests SET told = json_set(told, '$.cost_usd', ?2) WHERE id = ?1";
        batch.execute(sql, params![of.id, booked.to_f64()])?;
    }
    let whose = format!("{} key {} edge {}", of.id, of.key, of.edge);
    if closed.silent {
        let counts = if *capped { "its grant counts" } else { "the key has no cap, nothing is booked" };
        note(
            batch,
            now,
            "grant_lost",
            &format!("{whose}: no word came of what it spent; {counts}, {booked} USD in all"),
        )?;
    }
    if closed.over {
        note(batch, now, "overspent", &format!("{whose}: it spent more than it was granted, {booked} USD in all"))?;
    }
    Ok(())
}

/// Adds to the ledger's day and to the same day of `usage`, whose rows of that name may also count
/// requests.
fn book(batch: &Connection, of: &Of, day: u64, amount: Usd, requests: u32) -> rusqlite::Result<()> {
    let nanos = integer(amount.nanos());
    let sql = format!(
        "INSERT INTO spend VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET nanos = min(nanos + excluded.nanos, {MOST})"
    );
    batch.execute(&sql, params![of.key, integer(day), nanos])?;
    let sql = format!(
        "INSERT INTO usage (day, key, model, edge, served_by, requests, failed, input, output, nanos)
         VALUES (?1, ?2, ?3, ?4, 'bedrock', ?6, ?6, 0, 0, ?5)
         ON CONFLICT DO UPDATE SET nanos = min(nanos + excluded.nanos, {MOST}),
         requests = requests + excluded.requests, failed = failed + excluded.failed"
    );
    batch.execute(&sql, params![written(day), of.key, of.model, of.edge, nanos, requests]).map(drop)
}

/// `2026-11-23`.
fn written(day: u64) -> String {
    let Utc { year, month, day, .. } = utc(day.saturating_mul(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
#[path = "spend_tests.rs"]
mod tests;
