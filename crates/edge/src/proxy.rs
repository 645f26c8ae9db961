//! One request from its arrival to its answer.
//!
//! The order is the purge protocol's: lease and `seen` ([`State::read`]), then objects, then fetches under way, then
//! marks. Whoever can't be served by what this pass found looks again from the top, with a new reading.

mod head_request;
mod plain;
mod stale;
mod upgrade;

pub(crate) use plain::{Detour, PlainHit};

use crate::configuration::has_keys_of;
use crate::fetch::{Base, Job, UNSHARED_FOR};
use crate::flight::{
    Arrival, Boarding, FetchFailure, Flight, Joins, Landing, OwnContent, Reading, Sharing, may_share,
};
use crate::forwarded;
use crate::intake::{CACHE_TAG, strip_tags};
use crate::interim::{INTERIM_RESPONSES_MAX, InterimQueue, InterimResponse};
use crate::listen::Handshake;
use crate::min_seq::{MIN_SEQ, MinSeq, MinSeqError};
use crate::object::{Object, Standing};
use crate::origin::{
    OriginClient, OriginRequest, RequestBody, RequestBodyError, RequestContent, ResponseBody,
    strip_conditions,
};
use crate::outcome::{Outcome, OutcomeKind, ToldBody};
use crate::respond::{
    AnswerBody, Composed, Forwarded, OwnAnswer, Told, answer, answer_failure, answer_fenced, answer_object,
    answer_refusal, compose, told_arrival,
};
use crate::routes::{Decided, Routed, Routes};
use crate::shelf::{Found, ObjectKey};
use crate::slice_admission::FirstPart;
use crate::slice_run::Run;
use crate::slices::{SlicedBody, Walk};
use crate::state::{Counters, State};
use crate::tier::{self, Asker, Hit, Part, TIER_TOKEN};
use crate::upstream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use httpcache::{CACHE_GROUP_INVALIDATION, CacheStatus, ForwardReason, Policy, Storing, VIA_HOPS_MAX};
use hyper::body::Incoming;
use purge::{FencePolicy, UrlError, UrlKey};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot};
use zone::{HostName, Route, RouteRefusal, Scheme};

/// How often a request looks before it fetches for itself alone.
const LOOKS_MAX: usize = 8;

/// Who sends requests on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client's address, or that of the next proxy before this edge.
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS, or stands for one that does.
    pub(crate) is_encrypted: bool,
    /// What its handshake settled, if there was one.
    pub(crate) handshake: Option<Arc<Handshake>>,
}

impl Peer {
    /// The scheme of the URLs it asks for.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.is_encrypted { Scheme::Https } else { Scheme::Http }
    }
}

/// One connection's part in serving: the shared state, its worker's connections to origins, its peer.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) state: Arc<State>,
    pub(crate) client: OriginClient,
    /// What its worker remembers of hosts.
    pub(crate) routes: Arc<Routes>,
    pub(crate) peer: Peer,
}

/// A request that has a domain, a policy and a key.
struct Asked {
    request: Request<Incoming>,
    routed: Arc<Routed>,
    /// What the operator decided for this URL.
    policy: Arc<Policy>,
    /// How the client speaks.
    scheme: Scheme,
    asker: Asker,
    /// The position in the purge log that the answer must be at or above, if the request names one.
    min_seq: Option<MinSeq>,
    /// The URL as it is asked for.
    asked_url: UrlKey,
    /// What of it is in the cache key.
    url: UrlKey,
    url_key: ObjectKey,
    /// See [`Proxy::headers_of`].
    headers: OnceLock<HeaderMap>,
}

impl Asked {
    fn interim_client(&self) -> InterimClient {
        (self.request.version(), self.request.extensions().get().cloned())
    }

    /// What the client wrote as the host, with its port.
    fn host_text(&self) -> &str {
        let field = || self.request.headers().get(header::HOST)?.to_str().ok();
        match self.request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => field().unwrap_or(self.url.host().as_str()),
        }
    }
}

/// Where interim responses to a client go, if its connection has a place for them.
type InterimClient = (Version, Option<Arc<InterimQueue>>);

/// What whoever sends a fetch has of it before all others.
struct Own {
    reader: oneshot::Receiver<OwnContent>,
    interim: mpsc::Receiver<InterimResponse>,
}

/// How a pass ended.
enum Passed {
    Answered(Response<ToldBody>),
    /// The answer's content lies in slices: they are yet to be found.
    InSlices(Box<InSlices>),
    LookAgain,
    /// The same, but only a fetch that is yet to be sent will do.
    WaitForNext,
    /// Waiting for others leads nowhere.
    FetchAlone,
    /// The cache has no part in it.
    PassOn,
    /// The same, since the edge is behind the position that the request names.
    Behind,
}

impl Proxy {
    /// Answers one request. Never fails: what goes wrong is an answer too.
    pub(crate) async fn handle(&self, mut request: Request<Incoming>) -> Response<ToldBody> {
        Counters::count(&self.state.counters.requests);
        let named =
            MinSeq::take(request.headers_mut()).map(|named| named.filter(|_| self.state.config.min_seq));
        match tier::take_asker(request.headers_mut(), self.state.config.tiers.token.as_ref()) {
            Ok(Asker::Client) => self.answer(request, Asker::Client, named).await,
            Ok(child @ Asker::Child(_)) => {
                Counters::count(&self.state.counters.of_children);
                let mut response = Box::pin(self.answer(request, child, named)).await;
                let is_own = response.extensions().get::<OwnAnswer>().is_some();
                tier::mark(response.headers_mut(), is_own);
                response
            }
            Err(error) => {
                let is_head = request.method() == Method::HEAD;
                let text = error.to_string();
                let mut response = answer_refusal(&self.state, is_head, StatusCode::FORBIDDEN, "tier", &text);
                tier::mark(response.headers_mut(), true);
                response
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        asker: Asker,
        named: Result<Option<MinSeq>, MinSeqError>,
    ) -> Response<ToldBody> {
        let is_head = request.method() == Method::HEAD;
        let min_seq = match named {
            Ok(min_seq) => min_seq,
            Err(_) if !self.state.config.min_seq => None,
            Err(error) => {
                let text = error.to_string();
                return answer_refusal(&self.state, is_head, StatusCode::BAD_REQUEST, "min-seq", &text);
            }
        };
        let asked = match self.route(request, asker, min_seq) {
            Ok(asked) => asked,
            Err(refusal) => {
                let Refusal { status, name, text } = refusal;
                return answer_refusal(&self.state, is_head, status, name, &text);
            }
        };
        if let Some(wanted) = upgrade::wanted(&asked.request) {
            return Box::pin(self.upgrade(asked, wanted)).await;
        }
        let is_read = matches!(*asked.request.method(), Method::GET | Method::HEAD);
        if !is_read || !asked.request.body().is_end_stream() {
            return Box::pin(self.pass_on(asked, ForwardReason::Method)).await;
        }
        if asked.policy.storing == Storing::Never {
            // At once, whatever is stored from before.
            return match httpcache::is_only_if_cached(asked.request.headers()) {
                true => answer_only_if_cached(&self.state, is_head),
                false => Box::pin(self.pass_on(asked, ForwardReason::Bypass)).await,
            };
        }
        let mut joins = Joins::Any;
        for look in 1..=LOOKS_MAX {
            match self.look(&asked, if look == LOOKS_MAX { Joins::Nothing } else { joins }).await {
                Passed::Answered(response) => return response,
                Passed::LookAgain => {}
                Passed::WaitForNext => joins = Joins::Unsent,
                Passed::FetchAlone => joins = Joins::Nothing,
                Passed::PassOn => return Box::pin(self.pass_on(asked, ForwardReason::Bypass)).await,
                Passed::Behind => return Box::pin(self.pass_on_behind(asked)).await,
                Passed::InSlices(found) => {
                    if let Passed::Answered(response) = Box::pin(self.serve_slices(&asked, *found)).await {
                        return response;
                    }
                }
            }
        }
        answer_failure(&self.state, is_head, FetchFailure::Abandoned)
    }

    fn route(
        &self,
        request: Request<Incoming>,
        asker: Asker,
        min_seq: Option<MinSeq>,
    ) -> Result<Asked, Refusal> {
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let text = format!("a cache does not answer {}", request.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", text));
        }
        let text = host_text(&request)?;
        if httpcache::has_passed(request.headers(), &self.state.via)
            || httpcache::via_hops(request.headers()) > VIA_HOPS_MAX
        {
            let text = "the request came back to this edge: the domain's origin points at the network itself";
            return Err(Refusal::new(StatusCode::LOOP_DETECTED, "loop", text));
        }
        let routed = match self.routes.recall(&self.state, text) {
            Some(routed) => self.check_direction(&routed.host).map(|()| routed)?,
            None => self.find_route(text)?,
        };
        let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let asked_url = UrlKey::of_request(routed.host.clone(), target).map_err(|error| match error {
            UrlError::TooLong(_) => Refusal::new(StatusCode::URI_TOO_LONG, "url-too-long", error.to_string()),
            _ => Refusal::new(StatusCode::BAD_REQUEST, "bad-url", error.to_string()),
        })?;
        let scheme = self.client_scheme(&request, asker);
        let Decided { mut policy, key: url } = routed.decide(&asked_url, scheme);
        if asker != Asker::Client && policy.client_lifetime.is_some() {
            // How long clients may keep it is the child's to say; it stores what the origin said.
            policy = Arc::new(Policy { client_lifetime: None, ..Policy::clone(&policy) });
        }
        let url_key = self.state.shelf.url_key(routed.route.zone(), &url);
        Ok(Asked {
            request,
            routed,
            policy,
            scheme,
            asker,
            min_seq,
            asked_url,
            url,
            url_key,
            headers: OnceLock::new(),
        })
    }

    /// Refuses what came over a connection that was opened for another host.
    fn check_direction(&self, host: &HostName) -> Result<(), Refusal> {
        if self.peer.handshake.as_ref().is_none_or(|handshake| handshake.covers(host)) {
            return Ok(());
        }
        let text = format!(
            "{host}: this connection was opened for another host, and its certificate does not name this one"
        );
        Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", text))
    }

    /// What answers for a host that the worker does not remember.
    fn find_route(&self, text: &str) -> Result<Arc<Routed>, Refusal> {
        let host = HostName::parse(text).map_err(|error| bad_host(error.to_string()))?;
        self.check_direction(&host)?;
        self.routes.find(&self.state, text, &host).map_err(|refusal| {
            let (status, name) = match refusal {
                RouteRefusal::UnknownHost => (StatusCode::NOT_FOUND, "unknown-host"),
                RouteRefusal::ZonePaused => (StatusCode::SERVICE_UNAVAILABLE, "zone-paused"),
                RouteRefusal::DomainOffline => (StatusCode::SERVICE_UNAVAILABLE, "domain-offline"),
            };
            Refusal::new(status, name, format!("{host}: {refusal}"))
        })
    }

    /// The client's fields without those of its hop and without its conditions, and with what the origin is told of the
    /// client. Made when first needed: most hits never do.
    fn headers_of<'a>(&self, asked: &'a Asked) -> &'a HeaderMap {
        asked.headers.get_or_init(|| {
            let mut headers = httpcache::end_to_end(asked.request.headers());
            headers.remove(header::HOST);
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::EXPECT);
            strip_conditions(&mut headers);
            self.tell_of_client(asked, &mut headers);
            headers
        })
    }

    /// What the request selects of what is stored.
    async fn find(&self, asked: &Asked) -> Found {
        let Asked { policy, url, url_key, .. } = asked;
        self.state.shelf.find(*url_key, url, &policy.key_parts, || self.headers_of(asked)).await
    }

    /// The same as far as memory tells: above all its key.
    fn select(&self, asked: &Asked) -> Found {
        let Asked { policy, url, url_key, .. } = asked;
        self.state.shelf.select(*url_key, url, &policy.key_parts, || self.headers_of(asked))
    }

    /// Puts onto a request what the origin, or a parent, is to know of its client. What a child says of it is believed.
    fn tell_of_client(&self, asked: &Asked, headers: &mut HeaderMap) {
        headers.remove(TIER_TOKEN);
        let is_child = asked.asker != Asker::Client;
        forwarded::tell(headers, &self.peer, is_child, asked.host_text(), &self.state.config.forwarded);
    }

    /// How the client speaks: as a child tells, where one is between.
    fn client_scheme(&self, request: &Request<Incoming>, asker: Asker) -> Scheme {
        match asker {
            Asker::Client => self.peer.scheme(),
            Asker::Child(_) => forwarded::scheme(request.headers()),
        }
    }

    /// One pass over lease, `seen`, objects, fetches under way and marks.
    async fn look(&self, asked: &Asked, joins: Joins) -> Passed {
        let state = &self.state;
        let Some(reading) = self.reading(asked).await else {
            return if asked.asker == Asker::Client { Passed::Behind } else { Passed::PassOn };
        };
        let is_head = asked.request.method() == Method::HEAD;
        if let Some(policy) = reading.fenced() {
            Counters::count(&state.counters.fenced);
            if policy == FencePolicy::Refuse {
                return Passed::Answered(answer_fenced(state, is_head, reading.seen));
            }
        }
        // Without a lease what is stored mostly does not count: only its key does.
        let found = if reading.may_ask_whether() { self.find(asked).await } else { self.select(asked) };
        let now = (state.clocks.wall)();
        let (forwarded, base) = match self.judge(asked, &found, &reading, now) {
            Judged::Fresh(response) => return response,
            Judged::Forward(forwarded, base) => (forwarded, base),
        };
        if httpcache::is_only_if_cached(asked.request.headers()) {
            return Passed::Answered(answer_only_if_cached(state, is_head));
        }
        let base = match base {
            // Without a purge and with a lease a HEAD can say all that there is to know.
            Some(base) if is_head && reading.leased && forwarded.purged_by.is_none() => {
                return Box::pin(self.send_head(asked, base, &reading, forwarded)).await;
            }
            base => base,
        };
        let unshared = found.unshared_until.is_some_and(|until| now < until);
        if unshared && reading.leased && (is_head || asked.request.headers().contains_key(header::RANGE)) {
            // Nothing will be stored of it, so that the whole need not be fetched for a part, or for a head.
            return Passed::PassOn;
        }
        let part = if base.is_none() { self.first_part(asked, found.key) } else { None };
        let job = Job {
            part,
            hit: asked.asker.hit_with(purged(forwarded, base.is_some())),
            ..self.job(asked, found.key)
        };
        let (flight, mut before_sent, own) = if joins == Joins::Nothing || unshared {
            let landing = state.flights.alone(asked.url_key, &asked.url, &reading);
            let (flight, own) = send(job, landing, base, Some(reading.leased));
            (flight, false, Some(own))
        } else {
            let seat = part.map_or(found.key, |part| {
                state.shelf.slice_key(found.key, 0, part.first / state.config.slice_length())
            });
            match state.flights.board(asked.url_key, seat, &asked.url, &reading, &state.ledger, joins) {
                Boarding::Send(landing) => {
                    let (flight, own) = send(job, landing, base, Some(reading.leased));
                    (flight, false, Some(own))
                }
                Boarding::SendNext(landing) => {
                    let (flight, own) = send(job, landing, None, None);
                    (flight, true, Some(own))
                }
                Boarding::Follow { flight, before_sent } => (flight, before_sent, None),
            }
        };
        let asked_at = (state.clocks.boot)();
        let (own, interim) = own.map_or((None, None), |own| (Some(own.reader), Some(own.interim)));
        let arrived = pass_interim(&asked.interim_client(), interim, flight.arrival()).await;
        let status = arrived.as_ref().ok().map(|arrival| arrival.object.status);
        if status.is_none_or(httpcache::is_stale_if_error)
            && let Some(response) = Box::pin(self.stale_instead(asked, forwarded, status)).await
        {
            return Passed::Answered(response);
        }
        let arrival = match arrived {
            Ok(arrival) => arrival,
            // No part that the cache could use: the client gets what the origin gives it.
            Err(FetchFailure::PartWrong) => return Passed::PassOn,
            Err(failure) => return Passed::Answered(answer_failure(state, is_head, failure)),
        };
        let collapsed = own.is_none();
        if collapsed {
            match self.share(asked, &arrival, &reading, &mut before_sent) {
                None => Counters::count(&state.counters.collapsed),
                Some(passed) => return passed,
            }
        }
        let mut told = told_arrival(state, &arrival, forwarded, collapsed, reading.seen, now);
        told.outcome.origin_wait = Some((state.clocks.boot)().saturating_sub(asked_at));
        self.serve(asked, &arrival, own, told).await
    }

    /// The reading under which this pass goes on; `None` if the cache may have no part in it.
    async fn reading(&self, asked: &Asked) -> Option<Reading> {
        match (asked.asker, asked.min_seq) {
            (Asker::Client, None) => Some(self.read_now(&asked.routed)),
            (Asker::Client | Asker::Child(_), _) => Box::pin(self.read_for(asked)).await,
        }
    }

    fn read_now(&self, routed: &Routed) -> Reading {
        self.state.read_by(&routed.clock, routed.route.zone())
    }

    /// The reading under which a child, or a request that names a position, may be answered, within a short wait for the
    /// entries that it has or wants; `None` if the cache may have no part in it.
    async fn read_for(&self, asked: &Asked) -> Option<Reading> {
        let state = &self.state;
        let config = &state.config;
        let wait = if asked.asker == Asker::Client { config.min_seq_wait } else { config.tier_wait };
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let applied = state.applied.notified();
            tokio::pin!(applied);
            // From here on no entry comes unheard.
            applied.as_mut().enable();
            let reading = self.read_now(&asked.routed);
            let position = upstream::place(state, &reading.clock, reading.seen);
            let of_named = asked.min_seq.map_or(Part::Cache, |named| named.part(position));
            let child = match asked.asker {
                Asker::Child(child) => child,
                Asker::Client => match of_named {
                    Part::Cache => return Some(reading),
                    // It answers nothing, however old.
                    _ if reading.fenced() == Some(FencePolicy::Refuse) => return Some(reading),
                    Part::Wait if reading.leased => {
                        tokio::time::timeout_at(deadline, applied).await.ok()?;
                        continue;
                    }
                    // Cut off, it has nothing to wait for.
                    Part::Wait | Part::PassOn => return None,
                },
            };
            match child.part(position, reading.leased).and(of_named) {
                // One of the two leases holds, and covers what this edge has applied.
                Part::Cache if !has_keys_of(state, asked.routed.route.zone(), reading.seen) => return None,
                Part::Cache => return Some(Reading { leased: true, ..reading }),
                Part::PassOn => return None,
                Part::Wait => tokio::time::timeout_at(deadline, applied).await.ok()?,
            }
        }
    }

    /// What a child gets beside what clients get: the tags.
    fn for_asker(
        &self,
        asked: &Asked,
        object: &Object,
        mut response: Response<ToldBody>,
    ) -> Response<ToldBody> {
        if let Asker::Child(_) = asked.asker {
            if response.status() == StatusCode::NOT_MODIFIED {
                // A client wants few fields of a 304. A child keeps them all up to date, as if it had asked the origin.
                httpcache::complete_not_modified(response.headers_mut(), &object.head.unpack());
            }
            let tags = object.tags.as_header_value();
            // The child is to know that some could not count: what is no tag counts there as one that can't, too.
            let ignored = if object.tags_ignored > 0 { ",ignored by the parent" } else { "" };
            if let Ok(tags) = HeaderValue::from_str(&format!("{tags}{ignored}")) {
                response.headers_mut().insert(CACHE_TAG, tags);
            }
        }
        response
    }

    fn judge(&self, asked: &Asked, found: &Found, reading: &Reading, now: SystemTime) -> Judged {
        let state = &self.state;
        let forward = |reason, purged_by, base| {
            Judged::Forward(Forwarded { reason, purged_by, fenced: reading.fenced() }, base)
        };
        if !reading.may_ask_whether() {
            // Fenced: nothing from the cache, and no condition either, since what was missed may be a delete.
            return forward(ForwardReason::Bypass, None, None);
        }
        let Some(object) = &found.object else {
            if let Some(purged_by) = found.purged {
                return forward(ForwardReason::Miss, purged_by, None);
            }
            let reason = if found.varies { ForwardReason::VaryMiss } else { ForwardReason::UriMiss };
            return forward(reason, None, None);
        };
        let base = || Some(Base { key: found.key, object: Arc::clone(object) });
        let told = asked.asker.hit(object.birth.born);
        match object.standing(&state.ledger) {
            // No purge has matched it here, but the child's copy, which may have had more tags.
            Standing::Clear | Standing::Invalidated(_)
                if told.is_some_and(|hit| hit.method == purge::Method::Delete) =>
            {
                forward(ForwardReason::Miss, told.map(|hit| hit.seq), None)
            }
            Standing::Clear if told.is_some() => {
                forward(ForwardReason::Stale, told.map(|hit| hit.seq), base())
            }
            Standing::Clear if !reading.may_serve() => forward(ForwardReason::Stale, None, base()),
            Standing::Clear => match self.use_clear(asked, found.key, object, reading, now) {
                Ok(passed) => Judged::Fresh(passed),
                Err(reason) => forward(reason, None, base()),
            },
            Standing::Invalidated(seq) => forward(ForwardReason::Stale, Some(seq), base()),
            Standing::Deleted(seq) => {
                state.shelf.remove_object(found.key, object);
                forward(ForwardReason::Miss, Some(seq), None)
            }
            Standing::BeyondHorizon => {
                state.shelf.remove_object(found.key, object);
                forward(ForwardReason::Miss, None, None)
            }
        }
    }

    /// What a follower does instead, if it may not share what arrived.
    fn share(
        &self,
        asked: &Asked,
        arrival: &Arrival,
        reading: &Reading,
        before_sent: &mut bool,
    ) -> Option<Passed> {
        let key = match arrival.sharing {
            Sharing::Nobody => return Some(Passed::FetchAlone),
            Sharing::ThoseBefore if !*before_sent => return Some(Passed::WaitForNext),
            Sharing::ThoseBefore => None,
            Sharing::Everyone(key) => Some(key),
        };
        if asked.asker.hit(arrival.object.birth.born).is_some() {
            return Some(Passed::LookAgain);
        }
        // Whoever came before the fetch was sent reads nothing older than itself. The others need more.
        if !*before_sent && !may_share(&arrival.object, reading, &self.state.ledger) {
            return Some(Passed::LookAgain);
        }
        if !*before_sent && arrival.object.is_outdated() {
            return Some(Passed::WaitForNext);
        }
        if arrival.object.content.slices().is_some() && !arrival.is_stored {
            // Its slices are only for whoever sent the fetch.
            return Some(Passed::LookAgain);
        }
        let selects = self.select(asked);
        if key.is_some_and(|key| key != selects.key) || (key.is_none() && selects.varies) {
            return Some(Passed::LookAgain);
        }
        None
    }

    async fn serve(
        &self,
        asked: &Asked,
        arrival: &Arrival,
        own: Option<oneshot::Receiver<OwnContent>>,
        told: Told,
    ) -> Passed {
        let is_own = own.is_some();
        let own = match own {
            // What was stored already has no writer, and any reader will do.
            Some(receiver) => receiver.await.ok(),
            None => None,
        };
        let (reader, run) = match own {
            Some(OwnContent::Reader(reader)) => (Some(reader), None),
            Some(OwnContent::Run(run)) => (None, Some(run)),
            None => (None, None),
        };
        let now = (self.state.clocks.wall)();
        let mut passed = if arrival.object.content.slices().is_some() {
            let key = self.find(asked).await.key;
            let head = Arc::clone(&arrival.object);
            let in_slices = InSlices { key, head, run, told, told_partly: None, now };
            Box::pin(self.serve_slices(asked, in_slices)).await
        } else {
            match answer_object(
                &self.state,
                &asked.request,
                &asked.policy,
                &arrival.object,
                reader,
                told,
                now,
            ) {
                Some(response) => Passed::Answered(self.for_asker(asked, &arrival.object, response)),
                None => Passed::LookAgain,
            }
        };
        if is_own && let Passed::Answered(response) = &mut passed {
            response.headers_mut().extend(arrival.unshared.clone());
        }
        passed
    }

    /// Answers from a head and its slices.
    async fn serve_slices(&self, asked: &Asked, found: InSlices) -> Passed {
        let InSlices { key, head, run, told, told_partly, now } = found;
        let state = &self.state;
        let Some(Composed { status, headers, content, .. }) =
            compose(&asked.request, &asked.policy, &head, now)
        else {
            return Passed::LookAgain;
        };
        let walk = content.and_then(|(first, end)| Walk::new(self.job(asked, key), &head, first, end, run));
        let told = match told_partly {
            Some(told_partly) if !walk.as_ref().is_none_or(Walk::is_all_stored) => {
                if httpcache::is_only_if_cached(asked.request.headers()) {
                    return Passed::Answered(answer_only_if_cached(state, false));
                }
                told_partly
            }
            Some(_) => {
                Counters::count(&state.counters.hits);
                told
            }
            None => told,
        };
        let body = match walk {
            None => Ok(AnswerBody::Empty),
            Some(walk) => SlicedBody::begin(walk).await.map(|body| AnswerBody::Slices(Box::new(body))),
        };
        match body {
            Ok(body) => {
                let response = answer(state, status, headers, body, told);
                Passed::Answered(self.for_asker(asked, &head, response))
            }
            // The head is gone with that.
            Err(FetchFailure::PartChanged | FetchFailure::PartWrong) => Passed::LookAgain,
            Err(failure) => Passed::Answered(answer_failure(state, false, failure)),
        }
    }

    /// The slices to ask for first, if a part is asked for of what nothing is known of: not if the whole is on its way.
    fn first_part(&self, asked: &Asked, key: ObjectKey) -> Option<FirstPart> {
        if asked.request.method() != Method::GET || self.state.flights.is_under_way(key) {
            return None;
        }
        let range = httpcache::parse_range(asked.request.headers())?;
        Some(FirstPart::of(range, self.state.config.slice_length()))
    }

    fn job(&self, asked: &Asked, key: ObjectKey) -> Job {
        Job {
            state: Arc::clone(&self.state),
            client: self.client.clone(),
            route: asked.routed.route.clone(),
            policy: Arc::clone(&asked.policy),
            asked_url: asked.asked_url.clone(),
            url: asked.url.clone(),
            url_key: asked.url_key,
            key,
            headers: self.headers_of(asked).clone(),
            version: asked.request.version(),
            client_scheme: asked.scheme,
            interim: None,
            group_event: self.state.groups.last(),
            part: None,
            hit: None,
        }
    }

    /// Passes a request on since this edge is behind the position that it names: at most so many at once, so that nobody gets
    /// past the cache for nothing by naming one that does not exist.
    async fn pass_on_behind(&self, asked: Asked) -> Response<ToldBody> {
        let state = &self.state;
        let is_head = asked.request.method() == Method::HEAD;
        if httpcache::is_only_if_cached(asked.request.headers()) {
            return answer_only_if_cached(state, is_head);
        }
        let Ok(_permit) = state.min_seq_fetches.try_acquire() else {
            let text = "too many requests wait for purges that this edge has not heard of; the position may not exist";
            return answer_refusal(state, is_head, StatusCode::SERVICE_UNAVAILABLE, "min-seq", text);
        };
        self.pass_on_for(asked, ForwardReason::Bypass, Some("min-seq")).await
    }

    /// Passes a request on that the cache has no part in, body and all.
    async fn pass_on(&self, asked: Asked, reason: ForwardReason) -> Response<ToldBody> {
        self.pass_on_for(asked, reason, None).await
    }

    /// The same for more of a reason than `Cache-Status` has a word for.
    async fn pass_on_for(
        &self,
        asked: Asked,
        reason: ForwardReason,
        detail: Option<&'static str>,
    ) -> Response<ToldBody> {
        let state = &self.state;
        let method = asked.request.method().clone();
        let body_max = state.config.request_body_bytes_max;
        if asked.request.body().size_hint().lower() > body_max {
            return body_too_large(state, body_max);
        }
        // A read of what the cache has no part in counts as any other read of a fenced edge.
        let is_fenced = reason == ForwardReason::Bypass && !state.lease.holds((state.clocks.boot)());
        let ceiling = if is_fenced { &state.fenced_fetches } else { &state.fetches };
        let Ok(_permit) = ceiling.try_acquire() else {
            return answer_failure(state, method == Method::HEAD, FetchFailure::TooManyFetches);
        };
        let mut headers = self.passed_on_headers(&asked);
        if let Some(value) = asked.min_seq.and_then(MinSeq::to_value) {
            // For a parent: an origin does not get it.
            headers.insert(MIN_SEQ, value);
        }
        let client = asked.interim_client();
        let (passes, interim) = mpsc::channel(INTERIM_RESPONSES_MAX);
        let child = match asked.asker {
            Asker::Client => upstream::child_now(state),
            Asker::Child(child) => {
                let now = upstream::child_now(state);
                child.passed_on(now.floor, now.leased)
            }
        };
        let Asked { request: asked_request, routed, policy, asked_url, url_key, asker, scheme, .. } = asked;
        let uploading = Arc::new(Uploading::default());
        let mut request = OriginRequest {
            method: method.clone(),
            path_and_query: asked_url.path_and_query().to_owned(),
            headers,
            content: RequestContent::Nothing,
            client_scheme: scheme,
            upgrade: false,
            interim: Some(passes),
        };
        let route = &routed.route;
        let asked_at = (state.clocks.boot)();
        let sent = if asked_request.body().is_end_stream() {
            let asking = upstream::ask(&self.client, state, route, child, request);
            pass_interim(&client, Some(interim), asking).await
        } else {
            request.content = RequestContent::Body(uploading.watch(asked_request.into_body(), body_max));
            let config = &state.config;
            let wait_max = config.connect_timeout + config.tls_timeout + config.head_timeout;
            tokio::select! {
                sent = pass_interim(&client, Some(interim), upstream::ask(&self.client, state, route, child, request)) => sent,
                failure = uploading.stalled(wait_max) => Err(failure),
            }
        };
        if uploading.exceeded.load(Ordering::Relaxed) {
            return body_too_large(state, body_max);
        }
        match sent {
            Ok(response) => {
                if httpcache::invalidates(&method, response.status()) {
                    self.invalidate(&routed.route, &asked_url, url_key, response.headers());
                }
                if reason == ForwardReason::Bypass && whole_length(&response) > state.config.object_bytes_max
                {
                    state.shelf.insert_unshared(url_key, (state.clocks.wall)() + UNSHARED_FOR);
                }
                let mut response = pass_back(state, reason, detail, asker, response);
                if matches!(method, Method::GET | Method::HEAD) && !response.status().is_server_error() {
                    httpcache::set_client_lifetime(response.headers_mut(), &policy);
                }
                let waited = (state.clocks.boot)().saturating_sub(asked_at);
                response.body_mut().outcome.origin_wait = Some(waited);
                response
            }
            Err(failure) => answer_failure(state, method == Method::HEAD, failure),
        }
    }

    /// The fields with which a request goes on to the origin that the cache has no part in.
    fn passed_on_headers(&self, asked: &Asked) -> HeaderMap {
        let mut headers = httpcache::end_to_end(asked.request.headers());
        headers.remove(header::HOST);
        headers.remove(header::EXPECT);
        // A child knows what it may have confirmed.
        let is_read = matches!(*asked.request.method(), Method::GET | Method::HEAD);
        if is_read && asked.asker == Asker::Client {
            // After a purge the client's own copy is not to be confirmed either: it asks for bytes.
            headers.remove(header::IF_NONE_MATCH);
            headers.remove(header::IF_MODIFIED_SINCE);
        }
        self.tell_of_client(asked, &mut headers);
        httpcache::append_via(&mut headers, asked.request.version(), &self.state.via);
        httpcache::append_cdn_loop(&mut headers, &self.state.via);
        headers
    }

    /// An unsafe method went through: what is stored for its target is not to be used (RFC 9111 §4.4).
    fn invalidate(&self, route: &Route, url: &UrlKey, url_key: ObjectKey, response: &HeaderMap) {
        let targets = httpcache::invalidation_targets(url.host().as_str(), url.path_and_query(), response);
        let config = &route.zone().caching.config;
        let keys = targets
            .iter()
            .filter_map(|target| UrlKey::of_request(url.host().clone(), target).ok())
            .flat_map(|target| Scheme::EVERY.map(|scheme| (scheme, target.clone())))
            .map(|(scheme, target)| target.keyed(scheme, &config.effective(&target.facts(scheme)).keying))
            .map(|target| self.state.shelf.url_key(route.zone(), &target));
        self.state.groups.outdate(url, &httpcache::groups(response, &CACHE_GROUP_INVALIDATION));
        for key in keys.chain([url_key]) {
            self.state.flights.detach(key);
            self.state.shelf.remove(key);
        }
    }
}

/// Waits for a response, and hands on what comes before it to the connection of the client that asked.
async fn pass_interim<T>(
    client: &InterimClient,
    interim: Option<mpsc::Receiver<InterimResponse>>,
    response: impl Future<Output = T>,
) -> T {
    let (Some(mut interim), (version, Some(queue))) = (interim, client) else { return response.await };
    tokio::pin!(response);
    loop {
        tokio::select! {
            biased;
            Some(next) = interim.recv() => queue.push(*version, &next),
            response = &mut response => {
                // What came together with it still goes ahead of it.
                while let Ok(next) = interim.try_recv() {
                    queue.push(*version, &next);
                }
                return response;
            }
        }
    }
}

/// A request's body on its way to the origin.
#[derive(Default)]
struct Uploading {
    exceeded: AtomicBool,
    progress: Notify,
}

impl Uploading {
    /// The body, cut off past `body_max` bytes.
    fn watch(self: &Arc<Self>, body: Incoming, body_max: u64) -> RequestBody {
        let (went_on, went_over) = (Arc::clone(self), Arc::clone(self));
        Limited::new(body, usize::try_from(body_max).unwrap_or(usize::MAX))
            .map_frame(move |frame| {
                went_on.progress.notify_one();
                frame
            })
            .map_err(move |error| match error.downcast::<hyper::Error>() {
                Ok(error) => RequestBodyError::Broken(*error),
                Err(_) => {
                    went_over.exceeded.store(true, Ordering::Relaxed);
                    RequestBodyError::TooLarge
                }
            })
            .boxed_unsync()
    }

    /// Completes once nothing has moved for `wait_max`: the clock starts anew with each part of the body, so that a
    /// long upload is no timeout.
    async fn stalled(&self, wait_max: Duration) -> FetchFailure {
        while tokio::time::timeout(wait_max, self.progress.notified()).await.is_ok() {}
        FetchFailure::TimedOut
    }
}

/// Sends a fetch in a task of its own, so that it goes on when this client leaves. `leased` is `None` for the next fetch,
/// which reads for itself.
fn send(mut job: Job, mut landing: Landing, base: Option<Base>, leased: Option<bool>) -> (Arc<Flight>, Own) {
    let (passes, interim) = mpsc::channel(INTERIM_RESPONSES_MAX);
    job.interim = Some(passes);
    let own = Own { reader: landing.own_reader(), interim };
    let flight = landing.flight();
    match leased {
        Some(leased) => tokio::spawn(job.send(landing, base, leased)),
        None => tokio::spawn(job.send_next(landing)),
    };
    (flight, own)
}

/// What is found of a response whose content lies in slices.
struct InSlices {
    key: ObjectKey,
    head: Arc<Object>,
    /// Those that this request's own fetch brings.
    run: Option<Run>,
    told: Told,
    /// What to tell instead if some of them are missing: of a head that was stored.
    told_partly: Option<Told>,
    now: SystemTime,
}

enum Judged {
    Fresh(Passed),
    Forward(Forwarded, Option<Base>),
}

struct Refusal {
    status: StatusCode,
    name: &'static str,
    text: String,
}

impl Refusal {
    fn new(status: StatusCode, name: &'static str, text: impl Into<String>) -> Self {
        Self { status, name, text: text.into() }
    }
}

/// The host asked for: of an absolute request target, or else of the one `Host` field (RFC 9112 §3.2).
/// The purge that a request was forwarded for: what it deleted is not asked about.
fn purged(forwarded: Forwarded, asks: bool) -> Option<Hit> {
    let method = if asks { purge::Method::Invalidate } else { purge::Method::Delete };
    forwarded.purged_by.map(|seq| Hit { method, seq })
}

fn host_text(request: &Request<Incoming>) -> Result<&str, Refusal> {
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(bad_host("the request has more than one Host field".into()));
    }
    match (request.uri().authority(), field) {
        (Some(authority), _) => Ok(authority.as_str()),
        (None, Some(field)) => field.to_str().map_err(|_| bad_host("the Host field is no host name".into())),
        (None, None) if request.version() == Version::HTTP_10 => {
            Err(bad_host("this edge serves many hosts: an HTTP/1.0 request needs a Host field, too".into()))
        }
        (None, None) => Err(bad_host("the request has no Host field".into())),
    }
}

fn bad_host(text: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-host", text)
}

/// The length of the whole content that this is, or is the head or a part of; 0 if the response does not tell.
fn whole_length(response: &Response<ResponseBody>) -> u64 {
    let text = |name| response.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let length = match response.status() {
        StatusCode::PARTIAL_CONTENT => text(header::CONTENT_RANGE).and_then(|range| range.rsplit('/').next()),
        _ => text(header::CONTENT_LENGTH),
    };
    length.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0)
}

fn pass_back(
    state: &State,
    reason: ForwardReason,
    detail: Option<&'static str>,
    asker: Asker,
    response: Response<ResponseBody>,
) -> Response<ToldBody> {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    httpcache::strip_hop_by_hop(&mut headers);
    if asker == Asker::Client {
        strip_tags(&state.config.tag_headers, &mut headers);
    }
    let mut status = CacheStatus::forwarded(&state.config.name, reason).forward_status(parts.status);
    if let Some(detail) = detail {
        status = status.detail(detail);
    }
    let outcome = Outcome::new(OutcomeKind::Passed, detail.unwrap_or(reason.token()));
    let told = Told { status, eo: "MISS", outcome };
    let body = AnswerBody::PassedOn(Box::new(body));
    answer(state, parts.status, headers, body, told)
}

fn answer_only_if_cached(state: &State, is_head: bool) -> Response<ToldBody> {
    let text = "nothing that may be served is stored, and the request allows nothing else";
    answer_refusal(state, is_head, StatusCode::GATEWAY_TIMEOUT, "only-if-cached", text)
}

fn body_too_large(state: &State, body_max: u64) -> Response<ToldBody> {
    let text = format!("the request's body may have at most {body_max} bytes");
    answer_refusal(state, false, StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", &text)
}
