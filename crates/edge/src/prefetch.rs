//! Fetching ahead: ordinary GETs of the edge's own, through its own cache.
//!
//! Each goes through [`Proxy::handle`] over a connection in memory, so that whatever holds for a client's request holds
//! for it: it is collapsed with others, stored by the same rules, judged by the same marks, and a copy that is still
//! fresh is left alone. It begins once the log's head at its acceptance is applied and a lease is held. A thread of its
//! own does it, within a budget for each origin, so that neither clients nor the log wait for it.

use crate::origin::OriginClient;
use crate::proxy::{Peer, Proxy};
use crate::state::State;
use bytes::Bytes;
use feed::{Prefetch, Prefetched};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use purge::{Epoch, PurgeSeq, UrlKey, UrlTarget};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use zone::Scheme;

/// How many URLs wait to be fetched or are being fetched.
pub(crate) const PREFETCHES_MAX: usize = 1024;

/// How many outcomes wait to be told.
pub(crate) const OUTCOMES_MAX: usize = 1024;

/// How long a prefetch waits for the log and a lease before it fails.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it looks whether they are there.
const READY_POLL: Duration = Duration::from_millis(10);

/// How much lies in the connection in memory, in bytes.
const CONNECTION_BYTES: usize = 64 * 1024;

/// How many origins have budgets; with more, those that are idle are forgotten.
const ORIGINS_MAX: usize = 1024;

/// What asks.
const USER_AGENT: HeaderValue = HeaderValue::from_static("Everfresh-Prefetch");

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// One message's URLs.
pub(crate) struct Batch {
    pub(crate) epoch: Epoch,
    pub(crate) head: PurgeSeq,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) urls: Vec<Prefetch>,
}

/// Where the follower of the log hands in what the control plane wants fetched, and takes the outcomes.
pub(crate) struct Orders {
    batches: mpsc::Sender<Batch>,
    outcomes: mpsc::Receiver<Prefetched>,
}

/// The other end: [`Prefetcher::run`] it.
pub(crate) struct Prefetcher {
    batches: mpsc::Receiver<Batch>,
    outcomes: mpsc::Sender<Prefetched>,
}

/// Both ends.
pub(crate) fn channel() -> (Orders, Prefetcher) {
    // A batch holds at least one URL, and no more wait than may be under way.
    let (to_fetch, batches) = mpsc::channel(PREFETCHES_MAX);
    let (told, outcomes) = mpsc::channel(OUTCOMES_MAX);
    (Orders { batches: to_fetch, outcomes }, Prefetcher { batches, outcomes: told })
}

impl Orders {
    /// Hands in a batch. Returns the outcomes of what there is no room for.
    pub(crate) fn place(&self, batch: Batch) -> Vec<Prefetched> {
        let refuse = |batch: Batch| {
            let refused =
                |one: Prefetch| Prefetched { task: one.task, failure: Some(Why::TooMany.to_string()) };
            batch.urls.into_iter().map(refused).collect()
        };
        match self.batches.try_send(batch) {
            Ok(()) => Vec::new(),
            Err(mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch)) => {
                refuse(batch)
            }
        }
    }

    /// The next outcomes, at most `max`.
    pub(crate) async fn outcomes(&mut self, max: usize) -> Vec<Prefetched> {
        let mut outcomes = Vec::new();
        if self.outcomes.recv_many(&mut outcomes, max).await == 0 {
            // Nobody fetches any more: there will be none.
            std::future::pending::<()>().await;
        }
        outcomes
    }
}

/// Why a URL is not in the cache.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("as many prefetches wait as may")]
    TooMany,
    #[error("the URL or a request field is malformed")]
    Malformed,
    #[error("the edge has no lease, or lacks entries of the log")]
    NotReady,
    #[error("the answer was {0}")]
    Status(http::StatusCode),
    #[error("the answer was {0}: {1}")]
    Refused(http::StatusCode, String),
    #[error("the answer may not be stored")]
    NotStored,
    #[error("the answer broke off")]
    BrokeOff,
}

/// What may be asked of one origin at once.
struct Budget {
    places: Semaphore,
    bytes_per_sec: u64,
    /// Until when what was received is paid for.
    paid_until: Mutex<Instant>,
}

impl Budget {
    fn new(state: &State) -> Self {
        Self {
            places: Semaphore::new(state.config.prefetch_concurrency),
            bytes_per_sec: state.config.prefetch_bytes_per_sec,
            paid_until: Mutex::new(Instant::now()),
        }
    }

    /// Waits until so many bytes are within the budget.
    async fn spend(&self, bytes: usize) {
        if self.bytes_per_sec == 0 {
            return;
        }
        let until = {
            let mut paid_until = self.paid_until.lock();
            let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_sec;
            *paid_until = (*paid_until).max(Instant::now()) + Duration::from_micros(micros);
            *paid_until
        };
        tokio::time::sleep_until(until).await;
    }
}

/// What the tasks share.
struct Shared {
    state: Arc<State>,
    client: OriginClient,
    budgets: Mutex<HashMap<String, Arc<Budget>>>,
    /// Tasks that wait or are under way: one that is asked for again meanwhile has its outcome told once.
    under_way: Mutex<HashSet<u64>>,
}

impl Prefetcher {
    /// Fetches for as long as the edge lives.
    pub(crate) async fn run(mut self, state: Arc<State>, client: OriginClient) {
        let shared =
            Arc::new(Shared { state, client, budgets: Mutex::default(), under_way: Mutex::default() });
        let room = Arc::new(Semaphore::new(PREFETCHES_MAX));
        while let Some(Batch { epoch, head, headers, urls }) = self.batches.recv().await {
            let headers = fields(&headers).map(Arc::new);
            for Prefetch { task, url } in urls {
                if !shared.under_way.lock().insert(task) {
                    continue;
                }
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                let (shared, outcomes, headers) =
                    (Arc::clone(&shared), self.outcomes.clone(), headers.clone());
                tokio::spawn(async move {
                    let outcome = match headers {
                        Some(headers) => fetch(&shared, epoch, head, &headers, &url).await,
                        None => Err(Why::Malformed),
                    };
                    let failure = outcome.err().map(|why| why.to_string());
                    tracing::debug!(task, url, failure, "prefetched");
                    shared.under_way.lock().remove(&task);
                    drop(place);
                    // Nobody to tell: the edge ends.
                    let _ = outcomes.send(Prefetched { task, failure }).await;
                });
            }
        }
    }
}

fn fields(given: &[(String, String)]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    fields.insert(header::USER_AGENT, USER_AGENT);
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        fields.insert(name, HeaderValue::from_str(value).ok()?);
    }
    Some(fields)
}

async fn fetch(
    shared: &Shared,
    epoch: Epoch,
    head: PurgeSeq,
    headers: &HeaderMap,
    url: &str,
) -> Result<(), Why> {
    let UrlTarget { scheme, url: key } = UrlTarget::parse(url).map_err(|_| Why::Malformed)?;
    let state = &shared.state;
    let ready = async {
        while !is_ready(state, epoch, head) {
            tokio::time::sleep(READY_POLL).await;
        }
    };
    tokio::time::timeout(READY_TIMEOUT, ready).await.map_err(|_| Why::NotReady)?;
    let budget = budget(shared, &key);
    let Ok(_place) = budget.places.acquire().await else { return Err(Why::TooMany) };
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = key.path_and_query().parse().map_err(|_| Why::Malformed)?;
    *request.headers_mut() = headers.clone();
    let host = HeaderValue::from_str(key.host().as_str()).map_err(|_| Why::Malformed)?;
    request.headers_mut().insert(header::HOST, host);
    let (near, far) = tokio::io::duplex(CONNECTION_BYTES);
    // Nobody's address: the edge itself asks, as by the scheme of the URL.
    let is_encrypted = scheme == Scheme::Https;
    let peer = Peer { address: (Ipv4Addr::LOCALHOST, 0).into(), is_encrypted, handshake: None };
    let proxy =
        Proxy { state: Arc::clone(state), client: shared.client.clone(), routes: Arc::default(), peer };
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(proxy.handle(request).await.map(|told| told.body))
    });
    let served = server::Builder::new().keep_alive(false).serve_connection(TokioIo::new(far), service);
    let ask = async {
        let (mut sender, connection) =
            client::handshake(TokioIo::new(near)).await.map_err(|_| Why::BrokeOff)?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|_| Why::BrokeOff)?;
            read(&budget, response).await
        };
        beside(connection, asked).await
    };
    beside(served, ask).await
}

/// Drives one end of a connection until the other has what it wants. An end may be done, or broken, before the rest of
/// what it carried is read: the reader finds out.
async fn beside<T>(connection: impl Future, wanted: impl Future<Output = T>) -> T {
    let driven = async {
        connection.await;
        std::future::pending().await
    };
    tokio::select! {
        biased;
        got = wanted => got,
        never = driven => never,
    }
}

/// Whether the entries up to `head` are applied, under a lease. After a change of the log's epoch a position in the old
/// one says nothing, and the jump to the new one covers it.
fn is_ready(state: &State, epoch: Epoch, head: PurgeSeq) -> bool {
    let applied = match state.ledger.position() {
        Some((of, applied)) => of != epoch || applied >= head,
        None => false,
    };
    applied && state.lease.holds((state.clocks.boot)())
}

fn budget(shared: &Shared, url: &UrlKey) -> Arc<Budget> {
    let state = &shared.state;
    let route = state.zones.read().route(url.host());
    let origin = match &route {
        Ok(route) => {
            let origin = &route.domain().origin;
            format!("{}:{}", origin.address, origin.http_port)
        }
        // It will be refused; in no origin's name.
        Err(_) => String::new(),
    };
    let mut budgets = shared.budgets.lock();
    if budgets.len() >= ORIGINS_MAX {
        budgets.retain(|_, budget| Arc::strong_count(budget) > 1);
    }
    Arc::clone(budgets.entry(origin).or_insert_with(|| Arc::new(Budget::new(state))))
}

async fn read(budget: &Budget, response: http::Response<hyper::body::Incoming>) -> Result<(), Why> {
    let (parts, mut body) = response.into_parts();
    let told = parts.headers.get_all(CACHE_STATUS).iter().next_back().cloned();
    let told = told.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let is_kept = told.split(';').any(|part| matches!(part.trim(), "hit" | "stored"));
    let is_own_refusal = !told.contains("fwd-status") && !is_kept;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Why::BrokeOff)?;
        budget.spend(frame.data_ref().map_or(0, Bytes::len)).await;
    }
    match parts.status {
        status if !status.is_success() && is_own_refusal => {
            let detail = told.split("detail=").nth(1).unwrap_or("the edge refused").trim_matches('"');
            Err(Why::Refused(status, detail.to_owned()))
        }
        status if !status.is_success() => Err(Why::Status(status)),
        _ if is_kept => Ok(()),
        _ => Err(Why::NotStored),
    }
}
