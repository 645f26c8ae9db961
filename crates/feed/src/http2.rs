//! The feed over a network: one HTTP/2 stream that an edge opens to the control plane.
//!
//! The request's body carries [`EdgeToControl`] messages up, the response's body [`ToEdge`] messages down, both for
//! as long as the link lives. A bearer token says that the caller is an edge of this network.

use crate::address::connector;
use crate::wire::{Message, frame, unframe};
use crate::{
    ControlAddress, ControlLink, ControlTrust, ControlTrustError, EdgeLink, EdgeToControl, Feed, FeedError,
    LINK_MESSAGES_MAX, ToEdge, WireError,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ring::hmac;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{debug, warn};

/// Where the control plane takes links.
pub const FEED_PATH: &str = "/feed";

/// How long an edge waits for one control plane until its link is open: then it goes on with the next.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a control plane waits for the TLS handshake, and then for the link that a connection is for.
const UNLINKED_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle connection is probed, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// How many links one connection carries: an edge opens one.
const STREAMS_PER_CONNECTION_MAX: u32 = 4;

/// How long to wait when connections can't be accepted, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many frames of a link's body wait for the connection.
const BODY_FRAMES_MAX: usize = 4;

/// Why no link could be opened over the network.
#[derive(Debug, thiserror::Error)]
pub enum Http2Error {
    /// Nothing answers at the address.
    #[error("no connection to the control plane at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The control plane did not answer in time.
    #[error("the control plane at {address} did not answer within {waited:?}")]
    Timeout {
        /// Where.
        address: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The connection broke while the link was opened.
    #[error("the connection to the control plane broke")]
    Broken(#[source] hyper::Error),
    /// The control plane answered, and not with a link.
    #[error("the control plane refused the link with status {0} (401: the edge token is wrong)")]
    Refused(StatusCode),
    /// The address or the token can't be put in a request.
    #[error("the control plane's address or the edge token holds characters that HTTP does not allow")]
    BadRequest(#[source] http::Error),
    /// The address has no host that a certificate could be for.
    #[error("no certificate can be for the host of {0}")]
    ServerName(String),
    /// The TLS handshake failed: for example, the certificate is none that the edge trusts.
    #[error("no TLS with the control plane at {address}")]
    Tls {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Opens links to one of the control planes at some addresses: to the next one when a link broke or could not be opened.
#[derive(Clone)]
pub struct Http2 {
    addresses: Arc<[ControlAddress]>,
    /// Which address is tried first next time, modulo their number.
    next: Arc<AtomicUsize>,
    trust: ControlTrust,
    tls: TlsConnector,
    token: String,
}

impl Http2 {
    /// Links to any of `addresses`, of which there is at least one, presenting `token`. `first` says which of them is
    /// tried first, modulo their number: a random number spreads edges over control planes.
    pub fn new(
        addresses: Vec<ControlAddress>,
        trust: ControlTrust,
        first: usize,
        token: String,
    ) -> Result<Self, ControlTrustError> {
        assert!(!addresses.is_empty(), "an edge follows a control plane somewhere");
        let tls = connector(&trust)?;
        let next = Arc::new(AtomicUsize::new(first % addresses.len()));
        Ok(Self { addresses: addresses.into(), next, trust, tls, token })
    }

    async fn connect(&self, address: &ControlAddress) -> Result<EdgeLink, Http2Error> {
        let stream = TcpStream::connect(address.authority())
            .await
            .map_err(|source| Http2Error::Connect { address: address.to_string(), source })?;
        let _ = stream.set_nodelay(true);
        match address.server_name(&self.trust)? {
            None => self.link(address, stream).await,
            Some(name) => {
                let stream = self
                    .tls
                    .connect(name, stream)
                    .await
                    .map_err(|source| Http2Error::Tls { address: address.to_string(), source })?;
                self.link(address, stream).await
            }
        }
    }

    async fn link<S>(&self, address: &ControlAddress, stream: S) -> Result<EdgeLink, Http2Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .handshake::<_, Channel<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(Http2Error::Broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "feed connection ended");
            }
        });
        let (to_body, body) = Channel::new(BODY_FRAMES_MAX);
        let request = Request::post(address.url(FEED_PATH).map_err(Http2Error::BadRequest)?)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .body(body)
            .map_err(Http2Error::BadRequest)?;
        let response = sender.send_request(request).await.map_err(Http2Error::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(Http2Error::Refused(response.status()));
        }
        let (outgoing, queued) = mpsc::channel(LINK_MESSAGES_MAX);
        let (arrived, incoming) = mpsc::channel(LINK_MESSAGES_MAX);
        let progress = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&progress);
        tokio::spawn(write_messages::<EdgeToControl>(queued, to_body));
        tokio::spawn(async move {
            // The connection lives as long as its sender: kept here until the stream ends.
            let _sender = sender;
            read_messages::<ToEdge, _>(response.into_body(), arrived, &counted).await;
        });
        Ok(EdgeLink { outgoing, incoming, progress })
    }
}

impl Feed for Http2 {
    async fn open(&self) -> Result<EdgeLink, FeedError> {
        let mut failed = None;
        for _ in 0..self.addresses.len() {
            // Moved on before it is known how this goes: whoever opens again does so because this one did not do.
            let index = self.next.fetch_add(1, Ordering::Relaxed) % self.addresses.len();
            let address = &self.addresses[index];
            let opened = tokio::time::timeout(OPEN_TIMEOUT, self.connect(address)).await;
            let opened = opened.unwrap_or_else(|_| {
                Err(Http2Error::Timeout { address: address.to_string(), waited: OPEN_TIMEOUT })
            });
            match opened {
                Ok(link) => {
                    debug!(%address, "feed open");
                    return Ok(link);
                }
                Err(error) => {
                    if let Some(error) = failed.replace(error) {
                        debug!(
                            error = &error as &dyn std::error::Error,
                            "control plane not reached, trying the next"
                        );
                    }
                }
            }
        }
        Err(failed.map_or(FeedError::Closed, FeedError::Http2))
    }
}

/// How many links the control plane holds at once.
pub const LINKS_MAX: usize = 10_000;

/// What edges present to be let in. Compared in constant time; has no `Debug`.
pub struct FeedToken {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl FeedToken {
    /// Lets in whoever presents `token`.
    pub fn new(token: &str) -> Self {
        // Any key does: comparing two MACs says nothing about where two tokens differ.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"everfresh feed");
        let tag = hmac::sign(&key, token.as_bytes());
        Self { key, tag }
    }

    fn fits(&self, presented: Option<&HeaderValue>) -> bool {
        let token = presented.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        token.is_some_and(|token| hmac::verify(&self.key, token, self.tag.as_ref()).is_ok())
    }
}

/// Takes links on `listener` and hands their ends to `accepted`, until `stop` completes. With `tls` nothing else is
/// spoken.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    token: FeedToken,
    accepted: mpsc::Sender<ControlLink>,
    stop: impl Future<Output = ()>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let token = Arc::new(token);
    let places = Arc::new(Semaphore::new(LINKS_MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut stop => return,
            accepted = accept => accepted,
        };
        match stream {
            Ok((stream, _)) => {
                let (tls, token, accepted) = (tls.clone(), Arc::clone(&token), accepted.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = tls else { return take(stream, token, accepted).await };
                    match tokio::time::timeout(UNLINKED_TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => take(stream, token, accepted).await,
                        Ok(Err(error)) => warn!(%error, "no TLS with an edge"),
                        Err(_) => debug!("an edge's TLS handshake took too long"),
                    }
                });
            }
            Err(error) => {
                debug!(%error, "feed connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn take<S>(stream: S, token: Arc<FeedToken>, accepted: mpsc::Sender<ControlLink>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let is_linked = Arc::new(AtomicBool::new(false));
    let linked = Arc::clone(&is_linked);
    let service = service_fn(move |request: Request<Incoming>| {
        let (token, accepted, linked) = (Arc::clone(&token), accepted.clone(), Arc::clone(&linked));
        async move { Ok::<_, Infallible>(answer(request, &token, &accepted, &linked).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let unlinked = async {
        tokio::time::sleep(UNLINKED_TIMEOUT).await;
        if is_linked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "feed connection ended");
        },
        () = unlinked => debug!("a feed connection without a link was closed"),
    }
}

async fn answer(
    request: Request<Incoming>,
    token: &FeedToken,
    accepted: &mpsc::Sender<ControlLink>,
    is_linked: &AtomicBool,
) -> Response<Channel<Bytes>> {
    let (to_body, body) = Channel::new(BODY_FRAMES_MAX);
    let mut response = Response::new(body);
    if request.uri().path() != FEED_PATH || request.method() != Method::POST {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    }
    if !token.fits(request.headers().get(header::AUTHORIZATION)) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    }
    let (outgoing, queued) = mpsc::channel(LINK_MESSAGES_MAX);
    let (arrived, incoming) = mpsc::channel(LINK_MESSAGES_MAX);
    if accepted.send(ControlLink { outgoing, incoming }).await.is_err() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    is_linked.store(true, Ordering::Relaxed);
    tokio::spawn(write_messages::<ToEdge>(queued, to_body));
    tokio::spawn(async move {
        let progress = AtomicU64::new(0);
        read_messages::<EdgeToControl, _>(request.into_body(), arrived, &progress).await;
    });
    response
}

async fn write_messages<M: Message>(mut queued: mpsc::Receiver<M>, mut to_body: Sender<Bytes>) {
    while let Some(message) = queued.recv().await {
        let framed = match frame(&message) {
            Ok(framed) => framed,
            Err(error) => {
                tracing::error!(%error, "feed message not sent");
                return;
            }
        };
        if to_body.send(Frame::data(framed)).await.is_err() {
            return;
        }
    }
}

/// Counts in `progress` what arrives, be it a part of a message.
async fn read_messages<M, B>(mut body: B, arrived: mpsc::Sender<M>, progress: &AtomicU64)
where
    M: Message,
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut buffer = BytesMut::new();
    loop {
        match next_message(&mut body, &mut buffer, progress).await {
            Ok(Some(message)) => {
                if arrived.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "feed link ended by a bad message");
                return;
            }
        }
    }
}

async fn next_message<M, B>(
    body: &mut B,
    buffer: &mut BytesMut,
    progress: &AtomicU64,
) -> Result<Option<M>, WireError>
where
    M: Message,
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    loop {
        if let Some(message) = unframe(buffer)? {
            return Ok(Some(message));
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                progress.fetch_add(1, Ordering::Relaxed);
                if let Ok(data) = frame.into_data() {
                    buffer.extend_from_slice(&data);
                }
            }
            Some(Err(error)) => {
                debug!(%error, "feed stream ended");
                return Ok(None);
            }
            None => return Ok(None),
        }
    }
}
