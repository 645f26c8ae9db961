//! The state of a tier as one checksummed unit: which files are its own, and what the edge knows of the purge log.

use super::bytes::{Fields, Rest};
use purge::{DurableLedger, DurableMark, DurableZone, Epoch, PurgeSeq};
use zone::ZoneId;

/// What a state begins with: a name and the version of the layout.
const MAGIC: [u8; 8] = *b"EVFSTAT\x01";

/// What can't be derived anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tier {
    /// A random number in the names of its files: those of any other are leftovers.
    pub(crate) instance: u64,
    /// How often an edge has started with it.
    pub(crate) starts: u64,
    /// What objects' keys are hashed with.
    pub(crate) shelf_key: [u8; 16],
    /// What marks' keys are hashed with.
    pub(crate) ledger_key: [u8; 16],
}

/// All that is kept beside the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) tier: Tier,
    /// Up to where a sweep of the whole disk was made durable, in the ledger's epoch: every file counts as checked up to
    /// there.
    pub(crate) swept_to: PurgeSeq,
    pub(crate) ledger: DurableLedger,
}

impl Durable {
    /// `None` if it has more than four thousand million marks.
    pub(crate) fn to_bytes(&self) -> Option<Vec<u8>> {
        let Self { tier, swept_to, ledger } = self;
        let mut fields = Fields(Vec::with_capacity(256 + ledger.marks.len() * 32));
        fields.0.extend_from_slice(&MAGIC);
        fields.u64(tier.instance);
        fields.u64(tier.starts);
        fields.0.extend_from_slice(&tier.shelf_key);
        fields.0.extend_from_slice(&tier.ledger_key);
        fields.u64(swept_to.number());
        fields.maybe_u64(ledger.epoch.map(Epoch::number));
        for position in [ledger.applied, ledger.horizon, ledger.jumped_to] {
            fields.u64(position.number());
        }
        fields.u32(u32::try_from(ledger.zones.len()).ok()?);
        for zone in &ledger.zones {
            fields.bytes(zone.zone.as_str().as_bytes())?;
            fields.u64(zone.last_seq.number());
            fields.u8(zone.kinds);
            fields.u64(zone.prefix_depths);
        }
        fields.u32(u32::try_from(ledger.marks.len()).ok()?);
        for mark in &ledger.marks {
            fields.u128(mark.key);
            fields.u64(mark.invalidate.number());
            fields.u64(mark.delete.number());
        }
        let sum = crc32fast::hash(&fields.0);
        fields.u32(sum);
        Some(fields.0)
    }

    /// `None` if they are torn, or of another version.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (bytes, sum) = bytes.split_last_chunk()?;
        if crc32fast::hash(bytes) != u32::from_be_bytes(*sum) {
            return None;
        }
        let mut rest = Rest(bytes.strip_prefix(&MAGIC)?);
        let tier = Tier {
            instance: rest.u64()?,
            starts: rest.u64()?,
            shelf_key: rest.u128()?.to_be_bytes(),
            ledger_key: rest.u128()?.to_be_bytes(),
        };
        let swept_to = PurgeSeq::new(rest.u64()?);
        let mut ledger = DurableLedger {
            epoch: rest.maybe_u64()?.map(Epoch::new),
            applied: PurgeSeq::new(rest.u64()?),
            horizon: PurgeSeq::new(rest.u64()?),
            jumped_to: PurgeSeq::new(rest.u64()?),
            ..DurableLedger::default()
        };
        for _ in 0..rest.count(21)? {
            ledger.zones.push(DurableZone {
                zone: ZoneId::parse(rest.text()?).ok()?,
                last_seq: PurgeSeq::new(rest.u64()?),
                kinds: rest.u8()?,
                prefix_depths: rest.u64()?,
            });
        }
        let marks = rest.count(32)?;
        ledger.marks.reserve_exact(marks);
        for _ in 0..marks {
            ledger.marks.push(DurableMark {
                key: rest.u128()?,
                invalidate: PurgeSeq::new(rest.u64()?),
                delete: PurgeSeq::new(rest.u64()?),
            });
        }
        rest.end()?;
        Some(Self { tier, swept_to, ledger })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable() -> Durable {
        let seq = PurgeSeq::new;
        let zone = ZoneId::parse("zone-aaaaaaaaaaaa").unwrap();
        Durable {
            tier: Tier { instance: 1, starts: 2, shelf_key: [3; 16], ledger_key: [4; 16] },
            swept_to: seq(5),
            ledger: DurableLedger {
                epoch: Some(Epoch::new(6)),
                applied: seq(9),
                horizon: seq(7),
                jumped_to: seq(8),
                zones: vec![DurableZone { zone, last_seq: seq(9), kinds: 3, prefix_depths: 4 }],
                marks: vec![DurableMark { key: 1 << 100, invalidate: seq(9), delete: seq(8) }],
            },
        }
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_a_damaged_one_not_at_all() {
        let state = durable();
        let bytes = state.to_bytes().unwrap();
        assert_eq!(Durable::from_bytes(&bytes), Some(state));
        for end in 0..bytes.len() {
            assert_eq!(Durable::from_bytes(&bytes[..end]), None, "torn after {end} bytes");
        }
        for at in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert_eq!(Durable::from_bytes(&bytes), None, "bit {at} flipped");
        }
    }

    #[test]
    fn sums_of_nonsense_make_no_state() {
        let good = durable().to_bytes().unwrap();
        for at in 0..good.len() - 4 {
            for byte in [0, 0xff] {
                let mut bytes = good[..good.len() - 4].to_vec();
                bytes[at] = byte;
                bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
                // Whatever it says, nothing panics and nothing large is allocated.
                let _ = Durable::from_bytes(&bytes);
            }
        }
        let mut next_version = good[..good.len() - 4].to_vec();
        next_version[7] += 1;
        next_version.extend_from_slice(&crc32fast::hash(&next_version).to_be_bytes());
        assert_eq!(Durable::from_bytes(&next_version), None);
    }
}
