//! Where requests begin and end on a connection.

use http::{Request, Response, Version, header};
use http_body_util::{BodyExt, Empty};
use httpcache::{Checked, HeadLimits, Requests};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

const LIMITS: HeadLimits = HeadLimits { head_bytes: 2048, target_bytes: 512, fields: 32 };

/// Requests on a connection: where their bytes are split changes nothing, and in what has passed hyper sees as many
/// requests as the check did.
pub fn framing(input: &[u8]) {
    let mut whole = Requests::new(LIMITS);
    let checked = whole.check(input);
    assert!(checked.passed <= input.len());
    for step in [1, 2, 7, 64] {
        let mut split = Requests::new(LIMITS);
        assert_eq!(in_steps(&mut split, input, step), checked, "in steps of {step}");
        assert_eq!(split.heads(), whole.heads(), "in steps of {step}");
    }
    let (seen, ended) = seen_by_hyper(&input[..checked.passed]);
    if ended {
        assert!(seen <= whole.heads(), "hyper saw {seen} requests, the check {}", whole.heads());
    } else {
        assert_eq!(seen, whole.heads(), "requests that hyper saw, and the check");
    }
}

fn in_steps(requests: &mut Requests, input: &[u8], step: usize) -> Checked {
    let mut passed = 0;
    for end in (0..input.len()).step_by(step).chain([input.len()]) {
        let checked = requests.check(&input[passed..end.max(passed)]);
        passed += checked.passed;
        if checked.refusal.is_some() {
            return Checked { passed, ..checked };
        }
    }
    Checked { passed, refusal: None }
}

/// How many requests hyper reads from these bytes, and whether one of them was to be the last on its connection.
fn seen_by_hyper(bytes: &[u8]) -> (u64, bool) {
    let seen = Cell::new(0);
    let ends = Cell::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        seen.set(seen.get() + 1);
        let mut named = request.headers().get_all(header::CONNECTION).iter();
        ends.set(ends.get() || request.version() == Version::HTTP_10 || named.any(|value| !value.is_empty()));
        async move {
            // An error is the end of the bytes, of which there may be too few.
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let mut serving = pin!(hyper::server::conn::http1::Builder::new().serve_connection(Wire(bytes), service));
    // All bytes are there and all can be written: who waits, waits for ever.
    for _ in 0..=bytes.len() {
        if serving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            break;
        }
    }
    (seen.get(), ends.get())
}

/// A connection whose client has sent all it will, and reads everything.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let (now, later) = self.0.split_at(buffer.remaining().min(self.0.len()));
        buffer.put_slice(now);
        self.0 = later;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
