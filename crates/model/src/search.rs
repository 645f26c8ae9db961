//! Explores a model breadth first, to its end or to a cap, one 64-bit fingerprint a state.
//!
//! Two states with one fingerprint would be taken for one: among fifty million states the odds that any two
//! share one are below one in ten thousand. The tests hold the counts against those of another checker.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use stateright::Model;

use crate::event::{Event, Events};

/// A model whose behaviours can be told, and whose steps are counted by what happens in them.
pub trait Told: Model {
    /// What happened in the step to this state.
    fn events(&self, state: &Self::State) -> Events;

    /// How the promise is broken in this state, if it is.
    fn broken(&self, state: &Self::State) -> Option<String>;

    /// A step, for people.
    fn tell(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> String;
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Unique states explored.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The most steps from the first state to any.
    pub depth: usize,
    /// Whether these are all the states there are, or the search was stopped: by a violation or the cap.
    pub complete: bool,
    /// The shortest behaviour that breaks the promise, a step a line, if there is one.
    pub violation: Option<Vec<String>>,
    /// How many steps each event happened in.
    pub events: Vec<(Event, usize)>,
}

/// Explores a model: to its end, to the first state that breaks the promise, or to a number of states.
pub fn explore<M>(model: &M, states_max: usize) -> Outcome
where
    M: Told,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    let mut search = Search {
        model,
        seen: Seen::default(),
        steps: 0,
        depth: 0,
        counts: vec![0; Event::ALL.len()],
        next: Vec::new(),
    };
    let mut level = model.init_states();
    for state in &level {
        search.seen.insert(fingerprint(state), 0);
    }
    let mut broken = None;
    let mut complete = true;
    while broken.is_none() && complete && !level.is_empty() {
        for state in level.drain(..) {
            complete = search.seen.len() < states_max;
            broken = if complete { search.expand(&state) } else { None };
            if broken.is_some() || !complete {
                break;
            }
        }
        std::mem::swap(&mut level, &mut search.next);
        search.next.clear();
        search.depth += 1;
    }
    Outcome {
        states: search.seen.len(),
        steps: search.steps,
        depth: search.depth,
        complete: complete && broken.is_none(),
        violation: broken.map(|last| search.told(last)),
        events: Event::ALL.iter().copied().zip(search.counts.iter().copied()).collect(),
    }
}

type Seen = HashMap<u64, u64, BuildHasherDefault<Whole>>;

struct Search<'m, M: Model> {
    model: &'m M,
    /// Each state's fingerprint, and that of the state it was first reached from.
    seen: Seen,
    steps: usize,
    depth: usize,
    counts: Vec<usize>,
    next: Vec<M::State>,
}

impl<M> Search<'_, M>
where
    M: Told,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    /// Takes every step from a state. Returns the fingerprint of one that breaks the promise.
    fn expand(&mut self, state: &M::State) -> Option<u64> {
        let mut actions = Vec::new();
        self.model.actions(state, &mut actions);
        let from = fingerprint(state);
        for action in actions {
            let Some(after) = self.model.next_state(state, action) else { continue };
            self.steps += 1;
            for event in self.model.events(&after).all() {
                self.counts[event as usize] += 1;
            }
            let print = fingerprint(&after);
            if let std::collections::hash_map::Entry::Vacant(place) = self.seen.entry(print) {
                place.insert(from);
                if self.model.broken(&after).is_some() {
                    return Some(print);
                }
                self.next.push(after);
            }
        }
        None
    }

    /// The behaviour that leads to a state: fingerprints back to the first state, then the steps that have them.
    fn told(&self, last: u64) -> Vec<String> {
        let mut prints = vec![last];
        while let Some(before) =
            prints.last().and_then(|print| self.seen.get(print)).filter(|print| **print != 0)
        {
            prints.push(*before);
        }
        let first = prints.pop();
        let mut state = self.model.init_states().into_iter().find(|state| Some(fingerprint(state)) == first);
        let mut lines = Vec::new();
        while let (Some(before), Some(print)) = (state.take(), prints.pop()) {
            let mut actions = Vec::new();
            self.model.actions(&before, &mut actions);
            state = actions.into_iter().find_map(|action| {
                let after = self.model.next_state(&before, action.clone())?;
                if fingerprint(&after) != print {
                    return None;
                }
                lines.push(self.model.tell(&before, &action, &after));
                lines.extend(self.model.broken(&after));
                Some(after)
            });
        }
        lines
    }
}

fn fingerprint<S: Hash>(state: &S) -> u64 {
    let mut mixer = Mixer::default();
    state.hash(&mut mixer);
    mixer.finish()
}

/// Mixes small integers eight at a time. Not for keys that an adversary chooses.
#[derive(Default)]
struct Mixer {
    mixed: u64,
    word: u64,
    bytes: u32,
}

impl Mixer {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.mixed ^ word ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93_u64 ^ word.rotate_left(32));
        self.mixed =
            (product as u64 ^ (product >> 64) as u64).wrapping_add(word.wrapping_mul(0xa076_1d64_78bd_642f));
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u8(*byte);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.bytes += 1;
        if self.bytes.is_multiple_of(8) {
            let word = std::mem::take(&mut self.word);
            self.mix(word);
        }
    }

    /// Which variant an enum is, or how long a slice: small in a model.
    fn write_isize(&mut self, number: isize) {
        self.write_u8(number as u8);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u8(number as u8);
    }

    fn finish(&self) -> u64 {
        let mut last = Mixer { mixed: self.mixed, word: 0, bytes: 0 };
        last.mix(self.word);
        last.mix(u64::from(self.bytes));
        // No state has the fingerprint that stands for "none before it".
        last.mixed.max(1)
    }
}

/// A fingerprint is a hash already.
#[derive(Default)]
struct Whole(u64);

impl Hasher for Whole {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, print: u64) {
        self.0 = print;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
