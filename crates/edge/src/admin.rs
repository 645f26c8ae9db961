//! The admin server of an edge: metrics, health, what is stored of a URL, and what is logged. Plain HTTP on an address of
//! its own, and on a thread of its own, so that it answers however busy the edge is.

mod inspect;

use crate::metrics;
use crate::state::State;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info};

/// How many connections are served at once; more wait in the kernel's queue.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// How long a request's head, or its body, may take.
const ADMIN_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest text of `PUT /log-level`, in bytes.
const LOG_LEVEL_BYTES_MAX: usize = 4096;

/// The admin server's settings.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether it may be reached from other machines: it asks nobody who they are.
    pub allow_remote: bool,
    /// What changes what is logged, if anything can.
    pub log_level: Option<LogLevel>,
}

/// Takes a new text, or says what is wrong with it.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What is logged, as the process that runs the edge has it.
#[derive(Clone)]
pub struct LogLevel {
    /// Sets it, or says what is wrong with the text.
    pub set: SetLogLevel,
    /// The text that holds.
    pub get: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}

/// What the server does, in order of the paths.
const PATHS: &str = "GET /healthz, /inspect?url=URL, /log-level, /metrics, /readyz, /store; PUT /log-level";

/// Serves until `end`. `draining` tells that the edge takes no new connections.
pub(crate) async fn serve(
    state: Arc<State>,
    listener: TcpListener,
    draining: watch::Receiver<bool>,
    mut end: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = crate::listen::ended(&mut end) => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (state, draining) = (Arc::clone(&state), draining.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let (state, draining) = (&state, *draining.borrow());
                async move { Ok::<_, Infallible>(answer(state, draining, request).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(ADMIN_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}

async fn answer(state: &State, is_draining: bool, request: Request<Incoming>) -> Response<Full<Bytes>> {
    // A page in an operator's browser may make its own host name mean this address: it must not read what stands here.
    let allow_remote = state.config.admin.as_ref().is_some_and(|admin| admin.allow_remote);
    if !allow_remote && !names_this_machine(&request) {
        let text = "the Host field must be an address or localhost";
        return refuse(StatusCode::MISDIRECTED_REQUEST, "foreign-host", text);
    }
    let method = match request.method() {
        &Method::HEAD => Method::GET,
        method => method.clone(),
    };
    match (method, request.uri().path()) {
        (Method::GET, "/metrics") => with_type(StatusCode::OK, metrics::CONTENT_TYPE, metrics::page(state)),
        (Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (Method::GET, "/readyz") => match unready(state, is_draining) {
            None => text(StatusCode::OK, "ok\n"),
            Some((name, why)) => refuse(StatusCode::SERVICE_UNAVAILABLE, name, why),
        },
        (Method::GET, "/store") => json(&inspect::store(state)),
        (Method::GET, "/inspect") => match inspect::url(state, request.uri().query().unwrap_or_default()) {
            Ok(found) => json(&found),
            Err(why) => refuse(StatusCode::BAD_REQUEST, "bad-url", &why),
        },
        (Method::GET, "/log-level") => match log_level(state) {
            Some(level) => text(StatusCode::OK, &format!("{}\n", (level.get)())),
            None => refuse(StatusCode::NOT_IMPLEMENTED, "log-level", NO_LOG_LEVEL),
        },
        (Method::PUT, "/log-level") => set_log_level(state, request).await,
        (_, "/metrics" | "/healthz" | "/readyz" | "/store" | "/inspect" | "/log-level") => {
            let mut refused = refuse(StatusCode::METHOD_NOT_ALLOWED, "method", PATHS);
            let allow = if request.uri().path() == "/log-level" { "GET, HEAD, PUT" } else { "GET, HEAD" };
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            refused
        }
        _ => refuse(StatusCode::NOT_FOUND, "no-such-path", PATHS),
    }
}

/// Why an edge is not to get clients: a name, and a text for people.
fn unready(state: &State, is_draining: bool) -> Option<(&'static str, &'static str)> {
    if is_draining {
        return Some(("draining", "this edge is about to end"));
    }
    if state.zones.read().version() == 0 {
        return Some(("no-configuration", "the control plane has not told yet what is to be served"));
    }
    if !state.lease.holds((state.clocks.boot)()) {
        return Some(("fenced", "this edge has no lease: it answers, but asks the origin for everything"));
    }
    None
}

const NO_LOG_LEVEL: &str = "this process does not let its log be changed";

fn log_level(state: &State) -> Option<&LogLevel> {
    state.config.admin.as_ref()?.log_level.as_ref()
}

async fn set_log_level(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(level) = log_level(state) else {
        return refuse(StatusCode::NOT_IMPLEMENTED, "log-level", NO_LOG_LEVEL);
    };
    let body = Limited::new(request.into_body(), LOG_LEVEL_BYTES_MAX);
    #[expect(clippy::disallowed_methods, reason = "the body is bounded")]
    let read = tokio::time::timeout(ADMIN_READ_TIMEOUT, body.collect()).await;
    let Ok(read) = read else {
        return refuse(StatusCode::REQUEST_TIMEOUT, "body-timeout", "the text took too long");
    };
    let Ok(read) = read else {
        let why = format!("the text may have at most {LOG_LEVEL_BYTES_MAX} bytes");
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", &why);
    };
    let bytes = read.to_bytes();
    let Ok(wanted) = std::str::from_utf8(&bytes) else {
        return refuse(StatusCode::BAD_REQUEST, "bad-log-level", "this is no text");
    };
    match (level.set)(wanted.trim()) {
        Ok(()) => {
            info!(level = wanted.trim(), "what is logged was changed");
            text(StatusCode::OK, &format!("{}\n", (level.get)()))
        }
        Err(why) => refuse(StatusCode::BAD_REQUEST, "bad-log-level", &why),
    }
}

fn names_this_machine(request: &Request<Incoming>) -> bool {
    let field = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = field.and_then(|text| text.parse::<http::uri::Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn with_type(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    with_type(StatusCode::OK, "application/json", format!("{value}\n"))
}

/// `name` is the reason for programs, `why` for people.
fn refuse(status: StatusCode, name: &str, why: &str) -> Response<Full<Bytes>> {
    text(status, &format!("{} {name}: {why}\n", status.as_u16()))
}
