//! `proxy`: reads its settings, then serves until it is told to end.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::{Failure, log_to_stderr};
use crate::standalone::proxy::{Settings, serve};

#[derive(Args)]
pub(super) struct Proxy {
    /// The relay's address for callers: `https://relay.example.com`.
    #[arg(long, value_name = "URL")]
    relay: Uri,
    /// File that holds the key, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Where clients connect; a loopback address, since whoever connects uses the key.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11435")]
    listen: SocketAddr,
    /// Certificate authority of a relay that signs its own certificate (`ca/ca.pem` beside it);
    /// the system's otherwise.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(super) fn run(asked: &Proxy) -> Result<ExitCode, Failure> {
    let settings = settings(asked).map_err(Failure::Config)?;
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(settings));
    runtime.shutdown_background();
    Ok(outcome?)
}

fn settings(asked: &Proxy) -> Result<Settings, String> {
    if !asked.listen.ip().is_loopback() {
        return Err(format!(
            "--listen {}: whoever connects uses the key; listen on a loopback address such as 127.0.0.1:11435",
            asked.listen
        ));
    }
    let (scheme, authority) = relay(&asked.relay)?;
    let roots = asked.ca_file.as_deref().map(roots).transpose()?;
    let tls =
        causeway_transport::tls::caller_client(roots.as_deref()).map_err(|error| format!("--ca-file: {error}"))?;
    Ok(Settings { listen: asked.listen, scheme, authority, key: key(&asked.key_file)?, tls })
}

/// A key travels to it: in clear only on this machine.
fn relay(url: &Uri) -> Result<(Scheme, Authority), String> {
    const EXPECTED: &str = "expected https://HOST[:PORT] and nothing after it";
    let fault = |what: &str| format!("--relay {url}: {what}");
    let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
        return Err(fault(EXPECTED));
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || authority.as_str().contains('@') {
        return Err(fault(EXPECTED));
    }
    let loopback = authority.host() == "localhost"
        || authority.host().trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match scheme.as_str() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(fault("the key would travel in clear; use https")),
        _ => return Err(fault(EXPECTED)),
    }
    Ok((scheme.clone(), authority.clone()))
}

fn key(path: &Path) -> Result<HeaderValue, String> {
    let fault = |what: String| format!("--key-file {}: {what}", path.display());
    let mode = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?.mode();
    if mode & 0o077 != 0 {
        return Err(fault(format!("others can read it; run `chmod 600 {}`", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
    let text = text.trim();
    if !text.starts_with("cw_") || text.contains(char::is_whitespace) {
        return Err(fault("it holds no key; put the one line in it that `keys create` printed".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| fault("the key has characters that no key has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |what: String| format!("--ca-file {}: {what}", path.display());
    let found = CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    let roots = found.collect::<Result<Vec<_>, _>>().map_err(|error| fault(error.to_string()))?;
    if roots.is_empty() {
        return Err(fault("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_travels_in_clear_on_this_machine_alone() {
        for url in
            ["https://relay.example.com", "https://relay.example.com:8443/", "http://127.0.0.1:8080", "http://[::1]:1"]
        {
            assert!(relay(&url.parse().unwrap()).is_ok(), "{url}");
        }
        for url in ["http://relay.example.com", "https://h/path", "https://u:p@h", "https://h/?q", "ftp://h", "/x"] {
            assert!(relay(&url.parse().unwrap()).unwrap_err().starts_with("--relay"), "{url}");
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused_with_the_command_to_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for (text, mode, expected) in [
            ("cw_a_b\n", 0o600, None),
            ("cw_a_b\n", 0o640, Some("chmod 600")),
            ("", 0o600, Some("holds no key")),
            ("cw_a_b cw_c_d", 0o600, Some("holds no key")),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match (key(&path), expected) {
                (Ok(value), None) => assert!(value.is_sensitive() && value == "Bearer cw_a_b"),
                (Err(fault), Some(part)) => assert!(fault.contains(part) && !fault.contains("cw_a_b"), "{fault}"),
                (outcome, _) => panic!("{text:?} {mode:o}: {outcome:?}"),
            }
        }
        assert!(key(&directory.path().join("none")).is_err());
    }
}
