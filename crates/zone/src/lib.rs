//! What an operator configures: zones, their domains, the origins behind them, which of them a host belongs to, and
//! how content is to be cached.
//!
//! Owns the names (`ZoneId`, `HostName`), the routing table, the cache settings with their rules and conditions, and the
//! one form of URLs. Does no I/O, reads no clock, knows nothing of purges, of HTTP or of the API's wire form.

mod cache;
mod condition;
mod document;
mod host;
mod table;
mod url_form;

pub use cache::{
    Action, Branch, CACHE_SECS_MAX, CacheConfig, CacheSecs, CacheSettings, Caching, ClientAge, CookieKey,
    DefaultCache, KeyChange, NAME_BYTES_MAX, NAMES_MAX, Names, Percent, QueryKey, RULE_DEPTH_MAX,
    RULES_PER_ZONE_MAX, Rule, STATUS_CODES, STATUS_SECS_MAX, SUB_RULES_PER_RULE_MAX, SettingsError,
    StatusTime, SubRule, UrlKeying,
};
pub use condition::{
    CONDITION_BYTES_MAX, CONDITION_DEPTH_MAX, CONDITION_TESTS_MAX, CONDITION_VALUES_MAX, Condition,
    ConditionError, REGEX_BYTES_MAX, Scheme, UrlFacts,
};
pub use document::{CACHE_CONFIG_BYTES_MAX, DocumentError};
pub use host::{HOST_NAME_BYTES_MAX, HostName, HostNameError};
pub use table::{Domain, Origin, OriginProtocol, Route, RouteRefusal, Zone, ZoneCaching, ZoneTable};
pub use url_form::{fold_case, normalise};

use std::fmt;
use std::sync::Arc;

/// The random part of a zone's id, in characters.
pub const ZONE_ID_RANDOM_CHARS: usize = 12;

/// A zone's id: `zone-` and twelve of `[0-9a-z]` (API field `ZoneId`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(Arc<str>);

/// Why a text is no zone id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a zone id: it is \"zone-\" followed by 12 lower-case letters or digits")]
pub struct ZoneIdError(String);

impl ZoneId {
    /// Parses `zone-` and twelve of `[0-9a-z]`.
    pub fn parse(text: &str) -> Result<Self, ZoneIdError> {
        let random = text.strip_prefix("zone-").unwrap_or("");
        let well_formed = random.len() == ZONE_ID_RANDOM_CHARS
            && random.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if well_formed { Ok(Self(text.into())) } else { Err(ZoneIdError(text.chars().take(64).collect())) }
    }

    /// Makes an id of twelve random bytes.
    pub fn from_random(bytes: [u8; ZONE_ID_RANDOM_CHARS]) -> Self {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let random: String = bytes.iter().map(|b| char::from(ALPHABET[usize::from(*b) % 36])).collect();
        Self(format!("zone-{random}").into())
    }

    /// The id as the API writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_parse_only_in_their_one_form() {
        assert_eq!(
            ZoneId::parse("zone-2noz78a8ev6k").map(|id| id.to_string()),
            Ok("zone-2noz78a8ev6k".into())
        );
        for bad in
            ["", "*", "zone-", "zone-2noz78a8ev6", "zone-2noz78a8ev6K", "2noz78a8ev6k", "zone-2noz78a8ev6kk"]
        {
            assert!(ZoneId::parse(bad).is_err(), "{bad}");
        }
        let made = ZoneId::from_random([255, 0, 35, 36, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(ZoneId::parse(made.as_str()), Ok(made));
    }
}
