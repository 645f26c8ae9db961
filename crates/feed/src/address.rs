//! Where control planes take links, and whom of them an edge believes.

use crate::Http2Error;
use http::uri::{Authority, Uri};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// How many control planes an edge knows at most.
pub const CONTROL_ADDRESSES_MAX: usize = 16;

/// Where one control plane takes links: `HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlAddress {
    authority: Authority,
    /// `None`: TLS if there is an authority to check it by.
    tls: Option<bool>,
}

/// A text that is no address of a control plane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a control plane: write HOST:PORT or https://HOST:PORT")]
pub struct ControlAddressError(String);

impl FromStr for ControlAddress {
    type Err = ControlAddressError;

    fn from_str(text: &str) -> Result<Self, ControlAddressError> {
        let wrong = || ControlAddressError(text.to_owned());
        let (tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (Some(true), rest),
            (None, Some(rest)) => (Some(false), rest),
            (None, None) => (None, text),
        };
        let rest = rest.strip_suffix('/').filter(|_| tls.is_some()).unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| wrong())?;
        let is_whole = authority.port_u16().is_some_and(|port| port > 0)
            && !authority.host().is_empty()
            && !authority.as_str().contains('@');
        if is_whole { Ok(Self { authority, tls }) } else { Err(wrong()) }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.tls {
            None => "",
            Some(true) => "https://",
            Some(false) => "http://",
        };
        write!(f, "{scheme}{}", self.authority)
    }
}

impl ControlAddress {
    /// Reads a list with commas between its addresses, 1 to [`CONTROL_ADDRESSES_MAX`] of them.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, ControlAddressError> {
        let addresses: Vec<Self> =
            text.split(',').map(|address| address.trim().parse()).collect::<Result<_, _>>()?;
        if addresses.len() > CONTROL_ADDRESSES_MAX {
            return Err(ControlAddressError(format!(
                "{} addresses, of at most {CONTROL_ADDRESSES_MAX}",
                addresses.len()
            )));
        }
        Ok(addresses)
    }

    /// Host and port, as a socket is opened to them.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The URL of `path` there.
    pub(crate) fn url(&self, path: &str) -> Result<Uri, http::Error> {
        let scheme = if self.tls == Some(true) { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path).build()
    }

    /// The name its certificate must have, if TLS is spoken there.
    pub(crate) fn server_name(
        &self,
        trust: &ControlTrust,
    ) -> Result<Option<ServerName<'static>>, Http2Error> {
        let is_tls = self.tls.unwrap_or(matches!(trust, ControlTrust::AuthoritiesOf(_)));
        if !is_tls {
            return Ok(None);
        }
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| Http2Error::ServerName(self.to_string()))?;
        Ok(Some(name))
    }
}

/// Which certificates of control planes an edge accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlTrust {
    /// Those that one of the public authorities vouches for: Mozilla's list, as of when this was built.
    #[default]
    PublicAuthorities,
    /// Those that an authority of this PEM file vouches for, and no others. Then TLS is spoken wherever an address does
    /// not say `http://`.
    AuthoritiesOf(PathBuf),
}

/// Why an edge has no way to check its control planes.
#[derive(Debug, thiserror::Error)]
pub enum ControlTrustError {
    /// The file of authorities can't be read, or is no PEM file.
    #[error("cannot read the authorities of control planes in {path}")]
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
    /// A certificate in the file can't be used, or the library has no protocol version to offer.
    #[error("TLS to control planes can't be set up")]
    Unusable(#[from] rustls::Error),
}

/// TLS towards control planes.
pub(crate) fn connector(trust: &ControlTrust) -> Result<TlsConnector, ControlTrustError> {
    let roots = match trust {
        ControlTrust::PublicAuthorities => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        ControlTrust::AuthoritiesOf(path) => authorities_of(path)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn authorities_of(path: &Path) -> Result<RootCertStore, ControlTrustError> {
    let file = |source| ControlTrustError::File { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(file)? {
        roots.add(certificate.map_err(file)?)?;
    }
    if roots.is_empty() {
        return Err(ControlTrustError::NoCertificate(path.to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_refused() {
        for (text, url) in [
            ("a.test:8091", "http://a.test:8091/feed"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1/feed"),
            ("https://[::1]:65535", "https://[::1]:65535/feed"),
        ] {
            let address: ControlAddress = text.parse().unwrap();
            assert_eq!(address.url("/feed").unwrap().to_string(), url, "{text}");
        }
        for bad in
            ["", "a.test", "a.test:0", "a.test:65536", ":80", "ftp://a:1", "u@a:1", "a:1/", "https://a:1/b"]
        {
            assert!(bad.parse::<ControlAddress>().is_err(), "{bad}");
        }
        let list = ControlAddress::parse_list("a:1, https://b:2").unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "https://b:2"]);
        for bad in ["", "a:1,", &["a:1"; CONTROL_ADDRESSES_MAX + 1].join(",")] {
            assert!(ControlAddress::parse_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tls_is_spoken_where_the_address_or_an_authority_says_so() {
        let own = ControlTrust::AuthoritiesOf("ca.pem".into());
        for (text, trust, is_tls) in [
            ("a:1", &ControlTrust::PublicAuthorities, false),
            ("https://a:1", &ControlTrust::PublicAuthorities, true),
            ("a:1", &own, true),
            ("http://a:1", &own, false),
        ] {
            let address: ControlAddress = text.parse().unwrap();
            assert_eq!(address.server_name(trust).unwrap().is_some(), is_tls, "{text} {trust:?}");
        }
    }
}
