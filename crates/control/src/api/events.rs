//! DescribeJobProgress as a stream of server-sent events, for whoever asks with `Accept: text/event-stream`.
//!
//! The request is signed like any other, and is refused like any other, in an ordinary answer. Otherwise the stream begins
//! with an event `progress` and has one more whenever anything but the time has changed; the last event is `ended`, once the
//! job has. The data of each is the answer that the call would have without a stream. A comment comes where nothing else does.

use super::{Api, fields};
use crate::api::progress::LOOK_EVERY;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::poll_fn;
use http::{HeaderMap, HeaderValue, header};
use purge::JobId;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use teo::everfresh::{DescribeJobProgressResponse, JobStatus};
use teo::{ApiError, ErrorCode, RequestId, envelope};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

/// How many streams there may be at once.
pub(super) const EVENT_STREAMS_MAX: usize = 256;

/// How long a stream lasts at most; who still wants to know asks again.
const EVENT_STREAM_TIME_MAX: Duration = Duration::from_secs(3600);

/// After how long without an event a comment is sent, so that nothing on the way takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How many events wait for a client to take them.
const EVENTS_QUEUED_MAX: usize = 4;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The stream of one job.
pub(super) struct Events {
    job: JobId,
    first: DescribeJobProgressResponse,
    place: OwnedSemaphorePermit,
}

/// Whether the request asks for events rather than for one answer.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    let named = |value: &HeaderValue| {
        let types = value.to_str().unwrap_or_default();
        types.split(',').any(|one| {
            one.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("text/event-stream"))
        })
    };
    headers.get_all(header::ACCEPT).iter().any(named)
}

impl Api {
    /// What a stream of this job begins with, and a place for it.
    pub(super) async fn events_of(&self, job_id: &str) -> Result<Events, ApiError> {
        let Ok(place) = Arc::clone(&self.event_streams).try_acquire_owned() else {
            let text = format!(
                "{EVENT_STREAMS_MAX} streams of events are open; ask with WaitMilliseconds, or try again later"
            );
            return Err(ApiError::new(ErrorCode::RequestLimitExceeded, text));
        };
        let job = self.find_job(job_id).await?;
        let job_id = job.job_id.clone();
        Ok(Events { job: job_id, first: self.progress(job).await?, place })
    }

    /// The answer that carries the stream.
    pub(super) fn answer_events(self: &Arc<Self>, events: Events, id: RequestId) -> Response {
        let (out, mut queued) = mpsc::channel(EVENTS_QUEUED_MAX);
        tokio::spawn(tell(Arc::clone(self), events, id, out));
        let stream = poll_fn(move |cx| queued.poll_recv(cx).map(|event| event.map(Ok::<Bytes, Infallible>)));
        let mut response = Response::new(Body::from_stream(stream));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Tells of one job until it has ended, or nobody listens any more.
async fn tell(api: Arc<Api>, events: Events, id: RequestId, out: mpsc::Sender<Bytes>) {
    let Events { job, first, place: _place } = events;
    let ends_at = Instant::now() + EVENT_STREAM_TIME_MAX;
    let mut completed = api.parts.network.completions();
    let (mut told, mut progress) = (None, first);
    let mut beat_at = Instant::now() + HEARTBEAT;
    loop {
        let has_ended = progress.status != JobStatus::Processing;
        let state = timeless(&progress);
        let text = if has_ended || told.as_ref() != Some(&state) {
            beat_at = Instant::now() + HEARTBEAT;
            event(if has_ended { "ended" } else { "progress" }, progress, id)
        } else if Instant::now() >= beat_at {
            beat_at = Instant::now() + HEARTBEAT;
            Bytes::from_static(b": no change\n\n")
        } else {
            Bytes::new()
        };
        told = Some(state);
        if !text.is_empty() && out.send(text).await.is_err() || has_ended || Instant::now() >= ends_at {
            return;
        }
        // Seen before the job is read, so that what completes in between wakes us.
        completed.borrow_and_update();
        tokio::select! {
            () = out.closed() => return,
            woken = tokio::time::timeout(LOOK_EVERY, completed.changed()) => {
                if let Ok(Err(_)) = woken {
                    // The network has stopped, and the process is about to.
                    return;
                }
            }
        }
        let found = match api.find_job(job.as_str()).await {
            Ok(found) => api.progress(found).await,
            Err(error) => Err(error),
        };
        progress = match found {
            Ok(progress) => progress,
            Err(error) => {
                let data = envelope::failure(&error, id);
                let _ = out.send(written("failed", &data)).await;
                return;
            }
        };
    }
}

/// The progress without what changes by itself.
fn timeless(progress: &DescribeJobProgressResponse) -> DescribeJobProgressResponse {
    let mut timeless = progress.clone();
    timeless.elapsed_milliseconds = 0;
    timeless.deadline_milliseconds = None;
    for edge in &mut timeless.edges {
        edge.silent_milliseconds = None;
    }
    timeless
}

fn event(name: &str, progress: DescribeJobProgressResponse, id: RequestId) -> Bytes {
    written(name, &envelope::success(fields(progress), id))
}

/// An event. Its data is JSON, which has no line ends of its own.
fn written(name: &str, data: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_wanted_by_name_only() {
        for (accept, wanted) in [
            (&["text/event-stream"][..], true),
            (&["application/json, Text/Event-Stream;q=0.9"], true),
            (&["*/*", "text/event-stream"], true),
            (&["*/*"], false),
            (&["text/*"], false),
            (&["text/event-streams"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(wants_events(&headers), wanted, "{accept:?}");
        }
    }
}
