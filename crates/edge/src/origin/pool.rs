//! Open connections to origins, kept for the next request, and what is known of each origin.
//!
//! Connections are shared only by requests for the same scheme, address, port and TLS server name: what a certificate
//! was checked for is part of what a connection is.

use super::health::Health;
use super::{
    ENDPOINTS_MAX, IDLE_CONNECTIONS_MAX, IDLE_TIMEOUT, RequestBody, STREAMS_PER_CONNECTION_MAX, Scheme,
};
use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;
use zone::HostName;

/// What makes two connections alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndpointKey {
    pub(super) scheme: Scheme,
    pub(super) address: HostName,
    pub(super) port: u16,
    /// Whom the certificate must name; `None` without TLS.
    pub(super) server_name: Option<Box<str>>,
}

/// The origins that one worker speaks to.
#[derive(Default)]
pub(super) struct Pool {
    endpoints: Mutex<HashMap<EndpointKey, Arc<Endpoint>>>,
}

impl Pool {
    /// What is known of an origin. At [`ENDPOINTS_MAX`] new ones are not remembered: their connections serve one
    /// request each.
    pub(super) fn endpoint(&self, key: EndpointKey) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock();
        if let Some(known) = endpoints.get(&key) {
            return Arc::clone(known);
        }
        let new = Arc::new(Endpoint::new(key.clone()));
        if endpoints.len() < ENDPOINTS_MAX {
            endpoints.insert(key, Arc::clone(&new));
        }
        new
    }

    /// Closes what was idle for too long, and forgets origins of which nothing is left.
    pub(super) fn sweep(&self, now: Instant) {
        self.endpoints.lock().retain(|_, endpoint| {
            let left = endpoint.sweep(now);
            left || Arc::strong_count(endpoint) > 1 || endpoint.health.lock().is_out()
        });
    }
}

/// One origin as one worker knows it.
pub(super) struct Endpoint {
    pub(super) key: EndpointKey,
    pub(super) health: Mutex<Health>,
    /// Held while a connection is opened to an origin that may speak HTTP/2: those who wait for it will share it.
    pub(super) opening: tokio::sync::Mutex<()>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Idle ones, the newest last.
    http1: Vec<(Http1, Instant)>,
    /// All of them, idle or not.
    http2: Vec<(Http2, Instant)>,
    /// Whether the last connection spoke HTTP/1: others then open connections without waiting for each other.
    speaks_http1: bool,
}

/// A connection that takes one request at a time.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    /// Bytes came that answer no request.
    pub(super) sent_more: Arc<AtomicBool>,
}

/// A connection that takes many.
#[derive(Clone)]
pub(super) struct Http2 {
    pub(super) sender: http2::SendRequest<RequestBody>,
    /// Held by each request under way.
    streams: Arc<()>,
}

/// A connection for one request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// What a response holds of the connection it comes by.
pub(super) enum Link {
    Http1 { sent_more: Arc<AtomicBool> },
    Http2 { _stream: Arc<()> },
}

impl Link {
    /// Whether the origin sent more than its response.
    pub(super) fn sent_more(&self) -> bool {
        match self {
            Self::Http1 { sent_more } => sent_more.load(Ordering::Relaxed),
            Self::Http2 { .. } => false,
        }
    }
}

impl Http1 {
    pub(super) fn link(&self) -> Link {
        Link::Http1 { sent_more: Arc::clone(&self.sent_more) }
    }
}

impl Http2 {
    pub(super) fn new(sender: http2::SendRequest<RequestBody>) -> Self {
        Self { sender, streams: Arc::new(()) }
    }

    pub(super) fn link(&self) -> Link {
        Link::Http2 { _stream: Arc::clone(&self.streams) }
    }

    fn has_room(&self) -> bool {
        Arc::strong_count(&self.streams) <= STREAMS_PER_CONNECTION_MAX
    }
}

impl Endpoint {
    fn new(key: EndpointKey) -> Self {
        Self { key, health: Mutex::default(), opening: tokio::sync::Mutex::default(), open: Mutex::default() }
    }

    /// An open connection that takes another request. `upgradable` asks for HTTP/1.1.
    pub(super) fn reuse(&self, upgradable: bool) -> Option<Connection> {
        let now = Instant::now();
        let mut open = self.open.lock();
        if !upgradable {
            open.http2.retain(|(connection, _)| !connection.sender.is_closed());
            if let Some((connection, used)) = open.http2.iter_mut().find(|(known, _)| known.has_room()) {
                *used = now;
                return Some(Connection::Http2(connection.clone()));
            }
        }
        while let Some((connection, since)) = open.http1.pop() {
            if connection.sender.is_ready() && now.duration_since(since) < IDLE_TIMEOUT {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    /// Whether a new connection may turn out to be one that others can share.
    pub(super) fn may_share(&self) -> bool {
        self.key.scheme == Scheme::Https && !self.open.lock().speaks_http1
    }

    /// A connection was opened.
    pub(super) fn opened(&self, connection: &Connection) {
        let mut open = self.open.lock();
        open.speaks_http1 = matches!(connection, Connection::Http1(_));
        if let Connection::Http2(shared) = connection {
            open.http2.push((shared.clone(), Instant::now()));
        }
    }

    /// Takes a connection back once its response is read to the end, to whoever asks next.
    pub(super) fn take_back(self: Arc<Self>, mut connection: Http1) {
        tokio::spawn(async move {
            if connection.sender.ready().await.is_ok() {
                let mut open = self.open.lock();
                if open.http1.len() >= IDLE_CONNECTIONS_MAX {
                    open.http1.remove(0);
                }
                open.http1.push((connection, Instant::now()));
            }
        });
    }

    /// Closes what was idle for too long; whether anything is left.
    fn sweep(&self, now: Instant) -> bool {
        let mut open = self.open.lock();
        let is_young = |since: &Instant| now.duration_since(*since) < IDLE_TIMEOUT;
        open.http1.retain(|(connection, since)| is_young(since) && !connection.sender.is_closed());
        open.http2.retain(|(connection, used)| {
            let busy = Arc::strong_count(&connection.streams) > 1;
            (busy || is_young(used)) && !connection.sender.is_closed()
        });
        !open.http1.is_empty() || !open.http2.is_empty()
    }
}
