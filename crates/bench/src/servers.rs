//! The servers that are compared.

use crate::api::{Api, SECRET_ID, SECRET_KEY};
use crate::configs;
use crate::load::HOST;
use crate::process::{Process, free_address};
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long Everfresh may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Everfresh,
    Nginx,
    NginxOpenFiles,
    Varnish,
    Haproxy,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] =
        [Self::Everfresh, Self::Nginx, Self::NginxOpenFiles, Self::Varnish, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Everfresh => "Everfresh",
            Self::Nginx => "nginx",
            Self::NginxOpenFiles => "nginx, open_file_cache",
            Self::Varnish => "Varnish",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Whether it can be purged.
    pub(crate) fn is_purged(self) -> bool {
        matches!(self, Self::Everfresh | Self::Varnish)
    }
}

/// A running one.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Everfresh's API and its zone.
    pub(crate) api: Option<(SocketAddr, String)>,
    _work: TempDir,
}

impl Server {
    pub(crate) fn start(kind: Kind, binary: &Path, origin: SocketAddr) -> anyhow::Result<Self> {
        let work = work_directory()?;
        let address = free_address()?;
        let log = work.path().join("log");
        let mut api = None;
        let mut command = match kind {
            Kind::Everfresh => {
                let listen = free_address()?;
                api = Some(listen);
                everfresh(binary, address, listen, origin, work.path())
            }
            Kind::Nginx | Kind::NginxOpenFiles => {
                let path = work.path().join("nginx.conf");
                std::fs::write(
                    &path,
                    configs::nginx(address, origin, work.path(), kind == Kind::NginxOpenFiles),
                )?;
                let mut command = Command::new("nginx");
                command.arg("-c").arg(path).arg("-p").arg(work.path());
                command
            }
            Kind::Varnish => {
                let path = work.path().join("bench.vcl");
                std::fs::write(&path, configs::varnish(origin))?;
                let mut command = Command::new("varnishd");
                command.args([
                    "-F",
                    "-j",
                    "none",
                    "-s",
                    "malloc,8g",
                    "-p",
                    "thread_pools=1",
                    "-p",
                    "thread_pool_min=100",
                ]);
                command
                    .arg("-a")
                    .arg(address.to_string())
                    .arg("-f")
                    .arg(path)
                    .arg("-n")
                    .arg(work.path().join("v"));
                command
            }
            Kind::Haproxy => {
                let path = work.path().join("haproxy.cfg");
                std::fs::write(&path, configs::haproxy(address, origin))?;
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(path);
                command
            }
        };
        let started = Process::start(&mut command, address, &log);
        let process = started.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        let api = match api {
            Some(api) => {
                let zone = zone_of(&log)?;
                Api::connect(api)?.lift_quotas(&zone)?;
                Some((api, zone))
            }
            None => None,
        };
        Ok(Self { kind, process, address, api, _work: work })
    }
}

/// In memory where there is such a file system, so that no disk is measured.
fn work_directory() -> anyhow::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let work = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }?;
    // nginx's workers give up root.
    let mut mode = std::fs::metadata(work.path())?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(work.path(), mode)?;
    Ok(work)
}

fn everfresh(binary: &Path, listen: SocketAddr, api: SocketAddr, origin: SocketAddr, work: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--json", "--workers", "1", "--memory", "8GiB", "--rate-limit", "0"])
        .args(["--zone", "bench.test", "--domain", HOST])
        .args(["--listen", &listen.to_string(), "--api-listen", &api.to_string()])
        .args(["--origin", &format!("http://{origin}")])
        .arg("--data")
        .arg(work.join("data"))
        .env("EVERFRESH_LOG", "warn")
        .env("EVERFRESH_SECRET_ID", SECRET_ID)
        .env("EVERFRESH_SECRET_KEY", SECRET_KEY);
    command
}

/// The zone, from the line that Everfresh prints when it is ready.
fn zone_of(log: &Path) -> anyhow::Result<String> {
    let started = Instant::now();
    loop {
        let text = std::fs::read_to_string(log)?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if let Some(zone) = lines.filter_map(|line| line["zone_id"].as_str().map(str::to_owned)).next() {
            return Ok(zone);
        }
        if started.elapsed() > READY_TIMEOUT {
            bail!("Everfresh is not ready: {text}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
