//! The feed over a network: one HTTP/2 stream that an edge opens to the control plane.
//!
//! The request's body carries [`EdgeToControl`] messages up, the response's body [`ToEdge`] messages down, both for
//! as long as the link lives. Before it, on the same connection, the edge proves who it is ([`crate::identity`]).

use crate::address::connector;
use crate::identity::{JOIN_BYTES_MAX, proof, proven, random, welcome};
use crate::wire::{Message, frame, unframe};
use crate::{
    ControlAddress, ControlLink, ControlTrust, ControlTrustError, Credentials, EdgeKey, EdgeLink,
    EdgeToControl, Feed, FeedError, Gate, IdentityError, LINK_MESSAGES_MAX, Peer, SECRET_BYTES, ToEdge,
    WireError,
};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
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

/// Where it says what an edge must prove its key over: once for each connection.
const CHALLENGE_PATH: &str = "/feed/challenge";

/// Where a join token becomes a key.
const JOIN_PATH: &str = "/feed/join";

/// The scheme of an edge's proof in `Authorization`.
const PROOF: &str = "Everfresh ";

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
    #[error("the control plane refused the link with status {0}")]
    Refused(StatusCode),
    /// The edge has nothing to show that the control plane accepts.
    #[error("the edge was not let in")]
    Identity(#[source] IdentityError),
    /// The address can't be put in a request.
    #[error("the control plane's address holds characters that HTTP does not allow")]
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
    credentials: Arc<Credentials>,
}

impl Http2 {
    /// Links to any of `addresses`, of which there is at least one. `first` says which of them is
    /// tried first, modulo their number: a random number spreads edges over control planes.
    pub fn new(
        addresses: Vec<ControlAddress>,
        trust: ControlTrust,
        first: usize,
        credentials: Credentials,
    ) -> Result<Self, ControlTrustError> {
        assert!(!addresses.is_empty(), "an edge follows a control plane somewhere");
        let tls = connector(&trust)?;
        let next = Arc::new(AtomicUsize::new(first % addresses.len()));
        Ok(Self { addresses: addresses.into(), next, trust, tls, credentials: Arc::new(credentials) })
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
        let challenge = self.ask(&mut sender, address, CHALLENGE_PATH, None).await?;
        let key = match self.credentials.key().await {
            Some(key) => key,
            None => self.join(&mut sender, address, &challenge).await?,
        };
        let (to_body, body) = Channel::new(BODY_FRAMES_MAX);
        let request = Request::post(address.url(FEED_PATH).map_err(Http2Error::BadRequest)?)
            .header(header::AUTHORIZATION, format!("{PROOF}{}", proof(&key, &challenge)))
            .body(body)
            .map_err(Http2Error::BadRequest)?;
        let response = sender.send_request(request).await.map_err(Http2Error::Broken)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                self.credentials.refused().await;
                return Err(Http2Error::Identity(IdentityError::Key));
            }
            other => return Err(Http2Error::Refused(other)),
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

    /// Turns the join token into a key.
    async fn join(
        &self,
        sender: &mut SendRequest<Channel<Bytes>>,
        address: &ControlAddress,
        challenge: &[u8],
    ) -> Result<EdgeKey, Http2Error> {
        let (joining, request) = self.credentials.join(challenge).map_err(Http2Error::Identity)?;
        let answer =
            self.ask(sender, address, JOIN_PATH, Some(request)).await.map_err(|error| match error {
                Http2Error::Refused(StatusCode::UNAUTHORIZED) => Http2Error::Identity(IdentityError::Token),
                other => other,
            })?;
        let key = joining.end(&answer).map_err(Http2Error::Identity)?;
        self.credentials.keep(key.clone()).await.map_err(Http2Error::Identity)?;
        Ok(key)
    }

    /// Asks one thing on the connection.
    async fn ask(
        &self,
        sender: &mut SendRequest<Channel<Bytes>>,
        address: &ControlAddress,
        path: &str,
        content: Option<Vec<u8>>,
    ) -> Result<Bytes, Http2Error> {
        let (mut to_body, body) = Channel::new(1);
        let method = if content.is_some() { Method::POST } else { Method::GET };
        let request = Request::builder()
            .method(method)
            .uri(address.url(path).map_err(Http2Error::BadRequest)?)
            .body(body)
            .map_err(Http2Error::BadRequest)?;
        if let Some(content) = content {
            // There is room for one frame.
            let _ = to_body.send(Frame::data(content.into())).await;
        }
        drop(to_body);
        let response = sender.send_request(request).await.map_err(Http2Error::Broken)?;
        if response.status() != StatusCode::OK {
            return Err(Http2Error::Refused(response.status()));
        }
        short(response.into_body()).await.ok_or(Http2Error::Identity(IdentityError::Malformed))
    }
}

/// A body of at most [`JOIN_BYTES_MAX`].
#[expect(clippy::disallowed_methods, reason = "it is bounded right here")]
async fn short(body: Incoming) -> Option<Bytes> {
    let collected = http_body_util::Limited::new(body, JOIN_BYTES_MAX).collect().await;
    collected.ok().map(http_body_util::Collected::to_bytes)
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

/// Takes links on `listener` from edges that `gate` knows, and hands their ends to `accepted`, until `stop` completes. With `tls` nothing else is
/// spoken.
pub async fn serve<G: Gate>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    gate: G,
    accepted: mpsc::Sender<ControlLink>,
    stop: impl Future<Output = ()>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let gate = Arc::new(gate);
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
            Ok((stream, address)) => {
                let (tls, gate, accepted) = (tls.clone(), Arc::clone(&gate), accepted.clone());
                tokio::spawn(async move {
                    let _place = place;
                    let _ = stream.set_nodelay(true);
                    let Some(tls) = tls else { return take(stream, address, gate, accepted).await };
                    match tokio::time::timeout(UNLINKED_TIMEOUT, tls.accept(stream)).await {
                        Ok(Ok(stream)) => take(stream, address, gate, accepted).await,
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

async fn take<S, G>(stream: S, address: SocketAddr, gate: Arc<G>, accepted: mpsc::Sender<ControlLink>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    G: Gate,
{
    let Ok(challenge) = random::<SECRET_BYTES>() else { return };
    let entrance =
        Arc::new(Entrance { gate, address, challenge, accepted, is_linked: AtomicBool::new(false) });
    let served = Arc::clone(&entrance);
    let service = service_fn(move |request: Request<Incoming>| {
        let entrance = Arc::clone(&served);
        async move { Ok::<_, Infallible>(entrance.answer(request).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let unlinked = async {
        tokio::time::sleep(UNLINKED_TIMEOUT).await;
        if entrance.is_linked.load(Ordering::Relaxed) {
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

/// One connection of an edge, as its requests find it.
struct Entrance<G> {
    gate: Arc<G>,
    address: SocketAddr,
    challenge: [u8; SECRET_BYTES],
    accepted: mpsc::Sender<ControlLink>,
    is_linked: AtomicBool,
}

impl<G: Gate> Entrance<G> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Channel<Bytes>> {
        let answered = match (request.method(), request.uri().path()) {
            (&Method::GET, CHALLENGE_PATH) => Ok(told(Bytes::copy_from_slice(&self.challenge)).await),
            (&Method::POST, JOIN_PATH) => self.join(request).await,
            (&Method::POST, FEED_PATH) => self.link(request).await,
            _ => return refusal(StatusCode::NOT_FOUND),
        };
        answered.unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, address = %self.address, "edge not let in");
            refusal(match error {
                IdentityError::Token | IdentityError::Key => StatusCode::UNAUTHORIZED,
                IdentityError::Malformed => StatusCode::BAD_REQUEST,
                IdentityError::Full => StatusCode::FORBIDDEN,
                IdentityError::Unavailable
                | IdentityError::NoRandomness
                | IdentityError::Nothing(_)
                | IdentityError::File { .. } => StatusCode::SERVICE_UNAVAILABLE,
            })
        })
    }

    async fn join(&self, request: Request<Incoming>) -> Result<Response<Channel<Bytes>>, IdentityError> {
        let said = short(request.into_body()).await.ok_or(IdentityError::Malformed)?;
        Ok(told(welcome(&*self.gate, &said, &self.challenge).await?.into()).await)
    }

    async fn link(&self, request: Request<Incoming>) -> Result<Response<Channel<Bytes>>, IdentityError> {
        let shown = request.headers().get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix(PROOF));
        let key = proven(&*self.gate, shown.ok_or(IdentityError::Key)?, &self.challenge).await?;
        let (to_body, body) = Channel::new(BODY_FRAMES_MAX);
        let (outgoing, queued) = mpsc::channel(LINK_MESSAGES_MAX);
        let (arrived, incoming) = mpsc::channel(LINK_MESSAGES_MAX);
        let peer = Peer::Known {
            key_id: key.key_id,
            edge_name: key.edge_name,
            address: Some(self.address.ip().to_canonical()),
        };
        if self.accepted.send(ControlLink { outgoing, incoming, peer }).await.is_err() {
            return Err(IdentityError::Unavailable);
        }
        self.is_linked.store(true, Ordering::Relaxed);
        tokio::spawn(write_messages::<ToEdge>(queued, to_body));
        tokio::spawn(async move {
            let progress = AtomicU64::new(0);
            read_messages::<EdgeToControl, _>(request.into_body(), arrived, &progress).await;
        });
        Ok(Response::new(body))
    }
}

/// An answer that is said at once.
async fn told(content: Bytes) -> Response<Channel<Bytes>> {
    let (mut to_body, body) = Channel::new(1);
    // There is room for one frame.
    let _ = to_body.send(Frame::data(content)).await;
    Response::new(body)
}

fn refusal(status: StatusCode) -> Response<Channel<Bytes>> {
    let (_, body) = Channel::new(1);
    let mut response = Response::new(body);
    *response.status_mut() = status;
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
