//! An edge on a runtime of its caller: it has no threads and no listeners of its own.

use super::clients::Clients;
use super::connection::{self, Ending, Worker};
use super::{StartError, is_ready};
use crate::config::EdgeConfig;
use crate::disk::{DiskCounts, DiskUsage};
use crate::origin::{OriginClient, OriginTls};
use crate::state::{Counters, State};
use crate::surroundings::Surroundings;
use crate::{follow, prefetch, sweep};
use feed::Feed;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tracing::warn;

/// An edge whose every part is a task of the runtime it was started on. It serves the connections that it is handed;
/// what its settings say of addresses, threads, TLS, admin server and access log is of no account. Dropped, it ends
/// with its runtime.
pub struct Embedded {
    worker: Arc<Worker>,
    clients: Arc<Clients>,
    shutdown: watch::Sender<bool>,
    _handed_over: watch::Sender<bool>,
    following: JoinHandle<()>,
    keeping: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Starts an edge on the current runtime. `disk_pause` is how long its disk tier, if it has one, rests between two
    /// steps of its work.
    pub fn start<F: Feed>(
        config: EdgeConfig,
        feed: F,
        surroundings: &Surroundings,
        disk_pause: impl Fn() -> Duration + Send + 'static,
    ) -> Result<Self, StartError> {
        config.check()?;
        let origin_tls = OriginTls::new(&config.origin_trust)?;
        let (state, keeper) = State::new(config, surroundings, None)?;
        let state = Arc::new(state);
        let (shutdown, down) = watch::channel(false);
        let (passed_on, handed_over) = watch::channel(false);
        let client = || OriginClient::new(Arc::clone(&state), origin_tls.clone(), surroundings.dial.clone());
        let worker = Worker {
            state: Arc::clone(&state),
            client: client(),
            routes: Arc::default(),
            tls: None,
            handshakes: Semaphore::new(0),
            ending: Ending { down: down.clone(), handed_over },
        };
        let (orders, prefetcher) = prefetch::channel();
        let prefetching = tokio::spawn(prefetcher.run(Arc::clone(&state), client()));
        let keeping = keeper.map(|keeper| tokio::spawn(keeper.run_among_others(disk_pause)));
        let sweeping = tokio::spawn(sweep::run(Arc::clone(&state)));
        let followed = Arc::clone(&state);
        let following = tokio::spawn(async move {
            if let Err(error) = follow::run(followed, feed, orders, down).await {
                warn!(%error, "the log is not followed");
            }
            prefetching.abort();
            sweeping.abort();
        });
        let clients = Arc::new(Clients::new(state.config.connections_per_client_max));
        Ok(Self { worker: Arc::new(worker), clients, shutdown, _handed_over: passed_on, following, keeping })
    }

    /// Serves one connection of a client at this address until it ends.
    pub fn serve<S>(&self, stream: S, address: SocketAddr) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(Arc::clone(&self.worker), Arc::clone(&self.clients), stream, address, false)
    }

    /// Whether the edge has its first configuration and holds a lease.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.worker.state, 1)
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.worker.state.counters
    }

    /// How its disk tier stands, and what it has counted; `None` without one.
    pub fn disk(&self) -> Option<(DiskUsage, &DiskCounts)> {
        self.worker.state.shelf.disk().map(|disk| (disk.usage(), disk.counts()))
    }

    /// Gives up the lease, lets connections end, and completes what the disk tier has begun.
    pub async fn stop(self) {
        self.shutdown.send_replace(true);
        let _ = self.following.await;
        if let Some(disk) = self.worker.state.shelf.disk() {
            disk.stop();
        }
        if let Some(keeping) = self.keeping {
            let _ = keeping.await;
        }
    }
}
