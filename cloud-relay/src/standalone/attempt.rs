//! One turn at a request: an edge's stream with its place in the edge's count, or the relay's own call; and the
//! money it carries.
//!
//! Invariant: money that is with an edge comes back by the edge's last word, or is given up as spent:
//! a request that its caller leaves is cancelled, and its word waited for apart ([`Leftovers`]).

use std::task::{Context, Poll};
use std::time::Duration;

use causeway_transport::{Received, RequestStream};
use causeway_wire::{Code, Failure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::core::spend::Word;
use crate::standalone::grants::Wallet;
use crate::standalone::own_call::Own;
use crate::standalone::registry::Counted;

/// Requests whose callers have left and whose edges' last words are awaited, count: as many as run at
/// a busy relay. Beyond it grants count as spent at once.
const AWAITED: usize = 1_024;

/// How long such a word is awaited: an edge that is linked answers a cancel within a round trip, and
/// a link that is lost gives its streams up after a minute.
const WORD_TIME: Duration = Duration::from_secs(90);

/// See the module's head.
pub(crate) struct Attempt {
    /// Gone once it was handed over.
    way: Option<Way>,
    /// Gone once it was taken, or handed over.
    wallet: Option<Wallet>,
    carried: bool,
    leftovers: Leftovers,
}

/// Who answers.
enum Way {
    Edge(RequestStream, Counted),
    Own(Own),
}

impl Attempt {
    /// An `open` went out on this stream, with what is in the wallet.
    pub(crate) fn new(stream: RequestStream, counted: Counted, mut wallet: Wallet, leftovers: &Leftovers) -> Self {
        wallet.sent(counted.edge());
        let carried = wallet.is_out();
        let way = Some(Way::Edge(stream, counted));
        Self { way, wallet: Some(wallet), carried, leftovers: leftovers.clone() }
    }

    /// The relay's own call, which may spend what is in the wallet.
    pub(crate) fn own(own: Own, mut wallet: Wallet, leftovers: &Leftovers) -> Self {
        wallet.sent("");
        Self { way: Some(Way::Own(own)), wallet: Some(wallet), carried: true, leftovers: leftovers.clone() }
    }

    /// The edge and its count; none where the relay itself answers.
    pub(crate) fn counted(&self) -> Option<&Counted> {
        match &self.way {
            Some(Way::Edge(_, counted)) => Some(counted),
            Some(Way::Own(_)) | None => None,
        }
    }

    /// Something could be spent there.
    pub(crate) fn carried(&self) -> bool {
        self.carried
    }

    /// The stream, to send on.
    pub(crate) fn stream(&mut self) -> Option<&mut RequestStream> {
        match &mut self.way {
            Some(Way::Edge(stream, _)) => Some(stream),
            Some(Way::Own(_)) | None => None,
        }
    }

    /// The next thing received; an end brings the wallet back.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let received = match &mut self.way {
            Some(Way::Edge(stream, _)) => stream.poll_recv(cx),
            Some(Way::Own(own)) => own.poll_recv(cx),
            None => return Poll::Pending,
        };
        if let (Poll::Ready(received), Some(wallet)) = (&received, &mut self.wallet)
            && let Some(said) = word(received)
        {
            let word = match &self.way {
                Some(Way::Own(own)) => own.word(),
                Some(Way::Edge(..)) | None => said,
            };
            wallet.back(word);
        }
        received
    }

    /// The wallet of an attempt that has ended.
    pub(crate) fn take_wallet(&mut self) -> Option<Wallet> {
        self.wallet.take_if(|wallet| !wallet.is_out())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let (Some(way), Some(mut wallet)) = (self.way.take(), self.wallet.take()) else { return };
        match way {
            // What it has cost is known once it is dropped.
            Way::Own(own) => wallet.back(own.end()),
            Way::Edge(mut stream, _) if wallet.is_out() => {
                stream.cancel("released");
                // Where there is no room both are dropped, and the grant counts as spent.
                let _ = self.leftovers.0.try_send(Leftover { stream, wallet });
            }
            Way::Edge(..) => {}
        }
    }
}

/// What the end of a stream says of its spending; `None` where it has not ended.
fn word(received: &Received) -> Option<Word> {
    match received {
        Received::Head(_) | Received::Data(_) => None,
        Received::End(outcome) => Some(Word::of_end(outcome.as_ref())),
        Received::Failed(failure) => Some(Word::of_failure(failure)),
        Received::Cancelled(_) => Some(Word::None),
    }
}

/// Why a stream ended before its edge ended it, if so.
pub(crate) fn lost(received: Received) -> Result<Failure, Received> {
    match received {
        Received::Failed(failure) if failure.code == Code::LinkLost => Ok(failure),
        // Only edges are told that; here it means the link gave the stream up.
        Received::Cancelled(reason) => Ok(Failure::new(Code::LinkLost, reason)),
        other @ (Received::Head(_) | Received::Data(_) | Received::End(_) | Received::Failed(_)) => Err(other),
    }
}

/// Where attempts go that nobody waits for but the books.
#[derive(Clone)]
pub(crate) struct Leftovers(mpsc::Sender<Leftover>);

/// One of them.
pub(crate) struct Leftover {
    stream: RequestStream,
    wallet: Wallet,
}

impl Leftovers {
    /// The sender, and what [`await_words`] takes.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Leftover>) {
        let (sender, receiver) = mpsc::channel(AWAITED);
        (Self(sender), receiver)
    }
}

/// Waits for the edges' last words, for ever.
pub(crate) async fn await_words(mut leftovers: mpsc::Receiver<Leftover>) {
    let mut waiting = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(leftover) = leftovers.recv(), if waiting.len() < AWAITED => waiting.push(leftover.word()),
            Some(()) = waiting.next(), if !waiting.is_empty() => {}
            else => return,
        }
    }
}

impl Leftover {
    async fn word(mut self) {
        let said = timeout(WORD_TIME, async {
            loop {
                if let Some(word) = word(&self.stream.recv().await) {
                    return word;
                }
            }
        });
        let said = said.await.unwrap_or(Word::None);
        self.wallet.back(said);
    }
}
