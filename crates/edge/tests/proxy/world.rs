//! The world around one edge: a control plane and an origin that do what the test says, and clients.
//!
//! Nothing here sleeps to let things happen: whoever waits, waits for an event or a condition, and not for long.

mod client;
mod control;
mod origin;
mod secure;

pub(crate) use client::{Answer, Client, Pending};
pub(crate) use control::Control;
pub(crate) use origin::{Exchange, Origin};
pub(crate) use secure::{Framed, Made, SecureClient, read};

use edge::{Clocks, EdgeConfig, EdgeHandle};
use feed::{ControlLink, InProcess};
use purge::{CacheTag, Method, Scope, UrlKey, UrlPrefix};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use zone::{Domain, HostName, OriginProtocol, Zone, ZoneCaching, ZoneId};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The host that most requests ask for.
pub(crate) const HOST: &str = "www.a.test";

/// Another host of the same zone.
pub(crate) const OTHER_HOST: &str = "img.a.test";

/// A host of the same zone whose origin listens nowhere.
pub(crate) const DEAD_HOST: &str = "dead.a.test";

/// A host of a zone that is switched off.
pub(crate) const PAUSED_HOST: &str = "www.b.test";

/// A host that is switched off in a zone that isn't.
pub(crate) const OFFLINE_HOST: &str = "off.a.test";

pub(crate) struct World {
    pub(crate) edge: EdgeHandle,
    pub(crate) control: Control,
    pub(crate) origin: Origin,
    /// Where the edge hands its links in.
    pub(crate) accept: mpsc::Sender<ControlLink>,
    /// How many requests it took to find out that the edge is configured.
    preliminary_requests: usize,
    config: EdgeConfig,
    wall: fn() -> SystemTime,
}

pub(crate) fn host(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

pub(crate) fn zone_id() -> ZoneId {
    ZoneId::parse("zone-aaaaaaaaaaaa").unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}

#[expect(clippy::disallowed_methods, reason = "the edge's wall clock comes from its caller, which a test is")]
fn wall() -> SystemTime {
    SystemTime::now()
}

impl World {
    /// An edge with a lease that outlasts the test.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::with(Some(Duration::from_secs(60)), change).await
    }

    /// An edge with a lease of this length, renewed until the test says otherwise.
    pub(crate) async fn leased(lease: Duration) -> Self {
        Self::with(Some(lease), |_| {}).await
    }

    /// An edge that has its configuration, but no lease yet.
    pub(crate) async fn fenced() -> Self {
        Self::fenced_with(|_| {}).await
    }

    pub(crate) async fn fenced_with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::with(None, change).await
    }

    /// An edge with such a lease and settings.
    pub(crate) async fn with(lease: Option<Duration>, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::at(wall, lease, change).await
    }

    /// The same by a wall clock of the test's own.
    pub(crate) async fn at(
        wall: fn() -> SystemTime,
        lease: Option<Duration>,
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        Self::serving(wall, lease, |_| {}, change).await
    }

    /// An edge with a lease whose domain [`HOST`] has an origin like this.
    pub(crate) async fn before(
        reshape: impl FnOnce(&mut zone::Origin),
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        let reshape = |zones: &mut Vec<Zone>| reshape(&mut zones[0].domains[0].origin);
        Self::serving(wall, Some(Duration::from_secs(60)), reshape, change).await
    }

    async fn serving(
        wall: fn() -> SystemTime,
        lease: Option<Duration>,
        reshape: impl FnOnce(&mut Vec<Zone>),
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        let origin = Origin::start().await;
        let (accept, links) = mpsc::channel(1);
        let mut zones = zones(origin.address(), closed_port().await);
        reshape(&mut zones);
        let control = Control::start(links, zones, lease);
        let mut config = EdgeConfig::new("e".into(), ([127, 0, 0, 1], 0).into());
        config.workers = 2;
        config.memory_bytes = 16 << 20;
        config.object_bytes_max = 1 << 20;
        // No sweep unless the test asks for it.
        config.sweep_interval = Duration::from_secs(3600);
        // So that a lease that the test lets go comes soon.
        config.pings_per_lease = 1000;
        change(&mut config);
        let feed = InProcess::new(accept.clone());
        let edge = edge::start(config.clone(), feed, Clocks::with_wall(wall)).unwrap();
        let mut world = Self { edge, control, origin, accept, preliminary_requests: 0, config, wall };
        world.until_configured().await;
        if lease.is_some() {
            until("a lease", || world.edge.is_ready()).await;
        }
        world.preliminary_requests = world.requests();
        world
    }

    /// Another edge, with a control plane of its own, that serves the same zones from the same origin.
    pub(crate) async fn second_edge(
        &self,
        lease: Option<Duration>,
        change: impl FnOnce(&mut EdgeConfig),
    ) -> (EdgeHandle, Control) {
        let (accept, links) = mpsc::channel(1);
        let control = Control::start(links, zones(self.origin.address(), closed_port().await), lease);
        let mut config = EdgeConfig::new("second".into(), ([127, 0, 0, 1], 0).into());
        config.workers = 1;
        config.memory_bytes = 16 << 20;
        config.object_bytes_max = 1 << 20;
        config.sweep_interval = Duration::from_secs(3600);
        config.pings_per_lease = 1000;
        change(&mut config);
        let edge = edge::start(config, InProcess::new(accept), Clocks::with_wall(wall)).unwrap();
        let configured =
            async { while Client::get(edge.address(), PAUSED_HOST, "/", "").await.status != 503 {} };
        tokio::time::timeout(PATIENCE, configured).await.unwrap();
        if lease.is_some() {
            until("a lease of the second edge", || edge.is_ready()).await;
        }
        (edge, control)
    }

    /// Ends the edge, lets `meanwhile` happen, and starts another with the same settings unless they were changed.
    /// It has its configuration then, and a lease if the control plane grants one.
    pub(crate) async fn restarted(self, meanwhile: impl FnOnce(&Control, &mut EdgeConfig)) -> Self {
        let Self { edge, control, origin, accept, mut config, wall, .. } = self;
        let stopped = tokio::task::spawn_blocking(move || edge.stop());
        tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
        meanwhile(&control, &mut config);
        let feed = InProcess::new(accept.clone());
        let edge = edge::start(config.clone(), feed, Clocks::with_wall(wall)).unwrap();
        let mut world = Self { edge, control, origin, accept, preliminary_requests: 0, config, wall };
        world.until_configured().await;
        if world.control.grants_leases() {
            until("a lease", || world.edge.is_ready()).await;
        }
        world.preliminary_requests = world.requests();
        world
    }

    /// How many requests have come to the edge.
    pub(crate) fn requests(&self) -> usize {
        let requests = self.edge.counters().requests.load(Ordering::Relaxed);
        usize::try_from(requests).unwrap() - self.preliminary_requests
    }

    /// Waits until the edge knows its zones.
    async fn until_configured(&self) {
        // A host that is refused without asking any origin.
        let configured = tokio::time::timeout(PATIENCE, async {
            while Client::get(self.edge.address(), PAUSED_HOST, "/", "").await.status != 503 {}
        });
        configured.await.unwrap();
    }

    /// Asks for a path of [`HOST`].
    pub(crate) fn get(&self, path: &str) -> Pending {
        self.get_with(path, "")
    }

    /// The same with more fields, each line ended by CR LF.
    pub(crate) fn get_with(&self, path: &str, fields: &str) -> Pending {
        Client::get(self.edge.address(), HOST, path, fields)
    }

    /// Asks for a path that the origin answers with `fields` and `body`. The origin must be asked exactly once.
    pub(crate) async fn fetch(&mut self, path: &str, fields: &str, body: &str) -> Answer {
        let pending = self.get(path);
        self.origin.next().await.reply("200 OK", fields, body.as_bytes()).await;
        pending.await
    }

    /// Asks for a path that must come from the cache.
    pub(crate) async fn hit(&mut self, path: &str) -> Answer {
        let asked = self.origin.asked();
        let answer = self.get(path).await;
        assert_eq!(self.origin.asked(), asked, "{path} must not be fetched");
        assert_eq!(answer.field("eo-cache-status"), "HIT", "{path}");
        answer
    }

    /// Purges, and waits until the edge has acknowledged it. Returns its position.
    pub(crate) async fn purge(&self, scope: Scope, method: Method) -> u64 {
        let seq = self.control.append(scope, method);
        self.control.push();
        self.control.until_acknowledged(seq).await;
        seq
    }

    /// Takes the lease away by no longer renewing a short one.
    pub(crate) async fn lose_lease(&self) {
        self.control.refuse_grants();
        until("the lease to run out", || !self.edge.holds_lease()).await;
    }

    /// Ends the edge and waits for it.
    pub(crate) async fn stop(self) {
        let edge = self.edge;
        let stopped = tokio::task::spawn_blocking(move || edge.stop());
        tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
    }
}

pub(crate) fn url(path: &str) -> Scope {
    Scope::Url(UrlKey::of_request(host(HOST), path).unwrap())
}

pub(crate) fn prefix(path: &str) -> Scope {
    Scope::Prefix(UrlPrefix::new(host(HOST), path).unwrap())
}

pub(crate) fn tag(text: &str) -> Scope {
    Scope::Tag { tag: CacheTag::parse(text).unwrap(), host: None }
}

/// A port at which nobody listens.
async fn closed_port() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn zones(origin: SocketAddr, closed: SocketAddr) -> Vec<Zone> {
    let domain = |name: &str, address: SocketAddr, online| Domain {
        name: host(name),
        origin: zone::Origin {
            address: host("127.0.0.1"),
            backup: None,
            protocol: OriginProtocol::Http,
            http_port: address.port(),
            https_port: 443,
            host_header: "origin.test".into(),
        },
        online,
    };
    vec![
        Zone {
            id: zone_id(),
            name: host("a.test"),
            paused: false,
            domains: vec![
                domain(HOST, origin, true),
                domain(OTHER_HOST, origin, true),
                domain(DEAD_HOST, closed, true),
                domain(OFFLINE_HOST, origin, false),
            ],
            caching: ZoneCaching::default(),
        },
        Zone {
            id: ZoneId::parse("zone-bbbbbbbbbbbb").unwrap(),
            name: host("b.test"),
            paused: true,
            domains: vec![domain(PAUSED_HOST, origin, true)],
            caching: ZoneCaching::default(),
        },
    ]
}
