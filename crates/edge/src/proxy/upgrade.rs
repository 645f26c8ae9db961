//! Requests for another protocol on their connection (RFC 9110 §7.8), such as WebSocket: passed through, uncached.
//!
//! Only between HTTP/1.1 and HTTP/1.1: HTTP/2 has no such thing. An upgrade to HTTP itself (h2c, TLS) is not passed on,
//! since what follows would be requests that no cache, no limit and no purge sees; it is ignored, as RFC 9110 allows, and
//! the request answered as any other.

use super::{Asked, Proxy, pass_back};
use crate::flight::FetchFailure;
use crate::origin::{OriginRequest, RequestContent};
use crate::outcome::{Outcome, OutcomeKind, ToldBody};
use crate::respond::{AnswerBody, Told, answer, answer_failure, answer_refusal};
use crate::state::{Counters, State};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use httpcache::{CacheStatus, ForwardReason};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// How much of one direction is held while the other side does not take it, in bytes.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// Protocols that are HTTP again.
const HTTP_PROTOCOLS: [&str; 3] = ["h2c", "http", "tls"];

/// What a request wants its connection to become, if this edge passes that on.
pub(super) fn wanted(request: &Request<Incoming>) -> Option<HeaderValue> {
    let is_asked = request.version() == Version::HTTP_11
        && *request.method() == Method::GET
        && request.body().is_end_stream()
        && elements(request.headers(), &header::CONNECTION).any(|option| option == "upgrade");
    if !is_asked {
        return None;
    }
    let mut protocols = elements(request.headers(), &header::UPGRADE).peekable();
    protocols.peek()?;
    let is_http = |protocol: &str| HTTP_PROTOCOLS.contains(&protocol.split('/').next().unwrap_or_default());
    let mut list = String::new();
    for protocol in protocols {
        if is_http(&protocol) {
            return None;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&protocol);
    }
    HeaderValue::from_str(&list).ok()
}

/// The elements of a list, in lower case.
fn elements<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = String> + use<'h> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let elements = lines.flat_map(|line| line.split(',')).map(|element| element.trim().to_ascii_lowercase());
    elements.filter(|element| !element.is_empty())
}

impl Proxy {
    /// Asks the origin for another protocol, and joins both connections if it agrees.
    pub(super) async fn upgrade(&self, mut asked: Asked, wanted: HeaderValue) -> Response<ToldBody> {
        let state = &self.state;
        let Ok(place) = Arc::clone(&state.upgrades).try_acquire_owned() else {
            let text = "as many upgraded connections as allowed are open";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            return answer_refusal(state, false, status, "too-many-upgrades", text);
        };
        let client = hyper::upgrade::on(&mut asked.request);
        let mut headers = self.passed_on_headers(&asked);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, wanted.clone());
        let request = OriginRequest {
            method: Method::GET,
            path_and_query: asked.asked_url.path_and_query().to_owned(),
            headers,
            content: RequestContent::Nothing,
            client_scheme: asked.scheme,
            upgrade: true,
            interim: None,
        };
        let mut response = match self.client.send(&asked.routed.route.domain().origin, request).await {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => response,
            Ok(response) => return pass_back(state, ForwardReason::Bypass, None, asked.asker, response),
            Err(failure) => return answer_failure(state, false, failure),
        };
        let chosen: Vec<String> = elements(response.headers(), &header::UPGRADE).collect();
        let offered = wanted.to_str().unwrap_or_default();
        if !matches!(&chosen[..], [one] if offered.split(", ").any(|offered| offered == one)) {
            // It changes to something that nobody offered.
            return answer_failure(state, false, FetchFailure::Malformed);
        }
        let origin = hyper::upgrade::on(&mut response);
        Counters::count(&state.counters.upgrades);
        tokio::spawn(join(client, origin, state.config.upgrade_idle_timeout, place));
        switch(state, response.headers().clone())
    }
}

/// The answer after which the connection is no HTTP any more.
fn switch(state: &State, mut headers: HeaderMap) -> Response<ToldBody> {
    let upgrade = headers.get(header::UPGRADE).cloned();
    httpcache::strip_hop_by_hop(&mut headers);
    // A switch has no content, whatever it says.
    headers.remove(header::CONTENT_LENGTH);
    let status = StatusCode::SWITCHING_PROTOCOLS;
    let told = CacheStatus::forwarded(&state.config.name, ForwardReason::Bypass).forward_status(status);
    let outcome = Outcome::new(OutcomeKind::Passed, ForwardReason::Bypass.token());
    let mut response =
        answer(state, status, headers, AnswerBody::Empty, Told { status: told, eo: "MISS", outcome });
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().extend(upgrade.map(|upgrade| (header::UPGRADE, upgrade)));
    response
}

/// Carries bytes both ways until both have ended, one fails, or nothing has moved for `idle_max`.
async fn join(client: OnUpgrade, origin: OnUpgrade, idle_max: Duration, _place: OwnedSemaphorePermit) {
    let Ok(upgraded) = tokio::time::timeout(idle_max, async { tokio::try_join!(client, origin) }).await
    else {
        return;
    };
    let Ok((client, origin)) = upgraded else { return };
    let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
    let (from_origin, to_origin) = tokio::io::split(TokioIo::new(origin));
    let moved = Notify::new();
    let both = async {
        let there = carry(from_client, to_origin, &moved);
        tokio::try_join!(there, carry(from_origin, to_client, &moved))
    };
    let idle = async { while tokio::time::timeout(idle_max, moved.notified()).await.is_ok() {} };
    tokio::select! {
        ended = both => {
            if let Err(error) = ended {
                tracing::debug!(%error, "upgraded connection broke off");
            }
        }
        () = idle => tracing::debug!("upgraded connection was idle for too long"),
    }
}

/// Carries bytes one way, and its end.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Notify,
) -> std::io::Result<()> {
    let mut bytes = vec![0; COPY_BYTES_MAX];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..count]).await?;
        to.flush().await?;
        moved.notify_one();
    }
}
