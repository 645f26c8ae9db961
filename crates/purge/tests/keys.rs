//! Whatever a client asks for, and whatever the zone's settings make of it: a purge of that URL finds what was stored.
#![expect(clippy::unwrap_used, reason = "a test's own preparations must not fail")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use purge::{Method, PlanRequest, PurgeType, Scope, UrlKey, UrlPrefix, ZoneChoice};
use std::sync::Arc;
use zone::{
    Action, Branch, CacheConfig, Condition, HostName, KeyChange, Names, QueryKey, Rule, Scheme, SubRule,
    ZoneId,
};

fn names() -> impl Strategy<Value = Names> {
    vec(select(&["a", "B", "图", "utm"][..]), 1..3)
        .prop_map(|names| Names::new(names.into_iter().map(str::to_owned).collect()).unwrap())
}

fn query_key() -> impl Strategy<Value = QueryKey> {
    prop_oneof![
        Just(QueryKey::Whole),
        Just(QueryKey::Ignored),
        names().prop_map(QueryKey::Only),
        names().prop_map(QueryKey::AllBut),
    ]
}

fn change() -> impl Strategy<Value = KeyChange> {
    let option = |value| proptest::option::of(value);
    (option(query_key().boxed()), proptest::option::of(any::<bool>()), proptest::option::of(any::<bool>()))
        .prop_map(|(query, ignores_case, has_scheme)| KeyChange {
            query,
            ignores_case,
            has_scheme,
            ..KeyChange::default()
        })
}

fn condition() -> impl Strategy<Value = Condition> {
    select(
        &[
            "*",
            "${http.request.uri.path} in ['/A/*']",
            "lower(${http.request.uri.path}) in ['/a/*'] and not ${http.request.uri.query} exists",
            "${http.request.file_extension} in ['jpg']",
            "${http.request.uri.args['a']} exists",
            "${http.request.full_uri} matches '^https://'",
            "${http.request.scheme} in ['http'] or ${http.request.filename} in ['X.jpg']",
        ][..],
    )
    .prop_map(|text| Condition::parse(text).unwrap())
}

fn branch(actions: Vec<Action>, condition: Condition, sub_rules: Vec<SubRule>) -> Branch {
    Branch { condition, actions, sub_rules }
}

fn rule() -> impl Strategy<Value = Rule> {
    (condition(), change(), proptest::option::of((condition(), change())), any::<bool>()).prop_map(
        |(on, change, sub, enabled)| {
            let sub = sub.map(|(on, change)| SubRule {
                notes: Vec::new(),
                branch: branch(vec![Action::CacheKey(change)], on, Vec::new()),
            });
            let branch = branch(vec![Action::CacheKey(change)], on, sub.into_iter().collect());
            Rule { id: String::new(), name: String::new(), notes: Vec::new(), enabled, branch }
        },
    )
}

fn config() -> impl Strategy<Value = CacheConfig> {
    (query_key(), any::<bool>(), vec(rule(), 0..4)).prop_map(|(query, ignores_case, rules)| {
        let mut config = CacheConfig { rules, ..CacheConfig::default() };
        config.site.keying.query = query;
        config.site.keying.ignores_case = ignores_case;
        config
    })
}

/// What a client may ask for.
fn asked() -> impl Strategy<Value = String> {
    let segment =
        select(&["A", "a", "x.jpg", "X.jpg", "%41", "图", "%e5%9b%be", "..", "", "%2f", "%", "é"][..]);
    let argument = select(&["a=1", "A=1", "b=2", "B", "utm=x", "%61=3", "图=1", "", "=", "a=%zz"][..]);
    (vec(segment, 0..4), proptest::option::of(vec(argument, 0..4))).prop_map(|(segments, query)| {
        let query = query.map(|arguments| format!("?{}", arguments.join("&"))).unwrap_or_default();
        format!("/{}{query}", segments.join("/"))
    })
}

fn scopes(config: &CacheConfig, purge_type: PurgeType, target: String) -> Vec<Scope> {
    let (id, name) = (ZoneId::parse("zone-aaaaaaaaaaaa").unwrap(), HostName::parse("a.test").unwrap());
    let request = PlanRequest {
        zones: ZoneChoice::One { id: id.clone(), name },
        purge_type,
        method: Method::Delete,
        targets: &[target],
        tag_domains: &[],
    };
    let config = Arc::new(config.clone());
    let plan = purge::plan(&request, |_| Some(id.clone()), |_| Arc::clone(&config)).unwrap();
    plan.tasks.into_iter().flat_map(|task| task.entries).map(|entry| entry.scope).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_purge_finds_what_a_lookup_stored(config in config(), asked in asked(), is_https in any::<bool>()) {
        let scheme = if is_https { Scheme::Https } else { Scheme::Http };
        let url = UrlKey::of_request(HostName::parse("a.test").unwrap(), &asked).unwrap();
        let stored = url.keyed(scheme, &config.effective(&url.facts(scheme)).keying);
        let back = UrlKey::from_normalised(stored.host().clone(), stored.path_and_query());
        prop_assert_eq!(back.map(|back| back.with_scheme(stored.scheme())), Ok(stored.clone()));

        let target = format!("{}://a.test{asked}", scheme.as_str());
        let found = scopes(&config, PurgeType::Url, target);
        prop_assert!(found.contains(&Scope::Url(stored.clone())), "{:?} {:?}", stored, found);

        // Every directory above it, named as it was asked for.
        let path = url.path();
        for (at, _) in path.match_indices('/') {
            let target = format!("http://a.test{}", &path[..=at]);
            let found = scopes(&config, PurgeType::Prefix, target);
            let matches = |scope: &Scope| matches!(scope, Scope::Prefix(prefix) if prefix.matches(&stored));
            prop_assert!(found.iter().any(matches), "{:?} {:?}", stored, found);
        }
        prop_assert!(UrlPrefix::new(stored.host().clone(), "/").unwrap().matches(&stored));
    }

    #[test]
    fn keys_of_equal_settings_are_equal(config in config(), asked in asked()) {
        let back = CacheConfig::from_document(&config.to_document().unwrap()).unwrap();
        prop_assert!(!config.keys_differ(&back));
        let url = UrlKey::of_request(HostName::parse("a.test").unwrap(), &asked).unwrap();
        for scheme in Scheme::EVERY {
            prop_assert_eq!(config.effective(&url.facts(scheme)), back.effective(&url.facts(scheme)));
        }
    }
}
