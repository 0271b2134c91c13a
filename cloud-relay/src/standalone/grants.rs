//! Grants as `serve` gives them: reserved in memory, written down, settled once.
//!
//! Invariants: a grant of a key with a cap is on disk before it is used, and settled exactly once,
//! by the drop of its [`Wallet`]; a key without a cap waits for no disk. Absent: how much
//! ([`crate::core::spend`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_wire::Code;

use crate::core::auth::Key;
use crate::core::errors::Refusal;
use crate::core::spend::{Grant, Ledger, Purse, UNCAPPED, Usd, Word};
use crate::standalone::books::Books;
use crate::standalone::keys::unix_now;
use crate::standalone::store::spend::{Of, Settlement};

/// See the module's head.
pub(crate) struct Grants {
    ledger: Mutex<Ledger>,
    books: Arc<Books>,
}

impl Grants {
    pub(crate) fn new(books: Arc<Books>, ledger: Ledger) -> Arc<Self> {
        Arc::new(Self { ledger: Mutex::new(ledger), books })
    }

    /// What a request of this key may spend, once that is written down.
    ///
    /// # Errors
    ///
    /// Nothing is left of its day (429), or it cannot be written down (500).
    pub(crate) async fn take(self: &Arc<Self>, key: &Key, of: Of) -> Result<Wallet, Refusal> {
        let Some(cap) = key.terms.daily else {
            let grant = Grant { day: self.lock().today(unix_now()), amount: UNCAPPED };
            return Ok(Wallet::new(self, of, grant, false));
        };
        let grant = {
            let (mut ledger, now) = (self.lock(), unix_now());
            let grant = ledger.reserve(&key.id, cap, now);
            if grant.amount == Usd::ZERO {
                return Err(ledger.exhausted(cap, now));
            }
            grant
        };
        // From here its drop gives the reservation back, also where the caller leaves meanwhile.
        let wallet = Wallet::new(self, of, grant, true);
        match self.books.reserve(wallet.of.clone(), grant).await {
            true => Ok(wallet),
            false => {
                let message = "what this request may spend cannot be written down now; try again, or let the edge's \
                               own machine answer";
                Err(Refusal::new(Code::Internal, message))
            }
        }
    }

    /// For a request that may spend nothing; an edge that spends all the same is booked and audited.
    pub(crate) fn nothing(self: &Arc<Self>, key: &Key, of: Of) -> Wallet {
        Wallet::new(
            self,
            of,
            Grant { day: self.lock().today(unix_now()), amount: Usd::ZERO },
            key.terms.daily.is_some(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's purse; settled when this is dropped.
pub(crate) struct Wallet {
    grants: Arc<Grants>,
    of: Of,
    grant: Grant,
    capped: bool,
    purse: Purse,
}

impl Wallet {
    fn new(grants: &Arc<Grants>, of: Of, grant: Grant, capped: bool) -> Self {
        Self { grants: Arc::clone(grants), of, grant, capped, purse: Purse::new(grant.amount) }
    }

    /// What the next edge may spend.
    pub(crate) fn left(&self) -> Usd {
        self.purse.left()
    }

    /// An `open` that carries it goes to this edge.
    pub(crate) fn sent(&mut self, edge: &str) {
        edge.clone_into(&mut self.of.edge);
        self.purse.sent();
    }

    /// Something was granted.
    pub(crate) fn is_grant(&self) -> bool {
        self.grant.amount > Usd::ZERO
    }

    /// An edge may be spending it now.
    pub(crate) fn is_out(&self) -> bool {
        self.purse.is_out()
    }

    /// The edge that had it has ended, or is given up.
    pub(crate) fn back(&mut self, word: Word) {
        self.purse.back(word);
    }
}

impl Drop for Wallet {
    fn drop(&mut self) {
        let closed = self.purse.close();
        let reserved = self.capped && self.is_grant();
        if self.capped {
            self.grants.lock().settle(&self.of.key, self.grant, closed.spent);
        }
        let of = self.of.clone();
        let settlement = Settlement { of, day: self.grant.day, capped: self.capped, reserved, closed };
        if !settlement.is_nothing() {
            self.grants.books.settle(settlement);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::core::ceilings;
    use crate::core::terms::Terms;
    use crate::standalone::store::Store;

    const CENT: u64 = 10_000_000;

    fn of(id: &str) -> Of {
        Of { id: id.to_owned(), key: "id".to_owned(), edge: "gpu-1".to_owned(), model: "m:latest".to_owned() }
    }

    fn key(cents: Option<u64>) -> Key {
        let daily = cents.map(|cents| Usd::from_nanos(cents * CENT));
        Key { terms: Terms { daily, ..Terms::default() }, ..Key::for_test(&[]) }
    }

    /// Grants over a new store, whose books are written by a task.
    fn grants() -> (tempfile::TempDir, PathBuf, Arc<Grants>, tokio::task::JoinHandle<()>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        Store::create(&path).unwrap();
        let books = Books::open(&path).unwrap();
        let ledger = books.ledger().unwrap();
        let writing = tokio::spawn(Arc::clone(&books).run());
        (directory, path, Grants::new(books, ledger), writing)
    }

    fn on_disk(path: &PathBuf) -> i64 {
        let store = rusqlite::Connection::open(path).unwrap();
        store.query_row("SELECT count(*) FROM grants", [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_grant_is_on_disk_before_it_is_used_and_gone_once_it_is_settled() {
        let (_directory, path, grants, writing) = grants();
        let wallet = grants.take(&key(Some(1)), of("a")).await.unwrap();
        assert_eq!((on_disk(&path), wallet.left().nanos()), (1, CENT));
        assert_eq!(grants.take(&key(Some(1)), of("b")).await.err().unwrap().code, Code::BudgetExhausted);
        drop(wallet);
        grants.books.write().await;
        assert_eq!(on_disk(&path), 0);
        assert!(grants.take(&key(Some(1)), of("c")).await.is_ok(), "nothing of the first was spent");
        writing.abort();
    }

    #[tokio::test]
    async fn a_store_that_takes_no_grant_lets_nothing_be_spent_and_loses_nothing() {
        let (_directory, path, grants, writing) = grants();
        let other = rusqlite::Connection::open(&path).unwrap();
        let refusing = "CREATE TRIGGER no BEFORE INSERT ON grants BEGIN SELECT raise(ABORT, 'no'); END";
        other.execute_batch(refusing).unwrap();
        assert_eq!(grants.take(&key(Some(1)), of("a")).await.err().unwrap().code, Code::Internal);
        other.execute_batch("DROP TRIGGER no").unwrap();
        assert_eq!(grants.take(&key(Some(1)), of("b")).await.unwrap().left().nanos(), CENT);
        writing.abort();
    }

    #[tokio::test]
    async fn a_store_that_takes_no_word_on_models_holds_up_no_grant() {
        let (_directory, path, grants, writing) = grants();
        let other = rusqlite::Connection::open(&path).unwrap();
        let refusing = "CREATE TRIGGER no BEFORE INSERT ON ceilings BEGIN SELECT raise(ABORT, 'no'); END";
        other.execute_batch(refusing).unwrap();
        let word = ceilings::Word { edge: "gpu-1".to_owned(), model: "m:latest".to_owned(), may: Some(true) };
        grants.books.note_ceilings(vec![word]);
        assert_eq!(grants.take(&key(Some(1)), of("a")).await.unwrap().left().nanos(), CENT);
        writing.abort();
    }

    #[tokio::test]
    async fn a_caller_who_leaves_while_its_grant_is_written_gives_it_back() {
        let (_directory, path, grants, writing) = grants();
        let (terms, theirs) = (key(Some(1)), Arc::clone(&grants));
        {
            let mut taking = Box::pin(theirs.take(&terms, of("a")));
            // Nobody writes between these two lines: the test has one thread.
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(taking.as_mut().poll(&mut cx).is_pending());
        }
        grants.books.write().await;
        assert_eq!(on_disk(&path), 0);
        assert!(grants.take(&terms, of("b")).await.is_ok());
        writing.abort();
    }

    #[tokio::test]
    async fn many_spenders_and_crashes_at_any_moment_never_spend_more_than_the_cap() {
        use rand::{RngExt as _, SeedableRng as _};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        Store::create(&path).unwrap();
        let terms = Arc::new(key(Some(100)));
        for run in 0..24_u64 {
            let books = Books::open(&path).unwrap();
            let grants = Grants::new(Arc::clone(&books), books.ledger().unwrap());
            let writing = tokio::spawn(Arc::clone(&books).run());
            let mut spenders = tokio::task::JoinSet::new();
            for spender in 0..64 {
                let (grants, terms) = (Arc::clone(&grants), Arc::clone(&terms));
                let mut rng = rand::rngs::StdRng::seed_from_u64(run * 64 + spender);
                spenders.spawn(async move {
                    let Ok(mut wallet) = grants.take(&terms, of(&format!("{run}-{spender}"))).await else { return 0 };
                    wallet.sent("gpu-1");
                    let left = wallet.left().nanos();
                    match rng.random_range(0..8) {
                        // Still running when the process ends: all of it may be spent.
                        0 => std::mem::forget(wallet),
                        1 => drop(wallet),
                        _ => wallet.back(Word::Spent(Usd::from_nanos(rng.random_range(0..=left / 4)))),
                    }
                    1
                });
            }
            // The end comes while some still wait for the disk.
            let mut granted = 0;
            while let Some(one) = spenders.join_next().await
                && granted < 5
            {
                granted += one.unwrap();
            }
            spenders.shutdown().await;
            // A process that is gone writes no more: here its last batch must have ended.
            books.write().await;
            writing.abort();
        }
        let store = Books::open(&path).unwrap();
        store.ledger().unwrap();
        let store = rusqlite::Connection::open(&path).unwrap();
        let most: i64 = store.query_row("SELECT max(nanos) FROM spend", [], |row| row.get(0)).unwrap();
        let booked: i64 = store.query_row("SELECT sum(nanos) FROM usage", [], |row| row.get(0)).unwrap();
        let settled: i64 = store.query_row("SELECT sum(nanos) FROM spend", [], |row| row.get(0)).unwrap();
        assert!(most > 0 && u64::try_from(most).unwrap() <= 100 * CENT, "{most} on one day");
        assert_eq!(booked, settled);
    }

    #[tokio::test]
    async fn a_key_without_a_cap_waits_for_no_disk() {
        let (_directory, path, grants, writing) = grants();
        writing.abort();
        let wallet = grants.take(&key(None), of("a")).await.unwrap();
        assert_eq!((wallet.left(), on_disk(&path)), (UNCAPPED, 0));
    }

    #[tokio::test]
    async fn what_is_spent_without_a_grant_is_booked_all_the_same() {
        let (_directory, path, grants, writing) = grants();
        for (id, cents) in [("a", None), ("b", Some(5))] {
            let mut wallet = grants.nothing(&key(cents), of(id));
            wallet.sent("gpu-1");
            wallet.back(Word::Spent(Usd::from_nanos(CENT)));
        }
        grants.books.write().await;
        let store = Store::open(&path).unwrap();
        assert_eq!(u64::try_from(store.settled()).unwrap(), 2 * CENT);
        assert_eq!(store.audit(0).unwrap().entries.iter().filter(|entry| entry.kind == "overspent").count(), 2);
        assert_eq!(grants.take(&key(Some(5)), of("c")).await.unwrap().left().nanos(), CENT);
        writing.abort();
    }
}
