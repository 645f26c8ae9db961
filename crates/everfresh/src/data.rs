//! What a control plane finds or makes in its data directory before it serves: the database, the master key, the first
//! API key, the edge token, and the zone and domain that the arguments ask for.

use crate::args::SiteArgs;
use anyhow::{Context, bail};
use ring::rand::SecureRandom;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use store::{
    Area, DomainChange, DomainRecord, Ipv6Status, MasterKey, NewZone, OriginRecord, Place, PostgresPlace,
    Store, StoreOptions,
};
use zone::{HostName, OriginProtocol, ZoneId};

/// Reads an environment variable.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

const MASTER_KEY_FILE: &str = "master.key";
const EDGE_TOKEN_FILE: &str = "edge.token";

/// The longest edge token, in bytes.
const EDGE_TOKEN_BYTES_MAX: usize = 1024;

/// The key that a first start made or was given.
pub(crate) struct FirstKey {
    pub(crate) secret_id: String,
    /// Only when this start made it: it is shown once.
    pub(crate) made: Option<String>,
}

/// The site that the arguments ask for.
pub(crate) struct Site {
    pub(crate) zone_id: ZoneId,
    pub(crate) zone_name: HostName,
    pub(crate) domain: HostName,
    pub(crate) origin: String,
}

/// Opens the store under its master key.
pub(crate) async fn open(
    data: &Path,
    database: Option<&str>,
    quota_day_offset_secs: Option<i32>,
    environment: Environment<'_>,
) -> anyhow::Result<Store> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let database = database.map(str::to_owned).or_else(|| environment("EVERFRESH_DATABASE"));
    let place = match database {
        Some(url) => Place::Postgres(PostgresPlace::parse(&url).context("--database")?),
        None => Place::Directory(data.to_owned()),
    };
    let master_key = match environment("EVERFRESH_MASTER_KEY") {
        Some(text) => MasterKey::parse(text.trim()).context("EVERFRESH_MASTER_KEY")?,
        None => MasterKey::load_or_create(&data.join(MASTER_KEY_FILE))?,
    };
    let mut options = StoreOptions::at(place, master_key);
    if let Some(offset_secs) = quota_day_offset_secs {
        options.quota_day_offset_secs = offset_secs;
    }
    Ok(Store::open(options).await?)
}

/// Takes in the key of the environment, if it has one, and says which.
pub(crate) async fn environment_key(
    store: &Store,
    environment: Environment<'_>,
    now_ms: i64,
) -> anyhow::Result<Option<String>> {
    match (environment("EVERFRESH_SECRET_ID"), environment("EVERFRESH_SECRET_KEY")) {
        (Some(secret_id), Some(secret_key)) => {
            store
                .import_key(&secret_id, &secret_key, "from the environment", now_ms)
                .await
                .context("the key in EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY")?;
            Ok(Some(secret_id))
        }
        (None, None) => Ok(None),
        (Some(_), None) => {
            bail!("EVERFRESH_SECRET_ID is set and EVERFRESH_SECRET_KEY is not: set both or neither")
        }
        (None, Some(_)) => {
            bail!("EVERFRESH_SECRET_KEY is set and EVERFRESH_SECRET_ID is not: set both or neither")
        }
    }
}

/// A key that can be used: a known one, or at the very first start a new one.
///
/// Its secret is shown once, so that it must be made when nothing can fail any more before that.
pub(crate) async fn first_key(store: &Store, now_ms: i64) -> anyhow::Result<FirstKey> {
    let known = store.keys().await?;
    if let Some(key) = known.iter().find(|key| key.enabled) {
        return Ok(FirstKey { secret_id: key.secret_id.clone(), made: None });
    }
    match store.create_first_key("made at the first start", now_ms).await? {
        Ok(key) => {
            Ok(FirstKey { secret_id: key.info.secret_id, made: Some(key.secret_key.reveal().to_owned()) })
        }
        // Another control plane of the same database has made one meanwhile.
        Err(known) => Ok(FirstKey { secret_id: known.secret_id, made: None }),
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}

/// The token that edges of other processes present: of the environment, of the file, or made.
pub(crate) fn edge_token(data: &Path, environment: Environment<'_>) -> anyhow::Result<String> {
    if let Some(token) = environment("EVERFRESH_EDGE_TOKEN") {
        return check_edge_token(token.trim()).context("EVERFRESH_EDGE_TOKEN");
    }
    let path = data.join(EDGE_TOKEN_FILE);
    let token: String = random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            file.write_all(token.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| path.display().to_string())?;
            Ok(token)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_edge_token(&path),
        Err(error) => Err(error).with_context(|| format!("cannot make the edge token {}", path.display())),
    }
}

/// Reads an edge token from its file.
pub(crate) fn read_edge_token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the edge token {}", path.display()))?;
    check_edge_token(text.trim()).with_context(|| path.display().to_string())
}

/// Checks that a text can be a token.
pub(crate) fn check_edge_token(text: &str) -> anyhow::Result<String> {
    if text.is_empty() || text.len() > EDGE_TOKEN_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("an edge token is 1 to {EDGE_TOKEN_BYTES_MAX} printable ASCII characters without spaces");
    }
    Ok(text.to_owned())
}

/// Makes the zone and the domain that the arguments ask for, or brings the domain's origin up to date.
pub(crate) async fn site(
    store: &Store,
    args: &SiteArgs,
    listen: SocketAddr,
    now_ms: i64,
) -> anyhow::Result<Option<Site>> {
    let Some(origin) = &args.origin else { return Ok(None) };
    let from = parse_origin(origin)?;
    let domain = match &args.domain {
        Some(domain) => HostName::parse(domain).with_context(|| format!("--domain {domain}"))?,
        None if listen.ip().is_unspecified() => {
            bail!("--listen {listen} has no host name of its own: say which one to serve with --domain")
        }
        None => HostName::parse(&SocketAddr::new(listen.ip(), 0).to_string()).context("--listen")?,
    };
    let zone_name = match &args.zone {
        Some(zone) => HostName::parse(zone).with_context(|| format!("--zone {zone}"))?,
        None => zone_of(&domain)?,
    };
    if !domain.is_within(&zone_name) {
        bail!("--domain {domain} does not lie in --zone {zone_name}");
    }
    let zones = store.zones().await?;
    let zone_id = match zones.iter().find(|zone| zone.name == zone_name) {
        Some(zone) => zone.id.clone(),
        None => {
            let zone = NewZone {
                name: zone_name.clone(),
                alias: String::new(),
                area: Area::Overseas,
                tags: Vec::new(),
            };
            store.create_zone(zone, now_ms).await?
        }
    };
    serve_from(store, &zone_id, &domain, from, now_ms).await?;
    Ok(Some(Site { zone_id, zone_name, domain, origin: origin.clone() }))
}

/// Makes the domain, or changes the origin of the one that is there.
async fn serve_from(
    store: &Store,
    zone_id: &ZoneId,
    domain: &HostName,
    from: GivenOrigin,
    now_ms: i64,
) -> anyhow::Result<()> {
    let GivenOrigin { protocol, address, port } = from;
    let (http_port, https_port) = if protocol == OriginProtocol::Https { (80, port) } else { (port, 443) };
    match store.domains(zone_id).await?.into_iter().find(|known| known.name == *domain) {
        Some(known)
            if known.origin.address == address
                && (known.protocol, known.http_port, known.https_port)
                    == (protocol, http_port, https_port) => {}
        Some(known) => {
            let change = DomainChange {
                origin: Some(OriginRecord { address, ..known.origin }),
                protocol: Some(protocol),
                http_port: Some(http_port),
                https_port: Some(https_port),
                ..DomainChange::default()
            };
            store.modify_domain(zone_id, domain, change, now_ms).await?;
        }
        None => {
            let origin = OriginRecord {
                address,
                backup: None,
                host_header: None,
                private_access: false,
                private_parameters: Vec::new(),
            };
            let new = DomainRecord {
                zone: zone_id.clone(),
                name: domain.clone(),
                online: true,
                origin,
                protocol,
                http_port,
                https_port,
                ipv6: Ipv6Status::Follow,
                created_ms: now_ms,
                modified_ms: now_ms,
            };
            store.create_domain(new).await?;
        }
    }
    Ok(())
}

/// What `--origin` says.
#[derive(Debug)]
struct GivenOrigin {
    protocol: OriginProtocol,
    address: HostName,
    port: u16,
}

/// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
fn parse_origin(text: &str) -> anyhow::Result<GivenOrigin> {
    let (protocol, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (OriginProtocol::Http, Some(rest)),
        (None, rest) => (OriginProtocol::Https, rest),
    };
    let authority = rest
        .map(|rest| rest.strip_suffix('/').unwrap_or(rest))
        .filter(|rest| !rest.contains(['/', '?', '#', '@']))
        .with_context(|| {
            format!("--origin {text}: write http://HOST[:PORT] or https://HOST[:PORT], without a path")
        })?;
    let host = HostName::parse(authority).with_context(|| format!("--origin {text}"))?;
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let port = match authority[after_bracket..].rsplit_once(':') {
        Some((_, digits)) if !digits.is_empty() => digits
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .with_context(|| format!("--origin {text}: the port must be from 1 to 65535"))?,
        Some(_) | None if protocol == OriginProtocol::Https => 443,
        Some(_) | None => 80,
    };
    Ok(GivenOrigin { protocol, address: host, port })
}

/// The domain without its first label, where that still is a domain name.
fn zone_of(domain: &HostName) -> anyhow::Result<HostName> {
    if domain.is_address() || domain.label_count() < 3 {
        return Ok(domain.clone());
    }
    let (_, parent) = domain.as_str().split_once('.').context("a name of three labels has a dot")?;
    HostName::parse(parent).with_context(|| format!("the zone of {domain}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_refused() {
        let read = |text: &str| {
            let origin = parse_origin(text).ok()?;
            Some(format!("{:?} {} {}", origin.protocol, origin.address, origin.port))
        };
        assert_eq!(read("http://127.0.0.1:9000"), Some("Http 127.0.0.1 9000".into()));
        assert_eq!(read("http://Origin.Example.com/"), Some("Http origin.example.com 80".into()));
        assert_eq!(read("http://[::1]:81"), Some("Http [::1] 81".into()));
        assert_eq!(read("https://a.test"), Some("Https a.test 443".into()));
        assert_eq!(read("https://a.test:8443/"), Some("Https a.test 8443".into()));
        for bad in [
            "127.0.0.1:9000",
            "ftp://a.test",
            "https://",
            "http://",
            "http://a.test/path",
            "http://a:0",
            "http://u@a",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_zone_is_the_domain_without_its_first_label() {
        let zone = |text: &str| zone_of(&HostName::parse(text).unwrap()).unwrap().to_string();
        assert_eq!(zone("www.example.com"), "example.com");
        assert_eq!(zone("example.com"), "example.com");
        assert_eq!(zone("127.0.0.1"), "127.0.0.1");
        assert_eq!(zone("localhost"), "localhost");
    }
}
