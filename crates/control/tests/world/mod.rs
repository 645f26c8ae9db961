//! A control plane on a port of its own, and a client that signs.

use control::api::{Api, ApiOptions, ApiParts};
use control::recorder::Recorder;
use control::{Network, NetworkSettings, listen};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};
use store::{MasterKey, MemberProcess, Store, StoreOptions};
use teo::{Action, Answer, SecretKey, Signer, sign_request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// 2023-11-14T22:13:20Z.
pub(crate) const NOW_SECS: i64 = 1_700_000_000;
const SECRET_ID: &str = "AKIDtest";
const SECRET_KEY: &str = "secret";

/// A control plane without edges.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) network: Network,
    /// What its wall clock reads, in milliseconds.
    pub(crate) clock_ms: Arc<AtomicI64>,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Opens the envelope, which has the same form whatever it holds.
    pub(crate) fn answer(&self) -> Answer {
        assert_eq!(self.status, 200);
        assert_eq!(self.header("content-type"), Some("application/json"));
        Answer::read(&self.body).unwrap()
    }
}

fn boot_clock() -> Duration {
    static START: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);
    START.elapsed()
}

fn wall_clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECS.unsigned_abs())
}

/// A network that leaves jobs of silent members processing for as long as any test takes.
pub(crate) fn network(store: &Store, shutdown: watch::Receiver<bool>) -> Network {
    let settings = NetworkSettings { lease: Duration::from_secs(600), boot_clock, wall_clock };
    Network::start(store.clone(), settings, shutdown)
}

pub(crate) async fn open_store(dir: &std::path::Path) -> Store {
    Store::open(StoreOptions::new(dir, MasterKey::new(&[3; 32]).unwrap())).await.unwrap()
}

impl World {
    pub(crate) async fn start(options: ApiOptions) -> Self {
        let clock_ms = Arc::new(AtomicI64::new(NOW_SECS * 1000));
        let clock = Arc::clone(&clock_ms);
        Self::with_clock(options, clock_ms, Arc::new(move || clock.load(Ordering::Relaxed)), None).await
    }

    pub(crate) async fn with_clock(
        options: ApiOptions,
        clock_ms: Arc<AtomicI64>,
        now_ms: control::api::WallClock,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(dir.path()).await;
        store.import_key(SECRET_ID, SECRET_KEY, "test", 0).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let network = network(&store, stopping);
        let (recorder, task) = Recorder::new(store.clone(), network.clone());
        tokio::spawn(task.run());
        let ready = Arc::new(|| Err("the edge does not listen yet".to_owned()));
        let parts =
            ApiParts { store: store.clone(), recorder, network: network.clone(), now_ms, ready, options };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(listen::serve(listener, tls, Api::new(parts).router(), std::future::pending()));
        Self { address, store, network, clock_ms, _stop: stop, _dir: dir }
    }

    /// A world with a zone `a.test`, two domains, and its zone's id.
    pub(crate) async fn with_zone(options: ApiOptions) -> (Self, String) {
        let world = Self::start(options).await;
        let zone = world.call_ok("CreateZone", json!({ "ZoneName": "a.test" })).await;
        let zone = zone["ZoneId"].as_str().unwrap().to_owned();
        for name in ["www.a.test", "img.a.test"] {
            let origin = json!({ "OriginType": "IP_DOMAIN", "Origin": "127.0.0.1" });
            let domain = json!({ "ZoneId": zone, "DomainName": name, "OriginInfo": origin });
            world.call_ok("CreateAccelerationDomain", domain).await;
        }
        (world, zone)
    }

    /// A world in which the next job stays processing: an edge is a member and says nothing.
    pub(crate) async fn silence(&self) -> purge::MemberId {
        let silent = purge::MemberId::new(7);
        let terms = purge::MemberTerms::default();
        self.store
            .join_member(silent, "silent", terms, &MemberProcess::default(), NOW_SECS * 1000)
            .await
            .unwrap();
        silent
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer { secret_id: SECRET_ID.into(), secret_key: SecretKey::new(SECRET_KEY), token: None }
    }

    /// A signed request, as bytes.
    pub(crate) fn request(&self, signer: &Signer, host: &str, action: Action, body: &[u8]) -> Vec<u8> {
        let now_secs = self.clock_ms.load(Ordering::Relaxed) / 1000;
        let headers = sign_request(signer, host, action, body, now_secs);
        http_request("POST / HTTP/1.1", &headers, body)
    }

    /// Sends bytes and reads one answer.
    pub(crate) async fn exchange(&self, request: &[u8]) -> Raw {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    pub(crate) async fn call_with(&self, signer: &Signer, action: &str, body: &[u8]) -> Answer {
        let request = self.request(signer, &self.address.to_string(), named(action), body);
        self.exchange(&request).await.answer()
    }

    pub(crate) async fn call(&self, action: &str, parameters: Value) -> Answer {
        self.call_with(&self.signer(), action, parameters.to_string().as_bytes()).await
    }

    pub(crate) async fn call_ok(&self, action: &str, parameters: Value) -> Map<String, Value> {
        match self.call(action, parameters.clone()).await {
            Answer::Success { fields, .. } => fields,
            refusal @ Answer::Failure { .. } => panic!("{action} {parameters}: {refusal:?}"),
        }
    }

    /// The code and message of a refusal.
    pub(crate) async fn call_refused(&self, action: &str, parameters: Value) -> (String, String) {
        match self.call(action, parameters.clone()).await {
            Answer::Failure { code, message, .. } => (code, message),
            success @ Answer::Success { .. } => panic!("{action} {parameters}: {success:?}"),
        }
    }
}

/// The operation of this name, whichever product has it.
pub(crate) fn named(name: &str) -> Action {
    Action::all().find(|action| action.name() == name).unwrap()
}

pub(crate) fn http_request(line: &str, headers: &[(&'static str, String)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    [text.as_bytes(), body].concat()
}

pub(crate) async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Raw {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut answer = Vec::new();
    let (sent, read) = tokio::join!(
        async { writer.write_all(request).await },
        // A connection closed by the server at once ends without a TLS goodbye.
        async { reader.read_to_end(&mut answer).await },
    );
    drop(sent);
    if answer.is_empty() {
        read.unwrap();
    }
    parse(&answer)
}

fn parse(answer: &[u8]) -> Raw {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Raw { status, headers: lines.map(header).collect(), body: answer[end + 4..].to_vec() }
}
