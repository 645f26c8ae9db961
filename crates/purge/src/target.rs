//! What a purge call may name: its type, and the targets that the type allows.
//!
//! Owns the rules of teo-api §5.2 (which method) and §5.3 (target formats). Does not know to whom a host belongs.

use crate::{CacheTag, CacheTagError, Method, TARGET_BYTES_MAX, UrlError, UrlPrefix, UrlTarget};
use zone::{HostName, HostNameError};

/// What kind of targets a purge has (API field `Type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PurgeType {
    /// Single URLs.
    Url,
    /// Directories.
    Prefix,
    /// Hosts.
    Host,
    /// The whole zone.
    All,
    /// Cache tags.
    CacheTag,
}

/// One thing to purge, as a call names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Of `purge_url`.
    Url(UrlTarget),
    /// Of `purge_prefix`.
    Prefix(UrlPrefix),
    /// Of `purge_host`.
    Host(HostName),
    /// Of `purge_cache_tag`.
    Tag(CacheTag),
}

/// Why a text is no target of a purge type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`TARGET_BYTES_MAX`] once encoded (API code `InvalidParameter.LengthExceedsLimit`).
    #[error("it has {0} bytes once encoded; at most {TARGET_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// No URL or directory (API code `InvalidParameter.Target`, as all that follow).
    #[error(transparent)]
    Url(UrlError),
    /// A host with a scheme or a path.
    #[error("a host stands without scheme and path, as in \"www.example.com\"")]
    HostIsUrl,
    /// A host with a wildcard.
    #[error("a host can't have a wildcard; name each host, or purge the zone")]
    Wildcard,
    /// No host.
    #[error(transparent)]
    Host(HostNameError),
    /// No cache tag.
    #[error(transparent)]
    Tag(#[from] CacheTagError),
    /// A target where none is allowed.
    #[error("purge_all takes no targets; it purges the whole zone")]
    NotWithAll,
}

impl PurgeType {
    /// Every type.
    pub const EVERY: [Self; 5] = [Self::Url, Self::Prefix, Self::Host, Self::All, Self::CacheTag];

    /// Reads the type as the API writes it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|purge_type| purge_type.as_str() == text)
    }

    /// The type as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "purge_url",
            Self::Prefix => "purge_prefix",
            Self::Host => "purge_host",
            Self::All => "purge_all",
            Self::CacheTag => "purge_cache_tag",
        }
    }

    /// The method that a purge of this type has when the call asks for `asked`: always `delete` for URLs; otherwise
    /// what is asked for, and `tag_default` for tags or `invalidate` for the rest when nothing is (teo-api §5.2).
    pub fn method(self, asked: Option<Method>, tag_default: Method) -> Method {
        match self {
            Self::Url => Method::Delete,
            Self::CacheTag => asked.unwrap_or(tag_default),
            Self::Prefix | Self::Host | Self::All => asked.unwrap_or(Method::Invalidate),
        }
    }
}

impl Target {
    /// Parses one target of a purge of `purge_type`.
    pub fn parse(purge_type: PurgeType, text: &str) -> Result<Self, TargetError> {
        match purge_type {
            PurgeType::Url => Ok(Self::Url(UrlTarget::parse(text)?)),
            PurgeType::Prefix => Ok(Self::Prefix(UrlPrefix::parse_target(text)?)),
            PurgeType::Host => parse_host(text).map(Self::Host),
            PurgeType::CacheTag => {
                within_target_max(text)?;
                Ok(Self::Tag(CacheTag::parse(text)?))
            }
            PurgeType::All => Err(TargetError::NotWithAll),
        }
    }

    /// The host that the target names; none for a tag.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::Url(target) => Some(target.url.host()),
            Self::Prefix(prefix) => Some(prefix.host()),
            Self::Host(host) => Some(host),
            Self::Tag(_) => None,
        }
    }
}

/// Parses a host as a target or as one of `CacheTag.Domains`.
pub(crate) fn parse_host(text: &str) -> Result<HostName, TargetError> {
    within_target_max(text)?;
    if text.contains('/') {
        return Err(TargetError::HostIsUrl);
    }
    if text.contains('*') {
        return Err(TargetError::Wildcard);
    }
    HostName::parse(text).map_err(TargetError::Host)
}

fn within_target_max(text: &str) -> Result<(), TargetError> {
    if text.len() > TARGET_BYTES_MAX { Err(TargetError::TooLong(text.len())) } else { Ok(()) }
}

impl From<UrlError> for TargetError {
    fn from(error: UrlError) -> Self {
        match error {
            UrlError::TooLong(bytes) | UrlError::TargetTooLong(bytes) => Self::TooLong(bytes),
            other => Self::Url(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_wire_names() {
        for purge_type in PurgeType::EVERY {
            assert_eq!(PurgeType::parse(purge_type.as_str()), Some(purge_type));
        }
        for bad in ["", "url", "Purge_url", "prefetch_url"] {
            assert_eq!(PurgeType::parse(bad), None);
        }
        for method in [Method::Invalidate, Method::Delete] {
            assert_eq!(Method::parse(method.as_str()), Some(method));
        }
        assert_eq!(Method::parse("Delete"), None);
    }

    #[test]
    fn each_type_has_its_method() {
        use Method::{Delete, Invalidate};
        let cases = [
            (PurgeType::Url, None, Delete),
            (PurgeType::Url, Some(Invalidate), Delete),
            (PurgeType::Prefix, None, Invalidate),
            (PurgeType::Prefix, Some(Delete), Delete),
            (PurgeType::Host, None, Invalidate),
            (PurgeType::All, None, Invalidate),
            (PurgeType::All, Some(Delete), Delete),
            (PurgeType::CacheTag, Some(Invalidate), Invalidate),
            (PurgeType::CacheTag, None, Delete),
        ];
        for (purge_type, asked, expected) in cases {
            assert_eq!(purge_type.method(asked, Delete), expected, "{purge_type:?} {asked:?}");
        }
        assert_eq!(PurgeType::CacheTag.method(None, Invalidate), Invalidate);
    }

    #[test]
    fn targets_are_of_their_type() {
        let long = format!("http://a.test/{}", "a".repeat(4096));
        let cases = [
            (PurgeType::Url, "http://a.test/x", None),
            (PurgeType::Url, "a.test/x", Some(TargetError::Url(UrlError::NoScheme))),
            (PurgeType::Url, &long, Some(TargetError::TooLong(4110))),
            (PurgeType::Prefix, "https://a.test/x/", None),
            (PurgeType::Prefix, "https://a.test/x?y", Some(TargetError::Url(UrlError::Query))),
            (PurgeType::Host, "WWW.a.test:8080", None),
            (PurgeType::Host, "http://a.test", Some(TargetError::HostIsUrl)),
            (PurgeType::Host, "a.test/", Some(TargetError::HostIsUrl)),
            (PurgeType::Host, "*.a.test", Some(TargetError::Wildcard)),
            (PurgeType::Host, " a.test", Some(TargetError::Host(HostNameError::BadCharacter(' ')))),
            (PurgeType::Host, "", Some(TargetError::Host(HostNameError::Empty))),
            (PurgeType::Host, &long, Some(TargetError::TooLong(4110))),
            (PurgeType::CacheTag, "news", None),
            (PurgeType::CacheTag, "a,b", Some(TargetError::Tag(CacheTagError))),
            (PurgeType::CacheTag, &long, Some(TargetError::TooLong(4110))),
            (PurgeType::All, "a.test", Some(TargetError::NotWithAll)),
        ];
        for (purge_type, text, expected) in cases {
            assert_eq!(Target::parse(purge_type, text).err(), expected, "{purge_type:?} {text:.40}");
        }
    }
}
