//! The API: from the bytes of a request to the bytes of its answer.
//!
//! [`Api::answer`] shows the steps, one line each. Every answer is HTTP 200 with exactly `Content-Type:
//! application/json`, refusals, faults and panics too: official clients lose the API's own code under anything else.

mod caching;
mod directory;
mod domains;
mod edges;
mod events;
mod filter;
mod keys;
mod prefetch_tasks;
mod progress;
mod purge_tasks;
mod quota;
mod refusal;
mod time_text;
mod zones;

use crate::metrics;
use crate::network::Network;
use crate::rate::{CALLS_PER_SEC, RateLimits};
use crate::recorder::Recorder;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use directory::Directories;
use events::{EVENT_STREAMS_MAX, Events, wants_events};
use futures_util::FutureExt;
use http::{HeaderValue, StatusCode, header, request};
use http_body_util::BodyExt;
use purge::Method;
use ring::rand::SecureRandom;
use serde_json::{Map, Value};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use teo::{ApiError, Credentials, ErrorCode, POST_BODY_BYTES_MAX, RawRequest, Request, RequestId, envelope};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, error};

/// How long a client may take to send a request's body.
pub const BODY_READ_SECS_MAX: u64 = 30;
/// Up to here a body needs no place among the large ones.
pub const SMALL_BODY_BYTES_MAX: usize = 256 * 1024;
/// Bodies above [`SMALL_BODY_BYTES_MAX`] held at once; further ones wait.
pub const LARGE_BODIES_MAX: usize = 16;
/// How much of a body that is too long is read and thrown away, so that its sender hears the answer.
const DISCARDED_BYTES_MAX: usize = 4 * POST_BODY_BYTES_MAX;

/// The wall clock: milliseconds since the Unix epoch.
pub type WallClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Whether the process is ready to serve, and what it waits for if not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What operators choose.
#[derive(Clone, Copy, Debug)]
pub struct ApiOptions {
    /// Calls a second of one key and action, and at once. 0: no limit. Default 20.
    pub calls_per_sec: u32,
    /// What a purge by tag does when its call has no `Method`. Default: invalidate.
    pub tag_method: Method,
    /// Whether origins with private or loopback addresses are refused. Default: no.
    pub refuse_private_origins: bool,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self { calls_per_sec: CALLS_PER_SEC, tag_method: Method::Invalidate, refuse_private_origins: false }
    }
}

/// What an [`Api`] is made of.
pub struct ApiParts {
    /// Where everything is kept.
    pub store: Store,
    /// Records jobs.
    pub recorder: Recorder,
    /// The edges.
    pub network: Network,
    /// The time.
    pub now_ms: WallClock,
    /// For `GET /healthz`.
    pub ready: Readiness,
    /// Choices.
    pub options: ApiOptions,
}

impl fmt::Debug for ApiParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiParts").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The API of one control plane.
#[derive(Debug)]
pub struct Api {
    parts: ApiParts,
    rate: RateLimits,
    directories: Directories,
    large_bodies: Semaphore,
    event_streams: Arc<Semaphore>,
}

/// What a call is answered with.
enum Answered {
    /// One answer.
    Fields(Map<String, Value>),
    /// Events for as long as there are some.
    Events(Box<Events>),
}

impl Api {
    /// Builds the API.
    pub fn new(parts: ApiParts) -> Arc<Self> {
        Arc::new(Self {
            rate: RateLimits::new(parts.options.calls_per_sec),
            directories: Directories::default(),
            large_bodies: Semaphore::new(LARGE_BODIES_MAX),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            parts,
        })
    }

    /// The API at every path, and `GET /healthz`.
    pub fn router(self: Arc<Self>) -> Router {
        let ready = Arc::clone(&self.parts.ready);
        let healthz = move || {
            let ready = Arc::clone(&ready);
            async move {
                match ready() {
                    Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                    Err(waits_for) => (StatusCode::SERVICE_UNAVAILABLE, format!("{waits_for}\n")),
                }
            }
        };
        let call = move |request: http::Request<Body>| {
            let api = Arc::clone(&self);
            async move { api.handle(request).await }
        };
        Router::new().route("/healthz", get(healthz).fallback(call.clone())).fallback(call)
    }

    /// One request, whatever it is, to its answer.
    async fn handle(self: &Arc<Self>, request: http::Request<Body>) -> Response {
        let (head, body) = request.into_parts();
        let id = RequestId::from_random(random_bytes());
        let body = self.read_body(body).await;
        let raw = raw_request(&head, body.as_ref().map_or(&[], |body| &body.bytes));
        let trace_id = teo::trace_id(&raw).and_then(|text| HeaderValue::from_str(text).ok());
        let mut action = metrics::UNKNOWN;
        let outcome = match &body {
            Ok(_) => AssertUnwindSafe(self.answer(&raw, wants_events(&head.headers), &mut action))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| {
                    error!(request_id = %id, "a call to the API panicked");
                    Err(ApiError::new(
                        ErrorCode::InternalError,
                        "the server failed; this is a bug of its own",
                    ))
                }),
            Err(refusal) => Err(refusal.clone()),
        };
        let told = outcome.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| metrics::OK);
        self.parts.network.metrics().called(action, told);
        let answer = match outcome {
            Ok(Answered::Fields(fields)) => envelope::success(fields, id),
            Ok(Answered::Events(events)) => return self.answer_events(*events, id),
            Err(refusal) => {
                debug!(request_id = %id, code = %refusal.code, message = refusal.message, "call refused");
                envelope::failure(&refusal, id)
            }
        };
        let mut response = Response::new(Body::from(answer));
        if head.method == http::Method::CONNECT {
            // The one exception: a 200 would open a tunnel and carry no body (RFC 9110 §9.3.6).
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(envelope::CONTENT_TYPE));
        if let Some(trace_id) = trace_id {
            headers.insert("x-tc-traceid", trace_id);
        }
        response
    }

    /// The steps of a call, in the order that lets a bad key learn nothing.
    /// Notes which operation it is as soon as that is known.
    async fn answer(
        &self,
        raw: &RawRequest<'_>,
        wants_events: bool,
        action: &mut &'static str,
    ) -> Result<Answered, ApiError> {
        let claim = Credentials::read(raw)?;
        let key = self.enabled_key(claim.secret_id()).await?;
        let authenticated = claim.verify(&key, self.now_ms().div_euclid(1000), None)?;
        let request = authenticated.decode()?;
        *action = request.action().name();
        self.within_rate(authenticated.secret_id(), request.action())?;
        match request {
            Request::Everfresh(teo::everfresh::Request::DescribeJobProgress(request)) if wants_events => {
                self.events_of(&request.job_id).await.map(|events| Answered::Events(Box::new(events)))
            }
            request => self.perform(request).await.map(Answered::Fields),
        }
    }

    async fn enabled_key(&self, secret_id: &str) -> Result<teo::SecretKey, ApiError> {
        let found = self.parts.store.find_key(secret_id).await.map_err(refusal::of_store)?;
        match found {
            Some(key) if key.info.enabled => Ok(teo::SecretKey::new(key.secret_key.reveal())),
            Some(_) => Err(ApiError::new(
                ErrorCode::AuthInvalidSecretId,
                "the key of this SecretId is disabled; enable it, or sign with another one",
            )),
            None => Err(ApiError::new(
                ErrorCode::AuthSecretIdNotFound,
                "there is no such SecretId; \"everfresh key list\" shows those there are",
            )),
        }
    }

    fn within_rate(&self, secret_id: &str, action: teo::Action) -> Result<(), ApiError> {
        self.rate.take(secret_id, action, tokio::time::Instant::now()).map_err(|wait| {
            let text = format!(
                "more than {} calls of {} a second with this key; try again in {} ms",
                self.parts.options.calls_per_sec,
                action.name(),
                wait.as_millis().max(1),
            );
            ApiError::new(ErrorCode::RequestLimitExceeded, text)
        })
    }

    async fn perform(&self, request: Request) -> Result<Map<String, Value>, ApiError> {
        match request {
            Request::Teo(request) => self.perform_teo(request).await,
            Request::Everfresh(request) => self.perform_everfresh(request).await,
        }
    }

    async fn perform_teo(&self, request: teo::edgeone::Request) -> Result<Map<String, Value>, ApiError> {
        use teo::edgeone::Request as R;
        match request {
            R::CreatePurgeTask(request) => self.create_purge_task(request).await.map(fields),
            R::DescribePurgeTasks(request) => self.describe_purge_tasks(request).await.map(fields),
            R::CreatePrefetchTask(request) => self.create_prefetch_task(request).await.map(fields),
            R::DescribePrefetchTasks(request) => self.describe_prefetch_tasks(request).await.map(fields),
            R::DescribeContentQuota(request) => self.describe_content_quota(request).await.map(fields),
            R::CreateZone(request) => self.create_zone(request).await.map(fields),
            R::DescribeZones(request) => self.describe_zones(request).await.map(fields),
            R::ModifyZone(request) => self.modify_zone(request).await.map(fields),
            R::ModifyZoneStatus(request) => self.modify_zone_status(request).await.map(fields),
            R::DeleteZone(request) => self.delete_zone(request).await.map(fields),
            R::CreateAccelerationDomain(request) => {
                self.create_acceleration_domain(request).await.map(fields)
            }
            R::DescribeAccelerationDomains(request) => {
                self.describe_acceleration_domains(request).await.map(fields)
            }
            R::ModifyAccelerationDomain(request) => {
                self.modify_acceleration_domain(request).await.map(fields)
            }
            R::ModifyAccelerationDomainStatuses(request) => {
                self.modify_acceleration_domain_statuses(request).await.map(fields)
            }
            R::DeleteAccelerationDomains(request) => {
                self.delete_acceleration_domains(request).await.map(fields)
            }
            R::ModifyL7AccSetting(request) => self.modify_l7_acc_setting(request).await.map(fields),
            R::DescribeL7AccSetting(request) => self.describe_l7_acc_setting(request).await.map(fields),
            R::CreateL7AccRules(request) => self.create_l7_acc_rules(request).await.map(fields),
            R::DescribeL7AccRules(request) => self.describe_l7_acc_rules(request).await.map(fields),
            R::ModifyL7AccRule(request) => self.modify_l7_acc_rule(request).await.map(fields),
            R::ModifyL7AccRulePriority(request) => {
                self.modify_l7_acc_rule_priority(request).await.map(fields)
            }
            R::DeleteL7AccRules(request) => self.delete_l7_acc_rules(request).await.map(fields),
        }
    }

    async fn perform_everfresh(
        &self,
        request: teo::everfresh::Request,
    ) -> Result<Map<String, Value>, ApiError> {
        use teo::everfresh::Request as R;
        match request {
            R::CreateKey(request) => self.create_key(request).await.map(fields),
            R::DescribeKeys(request) => self.describe_keys(request).await.map(fields),
            R::ModifyKeyStatus(request) => self.modify_key_status(request).await.map(fields),
            R::DeleteKey(request) => self.delete_key(request).await.map(fields),
            R::DescribeJobProgress(request) => self.describe_job_progress(request).await.map(fields),
            R::DescribeEdges(request) => self.describe_edges(request).await.map(fields),
            R::DrainEdge(request) => self.drain_edge(request).await.map(fields),
            R::ResumeEdge(request) => self.resume_edge(request).await.map(fields),
            R::RemoveEdge(request) => self.remove_edge(request).await.map(fields),
            R::CreateEdgeToken(request) => self.create_edge_token(request).await.map(fields),
            R::DescribeEdgeTokens(request) => self.describe_edge_tokens(request).await.map(fields),
            R::RevokeEdgeToken(request) => self.revoke_edge_token(request).await.map(fields),
            R::ModifyContentQuota(request) => self.modify_content_quota(request).await.map(fields),
        }
    }

    fn now_ms(&self) -> i64 {
        (self.parts.now_ms)()
    }

    /// Reads a body up to its bound in size and time.
    async fn read_body(&self, mut body: Body) -> Result<ReadBody<'_>, ApiError> {
        let read = async {
            let (mut bytes, mut seen, mut place) = (BytesMut::new(), 0, None);
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|_| broken_body())?.into_data() else { continue };
                seen += data.len();
                if seen > DISCARDED_BYTES_MAX {
                    break;
                }
                if seen > SMALL_BODY_BYTES_MAX && place.is_none() {
                    place = Some(self.large_bodies.acquire().await.map_err(|_| broken_body())?);
                }
                if seen <= POST_BODY_BYTES_MAX {
                    bytes.extend_from_slice(&data);
                } else {
                    bytes = BytesMut::new();
                }
            }
            if seen > POST_BODY_BYTES_MAX {
                let text = format!("a request's body may have at most {POST_BODY_BYTES_MAX} bytes");
                return Err(ApiError::new(ErrorCode::RequestSizeLimitExceeded, text));
            }
            Ok(ReadBody { bytes: bytes.freeze(), _place: place })
        };
        let limit = Duration::from_secs(BODY_READ_SECS_MAX);
        tokio::time::timeout(limit, read).await.unwrap_or_else(|_| {
            let text = format!("the request's body did not arrive within {BODY_READ_SECS_MAX} seconds");
            Err(ApiError::new(ErrorCode::InvalidRequest, text))
        })
    }
}

/// A body in memory, with its place among the large ones while it is there.
struct ReadBody<'a> {
    bytes: Bytes,
    _place: Option<SemaphorePermit<'a>>,
}

fn broken_body() -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, "the request's body broke off")
}

/// The request as it came: the signature is over these very bytes.
fn raw_request<'a>(head: &'a request::Parts, body: &'a [u8]) -> RawRequest<'a> {
    let mut headers: Vec<(&[u8], &[u8])> =
        head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(header::HOST)
    {
        headers.push((b"host", authority.as_str().as_bytes()));
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    RawRequest { method: head.method.as_str(), target: target.as_bytes(), headers, body }
}

fn fields<T: teo::Shape>(answer: T) -> Map<String, Value> {
    answer.encode_fields()
}

/// Random bytes for a request's id, which need not be secret: without randomness it is all zeros.
fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        error!("the operating system gave no random bytes");
    }
    bytes
}
