//! Heads and slices on a volume that loses what was not synced: arbitrary runs against a list of what was stored, what its
//! parts brought of tags, and what was purged.
//!
//! What counts: a slice that may be used is of the generation of its head and has its bytes, and no purge above its born
//! matches it, neither by a tag that any part of the same content has brought; but for an `invalidate` that a 304 has answered. A tag
//! that came after a purge, with a head that was validated after it, says nothing against bytes of before, as with any object.

use super::simulated::{Simulated, Trouble};
use super::{EPOCH, Running, entry, runtime, url, zone_id};
use crate::body::Content;
use crate::disk::jobs::SweepOutcome;
use crate::object::{Birth, NewObject, Object, Standing};
use crate::shelf::{ObjectKey, Renewal, Tagged};
use crate::slices::{SliceId, SliceOf, Slices, is_usable};
use http::{HeaderMap, HeaderValue, StatusCode};
use httpcache::{Freshness, Policy, StrongValidator};
use proptest::prelude::*;
use purge::{CacheTag, LogEntry, Method, PurgeSeq, Scope, Tags};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const URLS: u8 = 2;
const SLICES: u64 = 3;
const SLICE_BYTES: u64 = 12;
const TAGS: [&str; 4] = ["", "red", "blue", "red,blue"];

#[derive(Clone, Debug)]
enum Step {
    /// A new head, whose fetch began so many entries ago.
    Head {
        number: u8,
        ago: u64,
        tags: usize,
    },
    /// A part of what is stored brings a slice, and perhaps tags. It may be left while it waits for the disk.
    Part {
        number: u8,
        index: u64,
        ago: u64,
        tags: usize,
        is_left: bool,
    },
    /// A 304 to what is stored.
    Renew {
        number: u8,
        tags: usize,
    },
    /// Memory forgets a head, or a slice.
    Evict {
        number: u8,
        index: Option<u64>,
    },
    Purge {
        of: usize,
        deletes: bool,
        applies: bool,
    },
    Apply,
    Jump,
    Turns(u8),
    Sweep,
    Forget(u8),
    Save,
    Fail {
        after: u64,
    },
    Restart,
    LosePower {
        after: u64,
        turns: u8,
        fates: Vec<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..URLS, 0..3u64, 0..TAGS.len()).prop_map(|(number, ago, tags)| Step::Head { number, ago, tags }),
        8 => (0..URLS, 0..SLICES, 0..3u64, 0..TAGS.len(), prop::bool::weighted(0.2)).prop_map(
            |(number, index, ago, tags, is_left)| Step::Part { number, index, ago, tags, is_left }
        ),
        2 => (0..URLS, 0..TAGS.len()).prop_map(|(number, tags)| Step::Renew { number, tags }),
        2 => (0..URLS, prop::option::of(0..SLICES)).prop_map(|(number, index)| Step::Evict { number, index }),
        5 => (0..5usize, any::<bool>(), any::<bool>())
            .prop_map(|(of, deletes, applies)| Step::Purge { of, deletes, applies }),
        1 => Just(Step::Apply),
        1 => Just(Step::Jump),
        5 => (1..4u8).prop_map(Step::Turns),
        2 => Just(Step::Turns(200)),
        3 => Just(Step::Sweep),
        1 => (0..URLS).prop_map(Step::Forget),
        2 => Just(Step::Save),
        1 => (0..6u64).prop_map(|after| Step::Fail { after }),
        1 => Just(Step::Restart),
        3 => (0..12u64, 0..9u8, prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(after, turns, fates)| Step::LosePower { after, turns, fates }),
    ]
}

/// One generation, as it really was.
struct Generation {
    number: u8,
    /// Every tag that the head or a part whose bytes counted has brought, and how long the log was then.
    tags: BTreeMap<String, u64>,
    /// When its head was fetched or validated.
    heads: BTreeSet<PurgeSeq>,
    /// When each slice was fetched.
    slices: BTreeSet<(u64, PurgeSeq)>,
}

struct Model {
    volume: Arc<Simulated>,
    runtime: Runtime,
    /// By their number.
    generations: Vec<Generation>,
    log: Vec<LogEntry>,
    sweep: Option<(PurgeSeq, oneshot::Receiver<SweepOutcome>)>,
    starts: usize,
    served: usize,
}

fn start(volume: &Arc<Simulated>) -> Running {
    let running = Running::start(volume);
    if running.ledger.epoch().is_none() {
        running.ledger.jump(EPOCH, PurgeSeq::ZERO).unwrap();
    }
    running
}

fn content_of(generation: u64, index: u64) -> String {
    format!("{:0width$}", generation * 100 + index, width = usize::try_from(SLICE_BYTES).unwrap())
}

pub(super) fn in_slices(generation: u64) -> Arc<Content> {
    Content::in_slices(Arc::new(Slices {
        generation,
        length: SLICES * SLICE_BYTES,
        slice_bytes: SLICE_BYTES,
        validator: StrongValidator::of_if_range(&HeaderValue::from_static("\"1\"")).unwrap(),
        brought_by: StatusCode::PARTIAL_CONTENT,
    }))
}

pub(super) fn made_of(
    running: &Running,
    number: u8,
    born: PurgeSeq,
    tags: Tags,
    content: Arc<Content>,
) -> Arc<Object> {
    let (headers, policy, now) = (HeaderMap::new(), Policy::default(), std::time::SystemTime::UNIX_EPOCH);
    Object::new(NewObject {
        url: url(number),
        birth: Birth { clock: running.ledger.clock(&zone_id()), born },
        tags,
        tags_ignored: 0,
        grouping: None,
        status: StatusCode::OK,
        freshness: Freshness::of_response(StatusCode::OK, &headers, now, now, &policy),
        headers,
        declared_length: Some(SLICES * SLICE_BYTES),
        content,
    })
}

pub(super) fn slice(running: &Running, number: u8, id: SliceId, born: PurgeSeq, tags: Tags) -> Arc<Object> {
    let content = Content::of_whole_slice(id, content_of(id.of.generation, id.index).into());
    made_of(running, number, born, tags, content)
}

fn read(tags: usize) -> Tags {
    Tags::read([TAGS[tags].as_bytes()]).0
}

impl Generation {
    /// `now`: how long the log is.
    fn learn(&mut self, tags: &Tags, now: u64) {
        for tag in tags.iter() {
            self.tags.entry(tag.to_owned()).or_insert(now);
        }
    }
}

impl Model {
    fn new() -> Self {
        Self {
            volume: Arc::new(Simulated::new()),
            runtime: runtime(),
            generations: Vec::new(),
            log: Vec::new(),
            sweep: None,
            starts: 0,
            served: 0,
        }
    }

    fn purge(&mut self, of: usize, deletes: bool) {
        let tag = |text| Scope::Tag { tag: CacheTag::parse(text).unwrap(), host: None };
        let scope = match of {
            0 | 1 => Scope::Url(url(u8::try_from(of).unwrap())),
            2 => tag("red"),
            3 => tag("blue"),
            _ => Scope::All,
        };
        let method = if deletes { Method::Delete } else { Method::Invalidate };
        self.log.push(entry(self.log.len() as u64 + 1, scope, method));
    }

    fn apply(&self, running: &Running) {
        let applied = usize::try_from(running.ledger.applied().number()).unwrap();
        running.ledger.apply(EPOCH, &self.log[applied..]).unwrap();
    }

    fn turn(&mut self, running: &mut Running) {
        running.keeper.turn();
        if let Some((swept_to, mut outcome)) = self.sweep.take() {
            match outcome.try_recv() {
                Ok(SweepOutcome::Swept(_)) => self.end_sweep(running, swept_to),
                Err(oneshot::error::TryRecvError::Empty) => self.sweep = Some((swept_to, outcome)),
                Ok(SweepOutcome::Recovering) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    /// What the edge does once a sweep of the disk has ended.
    fn end_sweep(&self, running: &Running, swept_to: PurgeSeq) {
        for (key, object) in running.shelf.objects().collect::<Vec<_>>() {
            if matches!(
                object.sweep(&running.ledger, swept_to),
                Standing::Deleted(_) | Standing::BeyondHorizon
            ) {
                running.shelf.remove_object(key, &object);
            }
        }
        running.ledger.forget(EPOCH, swept_to).unwrap();
        running.disk.save();
        for (key, stored) in running.disk.in_slices().collect::<Vec<_>>() {
            if stored.is_slice() && !running.shelf.holds_head(stored.response(key).unwrap()) {
                running.disk.condemn_file(key, &stored);
            }
        }
    }

    fn at(&self, running: &Running, key: ObjectKey, number: u8) -> Option<Arc<Object>> {
        self.runtime.block_on(running.shelf.at(key, &url(number)))
    }

    /// The head that is stored, if purges leave it.
    fn head(&self, running: &Running, number: u8) -> Option<(SliceOf, Arc<Object>)> {
        let key = running.key(number);
        let head = self.at(running, key, number)?;
        let generation = head.content.slices()?.generation;
        (head.standing(&running.ledger) == Standing::Clear)
            .then_some((SliceOf { head: key, generation }, head))
    }

    /// As a stretch of slices does it: tags first, then bytes.
    fn part(
        &mut self,
        running: &mut Running,
        number: u8,
        index: u64,
        born: PurgeSeq,
        tags: usize,
        is_left: bool,
    ) {
        let Some((of, _)) = self.head(running, number) else { return };
        let brought = read(tags);
        for settled in 0..4 {
            match running.shelf.add_tags(of, &brought, 0, settled > 0) {
                Tagged::Head(head) => {
                    let now = self.log.len() as u64;
                    let generation = &mut self.generations[usize::try_from(of.generation).unwrap()];
                    generation.learn(&brought, now);
                    generation.slices.insert((index, born));
                    let kept = |standing| matches!(standing, Standing::Clear | Standing::Invalidated(_));
                    let slice = slice(running, number, SliceId { of, index }, born, head.tags.clone());
                    let key = running.shelf.slice_key(of.head, of.generation, index);
                    if running.shelf.head_standing(of, &running.ledger).is_some_and(kept)
                        && kept(slice.standing(&running.ledger))
                    {
                        running.shelf.insert_slice(key, slice, of);
                    }
                    return;
                }
                Tagged::Unsettled => {
                    if is_left || !self.settle(running, of.head) {
                        break;
                    }
                }
                Tagged::Gone => return,
                Tagged::GoneUnsettled => break,
            }
        }
        running.shelf.forget_head(of);
        self.settle(running, of.head);
    }

    fn settle(&mut self, running: &mut Running, key: ObjectKey) -> bool {
        let mut settled = running.disk.jobs.settle(key);
        loop {
            self.turn(running);
            match settled.try_recv() {
                Ok(is_settled) => return is_settled,
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => return true,
            }
        }
    }

    fn renew(&mut self, running: &mut Running, number: u8, tags: usize) {
        let key = running.key(number);
        let Some(asked) = self.at(running, key, number) else { return };
        let is_held = matches!(asked.standing(&running.ledger), Standing::Clear | Standing::Invalidated(_));
        let Some(slices) = asked.content.slices().filter(|_| is_held) else { return };
        let generation = usize::try_from(slices.generation).unwrap();
        let (born, brought) = (running.ledger.applied(), read(tags));
        let all = asked.tags.union(&brought).unwrap();
        let renewed = made_of(running, number, born, all, Arc::clone(&asked.content));
        let is_settled = match running.shelf.renew(key, &asked, Some(renewed)) {
            Renewal::Renewed => true,
            Renewal::Dropped => false,
            Renewal::DroppedFromDisk => self.settle(running, key),
        };
        if is_settled {
            let now = self.log.len() as u64;
            let generation = &mut self.generations[generation];
            generation.heads.insert(born);
            generation.learn(&brought, now);
        }
    }

    fn step(&mut self, mut running: Running, step: &Step) -> Running {
        let ago = |running: &Running, ago: u64| {
            PurgeSeq::new(running.ledger.applied().number().saturating_sub(ago))
        };
        match step {
            Step::Head { number, ago: entries, tags } => {
                let (born, tags) = (ago(&running, *entries), read(*tags));
                let content = in_slices(self.generations.len() as u64);
                let head = made_of(&running, *number, born, tags.clone(), content);
                let mut generation = Generation {
                    number: *number,
                    tags: BTreeMap::new(),
                    heads: BTreeSet::from([born]),
                    slices: BTreeSet::new(),
                };
                generation.learn(&tags, self.log.len() as u64);
                self.generations.push(generation);
                if !matches!(head.standing(&running.ledger), Standing::Deleted(_) | Standing::BeyondHorizon) {
                    running.shelf.insert(running.key(*number), head);
                }
            }
            Step::Part { number, index, ago: entries, tags, is_left } => {
                let born = ago(&running, *entries);
                self.part(&mut running, *number, *index, born, *tags, *is_left);
            }
            Step::Renew { number, tags } => self.renew(&mut running, *number, *tags),
            Step::Evict { number, index } => {
                let key = running.key(*number);
                let slices = running.shelf.peek(key).and_then(|head| head.content.slices().map(Arc::clone));
                match (index, slices) {
                    (Some(index), Some(slices)) => {
                        running.shelf.evict(running.shelf.slice_key(key, slices.generation, *index));
                    }
                    (None, _) => running.shelf.evict(key),
                    (Some(_), None) => {}
                }
            }
            Step::Purge { of, deletes, applies } => {
                self.purge(*of, *deletes);
                if *applies {
                    self.apply(&running);
                }
            }
            Step::Apply => self.apply(&running),
            Step::Jump => running.ledger.jump(EPOCH, PurgeSeq::new(self.log.len() as u64)).unwrap(),
            Step::Turns(turns) => (0..*turns).for_each(|_| self.turn(&mut running)),
            Step::Sweep => {
                if self.sweep.is_none() {
                    self.sweep = Some((running.ledger.applied(), running.disk.jobs.sweep()));
                }
            }
            Step::Forget(number) => {
                if let Some((of, _)) = self.head(&running, *number) {
                    running.shelf.forget_head(of);
                }
            }
            Step::Save => running.disk.save(),
            Step::Fail { after } => self.volume.set(Trouble::Once(*after, io::ErrorKind::Other)),
            Step::Restart => {
                running.disk.stop();
                running.keeper.run();
                self.volume.set(Trouble::None);
                return self.started();
            }
            Step::LosePower { after, turns, fates } => {
                self.volume.set(Trouble::From(*after, io::ErrorKind::Other));
                (0..*turns).for_each(|_| self.turn(&mut running));
                drop(running);
                self.volume.lose_power(fates);
                return self.started();
            }
        }
        self.check(&running);
        running
    }

    /// A new start on what is left, looked at as another start would find it, too.
    fn started(&mut self) -> Running {
        self.sweep = None;
        self.starts += 1;
        let mut running = start(&self.volume);
        let mut looked_at = start(&Arc::new(self.volume.copy()));
        looked_at.work();
        self.check(&looked_at);
        self.apply(&looked_at);
        self.check(&looked_at);
        // Steps then find it in the midst of that, or at its end.
        if self.starts.is_multiple_of(2) {
            running.work();
        } else {
            running.keeper.turn();
        }
        running
    }

    fn check(&mut self, running: &Running) {
        for number in 0..URLS {
            let Some((of, head)) = self.head(running, number) else { continue };
            let generation = &self.generations[usize::try_from(of.generation).unwrap()];
            assert_eq!(generation.number, number);
            assert!(generation.heads.contains(&head.birth.born));
            self.hold(running, number, generation, head.birth.born, head.birth.born);
            for index in 0..SLICES {
                let key = running.shelf.slice_key(of.head, of.generation, index);
                let Some(slice) = self.at(running, key, number) else { continue };
                if !is_usable(&running.ledger, &slice, &head, SLICE_BYTES) {
                    continue;
                }
                self.served += 1;
                let bytes: Vec<u8> =
                    slice.content.whole().unwrap().iter().flat_map(|piece| piece.to_vec()).collect();
                assert_eq!(bytes, content_of(of.generation, index).into_bytes());
                let generation = &self.generations[usize::try_from(of.generation).unwrap()];
                assert!(generation.slices.contains(&(index, slice.birth.born)));
                self.hold(running, number, generation, slice.birth.born, head.birth.born);
            }
        }
    }

    /// What is fresh and was fetched at `born`, and whose head was validated at `validated`, matches no purge since.
    fn hold(
        &self,
        running: &Running,
        number: u8,
        generation: &Generation,
        born: PurgeSeq,
        validated: PurgeSeq,
    ) {
        for LogEntry { seq, entry } in &self.log {
            let matches = match &entry.scope {
                Scope::Url(of) => *of == url(number),
                Scope::Tag { tag, .. } => generation
                    .tags
                    .get(tag.as_str())
                    .is_some_and(|learnt| *learnt < seq.number() || *seq > validated),
                _ => true,
            };
            let counts_from = match entry.method {
                Method::Delete => born,
                Method::Invalidate => born.max(validated),
            };
            assert!(
                !matches || *seq <= counts_from || *seq > running.ledger.applied(),
                "served though {entry:?} came at {seq}, born at {born}, validated at {validated}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_slice_is_served_against_a_purge_after_the_power_failed(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        let mut running = model.started();
        for step in &steps {
            running = model.step(running, step);
        }
        drop(model.step(running, &Step::LosePower { after: 0, turns: 0, fates: vec![0, 100, 0, 200] }));
    }
}

#[test]
fn slices_that_were_synced_are_served_after_the_power_failed() {
    let mut model = Model::new();
    let mut running = start(&model.volume);
    let part = |index| Step::Part { number: 0, index, ago: 0, tags: 1, is_left: false };
    let swept = [Step::Turns(200), Step::Sweep, Step::Turns(200), Step::Turns(1)];
    let head = Step::Head { number: 0, ago: 0, tags: 1 };
    for step in [head, part(0), part(1)].iter().chain(&swept).chain(&[part(2), Step::Turns(9)]) {
        running = model.step(running, step);
    }
    model.served = 0;
    let all_lost = Step::LosePower { after: 0, turns: 0, fates: vec![100] };
    running = model.step(running, &all_lost);
    assert_eq!(model.served, 4, "two of three, looked at twice");
    // A tag that comes with a part, and then the power fails: the head that does not know it is not back.
    let tagged = Step::Part { number: 0, index: 2, ago: 0, tags: 3, is_left: false };
    for step in [Step::Turns(200), tagged] {
        running = model.step(running, &step);
    }
    model.served = 0;
    running = model.step(running, &all_lost);
    assert_eq!(model.served, 0, "its head is gone for good");
    drop(running);
}

#[test]
fn whichever_operation_fails_large_content_goes_on_and_nothing_is_served_against_a_purge() {
    let part = |index, tags| Step::Part { number: 0, index, ago: 0, tags, is_left: false };
    let head = Step::Head { number: 0, ago: 0, tags: 0 };
    let purge = Step::Purge { of: 2, deletes: true, applies: true };
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for trouble in (0..24).flat_map(|after| [Trouble::Once(after, kind), Trouble::From(after, kind)]) {
            let mut model = Model::new();
            let mut running = start(&model.volume);
            running.disk.save();
            running.work();
            model.volume.set(trouble);
            let steps = [head.clone(), part(0, 0), part(1, 0), Step::Turns(9), part(2, 1), Step::Turns(9)];
            for step in &steps {
                running = model.step(running, step);
            }
            assert!(model.served > 0, "{trouble:?}: memory has it");
            // Tags that could not be made sure of have taken the head; else the purge does.
            for step in [&purge, &Step::Sweep, &Step::Turns(50)] {
                running = model.step(running, step);
            }
            model.served = 0;
            for step in [Step::Restart, Step::Turns(50), Step::Restart] {
                running = model.step(running, &step);
            }
            // A disk that takes nothing at all keeps the head of before, as if that part had never come.
            assert!(model.served == 0 || matches!(trouble, Trouble::From(..)), "{trouble:?}");
        }
    }
}
