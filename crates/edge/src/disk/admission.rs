//! Which objects may go to disk.
//!
//! While there is room, all: nothing is lost for them, and a cache that was filled once is warm after a restart. Once the
//! budget is used up, each newcomer costs another its place and the disk a write, and most are never asked for again: then
//! an object must be asked for twice. The second request may find it in memory, or come after memory has forgotten it:
//! for that the keys of recent fetches are remembered.

use crate::shelf::ObjectKey;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many keys are remembered at most, at four bytes each.
const SEEN_KEYS_MAX: u64 = 1 << 22;

/// The size of objects for which the number of remembered keys is chosen.
const TYPICAL_OBJECT_BYTES: u64 = 16 * 1024;

/// What recent fetches brought: a part of each key, in the place that another part gives. A newer key takes the place of
/// an older one; two keys that agree in both parts are taken for one, which costs a write.
pub(super) struct SeenKeys {
    slots: Box<[AtomicU32]>,
}

impl SeenKeys {
    /// Remembers about as many keys as `bytes` hold objects.
    pub(super) fn new(bytes: u64) -> Self {
        let count = (bytes / TYPICAL_OBJECT_BYTES).clamp(1024, SEEN_KEYS_MAX);
        Self { slots: (0..count).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Whether this key came before, not long ago. It has come now.
    pub(super) fn saw(&self, key: ObjectKey) -> bool {
        let bytes = key.to_bytes();
        let part =
            |from: usize| bytes[from..from + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        // Zero is the empty place.
        let (print, slot) = (part(0).max(1), part(8) as usize % self.slots.len());
        self.slots[slot].swap(print, Ordering::Relaxed) == print
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_the_second_time_until_another_takes_its_place() {
        let seen = SeenKeys::new(0);
        let key = |front: u32, slot: u32| {
            ObjectKey::from_bytes((u128::from(front) << 96 | u128::from(slot) << 32).to_be_bytes())
        };
        assert!(!seen.saw(key(7, 1)) && seen.saw(key(7, 1)) && seen.saw(key(7, 1)));
        assert!(!seen.saw(key(7, 2)), "another place");
        assert!(!seen.saw(key(8, 1)), "another key");
        assert!(!seen.saw(key(7, 1)), "its place was taken");
    }
}
