//! HTTP/1.1 with a client.

use super::connection::Ending;
use super::fast_lane::FastLane;
use super::guard::{Guarded, Notes, Patience, Refused};
use super::interim::WithInterim;
use super::woken::Woken;
use crate::interim::InterimQueue;
use crate::outcome::ToldBody;
use crate::proxy::Proxy;
use crate::record::{RecordedBody, Recorder};
use crate::respond::answer_refusal;
use crate::state::Counters;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use httpcache::HeadLimits;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

/// The least that the parser wants for its buffer, in bytes.
const PARSER_BUFFER_BYTES: usize = 64 * 1024;

/// How many fields the parser takes without being told: only when it is told a number does each request cost it an
/// allocation.
const PARSED_FIELDS_MAX: usize = 100;

/// Serves a connection until it ends. `is_stalled` tells whether the client has not taken what was last written.
pub(super) async fn serve<S>(
    proxy: Proxy,
    stream: S,
    is_stalled: Arc<AtomicBool>,
    mut ending: Ending,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = &proxy.state.config;
    let limits = HeadLimits {
        head_bytes: config.head_bytes_max,
        target_bytes: config.target_bytes_max,
        fields: config.fields_max,
    };
    let patience = Patience { head: config.client_head_timeout, idle: config.client_idle_timeout };
    let notes = Arc::new(Notes::new());
    let proxy = Arc::new(proxy);
    let recorder = Recorder::new(&proxy.state, &proxy.peer);
    let lane = FastLane::new(Arc::clone(&proxy), Arc::clone(&recorder), Arc::clone(&notes));
    let stream = Guarded::new(stream, is_stalled, limits, patience, Arc::clone(&notes), lane);
    let interim = Arc::new(InterimQueue::default());
    let stream = WithInterim::new(stream, Arc::clone(&interim));
    let service = service_fn(|mut request: Request<Incoming>| {
        let notes = Arc::clone(&notes);
        request.extensions_mut().insert(Arc::clone(&interim));
        async { Ok::<_, Infallible>(answer(&proxy, request, notes, &recorder).await) }
    });
    // The guard has its own limits of time and, with one field fewer than the parser takes, of the head.
    let mut parser = http1::Builder::new();
    parser
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.head_bytes.max(PARSER_BUFFER_BYTES));
    if limits.fields >= PARSED_FIELDS_MAX {
        parser.max_headers(limits.fields + 1);
    }
    let connection = parser.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    {
        let begun = pin!(ending.begun());
        tokio::select! {
            biased;
            outcome = &mut connection => return outcome,
            () = Woken::new(begun) => {}
        }
    }
    // A request may be on its way. It is answered, and told that it was the last one.
    notes.make_last();
    tokio::select! {
        biased;
        outcome = &mut connection => return outcome,
        () = tokio::time::sleep(ending.idle_grace()) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn answer(
    proxy: &Proxy,
    request: Request<Incoming>,
    notes: Arc<Notes>,
    recorder: &Arc<Recorder>,
) -> Response<NotedBody> {
    let record = recorder.begin(&request);
    let mut response = match notes.refused(request.method()) {
        Some(refused) => refuse(proxy, refused),
        None => {
            let response = proxy.handle(request).await;
            match notes.broken() {
                Some(refusal) => refuse(proxy, refusal.into()),
                None => response,
            }
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        notes.switch();
    } else if notes.is_last() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(response).map(|body| NotedBody { body, notes })
}

fn refuse(proxy: &Proxy, refused: Refused) -> Response<ToldBody> {
    Counters::count(&proxy.state.counters.refused);
    debug!(client = %proxy.peer.address, reason = refused.name(), "request refused");
    let mut response =
        answer_refusal(&proxy.state, false, refused.status(), refused.name(), &refused.to_string());
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of an answer, whose end is noted.
struct NotedBody {
    body: RecordedBody,
    notes: Arc<Notes>,
}

impl Body for NotedBody {
    type Data = Bytes;
    type Error = <RecordedBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for NotedBody {
    fn drop(&mut self) {
        self.notes.answered();
    }
}
