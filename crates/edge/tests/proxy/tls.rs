//! TLS with clients: certificates by name, renewed while the edge runs.

use crate::world::{HOST, Made, OTHER_HOST, PATIENCE, SecureClient, World, until};
use edge::{CertificateFiles, Clocks, EdgeConfig, TlsSettings};
use feed::InProcess;
use rustls::HandshakeKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MINUTE: &str = "cache-control: max-age=60\r\n";

fn settings(directory: &Path) -> TlsSettings {
    let mut settings = TlsSettings::new(([127, 0, 0, 1], 0).into());
    settings.directory = Some(directory.to_owned());
    settings
}

async fn world(directory: &Path, change: impl FnOnce(&mut TlsSettings)) -> World {
    let mut settings = settings(directory);
    change(&mut settings);
    World::start_with(|config| config.tls = Some(settings)).await
}

/// Sends a request over TLS and reads until the edge closes.
async fn ask(client: &SecureClient, world: &World, name: &str, request: &str) -> String {
    let mut stream = client.connect(world.edge.tls_address().unwrap(), name).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap();
    read.unwrap();
    answer
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn each_name_is_answered_with_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (www, wild, spare) =
        (Made::for_names(&[HOST]), Made::for_names(&["*.a.test"]), Made::for_names(&["spare.test"]));
    www.write(directory.path(), "www");
    std::fs::write(directory.path().join("wild.pem"), format!("{}{}", wild.key(), wild.chain())).unwrap();
    std::fs::write(directory.path().join("notes.txt"), "no certificate").unwrap();
    let client = SecureClient::believing(&[&www, &wild, &spare], &["http/1.1"], rustls::ALL_VERSIONS);
    let world = world(directory.path(), |_| {}).await;
    let edge = world.edge.tls_address().unwrap();
    for (name, made) in [(HOST, &www), (OTHER_HOST, &wild), ("WWW.A.test", &www)] {
        let stream = client.connect(edge, name).await.unwrap();
        assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *made.der(), "{name}");
    }
    for name in ["a.test", "deep.img.a.test", "nobody.test", "127.0.0.1"] {
        let refused = client.connect(edge, name).await.unwrap_err().to_string();
        assert!(
            refused.contains("AccessDenied") || refused.contains("HandshakeFailure"),
            "{name}: {refused}"
        );
    }
    until("failures to be counted", || world.edge.counters().handshakes_failed.load(Ordering::Relaxed) == 4)
        .await;
    // A default answers every name; whether the client believes it is the client's business.
    let own = directory.path().join("live").join("spare.test");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("fullchain.pem"), spare.chain()).unwrap();
    std::fs::write(own.join("privkey.pem"), spare.key()).unwrap();
    let world = World::start_with(|config| {
        let mut settings = settings(&directory.path().join("live"));
        settings.files = vec![CertificateFiles {
            chain: directory.path().join("www.crt"),
            key: directory.path().join("www.key"),
        }];
        config.tls = Some(settings);
    })
    .await;
    let edge = world.edge.tls_address().unwrap();
    let stream = client.connect(edge, "spare.test").await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], *spare.der());
    let refused = client.connect(edge, "nobody.test").await.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn both_versions_serve_and_a_session_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let www = Made::for_names(&[HOST]);
    www.write(directory.path(), "www");
    let mut world = world(directory.path(), |_| {}).await;
    world.fetch("/a", MINUTE, "one").await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = SecureClient::believing(&[&www], &["http/1.1"], &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = client.connect(world.edge.tls_address().unwrap(), HOST).await.unwrap();
            stream.write_all(get(HOST, "/a").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\none"), "{answer}");
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }
}

#[tokio::test]
async fn a_connection_serves_what_its_name_and_certificate_cover() {
    let directory = tempfile::tempdir().unwrap();
    let both = Made::for_names(&[HOST, OTHER_HOST]);
    let one = Made::for_names(&["dead.a.test"]);
    both.write(directory.path(), "both");
    one.write(directory.path(), "one");
    let mut world = world(directory.path(), |_| {}).await;
    world.fetch("/a", MINUTE, "one").await;
    let client = SecureClient::believing(&[&both, &one], &["http/1.1"], rustls::ALL_VERSIONS);
    let coalesced = ask(&client, &world, OTHER_HOST, &get(HOST, "/a")).await;
    assert!(coalesced.starts_with("HTTP/1.1 200 OK\r\n"), "{coalesced}");
    let foreign = ask(&client, &world, "dead.a.test", &get(HOST, "/a")).await;
    assert!(foreign.starts_with("HTTP/1.1 421 "), "{foreign}");
    assert!(foreign.contains("cache-status: e; detail=misdirected\r\n"), "{foreign}");
    let smuggling = ask(&client, &world, HOST, "get / HTTP/1.1\r\n").await;
    assert!(smuggling.starts_with("HTTP/1.1 400 "), "{smuggling}");
}

#[tokio::test]
async fn changed_files_are_used_and_broken_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Made::for_names(&[HOST]), Made::for_names(&[HOST]));
    let (chain, _) = old.write(directory.path(), "www");
    let client = SecureClient::believing(&[&old, &new], &["http/1.1"], rustls::ALL_VERSIONS);
    for polled in [false, true] {
        old.write(directory.path(), "www");
        let world = world(directory.path(), |settings| {
            settings.reload_interval = Duration::from_millis(if polled { 10 } else { 3_600_000 });
        })
        .await;
        let edge = world.edge.tls_address().unwrap();
        let presented = async || {
            let stream = client.connect(edge, HOST).await.unwrap();
            stream.get_ref().1.peer_certificates().unwrap()[0].clone()
        };
        assert_eq!(presented().await, *old.der());
        // The key is still another one's.
        std::fs::write(&chain, new.chain()).unwrap();
        if !polled {
            world.edge.reload_certificates();
        }
        assert_eq!(presented().await, *old.der());
        new.write(directory.path(), "www");
        if !polled {
            world.edge.reload_certificates();
        }
        let renewed = tokio::time::timeout(PATIENCE, async { while presented().await != *new.der() {} });
        assert!(renewed.await.is_ok(), "in vain: the new certificate");
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_let_go_and_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let www = Made::for_names(&[HOST]);
    www.write(directory.path(), "www");
    let mut world = world(directory.path(), |settings| {
        settings.handshake_timeout = Duration::from_millis(100);
        settings.handshakes_max = 8;
    })
    .await;
    world.fetch("/a", MINUTE, "one").await;
    let edge = world.edge.tls_address().unwrap();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(tokio::net::TcpStream::connect(edge).await.unwrap());
    }
    let mut plain = tokio::net::TcpStream::connect(edge).await.unwrap();
    plain.write_all(get(HOST, "/a").as_bytes()).await.unwrap();
    let client = SecureClient::believing(&[&www], &[], rustls::ALL_VERSIONS);
    assert!(ask(&client, &world, HOST, &get(HOST, "/a")).await.ends_with("one"));
    for mut stream in silent {
        let closed = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
    until("all to be counted", || world.edge.counters().handshakes_failed.load(Ordering::Relaxed) >= 5).await;
}

#[expect(clippy::disallowed_methods, reason = "the edge's wall clock comes from its caller, which a test is")]
fn wall() -> SystemTime {
    SystemTime::now()
}

#[test]
fn certificates_that_do_not_do_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (one, other) = (Made::for_names(&[HOST]), Made::for_names(&[HOST]));
    let nameless = Made::for_names(&[]);
    let (chain, key) = one.write(path, "one");
    let (_, other_key) = other.write(path, "other");
    let (nameless_chain, nameless_key) = nameless.write(path, "nameless");
    let text = path.join("text.crt");
    std::fs::write(&text, "no PEM").unwrap();
    let broken = path.join("broken.crt");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let empty = path.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let absent = path.join("absent.crt");
    let pair = |chain: &Path, key: &Path| CertificateFiles { chain: chain.to_owned(), key: key.to_owned() };
    let cases = [
        (vec![pair(&absent, &key)], None, format!("cannot read {}: ", absent.display())),
        (vec![pair(&text, &key)], None, format!("{} holds no certificate: ", text.display())),
        (vec![pair(&chain, &chain)], None, format!("{} holds no private key: ", chain.display())),
        (
            vec![pair(&chain, &other_key)],
            None,
            format!(
                "the private key in {} does not belong to the certificate in {}",
                other_key.display(),
                chain.display()
            ),
        ),
        (
            vec![pair(&broken, &key)],
            None,
            format!("the certificate in {} and the private key", broken.display()),
        ),
        (
            vec![pair(&chain, &key), pair(&nameless_chain, &nameless_key)],
            None,
            format!("the certificate in {} holds no DNS name", nameless_chain.display()),
        ),
        (
            vec![],
            Some(empty.clone()),
            format!(
                "there is no certificate: name files, or put NAME.crt and NAME.key into {}",
                empty.display()
            ),
        ),
        (vec![], Some(absent.clone()), format!("cannot read the directory {}: ", absent.display())),
    ];
    for (files, directory, expected) in cases {
        let mut config = EdgeConfig::new("e".into(), ([127, 0, 0, 1], 0).into());
        let mut settings = TlsSettings::new(([127, 0, 0, 1], 0).into());
        (settings.files, settings.directory) = (files, directory);
        config.tls = Some(settings);
        let (accept, _links) = tokio::sync::mpsc::channel(1);
        let error = edge::start(config, InProcess::new(accept), Clocks::with_wall(wall)).err().unwrap();
        assert!(error.to_string().starts_with(&expected), "{error}\n{expected}");
    }
}
