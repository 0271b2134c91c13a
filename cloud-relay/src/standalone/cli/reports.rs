//! `usage` and `audit`: what the books say, as a table or as JSON.

use std::time::Duration;

use clap::Args;

use super::keys::duration;
use super::{ConfigFile, Failure, say, say_error};
use crate::standalone::keys::unix_now;
use crate::standalone::store::books::{By, Entry, Sum, Trail};

#[derive(Args)]
pub(super) struct Usage {
    #[command(flatten)]
    config: ConfigFile,
    /// What to sum by.
    #[arg(long, value_enum, default_value = "key")]
    by: By,
    /// One JSON array instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Audit {
    #[command(flatten)]
    config: ConfigFile,
    /// How far back: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    since: Duration,
    /// One JSON array instead of lines.
    #[arg(long)]
    json: bool,
}

pub(super) fn usage(asked: &Usage) -> Result<(), Failure> {
    let sums = asked.config.store()?.usage(asked.by)?;
    if asked.json {
        return say(&format!("{}\n", serde_json::to_string(&sums)?));
    }
    let total = sums.iter().fold(Sum { of: "total".to_owned(), ..Sum::default() }, |total, sum| Sum {
        requests: total.requests + sum.requests,
        failed: total.failed + sum.failed,
        input_tokens: total.input_tokens + sum.input_tokens,
        output_tokens: total.output_tokens + sum.output_tokens,
        usd: total.usd + sum.usd,
        of: total.of,
    });
    let mut text = format!(
        "{:<32} {:>10} {:>8} {:>14} {:>14} {:>12}\n",
        "OF", "REQUESTS", "FAILED", "INPUT TOKENS", "OUTPUT TOKENS", "USD"
    );
    for sum in sums.iter().chain([&total]) {
        text.push_str(&format!(
            "{:<32} {:>10} {:>8} {:>14} {:>14} {:>12.6}\n",
            sum.of, sum.requests, sum.failed, sum.input_tokens, sum.output_tokens, sum.usd
        ));
    }
    say(&text)
}

pub(super) fn audit(asked: &Audit) -> Result<(), Failure> {
    let since = unix_now().saturating_sub(asked.since.as_secs()).saturating_mul(1_000);
    let Trail { entries, cut } = asked.config.store()?.audit(since)?;
    if cut {
        say_error("only the latest requests are shown: ask for less with --since");
    }
    if asked.json {
        return say(&format!("{}\n", serde_json::to_string(&entries)?));
    }
    say(&entries.iter().map(line).collect::<String>())
}

fn line(entry: &Entry) -> String {
    let nanos = u64::try_from(entry.at_ms).unwrap_or(0).saturating_mul(1_000_000);
    let at = causeway_dialect::time::rfc3339(nanos);
    // Milliseconds are all that is known.
    let (at, _) = at.split_at(at.len().saturating_sub("000000Z".len()));
    format!("{at}Z {:<12} {}\n", entry.kind, entry.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_audit_has_its_moment_in_milliseconds() {
        let entry = Entry { at_ms: 1_795_392_000_123, kind: "refused".to_owned(), what: "ID saturated".to_owned() };
        assert_eq!(line(&entry), "2026-11-23T00:00:00.123Z refused      ID saturated\n");
    }
}
