//! An edge that follows a control plane of another process.

use crate::args::{EdgeArgs, EdgeLimitArgs, OriginTrustArgs};
use crate::control_plane::Signals;
use crate::data::{self, Environment};
use anyhow::{Context, bail};
use edge::{Clocks, EdgeConfig, OriginTrust};
use feed::Http2;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// The settings of an edge.
pub(crate) fn config(
    name: String,
    listen: SocketAddr,
    limits: &EdgeLimitArgs,
    trust: &OriginTrustArgs,
) -> EdgeConfig {
    let mut config = EdgeConfig::new(name, listen);
    if let Some(workers) = limits.workers {
        config.workers = workers;
    }
    config.memory_bytes = limits.memory;
    config.object_bytes_max = limits.object_max.min(limits.memory);
    if trust.dangerously_accept_any_origin_certificate {
        config.origin_trust = OriginTrust::DangerouslyAnyCertificate;
    } else if !trust.origin_ca.is_empty() {
        config.origin_trust = OriginTrust::AlsoAuthoritiesOf(trust.origin_ca.clone());
    }
    config
}

/// Runs one edge until it is told to end.
pub(crate) fn run(
    args: EdgeArgs,
    environment: Environment<'_>,
    wall_clock: fn() -> SystemTime,
) -> anyhow::Result<()> {
    let token = match (&args.token_file, environment("EVERFRESH_EDGE_TOKEN")) {
        (Some(path), _) => data::read_edge_token(path)?,
        (None, Some(token)) => data::check_edge_token(token.trim()).context("EVERFRESH_EDGE_TOKEN")?,
        (None, None) => {
            bail!(
                "no edge token: give --token-file with the control plane's edge.token, or set EVERFRESH_EDGE_TOKEN"
            )
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let signals = Signals::listen()?;
        let config = config(args.name.clone(), args.listen, &args.limits, &args.trust);
        let edge =
            edge::start(config, Http2::new(args.control.clone(), token), Clocks::with_wall(wall_clock))?;
        let ready = edge.readiness(1);
        let announce = async {
            while !ready() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            writeln!(std::io::stdout(), "everfresh edge {}: ready at http://{}", args.name, edge.address())
        };
        let wait = async {
            // A standard output that is gone is no reason to stop serving.
            let _ = announce.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = signals.wait() => {}
            () = wait => {}
        }
        edge.stop();
        Ok(())
    })
}
