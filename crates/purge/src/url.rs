//! URLs in the one normalised form in which purges and lookups compare them.
//!
//! Owns [`UrlKey`] and [`UrlPrefix`]. Invariant: whatever way one was made, its text is normalised, so that comparing
//! is comparing bytes. Requests and targets go through the same functions: [`zone::normalise`], then
//! [`UrlKey::keyed`], which makes of a URL what the zone's settings have in the cache key. Those depend on nothing but
//! the URL, so that a purge finds from a URL alone what a lookup stored for it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use zone::{HostName, HostNameError, Scheme, UrlFacts, UrlKeying};

/// The longest normalised URL, in bytes, host included.
pub const URL_BYTES_MAX: usize = 8192;

/// The longest target of a purge, in bytes after encoding, scheme included (teo-api §5.3).
pub const TARGET_BYTES_MAX: usize = 4096;

const _: () = assert!(TARGET_BYTES_MAX <= URL_BYTES_MAX);

/// The URL part of a cache key: host, path and query, normalised; no port, no fragment, and a scheme only where the
/// zone's settings say so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlKey {
    scheme: Option<Scheme>,
    host: HostName,
    /// Begins with `/`; holds the query, with its `?`, when there is one.
    path_and_query: Arc<str>,
}

/// A target of `purge_url`: a URL with its scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlTarget {
    /// The scheme, which counts where keys hold one.
    pub scheme: Scheme,
    /// The URL as it would be asked for.
    pub url: UrlKey,
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
    /// A purge target of more than [`TARGET_BYTES_MAX`] bytes once normalised.
    #[error("the target has {0} bytes once encoded; at most {TARGET_BYTES_MAX} are allowed")]
    TargetTooLong(usize),
    /// The path does not begin with a slash.
    #[error("the path does not begin with \"/\"")]
    NoSlash,
    /// A target without `http://` or `https://`.
    #[error("a URL begins with \"http://\" or \"https://\"")]
    NoScheme,
    /// A target with a user name or password before the host.
    #[error("the URL holds user information before the host; leave out what comes before \"@\"")]
    UserInfo,
    /// A target with `#…`.
    #[error("the URL holds a fragment; leave out \"#\" and what follows it")]
    Fragment,
    /// A directory with `?…`.
    #[error("a directory has no query; leave out \"?\" and what follows it, or purge the URL")]
    Query,
    /// White space at an end of the target.
    #[error("the URL begins or ends with white space; leave it out")]
    OuterSpace,
    /// A control character in the target.
    #[error("the URL holds a control character; percent-encode it")]
    Control,
    /// The host of the target is no host name.
    #[error(transparent)]
    Host(#[from] HostNameError),
    /// A text that should have been normalised already is not.
    #[error("the path is not in normalised form, which would be {0:?}")]
    NotNormalised(String),
}

impl UrlKey {
    /// The key of a request for `path_and_query` (the request target as it arrived) at `host`.
    pub fn of_request(host: HostName, path_and_query: &str) -> Result<Self, UrlError> {
        let path_and_query = normalise(path_and_query)?;
        within_url_max(&host, &path_and_query)?;
        Ok(Self { scheme: None, host, path_and_query: path_and_query.into() })
    }

    /// Takes back a key from its parts as [`UrlKey::host`] and [`UrlKey::path_and_query`] gave them, at a boundary
    /// (log, feed, disk); its scheme, if it has one, is put in by [`UrlKey::with_scheme`]. Refuses a path in any other
    /// than the normalised form.
    pub fn from_normalised(host: HostName, path_and_query: &str) -> Result<Self, UrlError> {
        check_normalised(&host, path_and_query)?;
        Ok(Self { scheme: None, host, path_and_query: path_and_query.into() })
    }

    /// The same with this scheme in the key.
    pub fn with_scheme(self, scheme: Option<Scheme>) -> Self {
        Self { scheme, ..self }
    }

    /// What a URL that is asked for by `scheme` has in its cache key where keys are made like this.
    pub fn keyed(&self, scheme: Scheme, keying: &UrlKeying) -> Self {
        if *keying == UrlKeying::DEFAULT {
            return self.clone();
        }
        let folded = if keying.ignores_case {
            zone::fold_case(&self.path_and_query)
        } else {
            Cow::Borrowed(&*self.path_and_query)
        };
        let (path, query) = match folded.split_once('?') {
            Some((path, query)) => (path, keying.query.filter(query, keying.ignores_case)),
            None => (&*folded, None),
        };
        let path_and_query = match query {
            Some(query)
                if path.len() + 1 + query.len() == self.path_and_query.len()
                    && folded == *self.path_and_query =>
            {
                Arc::clone(&self.path_and_query)
            }
            Some(query) => format!("{path}?{query}").into(),
            None => path.into(),
        };
        let scheme = keying.has_scheme.then_some(scheme);
        Self { scheme, host: self.host.clone(), path_and_query }
    }

    /// What conditions of rules look at when the URL is asked for by `scheme`.
    pub fn facts(&self, scheme: Scheme) -> UrlFacts<'_> {
        UrlFacts { scheme, host: self.host.as_str(), path_and_query: &self.path_and_query }
    }

    /// The scheme, where keys hold one.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// The host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The normalised path with the query.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The normalised path alone.
    pub fn path(&self) -> &str {
        self.path_and_query.split_once('?').map_or(&*self.path_and_query, |(path, _)| path)
    }
}

impl UrlTarget {
    /// Parses `http://host/path?query`.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, host, path_and_query) = parse_target(text)?;
        Ok(Self { scheme, url: UrlKey { scheme: None, host, path_and_query: path_and_query.into() } })
    }
}

impl UrlPrefix {
    /// The directory `path` of `host`; `path` need not be normalised.
    pub fn new(host: HostName, path: &str) -> Result<Self, UrlError> {
        if path.contains('?') {
            return Err(UrlError::Query);
        }
        let path = normalise(path)?;
        within_url_max(&host, &path)?;
        Ok(Self { host, path: path.into() })
    }

    /// Parses a target of `purge_prefix`: `http://host/dir/`. Without a path it is the whole host.
    pub fn parse_target(text: &str) -> Result<Self, UrlError> {
        let (_, host, path) = parse_target(text)?;
        if path.contains('?') {
            return Err(UrlError::Query);
        }
        Ok(Self { host, path: path.into() })
    }

    /// Takes back a directory from its parts as [`UrlPrefix::host`] and [`UrlPrefix::path`] gave them, at a boundary
    /// (log, feed, disk). Refuses a path in any other than the normalised form.
    pub fn from_normalised(host: HostName, path: &str) -> Result<Self, UrlError> {
        if path.contains('?') {
            return Err(UrlError::Query);
        }
        check_normalised(&host, path)?;
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

    /// The same directory as it lies in keys without regard to case.
    pub fn folded(&self) -> Self {
        Self { host: self.host.clone(), path: zone::fold_case(&self.path).into() }
    }

    /// Whether `url` lies in this directory: `/test/` matches itself and all below; `/test` matches `/test` and
    /// `/test/…`, not `/testing`; `/` matches the whole host.
    pub fn matches(&self, url: &UrlKey) -> bool {
        self.host == url.host
            && url
                .path()
                .strip_prefix(&*self.path)
                .is_some_and(|rest| self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    }
}

/// Splits a target into its scheme, its host and its normalised path and query.
fn parse_target(text: &str) -> Result<(Scheme, HostName, String), UrlError> {
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(UrlError::OuterSpace);
    }
    if text.contains(char::is_control) {
        return Err(UrlError::Control);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
    let known = Scheme::EVERY.into_iter().find(|known| scheme.eq_ignore_ascii_case(known.as_str()));
    let known = known.ok_or(UrlError::NoScheme)?;
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if after.contains('#') {
        return Err(UrlError::Fragment);
    }
    let slash = if after.starts_with('/') { "" } else { "/" };
    let path_and_query = normalise(&format!("{slash}{after}"))?.into_owned();
    let bytes = scheme.len() + "://".len() + authority.len() + path_and_query.len();
    if bytes > TARGET_BYTES_MAX {
        return Err(UrlError::TargetTooLong(bytes));
    }
    Ok((known, HostName::parse(authority)?, path_and_query))
}

fn within_url_max(host: &HostName, path_and_query: &str) -> Result<(), UrlError> {
    let bytes = host.as_str().len() + path_and_query.len();
    if bytes > URL_BYTES_MAX { Err(UrlError::TooLong(bytes)) } else { Ok(()) }
}

fn check_normalised(host: &HostName, path_and_query: &str) -> Result<(), UrlError> {
    within_url_max(host, path_and_query)?;
    let normalised = normalise(path_and_query)?;
    if normalised == path_and_query {
        Ok(())
    } else {
        Err(UrlError::NotNormalised(normalised.chars().take(256).collect()))
    }
}

/// The one form of a path with its query: see [`zone::normalise`].
fn normalise(path_and_query: &str) -> Result<Cow<'_, str>, UrlError> {
    zone::normalise(path_and_query).ok_or(UrlError::NoSlash)
}

impl fmt::Debug for UrlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        write!(f, "{}{}", self.host, self.path_and_query)
    }
}

impl fmt::Debug for UrlPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}*", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zone::QueryKey;

    fn host(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn requests_have_one_form() {
        let cases = [
            ("/", "/"),
            ("/a?", "/a?"),
            ("/a??b=/../c", "/a??b=/../c"),
            ("//a//b/", "//a//b/"),
            ("/%7Euser/%61", "/~user/a"),
            ("/a%2fb%3fc", "/a%2Fb%3Fc"),
            ("/图片/", "/%E5%9B%BE%E7%89%87/"),
            ("/%e5%9b%be%e7%89%87/", "/%E5%9B%BE%E7%89%87/"),
            ("/a b\"<>\\^`{|}", "/a%20b%22%3C%3E%5C%5E%60%7B%7C%7D"),
            ("/a#b", "/a%23b"),
            ("/[1]!$&'()*+,;=:@", "/[1]!$&'()*+,;=:@"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%%34%31", "/%%341"),
            ("/%4%31", "/%4%31"),
            ("/%/%41", "/%/A"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/%2E/b", "/a/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/../../x", "/x"),
            ("/a//../b", "/a/b"),
            ("/.well-known/...", "/.well-known/..."),
            ("/a?x=%7e&y=%c3&z=é", "/a?x=~&y=%C3&z=%C3%A9"),
        ];
        for (given, expected) in cases {
            let key = UrlKey::of_request(host("a.test"), given).unwrap();
            assert_eq!(key.path_and_query(), expected, "{given}");
            assert_eq!(UrlKey::from_normalised(host("a.test"), expected), Ok(key), "{given}");
            if given != expected {
                assert!(
                    matches!(UrlKey::from_normalised(host("a.test"), given), Err(UrlError::NotNormalised(_))),
                    "{given}"
                );
            }
        }
        for given in ["", "*", "a", "?q"] {
            assert_eq!(UrlKey::of_request(host("a.test"), given), Err(UrlError::NoSlash), "{given}");
        }
    }

    #[test]
    fn url_targets_have_one_form() {
        let cases = [
            ("http://www.example.com/a?b=1", Ok("www.example.com/a?b=1")),
            ("HTTPS://WWW.Example.com:8443/A", Ok("www.example.com/A")),
            ("http://www.example.com", Ok("www.example.com/")),
            ("http://www.example.com?q", Ok("www.example.com/?q")),
            ("http://a.test/图 片", Ok("a.test/%E5%9B%BE%20%E7%89%87")),
            ("http://[::1]:80/x", Ok("[::1]/x")),
            ("http://a.test/a@b", Ok("a.test/a@b")),
            ("www.example.com/a", Err(UrlError::NoScheme)),
            ("//www.example.com/a", Err(UrlError::NoScheme)),
            ("ftp://www.example.com/a", Err(UrlError::NoScheme)),
            ("", Err(UrlError::NoScheme)),
            ("http://a.test/a#top", Err(UrlError::Fragment)),
            ("http://a.test#", Err(UrlError::Fragment)),
            ("http://user:pw@a.test/", Err(UrlError::UserInfo)),
            (" http://a.test/", Err(UrlError::OuterSpace)),
            ("http://a.test/\u{3000}", Err(UrlError::OuterSpace)),
            ("http://a.test/\0b", Err(UrlError::Control)),
            ("http://a.test/a\tb", Err(UrlError::Control)),
            ("http:///a", Err(UrlError::Host(HostNameError::Empty))),
            ("http://a.test:x/", Err(UrlError::Host(HostNameError::BadPort))),
            ("http://*.a.test/", Err(UrlError::Host(HostNameError::BadCharacter('*')))),
        ];
        for (text, expected) in cases {
            let parsed = UrlTarget::parse(text).map(|target| format!("{:?}", target.url));
            assert_eq!(parsed.as_deref(), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn keys_are_made_as_settings_say() {
        let names =
            |names: &[&str]| zone::Names::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap();
        let keying = |query, ignores_case, has_scheme| UrlKeying { query, ignores_case, has_scheme };
        let cases = [
            (keying(QueryKey::Whole, false, false), "/A?b", "a.test/A?b"),
            (keying(QueryKey::Whole, false, true), "/A?b", "https://a.test/A?b"),
            (keying(QueryKey::Whole, true, false), "/A?B=%c3%89", "a.test/a?b=%C3%89"),
            (keying(QueryKey::Whole, true, false), "/a?", "a.test/a?"),
            (keying(QueryKey::Ignored, false, false), "/A?b", "a.test/A"),
            (keying(QueryKey::Only(names(&["v"])), false, false), "/A?b=1&v=2", "a.test/A?v=2"),
            (keying(QueryKey::Only(names(&["v"])), false, false), "/A?v=2", "a.test/A?v=2"),
            (keying(QueryKey::AllBut(names(&["B"])), true, true), "/A?b=1&V=2", "https://a.test/a?v=2"),
        ];
        for (keying, asked, expected) in cases {
            let url = UrlKey::of_request(host("a.test"), asked).unwrap();
            let key = url.keyed(Scheme::Https, &keying);
            assert_eq!(format!("{key:?}"), expected, "{keying:?} {asked}");
            let back = UrlKey::from_normalised(host("a.test"), key.path_and_query()).unwrap();
            assert_eq!(back.with_scheme(key.scheme()), key, "{keying:?} {asked}");
        }
        let prefix = UrlPrefix::parse_target("http://a.test/Dir/%C3%89/").unwrap().folded();
        assert!(prefix.matches(&UrlKey::of_request(host("a.test"), "/dir/%C3%89/x").unwrap()));
    }

    #[test]
    fn lengths_count_after_encoding() {
        let target = |bytes: usize| format!("http://a.test/{}", "a".repeat(bytes - 14));
        assert!(UrlTarget::parse(&target(TARGET_BYTES_MAX)).is_ok());
        assert_eq!(UrlTarget::parse(&target(4097)), Err(UrlError::TargetTooLong(4097)));
        assert_eq!(UrlPrefix::parse_target(&target(4097)), Err(UrlError::TargetTooLong(4097)));
        let encoded = format!("http://a.test/{}", "图".repeat(500));
        assert_eq!(UrlTarget::parse(&encoded), Err(UrlError::TargetTooLong(14 + 4500)));

        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 7));
        assert!(UrlKey::of_request(host("a.test"), &path(URL_BYTES_MAX)).is_ok());
        assert_eq!(UrlKey::of_request(host("a.test"), &path(8193)), Err(UrlError::TooLong(8193)));
        assert_eq!(UrlKey::from_normalised(host("a.test"), &path(8193)), Err(UrlError::TooLong(8193)));
        assert_eq!(UrlPrefix::from_normalised(host("a.test"), &path(8193)), Err(UrlError::TooLong(8193)));
    }

    #[test]
    fn directories_match_by_segment() {
        let cases = [
            ("http://a.test/test/", "/test/", true),
            ("http://a.test/test/", "/test/x/y?q=1", true),
            ("http://a.test/test/", "/test", false),
            ("http://a.test/test/", "/testing", false),
            ("http://a.test/test", "/test", true),
            ("http://a.test/test", "/test?q", true),
            ("http://a.test/test", "/test/", true),
            ("http://a.test/test", "/test/x", true),
            ("http://a.test/test", "/testing", false),
            ("http://a.test/test", "/other?/test/", false),
            ("http://a.test", "/anything?x", true),
            ("http://a.test/图/", "/%e5%9b%be/x", true),
            ("http://a.test/x/../test/", "/test/a", true),
            ("http://A.test:81/", "/", true),
            ("http://b.test/", "/", false),
            ("http://www.a.test/", "/", false),
        ];
        for (target, request, expected) in cases {
            let prefix = UrlPrefix::parse_target(target).unwrap();
            let url = UrlKey::of_request(host("a.test"), request).unwrap();
            assert_eq!(prefix.matches(&url), expected, "{target} {request}");
        }
        assert_eq!(UrlPrefix::parse_target("http://a.test/x/?"), Err(UrlError::Query));
        assert_eq!(UrlPrefix::new(host("a.test"), "/x?y"), Err(UrlError::Query));
        assert_eq!(UrlPrefix::from_normalised(host("a.test"), "/x?y"), Err(UrlError::Query));
        assert!(UrlPrefix::from_normalised(host("a.test"), "/x/./").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn normalising_twice_changes_nothing_more(
            tail in prop_oneof![".{0,40}", "[%./?a4F3-]{0,24}", "(%[0-9a-f]{2}|[%/.?]){0,12}"],
        ) {
            let once = normalise(&format!("/{tail}")).unwrap().into_owned();
            prop_assert_eq!(normalise(&once).unwrap(), once.as_str());
            prop_assert!(once.is_ascii());
            let path = once.split('?').next().unwrap_or("");
            prop_assert!(!path.split('/').any(|segment| segment == "." || segment == ".."));
        }
    }
}
