//! URLs in the one normalised form in which purges and lookups compare them.

use std::fmt;
use std::sync::Arc;
use zone::HostName;

/// The longest normalised URL, in bytes, host included.
pub const URL_BYTES_MAX: usize = 8192;

/// The URL part of a cache key: host, path and query, normalised; no scheme, no port, no fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlKey {
    host: HostName,
    /// Begins with `/`; holds the query, with its `?`, when there is one.
    path_and_query: Arc<str>,
}

/// A directory of one host. With a closing slash it matches itself and all below; without, also the path of exactly
/// that name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlPrefix {
    host: HostName,
    path: Arc<str>,
}

/// Why a text is no URL of a cache key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// More than [`URL_BYTES_MAX`] bytes once normalised.
    #[error("the URL has {0} bytes once encoded; at most {URL_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The path does not begin with a slash.
    #[error("the path does not begin with \"/\"")]
    NoSlash,
}

impl UrlKey {
    /// The key of a request for `path_and_query` (the request target as it arrived) at `host`.
    pub fn of_request(host: HostName, path_and_query: &str) -> Result<Self, UrlError> {
        if !path_and_query.starts_with('/') {
            return Err(UrlError::NoSlash);
        }
        Ok(Self { host, path_and_query: path_and_query.into() })
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The normalised path with the query, as it is sent to the origin.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The normalised path alone.
    pub fn path(&self) -> &str {
        self.path_and_query.split_once('?').map_or(&*self.path_and_query, |(path, _)| path)
    }
}

impl UrlPrefix {
    /// The directory `path` of `host`.
    pub fn new(host: HostName, path: &str) -> Result<Self, UrlError> {
        if !path.starts_with('/') {
            return Err(UrlError::NoSlash);
        }
        Ok(Self { host, path: path.into() })
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The normalised path, closing slash or not as given.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path_and_query)
    }
}

impl fmt::Debug for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}*", self.host, self.path)
    }
}
