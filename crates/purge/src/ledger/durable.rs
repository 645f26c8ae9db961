//! The ledger as it outlives its process: everything that judging needs, in plain parts.
//!
//! How the parts become bytes, and when they are written, is the edge's. A ledger made of them judges as the one did
//! that gave them, provided that its hash key is the same: marks and zones are known by keyed hashes only.

use super::{Ledger, Mark, SEQ_MAX, shard_of};
use crate::{Epoch, PurgeSeq};
use std::sync::atomic::{AtomicU64, Ordering};
use zone::ZoneId;

/// All of a ledger but its hash key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurableLedger {
    /// The log that was followed; `None` before the first jump.
    pub epoch: Option<Epoch>,
    /// See [`Ledger::applied`].
    pub applied: PurgeSeq,
    /// See [`Ledger::horizon`].
    pub horizon: PurgeSeq,
    /// The head of the last jump: where the clock of a zone not among `zones` starts.
    pub jumped_to: PurgeSeq,
    /// The zones that have a clock.
    pub zones: Vec<DurableZone>,
    /// The marks, in no order.
    pub marks: Vec<DurableMark>,
}

/// The clock of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableZone {
    /// Which.
    pub zone: ZoneId,
    /// The position of the last entry of the zone.
    pub last_seq: PurgeSeq,
    /// Which kinds of marks the zone has had, a bit for each.
    pub kinds: u8,
    /// Which depths its directories have had, a bit for each.
    pub prefix_depths: u64,
}

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableMark {
    /// The keyed hash of what it is for.
    pub key: u128,
    /// The highest `invalidate`; 0 for none.
    pub invalidate: PurgeSeq,
    /// The highest `delete`; 0 for none.
    pub delete: PurgeSeq,
}

/// Why parts make no ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No log has a position this high.
    #[error("{0} is above the highest position of a log")]
    TooHigh(PurgeSeq),
    /// A position above `applied`: what it stands for can't have happened.
    #[error("the position {found} lies above the applied {applied}")]
    AboveApplied {
        /// The position.
        found: PurgeSeq,
        /// What is applied.
        applied: PurgeSeq,
    },
    /// Positions without the log that they are positions of.
    #[error("there is a position of no log")]
    NoEpoch,
}

impl Ledger {
    /// Its parts, all of one moment. Nothing is applied meanwhile, for about as long as [`Ledger::forget`] takes.
    pub fn export(&self) -> DurableLedger {
        let _turn = self.writing.lock();
        let clocks = self.clocks.read();
        let seq = |of: &AtomicU64| PurgeSeq::new(of.load(Ordering::Acquire));
        let zones = clocks.by_zone.iter().map(|(zone, clock)| DurableZone {
            zone: zone.clone(),
            last_seq: seq(&clock.last_seq),
            kinds: clock.kinds.load(Ordering::Acquire),
            prefix_depths: clock.prefix_depths.load(Ordering::Acquire),
        });
        let mut marks = Vec::with_capacity(self.mark_count());
        for shard in &self.shards {
            marks.extend(shard.read().iter().map(|(key, mark)| DurableMark {
                key: *key,
                invalidate: PurgeSeq::new(mark.invalidate),
                delete: PurgeSeq::new(mark.delete),
            }));
        }
        DurableLedger {
            epoch: self.epoch(),
            applied: self.applied(),
            horizon: self.horizon(),
            jumped_to: PurgeSeq::new(clocks.jumped_to),
            zones: zones.collect(),
            marks,
        }
    }

    /// A ledger of such parts, with the hash key of the ledger that gave them.
    pub fn import(hash_key: [u8; 16], parts: &DurableLedger) -> Result<Self, ImportError> {
        let applied = parts.applied;
        if applied.number() > SEQ_MAX {
            return Err(ImportError::TooHigh(applied));
        }
        let of_marks = parts.marks.iter().flat_map(|mark| [mark.invalidate, mark.delete]);
        let positions = parts.zones.iter().map(|zone| zone.last_seq).chain(of_marks);
        if let Some(found) =
            positions.chain([parts.horizon, parts.jumped_to]).find(|position| *position > applied)
        {
            return Err(ImportError::AboveApplied { found, applied });
        }
        if parts.epoch.is_none() && (applied > PurgeSeq::ZERO || !parts.marks.is_empty()) {
            return Err(ImportError::NoEpoch);
        }
        let ledger = Self::new(hash_key);
        ledger.clocks.write().jumped_to = parts.jumped_to.number();
        for zone in &parts.zones {
            let clock = ledger.clock(&zone.zone);
            clock.last_seq.store(zone.last_seq.number(), Ordering::Release);
            clock.kinds.store(zone.kinds, Ordering::Release);
            clock.prefix_depths.store(zone.prefix_depths, Ordering::Release);
        }
        for mark in &parts.marks {
            let value = Mark { invalidate: mark.invalidate.number(), delete: mark.delete.number() };
            ledger.shards[shard_of(mark.key)].write().insert(mark.key, value);
        }
        ledger.horizon.store(parts.horizon.number(), Ordering::SeqCst);
        ledger.applied.store(applied.number(), Ordering::Release);
        *ledger.epoch.write() = parts.epoch;
        Ok(ledger)
    }
}
