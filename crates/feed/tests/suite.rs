//! The same cases on every feed: what an edge and a control plane may rely on, whatever lies between them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use feed::{
    ControlAddress, ControlLink, ControlTrust, Credentials, EdgeKey, EdgeToControl, Feed, FeedError, Gate,
    Grant, Hello, Http2, Http2Error, IdentityError, InProcess, LINK_MESSAGES_MAX, NewEdgeKey, Peer, Ping,
    ToEdge, TokenHash,
};
use parking_lot::Mutex;
use purge::{Entry, Epoch, LogEntry, MemberId, Method, PurgeSeq, Scope};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use zone::ZoneId;

const TOKEN: &str = "the edges' token";

/// The edges that the control planes of a test know.
#[derive(Clone, Default)]
struct Known {
    keys: Arc<Mutex<Vec<EdgeKey>>>,
}

impl Gate for Known {
    async fn tokens(&self) -> Result<Vec<(String, TokenHash)>, IdentityError> {
        Ok(vec![("t".into(), TokenHash::of(TOKEN))])
    }

    async fn keep(&self, key: NewEdgeKey) -> Result<(), IdentityError> {
        let NewEdgeKey { key_id, edge_name, secret, .. } = key;
        self.keys.lock().push(EdgeKey { key_id, edge_name, secret });
        Ok(())
    }

    async fn key(&self, key_id: &str) -> Result<Option<EdgeKey>, IdentityError> {
        Ok(self.keys.lock().iter().find(|key| key.key_id == key_id).cloned())
    }
}

async fn in_process() -> (InProcess, mpsc::Receiver<ControlLink>) {
    let (accept, links) = mpsc::channel(4);
    (InProcess::new(accept), links)
}

async fn http2(token: &str) -> (Http2, mpsc::Receiver<ControlLink>) {
    let (address, links) = control_plane(Known::default()).await;
    (to(&address, token), links)
}

/// A feed from `addresses`, which are separated by commas.
fn to(addresses: &str, token: &str) -> Http2 {
    let addresses = ControlAddress::parse_list(addresses).unwrap();
    Http2::new(addresses, ControlTrust::default(), 0, Credentials::in_memory("e", token.into())).unwrap()
}

fn hello() -> EdgeToControl {
    let member = MemberId::from_random([1; 16]);
    EdgeToControl::Hello(Hello {
        member,
        edge_name: "e".into(),
        epoch: None,
        applied: PurgeSeq::ZERO,
        terms: purge::MemberTerms::default(),
        version: "0.1.0".into(),
    })
}

fn entries(count: u64) -> ToEdge {
    let zone = ZoneId::parse("zone-2noz78a8ev6k").unwrap();
    let entry = |number| LogEntry {
        seq: PurgeSeq::new(number),
        entry: Entry { zone: zone.clone(), scope: Scope::All, method: Method::Delete },
    };
    ToEdge::Entries { epoch: Epoch::new(7), entries: (1..=count).map(entry).collect() }
}

async fn messages_arrive_in_order_both_ways(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let mut control = links.recv().await.unwrap();
    edge.send(hello()).await.unwrap();
    let ping = |nonce| EdgeToControl::Ping(Ping { nonce, epoch: None, applied: PurgeSeq::ZERO });
    for nonce in 0..100 {
        edge.send(ping(nonce)).await.unwrap();
        if nonce == 0 {
            assert_eq!(control.receive().await, Some(hello()));
        }
        assert_eq!(control.receive().await, Some(ping(nonce)));
    }
    let grant = ToEdge::Grant(Grant {
        nonce: 1,
        epoch: Epoch::new(7),
        head: PurgeSeq::new(256),
        first_retained: PurgeSeq::new(1),
        config_version: 1,
        lease: Duration::from_secs(5),
    });
    control.send(entries(256)).await.unwrap();
    control.send(grant.clone()).await.unwrap();
    assert_eq!(edge.receive().await, Some(entries(256)));
    assert_eq!(edge.receive().await, Some(grant));
}

async fn a_broken_link_shows_at_both_ends(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let control = links.recv().await.unwrap();
    drop(control);
    assert_eq!(edge.receive().await, None);
    let edge = feed.open().await.unwrap();
    let mut control = links.recv().await.unwrap();
    edge.send(hello()).await.unwrap();
    drop(edge);
    assert_eq!(control.receive().await, Some(hello()), "what was sent before still arrives");
    assert_eq!(control.receive().await, None);
}

async fn a_full_link_makes_the_sender_wait(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let control = links.recv().await.unwrap();
    let sender = control.sender();
    let mut accepted = 0_u64;
    // Nobody reads: sooner or later there is no room. The bound is generous, since a network has buffers of its own.
    let mut refused = false;
    for _ in 0..200 * LINK_MESSAGES_MAX {
        match tokio::time::timeout(Duration::from_millis(500), sender.send(entries(256))).await {
            Ok(sent) => {
                sent.unwrap();
                accepted += 1;
            }
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "{accepted} messages of a slow edge are queued without limit");
    for _ in 0..accepted {
        assert_eq!(edge.receive().await, Some(entries(256)), "and none is lost");
    }
}

#[tokio::test]
async fn in_process_messages_arrive_in_order_both_ways() {
    let (feed, links) = in_process().await;
    messages_arrive_in_order_both_ways(feed, links).await;
}

#[tokio::test]
async fn http2_messages_arrive_in_order_both_ways() {
    let (feed, links) = http2(TOKEN).await;
    messages_arrive_in_order_both_ways(feed, links).await;
}

#[tokio::test]
async fn in_process_a_broken_link_shows_at_both_ends() {
    let (feed, links) = in_process().await;
    a_broken_link_shows_at_both_ends(feed, links).await;
}

#[tokio::test]
async fn http2_a_broken_link_shows_at_both_ends() {
    let (feed, links) = http2(TOKEN).await;
    a_broken_link_shows_at_both_ends(feed, links).await;
}

#[tokio::test]
async fn in_process_a_full_link_makes_the_sender_wait() {
    let (feed, links) = in_process().await;
    a_full_link_makes_the_sender_wait(feed, links).await;
}

#[tokio::test]
async fn http2_a_full_link_makes_the_sender_wait() {
    let (feed, links) = http2(TOKEN).await;
    a_full_link_makes_the_sender_wait(feed, links).await;
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let (feed, _links) = http2("another token").await;
    let error = feed.open().await.unwrap_err();
    assert!(matches!(&error, FeedError::Http2(Http2Error::Identity(IdentityError::Token))), "{error:?}");
}

#[tokio::test]
async fn a_token_becomes_a_key_that_lets_in_until_the_edge_is_removed() {
    let known = Known::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: ControlAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (accept, mut links) = mpsc::channel(4);
    tokio::spawn(feed::serve(listener, None, known.clone(), accept, std::future::pending()));
    let directory = tempfile::tempdir().unwrap();
    let feed = |token: Option<&str>| {
        let credentials = Credentials::kept("e", token.map(Into::into), directory.path()).unwrap();
        Http2::new(vec![address.clone()], ControlTrust::default(), 0, credentials).unwrap()
    };
    let first = feed(Some(TOKEN)).open().await.unwrap();
    let Peer::Known { key_id, edge_name, address: Some(from) } = links.recv().await.unwrap().peer().clone()
    else {
        panic!("the edge is known");
    };
    assert!(edge_name == "e" && from.is_loopback());
    drop(first);
    // Another process of the edge, without the token.
    let again = feed(None);
    for _ in 0..2 {
        let _link = again.open().await.unwrap();
        assert!(
            matches!(links.recv().await.unwrap().peer(), Peer::Known { key_id: same, .. } if *same == key_id)
        );
    }
    known.keys.lock().clear();
    for feed in [again, feed(Some(TOKEN))] {
        let error = feed.open().await.unwrap_err();
        assert!(matches!(&error, FeedError::Http2(Http2Error::Identity(IdentityError::Key))), "{error:?}");
    }
    assert!(known.keys.lock().is_empty(), "a removed edge does not join anew by itself");
}

/// An address at which nothing listens.
async fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_named() {
    let free = nowhere().await;
    let error = to(&free, TOKEN).open().await.unwrap_err();
    assert!(matches!(&error, FeedError::Http2(Http2Error::Connect { address, .. }) if *address == free));
}

/// Where a control plane is, and the links it takes.
async fn control_plane(known: Known) -> (String, mpsc::Receiver<ControlLink>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accept, links) = mpsc::channel(4);
    tokio::spawn(feed::serve(listener, None, known, accept, std::future::pending()));
    (address, links)
}

#[tokio::test]
async fn an_edge_goes_on_with_the_next_control_plane() {
    let known = Known::default();
    let (first, mut first_links) = control_plane(known.clone()).await;
    let (second, mut second_links) = control_plane(known).await;
    // It takes connections and says nothing, as a machine that hangs.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = hangs.local_addr().unwrap();
    let feed = to(&format!("{first},{},{silent},{second}", nowhere().await), TOKEN);
    let mut edge = feed.open().await.unwrap();
    drop(first_links.recv().await.unwrap());
    assert_eq!(edge.receive().await, None);
    let _edge = feed.open().await.unwrap();
    assert!(second_links.recv().await.is_some(), "past one that is not there and one that is silent");
    let _edge = feed.open().await.unwrap();
    assert!(first_links.recv().await.is_some(), "after the last the first has its turn");
}

#[tokio::test]
async fn a_connection_without_a_link_is_closed() {
    let (address, _links) = control_plane(Known::default()).await;
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut said = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut connection, &mut said);
    let _ = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
}

/// A certificate for 127.0.0.1 and its key, and the authority that vouches for it, all PEM.
fn certificate() -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    (server.pem(), key.serialize_pem(), authority_pem)
}

/// What the control plane shows.
fn server_config(certificate: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[tokio::test]
async fn with_tls_only_the_authority_that_was_named_is_believed() {
    let (certificate, key, authority) = certificate();
    let (_, _, other_authority) = self::certificate();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accept, mut links) = mpsc::channel(4);
    let tls = Some(server_config(&certificate, &key));
    tokio::spawn(feed::serve(listener, tls, Known::default(), accept, std::future::pending()));
    let to = |address: String, trust: ControlTrust| {
        Http2::new(vec![address.parse().unwrap()], trust, 0, Credentials::in_memory("e", TOKEN.into()))
            .unwrap()
    };
    let own = ControlTrust::AuthoritiesOf(file("own.pem", &authority));
    let other = ControlTrust::AuthoritiesOf(file("other.pem", &other_authority));
    for address in [format!("https://127.0.0.1:{port}"), format!("127.0.0.1:{port}")] {
        let edge = to(address, own.clone()).open().await.unwrap();
        let mut control = links.recv().await.unwrap();
        edge.send(hello()).await.unwrap();
        assert_eq!(control.receive().await, Some(hello()));
    }
    for (address, trust) in [
        (format!("https://127.0.0.1:{port}"), ControlTrust::PublicAuthorities),
        (format!("https://127.0.0.1:{port}"), other),
        (format!("https://localhost:{port}"), own.clone()),
    ] {
        let error = to(address.clone(), trust.clone()).open().await.unwrap_err();
        assert!(matches!(&error, FeedError::Http2(Http2Error::Tls { .. })), "{address} {trust:?}: {error:?}");
    }
    let plain = to(format!("http://127.0.0.1:{port}"), own).open().await;
    assert!(plain.is_err(), "where TLS is spoken, nothing else is");
    for unusable in [file("none.pem", ""), file("key.pem", &key), directory.path().join("missing")] {
        let refused = Http2::new(
            vec!["a:1".parse().unwrap()],
            ControlTrust::AuthoritiesOf(unusable.clone()),
            0,
            Credentials::in_memory("e", TOKEN.into()),
        );
        assert!(refused.is_err(), "{}", unusable.display());
    }
}
