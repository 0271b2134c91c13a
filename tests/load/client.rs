//! A light HTTP/1.1 client: one connection, kept alive, with the moment each piece of body came.
//!
//! Invariants: one write a request, `TCP_NODELAY`, no task and no channel between socket and
//! measurement, so that what is measured is the way and not the client.
//! Absent: TLS, redirects, proxies, trailers; callers here are on loopback.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most headers an answer may have.
const HEADERS: usize = 64;

/// Bytes asked of the socket at once.
const READ: usize = 16 * 1024;

/// Where requests go, and with which key.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) key: Option<String>,
}

impl Target {
    /// The bytes of a chat request. The prompt is plain ASCII.
    pub(crate) fn chat(&self, model: &str, prompt: &str, stream: bool) -> Vec<u8> {
        self.chat_with("", model, prompt, stream)
    }

    /// The same with further header lines, each with its line end.
    pub(crate) fn chat_with(&self, headers: &str, model: &str, prompt: &str, stream: bool) -> Vec<u8> {
        let body = format!(
            "{{\"model\":\"{model}\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}"
        );
        let key = self.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        format!(
            "POST /api/chat HTTP/1.1\r\nhost: {}\r\n{key}{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.addr,
            body.len()
        )
        .into_bytes()
    }

    /// One JSON object by GET, on a connection of its own.
    pub(crate) async fn json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let key = self.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{key}\r\n", self.addr);
        let answer = Connection::open(self.addr).await?.whole(request.as_bytes()).await?;
        ensure!(answer.head.status == 200, "GET {path}: {}", answer.head.status);
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

/// What is read of an answer's head.
#[derive(Clone, Default, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Causeway's own id of the request.
    pub(crate) request_id: Option<String>,
    /// `retry-after-ms`.
    pub(crate) retry_after: Option<Duration>,
    /// Bedrock answered.
    pub(crate) elsewhere: bool,
}

/// How the rest of the body is framed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    /// Bytes left of the present chunk, its line end included; 0: a size line comes next.
    Chunk(usize),
    Done,
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
    framing: Framing,
}

/// An answer read to its end.
pub(crate) struct Whole {
    pub(crate) head: Head,
    /// When the head was read.
    pub(crate) began: Instant,
    /// When each line was complete, in order.
    pub(crate) lines: Vec<Instant>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ), at: 0, framing: Framing::Done })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await.context("send")
    }

    /// Reads a head.
    pub(crate) async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(self.unread()).context("head")? {
                let mut read = Head { status: head.code.context("no status")?, ..Head::default() };
                let mut framing = None;
                for header in head.headers.iter() {
                    let text = || std::str::from_utf8(header.value).map(str::trim);
                    if header.name.eq_ignore_ascii_case("content-length") {
                        framing = Some(Framing::Length(text()?.parse()?));
                    } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                        framing = Some(Framing::Chunk(0));
                    } else if header.name.eq_ignore_ascii_case("x-causeway-request-id") {
                        read.request_id = Some(text()?.to_owned());
                    } else if header.name.eq_ignore_ascii_case("retry-after-ms") {
                        read.retry_after = Some(Duration::from_millis(text()?.parse()?));
                    } else if header.name.eq_ignore_ascii_case("x-causeway-served-by") {
                        read.elsewhere = text()? == "bedrock";
                    }
                }
                self.framing = framing.context("neither length nor chunks")?;
                self.at += length;
                return Ok(read);
            }
            self.fill().await?;
        }
    }

    /// The next piece of body, as much as is here; `None` at its end.
    pub(crate) async fn piece(&mut self, into: &mut Vec<u8>) -> anyhow::Result<Option<usize>> {
        let before = into.len();
        loop {
            self.decode(into)?;
            if into.len() > before {
                return Ok(Some(into.len() - before));
            }
            if self.framing == Framing::Done {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn whole(&mut self, request: &[u8]) -> anyhow::Result<Whole> {
        self.send(request).await?;
        let head = self.head().await?;
        let began = Instant::now();
        let (mut body, mut lines) = (Vec::with_capacity(4096), Vec::new());
        while let Some(length) = self.piece(&mut body).await? {
            let now = Instant::now();
            let new = body.get(body.len() - length..).unwrap_or_default();
            lines.extend(new.iter().filter(|byte| **byte == b'\n').map(|_| now));
        }
        Ok(Whole { head, began, lines, body })
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        self.buffer.reserve(READ);
        if self.stream.read_buf(&mut self.buffer).await.context("read")? == 0 {
            bail!("the connection ended midway");
        }
        Ok(())
    }

    /// Moves what is here of the body, without waiting.
    fn decode(&mut self, into: &mut Vec<u8>) -> anyhow::Result<()> {
        loop {
            let here = self.buffer.get(self.at..).unwrap_or_default();
            match self.framing {
                Framing::Length(0) => self.framing = Framing::Done,
                Framing::Done => return Ok(()),
                _ if here.is_empty() => return Ok(()),
                Framing::Length(left) => {
                    let take = left.min(here.len());
                    into.extend_from_slice(here.get(..take).unwrap_or_default());
                    self.at += take;
                    self.framing = Framing::Length(left - take);
                }
                Framing::Chunk(0) => {
                    let Some(end) = here.windows(2).position(|two| two == b"\r\n") else { return Ok(()) };
                    let line = std::str::from_utf8(here.get(..end).unwrap_or_default())?;
                    let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
                    if size == 0 {
                        if here.len() < end + 4 {
                            return Ok(());
                        }
                        self.at += end + 4;
                        self.framing = Framing::Done;
                    } else {
                        self.at += end + 2;
                        self.framing = Framing::Chunk(size + 2);
                    }
                }
                Framing::Chunk(left) => {
                    // The last two bytes of a chunk are its line end.
                    let take = left.min(here.len());
                    let body = take.min(left.saturating_sub(2));
                    into.extend_from_slice(here.get(..body).unwrap_or_default());
                    self.at += take;
                    self.framing = Framing::Chunk(left - take);
                }
            }
        }
    }
}
