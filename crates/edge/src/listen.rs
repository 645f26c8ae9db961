//! The threads of an edge and their listeners.
//!
//! Each worker is a thread with a runtime of its own and a listener of its own on the shared address, so that the
//! kernel spreads connections and no request changes threads.

mod accept;
mod certificates;
mod clients;
mod connection;
mod embedded;
mod fast_lane;
mod frames;
mod guard;
mod hand_over;
mod http1;
mod http2;
mod interim;
mod proxy_protocol;
mod sockets;
mod stall;
mod woken;

use crate::access_log::AccessLog;
use crate::clock::Clocks;
use crate::config::{EdgeConfig, EdgeConfigError};
use crate::disk::{DiskCounts, DiskError, DiskUsage};
use crate::origin::{OriginClient, OriginTls, OriginTlsError};
use crate::state::{Counters, State};
use crate::surroundings::Surroundings;
use crate::{admin, follow, prefetch, sweep};
use certificates::Tls;
use clients::Clients;
use connection::{Ending, Worker};
use feed::Feed;
use hand_over::{Handed, Heir, Outcome};
use sockets::Addresses;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

pub use certificates::{CertificateError, CertificateFiles, TlsSettings};
pub(crate) use connection::Handshake;
pub use embedded::Embedded;
pub(crate) use fast_lane::{Fields, PlainRequest};
pub use proxy_protocol::{Network, NetworkError};

/// How often an edge that takes over looks whether it can serve.
const READY_POLL: Duration = Duration::from_millis(5);

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
    /// The edge that listens for its heir can't hand over, or this one can't listen for its own.
    #[error("cannot take over at {path}: {source}")]
    HandOver {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The access log can't be opened.
    #[error("the access log can't be opened at {file}")]
    AccessLog {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No thread could be started.
    #[error("no thread for the edge")]
    Thread(#[source] std::io::Error),
    /// What the edge keeps on disk can't be used, or the system gives no random numbers.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A running edge. Dropped, it is told to end; [`EdgeHandle::stop`] also waits.
pub struct EdgeHandle {
    addresses: Addresses,
    state: Arc<State>,
    tls: Option<Arc<Tls>>,
    shutdown: watch::Sender<bool>,
    /// Whether it accepts connections.
    open: watch::Receiver<bool>,
    handed_over: watch::Receiver<bool>,
    threads: Vec<JoinHandle<()>>,
    /// The thread that changes the disk ends last.
    disk_thread: Option<JoinHandle<()>>,
    admin: Option<Admin>,
}

/// How often an edge that takes over tries to get the admin address of the one before it.
const ADMIN_BIND_INTERVAL: Duration = Duration::from_millis(200);

/// The admin server, which outlives the workers: it tells that the edge drains.
struct Admin {
    address: SocketAddr,
    end: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Starts an edge: listeners, workers, the follower of the log and the sweep.
pub fn start<F: Feed>(config: EdgeConfig, feed: F, clocks: Clocks) -> Result<EdgeHandle, StartError> {
    config.check()?;
    let origin_tls = OriginTls::new(&config.origin_trust)?;
    let tls = config.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
    let mut handed = config.hand_over.as_deref().map(hand_over::ask).transpose()?.flatten();
    let taken = handed.as_mut().map(|handed| std::mem::take(&mut handed.sockets)).unwrap_or_default();
    let (sockets, addresses) = sockets::bind(&config, taken)?;
    let heir = match &config.hand_over {
        Some(path) => {
            let failed = |source| StartError::HandOver { path: path.clone(), source };
            Some(Heir::new(path.clone(), &sockets).map_err(failed)?)
        }
        None => None,
    };
    let sockets = sockets::spread(sockets, config.workers);
    let access_log = open_access_log(&config)?;
    if let (Some(handed), Some(path), Some(_)) = (&mut handed, &config.hand_over, &config.disk) {
        handed.ask_for_disk(path)?;
    }
    // Before there are runtimes: a caller's own runtime would not let them go if this fails.
    let (state, keeper) = State::new(config, &Surroundings::of_system(clocks), access_log)?;
    let state = Arc::new(state);
    let (shutdown, down) = watch::channel(false);
    let (opening, open) = watch::channel(handed.is_none());
    let (passed_on, handed_over) = watch::channel(false);
    let admin = start_admin(&state, &down)?;
    let clients = Arc::new(Clients::new(state.config.connections_per_client_max));
    let mut threads = Vec::new();
    for (index, sockets) in sockets.into_iter().enumerate() {
        let (state, clients, tls) = (Arc::clone(&state), Arc::clone(&clients), tls.clone());
        let (origin_tls, open) = (origin_tls.clone(), open.clone());
        let ending = Ending { down: down.clone(), handed_over: handed_over.clone() };
        let runtime = runtime()?;
        let work = async move {
            let client = OriginClient::new(Arc::clone(&state), origin_tls, None);
            let handshakes = Semaphore::new(tls.as_ref().map_or(0, |tls| tls.settings.handshakes_max));
            let worker = Worker { state, client, routes: Arc::default(), tls, handshakes, ending };
            accept::serve(Arc::new(worker), clients, sockets, open).await;
        };
        threads.push(thread(format!("edge-{index}"), move || runtime.block_on(work))?);
    }
    let (orders, prefetcher) = prefetch::channel();
    let (fetching, runtime_of_prefetch) = (Arc::clone(&state), runtime()?);
    let mut ending = down.clone();
    let fetch_ahead = async move {
        let client = OriginClient::new(Arc::clone(&fetching), origin_tls, None);
        tokio::select! {
            () = prefetcher.run(fetching, client) => {}
            () = ended(&mut ending) => {}
        }
    };
    threads.push(thread("edge-prefetch".into(), move || runtime_of_prefetch.block_on(fetch_ahead))?);
    let disk_thread = match keeper {
        Some(keeper) => Some(thread("edge-disk".into(), move || keeper.run())?),
        None => None,
    };
    let (following, watched, runtime_of_follow) = (Arc::clone(&state), tls.clone(), runtime()?);
    let follow = async move {
        let sweeping = tokio::spawn(sweep::run(Arc::clone(&following)));
        let reloading = watched.map(|tls| tokio::spawn(tls.watch()));
        if let Err(error) = follow::run(following, feed, orders, down).await {
            warn!(%error, "the log is not followed");
        }
        sweeping.abort();
        if let Some(reloading) = reloading {
            reloading.abort();
        }
    };
    threads.push(thread("edge-follow".into(), move || runtime_of_follow.block_on(follow))?);
    if let Some(heir) = heir {
        let succession = Succession {
            state: Arc::clone(&state),
            handed,
            heir,
            opening,
            passed_on,
            shutdown: shutdown.clone(),
        };
        let runtime = runtime()?;
        threads.push(thread("edge-hand-over".into(), move || runtime.block_on(succession.run()))?);
    }
    let Addresses { plain, tls: encrypted } = addresses;
    info!(name = state.config.name, address = %plain, tls = encrypted.map(tracing::field::display), "edge started");
    Ok(EdgeHandle { addresses, state, tls, shutdown, open, handed_over, threads, disk_thread, admin })
}

/// An edge between the one before and the one after it.
struct Succession {
    state: Arc<State>,
    handed: Option<Handed>,
    heir: Heir,
    opening: watch::Sender<bool>,
    passed_on: watch::Sender<bool>,
    shutdown: watch::Sender<bool>,
}

impl Succession {
    /// Takes over once this edge can serve, then waits for the next one.
    async fn run(self) {
        let mut down = self.shutdown.subscribe();
        if let Some(handed) = self.handed {
            let ready = async {
                while !is_ready(&self.state, 1) {
                    tokio::time::sleep(READY_POLL).await;
                }
            };
            tokio::select! {
                () = ready => {}
                () = ended(&mut down) => return,
            }
            self.opening.send_replace(true);
            handed.serving();
        }
        match self.heir.wait(self.state.shelf.disk(), down).await {
            Ok(Outcome::HandedOver) => {
                info!("handed over to the next edge");
                self.passed_on.send_replace(true);
                self.shutdown.send_replace(true);
            }
            Ok(Outcome::Ended) => {}
            Err(error) => warn!(%error, "the next edge will not be able to take over"),
        }
    }
}

/// Whether an edge holds a lease, and the configuration of this version or a newer one.
fn is_ready(state: &State, version: u64) -> bool {
    state.zones.read().version() >= version && state.lease.holds((state.clocks.boot)())
}

fn open_access_log(config: &EdgeConfig) -> Result<Option<AccessLog>, StartError> {
    let Some(log) = &config.access_log else { return Ok(None) };
    let opened = AccessLog::start(log, config.name.clone());
    opened.map(Some).map_err(|source| {
        let file = log
            .file
            .as_deref()
            .map_or_else(|| "the standard output".into(), |file| file.display().to_string());
        StartError::AccessLog { file, source }
    })
}

fn start_admin(state: &Arc<State>, down: &watch::Receiver<bool>) -> Result<Option<Admin>, StartError> {
    let Some(config) = &state.config.admin else { return Ok(None) };
    let asked = config.listen;
    let bind = move || {
        let listener = std::net::TcpListener::bind(asked)?;
        listener.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(listener)
    };
    let refused = |source| StartError::Listen { address: asked, source };
    let listener = match bind() {
        Ok(listener) => Some(listener),
        // The edge from which this one takes over still tells of itself there.
        Err(error) if error.kind() == ErrorKind::AddrInUse && state.config.hand_over.is_some() => None,
        Err(error) => return Err(refused(error)),
    };
    let address = listener.as_ref().map(std::net::TcpListener::local_addr).transpose().map_err(refused)?;
    let address = address.unwrap_or(asked);
    let (end, mut ending) = watch::channel(false);
    let (state, down) = (Arc::clone(state), down.clone());
    let serving = async move {
        let mut listener = listener;
        while listener.is_none() {
            tokio::select! {
                () = tokio::time::sleep(ADMIN_BIND_INTERVAL) => listener = bind().ok(),
                () = ended(&mut ending) => return,
            }
        }
        match listener.map(TcpListener::from_std) {
            Some(Ok(listener)) => admin::serve(state, listener, down, ending).await,
            Some(Err(error)) => warn!(%error, "no admin server"),
            None => {}
        }
    };
    let runtime = runtime()?;
    let thread = thread("edge-admin".into(), move || runtime.block_on(serving))?;
    info!(%address, "admin server started");
    Ok(Some(Admin { address, end, thread }))
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

impl EdgeHandle {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.addresses.plain
    }

    /// Where clients connect with TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.addresses.tls
    }

    /// Reads the certificates anew, whether their files have changed or not. What can't be used is logged, and the
    /// certificates from before stay in use.
    pub fn reload_certificates(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Where the admin server listens, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Opens the file of the access log again, since it was moved away. Does not wait for it.
    pub fn reopen_access_log(&self) {
        if let Some(log) = &self.state.access_log {
            log.reopen();
        }
    }

    /// Whether the edge has its first configuration, holds a lease and is not told to end: whether it serves as it
    /// should.
    pub fn is_ready(&self) -> bool {
        !*self.shutdown.borrow() && *self.open.borrow() && is_ready(&self.state, 1)
    }

    /// Whether the edge knows what to serve, be it from its last run.
    pub fn is_configured(&self) -> bool {
        self.state.zones.read().version() > 0
    }

    /// Whether the edge may answer from its cache.
    pub fn holds_lease(&self) -> bool {
        self.state.lease.holds((self.state.clocks.boot)())
    }

    /// Which configuration requests see, but for cache keys whose entry is yet to be applied.
    pub fn configuration_version(&self) -> u64 {
        self.state.zones.read().version()
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

    /// How the disk tier stands, and what it has counted; `None` without one.
    pub fn disk(&self) -> Option<(DiskUsage, &DiskCounts)> {
        self.state.shelf.disk().map(|disk| (disk.usage(), disk.counts()))
    }

    fn stop_disk(&self) {
        if let Some(disk) = self.state.shelf.disk() {
            disk.stop();
        }
    }

    /// A question that can be asked of the edge from elsewhere: whether it holds a lease, and the configuration of
    /// this version or a newer one. The first configuration ever has version 1.
    pub fn readiness(&self, version: u64) -> impl Fn() -> bool + Send + Sync + 'static {
        let (state, open, down) = (Arc::clone(&self.state), self.open.clone(), self.shutdown.subscribe());
        move || is_ready(&state, version) && *open.borrow() && !*down.borrow()
    }

    /// Completes once another process has taken over, by [`EdgeConfig::hand_over`]: this one accepts no connections any
    /// more, and is to be stopped. Never completes otherwise.
    pub async fn handed_over(&self) {
        if self.handed_over.clone().wait_for(|handed| *handed).await.is_err() {
            std::future::pending::<()>().await;
        }
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
        self.stop_disk();
        if self.disk_thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the disk's thread ended by a panic");
        }
        if let Some(admin) = self.admin.take() {
            admin.end.send_replace(true);
            if admin.thread.join().is_err() {
                warn!("the admin server ended by a panic");
            }
        }
        if let Some(log) = &self.state.access_log {
            log.end();
        }
        debug!(requests = self.state.counters.requests.load(Ordering::Relaxed), "edge ended");
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        self.shut_down();
        self.stop_disk();
    }
}
