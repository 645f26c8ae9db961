//! One stored object as the bytes of its file: a response that is in one, the head of one that lies in slices, a slice,
//! or what selects among responses.
//!
//! At the front the standing: what purges leave of it, rewritten in place by sweeps, with a sum of its own. Then the
//! meta block with its sum: everything else but the content, and a sum for each [`PIECE_BYTES`] of the content. Then the
//! content. Sums tell what was torn or has rotted: such a file is dropped. Whatever a file says, reading it neither panics
//! nor allocates more than the file's own size.
//!
//! A change of the layout, also a field more, is a new [`VERSION`]: files of another version are dropped.

use super::bytes::{Fields, Rest};
use super::volume::ObjectFile;
use crate::body::PIECE_BYTES;
use crate::object::Object;
use crate::shelf::{ObjectKey, Selector};
use crate::slices::{SliceId, SliceOf, Slices};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httpcache::{CookiePart, Freshness, KeyParts, LifetimeSource, StrongValidator, VaryRule};
use purge::{Epoch, PurgeSeq, Tags, UrlKey};
use std::time::{Duration, SystemTime};
use zone::{HostName, Scheme, ZoneId};

/// The version of the layout.
const VERSION: u8 = 2;

const MAGIC: [u8; 4] = [b'E', b'V', b'F', VERSION];

/// How many bytes the standing takes, at the front of a file.
pub(super) const STANDING_BYTES: usize = 24;

/// The standing, and the length and the sum of the meta block.
const PREFIX_BYTES: usize = STANDING_BYTES + 8;

/// The largest meta block, in bytes.
pub(super) const META_BYTES_MAX: usize = 1 << 20;

/// What a file holds, as its meta block begins.
mod kind {
    pub(super) const WHOLE: u8 = 1;
    pub(super) const SELECTOR: u8 = 2;
    pub(super) const HEAD: u8 = 3;
    pub(super) const SLICE: u8 = 4;
}

/// Why a file is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFile {
    #[error("the file ends too early, or too late")]
    Length,
    #[error("the file is of another layout")]
    Version,
    #[error("the sum of the standing does not match")]
    Standing,
    #[error("the sum of the meta block does not match")]
    Meta,
    #[error("the meta block makes no sense")]
    Nonsense,
    #[error("the sum of a piece of the content does not match")]
    Content,
}

/// What purges leave of a stored object, as its file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standings {
    /// The position up to which it was held against the marks.
    pub(super) checked: PurgeSeq,
    /// The highest `invalidate` that was found; 0 is none.
    pub(super) invalidated: PurgeSeq,
}

/// The front of a file: all but the content.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) standing: Standings,
    pub(super) kind: FrontKind,
    /// Where the content begins.
    pub(super) length: usize,
}

/// What is stored.
#[derive(Debug)]
pub(super) enum FrontKind {
    /// A response, its head or a slice.
    Object(Box<ObjectFront>),
    /// What selects among a URL's responses, and the generation of their keys.
    Varies(Selector, u64),
}

/// A response but its content.
#[derive(Debug)]
pub(super) struct ObjectFront {
    pub(super) epoch: Epoch,
    pub(super) born: PurgeSeq,
    pub(super) zone: ZoneId,
    pub(super) url: UrlKey,
    pub(super) tags: Tags,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) freshness: Freshness,
    pub(super) declared_length: Option<u64>,
    pub(super) content_length: u64,
    pub(super) part: FrontPart,
    sums: Vec<u32>,
}

/// Which part of a response a file holds.
#[derive(Debug)]
pub(super) enum FrontPart {
    /// All of it.
    Whole,
    /// All but the content, which lies in slices.
    Head(Slices),
    /// A slice.
    Slice(SliceId),
}

/// The front of an object's file. `None` if it is larger than any that is read, or if not all of the object's tags are known:
/// such an object is kept for a short time only. Neither is there one of content that is not whole yet.
pub(super) fn encode_object(
    file: ObjectFile,
    epoch: Epoch,
    standing: Standings,
    object: &Object,
) -> Option<Vec<u8>> {
    if object.tags_ignored > 0 {
        return None;
    }
    let kind = match (object.content.slices(), object.content.slice()) {
        (Some(_), _) => kind::HEAD,
        (None, Some(_)) => kind::SLICE,
        (None, None) => kind::WHOLE,
    };
    let mut meta = begin_meta(file, kind);
    meta.u64(epoch.number());
    meta.u64(object.birth.born.number());
    meta.bytes(object.birth.clock.zone().as_str().as_bytes())?;
    meta.bytes(object.url.scheme().map_or("", Scheme::as_str).as_bytes())?;
    meta.bytes(object.url.host().as_str().as_bytes())?;
    meta.bytes(object.url.path_and_query().as_bytes())?;
    meta.bytes(object.tags.as_header_value().as_bytes())?;
    meta.u16(object.status.as_u16());
    let headers = object.head.unpack();
    meta.u32(u32::try_from(headers.len()).ok()?);
    for (name, value) in &headers {
        meta.bytes(name.as_str().as_bytes())?;
        meta.bytes(value.as_bytes())?;
    }
    put_freshness(&mut meta, &object.freshness);
    meta.maybe_u64(object.declared_length);
    if let Some(slices) = object.content.slices() {
        meta.u64(slices.generation);
        meta.u64(slices.length);
        meta.u64(slices.slice_bytes);
        meta.bytes(slices.validator.if_range().as_bytes())?;
        meta.u16(slices.brought_by.as_u16());
        return assemble(file, standing, &meta);
    }
    if let Some(SliceId { of, index }) = object.content.slice() {
        meta.0.extend_from_slice(&of.head.to_bytes());
        meta.u64(of.generation);
        meta.u64(index);
    }
    let pieces = object.content.whole()?;
    meta.u64(pieces.length());
    for piece in pieces.iter().flat_map(|piece| piece.chunks(PIECE_BYTES)) {
        meta.u32(crc32fast::hash(piece));
    }
    assemble(file, standing, &meta)
}

/// The whole file of a selector. `None` if no request can select anything by it.
pub(super) fn encode_selector(file: ObjectFile, selector: &Selector, generation: u64) -> Option<Vec<u8>> {
    let Selector { parts, rule } = selector;
    let varying: &[HeaderName] = match rule {
        VaryRule::None => &[],
        VaryRule::Fields(names) => names,
        VaryRule::Star | VaryRule::TooMany => return None,
    };
    let mut meta = begin_meta(file, kind::SELECTOR);
    meta.u64(generation);
    for names in [varying, parts.headers()] {
        put_texts(&mut meta, names.iter().map(HeaderName::as_str))?;
    }
    let (kind, cookies): (u8, &[String]) = match parts.cookies() {
        CookiePart::Ignored => (0, &[]),
        CookiePart::Full => (1, &[]),
        CookiePart::Only(names) => (2, names),
        CookiePart::AllBut(names) => (3, names),
    };
    meta.u8(kind);
    put_texts(&mut meta, cookies.iter().map(String::as_str))?;
    let standing = Standings { checked: PurgeSeq::ZERO, invalidated: PurgeSeq::ZERO };
    assemble(file, standing, &meta)
}

fn put_texts<'a>(meta: &mut Fields, texts: impl ExactSizeIterator<Item = &'a str>) -> Option<()> {
    meta.u32(u32::try_from(texts.len()).ok()?);
    for text in texts {
        meta.bytes(text.as_bytes())?;
    }
    Some(())
}

fn texts<'a>(rest: &mut Rest<'a>) -> Option<Vec<&'a str>> {
    (0..rest.count(4)?).map(|_| rest.text()).collect()
}

fn begin_meta(file: ObjectFile, kind: u8) -> Fields {
    let mut meta = Fields::default();
    meta.u8(kind);
    meta.u64(file.instance);
    meta.0.extend_from_slice(&file.key.to_bytes());
    meta.u64(file.serial);
    meta
}

fn assemble(file: ObjectFile, standing: Standings, meta: &Fields) -> Option<Vec<u8>> {
    if meta.0.len() > META_BYTES_MAX {
        return None;
    }
    let mut front = Fields(Vec::with_capacity(PREFIX_BYTES + meta.0.len()));
    front.0.extend_from_slice(&encode_standing(file, standing));
    front.u32(u32::try_from(meta.0.len()).ok()?);
    front.u32(crc32fast::hash(&meta.0));
    front.0.extend_from_slice(&meta.0);
    Some(front.0)
}

/// The standing, to be written over the front of a file.
pub(super) fn encode_standing(file: ObjectFile, standing: Standings) -> [u8; STANDING_BYTES] {
    let mut bytes = [0; STANDING_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&standing.checked.number().to_be_bytes());
    bytes[16..].copy_from_slice(&standing.invalidated.number().to_be_bytes());
    let sum = standing_sum(file, &bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Goes over the file's name too, so that the front of one file vouches for no other.
fn standing_sum(file: ObjectFile, numbers: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&MAGIC);
    sum.update(&file.instance.to_be_bytes());
    sum.update(&file.key.to_bytes());
    sum.update(&file.serial.to_be_bytes());
    sum.update(numbers);
    sum.finalize()
}

/// How many bytes the front has, by its first ones.
pub(super) fn front_length(bytes: &[u8]) -> Result<usize, BadFile> {
    let prefix: &[u8; PREFIX_BYTES] = bytes.first_chunk().ok_or(BadFile::Length)?;
    if prefix[..4] != MAGIC {
        return Err(BadFile::Version);
    }
    let length = prefix[STANDING_BYTES..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > META_BYTES_MAX { Err(BadFile::Nonsense) } else { Ok(PREFIX_BYTES + length) }
}

/// Reads the front of a file of `file_bytes` bytes. `bytes` may go on behind it.
pub(super) fn decode_front(file: ObjectFile, bytes: &[u8], file_bytes: u64) -> Result<Front, BadFile> {
    let length = front_length(bytes)?;
    let front = bytes.get(..length).ok_or(BadFile::Length)?;
    let (prefix, meta) = front.split_at(PREFIX_BYTES);
    let mut fields = Rest(&prefix[MAGIC.len()..]);
    let mut next = || fields.u32().ok_or(BadFile::Length);
    if next()? != standing_sum(file, &prefix[8..STANDING_BYTES]) {
        return Err(BadFile::Standing);
    }
    let mut position = || fields.u64().map(PurgeSeq::new).ok_or(BadFile::Length);
    let standing = Standings { checked: position()?, invalidated: position()? };
    let (_, meta_sum) = (fields.u32(), fields.u32());
    if meta_sum != Some(crc32fast::hash(meta)) {
        return Err(BadFile::Meta);
    }
    let kind = decode_meta(file, meta).ok_or(BadFile::Nonsense)?;
    let content_length = match &kind {
        FrontKind::Object(object) => object.content_length,
        FrontKind::Varies(..) => 0,
    };
    if (length as u64).checked_add(content_length) != Some(file_bytes) {
        return Err(BadFile::Length);
    }
    Ok(Front { standing, kind, length })
}

fn decode_meta(file: ObjectFile, meta: &[u8]) -> Option<FrontKind> {
    let mut rest = Rest(meta);
    let kind = rest.u8()?;
    let is_own = (rest.u64()?, rest.u128()?.to_be_bytes(), rest.u64()?)
        == (file.instance, file.key.to_bytes(), file.serial);
    if !is_own {
        return None;
    }
    match kind {
        kind::WHOLE | kind::HEAD | kind::SLICE => {
            decode_object(kind, rest).map(|object| FrontKind::Object(Box::new(object)))
        }
        kind::SELECTOR => {
            let generation = rest.u64()?;
            let mut names = || -> Option<Vec<HeaderName>> {
                texts(&mut rest)?.into_iter().map(|name| HeaderName::try_from(name).ok()).collect()
            };
            let (varying, headers) = (names()?, names()?);
            let kind = rest.u8()?;
            let cookies = texts(&mut rest)?.into_iter().map(str::to_owned).collect();
            let cookies = match kind {
                0 => CookiePart::Ignored,
                1 => CookiePart::Full,
                2 => CookiePart::Only(cookies),
                3 => CookiePart::AllBut(cookies),
                _ => return None,
            };
            let rule = if varying.is_empty() { VaryRule::None } else { VaryRule::Fields(varying.into()) };
            rest.end()?;
            Some(FrontKind::Varies(Selector { parts: KeyParts::new(headers, cookies), rule }, generation))
        }
        _ => None,
    }
}

fn decode_object(kind: u8, mut rest: Rest<'_>) -> Option<ObjectFront> {
    let (epoch, born) = (Epoch::new(rest.u64()?), PurgeSeq::new(rest.u64()?));
    let zone = ZoneId::parse(rest.text()?).ok()?;
    let scheme = match rest.text()? {
        "" => None,
        text => Some(Scheme::EVERY.into_iter().find(|scheme| scheme.as_str() == text)?),
    };
    let host = HostName::parse(rest.text()?).ok()?;
    let url = UrlKey::from_normalised(host, rest.text()?).ok()?.with_scheme(scheme);
    let tags = Tags::from_header_value(rest.text()?)?;
    let status = StatusCode::from_u16(rest.u16()?).ok()?;
    let mut headers = HeaderMap::new();
    for _ in 0..rest.count(8)? {
        let name = HeaderName::from_bytes(rest.bytes()?).ok()?;
        headers.try_append(name, HeaderValue::from_bytes(rest.bytes()?).ok()?).ok()?;
    }
    let freshness = freshness(&mut rest)?;
    let declared_length = rest.maybe_u64()?;
    let part = match kind {
        kind::HEAD => FrontPart::Head(slices(&mut rest)?),
        kind::SLICE => {
            let head = ObjectKey::from_bytes(rest.u128()?.to_be_bytes());
            let of = SliceOf { head, generation: rest.u64()? };
            FrontPart::Slice(SliceId { of, index: rest.u64()? })
        }
        _ => FrontPart::Whole,
    };
    let content_length = if matches!(part, FrontPart::Head(_)) { 0 } else { rest.u64()? };
    let sums = usize::try_from(content_length.div_ceil(PIECE_BYTES as u64)).ok()?;
    if rest.0.len() != sums.checked_mul(4)? {
        return None;
    }
    let sums = (0..sums).map(|_| rest.u32()).collect::<Option<Vec<_>>>()?;
    Some(ObjectFront {
        epoch,
        born,
        zone,
        url,
        tags,
        status,
        headers,
        freshness,
        declared_length,
        content_length,
        part,
        sums,
    })
}

/// What the slices of a head have in common. Neither its content nor a slice is empty.
fn slices(rest: &mut Rest<'_>) -> Option<Slices> {
    let (generation, length, slice_bytes) = (rest.u64()?, rest.u64()?, rest.u64()?);
    let validator = StrongValidator::of_if_range(&HeaderValue::from_bytes(rest.bytes()?).ok()?)?;
    let brought_by = StatusCode::from_u16(rest.u16()?).ok()?;
    (length > 0 && slice_bytes > 0).then_some(Slices {
        generation,
        length,
        slice_bytes,
        validator,
        brought_by,
    })
}

impl ObjectFront {
    /// Whether this is the content that was stored.
    pub(super) fn is_content(&self, content: &Bytes) -> bool {
        content.len() as u64 == self.content_length
            && content.chunks(PIECE_BYTES).map(crc32fast::hash).eq(self.sums.iter().copied())
    }
}

/// Times are the wall clock's, so that an age goes on while nothing runs.
fn put_freshness(meta: &mut Fields, freshness: &Freshness) {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    meta.u64(nanos(freshness.lifetime));
    meta.u8(match freshness.source {
        LifetimeSource::SMaxage => 0,
        LifetimeSource::MaxAge => 1,
        LifetimeSource::Expires => 2,
        LifetimeSource::Policy => 3,
        LifetimeSource::Nothing => 4,
    });
    meta.u64(nanos(freshness.initial_age));
    let since = freshness.response_time.duration_since(SystemTime::UNIX_EPOCH);
    meta.u64(nanos(since.unwrap_or_default()));
    meta.u8(u8::from(freshness.no_cache));
    meta.u8(u8::from(freshness.must_revalidate));
    meta.maybe_u64(freshness.stale_while_revalidate.map(nanos));
    meta.maybe_u64(freshness.stale_if_error.map(nanos));
}

fn freshness(rest: &mut Rest<'_>) -> Option<Freshness> {
    Some(Freshness {
        lifetime: Duration::from_nanos(rest.u64()?),
        source: match rest.u8()? {
            0 => LifetimeSource::SMaxage,
            1 => LifetimeSource::MaxAge,
            2 => LifetimeSource::Expires,
            3 => LifetimeSource::Policy,
            4 => LifetimeSource::Nothing,
            _ => return None,
        },
        initial_age: Duration::from_nanos(rest.u64()?),
        response_time: SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(rest.u64()?))?,
        no_cache: rest.flag()?,
        must_revalidate: rest.flag()?,
        stale_while_revalidate: rest.maybe_u64()?.map(Duration::from_nanos),
        stale_if_error: rest.maybe_u64()?.map(Duration::from_nanos),
    })
}

#[cfg(test)]
mod tests;
