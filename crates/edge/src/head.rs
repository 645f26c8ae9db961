//! The head of a stored response: compact in memory, quick to unpack at each hit.
//!
//! Names that responses mostly have are kept as a number and cost nothing to unpack; the others are kept as they were
//! parsed. The values lie one after the other, so that unpacking copies them at once: sharing them instead would let all
//! workers write the same counts of references at each hit.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httpcache::CacheStatus;

/// What a field takes in front of the values, in bytes: the number of its name and the length of its value.
const FIELD_BYTES: usize = 5;

/// The number that stands for the next one of the names that have none.
const UNUSUAL: u8 = u8::MAX;

/// How many fields an answer has beside those stored, mostly: `Age`, `Cache-Status` and their like.
const OWN_FIELDS: usize = 8;

/// How long their values are, mostly, in bytes.
const OWN_BYTES: usize = 128;

/// The names that have a number: their place here.
static USUAL: [HeaderName; 48] = [
    header::SERVER,
    header::DATE,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CACHE_CONTROL,
    header::LAST_MODIFIED,
    header::ETAG,
    header::ACCEPT_RANGES,
    header::EXPIRES,
    header::VARY,
    header::AGE,
    header::VIA,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_DISPOSITION,
    header::CONTENT_RANGE,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
    header::STRICT_TRANSPORT_SECURITY,
    header::SET_COOKIE,
    header::LOCATION,
    header::LINK,
    header::ALT_SVC,
    header::REFERRER_POLICY,
    header::PRAGMA,
    header::ALLOW,
    header::WARNING,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::X_DNS_PREFETCH_CONTROL,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::CACHE_STATUS,
    header::CDN_CACHE_CONTROL,
    HeaderName::from_static("cross-origin-resource-policy"),
    HeaderName::from_static("cross-origin-opener-policy"),
    HeaderName::from_static("cross-origin-embedder-policy"),
    HeaderName::from_static("timing-allow-origin"),
    HeaderName::from_static("permissions-policy"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-request-id"),
];

const _: () = assert!(USUAL.len() < UNUSUAL as usize);

/// The fields of a stored response.
#[derive(Clone)]
pub(crate) struct PackedHead {
    /// For each field the number of its name and the length of its value; then the values.
    packed: Box<[u8]>,
    fields: usize,
    /// The names that have no number, in the order of their fields.
    unusual: Box<[HeaderName]>,
}

impl PackedHead {
    pub(crate) fn pack(headers: &HeaderMap) -> Self {
        let fields = headers.len();
        let values: usize = headers.values().map(HeaderValue::len).sum();
        let mut packed = Vec::with_capacity(fields * FIELD_BYTES + values);
        let mut unusual = Vec::new();
        for (name, value) in headers {
            let number = USUAL.iter().position(|usual| usual == name).and_then(|at| u8::try_from(at).ok());
            packed.push(number.unwrap_or(UNUSUAL));
            // No value is that long: the parser of responses holds a whole head in far less.
            packed.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
            if number.is_none() {
                unusual.push(name.clone());
            }
        }
        for value in headers.values() {
            packed.extend_from_slice(value.as_bytes());
        }
        Self { packed: packed.into(), fields, unusual: unusual.into() }
    }

    /// The fields again.
    pub(crate) fn unpack(&self) -> HeaderMap {
        self.unpack_with_room().0
    }

    /// The fields again, and room for more values in the allocation that theirs share.
    pub(crate) fn unpack_with_room(&self) -> (HeaderMap, ValueRoom) {
        let mut headers = HeaderMap::with_capacity(self.fields + OWN_FIELDS);
        let (fields, values) = self.packed.split_at(self.fields * FIELD_BYTES);
        let mut room = BytesMut::with_capacity(values.len() + OWN_BYTES);
        room.extend_from_slice(values);
        let values = room.split().freeze();
        let mut unusual = self.unusual.iter();
        let mut at = 0;
        for field in fields.chunks_exact(FIELD_BYTES) {
            let name = match USUAL.get(usize::from(field[0])) {
                Some(name) => Some(name),
                None => unusual.next(),
            };
            let length = u32::from_be_bytes([field[1], field[2], field[3], field[4]]) as usize;
            let value = HeaderValue::from_maybe_shared(values.slice(at..at + length));
            at += length;
            if let (Some(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        (headers, ValueRoom(room))
    }

    /// The fields one after the other, those of one name together.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        let (fields, mut values) = self.packed.split_at(self.fields * FIELD_BYTES);
        let mut unusual = self.unusual.iter();
        fields.chunks_exact(FIELD_BYTES).filter_map(move |field| {
            let length = u32::from_be_bytes([field[1], field[2], field[3], field[4]]) as usize;
            let (value, rest) = values.split_at_checked(length)?;
            values = rest;
            let name = match USUAL.get(usize::from(field[0])) {
                Some(name) => Some(name),
                None => unusual.next(),
            };
            Some((name?, value))
        })
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let unusual = self.unusual.iter().map(|name| size_of::<HeaderName>() + name.as_str().len());
        (self.packed.len() + unusual.sum::<usize>()) as u64
    }
}

/// Room for the values of an answer that are its own.
pub(crate) struct ValueRoom(BytesMut);

impl ValueRoom {
    /// Room in an allocation of its own.
    pub(crate) fn new() -> Self {
        Self(BytesMut::with_capacity(OWN_BYTES))
    }

    /// The value that is this number.
    pub(crate) fn number(&mut self, number: u64) -> HeaderValue {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.value()
    }

    /// The value of this member of `Cache-Status`.
    pub(crate) fn cache_status(&mut self, status: &CacheStatus) -> HeaderValue {
        self.0.extend_from_slice(status.as_str().as_bytes());
        self.value()
    }

    fn value(&mut self) -> HeaderValue {
        let value = HeaderValue::from_maybe_shared(self.0.split().freeze());
        value.expect("digits, tokens and structured strings are visible ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_head_unpacks_to_the_same_fields() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"1\""));
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static(""));
        headers.append("x-b", HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append(header::SET_COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
        assert_eq!(PackedHead::pack(&headers).unpack(), headers);
        assert_eq!(PackedHead::pack(&HeaderMap::new()).unpack(), HeaderMap::new());
        let packed = PackedHead::pack(&headers);
        let fields = packed.fields().map(|(name, value)| (name.clone(), value.to_vec()));
        let expected = headers.iter().map(|(name, value)| (name.clone(), value.as_bytes().to_vec()));
        assert!(fields.eq(expected));
        let (_, mut room) = PackedHead::pack(&headers).unpack_with_room();
        assert_eq!(
            (room.number(0), room.number(u64::MAX)),
            ("0".parse().unwrap(), HeaderValue::from(u64::MAX))
        );
        let long = CacheStatus::named("e").detail(&"a".repeat(2 * OWN_BYTES));
        assert_eq!(room.cache_status(&long), long.as_str());
    }
}
