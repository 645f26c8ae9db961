//! Which of a request's fields are part of the cache key beside its URL, by the operator's choice (teo-api §9, `CacheKey`).

use std::sync::Arc;

use http::header::{COOKIE, HeaderMap, HeaderName};

use crate::field;
use crate::vary::VARY_KEY_BYTES_MAX;

/// Fields that select among stored responses whatever their `Vary`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KeyParts {
    /// Whole fields, by name; sorted and once each.
    headers: Arc<[HeaderName]>,
    cookies: CookiePart,
}

/// Which cookies of a request are part of the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum CookiePart {
    /// None.
    #[default]
    Ignored,
    /// All, in the order in which they come.
    Full,
    /// Those with these names.
    Only(Arc<[String]>),
    /// All but those with these names.
    AllBut(Arc<[String]>),
}

impl KeyParts {
    /// These fields, whole, and these cookies.
    pub fn new(headers: impl IntoIterator<Item = HeaderName>, cookies: CookiePart) -> Self {
        let mut headers: Vec<HeaderName> = headers.into_iter().collect();
        headers.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        headers.dedup();
        Self { headers: headers.into(), cookies }
    }

    /// The whole fields, by name.
    pub fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Which cookies.
    pub fn cookies(&self) -> &CookiePart {
        &self.cookies
    }

    /// Whether no field is part of the key.
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.cookies == CookiePart::Ignored
    }

    /// What these parts are in a request: two requests with equal bytes get the same response. Nothing when they come to
    /// more than [`VARY_KEY_BYTES_MAX`]: such a request selects nothing, so that no client fills the index with its fields.
    pub fn select(&self, request_headers: &HeaderMap) -> Option<Vec<u8>> {
        let mut selected = Vec::new();
        for name in &*self.headers {
            // Neither byte can be in a field value; an absent field differs from an empty one.
            for value in request_headers.get_all(name) {
                selected.push(b'\r');
                selected.extend_from_slice(field::trim(value.as_bytes()));
            }
            selected.push(b'\n');
        }
        for cookie in
            request_headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|&b| b == b';'))
        {
            let cookie = field::trim(cookie);
            let name = cookie.split(|&b| b == b'=').next().unwrap_or_default();
            if !cookie.is_empty() && self.cookies.has(field::trim(name)) {
                selected.extend_from_slice(cookie);
                selected.push(b'\r');
            }
        }
        (selected.len() <= VARY_KEY_BYTES_MAX).then_some(selected)
    }
}

impl CookiePart {
    fn has(&self, name: &[u8]) -> bool {
        let named = |names: &[String]| names.iter().any(|known| known.as_bytes() == name);
        match self {
            Self::Ignored => false,
            Self::Full => true,
            Self::Only(names) => named(names),
            Self::AllBut(names) => !named(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tests_support::headers;

    fn names(names: &[&str]) -> Arc<[String]> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(parts: &KeyParts, a: &str, b: &str, same: bool) {
        let (a_selects, b_selects) = (parts.select(&headers(a)), parts.select(&headers(b)));
        assert!(a_selects.is_some() && b_selects.is_some());
        assert_eq!(a_selects == b_selects, same, "{parts:?}: {a:?} {b:?}");
    }

    #[test]
    fn whole_fields() {
        let x = |name: &'static str| HeaderName::from_static(name);
        let parts = KeyParts::new([x("x-b"), x("x-a"), x("x-b")], CookiePart::Ignored);
        assert_eq!(parts, KeyParts::new([x("x-a"), x("x-b")], CookiePart::Ignored));
        check(&parts, "x-a: 1", "x-a: 1\nx-c: 2\ncookie: a=b", true);
        check(&parts, "x-a: 1", "x-b: 1", false);
        check(&parts, "x-a:", "", false);
        check(&parts, "x-a: 1\nx-a: 2", "x-a: 1", false);
        check(&parts, "x-a: 1", "x-a: 1\nx-b: 2", false);
    }

    #[test]
    fn cookies() {
        let of = |cookies| KeyParts::new([], cookies);
        let only = of(CookiePart::Only(names(&["a", "b"])));
        check(&only, "cookie: a=1; c=2", "cookie: c=3;a=1", true);
        check(&only, "cookie: a=1; b=2", "cookie: a=1", false);
        check(&only, "cookie: a=1", "cookie: A=1", false);
        check(&only, "cookie: c=1", "", true);
        let all_but = of(CookiePart::AllBut(names(&["session"])));
        check(&all_but, "cookie: session=1; lang=de", "cookie: lang=de; session=2", true);
        check(&all_but, "cookie: lang=de", "cookie: lang=en", false);
        let full = of(CookiePart::Full);
        check(&full, "cookie: a=1", "cookie: a=2", false);
        check(&full, "cookie: a=1; b=2", "cookie: a=1\ncookie: b=2", true);
        assert!(of(CookiePart::Ignored).is_empty() && !full.is_empty());
    }

    #[test]
    fn what_is_too_long_selects_nothing() {
        let parts = KeyParts::new([], CookiePart::Full);
        let cookie = |len: usize| headers(&format!("cookie: {}", "a".repeat(len)));
        assert!(parts.select(&cookie(VARY_KEY_BYTES_MAX - 1)).is_some());
        assert!(parts.select(&cookie(VARY_KEY_BYTES_MAX)).is_none());
    }
}
