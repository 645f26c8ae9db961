//! What an edge tells origins about its clients: `X-Forwarded-For`, `-Proto` and `-Host`, and RFC 7239 `Forwarded`.
//!
//! A client can write these fields as well as a proxy can, and origins believe them. So what comes in is replaced, unless
//! it comes from a proxy that the operator trusts: then the chain goes on. They are no part of a cache key, unless a
//! response says in `Vary` that they are; then the key holds what the origin was told, not what the client wrote.

use crate::listen::Network;
use crate::proxy::Peer;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::fmt;
use std::net::IpAddr;
use zone::Scheme;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What a client may not tell an origin about itself.
const FIELDS: [HeaderName; 7] = [
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];

/// What origins are told about clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedFields {
    /// Proxies before this edge whose word about their clients is passed on. From all others it is replaced.
    pub trusted_proxies: Vec<Network>,
    /// Whether RFC 7239's `Forwarded` is sent, too.
    pub rfc7239: bool,
}

/// What an edge says of how its client speaks.
pub(crate) fn scheme(headers: &HeaderMap) -> Scheme {
    match headers.get(&X_FORWARDED_PROTO) {
        Some(proto) if proto == Scheme::Https.as_str() => Scheme::Https,
        Some(_) | None => Scheme::Http,
    }
}

/// Puts onto a request what the origin is to know of its client. `host` is what the client asked for. An edge of this
/// network is a trusted proxy.
pub(crate) fn tell(
    headers: &mut HeaderMap,
    peer: &Peer,
    is_edge: bool,
    host: &str,
    fields: &ForwardedFields,
) {
    let address = peer.address.ip().to_canonical();
    let is_trusted = is_edge || fields.trusted_proxies.iter().any(|network| network.holds(address));
    if !is_trusted {
        for name in &FIELDS {
            headers.remove(name);
        }
    }
    let scheme = peer.scheme().as_str();
    append(headers, X_FORWARDED_FOR, &address.to_string());
    // What the first proxy said of the client's own connection counts, not what this one sees of that proxy.
    for (name, value) in [(X_FORWARDED_PROTO, scheme), (X_FORWARDED_HOST, host)] {
        if !headers.contains_key(&name)
            && let Ok(value) = HeaderValue::from_str(value)
        {
            headers.insert(name, value);
        }
    }
    if fields.rfc7239 {
        let element = format!("for={};host=\"{host}\";proto={scheme}", Node(address));
        append(headers, header::FORWARDED, &element);
    }
}

/// Adds an element to a list, in one line.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let mut list = Vec::new();
    for line in headers.get_all(&name) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(element.as_bytes());
    // A host that was asked for has no bytes that a field can't have; the rest came as fields.
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// An address as RFC 7239 §6 writes it.
struct Node(IpAddr);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "\"[{}]\"", address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let told = |address: &str, lines: &str, trusted: &str, rfc7239: bool| {
            let mut headers = HeaderMap::new();
            for line in lines.lines() {
                let (name, value) = line.split_once(": ").unwrap();
                headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            let peer = Peer { address: address.parse().unwrap(), is_encrypted: true, handshake: None };
            let trusted_proxies =
                if trusted.is_empty() { Vec::new() } else { vec![trusted.parse().unwrap()] };
            tell(
                &mut headers,
                &peer,
                false,
                "www.a.test:8443",
                &ForwardedFields { trusted_proxies, rfc7239 },
            );
            let lines = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines.join("\n")
        };
        let own = "x-forwarded-for: 192.0.2.1\nx-forwarded-host: www.a.test:8443\nx-forwarded-proto: https";
        assert_eq!(told("192.0.2.1:5", "", "", false), own);
        let claims = "x-forwarded-for: 9.9.9.9\nx-forwarded-proto: http\nx-forwarded-host: evil\nx-real-ip: 9.9.9.9\n\
                      x-forwarded-port: 1\nforwarded: for=9.9.9.9";
        assert_eq!(told("192.0.2.1:5", claims, "", false), own);
        assert_eq!(told("192.0.2.1:5", claims, "10.0.0.0/8", false), own);
        assert_eq!(told("[::ffff:192.0.2.1]:5", claims, "", false), own);
        assert_eq!(
            told(
                "10.0.0.1:5",
                "x-forwarded-for: 9.9.9.9\nx-forwarded-for: 8.8.8.8\nx-forwarded-proto: http",
                "10.0.0.0/8",
                false
            ),
            "x-forwarded-for: 9.9.9.9, 8.8.8.8, 10.0.0.1\nx-forwarded-host: www.a.test:8443\nx-forwarded-proto: http"
        );
        assert_eq!(
            told("[2001:db8::1]:5", "forwarded: for=9.9.9.9", "2001:db8::1", true),
            "forwarded: for=9.9.9.9, for=\"[2001:db8::1]\";host=\"www.a.test:8443\";proto=https\n\
             x-forwarded-for: 2001:db8::1\nx-forwarded-host: www.a.test:8443\nx-forwarded-proto: https"
        );
    }
}
