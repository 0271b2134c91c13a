//! The access log: one line a request on standard output, never a prompt or a secret; and the
//! record of each request, which at its end is that line and an entry in the books.
//!
//! Lines are gathered and written together, so that a slow terminal holds up no request; beyond
//! [`BUFFER`] they are counted instead.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_dialect::time::{Utc, utc};
use causeway_wire::{Backend, Code, Outcome};
use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::core::account::Account;
use crate::standalone::books::Books;
use crate::standalone::grants::Wallet;

/// Lines not yet written, bytes: about 5,000 of them.
const BUFFER: usize = 1024 * 1024;

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// Longest path shown, characters.
const SHOWN_PATH: usize = 80;

/// Where lines go.
#[derive(Default)]
pub(crate) struct AccessLog {
    pending: Mutex<Pending>,
    filled: Notify,
}

#[derive(Default)]
struct Pending {
    text: String,
    lost: u64,
}

impl AccessLog {
    fn line(&self, write: impl FnOnce(&mut String)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.text.len() >= BUFFER {
            pending.lost += 1;
            return;
        }
        let was_empty = pending.text.is_empty();
        write(&mut pending.text);
        drop(pending);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Writes what has gathered, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            tokio::time::sleep(GATHER).await;
            self.flush().await;
        }
    }

    /// Writes what has gathered.
    pub(crate) async fn flush(&self) {
        let (mut text, lost) = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut pending.text), std::mem::take(&mut pending.lost))
        };
        if lost > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{lost} lines were left out: standard output is too slow");
        }
        let mut out = tokio::io::stdout();
        // Whoever closed standard output wants no log.
        if out.write_all(text.as_bytes()).await.is_ok() {
            let _ = out.flush().await;
        }
    }
}

/// One request's line, written when this is dropped.
pub(crate) struct Record {
    log: Arc<AccessLog>,
    books: Arc<Books>,
    started: Instant,
    method: Method,
    path: String,
    id: String,
    /// It is entered in the books: it is an inference request, or one that nobody may make.
    pub(crate) kept: bool,
    /// The caller's own id.
    pub(crate) own_id: Option<String>,
    /// The key's id, once one is found good.
    pub(crate) key: String,
    /// HTTP status, once known.
    pub(crate) status: Option<u16>,
    /// Why it did not go well.
    pub(crate) code: Option<Code>,
    /// The edge that answered, or was asked last.
    pub(crate) edge: Option<String>,
    /// The backend that the answer's head named.
    pub(crate) backend: Option<Backend>,
    /// Why, as the answer's head said it.
    pub(crate) reason: Option<String>,
    /// The reduced model name.
    pub(crate) model: Option<String>,
    /// What it used.
    pub(crate) outcome: Option<Outcome>,
    /// From the request's head to the first byte that went out.
    pub(crate) first: Option<Duration>,
    /// The answer went out whole.
    pub(crate) whole: bool,
    /// What it could spend, once no edge has it: settled after the request is entered.
    pub(crate) wallets: Vec<Wallet>,
}

impl Record {
    pub(crate) fn new(log: &Arc<AccessLog>, books: &Arc<Books>, method: &Method, path: &str, id: String) -> Self {
        Self {
            log: Arc::clone(log),
            books: Arc::clone(books),
            started: Instant::now(),
            method: method.clone(),
            path: path.chars().take(SHOWN_PATH).filter(|c| c.is_ascii_graphic()).collect(),
            id,
            kept: false,
            own_id: None,
            key: String::new(),
            status: None,
            code: None,
            edge: None,
            backend: None,
            reason: None,
            model: None,
            outcome: None,
            first: None,
            whole: false,
            wallets: Vec::new(),
        }
    }

    /// When the request's head was there.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Our id of the request.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The first byte for the caller is there.
    pub(crate) fn first_byte(&mut self) {
        if self.first.is_none() {
            self.first = Some(self.started.elapsed());
        }
    }
}

impl Record {
    fn account(&mut self, now: SystemTime) -> Account {
        let total = self.started.elapsed();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(total);
        Account {
            id: std::mem::take(&mut self.id),
            own_id: self.own_id.take(),
            started_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            key: std::mem::take(&mut self.key),
            method: self.method.to_string(),
            path: std::mem::take(&mut self.path),
            model: self.model.take(),
            edge: self.edge.take(),
            status: self.status,
            code: self.code,
            abandoned: !self.whole && self.code.is_none(),
            backend: self.backend,
            reason: self.reason.take(),
            outcome: self.outcome.take().unwrap_or_default(),
            first: self.first,
            total,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = SystemTime::now();
        let account = self.account(now);
        self.log.line(|text| write_line(text, &account, now));
        if self.kept {
            self.books.enter(account);
        }
    }
}

/// Writing to a string cannot fail, so that results are dropped.
fn write_line(text: &mut String, account: &Account, now: SystemTime) {
    write_time(text, now);
    let _ = match account.status {
        Some(status) => write!(text, " {status}"),
        None => write!(text, " ---"),
    };
    let _ = write!(
        text,
        " {:<6} {:<20} {:<7} {:<12} {:<20}",
        account.method,
        account.path,
        account.served_by().unwrap_or("-"),
        account.edge.as_deref().unwrap_or("-"),
        account.model.as_deref().unwrap_or("-"),
    );
    let number = |tokens: Option<u64>| tokens.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
    let ms =
        |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let _ = write!(
        text,
        " in {:>6} out {:>6} first {:>9} ms total {:>9} ms {}",
        number(account.outcome.input_tokens),
        number(account.outcome.output_tokens),
        ms(account.first_token()),
        ms(Some(account.total)),
        account.id,
    );
    match account.code {
        Some(code) => {
            let _ = write!(text, " {}", code.as_str());
        }
        None if account.abandoned => text.push_str(" caller_gone"),
        None => {}
    }
    text.push('\n');
}

/// RFC 3339 in UTC with milliseconds.
fn write_time(text: &mut String, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let Utc { year, month, day, hour, minute, second } = utc(since.as_secs());
    let ms = since.subsec_millis();
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standalone::store::Store;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_384_860, "2026-11-22T22:01:00.000Z"),
        ] {
            let mut text = String::new();
            write_time(&mut text, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_line_says_where_it_ran_what_it_used_and_how_it_ended() {
        let log = Arc::new(AccessLog::default());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s.db");
        Store::create(&path).unwrap();
        let books = Books::open(&path).unwrap();
        let mut record = Record::new(&log, &books, &Method::POST, "/api/chat\u{1b}[31m", "ID".to_owned());
        record.status = Some(200);
        record.edge = Some("gpu-1".to_owned());
        record.backend = Some(Backend::Local);
        record.model = Some("qwen3:8b".to_owned());
        record.outcome = Some(Outcome { input_tokens: Some(3), output_tokens: Some(16), ..Outcome::default() });
        drop(record);
        let text = log.pending.lock().unwrap().text.clone();
        for part in
            [" 200 POST   /api/chat[31m ", " local   gpu-1 ", "qwen3:8b", " in      3 out     16 ", " ID caller_gone\n"]
        {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
