//! The one form of a URL's path and query in which requests, targets of purges and conditions of rules are compared.

use std::borrow::Cow;

/// The one form of a path with its query (RFC 3986 §6.2.2): unreserved characters plain, everything that a URI can't
/// hold percent-encoded, hex digits in upper case, reserved characters as they came, no `.` and `..` segments in the
/// path. A `%` without two hex digits stays. `None` if it does not begin with a slash.
///
/// Normalising twice changes nothing more.
pub fn normalise(path_and_query: &str) -> Option<Cow<'_, str>> {
    if !path_and_query.starts_with('/') {
        return None;
    }
    let (path, query) = match path_and_query.find('?') {
        Some(at) => path_and_query.split_at(at),
        None => (path_and_query, ""),
    };
    let plain = path_and_query.bytes().all(|byte| byte != b'%' && may_stand_in_uri(byte));
    if plain && !path.contains("/.") {
        return Some(Cow::Borrowed(path_and_query));
    }
    let mut normalised = without_dot_segments(&with_percents_normalised(path));
    normalised.push_str(&with_percents_normalised(query));
    Some(Cow::Owned(normalised))
}

/// As [`normalise`] writes characters, of a text that may be any part of a URL.
pub(crate) fn with_percents_normalised(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    // How many more hex digits would complete an escape with a `%` that came without two of them: decoding one right
    // there would make an escape out of what was none, and normalising again would give something else.
    let mut lone_percent_lacks = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match escaped_byte(&bytes[at..]) {
            Some(value) => {
                let completes_lone = lone_percent_lacks > 0 && value.is_ascii_hexdigit();
                if is_unreserved(value) && !completes_lone {
                    out.push(char::from(value));
                } else {
                    push_escaped(&mut out, value);
                }
                lone_percent_lacks = 0;
                at += 3;
            }
            None => {
                lone_percent_lacks = match byte {
                    b'%' => 2,
                    _ if byte.is_ascii_hexdigit() && lone_percent_lacks == 2 => 1,
                    _ => 0,
                };
                if may_stand_in_uri(byte) {
                    out.push(char::from(byte));
                } else {
                    push_escaped(&mut out, byte);
                }
                at += 1;
            }
        }
    }
    out
}

/// A normalised text with its ASCII letters in lower case. Escapes stay as they are, so that what was normalised still
/// is; letters of other scripts, which are escaped, keep their case.
pub fn fold_case(normalised: &str) -> Cow<'_, str> {
    let bytes = normalised.as_bytes();
    if !bytes.iter().any(u8::is_ascii_uppercase) {
        return Cow::Borrowed(normalised);
    }
    let mut folded = String::with_capacity(normalised.len());
    let mut rest = normalised;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        folded.push_str(&plain.to_ascii_lowercase());
        let taken = if escaped_byte(escape.as_bytes()).is_some() { 3 } else { 1 };
        folded.push_str(&escape[..taken]);
        rest = &escape[taken..];
    }
    folded.push_str(&rest.to_ascii_lowercase());
    Cow::Owned(folded)
}

/// The byte that `%XX` at the beginning of `bytes` stands for.
fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Unreserved, reserved (RFC 3986 §2.2), or `%`. `#` would begin a fragment, which no request has.
fn may_stand_in_uri(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b':' | b'/' | b'?' | b'[' | b']' | b'@' | b'%')
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// RFC 3986 §5.2.4 for a path that begins with `/`. Empty segments stay.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_spares_escapes() {
        for (given, expected) in [
            ("/a", "/a"),
            ("/Ab?C=D", "/ab?c=d"),
            ("/%E5%9B%BE/X", "/%E5%9B%BE/x"),
            ("/%2FA%zZ%", "/%2Fa%zz%"),
            ("/%4%2FA", "/%4%2Fa"),
        ] {
            let folded = fold_case(given);
            assert_eq!(folded, expected, "{given}");
            assert_eq!(normalise(&folded).as_deref(), Some(expected), "{given}: still normalised");
        }
    }
}
