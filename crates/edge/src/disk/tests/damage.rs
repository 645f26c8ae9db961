//! Files that were cut, or in which bits have flipped: always noticed, never another answer, and no panic whatever a file
//! holds.

use super::slices::in_slices;
use super::{EPOCH, object};
use crate::body::Content;
use crate::disk::format::{
    BadFile, FrontKind, FrontPart, STANDING_BYTES, Standings, decode_front, encode_object, encode_selector,
};
use crate::disk::volume::ObjectFile;
use crate::object::{NewObject, Object};
use crate::shelf::{ObjectKey, Selector};
use crate::slices::{SliceId, SliceOf, Slices};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use httpcache::{CookiePart, KeyParts, VaryRule};
use proptest::prelude::*;
use purge::{Ledger, PurgeSeq};

const STANDING: Standings = Standings { checked: PurgeSeq::new(9), invalidated: PurgeSeq::new(8) };

fn name() -> ObjectFile {
    ObjectFile { instance: 3, key: ObjectKey::from_bytes([7; 16]), serial: 99 }
}

/// The file of a response.
fn file_of(tags: &str, content: &[u8]) -> Vec<u8> {
    let ledger = Ledger::new([1; 16]);
    let object = object(&ledger, 1, PurgeSeq::new(5), tags, content);
    let mut bytes = encode_object(name(), EPOCH, STANDING, &object).unwrap();
    bytes.extend_from_slice(content);
    bytes
}

/// The file of what selects among responses.
fn file_of_selector() -> Vec<u8> {
    let names = |name| vec![HeaderName::from_static(name)];
    let selector = Selector {
        parts: KeyParts::new(names("x-device"), CookiePart::Only(["session".to_owned()].into())),
        rule: VaryRule::Fields(names("accept-language").into()),
    };
    encode_selector(name(), &selector, 4).unwrap()
}

/// The files of a head and of a slice.
fn files_in_slices() -> [Vec<u8>; 2] {
    let ledger = Ledger::new([1; 16]);
    let whole = object(&ledger, 1, PurgeSeq::new(5), "red", b"");
    let made_of = |content| {
        Object::new(NewObject {
            url: whole.url.clone(),
            birth: whole.birth.clone(),
            tags: whole.tags.clone(),
            tags_ignored: 0,
            grouping: None,
            status: whole.status,
            headers: HeaderMap::new(),
            freshness: whole.freshness,
            declared_length: Some(36),
            content,
        })
    };
    let of = SliceOf { head: ObjectKey::from_bytes([9; 16]), generation: 8 };
    let slice =
        made_of(Content::of_whole_slice(SliceId { of, index: 2 }, Bytes::from_static(b"some content")));
    let encoded = |object: &Object| encode_object(name(), EPOCH, STANDING, object).unwrap();
    [encoded(&made_of(in_slices(8))), [&encoded(&slice)[..], b"some content"].concat()]
}

/// What a file says: its front, and that its content is what was stored.
fn read(file: ObjectFile, bytes: &[u8]) -> Result<(Standings, FrontKind), BadFile> {
    let front = decode_front(file, bytes, bytes.len() as u64)?;
    if let FrontKind::Object(object) = &front.kind
        && !object.is_content(&bytes[front.length..].to_vec().into())
    {
        return Err(BadFile::Content);
    }
    Ok((front.standing, front.kind))
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

/// The same with a sum that fits its meta block.
fn summed_anew(mut bytes: Vec<u8>) -> Vec<u8> {
    let (length_at, sum_at, meta_at) = (STANDING_BYTES, STANDING_BYTES + 4, STANDING_BYTES + 8);
    let length = u32::from_be_bytes(bytes[length_at..sum_at].try_into().unwrap());
    let end = (meta_at + usize::try_from(length).unwrap()).min(bytes.len());
    let sum = crc32fast::hash(&bytes[meta_at..end]);
    bytes[sum_at..meta_at].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn every_bit_and_every_cut_of_a_small_file_is_noticed() {
    let [head, slice] = files_in_slices();
    for bytes in [file_of("red,blue", b"some content"), file_of("", b""), file_of_selector(), head, slice] {
        assert!(read(name(), &bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            assert!(read(name(), &flipped(&bytes, bit)).is_err(), "bit {bit} flipped");
        }
        for end in 0..bytes.len() {
            assert!(read(name(), &bytes[..end]).is_err(), "cut after {end} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read(name(), &longer).unwrap_err(), BadFile::Length);
    }
}

#[test]
fn heads_and_slices_are_read_back() {
    let parts = files_in_slices().map(|bytes| match read(name(), &bytes).unwrap() {
        (STANDING, FrontKind::Object(object)) => object,
        other => panic!("{other:?}"),
    });
    let [FrontPart::Head(slices), FrontPart::Slice(slice)] = parts.map(|object| object.part) else {
        panic!("other kinds");
    };
    let stored = in_slices(8);
    let expected = stored.slices().unwrap();
    let shown = |slices: &Slices| format!("{slices:?}");
    assert_eq!(shown(&slices), shown(expected));
    let of = SliceOf { head: ObjectKey::from_bytes([9; 16]), generation: 8 };
    assert_eq!(slice, SliceId { of, index: 2 });
}

#[test]
fn a_file_under_the_name_of_another_is_noticed() {
    let [head, slice] = files_in_slices();
    for bytes in [file_of("red", b"some content"), file_of_selector(), head, slice] {
        let other_key = ObjectFile { key: ObjectKey::from_bytes([8; 16]), ..name() };
        for file in [ObjectFile { instance: 4, ..name() }, other_key, ObjectFile { serial: 98, ..name() }] {
            assert!(read(file, &bytes).is_err(), "{file:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_says_what_was_stored_or_that_it_is_damaged(
        length in 0..200_000usize,
        byte in any::<u8>(),
        spots in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let content: Vec<u8> = (0..length).map(|at| byte.wrapping_add((at % 251) as u8)).collect();
        let bytes = file_of("red", &content);
        let (standing, kind) = read(name(), &bytes).unwrap();
        let FrontKind::Object(object) = kind else { panic!("{kind:?}") };
        prop_assert_eq!(standing, STANDING);
        prop_assert_eq!((object.epoch, object.born), (EPOCH, PurgeSeq::new(5)));
        prop_assert_eq!(object.tags.as_header_value(), "red");
        prop_assert_eq!(object.content_length, length as u64);
        for spot in spots {
            prop_assert!(read(name(), &flipped(&bytes, spot.index(bytes.len() * 8))).is_err());
            prop_assert!(read(name(), &bytes[..spot.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn no_file_makes_the_reader_panic(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        // Noise alone, noise behind a whole beginning, and nonsense that the sums vouch for.
        prop_assert!(read(name(), &noise).is_err());
        let [head, slice] = files_in_slices();
        for good in [file_of("red,blue", b"some content"), file_of_selector(), head, slice] {
            prop_assert!(read(name(), &[&good[..STANDING_BYTES], &noise].concat()).is_err());
            let mut bytes = good.clone();
            for (at, byte) in &edits {
                let at = STANDING_BYTES + 8 + at.index(bytes.len() - STANDING_BYTES - 8);
                bytes[at] = *byte;
            }
            // It may mean something, by chance; nothing panics, and nothing large is allocated.
            let _ = read(name(), &summed_anew(bytes));
        }
    }
}
