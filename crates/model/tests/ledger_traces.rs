//! Shortest traces of the mutants that concern the ledger, replayed against the real one.
//!
//! Each test is named after the mutant whose trace it follows. Orders between threads (marks, last seq, applied;
//! horizon after the marks) can't be stepped through from outside: `purge`'s own tests run them concurrently.
#![expect(clippy::unwrap_used, reason = "a test's own preparations must not fail")]

use std::sync::Arc;

use purge::{
    CacheTag, Entry, Epoch, Ledger, LogEntry, Method, PurgeSeq, Scope, Subject, Tags, UrlKey, Verdict,
    ZoneClock,
};
use zone::{HostName, ZoneId};

const START: PurgeSeq = PurgeSeq::ZERO;

/// The model's world: one URL, one tag, one log.
struct World {
    ledger: Ledger,
    epoch: Epoch,
    zone: ZoneId,
    clock: Arc<ZoneClock>,
    url: UrlKey,
    other: UrlKey,
}

impl World {
    fn new() -> Self {
        let (ledger, epoch) = (Ledger::new([7; 16]), Epoch::new(1));
        ledger.jump(epoch, START).unwrap();
        let zone = ZoneId::parse("zone-aaaaaaaaaaaa").unwrap();
        let host = HostName::parse("a.test").unwrap();
        let clock = ledger.clock(&zone);
        let url = UrlKey::of_request(host.clone(), "/page").unwrap();
        let other = UrlKey::of_request(host, "/other").unwrap();
        Self { ledger, epoch, zone, clock, url, other }
    }

    fn apply(&self, method: Method, scope: Scope) -> PurgeSeq {
        let seq = self.ledger.applied().next();
        let entry = Entry { zone: self.zone.clone(), scope, method };
        self.ledger.apply(self.epoch, &[LogEntry { seq, entry }]).unwrap()
    }

    fn purge_url(&self, method: Method) -> PurgeSeq {
        self.apply(method, Scope::Url(self.url.clone()))
    }

    fn purge_other(&self) -> PurgeSeq {
        self.apply(Method::Delete, Scope::Url(self.other.clone()))
    }

    fn purge_tag(&self, method: Method) -> PurgeSeq {
        self.apply(method, Scope::Tag { tag: CacheTag::parse("news").unwrap(), host: None })
    }

    fn verdict(&self, tags: &Tags, born: PurgeSeq, checked: PurgeSeq) -> Verdict {
        self.ledger.judge(Subject { clock: &self.clock, url: &self.url, tags }, born, checked).verdict
    }

    fn walked_at(&self, tags: &Tags, born: PurgeSeq) -> PurgeSeq {
        let judgement = self.ledger.judge(Subject { clock: &self.clock, url: &self.url, tags }, born, born);
        assert_eq!(judgement.verdict, Verdict::Clear);
        judgement.walked_at
    }
}

fn tagged() -> Tags {
    Tags::read([b"news".as_slice()]).0
}

#[test]
fn interval_highest_only() {
    let world = World::new();
    let first = world.purge_url(Method::Invalidate);
    let seen = world.ledger.applied();
    assert_eq!(seen, first);
    let second = world.purge_url(Method::Invalidate);
    // The mark above `seen` hides the one that the follower must heed; it still keeps the follower out.
    assert_eq!(world.verdict(&Tags::NONE, START, START), Verdict::Invalidated(second));
}

#[test]
fn follower_skips_tags() {
    let world = World::new();
    let purged = world.purge_tag(Method::Invalidate);
    assert_eq!(world.ledger.judge_url_only(&world.clock, &world.url, START).verdict, Verdict::Clear);
    assert_eq!(world.verdict(&tagged(), START, START), Verdict::Invalidated(purged));
}

#[test]
fn follower_ignores_horizon_and_sweep_forgets() {
    let world = World::new();
    let purged = world.purge_url(Method::Delete);
    assert_eq!(world.ledger.forget(world.epoch, purged), Ok(1));
    assert_eq!(world.ledger.mark_count(), 0);
    // The mark is gone; a fetch under way since before it is caught all the same, with its head and without.
    assert_eq!(world.verdict(&Tags::NONE, START, START), Verdict::BeyondHorizon);
    let without_head = world.ledger.judge_url_only(&world.clock, &world.url, START);
    assert_eq!(without_head.verdict, Verdict::BeyondHorizon);
    assert!(!world.clock.has_nothing_after(START));
    // What was born at the horizon is not caught.
    assert_eq!(world.verdict(&Tags::NONE, purged, purged), Verdict::Clear);
}

#[test]
fn admission_claims_walk_and_not_modified_born_at_answer() {
    for method in [Method::Invalidate, Method::Delete] {
        let world = World::new();
        let born = world.ledger.applied();
        let purged = world.purge_url(method);
        let expected = match method {
            Method::Invalidate => Verdict::Invalidated(purged),
            Method::Delete => Verdict::Deleted(purged),
        };
        // The response arrives now, and is judged by the born of its fetch.
        assert_eq!(world.verdict(&Tags::NONE, born, born), expected);
        // Had it been stored as checked, or born, at its arrival, nothing would find the purge any more.
        assert!(world.clock.has_nothing_after(world.ledger.applied()));
    }
}

#[test]
fn not_modified_takes_tags() {
    let world = World::new();
    let purged = world.purge_tag(Method::Delete);
    let kept = tagged().union(&Tags::NONE).unwrap();
    assert_eq!(world.verdict(&kept, START, START), Verdict::Deleted(purged));
    let added = Tags::NONE.union(&tagged()).unwrap();
    assert_eq!(world.verdict(&added, START, START), Verdict::Deleted(purged));
}

#[test]
fn checked_after_walk() {
    let world = World::new();
    let other = world.purge_other();
    let walked_at = world.walked_at(&Tags::NONE, START);
    assert_eq!(walked_at, other);
    assert!(world.clock.has_nothing_after(walked_at));
    let purged = world.purge_url(Method::Delete);
    assert!(!world.clock.has_nothing_after(walked_at));
    // What a walk vouches for may spare walks, never a mark above born.
    assert_eq!(world.verdict(&Tags::NONE, START, walked_at), Verdict::Deleted(purged));
}

#[test]
fn old_walk_vouches() {
    let world = World::new();
    let purged = world.purge_tag(Method::Delete);
    // A walk of the header without the tag passes. A 304 brought the tag meanwhile, in a header whose `checked`
    // starts at its born: the purge is found. The old walk's `checked` in it would hide the purge.
    let walked_at = world.walked_at(&Tags::NONE, START);
    assert_eq!(world.verdict(&tagged(), START, START), Verdict::Deleted(purged));
    assert!(world.clock.has_nothing_after(walked_at));
}

#[test]
fn jump_drops_once_and_jump_keeps() {
    let world = World::new();
    let head = PurgeSeq::new(1);
    world.ledger.jump(world.epoch, head).unwrap();
    assert!(!world.clock.has_nothing_after(START));
    assert_eq!(world.verdict(&Tags::NONE, START, START), Verdict::BeyondHorizon);
    assert_eq!(world.verdict(&Tags::NONE, head, head), Verdict::Clear);
    // A zone that is met only now has had the jump too.
    let met_now = world.ledger.clock(&ZoneId::parse("zone-bbbbbbbbbbbb").unwrap());
    assert!(!met_now.has_nothing_after(START));
}

#[test]
fn sweep_vouches_below_horizon() {
    let world = World::new();
    world.ledger.jump(world.epoch, PurgeSeq::new(1)).unwrap();
    let swept_to = world.purge_other();
    // No mark matches it, and yet the sweep must not raise its `checked`.
    assert_eq!(world.verdict(&Tags::NONE, START, START), Verdict::BeyondHorizon);
    world.ledger.forget(world.epoch, swept_to).unwrap();
    assert_eq!(world.verdict(&Tags::NONE, START, START), Verdict::BeyondHorizon);
}
