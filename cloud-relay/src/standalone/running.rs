//! Requests in flight: how many there may be, and how `DELETE` reaches one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use causeway_wire::StreamId;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::core::account::running_json;

/// All requests in flight.
#[derive(Default)]
pub(crate) struct Running {
    requests: Mutex<HashMap<StreamId, Request>>,
    count: AtomicUsize,
    /// Told whenever the count falls to zero.
    idle: Notify,
}

struct Request {
    key: String,
    /// Milliseconds since 1970.
    started_ms: u64,
    own_id: Option<String>,
    flag: Arc<Flag>,
}

#[derive(Default)]
struct Flag {
    raised: AtomicBool,
    waker: AtomicWaker,
}

/// One of the places for requests at once; free again when dropped.
pub(crate) struct Slot {
    running: Arc<Running>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.running.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.running.idle.notify_one();
        }
    }
}

/// A request that `DELETE` can reach until this is dropped.
pub(crate) struct Cancellable {
    running: Arc<Running>,
    id: StreamId,
    flag: Arc<Flag>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if fewer than `most` are taken.
    pub(crate) fn take(self: &Arc<Self>, most: usize) -> Option<Slot> {
        let one_more = |count| (count < most).then_some(count + 1);
        let taken = self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Slot { running: Arc::clone(self) })
    }

    /// Requests in flight, count.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until none is in flight.
    pub(crate) async fn idle(&self) {
        while self.count() > 0 {
            self.idle.notified().await;
        }
    }

    /// Makes a request reachable.
    pub(crate) fn enter(self: &Arc<Self>, id: StreamId, key: &str, own_id: Option<String>) -> Cancellable {
        let flag = Arc::new(Flag::default());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let request = Request { key: key.to_owned(), started_ms, own_id, flag: Arc::clone(&flag) };
        self.lock().insert(id, request);
        Cancellable { running: Arc::clone(self), id, flag }
    }

    /// What is told of a request of `key` that runs, by our id or the caller's own.
    pub(crate) fn find(&self, key: &str, id: &str) -> Option<serde_json::Value> {
        let ours: Option<StreamId> = id.parse().ok();
        let requests = self.lock();
        let mut mine = requests.iter().filter(|(_, request)| request.key == key);
        let (stream, request) =
            mine.find(|(stream, request)| ours == Some(**stream) || request.own_id.as_deref() == Some(id))?;
        Some(running_json(&stream.to_string(), request.own_id.as_deref(), request.started_ms))
    }

    /// Cancels the requests of `key` with this id, ours or the caller's own; false if there is none.
    pub(crate) fn cancel(&self, key: &str, id: &str) -> bool {
        let ours: Option<StreamId> = id.parse().ok();
        let mut found = false;
        let requests = self.lock();
        for (stream, request) in requests.iter() {
            let named = ours == Some(*stream) || request.own_id.as_deref() == Some(id);
            if named && request.key == key {
                request.flag.raised.store(true, Ordering::Release);
                request.flag.waker.wake();
                found = true;
            }
        }
        found
    }
}

impl Cancellable {
    /// Ready once the request was cancelled.
    pub(crate) fn poll_cancelled(&self, cx: &Context<'_>) -> Poll<()> {
        self.flag.waker.register(cx.waker());
        if self.flag.raised.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Cancellable {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let running = Arc::new(Running::default());
        let first = running.take(1);
        assert!(first.is_some() && running.take(1).is_none());
        drop(first);
        assert!(running.take(1).is_some());
    }

    #[test]
    fn only_the_same_key_cancels_by_either_id() {
        let running = Arc::new(Running::default());
        let id = StreamId::new(1, 2);
        let request = running.enter(id, "key", Some("mine".to_owned()));
        assert!(!running.cancel("other", "mine") && !running.cancel("key", "theirs"));
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(request.poll_cancelled(&cx).is_pending());
        assert!(running.cancel("key", "mine") && running.cancel("key", &id.to_string()));
        assert!(request.poll_cancelled(&cx).is_ready());
        drop(request);
        assert!(!running.cancel("key", "mine"));
    }
}
