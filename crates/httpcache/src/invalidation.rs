//! What an answer to an unsafe request makes stale (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, HeaderMap, LOCATION};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, StatusCode};

/// The most URLs that one answer makes stale besides its own: one of `Location`, one of `Content-Location`.
pub const INVALIDATION_TARGETS_MAX: usize = 2;

/// Does this answer make stored responses for its URL stale? An unsafe method that did not fail does; so does one that we do
/// not know, since it may be unsafe.
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method);
    !is_safe && (status.is_success() || status.is_redirection())
}

/// The URLs that `Location` and `Content-Location` make stale too, as path and query, when they lie on the request's own host;
/// other hosts are not the answer's to invalidate. `host` is the request's `Host`, `base_path` its path.
///
/// The paths are as the origin wrote them: the caller normalises them as it does those of requests.
pub fn invalidation_targets(host: &str, base_path: &str, response_headers: &HeaderMap) -> Vec<String> {
    let mut targets = Vec::with_capacity(INVALIDATION_TARGETS_MAX);
    for name in [LOCATION, CONTENT_LOCATION] {
        let reference = response_headers.get(name).and_then(|value| value.to_str().ok());
        let target = reference.and_then(|reference| target_of(host, base_path, reference));
        targets.extend(target.filter(|target| !targets.contains(target)));
    }
    targets
}

fn target_of(host: &str, base_path: &str, reference: &str) -> Option<String> {
    let reference = reference.trim();
    let reference = reference.split_once('#').map_or(reference, |(before, _)| before);
    // RFC 3986 §4.2: a reference with a colon in its first segment has a scheme, one with two slashes has a host.
    let first_segment = reference.split(['/', '?']).next().unwrap_or_default();
    if first_segment.contains(':') || reference.starts_with("//") {
        let absolute =
            if reference.starts_with("//") { format!("http:{reference}") } else { reference.to_owned() };
        let uri: Uri = absolute.parse().ok()?;
        let is_web = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
        let is_same = is_web && uri.authority().is_some_and(|authority| is_same_host(authority, host));
        return is_same.then(|| uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned());
    }
    let joined = match reference.as_bytes().first() {
        None => return None,
        Some(b'/') => reference.to_owned(),
        Some(b'?') => format!("{base_path}{reference}"),
        // RFC 3986 §5.2.3: everything after the last slash of the base gives way.
        Some(_) => {
            format!("{}/{reference}", base_path.rsplit_once('/').map_or("", |(directory, _)| directory))
        }
    };
    let target: PathAndQuery = joined.parse().ok()?;
    target.path().starts_with('/').then(|| without_dots(&target))
}

/// Takes `.` and `..` segments out of the path (RFC 3986 §5.2.4).
fn without_dots(target: &PathAndQuery) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let path = target.path();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    // A path that ends in a dot segment names a directory.
    if path.ends_with("/.") || path.ends_with("/..") {
        segments.push("");
    }
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", segments.join("/"))
}

fn is_same_host(authority: &Authority, host: &str) -> bool {
    let without_port = |text: &str| match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_ascii_lowercase(),
        _ => text.to_ascii_lowercase(),
    };
    without_port(authority.host()) == without_port(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn unsafe_methods_that_did_not_fail() {
        let extension = Method::from_bytes(b"MERGE").unwrap();
        let cases = [
            (Method::GET, 200, false),
            (Method::HEAD, 200, false),
            (Method::OPTIONS, 204, false),
            (Method::TRACE, 200, false),
            (Method::POST, 201, true),
            (Method::PUT, 204, true),
            (Method::DELETE, 303, true),
            (Method::PATCH, 404, false),
            (Method::POST, 500, false),
            (extension, 200, true),
        ];
        for (method, status, expected) in cases {
            assert_eq!(
                invalidates(&method, StatusCode::from_u16(status).unwrap()),
                expected,
                "{method} {status}"
            );
        }
    }

    #[test]
    fn targets_on_the_same_host() {
        let cases: &[(&str, &[&str])] = &[
            ("location: /a?b", &["/a?b"]),
            ("location: /a#frag", &["/a"]),
            ("location: http://www.example.com/a", &["/a"]),
            ("location: https://WWW.example.com:8443", &["/"]),
            ("location: //www.example.com/x", &["/x"]),
            ("location: http://other.example.com/a", &[]),
            ("location: //other.example.com/x", &[]),
            ("location: sibling", &["/dir/sibling"]),
            ("location: ../up/./x", &["/up/x"]),
            ("location: ../../../..", &["/"]),
            ("location: ?q=1", &["/dir/page?q=1"]),
            ("location: mailto:a@www.example.com", &[]),
            ("location: #x", &[]),
            ("location: /a\ncontent-location: /b", &["/a", "/b"]),
            ("location: /a\ncontent-location: /a", &["/a"]),
            ("content-location: http://[broken/", &[]),
            ("", &[]),
        ];
        for (response, expected) in cases {
            let found = invalidation_targets("www.example.com:8080", "/dir/page", &headers(response));
            assert_eq!(found, *expected, "{response:?}");
        }
    }
}
