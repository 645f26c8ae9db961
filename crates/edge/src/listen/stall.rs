//! A client's connection that breaks when the client takes nothing for too long.

use crate::state::{Counters, State};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A connection whose writes fail once none has made progress for a while. Reads are not limited here.
pub(super) struct StallBreaker<S> {
    stream: S,
    wait_max: Duration,
    /// Made with the first write that has to wait, and set anew for each later one.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: Arc<AtomicBool>,
    state: Arc<State>,
}

impl<S> StallBreaker<S> {
    pub(super) fn new(stream: S, state: Arc<State>) -> Self {
        let wait_max = state.config.client_stall_timeout;
        Self { stream, wait_max, timer: None, is_waiting: Arc::default(), state }
    }

    /// Whether the client has not taken what was last written, to be asked from above.
    pub(super) fn is_waiting(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_waiting)
    }

    fn limit<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting.store(false, Ordering::Relaxed);
            return written;
        }
        let wait_max = self.wait_max;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait_max)));
        if !self.is_waiting.swap(true, Ordering::Relaxed) {
            timer.as_mut().reset(Instant::now() + wait_max);
        }
        ready!(timer.as_mut().poll(cx));
        Counters::count(&self.state.counters.stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallBreaker<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallBreaker<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limit(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.limit(cx, written)
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
