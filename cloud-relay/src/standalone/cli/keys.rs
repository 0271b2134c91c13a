//! `keys create | list | revoke`: a secret is printed once, at its making, and never taken.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigFile, Failure, say};
use crate::core::auth::{Key, NewKey};
use crate::core::spend::Usd;
use crate::core::terms::Terms;
use crate::standalone::keys::unix_now;

#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// Makes a key and prints it once.
    Create(Create),
    /// Lists all keys, without their secrets.
    List {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Ends a key's use within a second.
    Revoke {
        #[command(flatten)]
        config: ConfigFile,
        /// The key's id: the part between `cw_` and the second `_`.
        id: String,
    },
}

#[derive(Args)]
pub(super) struct Create {
    #[command(flatten)]
    config: ConfigFile,
    /// For people.
    #[arg(long)]
    name: String,
    /// Shell pattern of models it may use; repeat for more. All, if left out.
    #[arg(long = "models", value_name = "GLOB")]
    models: Vec<String>,
    /// Edge it may use; repeat for more. All, if left out.
    #[arg(long = "edges", value_name = "NAME")]
    edges: Vec<String>,
    /// Where its answers may come from.
    #[arg(long, value_enum, default_value = "auto")]
    route: Route,
    /// Most requests a minute; a minute's worth may come at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rpm: Option<u32>,
    /// Most requests at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    concurrent: Option<u32>,
    /// Most that its requests may spend in a UTC day on Amazon Bedrock, US dollars; 0: nothing, ever.
    /// No bound, if left out, but the edge's own.
    #[arg(long, value_name = "X", value_parser = Usd::parse, allow_negative_numbers = true)]
    daily_usd: Option<Usd>,
    /// Shortest first-token deadline that its callers may ask for, milliseconds; a shorter one counts
    /// as this.
    #[arg(long, value_name = "MS", default_value_t = MIN_FIRST_TOKEN_MS, value_parser = clap::value_parser!(u32).range(1..))]
    min_first_token_ms: u32,
    /// `batch`: its requests always give way to others.
    #[arg(long, value_enum, default_value = "interactive")]
    max_priority: Priority,
    /// How long it lives: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
    /// May see all edges.
    #[arg(long)]
    admin: bool,
}

/// [`Terms::MIN_FIRST_TOKEN`] in the flag's unit.
#[expect(clippy::cast_possible_truncation, reason = "a quarter of a second")]
const MIN_FIRST_TOKEN_MS: u32 = Terms::MIN_FIRST_TOKEN.as_millis() as u32;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Route {
    /// From whatever the edge is configured for.
    Auto,
    /// From the edges' own machines alone.
    LocalOnly,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Priority {
    Interactive,
    Batch,
}

pub(super) fn run(command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(asked) => create(asked),
        KeysCommand::List { config } => {
            let (keys, now) = (config.store()?.keys()?, unix_now());
            let mut text =
                format!("{:<12} {:<20} {:<8} {:<24} {:<16} {}\n", "ID", "NAME", "STATE", "MODELS", "EDGES", "TERMS");
            for key in keys {
                text.push_str(&line(&key, now));
            }
            say(&text)
        }
        KeysCommand::Revoke { config, id } => {
            config.store()?.revoke_key(&id, unix_now())?;
            say(&format!("{id} revoked\n"))
        }
    }
}

fn create(asked: Create) -> Result<(), Failure> {
    let store = asked.config.store()?;
    let new = NewKey::from_random(rand::random(), rand::random());
    let now = unix_now();
    let key = Key {
        id: new.id,
        name: asked.name,
        models: asked.models,
        edges: asked.edges,
        admin: asked.admin,
        terms: Terms {
            local_only: asked.route == Route::LocalOnly,
            rpm: asked.rpm,
            concurrent: asked.concurrent,
            min_first_token: Duration::from_millis(asked.min_first_token_ms.into()),
            batch_only: asked.max_priority == Priority::Batch,
            daily: asked.daily_usd,
        },
        expires: asked.expires.map(|time| now + time.as_secs()),
        revoked: None,
        hash: new.hash,
    };
    store.add_key(&key, now)?;
    say(&format!("{}\n", new.text))
}

fn line(key: &Key, now: u64) -> String {
    let state = match (key.revoked, key.expires) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(expires)) if expires <= now => "expired".to_owned(),
        (None, Some(expires)) => format!("{}d", (expires - now).div_ceil(86_400)),
        (None, None) if key.admin => "admin".to_owned(),
        (None, None) => "valid".to_owned(),
    };
    let list = |items: &[String]| if items.is_empty() { "all".to_owned() } else { items.join(",") };
    let (models, edges) = (list(&key.models), list(&key.edges));
    format!("{:<12} {:<20} {state:<8} {models:<24} {edges:<16} {}\n", key.id, key.name, terms(&key.terms))
}

/// What differs from a key without terms.
fn terms(terms: &Terms) -> String {
    let mut words = Vec::new();
    if terms.local_only {
        words.push("local-only".to_owned());
    }
    words.extend(terms.rpm.map(|rpm| format!("rpm={rpm}")));
    words.extend(terms.concurrent.map(|most| format!("concurrent={most}")));
    words.extend(terms.daily.map(|most| format!("daily-usd={most}")));
    if terms.min_first_token != Terms::MIN_FIRST_TOKEN {
        words.push(format!("min-first-token-ms={}", terms.min_first_token.as_millis()));
    }
    if terms.batch_only {
        words.push("batch".to_owned());
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// `90d`, `12h`, `15m`, `30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number and s, m, h or d, as in 90d";
    let unit = text.chars().last().ok_or(EXPECTED)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: Option<u64> = text.strip_suffix(unit).and_then(|number| number.parse().ok());
    number
        .filter(|number| *number > 0)
        .and_then(|number| number.checked_mul(seconds))
        .filter(|total| *total <= u64::from(u32::MAX))
        .map(Duration::from_secs)
        .ok_or_else(|| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        for text in ["", "d", "0d", "90", "-1d", "1w", "99999999999d", "1.5h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_shows_only_the_terms_that_a_key_has() {
        assert_eq!(terms(&Terms::default()), "-");
        let strict = Terms { local_only: true, rpm: Some(60), batch_only: true, ..Terms::default() };
        assert_eq!(terms(&strict), "local-only rpm=60 batch");
        let nothing = Terms { daily: Some(Usd::ZERO), ..Terms::default() };
        assert_eq!(terms(&nothing), "daily-usd=0.00", "a cap of nothing is a cap");
    }
}
