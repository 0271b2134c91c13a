//! The edge's identity: key and chain from their files, and what the certificate says.
//!
//! Key material goes straight into rustls and is never logged. Absent: enrolment and renewal,
//! which come later.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use causeway_transport::tls;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Scheme of the certificate's name, `causeway://edge/NAME`.
const NAME_PREFIX: &str = "causeway://edge/";

/// What the certificate says, and the TLS configuration made of it.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The edge's name.
    pub(crate) edge: String,
    /// When the certificate holds.
    pub(crate) life: Life,
    /// For the next handshake.
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// Begin and end of the certificate's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// Reads `key.pem` and `chain.pem` of `directory`, or of systemd's credentials where those are
/// given, and the relay's private CA if there is one.
pub(crate) fn load(directory: &Path, ca_file: Option<&Path>) -> anyhow::Result<Identity> {
    let directory = credentials().unwrap_or_else(|| directory.to_owned());
    let (key_file, chain_file) = (directory.join("key.pem"), directory.join("chain.pem"));
    let key = PrivateKeyDer::from_pem_file(&key_file).with_context(|| unreadable(&key_file))?;
    let chain = certificates(&chain_file)?;
    let roots = ca_file.map(certificates).transpose()?;
    let leaf = chain.first().context("chain.pem holds no certificate")?;
    let (edge, life) =
        read_leaf(leaf).with_context(|| format!("{} is not an edge's certificate", chain_file.display()))?;
    let tls = tls::edge_client(chain, key, roots.as_deref())
        .with_context(|| format!("{} and {} do not make an identity", key_file.display(), chain_file.display()))?;
    Ok(Identity { edge, life, tls })
}

impl Life {
    /// Why the certificate cannot be used at this time, if so.
    pub(crate) fn fault(&self, now: SystemTime) -> Option<&'static str> {
        if now > self.not_after {
            return Some("the edge's certificate has expired: invite this edge again on the relay");
        }
        if now < self.not_before {
            return Some("the edge's certificate is not valid yet: set this machine's clock");
        }
        None
    }
}

/// systemd's credential directory, if it holds the key.
fn credentials() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
    directory.join("key.pem").is_file().then_some(directory)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = read.with_context(|| unreadable(file))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(chain)
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {} (no identity yet? enrol this edge first)", file.display())
}

fn read_leaf(leaf: &CertificateDer<'_>) -> anyhow::Result<(String, Life)> {
    let (_, certificate) = X509Certificate::from_der(leaf)?;
    let names = certificate.subject_alternative_name()?.context("it has no alternative name")?;
    let edge = names
        .value
        .general_names
        .iter()
        .find_map(|name| if let GeneralName::URI(uri) = name { uri.strip_prefix(NAME_PREFIX) } else { None });
    let edge = edge.with_context(|| format!("it has no name of the form {NAME_PREFIX}NAME"))?;
    let validity = certificate.validity();
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let (not_before, not_after) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    Ok((edge.to_owned(), Life { not_before, not_after }))
}
