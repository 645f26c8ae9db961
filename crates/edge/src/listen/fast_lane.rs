//! Plain hits of HTTP/1.1, answered on the connection itself, below the library's server.
//!
//! The server makes a map of a request's fields and another of its answer's; a hit needs neither. So a request that asks for
//! nothing in particular is read here from its bytes, and a hit is written as bytes: a head, and the stored content by
//! reference. [`read`] is the one place that says which requests are plain, [`Proxy::plain_hit`] which hits.
//!
//! Invariants. The lane is open only between two answers: everything that the server got to see is answered, written and
//! flushed, so that answers keep their order; and until the lane's own answer is written nothing more is read. Whatever is not a
//! clear hit in memory reaches the server as if the lane weren't there. What can be observed of an answer (its bytes, counts,
//! log, limits of time) does not tell which way it went.

use super::guard::Notes;
use crate::body::Pieces;
use crate::outcome::Outcome;
use crate::proxy::{Detour, PlainHit, Proxy};
use crate::record::{Record, Recorder};
use crate::respond::{told_hit, write_plain_head};
use crate::state::Counters;
use memchr::memchr;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// How many pieces of content are written at once. With pieces of 64 KiB that is more than a socket mostly takes.
const PIECES_AT_ONCE: usize = 16;

/// How much room for heads a connection keeps, in bytes. Most answers' heads are smaller.
const HEAD_BYTES_KEPT: usize = 1024;

/// The fields that may change what a hit is answered with, or what becomes of the connection. Whoever makes the answer to a
/// stored response depend on another one names it here. (`Connection` and `Host` are looked at by themselves.)
const FIELDS_THAT_MATTER: [&[u8]; 7] =
    [b"cdn-loop", b"content-length", b"expect", b"range", b"transfer-encoding", b"upgrade", b"via"];

/// The same where the request's directives count.
const DIRECTIVES: [&[u8]; 2] = [b"cache-control", b"pragma"];

/// How the names of more such fields begin: conditions, and what edges tell each other.
const PREFIXES_THAT_MATTER: [&[u8]; 2] = [b"if-", b"everfresh-"];

/// A request that asks for a URL and for nothing in particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainRequest<'h> {
    /// As it was written, without spaces around it.
    pub(crate) host: &'h str,
    /// The path with its query, as it was written.
    pub(crate) target: &'h str,
    pub(crate) fields: Fields<'h>,
}

/// Reads a head whose framing is checked: the request, if it is plain.
fn read(head: &[u8], honours_directives: bool) -> Result<PlainRequest<'_>, Detour> {
    let rest = head.strip_prefix(b"GET ").ok_or(Detour::Method)?;
    let (target, rest) = rest.split_at(memchr(b' ', rest).ok_or(Detour::Target)?);
    let is_path = target.first() == Some(&b'/') && target.iter().all(|byte| may_stand_in_path(*byte));
    let target = std::str::from_utf8(target).ok().filter(|_| is_path).ok_or(Detour::Target)?;
    let fields = Fields(rest.strip_prefix(b" HTTP/1.1\r\n").ok_or(Detour::Version)?);
    let (mut left, mut host) = (fields.clone(), None);
    for (name, value) in &mut left {
        let is = |known: &&[u8]| name.eq_ignore_ascii_case(known);
        let begins =
            |prefix: &&[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if is(&b"host".as_slice()) {
            host = Some(value);
        } else if is(&b"connection".as_slice()) {
            if !value.eq_ignore_ascii_case(b"keep-alive") {
                return Err(Detour::Field);
            }
        } else if FIELDS_THAT_MATTER.iter().any(is)
            || PREFIXES_THAT_MATTER.iter().any(begins)
            || (honours_directives && DIRECTIVES.iter().any(is))
        {
            return Err(Detour::Field);
        }
    }
    if !left.0.is_empty() {
        // No line of a checked head is like that.
        return Err(Detour::Field);
    }
    let host = host.and_then(|host| std::str::from_utf8(host).ok()).ok_or(Detour::Host)?;
    Ok(PlainRequest { host, target, fields })
}

/// The characters of a path and its query (RFC 3986 §3.3, §3.4), which every parser of URLs takes as they are.
fn may_stand_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte)
}

/// Field lines whose form is checked: names, and values without spaces around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields<'h>(&'h [u8]);

impl<'h> Iterator for Fields<'h> {
    type Item = (&'h [u8], &'h [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = self.0.split_at_checked(memchr(b'\r', self.0)?)?;
        self.0 = rest.get(2..)?;
        let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
        Some((name, value[1..].trim_ascii()))
    }
}

/// One connection's lane.
pub(super) struct FastLane {
    proxy: Arc<Proxy>,
    recorder: Arc<Recorder>,
    notes: Arc<Notes>,
    /// The head of the answer under way; kept for its room.
    head: Vec<u8>,
    answer: Option<Answer>,
}

/// An answer that is being written.
struct Answer {
    hit: PlainHit,
    record: Record,
    /// How much of the head is written.
    head_written: usize,
    /// How much of the content is written.
    content_written: u64,
}

impl FastLane {
    pub(super) fn new(proxy: Arc<Proxy>, recorder: Arc<Recorder>, notes: Arc<Notes>) -> Self {
        Self { proxy, recorder, notes, head: Vec::new(), answer: None }
    }

    /// Begins the answer to the request with this head, if it is a plain hit. Whether it has a body, the framing knows.
    pub(super) fn begin(&mut self, head: &[u8], has_body: bool) -> bool {
        let begun = if has_body { Err(Detour::Body) } else { self.try_to_begin(head) };
        match begun {
            Ok(answer) => {
                self.answer = Some(answer);
                true
            }
            Err(detour) => {
                self.proxy.state.counters.detoured(detour);
                false
            }
        }
    }

    fn try_to_begin(&mut self, head: &[u8]) -> Result<Answer, Detour> {
        let state = &*self.proxy.state;
        let request = read(head, state.config.honour_request_directives)?;
        let hit = self.proxy.plain_hit(&request)?;
        let told = told_hit(state, &hit.object, hit.seen, hit.now);
        let outcome = Outcome { request_id: state.next_request_id(), ..told.outcome };
        self.head.clear();
        write_plain_head(&mut self.head, state, &hit.object, &told, outcome.request_id, hit.now);
        Counters::count(&state.counters.requests);
        Counters::count(&state.counters.hits);
        Counters::count(&state.counters.fast_hits);
        let record = self.recorder.begin_plain(head, &request, (hit.object.status, outcome));
        Ok(Answer { hit, record, head_written: 0, content_written: 0 })
    }

    /// Whether an answer is under way.
    pub(super) fn is_answering(&self) -> bool {
        self.answer.is_some()
    }

    /// Writes what is left of the answer under way. Ready, too, when there is none.
    pub(super) fn poll_answer<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Ok(())) };
        let written = ready!(answer.poll_write(&self.head, stream, cx));
        if let Some(answer) = self.answer.take()
            && written.is_ok()
        {
            answer.record.end();
        }
        self.notes.answered();
        if self.head.capacity() > HEAD_BYTES_KEPT {
            self.head = Vec::new();
        }
        Poll::Ready(written)
    }
}

impl Answer {
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        head: &[u8],
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // It was whole when the answer began, and what is whole stays so.
        let length = self.hit.pieces().map_or(0, Pieces::length);
        while self.head_written < head.len() || self.content_written < length {
            let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE + 1];
            let head_left = &head[self.head_written..];
            let content_left =
                self.hit.pieces().into_iter().flat_map(|pieces| pieces.from(self.content_written));
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(std::iter::once(head_left).chain(content_left)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            let skipped = usize::from(head_left.is_empty());
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices[skipped..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(head_left.len());
            self.head_written += of_head;
            self.content_written += (written - of_head) as u64;
            self.record.sent((written - of_head) as u64);
        }
        Pin::new(stream).poll_flush(cx)
    }
}
