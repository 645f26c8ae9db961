//! Host names, in the one form in which they are compared.

use std::fmt;
use std::sync::Arc;

/// The longest host name, in bytes (RFC 1035 §2.3.4).
pub const HOST_NAME_BYTES_MAX: usize = 253;

/// A host name or IP address, lower-case, without port and without a closing dot.
///
/// Two requests are for the same host exactly when their `HostName`s are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing is left once the port is dropped.
    #[error("the host name is empty")]
    Empty,
    /// More than [`HOST_NAME_BYTES_MAX`] bytes.
    #[error("the host name has {0} bytes; at most {HOST_NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character outside letters, digits, `-`, `_` and `.`.
    #[error(
        "the host name holds {0:?}; letters, digits, \"-\", \"_\" and \".\" are allowed (write names in other scripts in their ASCII form, xn--…)"
    )]
    BadCharacter(char),
    /// Two dots in a row, a dot in front, or a label longer than 63 bytes.
    #[error("the host name has an empty label or one longer than 63 bytes")]
    BadLabel,
    /// A URL where a host name belongs.
    #[error("a host name stands without scheme and path: leave out \"http://\" and what follows the host")]
    IsUrl,
    /// What follows the last colon is no port.
    #[error("the port is not a number from 0 to 65535")]
    BadPort,
}

impl HostName {
    /// Parses a host name, dropping a port (`:8080`) and one closing dot, and lowering its case.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let bare = without_port(text)?;
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        if bare.is_empty() {
            return Err(HostNameError::Empty);
        }
        if bare.len() > HOST_NAME_BYTES_MAX {
            return Err(HostNameError::TooLong(bare.len()));
        }
        if let Some(inner) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| HostNameError::BadCharacter('['))?;
            return Ok(Self(format!("[{address}]").into()));
        }
        if let Some(bad) = bare.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        {
            return Err(HostNameError::BadCharacter(bad));
        }
        if bare.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err(HostNameError::BadLabel);
        }
        Ok(Self(if bare.bytes().any(|b| b.is_ascii_uppercase()) {
            bare.to_ascii_lowercase().into()
        } else {
            bare.into()
        }))
    }

    /// The name, lower-case, without port.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `parent` itself or a name below it.
    pub fn is_within(&self, parent: &HostName) -> bool {
        self == parent || self.0.strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }

    /// How many labels the name has: two for `example.com`.
    pub fn label_count(&self) -> usize {
        self.0.split('.').count()
    }

    /// Whether this is an IPv4 or IPv6 address and no name.
    pub fn is_address(&self) -> bool {
        self.0.starts_with('[') || self.0.parse::<std::net::Ipv4Addr>().is_ok()
    }
}

fn without_port(text: &str) -> Result<&str, HostNameError> {
    if text.contains("://") {
        return Err(HostNameError::IsUrl);
    }
    let after_bracket = text.rfind(']').map_or(0, |i| i + 1);
    let Some(colon) = text[after_bracket..].find(':') else { return Ok(text) };
    let (host, port) = text.split_at(after_bracket + colon);
    let digits = &port[1..];
    // An empty port means the default one (RFC 3986 §3.2.3).
    if digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()) {
        Ok(host)
    } else {
        Err(HostNameError::BadPort)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_have_one_form() {
        let cases = [
            ("www.example.com", Ok("www.example.com")),
            ("WWW.Example.COM:8080", Ok("www.example.com")),
            ("www.example.com.", Ok("www.example.com")),
            ("www.example.com:", Ok("www.example.com")),
            ("127.0.0.1:80", Ok("127.0.0.1")),
            ("[::1]:8080", Ok("[::1]")),
            ("[0:0:0:0:0:0:0:1]", Ok("[::1]")),
            ("", Err(HostNameError::Empty)),
            (":80", Err(HostNameError::Empty)),
            ("a..b", Err(HostNameError::BadLabel)),
            (".a", Err(HostNameError::BadLabel)),
            ("a b", Err(HostNameError::BadCharacter(' '))),
            ("*.example.com", Err(HostNameError::BadCharacter('*'))),
            ("图片.example.com", Err(HostNameError::BadCharacter('图'))),
            ("a:b", Err(HostNameError::BadPort)),
            ("http://a", Err(HostNameError::IsUrl)),
            ("http://a:80/b", Err(HostNameError::IsUrl)),
            ("a:70000", Err(HostNameError::BadPort)),
        ];
        for (text, expected) in cases {
            assert_eq!(
                HostName::parse(text).as_ref().map(HostName::as_str),
                expected.as_ref().copied(),
                "{text}"
            );
        }
        assert_eq!(HostName::parse(&"a".repeat(254)), Err(HostNameError::TooLong(254)));
    }

    #[test]
    fn a_name_is_within_its_parents_only() {
        let host = |text: &str| HostName::parse(text).unwrap();
        assert!(host("www.example.com").is_within(&host("example.com")));
        assert!(host("example.com").is_within(&host("example.com")));
        assert!(!host("badexample.com").is_within(&host("example.com")));
        assert!(!host("example.com").is_within(&host("www.example.com")));
    }
}
