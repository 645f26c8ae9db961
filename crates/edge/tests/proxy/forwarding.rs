//! What an origin is told about clients, and requests that come back.

use crate::world::{Exchange, World};

const MINUTE: &str = "cache-control: max-age=60\r\n";

const CLAIMS: &str = "x-forwarded-for: 9.9.9.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil.test\r\nforwarded: for=9.9.9.9\r\n";

fn told(asked: &Exchange) -> [&str; 4] {
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"].map(|name| asked.field(name))
}

#[tokio::test]
async fn what_a_client_says_about_itself_is_replaced() {
    let mut world = World::start().await;
    let own = ["127.0.0.1", "http", "www.a.test", ""];
    for fields in ["", CLAIMS] {
        // A fetch for the cache.
        let path = format!("/{}", fields.len());
        let pending = world.get_with(&path, fields);
        let asked = world.origin.next().await;
        assert_eq!(told(&asked), own);
        asked.reply("200 OK", MINUTE, b"x").await;
        pending.await;
        // And what the cache has no part in.
        let post = format!("POST {path} HTTP/1.1\r\nhost: www.a.test\r\n{fields}content-length: 0\r\n\r\n");
        let pending = crate::world::Client::request(world.edge.address(), post.into_bytes());
        let asked = world.origin.next().await;
        assert_eq!(told(&asked), own);
        asked.reply("200 OK", "", b"x").await;
        pending.await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_the_chain_goes_on() {
    let mut world = World::start_with(|config| {
        config.forwarded.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.forwarded.rfc7239 = true;
    })
    .await;
    let pending = world.get_with("/a", CLAIMS);
    let asked = world.origin.next().await;
    let expected = [
        "9.9.9.9, 127.0.0.1",
        "https",
        "evil.test",
        "for=9.9.9.9, for=127.0.0.1;host=\"www.a.test\";proto=http",
    ];
    assert_eq!(told(&asked), expected);
    asked.reply("200 OK", MINUTE, b"x").await;
    pending.await;
}

/// The key holds what the origin was told: a client can't choose its variant by what it claims.
#[tokio::test]
async fn a_variant_by_a_forwarded_field_is_that_of_what_the_origin_was_told() {
    let mut world = World::start().await;
    let fields = format!("{MINUTE}vary: x-forwarded-proto\r\n");
    assert_eq!(world.fetch("/a", &fields, "for http").await.text(), "for http");
    let answer = world.get_with("/a", "x-forwarded-proto: https\r\n").await;
    assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("for http", "HIT"));
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn a_request_that_comes_back_is_known_by_either_field() {
    let mut world = World::start().await;
    let pending = world.get_with("/a", "cdn-loop: other.example\r\nconnection: cdn-loop\r\n");
    let asked = world.origin.next().await;
    let lines: Vec<_> = asked.head.lines().filter(|line| line.starts_with("cdn-loop:")).collect();
    assert_eq!((lines.len(), lines[0]), (2, "cdn-loop: other.example"));
    let again = world.get_with("/a", &format!("{}\r\n", lines[1])).await;
    assert_eq!((again.status, again.field("cache-status").as_str()), (508, "e; detail=loop"));
    asked.reply("200 OK", MINUTE, b"x").await;
    pending.await;
}
