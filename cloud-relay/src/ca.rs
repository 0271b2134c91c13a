//! The relay's own certificate authority: ECDSA P-256, one level deep.
//!
//! It signs edges' certificates (client authentication, the name in a URI) and the relay's own
//! server certificates. The key is a file that only its owner reads. Absent: enrolment, renewal,
//! revocation.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::standalone::files;

/// File names in the CA's directory.
pub const CERT_FILE: &str = "ca.pem";
/// See [`CERT_FILE`].
pub const KEY_FILE: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Life of the CA's own certificate.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Life of a server certificate: the longest that public rules allow.
const SERVER_LIFE: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// Life of an edge's certificate.
const EDGE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Certificates are valid this long before they are made: clocks differ.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// What an edge's certificate says of its name.
const EDGE_URI: &str = "causeway://edge/";

/// Longest edge name, bytes.
const MAX_EDGE_NAME: usize = 64;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The CA's files cannot be read or written.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// A certificate or key cannot be made or understood.
    #[error("certificate authority: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What it signed would be trusted by nobody.
    #[error("certificate authority: {CERT_FILE} and {KEY_FILE} do not belong together")]
    Mismatch,
    /// Not an edge name.
    #[error("`{0}` is no edge name: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`")]
    EdgeName(String),
}

/// A certificate authority with its key.
pub struct Ca {
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
pub struct Signed {
    /// The certificate; the CA's own is its trust anchor and not part of the chain.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

impl Ca {
    /// Makes a new authority; `name` is for people.
    ///
    /// # Errors
    ///
    /// The system gives no randomness.
    pub fn create(name: &str) -> Result<Self, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("Causeway CA {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lives(&mut params, CA_LIFE);
        let cert_pem = params.self_signed(&key)?.pem();
        Ok(Self { cert_pem, issuer: Issuer::new(params, key) })
    }

    /// Reads the authority in a directory.
    ///
    /// # Errors
    ///
    /// A file that is missing, unreadable or no certificate or key, or two that do not belong together.
    pub fn load(directory: &Path) -> Result<Self, CaError> {
        let cert_pem = files::read(&directory.join(CERT_FILE))?;
        let key = KeyPair::from_pem(&files::read(&directory.join(KEY_FILE))?)?;
        let spki = key.subject_public_key_info();
        let ca = Self { issuer: Issuer::from_ca_cert_pem(&cert_pem, key)?, cert_pem };
        let cert = ca.cert_der()?;
        let (_, parsed) = X509Certificate::from_der(&cert)
            .map_err(|_| CaError::Certificate(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().raw != spki {
            return Err(CaError::Mismatch);
        }
        Ok(ca)
    }

    /// Writes certificate and key (0600) into a directory, which is made if need be.
    ///
    /// # Errors
    ///
    /// A file that exists already or cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), CaError> {
        files::make_directory(directory)?;
        files::write_new(&directory.join(KEY_FILE), &self.issuer.key().serialize_pem())?;
        files::write_new(&directory.join(CERT_FILE), &self.cert_pem)?;
        Ok(())
    }

    /// The trust anchor for edges (`ca-file` in causewayd.toml) and callers.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The trust anchor as DER.
    ///
    /// # Errors
    ///
    /// The file was no certificate.
    pub fn cert_der(&self) -> Result<CertificateDer<'static>, CaError> {
        CertificateDer::from_pem_slice(self.cert_pem.as_bytes())
            .map_err(|_| CaError::Certificate(rcgen::Error::CouldNotParseCertificate))
    }

    /// A server certificate for these names (DNS names or IP addresses).
    ///
    /// # Errors
    ///
    /// A name that no certificate can carry.
    pub fn sign_server(&self, names: &[&str]) -> Result<Signed, CaError> {
        let mut params = CertificateParams::default();
        for name in names {
            let name = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into()?),
            };
            params.subject_alt_names.push(name);
        }
        params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("relay"));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, SERVER_LIFE)
    }

    /// A client certificate for an edge of this name, valid for 30 days.
    ///
    /// # Errors
    ///
    /// Not an edge name.
    pub fn sign_edge(&self, name: &str) -> Result<Signed, CaError> {
        if !is_edge_name(name) {
            return Err(CaError::EdgeName(name.to_owned()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::URI(format!("{EDGE_URI}{name}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, EDGE_LIFE)
    }

    fn sign(&self, mut params: CertificateParams, life: Duration) -> Result<Signed, CaError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        lives(&mut params, life);
        let chain_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed { chain_pem, key_pem: key.serialize_pem() })
    }
}

fn lives(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + life.max(DAY)).into();
}

fn is_edge_name(name: &str) -> bool {
    (1..=MAX_EDGE_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

/// The edge's name in a client certificate that the TLS layer has verified: its one
/// `causeway://edge/NAME` URI. `None` if there is none, or more than one.
#[must_use]
pub fn edge_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut edges = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(EDGE_URI),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    });
    let name = edges.next().filter(|name| is_edge_name(name))?;
    edges.next().is_none().then(|| name.to_owned())
}

/// Whether the first certificate of a PEM text is for this DNS name or IP address.
pub(crate) fn is_for(chain_pem: &str, name: &str) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(chain_pem.as_bytes()) else {
        return false;
    };
    let Ok((_, parsed)) = X509Certificate::from_der(&certificate) else {
        return false;
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return false;
    };
    let wanted = match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => Some(address.octets().to_vec()),
        Ok(IpAddr::V6(address)) => Some(address.octets().to_vec()),
        Err(_) => None,
    };
    names.value.general_names.iter().any(|own| match (own, &wanted) {
        (GeneralName::DNSName(own), None) => own.eq_ignore_ascii_case(name),
        (GeneralName::IPAddress(own), Some(wanted)) => own == wanted,
        (_, _) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edges_certificate_carries_its_name_and_nothing_else_does() {
        let ca = Ca::create("test").unwrap();
        let edge = ca.sign_edge("gpu-1").unwrap();
        let der = CertificateDer::from_pem_slice(edge.chain_pem.as_bytes()).unwrap();
        assert_eq!(edge_name(&der).as_deref(), Some("gpu-1"));
        let server = ca.sign_server(&["relay.example.com", "127.0.0.1"]).unwrap();
        let der = CertificateDer::from_pem_slice(server.chain_pem.as_bytes()).unwrap();
        assert_eq!(edge_name(&der), None);
        for (name, expected) in
            [("Relay.example.com", true), ("127.0.0.1", true), ("example.com", false), ("127.0.0.2", false)]
        {
            assert_eq!(is_for(&server.chain_pem, name), expected, "{name}");
        }
        for name in ["", "GPU", "a/b", "a b", "a\nb", &"a".repeat(65)] {
            assert!(ca.sign_edge(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_authority_read_back_signs_for_the_same_anchor_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca");
        let ca = Ca::create("test").unwrap();
        ca.save(&path).unwrap();
        assert!(ca.save(&path).is_err(), "never written over");
        let again = Ca::load(&path).unwrap();
        assert_eq!(again.cert_pem(), ca.cert_pem());
        assert!(again.sign_edge("gpu-1").is_ok());
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = directory.path().join("other");
        Ca::create("test").unwrap().save(&other).unwrap();
        std::fs::copy(other.join(KEY_FILE), path.join(KEY_FILE)).unwrap();
        assert!(matches!(Ca::load(&path), Err(CaError::Mismatch)));
    }
}
