//! One fetch from its sending to its end: ask the origin, admit what it answers, hand it to those who wait, store it.

use crate::body::{Content, Writer};
use crate::flight::{Arrival, ArrivalSource, FetchFailure, Landing, Sharing};
use crate::groups::{GroupEvent, Grouping};
use crate::intake::{TagsRead, read_tags, strip_tags, take_unshared, take_unshared_of_304};
use crate::interim::InterimResponse;
use crate::object::{Birth, NewObject, Object, Standing};
use crate::origin::{OriginClient, OriginRequest, RequestContent, ResponseBody};
use crate::shelf::{ObjectKey, Renewal, Selector};
use crate::slice_admission::{AdmittedSlices, Covered, FirstPart, InSlices};
use crate::state::{Counters, State};
use crate::tier::{Child, Hit};
use crate::upstream;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use httpcache::{CACHE_GROUPS, Freshness, NoStoreReason, Policy, StrongValidator, Validators};
use purge::{Method, UrlKey};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::{SemaphorePermit, mpsc};
use zone::{Route, Scheme};

/// For how long requests don't wait for each other after a response that could not be shared.
pub(crate) const UNSHARED_FOR: Duration = Duration::from_secs(10);

/// What a fetch needs to know of the request that sends it.
pub(crate) struct Job {
    pub(crate) state: Arc<State>,
    pub(crate) client: OriginClient,
    pub(crate) route: Route,
    /// What the operator decided for this URL, as it was when the request was routed.
    pub(crate) policy: Arc<Policy>,
    /// The URL as it is asked for.
    pub(crate) asked_url: UrlKey,
    /// What of it is in the cache key.
    pub(crate) url: UrlKey,
    pub(crate) url_key: ObjectKey,
    /// The key of the variant that the request selected, as far as was known.
    pub(crate) key: ObjectKey,
    /// The client's fields without those of its hop and without its conditions.
    pub(crate) headers: HeaderMap,
    pub(crate) version: Version,
    pub(crate) client_scheme: Scheme,
    /// Where interim responses go.
    pub(crate) interim: Option<mpsc::Sender<InterimResponse>>,
    /// The last event of groups before the fetch was sent.
    pub(crate) group_event: GroupEvent,
    /// The part to ask for, if not the whole: of a response that nothing is known of.
    pub(crate) part: Option<FirstPart>,
    /// What has purged the copy that was there, of this edge or of the child that asks.
    pub(crate) hit: Option<Hit>,
}

/// What is stored, to be asked about with a conditional request.
pub(crate) struct Base {
    pub(crate) key: ObjectKey,
    pub(crate) object: Arc<Object>,
}

impl Job {
    /// Sends the fetch whose birth is the request's own reading.
    pub(crate) async fn send(self, landing: Landing, base: Option<Base>, leased: bool) {
        let job = Arc::new(self);
        if let Err(failure) = job.fly(landing, base, leased).await {
            tracing::debug!(url = ?job.url, reason = failure.name(), "fetch failed");
        }
    }

    /// Waits until the next fetch may be sent, then reads and looks as a request that starts now, and sends it.
    pub(crate) async fn send_next(mut self, mut landing: Landing) {
        let state = Arc::clone(&self.state);
        landing.depart(|| state.lease.holds((state.clocks.boot)())).await;
        let reading = state.read(self.route.zone());
        landing.set_birth(&reading);
        let mut base = None;
        if reading.may_ask_whether() {
            let found =
                state.shelf.find(self.url_key, &self.url, &self.policy.key_parts, || &self.headers).await;
            if let Some(object) = found.object {
                let (standing, hit) = (object.standing(&state.ledger), self.hit);
                let told = hit.filter(|hit| hit.covers(object.birth.born));
                self.note_hit(standing);
                match standing {
                    Standing::Clear | Standing::Invalidated(_)
                        if told.is_some_and(|hit| hit.method == Method::Delete) => {}
                    Standing::Clear
                        if told.is_none()
                            && reading.may_serve()
                            && object.freshness.is_fresh((state.clocks.wall)())
                            && !object.is_outdated() =>
                    {
                        let sharing = Sharing::Everyone(found.key);
                        let source = ArrivalSource::Stored;
                        let unshared = HeaderMap::new();
                        landing.arrive(Arc::new(Arrival {
                            object,
                            source,
                            sharing,
                            is_stored: true,
                            unshared,
                        }));
                        return;
                    }
                    Standing::Clear | Standing::Invalidated(_) => {
                        base = Some(Base { key: found.key, object })
                    }
                    Standing::Deleted(_) | Standing::BeyondHorizon => {
                        state.shelf.remove_object(found.key, &object);
                    }
                }
            }
        }
        self.send(landing, base, reading.leased).await;
    }

    fn note_hit(&mut self, standing: Standing) {
        let hit = match standing {
            Standing::Invalidated(seq) => Hit { method: Method::Invalidate, seq },
            Standing::Deleted(seq) => Hit { method: Method::Delete, seq },
            Standing::Clear | Standing::BeyondHorizon => return,
        };
        self.hit = Some(hit.with(self.hit));
    }

    async fn fly(
        self: &Arc<Self>,
        mut landing: Landing,
        base: Option<Base>,
        leased: bool,
    ) -> Result<(), FetchFailure> {
        let ceiling = if leased { &self.state.fetches } else { &self.state.fenced_fetches };
        let Ok(permit) = ceiling.try_acquire() else {
            landing.fail(FetchFailure::TooManyFetches);
            return Err(FetchFailure::TooManyFetches);
        };
        let held = base.as_ref().map(|base| Arc::clone(&base.object));
        let flown = self.ask(&mut landing, base, leased).await;
        match flown {
            Ok(Some(Taking::Slices(slices))) => {
                // The ceiling of a fenced edge shields the origin, and holds for all that is under way.
                let _held = (!leased).then_some(permit);
                slices.take().await;
            }
            Ok(Some(Taking::Content(writer, body, admitted))) => {
                let departure = Departure { landing: &landing, permit: Some(permit), leased, in_slot: true };
                self.take_content(departure, writer, body, admitted).await;
            }
            Ok(None) => {}
            Err(failure) => {
                // Before those who wait are told, so that who looks next knows.
                if let Some(held) = held {
                    held.note_failure((self.state.clocks.wall)());
                }
                landing.fail(failure);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Asks the origin and hands the head on. What is left to do afterwards is the content, unless it was a 304.
    async fn ask(
        self: &Arc<Self>,
        landing: &mut Landing,
        base: Option<Base>,
        leased: bool,
    ) -> Result<Option<Taking>, FetchFailure> {
        let birth = landing.birth().ok_or(FetchFailure::Abandoned)?;
        let child = upstream::child_of(&self.state, birth, leased, self.hit);
        let request_time = (self.state.clocks.wall)();
        let held = base.as_ref().map(|base| Arc::clone(&base.object));
        // What is stored without a validator can't be asked about: no 304 is an answer about it.
        let base = base.and_then(|base| {
            let stored = base.object.head.unpack();
            let conditions = httpcache::conditional_headers(&Validators::of_response(&stored));
            (!conditions.is_empty()).then_some((base, stored, conditions))
        });
        let Some((base, stored, conditions)) = base else {
            let conditions = self.part.map_or_else(HeaderMap::new, FirstPart::conditions);
            let response = self.request(conditions, child).await?;
            return Ok(Some(self.admit_response(landing, response, request_time, held).await?));
        };
        let response = self.request(conditions, child).await?;
        if response.status() != StatusCode::NOT_MODIFIED {
            return Ok(Some(self.admit_response(landing, response, request_time, held).await?));
        }
        if httpcache::names_validator(&stored, response.headers()) {
            self.admit_validation(landing, &base, &stored, response.headers(), request_time).await;
            return Ok(None);
        }
        // A 304 about something else than what is stored says nothing about it (RFC 9111 §4.3.4).
        let request_time = (self.state.clocks.wall)();
        let response = self.request(HeaderMap::new(), child).await?;
        Ok(Some(self.admit_response(landing, response, request_time, held).await?))
    }

    /// Asks a parent or the origin.
    pub(crate) async fn request(
        &self,
        conditions: HeaderMap,
        child: Child,
    ) -> Result<Response<ResponseBody>, FetchFailure> {
        let mut headers = self.headers.clone();
        httpcache::append_via(&mut headers, self.version, &self.state.via);
        httpcache::append_cdn_loop(&mut headers, &self.state.via);
        headers.extend(conditions);
        let request = OriginRequest {
            method: http::Method::GET,
            path_and_query: self.asked_url.path_and_query().to_owned(),
            headers,
            content: RequestContent::Nothing,
            client_scheme: self.client_scheme,
            upgrade: false,
            interim: self.interim.clone(),
        };
        upstream::ask(&self.client, &self.state, &self.route, child, request).await
    }

    /// Admission of a whole response: walks the marks again with the fetch's born.
    async fn admit_response(
        self: &Arc<Self>,
        landing: &mut Landing,
        response: Response<ResponseBody>,
        request_time: SystemTime,
        held: Option<Arc<Object>>,
    ) -> Result<Taking, FetchFailure> {
        let birth = landing.birth().cloned().ok_or(FetchFailure::Abandoned)?;
        let now = (self.state.clocks.wall)();
        let (mut parts, body) = response.into_parts();
        let declared_length = http_body::Body::size_hint(&body).exact();
        let brought_by = parts.status;
        // A part is from here on the whole that it is a part of (RFC 9111 §3.3, §3.4).
        let covered = self.covered(&mut parts, declared_length)?;
        let declared_length = covered.map_or(declared_length, |covered| Some(covered.complete));
        let mut headers = parts.headers;
        httpcache::strip_hop_by_hop(&mut headers);
        let TagsRead { tags, ignored: tags_ignored } = read_tags(&self.state.config.tag_headers, &headers);
        strip_tags(&self.state.config.tag_headers, &mut headers);
        let may_store =
            httpcache::may_store(&http::Method::GET, &self.headers, parts.status, &headers, &self.policy);
        // An error does not take the place of what may answer instead of it.
        let may_store = match held.is_some_and(|held| self.answers_instead(&held, parts.status, now)) {
            true => Err(NoStoreReason::Status),
            false => may_store,
        };
        headers.remove(header::CONTENT_LENGTH);
        let place = may_store.ok().and_then(|()| {
            let rule = self.policy.vary_rule(&headers);
            let selector = Selector { parts: self.policy.key_parts.clone(), rule };
            self.state.shelf.place(self.url_key, selector, &self.headers, self.state.next_request_id())
        });
        let is_too_large = declared_length.is_some_and(|length| length > self.state.config.object_bytes_max);
        let is_part = covered.is_some_and(|covered| !covered.is_all());
        let is_cut = is_part || is_too_large && parts.status == StatusCode::OK;
        let validator = StrongValidator::of_response(&headers).filter(|_| is_cut && place.is_some());
        if is_part && validator.is_none() {
            // Nothing of it can be stored, and the client is to have what it asked for, not what was asked for here.
            if may_store != Err(NoStoreReason::RequestNoStore) {
                self.state.shelf.insert_unshared(self.key, now + UNSHARED_FOR);
            }
            return Err(FetchFailure::PartWrong);
        }
        let is_unshared = match may_store {
            Ok(()) => is_too_large && validator.is_none(),
            // The next answer may be another one.
            Err(_) if parts.status.is_server_error() => false,
            Err(reason) => !matches!(reason, NoStoreReason::Status | NoStoreReason::RequestNoStore),
        };
        if is_unshared {
            self.state.shelf.insert_unshared(self.key, now + UNSHARED_FOR);
        }
        let freshness = Freshness::of_response(parts.status, &headers, request_time, now, &self.policy);
        let freshness = self.bounded_by_tags(freshness, tags_ignored);
        let unshared = take_unshared(&self.policy, &mut headers);
        let (writer, content) = Writer::new(self.room(place.is_some() && !is_too_large));
        let mut object = NewObject {
            url: self.url.clone(),
            birth,
            tags,
            tags_ignored,
            grouping: self.grouping(&headers),
            status: parts.status,
            freshness,
            headers,
            declared_length,
            content,
        };
        if let (Some(key), Some(validator), Some(complete)) = (place, validator, declared_length) {
            let slices = self.slices(validator, complete, brought_by);
            object.content = Content::in_slices(Arc::clone(&slices));
            let covered = covered.unwrap_or(Covered { first: 0, end: complete, complete });
            let in_slices = InSlices { key, covered, slices, unshared, head: object };
            return Ok(Taking::Slices(Box::new(self.admit_slices(landing, in_slices, body).await)));
        }
        let object = Object::new(object);
        let admitted = Admitted { object: Arc::clone(&object), key: place.filter(|_| writer.keeps_all()) };
        // Content that is only passed on is not shared: a slow reader would hold up all others.
        let sharing = match admitted.key {
            None => Sharing::Nobody,
            Some(key) if object.freshness.is_fresh(now) => Sharing::Everyone(key),
            Some(_) => Sharing::ThoseBefore,
        };
        let is_stored = admitted.key.is_some() && is_kept(object.standing(&self.state.ledger));
        let source = ArrivalSource::Origin;
        landing.arrive(Arc::new(Arrival { object, source, sharing, is_stored, unshared }));
        Ok(Taking::Content(writer, body, admitted))
    }

    /// Which bytes a 206 brings, if a part was asked for; it then counts as a 200.
    fn covered(
        &self,
        parts: &mut http::response::Parts,
        declared_length: Option<u64>,
    ) -> Result<Option<Covered>, FetchFailure> {
        let Some(part) = self.part else { return Ok(None) };
        match parts.status {
            StatusCode::PARTIAL_CONTENT => {
                let covered = part.brought(&parts.headers, declared_length)?;
                parts.headers.remove(header::CONTENT_RANGE);
                parts.status = StatusCode::OK;
                Ok(Some(covered))
            }
            // The client asked for another range, and perhaps on a condition: it gets its own answer.
            StatusCode::RANGE_NOT_SATISFIABLE => Err(FetchFailure::PartWrong),
            _ => Ok(None),
        }
    }

    /// Whether what is stored may answer instead of a response of this status. Takes note of the failure.
    fn answers_instead(&self, held: &Object, status: StatusCode, now: SystemTime) -> bool {
        if !httpcache::is_stale_if_error(status) {
            return false;
        }
        held.note_failure(now);
        !held.is_outdated()
            && held.standing(&self.state.ledger) == Standing::Clear
            && held.freshness.may_serve_stale_on_error(now)
    }

    fn grouping(&self, headers: &HeaderMap) -> Option<Box<Grouping>> {
        let groups = httpcache::groups(headers, &CACHE_GROUPS);
        self.state.groups.grouping(&self.url, &groups, self.group_event)
    }

    /// What purges may not find by its tags is not fresh for long.
    fn bounded_by_tags(&self, freshness: Freshness, tags_ignored: usize) -> Freshness {
        if tags_ignored == 0 {
            return freshness;
        }
        Counters::count(&self.state.counters.tags_ignored);
        freshness.at_most(self.state.config.ignored_tags_lifetime)
    }

    /// How much of the content may be kept: nothing if it is not to be stored, or if as much is being stored already as
    /// the whole cache holds.
    fn room(&self, stored: bool) -> u64 {
        let config = &self.state.config;
        let full = self.state.storing_bytes.load(Ordering::Relaxed) >= config.memory_bytes;
        if stored && !full { config.object_bytes_max } else { 0 }
    }

    /// Admission of a 304: the same bytes with the fetch's born, unless that is lower; tags are added, never taken.
    async fn admit_validation(
        &self,
        landing: &mut Landing,
        base: &Base,
        stored: &HeaderMap,
        validation: &HeaderMap,
        request_time: SystemTime,
    ) {
        let Some(fetch_birth) = landing.birth().cloned() else { return };
        let now = (self.state.clocks.wall)();
        let TagsRead { tags: added, ignored } = read_tags(&self.state.config.tag_headers, validation);
        let tags_ignored = base.object.tags_ignored.saturating_add(ignored);
        let mut headers = httpcache::freshen(stored, validation);
        strip_tags(&self.state.config.tag_headers, &mut headers);
        let status = base.object.status;
        let policy = &self.policy;
        let may_store =
            httpcache::may_store(&http::Method::GET, &self.headers, status, &headers, policy).is_ok();
        let freshness = Freshness::of_response(status, &headers, request_time, now, policy);
        let freshness = self.bounded_by_tags(freshness, tags_ignored);
        let unshared = take_unshared_of_304(policy, &mut headers, validation);
        let tags = base.object.tags.union(&added);
        let storable = may_store && tags.is_ok();
        let object = Object::new(NewObject {
            url: self.url.clone(),
            birth: later(&base.object.birth, fetch_birth),
            tags: tags.unwrap_or_else(|_| base.object.tags.clone()),
            tags_ignored,
            grouping: self.grouping(&headers),
            status,
            freshness,
            headers,
            declared_length: base.object.declared_length,
            content: Arc::clone(&base.object.content),
        });
        let keep = storable && is_kept(object.standing(&self.state.ledger));
        let renewal = landing.store(base.key, |allowed| {
            let renewed = (allowed && keep).then(|| Arc::clone(&object));
            self.state.shelf.renew(base.key, &base.object, renewed)
        });
        if renewal == Renewal::DroppedFromDisk {
            self.state.shelf.settle(base.key).await;
        }
        let is_stored = keep && renewal == Renewal::Renewed;
        let sharing = match storable {
            false => Sharing::Nobody,
            true if object.freshness.is_fresh(now) => Sharing::Everyone(base.key),
            true => Sharing::ThoseBefore,
        };
        let source = ArrivalSource::Validated;
        landing.arrive(Arc::new(Arrival { object, source, sharing, is_stored, unshared }));
    }

    /// Streams the content to those who read it, and stores it when it is whole.
    async fn take_content(
        &self,
        mut departure: Departure<'_>,
        writer: Writer,
        mut body: ResponseBody,
        admitted: Admitted,
    ) {
        let mut storing = StoringBytes::new(&self.state);
        if !writer.keeps_all() {
            departure.only_pass_on();
        }
        loop {
            match body.frame().await {
                None => break,
                Some(Ok(frame)) => {
                    let data: Bytes = frame.into_data().unwrap_or_default();
                    if admitted.key.is_some() {
                        storing.add(data.len() as u64);
                    }
                    if !writer.keeps(data.len()) {
                        departure.only_pass_on();
                    }
                    if writer.write(data).await.is_err() {
                        return;
                    }
                }
                Some(Err(failure)) => {
                    tracing::debug!(url = ?self.url, reason = failure.name(), "response not whole");
                    return;
                }
            }
        }
        let kept = writer.keeps_all();
        writer.finish();
        let Some(key) = admitted.key.filter(|_| kept) else { return };
        departure.landing.store(key, |allowed| {
            if allowed && is_kept(admitted.object.standing(&self.state.ledger)) {
                self.state.shelf.insert(key, admitted.object);
            }
        });
    }
}

/// What is left to do once the head of a response is admitted.
enum Taking {
    Content(Writer, ResponseBody, Admitted),
    Slices(Box<AdmittedSlices>),
}

/// What a fetch holds while its content comes.
struct Departure<'a> {
    landing: &'a Landing,
    permit: Option<SemaphorePermit<'a>>,
    leased: bool,
    in_slot: bool,
}

impl Departure<'_> {
    /// The content comes only as fast as its readers take it: a slow one must not keep others from their fetches.
    fn only_pass_on(&mut self) {
        if self.in_slot {
            self.landing.leave_slot();
            self.in_slot = false;
        }
        // The ceiling of a fenced edge shields the origin, and holds for all that is under way.
        if self.leased {
            self.permit = None;
        }
    }
}

/// A response that is to be stored under `key` once it is whole.
struct Admitted {
    object: Arc<Object>,
    key: Option<ObjectKey>,
}

/// What a mark above born means for storing: invalidated is stored as stale already; deleted or unknowable is not.
pub(crate) fn is_kept(standing: Standing) -> bool {
    match standing {
        Standing::Clear | Standing::Invalidated(_) => true,
        Standing::Deleted(_) | Standing::BeyondHorizon => false,
    }
}

fn later(stored: &Birth, fetched: Birth) -> Birth {
    if Arc::ptr_eq(&stored.clock, &fetched.clock) && stored.born > fetched.born {
        stored.clone()
    } else {
        fetched
    }
}

/// Counts what is being stored, until it is.
pub(crate) struct StoringBytes<'a> {
    state: &'a State,
    bytes: u64,
}

impl<'a> StoringBytes<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Self { state, bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.state.storing_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for StoringBytes<'_> {
    fn drop(&mut self) {
        self.state.storing_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
