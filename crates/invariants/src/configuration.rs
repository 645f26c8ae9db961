//! What operators decide about caching: conditions of rules, and a zone's configuration in its written form.

use purge::UrlKey;
use zone::{CacheConfig, Condition, HostName, Scheme, UrlFacts};

const PATHS: [&str; 4] = ["/", "/img/A.jpg?x=1&y", "/%E5%9B%BE/a.tar.gz?a=%2F", "/a//b/"];

fn facts(path_and_query: &str) -> UrlFacts<'_> {
    UrlFacts { scheme: Scheme::Https, host: "www.a.test", path_and_query }
}

/// Conditions: the same text means the same; `not` turns the answer round; what is refused says why. Input: a condition
/// and, in a line of its own at the end, a path with a query that it is asked about.
pub fn condition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (text, path) = text.rsplit_once('\n').unwrap_or((text, "/"));
    let condition = match Condition::parse(text) {
        Ok(condition) => condition,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(condition.as_str(), text);
    let turned = Condition::parse(&format!("not ({text})"));
    let twice = Condition::parse(&format!("({text}) and ({text})"));
    let asked = zone::normalise(path);
    for path in PATHS.into_iter().chain(asked.as_deref()) {
        let holds = condition.holds(&facts(path));
        if let Ok(turned) = &turned {
            assert_eq!(turned.holds(&facts(path)), !holds, "{path}");
        }
        if let Ok(twice) = &twice {
            assert_eq!(twice.holds(&facts(path)), holds, "{path}");
        }
    }
}

/// Written configurations: what was read and is written again reads as the same, and its keys are their own keys.
pub fn cache_config(input: &[u8]) {
    let Ok(document) = std::str::from_utf8(input) else { return };
    let config = match CacheConfig::from_document(document) {
        Ok(config) => config,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let written = config.to_document().expect("what was read can be written");
    let again = CacheConfig::from_document(&written).expect("what was written can be read");
    assert_eq!(again, config, "{written}");
    assert_eq!(again.to_document().ok().as_ref(), Some(&written));
    assert!(!config.keys_differ(&again));
    let host = HostName::parse("www.a.test").expect("a host name");
    for path in PATHS {
        let url = UrlKey::of_request(host.clone(), path).expect("a URL");
        let settings = config.effective(&url.facts(Scheme::Https));
        let keyed = url.keyed(Scheme::Https, &settings.keying);
        assert_eq!(keyed.keyed(Scheme::Https, &settings.keying), keyed);
    }
}
