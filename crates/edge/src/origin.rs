//! Speaking to origins: HTTP/1.1 over pooled connections.

use crate::flight::FetchFailure;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use zone::{Origin, OriginProtocol};

/// How many idle connections are kept for one origin on each worker.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// How long an idle connection is kept: less than the 75 s after which nginx closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

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

/// One worker's connections to origins.
#[derive(Clone)]
pub(crate) struct OriginClient {
    client: Client<HttpConnector, RequestBody>,
    head_timeout: Duration,
}

impl OriginClient {
    pub(crate) fn new(connect_timeout: Duration, head_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .set_host(false)
            .build(connector);
        Self { client, head_timeout: connect_timeout + head_timeout }
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, FetchFailure> {
        match tokio::time::timeout(self.head_timeout, self.send_uploading(request)).await {
            Err(_) => Err(FetchFailure::TimedOut),
            Ok(sent) => sent,
        }
    }

    /// The same for a request with a body, however long that takes: the caller sees to it that something moves.
    pub(crate) async fn send_uploading(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, FetchFailure> {
        self.client.request(request).await.map_err(|error| {
            let failure = classify(&error);
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                reason = failure.name(),
                "fetch failed"
            );
            failure
        })
    }
}

fn classify(error: &hyper_util::client::legacy::Error) -> FetchFailure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::TimedOut
        {
            return FetchFailure::TimedOut;
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return FetchFailure::Malformed;
            }
            if error.is_incomplete_message() {
                return FetchFailure::Closed;
            }
        }
        source = cause.source();
    }
    FetchFailure::Unreachable
}

/// Where a path lies at an origin, and the `Host` to ask for.
pub(crate) fn locate(origin: &Origin, path_and_query: &str) -> Result<(Uri, HeaderValue), FetchFailure> {
    match origin.protocol {
        // Clients reach this edge over plain HTTP, so that following them is plain HTTP too.
        OriginProtocol::Http | OriginProtocol::Follow => {}
        OriginProtocol::Https => return Err(FetchFailure::ProtocolUnsupported),
    }
    let uri = Uri::builder()
        .scheme("http")
        .authority(format!("{}:{}", origin.address, origin.http_port))
        .path_and_query(path_and_query)
        .build()
        .map_err(|_| FetchFailure::Unreachable)?;
    let host = HeaderValue::from_str(&origin.host_header).map_err(|_| FetchFailure::Unreachable)?;
    Ok((uri, host))
}

/// Fields of a client's request that say what it has: the cache asks its own questions.
pub(crate) fn strip_conditions(headers: &mut http::HeaderMap) {
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
