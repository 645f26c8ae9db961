//! What crosses a hop and what does not (RFC 9110 §7.6).

use std::fmt;

use http::Version;
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};

use crate::field;

/// The most hops a request may have behind it. One that has more is going in circles through caches that do not know
/// themselves; it is answered 508.
pub const VIA_HOPS_MAX: usize = 16;

/// Fields of one hop besides those that `Connection` names. `Keep-Alive` and `Proxy-Connection` are no registered constants.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The field in which a content delivery network finds its own requests again (RFC 8586).
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Fields that `Connection` may not take away, whatever it says: a client could otherwise make the cache, or the origin
/// behind it, forget what the request is about and who sent it (RFC 9110 §7.6.1 forbids naming end-to-end fields there).
const NEVER_NAMED: [&str; 17] = [
    "age",
    "authorization",
    "cookie",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "location",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "vary",
    "via",
    "warning",
];

/// The same for all fields whose names begin so. Proxies tell each other about clients in `X-…-IP` and `X-Forwarded-…`.
const NEVER_NAMED_PREFIXES: [&str; 12] = [
    "accept",
    "allow",
    "cache-",
    "cdn-",
    "content-",
    "eo-",
    "if-",
    "last-",
    "surrogate-",
    "true-client-",
    "x-forwarded-",
    "x-real-",
];

fn may_be_named(name: &HeaderName) -> bool {
    let name = name.as_str();
    !NEVER_NAMED.contains(&name) && !NEVER_NAMED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Removes the fields of this hop: those that `Connection` names, and the known ones.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = field::elements(headers, &CONNECTION)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(may_be_named)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// A copy of the headers without the fields of this hop: what goes on to the origin, or into the store.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut copy = headers.clone();
    strip_hop_by_hop(&mut copy);
    copy
}

/// The name by which this cache calls itself in `Via` (RFC 9110 §7.6.3): a token, so that it can be found again.
#[derive(Clone, PartialEq, Eq)]
pub struct ViaName(Box<str>);

/// Why a text is no name for `Via`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name in Via is a token: 1 to 128 letters, digits or any of !#$%&'*+-.^_`|~; got {0:?}")]
pub struct ViaNameError(String);

impl ViaName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, ViaNameError> {
        if text.len() <= 128 && field::is_token(text.as_bytes()) {
            Ok(Self(text.into()))
        } else {
            Err(ViaNameError(text.chars().take(128).collect()))
        }
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ViaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds this cache to `Via`, with the version in which the message **came**.
pub fn append_via(headers: &mut HeaderMap, received: Version, name: &ViaName) {
    let protocol = match received {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        Version::HTTP_3 => "3.0",
        _ => "1.1",
    };
    let value = HeaderValue::from_str(&format!("{protocol} {}", name.as_str()));
    headers.append(VIA, value.expect("a token is made of field characters"));
}

/// Adds this cache to `CDN-Loop` (RFC 8586 §2). Unlike `Via`, it is a field that nobody on the way has a reason to drop.
pub fn append_cdn_loop(headers: &mut HeaderMap, name: &ViaName) {
    let value = HeaderValue::from_str(name.as_str());
    headers.append(CDN_LOOP, value.expect("a token is made of field characters"));
}

/// Has the message passed this cache before, by `Via` or by `CDN-Loop`? Then sending it on would go in a circle: answer
/// 508.
pub fn has_passed(headers: &HeaderMap, name: &ViaName) -> bool {
    let looped = field::elements(headers, &CDN_LOOP).any(|info| {
        let id = info.split(|b| *b == b';').next().unwrap_or_default();
        id.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes())
    });
    looped || has_passed_via(headers, name)
}

fn has_passed_via(headers: &HeaderMap, name: &ViaName) -> bool {
    field::elements(headers, &VIA).any(|hop| {
        let mut words = hop.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

/// How many hops the message has behind it, counted up to one more than [`VIA_HOPS_MAX`].
pub fn via_hops(headers: &HeaderMap) -> usize {
    field::elements(headers, &VIA).take(VIA_HOPS_MAX + 1).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    #[test]
    fn fields_of_one_hop_go() {
        let message = "connection: close, X-Hop\nconnection: upgrade\nx-hop: 1\nkeep-alive: 5\nproxy-connection: a\n\
                       proxy-authenticate: a\nproxy-authorization: a\nte: trailers\ntrailer: a\n\
                       transfer-encoding: chunked\nupgrade: h2c\nhost: a\nx-kept: 1";
        assert_eq!(end_to_end(&headers(message)), headers("host: a\nx-kept: 1"));
    }

    #[test]
    fn connection_cannot_name_what_the_request_is_about() {
        let message = "connection: close, host, content-length, authorization, \"bad name\"\nconnection: X-Forwarded-For, \
                       X-Real-IP, cookie, forwarded, cdn-loop, via\nhost: a\ncontent-length: 3\nauthorization: b\n\
                       x-forwarded-for: c\nx-real-ip: c\ncookie: d\nforwarded: e\ncdn-loop: f\nvia: 1.1 g";
        let expected = "host: a\ncontent-length: 3\nauthorization: b\nx-forwarded-for: c\nx-real-ip: c\ncookie: d\n\
                        forwarded: e\ncdn-loop: f\nvia: 1.1 g";
        assert_eq!(end_to_end(&headers(message)), headers(expected));
    }

    #[test]
    fn via() {
        let name = ViaName::parse("edge-1").unwrap();
        let mut message = headers("via: 1.1 first (a, comment)");
        assert!(!has_passed(&message, &name));
        append_via(&mut message, Version::HTTP_2, &name);
        assert_eq!(message.get_all(VIA).iter().next_back().unwrap(), "2.0 edge-1");
        assert!(has_passed(&message, &name));
        assert!(has_passed(&headers("via: 1.1 a, HTTP/1.1  Edge-1 (x)"), &name));
        assert!(!has_passed(&headers("via: 1.1 edge-10, edge-1"), &name));
        let mut message = headers("cdn-loop: other.example; a=\"edge-1, edge-1\", fast");
        assert!(!has_passed(&message, &name));
        append_cdn_loop(&mut message, &name);
        assert!(has_passed(&message, &name));
        assert!(has_passed(&headers("cdn-loop: a, Edge-1 ; x=1, b"), &name));
        assert!(!has_passed(&headers("cdn-loop: edge-10, a; edge-1"), &name));
        let many = "via: 1.1 a\n".repeat(VIA_HOPS_MAX + 5);
        assert_eq!(via_hops(&headers(&many)), VIA_HOPS_MAX + 1);
        for bad in ["", "a b", "a:80", "é", &"a".repeat(129)] {
            assert!(ViaName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
