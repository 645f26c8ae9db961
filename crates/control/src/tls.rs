//! TLS for the API, and whether it may do without.

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM file.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate.
    #[error(
        "{0} holds no certificate: it needs one or more \"BEGIN CERTIFICATE\" sections, the server's own first"
    )]
    NoCertificate(PathBuf),
    /// The file holds no private key.
    #[error("{0} holds no private key: it needs a \"BEGIN PRIVATE KEY\" section")]
    NoKey(PathBuf),
    /// Certificate and key do not fit together, or are of a kind that is not supported.
    #[error("the certificate in {cert} and the private key in {key} cannot be used")]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

/// Refusal to send secrets over a network in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines, and requests to the API are not encrypted there: give a certificate \
     (--api-tls-cert, --api-tls-key), listen on a loopback address, or allow plain text in words (--allow-plain-text)"
)]
pub struct PlainTextRefused(pub SocketAddr);

/// Whether the API may listen on `address` without TLS: on loopback, or where an operator said so.
pub fn check_plain_text(address: SocketAddr, allow_plain_text: bool) -> Result<(), PlainTextRefused> {
    if allow_plain_text || is_loopback(address) { Ok(()) } else { Err(PlainTextRefused(address)) }
}

/// Whether nobody but this machine reaches `address`.
pub fn is_loopback(address: SocketAddr) -> bool {
    // ::ffff:127.0.0.1 is loopback too.
    address.ip().to_canonical().is_loopback()
}

/// Reads a certificate chain and its key from PEM files.
pub fn load(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(unreadable(cert))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(cert.to_owned()));
    }
    let secret = match PrivateKeyDer::from_pem_file(key) {
        Ok(secret) => secret,
        Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey(key.to_owned())),
        Err(source) => return Err(unreadable(key)(source)),
    };
    let unusable = |source| TlsError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_on_this_machine_unless_allowed() {
        for (address, allow, passes) in [
            ("127.0.0.1:80", false, true),
            ("127.9.9.9:80", false, true),
            ("[::1]:80", false, true),
            ("[::ffff:127.0.0.1]:80", false, true),
            ("0.0.0.0:80", false, false),
            ("[::]:80", false, false),
            ("192.0.2.1:80", false, false),
            ("[::ffff:192.0.2.1]:80", false, false),
            ("0.0.0.0:80", true, true),
        ] {
            assert_eq!(check_plain_text(address.parse().unwrap(), allow).is_ok(), passes, "{address}");
        }
    }

    #[test]
    fn files_that_do_not_do_are_named() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let cert = file("cert", &made.cert.pem());
        let key = file("key", &made.signing_key.serialize_pem());
        let other_key = file("other", &other.signing_key.serialize_pem());
        let (empty, missing) = (file("empty", ""), dir.path().join("missing"));
        assert!(load(&cert, &key).is_ok());
        assert!(matches!(load(&missing, &key), Err(TlsError::File { path, .. }) if path == missing));
        assert!(matches!(load(&cert, &missing), Err(TlsError::File { path, .. }) if path == missing));
        assert!(matches!(load(&empty, &key), Err(TlsError::NoCertificate(path)) if path == empty));
        assert!(matches!(load(&key, &key), Err(TlsError::NoCertificate(_))));
        assert!(matches!(load(&cert, &cert), Err(TlsError::NoKey(_))));
        assert!(matches!(load(&cert, &other_key), Err(TlsError::Unusable { .. })));
    }
}
