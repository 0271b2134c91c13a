//! Ollama's side of a running session: the request under way, then its answer.
//!
//! Chunks that are there together are brought together: the HTTP client hands over one at a time
//! through a task of its own, and each step of the way has its price. Invariant: a chunk waits for
//! company no longer than one turn of the tasks that are ready.
//! Dropping it closes the connection, unless the answer was whole.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use reqwest::Response;

use super::Trouble;
use crate::ollama::{self, Asking};

/// Chunks are brought together up to this size, bytes: the link's largest body of one message.
const MOST_TOGETHER: usize = causeway_wire::limits::CHUNK;

/// Where the request to Ollama stands.
pub(super) enum Upstreams {
    Idle,
    Asking(Asking),
    Answering(Box<Answering>),
}

/// What Ollama's side brought.
pub(super) enum Brought {
    Status(u16),
    Chunk(Bytes),
    Eof,
    Broken(Trouble),
}

/// An answer, and what was read of it but not yet brought.
pub(super) struct Answering {
    response: Response,
    held: Vec<Bytes>,
    /// Of `held`, bytes.
    length: usize,
    /// The other tasks have had their turn since the last chunk.
    turned: bool,
    /// What comes after the chunks.
    end: Option<Brought>,
}

impl Upstreams {
    /// The next thing from Ollama; never while idle. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> Brought {
        let brought = match self {
            Self::Idle => std::future::pending().await,
            Self::Asking(asking) => match asking.await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    *self = Self::Answering(Box::new(Answering::new(response)));
                    return Brought::Status(status);
                }
                Err(trouble) => Brought::Broken(trouble),
            },
            Self::Answering(answering) => poll_fn(|cx| answering.poll_next(cx)).await,
        };
        if matches!(brought, Brought::Eof | Brought::Broken(_)) {
            *self = Self::Idle;
        }
        brought
    }

    /// A request is under way or its answer has not ended.
    pub(super) fn is_at_work(&self) -> bool {
        !matches!(self, Self::Idle)
    }
}

impl Answering {
    fn new(response: Response) -> Self {
        Self { response, held: Vec::new(), length: 0, turned: false, end: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Brought> {
        loop {
            if self.end.is_some() || self.length >= MOST_TOGETHER {
                return Poll::Ready(self.bring());
            }
            let next = pin!(self.response.chunk()).poll(cx);
            match next {
                Poll::Ready(Ok(Some(chunk))) => self.keep(chunk),
                Poll::Ready(Ok(None)) => self.end = Some(Brought::Eof),
                Poll::Ready(Err(error)) => self.end = Some(Brought::Broken(ollama::trouble(&error))),
                Poll::Pending if self.length == 0 => return Poll::Pending,
                Poll::Pending if self.turned => return Poll::Ready(self.bring()),
                Poll::Pending => {
                    // The client's task was woken by what was just taken, and runs before this one.
                    self.turned = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn keep(&mut self, chunk: Bytes) {
        self.turned = false;
        self.length += chunk.len();
        self.held.push(chunk);
    }

    /// What is held, or else the end. A chunk that came alone is not copied.
    fn bring(&mut self) -> Brought {
        self.turned = false;
        self.length = 0;
        match self.held.len() {
            0 => self.end.take().unwrap_or(Brought::Eof),
            1 => Brought::Chunk(self.held.pop().unwrap_or_default()),
            _ => {
                let together = self.held.concat();
                self.held.clear();
                Brought::Chunk(together.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use http_body::{Body, Frame};

    use super::*;

    /// Gives its steps one poll after another; `None` is a poll that finds nothing.
    struct Scripted(VecDeque<Option<&'static str>>);

    impl Body for Scripted {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                None => Poll::Ready(None),
                Some(None) => Poll::Pending,
                Some(Some(text)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))),
            }
        }
    }

    struct Quiet;

    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }

    /// What each poll brings, until the end.
    fn polls(steps: &[Option<&'static str>]) -> Vec<String> {
        let body = reqwest::Body::wrap(Scripted(steps.iter().copied().collect()));
        let mut answering = Answering::new(Response::from(axum::http::Response::new(body)));
        let waker = Waker::from(Arc::new(Quiet));
        let mut seen = Vec::new();
        loop {
            match answering.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Pending => seen.push("nothing".to_owned()),
                Poll::Ready(Brought::Chunk(chunk)) => seen.push(String::from_utf8_lossy(&chunk).into_owned()),
                Poll::Ready(Brought::Eof) => return seen,
                Poll::Ready(Brought::Status(_) | Brought::Broken(_)) => {
                    panic!("neither a head nor an error was scripted")
                }
            }
        }
    }

    #[test]
    fn chunks_that_are_there_together_are_brought_together_and_in_order() {
        assert_eq!(polls(&[Some("a"), Some("b"), None, Some("c"), None, None]), ["nothing", "nothing", "abc"]);
    }

    #[test]
    fn a_chunk_without_company_waits_one_turn_and_no_longer() {
        assert_eq!(polls(&[None, Some("a"), None, None, Some("b")]), ["nothing", "nothing", "a", "b"]);
    }

    #[test]
    fn what_came_before_the_end_is_brought_before_it() {
        assert_eq!(polls(&[Some("a"), Some("b")]), ["ab"]);
        assert!(polls(&[]).is_empty());
    }
}
