//! Answers to clients: from an object, or of the edge's own.

mod plain;

pub(crate) use plain::write_plain_head;

use crate::body::{ContentError, Reader};
use crate::flight::{Arrival, ArrivalSource, FetchFailure, Sharing};
use crate::head::ValueRoom;
use crate::object::Object;
use crate::origin::ResponseBody;
use crate::outcome::{Outcome, OutcomeKind, ToldBody};
use crate::slices::SlicedBody;
use crate::state::{Counters, State};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use httpcache::{CacheStatus, ForwardReason, Policy, Precondition, Resolved};
use purge::{FencePolicy, PurgeSeq};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

/// EdgeOne's word for what the cache did.
const EO_CACHE_STATUS: HeaderName = HeaderName::from_static("eo-cache-status");

/// EdgeOne's number of one request.
const EO_LOG_UUID: HeaderName = HeaderName::from_static("eo-log-uuid");

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// After how many seconds a client may try again when the edge has too much to do.
const RETRY_AFTER_SECS: HeaderValue = HeaderValue::from_static("1");

/// The body of an answer.
pub(crate) enum AnswerBody {
    Empty,
    Own(Option<Bytes>),
    Content(Reader),
    Slices(Box<SlicedBody>),
    PassedOn(Box<ResponseBody>),
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(transparent)]
    Content(#[from] ContentError),
    /// What the origin did.
    #[error(transparent)]
    Origin(#[from] FetchFailure),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Content(reader) => {
                let read = ready!(Pin::new(reader).poll_frame(cx));
                Poll::Ready(read.map(|frame| frame.map_err(AnswerError::from)))
            }
            Self::Slices(slices) => slices.poll_next(cx),
            Self::PassedOn(body) => {
                let read = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(read.map(|frame| frame.map_err(AnswerError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Own(text) => text.is_none(),
            Self::Content(reader) => reader.is_end_stream(),
            Self::Slices(slices) => slices.left() == 0,
            Self::PassedOn(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Content(reader) => reader.size_hint(),
            Self::Slices(slices) => SizeHint::with_exact(slices.left()),
            Self::PassedOn(body) => body.size_hint(),
        }
    }
}

/// How a request came to its response, in the words of RFC 9211 and of EdgeOne.
pub(crate) struct Told {
    pub(crate) status: CacheStatus,
    pub(crate) eo: &'static str,
    pub(crate) outcome: Outcome,
}

/// What a request was forwarded for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forwarded {
    pub(crate) reason: ForwardReason,
    /// The purge that was the reason, if one was.
    pub(crate) purged_by: Option<PurgeSeq>,
    /// The policy under which it went on without a lease, if it did.
    pub(crate) fenced: Option<FencePolicy>,
}

/// Tells of a hit.
pub(crate) fn told_hit(state: &State, object: &Object, seen: PurgeSeq, now: SystemTime) -> Told {
    let status = CacheStatus::hit(&state.config.name)
        .ttl_secs(object.freshness.ttl_secs(now))
        .detail(&["seq=", itoa::Buffer::new().format(seen.number())].concat());
    let outcome = Outcome { seen, ..Outcome::new(OutcomeKind::Hit, "") };
    Told { status, eo: "HIT", outcome }
}

/// Tells of an answer from the cache without a lease: the operator chose it over the promise.
pub(crate) fn told_fenced_hit(
    state: &State,
    object: &Object,
    seen: PurgeSeq,
    policy: FencePolicy,
    now: SystemTime,
) -> Told {
    Counters::count(&state.counters.promise_given_up);
    let status = CacheStatus::hit(&state.config.name)
        .ttl_secs(object.freshness.ttl_secs(now))
        .detail(&format!("seq={seen}{}", given_up(policy)));
    let outcome = Outcome { seen, fenced: true, ..Outcome::new(OutcomeKind::Hit, "") };
    Told { status, eo: "HIT", outcome }
}

/// What is said where the promise is given up.
pub(crate) fn given_up(policy: FencePolicy) -> String {
    format!(" fenced={}", policy.as_str())
}

/// Tells of a response that a fetch brought, one's own or another's.
pub(crate) fn told_arrival(
    state: &State,
    arrival: &Arrival,
    forwarded: Forwarded,
    collapsed: bool,
    seen: PurgeSeq,
    now: SystemTime,
) -> Told {
    let (forward_status, eo, kind) = match arrival.source {
        ArrivalSource::Origin => {
            let slices = arrival.object.content.slices();
            let status = slices.map_or(arrival.object.status, |slices| slices.brought_by);
            (Some(status), "MISS", OutcomeKind::Miss)
        }
        ArrivalSource::Validated => (Some(StatusCode::NOT_MODIFIED), "RefreshHit", OutcomeKind::Revalidated),
        ArrivalSource::Stored => (None, "HIT", OutcomeKind::Hit),
    };
    let mut status = CacheStatus::forwarded(&state.config.name, forwarded.reason);
    if let Some(forward_status) = forward_status {
        status = status.forward_status(forward_status);
    }
    if arrival.sharing != Sharing::Nobody {
        status = status.ttl_secs(arrival.object.freshness.ttl_secs(now));
    }
    if arrival.is_stored {
        status = status.stored();
    }
    if collapsed {
        status = status.collapsed();
    }
    let outcome = Outcome {
        collapsed,
        fenced: forwarded.fenced.is_some(),
        stored: arrival.is_stored,
        seen,
        ..Outcome::new(kind, forwarded.reason.token())
    };
    let is_new = arrival.source == ArrivalSource::Origin;
    if forwarded.fenced.is_some_and(|policy| !is_new && !policy.keeps_promise(purge::Method::Delete)) {
        Counters::count(&state.counters.promise_given_up);
    }
    Told { status: status.detail(&detail(forwarded, is_new, seen, arrival.object.tags_ignored)), eo, outcome }
}

fn detail(forwarded: Forwarded, is_new: bool, seen: PurgeSeq, tags_ignored: usize) -> String {
    let mut detail = format!("seq={seen}");
    if let Some(purge) = forwarded.purged_by {
        detail.push_str(&format!(" purged-by={purge}"));
    }
    match forwarded.fenced {
        // What was stored before may be what a purge matched that the edge has not heard of.
        Some(policy) if !is_new && !policy.keeps_promise(purge::Method::Delete) => {
            detail.push_str(&given_up(policy));
        }
        Some(_) => detail.push_str(" fenced"),
        None => {}
    }
    if tags_ignored > 0 {
        detail.push_str(&format!(" tags-ignored={tags_ignored}"));
    }
    detail
}

/// The head of an answer from an object.
pub(crate) struct Composed {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Which bytes of the object's content follow, from the first to before the last (`None`: to the end), if any do.
    pub(crate) content: Option<(u64, Option<u64>)>,
    /// Room for the values that the edge adds.
    pub(crate) room: ValueRoom,
}

/// Weighs the client's conditions and range against an object. `policy` may say what the client is told of its lifetime. `None` only for an object whose times no field can hold.
pub(crate) fn compose<B>(
    request: &Request<B>,
    policy: &Policy,
    object: &Object,
    now: SystemTime,
) -> Option<Composed> {
    let without_content =
        |status, headers| Some(Composed { status, headers, content: None, room: ValueRoom::new() });
    let (mut stored, mut room) = object.head.unpack_with_room();
    if !stored.contains_key(header::DATE) {
        let date = httpdate::fmt_http_date(object.freshness.response_time);
        stored.insert(header::DATE, HeaderValue::from_str(&date).ok()?);
    }
    let age = room.number(httpcache::age_secs(object.freshness.age(now)));
    stored.insert(header::AGE, age.clone());
    if object.status == StatusCode::OK {
        match httpcache::evaluate(request.method(), request.headers(), &stored) {
            Precondition::Proceed => {}
            Precondition::NotModified => {
                let mut headers = httpcache::not_modified_headers(&stored);
                headers.insert(header::AGE, age);
                httpcache::set_client_lifetime(&mut headers, policy);
                return without_content(StatusCode::NOT_MODIFIED, headers);
            }
            Precondition::PreconditionFailed => {
                return without_content(StatusCode::PRECONDITION_FAILED, HeaderMap::new());
            }
        }
        stored.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if !object.status.is_server_error() {
        httpcache::set_client_lifetime(&mut stored, policy);
    }
    let length = object.content.whole().map(crate::body::Pieces::length).or(object.declared_length);
    let (status, part) = match resolve_range(request, object, &stored, length) {
        Resolved::Whole => (object.status, None),
        Resolved::Part { first, last } => {
            stored.insert(header::CONTENT_RANGE, httpcache::content_range(first, last, length?));
            (StatusCode::PARTIAL_CONTENT, Some((first, last + 1)))
        }
        Resolved::Unsatisfiable => {
            let field = (header::CONTENT_RANGE, httpcache::content_range_unsatisfied(length?));
            return without_content(StatusCode::RANGE_NOT_SATISFIABLE, HeaderMap::from_iter([field]));
        }
    };
    if let Some(length) = part.map(|(first, end)| end - first).or(length)
        && !is_bodiless(status)
    {
        stored.insert(header::CONTENT_LENGTH, room.number(length));
    }
    let has_content = request.method() != Method::HEAD && !is_bodiless(status);
    let content = has_content.then(|| part.map_or((0, None), |(first, end)| (first, Some(end))));
    Some(Composed { status, headers: stored, content, room })
}

/// Answers with an object: the client's conditions and range are weighed against it here. `own` is the reader of
/// whoever sent the fetch. `None` when the content's front is gone and the request must look again.
pub(crate) fn answer_object<B>(
    state: &State,
    request: &Request<B>,
    policy: &Policy,
    object: &Object,
    own: Option<Reader>,
    told: Told,
    now: SystemTime,
) -> Option<Response<ToldBody>> {
    let Composed { status, headers, content, room } = compose(request, policy, object, now)?;
    let body = match (content, own) {
        (None, _) => AnswerBody::Empty,
        (Some((first, end)), Some(mut own)) => {
            if let Some(end) = end {
                own.narrow(first, end);
            }
            AnswerBody::Content(own)
        }
        (Some((first, end)), None) => AnswerBody::Content(object.content.reader(first, end)?),
    };
    Some(answer_in(room, state, status, headers, body, told))
}

/// Tells of an answer some of whose slices are not stored. `fenced`: the policy under which they are used without a lease.
pub(crate) fn told_partly(
    state: &State,
    head: &Object,
    seen: PurgeSeq,
    fenced: Option<FencePolicy>,
    now: SystemTime,
) -> Told {
    let status = CacheStatus::forwarded(&state.config.name, ForwardReason::Partial)
        .ttl_secs(head.freshness.ttl_secs(now))
        .detail(&format!("seq={seen}{}", fenced.map_or_else(String::new, given_up)));
    let kind = Outcome::new(OutcomeKind::Miss, ForwardReason::Partial.token());
    let outcome = Outcome { seen, fenced: fenced.is_some(), ..kind };
    Told { status, eo: "MISS", outcome }
}

fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn resolve_range<B>(
    request: &Request<B>,
    object: &Object,
    stored: &HeaderMap,
    length: Option<u64>,
) -> Resolved {
    let Some(length) = length else { return Resolved::Whole };
    let may_be_part = request.method() == Method::GET
        && object.status == StatusCode::OK
        && httpcache::if_range_holds(request.headers(), stored);
    if !may_be_part {
        return Resolved::Whole;
    }
    httpcache::resolve(httpcache::parse_range(request.headers()), length)
}

/// Puts the edge's own fields on an answer.
pub(crate) fn answer(
    state: &State,
    status: StatusCode,
    headers: HeaderMap,
    body: AnswerBody,
    told: Told,
) -> Response<ToldBody> {
    answer_in(ValueRoom::new(), state, status, headers, body, told)
}

/// The same, with their values in this room.
fn answer_in(
    mut room: ValueRoom,
    state: &State,
    status: StatusCode,
    mut headers: HeaderMap,
    body: AnswerBody,
    told: Told,
) -> Response<ToldBody> {
    headers.append(CACHE_STATUS, room.cache_status(&told.status));
    headers.insert(EO_CACHE_STATUS, HeaderValue::from_static(told.eo));
    let request_id = state.next_request_id();
    headers.insert(EO_LOG_UUID, room.number(request_id));
    headers.append(header::VIA, state.via_value.clone());
    headers.entry(header::SERVER).or_insert(HeaderValue::from_static("Everfresh"));
    let outcome = Outcome { request_id, ..told.outcome };
    let mut response = Response::new(ToldBody { body, outcome });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Marks an answer that is the edge's own, not the origin's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnAnswer;

/// An answer of the edge's own: `name` is the reason for programs, `text` for people.
pub(crate) fn answer_refusal(
    state: &State,
    is_head: bool,
    status: StatusCode,
    name: &'static str,
    text: &str,
) -> Response<ToldBody> {
    answer_named(state, is_head, status, text, Outcome::new(OutcomeKind::Refused, name))
}

/// The answer of an edge without a lease that is to refuse rather than ask the origin.
pub(crate) fn answer_fenced(state: &State, is_head: bool, seen: PurgeSeq) -> Response<ToldBody> {
    let text = "this edge is cut off from its control plane, and is set to answer nothing until it is back";
    let outcome = Outcome { seen, fenced: true, ..Outcome::new(OutcomeKind::Refused, "fenced") };
    answer_named(state, is_head, StatusCode::SERVICE_UNAVAILABLE, text, outcome)
}

fn answer_named(
    state: &State,
    is_head: bool,
    status: StatusCode,
    text: &str,
    outcome: Outcome,
) -> Response<ToldBody> {
    let name = outcome.reason;
    let told = Told { status: CacheStatus::named(&state.config.name).detail(name), eo: "MISS", outcome };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let text = Bytes::from(format!("{} {name}: {text}\n", status.as_u16()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECS);
    }
    let body = if is_head { AnswerBody::Empty } else { AnswerBody::Own(Some(text)) };
    let mut response = answer(state, status, headers, body, told);
    response.extensions_mut().insert(OwnAnswer);
    response
}

/// The answer to a request whose fetch brought nothing.
pub(crate) fn answer_failure(state: &State, is_head: bool, failure: FetchFailure) -> Response<ToldBody> {
    let status = match failure {
        FetchFailure::Unreachable
        | FetchFailure::TlsFailed
        | FetchFailure::CertificateRefused
        | FetchFailure::Closed
        | FetchFailure::Malformed
        | FetchFailure::HeadTooLarge
        | FetchFailure::Truncated
        | FetchFailure::ParentRefused
        | FetchFailure::PartChanged
        | FetchFailure::PartWrong
        | FetchFailure::PartRefused
        | FetchFailure::Abandoned => StatusCode::BAD_GATEWAY,
        FetchFailure::ConnectTimedOut
        | FetchFailure::TlsTimedOut
        | FetchFailure::TimedOut
        | FetchFailure::BodyTimedOut
        | FetchFailure::ResponseTimedOut => StatusCode::GATEWAY_TIMEOUT,
        FetchFailure::TooManyFetches => StatusCode::SERVICE_UNAVAILABLE,
    };
    let outcome = Outcome::new(OutcomeKind::Failed, failure.name());
    answer_named(state, is_head, status, &failure.to_string(), outcome)
}
