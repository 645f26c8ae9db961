//! How log entries and zone snapshots reach edges, and how acknowledgements and leases come back.
//!
//! A [`Feed`] opens a [`EdgeLink`]: two bounded queues of messages whose other end is a [`ControlLink`]. Whether a
//! link lies within one process ([`InProcess`]) or crosses a network ([`Http2`]) shows in nothing but its speed.
//! Feeds only hurry entries along: a message that is lost, doubled or reordered costs time and never truth, since
//! an edge applies in order, notices a gap by the seq and asks for what it lacks.
//!
//! Knows no SQL and nothing of the public API.

mod address;
#[doc(hidden)]
pub mod fuzzing;
mod http2;
mod identity;
mod in_process;
mod message;
mod wire;

pub use address::{
    CONTROL_ADDRESSES_MAX, ControlAddress, ControlAddressError, ControlTrust, ControlTrustError,
};
pub use http2::{FEED_PATH, Http2, Http2Error, LINKS_MAX, serve};
pub use identity::{
    Credentials, EDGE_NAME_BYTES_MAX, EdgeKey, EdgeSecret, Gate, IdentityError, KEY_FILE, NewEdgeKey,
    SECRET_BYTES, TokenHash,
};
pub use in_process::InProcess;
pub use message::{EdgeToControl, Grant, Hello, Ping, Prefetch, Prefetched, ToEdge};
pub use wire::{FRAME_BYTES_MAX, WireError, configuration_of_bytes, configuration_to_bytes};

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// How many messages wait in each direction of a link before the sender waits.
pub const LINK_MESSAGES_MAX: usize = 64;

/// How many entries one message carries at most.
pub const ENTRIES_PER_MESSAGE_MAX: usize = 256;

/// How many URLs to fetch ahead, or outcomes of them, one message carries at most.
pub const PREFETCHES_PER_MESSAGE_MAX: usize = 64;

/// Why no link could be opened.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The control plane of this process has ended.
    #[error("the control plane takes no more links")]
    Closed,
    /// The control plane could not be reached over the network, or refused.
    #[error("no feed from the control plane")]
    Http2(#[source] Http2Error),
}

/// A way to reach the control plane. An edge opens a link, and opens another when it breaks.
pub trait Feed: Send + Sync + 'static {
    /// Opens one link.
    fn open(&self) -> impl Future<Output = Result<EdgeLink, FeedError>> + Send;
}

/// An edge's end of a link. It is broken when `receive` answers `None` or `send` fails.
#[derive(Debug)]
pub struct EdgeLink {
    outgoing: mpsc::Sender<EdgeToControl>,
    incoming: mpsc::Receiver<ToEdge>,
    /// Counts up as messages or parts of them arrive.
    progress: Arc<AtomicU64>,
}

/// The control plane's end of a link.
#[derive(Debug)]
pub struct ControlLink {
    outgoing: mpsc::Sender<ToEdge>,
    incoming: mpsc::Receiver<EdgeToControl>,
    peer: Peer,
}

/// Who is at the other end of a control plane's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An edge of this process.
    SameProcess,
    /// An edge that has shown its key.
    Known {
        /// Which key.
        key_id: String,
        /// The edge it was made for.
        edge_name: String,
        /// From where the link was opened, if that can be told.
        address: Option<IpAddr>,
    },
}

/// The other end of the link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed's link is broken")]
pub struct LinkBroken;

impl EdgeLink {
    /// Sends, waiting for room.
    pub async fn send(&self, message: EdgeToControl) -> Result<(), LinkBroken> {
        self.outgoing.send(message).await.map_err(|_| LinkBroken)
    }

    /// The next message; `None` once the link is broken. Dropping the future loses nothing.
    pub async fn receive(&mut self) -> Option<ToEdge> {
        let message = self.incoming.recv().await;
        self.progress.fetch_add(1, Ordering::Relaxed);
        message
    }

    /// Changes while something arrives, be it a part of a long message: a link that stands still between two readings
    /// may be dead.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}

impl ControlLink {
    /// Sends, waiting for room.
    pub async fn send(&self, message: ToEdge) -> Result<(), LinkBroken> {
        self.outgoing.send(message).await.map_err(|_| LinkBroken)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// A sender that outlives a borrow of the link.
    pub fn sender(&self) -> mpsc::Sender<ToEdge> {
        self.outgoing.clone()
    }

    /// The next message; `None` once the link is broken. Dropping the future loses nothing.
    pub async fn receive(&mut self) -> Option<EdgeToControl> {
        self.incoming.recv().await
    }
}

/// Makes the two ends of a link within this process.
pub fn pair() -> (EdgeLink, ControlLink) {
    let (to_control, from_edge) = mpsc::channel(LINK_MESSAGES_MAX);
    let (to_edge, from_control) = mpsc::channel(LINK_MESSAGES_MAX);
    (
        EdgeLink { outgoing: to_control, incoming: from_control, progress: Arc::default() },
        ControlLink { outgoing: to_edge, incoming: from_edge, peer: Peer::SameProcess },
    )
}
