//! Which origins an edge believes: roots, authorities of the operator's own, and the loud way to believe everybody.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tracing::warn;

/// Which certificates of origins an edge accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OriginTrust {
    /// Those that one of the public authorities vouches for: Mozilla's list, as of when this was built.
    #[default]
    PublicAuthorities,
    /// The same, and those that an authority of these PEM files vouches for.
    AlsoAuthoritiesOf(Vec<PathBuf>),
    /// Any certificate, of anybody: whoever stands between edge and origin can read and change everything. Said in the
    /// log at each start.
    DangerouslyAnyCertificate,
}

/// Why an edge has no way to check its origins.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsError {
    /// A file of authorities can't be read, or is no PEM file.
    #[error("cannot read the authorities of origins in {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error("{0} holds no certificate of an authority: it needs one or more \"BEGIN CERTIFICATE\" sections")]
    NoCertificate(PathBuf),
    /// A certificate in the file can't be used.
    #[error("a certificate in {path} can't be used as an authority")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The library has no protocol version to offer.
    #[error("no version of TLS can be spoken to origins")]
    Versions(#[source] rustls::Error),
}

/// TLS towards origins.
#[derive(Clone)]
pub(crate) struct OriginTls {
    /// Offers HTTP/2 and HTTP/1.1.
    pub(super) any_http: TlsConnector,
    /// Offers HTTP/1.1 alone: only that can be upgraded to another protocol.
    pub(super) http1: TlsConnector,
}

impl OriginTls {
    /// Reads what there is to trust.
    pub(crate) fn new(trust: &OriginTrust) -> Result<Self, OriginTlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(OriginTlsError::Versions)?;
        let mut config = match trust {
            OriginTrust::DangerouslyAnyCertificate => {
                warn!(
                    "certificates of origins are NOT checked: anybody between this edge and an origin can read and \
                     change what passes"
                );
                let verifier = Arc::new(AnyCertificate(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            OriginTrust::PublicAuthorities => {
                builder.with_root_certificates(roots(&[])?).with_no_client_auth()
            }
            OriginTrust::AlsoAuthoritiesOf(files) => {
                builder.with_root_certificates(roots(files)?).with_no_client_auth()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = TlsConnector::from(Arc::new(config.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { any_http: TlsConnector::from(Arc::new(config)), http1 })
    }
}

fn roots(files: &[PathBuf]) -> Result<RootCertStore, OriginTlsError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for path in files {
        for certificate in read_certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| OriginTlsError::Unusable { path: path.clone(), source })?;
        }
    }
    Ok(roots)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OriginTlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(OriginTlsError::NoCertificate(path.to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(source) => Err(OriginTlsError::File { path: path.to_owned(), source }),
    }
}

/// Believes every certificate. The signatures of the handshake are still checked, so that the peer at least holds the
/// key of the certificate it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_authority_are_refused_by_name() {
        let refuse = |path: &Path| match OriginTls::new(&OriginTrust::AlsoAuthoritiesOf(vec![path.into()])) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        };
        let directory = std::env::temp_dir();
        assert!(
            refuse(&directory.join("not-there.pem")).starts_with("cannot read the authorities of origins in")
        );
        assert!(
            refuse(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")))
                .contains("holds no certificate")
        );
        assert!(OriginTls::new(&OriginTrust::PublicAuthorities).is_ok());
    }
}
