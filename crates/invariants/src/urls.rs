//! URLs of requests and of purges.

use purge::{UrlKey, UrlPrefix, UrlTarget};
use std::sync::Arc;
use zone::{HostName, Names, QueryKey, Scheme, UrlKeying};

/// URLs: the normal form is its own normal form, in every way of making keys; a request finds what the same URL purges;
/// every directory above it holds it. Input: a path with its query, or a whole URL.
pub fn url(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(target) = UrlTarget::parse(text) {
        check_key(&target.url);
        let again =
            format!("{}://{}{}", target.scheme.as_str(), target.url.host(), target.url.path_and_query());
        assert_eq!(UrlTarget::parse(&again).as_ref(), Ok(&target), "{again}");
    }
    if let Ok(prefix) = UrlPrefix::parse_target(text) {
        let back = UrlPrefix::from_normalised(prefix.host().clone(), prefix.path());
        assert_eq!(back.as_ref(), Ok(&prefix));
        assert_eq!(prefix.folded().folded(), prefix.folded());
    }
    let host = HostName::parse("a.test").expect("a host name");
    if let Some(normal) = zone::normalise(text) {
        assert_eq!(zone::normalise(&normal).as_deref(), Some(&*normal));
        assert!(normal.is_ascii() && !normal.contains([' ', '#']), "{normal}");
    }
    let Ok(key) = UrlKey::of_request(host, text) else { return };
    check_key(&key);
    if let Ok(target) = UrlTarget::parse(&format!("https://A.test:443{text}")) {
        assert_eq!(target.url, key, "a purge misses the request");
    }
}

fn check_key(key: &UrlKey) {
    let normal = |key: &UrlKey| {
        let back = UrlKey::from_normalised(key.host().clone(), key.path_and_query());
        assert_eq!(back.map(|back| back.with_scheme(key.scheme())).as_ref(), Ok(key));
    };
    normal(key);
    let names = || Names::new(vec!["a".to_owned(), "B".to_owned()]).expect("two names");
    let queries = [QueryKey::Whole, QueryKey::Ignored, QueryKey::Only(names()), QueryKey::AllBut(names())];
    for (at, query) in queries.into_iter().enumerate() {
        for ignores_case in [false, true] {
            let keying = UrlKeying { query: query.clone(), ignores_case, has_scheme: at % 2 == 0 };
            let keyed = key.keyed(Scheme::Https, &keying);
            normal(&keyed);
            assert_eq!(keyed.keyed(Scheme::Https, &keying), keyed, "{keying:?} makes another key of its own");
        }
    }
    let path: Arc<str> = key.path().into();
    for (end, _) in path.match_indices('/') {
        let prefix = UrlPrefix::from_normalised(key.host().clone(), &path[..=end]);
        if let Ok(prefix) = prefix {
            assert!(prefix.matches(key), "{prefix:?} does not hold {key:?}");
        }
    }
}
