//! One configuration as requests use it, and what cache settings mean for caching.

use http::{HeaderName, StatusCode};
use httpcache::{CookiePart, KeyParts, Policy, Storing, WithoutFreshness};
use std::collections::HashMap;
use std::time::Duration;
use zone::{
    CacheSettings, Caching, ClientAge, CookieKey, DefaultCache, HostName, Names, Percent, Route,
    RouteRefusal, Zone, ZoneCaching, ZoneId, ZoneTable,
};

/// One configuration, never changed after it was built.
#[derive(Default)]
pub(crate) struct Sites {
    table: ZoneTable,
    /// Of zones for which something was ever decided.
    caching: HashMap<ZoneId, ZoneCaching>,
}

impl Sites {
    pub(crate) fn new(version: u64, zones: Vec<Zone>) -> Self {
        let decided = zones.iter().filter(|zone| zone.caching != ZoneCaching::default());
        let caching = decided.map(|zone| (zone.id.clone(), zone.caching.clone())).collect();
        Self { table: ZoneTable::new(version, zones), caching }
    }

    pub(crate) fn version(&self) -> u64 {
        self.table.version()
    }

    /// What is decided about caching in a zone.
    pub(crate) fn caching(&self, zone: &ZoneId) -> ZoneCaching {
        self.caching.get(zone).cloned().unwrap_or_default()
    }

    pub(crate) fn route(&self, host: &HostName) -> Result<Route, RouteRefusal> {
        self.table.route(host)
    }
}

/// What settings mean for caching. What they have no word for is as `edge`, the edge's own policy, has it.
pub(crate) fn policy_of(settings: &CacheSettings, edge: &Policy) -> Policy {
    let secs = |secs: u32| Duration::from_secs(secs.into());
    let mut policy = Policy {
        storing: match settings.caching {
            Caching::FollowOrigin(DefaultCache::Off) => Storing::FollowOrigin(WithoutFreshness::DontStore),
            Caching::FollowOrigin(DefaultCache::Strategy) => Storing::FollowOrigin(WithoutFreshness::DEFAULT),
            Caching::FollowOrigin(DefaultCache::For(time)) => {
                Storing::FollowOrigin(WithoutFreshness::For(secs(time.secs())))
            }
            Caching::NoCache => Storing::Never,
            Caching::CustomTime { secs: time, ignore_cache_control } => {
                Storing::For { lifetime: secs(time.secs()), despite_origin: ignore_cache_control }
            }
        },
        varies: settings.varies,
        key_parts: key_parts(settings),
        client_lifetime: match settings.client_age {
            ClientAge::FollowOrigin => None,
            ClientAge::For(time) => Some(secs(time.secs())),
        },
        refresh_percent: settings.refresh_at.map(Percent::number),
        stale_when_origin_fails: settings.offline,
        other_statuses: edge.other_statuses,
        set_cookie: edge.set_cookie,
        ..Policy::default()
    };
    for time in settings.status_times.iter().flat_map(|times| times.iter()) {
        let Ok(status) = StatusCode::from_u16(time.status()) else { continue };
        policy.status_lifetimes.retain(|(known, _)| *known != status);
        // A time of zero is one, too: else the origin's own would count.
        policy.status_lifetimes.push((status, secs(time.secs())));
    }
    policy
}

fn key_parts(settings: &CacheSettings) -> KeyParts {
    let fields = settings.key_fields.iter().flat_map(Names::iter);
    let fields = fields.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let cookies = match &settings.key_cookies {
        CookieKey::Ignored => CookiePart::Ignored,
        CookieKey::Full => CookiePart::Full,
        CookieKey::Only(names) => CookiePart::Only(names.to_vec().into()),
        CookieKey::AllBut(names) => CookiePart::AllBut(names.to_vec().into()),
    };
    KeyParts::new(fields, cookies)
}
