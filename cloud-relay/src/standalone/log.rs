//! The access log: one line a request on standard output, never a prompt or a secret.
//!
//! Lines are gathered and written together, so that a slow terminal holds up no request; beyond
//! [`BUFFER`] they are counted instead.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_wire::{Code, Outcome};
use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

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
    started: Instant,
    method: Method,
    path: String,
    id: String,
    /// HTTP status, once known.
    pub(crate) status: Option<u16>,
    /// Why it did not go well.
    pub(crate) code: Option<Code>,
    /// The edge that answered.
    pub(crate) edge: Option<String>,
    /// The reduced model name.
    pub(crate) model: Option<String>,
    /// What it used.
    pub(crate) outcome: Option<Outcome>,
    /// From the request's head to the answer's first byte.
    pub(crate) first: Option<Duration>,
    /// The answer went out whole.
    pub(crate) whole: bool,
}

impl Record {
    pub(crate) fn new(log: &Arc<AccessLog>, method: &Method, path: &str, id: String) -> Self {
        Self {
            log: Arc::clone(log),
            started: Instant::now(),
            method: method.clone(),
            path: path.chars().take(SHOWN_PATH).filter(|c| c.is_ascii_graphic()).collect(),
            id,
            status: None,
            code: None,
            edge: None,
            model: None,
            outcome: None,
            first: None,
            whole: false,
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

    /// The first byte of the answer is there.
    pub(crate) fn first_byte(&mut self) {
        if self.first.is_none() {
            self.first = Some(self.started.elapsed());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let log = Arc::clone(&self.log);
        log.line(|text| write_line(text, self, SystemTime::now()));
    }
}

/// Writing to a string cannot fail, so that results are dropped.
fn write_line(text: &mut String, record: &Record, now: SystemTime) {
    let outcome = record.outcome.clone().unwrap_or_default();
    let served_by = match (&record.edge, outcome.served_by) {
        (Some(_), Some(causeway_wire::Backend::Bedrock)) => "bedrock",
        (Some(_), _) => "local",
        (None, _) => "-",
    };
    write_time(text, now);
    let _ = match record.status {
        Some(status) => write!(text, " {status}"),
        None => write!(text, " ---"),
    };
    let _ = write!(
        text,
        " {:<6} {:<20} {served_by:<7} {:<12} {:<20}",
        record.method.as_str(),
        record.path,
        record.edge.as_deref().unwrap_or("-"),
        record.model.as_deref().unwrap_or("-"),
    );
    let number = |tokens: Option<u64>| tokens.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
    let ms =
        |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3));
    let _ = write!(
        text,
        " in {:>6} out {:>6} first {:>9} ms total {:>9} ms {}",
        number(outcome.input_tokens),
        number(outcome.output_tokens),
        ms(record.first),
        ms(Some(record.started.elapsed())),
        record.id,
    );
    match record.code {
        Some(code) => {
            let _ = write!(text, " {}", code.as_str());
        }
        None if !record.whole => text.push_str(" caller_gone"),
        None => {}
    }
    text.push('\n');
}

/// RFC 3339 in UTC with milliseconds.
fn write_time(text: &mut String, now: SystemTime) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let ms = since.subsec_millis();
    let _ = write!(text, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
}

/// Days since 1970 as year, month, day (Howard Hinnant's `civil_from_days`, for days not negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut record = Record::new(&log, &Method::POST, "/api/chat\u{1b}[31m", "ID".to_owned());
        record.status = Some(200);
        record.edge = Some("gpu-1".to_owned());
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
