//! Who waits for one model, and in which order they are served.
//!
//! Order: class, then key by deficit round robin, then earliest deadline within the key. The round
//! robin is the one with a quantum of a single token, which is start-time fair queueing: every key
//! has an account of tokens served, the lowest account is next, and a key that comes back starts
//! no lower than the round has come. So a key is ahead of another by at most one request.
//! Invariants: bounded by its owner; only keys that wait, run or are ahead of the round are kept;
//! one that is forgotten never comes back ahead of where it stood, so that those who wait are
//! served however many others come and go.
//! Absent: slots and time to the first token (see `plan.rs`).

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::plan::Outlook;
use super::predict::{MOST_CHARGED, Need, millis};
use super::types::{Class, Ticket};
use crate::Key;

/// Waiting batch work is served before interactive work once its head has waited this long, in
/// milliseconds.
const BATCH_PATIENCE: f64 = 60_000.0;
/// Of so many grants one is for batch work that waits.
const BATCH_EVERY: u32 = 10;
/// Idle accounts ahead of the round that one class of one model remembers, beside those that wait
/// or run: 80 bytes each. Beyond it the one that is least ahead is forgotten and the round moves up to it.
const MOST_ACCOUNTS: usize = 256;

/// One waiting request.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) ticket: Ticket,
    pub(crate) key: Key,
    pub(crate) class: Class,
    pub(crate) need: Need,
    pub(crate) prefix: u64,
    pub(crate) since: Instant,
    /// When it stops waiting; earlier comes first within a key.
    pub(crate) due: Option<Instant>,
    /// When the first token is wanted, if that moves it: it can overflow, or the deadline is hard.
    pub(crate) deadline: Option<Instant>,
    pub(crate) overflow: bool,
    /// Missing the deadline ends it.
    pub(crate) hard: bool,
    /// The latest time to go to Bedrock and still be in time.
    pub(crate) decide_by: Option<Instant>,
    /// As of the last plan.
    pub(crate) outlook: Outlook,
    /// As of the submission.
    pub(crate) promised: Option<Outlook>,
}

impl Entry {
    fn rank(&self) -> (bool, Option<Instant>, Ticket) {
        (self.due.is_none(), self.due, self.ticket)
    }
}

/// One key's waiting requests and its account.
#[derive(Clone, Debug)]
struct Account {
    key: Key,
    /// Tokens served, on the round's scale.
    served: u64,
    /// The grant that was its last: of equal accounts the one that waited longer is first.
    last: u64,
    running: u32,
    entries: VecDeque<Entry>,
}

/// One class.
#[derive(Clone, Debug, Default)]
struct Lane {
    accounts: Vec<Account>,
    /// How far the round has come: the account of the key that was served last.
    round: u64,
    waiting: usize,
}

/// Whose turn it is between the classes. Small and copied, so that a plan can run ahead with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    since_batch: u32,
    batch_was_last: bool,
}

impl Turn {
    /// `batch`: for how many milliseconds the head of the batch work has waited, if there is any.
    fn next(&self, interactive: bool, batch: Option<f64>) -> Class {
        let Some(waited) = batch else { return Class::Interactive };
        // An old backlog of batch work alternates with the callers; it does not shut them out.
        let old = waited > BATCH_PATIENCE && !self.batch_was_last;
        if !interactive || old || self.since_batch + 1 >= BATCH_EVERY { Class::Batch } else { Class::Interactive }
    }

    fn took(&mut self, class: Class) {
        self.batch_was_last = class == Class::Batch;
        self.since_batch = if self.batch_was_last { 0 } else { self.since_batch.saturating_add(1) };
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    interactive: Lane,
    batch: Lane,
    turn: Turn,
    grants: u64,
    /// No entry is due before this.
    due_from: Option<Instant>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.interactive.waiting + self.batch.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.due_from = self.due_from.into_iter().chain(entry.due).min();
        let grants = self.grants;
        let lane = self.lane(entry.class);
        lane.waiting += 1;
        let account = lane.account(entry.key, grants);
        let place = account.entries.partition_point(|other| other.rank() < entry.rank());
        account.entries.insert(place, entry);
    }

    /// Takes the next in order, and charges its key with `cost(entry)` tokens in advance.
    pub(crate) fn pop(&mut self, now: Instant, cost: impl Fn(&Entry) -> u64) -> Option<(Entry, u64)> {
        let (first, second) = (self.interactive.head(), self.batch.head());
        let waited = second.and_then(|index| self.batch.entry(index, 0)).map(|entry| waited(now, entry));
        if first.is_none() && waited.is_none() {
            return None;
        }
        let class = self.turn.next(first.is_some(), waited);
        let index = match class {
            Class::Interactive => first?,
            Class::Batch => second?,
        };
        self.take_turn(class);
        let grants = self.grants;
        let lane = self.lane(class);
        let account = lane.accounts.get_mut(index)?;
        let entry = account.entries.pop_front()?;
        let cost = cost(&entry);
        lane.waiting -= 1;
        lane.round = lane.round.max(account.charge(cost, grants));
        Some((entry, cost))
    }

    /// Charges a request that got its slot without waiting.
    pub(crate) fn granted(&mut self, class: Class, key: Key, cost: u64) {
        self.take_turn(class);
        let grants = self.grants;
        let lane = self.lane(class);
        let start = lane.account(key, grants).charge(cost, grants);
        lane.round = lane.round.max(start);
    }

    /// Corrects the advance charge of a request that gave its slot back.
    pub(crate) fn settled(&mut self, class: Class, key: Key, charged: u64, real: u64) {
        let lane = self.lane(class);
        if let Some(account) = lane.accounts.iter_mut().find(|account| account.key == key) {
            account.served = account.served.saturating_sub(charged).saturating_add(real.min(MOST_CHARGED));
            account.running = account.running.saturating_sub(1);
        }
        lane.forget();
    }

    /// One whose waiting is over. Looks at the entries only when one may be.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Ticket> {
        self.due_from.filter(|due| *due <= now)?;
        let over = self.iter().find(|entry| entry.due.is_some_and(|due| due <= now)).map(|entry| entry.ticket);
        if over.is_none() {
            self.due_from = self.iter().filter_map(|entry| entry.due).min();
        }
        over
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Entry> {
        for lane in [&mut self.interactive, &mut self.batch] {
            for account in &mut lane.accounts {
                if let Some(place) = account.entries.iter().position(|entry| entry.ticket == ticket) {
                    let entry = account.entries.remove(place);
                    lane.waiting -= 1;
                    lane.forget();
                    return entry;
                }
            }
        }
        None
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let lanes = [&self.interactive, &self.batch].into_iter();
        lanes.flat_map(|lane| lane.accounts.iter().flat_map(|account| account.entries.iter()))
    }

    /// Visits every entry in the order of service, as far as that is known now. `visit` tells when
    /// the entry would get its slot, in milliseconds from now, and whether it stays in the order at
    /// all: one that goes elsewhere charges nothing.
    pub(crate) fn in_order(&mut self, now: Instant, scratch: &mut Scratch, mut visit: impl FnMut(&mut Entry) -> Visit) {
        let mut turn = self.turn;
        let mut grants = self.grants;
        let mut elapsed = 0.0;
        scratch.interactive.fill(&self.interactive);
        scratch.batch.fill(&self.batch);
        loop {
            let head = scratch.batch.peek().and_then(|seat| self.batch.entry(seat.account, seat.position));
            let waited = head.map(|entry| waited(now, entry) + elapsed);
            let interactive = scratch.interactive.peek().is_some();
            if !interactive && waited.is_none() {
                return;
            }
            let class = turn.next(interactive, waited);
            let (lane, seats) = match class {
                Class::Interactive => (&mut self.interactive, &mut scratch.interactive),
                Class::Batch => (&mut self.batch, &mut scratch.batch),
            };
            // Changed in place, the top sinks to where it belongs once the guard is dropped.
            let Some(mut top) = seats.0.peek_mut() else { return };
            let Reverse(seat) = &mut *top;
            let Some(account) = lane.accounts.get_mut(seat.account) else { return };
            let Some(entry) = account.entries.get_mut(seat.position) else { return };
            match visit(entry) {
                Visit::Leaves => {}
                Visit::Served { after, cost } => {
                    elapsed = after;
                    turn.took(class);
                    grants += 1;
                    seat.served = seat.served.saturating_add(cost);
                    seat.last = grants;
                }
            }
            seat.position += 1;
            if seat.position >= account.entries.len() {
                PeekMut::pop(top);
            }
        }
    }

    fn take_turn(&mut self, class: Class) {
        self.turn.took(class);
        self.grants += 1;
    }

    fn lane(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Interactive => &mut self.interactive,
            Class::Batch => &mut self.batch,
        }
    }
}

impl Account {
    /// Charges a grant in advance; the account before it is how far the round has come.
    fn charge(&mut self, cost: u64, grant: u64) -> u64 {
        let start = self.served;
        self.served = start.saturating_add(cost);
        self.last = grant;
        self.running += 1;
        start
    }

    fn is_idle(&self) -> bool {
        self.entries.is_empty() && self.running == 0
    }
}

impl Lane {
    /// The account of the key that is next.
    fn head(&self) -> Option<usize> {
        let waiting = self.accounts.iter().enumerate().filter(|(_, account)| !account.entries.is_empty());
        waiting.min_by_key(|(_, account)| (account.served, account.last)).map(|(index, _)| index)
    }

    fn entry(&self, account: usize, position: usize) -> Option<&Entry> {
        self.accounts.get(account)?.entries.get(position)
    }

    /// The key's account; an idle one is brought up to the round. A new one is behind its equals,
    /// who have waited longer.
    fn account(&mut self, key: Key, grants: u64) -> &mut Account {
        let round = self.round;
        let index = self.accounts.iter().position(|account| account.key == key).unwrap_or_else(|| {
            self.accounts.push(Account { key, served: round, last: grants, running: 0, entries: VecDeque::new() });
            self.accounts.len() - 1
        });
        let account = &mut self.accounts[index];
        if account.entries.is_empty() {
            account.served = account.served.max(round);
        }
        account
    }

    /// Drops accounts that say nothing any more: idle and not ahead of the round.
    fn forget(&mut self) {
        let round = self.round;
        self.accounts.retain_mut(|account| {
            let idle = account.is_idle();
            if idle && account.entries.capacity() > 0 {
                account.entries = VecDeque::new();
            }
            !idle || account.served > round
        });
        while self.accounts.len() > MOST_ACCOUNTS {
            let idle = self.accounts.iter().enumerate().filter(|(_, account)| account.is_idle());
            if idle.clone().count() <= MOST_ACCOUNTS {
                return;
            }
            let least = idle.min_by_key(|(_, account)| account.served).map(|(index, _)| index);
            let Some(least) = least.map(|index| self.accounts.remove(index)) else { return };
            self.round = self.round.max(least.served);
        }
    }
}

/// What becomes of an entry that a plan visits.
pub(crate) enum Visit {
    /// It gets its slot after so many milliseconds and charges its key so many tokens.
    Served { after: f64, cost: u64 },
    /// It does not stay.
    Leaves,
}

/// Memory of a plan, kept so that a decision allocates nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    interactive: Seats,
    batch: Seats,
}

/// Where one key stands in a plan. Ordered as [`Lane::head`] chooses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Seat {
    served: u64,
    last: u64,
    account: usize,
    position: usize,
}

/// The keys that still have entries to visit, as a heap whose top is next.
#[derive(Clone, Debug, Default)]
struct Seats(BinaryHeap<Reverse<Seat>>);

impl Seats {
    fn fill(&mut self, lane: &Lane) {
        self.0.clear();
        let waiting = lane.accounts.iter().enumerate().filter(|(_, account)| !account.entries.is_empty());
        self.0.extend(waiting.map(|(index, account)| {
            Reverse(Seat { served: account.served, last: account.last, account: index, position: 0 })
        }));
    }

    fn peek(&self) -> Option<Seat> {
        self.0.peek().map(|seat| seat.0)
    }
}

fn waited(now: Instant, entry: &Entry) -> f64 {
    millis(now.saturating_duration_since(entry.since))
}
