//! TLS as the contract wants it: aws-lc-rs named in every config, the link TLS 1.3 only,
//! X25519MLKEM768 preferred.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why a TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused certificate, key or roots.
    #[error("certificate or key: {0}")]
    Rustls(#[from] rustls::Error),
    /// The client verifier refused its roots.
    #[error("trust anchors: {0}")]
    Verifier(String),
    /// The system has no trust anchors.
    #[error("no trust anchors: {0}")]
    NoRoots(String),
}

/// The one crypto provider, X25519MLKEM768 first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The relay's edge port: TLS 1.3 only, a client certificate of `client_ca` required.
pub fn edge_server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_ca: &[CertificateDer<'static>],
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    for root in client_ca {
        roots.add(root.clone())?;
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))?;
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The relay's callers' port: TLS 1.2 or higher, no client certificate.
pub fn caller_server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The daemon's side of the link: TLS 1.3 only. `roots`: a private CA, or `None` for the system's.
pub fn edge_client(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(trust(roots)?)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// A caller's side of the callers' port: TLS 1.2 or higher. `roots` as for [`edge_client`].
pub fn caller_client(roots: Option<&[CertificateDer<'static>]>) -> Result<rustls::ClientConfig, TlsError> {
    Ok(rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trust(roots)?)
        .with_no_client_auth())
}

fn trust(roots: Option<&[CertificateDer<'static>]>) -> Result<rustls::RootCertStore, TlsError> {
    let mut store = rustls::RootCertStore::empty();
    if let Some(own) = roots {
        for root in own {
            store.add(root.clone())?;
        }
        return Ok(store);
    }
    let system = rustls_native_certs::load_native_certs();
    let (added, _) = store.add_parsable_certificates(system.certs);
    if added == 0 {
        let errors: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(errors.join("; ")));
    }
    Ok(store)
}
