//! A new connection to an origin: addresses of its name in turn, TCP, TLS, and the protocol that both speak.

use super::pool::{Connection, EndpointKey, Http1, Http2};
use super::tls::OriginTls;
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Scheme};
use crate::flight::FetchFailure;
use crate::surroundings::Dial;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;
use zone::HostName;

/// How many addresses of one name are tried.
pub(super) const ADDRESSES_MAX: usize = 8;

/// How much of a response is read ahead from a connection, in bytes.
const READ_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// How much of one response over HTTP/2 may be on its way unread, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same for a whole connection: enough for all its streams at once, so that slow readers of some do not hold up
/// the others.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * super::STREAMS_PER_CONNECTION_MAX as u32;

/// How long an HTTP/2 connection with requests under way may be silent before it is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(15);

/// How long it may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections.
pub(super) struct Dialer {
    pub(super) tls: OriginTls,
    pub(super) connect_timeout: Duration,
    pub(super) tls_timeout: Duration,
    /// Instead of TCP and TLS.
    pub(super) dial: Option<Dial>,
}

impl Dialer {
    /// A new connection. `upgradable` asks for one whose protocol can be changed: HTTP/1.1.
    pub(super) async fn connect(
        &self,
        key: &EndpointKey,
        upgradable: bool,
    ) -> Result<Connection, FetchFailure> {
        if let Some(dial) = &self.dial {
            return match timeout(self.connect_timeout, dial(&key.address, key.port)).await {
                Err(_) => Err(FetchFailure::ConnectTimedOut),
                Ok(Err(error)) => {
                    debug!(origin = %key.address, %error, "an origin can't be reached");
                    Err(FetchFailure::Unreachable)
                }
                Ok(Ok(stream)) => speak_http1(stream).await.map(Connection::Http1),
            };
        }
        let stream = self.open(&key.address, key.port).await?;
        let Some(server_name) = &key.server_name else {
            debug_assert_eq!(key.scheme, Scheme::Http);
            return speak_http1(stream).await.map(Connection::Http1);
        };
        let name = ServerName::try_from(bare(server_name).to_owned()).map_err(|_| FetchFailure::TlsFailed)?;
        let connector = if upgradable { &self.tls.http1 } else { &self.tls.any_http };
        let stream = match timeout(self.tls_timeout, connector.connect(name, stream)).await {
            Err(_) => return Err(FetchFailure::TlsTimedOut),
            Ok(Err(error)) => {
                debug!(origin = %key.address, server_name, %error, "no TLS with an origin");
                return Err(tls_failure(&error));
            }
            Ok(Ok(stream)) => stream,
        };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => speak_http2(stream).await.map(Connection::Http2),
            _ => speak_http1(stream).await.map(Connection::Http1),
        }
    }

    /// Tries the addresses one after the other; each gets an equal share of the time that is left.
    async fn open(&self, host: &HostName, port: u16) -> Result<TcpStream, FetchFailure> {
        let deadline = Instant::now() + self.connect_timeout;
        let addresses = match timeout_at(deadline, resolve(host, port)).await {
            Err(_) => return Err(FetchFailure::ConnectTimedOut),
            Ok(Err(error)) => {
                debug!(origin = %host, %error, "the origin's name has no address");
                return Err(FetchFailure::Unreachable);
            }
            Ok(Ok(addresses)) => addresses,
        };
        let mut failure = FetchFailure::Unreachable;
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let share =
                deadline.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    debug!(origin = %host, %address, %error, "an origin's address does not answer");
                    failure = FetchFailure::Unreachable;
                }
                Err(_) => failure = FetchFailure::ConnectTimedOut,
            }
        }
        Err(failure)
    }
}

/// The addresses of a name, at most [`ADDRESSES_MAX`].
async fn resolve(host: &HostName, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let text = bare(host.as_str());
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(tokio::net::lookup_host((text, port)).await?.take(ADDRESSES_MAX).collect())
}

/// An IPv6 address without its brackets.
fn bare(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

fn tls_failure(error: &std::io::Error) -> FetchFailure {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => FetchFailure::CertificateRefused,
        _ => FetchFailure::TlsFailed,
    }
}

async fn speak_http1<T>(stream: T) -> Result<Http1, FetchFailure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| FetchFailure::Closed)?;
    let sent_more = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&sent_more);
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            told.store(is_about_unasked_bytes(&error), Ordering::Relaxed);
            debug!(%error, "connection to an origin ended");
        }
    });
    Ok(Http1 { sender, sent_more })
}

/// Whether a connection ended because bytes came that answer no request. hyper has no question for it: it is what is
/// left when it is none of the others, and no error of the connection below.
fn is_about_unasked_bytes(error: &hyper::Error) -> bool {
    let known = error.is_parse()
        || error.is_user()
        || error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || error.is_body_write_aborted()
        || error.is_shutdown()
        || error.is_timeout();
    !known && std::error::Error::source(error).is_none()
}

async fn speak_http2<T>(stream: T) -> Result<Http2, FetchFailure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| FetchFailure::Closed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "connection to an origin ended");
        }
    });
    Ok(Http2::new(sender))
}
