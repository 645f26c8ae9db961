//! An origin on the command line.

use teo::edgeone::OriginProtocol;

/// Where a domain's content comes from, as `--origin` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) protocol: OriginProtocol,
    /// An address or a name, IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Origin {
    /// Parses `[http://|https://]HOST[:PORT]`. Without a scheme the edge talks as the client does.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "must read [http://|https://]HOST[:PORT], without a path".to_owned();
        let (protocol, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (OriginProtocol::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (OriginProtocol::Https, rest)
        } else {
            (OriginProtocol::Follow, text)
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(wrong());
        }
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) };
            (host, port)
        } else {
            rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(wrong());
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err("its port must be between 1 and 65535".to_owned()),
                Ok(port) => Some(port),
            },
        };
        Ok(Self { protocol, host: host.to_owned(), port })
    }

    /// The port for plain connections, if this origin gives one.
    pub(crate) fn http_port(&self) -> Option<i64> {
        self.port.filter(|_| self.protocol != OriginProtocol::Https).map(i64::from)
    }

    /// The port for encrypted connections, if this origin gives one.
    pub(crate) fn https_port(&self) -> Option<i64> {
        self.port.filter(|_| self.protocol == OriginProtocol::Https).map(i64::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_ports_are_optional_and_paths_refused() {
        let check = |text: &str, expected: Option<(OriginProtocol, &str, Option<u16>)>| {
            let parsed = Origin::parse(text).ok();
            let seen = parsed.as_ref().map(|origin| (origin.protocol, origin.host.as_str(), origin.port));
            assert_eq!(seen, expected, "{text}");
        };
        check("http://127.0.0.1:9000", Some((OriginProtocol::Http, "127.0.0.1", Some(9000))));
        check("https://o.example.com/", Some((OriginProtocol::Https, "o.example.com", None)));
        check("o.example.com:81", Some((OriginProtocol::Follow, "o.example.com", Some(81))));
        check("http://[::1]:9000", Some((OriginProtocol::Http, "::1", Some(9000))));
        check("[::1]", Some((OriginProtocol::Follow, "::1", None)));
        for wrong in ["", "http://", "http://a/b", "a:0", "a:65536", "a:", "[::1", "[::1]x", "ftp://a", "a b"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn a_path_is_not_taken_for_a_bad_port() {
        for text in ["http://127.0.0.1:9000/x", "http://a:80?q", "[::1]:80/x", "a:80#f"] {
            assert_eq!(
                Origin::parse(text),
                Err("must read [http://|https://]HOST[:PORT], without a path".to_owned()),
                "{text}"
            );
        }
    }
}
