//! The books as `serve` keeps them: ended requests and what they spent on their way into the store,
//! and grants, which wait until they are there.
//!
//! Invariants: no request waits for the disk but for a grant of a key with a cap; what cannot be written is kept up to a bound and tried
//! again, then counted. Absent: what is written ([`crate::standalone::store::books`]).

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_dialect::time::{Utc, utc};
use causeway_policy::one_more;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::core::account::Account;
use crate::core::ceilings::{Ceilings, Word};
use crate::core::spend::{Grant, Ledger};
use crate::standalone::keys::unix_now;
use crate::standalone::store::spend::{Of, Settlement};
use crate::standalone::store::{Store, StoreError};

/// Requests not yet written, count: about 500 bytes each.
const BACKLOG: usize = 65_536;

/// Ended requests that are found without asking the store, count: more than end while one batch is
/// gathered and written. About 700 bytes each.
const RECENT: usize = 2_048;

/// How long requests are gathered for one transaction: each costs the disk a flush.
const GATHER: Duration = Duration::from_millis(200);

/// A store that refuses is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Refusals of one key (or of none that is good) that are entered at once, and the time in which one
/// more is: whoever is refused all the time must not push everything else out.
const REFUSALS: u32 = 100;
const ONE_MORE_REFUSAL: Duration = Duration::from_secs(10);

/// Keys whose refusals are counted at once, count.
const REFUSED_KEYS: usize = 10_000;

/// Lookups in the store at once, count: each holds a thread of the blocking pool.
const LOOKUPS: usize = 4;

/// See the module's head.
pub(crate) struct Books {
    store: Arc<Mutex<Store>>,
    /// Of its own, so that no lookup waits for a batch.
    reader: Arc<Mutex<Store>>,
    lookups: Semaphore,
    entries: Mutex<Entries>,
    filled: Notify,
    /// Somebody waits for the next batch.
    urgent: Notify,
    /// Held while a batch is written: the last one waits for it.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Entries {
    pending: Vec<Arc<Account>>,
    settlements: Vec<Settlement>,
    /// As many as requests run; each is told whether it was written.
    grants: Vec<(Of, Grant, oneshot::Sender<bool>)>,
    /// What edges newly said, by edge and model; bounded by what is remembered of each.
    ceilings: HashMap<(String, String), Option<bool>>,
    recent: VecDeque<Arc<Account>>,
    /// Not entered: too many, or the store refused for too long.
    lost: u64,
    /// Refusals that were not entered, and when each key's may all be entered again.
    left_out: u64,
    refusals: HashMap<String, Instant>,
    /// The store refused the last batch.
    refused: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Batch {
    /// There was none.
    Nothing,
    Written,
    /// The store refused it; it is kept.
    Refused,
}

impl Books {
    /// Opens the store's books.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        Ok(Arc::new(Self {
            store: Arc::new(Mutex::new(Store::open_for_books(path)?)),
            reader: Arc::new(Mutex::new(Store::open(path)?)),
            lookups: Semaphore::new(LOOKUPS),
            entries: Mutex::default(),
            filled: Notify::new(),
            urgent: Notify::new(),
            writing: tokio::sync::Mutex::default(),
        }))
    }

    /// Takes a request that has ended.
    pub(crate) fn enter(&self, account: Account) {
        let mut entries = self.lock();
        if account.served_by().is_none() && !entries.admits_refusal(&account.key, Instant::now()) {
            entries.left_out += 1;
            return;
        }
        let account = Arc::new(account);
        if entries.recent.len() >= RECENT {
            entries.recent.pop_front();
        }
        entries.recent.push_back(Arc::clone(&account));
        if entries.pending.len() >= BACKLOG {
            entries.lost += 1;
            return;
        }
        entries.pending.push(account);
        drop(entries);
        self.filled.notify_one();
    }

    /// Takes what a request has spent. Where there is no room, its grant stays in the store, and counts
    /// as spent when the relay starts again.
    pub(crate) fn settle(&self, settlement: Settlement) {
        let (id, booked) = (&settlement.of.id, settlement.booked().to_f64());
        let mut entries = self.lock();
        let mut recent = entries.recent.iter_mut().rev();
        if let Some(account) = recent.find(|account| account.id == *id) {
            Arc::make_mut(account).outcome.usd = Some(booked);
        }
        if entries.settlements.len() >= BACKLOG {
            entries.lost += 1;
            return;
        }
        entries.settlements.push(settlement);
        drop(entries);
        self.filled.notify_one();
    }

    /// Writes a grant down; true once it is.
    pub(crate) async fn reserve(&self, of: Of, grant: Grant) -> bool {
        let (sender, written) = oneshot::channel();
        self.lock().grants.push((of, grant, sender));
        self.urgent.notify_one();
        self.filled.notify_one();
        // Nobody tells where the store does not take it, or the process ends.
        written.await.unwrap_or(false)
    }

    /// Takes what an edge newly said of its models, and writes it at once.
    pub(crate) fn note_ceilings(&self, words: Vec<Word>) {
        if !words.is_empty() {
            self.lock().ceilings.extend(words.into_iter().map(|word| ((word.edge, word.model), word.may)));
            self.urgent.notify_one();
            self.filled.notify_one();
        }
    }

    /// What edges have said of their models until now.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(crate) fn ceilings(&self) -> Result<Ceilings, StoreError> {
        Ok(Ceilings::new(locked(&self.store).ceilings()?))
    }

    /// What keys have spent until now; what was granted when the last process ended counts as spent.
    /// Only for the one process that serves.
    ///
    /// # Errors
    ///
    /// The store cannot be read or written.
    pub(crate) fn ledger(&self) -> Result<Ledger, StoreError> {
        let (day, spent) = locked(&self.store).recover(unix_now())?;
        Ok(Ledger::new(day, spent))
    }

    /// What is told of a request of this key that has ended, as JSON.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(crate) async fn find(&self, key: &str, id: &str) -> Result<Option<String>, StoreError> {
        let is_it =
            |account: &Arc<Account>| account.key == key && (account.id == id || account.own_id.as_deref() == Some(id));
        let here = {
            let entries = self.lock();
            entries.recent.iter().rev().chain(entries.pending.iter().rev()).find(|account| is_it(account)).cloned()
        };
        if let Some(account) = here {
            return Ok(Some(account.to_json().to_string()));
        }
        let _turn = self.lookups.acquire().await;
        let (store, key, id) = (Arc::clone(&self.reader), key.to_owned(), id.to_owned());
        let found = spawn_blocking(move || locked(&store).request(&key, &id));
        // It ends early only with the process.
        found.await.unwrap_or(Ok(None))
    }

    /// Writes what has gathered, for ever; what ends meanwhile gathers for the next batch.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            self.sleep_unless_urgent(GATHER).await;
            if self.write_batch().await == Batch::Refused {
                self.sleep_unless_urgent(AGAIN).await;
                self.filled.notify_one();
            }
        }
    }

    async fn sleep_unless_urgent(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.urgent.notified() => {}
        }
    }

    /// Writes all there is, until it is written.
    pub(crate) async fn write(&self) {
        loop {
            match self.write_batch().await {
                Batch::Nothing => return,
                Batch::Written => {}
                Batch::Refused => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    async fn write_batch(&self) -> Batch {
        let _alone = self.writing.lock().await;
        let words: Vec<Word> = {
            let new = std::mem::take(&mut self.lock().ceilings);
            new.into_iter().map(|((edge, model), may)| Word { edge, model, may }).collect()
        };
        // What waits for the rest must not wait for these.
        let kept = words.is_empty() || self.keep_ceilings(words).await;
        let rest = self.write_rest().await;
        if kept { rest } else { Batch::Refused }
    }

    async fn write_rest(&self) -> Batch {
        let (grants, batch, settlements, left_out) = {
            let mut entries = self.lock();
            let entries = &mut *entries;
            let (grants, batch) = (std::mem::take(&mut entries.grants), std::mem::take(&mut entries.pending));
            (grants, batch, std::mem::take(&mut entries.settlements), std::mem::take(&mut entries.left_out))
        };
        if grants.is_empty() && batch.is_empty() && settlements.is_empty() && left_out == 0 {
            return Batch::Nothing;
        }
        let (store, rows, settled) = (Arc::clone(&self.store), batch.clone(), settlements.clone());
        let outcome = spawn_blocking(move || {
            let mut store = locked(&store);
            // First: somebody waits for them, and what settles them comes after.
            write_grants(&mut store, grants);
            if rows.is_empty() && settled.is_empty() && left_out == 0 {
                return Ok(());
            }
            store.enter(rows.iter().map(Arc::as_ref), &settled, day, unix_now())?;
            if left_out > 0 { store.note_left_out(unix_now(), left_out) } else { Ok(()) }
        });
        // It ends early only with the process.
        let Ok(outcome) = outcome.await else { return Batch::Nothing };
        let (lost, refused_before) = {
            let mut entries = self.lock();
            (std::mem::take(&mut entries.lost), std::mem::replace(&mut entries.refused, outcome.is_err()))
        };
        if lost > 0 {
            tracing::error!(lost, "requests were left out of the books: the store took too long");
        }
        let Err(error) = outcome else { return Batch::Written };
        if !refused_before {
            tracing::error!(%error, "the books cannot be written; they are kept and tried again");
        }
        self.put_back(batch, settlements, left_out);
        Batch::Refused
    }

    /// What the store refuses goes back, unless its edge has said something else since.
    async fn keep_ceilings(&self, words: Vec<Word>) -> bool {
        let store = Arc::clone(&self.store);
        let kept = spawn_blocking(move || {
            let outcome = locked(&store).keep_ceilings(&words);
            (outcome, words)
        });
        // It ends early only with the process.
        let Ok((outcome, words)) = kept.await else { return true };
        let Err(error) = outcome else { return true };
        let mut entries = self.lock();
        if !std::mem::replace(&mut entries.refused, true) {
            tracing::error!(%error, "what edges say of their models cannot be written; it is tried again");
        }
        for Word { edge, model, may } in words {
            entries.ceilings.entry((edge, model)).or_insert(may);
        }
        false
    }

    fn put_back(&self, mut batch: Vec<Arc<Account>>, mut settlements: Vec<Settlement>, left_out: u64) {
        let mut entries = self.lock();
        settlements.append(&mut entries.settlements);
        let surplus = settlements.len().saturating_sub(BACKLOG);
        settlements.truncate(BACKLOG);
        entries.lost += surplus as u64;
        entries.settlements = settlements;
        entries.left_out += left_out;
        batch.append(&mut entries.pending);
        let surplus = batch.len().saturating_sub(BACKLOG);
        batch.truncate(BACKLOG);
        entries.lost += surplus as u64;
        entries.pending = batch;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn admits_refusal(&mut self, key: &str, now: Instant) -> bool {
        if !self.refusals.contains_key(key) && self.refusals.len() >= REFUSED_KEYS {
            self.refusals.retain(|_, full_at| *full_at > now);
        }
        let burst = ONE_MORE_REFUSAL * REFUSALS;
        match one_more(self.refusals.get(key).copied(), ONE_MORE_REFUSAL, burst, now) {
            Ok(full_at) => {
                self.refusals.insert(key.to_owned(), full_at);
                true
            }
            Err(_) => false,
        }
    }
}

/// Writes grants in one transaction; where that fails nobody is told yes, and none is in the store.
fn write_grants(store: &mut Store, grants: Vec<(Of, Grant, oneshot::Sender<bool>)>) {
    if grants.is_empty() {
        return;
    }
    let outcome = store.reserve(grants.iter().map(|(of, grant, _)| (of, *grant)));
    if let Err(error) = &outcome {
        tracing::error!(%error, "grants cannot be written; their requests spend nothing");
    }
    for (_, _, told) in grants {
        // Who has left does not listen.
        let _ = told.send(outcome.is_ok());
    }
}

fn locked(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The UTC day on which a request began.
fn day(account: &Account) -> String {
    let Utc { year, month, day, .. } = utc(account.started_ms / 1_000);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use causeway_wire::Backend;

    use super::*;
    use crate::standalone::store::books::By;

    fn books() -> (tempfile::TempDir, Arc<Books>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        Store::create(&path).unwrap();
        let books = Books::open(&path).unwrap();
        (directory, books)
    }

    fn account(id: usize, key: &str) -> Account {
        let edge = Some("gpu-1".to_owned());
        let backend = Some(Backend::Local);
        Account {
            id: id.to_string(),
            key: key.to_owned(),
            edge,
            backend,
            started_ms: 1_795_392_000_000,
            ..Account::default()
        }
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        while !holds() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_request_is_found_from_the_moment_it_ends_and_after_it_is_only_in_the_store() {
        let (_directory, books) = books();
        books.enter(account(0, "k"));
        assert!(books.find("k", "0").await.unwrap().is_some());
        books.write().await;
        for id in 1..=RECENT {
            books.enter(account(id, "k"));
        }
        assert!(books.find("k", "0").await.unwrap().unwrap().contains("\"result\":\"ok\""));
        assert_eq!(books.find("other", "0").await.unwrap(), None);
    }

    #[tokio::test]
    async fn every_request_is_in_its_days_sum() {
        let (_directory, books) = books();
        for id in 0..100 {
            books.enter(account(id, "k"));
        }
        books.write().await;
        let sums = locked(&books.store).usage(By::Day).unwrap();
        assert_eq!((sums[0].of.as_str(), sums[0].requests), ("2026-11-23", 100));
    }

    #[tokio::test]
    async fn whoever_is_refused_all_the_time_pushes_nobody_out_and_the_audit_says_how_often() {
        let (_directory, books) = books();
        for id in 0..1_000 {
            books.enter(Account { backend: None, ..account(id, "") });
            books.enter(Account { backend: None, ..account(1_000 + id, "k") });
        }
        books.enter(account(2_000, "k"));
        assert_eq!(books.lock().pending.len(), 2 * REFUSALS as usize + 1);
        books.write().await;
        let trail = locked(&books.store).audit(0).unwrap();
        assert_eq!(trail.entries.last().unwrap().what, "1800 refusals beyond what is entered of one key");
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_while_a_batch_is_written_gathers_for_the_next() {
        let (_directory, books) = books();
        let running = tokio::spawn(Arc::clone(&books).run());
        books.enter(account(0, "k"));
        tokio::time::sleep(GATHER).await;
        until(|| books.lock().pending.is_empty()).await;
        // The first batch is being written.
        books.enter(account(1, "k"));
        tokio::time::sleep(GATHER / 2).await;
        assert_eq!(books.lock().pending.len(), 1);
        tokio::time::sleep(GATHER).await;
        assert!(books.lock().pending.is_empty());
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_refuses_is_kept_and_written_once_it_takes_it_again() {
        let (directory, books) = books();
        let other = rusqlite::Connection::open(directory.path().join("s.db")).unwrap();
        other
            .execute_batch("CREATE TRIGGER no BEFORE INSERT ON requests BEGIN SELECT raise(ABORT, 'no'); END")
            .unwrap();
        books.enter(account(1, "k"));
        let writing = tokio::spawn({
            let books = Arc::clone(&books);
            async move { books.write().await }
        });
        // Taken, refused, put back.
        until(|| books.lock().pending.is_empty()).await;
        until(|| !books.lock().pending.is_empty()).await;
        other.execute_batch("DROP TRIGGER no").unwrap();
        writing.await.unwrap();
        assert_eq!(locked(&books.store).usage(By::Key).unwrap()[0].requests, 1);
    }
}
