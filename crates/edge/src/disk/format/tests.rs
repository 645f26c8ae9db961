//! Fronts that no edge wrote: whatever a file says, it is read or refused.

use super::*;
use crate::shelf::ObjectKey;
use httpcache::Policy;
use proptest::prelude::*;

fn file() -> ObjectFile {
    ObjectFile { instance: 1, key: ObjectKey::from_bytes([2; 16]), serial: 3 }
}

fn standing() -> Standings {
    Standings { checked: PurgeSeq::new(9), invalidated: PurgeSeq::new(7) }
}

/// The meta block of a response without content, with this many fields.
fn object_meta(fields: usize) -> Fields {
    let mut meta = begin_meta(file(), 1);
    meta.u64(1);
    meta.u64(5);
    for text in ["zone-aaaaaaaaaaaa", "https", "a.test", "/a?b", "news,de"] {
        meta.bytes(text.as_bytes()).unwrap();
    }
    meta.u16(200);
    meta.u32(u32::try_from(fields).unwrap());
    for number in 0..fields {
        meta.bytes(format!("x-{number}").as_bytes()).unwrap();
        meta.bytes(b"v").unwrap();
    }
    let (none, then) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
    put_freshness(&mut meta, &Freshness::of_response(StatusCode::OK, &none, then, then, &Policy::default()));
    meta.maybe_u64(Some(0));
    meta.u64(0);
    meta
}

fn decode(meta: &Fields) -> Result<Front, BadFile> {
    let bytes = assemble(file(), standing(), meta).expect("within the bound");
    decode_front(file(), &bytes, bytes.len() as u64)
}

#[test]
fn a_front_with_more_fields_than_a_header_map_holds_is_refused() {
    assert!(decode(&object_meta(3)).is_ok());
    assert_eq!(decode(&object_meta(40_000)).err(), Some(BadFile::Nonsense));
}

proptest! {
    /// Sums that match vouch for nothing: a front that makes no sense is refused, not trusted.
    #[test]
    fn any_meta_block_is_read_or_refused(
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        cut in proptest::option::of(any::<usize>()),
        kind in 0_u8..6,
    ) {
        let mut meta = object_meta(3);
        let own = begin_meta(file(), kind).0;
        meta.0[..own.len()].copy_from_slice(&own);
        let behind = own.len()..meta.0.len();
        for (at, byte) in changes {
            meta.0[behind.start + at % behind.len()] = byte;
        }
        if let Some(cut) = cut {
            meta.0.truncate(behind.start + cut % behind.len());
        }
        if let Ok(front) = decode(&meta) {
            prop_assert_eq!(front.standing, standing());
            prop_assert_eq!(front.length, PREFIX_BYTES + meta.0.len());
        }
    }

    #[test]
    fn any_bytes_are_a_front_or_refused(bytes: Vec<u8>) {
        let _ = front_length(&bytes);
        prop_assert!(decode_front(file(), &bytes, bytes.len() as u64).is_err());
    }
}
