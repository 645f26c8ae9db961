//! Certificates in a directory, and clients that speak TLS and HTTP/2.

use super::PATIENCE;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate of its own authority.
pub(crate) struct Made(CertifiedKey<KeyPair>);

impl Made {
    pub(crate) fn for_names(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Self(rcgen::generate_simple_self_signed(names).unwrap())
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.0.cert.der()
    }

    pub(crate) fn chain(&self) -> String {
        self.0.cert.pem()
    }

    pub(crate) fn key(&self) -> String {
        self.0.signing_key.serialize_pem()
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (chain, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        std::fs::write(&chain, self.chain()).unwrap();
        std::fs::write(&key, self.key()).unwrap();
        (chain, key)
    }
}

/// A client that believes these certificates.
#[derive(Clone)]
pub(crate) struct SecureClient(Arc<ClientConfig>);

impl SecureClient {
    pub(crate) fn believing(
        all: &[&Made],
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for made in all {
            roots.add(made.der().clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// One of HTTP/2.
    pub(crate) fn http2(all: &[&Made]) -> Self {
        Self::believing(all, &["h2"], rustls::ALL_VERSIONS)
    }

    pub(crate) async fn connect(
        &self,
        edge: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(edge).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connect = TlsConnector::from(Arc::clone(&self.0)).connect(name, stream);
        tokio::time::timeout(PATIENCE, connect).await.expect("a handshake ends in time")
    }

    /// A connection of HTTP/2. It lives as long as what it returns.
    pub(crate) async fn framed(&self, edge: SocketAddr, name: &str) -> Framed {
        Framed::over(self.connect(edge, name).await.unwrap(), h2::client::Builder::new()).await
    }
}

/// A connection of HTTP/2.
#[derive(Clone)]
pub(crate) struct Framed {
    send: SendRequest<Bytes>,
    ended: Arc<tokio::task::JoinHandle<Result<(), h2::Error>>>,
}

impl Framed {
    pub(crate) async fn over<S>(stream: S, builder: h2::client::Builder) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, ended: Arc::new(tokio::spawn(connection)) }
    }

    /// Sends a request, and a body if there is one.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: Option<&str>,
    ) -> Result<Response<h2::RecvStream>, h2::Error> {
        let exchange = async {
            let mut send = self.send.clone().ready().await?;
            let (response, mut upload) = send.send_request(request, body.is_none())?;
            if let Some(body) = body {
                upload.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
            }
            response.await
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("the edge answers in time")
    }

    /// Asks for a URL and reads all of the answer.
    pub(crate) async fn get(&self, url: &str) -> (Response<()>, String) {
        let (head, mut body) =
            self.send(Request::get(url).body(()).unwrap(), None).await.unwrap().into_parts();
        (Response::from_parts(head, ()), read(&mut body).await.unwrap())
    }

    /// Waits until the edge has closed the connection.
    pub(crate) async fn until_closed(&self) {
        super::until("the connection to end", || self.ended.is_finished()).await;
    }
}

/// Reads a body to its end.
pub(crate) async fn read(body: &mut h2::RecvStream) -> Result<String, h2::Error> {
    let reading = async {
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok(String::from_utf8(all).unwrap())
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the body ends in time")
}
