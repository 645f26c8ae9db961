//! Where messages of HTTP/1.1 begin and end on a connection, by one rule without leniency (RFC 9112).
//!
//! Two parsers that read the same bytes as different messages let one client smuggle a request into another's
//! connection. [`Requests`] follows the bytes of a connection and lets pass only what every parser reads the same way; the first byte that could be read in two ways is a [`FramingRefusal`], and the connection has no future.
//! `docs/framing.md` lists what is refused.
//!
//! Nothing is copied: whoever asks keeps the bytes that did not pass yet and shows them again with those that came
//! meanwhile. That is never more than one head, one line of chunk framing or one trailer field. Where the bytes are
//! split changes no verdict.

mod body;
mod head;
mod refusal;

use body::{Chunks, Progress};
use head::Head;
use http::{HeaderMap, Method, Uri, header};

pub use refusal::FramingRefusal;

/// How large a trailer section may be, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// How long the name of a method may be, in bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// How large the head of a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Start line, fields and the empty line, in bytes.
    pub head_bytes: usize,
    /// The request target, in bytes.
    pub target_bytes: usize,
    /// How many fields.
    pub fields: usize,
}

/// What a look at more bytes of a connection found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many bytes from the first on are good. The rest is to be shown again, with more.
    pub passed: usize,
    /// Why nothing after them will ever pass.
    pub refusal: Option<FramingRefusal>,
}

/// Follows the requests that come on a connection.
#[derive(Debug)]
pub struct Requests {
    limits: HeadLimits,
    at: At,
    head: Head,
    heads: u64,
}

#[derive(Debug)]
enum At {
    Head,
    Counted(u64),
    Chunked(Chunks),
    /// Everything up to the connection's end.
    Rest,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Counted(u64),
    Chunked,
}

impl At {
    /// Behind a head.
    fn after(body: Body) -> Self {
        match body {
            Body::Nothing | Body::Counted(0) => Self::Head,
            Body::Counted(left) => Self::Counted(left),
            Body::Chunked => Self::Chunked(Chunks::default()),
        }
    }
}

impl Requests {
    /// A connection from its first byte on.
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, at: At::Head, head: Head::default(), heads: 0 }
    }

    /// Looks at bytes: those that did not pass last time, and what came after them.
    pub fn check(&mut self, bytes: &[u8]) -> Checked {
        let (head, limits, heads) = (&mut self.head, &self.limits, &mut self.heads);
        follow(&mut self.at, bytes, |rest| {
            let found = head.request(rest, limits)?;
            *heads += u64::from(found.is_some());
            Ok(found)
        })
    }

    /// The same, but looks at one head only: at nothing that follows it, were it that request's body. To be asked between
    /// two requests.
    pub fn check_head(&mut self, bytes: &[u8]) -> Checked {
        debug_assert!(self.is_at_head(), "no head begins here");
        let read = self.head.request(bytes, &self.limits);
        let (passed, refusal) = match read {
            Ok(Some((length, body))) => {
                self.heads += 1;
                self.at = At::after(body);
                (length, None)
            }
            Ok(None) => (0, None),
            Err(refusal) => (0, Some(refusal)),
        };
        Checked { passed, refusal }
    }

    /// How many whole heads have passed.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte belongs to a head, the next request's first byte included.
    pub fn is_at_head(&self) -> bool {
        matches!(self.at, At::Head)
    }

    /// The connection speaks another protocol from here on (101): everything passes.
    pub fn switch_protocol(&mut self) {
        self.at = At::Rest;
    }
}

fn follow(
    at: &mut At,
    bytes: &[u8],
    mut head: impl FnMut(&[u8]) -> Result<Option<(usize, Body)>, FramingRefusal>,
) -> Checked {
    let mut passed = 0;
    while passed < bytes.len() {
        let rest = &bytes[passed..];
        let read = match at {
            At::Head => head(rest).map(|found| {
                let (length, body) = found?;
                *at = At::after(body);
                Some(length)
            }),
            At::Counted(left) => {
                let taken = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= taken as u64;
                if *left == 0 {
                    *at = At::Head;
                }
                Ok(Some(taken))
            }
            At::Chunked(chunks) => chunks.read(rest).map(|progress| match progress {
                Progress::Wait => None,
                Progress::Passed(taken) => Some(taken),
                Progress::Ended(taken) => {
                    *at = At::Head;
                    Some(taken)
                }
            }),
            At::Rest => Ok(Some(rest.len())),
        };
        match read {
            Ok(Some(taken)) => passed += taken,
            Ok(None) => break,
            Err(refusal) => return Checked { passed, refusal: Some(refusal) },
        }
    }
    Checked { passed, refusal: None }
}

/// The same rule for a request that came in frames (RFC 9113 §8.2, §8.3.1): what could become ambiguous when it is passed
/// on in HTTP/1.1.
pub fn check_framed_request(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), FramingRefusal> {
    head::check_method(method.as_str().as_bytes())?;
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::CONNECTION) {
        return Err(FramingRefusal::HopField);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        head::content_length(length.as_bytes())?;
    }
    if lengths.next().is_some() {
        return Err(FramingRefusal::LengthRepeated);
    }
    if headers.keys().any(|name| head::looks_like_framing(name.as_str().as_bytes())) {
        return Err(FramingRefusal::LookAlike);
    }
    let mut hosts = headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(FramingRefusal::HostRepeated);
    }
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (None, None) => Err(FramingRefusal::HostMissing),
        (Some(authority), Some(host)) if !head::is_same_authority(authority, host) => {
            Err(FramingRefusal::HostMismatch)
        }
        (Some(named), _) | (None, Some(named)) => head::check_host(named),
    }
}

#[cfg(test)]
mod tests;
