//! HTTP/2 with a client (RFC 9113).
//!
//! The parser knows no client that takes nothing of one answer while the connection lives on, and no connection that
//! asks for nothing: both are watched here.

use super::connection::Ending;
use super::frames::Counted;
use crate::proxy::Proxy;
use crate::record::{RecordedBody, Recorder};
use crate::respond::answer_refusal;
use crate::state::Counters;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use httpcache::{FramingRefusal, check_framed_request};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::debug;

/// Requests under way on one connection.
const STREAMS_MAX: u32 = 128;

/// What a client may send of one request's body before it is read, in bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same for all of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What waits to be sent on one stream, in bytes.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// Streams that the client reset before their requests were looked at.
const UNSEEN_RESETS_MAX: usize = 20;

/// Streams that the edge reset because of the client's faults.
const FAULTS_MAX: usize = 64;

/// How often a client is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to give one.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends.
pub(super) async fn serve<S>(proxy: Proxy, stream: S, mut edge: Ending) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let state = Arc::clone(&proxy.state);
    let config = &state.config;
    let streams = Arc::new(Streams::new());
    let asked = Arc::clone(&streams);
    let recorder = Recorder::new(&proxy.state, &proxy.peer);
    let service = service_fn(move |request| {
        let (proxy, stream, recorder) = (proxy.clone(), Stream::open(&asked), Arc::clone(&recorder));
        async move { Ok::<_, Infallible>(answer(&proxy, request, stream, &recorder).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(FAULTS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(Counted::new(stream, Arc::clone(&state))), service);
    tokio::pin!(connection);
    let (idle_max, stall_max) = (config.client_idle_timeout, config.client_stall_timeout);
    let mut look = tokio::time::interval((idle_max.min(stall_max) / 4).max(Duration::from_millis(1)));
    let mut ending: Option<Instant> = None;
    loop {
        tokio::select! {
            outcome = &mut connection => return outcome,
            () = edge.begun(), if ending.is_none() => {
                if streams.ids.load(Ordering::Relaxed) == 0 {
                    // Its first request may be on its way, and the parser would close before it has said hello.
                    tokio::select! {
                        outcome = &mut connection => return outcome,
                        () = tokio::time::sleep(edge.idle_grace()) => {}
                    }
                }
                connection.as_mut().graceful_shutdown();
                ending = Some(Instant::now());
            }
            _ = look.tick() => {
                let stalled = streams.stalled(stall_max);
                let is_over = streams.is_idle(Duration::ZERO) || stalled == streams.count();
                match ending {
                    // Whoever does not answer the farewell, or takes nothing of what is left, is not waited for.
                    Some(since) if is_over && since.elapsed() >= config.client_head_timeout => return Ok(()),
                    None if stalled > 0 || streams.is_idle(idle_max) => {
                        if stalled > 0 {
                            Counters::count(&state.counters.stalled);
                        }
                        connection.as_mut().graceful_shutdown();
                        ending = Some(Instant::now());
                    }
                    _ => {}
                }
            }
        }
    }
}

async fn answer(
    proxy: &Proxy,
    mut request: Request<Incoming>,
    stream: Stream,
    recorder: &Arc<Recorder>,
) -> Response<PacedBody> {
    let record = recorder.begin(&request);
    let response = match check(proxy, &request) {
        Ok(()) => {
            join_cookies(request.headers_mut());
            proxy.handle(request).await
        }
        Err(refusal) => {
            Counters::count(&proxy.state.counters.refused);
            debug!(client = %proxy.peer.address, reason = refusal.name(), "request refused");
            let is_head = request.method() == Method::HEAD;
            let (status, name) = (refusal.status(), refusal.name());
            answer_refusal(&proxy.state, is_head, status, name, &refusal.to_string())
        }
    };
    record.answered(response).map(|body| PacedBody { body, stream })
}

fn check(proxy: &Proxy, request: &Request<Incoming>) -> Result<(), FramingRefusal> {
    let config = &proxy.state.config;
    if request.headers().len() > config.fields_max {
        return Err(FramingRefusal::TooManyFields);
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > config.target_bytes_max {
        return Err(FramingRefusal::TargetTooLong);
    }
    check_framed_request(request.method(), request.uri(), request.headers())
}

/// HTTP/2 may cut cookies into several fields, which HTTP/1.1 does not know (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The requests under way on one connection.
struct Streams {
    opened: Instant,
    open: Mutex<HashMap<u64, Arc<Pace>>>,
    ids: AtomicU64,
    /// When the last one ended, in milliseconds since the connection was opened.
    last_ended_at: AtomicU64,
}

/// When the client was last given something that it has not taken yet, in milliseconds since the connection was opened,
/// and one; 0 while nothing waits for the client.
#[derive(Default)]
struct Pace(AtomicU64);

impl Streams {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            open: Mutex::default(),
            ids: AtomicU64::new(0),
            last_ended_at: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// How many clients have taken nothing for so long.
    fn stalled(&self, limit: Duration) -> usize {
        let now = self.now();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let is_stalled = |pace: &&Arc<Pace>| match pace.0.load(Ordering::Relaxed) {
            0 => false,
            given => now.saturating_sub(given - 1) >= limit,
        };
        self.open.lock().values().filter(is_stalled).count()
    }

    fn is_idle(&self, limit: Duration) -> bool {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.count() == 0 && self.now().saturating_sub(self.last_ended_at.load(Ordering::Relaxed)) >= limit
    }
}

/// One of them.
struct Stream {
    streams: Arc<Streams>,
    id: u64,
    pace: Arc<Pace>,
}

impl Stream {
    fn open(streams: &Arc<Streams>) -> Self {
        let id = streams.ids.fetch_add(1, Ordering::Relaxed);
        let pace = Arc::<Pace>::default();
        streams.open.lock().insert(id, Arc::clone(&pace));
        Self { streams: Arc::clone(streams), id, pace }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.last_ended_at.store(self.streams.now(), Ordering::Relaxed);
        self.streams.open.lock().remove(&self.id);
    }
}

/// The body of an answer. It is asked for more once the client has taken what there was.
struct PacedBody {
    body: RecordedBody,
    stream: Stream,
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = <RecordedBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let read = Pin::new(&mut self.body).poll_frame(cx);
        let given = if read.is_ready() { self.stream.streams.now() + 1 } else { 0 };
        self.stream.pace.0.store(given, Ordering::Relaxed);
        read
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_joined() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        for crumb in ["a=1", "b=2; c=3", "d=4"] {
            headers.append(header::COOKIE, HeaderValue::from_static(crumb));
        }
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3; d=4"]);
    }
}
