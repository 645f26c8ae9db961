//! The body of an origin's response: how long it is waited for, and whether it really came to its end.

use super::classify;
use super::pool::Link;
use crate::flight::FetchFailure;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How long an origin may be waited for while its response comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyWaits {
    /// For the next bytes.
    pub(super) between: Duration,
    /// Altogether.
    pub(super) whole: Duration,
}

/// The body of an origin's response.
///
/// Only the time during which somebody waits for the origin counts: a client that does not read is not the origin's
/// silence. Both waits are measured so, the one for the next bytes and the one for all of them.
pub(crate) struct ResponseBody<B = Incoming> {
    body: B,
    /// The connection it comes by. `None` only in tests.
    link: Option<Link>,
    waits: BodyWaits,
    /// How much of `waits.whole` is left.
    left: Duration,
    waiting: Option<Waiting>,
}

struct Waiting {
    since: Instant,
    end: Pin<Box<Sleep>>,
    /// What has happened when it ends.
    failure: FetchFailure,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, link: Option<Link>, waits: BodyWaits) -> Self {
        Self { body, link, waits, left: waits.whole, waiting: None }
    }

    fn begin_waiting(waits: BodyWaits, left: Duration) -> Waiting {
        let (length, failure) = if left < waits.between {
            (left, FetchFailure::ResponseTimedOut)
        } else {
            (waits.between, FetchFailure::BodyTimedOut)
        };
        let since = Instant::now();
        Waiting { since, end: Box::pin(tokio::time::sleep(length)), failure }
    }
}

impl<B: Body<Data = Bytes, Error = hyper::Error> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = FetchFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, FetchFailure>>> {
        let this = &mut *self;
        let Poll::Ready(read) = Pin::new(&mut this.body).poll_frame(cx) else {
            let (waits, left) = (this.waits, this.left);
            let waiting = this.waiting.get_or_insert_with(|| Self::begin_waiting(waits, left));
            ready!(waiting.end.as_mut().poll(cx));
            return Poll::Ready(Some(Err(waiting.failure)));
        };
        if let Some(waiting) = this.waiting.take() {
            this.left = this.left.saturating_sub(waiting.since.elapsed());
        }
        Poll::Ready(match read {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => Some(Err(match classify(&error) {
                // What came before was a part of a response.
                FetchFailure::Closed | FetchFailure::Unreachable => FetchFailure::Truncated,
                failure => failure,
            })),
            // An origin that sent more than the length it gave: who knows which of the two is wrong.
            None if this.link.as_ref().is_some_and(Link::sent_more) => Some(Err(FetchFailure::Malformed)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// Gives a byte after each of these waits, and ends after the last.
    struct Dripping {
        waits: Vec<Duration>,
        sleeping: Option<Pin<Box<Sleep>>>,
    }

    impl Body for Dripping {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            let Some(wait) = self.waits.first().copied() else { return Poll::Ready(None) };
            let sleeping = self.sleeping.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            ready!(sleeping.as_mut().poll(cx));
            self.sleeping = None;
            self.waits.remove(0);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// Reads to the end, with this long between the frames: how many came, and what ended it.
    async fn read(waits: &[u64], reader_ms: u64) -> (usize, Result<(), FetchFailure>) {
        let waits = waits.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let limits = BodyWaits { between: Duration::from_millis(100), whole: Duration::from_millis(250) };
        let mut body = ResponseBody::new(Dripping { waits, sleeping: None }, None, limits);
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(_) => count += 1,
                Err(failure) => return (count, Err(failure)),
            }
            tokio::time::sleep(Duration::from_millis(reader_ms)).await;
        }
        (count, Ok(()))
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_end() {
        assert_eq!(read(&[0, 0, 0], 0).await, (3, Ok(())));
        assert_eq!(read(&[90, 90], 0).await, (2, Ok(())));
        assert_eq!(read(&[90, 110], 0).await, (1, Err(FetchFailure::BodyTimedOut)));
        assert_eq!(read(&[90, 90, 90], 0).await, (2, Err(FetchFailure::ResponseTimedOut)));
        // A reader that takes its time is no silence of the origin.
        assert_eq!(read(&[60, 60, 60, 60], 1000).await, (4, Ok(())));
    }
}
