//! Which requests a stored response answers (RFC 9111 §4.1, RFC 9110 §12.5.5).

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, VARY};

use crate::field;

/// The most field names in a `Vary` that is stored.
pub const VARY_FIELDS_MAX: usize = 16;

/// The longest variant key, in bytes. A longer one is cut and ends in a digest of the whole.
pub const VARY_KEY_BYTES_MAX: usize = 4096;

/// The codings that `Accept-Encoding` is reduced to, best first. Others in a request do not make a variant of their own.
const CODINGS: [&str; 4] = ["br", "zstd", "gzip", "deflate"];

/// What the `Vary` field of a stored response asks of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VaryRule {
    /// No `Vary`: any request for the URL selects it.
    None,
    /// `*`, or something that is no field name: no request selects it.
    Star,
    /// More names than [`VARY_FIELDS_MAX`]: no request selects it.
    TooMany,
    /// The fields that count, sorted and once each.
    Fields(Box<[HeaderName]>),
}

impl VaryRule {
    /// Reads the `Vary` lines of a response.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let mut names: Vec<HeaderName> = Vec::new();
        for element in field::elements(headers, &VARY) {
            // A member that is no field name may stand for anything, and so does the star.
            let Some(name) = HeaderName::from_bytes(element).ok().filter(|_| element != b"*") else {
                return Self::Star;
            };
            if !names.contains(&name) {
                if names.len() == VARY_FIELDS_MAX {
                    // A star may still follow, but either way it is not stored.
                    return Self::TooMany;
                }
                names.push(name);
            }
        }
        if names.is_empty() {
            return Self::None;
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        Self::Fields(names.into())
    }

    /// The key of the variant that this request selects: two requests with equal keys get the same response. Nothing when no
    /// request may select it.
    ///
    /// Values are compared as RFC 9111 §4.1 allows: lines joined, whitespace around list members dropped.
    /// `Accept-Encoding` is reduced to those codings of `br`, `zstd`, `gzip`, `deflate` that the client accepts, since browsers
    /// differ in order and weights without meaning different answers. The key of [`VaryRule::None`] is empty.
    pub fn selects(&self, request_headers: &HeaderMap) -> Option<Vec<u8>> {
        let names = match self {
            Self::None => return Some(Vec::new()),
            Self::Star | Self::TooMany => return None,
            Self::Fields(names) => names,
        };
        let mut key = Vec::new();
        for name in names {
            key.extend_from_slice(name.as_str().as_bytes());
            // Neither byte can be in a field value, so keys of different requests cannot run into each other. An absent
            // field differs from an empty one.
            if request_headers.contains_key(name) {
                key.push(b'\r');
                if name == ACCEPT_ENCODING {
                    push_codings(&mut key, request_headers);
                } else {
                    push_members(&mut key, request_headers, name);
                }
            }
            key.push(b'\n');
        }
        Some(bounded(key))
    }
}

/// The members of the field, whitespace inside them as single spaces outside quotes, joined by commas.
fn push_members(key: &mut Vec<u8>, headers: &HeaderMap, name: &HeaderName) {
    let mut is_first = true;
    for member in field::elements(headers, name) {
        if !std::mem::take(&mut is_first) {
            key.push(b',');
        }
        let (mut in_quotes, mut after_space) = (false, false);
        for &byte in member {
            let is_space = matches!(byte, b' ' | b'\t') && !in_quotes;
            if !is_space || !after_space {
                key.push(if is_space { b' ' } else { byte });
            }
            after_space = is_space;
            in_quotes ^= byte == b'"';
        }
    }
}

/// The codings of [`CODINGS`] that the client accepts, in that order (RFC 9110 §12.5.3). Not accepted at all is `identity`
/// only when it says so, and that is kept.
fn push_codings(key: &mut Vec<u8>, headers: &HeaderMap) {
    let mut accepted: [Option<bool>; CODINGS.len()] = [None; CODINGS.len()];
    let (mut identity, mut star) = (None, None);
    for member in field::elements(headers, &ACCEPT_ENCODING) {
        let mut parts = member.split(|&b| b == b';');
        let coding = field::trim(parts.next().unwrap_or_default()).to_ascii_lowercase();
        let is_wanted = !parts.any(is_zero_weight);
        let coding: &[u8] = if coding == b"x-gzip" { b"gzip" } else { &coding };
        match coding {
            b"*" => star = star.or(Some(is_wanted)),
            b"identity" => identity = identity.or(Some(is_wanted)),
            _ => {
                if let Some(at) = CODINGS.iter().position(|known| known.as_bytes() == coding) {
                    accepted[at] = accepted[at].or(Some(is_wanted));
                }
            }
        }
    }
    for (coding, accepted) in CODINGS.iter().zip(accepted) {
        if accepted.or(star).unwrap_or(false) {
            key.extend_from_slice(coding.as_bytes());
            key.push(b',');
        }
    }
    if !identity.or(star).unwrap_or(true) {
        key.extend_from_slice(b"identity;q=0");
    }
}

/// Is this parameter a weight of zero: `q=0`, `q=0.`, `q=0.000`?
fn is_zero_weight(parameter: &[u8]) -> bool {
    match field::trim(parameter) {
        [b'q' | b'Q', b'=', b'0'] => true,
        [b'q' | b'Q', b'=', b'0', b'.', digits @ ..] => digits.iter().all(|&b| b == b'0'),
        _ => false,
    }
}

/// Cuts a long key, and ends it in the FNV-1a digest (128 bits) and the length of the whole.
fn bounded(mut key: Vec<u8>) -> Vec<u8> {
    if key.len() <= VARY_KEY_BYTES_MAX {
        return key;
    }
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let digest = key.iter().fold(OFFSET, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    let length = u64::try_from(key.len()).unwrap_or(u64::MAX);
    key.truncate(VARY_KEY_BYTES_MAX - size_of_val(&digest) - size_of_val(&length));
    key.extend_from_slice(&digest.to_be_bytes());
    key.extend_from_slice(&length.to_be_bytes());
    key
}
