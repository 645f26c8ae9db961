//! What stands between a client's bytes and the parser of HTTP/1.1: one rule of framing, and time limits.
//!
//! Bytes reach the parser only once [`Requests`] has passed them, a head only as a whole. What is refused reaches it as a
//! request that no client can send, and that [`Notes`] explain, so that the refusal is answered in its turn, after the
//! answers to what came before it. Nothing comes after it. What the [`FastLane`] can answer does not reach the parser either.

use super::fast_lane::FastLane;
use http::{Method, StatusCode};
use httpcache::{Checked, FramingRefusal, HeadLimits, Requests};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What a refused head becomes. Its method is in lower case, as none is that passes.
const STAND_IN: &[u8] = b"refused / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How much is read at a time of a head that did not come as a whole, in bytes.
const PART_BYTES: usize = 4096;

/// How much is read of a client that was refused and goes on sending, in bytes: if it were not read, the client's
/// system would drop the answer unread.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// For how long.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a request does not reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Its framing.
    #[error(transparent)]
    Framing(#[from] FramingRefusal),
    /// Its head took too long.
    #[error("the head of the request took too long")]
    HeadTimeout,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Framing(refusal) => refusal.status(),
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Framing(refusal) => refusal.name(),
            Self::HeadTimeout => "head-timeout",
        }
    }
}

/// What the two ends of one connection tell each other: the stream that is read, and those who answer.
#[derive(Debug)]
pub(super) struct Notes {
    opened: Instant,
    refused: OnceLock<Refused>,
    broken: OnceLock<FramingRefusal>,
    answered: AtomicU64,
    /// When the last answer ended, in milliseconds since the connection was opened.
    answered_at: AtomicU64,
    switched: AtomicBool,
    is_last: AtomicBool,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            refused: OnceLock::new(),
            broken: OnceLock::new(),
            answered: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            switched: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
        }
    }

    /// Why this request is refused, if it is the one that stands in for a refused head.
    pub(super) fn refused(&self, method: &Method) -> Option<Refused> {
        if method.as_str() == "refused" { self.refused.get().copied() } else { None }
    }

    /// Why the body of the last request broke off, if its framing did it.
    pub(super) fn broken(&self) -> Option<FramingRefusal> {
        self.broken.get().copied()
    }

    /// An answer has been written.
    pub(super) fn answered(&self) {
        let at = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered_at.store(at, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Since when no request has been under way, of so many that came; `None` while one is.
    fn idle_since(&self, came: u64) -> Option<Instant> {
        let is_idle = self.answered.load(Ordering::Relaxed) >= came;
        is_idle.then(|| self.opened + Duration::from_millis(self.answered_at.load(Ordering::Relaxed)))
    }

    /// The next answer is to be the connection's last.
    pub(super) fn make_last(&self) {
        self.is_last.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }

    /// The answer under way switches to another protocol: what comes after it is no HTTP.
    pub(super) fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first byte of a head, or from the start of the connection, to the head's end.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// A client's connection, read through the rule.
pub(super) struct Guarded<S> {
    stream: S,
    /// Whether the client has not taken what was last written.
    is_stalled: Arc<AtomicBool>,
    requests: Requests,
    notes: Arc<Notes>,
    /// Where plain hits are answered, so that the parser never sees their requests.
    lane: FastLane,
    /// How many heads had passed, of requests whose answers are all written and flushed, when the last one was.
    settled: u64,
    /// Bytes that the parser has not got yet, empty most of the time.
    held: Vec<u8>,
    /// How many of them it may have.
    cleared: usize,
    /// Whether the rest of them has not been looked at.
    is_unchecked: bool,
    /// How many bytes were read for nothing.
    lingered: usize,
    ending: Ending,
    patience: Patience,
    waits_for: Option<Wait>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a look at bytes came to. What was neither answered nor passed is to be shown again, with more.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    /// How many bytes were requests that the lane has answered, or is answering.
    answered: usize,
    /// How many after them the parser may have.
    passed: usize,
    refusal: Option<FramingRefusal>,
    /// Whether the rest waits for the lane's answer to be written, and was not looked at.
    is_blocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The connection goes on.
    No,
    /// The body under way can't be read on.
    Broken(FramingRefusal),
    /// Nothing more is read of a client that stays silent.
    Silent,
    /// Nothing more is read, though more may come.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    First,
    Next,
    Rest,
    Linger,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    pub(super) fn new(
        stream: S,
        is_stalled: Arc<AtomicBool>,
        limits: HeadLimits,
        patience: Patience,
        notes: Arc<Notes>,
        lane: FastLane,
    ) -> Self {
        Self {
            stream,
            is_stalled,
            requests: Requests::new(limits),
            notes,
            lane,
            settled: 0,
            held: Vec::new(),
            cleared: 0,
            is_unchecked: false,
            lingered: 0,
            ending: Ending::No,
            patience,
            waits_for: None,
            timer: None,
        }
    }

    /// Reads into the parser's buffer and takes out what it must not see yet. Says whether something is left there.
    fn read_direct(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buffer)?.is_pending() {
            return self.wait(cx).map(Ok);
        }
        let new = &buffer.filled()[before..];
        if new.is_empty() {
            return Poll::Ready(Ok(true));
        }
        let read = self.answer_or_pass(cx, new)?;
        let passed = read.answered..read.answered + read.passed;
        if read.refusal.is_none() && passed.end < new.len() {
            self.held.extend_from_slice(&new[passed.end..]);
            self.is_unchecked = read.is_blocked;
            self.waits_for = None;
        }
        buffer.filled_mut()[before..].copy_within(passed, 0);
        buffer.set_filled(before + read.passed);
        if let Some(refusal) = read.refusal {
            self.refuse(refusal.into());
        }
        Poll::Ready(Ok(read.passed > 0))
    }

    /// Looks at bytes: has the lane answer what it can, as long as it is open, and says what the parser may have of the rest.
    fn answer_or_pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<Looked> {
        let mut looked = Looked::default();
        while looked.answered < bytes.len() && self.is_lane_open() {
            let rest = &bytes[looked.answered..];
            let Checked { passed, refusal } = self.requests.check_head(rest);
            if passed == 0 {
                return Ok(Looked { refusal, ..looked });
            }
            if !self.lane.begin(&rest[..passed], !self.requests.is_at_head()) {
                looked.passed = passed;
                break;
            }
            looked.answered += passed;
            if self.poll_answer(cx)?.is_pending() {
                return Ok(Looked { is_blocked: true, ..looked });
            }
        }
        let checked = self.requests.check(&bytes[looked.answered + looked.passed..]);
        Ok(Looked { passed: looked.passed + checked.passed, refusal: checked.refusal, ..looked })
    }

    /// Whether this is a place between two answers: whatever the parser got to see is answered, and all of it is with the
    /// client. An answer that is to be the last is the server's, since it has to say so.
    fn is_lane_open(&self) -> bool {
        self.settled == self.requests.heads()
            && self.requests.is_at_head()
            && self.ending == Ending::No
            && !self.notes.is_last()
            && !self.notes.switched.load(Ordering::Relaxed)
    }

    /// Writes what is left of an answer of the lane's.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lane.is_answering() {
            ready!(self.lane.poll_answer(&mut self.stream, cx))?;
            self.settled = self.requests.heads();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more of what is held.
    fn read_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut part = [0; PART_BYTES];
        let mut buffer = ReadBuf::new(&mut part);
        if Pin::new(&mut self.stream).poll_read(cx, &mut buffer)?.is_pending() {
            return self.wait(cx).map(|_| Ok(()));
        }
        if buffer.filled().is_empty() {
            if self.requests.is_at_head() {
                self.refuse(FramingRefusal::CutOff.into());
            } else {
                self.ending = Ending::Silent;
            }
            return Poll::Ready(Ok(()));
        }
        self.held.extend_from_slice(buffer.filled());
        Poll::Ready(self.check_held(cx))
    }

    /// Looks at what is held.
    fn check_held(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let read = self.answer_or_pass(cx, &held)?;
        held.drain(..read.answered);
        // An idle connection keeps no buffer.
        self.held = if held.is_empty() { Vec::new() } else { held };
        self.cleared = read.passed;
        self.is_unchecked = read.is_blocked;
        if read.answered + read.passed > 0 {
            self.waits_for = None;
        }
        if let Some(refusal) = read.refusal {
            self.refuse(refusal.into());
        }
        Ok(())
    }

    /// What passed before stays; what follows is the refusal and the end.
    fn refuse(&mut self, refused: Refused) {
        self.held.truncate(self.cleared);
        match refused {
            Refused::Framing(refusal) if !self.requests.is_at_head() => {
                let _ = self.notes.broken.set(refusal);
                self.ending = Ending::Broken(refusal);
            }
            _ => {
                let _ = self.notes.refused.set(refused);
                self.held.extend_from_slice(STAND_IN);
                self.cleared = self.held.len();
                self.ending = Ending::Refused;
            }
        }
    }

    /// Nothing has come. Ready once that took too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !self.requests.is_at_head() {
            return Poll::Pending;
        }
        if !self.held.is_empty() {
            ready!(self.poll_timer(cx, Wait::Rest, self.patience.head));
            self.refuse(Refused::HeadTimeout);
        } else if self.requests.heads() == 0 {
            ready!(self.poll_timer(cx, Wait::First, self.patience.head));
            self.ending = Ending::Silent;
        } else {
            ready!(self.poll_idle(cx));
            self.ending = Ending::Silent;
        }
        Poll::Ready(false)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, wait: Wait, limit: Duration) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if self.waits_for != Some(wait) {
            self.waits_for = Some(wait);
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx)
    }

    /// Ready once the connection has been idle for too long. Nobody looks here when an answer ends, nor is the timer
    /// touched by each request: whether time is up is found out when it is.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.patience.idle;
        loop {
            ready!(self.poll_timer(cx, Wait::Next, limit));
            let now = Instant::now();
            let due = match self.notes.idle_since(self.requests.heads()) {
                Some(since) if !self.is_stalled.load(Ordering::Relaxed) => since + limit,
                _ => now + limit,
            };
            match &mut self.timer {
                Some(timer) if due > now => timer.as_mut().reset(due),
                _ => return Poll::Ready(()),
            }
        }
    }

    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.cleared.min(buffer.remaining());
        buffer.put_slice(&self.held[..length]);
        self.cleared -= length;
        if length == self.held.len() {
            // An idle connection keeps no buffer.
            self.held = Vec::new();
        } else {
            self.held.drain(..length);
        }
    }

    /// Reads and drops what a refused client goes on sending.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut part = [0; PART_BYTES];
        while self.lingered < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut part);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(self.poll_timer(cx, Wait::Linger, LINGER_TIMEOUT));
                    break;
                }
            }
        }
        self.ending = Ending::Silent;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.notes.switched.load(Ordering::Relaxed) {
            this.requests.switch_protocol();
            if this.ending == Ending::No {
                this.cleared = this.held.len();
            }
        }
        loop {
            ready!(this.poll_answer(cx))?;
            if this.cleared > 0 {
                this.hand_out(buffer);
                return Poll::Ready(Ok(()));
            }
            if std::mem::take(&mut this.is_unchecked) {
                this.check_held(cx)?;
                continue;
            }
            match this.ending {
                Ending::No => {}
                Ending::Broken(refusal) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
                Ending::Silent => return Poll::Ready(Ok(())),
                // The end of what is read would end the answer, too. The connection ends after it by itself.
                Ending::Refused => return Poll::Pending,
            }
            if this.held.is_empty() {
                if ready!(this.read_direct(cx, buffer))? {
                    return Poll::Ready(Ok(()));
                }
            } else {
                ready!(this.read_on(cx))?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The server flushes when it holds nothing more: what is answered by then is with the client.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.settled = self.notes.answered.load(Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_answer(cx))?;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        let has_unread_body = !this.requests.is_at_head() && !this.notes.switched.load(Ordering::Relaxed);
        match this.ending {
            Ending::Broken(_) | Ending::Refused => this.linger(cx),
            Ending::No if has_unread_body => this.linger(cx),
            Ending::No | Ending::Silent => Poll::Ready(Ok(())),
        }
    }
}
