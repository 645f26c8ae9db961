//! The ledger against a naive replay of all entries over all objects.
#![expect(clippy::unwrap_used, reason = "a test's own preparations must not fail")]

use proptest::prelude::*;
use proptest::sample::select;
use purge::{
    ApplyError, CacheTag, DurableLedger, DurableMark, DurableZone, Entry, Epoch, ForgetError, ImportError,
    Judgement, JumpError, Ledger, LogEntry, Method, PurgeSeq, Scope, Subject, Tags, UrlKey, UrlPrefix,
    UrlTarget, Verdict, ZoneClock,
};
use std::sync::Arc;
use zone::{HostName, ZoneId};

const ZONES: [&str; 2] = ["zone-aaaaaaaaaaaa", "zone-bbbbbbbbbbbb"];
/// Each with the index of its zone.
const HOSTS: [(&str, usize); 3] = [("a.test", 0), ("www.a.test", 0), ("b.test", 1)];
const REQUESTS: [&str; 18] = [
    "/",
    "/?",
    "//",
    "/test",
    "/test/",
    "/test?",
    "/testing",
    "/test/x",
    "/test/x?q=1",
    "/%74est/x?q=1",
    "/a/../test/y",
    "/test/图/%7e",
    "/test/%e5%9b%be/~",
    "/test/a%2fb",
    "/test/a/b/c/d",
    "/test//deep//",
    "/100%/x",
    "/test/x?q=%7e",
];
const TARGETS: [&str; 20] = [
    "http://a.test",
    "https://A.test:8443/",
    "http://www.a.test/test",
    "http://a.test/test",
    "http://a.test/test/",
    "http://a.test/%74est/x?q=1",
    "http://a.test/test/x",
    "http://a.test/test/图/~",
    "http://a.test/test/%E5%9b%be/",
    "http://a.test/test/%E5%9b%be",
    "http://a.test/./test/./x/../a%2Fb",
    "http://a.test/test/a/b",
    "http://a.test/test/a/b/c/d",
    "http://a.test//",
    "http://a.test/test//",
    "http://a.test/100%",
    "http://a.test?",
    "http://b.test/test/",
    "http://b.test:80/test/x?q=~",
    "http://b.test/tes",
];
const TAGS: [&str; 4] = ["news", "News", "sport", "a/b"];

fn host(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn zone(index: usize) -> ZoneId {
    ZoneId::parse(ZONES[index]).unwrap()
}

fn zone_of(name: &HostName) -> ZoneId {
    zone(HOSTS.iter().find(|(known, _)| *known == name.as_str()).unwrap().1)
}

fn tags_of(bits: usize) -> Tags {
    let chosen: Vec<_> = (0..TAGS.len()).filter(|n| bits >> n & 1 == 1).map(|n| TAGS[n]).collect();
    Tags::read([chosen.join(", ").as_bytes()]).0
}

/// Whether `entry` matches, said as plainly as possible.
fn matches(entry: &Entry, zone: &ZoneId, url: &UrlKey, tags: Option<&Tags>) -> bool {
    entry.zone == *zone
        && match &entry.scope {
            Scope::All | Scope::Keys { .. } => true,
            Scope::Host(host) => host == url.host(),
            Scope::Prefix(prefix) => prefix.matches(url),
            Scope::Url(target) => target == url,
            Scope::Tag { tag, host } => {
                tags.is_some_and(|tags| tags.contains(tag))
                    && host.as_ref().is_none_or(|host| host == url.host())
            }
        }
}

#[derive(Clone, Debug)]
struct Object {
    epoch: Epoch,
    clock: Arc<ZoneClock>,
    zone: ZoneId,
    url: UrlKey,
    tags: Tags,
    born: PurgeSeq,
    checked: PurgeSeq,
    /// What a sweep has acted upon, in the object's header, as far as this.
    settled: PurgeSeq,
}

#[derive(Clone, Debug)]
enum Step {
    /// A request fetches an object: host, request, tags.
    Fetch(usize, usize, usize),
    /// The log grows, and the feed sends so many applied entries again with it.
    Apply(Vec<Entry>, usize),
    /// An entry is lost on the way.
    Lose(Entry),
    /// Objects pass by and raise `checked` if clear, those whose index has its bit.
    Hit(u32),
    /// The sweep passes by those objects, and forgets, so many entries before the last.
    Sweep(u32, u64),
    /// To so many entries further on in the same log.
    Jump(u64),
    /// To the head of another log.
    Restart(u64),
    /// The process ends, and another begins with what was exported.
    Reopen,
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let scope = prop_oneof![
        1 => select(&HOSTS[..]).prop_map(|(_, index)| (zone(index), Scope::All)),
        1 => select(&HOSTS[..]).prop_map(|(_, index)| (zone(index), Scope::Keys { config_version: 7 })),
        1 => select(&HOSTS[..]).prop_map(|(name, index)| (zone(index), Scope::Host(host(name)))),
        4 => select(&TARGETS[..]).prop_filter_map("has a query", |text| {
            let prefix = UrlPrefix::parse_target(text).ok()?;
            Some((zone_of(prefix.host()), Scope::Prefix(prefix)))
        }),
        4 => select(&TARGETS[..]).prop_map(|text| {
            let url = UrlTarget::parse(text).unwrap().url;
            (zone_of(url.host()), Scope::Url(url))
        }),
        4 => (select(&TAGS[..]), select(&HOSTS[..]), any::<bool>()).prop_map(|(tag, (name, index), limited)| {
            let tag = CacheTag::parse(tag).unwrap();
            (zone(index), Scope::Tag { tag, host: limited.then(|| host(name)) })
        }),
    ];
    (scope, select(&[Method::Invalidate, Method::Delete][..])).prop_map(|((zone, scope), method)| Entry {
        zone,
        scope,
        method,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..HOSTS.len(), 0..REQUESTS.len(), 0..16_usize).prop_map(|(h, r, t)| Step::Fetch(h, r, t)),
        12 => (prop::collection::vec(any_entry(), 1..4), 0..3_usize).prop_map(|(e, n)| Step::Apply(e, n)),
        1 => any_entry().prop_map(Step::Lose),
        4 => any::<u32>().prop_map(Step::Hit),
        4 => (any::<u32>(), 0..3_u64).prop_map(|(bits, back)| Step::Sweep(bits, back)),
        1 => (0..5_u64).prop_map(Step::Jump),
        1 => (0..40_u64).prop_map(Step::Restart),
        2 => Just(Step::Reopen),
    ]
}

/// An edge with its ledger, and beside it everything that ever happened.
struct World {
    ledger: Ledger,
    epoch: Epoch,
    log: Vec<LogEntry>,
    objects: Vec<Object>,
}

impl World {
    fn new() -> Self {
        let (ledger, epoch) = (Ledger::new([7; 16]), Epoch::new(1));
        ledger.jump(epoch, PurgeSeq::ZERO).unwrap();
        Self { ledger, epoch, log: Vec::new(), objects: Vec::new() }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Fetch(host_index, request, tags) => {
                self.fetch(host_index, REQUESTS[request], tags_of(tags))
            }
            Step::Apply(entries, again) => self.apply(entries, again),
            Step::Lose(entry) => {
                let (expected, got) = (self.ledger.applied().next(), self.ledger.applied().next().next());
                let refused = self.ledger.apply(self.epoch, &[LogEntry { seq: got, entry }]);
                assert_eq!(refused, Err(ApplyError::Gap { expected, got }));
            }
            Step::Hit(chosen) => {
                for index in (0..self.objects.len()).filter(|index| chosen >> (index % 32) & 1 == 1) {
                    let judgement = self.judge(&self.objects[index]);
                    let object = &mut self.objects[index];
                    if judgement.verdict == Verdict::Clear {
                        object.checked = object.checked.max(judgement.walked_at);
                    }
                }
            }
            Step::Sweep(chosen, back) => self.sweep(chosen, back),
            Step::Jump(by) => {
                let head = PurgeSeq::new(self.ledger.applied().number() + by);
                self.ledger.jump(self.epoch, head).unwrap();
            }
            Step::Restart(head) => {
                self.epoch = Epoch::new(self.epoch.number() + 1);
                self.log.clear();
                self.ledger.jump(self.epoch, PurgeSeq::new(head)).unwrap();
            }
            Step::Reopen => self.reopen(),
        }
    }

    /// Whatever is of the log that is followed is judged by the imported ledger as by the one that was exported.
    fn reopen(&mut self) {
        let parts = self.ledger.export();
        let ledger = Ledger::import([7; 16], &parts).unwrap();
        assert_eq!(ledger.position(), self.ledger.position());
        let sorted = |mut parts: DurableLedger| {
            parts.zones.sort_by(|a, b| a.zone.cmp(&b.zone));
            parts.marks.sort_by_key(|mark| mark.key);
            parts
        };
        assert_eq!(sorted(ledger.export()), sorted(parts));
        self.objects.retain(|object| self.ledger.epoch_of(&object.clock) == Some(self.epoch));
        let before: Vec<_> = self.objects.iter().map(|object| self.judge(object)).collect();
        self.ledger = ledger;
        for object in &mut self.objects {
            assert_eq!(*object.clock.zone(), object.zone);
            object.clock = self.ledger.clock(&object.zone);
        }
        let after: Vec<_> = self.objects.iter().map(|object| self.judge(object)).collect();
        assert_eq!(after, before);
    }

    fn fetch(&mut self, host_index: usize, request: &str, tags: Tags) {
        let (name, zone_index) = HOSTS[host_index];
        let clock = self.ledger.clock(&zone(zone_index));
        let born = self.ledger.applied();
        self.objects.push(Object {
            epoch: self.epoch,
            clock,
            zone: zone(zone_index),
            url: UrlKey::of_request(host(name), request).unwrap(),
            tags,
            born,
            checked: born,
            settled: born,
        });
    }

    fn apply(&mut self, entries: Vec<Entry>, again: usize) {
        let mut seq = self.ledger.applied();
        let mut batch: Vec<_> = self.log.iter().rev().take(again).rev().cloned().collect();
        for entry in entries {
            seq = seq.next();
            self.log.push(LogEntry { seq, entry: entry.clone() });
            batch.push(LogEntry { seq, entry });
        }
        assert_eq!(self.ledger.apply(self.epoch, &batch), Ok(seq));
        assert_eq!(self.ledger.position(), Some((self.epoch, seq)));
    }

    fn sweep(&mut self, chosen: u32, back: u64) {
        let up_to = PurgeSeq::new(self.ledger.applied().number().saturating_sub(back));
        let mut index = 0;
        let judged: Vec<_> = self.objects.iter().map(|object| self.judge(object)).collect();
        self.objects.retain_mut(|object| {
            let Judgement { verdict, walked_at } = judged[index];
            let swept = chosen >> (index % 32) & 1 == 1;
            index += 1;
            match verdict {
                _ if !swept => true,
                Verdict::Deleted(_) | Verdict::BeyondHorizon => false,
                Verdict::Clear | Verdict::Invalidated(_) => {
                    object.checked = object.checked.max(walked_at);
                    object.settled = object.settled.max(walked_at);
                    true
                }
            }
        });
        self.ledger.forget(self.epoch, up_to).unwrap();
        assert!(self.ledger.horizon() >= up_to);
        let kept = self.log.iter().filter(|entry| entry.seq > self.ledger.horizon()).count();
        assert!(self.ledger.mark_count() <= kept, "a mark at or below the horizon was kept");
    }

    fn judge(&self, object: &Object) -> Judgement {
        let subject = Subject { clock: &object.clock, url: &object.url, tags: &object.tags };
        self.ledger.judge(subject, object.born, object.checked)
    }

    fn check(&self) {
        for object in &self.objects {
            let judgement = self.judge(object);
            self.check_verdict(object, judgement, Some(&object.tags), object.checked, object.settled);
            if object.clock.has_nothing_after(object.checked) {
                assert_eq!(judgement.verdict, Verdict::Clear, "the shortcut vouches for {object:?}");
            }
            self.check_marks(object, judgement.verdict);
            let judgement = self.ledger.judge_url_only(&object.clock, &object.url, object.born);
            self.check_verdict(object, judgement, None, object.born, object.born);
        }
    }

    /// What is told of the marks that hit an object fits what it was judged by.
    fn check_marks(&self, object: &Object, verdict: Verdict) {
        let subject = Subject { clock: &object.clock, url: &object.url, tags: &object.tags };
        let marks = self.ledger.marks_of(&subject, object.born);
        let newest = |method| marks.iter().find(|mark| mark.method == method).map(|mark| mark.seq);
        match verdict {
            Verdict::Deleted(seq) => assert_eq!(newest(Method::Delete), Some(seq), "{object:?}"),
            Verdict::Invalidated(seq) => assert_eq!(newest(Method::Invalidate), Some(seq), "{object:?}"),
            // What an object has been checked against already may hit it.
            Verdict::Clear if object.checked <= object.born => assert_eq!(marks, [], "{object:?}"),
            Verdict::Clear | Verdict::BeyondHorizon => {}
        }
        for mark in &marks {
            let is_logged =
                self.log.iter().any(|entry| entry.seq == mark.seq && entry.entry.method == mark.method);
            assert!(is_logged || object.epoch != self.epoch, "{mark:?}");
        }
    }

    fn check_verdict(
        &self,
        object: &Object,
        judgement: Judgement,
        tags: Option<&Tags>,
        checked: PurgeSeq,
        settled: PurgeSeq,
    ) {
        let newest = |method: Method| {
            let of_method = self.log.iter().filter(|LogEntry { entry, .. }| entry.method == method);
            let matching =
                of_method.filter(|LogEntry { entry, .. }| matches(entry, &object.zone, &object.url, tags));
            matching.map(|LogEntry { seq, .. }| *seq).filter(|seq| *seq > object.born).max()
        };
        let (deleted, invalidated) = (newest(Method::Delete), newest(Method::Invalidate));
        let of_this_epoch = object.epoch == self.epoch;
        let beyond = object.born.max(checked) < self.ledger.horizon();
        let as_naive = match judgement.verdict {
            Verdict::Clear => of_this_epoch && deleted <= Some(settled) && invalidated <= Some(settled),
            Verdict::Invalidated(seq) => {
                of_this_epoch && invalidated == Some(seq) && deleted <= Some(settled) && !beyond
            }
            Verdict::Deleted(seq) => of_this_epoch && deleted == Some(seq),
            Verdict::BeyondHorizon => !of_this_epoch || beyond,
        };
        assert!(
            as_naive,
            "{judgement:?} of {object:?} by {:?}; naive: deleted {deleted:?}, invalidated {invalidated:?}; log {:?}",
            self.ledger, self.log
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_ledger_is_the_replay_of_the_log(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
    }
}

/// Every pair of a target and a request, by the walk and by the naive rule.
#[test]
fn every_target_meets_every_request() {
    for target in TARGETS {
        let url = UrlTarget::parse(target).unwrap().url;
        let prefix = UrlPrefix::parse_target(target).ok().map(Scope::Prefix);
        for scope in [Some(Scope::Url(url)), prefix].into_iter().flatten() {
            let mut world = World::new();
            for host_index in 0..HOSTS.len() {
                for request in REQUESTS {
                    world.fetch(host_index, request, Tags::NONE);
                }
            }
            world.apply(vec![Entry { zone: zone(0), scope, method: Method::Invalidate }], 0);
            world.check();
        }
    }
}

#[test]
fn paths_deeper_than_the_mask_of_depths_are_found() {
    for slashes in [1, 2, 61, 62, 63, 64, 65, 200] {
        for closing in ["", "/"] {
            let mut world = World::new();
            let directory = format!("{}{closing}", "/x".repeat(slashes));
            let prefix = UrlPrefix::new(host("a.test"), &directory).unwrap();
            for below in ["", "/", "/y", "y", "/y/z?q"] {
                world.fetch(0, &format!("{}{below}", "/x".repeat(slashes)), Tags::NONE);
            }
            world.apply(
                vec![Entry { zone: zone(0), scope: Scope::Prefix(prefix), method: Method::Delete }],
                0,
            );
            world.check();
        }
    }
}

#[test]
fn what_can_not_be_applied_is_refused_by_name() {
    let all = |seq: u64| LogEntry {
        seq: PurgeSeq::new(seq),
        entry: Entry { zone: zone(0), scope: Scope::All, method: Method::Delete },
    };
    let (first, second) = (Epoch::new(1), Epoch::new(2));
    let seq = PurgeSeq::new;
    let ledger = Ledger::new([0; 16]);
    assert_eq!((ledger.epoch(), ledger.position()), (None, None));
    assert_eq!(
        ledger.apply(first, &[all(1)]),
        Err(ApplyError::WrongEpoch { followed: None, got: first }),
        "nothing is followed before the first jump"
    );
    ledger.jump(first, seq(5)).unwrap();
    assert_eq!((ledger.applied(), ledger.horizon(), ledger.epoch()), (seq(5), seq(5), Some(first)));
    assert_eq!(ledger.apply(first, &[]), Ok(seq(5)));
    let gap = ApplyError::Gap { expected: seq(7), got: seq(8) };
    assert_eq!(ledger.apply(first, &[all(5), all(6), all(8)]), Err(gap));
    assert_eq!(ledger.applied(), seq(6), "what came before the gap is applied");
    assert_eq!(
        ledger.apply(second, &[all(7)]),
        Err(ApplyError::WrongEpoch { followed: Some(first), got: second })
    );
    assert_eq!(ledger.forget(first, seq(7)), Err(ForgetError::NotApplied { up_to: seq(7), applied: seq(6) }));
    assert_eq!(ledger.forget(second, seq(6)), Err(ForgetError::WrongEpoch { swept: second }));
    assert_eq!(ledger.jump(first, seq(5)), Err(JumpError::Backwards { applied: seq(6), head: seq(5) }));
    assert_eq!(ledger.jump(second, seq(u64::MAX)), Err(JumpError::TooHigh(seq(u64::MAX))));
    assert_eq!(ledger.mark_count(), 1);
    assert_eq!(ledger.forget(first, seq(6)), Ok(1));
    assert_eq!(ledger.forget(first, seq(5)), Ok(0), "the horizon never falls within an epoch");
    assert_eq!((ledger.mark_count(), ledger.horizon()), (0, seq(6)));
}

#[test]
fn parts_that_no_ledger_can_have_given_are_refused() {
    let seq = PurgeSeq::new;
    let good = DurableLedger {
        epoch: Some(Epoch::new(1)),
        applied: seq(5),
        horizon: seq(5),
        jumped_to: seq(5),
        zones: vec![DurableZone { zone: zone(0), last_seq: seq(5), kinds: 1, prefix_depths: 0 }],
        marks: vec![DurableMark { key: 1, invalidate: seq(0), delete: seq(5) }],
    };
    let import = |parts: &DurableLedger| Ledger::import([0; 16], parts).map(|_| ());
    assert_eq!(import(&good), Ok(()));
    assert_eq!(import(&DurableLedger::default()), Ok(()));
    let above = Err(ImportError::AboveApplied { found: seq(6), applied: seq(5) });
    assert_eq!(import(&DurableLedger { horizon: seq(6), ..good.clone() }), above);
    assert_eq!(import(&DurableLedger { jumped_to: seq(6), ..good.clone() }), above);
    let mut bad = good.clone();
    bad.zones[0].last_seq = seq(6);
    assert_eq!(import(&bad), above);
    let mut bad = good.clone();
    bad.marks[0].invalidate = seq(6);
    assert_eq!(import(&bad), above);
    assert_eq!(import(&DurableLedger { epoch: None, ..good.clone() }), Err(ImportError::NoEpoch));
    let too_high = DurableLedger { applied: seq(u64::MAX), ..good };
    assert_eq!(import(&too_high), Err(ImportError::TooHigh(seq(u64::MAX))));
}

#[test]
fn a_jump_to_another_epoch_retires_every_clock() {
    let ledger = Ledger::new([0; 16]);
    ledger.jump(Epoch::new(1), PurgeSeq::new(1000)).unwrap();
    let (old, born) = (ledger.clock(&zone(0)), ledger.applied());
    assert!(old.has_nothing_after(born) && !old.is_retired());
    ledger.jump(Epoch::new(2), PurgeSeq::new(3)).unwrap();
    assert!(old.is_retired() && !old.has_nothing_after(born));
    assert_eq!(ledger.epoch_of(&old), None);
    assert_eq!(ledger.epoch_of(&ledger.clock(&zone(0))), Some(Epoch::new(2)));
    let url = UrlKey::of_request(host("a.test"), "/").unwrap();
    let subject = |clock| Subject { clock, url: &url, tags: &Tags::NONE };
    let judgement = ledger.judge(subject(&old), born, born);
    assert_eq!(judgement, Judgement { verdict: Verdict::BeyondHorizon, walked_at: PurgeSeq::ZERO });

    // A zone that was never heard of before starts where the jump went.
    for index in 0..2 {
        let new = ledger.clock(&zone(index));
        assert!(!new.has_nothing_after(PurgeSeq::new(2)) && new.has_nothing_after(PurgeSeq::new(3)));
    }
}

#[test]
fn marks_cost_what_is_stated() {
    let world = {
        let mut world = World::new();
        let entry = |n: usize| Entry {
            zone: zone(0),
            scope: Scope::Url(UrlKey::of_request(host("a.test"), &format!("/{n}")).unwrap()),
            method: Method::Delete,
        };
        world.apply((0..100_000).map(entry).collect(), 0);
        world
    };
    assert_eq!(world.ledger.mark_count(), 100_000);
    let per_mark = world.ledger.memory_bytes() / world.ledger.mark_count();
    assert!((purge::MARK_BYTES..=80).contains(&per_mark), "{per_mark}");
    world.ledger.forget(world.epoch, world.ledger.applied()).unwrap();
    assert_eq!((world.ledger.mark_count(), world.ledger.memory_bytes()), (0, 0));
}
