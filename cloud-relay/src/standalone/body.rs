//! Reading callers' bodies whole, within bounds: each one's size, all of them together, and time.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use causeway_wire::Code;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::core::errors::Refusal;
use crate::core::limits::{BODY_IDLE, BODY_TIME};
use crate::standalone::pool::{Lease, Pool};

/// A body and its share of the pool.
pub(crate) struct Buffered {
    /// The body.
    pub(crate) bytes: Bytes,
    _lease: Lease,
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// 413, 503 (the pool is empty), 408 (silence, or too slow), 400 (it ended midway).
pub(crate) async fn read(mut body: Incoming, limit: u64, pool: &Arc<Pool>) -> Result<Buffered, Refusal> {
    let too_large = || {
        let message = format!("the body is longer than {} MiB", limit / (1024 * 1024));
        Refusal::new(Code::TooLarge, message)
    };
    if body.size_hint().lower() > limit {
        return Err(too_large());
    }
    let end = Instant::now() + BODY_TIME;
    let mut lease = pool.lease();
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    loop {
        // Nearly every body is there at once: then no timer is armed.
        let Ok(frame) = timeout_at(end.min(Instant::now() + BODY_IDLE), body.frame()).await else {
            let message = match Instant::now() >= end {
                true => format!("the body was not whole after {} s; send it faster", BODY_TIME.as_secs()),
                false => format!("the body stopped arriving for {} s", BODY_IDLE.as_secs()),
            };
            return Err(Refusal::invalid(message).with_status(408));
        };
        let data = match frame {
            None => break,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(Refusal::invalid(format!("the body ended midway: {error}"))),
        };
        // Its own size first: waiting does not cure that.
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        if lease.bytes().saturating_add(length) > limit {
            return Err(too_large());
        }
        if !lease.grow(data.len()) {
            return Err(Refusal::new(Code::Saturated, "the relay buffers too many request bodies; try again"));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let mut all = BytesMut::with_capacity(2 * (first.len() + data.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                rest = Some(all);
            }
        }
    }
    let bytes = rest.map_or(first, BytesMut::freeze);
    Ok(Buffered { bytes, _lease: lease })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http_body_util::Empty;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::sync::mpsc;

    use super::*;

    /// Sends a byte of the body each `every` and says how it was refused, and after how long.
    async fn dripped(every: Duration) -> (Refusal, Duration) {
        let (mut caller, relay) = duplex(4096);
        let (sender, mut refused) = mpsc::channel(1);
        let service = service_fn(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                if let Err(refusal) = read(request.into_body(), 1000, &Pool::new(1000)).await {
                    let _ = sender.send(refusal).await;
                }
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(relay), service));
        let begun = Instant::now();
        caller.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        loop {
            tokio::select! {
                Some(refusal) = refused.recv() => return (refusal, begun.elapsed()),
                () = tokio::time::sleep(every) => caller.write_all(b"x").await.unwrap(),
            }
        }
    }

    /// How a body of this length is refused, if it is.
    async fn sent(length: usize, limit: u64, pool: &Arc<Pool>) -> Option<Refusal> {
        let (mut caller, relay) = duplex(4096);
        let (sender, mut outcomes) = mpsc::channel(1);
        let pool = Arc::clone(pool);
        let service = service_fn(move |request: Request<Incoming>| {
            let (sender, pool) = (sender.clone(), Arc::clone(&pool));
            async move {
                let _ = sender.send(read(request.into_body(), limit, &pool).await.err()).await;
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(relay), service));
        let chunk = "x".repeat(length);
        let request = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{chunk}\r\n0\r\n\r\n"
        );
        caller.write_all(request.as_bytes()).await.unwrap();
        outcomes.recv().await.unwrap()
    }

    #[tokio::test]
    async fn what_others_hold_saturates_and_what_is_too_long_by_itself_is_too_large() {
        let pool = Pool::new(100);
        assert_eq!(sent(100, 100, &pool).await, None);
        assert_eq!(sent(101, 100, &pool).await.unwrap().status, 413);
        let mut others = pool.lease();
        assert!(others.grow(60));
        assert_eq!(sent(40, 100, &pool).await, None);
        assert_eq!(sent(41, 100, &pool).await.unwrap().code, Code::Saturated);
        assert_eq!(sent(101, 100, &pool).await.unwrap().status, 413);
        drop(others);
        assert_eq!(sent(100, 100, &pool).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_refused_after_thirty_seconds() {
        let (refusal, after) = dripped(Duration::from_secs(31)).await;
        assert_eq!((refusal.status, after.as_secs()), (408, 30), "{}", refusal.message);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_for_ever_is_refused_after_five_minutes() {
        let (refusal, after) = dripped(Duration::from_secs(7)).await;
        assert_eq!((refusal.status, after.as_secs()), (408, 300), "{}", refusal.message);
    }
}
