//! Clients: they ask edges at random and write down what they get.

use crate::chance::Chance;
use crate::checker::{Body, Exchange};
use crate::machine::{self, MachineId};
use crate::network::Network;
use crate::origin::Contents;
use crate::stream::Marks;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The host that all ask for.
pub(crate) const HOST: &str = "www.sim.test";

/// How long a client waits for its answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// What all clients have in common.
pub(crate) struct Clients {
    pub(crate) net: Arc<Network>,
    pub(crate) machine: MachineId,
    pub(crate) edges: Vec<MachineId>,
    pub(crate) contents: Arc<Mutex<Contents>>,
    pub(crate) exchanges: Arc<Mutex<Vec<Exchange>>>,
    /// How long each waits between two requests, in milliseconds.
    pub(crate) pause_ms: (u64, u64),
}

/// A connection that may take another request.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    marks: Arc<Marks>,
}

/// One client, for as long as it runs.
pub(crate) async fn run(clients: Arc<Clients>, number: u64) {
    let mut chance = Chance::new(clients.net.seed, "client", number);
    let mut open: BTreeMap<MachineId, Connection> = BTreeMap::new();
    let mut etags: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let (least, most) = clients.pause_ms;
        tokio::time::sleep(chance.millis(least, most)).await;
        let edge = *chance.of(&clients.edges);
        let resources = clients.contents.lock().resources.len();
        let resource = chance.index(resources);
        let exchange = ask(&clients, number, edge, resource, &mut chance, &mut open, &mut etags).await;
        clients.exchanges.lock().push(exchange);
    }
}

/// One plain request of each URL at this edge, to see that it is well.
pub(crate) async fn visit(clients: Arc<Clients>, edge: MachineId) -> Vec<Exchange> {
    let resources = clients.contents.lock().resources.len();
    let mut exchanges = Vec::new();
    for resource in 0..resources {
        // Slices of content that the origin has changed break an answer off, once: what is asked next is new.
        for _ in 0..2 {
            let request = plain(&clients, resource, "en");
            let visited = exchange(&clients, u64::MAX, edge, resource, "get", "en", request, None).await.0;
            let is_broken = visited.status == 0 || visited.body == Body::Broken;
            exchanges.push(visited);
            if !is_broken {
                break;
            }
        }
    }
    exchanges
}

fn plain(clients: &Clients, resource: usize, language: &str) -> Request<Empty<Bytes>> {
    let path = clients.contents.lock().resources[resource].path;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::HOST, http::HeaderValue::from_static(HOST));
    if let Ok(language) = http::HeaderValue::from_str(language) {
        headers.insert(header::ACCEPT_LANGUAGE, language);
    }
    request
}

async fn ask(
    clients: &Arc<Clients>,
    number: u64,
    edge: MachineId,
    resource: usize,
    chance: &mut Chance,
    open: &mut BTreeMap<MachineId, Connection>,
    etags: &mut BTreeMap<usize, String>,
) -> Exchange {
    let language = if chance.permille(500) { "de" } else { "en" };
    let mut request = plain(clients, resource, language);
    let asked = match chance.below(100) {
        0..8 => {
            *request.method_mut() = Method::HEAD;
            "head"
        }
        8..20 => {
            let first = chance.below(300);
            let range = match chance.below(3) {
                0 => format!("bytes={first}-"),
                1 => format!("bytes={first}-{}", first + 5000),
                _ => format!("bytes={}-{}", first * 80, first * 80 + 9000),
            };
            request
                .headers_mut()
                .insert(header::RANGE, range.parse().unwrap_or(header::HeaderValue::from_static("")));
            "range"
        }
        20..28 => {
            if let Some(etag) = etags.get(&resource).and_then(|etag| etag.parse().ok()) {
                request.headers_mut().insert(header::IF_NONE_MATCH, etag);
            }
            "conditional"
        }
        28..31 => {
            let only = http::HeaderValue::from_static("only-if-cached");
            request.headers_mut().insert(header::CACHE_CONTROL, only);
            "only-if-cached"
        }
        _ => "get",
    };
    let reused = open.remove(&edge).filter(|connection| connection.sender.is_ready());
    let (exchange, connection) =
        exchange(clients, number, edge, resource, asked, language, request, reused).await;
    if !exchange.etag.is_empty() {
        etags.insert(resource, exchange.etag.clone());
    }
    if let Some(connection) = connection.filter(|_| chance.permille(600)) {
        open.insert(edge, connection);
    }
    exchange
}

#[expect(clippy::too_many_arguments, reason = "what an exchange is, is what is written down of it")]
async fn exchange(
    clients: &Arc<Clients>,
    client: u64,
    edge: MachineId,
    resource: usize,
    asked: &'static str,
    language: &'static str,
    request: Request<Empty<Bytes>>,
    reused: Option<Connection>,
) -> (Exchange, Option<Connection>) {
    let sent = machine::now();
    let mut exchange = Exchange {
        client,
        edge,
        resource,
        asked,
        language,
        sent,
        arrived: None,
        ended: sent,
        status: 0,
        cache_status: String::new(),
        fetch: None,
        validated: None,
        etag: String::new(),
        body: Body::None,
    };
    let mut marks = None;
    let talk = async {
        let mut connection = match reused {
            Some(connection) => connection,
            None => connect(clients, edge).await?,
        };
        *connection.marks.arrived_at.lock() = None;
        marks = Some(Arc::clone(&connection.marks));
        let response = connection.sender.send_request(request).await.ok()?;
        let is_whole = take(&clients.contents, &mut exchange, response).await;
        is_whole.then_some(connection)
    };
    let connection = tokio::time::timeout(PATIENCE, talk).await.ok().flatten();
    exchange.arrived = marks.and_then(|marks| *marks.arrived_at.lock());
    exchange.ended = machine::now();
    (exchange, connection)
}

async fn connect(clients: &Arc<Clients>, edge: MachineId) -> Option<Connection> {
    let stream = clients.net.connect(clients.machine, edge).await.ok()?;
    let marks = Arc::clone(&stream.marks);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(async move { drop(connection.await) });
    Some(Connection { sender, marks })
}

/// Reads an answer. Whether it came to its end.
async fn take(contents: &Mutex<Contents>, exchange: &mut Exchange, response: Response<Incoming>) -> bool {
    let (parts, mut body) = response.into_parts();
    let field = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    exchange.status = parts.status.as_u16();
    exchange.cache_status = field("cache-status");
    exchange.fetch = field("x-fetch").parse().ok();
    exchange.validated =
        field("cache-control").split("validated=").nth(1).and_then(|serial| serial.parse().ok());
    exchange.etag = field("etag");
    let range = field("content-range");
    let first: Option<usize> =
        range.strip_prefix("bytes ").and_then(|range| range.split('-').next()?.parse().ok());
    let offset = match parts.status {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => first,
        // What an edge or the origin says of its own is no content.
        _ => None,
    };
    let mut bytes = Vec::new();
    loop {
        let (is_end, is_whole) = match body.frame().await {
            None => (true, true),
            Some(Ok(frame)) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
                (false, false)
            }
            Some(Err(_)) => (true, false),
        };
        // At each turn: what came counts, whether more comes or not.
        if let Some(offset) = offset {
            exchange.body = contents.lock().read(exchange.resource, &bytes, offset, is_whole);
        }
        if is_end {
            return is_whole;
        }
    }
}
