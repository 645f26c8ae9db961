//! The same cases on every feed: what an edge and a control plane may rely on, whatever lies between them.

#![expect(clippy::unwrap_used, reason = "a test may")]

use feed::{
    ControlLink, EdgeToControl, Feed, FeedError, FeedToken, Grant, Hello, Http2, Http2Error, InProcess,
    LINK_MESSAGES_MAX, Ping, ToEdge,
};
use purge::{Entry, Epoch, LogEntry, MemberId, Method, PurgeSeq, Scope};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use zone::ZoneId;

const TOKEN: &str = "the edges' token";

async fn in_process() -> (InProcess, mpsc::Receiver<ControlLink>) {
    let (accept, links) = mpsc::channel(4);
    (InProcess::new(accept), links)
}

async fn http2(token: &str) -> (Http2, mpsc::Receiver<ControlLink>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (accept, links) = mpsc::channel(4);
    tokio::spawn(feed::serve(listener, FeedToken::new(TOKEN), accept, std::future::pending()));
    (Http2::new(address, token.into()), links)
}

fn hello() -> EdgeToControl {
    let member = MemberId::from_random([1; 16]);
    EdgeToControl::Hello(Hello {
        member,
        edge_name: "e".into(),
        epoch: None,
        applied: PurgeSeq::ZERO,
        has_parent: false,
    })
}

fn entries(count: u64) -> ToEdge {
    let zone = ZoneId::parse("zone-2noz78a8ev6k").unwrap();
    let entry = |number| LogEntry {
        seq: PurgeSeq::new(number),
        entry: Entry { zone: zone.clone(), scope: Scope::All, method: Method::Delete },
    };
    ToEdge::Entries { epoch: Epoch::new(7), entries: (1..=count).map(entry).collect() }
}

async fn messages_arrive_in_order_both_ways(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let mut control = links.recv().await.unwrap();
    edge.send(hello()).await.unwrap();
    let ping = |nonce| EdgeToControl::Ping(Ping { nonce, epoch: None, applied: PurgeSeq::ZERO });
    for nonce in 0..100 {
        edge.send(ping(nonce)).await.unwrap();
        if nonce == 0 {
            assert_eq!(control.receive().await, Some(hello()));
        }
        assert_eq!(control.receive().await, Some(ping(nonce)));
    }
    let grant = ToEdge::Grant(Grant {
        nonce: 1,
        epoch: Epoch::new(7),
        head: PurgeSeq::new(256),
        first_retained: PurgeSeq::new(1),
        config_version: 1,
        lease: Duration::from_secs(5),
    });
    control.send(entries(256)).await.unwrap();
    control.send(grant.clone()).await.unwrap();
    assert_eq!(edge.receive().await, Some(entries(256)));
    assert_eq!(edge.receive().await, Some(grant));
}

async fn a_broken_link_shows_at_both_ends(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let control = links.recv().await.unwrap();
    drop(control);
    assert_eq!(edge.receive().await, None);
    let edge = feed.open().await.unwrap();
    let mut control = links.recv().await.unwrap();
    edge.send(hello()).await.unwrap();
    drop(edge);
    assert_eq!(control.receive().await, Some(hello()), "what was sent before still arrives");
    assert_eq!(control.receive().await, None);
}

async fn a_full_link_makes_the_sender_wait(feed: impl Feed, mut links: mpsc::Receiver<ControlLink>) {
    let mut edge = feed.open().await.unwrap();
    let control = links.recv().await.unwrap();
    let sender = control.sender();
    let mut accepted = 0_u64;
    // Nobody reads: sooner or later there is no room. The bound is generous, since a network has buffers of its own.
    let mut refused = false;
    for _ in 0..200 * LINK_MESSAGES_MAX {
        match tokio::time::timeout(Duration::from_millis(500), sender.send(entries(256))).await {
            Ok(sent) => {
                sent.unwrap();
                accepted += 1;
            }
            Err(_) => {
                refused = true;
                break;
            }
        }
    }
    assert!(refused, "{accepted} messages of a slow edge are queued without limit");
    for _ in 0..accepted {
        assert_eq!(edge.receive().await, Some(entries(256)), "and none is lost");
    }
}

#[tokio::test]
async fn in_process_messages_arrive_in_order_both_ways() {
    let (feed, links) = in_process().await;
    messages_arrive_in_order_both_ways(feed, links).await;
}

#[tokio::test]
async fn http2_messages_arrive_in_order_both_ways() {
    let (feed, links) = http2(TOKEN).await;
    messages_arrive_in_order_both_ways(feed, links).await;
}

#[tokio::test]
async fn in_process_a_broken_link_shows_at_both_ends() {
    let (feed, links) = in_process().await;
    a_broken_link_shows_at_both_ends(feed, links).await;
}

#[tokio::test]
async fn http2_a_broken_link_shows_at_both_ends() {
    let (feed, links) = http2(TOKEN).await;
    a_broken_link_shows_at_both_ends(feed, links).await;
}

#[tokio::test]
async fn in_process_a_full_link_makes_the_sender_wait() {
    let (feed, links) = in_process().await;
    a_full_link_makes_the_sender_wait(feed, links).await;
}

#[tokio::test]
async fn http2_a_full_link_makes_the_sender_wait() {
    let (feed, links) = http2(TOKEN).await;
    a_full_link_makes_the_sender_wait(feed, links).await;
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let (feed, _links) = http2("another token").await;
    let error = feed.open().await.unwrap_err();
    assert!(matches!(&error, FeedError::Http2(Http2Error::Refused(status)) if *status == 401), "{error:?}");
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = Http2::new(free.to_string(), TOKEN.into()).open().await.unwrap_err();
    assert!(
        matches!(&error, FeedError::Http2(Http2Error::Connect { address, .. }) if *address == free.to_string())
    );
}
