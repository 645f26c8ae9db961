//! Waiting for something rare beside something frequent.
//!
//! Whoever awaits two things polls both whenever one of them moves. What tells a connection that the edge ends takes a lock at
//! each poll, one that connections of all workers share; a connection is polled at each request. So the rare one is polled
//! only when it has asked for it.

use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled once, and from then on only after it was woken.
pub(super) struct Woken<'f, F> {
    future: Pin<&'f mut F>,
    bell: Arc<Bell>,
    /// Whom the bell wakes, to be compared without its lock.
    known: Option<Waker>,
}

/// What the future wakes.
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is looked for: if it is another's by now, that one looks here after it has said so.
        self.has_rung.store(true, Ordering::Release);
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<'f, F: Future> Woken<'f, F> {
    pub(super) fn new(future: Pin<&'f mut F>) -> Self {
        let bell = Bell { has_rung: AtomicBool::new(true), task: Mutex::new(None) };
        Self { future, bell: Arc::new(bell), known: None }
    }
}

impl<F: Future> Future for Woken<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        if !this.known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *this.bell.task.lock() = Some(cx.waker().clone());
            this.known = Some(cx.waker().clone());
        }
        if !this.bell.has_rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.bell.has_rung.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&this.bell));
        this.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::sync::watch;

    #[tokio::test]
    async fn it_is_polled_only_when_it_asked_for_it_and_misses_nothing() {
        let (tell, mut told) = watch::channel(false);
        let mut polls = 0;
        {
            let mut wait = pin!(async { told.wait_for(|told| *told).await.map(|_| ()) });
            let mut counted = pin!(std::future::poll_fn(|cx| {
                polls += 1;
                wait.as_mut().poll(cx)
            }));
            let mut woken = Woken::new(counted.as_mut());
            for _ in 0..100 {
                let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut woken).poll(cx)));
                assert!(polled.await.is_pending());
            }
            let waiting = async {
                tokio::task::yield_now().await;
                tell.send(true).unwrap();
            };
            let (woken, ()) = tokio::join!(woken, waiting);
            assert!(woken.is_ok());
        }
        assert_eq!(polls, 2);
    }
}
