//! An edge that is far behind: how it catches up, and that it trusts nothing meanwhile.

use crate::world::{World, url};
use purge::Method;
use std::time::Duration;

const MINUTE: &str = "cache-control: max-age=60\r\netag: \"1\"\r\n";

/// How many entries it lacks.
const BEHIND: u64 = 100_000;

/// Asks for a path that the origin answers with `body` whenever it is asked. Returns the content and what the cache did.
async fn ask(world: &mut World, path: &str, body: &str) -> (String, String) {
    let pending = world.get(path);
    while !pending.is_finished() {
        match world.origin.try_next() {
            Some(asked) => {
                assert!(!asked.has("if-none-match"), "what is missed may be a delete");
                asked.reply("200 OK", MINUTE, body.as_bytes()).await;
            }
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    let answer = pending.await;
    (answer.text().to_owned(), answer.field("eo-cache-status"))
}

#[tokio::test]
async fn an_edge_far_behind_catches_up_and_serves_nothing_that_it_has_until_then() {
    let mut world = World::leased(Duration::from_millis(300)).await;
    world.fetch("/a", MINUTE, "old").await;
    world.fetch("/kept", MINUTE, "kept").await;
    world.lose_lease().await;
    for number in 1..BEHIND {
        world.control.append(url(&format!("/other/{number}")), Method::Delete);
    }
    assert_eq!(world.control.append(url("/a"), Method::Delete), BEHIND);
    let start = tokio::time::Instant::now();
    world.control.grant(Duration::from_secs(60));
    let control = world.control.clone();
    let telling = tokio::spawn(async move { control.push_all().await });
    let mut meanwhile = 0;
    while !world.edge.holds_lease() {
        let (body, cache) = ask(&mut world, "/a", "new").await;
        assert_eq!(body, "new", "{cache}");
        meanwhile += 1;
    }
    let took = start.elapsed();
    telling.await.unwrap();
    eprintln!(
        "{BEHIND} entries behind: a lease after {} ms, {meanwhile} requests meanwhile",
        took.as_millis()
    );
    assert_eq!(world.edge.marks().0, usize::try_from(BEHIND).unwrap());
    assert_eq!(ask(&mut world, "/a", "new").await.0, "new");
    assert_eq!(world.hit("/kept").await.text(), "kept");
    assert_eq!(world.hit("/a").await.text(), "new");
}
