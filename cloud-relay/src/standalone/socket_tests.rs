//! Callers that stall, trickle, leave or send too much, in virtual time.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

fn kind<T: std::fmt::Debug>(outcome: io::Result<T>) -> io::ErrorKind {
    outcome.unwrap_err().kind()
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_byte_for_a_minute_is_cut_off() {
    let (_caller, ours) = duplex(16);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let begun = Instant::now();
    assert_eq!(kind(socket.write_all(&[0; 64]).await), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= WRITE_STALL && begun.elapsed() <= WRITE_STALL + 2 * TICK);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_slowly_but_steadily_keeps_its_answer() {
    let (mut caller, ours) = duplex(16);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let reader = async {
        let mut byte = [0; 16];
        for _ in 0..4 {
            tokio::time::sleep(WRITE_STALL / 2).await;
            let _ = caller.read(&mut byte).await.unwrap();
        }
    };
    let (written, ()) = tokio::join!(socket.write_all(&[0; 64]), reader);
    assert!(written.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_is_cut_off_and_an_idle_connection_lives_longer() {
    let (mut caller, ours) = duplex(64);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    caller.write_all(b"GET / HT").await.unwrap();
    let begun = Instant::now();
    assert_eq!(kind(socket.read_to_end(&mut Vec::new()).await), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() <= HEAD_TIME + 2 * TICK);

    let (_caller, ours) = duplex(64);
    let mut idle = CallerSocket::new(ours, Traffic::new());
    let begun = Instant::now();
    assert_eq!(kind(idle.read_to_end(&mut Vec::new()).await), io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= IDLE_TIME);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_running_is_not_idle() {
    let (caller, ours) = duplex(64);
    let traffic = Traffic::new();
    let mut socket = CallerSocket::new(ours, Arc::clone(&traffic));
    let (_, busy) = traffic.begin();
    let later = async {
        tokio::time::sleep(IDLE_TIME * 3).await;
        drop(caller);
    };
    let mut read = Vec::new();
    let (outcome, ()) = tokio::join!(socket.read_to_end(&mut read), later);
    assert!(outcome.is_ok());
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_its_answer_a_little_at_a_time_loses_it_after_half_an_hour() {
    let (mut caller, ours) = duplex(16);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let begun = Instant::now();
    let reader = async {
        let mut bytes = [0; 16];
        loop {
            tokio::time::sleep(WRITE_STALL / 2).await;
            if caller.read(&mut bytes).await.unwrap() == 0 {
                return;
            }
        }
    };
    let writer = async {
        let outcome = socket.write_all(&[0; 64 * 1024]).await;
        drop(socket);
        outcome
    };
    let (outcome, ()) = tokio::join!(writer, reader);
    assert_eq!(kind(outcome), io::ErrorKind::TimedOut);
    let after = begun.elapsed();
    assert!(after >= BEHIND_TIME && after <= BEHIND_TIME + WRITE_STALL + 2 * TICK, "{after:?}");
}

/// A connection that hyper serves with answers of this length, and its end.
fn served(buffer: usize, answer: usize) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<hyper::Result<()>>) {
    let (caller, ours) = duplex(buffer);
    let traffic = Traffic::new();
    let counted = Arc::clone(&traffic);
    let service = hyper::service::service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
        let (_, busy) = counted.begin();
        async move {
            drop(busy);
            let answer = http_body_util::Full::new(bytes::Bytes::from(vec![b' '; answer]));
            Ok::<_, std::convert::Infallible>(hyper::Response::new(answer))
        }
    });
    let socket = hyper_util::rt::TokioIo::new(CallerSocket::new(ours, traffic));
    (caller, tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(socket, service)))
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_that_hyper_holds_ends_in_time_too() {
    let (mut caller, serving) = served(1024, 1 << 20);
    let begun = Instant::now();
    caller.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    while !serving.is_finished() {
        caller.read_exact(&mut [0; 512]).await.unwrap();
        tokio::time::sleep(WRITE_STALL / 2).await;
    }
    let after = begun.elapsed();
    assert!(after >= BEHIND_TIME && after <= BEHIND_TIME + WRITE_STALL, "{after:?}");
    assert!(serving.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_hyper_keeps_for_the_next_request_is_closed_when_none_comes() {
    for requests in 0..2 {
        let (mut caller, serving) = served(1024, 5);
        for _ in 0..requests {
            caller.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        }
        let begun = Instant::now();
        let _ = serving.await.unwrap();
        let after = begun.elapsed();
        assert!(after >= IDLE_TIME && after <= IDLE_TIME + 2 * TICK, "after {requests} requests: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_catches_up_now_and_then_is_not_behind() {
    let (mut caller, ours) = duplex(16);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let most = BEHIND_TIME * 2;
    let begun = Instant::now();
    while begun.elapsed() < most {
        let reader = async {
            tokio::time::sleep(WRITE_STALL / 2).await;
            caller.read_exact(&mut [0; 24]).await.unwrap();
        };
        let writer = async {
            socket.write_all(&[0; 24]).await?;
            socket.flush().await
        };
        let (written, ()) = tokio::join!(writer, reader);
        assert!(written.is_ok());
    }
}

const REQUEST: &str = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";

/// A connection whose request is read and not answered, with the guard of its answer.
async fn unanswered(after: &str) -> (tokio::io::DuplexStream, CallerSocket<tokio::io::DuplexStream>, Busy) {
    let (mut caller, ours) = duplex(64 * 1024);
    let traffic = Traffic::new();
    let mut socket = CallerSocket::new(ours, Arc::clone(&traffic));
    caller.write_all(format!("{REQUEST}{after}").as_bytes()).await.unwrap();
    let mut read = vec![0; 4096];
    let length = socket.read(&mut read).await.unwrap();
    assert_eq!(read[..length], *REQUEST.as_bytes(), "nothing after the request");
    (caller, socket, traffic.begin().1)
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_after_sending_more_than_its_request_is_noticed_at_once() {
    for more in ["x", "\r\n", REQUEST, &REQUEST.repeat(50)] {
        let (caller, mut socket, _busy) = unanswered(more).await;
        let begun = Instant::now();
        drop(caller);
        assert_eq!(socket.read(&mut [0; 64]).await.unwrap(), 0, "the connection's end");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_request_waits_for_the_answer_and_is_whole_then() {
    let (mut caller, mut socket, busy) = unanswered("POST / HT").await;
    let reading = tokio::spawn(async move {
        let mut read = String::new();
        socket.read_to_string(&mut read).await.unwrap();
        read
    });
    caller.write_all(b"TP/1.1\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
    tokio::time::sleep(HEAD_TIME * 3).await;
    assert!(!reading.is_finished(), "a head that waits for us does not trickle");
    drop(busy);
    tokio::task::yield_now().await;
    drop(caller);
    assert_eq!(reading.await.unwrap(), REQUEST);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_ahead_is_bounded() {
    let (mut caller, mut socket, _busy) = unanswered("").await;
    let flood = vec![b'x'; 60 * 1024];
    caller.write_all(&flood).await.unwrap();
    assert!(tokio::time::timeout(TICK, socket.read(&mut [0; 64])).await.is_err());
    assert_eq!(socket.ahead.len(), READ_AHEAD);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_taken_until_it_ends_so_that_the_answer_is_not_lost() {
    let (mut caller, ours) = duplex(1024);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let upload = async {
        for _ in 0..10 {
            tokio::time::sleep(LINGER_SILENCE / 2).await;
            caller.write_all(&[0; 512]).await.unwrap();
        }
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        drop(caller);
        answer
    };
    let refuse = async {
        socket.write_all(b"413").await.unwrap();
        socket.shutdown().await.unwrap();
    };
    let (answer, ()) = tokio::join!(upload, refuse);
    assert_eq!(answer, "413");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_ends_is_cut_off_after_its_refusal() {
    let (mut caller, ours) = duplex(1024);
    let mut socket = CallerSocket::new(ours, Traffic::new());
    let begun = Instant::now();
    let endless = async {
        loop {
            tokio::time::sleep(LINGER_SILENCE / 2).await;
            if caller.write_all(&[0; 512]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        outcome = socket.shutdown() => assert!(outcome.is_ok()),
        () = endless => panic!("the relay closed the connection before its time"),
    }
    assert!(begun.elapsed() >= LINGER_TIME && begun.elapsed() <= LINGER_TIME + LINGER_SILENCE);
}
