//! What an operator sets for one edge.

use crate::access_log::AccessLogConfig;
use crate::admin::AdminConfig;
use crate::flight::FOLLOW_TIMEOUT;
use crate::forwarded::ForwardedFields;
use crate::listen::{Network, TlsSettings};
use crate::origin::OriginTrust;
use crate::upstream::{PARENTS_MAX, Tiers};
use httpcache::Policy;
use purge::{FencePolicy, MemberTerms};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a child's request may wait for entries.
const TIER_WAIT_MAX: Duration = Duration::from_secs(10);

/// The longest that a request may wait for the entries it names.
const MIN_SEQ_WAIT_MAX: Duration = Duration::from_secs(10);

/// The smallest disk tier, in bytes.
const DISK_BYTES_MIN: u64 = 1 << 20;

/// The settings of one edge. [`EdgeConfig::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// What the operator calls this edge: its name in `Cache-Status` and in the list of edges.
    pub name: String,
    /// Where clients connect. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where clients connect with TLS, if anywhere.
    pub tls: Option<TlsSettings>,
    /// Whether HTTP/2 is spoken without TLS, too, to clients that begin with its preface.
    pub plain_http2: bool,
    /// A Unix socket by which the edge that runs hands its listening sockets over to the next one, and at which this one
    /// then waits for its own heir. `None`: nobody takes over.
    pub hand_over: Option<PathBuf>,
    /// Where the last configuration is kept, so that the edge serves with the control plane away, fenced. `None`: nowhere.
    pub configuration_file: Option<PathBuf>,
    /// How many threads serve, each with a runtime of its own. 1 to 256.
    pub workers: usize,
    /// How many bytes the memory store holds at most.
    pub memory_bytes: u64,
    /// Where stored content outlives memory and the process; `None` keeps it in memory only.
    pub disk: Option<DiskConfig>,
    /// The largest content that is stored as one, in bytes. Larger content is stored in slices if it has a length and a
    /// strong validator, and else passed on.
    pub object_bytes_max: u64,
    /// How long a slice of larger content is, in bytes; at most `object_bytes_max`.
    pub slice_bytes: u64,
    /// The largest request body that is passed on, in bytes.
    pub request_body_bytes_max: u64,
    /// How many connections clients may hold open on each worker.
    pub connections_max: usize,
    /// How many of them one client may hold open, on all workers together. An address is a client, of IPv6 the first 64
    /// bits of one.
    pub connections_per_client_max: usize,
    /// From where connections must begin with a header of the PROXY protocol: balancers before the edge.
    pub proxy_protocol_from: Vec<Network>,
    /// How long requests under way may take once the edge is told to end.
    pub drain_timeout: Duration,
    /// How many requests to origins may be under way at once; above it clients get 503. Those whose content is only
    /// passed on, at the pace of its readers, count until the head of the response is there.
    pub fetches_max: usize,
    /// The same while the edge is fenced, until their end whatever their content.
    pub fenced_fetches_max: usize,
    /// How long to wait for a connection to an origin, over all addresses of its name.
    pub connect_timeout: Duration,
    /// How long an origin may take to agree on TLS.
    pub tls_timeout: Duration,
    /// How long to wait for the head of an origin's response.
    pub head_timeout: Duration,
    /// How long to wait for the next bytes of an origin's response.
    pub body_timeout: Duration,
    /// How long to wait for an origin altogether while its response comes. Time during which clients read what is there
    /// already does not count.
    pub response_timeout: Duration,
    /// How many connections may speak another protocol than HTTP, such as WebSocket, at once; above it clients get 503.
    pub upgrades_max: usize,
    /// How long nothing may move on such a connection before it is closed.
    pub upgrade_idle_timeout: Duration,
    /// Which certificates of origins are accepted.
    pub origin_trust: OriginTrust,
    /// What origins are told about clients.
    pub forwarded: ForwardedFields,
    /// The largest head of a request, in bytes.
    pub head_bytes_max: usize,
    /// How many fields a request may have.
    pub fields_max: usize,
    /// The longest request target as it comes, in bytes; what is longer once encoded is refused too.
    pub target_bytes_max: usize,
    /// How long a client may take to send a request's head; on a new connection also to begin it.
    pub client_head_timeout: Duration,
    /// How long a connection may stay open without a request.
    pub client_idle_timeout: Duration,
    /// How long a client may take nothing of its answer before it is let go: what it holds of the cache would otherwise
    /// stay in memory without end.
    pub client_stall_timeout: Duration,
    /// What is stored and for how long, where a zone's settings say nothing else.
    pub policy: Policy,
    /// Whether `no-cache`, `max-age`, `min-fresh`, `max-stale` and `Pragma: no-cache` of requests count. Anyone could then
    /// have the origin asked at will: only where all clients are trusted. `no-store` and `only-if-cached` always count.
    pub honour_request_directives: bool,
    /// Whether requests may name a position in the purge log that their answers must be at or above (`Everfresh-Min-Seq`).
    pub min_seq: bool,
    /// How long such a request waits for entries that are not applied yet before it is passed on.
    pub min_seq_wait: Duration,
    /// How many requests may be passed on at once because that wait was in vain; above it clients get 503.
    pub min_seq_fetches_max: usize,
    /// Where tags are read from.
    pub tag_headers: TagHeaders,
    /// For how long a response is stored some of whose tags can't count, since they are malformed or too many. Whatever is
    /// purged in its zone meanwhile makes it go: no purge may miss it.
    pub ignored_tags_lifetime: Duration,
    /// How often the cache is swept of what purges matched.
    pub sweep_interval: Duration,
    /// The edges above this one, and what lets others ask it as their parent.
    pub tiers: Tiers,
    /// How long a child's request waits for the entries that the child has applied.
    pub tier_wait: Duration,
    /// How many requests of prefetches one origin gets at once. 1 to 256.
    pub prefetch_concurrency: usize,
    /// How many bytes a second prefetches take from one origin, on average; 0 for no limit.
    pub prefetch_bytes_per_sec: u64,
    /// The admin server, if there is one.
    pub admin: Option<AdminConfig>,
    /// The access log, if there is one.
    pub access_log: Option<AccessLogConfig>,
    /// What the edge does without a lease.
    pub fence_policy: FencePolicy,
    /// Whether this machine's clock may stop: purge tasks then wait for the edge's acknowledgement without bound.
    pub acks_only: bool,
    /// Ask for a new lease this often for each length of a lease (the protocol's `L/4`).
    pub pings_per_lease: u32,
}

/// Which fields of an origin's response hold tags beside `Cache-Tag`, and whether clients see them. By default no other, and
/// clients see none of these fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagHeaders {
    /// `Surrogate-Key`: tags separated by spaces.
    pub surrogate_key: bool,
    /// `xkey`: tags separated by spaces or commas.
    pub xkey: bool,
    /// `Edge-Cache-Tag`: tags separated by commas.
    pub edge_cache_tag: bool,
    /// Clients get all four fields as the origin sent them.
    pub to_clients: bool,
}

/// Where an edge keeps content on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// The directory, made if it is not there. No two edges share one.
    pub directory: PathBuf,
    /// How many bytes its files take at most, each rounded up to 4 KiB. In memory each takes 150 to 320 bytes, its URL and
    /// its tags.
    pub bytes: u64,
}

/// Why settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EdgeConfigError {
    /// The name is no token.
    #[error(
        "the edge's name {0:?} is no token: use 1 to 64 letters, digits, \"-\", \"_\" and \".\", a letter first"
    )]
    Name(String),
    /// The admin server asks nobody who they are, and would be open to other machines.
    #[error(
        "admin.listen is {0}, which can be reached from other machines, and the admin server asks nobody who they are: \
         listen on a loopback address, or allow it in words (admin.allow_remote, --admin-allow-remote)"
    )]
    AdminBeyondLoopback(SocketAddr),
    /// A number lies outside its range.
    #[error("{what} is {given}; it must be from {least} to {most}")]
    OutOfRange {
        /// Which one.
        what: &'static str,
        /// What was given.
        given: u64,
        /// The least that works.
        least: u64,
        /// The most that works.
        most: u64,
    },
}

impl EdgeConfig {
    /// The defaults, for an edge that listens at `listen`.
    pub fn new(name: String, listen: SocketAddr) -> Self {
        Self {
            name,
            listen,
            tls: None,
            plain_http2: false,
            hand_over: None,
            configuration_file: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: 256 << 20,
            disk: None,
            object_bytes_max: 32 << 20,
            slice_bytes: 1 << 20,
            request_body_bytes_max: 1 << 30,
            connections_max: 10_000,
            connections_per_client_max: 10_000,
            proxy_protocol_from: Vec::new(),
            drain_timeout: Duration::from_secs(10),
            fetches_max: 2_048,
            fenced_fetches_max: 128,
            connect_timeout: Duration::from_secs(5),
            tls_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(3600),
            upgrades_max: 1_024,
            upgrade_idle_timeout: Duration::from_secs(300),
            origin_trust: OriginTrust::PublicAuthorities,
            forwarded: ForwardedFields::default(),
            head_bytes_max: 64 * 1024,
            fields_max: 96,
            target_bytes_max: 8 * 1024,
            client_head_timeout: Duration::from_secs(15),
            client_idle_timeout: Duration::from_secs(60),
            client_stall_timeout: Duration::from_secs(60),
            policy: Policy::default(),
            honour_request_directives: false,
            min_seq: true,
            min_seq_wait: Duration::from_secs(1),
            min_seq_fetches_max: 64,
            tag_headers: TagHeaders::default(),
            ignored_tags_lifetime: Duration::from_secs(5),
            sweep_interval: Duration::from_secs(10),
            tiers: Tiers::default(),
            tier_wait: Duration::from_millis(250),
            prefetch_concurrency: 8,
            prefetch_bytes_per_sec: 32 << 20,
            admin: None,
            access_log: None,
            fence_policy: FencePolicy::Fetch,
            acks_only: false,
            pings_per_lease: 4,
        }
    }

    /// How long slices are: no slice is larger than the largest object.
    pub(crate) fn slice_length(&self) -> u64 {
        self.slice_bytes.min(self.object_bytes_max)
    }

    /// What the edge declares to the control plane when it joins.
    pub(crate) fn terms(&self) -> MemberTerms {
        let has_parent = !self.tiers.parents.is_empty();
        MemberTerms { policy: self.fence_policy, acks_only: self.acks_only, has_parent }
    }

    /// Checks the names and ranges: the first of [`EdgeConfig::errors`].
    pub fn check(&self) -> Result<(), EdgeConfigError> {
        self.errors().into_iter().next().map_or(Ok(()), Err)
    }

    /// Everything that is wrong. Settings are named as the keys of the configuration file are.
    pub fn errors(&self) -> Vec<EdgeConfigError> {
        let tls = self.tls.iter().flat_map(TlsSettings::errors);
        let named = self.name.len() <= 64
            && self.name.starts_with(|c: char| c.is_ascii_alphabetic())
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let misnamed = (!named).then(|| EdgeConfigError::Name(self.name.chars().take(64).collect()));
        let head_wait =
            self.connect_timeout.saturating_add(self.tls_timeout).saturating_add(self.head_timeout);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let ranges = [
            ("workers", count(self.workers), 1, 256),
            ("cache.memory, in bytes,", self.memory_bytes, 1 << 20, 1 << 46),
            (
                "cache.disk_size, in bytes,",
                self.disk.as_ref().map_or(DISK_BYTES_MIN, |disk| disk.bytes),
                DISK_BYTES_MIN,
                1 << 46,
            ),
            ("cache.object_max, in bytes,", self.object_bytes_max, 1, self.memory_bytes.max(1)),
            ("cache.slice, in bytes,", self.slice_bytes, 4096, 1 << 30),
            ("cache.sweep_interval, in milliseconds,", millis(self.sweep_interval), 10, HOUR_MILLIS),
            ("clients.connections_max", count(self.connections_max), 1, 1 << 20),
            ("clients.connections_per_client_max", count(self.connections_per_client_max), 1, 1 << 24),
            ("clients.drain_timeout, in milliseconds,", millis(self.drain_timeout), 0, HOUR_MILLIS),
            ("clients.head_max, in bytes,", count(self.head_bytes_max), 1024, 1 << 20),
            ("clients.fields_max", count(self.fields_max), 1, 1024),
            (
                "clients.target_max, in bytes,",
                count(self.target_bytes_max),
                1,
                count(self.head_bytes_max).max(1),
            ),
            ("clients.head_timeout, in milliseconds,", millis(self.client_head_timeout), 1, HOUR_MILLIS),
            ("clients.idle_timeout, in milliseconds,", millis(self.client_idle_timeout), 1, HOUR_MILLIS),
            ("clients.stall_timeout, in milliseconds,", millis(self.client_stall_timeout), 1, HOUR_MILLIS),
            ("clients.request_body_max, in bytes,", self.request_body_bytes_max, 0, 1 << 40),
            ("origins.fetches_max", count(self.fetches_max), 1, 1 << 20),
            ("origins.fenced_fetches_max", count(self.fenced_fetches_max), 1, 1 << 20),
            ("origins.upgrades_max", count(self.upgrades_max), 0, 1 << 20),
            (
                "requests.min_seq_wait, in milliseconds,",
                millis(self.min_seq_wait),
                0,
                millis(MIN_SEQ_WAIT_MAX),
            ),
            ("requests.min_seq_fetches_max", count(self.min_seq_fetches_max), 1, 1 << 20),
            ("tiers.parents", count(self.tiers.parents.len()), 0, count(PARENTS_MAX)),
            ("tiers.wait, in milliseconds,", millis(self.tier_wait), 0, millis(TIER_WAIT_MAX)),
            // Those who wait for a head that another asked for would give up before it is given up.
            (
                "origins.connect_timeout, tls_timeout and head_timeout together, in milliseconds,",
                millis(head_wait),
                1,
                millis(FOLLOW_TIMEOUT),
            ),
            ("origins.body_timeout, in milliseconds,", millis(self.body_timeout), 1, HOUR_MILLIS),
            (
                "origins.response_timeout, in milliseconds,",
                millis(self.response_timeout),
                1,
                24 * HOUR_MILLIS,
            ),
            (
                "origins.upgrade_idle_timeout, in milliseconds,",
                millis(self.upgrade_idle_timeout),
                1,
                24 * HOUR_MILLIS,
            ),
            (
                "tags.ignored_tags_lifetime, in milliseconds,",
                millis(self.ignored_tags_lifetime),
                0,
                HOUR_MILLIS,
            ),
            ("prefetch.concurrency", count(self.prefetch_concurrency), 1, 256),
            ("prefetch.bytes_per_sec, in bytes,", self.prefetch_bytes_per_sec, 0, 1 << 40),
            ("access_log.one_in", self.access_log.as_ref().map_or(1, |log| log.one_in), 1, 1_000_000),
            ("lease.pings", u64::from(self.pings_per_lease), 1, 1_000),
        ];
        let outside = ranges.into_iter().filter(|(_, given, least, most)| !(least..=most).contains(&given));
        let outside = outside.map(|(what, given, least, most)| EdgeConfigError::OutOfRange {
            what,
            given,
            least,
            most,
        });
        misnamed.into_iter().chain(self.exposed()).chain(outside).chain(tls).collect()
    }

    /// Whether the admin server would be open to other machines without anyone having said so.
    fn exposed(&self) -> Option<EdgeConfigError> {
        let exposed = self.admin.as_ref().filter(|admin| {
            // ::ffff:127.0.0.1 is loopback too.
            !admin.allow_remote && !admin.listen.ip().to_canonical().is_loopback()
        });
        exposed.map(|admin| EdgeConfigError::AdminBeyondLoopback(admin.listen))
    }
}

/// The longest time that most settings take, in milliseconds.
const HOUR_MILLIS: u64 = 3_600_000;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_their_range_are_refused_by_name() {
        let good = EdgeConfig::new("edge-1".into(), ([127, 0, 0, 1], 0).into());
        assert_eq!(good.check(), Ok(()));
        for name in ["", "1edge", "edge 1", &"e".repeat(65)] {
            let bad = EdgeConfig { name: name.into(), ..good.clone() };
            assert!(matches!(bad.check(), Err(EdgeConfigError::Name(_))), "{name}");
        }
        let bad = EdgeConfig { head_timeout: Duration::from_secs(56), ..good.clone() };
        let text = "origins.connect_timeout, tls_timeout and head_timeout together, in milliseconds, is 66000; it must be \
                    from 1 to 60000";
        assert_eq!(bad.check().unwrap_err().to_string(), text);
        let disk = Some(DiskConfig { directory: "cache".into(), bytes: 1000 });
        let bad = EdgeConfig { disk, ..good.clone() };
        let text = "cache.disk_size, in bytes, is 1000; it must be from 1048576 to 70368744177664";
        assert_eq!(bad.check().unwrap_err().to_string(), text);
        let bad = EdgeConfig { object_bytes_max: good.memory_bytes + 1, workers: 0, ..good };
        let texts: Vec<String> = bad.errors().iter().map(EdgeConfigError::to_string).collect();
        assert_eq!(texts[0], "workers is 0; it must be from 1 to 256");
        assert!(texts[1].starts_with("cache.object_max, in bytes, is"), "{texts:?}");
        assert_eq!(texts.len(), 2, "all at once");
    }
}
