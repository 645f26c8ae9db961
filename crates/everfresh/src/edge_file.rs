//! The configuration file of edges: what it may say, and what is meant.
//!
//! [`RawEdge`] and the structs below it mirror the file; docs/configuration.md is written from their doc comments by
//! `cargo xtask docs`. What a key means goes right into an [`EdgeConfig`], so that a key is two lines: its field here
//! with its doc comment, and its line in `check`. Ranges are [`EdgeConfig::errors`]'s, which names settings by their
//! keys here. Secrets have no keys: they are environment variables, or files that a key names.

mod written;

use crate::args::DiskArgs;
use anyhow::{Context, bail};
use edge::{AccessLogConfig, AccessLogFormat, CertificateFiles, EdgeConfig, OriginTrust, TlsSettings};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use written::{
    Address, Addresses, Cookies, Count, LogFormat, Networks, Policies, Reading, Size, Statuses, Switch, Text,
    Texts, Time,
};

/// The longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The file of one edge, or of all edges of an `everfresh serve`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawEdge {
    /// What this edge is called, in `Cache-Status` and in the list of edges: 1 to 64 letters, digits, `-`, `_` and
    /// `.`, a letter first. Not for `everfresh serve`, which counts its edges. Flag `--name`. Default `"edge-1"`.
    name: Option<Text>,
    /// Where clients connect: an address with a port, or for `everfresh serve` a list of them, each an edge of its own.
    /// Flag `--listen`. Default `"127.0.0.1:8080"`.
    listen: Option<Addresses>,
    /// The control plane to follow: its `--feed-listen` address, `HOST:PORT` or `https://HOST:PORT`; of several control
    /// planes all their addresses, with commas between. Not for `everfresh serve`, which is one. Flag `--control`. No
    /// default.
    control: Option<Text>,
    /// A PEM file of authorities: TLS is spoken to control planes, and only certificates that one of these vouches for
    /// are accepted. Without it public authorities count, and TLS is spoken to `https://` addresses. Flag `--control-ca`.
    /// No default.
    control_ca: Option<Text>,
    /// The file with a join token: `edge.token` of the control plane's data directory, or what `everfresh edges token
    /// create` printed. Once the edge keeps a key of its own it is needed for tiers only. Not for `everfresh serve`.
    /// Flag `--token-file`; the environment variable `EVERFRESH_EDGE_TOKEN` holds the token itself. No default.
    token_file: Option<Text>,
    /// The directory where the edge keeps the key that its join token became and its last configuration, in a directory of
    /// its own name. Not for `everfresh serve`. Flag `--data`. Default: what is kept on disk, `cache.disk`; without that the edge joins with
    /// its token at each start.
    data: Option<Text>,
    /// How many threads serve. 1 to 256. Flag `--workers`. Default: one for each core.
    workers: Option<Count<usize>>,
    /// A Unix socket for upgrades without a gap: an edge takes over from the one that waits there, then waits there for
    /// the next one. Not for `everfresh serve`. Flag `--hand-over`. No default.
    hand_over: Option<Text>,
    /// TLS with clients.
    tls: RawTls,
    /// What is kept, and how much of it.
    cache: RawCache,
    /// Those who ask: what they may send, how long they may take.
    clients: RawClients,
    /// Those that are asked: how many requests at once, how long to wait.
    origins: RawOrigins,
    /// Edges that are asked instead of origins.
    tiers: RawTiers,
    /// What requests of clients decide.
    requests: RawRequests,
    /// Where tags are read from, beside `Cache-Tag`.
    tags: RawTags,
    /// Fetching ahead what `CreatePrefetchTask` asks for.
    prefetch: RawPrefetch,
    /// The admin server: metrics, health, what is stored of a URL, what is logged. Plain HTTP.
    admin: RawAdmin,
    /// The access log: a line for each request. There is none unless `file` says where.
    access_log: RawAccessLog,
    /// Hearing from the control plane.
    lease: RawLease,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    /// Where clients connect with TLS: an address with a port. Flag `--tls-listen`. No default.
    listen: Option<Addresses>,
    /// Certificate chains, PEM, each the server's own certificate first. The first one answers clients that name no
    /// host, or one that no certificate holds. Flag `--tls-cert`. No default.
    certificates: Option<Texts>,
    /// Their private keys, PEM, in the same order. Flag `--tls-key`. No default.
    keys: Option<Texts>,
    /// A directory of certificates: `NAME.crt` or `NAME.pem` with `NAME.key`, or with the key in the same file, and
    /// `NAME/fullchain.pem` with `NAME/privkey.pem`. What counts are the names in the certificates; one that is called
    /// `default` answers names that none holds. Flag `--tls-dir`. No default.
    directory: Option<Text>,
    /// How often it is looked whether the files have changed. SIGHUP looks at once. 10 ms to 1 hour. Default `"10s"`.
    reload_interval: Option<Time>,
    /// How long a handshake may take. 1 ms to 1 hour. Default `"10s"`.
    handshake_timeout: Option<Time>,
    /// How many handshakes may be under way on each worker; more wait. 1 to 65,536. Default `256`.
    handshakes_max: Option<Count<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCache {
    /// How much memory cached content may take. 1 MiB to 64 TiB. Flag `--memory`. Default `"256MiB"`.
    memory: Option<Size<u64>>,
    /// The largest content that is stored as one. Larger content is stored in slices if it has a length and a strong
    /// validator, and else passed on. At most `memory`. Flag `--object-max`. Default `"32MiB"`, or `memory` where that is
    /// less.
    object_max: Option<Size<u64>>,
    /// How long the slices of larger content are; `object_max` where that is less. 4 KiB to 1 GiB. Default `"1MiB"`.
    slice: Option<Size<u64>>,
    /// The directory in which each edge keeps cached content beside memory, over restarts, in a directory of its own name.
    /// For `everfresh serve` it is `cache` in the data directory if only `disk_size` is set. Flag `--disk`. No default: nothing
    /// is kept on disk.
    disk: Option<Text>,
    /// How much of the disk each edge may take. 1 MiB to 64 TiB. Flag `--disk-size`. If only a directory is given, 1 GiB.
    disk_size: Option<Size<u64>>,
    /// How often the cache is swept of what purges matched. 10 ms to 1 hour. Default `"10s"`.
    sweep_interval: Option<Time>,
    /// What to do with responses that set cookies: `"dont-store"`; `"store-without"` stores them without their cookies,
    /// which only the client gets for which the response was fetched; `"store-if-shared"` stores them with their cookies
    /// where the origin says `public` or `s-maxage`. Default `"dont-store"`.
    set_cookie: Option<Text>,
    /// Which statuses are stored beside 200 and 404: `"never"` any, those `"with-lifetime"` of the origin's, or as
    /// `"rfc9111"` has it also those of which one can be guessed. Default `"rfc9111"`.
    other_statuses: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawClients {
    /// How many connections clients may hold open on each worker; more wait in the kernel's queue. 1 to 1,048,576.
    /// Default `10000`.
    connections_max: Option<Count<usize>>,
    /// How many of them one client may hold open on all workers together; more are closed at once. An address is a
    /// client, of IPv6 its first 64 bits. 1 to 16,777,216. Default `10000`.
    connections_per_client_max: Option<Count<usize>>,
    /// Whether HTTP/2 is spoken without TLS, too, to clients that begin with it. Flag `--plain-http2`. Default `false`.
    plain_http2: Option<Switch>,
    /// Addresses and networks (`10.0.0.0/8`) of balancers whose connections begin with a header of the PROXY protocol,
    /// version 1 or 2. From there it must be there, from elsewhere it is refused. Flag `--proxy-protocol-from`. No
    /// default.
    proxy_protocol_from: Option<Texts>,
    /// How long requests under way may take once the edge is told to end. Up to 1 hour. Default `"10s"`.
    drain_timeout: Option<Time>,
    /// The largest head of a request; above it clients get 431. 1 KiB to 1 MiB. Default `"64KiB"`.
    head_max: Option<Size<usize>>,
    /// How many fields a request may have; above it clients get 431. 1 to 1,024. Default `96`.
    fields_max: Option<Count<usize>>,
    /// The longest request target; above it clients get 414. At most `head_max`. Default `"8KiB"`.
    target_max: Option<Size<usize>>,
    /// How long a client may take to send a request's head, on a new connection also to begin it. 1 ms to 1 hour.
    /// Default `"15s"`.
    head_timeout: Option<Time>,
    /// How long a connection may stay open without a request. 1 ms to 1 hour. Default `"60s"`.
    idle_timeout: Option<Time>,
    /// How long a client may take nothing of its answer before it is let go. 1 ms to 1 hour. Default `"60s"`.
    stall_timeout: Option<Time>,
    /// The largest request body that is passed on; above it clients get 413. Up to 1 TiB. Default `"1GiB"`.
    request_body_max: Option<Size<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawOrigins {
    /// How many requests to origins may be under way at once; above it clients get 503. 1 to 1,048,576. Default
    /// `2048`.
    fetches_max: Option<Count<usize>>,
    /// The same while the edge is fenced (without a lease), when nothing is answered from its cache. 1 to 1,048,576.
    /// Default `128`.
    fenced_fetches_max: Option<Count<usize>>,
    /// How long to wait for a connection to an origin, over all addresses of its name. With `tls_timeout` and
    /// `head_timeout` 1 ms to 1 minute. Default `"5s"`.
    connect_timeout: Option<Time>,
    /// How long an origin may take to agree on TLS. Default `"5s"`.
    tls_timeout: Option<Time>,
    /// How long to wait for the head of an origin's response. Default `"30s"`.
    head_timeout: Option<Time>,
    /// How long to wait for the next bytes of an origin's response. 1 ms to 1 hour. Default `"30s"`.
    body_timeout: Option<Time>,
    /// How long to wait for an origin altogether while its response comes, without the time in which clients read what
    /// is there already. 1 ms to 24 hours. Default `"60m"`.
    response_timeout: Option<Time>,
    /// How many connections may speak another protocol than HTTP at once, such as WebSocket; above it clients get 503.
    /// Up to 1,048,576. Default `1024`.
    upgrades_max: Option<Count<usize>>,
    /// How long nothing may move on such a connection before it is closed. 1 ms to 24 hours. Default `"5m"`.
    upgrade_idle_timeout: Option<Time>,
    /// Proxies before this edge, as addresses or networks such as `"10.0.0.0/8"`, whose `X-Forwarded-…` and `Forwarded`
    /// are passed on; from everybody else they are replaced. No default.
    trusted_proxies: Option<Texts>,
    /// Whether origins get RFC 7239's `Forwarded`, too. Default `false`.
    forwarded: Option<Switch>,
    /// PEM files with authorities whose certificates of origins are accepted beside those of the public ones. Flag
    /// `--origin-ca`. No default.
    authorities: Option<Texts>,
    /// Whether certificates of origins are not checked at all: whoever is on the way there can read and change
    /// everything. Flag `--dangerously-accept-any-origin-certificate`. Default `false`.
    dangerously_accept_any_certificate: Option<Switch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTiers {
    /// The parents of this edge, best first: `"https://HOST[:PORT]"` or `"http://HOST[:PORT]"`, at most 8. An edge without
    /// an answer of a parent asks the origin. Parents need the same edge token. Not for `everfresh serve`. Flag `--parent`.
    /// No default.
    parents: Option<Texts>,
    /// Whether parents on other machines may be asked over plain `http`, where the edge token can be read on the way. Flag
    /// `--allow-plain-text`. Default `false`.
    allow_plain_text: Option<Switch>,
    /// How long a child's request waits for purges that the child has and this edge lacks; then it is passed on. Up to 10
    /// seconds. Default `"250ms"`.
    wait: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRequests {
    /// Whether `no-cache`, `max-age`, `min-fresh`, `max-stale` and `Pragma: no-cache` of requests count: anyone could
    /// then have the origin asked at will. `no-store` and `only-if-cached` always count. Default `false`.
    honour_directives: Option<Switch>,
    /// Whether requests may name a position of the purge log that their answers must be at or above, in the field
    /// `Everfresh-Min-Seq`: `17`, or with the log's epoch `00f1e2d3c4b5a697:17`. Otherwise the field is ignored. Default `true`.
    min_seq: Option<Switch>,
    /// How long such a request waits for entries that are not applied yet; then it is passed on, and the cache has no part in
    /// it. Up to 10 seconds. Default `"1s"`.
    min_seq_wait: Option<Time>,
    /// How many requests may be passed on at once for that; above it clients get 503. 1 to 1,048,576. Default `64`.
    min_seq_fetches_max: Option<Count<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTags {
    /// Whether tags are read from `Surrogate-Key`, too, separated by spaces. Default `false`.
    surrogate_key: Option<Switch>,
    /// Whether tags are read from `xkey`, too, separated by spaces or commas. Default `false`.
    xkey: Option<Switch>,
    /// Whether tags are read from `Edge-Cache-Tag`, too, separated by commas. Default `false`.
    edge_cache_tag: Option<Switch>,
    /// Whether clients get the fields with tags as the origin sent them. Default `false`.
    to_clients: Option<Switch>,
    /// For how long a response is stored some of whose tags can't count, since they are malformed or too many. Up to 1
    /// hour. Default `"5s"`.
    ignored_tags_lifetime: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPrefetch {
    /// How many requests of prefetches one origin gets at once. 1 to 256. Default `8`.
    concurrency: Option<Count<usize>>,
    /// How much prefetches take from one origin in a second, on average; `"0MiB"` for no limit. Up to 1 TiB. Default
    /// `"32MiB"`.
    bytes_per_sec: Option<Size<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAdmin {
    /// Where the admin server listens; for `everfresh serve` a list of addresses, one for each edge. Flag
    /// `--admin-listen`. No default: without it there is no such server.
    listen: Option<Addresses>,
    /// Whether it may be reached from other machines: it asks nobody who they are. Flag `--admin-allow-remote`. Default
    /// `false`.
    allow_remote: Option<Switch>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawAccessLog {
    /// The file that lines are appended to; `"-"` is the standard output. When it was renamed, it is made anew within a
    /// second, or at once on SIGHUP. Flag `--access-log`. No default.
    file: Option<Text>,
    /// What a line looks like: `"json"` or `"combined"`. Default `"json"`.
    format: Option<LogFormat>,
    /// Of how many requests one is logged. Answers with status 5xx and those that broke off are logged always. 1 to
    /// 1,000,000. Default `1`.
    one_in: Option<Count<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLease {
    /// How often the control plane is asked for a new lease in the time that one lasts. 1 to 1,000. Default `4`.
    pings: Option<Count<u32>>,
    /// What the edge does without a lease, cut off from the control plane or not heard of yet. `"fetch"` asks the origin for
    /// everything. `"refuse"` answers 503. `"revalidate"` asks the origin whether what is cached is still good, which gives up
    /// the promise for purges with `delete`; `"serve"` serves what is cached, which gives up the promise. Where it is given
    /// up, answers and tasks say so. Flag `--fence-policy`. Default `"fetch"`.
    policy: Option<Text>,
    /// Whether this machine's clock may stop, as where a hypervisor pauses its guests: purge tasks then wait for this edge to
    /// acknowledge them, however long it is away, and never for its lease to run out. Flag `--acks-only`. Default `false`.
    acks_only: Option<Switch>,
}

/// What a file says, over the defaults.
#[derive(Clone, Debug)]
pub(crate) struct EdgeFile {
    /// Where edges listen; empty if the file does not say.
    pub(crate) listen: Vec<SocketAddr>,
    /// The edge's name, if it has one of its own.
    pub(crate) name: Option<String>,
    /// Which control plane to follow.
    pub(crate) control: Option<String>,
    /// Who vouches for it.
    pub(crate) control_ca: Option<PathBuf>,
    /// Where the edge token is.
    pub(crate) token_file: Option<PathBuf>,
    /// Where its key is kept.
    pub(crate) data: Option<PathBuf>,
    /// Where content is kept beside memory, as far as the file says.
    pub(crate) disk: DiskArgs,
    /// The largest stored content, if it is set: its default depends on the memory, which a flag may still change.
    pub(crate) object_max: Option<u64>,
    /// Where admin servers listen; empty for none.
    pub(crate) admin_listen: Vec<SocketAddr>,
    /// Whether these may be reached from other machines.
    pub(crate) admin_allow_remote: bool,
    /// Where the access log goes, if there is one.
    pub(crate) access_log_file: Option<String>,
    access_log_format: AccessLogFormat,
    access_log_one_in: u64,
    /// Where clients connect with TLS.
    pub(crate) tls_listen: Option<SocketAddr>,
    /// How, if they do. Its address is a placeholder.
    pub(crate) tls: TlsSettings,
    /// The parents, as written.
    pub(crate) parents: Vec<String>,
    /// Whether the token may go to parents in the clear.
    pub(crate) allow_plain_text: bool,
    /// Everything else. Its name and its addresses are placeholders until they are chosen.
    pub(crate) config: EdgeConfig,
}

impl EdgeFile {
    /// What holds without a file.
    pub(crate) fn absent() -> Self {
        let config = EdgeConfig::new("edge-1".into(), ([127, 0, 0, 1], 8080).into());
        let tls = TlsSettings::new(config.listen);
        Self {
            listen: Vec::new(),
            name: None,
            control: None,
            control_ca: None,
            token_file: None,
            data: None,
            disk: DiskArgs::default(),
            object_max: None,
            tls_listen: None,
            tls,
            parents: Vec::new(),
            allow_plain_text: false,
            admin_listen: Vec::new(),
            admin_allow_remote: false,
            access_log_file: None,
            access_log_format: AccessLogFormat::Json,
            access_log_one_in: 1,
            config,
        }
    }

    /// Reads a file. The error says everything that is wrong with it.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let length = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?.len();
        if length > FILE_BYTES_MAX {
            bail!("{shown} has {length} bytes; a configuration file has at most {FILE_BYTES_MAX}");
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        Self::parse(&text).map_err(|wrong| anyhow::anyhow!("{shown} cannot be used:\n{wrong}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: RawEdge = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        let mut file = Self::absent();
        let mut reading = Reading::of(text);
        raw.check(&mut file, &mut reading);
        file.settle_object_max();
        reading.add(file.tls.errors());
        file.settle_access_log();
        reading.add(file.config.errors());
        reading.end().map(|()| file)
    }

    /// Gives the access log its settings, once it is known where it goes.
    pub(crate) fn settle_access_log(&mut self) {
        self.config.access_log = self.access_log_file.as_ref().map(|file| AccessLogConfig {
            file: (file != "-").then(|| PathBuf::from(file)),
            format: self.access_log_format,
            one_in: self.access_log_one_in,
        });
    }

    /// Gives the largest stored content its value, once the memory has its own.
    pub(crate) fn settle_object_max(&mut self) {
        let default = Self::absent().config.object_bytes_max.min(self.config.memory_bytes);
        self.config.object_bytes_max = self.object_max.unwrap_or(default);
    }
}

impl RawEdge {
    fn check(self, file: &mut EdgeFile, reading: &mut Reading<'_>) {
        reading.take_optional("name", self.name, &mut file.name);
        if let Some(name) = &file.name {
            file.config.name.clone_from(name);
        }
        reading.take("listen", self.listen, &mut file.listen);
        reading.take_optional("control", self.control, &mut file.control);
        reading.take_path("control_ca", self.control_ca, &mut file.control_ca);
        reading.take_path("token_file", self.token_file, &mut file.token_file);
        reading.take_path("data", self.data, &mut file.data);
        self.tls.check(file, reading);
        reading.take("tiers.parents", self.tiers.parents, &mut file.parents);
        reading.take("tiers.allow_plain_text", self.tiers.allow_plain_text, &mut file.allow_plain_text);
        reading.take("admin.listen", self.admin.listen, &mut file.admin_listen);
        reading.take("admin.allow_remote", self.admin.allow_remote, &mut file.admin_allow_remote);
        reading.take_optional("access_log.file", self.access_log.file, &mut file.access_log_file);
        reading.take("access_log.format", self.access_log.format, &mut file.access_log_format);
        reading.take("access_log.one_in", self.access_log.one_in, &mut file.access_log_one_in);
        reading.take_path("cache.disk", self.cache.disk, &mut file.disk.disk);
        reading.take_optional("cache.disk_size", self.cache.disk_size, &mut file.disk.disk_size);
        let config = &mut file.config;
        reading.take("tiers.wait", self.tiers.wait, &mut config.tier_wait);
        reading.take("workers", self.workers, &mut config.workers);
        reading.take_optional("cache.object_max", self.cache.object_max, &mut file.object_max);
        reading.take("cache.slice", self.cache.slice, &mut config.slice_bytes);
        reading.take("cache.memory", self.cache.memory, &mut config.memory_bytes);
        reading.take("cache.sweep_interval", self.cache.sweep_interval, &mut config.sweep_interval);
        let policy = &mut config.policy;
        reading.take("cache.set_cookie", self.cache.set_cookie.map(Cookies), &mut policy.set_cookie);
        let statuses = self.cache.other_statuses.map(Statuses);
        reading.take("cache.other_statuses", statuses, &mut policy.other_statuses);
        reading.take_path("hand_over", self.hand_over, &mut config.hand_over);
        self.clients.check(config, reading);
        self.origins.check(config, reading);
        let honour = &mut config.honour_request_directives;
        let requests = self.requests;
        reading.take("requests.honour_directives", requests.honour_directives, honour);
        reading.take("requests.min_seq", requests.min_seq, &mut config.min_seq);
        reading.take("requests.min_seq_wait", requests.min_seq_wait, &mut config.min_seq_wait);
        let fetches_max = &mut config.min_seq_fetches_max;
        reading.take("requests.min_seq_fetches_max", requests.min_seq_fetches_max, fetches_max);
        self.tags.check(config, reading);
        let prefetch = self.prefetch;
        reading.take("prefetch.concurrency", prefetch.concurrency, &mut config.prefetch_concurrency);
        reading.take("prefetch.bytes_per_sec", prefetch.bytes_per_sec, &mut config.prefetch_bytes_per_sec);
        reading.take("lease.pings", self.lease.pings, &mut config.pings_per_lease);
        reading.take("lease.policy", self.lease.policy.map(Policies), &mut config.fence_policy);
        reading.take("lease.acks_only", self.lease.acks_only, &mut config.acks_only);
    }
}

impl RawTls {
    fn check(self, file: &mut EdgeFile, reading: &mut Reading<'_>) {
        reading.take_optional("tls.listen", self.listen.map(Address), &mut file.tls_listen);
        let tls = &mut file.tls;
        let (mut chains, mut keys) = (Vec::new(), Vec::new());
        reading.take("tls.certificates", self.certificates, &mut chains);
        reading.take("tls.keys", self.keys, &mut keys);
        match certificate_files(chains, keys) {
            Ok(files) => tls.files = files,
            Err(wrong) => reading.refuse(&format!("tls.certificates and tls.keys: {wrong}")),
        }
        reading.take_path("tls.directory", self.directory, &mut tls.directory);
        reading.take("tls.reload_interval", self.reload_interval, &mut tls.reload_interval);
        reading.take("tls.handshake_timeout", self.handshake_timeout, &mut tls.handshake_timeout);
        reading.take("tls.handshakes_max", self.handshakes_max, &mut tls.handshakes_max);
    }
}

/// Each certificate with its key.
pub(crate) fn certificate_files(
    chains: Vec<impl Into<PathBuf>>,
    keys: Vec<impl Into<PathBuf>>,
) -> Result<Vec<CertificateFiles>, String> {
    if chains.len() != keys.len() {
        return Err(format!(
            "{} certificates and {} keys; name one key for each certificate, in the same order",
            chains.len(),
            keys.len()
        ));
    }
    let pairs = chains.into_iter().zip(keys);
    Ok(pairs.map(|(chain, key)| CertificateFiles { chain: chain.into(), key: key.into() }).collect())
}

impl RawClients {
    fn check(self, config: &mut EdgeConfig, reading: &mut Reading<'_>) {
        reading.take("clients.connections_max", self.connections_max, &mut config.connections_max);
        let per_client = &mut config.connections_per_client_max;
        reading.take("clients.connections_per_client_max", self.connections_per_client_max, per_client);
        reading.take("clients.plain_http2", self.plain_http2, &mut config.plain_http2);
        let balancers = self.proxy_protocol_from.map(Networks);
        reading.take("clients.proxy_protocol_from", balancers, &mut config.proxy_protocol_from);
        reading.take("clients.drain_timeout", self.drain_timeout, &mut config.drain_timeout);
        reading.take("clients.head_max", self.head_max, &mut config.head_bytes_max);
        reading.take("clients.fields_max", self.fields_max, &mut config.fields_max);
        reading.take("clients.target_max", self.target_max, &mut config.target_bytes_max);
        reading.take("clients.head_timeout", self.head_timeout, &mut config.client_head_timeout);
        reading.take("clients.idle_timeout", self.idle_timeout, &mut config.client_idle_timeout);
        reading.take("clients.stall_timeout", self.stall_timeout, &mut config.client_stall_timeout);
        reading.take("clients.request_body_max", self.request_body_max, &mut config.request_body_bytes_max);
    }
}

impl RawOrigins {
    fn check(self, config: &mut EdgeConfig, reading: &mut Reading<'_>) {
        reading.take("origins.fetches_max", self.fetches_max, &mut config.fetches_max);
        reading.take("origins.fenced_fetches_max", self.fenced_fetches_max, &mut config.fenced_fetches_max);
        reading.take("origins.connect_timeout", self.connect_timeout, &mut config.connect_timeout);
        reading.take("origins.head_timeout", self.head_timeout, &mut config.head_timeout);
        reading.take("origins.tls_timeout", self.tls_timeout, &mut config.tls_timeout);
        reading.take("origins.body_timeout", self.body_timeout, &mut config.body_timeout);
        reading.take("origins.response_timeout", self.response_timeout, &mut config.response_timeout);
        reading.take("origins.upgrades_max", self.upgrades_max, &mut config.upgrades_max);
        let idle = &mut config.upgrade_idle_timeout;
        reading.take("origins.upgrade_idle_timeout", self.upgrade_idle_timeout, idle);
        let trusted = &mut config.forwarded.trusted_proxies;
        reading.take("origins.trusted_proxies", self.trusted_proxies.map(Networks), trusted);
        reading.take("origins.forwarded", self.forwarded, &mut config.forwarded.rfc7239);
        let (mut authorities, mut accept_any) = (Vec::new(), false);
        reading.take("origins.authorities", self.authorities, &mut authorities);
        let any = self.dangerously_accept_any_certificate;
        reading.take("origins.dangerously_accept_any_certificate", any, &mut accept_any);
        if accept_any {
            config.origin_trust = OriginTrust::DangerouslyAnyCertificate;
        } else if !authorities.is_empty() {
            let authorities = authorities.into_iter().map(PathBuf::from).collect();
            config.origin_trust = OriginTrust::AlsoAuthoritiesOf(authorities);
        }
    }
}

impl RawTags {
    fn check(self, config: &mut EdgeConfig, reading: &mut Reading<'_>) {
        let from = &mut config.tag_headers;
        reading.take("tags.surrogate_key", self.surrogate_key, &mut from.surrogate_key);
        reading.take("tags.xkey", self.xkey, &mut from.xkey);
        reading.take("tags.edge_cache_tag", self.edge_cache_tag, &mut from.edge_cache_tag);
        reading.take("tags.to_clients", self.to_clients, &mut from.to_clients);
        let lifetime = &mut config.ignored_tags_lifetime;
        reading.take("tags.ignored_tags_lifetime", self.ignored_tags_lifetime, lifetime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference page, made from the doc comments above.
    const PAGE: &str = include_str!("../../../docs/configuration.md");

    /// Each key of the page with its section and the default it states, if it does.
    fn documented() -> Vec<(String, String, Option<String>)> {
        let mut section = String::new();
        let mut keys = Vec::new();
        for line in PAGE.lines() {
            if let Some(name) = line.strip_prefix("## `[").and_then(|rest| rest.strip_suffix("]`")) {
                section = format!("{name}.");
            }
            let Some((key, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | ")) else {
                continue;
            };
            let default = rest.split_once("Default `").and_then(|(_, rest)| rest.split_once('`'));
            keys.push((section.clone(), key.to_owned(), default.map(|(default, _)| default.to_owned())));
        }
        keys
    }

    #[test]
    fn what_is_deployed_is_a_file_that_can_be_used() {
        if let Err(wrong) = EdgeFile::parse(include_str!("../../../deploy/edge.toml.example")) {
            panic!("{wrong}");
        }
    }

    #[test]
    fn policies_are_named() {
        let policy = |text: &str| EdgeFile::parse(text).map(|file| file.config.policy);
        let found = policy("[cache]\nset_cookie = \"store-without\"\nother_statuses = \"never\"\n").unwrap();
        assert_eq!(
            (found.set_cookie, found.other_statuses),
            (edge::SetCookie::StoreWithout, edge::OtherStatuses::Never)
        );
        let wrong = policy("[cache]\nset_cookie = \"yes\"\n").unwrap_err();
        assert!(wrong.contains("\"store-if-shared\""), "{wrong}");
        let terms =
            |text: &str| EdgeFile::parse(text).map(|file| (file.config.fence_policy, file.config.acks_only));
        let chosen = terms("[lease]\npolicy = \"revalidate\"\nacks_only = true\n").unwrap();
        assert_eq!((chosen.0.as_str(), chosen.1), ("revalidate", true));
        let wrong = terms("[lease]\npolicy = \"stale\"\n").unwrap_err();
        assert!(wrong.contains("\"fetch\", \"revalidate\", \"refuse\", \"serve\""), "{wrong}");
    }

    #[test]
    fn the_defaults_on_the_page_are_those_that_hold() {
        let keys = documented();
        assert!(keys.len() > 15, "the page has all keys: {keys:?}");
        let written: String = keys
            .iter()
            .filter_map(|(section, key, default)| Some(format!("{section}{key} = {}\n", default.as_ref()?)))
            .collect();
        let file = EdgeFile::parse(&written).unwrap_or_else(|wrong| panic!("{wrong}\n{written}"));
        let default = EdgeFile::absent().config;
        assert_eq!(format!("{:?}", file.config), format!("{default:?}"));
        assert_eq!(file.listen, [default.listen]);
    }

    #[test]
    fn every_key_has_a_meaning() {
        // One that the code forgot to take would be accepted in silence, whatever stands there.
        for (section, key, _) in documented() {
            let text = format!("{section}{key} = 1979-05-27");
            let wrong = EdgeFile::parse(&text).expect_err(&text);
            assert!(wrong.starts_with(&format!("  line 1: {section}{key} = 1979-05-27: ")), "{wrong}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_its_key_and_line() {
        let text = "workers = 0\n[cache]\nmemory = 64\nobject_max = \"64MB\"\n\n[clients]\nhead_timeout = \"2h\"\n\
                    connections_max = -1\n[origins]\nfetches_max = 0\n";
        let wrong = EdgeFile::parse(text).unwrap_err();
        let expected = [
            "  line 4: cache.object_max = \"64MB\": \"64MB\" is no size: write a whole number with KiB, MiB or GiB, for \
             example 256MiB",
            "  line 3: cache.memory = 64: this is no text; write a size, for example \"256MiB\"",
            "  line 8: clients.connections_max = -1: this is no whole number from 0, written without quotes",
            "  line 7: clients.head_timeout = \"2h\": \"2h\" is no time: write a whole number with ms, s or m, for \
             example 5s",
            "  workers is 0; it must be from 1 to 256",
            "  origins.fetches_max is 0; it must be from 1 to 1048576",
        ];
        assert_eq!(wrong.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn unknown_keys_are_refused_with_those_that_are_known() {
        for (text, expected) in [
            ("[cache]\nmemry = \"1GiB\"", "unknown field `memry`, expected one of `memory`, `object_max`"),
            ("secret = \"x\"", "unknown field `secret`"),
            ("[cache\n", "TOML parse error at line 1"),
            ("cache = 1", "invalid type: integer `1`, expected struct RawCache"),
        ] {
            let wrong = EdgeFile::parse(text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }

    #[test]
    fn the_largest_object_follows_the_memory_unless_it_is_set() {
        for (text, expected) in [
            ("cache.memory = \"16MiB\"", Ok(16 << 20)),
            ("cache.memory = \"1GiB\"", Ok(32 << 20)),
            ("cache.memory = \"1GiB\"\ncache.object_max = \"1GiB\"", Ok(1 << 30)),
            ("cache.object_max = \"1GiB\"", Err(())),
        ] {
            let file = EdgeFile::parse(text).map(|file| file.config.object_bytes_max).map_err(drop);
            assert_eq!(file, expected, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("edge.toml");
        std::fs::write(&path, "#".repeat(FILE_BYTES_MAX as usize + 1)).unwrap();
        let wrong = EdgeFile::read(&path).unwrap_err().to_string();
        assert!(wrong.ends_with("a configuration file has at most 1048576"), "{wrong}");
    }
}
