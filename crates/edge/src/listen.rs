//! The threads of an edge and their listeners.
//!
//! Each worker is a thread with a runtime of its own and a listener of its own on the shared address, so that the
//! kernel spreads connections and no request changes threads.

mod connection;
mod guard;
mod stall;

use crate::clock::Clocks;
use crate::config::{EdgeConfig, EdgeConfigError};
use crate::origin::{OriginClient, OriginTls, OriginTlsError};
use crate::proxy::{Peer, Proxy};
use crate::state::{Counters, NoRandomness, State};
use crate::{follow, prefetch, sweep};
use feed::Feed;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

/// How many connections wait to be accepted.
const BACKLOG: u32 = 4096;

/// How long requests under way may take once the edge is told to end.
const GRACE: Duration = Duration::from_secs(10);

/// Why an edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] EdgeConfigError),
    /// The address can't be listened at.
    #[error("the edge can't listen at {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Certificates of origins could not be checked.
    #[error(transparent)]
    OriginTls(#[from] OriginTlsError),
    /// No thread could be started.
    #[error("no thread for the edge")]
    Thread(#[source] std::io::Error),
    /// The system gives no random numbers.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// A running edge. Dropped, it is told to end; [`EdgeHandle::stop`] also waits.
pub struct EdgeHandle {
    address: SocketAddr,
    state: Arc<State>,
    shutdown: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts an edge: listeners, workers, the follower of the log and the sweep.
pub fn start<F: Feed>(config: EdgeConfig, feed: F, clocks: Clocks) -> Result<EdgeHandle, StartError> {
    config.check()?;
    let origin_tls = OriginTls::new(&config.origin_trust)?;
    let mut address = config.listen;
    let refused = |source| StartError::Listen { address: config.listen, source };
    // Workers share the address, which would let a second edge share it too: this finds out whether one is there.
    drop(std::net::TcpListener::bind(address).map_err(refused)?);
    let mut listeners = Vec::new();
    for _ in 0..config.workers {
        let runtime = runtime()?;
        let listener = {
            let _runtime = runtime.enter();
            bind(address).map_err(refused)?
        };
        // The first one may have chosen the port.
        address = listener.local_addr().map_err(refused)?;
        listeners.push((runtime, listener));
    }
    let state = Arc::new(State::new(config, clocks)?);
    let (shutdown, down) = watch::channel(false);
    let mut threads = Vec::new();
    for (index, (runtime, listener)) in listeners.into_iter().enumerate() {
        let (state, tls, down) = (Arc::clone(&state), origin_tls.clone(), down.clone());
        threads.push(thread(format!("edge-{index}"), move || {
            runtime.block_on(serve(state, listener, tls, down))
        })?);
    }
    let (orders, prefetcher) = prefetch::channel();
    let (fetching, runtime_of_prefetch) = (Arc::clone(&state), runtime()?);
    let mut ending = down.clone();
    let fetch_ahead = async move {
        let client = OriginClient::new(Arc::clone(&fetching), origin_tls);
        tokio::select! {
            () = prefetcher.run(fetching, client) => {}
            () = ended(&mut ending) => {}
        }
    };
    threads.push(thread("edge-prefetch".into(), move || runtime_of_prefetch.block_on(fetch_ahead))?);
    let (following, runtime) = (Arc::clone(&state), runtime()?);
    let follow = async move {
        let sweeping = tokio::spawn(sweep::run(Arc::clone(&following)));
        if let Err(error) = follow::run(following, feed, orders, down).await {
            warn!(%error, "the log is not followed");
        }
        sweeping.abort();
    };
    threads.push(thread("edge-follow".into(), move || runtime.block_on(follow))?);
    info!(name = state.config.name, %address, "edge started");
    Ok(EdgeHandle { address, state, shutdown, threads })
}

/// A listener that shares its address with those of the other workers.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn runtime() -> Result<Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(StartError::Thread)
}

fn thread(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)
}

/// Waits until the edge is told to end.
pub(crate) async fn ended(down: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone, which is the same.
    let _ = down.wait_for(|down| *down).await;
}

async fn serve(state: Arc<State>, listener: TcpListener, tls: OriginTls, mut down: watch::Receiver<bool>) {
    let config = &state.config;
    let client = OriginClient::new(Arc::clone(&state), tls);
    let connections = Arc::new(Semaphore::new(config.connections_max));
    loop {
        // A place first: beyond the limit clients wait in the kernel's queue.
        let accepted = async {
            let place = Arc::clone(&connections).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = ended(&mut down) => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = Peer { address, is_encrypted: false };
                let proxy = Proxy { state: Arc::clone(&state), client: client.clone(), peer };
                let connection = connection::serve(proxy, stream, down.clone());
                tokio::spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: let some connections end.
                warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(config.connections_max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GRACE, connections.acquire_many(all)).await;
}

impl EdgeHandle {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the edge has its first configuration and holds a lease: whether it serves as it should.
    pub fn is_ready(&self) -> bool {
        self.state.zones.read().version() > 0 && self.holds_lease()
    }

    /// Whether the edge may answer from its cache.
    pub fn holds_lease(&self) -> bool {
        self.state.lease.holds((self.state.clocks.boot)())
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.state.counters
    }

    /// How many entries the memory store holds, and how many bytes they weigh.
    pub fn stored(&self) -> (usize, u64) {
        (self.state.shelf.entry_count(), self.state.shelf.weight_bytes())
    }

    /// How many marks are outstanding, and how many bytes they take.
    pub fn marks(&self) -> (usize, usize) {
        (self.state.ledger.mark_count(), self.state.ledger.memory_bytes())
    }

    /// A question that can be asked of the edge from elsewhere: whether it holds a lease, and the configuration of
    /// this version or a newer one. The first configuration ever has version 1.
    pub fn readiness(&self, version: u64) -> impl Fn() -> bool + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move || state.zones.read().version() >= version && state.lease.holds((state.clocks.boot)())
    }

    /// Tells the edge to end: no new connections, requests under way finish, the lease is given up.
    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Tells it, and waits until it has ended. Blocks.
    pub fn stop(mut self) {
        self.shut_down();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a worker ended by a panic");
            }
        }
        debug!(requests = self.state.counters.requests.load(Ordering::Relaxed), "edge ended");
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        self.shut_down();
    }
}
