//! HTTP/2 frames that make work without asking for content: how many a client may send.
//!
//! The protocol's parser bounds what a client can make it remember; this bounds what a client can make it do. Resets
//! weigh most: each one may have cost a fetch that nobody waits for any more.

use crate::state::{Counters, State};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How much work without content a client may ask for at once.
const IDLE_WORK_MAX: u32 = 1000;

/// How much of it is forgiven in a second.
const IDLE_WORK_PER_SEC: u32 = 100;

/// What a reset counts.
const RESET_WORK: u32 = 5;

/// Before the first frame (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;

const FRAME_HEAD_BYTES: usize = 9;

/// A client's connection, its frames counted as they come.
pub(super) struct Counted<S> {
    stream: S,
    frames: Frames,
    forgiven_at: Instant,
    state: Arc<State>,
}

/// The work that frames have made.
#[derive(Debug)]
struct Frames {
    /// How much of the preface or of a payload is still to come.
    skip: u32,
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    work: u32,
}

impl Frames {
    fn new() -> Self {
        Self { skip: PREFACE_BYTES, head: [0; FRAME_HEAD_BYTES], head_bytes: 0, work: 0 }
    }

    /// Reads on, wherever the bytes are split.
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                bytes = &bytes[skipped..];
                self.skip -= u32::try_from(skipped).unwrap_or(self.skip);
                continue;
            }
            let taken = bytes.len().min(FRAME_HEAD_BYTES - self.head_bytes);
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == FRAME_HEAD_BYTES {
                self.head_bytes = 0;
                self.work = self.work.saturating_add(self.count_frame());
            }
        }
    }

    /// Takes back what is forgiven after a while, and says whether anything was.
    fn forgive(&mut self, since: Duration) -> bool {
        let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        if seconds == 0 || self.work <= IDLE_WORK_MAX / 2 {
            return false;
        }
        // Not more than a burst, however long nothing was to be forgiven.
        let forgiven = seconds.saturating_mul(IDLE_WORK_PER_SEC).min(IDLE_WORK_MAX);
        self.work = self.work.saturating_sub(forgiven);
        true
    }

    fn count_frame(&mut self) -> u32 {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const WINDOW_UPDATE: u8 = 8;
        const CONTINUATION: u8 = 9;
        const END_STREAM: u8 = 1;
        let [high, middle, low, kind, flags, ..] = self.head;
        self.skip = u32::from_be_bytes([0, high, middle, low]);
        match kind {
            DATA if self.skip == 0 && flags & END_STREAM == 0 => 1,
            // Requests have limits of their own, and readers say often how much they have read.
            DATA | HEADERS | CONTINUATION | WINDOW_UPDATE => 0,
            RST_STREAM => RESET_WORK,
            _ => 1,
        }
    }
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, state: Arc<State>) -> Self {
        Self { stream, frames: Frames::new(), forgiven_at: Instant::now(), state }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = read {
            self.frames.read(&buffer.filled()[before..]);
            let since = self.forgiven_at.elapsed();
            if self.frames.forgive(since) {
                self.forgiven_at = Instant::now();
            }
            if self.frames.work > IDLE_WORK_MAX {
                Counters::count(&self.state.counters.flooded);
                let flood = "too many resets, settings, pings and empty frames";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood)));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, kind: u8, flags: u8) -> Vec<u8> {
        let [_, high, middle, low] = length.to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(3, length as usize));
        frame
    }

    #[test]
    fn frames_without_content_are_counted_wherever_the_bytes_are_split() {
        let cases = [
            (frame(8, 6, 0), 1, "ping"),
            (frame(0, 4, 0), 1, "settings"),
            (frame(5, 2, 0), 1, "priority"),
            (frame(4, 3, 0), RESET_WORK, "reset"),
            (frame(0, 0, 0), 1, "empty data"),
            (frame(0, 0, 1), 0, "the end of a body"),
            (frame(70_000, 0, 0), 0, "data"),
            (frame(10, 1, 4), 0, "headers"),
            (frame(4, 8, 0), 0, "window"),
            (frame(4, 99, 0), 1, "unknown"),
        ];
        for piece_bytes in [1, 7, 9, 100_000] {
            let mut frames = Frames::new();
            frames.read(&[b'P'; PREFACE_BYTES as usize]);
            let mut expected = 0;
            for (bytes, work, what) in &cases {
                bytes.chunks(piece_bytes).for_each(|piece| frames.read(piece));
                expected += work;
                assert_eq!(frames.work, expected, "{what}");
            }
        }
    }

    #[test]
    fn work_is_forgiven_in_time() {
        for (work, secs, left) in [
            (IDLE_WORK_MAX + 1, 0, IDLE_WORK_MAX + 1),
            (IDLE_WORK_MAX + 1, 2, IDLE_WORK_MAX + 1 - 2 * IDLE_WORK_PER_SEC),
            (IDLE_WORK_MAX + 1, 1_000_000, 1),
            (IDLE_WORK_MAX / 2, 5, IDLE_WORK_MAX / 2),
        ] {
            let mut frames = Frames::new();
            frames.work = work;
            assert_eq!(frames.forgive(Duration::from_secs(secs)), left != work);
            assert_eq!(frames.work, left);
        }
    }
}
