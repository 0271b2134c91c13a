//! What a person does about a failed dial, by what went wrong.

use std::io::{Error as IoError, ErrorKind};

use http::StatusCode;
use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as TlsError};
use tokio_tungstenite::tungstenite::Error as WebSocketError;

/// Where it may also be that something else listens at the address.
const OTHER_SERVER: &str = "does relay.url name the edges' port of a causeway-relay?";

/// No TCP connection.
pub(super) fn of_tcp(error: &IoError) -> &'static str {
    if error.kind() == ErrorKind::ConnectionRefused {
        return "nothing listens there: start the relay, or mend relay.url";
    }
    if matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) {
        return "there is no way to it: is this machine online?";
    }
    "is the relay running, and does a firewall let outbound TCP through?"
}

/// No TLS session, or an alert in a session that has just begun.
pub(super) fn of_tls(error: &IoError) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return "the other end left: if it is the relay, its log says why";
    };
    if let TlsError::InvalidCertificate(certificate) = error {
        return of_relay_certificate(certificate);
    }
    if let TlsError::AlertReceived(alert) = error {
        return of_alert(*alert);
    }
    OTHER_SERVER
}

/// The relay's certificate does not hold here.
fn of_relay_certificate(error: &Certificate) -> &'static str {
    if matches!(error, Certificate::Expired | Certificate::ExpiredContext { .. }) {
        return "the relay's certificate has expired: renew it there, or set this machine's clock";
    }
    if matches!(error, Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) {
        return "the relay's certificate is not valid yet: set this machine's clock, or the relay's";
    }
    if matches!(error, Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) {
        return "the relay's certificate is for another name: use that name in relay.url";
    }
    // Two private CAs may have the same name; then it is the signature that does not fit.
    if matches!(error, Certificate::UnknownIssuer | Certificate::BadSignature) {
        return "the relay's certificate is of a CA that is not trusted here: set relay.ca-file to the relay's own CA; \
                if it is set, another relay listens there or something on the way opens TLS";
    }
    OTHER_SERVER
}

/// The relay does not take this edge's certificate.
fn of_alert(alert: Alert) -> &'static str {
    if alert == Alert::CertificateExpired {
        return "this edge's certificate has expired, says the relay: invite this edge again, or set both clocks";
    }
    if alert == Alert::CertificateRevoked {
        return "this edge's certificate is revoked: invite this edge again on the relay";
    }
    if [Alert::UnknownCA, Alert::DecryptError].contains(&alert) {
        return "this edge's certificate is of another CA than the relay's: enrol this edge at this relay";
    }
    if [Alert::BadCertificate, Alert::CertificateUnknown, Alert::UnsupportedCertificate, Alert::AccessDenied]
        .contains(&alert)
    {
        return "the relay does not take this edge's certificate: the relay's log says why; invite this edge again";
    }
    if [Alert::ProtocolVersion, Alert::HandshakeFailure].contains(&alert) {
        return "the other end wants another TLS than the link's 1.3: does relay.url name the edges' port of a \
                causeway-relay, with no other proxy before it?";
    }
    OTHER_SERVER
}

/// The connection ended before the WebSocket was open.
pub(super) fn of_upgrade(error: &WebSocketError) -> &'static str {
    if let WebSocketError::Io(error) = error {
        return of_tls(error);
    }
    OTHER_SERVER
}

/// An answer that is no WebSocket.
pub(super) fn of_status(status: StatusCode) -> &'static str {
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        return "it does not take this edge: invite this edge again on the relay";
    }
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return "it is tried again; if it stays so, the relay's log says why";
    }
    OTHER_SERVER
}
