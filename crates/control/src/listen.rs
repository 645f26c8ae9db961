//! Listening for API connections: TLS or not, and the limits of a connection.
//!
//! Knows nothing of what is said on it.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Connections open at once; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1024;
/// Requests at once on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// Header fields of one request.
pub const HEADERS_MAX: usize = 100;
/// Bytes of one request's head; above the longest target of a GET.
pub const HEAD_BYTES_MAX: usize = 128 * 1024;
/// How long a client may take to send a request's head, or to begin the next one.
pub const HEAD_READ_SECS_MAX: u64 = 30;
/// How long a TLS handshake may take.
const HANDSHAKE_SECS_MAX: u64 = 10;
/// How long requests under way may take once it is time to stop.
const DRAIN_MS_MAX: u64 = 800;
/// How long to wait when connections cannot be accepted, for want of file descriptors or memory.
const ACCEPT_PAUSE_MS: u64 = 100;

const _: () = assert!(HEAD_BYTES_MAX > teo::GET_BYTES_MAX * 2, "a GET that is too long is still told so");

/// Serves `router` on `listener` until `stop` completes, then lets requests under way end within 0.8 seconds.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    serve_within(CONNECTIONS_MAX, listener, tls, router, stop).await;
}

async fn serve_within(
    connections_max: usize,
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let acceptor = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection to the API");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection(stream, acceptor, router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), graceful.shutdown()).await.is_err() {
        debug!("requests to the API were cut off when stopping");
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, router: Router, watcher: Watcher) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let Some(acceptor) = acceptor else { return http1(stream, router, watcher).await };
    let handshake = tokio::time::timeout(Duration::from_secs(HANDSHAKE_SECS_MAX), acceptor.accept(stream));
    match handshake.await {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            http2(stream, router, watcher).await;
        }
        Ok(Ok(stream)) => http1(stream, router, watcher).await,
        Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
        Err(_) => debug!("TLS handshake took too long"),
    }
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, watcher: Watcher) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_READ_SECS_MAX))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    ended(watcher.watch(connection).await);
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, watcher: Watcher) {
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(HEAD_READ_SECS_MAX))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    ended(watcher.watch(connection).await);
}

fn ended(outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        debug!(%error, "a connection to the API ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    /// A server with room for `connections_max`, and what stops it.
    async fn start(connections_max: usize) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/never", get(std::future::pending::<&'static str>));
        let (stop, stopped) = oneshot::channel();
        let stopping = async { drop(stopped.await) };
        let running = tokio::spawn(serve_within(connections_max, listener, None, router, stopping));
        (address, stop, running)
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn a_connection_too_many_waits_for_a_place() {
        let (address, _stop, _running) = start(1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut first, "/").await.ends_with("hello"));
        let mut second = TcpStream::connect(address).await.unwrap();
        tokio::select! {
            biased;
            answer = ask(&mut second, "/") => panic!("{answer}"),
            // The first is served meanwhile, on the connection it has.
            answer = ask(&mut first, "/") => assert!(answer.ends_with("hello")),
        }
        drop(first);
        let mut answer = [0; 1024];
        let length = second.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"hello"));
    }

    #[tokio::test]
    async fn stopping_closes_idle_connections_and_waits_for_no_hanging_request() {
        let (address, stop, running) = start(8).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut idle, "/").await.ends_with("hello"));
        let mut hanging = TcpStream::connect(address).await.unwrap();
        hanging.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stop.send(()).unwrap();
        let mut rest = Vec::new();
        assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0);
        running.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_sends_no_request_is_not_waited_for_long() {
        let (address, _stop, _running) = start(8).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        tokio::time::pause();
        let mut rest = Vec::new();
        let wait = Duration::from_secs(HEAD_READ_SECS_MAX * 2);
        tokio::time::timeout(wait, silent.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
}
