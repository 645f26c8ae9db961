//! An edge that follows a control plane of another process.

use crate::args::{EdgeArgs, EdgeLimitArgs, EntranceArgs, OperatingArgs, OriginTrustArgs, ServeArgs};
use crate::control_plane::Signals;
use crate::data::{self, Environment};
use crate::edge_file::{EdgeFile, certificate_files};
use anyhow::{Context, bail};
use edge::{AdminConfig, Clocks, EdgeConfig, EdgeHandle, LogLevel, OriginTrust, Parent, TierToken};
use feed::{ControlAddress, ControlTrust, Credentials, Http2, KEY_FILE};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// Where an edge listens unless it is told.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// How often the edge looks whether it is ready, until it has said so.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// After so many looks it says that it serves without a lease.
const LOOKS_BEFORE_FENCED: u32 = 100;

/// The settings of edges: the flags' where they say something, else the file's, else the defaults.
pub(crate) fn settings(
    limits: &EdgeLimitArgs,
    trust: &OriginTrustArgs,
    entrance: &EntranceArgs,
    operating: &OperatingArgs,
) -> anyhow::Result<EdgeFile> {
    let mut settings = match &limits.config {
        Some(path) => EdgeFile::read(path)?,
        None => EdgeFile::absent(),
    };
    if let Some(workers) = limits.workers {
        settings.config.workers = workers;
    }
    if let Some(memory) = limits.memory {
        settings.config.memory_bytes = memory;
    }
    settings.object_max = limits.object_max.or(settings.object_max);
    settings.settle_object_max();
    if trust.dangerously_accept_any_origin_certificate {
        settings.config.origin_trust = OriginTrust::DangerouslyAnyCertificate;
    } else if !trust.origin_ca.is_empty() {
        settings.config.origin_trust = OriginTrust::AlsoAuthoritiesOf(trust.origin_ca.clone());
    }
    if !operating.admin_listen.is_empty() {
        settings.admin_listen.clone_from(&operating.admin_listen);
    }
    settings.admin_allow_remote |= operating.admin_allow_remote;
    if let Some(file) = &operating.access_log {
        settings.access_log_file = Some(file.clone());
    }
    settings.settle_access_log();
    open_entrance(entrance, &mut settings)?;
    Ok(settings)
}

/// How clients connect: the flags' where they say something.
fn open_entrance(entrance: &EntranceArgs, settings: &mut EdgeFile) -> anyhow::Result<()> {
    settings.config.plain_http2 |= entrance.plain_http2;
    if !entrance.proxy_protocol_from.is_empty() {
        settings.config.proxy_protocol_from.clone_from(&entrance.proxy_protocol_from);
    }
    let files = certificate_files(entrance.tls_cert.clone(), entrance.tls_key.clone());
    let files = files.map_err(anyhow::Error::msg).context("--tls-cert and --tls-key")?;
    if !files.is_empty() || entrance.tls_dir.is_some() {
        settings.tls.files = files;
        settings.tls.directory.clone_from(&entrance.tls_dir);
    }
    let tls = &mut settings.tls;
    let has_certificates = !tls.files.is_empty() || tls.directory.is_some();
    match (entrance.tls_listen.or(settings.tls_listen), has_certificates) {
        (Some(listen), true) => {
            tls.listen = listen;
            settings.config.tls = Some(tls.clone());
        }
        (Some(listen), false) => bail!(
            "there is no certificate for {listen}: give --tls-cert and --tls-key, or --tls-dir, or set them under [tls]"
        ),
        (None, true) => {
            bail!(
                "there are certificates, but no address to use them at: give --tls-listen, or set it under [tls]"
            )
        }
        (None, false) => {}
    }
    Ok(())
}

/// The admin servers of so many edges: none, or one for each.
fn admins(
    settings: &EdgeFile,
    edges: usize,
    log_level: Option<&LogLevel>,
) -> anyhow::Result<Vec<Option<AdminConfig>>> {
    let addresses = &settings.admin_listen;
    if addresses.is_empty() {
        return Ok(vec![None; edges]);
    }
    if addresses.len() != edges {
        bail!(
            "there are {} admin addresses for {edges} edges: give one for each, with --admin-listen or admin.listen",
            addresses.len()
        );
    }
    let admin = |listen: &SocketAddr| AdminConfig {
        listen: *listen,
        allow_remote: settings.admin_allow_remote,
        log_level: log_level.cloned(),
    };
    Ok(addresses.iter().map(|listen| Some(admin(listen))).collect())
}

/// The settings of each edge of a process that runs a control plane, too.
pub(crate) fn settings_beside_control_plane(
    args: &ServeArgs,
    log_level: Option<&LogLevel>,
) -> anyhow::Result<Vec<EdgeConfig>> {
    let settings = settings(&args.limits, &args.trust, &args.entrance, &args.operating)?;
    for (key, is_set) in [
        ("name", settings.name.is_some()),
        ("control", settings.control.is_some()),
        ("control_ca", settings.control_ca.is_some()),
        ("token_file", settings.token_file.is_some()),
        ("data", settings.data.is_some()),
        ("hand_over", settings.config.hand_over.is_some()),
        ("tiers.parents", !settings.parents.is_empty()),
    ] {
        if is_set {
            bail!(
                "the configuration sets {key:?}, which is for everfresh edge: the edges of everfresh serve are named \
                 edge-1, edge-2 and so on, and follow the control plane of their own process"
            );
        }
    }
    let listen = [&args.listen[..], &settings.listen, &[LISTEN]].into_iter().find(|given| !given.is_empty());
    if settings.config.tls.is_some() && listen.is_some_and(|listen| listen.len() > 1) {
        bail!(
            "several edges can't share one address for TLS: give one --listen, or run everfresh edge for each"
        );
    }
    let listen = listen.unwrap_or_default();
    let admins = admins(&settings, listen.len(), log_level)?;
    let disk = args.disk.clone().or(settings.disk.clone());
    let config = |(index, (listen, admin)): (usize, (&SocketAddr, Option<AdminConfig>))| {
        let name = format!("edge-{}", index + 1);
        let disk = disk.of_edge(&name, &args.control.data.join("cache"));
        EdgeConfig { name, listen: *listen, admin, disk, ..settings.config.clone() }
    };
    Ok(listen.iter().zip(admins).enumerate().map(config).collect())
}

/// The parents that these texts name.
fn parents_of(texts: &[String], allow_plain_text: bool) -> anyhow::Result<Vec<Parent>> {
    let parent = |text: &String| {
        let parent = Parent::parse(text)?;
        if parent.is_exposed() && !allow_plain_text {
            bail!(
                "the parent {text} is on another machine, and over plain http the edge token could be read on the way \
                 there: use https, or say --allow-plain-text"
            );
        }
        Ok(parent)
    };
    texts.iter().map(parent).collect()
}

/// Opens links to the control planes that these say.
fn feed_of(control: &str, control_ca: Option<PathBuf>, credentials: Credentials) -> anyhow::Result<Http2> {
    let addresses = ControlAddress::parse_list(control).context("--control")?;
    let trust = control_ca.map_or(ControlTrust::PublicAuthorities, ControlTrust::AuthoritiesOf);
    let first = usize::from(u16::from_be_bytes(data::random()?));
    Ok(Http2::new(addresses, trust, first, credentials)?)
}

/// What the edge shows to be let in.
fn credentials_of(name: &str, token: Option<String>, keeps: Option<&Path>) -> anyhow::Result<Credentials> {
    let how = "give --token-file with the control plane's edge.token, or set EVERFRESH_EDGE_TOKEN to what \
               \"everfresh edges token create\" printed";
    match (token, keeps) {
        (token, Some(directory)) if token.is_some() || directory.join(KEY_FILE).exists() => {
            Ok(Credentials::kept(name, token, directory)?)
        }
        (Some(token), None) => Ok(Credentials::in_memory(name, token)),
        (_, Some(directory)) => bail!("no join token, and no key in {}: {how}", directory.display()),
        (None, None) => bail!("no join token: {how}"),
    }
}

/// Says where the edge serves, once it does, and before that that it does so without a lease.
async fn announce(name: &str, edge: &EdgeHandle) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let ready = edge.readiness(1);
    let mut looks = 0;
    while !ready() {
        looks += 1;
        if looks == LOOKS_BEFORE_FENCED && edge.is_configured() {
            let address = edge.address();
            writeln!(
                out,
                "everfresh edge {name}: no lease yet, everything from origins, at http://{address}"
            )?;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    writeln!(out, "everfresh edge {name}: ready at http://{}", edge.address())?;
    if let Some(admin) = edge.admin_address() {
        writeln!(out, "everfresh edge {name}: admin server at http://{admin}")?;
    }
    match edge.tls_address() {
        Some(address) => writeln!(out, "everfresh edge {name}: ready at https://{address}"),
        None => Ok(()),
    }
}

/// Runs one edge until it is told to end.
pub(crate) fn run(
    args: EdgeArgs,
    environment: Environment<'_>,
    wall_clock: fn() -> SystemTime,
    log_level: LogLevel,
) -> anyhow::Result<()> {
    let settings = settings(&args.limits, &args.trust, &args.entrance, &args.operating)?;
    let admin = admins(&settings, 1, Some(&log_level))?.pop().flatten();
    let mut config = settings.config;
    config.hand_over = args.hand_over.or(config.hand_over);
    config.fence_policy = args.fence_policy.unwrap_or(config.fence_policy);
    config.acks_only |= args.acks_only;
    config.admin = admin;
    config.name = args.name.or(settings.name).unwrap_or(config.name);
    config.listen = match (args.listen, &settings.listen[..]) {
        (Some(listen), _) | (None, &[listen]) => listen,
        (None, []) => LISTEN,
        (None, _) => bail!("\"listen\" is a list: everfresh edge runs one edge, everfresh serve several"),
    };
    let control = args.control.or(settings.control).context(
        "no control plane to follow: give --control, or set \"control\" in the configuration file",
    )?;
    let control_ca = args.control_ca.or(settings.control_ca);
    let token_file = args.token_file.or(settings.token_file);
    let token = match (&token_file, environment("EVERFRESH_EDGE_TOKEN")) {
        (Some(path), _) => Some(data::read_edge_token(path)?),
        (None, Some(token)) => Some(data::check_edge_token(token.trim()).context("EVERFRESH_EDGE_TOKEN")?),
        (None, None) => None,
    };
    let parents = if args.parent.is_empty() { settings.parents } else { args.parent };
    config.tiers.parents = parents_of(&parents, args.allow_plain_text || settings.allow_plain_text)?;
    config.tiers.token = token.as_deref().map(TierToken::new).transpose()?;
    if config.tiers.token.is_none() && !config.tiers.parents.is_empty() {
        bail!("a parent wants to see the edge token: give --token-file, or set EVERFRESH_EDGE_TOKEN");
    }
    let disk = args.disk.or(settings.disk);
    if disk.disk.is_none() && disk.disk_size.is_some() {
        bail!(
            "--disk-size needs a directory: say which with --disk, or with \"disk\" in the configuration file"
        );
    }
    config.disk = disk.of_edge(&config.name, Path::new(""));
    let keeps = args.data.or(settings.data).map(|data| data.join(&config.name));
    let keeps = keeps.or_else(|| config.disk.as_ref().map(|disk| disk.directory.clone()));
    config.configuration_file = keeps.as_ref().map(|directory| directory.join("configuration"));
    let feed = feed_of(&control, control_ca, credentials_of(&config.name, token, keeps.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        let mut reload = signal(SignalKind::hangup())?;
        let name = config.name.clone();
        let edge = edge::start(config, feed, Clocks::with_wall(wall_clock))?;
        let wait = async {
            // A standard output that is gone is no reason to stop serving.
            let _ = announce(&name, &edge).await;
            std::future::pending::<()>().await;
        };
        let reloading = async {
            while reload.recv().await.is_some() {
                edge.reload_certificates();
                edge.reopen_access_log();
            }
        };
        tokio::select! {
            () = signals.wait() => {}
            () = edge.handed_over() => {}
            () = wait => {}
            () = reloading => {}
        }
        edge.stop();
        Ok(())
    })
}
