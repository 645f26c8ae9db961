//! One client's connection, from its first byte to its end: what is spoken on it, and by whom.

use super::certificates::{Certificate, Tls};
use super::clients::Clients;
use super::stall::StallBreaker;
use super::{ended, http1, http2, proxy_protocol};
use crate::origin::OriginClient;
use crate::proxy::{Peer, Proxy};
use crate::routes::Routes;
use crate::state::{Counters, State};
use bytes::{Buf, Bytes};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tracing::debug;
use zone::HostName;

/// How a client begins that speaks HTTP/2 without having been asked (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an edge that ends waits for requests that may be on their way on connections without one.
const IDLE_GRACE: Duration = Duration::from_millis(300);

/// The same once another edge serves, so that nobody waits for this one's end.
const IDLE_GRACE_HANDED_OVER: Duration = Duration::from_secs(5);

/// What connections of one worker have in common.
pub(super) struct Worker {
    pub(super) state: Arc<State>,
    pub(super) client: OriginClient,
    pub(super) routes: Arc<Routes>,
    pub(super) tls: Option<Arc<Tls>>,
    /// Places for handshakes under way.
    pub(super) handshakes: Semaphore,
    pub(super) ending: Ending,
}

/// Whether, and how, the edge ends.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) down: watch::Receiver<bool>,
    pub(super) handed_over: watch::Receiver<bool>,
}

impl Ending {
    /// Completes once the edge is told to end.
    pub(super) async fn begun(&mut self) {
        ended(&mut self.down).await;
    }

    /// Whether another edge serves the same address by now.
    pub(super) fn is_handed_over(&self) -> bool {
        *self.handed_over.borrow()
    }

    /// How long a connection without a request is kept once the edge ends.
    pub(super) fn idle_grace(&self) -> Duration {
        if self.is_handed_over() { IDLE_GRACE_HANDED_OVER } else { IDLE_GRACE }
    }
}

/// What a handshake settled.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// The host that the client named.
    server_name: Option<HostName>,
    certificate: Option<Arc<Certificate>>,
}

impl Handshake {
    /// Whether requests for this host may come by the connection: a client that named a host gets to that one, and to
    /// those that the certificate names too (RFC 9110 §7.4). One that named none gets to all.
    pub(crate) fn covers(&self, host: &HostName) -> bool {
        let Some(named) = &self.server_name else { return true };
        named == host || self.certificate.as_ref().is_some_and(|certificate| certificate.covers(host))
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(
    worker: Arc<Worker>,
    clients: Arc<Clients>,
    stream: S,
    mut address: SocketAddr,
    is_tls: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &worker.state.config;
    let mut stream = StallBreaker::new(stream, Arc::clone(&worker.state));
    if config.proxy_protocol_from.iter().any(|network| network.holds(address.ip())) {
        let header = Box::pin(proxy_protocol::read(&mut stream));
        match tokio::time::timeout(config.client_head_timeout, header).await {
            Ok(Ok(told)) => address = told.unwrap_or(address),
            Ok(Err(error)) => return debug!(%error, balancer = %address, "connection not served"),
            Err(_) => return debug!(balancer = %address, "the header of the PROXY protocol took too long"),
        }
    }
    let Some(_entered) = clients.enter(address.ip()) else {
        Counters::count(&worker.state.counters.turned_away);
        return debug!(client = %address, "connection closed: the client has too many");
    };
    let outcome = match &worker.tls {
        // Each in a box of its own, so that no connection takes the memory of what it does not speak.
        Some(tls) if is_tls => Box::pin(encrypted(&worker, tls, stream, address)).await,
        _ if config.plain_http2 => Box::pin(either(&worker, stream, address)).await,
        _ => plain(&worker, stream, address).await,
    };
    if let Err(error) = outcome {
        debug!(%error, client = %address, encrypted = is_tls, "connection ended");
    }
}

fn proxy(worker: &Worker, peer: Peer) -> Proxy {
    Proxy {
        state: Arc::clone(&worker.state),
        client: worker.client.clone(),
        routes: Arc::clone(&worker.routes),
        peer,
    }
}

async fn plain<S>(worker: &Worker, stream: StallBreaker<S>, address: SocketAddr) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let proxy = proxy(worker, Peer { address, is_encrypted: false, handshake: None });
    let is_stalled = stream.is_waiting();
    http1::serve(proxy, stream, is_stalled, worker.ending.clone()).await
}

/// The same where clients may begin with either protocol.
async fn either<S>(worker: &Worker, mut stream: StallBreaker<S>, address: SocketAddr) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let proxy = proxy(worker, Peer { address, is_encrypted: false, handshake: None });
    let is_stalled = stream.is_waiting();
    let begin = beginning(&mut stream);
    let Ok(Ok(begin)) = tokio::time::timeout(worker.state.config.client_head_timeout, begin).await else {
        return Ok(());
    };
    let is_http2 = begin == PREFACE;
    let stream = Rewound { begin, stream };
    if is_http2 {
        Box::pin(http2::serve(proxy, stream, worker.ending.clone())).await
    } else {
        Box::pin(http1::serve(proxy, stream, is_stalled, worker.ending.clone())).await
    }
}

/// Reads until it is clear whether the client speaks HTTP/2.
async fn beginning(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut begin = Vec::with_capacity(PREFACE.len());
    while begin.len() < PREFACE.len() && PREFACE.starts_with(&begin) {
        let mut limited = stream.take((PREFACE.len() - begin.len()) as u64);
        if limited.read_buf(&mut begin).await? == 0 {
            break;
        }
    }
    Ok(begin.into())
}

async fn encrypted<S>(
    worker: &Worker,
    tls: &Tls,
    stream: StallBreaker<S>,
    address: SocketAddr,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_stalled = stream.is_waiting();
    let handshake = async {
        let _place = worker.handshakes.acquire().await;
        TlsAcceptor::from(Arc::clone(&tls.config)).accept(stream).await
    };
    let failure = match tokio::time::timeout(tls.settings.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let certificate = tls.certificate(session.server_name());
            let server_name = session.server_name().and_then(|name| HostName::parse(name).ok());
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let handshake = Handshake { server_name, certificate };
            let handshake = Some(Arc::new(handshake));
            let proxy = proxy(worker, Peer { address, is_encrypted: true, handshake });
            return if is_http2 {
                Box::pin(http2::serve(proxy, stream, worker.ending.clone())).await
            } else {
                Box::pin(http1::serve(proxy, stream, is_stalled, worker.ending.clone())).await
            };
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    Counters::count(&worker.state.counters.handshakes_failed);
    debug!(reason = failure, client = %address, "TLS handshake failed");
    Ok(())
}

/// A stream with what was read of it in front again.
struct Rewound<S> {
    begin: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.begin.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.begin.len().min(buffer.remaining());
        buffer.put_slice(&self.begin[..length]);
        self.begin.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
