//! What `serve` runs with, loaded from where the configuration says.
//!
//! `check-config` loads the same by the same function, so that it finds whatever `serve` would
//! trip over, and all of it at once. Absent: ports, which only `serve` takes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use crate::ca::{CERT_FILE, Ca, KEY_FILE};
use crate::standalone::books::Books;
use crate::standalone::callers_tls::CallersTls;
use crate::standalone::config::Config;
use crate::standalone::keys::{Keys, Watched};
use crate::standalone::store::StoreError;
use crate::standalone::{edges, files};

/// Everything but sockets.
pub(crate) struct Parts {
    pub(crate) keys: Arc<Keys>,
    pub(crate) watched: Watched,
    pub(crate) books: Arc<Books>,
    pub(crate) callers_tls: Option<Arc<CallersTls>>,
    pub(crate) edges_tls: TlsAcceptor,
}

/// What is wrong with them, all of it, each with its key and its cure.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<String>,
    /// One of them is the configuration's, or of files that it names.
    pub(crate) of_configuration: bool,
}

impl Faults {
    fn add(&mut self, key: &str, what: impl fmt::Display) {
        self.list.push(format!("{key}: {what}"));
        self.of_configuration = true;
    }

    /// A file that cannot be read; `cure` says what makes it.
    fn unreadable(&mut self, key: &str, path: &Path, cure: &str) -> bool {
        let outcome = files::read(path);
        if let Err(error) = &outcome {
            self.add(key, format_args!("{error}; {cure}"));
        }
        outcome.is_err()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list.join("\n"))
    }
}

/// Loads all of them.
///
/// # Errors
///
/// Every one that cannot be loaded.
pub(crate) fn load(config: &Config) -> Result<Parts, Faults> {
    let mut faults = Faults::default();
    let callers_tls = callers(config, &mut faults);
    let edges_tls = edges(config, &mut faults);
    let opened = Keys::open(&config.store).and_then(|keys| Ok((keys, Books::open(&config.store)?)));
    let keys = opened.map_err(|error| {
        // A store that is full, damaged or locked is a fault of the day, not of the file.
        let of_configuration = faults.of_configuration;
        faults.add("store.sqlite", &error);
        faults.of_configuration = of_configuration || matches!(error, StoreError::Missing(_) | StoreError::Denied(_));
    });
    match (keys, edges_tls) {
        (Ok(((keys, watched), books)), Some(edges_tls)) if faults.list.is_empty() => {
            Ok(Parts { keys, watched, books, callers_tls, edges_tls })
        }
        _ => Err(faults),
    }
}

fn callers(config: &Config, faults: &mut Faults) -> Option<Arc<CallersTls>> {
    const CURE: &str = "`causeway-relay init --renew-certificates` makes both anew where `init` made them";
    let (cert, key) = config.tls.as_ref()?;
    let unreadable =
        [faults.unreadable("callers.tls-cert", cert, CURE), faults.unreadable("callers.tls-key", key, CURE)];
    if unreadable.contains(&true) {
        return None;
    }
    match CallersTls::load(cert.clone(), key.clone()) {
        Ok(tls) => Some(tls),
        Err(error) => {
            faults.list.push(format!("{error:#}; {CURE}"));
            faults.of_configuration = true;
            None
        }
    }
}

fn edges(config: &Config, faults: &mut Faults) -> Option<TlsAcceptor> {
    const CURE: &str =
        "restore it from a backup: edges trust this authority alone; `causeway-relay init` makes a new relay";
    let unreadable = [CERT_FILE, KEY_FILE].map(|name| faults.unreadable("ca.directory", &config.ca.join(name), CURE));
    if unreadable.contains(&true) {
        return None;
    }
    let ca = Ca::load(&config.ca).map_err(|error| faults.add("ca.directory", format_args!("{error}; {CURE}"))).ok()?;
    let acceptor = edges::acceptor(&ca, &config.name, config.edges);
    acceptor.map_err(|error| faults.add("edges.name", format_args!("{error:#}"))).ok()
}
