//! Field values as RFC 9110 §5.6 builds them: lists, tokens, quoted strings, dates.
//!
//! Values are read as bytes, since a header may hold any. Reading is lenient: what cannot be understood is skipped
//! or handed on as it is, and the caller decides what is safe.

use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName};

/// Removes optional whitespace (RFC 9110 §5.6.3) at both ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let is_ows = |b: &u8| matches!(b, b' ' | b'\t');
    let start = bytes.iter().position(|b| !is_ows(b)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|b| !is_ows(b)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The elements of a list-valued field over all its lines, in order, trimmed, without empty ones (RFC 9110 §5.6.1).
/// A comma inside a quoted string does not separate.
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|value| Elements { rest: value.as_bytes(), has_escapes: true })
}

/// As [`elements`], for lists of entity tags: in those a backslash is an ordinary character (RFC 9110 §8.8.3).
pub(crate) fn entity_tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|value| Elements { rest: value.as_bytes(), has_escapes: false })
}

struct Elements<'a> {
    rest: &'a [u8],
    has_escapes: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest, self.has_escapes);
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Where the first element ends. A quote that is never closed counts as an ordinary character: otherwise it would
/// swallow the directives after it, `no-store` among them.
fn element_end(bytes: &[u8], has_escapes: bool) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b',' => return at,
            b'"' => at = quoted_end(bytes, at, has_escapes).unwrap_or(at) + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The position of the quote that closes the one at `open`.
fn quoted_end(bytes: &[u8], open: usize, has_escapes: bool) -> Option<usize> {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' if has_escapes => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// Is this a non-empty token (RFC 9110 §5.6.2)?
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// The only value of a field. A field sent on several lines has no single value.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(trim(value.as_bytes())),
        _ => None,
    }
}

/// An HTTP date in any of the three forms of RFC 9110 §5.6.7; see [`crate::date`].
pub(crate) fn date(bytes: &[u8]) -> Option<SystemTime> {
    crate::date::parse(trim(bytes))
}

/// The date in the first line of a field, if it is one.
pub(crate) fn first_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    date(headers.get(name)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CACHE_CONTROL, HeaderValue};

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        let found: Vec<&str> =
            elements(&headers, &CACHE_CONTROL).map(|e| std::str::from_utf8(e).unwrap()).collect();
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn lists_split_at_commas_outside_quotes() {
        check(&[], &[]);
        check(&["", " , ,\t"], &[]);
        check(&["a,b", " c "], &["a", "b", "c"]);
        check(&[r#"private="a, b", c"#], &[r#"private="a, b""#, "c"]);
        check(&[r#"x="a\", b", c"#], &[r#"x="a\", b""#, "c"]);
        check(&[r#"x="a, no-store"#], &[r#"x="a"#, "no-store"]);
        check(&[r#"x="\"#], &[r#"x="\"#]);
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use http::header::{HeaderMap, HeaderName, HeaderValue};

    /// Header fields written as lines of `name: value`.
    pub(crate) fn headers(lines: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        map
    }
}
