//! Accepting connections on one worker.

use super::clients::Clients;
use super::connection::{self, Worker};
use super::sockets::{Entrance, Socket};
use crate::state::Counters;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::warn;

/// How long to wait when connections can't be accepted, for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long it is looked for one more connection that came before the edge was told to end.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// How long it is looked for all of them, however many still come.
const LAST_LOOK_MAX: Duration = Duration::from_millis(200);

/// Serves the connections of these sockets until the edge is told to end, then those that are open until theirs, for
/// at most `drain_timeout`.
pub(super) async fn serve(
    worker: Arc<Worker>,
    clients: Arc<Clients>,
    sockets: Vec<Socket>,
    mut open: watch::Receiver<bool>,
) {
    let mut ending = worker.ending.clone();
    tokio::select! {
        // An edge that takes over lets the one before serve until it is ready itself.
        _ = open.wait_for(|open| *open) => {}
        () = ending.begun() => return,
    }
    let config = &worker.state.config;
    let (places_max, drain_timeout) = (config.connections_max, config.drain_timeout);
    let places = Arc::new(Semaphore::new(places_max));
    let mut accepting = tokio::task::JoinSet::new();
    for socket in sockets {
        let (worker, clients, places) = (Arc::clone(&worker), Arc::clone(&clients), Arc::clone(&places));
        accepting.spawn(async move {
            if let Err(error) = accept(worker, clients, places, socket).await {
                warn!(%error, "a socket can't be listened at");
            }
        });
    }
    while accepting.join_next().await.is_some() {}
    let all = u32::try_from(places_max).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(drain_timeout, places.acquire_many(all)).await;
}

async fn accept(
    worker: Arc<Worker>,
    clients: Arc<Clients>,
    places: Arc<Semaphore>,
    socket: Socket,
) -> io::Result<()> {
    let mut ending = worker.ending.clone();
    socket.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.listener)?;
    let is_tls = socket.entrance == Entrance::Tls;
    let enter = |place: OwnedSemaphorePermit, stream: TcpStream, address: SocketAddr| {
        let (worker, clients) = (Arc::clone(&worker), Arc::clone(&clients));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            connection::serve(worker, clients, stream, address, is_tls).await;
            drop(place);
        });
    };
    loop {
        // A place first: beyond the limit clients wait in the kernel's queue.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = ending.begun() => break,
        };
        let Ok(place) = place else { break };
        match accepted {
            Ok((stream, address)) => enter(place, stream, address),
            Err(error) => {
                Counters::count(&worker.state.counters.accepts_failed);
                warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Who is in the queue by now has seen the connection open, and would see it reset. Where another edge has the
    // socket, too, the queue is its own.
    let last = tokio::time::Instant::now() + LAST_LOOK_MAX;
    while !ending.is_handed_over() && tokio::time::Instant::now() < last {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
        match tokio::time::timeout(LAST_LOOK, listener.accept()).await {
            Ok(Ok((stream, address))) => enter(place, stream, address),
            _ => break,
        }
    }
    Ok(())
}
