//! What is noted of each request, from its arrival to the end of its answer: counts, and a line of the access log.

use crate::access_log::{Captured, Entry};
use crate::listen::PlainRequest;
use crate::outcome::{Outcome, ToldBody};
use crate::proxy::Peer;
use crate::respond::{AnswerBody, AnswerError};
use crate::state::{Counters, State};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Notes what happens on one connection. One for each, so that requests share no count of references with those of other
/// workers.
pub(crate) struct Recorder {
    state: Arc<State>,
    client: SocketAddr,
    is_encrypted: bool,
}

/// One request under way.
pub(crate) struct Record {
    recorder: Arc<Recorder>,
    /// What the access log wants of the request, if there is a log.
    captured: Option<Box<Captured>>,
    answered: Option<(StatusCode, Outcome)>,
    bytes: u64,
    is_whole: bool,
}

impl Recorder {
    pub(crate) fn new(state: &Arc<State>, peer: &Peer) -> Arc<Self> {
        Counters::count(&state.counters.connections_opened);
        let Peer { address, is_encrypted, .. } = *peer;
        Arc::new(Self { state: Arc::clone(state), client: address, is_encrypted })
    }

    /// A request arrived.
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Record {
        let log = self.state.access_log.as_ref();
        let captured =
            log.map(|_| Box::new(Captured::of(request, self.client, self.is_encrypted, &self.state.clocks)));
        Record { recorder: Arc::clone(self), captured, answered: None, bytes: 0, is_whole: false }
    }

    /// A request arrived that is answered at once.
    pub(crate) fn begin_plain(
        self: &Arc<Self>,
        head: &[u8],
        request: &PlainRequest<'_>,
        answered: (StatusCode, Outcome),
    ) -> Record {
        let state = &self.state;
        let captured = state.access_log.as_ref().map(|_| {
            Box::new(Captured::of_plain(head, request, self.client, self.is_encrypted, &state.clocks))
        });
        state.counters.answered(&answered.1);
        Record { recorder: Arc::clone(self), captured, answered: Some(answered), bytes: 0, is_whole: false }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        Counters::count(&self.state.counters.connections_closed);
    }
}

impl Record {
    /// The answer's head is there; its body tells the rest.
    pub(crate) fn answered(mut self, response: Response<ToldBody>) -> Response<RecordedBody> {
        let outcome = response.body().outcome;
        self.recorder.state.counters.answered(&outcome);
        self.answered = Some((response.status(), outcome));
        response.map(|told| RecordedBody { body: told.body, record: self })
    }

    /// So much of the body is written.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// All of the answer is written.
    pub(crate) fn end(mut self) {
        self.is_whole = true;
    }
}

/// The body of an answer, of which is noted what becomes of it.
pub(crate) struct RecordedBody {
    body: AnswerBody,
    record: Record,
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.record.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(None) => self.record.is_whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RecordedBody {
    fn drop(&mut self) {
        // Whoever knows the length asks no further than that.
        self.record.is_whole |= self.body.is_end_stream();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let state = &self.recorder.state;
        state.counters.bytes_sent.add(self.bytes);
        // Without an answer the client left while it was waited for.
        let is_whole = self.is_whole && self.answered.is_some();
        if !is_whole {
            Counters::count(&state.counters.broken_off);
        }
        if let (Some(captured), Some(log)) = (self.captured.take(), &state.access_log) {
            let ended = (state.clocks.boot)();
            log.note(Entry { captured, answered: self.answered, bytes: self.bytes, is_whole, ended });
        }
    }
}
