//! Speaking to origins.
//!
//! Each worker has connections of its own, HTTP/1.1 or HTTP/2, in the clear or over TLS, and its own view of which
//! origins are well. A request is sent a second time only where that can't do anything twice, and only within a
//! budget. Whatever an origin does, [`OriginClient::send`] ends with a response whose head is to be believed, or with
//! the name of what went wrong; the body ends by itself when the origin falls silent.

mod body;
mod connect;
mod framing;
mod health;
mod pool;
mod tls;

pub(crate) use body::ResponseBody;
pub(crate) use tls::OriginTls;
pub use tls::{OriginTlsError, OriginTrust};

use crate::flight::{FOLLOW_TIMEOUT, FetchFailure};
use crate::interim::{INTERIM_RESPONSES_MAX, InterimResponse};
use crate::state::{Counters, State};
use crate::surroundings::Dial;
use crate::tier::TIER;
use body::BodyWaits;
use bytes::Bytes;
use connect::Dialer;
use health::RetryBudget;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use pool::{Connection, Endpoint, EndpointKey, Link, Pool};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use zone::{HostName, Origin, OriginProtocol, Scheme};

/// How many idle connections are kept for one origin on each worker.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long an idle connection is kept: less than the 75 s after which nginx closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often idle connections are looked through.
const IDLE_SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How many requests one HTTP/2 connection carries at once; more open another one.
const STREAMS_PER_CONNECTION_MAX: usize = 100;

/// How many origins each worker remembers.
const ENDPOINTS_MAX: usize = 4096;

/// The largest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How many header fields a response may have.
const HEADERS_MAX: usize = 128;

/// The body of a request to an origin.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, RequestBodyError>;

/// Why a client's request body could not be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("the request's body is larger than allowed")]
    TooLarge,
    #[error("the client broke off the request's body")]
    Broken(#[source] hyper::Error),
}

/// A request as it is to reach an origin, whichever of a domain's origins that will be.
pub(crate) struct OriginRequest {
    pub(crate) method: Method,
    pub(crate) path_and_query: String,
    /// Without `Host`: that is the domain's setting.
    pub(crate) headers: HeaderMap,
    pub(crate) content: RequestContent,
    /// How the client spoke, for domains that follow it.
    pub(crate) client_scheme: Scheme,
    /// Whether it asks for another protocol on its connection.
    pub(crate) upgrade: bool,
    /// Where interim responses go, if anyone wants them.
    pub(crate) interim: Option<mpsc::Sender<InterimResponse>>,
}

/// What a request carries.
pub(crate) enum RequestContent {
    /// Nothing: it may be repeated, if its method allows it.
    Nothing,
    /// A body.
    Body(RequestBody),
    /// A body that was given away.
    Gone,
}

/// One worker's connections to origins.
#[derive(Clone)]
pub(crate) struct OriginClient {
    state: Arc<State>,
    parts: Arc<Parts>,
}

struct Parts {
    dialer: Dialer,
    pool: Pool,
    budget: RetryBudget,
}

/// What became of one sending.
struct Failed {
    failure: FetchFailure,
    /// Nothing of the request can have reached the origin.
    unsent: bool,
    /// A second connection to the same origin was tried already.
    twice: bool,
}

impl OriginClient {
    /// For the worker whose runtime this is called in.
    pub(crate) fn new(state: Arc<State>, tls: OriginTls, dial: Option<Dial>) -> Self {
        let config = &state.config;
        let (connect_timeout, tls_timeout) = (config.connect_timeout, config.tls_timeout);
        let dialer = Dialer { tls, connect_timeout, tls_timeout, dial };
        let parts = Arc::new(Parts { dialer, pool: Pool::default(), budget: RetryBudget::default() });
        let swept = Arc::downgrade(&parts);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(IDLE_SWEEP_INTERVAL).await;
                let Some(parts) = swept.upgrade() else { return };
                parts.pool.sweep(Instant::now());
            }
        });
        Self { state, parts }
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// Without a body, for at most [`FOLLOW_TIMEOUT`] over all attempts: those who share the fetch wait no longer. With
    /// one, however long it takes to send it: the caller sees to it that something moves.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        request: OriginRequest,
    ) -> Result<Response<ResponseBody>, FetchFailure> {
        let sent = if matches!(request.content, RequestContent::Body(_)) {
            self.ask_in_turn(origin, request).await
        } else {
            tokio::time::timeout(FOLLOW_TIMEOUT, self.ask_in_turn(origin, request))
                .await
                .unwrap_or(Err(FetchFailure::TimedOut))
        };
        if let Err(failure) = &sent {
            tracing::debug!(origin = %origin.address, reason = failure.name(), "no response of an origin");
        }
        sent
    }

    /// Asks the origin, and its backup if it has one and that can do no harm.
    async fn ask_in_turn(
        &self,
        origin: &Origin,
        mut request: OriginRequest,
    ) -> Result<Response<ResponseBody>, FetchFailure> {
        self.parts.budget.earn();
        let primary = self.endpoint(origin, &origin.address, request.client_scheme);
        let backup = match &origin.backup {
            Some(backup) => self.endpoint(origin, backup, request.client_scheme),
            None => Arc::clone(&primary),
        };
        let has_backup = origin.backup.is_some();
        let now = Instant::now();
        // Both are asked about only if it matters: being told yes may make this request the probe.
        let backup_first =
            has_backup && !primary.health.lock().may_be_asked(now) && backup.health.lock().may_be_asked(now);
        let (first, second) = if backup_first { (&backup, &primary) } else { (&primary, &backup) };
        let answered = self.ask(origin, first, &mut request).await;
        let may_repeat = match &answered {
            Ok(response) => has_backup && is_gateway_failure(response.status()) && request.may_be_repeated(),
            Err(failed) if has_backup => failed.unsent || request.may_be_repeated(),
            // The same origin again: only one that was there, and may have closed just by chance.
            Err(failed) => {
                failed.failure == FetchFailure::Closed && !failed.twice && request.may_be_repeated()
            }
        };
        if !may_repeat || !self.parts.budget.spend() {
            return answered.map_err(|failed| failed.failure);
        }
        Counters::count(&self.state.counters.repeated);
        match (answered, self.ask(origin, second, &mut request).await) {
            // The first one at least said something.
            (Ok(response), Err(_)) => Ok(response),
            (Ok(response), Ok(again)) if is_gateway_failure(again.status()) => Ok(response),
            (_, again) => again.map_err(|failed| failed.failure),
        }
    }

    /// Whether another edge that is to be asked like an origin answered lately. While it does not, one request now and
    /// then is told yes.
    pub(crate) fn is_well(&self, origin: &Origin) -> bool {
        let endpoint = self.endpoint(origin, &origin.address, Scheme::Http);
        endpoint.health.lock().may_be_asked(Instant::now())
    }

    fn endpoint(&self, origin: &Origin, address: &HostName, client: Scheme) -> Arc<Endpoint> {
        let scheme = match origin.protocol {
            OriginProtocol::Http => Scheme::Http,
            OriginProtocol::Https => Scheme::Https,
            OriginProtocol::Follow => client,
        };
        let (port, server_name) = match scheme {
            Scheme::Http => (origin.http_port, None),
            Scheme::Https => (origin.https_port, Some(server_name(&origin.host_header))),
        };
        self.parts.pool.endpoint(EndpointKey { scheme, address: address.clone(), port, server_name })
    }

    /// Asks one origin, and keeps book about how that went.
    async fn ask(
        &self,
        origin: &Origin,
        endpoint: &Arc<Endpoint>,
        request: &mut OriginRequest,
    ) -> Result<Response<ResponseBody>, Failed> {
        let asked = self.exchange(origin, endpoint, request).await;
        // A parent that refuses is there: what it could not have of an origin is no failure of its own.
        let well = asked.as_ref().is_ok_and(|response| {
            !is_gateway_failure(response.status()) || response.headers().contains_key(TIER)
        });
        let mut health = endpoint.health.lock();
        if well {
            health.answered()
        } else {
            health.failed(Instant::now())
        }
        drop(health);
        asked
    }

    /// Sends the request over an open connection, or over a new one. An origin may close an idle connection at the
    /// moment at which it is used: then the request goes over a new one, if it can't have done anything.
    async fn exchange(
        &self,
        origin: &Origin,
        endpoint: &Arc<Endpoint>,
        request: &mut OriginRequest,
    ) -> Result<Response<ResponseBody>, Failed> {
        let mut twice = false;
        if let Some(connection) = endpoint.reuse(request.upgrade) {
            match self.exchange_over(connection, origin, endpoint, request).await {
                Err(Failed { failure: FetchFailure::Closed, unsent, .. })
                    if unsent || request.may_be_repeated() =>
                {
                    twice = true;
                }
                done => return done,
            }
        }
        let connection = self.connect(endpoint, request.upgrade).await;
        let connection = connection.map_err(|failure| Failed { failure, unsent: true, twice })?;
        let exchanged = self.exchange_over(connection, origin, endpoint, request).await;
        exchanged.map_err(|failed| Failed { twice, ..failed })
    }

    async fn connect(&self, endpoint: &Endpoint, upgradable: bool) -> Result<Connection, FetchFailure> {
        let _opening = match !upgradable && endpoint.may_share() {
            true => {
                let opening = endpoint.opening.lock().await;
                if let Some(connection) = endpoint.reuse(false) {
                    return Ok(connection);
                }
                Some(opening)
            }
            false => None,
        };
        let connection = self.parts.dialer.connect(&endpoint.key, upgradable).await?;
        if !upgradable {
            endpoint.opened(&connection);
        }
        Ok(connection)
    }

    async fn exchange_over(
        &self,
        connection: Connection,
        origin: &Origin,
        endpoint: &Arc<Endpoint>,
        request: &mut OriginRequest,
    ) -> Result<Response<ResponseBody>, Failed> {
        let config = &self.state.config;
        let has_body = matches!(request.content, RequestContent::Body(_));
        let interim = Arc::new(Interim::default());
        let http2 = matches!(connection, Connection::Http2(_));
        let message = request.message(origin, http2, &interim);
        let message = message.map_err(|failure| Failed { failure, unsent: true, twice: false })?;
        Counters::count(&self.state.counters.fetches);
        let sent_at = (self.state.clocks.boot)();
        let head_timeout = async {
            match has_body {
                true => std::future::pending().await,
                false => tokio::time::sleep(config.head_timeout).await,
            }
        };
        let sent = tokio::select! {
            biased;
            sent = send_over(connection, message) => sent,
            () = head_timeout => Err((FetchFailure::TimedOut, None)),
            () = interim.exceeded.notified() => Err((FetchFailure::Malformed, None)),
        };
        let (mut response, link, connection) = match sent {
            Ok(sent) => sent,
            Err((failure, message)) => {
                let unsent = message.is_some();
                if let Some(message) = message.filter(|_| has_body) {
                    request.content = RequestContent::Body(message.into_body());
                }
                return Err(Failed { failure, unsent, twice: false });
            }
        };
        self.state.counters.origin_times.add((self.state.clocks.boot)().saturating_sub(sent_at));
        let status = response.status();
        if let Err(error) = framing::check(status, response.headers_mut(), request.upgrade) {
            tracing::debug!(origin = %origin.address, %error, "response refused");
            return Err(Failed { failure: FetchFailure::Malformed, unsent: false, twice: false });
        }
        if let Some(connection) = connection.filter(|_| status != StatusCode::SWITCHING_PROTOCOLS) {
            Arc::clone(endpoint).take_back(connection);
        }
        let waits = BodyWaits { between: config.body_timeout, whole: config.response_timeout };
        Ok(response.map(|body| ResponseBody::new(body, Some(link), waits)))
    }
}

type Exchanged = (Response<Incoming>, Link, Option<pool::Http1>);

/// Sends, and gives the message back if nothing of it was sent.
async fn send_over(
    connection: Connection,
    message: Request<RequestBody>,
) -> Result<Exchanged, (FetchFailure, Option<Request<RequestBody>>)> {
    match connection {
        Connection::Http1(mut connection) => match connection.sender.try_send_request(message).await {
            Ok(response) => Ok((response, connection.link(), Some(connection))),
            Err(mut error) => Err((classify(error.error()), error.take_message())),
        },
        Connection::Http2(mut connection) => match connection.sender.try_send_request(message).await {
            Ok(response) => Ok((response, connection.link(), None)),
            Err(mut error) => Err((classify(error.error()), error.take_message())),
        },
    }
}

/// Counts interim responses.
#[derive(Default)]
struct Interim {
    count: AtomicUsize,
    exceeded: Notify,
}

impl OriginRequest {
    /// Whether it may be sent again after it may have reached an origin (RFC 9110 §9.2.2).
    fn may_be_repeated(&self) -> bool {
        self.method.is_idempotent() && matches!(self.content, RequestContent::Nothing)
    }

    /// The same request once more, if it may be repeated.
    pub(crate) fn again(&self) -> Option<Self> {
        self.may_be_repeated().then(|| Self {
            method: self.method.clone(),
            path_and_query: self.path_and_query.clone(),
            headers: self.headers.clone(),
            content: RequestContent::Nothing,
            client_scheme: self.client_scheme,
            upgrade: self.upgrade,
            interim: self.interim.clone(),
        })
    }

    /// The message to send. Takes the body.
    fn message(
        &mut self,
        origin: &Origin,
        http2: bool,
        interim: &Arc<Interim>,
    ) -> Result<Request<RequestBody>, FetchFailure> {
        let path = PathAndQuery::try_from(self.path_and_query.as_str());
        let path = path.map_err(|_| FetchFailure::Unreachable)?;
        let nothing = || Empty::new().map_err(|never| -> RequestBodyError { match never {} }).boxed_unsync();
        let body = match std::mem::replace(&mut self.content, RequestContent::Gone) {
            RequestContent::Body(body) => body,
            RequestContent::Nothing => {
                self.content = RequestContent::Nothing;
                nothing()
            }
            // Whoever gave it away does not send again.
            RequestContent::Gone => return Err(FetchFailure::Abandoned),
        };
        let mut message = Request::new(body);
        *message.method_mut() = self.method.clone();
        *message.headers_mut() = self.headers.clone();
        *message.uri_mut() = if http2 {
            let uri = Uri::builder()
                .scheme(Scheme::Https.as_str())
                .authority(origin.host_header.as_str())
                .path_and_query(path);
            uri.build().map_err(|_| FetchFailure::Unreachable)?
        } else {
            let host = HeaderValue::from_str(&origin.host_header).map_err(|_| FetchFailure::Unreachable)?;
            message.headers_mut().insert(header::HOST, host);
            Uri::from(path)
        };
        let interim = Arc::clone(interim);
        let wanted = self.interim.clone();
        hyper::ext::on_informational(&mut message, move |response| {
            if let Some(wanted) = wanted.as_ref().filter(|_| InterimResponse::is_passed_on(response.status()))
            {
                let mut headers = response.headers().clone();
                httpcache::strip_hop_by_hop(&mut headers);
                // As many as are allowed have room.
                let _ = wanted.try_send(InterimResponse { status: response.status(), headers });
            }
            if interim.count.fetch_add(1, Ordering::Relaxed) >= INTERIM_RESPONSES_MAX {
                interim.exceeded.notify_one();
            }
        });
        Ok(message)
    }
}

/// Whom a certificate must name, by the `Host` that is asked for: without its port.
fn server_name(host_header: &str) -> Box<str> {
    match HostName::parse(host_header) {
        Ok(host) => host.as_str().into(),
        Err(_) => host_header.into(),
    }
}

/// Statuses by which a server says that it is none just now: another one may do better.
fn is_gateway_failure(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// What an error of a connection means.
fn classify(error: &hyper::Error) -> FetchFailure {
    if error.is_parse_too_large() {
        return FetchFailure::HeadTooLarge;
    }
    if error.is_parse() {
        return FetchFailure::Malformed;
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return FetchFailure::Closed;
    }
    if error.is_timeout() {
        return FetchFailure::TimedOut;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                ErrorKind::TimedOut => FetchFailure::TimedOut,
                ErrorKind::InvalidData | ErrorKind::InvalidInput => FetchFailure::Malformed,
                _ => FetchFailure::Closed,
            };
        }
        source = cause.source();
    }
    FetchFailure::Malformed
}

/// Fields of a client's request that say what it has: the cache asks its own questions.
pub(crate) fn strip_conditions(headers: &mut HeaderMap) {
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ] {
        headers.remove(name);
    }
}
