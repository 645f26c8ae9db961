//! What chance decides, from one seed.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A small generator (xorshift): enough to spread load, not to keep secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From a seed, and the number of whoever draws.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mixed = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(mixed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// True in so many of 100 cases.
    pub(crate) fn percent(&mut self, share: u8) -> bool {
        self.below(100) < usize::from(share)
    }
}

/// A seed nobody chose.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
