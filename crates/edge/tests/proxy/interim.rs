//! Interim responses (1xx) pass to the client whose request they answer, ahead of the final response, and are not stored.

use crate::world::{Client, HOST, World, until};

const MINUTE: &str = "cache-control: max-age=60\r\n";
const EARLY: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n";

fn get(path: &str, version: &str) -> Vec<u8> {
    format!("GET {path} HTTP/{version}\r\nhost: {HOST}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn they_pass_before_the_final_response_and_are_not_stored() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(&get("/a", "1.1")).await;
    let mut asked = world.origin.next().await;
    asked.write(b"HTTP/1.1 102 Processing\r\n\r\n").await;
    assert_eq!(client.answer_head().await.status, 102);
    asked.write(EARLY).await;
    let early = client.answer_head().await;
    assert_eq!((early.status, early.field("link")), (103, "</a.css>; rel=preload".into()));
    assert!(!early.has("x-hop") && !early.has("connection"));
    asked.reply("200 OK", MINUTE, b"one").await;
    let last = client.answer(false).await;
    assert_eq!((last.status, last.text(), last.has("link")), (200, "one", false));
    // From the cache there are none, on the same connection either.
    client.send(&get("/a", "1.1")).await;
    let hit = client.answer(false).await;
    assert_eq!((hit.status, hit.field("eo-cache-status"), hit.has("link")), (200, "HIT".into(), false));
}

#[tokio::test]
async fn those_that_come_with_the_final_response_pass_too() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(&get("/a", "1.1")).await;
    let mut asked = world.origin.next().await;
    let all =
        [EARLY, b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 3\r\n\r\none"].concat();
    asked.write(&all).await;
    assert_eq!(client.answer_head().await.status, 103);
    assert_eq!(client.answer(false).await.text(), "one");
}

/// Sent at once, answered in order: what belongs to the second answer does not get into the first.
#[tokio::test]
async fn they_keep_their_place_among_answers_to_requests_sent_at_once() {
    let mut world = World::start().await;
    world.fetch("/a", MINUTE, &"x".repeat(200_000)).await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(&[get("/a", "1.1"), get("/b", "1.1"), get("/a", "1.1")].concat()).await;
    let mut asked = world.origin.next().await;
    // The first answer may still be on its way to the client: then there is no place for this one before the final
    // response.
    let first = client.answer(false).await;
    assert_eq!(first.body.len(), 200_000);
    asked.write(EARLY).await;
    assert_eq!(client.answer_head().await.status, 103);
    asked.reply("200 OK", MINUTE, b"two").await;
    assert_eq!(client.answer(false).await.text(), "two");
    assert_eq!(client.answer(false).await.body.len(), 200_000);
}

#[tokio::test]
async fn whoever_only_waits_with_another_gets_none() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(&get("/a", "1.1")).await;
    let mut asked = world.origin.next().await;
    let other = world.get("/a");
    until("both to have come", || world.requests() == 2).await;
    asked.write(EARLY).await;
    assert_eq!(client.answer_head().await.status, 103);
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(client.answer(false).await.text(), "one");
    assert_eq!((other.await.text(), world.origin.asked()), ("one", 1));
}

#[tokio::test]
async fn what_the_cache_has_no_part_in_has_them_too() {
    let mut world = World::start().await;
    for body in ["", "hi"] {
        let mut client = Client::connect(world.edge.address()).await;
        let post =
            format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        client.send(post.as_bytes()).await;
        let mut asked = world.origin.next().await;
        asked.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        asked.write(EARLY).await;
        assert_eq!(client.answer_head().await.status, 103, "a 100 is for this edge");
        asked.reply("200 OK", "", b"done").await;
        assert_eq!(client.answer(false).await.text(), "done");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_none() {
    let mut world = World::start().await;
    let mut client = Client::connect(world.edge.address()).await;
    client.send(&get("/a", "1.0")).await;
    let mut asked = world.origin.next().await;
    asked.write(EARLY).await;
    asked.reply("200 OK", MINUTE, b"one").await;
    assert_eq!(client.answer(false).await.text(), "one");
}
