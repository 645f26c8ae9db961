//! Cache settings and rules at the edge, and the change of keys at its place in the log.

use crate::world::{Client, HOST, World, until, url};
use purge::Method;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zone::{
    Action, Branch, CacheConfig, CacheSecs, Caching, ClientAge, Condition, CookieKey, DefaultCache,
    KeyChange, Names, QueryKey, Rule, StatusTime,
};

const MINUTE: &str = "cache-control: max-age=60\r\n";

fn rule(condition: &str, actions: Vec<Action>) -> Rule {
    let condition = Condition::parse(condition).unwrap();
    let branch = Branch { condition, actions, sub_rules: Vec::new() };
    Rule { id: "rule-1".into(), name: String::new(), notes: Vec::new(), enabled: true, branch }
}

fn names(names: &[&str]) -> Names {
    Names::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
}

fn secs(secs: i64) -> CacheSecs {
    CacheSecs::new(secs).unwrap()
}

/// Tells the edge of settings, and waits until it goes by them.
async fn decide(world: &World, change: impl FnOnce(&mut CacheConfig)) {
    let (before, version) = (world.control.head(), world.edge.configuration_version());
    let seq = world.control.decide(change);
    world.control.push_zones();
    if seq > before {
        world.control.push();
        world.control.until_acknowledged(seq).await;
    }
    until("the configuration", || world.edge.configuration_version() > version).await;
}

#[tokio::test]
async fn the_query_in_the_key_is_what_settings_say_and_the_origin_gets_all_of_it() {
    let mut world = World::start().await;
    decide(&world, |config| config.site.keying.query = QueryKey::Only(names(&["v"]))).await;
    let pending = world.get("/A?v=1&utm=x");
    let asked = world.origin.next().await;
    assert!(asked.head.starts_with("GET /A?v=1&utm=x HTTP/1.1"), "{}", asked.head);
    asked.reply("200 OK", MINUTE, b"one").await;
    pending.await;
    assert_eq!(world.hit("/A?utm=y&v=1").await.text(), "one");
    world.fetch("/A?v=2", MINUTE, "two").await;
    decide(&world, |config| config.site.keying.ignores_case = true).await;
    world.fetch("/A?V=3", MINUTE, "three").await;
    assert_eq!(world.hit("/a?v=3&x").await.text(), "three");
}

#[tokio::test]
async fn rules_decide_for_their_urls_alone() {
    let mut world = World::start().await;
    let jpg = "lower(${http.request.file_extension}) in ['jpg']";
    decide(&world, |config| {
        let custom = Caching::CustomTime { secs: secs(3600), ignore_cache_control: true };
        config.rules = vec![
            rule(jpg, vec![Action::Cache(Some(custom)), Action::MaxAge(ClientAge::For(secs(7)))]),
            rule("${http.request.uri.path} in ['/private/*']", vec![Action::Cache(Some(Caching::NoCache))]),
            rule(
                "${http.request.uri.path} in ['/errors/*']",
                vec![Action::StatusCodeCache(
                    StatusTime::list(vec![StatusTime::new(503, 60).unwrap()]).unwrap(),
                )],
            ),
        ];
    })
    .await;
    let answer = world.fetch("/a.JPG", "cache-control: no-store\r\n", "picture").await;
    assert_eq!(answer.field("cache-control"), "max-age=7");
    let hit = world.hit("/a.JPG").await;
    assert_eq!((hit.field("cache-control").as_str(), hit.field("age").as_str()), ("max-age=7", ""));
    let not_modified = world.get_with("/a.JPG", "if-none-match: *\r\n").await;
    assert_eq!((not_modified.status, not_modified.field("cache-control").as_str()), (304, "max-age=7"));

    for body in ["one", "two"] {
        let answer = world.fetch("/private/a.jpg", MINUTE, body).await;
        assert_eq!((answer.text(), answer.field("cache-control").as_str()), (body, "max-age=7"));
    }
    let answer = world.get_with("/private/a.jpg", "cache-control: only-if-cached\r\n").await;
    assert_eq!(answer.status, 504);

    let pending = world.get("/errors/a");
    world.origin.next().await.reply("503 Service Unavailable", "", b"down").await;
    assert_eq!(pending.await.status, 503);
    let asked = world.origin.asked();
    assert_eq!(world.get("/errors/a").await.status, 503);
    assert_eq!(world.origin.asked(), asked, "kept for a minute");
}

#[tokio::test]
async fn no_cache_counts_at_once_and_lifetimes_from_the_next_fetch_on() {
    let mut world = World::start().await;
    world.fetch("/a", "", "one").await;
    world.fetch("/a", "", "one").await;
    decide(&world, |config| config.site.caching = Caching::FollowOrigin(DefaultCache::For(secs(60)))).await;
    world.fetch("/a", "", "two").await;
    world.hit("/a").await;
    decide(&world, |config| config.site.caching = Caching::FollowOrigin(DefaultCache::Off)).await;
    assert_eq!(world.hit("/a").await.text(), "two", "stored while it was allowed");
    decide(&world, |config| config.site.caching = Caching::NoCache).await;
    let answer = world.fetch("/a", MINUTE, "three").await;
    assert_eq!(answer.field("cache-status"), "e; fwd=bypass; fwd-status=200");
}

#[tokio::test]
async fn fields_in_the_key_select_among_variants_that_one_purge_hits() {
    let mut world = World::start().await;
    decide(&world, |config| {
        let key = KeyChange {
            fields: Some(Some(Names::of_fields(vec!["X-Lang".into()]).unwrap())),
            cookies: Some(CookieKey::Only(names(&["theme"]))),
            ..KeyChange::default()
        };
        config.rules = vec![rule("*", vec![Action::CacheKey(key)])];
    })
    .await;
    let variants = ["x-lang: de\r\n", "x-lang: en\r\n", "cookie: theme=dark; id=1\r\n"];
    let fill = async |world: &mut World| {
        for fields in variants {
            let pending = world.get_with("/a", fields);
            world.origin.next().await.reply("200 OK", MINUTE, fields.as_bytes()).await;
            pending.await;
        }
    };
    let is_hit = async |world: &World, fields: &str| {
        let answer = world.get_with("/a", fields).await;
        assert_eq!(answer.text(), fields);
        answer.field("eo-cache-status") == "HIT"
    };
    fill(&mut world).await;
    for fields in variants {
        assert!(is_hit(&world, fields).await, "{fields}");
    }
    let answer = world.get_with("/a", "cookie: id=2;theme=dark\r\n").await;
    assert_eq!(answer.text(), variants[2]);
    world.purge(url("/a"), Method::Delete).await;
    fill(&mut world).await;
    // An unsafe method that goes through takes all of them, too.
    let post = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 0\r\n\r\n");
    let posted = Client::request(world.edge.address(), post.into_bytes());
    world.origin.next().await.reply("200 OK", "", b"").await;
    posted.await;
    fill(&mut world).await;
}

#[tokio::test]
async fn without_vary_one_response_answers_all() {
    let mut world = World::start().await;
    decide(&world, |config| config.rules = vec![rule("*", vec![Action::Vary(false)])]).await;
    let pending = world.get_with("/a", "accept: a\r\n");
    world.origin.next().await.reply("200 OK", &format!("{MINUTE}vary: accept\r\n"), b"one").await;
    pending.await;
    assert_eq!(world.get_with("/a", "accept: b\r\n").await.field("eo-cache-status"), "HIT");
    decide(&world, |config| config.rules.clear()).await;
    world.fetch("/a", MINUTE, "two").await;
}

fn ignore_query(config: &mut CacheConfig) {
    config.site.keying.query = QueryKey::Ignored;
}

#[tokio::test]
async fn keys_stay_until_their_entry_is_applied() {
    let mut world = World::start().await;
    world.fetch("/a?x=1", MINUTE, "one").await;
    let version = world.edge.configuration_version();
    let seq = world.control.decide(|config| {
        ignore_query(config);
        config.site.caching = Caching::CustomTime { secs: secs(60), ignore_cache_control: false };
    });
    world.control.push_zones();
    until("the configuration", || world.edge.configuration_version() > version).await;
    assert_eq!(world.hit("/a?x=1").await.text(), "one");
    world.fetch("/a?x=2", MINUTE, "two").await;
    world.control.push();
    world.control.until_acknowledged(seq).await;
    world.fetch("/a?x=1", MINUTE, "three").await;
    assert_eq!(world.hit("/a?x=2").await.text(), "three");
}

#[tokio::test]
async fn an_entry_waits_for_its_configuration_and_leases_with_it() {
    let mut world = World::leased(Duration::from_millis(400)).await;
    world.fetch("/a?x=1", MINUTE, "one").await;
    let applied = || world.edge.counters().entries_applied.load(Ordering::Relaxed);
    world.control.decide(ignore_query);
    world.control.push();
    // A purge by the new keys follows it.
    let purge = world.control.append(url("/a"), Method::Delete);
    world.control.push();
    until("the lease to run out", || !world.edge.holds_lease()).await;
    assert_eq!(applied(), 0);
    world.control.push_zones();
    world.control.until_acknowledged(purge).await;
    until("a lease", || world.edge.holds_lease()).await;
    world.fetch("/a?x=1", MINUTE, "two").await;
    assert_eq!(world.hit("/a").await.text(), "two");
}

#[tokio::test]
async fn a_jump_waits_for_the_configuration_of_where_it_goes() {
    let mut world = World::leased(Duration::from_millis(400)).await;
    world.fetch("/a?x=1", MINUTE, "one").await;
    world.control.decide(ignore_query);
    world.control.append(url("/a"), Method::Delete);
    world.control.truncate();
    until("the lease to run out", || !world.edge.holds_lease()).await;
    world.control.push_zones();
    until("a lease", || world.edge.holds_lease()).await;
    world.fetch("/a?x=1", MINUTE, "two").await;
    assert_eq!(world.hit("/a?y").await.text(), "two");
}

/// An edge is sent the newest configuration only: it may be newer than what an entry wants.
#[tokio::test]
async fn between_two_changes_of_keys_a_zone_is_fenced() {
    let mut world = World::start().await;
    world.fetch("/A?x", MINUTE, "one").await;
    let first = world.control.decide(ignore_query);
    let purge = world.control.append(url("/A"), Method::Delete);
    let second = world.control.decide(|config| config.site.keying.ignores_case = true);
    world.control.push_zones();
    world.control.push_range(first, purge);
    world.control.until_acknowledged(purge).await;
    for body in ["two", "three"] {
        let answer = world.fetch("/A", MINUTE, body).await;
        assert!(answer.field("cache-status").contains("fenced"), "{}", answer.field("cache-status"));
    }
    world.control.push();
    world.control.until_acknowledged(second).await;
    world.fetch("/A", MINUTE, "four").await;
    assert_eq!(world.hit("/a").await.text(), "four");
}

#[tokio::test]
async fn a_link_without_a_configuration_is_given_up() {
    let world = World::leased(Duration::from_millis(400)).await;
    world.control.send_zones(false);
    let links = world.control.members().len();
    world.control.break_link();
    until("another link after the next", || world.control.members().len() > links + 1).await;
    world.control.send_zones(true);
    until("a lease", || world.edge.holds_lease()).await;
}
