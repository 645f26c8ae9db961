//! What an unsafe request leaves of what was under way (RFC 9111 §4.4).

use crate::slicing::{File, served};
use crate::world::{Client, HOST, World, until};

async fn post(world: &mut World, path: &str) {
    let request = format!("POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 2\r\n\r\nhi");
    let pending = Client::request(world.edge.address(), request.into_bytes());
    world.origin.next().await.reply("204 No Content", "", b"").await;
    assert_eq!(pending.await.status, 204);
}

#[tokio::test]
async fn nobody_joins_the_fetch_of_a_slice_that_was_sent_before_an_unsafe_request() {
    let mut world = World::start_with(|config| {
        config.object_bytes_max = 64 * 1024;
        config.slice_bytes = 16 * 1024;
    })
    .await;
    let (old, new) = (File::new(1, 200_000), File::new(2, 200_000));
    let range = "range: bytes=0-99\r\n";
    let first = world.get_with("/a", range);
    let asked = world.origin.next().await;
    post(&mut world, "/a").await;
    let later = world.get_with("/a", range);
    let (later, ranges) = served(&mut world.origin, &new, later).await;
    assert_eq!((later.status, ranges.len()), (206, 1), "it asks for itself");
    assert!(later.body == new.content[..100]);
    old.answer(asked).await;
    let first = first.await;
    assert!(first.body == old.content[..100], "whoever came before has what was sent for it");
    // What is stored is the new one.
    let again = world.get_with("/a", range).await;
    assert!(again.body == new.content[..100]);
}

#[tokio::test]
async fn who_waits_for_a_variant_to_be_sent_is_served_by_what_is_sent_after_the_unsafe_request() {
    let mut world = World::start().await;
    let varied = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    let pending = world.get_with("/a", "accept-language: de\r\n");
    world.origin.next().await.reply("200 OK", varied, b"de").await;
    pending.await;
    let first = world.get_with("/a", "accept-language: fr\r\n");
    let asked = world.origin.next().await;
    post(&mut world, "/a").await;
    let later = world.get_with("/a", "accept-language: fr\r\n");
    let again = world.origin.next().await;
    asked.reply("200 OK", varied, b"old").await;
    assert_eq!(first.await.text(), "old");
    again.reply("200 OK", varied, b"new").await;
    assert_eq!(later.await.text(), "new");
    until("the new one to be stored", || world.edge.stored().0 > 0).await;
    assert_eq!(world.get_with("/a", "accept-language: fr\r\n").await.text(), "new");
}
