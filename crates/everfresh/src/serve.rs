//! A control plane and its edges in one process.

use crate::args::ServeArgs;
use crate::control_plane::{
    ControlPlane, Signals, print_endpoint, print_first_steps, print_key, runtime, unix_ms,
};
use crate::data::{self, Environment, FirstKey, Site};
use crate::edge_process;
use anyhow::Context;
use control::api::Readiness;
use edge::{Clocks, EdgeHandle, LogLevel, TierToken};
use feed::InProcess;
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// How long edges may take until they are ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many domains are named at the start.
const DOMAINS_SHOWN_MAX: usize = 5;

/// How often it is looked whether they are.
const READY_POLL: Duration = Duration::from_millis(5);

/// Whether an edge is ready.
type Question = Box<dyn Fn() -> bool + Send + Sync>;

/// A control plane with edges.
pub(crate) struct Served {
    pub(crate) control: ControlPlane,
    pub(crate) key: FirstKey,
    pub(crate) site: Option<Site>,
    /// The first domains that are served, and how many there are.
    domains: (Vec<String>, usize),
    pub(crate) edges: Vec<EdgeHandle>,
}

impl Served {
    /// Starts everything and waits until each edge has its configuration and a lease.
    pub(crate) async fn start(
        args: &ServeArgs,
        environment: Environment<'_>,
        wall_clock: fn() -> SystemTime,
        log_level: Option<&LogLevel>,
    ) -> anyhow::Result<Self> {
        let all_ready: Arc<OnceLock<Vec<Question>>> = Arc::default();
        let asked = Arc::clone(&all_ready);
        let ready: Readiness = Arc::new(move || match asked.get() {
            Some(edges) if edges.iter().all(|is_ready| is_ready()) => Ok(()),
            Some(_) => Err("an edge waits for its configuration or its lease".into()),
            None => Err("the edges are starting".into()),
        });
        let configs = edge_process::settings_beside_control_plane(args, log_level)?;
        let control = ControlPlane::start(&args.control, environment, wall_clock, ready).await?;
        // Edges of other processes may ask these as their parents.
        let token = TierToken::new(&data::edge_token(&args.control.data, environment)?)?;
        let mut edges = Vec::new();
        for mut config in configs {
            config.tiers.token = Some(token.clone());
            let feed = InProcess::new(control.network.accept());
            edges.push(edge::start(config, feed, Clocks::with_wall(wall_clock))?);
        }
        let first: SocketAddr = edges.first().map(EdgeHandle::address).context("no --listen")?;
        let site = data::site(&control.store, &args.site, first, unix_ms(wall_clock())).await?;
        let snapshot = control.store.config_snapshot().await?;
        let names = || {
            snapshot.zones.iter().flat_map(|zone| zone.domains.iter().map(|domain| domain.name.to_string()))
        };
        let domains = (names().take(DOMAINS_SHOWN_MAX).collect(), names().count());
        control.network.wake();
        // An edge may have got its first configuration before the site was part of it: that is not enough.
        let version = snapshot.version.max(1);
        let questions = edges.iter().map(|edge| Box::new(edge.readiness(version)) as Question);
        let questions = all_ready.get_or_init(|| questions.collect());
        let ready = async {
            while !questions.iter().all(|is_ready| is_ready()) {
                tokio::time::sleep(READY_POLL).await;
            }
        };
        tokio::time::timeout(READY_TIMEOUT, ready).await.context(
            "the edges got no configuration and lease from the control plane of their own process",
        )?;
        let key = control.first_key(unix_ms(wall_clock())).await?;
        Ok(Self { control, key, site, domains, edges })
    }

    /// Ends edges first, so that they give up their leases while the control plane still listens.
    pub(crate) async fn stop(self) {
        for edge in &self.edges {
            edge.shut_down();
        }
        for edge in self.edges {
            let _ = tokio::task::spawn_blocking(move || edge.stop()).await;
        }
        self.control.stop().await;
    }
}

/// Serves until told to end.
pub(crate) fn run(
    args: ServeArgs,
    environment: Environment<'_>,
    wall_clock: fn() -> SystemTime,
    log_level: LogLevel,
) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let served = Served::start(&args, environment, wall_clock, Some(&log_level)).await?;
        {
            let mut out = std::io::stdout().lock();
            if args.control.json {
                print_json(&mut out, &served)?
            } else {
                print_text(&mut out, &served)?
            }
            out.flush()?;
        }
        let mut reload = signal(SignalKind::hangup())?;
        let reloading = async {
            while reload.recv().await.is_some() {
                served.edges.iter().for_each(EdgeHandle::reload_certificates);
                served.edges.iter().for_each(EdgeHandle::reopen_access_log);
            }
        };
        tokio::select! {
            () = signals.wait() => {}
            () = reloading => {}
        }
        served.stop().await;
        Ok(())
    })
}

fn print_json(out: &mut impl Write, served: &Served) -> std::io::Result<()> {
    let edges: Vec<String> = served.edges.iter().map(|edge| edge.address().to_string()).collect();
    let admins: Vec<String> = served
        .edges
        .iter()
        .filter_map(EdgeHandle::admin_address)
        .map(|address| address.to_string())
        .collect();
    let line = json!({
        "edges": edges,
        "admin": admins,
        "api": served.control.endpoint,
        "feed": served.control.feed.map(|address| address.to_string()),
        "control_admin": served.control.admin.map(|address| address.to_string()),
        "zone_id": served.site.as_ref().map(|site| site.zone_id.to_string()),
        "domain": served.site.as_ref().map(|site| site.domain.to_string()),
        "secret_id": served.key.secret_id,
        "secret_key": served.key.made,
    });
    writeln!(out, "{line}")
}

fn print_text(out: &mut impl Write, served: &Served) -> std::io::Result<()> {
    let control = &served.control;
    writeln!(out, "everfresh: ready")?;
    for (index, edge) in served.edges.iter().enumerate() {
        writeln!(out, "  edge    http://{}  (edge-{})", edge.address(), index + 1)?;
        if let Some(address) = edge.tls_address() {
            writeln!(out, "  edge    https://{address}  (edge-{})", index + 1)?;
        }
        if let Some(admin) = edge.admin_address() {
            writeln!(out, "  admin   http://{admin}  (edge-{})", index + 1)?;
        }
    }
    writeln!(out, "  API     {}", control.endpoint)?;
    if let Some(admin) = control.admin {
        writeln!(out, "  admin   http://{admin}  (control plane)")?;
    }
    if let Some(feed) = control.feed {
        writeln!(out, "  feed    {feed}")?;
    }
    if let Some(site) = &served.site {
        writeln!(out, "  zone    {}  {}", site.zone_name, site.zone_id)?;
        writeln!(out, "  domain  {} from {}", site.domain, site.origin)?;
    }
    if served.site.is_none() && served.domains.1 > 0 {
        let (shown, count) = (served.domains.0.join(", "), served.domains.1);
        let more = count.saturating_sub(DOMAINS_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        writeln!(out, "  serves  {shown}{more}")?;
    }
    print_key(out, &served.key)?;
    if served.key.made.is_none() {
        writeln!(out, "\nSet EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY to that key to use the client.")?;
    }
    print_endpoint(out, &control.endpoint)?;
    match &served.site {
        None if served.domains.1 > 0 => Ok(()),
        None => print_first_steps(out),
        Some(site) => {
            writeln!(out, "\nPurge with:")?;
            writeln!(out, "  everfresh purge host {} --wait", site.domain)?;
            writeln!(out, "or with the official client:")?;
            writeln!(
                out,
                "  tccli teo CreatePurgeTask --endpoint {} \\\n    --secretId \"$EVERFRESH_SECRET_ID\" \
                 --secretKey \"$EVERFRESH_SECRET_KEY\" --region ap-guangzhou \\\n    --ZoneId {} --Type purge_host \
                 --Targets '[\"{}\"]'",
                control.endpoint, site.zone_id, site.domain
            )
        }
    }
}
