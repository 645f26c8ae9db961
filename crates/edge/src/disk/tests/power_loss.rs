//! Whatever the power takes, nothing that a purge matched is served as fresh afterwards: arbitrary runs of a tier against
//! a list of what was stored and what was purged.

use super::simulated::{Simulated, Trouble};
use super::{EPOCH, Running, entry, runtime, url};
use crate::disk::jobs::SweepOutcome;
use crate::object::Standing;
use proptest::prelude::*;
use purge::{CacheTag, LogEntry, Method, PurgeSeq, Scope};
use std::io;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const URLS: u8 = 4;
const TAGS: [&str; 3] = ["", "red", "red,blue"];

#[derive(Clone, Debug)]
enum Step {
    /// A response is stored whose fetch began so many entries ago.
    Store {
        number: u8,
        ago: u64,
        tags: usize,
    },
    /// An entry comes into the log, and is applied at once or later.
    Purge {
        of: usize,
        deletes: bool,
        applies: bool,
    },
    /// The edge applies what is in the log.
    Apply,
    /// The edge can't learn what it missed.
    Jump,
    Turns(u8),
    Sweep,
    Remove(u8),
    Save,
    /// One of the next operations fails.
    Fail {
        after: u64,
    },
    Restart,
    /// The power fails after so many operations of so many turns.
    LosePower {
        after: u64,
        turns: u8,
        fates: Vec<u8>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..URLS, 0..3u64, 0..TAGS.len()).prop_map(|(number, ago, tags)| Step::Store { number, ago, tags }),
        5 => (0..7usize, any::<bool>(), any::<bool>())
            .prop_map(|(of, deletes, applies)| Step::Purge { of, deletes, applies }),
        1 => Just(Step::Apply),
        1 => Just(Step::Jump),
        5 => (1..4u8).prop_map(Step::Turns),
        2 => Just(Step::Turns(200)),
        3 => Just(Step::Sweep),
        1 => (0..URLS).prop_map(Step::Remove),
        2 => Just(Step::Save),
        1 => (0..6u64).prop_map(|after| Step::Fail { after }),
        1 => Just(Step::Restart),
        3 => (0..12u64, 0..9u8, prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(after, turns, fates)| Step::LosePower { after, turns, fates }),
    ]
}

/// What was stored; its content is its place in the list.
struct Stored {
    number: u8,
    born: PurgeSeq,
    tags: usize,
}

struct Model {
    volume: Arc<Simulated>,
    runtime: Runtime,
    stored: Vec<Stored>,
    log: Vec<LogEntry>,
    sweep: Option<(PurgeSeq, oneshot::Receiver<SweepOutcome>)>,
    served: usize,
}

fn start(volume: &Arc<Simulated>) -> Running {
    let running = Running::start(volume);
    if running.ledger.epoch().is_none() {
        running.ledger.jump(EPOCH, PurgeSeq::ZERO).unwrap();
    }
    running
}

impl Model {
    fn new() -> Self {
        Self {
            volume: Arc::new(Simulated::new()),
            runtime: runtime(),
            stored: Vec::new(),
            log: Vec::new(),
            sweep: None,
            served: 0,
        }
    }

    fn purge(&mut self, of: usize, deletes: bool) {
        let tag = |text| Scope::Tag { tag: CacheTag::parse(text).unwrap(), host: None };
        let scope = match of {
            0..4 => Scope::Url(url(u8::try_from(of).unwrap())),
            4 => tag("red"),
            5 => tag("blue"),
            _ => Scope::All,
        };
        let method = if deletes { Method::Delete } else { Method::Invalidate };
        self.log.push(entry(self.log.len() as u64 + 1, scope, method));
    }

    fn apply(&self, running: &Running) {
        let applied = usize::try_from(running.ledger.applied().number()).unwrap();
        running.ledger.apply(EPOCH, &self.log[applied..]).unwrap();
    }

    /// What the edge does once a sweep of the disk has ended.
    fn turn(&mut self, running: &mut Running) {
        running.keeper.turn();
        if let Some((swept_to, mut outcome)) = self.sweep.take() {
            match outcome.try_recv() {
                Ok(SweepOutcome::Swept(_)) => {
                    running.ledger.forget(EPOCH, swept_to).unwrap();
                    running.disk.save();
                }
                Err(oneshot::error::TryRecvError::Empty) => self.sweep = Some((swept_to, outcome)),
                Ok(SweepOutcome::Recovering) | Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    fn step(&mut self, mut running: Running, step: &Step) -> Running {
        match step {
            Step::Store { number, ago, tags } => {
                let born = PurgeSeq::new(running.ledger.applied().number().saturating_sub(*ago));
                let content = self.stored.len().to_string().repeat(20);
                running.store(*number, born, TAGS[*tags], content.as_bytes());
                self.stored.push(Stored { number: *number, born, tags: *tags });
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
            Step::Remove(number) => running.shelf.remove(running.key(*number)),
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
        running
    }

    /// A new start on what is left. Looks at it as another start would find it, so that this one goes on in the midst of
    /// finding its files.
    fn started(&mut self) -> Running {
        self.sweep = None;
        let mut running = start(&self.volume);
        let mut looked_at = start(&Arc::new(self.volume.copy()));
        looked_at.work();
        self.check(&looked_at);
        self.apply(&looked_at);
        self.check(&looked_at);
        // Steps then find it in the midst of that, or at its end.
        if self.stored.len().is_multiple_of(2) {
            running.work();
        } else {
            running.keeper.turn();
        }
        running
    }

    /// Nothing on disk is fresher than the log up to `applied` allows.
    fn check(&mut self, running: &Running) {
        let applied = running.ledger.applied();
        for number in 0..URLS {
            let Some(object) = running.recall(&self.runtime, number) else { continue };
            self.served += 1;
            let stored = self.stored.iter().enumerate().find(|(id, _)| {
                let pieces = object.content.whole().unwrap();
                pieces.iter().next().is_some_and(|piece| *piece == id.to_string().repeat(20))
            });
            let (_, stored) = stored.unwrap();
            assert_eq!((stored.number, stored.born), (number, object.birth.born));
            assert_eq!(object.tags.as_header_value(), TAGS[stored.tags]);
            let standing = object.standing(&running.ledger);
            for LogEntry { seq, entry } in &self.log {
                let matches = match &entry.scope {
                    Scope::Url(of) => *of == url(number),
                    Scope::Tag { tag, .. } => object.tags.iter().any(|there| there == tag.as_str()),
                    _ => true,
                };
                if !matches || *seq <= stored.born || *seq > applied {
                    continue;
                }
                let holds = match entry.method {
                    Method::Delete => matches!(standing, Standing::Deleted(_) | Standing::BeyondHorizon),
                    Method::Invalidate => standing != Standing::Clear,
                };
                assert!(holds, "{standing:?} though {entry:?} came at {seq}, born at {}", stored.born);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_that_was_purged_is_fresh_after_the_power_failed(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        let mut running = model.started();
        for step in &steps {
            running = model.step(running, step);
        }
        drop(model.step(running, &Step::LosePower { after: 0, turns: 0, fates: vec![0, 100, 0, 200] }));
    }
}

#[test]
fn what_was_synced_is_served_after_the_power_failed_and_what_was_not_may_be_lost() {
    let mut model = Model::new();
    let mut running = start(&model.volume);
    let store = |number| Step::Store { number, ago: 0, tags: 1 };
    let swept = [Step::Turns(200), Step::Sweep, Step::Turns(200), Step::Turns(1)];
    for step in [store(0), store(1)].iter().chain(&swept).chain(&[store(2), Step::Turns(9)]) {
        running = model.step(running, step);
    }
    let all_lost = Step::LosePower { after: 0, turns: 0, fates: vec![100] };
    running = model.step(running, &all_lost);
    assert_eq!(model.served, 4, "two of three, looked at twice");
    // A delete that was swept and synced: the mark is forgotten, and the file does not come back.
    let purge = Step::Purge { of: 0, deletes: true, applies: true };
    for step in [Step::Turns(200), purge].iter().chain(&swept).chain(&[all_lost]) {
        running = model.step(running, step);
    }
    assert_eq!(model.served, 6);
    assert_eq!(running.ledger.mark_count(), 0);
    assert_eq!(running.ledger.applied(), PurgeSeq::new(1));
}
