//! One link's state behind one lock: the sans-IO [`Link`], the wakers of those who wait on it, and
//! the queue of notices for the program.
//!
//! Every mutation goes through [`Shared::with`], which drains the link's events before the lock is
//! given back (the drive order of `causeway-wire`) and wakes afterwards, outside the lock.
//! Absent: sockets (`pump.rs`), dialling (`dial.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Instant;

use causeway_wire::{
    Code, ConnId, Down, Event, Failure, Head, Link, Load, ModelInfo, Open, Outcome, StreamEvent, StreamId,
};
use foldhash::HashMap;
use tokio::sync::{Notify, mpsc};

use crate::stream::{Incoming, RequestStream};

/// What a link tells its program, in the order it happened.
#[derive(Debug)]
pub(crate) enum Notice {
    Up { resumed: bool },
    Down(Down),
    Superseded,
    Fault(String),
    Catalog(Vec<ModelInfo>),
    Load(Load),
}

/// Who is told; called without the lock, one notice at a time.
pub(crate) trait Notices: Send + Sync + 'static {
    fn notice(&self, notice: Notice);
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub(crate) enum Terminal {
    End(Option<Outcome>),
    Failed(Failure),
    Cancelled(String),
}

/// What the holder of a stream has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) head: Option<Head>,
    /// Edge: the request's body is whole. Not terminal: the answer is still to be sent, and a
    /// cancel may still come.
    pub(crate) body_end: bool,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) receiver: Option<Waker>,
    pub(crate) sender: Option<Waker>,
}

/// One connection as its pump sees it.
#[derive(Debug, Default)]
pub(crate) struct Conn {
    pub(crate) waker: Option<Waker>,
    pub(crate) close: Option<(u16, &'static str)>,
}

pub(crate) struct Core {
    pub(crate) link: Link,
    pub(crate) slots: HashMap<StreamId, Slot>,
    pub(crate) conns: HashMap<ConnId, Conn>,
    /// Connections to dial, taken by the edge's driver. Bounded by the link: four at most.
    pub(crate) dials: Vec<ConnId>,
    /// Where requests go (edge only).
    incoming: Option<mpsc::Sender<Incoming>>,
    notices: VecDeque<Notice>,
    dispatching: bool,
    /// When the timer task wakes next.
    armed: Option<Instant>,
    wakers: Vec<Waker>,
}

pub(crate) struct Shared {
    core: Mutex<Core>,
    /// The timer's deadline moved forward.
    pub(crate) timer: Notify,
    /// Something is in `dials`.
    pub(crate) dial: Notify,
    sink: Box<dyn Notices>,
    me: Weak<Shared>,
}

impl Shared {
    pub(crate) fn new(
        link: Link,
        incoming: Option<mpsc::Sender<Incoming>>,
        sink: impl FnOnce(&Weak<Self>) -> Box<dyn Notices>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            core: Mutex::new(Core {
                link,
                slots: HashMap::default(),
                conns: HashMap::default(),
                dials: Vec::new(),
                incoming,
                notices: VecDeque::new(),
                dispatching: false,
                armed: None,
                wakers: Vec::new(),
            }),
            timer: Notify::new(),
            dial: Notify::new(),
            sink: sink(me),
            me: Weak::clone(me),
        })
    }

    /// Mutates the link, then drains what follows from it.
    pub(crate) fn with<R>(&self, mutate: impl FnOnce(&mut Core, Instant) -> R) -> R {
        let now = now();
        let mut core = self.lock();
        let result = mutate(&mut core, now);
        self.settle(&mut core, now);
        let wakers = std::mem::take(&mut core.wakers);
        let dispatch = !core.notices.is_empty() && !core.dispatching;
        if dispatch {
            core.dispatching = true;
        }
        drop(core);
        for waker in wakers {
            waker.wake();
        }
        if dispatch {
            self.dispatch();
        }
        result
    }

    /// Looks without touching.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Core) -> R) -> R {
        look(&self.lock())
    }

    /// Takes the next message for a connection, or leaves the waker of its pump if there is none.
    pub(crate) fn transmit_or_park(&self, id: ConnId, waker: &Waker) -> Option<String> {
        self.with(|core, now| {
            let text = core.link.poll_transmit(now, id);
            if let Some(conn) = core.conns.get_mut(&id) {
                conn.waker = text.is_none().then(|| waker.clone());
            }
            text
        })
    }

    /// Whether the pump was woken by the link since it last left its waker.
    pub(crate) fn was_stirred(&self, id: ConnId) -> bool {
        self.lock().conns.get(&id).is_some_and(|conn| conn.waker.is_none())
    }

    /// Whether the link has something to send on this connection, and whether it is to be closed.
    pub(crate) fn outlook(&self, id: ConnId) -> (bool, Option<(u16, &'static str)>) {
        let core = self.lock();
        (core.link.wants_transmit(id), core.conns.get(&id).and_then(|conn| conn.close))
    }

    /// Leaves the waker of a stream's holder if there is nothing for it to receive.
    pub(crate) fn park_receiver(&self, id: StreamId, waker: &Waker) -> bool {
        let mut core = self.lock();
        let has_data = core.link.has_data(id);
        let Some(slot) = core.slots.get_mut(&id) else {
            return true;
        };
        if has_data || slot.head.is_some() || slot.body_end || slot.terminal.is_some() {
            return false;
        }
        match &mut slot.receiver {
            Some(left) => left.clone_from(waker),
            None => slot.receiver = Some(waker.clone()),
        }
        true
    }

    /// Leaves the waker of a pump whose socket takes nothing now.
    pub(crate) fn park(&self, id: ConnId, waker: &Waker) {
        if let Some(conn) = self.lock().conns.get_mut(&id) {
            conn.waker = Some(waker.clone());
        }
    }

    /// Runs the link's timers until `done`.
    pub(crate) async fn run_timers(&self, done: impl Fn(&Core, Instant) -> bool) {
        loop {
            let moved = self.timer.notified();
            let (deadline, done) = self.with(|core, now| {
                core.armed = core.link.poll_timeout();
                (core.armed, done(core, now))
            });
            if done {
                return;
            }
            match deadline {
                None => moved.await,
                Some(deadline) => {
                    tokio::select! {
                        () = moved => {}
                        () = tokio::time::sleep_until(deadline.into()) => {
                            self.with(|core, now| core.link.handle_timeout(now));
                        }
                    }
                }
            }
        }
    }

    /// A handle for a stream whose slot exists.
    pub(crate) fn stream(&self, id: StreamId) -> Option<RequestStream> {
        Some(RequestStream::new(id, self.me.upgrade()?))
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic of one holder leaves at worst one stream behind; the process reports it elsewhere.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, core: &mut Core, now: Instant) {
        while let Some(event) = core.link.poll_event() {
            self.handle(core, now, event);
        }
        for (id, conn) in &mut core.conns {
            if core.link.wants_transmit(*id) || conn.close.is_some() {
                core.wakers.extend(conn.waker.take());
            }
        }
        let deadline = core.link.poll_timeout();
        if let Some(deadline) = deadline
            && core.armed.is_none_or(|armed| deadline < armed)
        {
            core.armed = Some(deadline);
            self.timer.notify_one();
        }
    }

    fn handle(&self, core: &mut Core, now: Instant, event: Event) {
        match event {
            Event::Dial(conn) => {
                core.dials.push(conn);
                self.dial.notify_one();
            }
            Event::Close(conn, code, reason) => {
                if let Some(conn) = core.conns.get_mut(&conn) {
                    conn.close = Some((code, reason));
                }
            }
            Event::Up { resumed, .. } => core.notices.push_back(Notice::Up { resumed }),
            Event::Down(down) => core.notices.push_back(Notice::Down(down)),
            Event::Superseded => core.notices.push_back(Notice::Superseded),
            Event::Fault(text) => core.notices.push_back(Notice::Fault(text)),
            Event::Catalog(models) => core.notices.push_back(Notice::Catalog(models)),
            Event::Load(load) => core.notices.push_back(Notice::Load(load)),
            Event::Incoming(id, open) => self.admit(core, now, id, open),
            Event::Stream(id, event) => stream_event(core, id, event),
            // Status pages ask for the round trip when they need it.
            Event::Rtt(_) | Event::Released(_) => {}
        }
    }

    /// Hands a request to the program, or refuses it where that does not take it.
    fn admit(&self, core: &mut Core, now: Instant, id: StreamId, open: Box<Open>) {
        let (Some(sender), Some(stream)) = (&core.incoming, self.stream(id)) else {
            return;
        };
        core.slots.insert(id, Slot::default());
        if let Err(refused) = sender.try_send(Incoming { open, stream }) {
            // The handle inside must not lock again on its way out.
            refused.into_inner().stream.forget();
            core.slots.remove(&id);
            let failure = Failure::new(Code::Saturated, "the edge takes no more requests at once; try again");
            core.link.fail(now, id, failure.retryable());
            core.link.release(now, id);
        }
    }

    fn dispatch(&self) {
        loop {
            let mut core = self.lock();
            let Some(notice) = core.notices.pop_front() else {
                core.dispatching = false;
                return;
            };
            drop(core);
            self.sink.notice(notice);
        }
    }
}

fn stream_event(core: &mut Core, id: StreamId, event: StreamEvent) {
    let is_edge = core.incoming.is_some();
    let Some(slot) = core.slots.get_mut(&id) else {
        return;
    };
    match event {
        StreamEvent::End(_) if is_edge => slot.body_end = true,
        StreamEvent::Head(head) => slot.head = Some(head),
        StreamEvent::Readable => {}
        StreamEvent::Writable => {
            core.wakers.extend(slot.sender.take());
            return;
        }
        StreamEvent::End(outcome) => slot.terminal = Some(Terminal::End(outcome)),
        StreamEvent::Failed(failure) => slot.terminal = Some(Terminal::Failed(failure)),
        StreamEvent::Cancelled(reason) => slot.terminal = Some(Terminal::Cancelled(reason)),
    }
    core.wakers.extend(slot.receiver.take());
    if slot.terminal.is_some() {
        core.wakers.extend(slot.sender.take());
    }
}

/// The runtime's clock, so that tests with paused time drive the link too.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
