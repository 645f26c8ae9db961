//! Heads: the start line, the fields, and what they say of the body.

use super::{Body, FramingRefusal, HeadLimits, METHOD_BYTES_MAX};
use http::Uri;
use memchr::memchr;
use std::ops::Range;

/// The bytes that are good anywhere in a target.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let ascii = byte as u8;
        plain[byte] = ascii.is_ascii_alphanumeric()
            || matches!(
                ascii,
                b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b'?' | b'&' | b'=' | b'+' | b',' | b';' | b'@'
            )
            || matches!(ascii, b'!' | b'$' | b'\'' | b'(' | b')' | b'*');
        byte += 1;
    }
    plain
};

/// How far a head was read. All positions count from its first byte.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Up to where there is no end of a line after `line`.
    searched: usize,
    /// Where the line begins that is not whole yet.
    line: usize,
    fields: usize,
    http10: bool,
    length: Option<u64>,
    is_chunked: bool,
    host: Option<Range<usize>>,
    /// The authority of a target in absolute form.
    authority: Option<Range<usize>>,
}

/// A line that has come as a whole.
struct Line {
    /// Where it begins.
    start: usize,
    /// Where its CR LF begins.
    end: usize,
}

type Found = Result<Option<(usize, Body)>, FramingRefusal>;

impl Head {
    /// Reads on in the head of a request, of which `bytes` are all that has come. Its length, once it is whole.
    pub(super) fn request(&mut self, bytes: &[u8], limits: &HeadLimits) -> Found {
        if self.line == 0 {
            match bytes.first() {
                None | Some(b'A'..=b'Z') => {}
                Some(b'\r' | b'\n') => return Err(FramingRefusal::EmptyLine),
                Some(_) => return Err(FramingRefusal::MethodForm),
            }
        }
        while let Some(line) = self.next_line(bytes, limits)? {
            let text = &bytes[line.start..line.end];
            if line.start == 0 {
                self.request_line(text, limits)?;
            } else if text.is_empty() {
                self.end_of_request(bytes)?;
                let body = match (self.is_chunked, self.length) {
                    (true, _) => Body::Chunked,
                    (false, Some(length)) => Body::Counted(length),
                    (false, None) => Body::Nothing,
                };
                let length = self.line;
                *self = Self::default();
                return Ok(Some((length, body)));
            } else {
                self.field(text, line.start, limits)?;
            }
        }
        Ok(None)
    }

    fn next_line(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<Line>, FramingRefusal> {
        let too_large =
            if self.line == 0 { FramingRefusal::TargetTooLong } else { FramingRefusal::HeadTooLarge };
        let Some(at) = memchr(b'\n', &bytes[self.searched..]) else {
            self.searched = bytes.len();
            return if bytes.len() > limits.head_bytes { Err(too_large) } else { Ok(None) };
        };
        let end = self.searched + at;
        if end >= limits.head_bytes {
            return Err(too_large);
        }
        let line = line_end(&bytes[self.line..end])? + self.line;
        let line = Line { start: self.line, end: line };
        self.line = end + 1;
        self.searched = end + 1;
        Ok(Some(line))
    }

    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), FramingRefusal> {
        let space = memchr(b' ', line).ok_or(FramingRefusal::RequestLine)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        check_method(method)?;
        let end = memchr(b' ', rest).ok_or(FramingRefusal::RequestLine)?;
        let (target, version) = (&rest[..end], &rest[end + 1..]);
        if target.is_empty() || memchr(b' ', version).is_some() {
            return Err(FramingRefusal::RequestLine);
        }
        self.version(version)?;
        if method == b"CONNECT" {
            return Err(FramingRefusal::Connect);
        }
        if target.len() > limits.target_bytes {
            return Err(FramingRefusal::TargetTooLong);
        }
        if target.iter().any(|byte| matches!(byte, b'#' | b'\t')) {
            return Err(FramingRefusal::TargetForm);
        }
        // Whoever reads the request next must take it for a URL, too: not every byte is one's, and what is above ASCII
        // has to be UTF-8. Those of nearly all requests are known to be good without a closer look.
        if !target.iter().all(|byte| PLAIN[usize::from(*byte)]) && Uri::try_from(target).is_err() {
            return Err(FramingRefusal::TargetForm);
        }
        match target {
            [b'/', ..] => Ok(()),
            b"*" if method == b"OPTIONS" => Ok(()),
            _ => {
                let authority = authority(target).ok_or(FramingRefusal::TargetForm)?;
                let start = space + 1;
                self.authority = Some(start + authority.start..start + authority.end);
                Ok(())
            }
        }
    }

    fn version(&mut self, version: &[u8]) -> Result<(), FramingRefusal> {
        match version {
            b"HTTP/1.1" => Ok(()),
            b"HTTP/1.0" => {
                self.http10 = true;
                Ok(())
            }
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                Err(FramingRefusal::Version)
            }
            _ => Err(FramingRefusal::RequestLine),
        }
    }

    fn field(&mut self, line: &[u8], start: usize, limits: &HeadLimits) -> Result<(), FramingRefusal> {
        let (name, value) = split_field(line)?;
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(FramingRefusal::TooManyFields);
        }
        // Framing and routing fields have names of these lengths only.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() {
                    return Err(FramingRefusal::HostRepeated);
                }
                let host = trim(value);
                check_host(host)?;
                // A slice of the line, whose value lies at its end but for spaces.
                let value_start = start + line.len() - value.len();
                let from = value_start + value.iter().take_while(|byte| **byte == b' ').count();
                self.host = Some(from..from + host.len());
            }
            14 if is_like(name, b"content-length") => {
                if memchr(b'_', name).is_some() {
                    return Err(FramingRefusal::LookAlike);
                }
                if self.length.is_some() {
                    return Err(FramingRefusal::LengthRepeated);
                }
                self.length = Some(content_length(trim(value))?);
            }
            17 if is_like(name, b"transfer-encoding") => {
                if memchr(b'_', name).is_some() {
                    return Err(FramingRefusal::LookAlike);
                }
                if self.is_chunked {
                    return Err(FramingRefusal::CodingRepeated);
                }
                if !trim(value).eq_ignore_ascii_case(b"chunked") {
                    return Err(FramingRefusal::CodingForm);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<(), FramingRefusal> {
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(FramingRefusal::LengthAndCoding),
            (true, None) if self.http10 => Err(FramingRefusal::CodingInHttp10),
            _ => Ok(()),
        }
    }

    fn end_of_request(&self, bytes: &[u8]) -> Result<(), FramingRefusal> {
        self.check_lengths()?;
        match (&self.authority, &self.host) {
            (_, None) if !self.http10 => Err(FramingRefusal::HostMissing),
            (Some(authority), Some(host))
                if !is_same_authority(&bytes[authority.clone()], &bytes[host.clone()]) =>
            {
                Err(FramingRefusal::HostMismatch)
            }
            _ => Ok(()),
        }
    }
}

/// Checks a line without its LF. Where its text ends.
pub(super) fn line_end(line: &[u8]) -> Result<usize, FramingRefusal> {
    let [text @ .., last] = line else { return Err(FramingRefusal::BareLf) };
    // Without branches, so that the compiler looks at many bytes at once.
    let is_bad = text.iter().fold(false, |bad, byte| bad | is_control(*byte));
    if is_bad {
        let cr = memchr(b'\r', text).is_some();
        return Err(if cr { FramingRefusal::BareCr } else { FramingRefusal::Control });
    }
    if *last == b'\r' { Ok(text.len()) } else { Err(FramingRefusal::BareLf) }
}

fn is_control(byte: u8) -> bool {
    ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
}

/// The name and the value of a field line.
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), FramingRefusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(FramingRefusal::FoldedLine);
    }
    let end = line.iter().position(|byte| !IS_TOKEN[usize::from(*byte)]);
    let Some(end) = end else { return Err(FramingRefusal::NoColon) };
    match line[end] {
        b':' if end > 0 => Ok((&line[..end], &line[end + 1..])),
        b' ' | b'\t' if end > 0 => {
            let after = line[end..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
            Err(match after {
                Some(b':') => FramingRefusal::SpaceBeforeColon,
                _ => FramingRefusal::FieldName,
            })
        }
        _ => Err(FramingRefusal::FieldName),
    }
}

/// The characters of a token (RFC 9110 §5.6.2).
const IS_TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_symbol = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        table[byte] = is_symbol || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// The value without spaces around it. A tab there is legal, too, but not every parser takes it away.
fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
    &value[start..end]
}

/// Equal but for case, and for `_` in the place of `-`.
fn is_like(name: &[u8], framing: &[u8]) -> bool {
    name.len() == framing.len()
        && name
            .iter()
            .zip(framing)
            .all(|(byte, right)| byte.to_ascii_lowercase() == *right || (*byte == b'_' && *right == b'-'))
}

/// Whether a server that reads `_` as `-` would take it for a framing field.
pub(super) fn looks_like_framing(name: &[u8]) -> bool {
    memchr(b'_', name).is_some() && (is_like(name, b"content-length") || is_like(name, b"transfer-encoding"))
}

/// Upper-case letters and `-`.
pub(super) fn check_method(method: &[u8]) -> Result<(), FramingRefusal> {
    let is_good = method.first().is_some_and(u8::is_ascii_uppercase)
        && method.len() <= METHOD_BYTES_MAX
        && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    if is_good { Ok(()) } else { Err(FramingRefusal::MethodForm) }
}

/// A plain decimal number.
pub(super) fn content_length(value: &[u8]) -> Result<u64, FramingRefusal> {
    let is_plain = match value {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_plain {
        return Err(FramingRefusal::LengthForm);
    }
    // Many parsers count in signed numbers.
    let number = value
        .iter()
        .try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')));
    number.and_then(|number| u64::try_from(number).ok()).ok_or(FramingRefusal::LengthForm)
}

/// The characters of a host and port; whether they make one is for others to say.
pub(super) fn check_host(host: &[u8]) -> Result<(), FramingRefusal> {
    let may_stand =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    if !host.is_empty() && host.iter().all(may_stand) { Ok(()) } else { Err(FramingRefusal::HostForm) }
}

/// Where the authority lies in a target in absolute form.
fn authority(target: &[u8]) -> Option<Range<usize>> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))?;
    let rest = &target[scheme.len()..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    check_host(&rest[..length]).ok()?;
    Some(scheme.len()..scheme.len() + length)
}

/// Whether two say the same host and port; the default ports count as none.
pub(super) fn is_same_authority(one: &[u8], other: &[u8]) -> bool {
    let bare = |authority: &[u8]| {
        let ported = [&b":80"[..], b":443", b":"].into_iter().find(|port| authority.ends_with(port));
        authority.len() - ported.map_or(0, <[u8]>::len)
    };
    one[..bare(one)].eq_ignore_ascii_case(&other[..bare(other)])
}
