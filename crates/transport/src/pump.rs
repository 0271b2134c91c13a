//! Moves messages between one WebSocket and its link. Reading never waits on writing: each turn
//! polls both, and what cannot be written stays in the link, where control overtakes data.
//!
//! Absent: how the WebSocket came to be (`dial.rs`, `hub.rs`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use causeway_wire::limits::CLOSE_TIMEOUT;
use causeway_wire::{ConnId, Input};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::gather::Gather;
use crate::shared::{Conn, Shared, now};

/// Read buffer of a WebSocket, bytes. It is zeroed at every read, a connection holds it for ever, and
/// what TLS has deciphered waits in a buffer of its own: hence small (tungstenite's default is 128 KiB).
const READ_BUFFER: usize = 2 * 1024;

/// Written bytes gathered before they go to the socket, bytes: a turn's messages in few TLS records.
const WRITE_BUFFER: usize = 32 * 1024;

/// Hard bound of the write buffer, bytes: above [`WRITE_BUFFER`] by more than the largest message.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;

/// Largest message taken from a peer, bytes: standalone's 256 KiB, and room for base64 of as much.
const MAX_MESSAGE: usize = 512 * 1024;

/// Kernel send buffer of link sockets, bytes: what lies there can no longer be overtaken.
const SEND_BUFFER: usize = 128 * 1024;

/// Messages read in one turn before the task lets others run, count.
const READ_BUDGET: usize = 64;

pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Options of every link socket.
///
/// # Errors
/// What the kernel says; a socket that was just opened takes both.
pub fn set_link_options(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket2::SockRef::from(socket).set_send_buffer_size(SEND_BUFFER)
}

/// Runs one open WebSocket to its end. Returns whether the link itself wanted it closed.
pub(crate) async fn run<S>(shared: &Arc<Shared>, id: ConnId, socket: WebSocketStream<S>) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    run_after(shared, id, socket, None).await
}

/// The same where a first message was already read.
pub(crate) async fn run_after<S>(
    shared: &Arc<Shared>,
    id: ConnId,
    mut socket: WebSocketStream<S>,
    first: Option<String>,
) -> bool
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    shared.with(|core, now| {
        core.conns.insert(id, Conn::default());
        core.link.handle_input(now, Input::Connected(id));
    });
    if let Some(text) = first {
        shared.with(|core, now| core.link.handle_input(now, Input::Message(id, &text)));
    }
    let mut gather = Gather::default();
    let ended = poll_fn(|cx| turn(shared, id, &mut socket, &mut gather, cx)).await;
    shared.with(|core, now| {
        core.conns.remove(&id);
        core.link.handle_input(now, Input::Closed(id));
    });
    let Ended::Wanted(code, reason) = ended else {
        return false;
    };
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    // The peer may be gone; its answer to our close is a courtesy.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.close(Some(frame))).await;
    true
}

enum Ended {
    /// The peer or the network closed it.
    Lost,
    /// The link asked for it.
    Wanted(u16, &'static str),
}

fn turn<S>(
    shared: &Shared,
    id: ConnId,
    socket: &mut WebSocketStream<S>,
    gather: &mut Gather,
    cx: &mut Context<'_>,
) -> Poll<Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stirred = shared.was_stirred(id);
    let mut more_to_read = true;
    let mut has_read = false;
    for _ in 0..READ_BUDGET {
        match read(shared, id, socket, cx) {
            Poll::Ready(true) => has_read = true,
            Poll::Ready(false) => return Poll::Ready(Ended::Lost),
            Poll::Pending => {
                more_to_read = false;
                break;
            }
        }
    }
    if more_to_read {
        cx.waker().wake_by_ref();
    }
    // What is queued before a close still goes, and at once.
    let (wants, close) = shared.outlook(id);
    if close.is_none() && wants && gather.waits(now(), has_read || stirred) {
        shared.park(id, cx.waker());
        cx.waker().wake_by_ref();
        return Poll::Pending;
    }
    gather.wrote();
    if write(shared, id, socket, cx).is_err() {
        return Poll::Ready(Ended::Lost);
    }
    // Again: it may have been set while this wrote, when no waker was left to be told.
    let (_, close) = shared.outlook(id);
    match close {
        Some((code, reason)) => Poll::Ready(Ended::Wanted(code, reason)),
        None => Poll::Pending,
    }
}

/// Reads one message; `false` once the socket has ended.
fn read<S>(shared: &Shared, id: ConnId, socket: &mut WebSocketStream<S>, cx: &mut Context<'_>) -> Poll<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Poll::Ready(message) = Pin::new(socket).poll_next(cx) else {
        return Poll::Pending;
    };
    Poll::Ready(match message {
        Some(Ok(Message::Text(text))) => {
            shared.with(|core, now| core.link.handle_input(now, Input::Message(id, &text)));
            true
        }
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
            shared.with(|core, now| core.link.handle_input(now, Input::Alive(id)));
            true
        }
        Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
            tracing::warn!(conn = id.0, "the peer sent a binary message, which the protocol does not have");
            false
        }
        Some(Ok(Message::Close(_))) | None => false,
        Some(Err(error)) => {
            tracing::debug!(conn = id.0, %error, "link socket ended");
            false
        }
    })
}

/// Writes what the link has for as long as the socket takes it, then flushes. Leaves the task's
/// waker with the link, so that the next thing queued (or a wish to close) comes back here.
fn write<S>(shared: &Shared, id: ConnId, socket: &mut WebSocketStream<S>, cx: &mut Context<'_>) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match Pin::new(&mut *socket).poll_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => {
                shared.park(id, cx.waker());
                break;
            }
        }
        let Some(text) = shared.transmit_or_park(id, cx.waker()) else {
            break;
        };
        Pin::new(&mut *socket).start_send(Message::text(text))?;
    }
    match Pin::new(socket).poll_flush(cx) {
        Poll::Ready(result) => result,
        Poll::Pending => Ok(()),
    }
}
