//! The `Cache-Status` field (RFC 9211), written as a structured field (RFC 9651).

use http::StatusCode;

use crate::field;

/// The longest `detail`; a longer one is cut.
pub const DETAIL_BYTES_MAX: usize = 256;

/// The longest `key`; a longer one is cut.
pub const KEY_BYTES_MAX: usize = 1024;

/// Room for what mostly is told.
const TYPICAL_BYTES: usize = 96;

/// Why a request went forward (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ForwardReason {
    /// The cache was not to handle it.
    Bypass,
    /// Its method has to be forwarded.
    Method,
    /// Nothing stored for the URL.
    UriMiss,
    /// Something stored for the URL, but no variant that matches.
    VaryMiss,
    /// Nothing stored, for some other or unknown reason.
    Miss,
    /// The request's own directives asked for it.
    Request,
    /// Something stored, but stale.
    Stale,
    /// A piece stored, but not the one asked for.
    Partial,
}

impl ForwardReason {
    /// The token of RFC 9211.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// What one cache did with a request. A member of the field's list: append it after those of caches nearer to the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStatus {
    text: String,
}

impl CacheStatus {
    /// Served from the cache. `cache` is its name.
    pub fn hit(cache: &str) -> Self {
        Self::named(cache).parameter("hit", None)
    }

    /// Sent forward.
    pub fn forwarded(cache: &str, reason: ForwardReason) -> Self {
        Self::named(cache).parameter("fwd", Some(reason.token()))
    }

    /// Answered by the cache itself, neither hit nor forward: an error of its own, say. Say why with [`Self::detail`].
    pub fn named(cache: &str) -> Self {
        let mut text = String::with_capacity(TYPICAL_BYTES);
        if is_sf_token(cache) {
            text.push_str(cache);
        } else {
            push_sf_string(&mut text, cache, KEY_BYTES_MAX);
        }
        Self { text }
    }

    /// The status that the forwarded request was answered with (`fwd-status`).
    #[must_use]
    pub fn forward_status(self, status: StatusCode) -> Self {
        self.parameter("fwd-status", Some(status.as_str()))
    }

    /// How long the response stays fresh (`ttl`); negative when it is stale.
    #[must_use]
    pub fn ttl_secs(self, secs: i64) -> Self {
        // RFC 9651 §3.3.1: an integer has at most 15 digits.
        const INTEGER_MAX: i64 = 999_999_999_999_999;
        self.parameter("ttl", Some(itoa::Buffer::new().format(secs.clamp(-INTEGER_MAX, INTEGER_MAX))))
    }

    /// The response was stored.
    #[must_use]
    pub fn stored(self) -> Self {
        self.parameter("stored", None)
    }

    /// The request waited for another one's answer (`collapsed`).
    #[must_use]
    pub fn collapsed(self) -> Self {
        self.parameter("collapsed", None)
    }

    /// The cache key. Bytes that a structured string cannot hold become `?`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        let mut status = self.parameter("key", Some(""));
        push_sf_string(&mut status.text, key, KEY_BYTES_MAX);
        status
    }

    /// Anything else worth saying; a token where it is one, a string otherwise.
    #[must_use]
    pub fn detail(self, detail: &str) -> Self {
        let is_short_token = detail.len() <= DETAIL_BYTES_MAX && is_sf_token(detail);
        let mut status = self.parameter("detail", Some(""));
        if is_short_token {
            status.text.push_str(detail);
        } else {
            push_sf_string(&mut status.text, detail, DETAIL_BYTES_MAX);
        }
        status
    }

    /// The member as it stands in the field: visible ASCII.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn parameter(mut self, name: &str, value: Option<&str>) -> Self {
        self.text.push_str("; ");
        self.text.push_str(name);
        if let Some(value) = value {
            self.text.push('=');
            self.text.push_str(value);
        }
        self
    }
}

/// RFC 9651 §3.3.4: a letter or `*`, then characters of a token, `:` or `/`.
fn is_sf_token(text: &str) -> bool {
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'*');
    starts && text.bytes().all(|b| field::is_token(&[b]) || matches!(b, b':' | b'/'))
}

/// RFC 9651 §3.3.3: visible ASCII and spaces, with quotes and backslashes escaped.
fn push_sf_string(quoted: &mut String, text: &str, bytes_max: usize) {
    quoted.push('"');
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    if is_plain {
        quoted.push_str(&text[..text.len().min(bytes_max)]);
        quoted.push('"');
        return;
    }
    for character in text.chars().take(bytes_max) {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn members() {
        let cases = [
            (CacheStatus::hit("Everfresh").ttl_secs(376), "Everfresh; hit; ttl=376"),
            (CacheStatus::hit("edge 1").ttl_secs(-412), "\"edge 1\"; hit; ttl=-412"),
            (
                CacheStatus::forwarded("e", ForwardReason::UriMiss).forward_status(StatusCode::OK).stored(),
                "e; fwd=uri-miss; fwd-status=200; stored",
            ),
            (CacheStatus::forwarded("e", ForwardReason::Miss).collapsed(), "e; fwd=miss; collapsed"),
            (CacheStatus::named("e").detail("seq:17/a"), "e; detail=seq:17/a"),
            (CacheStatus::named("e").detail("17"), "e; detail=\"17\""),
            (CacheStatus::named("e").detail("a \"b\" \\ é\n"), "e; detail=\"a \\\"b\\\" \\\\ ??\""),
            (CacheStatus::named("").key("GET /ä"), "\"\"; key=\"GET /?\""),
            (CacheStatus::named("e").ttl_secs(i64::MIN), "e; ttl=-999999999999999"),
        ];
        for (status, expected) in cases {
            assert_eq!(status.as_str(), expected);
            assert!(HeaderValue::from_str(status.as_str()).is_ok());
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "a".repeat(KEY_BYTES_MAX * 2);
        assert_eq!(
            CacheStatus::named("e").detail(&long).as_str().len(),
            "e; detail=\"\"".len() + DETAIL_BYTES_MAX
        );
        assert_eq!(CacheStatus::named("e").key(&long).as_str().len(), "e; key=\"\"".len() + KEY_BYTES_MAX);
    }
}
