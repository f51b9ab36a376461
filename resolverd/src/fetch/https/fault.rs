//! What went wrong on the way: one word per cause, and whether trying again can help. Server text in it is escaped and cut.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use catalogue_schema::error::escaped;
use catalogue_schema::model::Refusal;
use rustls::CertificateError;
use rustls::pki_types::InvalidDnsNameError;

use crate::fetch::FetchError;

/// A failed try.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: FetchError,
    pub(super) retry: Retry,
}

/// Whether another try may go better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It would end the same.
    Never,
    /// After the usual pause.
    Soon,
    /// After the pause that the server asked for.
    After(Duration),
}

impl Fault {
    /// Makes a fault that the next try would meet again.
    pub(super) fn last(error: FetchError) -> Fault {
        Fault { error, retry: Retry::Never }
    }

    /// Makes a fault that may pass.
    pub(super) fn passing(
        reason: &'static str,
        subject: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Fault {
        let error = FetchError::Unreachable(Refusal::new(reason, subject, expected, found));
        Fault { error, retry: Retry::Soon }
    }

    /// Makes a fault of the network that the next try would meet again.
    pub(super) fn lasting(
        reason: &'static str,
        subject: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Fault {
        Fault::last(FetchError::Unreachable(Refusal::new(reason, subject, expected, found)))
    }

    /// Tells why a request to `host` got no answer, or a part of one.
    pub(super) fn of(error: &(dyn Error + 'static), host: &str, subject: &str) -> Fault {
        let chain = causes(error);
        let is_connect = error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect);
        let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let last = texts.last().map(|text| escaped(text)).unwrap_or_default();
        if let Some(error) = chain.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return tls(error, host, subject);
        }
        if texts.iter().any(|text| text == "dns error") {
            return Fault::passing("net.dns", subject, format!("an address for {host}"), last);
        }
        if chain.iter().any(|cause| cause.is::<InvalidDnsNameError>()) {
            return Fault::lasting("net.dns", subject, format!("an address for {host}"), last);
        }
        let hyper = chain.iter().find_map(|cause| cause.downcast_ref::<hyper::Error>());
        if hyper.is_some_and(hyper::Error::is_parse) {
            return Fault::lasting("net.protocol", subject, format!("HTTP/1.1 from {host}"), last);
        }
        let kind = chain.iter().find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
        let last = match kind {
            // The library says it with an address in its manual.
            Some(ErrorKind::UnexpectedEof) => "the connection ended, and no farewell came before".to_owned(),
            _ => last,
        };
        let found = format!("{last} ({host})");
        match kind {
            Some(ErrorKind::ConnectionRefused) => {
                Fault::passing("net.refused", subject, format!("a server at {host}"), found)
            }
            Some(ErrorKind::TimedOut) => {
                Fault::passing("net.timeout", subject, format!("an answer from {host}"), found)
            }
            _ if is_connect => {
                let found = texts.iter().skip(1).map(|text| escaped(text)).collect::<Vec<_>>().join(": ");
                Fault::passing("net.connect", subject, format!("a connection to {host}"), found)
            }
            _ => Fault::passing("net.cut", subject, "the whole answer", found),
        }
    }
}

/// Lists an error and what caused it; what an I/O error wraps is one of its causes, which `source` leaves out.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut chain = vec![error];
    while let Some(&last) = chain.last() {
        let inner = last.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn Error + 'static));
        match inner.or_else(|| last.source()) {
            // A chain of causes that does not end is no chain.
            Some(next) if chain.len() < 16 => chain.push(next),
            _ => break,
        }
    }
    chain
}

/// Says what is wrong with the encryption, without the times that a certificate names and the clock that disagrees.
fn tls(error: &rustls::Error, host: &str, subject: &str) -> Fault {
    let add = "or the file of its authority as config key https.ca_file";
    let (expected, found) = match error {
        rustls::Error::InvalidCertificate(problem) => {
            let other = format!("a certificate that cannot be used ({})", escaped(&format!("{problem:?}")));
            let found = match problem {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "a certificate that has expired"
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "a certificate that is not valid yet; compare the clocks"
                }
                CertificateError::UnknownIssuer => {
                    "a certificate that no known authority signed (self-signed, or of a private authority)"
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "a certificate for another host"
                }
                CertificateError::BadSignature => {
                    "a certificate that was not signed by the known authority whose name it bears"
                }
                CertificateError::Revoked => "a certificate that was revoked",
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    "a certificate that is not for servers"
                }
                // The verifier's own error, which has no name here; `openssl req -x509` makes such certificates.
                CertificateError::Other(_) if other.contains("CaUsedAsEndEntity") => {
                    "a certificate of an authority in the place of the server's own; make that one with basicConstraints=CA:FALSE"
                }
                _ => &other,
            }
            .to_owned();
            (
                format!("a valid certificate for {host} from an authority that this machine trusts, {add}"),
                found,
            )
        }
        rustls::Error::AlertReceived(alert) => {
            (format!("TLS 1.2 or 1.3 with {host}"), format!("the server's alert {alert:?}"))
        }
        other => (format!("TLS 1.2 or 1.3 with {host}"), escaped(&other.to_string())),
    };
    Fault::lasting("net.tls", subject, expected, found)
}
