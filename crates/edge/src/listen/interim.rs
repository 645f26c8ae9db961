//! Where interim responses join what the HTTP/1.1 server writes to its client.
//!
//! The server writes responses in order and knows nothing of these. It flushes the stream only once it has written all that it
//! holds, and while a request is being answered it holds nothing new. So after a flush, and before the next byte that it
//! writes, the stream stands between two responses: there what was queued for the request under way belongs, ahead of its
//! final response. If the server still has bytes of an earlier answer, since the client is slow to take them, interim
//! responses wait for the flush; and if the final response comes first, there is no place left for them.

use crate::interim::InterimQueue;
use bytes::{Buf, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection, with interim responses among what is written.
pub(super) struct WithInterim<S> {
    stream: S,
    queue: Arc<InterimQueue>,
    /// The rest of the one that is being written.
    left: Bytes,
    /// Whether the server has written all that it held when it last could.
    is_between: bool,
}

impl<S: AsyncWrite + Unpin> WithInterim<S> {
    pub(super) fn new(stream: S, queue: Arc<InterimQueue>) -> Self {
        Self { stream, queue, left: Bytes::new(), is_between: true }
    }

    /// Writes what is queued, if this is the place for it.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.left.is_empty() {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.left))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.left.advance(written);
            }
            match self.queue.take() {
                Some(next) => self.left = next,
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Before the server writes: what is queued goes first, or not at all.
    fn before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_between || !self.left.is_empty() {
            ready!(self.poll_interim(cx))?;
            self.is_between = false;
        } else {
            self.queue.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithInterim<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithInterim<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.before_write(cx))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.before_write(cx))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_between = true;
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interim::InterimResponse;
    use http::{HeaderMap, StatusCode, Version};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

    fn queue(queue: &InterimQueue) {
        let response = InterimResponse { status: StatusCode::EARLY_HINTS, headers: HeaderMap::new() };
        queue.push(Version::HTTP_11, &response);
    }

    fn stream(bytes: usize) -> (WithInterim<DuplexStream>, DuplexStream, Arc<InterimQueue>) {
        let (ours, client) = tokio::io::duplex(bytes);
        let queue = Arc::new(InterimQueue::default());
        (WithInterim::new(ours, Arc::clone(&queue)), client, queue)
    }

    async fn all(stream: WithInterim<DuplexStream>, mut client: DuplexStream) -> String {
        drop(stream);
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn they_go_between_two_responses() {
        let (mut stream, client, queued) = stream(1000);
        queue(&queued);
        stream.flush().await.unwrap();
        stream.write_all(b"first").await.unwrap();
        stream.flush().await.unwrap();
        // Queued and answered in one turn of the server: no flush lies between.
        queue(&queued);
        stream.write_all(b"second").await.unwrap();
        stream.write_all(b" goes on").await.unwrap();
        assert_eq!(all(stream, client).await, format!("{EARLY}first{EARLY}second goes on"));
    }

    #[tokio::test]
    async fn they_never_go_into_a_response() {
        let (mut stream, client, queued) = stream(1000);
        stream.write_all(b"first").await.unwrap();
        // The server has not flushed: it may hold more of the first response.
        queue(&queued);
        stream.write_all(b" goes on").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"second").await.unwrap();
        assert_eq!(all(stream, client).await, "first goes onsecond");
    }

    #[tokio::test]
    async fn one_that_the_client_takes_in_parts_is_written_whole() {
        let (mut stream, mut client, queued) = stream(7);
        queue(&queued);
        queue(&queued);
        let writing = tokio::spawn(async move { stream.write_all(b"final").await });
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap().unwrap();
        assert_eq!(text, format!("{EARLY}{EARLY}final"));
    }
}
