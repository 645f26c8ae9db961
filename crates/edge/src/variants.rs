//! How many responses one URL may have beside each other, where they vary by fields of the request.
//!
//! Who sends ever new values of such a field fills the cache with what nobody else selects. So each URL has a number of places
//! for its variants, and a new one beyond it takes that of the oldest. What is remembered here may be lost at any time: then
//! a URL has more variants for a while, and the budget of bytes still holds.

use crate::shelf::ObjectKey;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// How many variants of one URL are stored.
pub(crate) const VARIANTS_PER_URL_MAX: usize = 128;

/// Of how many URLs the variants are counted at once; with one more, counting begins anew.
const VARIED_URLS_MAX: usize = 8_192;

/// The variants of each URL, oldest first. A URL's generation stands for it.
#[derive(Default)]
pub(crate) struct Variants {
    by_generation: Mutex<HashMap<u64, VecDeque<ObjectKey>>>,
}

impl Variants {
    /// Takes note of a variant. Returns the one that has to go for it, if one has.
    pub(crate) fn note(&self, generation: u64, key: ObjectKey) -> Option<ObjectKey> {
        let mut by_generation = self.by_generation.lock();
        if by_generation.len() >= VARIED_URLS_MAX && !by_generation.contains_key(&generation) {
            by_generation.clear();
        }
        let keys = by_generation.entry(generation).or_default();
        if keys.contains(&key) {
            return None;
        }
        keys.push_back(key);
        if keys.len() > VARIANTS_PER_URL_MAX { keys.pop_front() } else { None }
    }
}
