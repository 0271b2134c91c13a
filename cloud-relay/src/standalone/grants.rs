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
        if self.capped {
            self.grants.lock().settle(&self.of.key, self.grant, closed.spent);
        }
        let of = self.of.clone();
        let settlement = Settlement { of, day: self.grant.day, capped: self.capped, closed };
        if !settlement.is_nothing() {
            self.grants.books.settle(settlement);
        }
    }
}
