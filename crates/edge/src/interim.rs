//! Interim responses (1xx) on their way from an origin to the client whose request they answer.
//!
//! They go to the client that the fetch was sent for, ahead of the final response, and nowhere else: nothing of them is
//! stored. The HTTP/1.1 server of the library has no word for them. So they are queued beside it, by the future that answers
//! the request, and the connection writes them where nothing of the server's own is on its way (see
//! [`crate::listen`]). Its HTTP/2 server offers no place at all: there they end here.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many interim responses of one request wait to be passed on. An origin may send no more than that, either.
pub(crate) const INTERIM_RESPONSES_MAX: usize = 16;

/// One interim response.
#[derive(Clone, Debug)]
pub(crate) struct InterimResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

impl InterimResponse {
    /// Whether a proxy hands it on (RFC 9110 §15.2): not a 100, which this edge's own server sends where the client asks for
    /// it, nor a 101, which is no interim response.
    pub(crate) fn is_passed_on(status: StatusCode) -> bool {
        status.is_informational() && !matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS)
    }

    /// As HTTP/1.1 writes it.
    fn to_bytes(&self) -> Bytes {
        let mut text = BytesMut::new();
        text.put_slice(b"HTTP/1.1 ");
        text.put_slice(self.status.as_str().as_bytes());
        text.put_u8(b' ');
        text.put_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        text.put_slice(b"\r\n");
        for (name, value) in &self.headers {
            text.put_slice(name.as_str().as_bytes());
            text.put_slice(b": ");
            text.put_slice(value.as_bytes());
            text.put_slice(b"\r\n");
        }
        text.put_slice(b"\r\n");
        text.freeze()
    }
}

/// The interim responses that a client's connection is to write before the final one of the request under way.
#[derive(Default)]
pub(crate) struct InterimQueue {
    is_filled: AtomicBool,
    queued: Mutex<VecDeque<Bytes>>,
}

impl InterimQueue {
    /// Queues one. Called only by the future that is to answer the request, so that none comes after its answer. A client of
    /// HTTP/1.0 is sent none (RFC 9110 §15.2).
    pub(crate) fn push(&self, version: Version, response: &InterimResponse) {
        if version != Version::HTTP_11 {
            return;
        }
        let mut queued = self.queued.lock();
        if queued.len() < INTERIM_RESPONSES_MAX {
            queued.push_back(response.to_bytes());
            self.is_filled.store(true, Ordering::Release);
        }
    }

    /// Takes the first one out. One atomic load while there is none.
    pub(crate) fn take(&self) -> Option<Bytes> {
        if !self.is_filled.load(Ordering::Acquire) {
            return None;
        }
        let mut queued = self.queued.lock();
        let first = queued.pop_front();
        self.is_filled.store(!queued.is_empty(), Ordering::Release);
        first
    }

    /// Forgets all: they can't be written any more.
    pub(crate) fn clear(&self) {
        while self.take().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16) -> InterimResponse {
        let headers = HeaderMap::from_iter([(http::header::LINK, "</a>; rel=preload".parse().unwrap())]);
        InterimResponse { status: StatusCode::from_u16(status).unwrap(), headers }
    }

    #[test]
    fn queued_as_http_1_1_in_order_and_bounded() {
        let queue = InterimQueue::default();
        assert_eq!(queue.take(), None);
        queue.push(Version::HTTP_10, &response(103));
        queue.push(Version::HTTP_2, &response(103));
        assert_eq!(queue.take(), None);
        queue.push(Version::HTTP_11, &response(103));
        queue.push(Version::HTTP_11, &response(199));
        let link = "link: </a>; rel=preload\r\n\r\n";
        assert_eq!(queue.take().unwrap(), format!("HTTP/1.1 103 Early Hints\r\n{link}"));
        assert_eq!(queue.take().unwrap(), format!("HTTP/1.1 199 \r\n{link}"));
        assert_eq!(queue.take(), None);
        for _ in 0..=INTERIM_RESPONSES_MAX {
            queue.push(Version::HTTP_11, &response(103));
        }
        assert_eq!(std::iter::from_fn(|| queue.take()).count(), INTERIM_RESPONSES_MAX);
        queue.push(Version::HTTP_11, &response(103));
        queue.clear();
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn what_is_passed_on() {
        for (status, expected) in
            [(100, false), (101, false), (102, true), (103, true), (199, true), (200, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(InterimResponse::is_passed_on(status), expected, "{status}");
        }
    }
}
