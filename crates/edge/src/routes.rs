//! Which zone answers for a host and what it decides for a URL: the configuration that all threads share, and what each
//! worker remembers of it.
//!
//! A worker looks into the shared table once per host and configuration. Whatever a request needs of it afterwards it
//! takes from the worker's own memory, so that workers don't write one another's counts of references and locks.

use crate::sites::{Sites, policy_of};
use crate::state::State;
use httpcache::Policy;
use parking_lot::{Mutex, RwLock};
use purge::{UrlKey, ZoneClock};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zone::{HostName, Route, RouteRefusal, Scheme};

/// How many spellings of hosts a worker remembers. One more, and it forgets all: clients choose them.
const HOSTS_REMEMBERED_MAX: usize = 1024;

/// The configuration in force.
#[derive(Default)]
pub(crate) struct Zones {
    sites: RwLock<Arc<Sites>>,
    /// How often it was replaced. Written after it, so that whoever reads this finds that.
    changes: AtomicU64,
}

impl Zones {
    pub(crate) fn read(&self) -> Arc<Sites> {
        Arc::clone(&self.sites.read())
    }

    pub(crate) fn replace(&self, sites: Sites) {
        *self.sites.write() = Arc::new(sites);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

/// A host that is served.
pub(crate) struct Routed {
    pub(crate) host: HostName,
    pub(crate) route: Route,
    /// The zone's clock. It may have been retired since.
    pub(crate) clock: Arc<ZoneClock>,
    /// What the zone decides where none of its rules says more; the network's policy if it decides nothing.
    policy: Arc<Policy>,
    decides: bool,
}

/// What is decided for one URL.
pub(crate) struct Decided {
    pub(crate) policy: Arc<Policy>,
    /// What of the URL is in the cache key.
    pub(crate) key: UrlKey,
}

impl Routed {
    /// What the zone decides for a URL that is asked for by `scheme`.
    pub(crate) fn decide(&self, url: &UrlKey, scheme: Scheme) -> Decided {
        if !self.decides {
            return Decided { policy: Arc::clone(&self.policy), key: url.clone() };
        }
        let settings = self.route.zone().caching.config.effective(&url.facts(scheme));
        let policy = match &settings {
            Cow::Borrowed(_) => Arc::clone(&self.policy),
            Cow::Owned(settings) => Arc::new(policy_of(settings, &self.policy)),
        };
        Decided { policy, key: url.keyed(scheme, &settings.keying) }
    }
}

/// What one worker remembers.
#[derive(Default)]
pub(crate) struct Routes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Of which configuration.
    changes: u64,
    by_text: HashMap<Box<str>, Arc<Routed>>,
}

impl Routes {
    /// What answers for a host in this spelling, if the worker has found it before.
    pub(crate) fn recall(&self, state: &State, text: &str) -> Option<Arc<Routed>> {
        let changes = state.zones.changes();
        let mut known = self.known.lock();
        if known.changes != changes {
            known.by_text.clear();
            known.changes = changes;
        }
        known.by_text.get(text).filter(|routed| !routed.clock.is_retired()).map(Arc::clone)
    }

    /// Finds it in the configuration, and remembers it.
    pub(crate) fn find(
        &self,
        state: &State,
        text: &str,
        host: &HostName,
    ) -> Result<Arc<Routed>, RouteRefusal> {
        // Read before the table: what is found in a newer one is only forgotten too early.
        let changes = state.zones.changes();
        let route = state.zones.read().route(host)?;
        let clock = state.ledger.clock(&route.zone().id);
        let config = &route.zone().caching.config;
        let decides = !config.is_default();
        // Of the worker's own, like all that it remembers.
        let policy = Arc::new(if decides {
            policy_of(&config.site, &state.policy)
        } else {
            Policy::clone(&state.policy)
        });
        let routed = Arc::new(Routed { host: host.clone(), route, clock, policy, decides });
        let mut known = self.known.lock();
        if known.changes == changes {
            if known.by_text.len() >= HOSTS_REMEMBERED_MAX {
                known.by_text.clear();
            }
            known.by_text.insert(text.into(), Arc::clone(&routed));
        }
        Ok(routed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clocks, EdgeConfig, Surroundings};
    use purge::{Epoch, PurgeSeq};
    use std::time::SystemTime;
    use zone::{Domain, Origin, OriginProtocol, Zone, ZoneCaching, ZoneId};

    fn table(version: u64, paused: bool) -> Sites {
        let host = |text: &str| HostName::parse(text).unwrap();
        let origin = Origin {
            address: host("127.0.0.1"),
            backup: None,
            protocol: OriginProtocol::Http,
            http_port: 80,
            https_port: 443,
            host_header: "a.test".into(),
        };
        let domains = vec![Domain { name: host("a.test"), origin, online: true }];
        let id = ZoneId::parse("zone-aaaaaaaaaaaa").unwrap();
        let caching = ZoneCaching::default();
        Sites::new(version, vec![Zone { id, name: host("a.test"), paused, domains, caching }])
    }

    #[test]
    fn a_worker_forgets_routes_with_their_configuration_and_clocks_with_their_epoch() {
        let config = EdgeConfig::new("edge-1".into(), ([127, 0, 0, 1], 0).into());
        let (state, _) =
            State::new(config, &Surroundings::of_system(Clocks::with_wall(|| SystemTime::UNIX_EPOCH)), None)
                .unwrap();
        let (routes, host) = (Routes::default(), HostName::parse("a.test").unwrap());
        let ask = |text: &str| match routes.recall(&state, text) {
            Some(routed) => Ok((routed, true)),
            None => routes.find(&state, text, &host).map(|routed| (routed, false)),
        };
        let is_known = |text: &str| ask(text).map(|(_, is_known)| is_known);
        assert_eq!(is_known("a.test"), Err(RouteRefusal::UnknownHost));
        state.zones.replace(table(1, false));
        assert_eq!(is_known("a.test"), Ok(false));
        assert_eq!(is_known("a.test"), Ok(true));
        assert_eq!(is_known("A.test:80"), Ok(false), "each spelling is found once");
        state.ledger.jump(Epoch::new(7), PurgeSeq::new(3)).unwrap();
        let (routed, is_known_still) = ask("a.test").unwrap();
        assert!(!is_known_still && !routed.clock.is_retired());
        state.zones.replace(table(2, true));
        assert_eq!(is_known("a.test"), Err(RouteRefusal::ZonePaused));
        state.zones.replace(table(3, false));
        for port in 0..HOSTS_REMEMBERED_MAX {
            assert_eq!(is_known(&format!("a.test:{port}")), Ok(false));
        }
        assert_eq!(is_known("a.test:0"), Ok(true));
        assert_eq!(is_known("a.test"), Ok(false));
        assert_eq!(is_known("a.test:0"), Ok(false), "one too many, and all are forgotten");
    }
}
