//! The admin server of a control plane: metrics and health, on an address of its own. It asks nobody who they are.

use crate::network::Network;
use crate::tls;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use std::net::{IpAddr, SocketAddr};

/// The type of the page of metrics (Prometheus text format 0.0.4).
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An admin address that other machines reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the admin address {0} can be reached from other machines, and asks nobody who they are: use a loopback address, or \
     allow it"
)]
pub struct AdminExposed(SocketAddr);

/// Whether the admin server may listen there.
///
/// # Errors
/// It is no loopback address, and that is not allowed.
pub fn check_admin_address(address: SocketAddr, allow_remote: bool) -> Result<(), AdminExposed> {
    if allow_remote || tls::is_loopback(address) { Ok(()) } else { Err(AdminExposed(address)) }
}

/// `GET /metrics` and `GET /healthz`.
pub fn admin_router(network: Network, allow_remote: bool) -> Router {
    let metrics = move || {
        let network = network.clone();
        async move {
            let page = network.metrics_page().await;
            ([(header::CONTENT_TYPE, METRICS_TYPE), (header::CACHE_CONTROL, "no-store")], page)
        }
    };
    let guard = move |request: Request, next: Next| async move {
        // A page in an operator's browser may make its own host name mean this address: it must not read what stands here.
        if !allow_remote && !names_this_machine(&request) {
            let text = "421 foreign-host: the Host field must be an address or localhost\n";
            return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
        }
        next.run(request).await
    };
    let nothing = || async { (StatusCode::NOT_FOUND, "404 no-such-path: GET /healthz, /metrics\n") };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(nothing)
        .layer(middleware::from_fn(guard))
}

fn names_this_machine(request: &Request) -> bool {
    let field = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = field.and_then(|text| text.parse::<http::uri::Authority>().ok()) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_on_loopback_unless_it_is_allowed_out() {
        for (address, allow, passes) in [
            ("127.0.0.1:0", false, true),
            ("[::1]:9", false, true),
            ("0.0.0.0:9", false, false),
            ("10.0.0.1:9", false, false),
            ("0.0.0.0:9", true, true),
        ] {
            assert_eq!(check_admin_address(address.parse().unwrap(), allow).is_ok(), passes, "{address}");
        }
    }

    #[test]
    fn foreign_names_are_not_answered() {
        for (host, is_own) in [
            (Some("127.0.0.1:9"), true),
            (Some("localhost:9"), true),
            (Some("[::1]:9"), true),
            (Some("evil.test"), false),
            (None, false),
        ] {
            let mut request = Request::new(axum::body::Body::empty());
            if let Some(host) = host {
                request.headers_mut().insert(header::HOST, host.parse().unwrap());
            }
            assert_eq!(names_this_machine(&request), is_own, "{host:?}");
        }
    }
}
