//! Origins over TLS: whom an edge believes, which protocol they speak, and where a response ends.

use crate::world::{Answer, Client, HOST, PATIENCE, World, until};
use edge::{EdgeConfig, OriginTrust};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zone::OriginProtocol;

/// The `Host` that the world's domains ask their origin for.
const ORIGIN_HOST: &str = "origin.test";

/// A certificate authority, as a file, and what a server of its needs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server with a certificate for `name`.
    fn acceptor(&self, name: &str, expired: bool, protocols: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let certificate: CertificateDer<'static> =
            params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// An origin that answers each request with what it saw of it. Counts connections, and holds `/held` until told.
struct TlsOrigin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

impl TlsOrigin {
    async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let release = Arc::new(Notify::new());
        let origin = Self {
            address,
            connections: Arc::clone(&connections),
            held: Arc::clone(&held),
            release: Arc::clone(&release),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, connections) = (acceptor.clone(), Arc::clone(&connections));
                let (held, release) = (Arc::clone(&held), Arc::clone(&release));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    connections.fetch_add(1, Ordering::SeqCst);
                    answer_all(stream, held, release).await;
                });
            }
        });
        origin
    }
}

async fn answer_all(stream: TlsStream<TcpStream>, held: Arc<AtomicUsize>, release: Arc<Notify>) {
    let server_name = stream.get_ref().1.server_name().unwrap_or("none").to_owned();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let (held, release) = (Arc::clone(&held), Arc::clone(&release));
        let server_name = server_name.clone();
        async move {
            if request.uri().path().starts_with("/held") {
                let released = release.notified();
                held.fetch_add(1, Ordering::SeqCst);
                released.await;
            }
            let host = request.headers().get("host").map_or("none", |host| host.to_str().unwrap());
            let authority = request.uri().authority().map_or("none", |authority| authority.as_str());
            let text =
                format!("{:?} name={server_name} host={host} authority={authority}", request.version());
            let response = Response::builder().header("cache-control", "max-age=60");
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from(text))).unwrap())
        }
    });
    let stream = TokioIo::new(stream);
    if is_http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
    }
}

/// An edge whose domain has its origin at this port, over TLS.
async fn world(port: u16, trust: OriginTrust, change: impl FnOnce(&mut EdgeConfig)) -> World {
    World::before(
        |origin| {
            origin.protocol = OriginProtocol::Https;
            origin.https_port = port;
            assert_eq!(origin.host_header, ORIGIN_HOST);
        },
        |config| {
            config.workers = 1;
            config.origin_trust = trust;
            change(config);
        },
    )
    .await
}

async fn ask(address: SocketAddr, trust: OriginTrust) -> Answer {
    world(address.port(), trust, |_| {}).await.get("/a").await
}

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.field("cache-status").replace("e; detail=", ""))
}

#[tokio::test]
async fn origins_speak_what_they_agree_on() {
    let authority = Authority::new();
    let http2 = "HTTP/2.0 name=origin.test host=none authority=origin.test";
    let http1 = "HTTP/1.1 name=origin.test host=origin.test authority=none";
    let cases: [(&[&str], &str); 4] =
        [(&["h2", "http/1.1"], http2), (&["h2"], http2), (&["http/1.1"], http1), (&[], http1)];
    for (protocols, expected) in cases {
        let origin = TlsOrigin::start(authority.acceptor(ORIGIN_HOST, false, protocols)).await;
        let trust = OriginTrust::AlsoAuthoritiesOf(vec![authority.file()]);
        let world = world(origin.address.port(), trust, |_| {}).await;
        assert_eq!(world.get("/a").await.text(), expected, "{protocols:?}");
        let hit = world.get("/a").await;
        assert_eq!((hit.text(), hit.field("eo-cache-status").as_str()), (expected, "HIT"));
        // The connection is used again.
        assert_eq!(world.get("/b").await.text(), expected);
        assert_eq!(origin.connections.load(Ordering::SeqCst), 1, "{protocols:?}");
        let post = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(Client::request(world.edge.address(), post.into_bytes()).await.text(), expected);
    }
}

#[tokio::test]
async fn only_a_certificate_that_names_the_host_is_believed() {
    let authority = Authority::new();
    let ours = || OriginTrust::AlsoAuthoritiesOf(vec![authority.file()]);
    let certificate = |name, expired| authority.acceptor(name, expired, &["h2", "http/1.1"]);
    let refused = (502, "origin-certificate".to_owned());
    let good = TlsOrigin::start(certificate(ORIGIN_HOST, false)).await;
    assert_eq!(ask(good.address, ours()).await.status, 200);
    assert_eq!(refusal(&ask(good.address, OriginTrust::PublicAuthorities).await), refused);
    for (name, expired) in [("other.test", false), (HOST, false), (ORIGIN_HOST, true)] {
        let bad = TlsOrigin::start(certificate(name, expired)).await;
        assert_eq!(refusal(&ask(bad.address, ours()).await), refused, "{name} {expired}");
        // Only in explicit words.
        let answer = ask(bad.address, OriginTrust::DangerouslyAnyCertificate).await;
        assert_eq!(answer.status, 200, "{name} {expired}");
    }
}

#[tokio::test]
async fn concurrent_requests_share_one_http2_connection() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(authority.acceptor(ORIGIN_HOST, false, &["h2"])).await;
    let trust = OriginTrust::AlsoAuthoritiesOf(vec![authority.file()]);
    let world = world(origin.address.port(), trust, |_| {}).await;
    let pending: Vec<_> = (0..20).map(|number| world.get(&format!("/held/{number}"))).collect();
    until("all to reach the origin", || origin.held.load(Ordering::SeqCst) == 20).await;
    origin.release.notify_waiters();
    for pending in pending {
        assert_eq!(pending.await.status, 200);
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_in_the_clear_is_followed_in_the_clear() {
    let mut world = World::before(|origin| origin.protocol = OriginProtocol::Follow, |_| {}).await;
    assert_eq!(world.fetch("/a", "", "in the clear").await.text(), "in the clear");
}

#[tokio::test]
async fn an_origin_without_tls_is_told_apart_from_one_that_is_silent() {
    // Answers in the clear.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    });
    let answer = ask(plain, OriginTrust::PublicAuthorities).await;
    assert_eq!(refusal(&answer), (502, "origin-tls-failed".into()));
    answering.await.unwrap();
    // Accepts, and says nothing: the kernel does so for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let world = world(port, OriginTrust::PublicAuthorities, |config| {
        config.tls_timeout = Duration::from_millis(50);
    });
    let answer = world.await.get("/a").await;
    assert_eq!(refusal(&answer), (504, "origin-tls-timeout".into()));
}

/// An address at which connections are neither accepted nor refused: its queue is full.
#[tokio::test]
async fn an_origin_that_accepts_no_connection_is_told_apart() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    let mut in_vain = 0;
    while in_vain < 3 {
        match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => in_vain += 1,
        }
    }
    let world = World::before(
        |origin| origin.http_port = address.port(),
        |config| config.connect_timeout = Duration::from_millis(50),
    );
    let answer = world.await.get("/a").await;
    assert_eq!(refusal(&answer), (504, "origin-connect-timeout".into()));
}

/// Without a length the end of a response is the end of its connection, which TLS tells apart from a cut.
#[tokio::test]
async fn a_response_cut_off_under_tls_is_not_whole() {
    for orderly in [true, false] {
        let authority = Authority::new();
        let acceptor = authority.acceptor(ORIGIN_HOST, false, &["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                count.fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\nabc").await.unwrap();
                stream.flush().await.unwrap();
                if orderly {
                    stream.shutdown().await.unwrap();
                }
            }
        });
        let trust = OriginTrust::AlsoAuthoritiesOf(vec![authority.file()]);
        let world = world(port, trust, |_| {}).await;
        for _ in 0..2 {
            let answer = tokio::time::timeout(PATIENCE, world.get("/a")).await.unwrap();
            assert_eq!((answer.text(), answer.is_whole), ("abc", orderly));
        }
        assert_eq!(asked.load(Ordering::SeqCst), if orderly { 1 } else { 2 });
    }
}
