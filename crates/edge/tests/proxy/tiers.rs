//! Edges in tiers: a child that asks the world's edge as its parent.

use crate::world::{Client, Control, HOST, Pending, World, host, tag, until, url};
use edge::{EdgeConfig, EdgeHandle, Parent, TierToken, Tiers};
use purge::{Method, Scope};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

const TAGGED: &str = "cache-control: max-age=60\r\netag: \"1\"\r\ncache-tag: news\r\n";
const LONG: Option<Duration> = Some(Duration::from_secs(60));

struct Tiered {
    parent: World,
    child: EdgeHandle,
    control: Control,
}

fn tiers(parents: &[SocketAddr], token: &str) -> Tiers {
    let parent = |address: &SocketAddr| Parent {
        address: host("127.0.0.1"),
        port: address.port(),
        is_encrypted: false,
    };
    Tiers { parents: parents.iter().map(parent).collect(), token: Some(TierToken::new(token).unwrap()) }
}

impl Tiered {
    async fn start() -> Self {
        Self::with(LONG, LONG, |_| {}).await
    }

    async fn with(
        parent_lease: Option<Duration>,
        child_lease: Option<Duration>,
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        let parent = World::with(parent_lease, |config| {
            config.tiers = tiers(&[], "secret");
            change(config);
        })
        .await;
        let address = parent.edge.address();
        let (child, control) =
            parent.second_edge(child_lease, |config| config.tiers = tiers(&[address], "secret")).await;
        Self { parent, child, control }
    }

    fn get(&self, path: &str) -> Pending {
        Client::get(self.child.address(), HOST, path, "")
    }

    /// Asks the child for what neither has.
    async fn fetch(&mut self, path: &str, fields: &str, body: &str) {
        let pending = self.get(path);
        self.parent.origin.next().await.reply("200 OK", fields, body.as_bytes()).await;
        assert_eq!(pending.await.text(), body);
    }

    /// Records a purge in both logs, which give it the same position.
    fn record(&self, scope: Scope, method: Method) -> u64 {
        let seq = self.control.append(scope.clone(), method);
        assert_eq!(self.parent.control.append(scope, method), seq);
        seq
    }

    async fn apply_at_child(&self, seq: u64) {
        self.control.push();
        self.control.until_acknowledged(seq).await;
    }

    async fn apply_at_parent(&self, seq: u64) {
        self.parent.control.push();
        self.parent.control.until_acknowledged(seq).await;
    }

    fn asked(&self) -> usize {
        self.parent.origin.asked()
    }
}

#[tokio::test]
async fn a_childs_request_is_answered_by_its_parent_and_both_keep_it() {
    let mut tiered = Tiered::start().await;
    let pending = tiered.get("/a");
    let asked = tiered.parent.origin.next().await;
    assert_eq!(asked.field("host"), "origin.test");
    assert!(!asked.has("everfresh-tier") && !asked.has("everfresh-tier-token"), "{}", asked.head);
    asked.reply("200 OK", TAGGED, b"one").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("one", "MISS"));
    for absent in ["everfresh-tier", "cache-tag"] {
        assert!(!answer.has(absent), "{absent}");
    }
    assert!(answer.field("cache-status").starts_with("second; fwd=uri-miss"), "{answer:?}");
    assert!(
        !answer.field("cache-status").contains("e; "),
        "the parent's part is the child's fetch: {answer:?}"
    );
    let again = tiered.get("/a").await;
    assert_eq!(again.field("eo-cache-status"), "HIT");
    assert_eq!(tiered.parent.hit("/a").await.text(), "one");
    assert_eq!(tiered.asked(), 1);
}

#[tokio::test]
async fn tags_pass_through_tiers() {
    let mut tiered = Tiered::start().await;
    tiered.fetch("/a", TAGGED, "one").await;
    let seq = tiered.record(tag("news"), Method::Delete);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    tiered.fetch("/a", TAGGED, "two").await;
    // The parent answers a copy of its own with all the tags the content has had.
    let seq = tiered.record(url("/other"), Method::Delete);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    assert_eq!(tiered.get("/a").await.field("eo-cache-status"), "HIT");
    let seq = tiered.record(tag("news"), Method::Delete);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    tiered.fetch("/a", TAGGED, "three").await;
}

#[tokio::test]
async fn what_a_304_brings_up_to_date_is_so_at_the_child_too() {
    let mut tiered = Tiered::start().await;
    let first = "cache-control: max-age=60\r\netag: \"1\"\r\nx-policy: first\r\n";
    tiered.fetch("/a", first, "one").await;
    let seq = tiered.record(url("/a"), Method::Invalidate);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    let pending = tiered.get("/a");
    let asked = tiered.parent.origin.next().await;
    asked.reply("304 Not Modified", &first.replace("first", "second"), b"").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.field("x-policy")), ("one", "second".to_owned()));
    // A copy of the parent's, which it is not asked about anew.
    let hit = tiered.get("/a").await;
    assert_eq!(hit.field("eo-cache-status"), "HIT");
    assert_eq!(hit.field("x-policy"), "second");
}

/// The child has got the content past its parent, with a tag that the parent's older copy of it does not have. A purge
/// by that tag hits the child's copy only: the parent's is no answer to the child, and no word that the child's is good.
#[tokio::test]
async fn what_hit_the_childs_copy_counts_for_the_parents_too() {
    const UNTAGGED: &str = "cache-control: max-age=60\r\netag: \"1\"\r\n";
    const NEW: &str = "cache-control: max-age=60\r\netag: \"2\"\r\ncache-tag: news\r\n";
    for method in [Method::Delete, Method::Invalidate] {
        let mut tiered = Tiered::with(LONG, LONG, |config| config.tier_wait = Duration::ZERO).await;
        let pending = Client::get(tiered.parent.edge.address(), HOST, "/a", "");
        tiered.parent.origin.next().await.reply("200 OK", UNTAGGED, b"old").await;
        assert_eq!(pending.await.text(), "old");
        // Below the child's floor, so that the parent passes the request on and keeps what it has.
        let other = tiered.record(url("/other"), Method::Delete);
        tiered.apply_at_child(other).await;
        tiered.fetch("/a", TAGGED, "old").await;
        let seq = tiered.record(tag("news"), method);
        tiered.apply_at_parent(seq).await;
        tiered.apply_at_child(seq).await;
        let pending = tiered.get("/a");
        let asked = tiered.parent.origin.next().await;
        let condition = if method == Method::Invalidate { "\"1\"" } else { "" };
        assert_eq!(asked.field("if-none-match"), condition, "{method:?}");
        asked.reply("200 OK", NEW, b"new").await;
        assert_eq!(pending.await.text(), "new", "{method:?}");
        assert_eq!(tiered.get("/a").await.text(), "new");
        assert_eq!(
            tiered.parent.hit("/a").await.text(),
            "new",
            "the parent has it from now on, with the tag"
        );
    }
}

/// The child has applied a purge that its parent has not: the parent's old copy is no answer.
#[tokio::test]
async fn a_parent_below_the_floor_gives_nothing_from_its_cache() {
    for method in [Method::Delete, Method::Invalidate] {
        let mut tiered = Tiered::with(LONG, LONG, |config| config.tier_wait = Duration::ZERO).await;
        tiered.fetch("/a", TAGGED, "old").await;
        let seq = tiered.record(url("/a"), method);
        tiered.apply_at_child(seq).await;
        let pending = tiered.get("/a");
        let asked = tiered.parent.origin.next().await;
        let condition = if method == Method::Invalidate { "\"1\"" } else { "" };
        assert_eq!(asked.field("if-none-match"), condition, "the child's own condition, or none");
        asked.reply("200 OK", TAGGED, b"new").await;
        assert_eq!(pending.await.text(), "new", "{method:?}");
        assert_eq!(tiered.get("/a").await.field("eo-cache-status"), "HIT");
        // What the parent passed on, it did not keep; its own old copy goes when the entry comes.
        tiered.apply_at_parent(seq).await;
        let pending = tiered.parent.get("/a");
        tiered.parent.origin.next().await.reply("200 OK", TAGGED, b"new").await;
        assert_eq!(pending.await.text(), "new");
    }
}

#[tokio::test]
async fn a_parent_waits_for_the_entries_that_its_child_has() {
    let mut tiered = Tiered::with(LONG, LONG, |config| config.tier_wait = Duration::from_secs(10)).await;
    tiered.fetch("/a", TAGGED, "old").await;
    let seq = tiered.record(url("/a"), Method::Delete);
    tiered.apply_at_child(seq).await;
    let pending = tiered.get("/a");
    let children = &tiered.parent.edge.counters().of_children;
    until("the child to ask", || children.load(Ordering::Relaxed) == 2).await;
    assert!(tiered.parent.origin.try_next().is_none());
    tiered.parent.control.push();
    tiered.parent.origin.next().await.reply("200 OK", TAGGED, b"new").await;
    assert_eq!(pending.await.text(), "new");
    assert_eq!(tiered.parent.hit("/a").await.text(), "new", "this time the parent's cache had its part");
}

#[tokio::test]
async fn an_invalidated_copy_is_confirmed_through_the_parent() {
    let mut tiered = Tiered::start().await;
    tiered.fetch("/a", TAGGED, "one").await;
    let seq = tiered.record(url("/a"), Method::Invalidate);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    let pending = tiered.get("/a");
    let asked = tiered.parent.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified("etag: \"1\"\r\n").await;
    let answer = pending.await;
    assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("one", "RefreshHit"));
    assert_eq!(tiered.asked(), 2);
    assert_eq!(tiered.parent.hit("/a").await.text(), "one");
}

#[tokio::test]
async fn of_two_leases_one_is_enough_and_without_any_the_cache_has_no_part() {
    // The parent's is over, the child's holds.
    let mut tiered = Tiered::with(Some(Duration::from_millis(300)), LONG, |_| {}).await;
    tiered.fetch("/a", TAGGED, "one").await;
    tiered.parent.lose_lease().await;
    let (other, _control) = tiered
        .parent
        .second_edge(LONG, |config| config.tiers = tiers(&[tiered.parent.edge.address()], "secret"))
        .await;
    let answer = Client::get(other.address(), HOST, "/a", "").await;
    assert_eq!((answer.text(), tiered.asked()), ("one", 1));

    // Neither holds: a fenced child of a fenced parent.
    let (fenced, control) = tiered
        .parent
        .second_edge(Some(Duration::from_millis(300)), |config| {
            config.tiers = tiers(&[tiered.parent.edge.address()], "secret");
        })
        .await;
    control.refuse_grants();
    until("the lease to run out", || !fenced.holds_lease()).await;
    let pending = Client::get(fenced.address(), HOST, "/a", "");
    let asked = tiered.parent.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", TAGGED, b"two").await;
    assert_eq!(pending.await.text(), "two");
}

#[tokio::test]
async fn requests_of_both_tiers_are_collapsed() {
    let mut tiered = Tiered::start().await;
    let pending = [tiered.get("/a"), tiered.get("/a"), tiered.parent.get("/a")];
    let asked = tiered.parent.origin.next().await;
    let (parent, child) = (tiered.parent.edge.counters(), tiered.child.counters());
    let requests = || parent.of_children.load(Ordering::Relaxed) + child.requests.load(Ordering::Relaxed);
    until("all to come", || requests() >= 3 && tiered.parent.requests() >= 2).await;
    asked.reply("200 OK", TAGGED, b"one").await;
    for answer in pending {
        assert_eq!(answer.await.text(), "one");
    }
    assert_eq!(tiered.asked(), 1);
}

#[tokio::test]
async fn a_child_without_an_answer_of_a_parent_asks_the_origin() {
    let mut parent = World::start_with(|config| config.tiers = tiers(&[], "secret")).await;
    let address = parent.edge.address();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // Nobody there, another network's parent, an origin that is no parent.
    let cases = [(nobody, "secret"), (address, "another"), (parent.origin.address(), "secret")];
    for (at, token) in cases {
        let (child, _control) = parent.second_edge(LONG, |config| config.tiers = tiers(&[at], token)).await;
        let pending = Client::get(child.address(), HOST, "/a", "");
        if at == parent.origin.address() {
            // Its answer has no mark, and is not taken.
            parent.origin.next().await.reply("200 OK", TAGGED, b"untagged").await;
        }
        parent.origin.next().await.reply("200 OK", TAGGED, b"one").await;
        assert_eq!(pending.await.text(), "one");
        assert_eq!(child.counters().parents_passed_over.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn a_refusal_of_the_parents_own_is_no_answer() {
    let parent = World::start_with(|config| {
        config.tiers = tiers(&[], "secret");
        config.fetches_max = 1;
    })
    .await;
    let mut parent = parent;
    let address = parent.edge.address();
    let (child, _control) =
        parent.second_edge(LONG, |config| config.tiers = tiers(&[address], "secret")).await;
    // The parent's one fetch is under way.
    let slow = parent.get("/slow");
    let held = parent.origin.next().await;
    let pending = Client::get(child.address(), HOST, "/a", "");
    parent.origin.next().await.reply("200 OK", TAGGED, b"one").await;
    let answer = pending.await;
    assert_eq!((answer.status, answer.text()), (200, "one"));
    held.reply("200 OK", TAGGED, b"slow").await;
    assert_eq!(slow.await.text(), "slow");
}

#[tokio::test]
async fn an_edge_that_is_its_own_parent_asks_the_origin() {
    let mut world = World::start_with(|config| config.tiers = tiers(&[], "secret")).await;
    let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let (child, _control) = world
        .second_edge(LONG, |config| {
            config.listen = address;
            config.tiers = tiers(&[address], "secret");
        })
        .await;
    let pending = Client::get(child.address(), HOST, "/a", "");
    world.origin.next().await.reply("200 OK", TAGGED, b"one").await;
    assert_eq!(pending.await.text(), "one");
    assert_eq!(world.origin.asked(), 1);
}

#[tokio::test]
async fn nobody_is_a_child_without_the_token() {
    let mut world = World::start_with(|config| config.tiers = tiers(&[], "secret")).await;
    world.fetch("/a", TAGGED, "one").await;
    let claim = "everfresh-tier: 0000000000000001 0 leased\r\n";
    for token in ["", "everfresh-tier-token: wrong\r\n"] {
        let answer = world.get_with("/a", &format!("{claim}{token}")).await;
        assert_eq!((answer.status, answer.field("everfresh-tier").as_str()), (403, "refused"));
        assert!(answer.text().contains("token"), "{}", answer.text());
    }
    let answer = world.get_with("/a", &format!("{claim}everfresh-tier-token: secret\r\n")).await;
    assert_eq!((answer.status, answer.field("everfresh-tier").as_str()), (200, "answered"));
    assert_eq!(answer.field("cache-tag"), "news");
    let answer = world.get_with("/a", "everfresh-tier: nonsense\r\neverfresh-tier-token: secret\r\n").await;
    assert_eq!(answer.status, 403);
    // The token alone says nothing, and goes no further.
    let pending = world.get_with("/b", "everfresh-tier-token: secret\r\n");
    let asked = world.origin.next().await;
    assert!(!asked.has("everfresh-tier-token"));
    asked.reply("200 OK", TAGGED, b"two").await;
    assert_eq!(pending.await.status, 200);
}

#[tokio::test]
async fn an_unsafe_request_goes_through_the_parent_and_invalidates_both() {
    let mut tiered = Tiered::start().await;
    tiered.fetch("/a", TAGGED, "one").await;
    let post = format!("POST /a HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 3\r\n\r\nnew");
    let pending = Client::request(tiered.child.address(), post.into_bytes());
    let asked = tiered.parent.origin.next().await;
    assert_eq!((asked.first_line(), asked.body.as_slice()), ("POST /a HTTP/1.1", b"new".as_slice()));
    asked.reply("204 No Content", "", b"").await;
    assert_eq!(pending.await.status, 204);
    tiered.fetch("/a", TAGGED, "two").await;
}

/// A tag that can't count at the parent must not be lost on the way: the child, too, keeps such content only shortly, and
/// lets any purge of the zone find it.
#[tokio::test]
async fn that_tags_could_not_count_is_told_to_children() {
    let mut tiered = Tiered::start().await;
    tiered.fetch("/a", "cache-control: max-age=60\r\ncache-tag: news, not a tag\r\n", "one").await;
    let seq = tiered.record(url("/other"), Method::Delete);
    tiered.apply_at_parent(seq).await;
    tiered.apply_at_child(seq).await;
    tiered.fetch("/a", TAGGED, "two").await;
}

#[tokio::test]
async fn a_position_that_a_request_names_holds_for_parents_too() {
    let wait = |config: &mut EdgeConfig| config.tier_wait = Duration::ZERO;
    let mut tiered = Tiered::with(LONG, LONG, wait).await;
    let named = |tiered: &Tiered, seq: &str| {
        Client::get(tiered.child.address(), HOST, "/a", &format!("everfresh-min-seq: {seq}\r\n"))
    };
    // Not at the child, which is not told, but at its parent, which has it in its cache.
    tiered.control.answer_wants(false);
    tiered.fetch("/a", TAGGED, "one").await;
    let seq = tiered.record(url("/a"), Method::Delete);
    tiered.apply_at_parent(seq).await;
    let pending = named(&tiered, "1");
    let asked = tiered.parent.origin.next().await;
    assert!(!asked.has("everfresh-min-seq"));
    asked.reply("200 OK", TAGGED, b"two").await;
    assert_eq!(pending.await.text(), "two");
    assert_eq!(tiered.parent.hit("/a").await.text(), "two", "the parent had a part in it");
    let answer = named(&tiered, "1").await;
    assert_eq!((answer.text(), answer.field("eo-cache-status").as_str()), ("two", "MISS"));
    assert!(answer.field("cache-status").ends_with("detail=min-seq"), "{answer:?}");
    assert_eq!(
        tiered.get("/a").await.text(),
        "one",
        "who names nothing gets what the child's lease still allows"
    );
    // At neither: both pass it on.
    let asked_before = tiered.asked();
    let pending = named(&tiered, "0000000000000001:9");
    tiered.parent.origin.next().await.reply("200 OK", TAGGED, b"three").await;
    assert_eq!(pending.await.text(), "three");
    assert_eq!(tiered.asked(), asked_before + 1);
    assert_eq!(tiered.parent.hit("/a").await.text(), "two");
}
