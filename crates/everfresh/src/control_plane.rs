//! A running control plane: store, network, recorder, API and, for edges elsewhere, the feed.

use crate::args::{ControlArgs, ControlCommand, ControlPlaneArgs, NewEpochArgs};
use crate::data::{self, Environment, FirstKey};
use anyhow::{Context, bail};
use control::api::{Api, ApiOptions, ApiParts, Readiness};
use control::recorder::Recorder;
use control::{LEASE_RANGE, Network, NetworkSettings, admin_router, check_admin_address, listen, tls};
use edge::Clocks;
use feed::TokenHash;
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::Store;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the parts of the control plane may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long edges that are told to end may take to say so.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(300);

/// A control plane that runs.
pub(crate) struct ControlPlane {
    pub(crate) store: Store,
    pub(crate) network: Network,
    /// The key of the environment.
    environment_key: Option<String>,
    /// `http://…` or `https://…`.
    pub(crate) endpoint: String,
    /// Where it tells of itself.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) feed: Option<SocketAddr>,
    api: JoinHandle<()>,
    recorder: JoinHandle<()>,
    shutdown: watch::Sender<bool>,
}

/// The runtime of a control plane.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the control plane's threads")
}

impl ControlPlane {
    /// Starts everything that `args` ask for. `ready` answers `GET /healthz`.
    pub(crate) async fn start(
        args: &ControlPlaneArgs,
        environment: Environment<'_>,
        wall_clock: fn() -> SystemTime,
        ready: Readiness,
    ) -> anyhow::Result<Self> {
        let (least, most) = LEASE_RANGE;
        if !(least..=most).contains(&args.lease) {
            bail!("--lease must be from {least:?} to {most:?}");
        }
        let tls = match (&args.api_tls_cert, &args.api_tls_key) {
            (Some(cert), Some(key)) => Some(tls::load(cert, key)?),
            _ => {
                tls::check_plain_text(args.api_listen, args.allow_plain_text).context("--api-listen")?;
                None
            }
        };
        let feed_tls = match (&args.feed_tls_cert, &args.feed_tls_key, args.feed_listen) {
            (Some(cert), Some(key), _) => Some(tls::load(cert, key)?),
            (_, _, Some(feed)) if !args.allow_plain_text && !tls::is_loopback(feed) => bail!(
                "--feed-listen {feed} can be reached from other machines, where the log and the edges' token could be \
                 read: give a certificate (--feed-tls-cert, --feed-tls-key), or say --allow-plain-text"
            ),
            _ => None,
        };
        let store =
            data::open(&args.data, args.database.as_deref(), Some(args.quota_reset), environment).await?;
        let environment_key = data::environment_key(&store, environment, unix_ms(wall_clock())).await?;
        let (shutdown, down) = watch::channel(false);
        let settings =
            NetworkSettings { lease: args.lease, boot_clock: Clocks::with_wall(wall_clock).boot, wall_clock };
        let network = Network::start(store.clone(), settings, down.clone());
        let (recorder, task) = Recorder::new(store.clone(), network.clone());
        let recorder_task = tokio::spawn(task.run());
        let api = Api::new(ApiParts {
            store: store.clone(),
            recorder,
            network: network.clone(),
            now_ms: Arc::new(move || unix_ms(wall_clock())),
            ready,
            options: ApiOptions {
                calls_per_sec: args.rate_limit,
                tag_method: args.tag_method,
                refuse_private_origins: args.refuse_private_origins,
            },
        });
        let listener = TcpListener::bind(args.api_listen)
            .await
            .with_context(|| format!("the API can't listen at {}", args.api_listen))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr()?);
        let api = tokio::spawn(listen::serve(listener, tls, api.router(), ended(down.clone())));
        let admin = match args.control_admin_listen {
            None => None,
            Some(address) => Some(start_admin(address, args, &network, down.clone()).await?),
        };
        let feed = match args.feed_listen {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address)
                    .await
                    .with_context(|| format!("the feed can't listen at {address}"))?;
                let address = listener.local_addr()?;
                let token = TokenHash::of(&data::edge_token(&args.data, environment)?);
                let comment = "edge.token of a control plane's data directory";
                store.add_join_token(token.bytes(), comment, None, unix_ms(wall_clock())).await?;
                tokio::spawn(feed::serve(listener, feed_tls, network.gate(), network.accept(), ended(down)));
                Some(address)
            }
        };
        Ok(Self {
            store,
            network,
            environment_key,
            endpoint,
            admin,
            feed,
            api,
            recorder: recorder_task,
            shutdown,
        })
    }

    /// The key to use: of the environment, known, or new. The last step of a start, right before it is shown.
    pub(crate) async fn first_key(&self, now_ms: i64) -> anyhow::Result<FirstKey> {
        match &self.environment_key {
            Some(secret_id) => Ok(FirstKey { secret_id: secret_id.clone(), made: None }),
            None => data::first_key(&self.store, now_ms).await,
        }
    }

    /// Ends everything: requests under way first, the database last.
    pub(crate) async fn stop(self) {
        self.network.links_ended(LEAVE_TIMEOUT).await;
        self.shutdown.send_replace(true);
        let _ = tokio::time::timeout(END_TIMEOUT, self.api).await;
        // It ends by itself once the API is gone, and cuts no commit off.
        let _ = tokio::time::timeout(END_TIMEOUT, self.recorder).await;
        self.network.ended(END_TIMEOUT).await;
        let _ = tokio::time::timeout(END_TIMEOUT, self.store.close()).await;
    }
}

/// Starts the admin server, and tells where it listens.
async fn start_admin(
    address: SocketAddr,
    args: &ControlPlaneArgs,
    network: &Network,
    down: watch::Receiver<bool>,
) -> anyhow::Result<SocketAddr> {
    let allow_remote = args.control_admin_allow_remote;
    check_admin_address(address, allow_remote)
        .context("--control-admin-listen; --control-admin-allow-remote allows it")?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("the control plane's admin server can't listen at {address}"))?;
    let address = listener.local_addr()?;
    let router = admin_router(network.clone(), allow_remote);
    tokio::spawn(listen::serve(listener, None, router, ended(down)));
    Ok(address)
}

/// Runs a control plane alone, until it is told to end; or does what a subcommand asks for.
pub(crate) fn run(
    args: ControlArgs,
    environment: Environment<'_>,
    wall_clock: fn() -> SystemTime,
) -> anyhow::Result<()> {
    if let Some(ControlCommand::NewEpoch(args)) = args.command {
        return runtime()?.block_on(new_epoch(&args, environment, wall_clock));
    }
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let control =
            ControlPlane::start(&args.control, environment, wall_clock, Arc::new(|| Ok(()))).await?;
        let key = control.first_key(unix_ms(wall_clock())).await?;
        let snapshot = control.store.config_snapshot().await?;
        let serves_nothing = snapshot.zones.iter().all(|zone| zone.domains.is_empty());
        let mut out = std::io::stdout().lock();
        if args.control.json {
            let line = json!({
                "api": control.endpoint,
                "feed": control.feed.map(|address| address.to_string()),
                "control_admin": control.admin.map(|address| address.to_string()),
                "secret_id": key.secret_id,
                "secret_key": key.made,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "everfresh control plane: ready")?;
            writeln!(out, "  API     {}", control.endpoint)?;
            if let Some(admin) = control.admin {
                writeln!(out, "  admin   http://{admin}  (control plane)")?;
            }
            if let Some(feed) = control.feed {
                let token = args.control.data.join("edge.token");
                writeln!(out, "  feed    {feed}")?;
                writeln!(out, "\nAn edge joins with:")?;
                writeln!(out, "  everfresh edge --control {feed} --token-file {}", token.display())?;
            }
            print_key(&mut out, &key)?;
            print_endpoint(&mut out, &control.endpoint)?;
            if serves_nothing {
                print_first_steps(&mut out)?;
            }
        }
        out.flush()?;
        drop(out);
        signals.wait().await;
        control.stop().await;
        Ok(())
    })
}

/// Begins another epoch of the purge log.
async fn new_epoch(
    args: &NewEpochArgs,
    environment: Environment<'_>,
    wall_clock: fn() -> SystemTime,
) -> anyhow::Result<()> {
    let store = data::open(&args.data, args.database.as_deref(), None, environment).await?;
    let log = store.renew_epoch(unix_ms(wall_clock())).await?;
    store.close().await;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "the log has a new epoch, and its head is {}: edges count all they hold as deleted",
        log.head
    )?;
    Ok(())
}

/// Prints the key, the secret only when it was made just now.
pub(crate) fn print_key(out: &mut impl Write, key: &FirstKey) -> std::io::Result<()> {
    match &key.made {
        Some(secret_key) => {
            writeln!(out, "\nThe first API key. The secret is shown this once:")?;
            writeln!(out, "  export EVERFRESH_SECRET_ID={}", key.secret_id)?;
            writeln!(out, "  export EVERFRESH_SECRET_KEY={secret_key}")
        }
        None => writeln!(out, "  key     {}", key.secret_id),
    }
}

/// Prints how the client's commands find the API, if that is not where they look by themselves.
pub(crate) fn print_endpoint(out: &mut impl Write, endpoint: &str) -> std::io::Result<()> {
    if endpoint == "http://127.0.0.1:8090" {
        return Ok(());
    }
    writeln!(out, "  export EVERFRESH_ENDPOINT={endpoint}")
}

/// Prints what to do while no domain is served.
pub(crate) fn print_first_steps(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\nNothing is served yet. Make a zone and a domain:")?;
    writeln!(out, "  everfresh zone create example.com")?;
    writeln!(out, "  everfresh domain create www.example.com --origin http://127.0.0.1:9000")
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn ended(mut down: watch::Receiver<bool>) {
    // An error means that the control plane is gone, which is the same.
    let _ = down.wait_for(|down| *down).await;
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
