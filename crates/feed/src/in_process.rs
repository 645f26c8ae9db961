//! The feed between a control plane and an edge of the same process.

use crate::{ControlLink, EdgeLink, Feed, FeedError, pair};
use tokio::sync::mpsc;

/// Hands the other end of each link to the control plane of this process.
#[derive(Clone, Debug)]
pub struct InProcess {
    accept: mpsc::Sender<ControlLink>,
}

impl InProcess {
    /// Opens links towards whoever receives from `accept`'s other end.
    pub fn new(accept: mpsc::Sender<ControlLink>) -> Self {
        Self { accept }
    }
}

impl Feed for InProcess {
    async fn open(&self) -> Result<EdgeLink, FeedError> {
        let (edge, control) = pair();
        self.accept.send(control).await.map_err(|_| FeedError::Closed)?;
        Ok(edge)
    }
}
