//! The way between two networks: a proxy that hands bytes on later, in order, and knows nothing of them.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::net::Host;

/// Bytes that are on their way at once in one direction of one connection.
const UNDER_WAY_MAX: usize = 1 << 20;
const PART_BYTES: usize = 16 << 10;

/// How long a target may take to accept a connection, beside the delay.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Hands on what comes to `listen` on `host` to the first of `targets` that takes it, and back, each way after `delay`.
/// Serves until the test ends.
pub(crate) fn start(host: &Host, listen: u16, targets: &[SocketAddr], delay: Duration) -> SocketAddr {
    let (ready, listens) = mpsc::sync_channel(1);
    let address = SocketAddr::from((host.address, listen));
    let targets = targets.to_vec();
    host.on(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            ready.send(()).unwrap();
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                let targets = targets.clone();
                tokio::spawn(async move {
                    // The one who asked sees the connection end.
                    let Some(far) = connect(&targets).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::join!(carry(near_in, far_out, delay), carry(far_in, near_out, delay));
                });
            }
        });
    });
    listens.recv().expect("the proxy listens");
    address
}

async fn connect(targets: &[SocketAddr]) -> Option<TcpStream> {
    for target in targets {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            return Some(stream);
        }
    }
    None
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (sender, mut under_way) =
        tokio::sync::mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY_MAX / PART_BYTES);
    let take = async move {
        let mut part = vec![0; PART_BYTES];
        while let Ok(length @ 1..) = from.read(&mut part).await {
            if sender.send((Instant::now() + delay, part[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let give = async move {
        while let Some((due, part)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&part).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(take, give);
}
