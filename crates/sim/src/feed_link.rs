//! Feeds with a careless network between their ends.
//!
//! Each end of a link is the real one of [`feed::pair`]; between them messages are lost, doubled and overtaken, as the
//! contract of feeds allows.

use crate::lane::{Care, End, Lane};
use crate::machine::MachineId;
use crate::network::{Incoming, Network, Path};
use feed::{ControlLink, EdgeLink, EdgeToControl, Feed, FeedError, ToEdge};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many messages are on their way in one direction.
const MESSAGES_MAX: usize = 64;

/// The lanes of one link.
#[derive(Clone)]
pub(crate) struct Lanes {
    up: Arc<Lane<EdgeToControl>>,
    down: Arc<Lane<ToEdge>>,
}

impl Lanes {
    /// The link breaks for both.
    pub(crate) fn sever(&self) {
        self.up.finish(End::Broken);
        self.down.finish(End::Broken);
    }
}

/// What arrives at the control plane.
pub(crate) struct FeedEnd(Lanes);

/// The feed of one edge.
pub(crate) struct SimulatedFeed {
    pub(crate) net: Arc<Network>,
    pub(crate) edge: MachineId,
    pub(crate) control: MachineId,
    pub(crate) care: Care,
    /// The link that is open, to be severed.
    pub(crate) open: Arc<Mutex<Option<Lanes>>>,
}

impl Feed for SimulatedFeed {
    async fn open(&self) -> Result<EdgeLink, FeedError> {
        let listening = self.net.reach(self.edge, self.control).await.map_err(|_| FeedError::Closed)?;
        let path = |from, to| Path { net: Arc::clone(&self.net), from, to };
        let lanes = Lanes {
            up: Lane::new(&path(self.edge, self.control), self.care, MESSAGES_MAX),
            down: Lane::new(&path(self.control, self.edge), self.care, MESSAGES_MAX),
        };
        let (edge, far) = feed::pair();
        tokio::spawn(carry_at_edge(far, lanes.clone()));
        *self.open.lock() = Some(lanes.clone());
        let incoming = Incoming::Feed(Arc::new(Mutex::new(Some(FeedEnd(lanes)))));
        listening.send(None, incoming, 0).map_err(|_| FeedError::Closed)?;
        Ok(edge)
    }
}

async fn put<T: Send + Clone + 'static>(lane: &Lane<T>, message: T) -> Result<(), End> {
    std::future::poll_fn(|cx| match lane.send(Some(cx), message.clone(), 1) {
        Ok(true) => std::task::Poll::Ready(Ok(())),
        Ok(false) => std::task::Poll::Pending,
        Err(end) => std::task::Poll::Ready(Err(end)),
    })
    .await
}

/// Lets go of a link's lanes when its carrier ends, or its process does.
struct Held(Lanes);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.sever();
    }
}

async fn carry_at_edge(mut link: ControlLink, lanes: Lanes) {
    let held = Held(lanes);
    loop {
        tokio::select! {
            biased;
            arrived = held.0.down.receive() => match arrived {
                Ok(arrived) if link.send(arrived.message.clone()).await.is_ok() => {}
                _ => return,
            },
            message = link.receive() => match message {
                Some(message) if put(&held.0.up, message.clone()).await.is_ok() => {}
                _ => return,
            },
        }
    }
}

/// Carries for the control plane's end, once its link is taken.
pub(crate) async fn carry_at_control(end: FeedEnd, accept: mpsc::Sender<ControlLink>) {
    let held = Held(end.0);
    let (mut link, near) = feed::pair();
    if accept.send(near).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            biased;
            arrived = held.0.up.receive() => match arrived {
                Ok(arrived) if link.send(arrived.message.clone()).await.is_ok() => {}
                _ => return,
            },
            message = link.receive() => match message {
                Some(message) if put(&held.0.down, message.clone()).await.is_ok() => {}
                _ => return,
            },
        }
    }
}
