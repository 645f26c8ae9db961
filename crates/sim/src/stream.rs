//! A connection of bytes, between two machines.

use crate::chance::Chance;
use crate::lane::{Arrived, Care, End, Lane};
use crate::machine::{self, MachineId};
use crate::network::{Network, Path};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How many bytes are on their way, or unread, in one direction.
const WINDOW_BYTES: usize = 64 * 1024;

/// When bytes of a request left and arrived, told beside the connection.
#[derive(Default)]
pub(crate) struct Marks {
    /// When what was read last at the accepting end had been sent.
    pub(crate) sent_at: Mutex<Duration>,
    /// When the first bytes since this was taken arrived at the accepting end.
    pub(crate) arrived_at: Mutex<Option<Duration>>,
}

/// One end.
pub(crate) struct SimulatedStream {
    out: Arc<Lane<Bytes>>,
    incoming: Arc<Lane<Bytes>>,
    unread: Bytes,
    reads: Option<Pin<Box<Sleep>>>,
    is_finished: bool,
    /// Draws where writes are cut.
    chance: Chance,
    pub(crate) marks: Arc<Marks>,
    accepts: bool,
}

impl SimulatedStream {
    /// The opening and the accepting end.
    pub(crate) fn pair(net: &Arc<Network>, from: MachineId, to: MachineId) -> (Self, Self) {
        let path = |from, to| Path { net: Arc::clone(net), from, to };
        let there = Lane::new(&path(from, to), Care::Ordered, WINDOW_BYTES);
        let back = Lane::new(&path(to, from), Care::Ordered, WINDOW_BYTES);
        let marks = Arc::new(Marks::default());
        let end = |out: &Arc<Lane<Bytes>>, incoming: &Arc<Lane<Bytes>>, accepts| Self {
            out: Arc::clone(out),
            incoming: Arc::clone(incoming),
            unread: Bytes::new(),
            reads: None,
            is_finished: false,
            chance: Chance::new(net.seed, "cuts", net.next_lane(from, to)),
            marks: Arc::clone(&marks),
            accepts,
        };
        (end(&there, &back, false), end(&back, &there, true))
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unread.is_empty() {
            match std::task::ready!(this.incoming.poll_receive(cx, &mut this.reads)) {
                Ok(Arrived { sent_at, message }) => {
                    this.unread = message;
                    if this.accepts {
                        *this.marks.sent_at.lock() = sent_at;
                        this.marks.arrived_at.lock().get_or_insert_with(machine::now);
                    }
                }
                Err(End::Finished) => return Poll::Ready(Ok(())),
                Err(End::Broken) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let length = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..length]);
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut length = bytes.len().min(16 * 1024);
        if self.chance.permille(60) && length > 1 {
            length = 1 + self.chance.index(length - 1);
        }
        match self.out.send(Some(cx), Bytes::copy_from_slice(&bytes[..length]), length) {
            Ok(true) => Poll::Ready(Ok(length)),
            Ok(false) => Poll::Pending,
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_finished = true;
        self.out.finish(End::Finished);
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedStream {
    fn drop(&mut self) {
        self.incoming.go_deaf();
        self.out.finish(if self.is_finished { End::Finished } else { End::Broken });
    }
}
