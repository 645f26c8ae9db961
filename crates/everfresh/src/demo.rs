//! The main job at work, from an empty directory to a purge that holds: an origin, a control plane, two edges.
//!
//! One edge follows the control plane in process, the other over a network connection, as an edge on another host
//! would. What the story claims is checked as it is told: the demo fails if an edge serves what it should not.

use crate::args::{
    ControlPlaneArgs, DemoArgs, DiskArgs, EdgeLimitArgs, EntranceArgs, OperatingArgs, OriginTrustArgs,
    ServeArgs, SiteArgs,
};
use crate::control_plane::{Signals, runtime};
use crate::data;
use crate::demo_origin::{DemoOrigin, SLOW_PATH};
use crate::edge_process;
use crate::serve::Served;
use anyhow::{Context, bail, ensure};
use edge::{Clocks, EdgeConfig, EdgeHandle};
use feed::{ControlTrust, Credentials, Http2};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const DOMAIN: &str = "www.example.com";

/// How long a client may take for one call.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a task may take: the lease and its drift, and a generous rest for a busy machine.
const TASK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer of an edge may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

struct Demo {
    origin: DemoOrigin,
    served: Served,
    far_edge: EdgeHandle,
    tccli: Option<PathBuf>,
    home: PathBuf,
    zone_id: String,
    secret: (String, String),
    wall_clock: fn() -> SystemTime,
    checks: u32,
}

/// An answer of an edge.
#[derive(Debug)]
struct Answer {
    body: String,
    eo_cache_status: String,
}

/// Tells the story. Ends with an error if an edge does not do what it should.
pub(crate) fn run(args: DemoArgs, wall_clock: fn() -> SystemTime) -> anyhow::Result<()> {
    if let Some(tccli) = &args.tccli {
        ensure!(tccli.exists(), "{} is not there: \"make demo\" installs it", tccli.display());
    }
    let home = Scratch::make()?;
    runtime()?.block_on(async {
        let signals = Signals::listen()?;
        let mut demo = Demo::start(&args, home.path.clone(), wall_clock).await?;
        demo.tell().await?;
        if args.stay {
            demo.say(&format!(
                "\nThe network stays up until you press Ctrl-C. API {}, edges http://{} and http://{}\n  \
                 export EVERFRESH_ENDPOINT={} EVERFRESH_SECRET_ID={} EVERFRESH_SECRET_KEY={}",
                demo.served.control.endpoint,
                demo.near(),
                demo.far_edge.address(),
                demo.served.control.endpoint,
                demo.secret.0,
                demo.secret.1
            ))?;
            signals.wait().await;
        }
        demo.far_edge.shut_down();
        let far_edge = demo.far_edge;
        let _ = tokio::task::spawn_blocking(move || far_edge.stop()).await;
        demo.served.stop().await;
        Ok(())
    })
}

impl Demo {
    async fn start(args: &DemoArgs, home: PathBuf, wall_clock: fn() -> SystemTime) -> anyhow::Result<Self> {
        let origin = DemoOrigin::start().await?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let limits = EdgeLimitArgs {
            workers: Some(1),
            memory: Some(64 << 20),
            object_max: Some(8 << 20),
            ..EdgeLimitArgs::default()
        };
        let serve = ServeArgs {
            listen: vec![free],
            control: ControlPlaneArgs {
                api_listen: free,
                api_tls_cert: None,
                api_tls_key: None,
                allow_plain_text: false,
                data: home.join("data"),
                database: None,
                feed_listen: Some(free),
                feed_tls_cert: None,
                feed_tls_key: None,
                lease: Duration::from_secs(5),
                rate_limit: 20,
                quota_reset: 8 * 3600,
                control_admin_listen: None,
                control_admin_allow_remote: false,
                tag_method: purge::Method::Invalidate,
                refuse_private_origins: false,
                json: false,
            },
            site: SiteArgs {
                domain: Some(DOMAIN.into()),
                origin: Some(format!("http://{}", origin.address)),
                zone: None,
            },
            limits: limits.clone(),
            disk: DiskArgs::default(),
            trust: OriginTrustArgs::default(),
            entrance: EntranceArgs::default(),
            operating: OperatingArgs::default(),
        };
        let served = Served::start(&serve, &|_| None, wall_clock, None).await?;
        let feed = served.control.feed.context("the feed listens")?;
        let token = data::read_edge_token(&serve.control.data.join("edge.token"))?;
        let config = EdgeConfig {
            name: "edge-2".into(),
            listen: free,
            ..edge_process::settings(&limits, &serve.trust, &serve.entrance, &serve.operating)?.config
        };
        let follow = Http2::new(
            vec![feed.to_string().parse()?],
            ControlTrust::default(),
            0,
            Credentials::in_memory("edge-2", token),
        )?;
        let far_edge = edge::start(config, follow, Clocks::with_wall(wall_clock))?;
        while !far_edge.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let zone_id = served.site.as_ref().context("the site was asked for")?.zone_id.to_string();
        let secret_key = served.key.made.clone().context("an empty directory has no key")?;
        let secret = (served.key.secret_id.clone(), secret_key);
        let tccli = args.tccli.clone();
        Ok(Self { origin, served, far_edge, tccli, home, zone_id, secret, wall_clock, checks: 0 })
    }

    fn near(&self) -> SocketAddr {
        self.served.edges[0].address()
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        self.say(&format!(
            "Started: an origin at http://{}, the control plane at {},\n  edge-1 at http://{} (in process) and edge-2 \
             at http://{} (over the network).",
            self.origin.address,
            self.served.control.endpoint,
            self.near(),
            self.far_edge.address()
        ))?;

        self.say("\n1. Both edges cache a page.")?;
        self.expect("/news", 1, "MISS").await?;
        self.expect("/news", 1, "HIT").await?;

        self.origin.publish();
        self.origin.take_asked();
        self.say(
            "\n2. The origin publishes version 2. The page is fresh for an hour, so the edges keep theirs.",
        )?;
        self.expect("/news", 1, "HIT").await?;

        self.say("\n3. Purge the tag \"news\" with method invalidate: the edges must ask the origin, with the validator.")?;
        self.purge("purge_cache_tag", "news", "invalidate").await?;
        self.expect("/news", 2, "MISS").await?;
        self.asked("GET /news  If-None-Match: \"v1\"", 2)?;
        self.expect("/news", 2, "HIT").await?;

        self.say("\n4. Invalidate again, with nothing new at the origin: a 304 keeps the copy.")?;
        self.purge("purge_cache_tag", "news", "invalidate").await?;
        self.expect("/news", 2, "RefreshHit").await?;
        self.asked("GET /news  If-None-Match: \"v2\"", 2)?;

        self.say("\n5. Purge the host with method delete: the edges must fetch anew, without conditions.")?;
        self.origin.publish();
        self.purge("purge_host", DOMAIN, "delete").await?;
        self.expect("/news", 3, "MISS").await?;
        self.asked("GET /news", 2)?;

        self.race().await?;
        self.say(&format!("\nDone: {} answers checked, none was older than its purge.", self.checks))
    }

    /// The race that other caches lose: the purge comes while the old response is under way.
    async fn race(&mut self) -> anyhow::Result<()> {
        self.say("\n6. The race. A client of edge-1 asks for a slow page; the origin has composed version 3 and holds it.")?;
        self.origin.hold();
        let edge = self.near();
        let slow = tokio::task::spawn_blocking(move || get(edge, SLOW_PATH));
        tokio::time::timeout(ANSWER_TIMEOUT, self.origin.composed(1))
            .await
            .context("the slow request did not reach the origin")?;
        self.origin.publish();
        self.say("   Meanwhile version 4 is published, and the page is purged.")?;
        self.purge("purge_url", &format!("http://{DOMAIN}{SLOW_PATH}"), "delete").await?;
        self.say("   The task reads success. A second client asks while the first one still waits: it must not share\n   the old response.")?;
        let second = tokio::task::spawn_blocking(move || get(edge, SLOW_PATH));
        tokio::time::timeout(ANSWER_TIMEOUT, self.origin.composed(2))
            .await
            .context("the second request was not sent to the origin: it shared the old response")?;
        self.origin.release();
        let first = slow.await??;
        let second = second.await??;
        self.say(&format!("   edge-1  first client   {:<10} {}", first.eo_cache_status, first.body.trim()))?;
        self.say(&format!(
            "   edge-1  second client  {:<10} {}",
            second.eo_cache_status,
            second.body.trim()
        ))?;
        ensure!(
            first.body == "version 3\n",
            "the first client asked before the purge and gets what was composed"
        );
        ensure!(second.body == "version 4\n", "the second client got {:?} after the purge", second.body);
        self.checks += 2;
        self.say("   The old response has arrived by now. It must not have been stored:")?;
        let third = tokio::task::spawn_blocking(move || get(edge, SLOW_PATH)).await??;
        self.say(&format!("   edge-1  third client   {:<10} {}", third.eo_cache_status, third.body.trim()))?;
        ensure!(third.body == "version 4\n", "the old response came back: {:?}", third.body);
        self.checks += 1;
        Ok(())
    }

    /// Asks both edges for a path and checks what they answer.
    async fn expect(
        &mut self,
        path: &'static str,
        version: u64,
        eo_cache_status: &str,
    ) -> anyhow::Result<()> {
        for (name, edge) in [("edge-1", self.near()), ("edge-2", self.far_edge.address())] {
            let answer = tokio::task::spawn_blocking(move || get(edge, path)).await??;
            self.say(&format!("   {name}  {:<10} {}", answer.eo_cache_status, answer.body.trim()))?;
            ensure!(
                answer.body == format!("version {version}\n") && answer.eo_cache_status == eo_cache_status,
                "{name} should have answered version {version} as {eo_cache_status}"
            );
            self.checks += 1;
        }
        Ok(())
    }

    /// Checks what the origin saw since the last time.
    fn asked(&self, line: &str, times: usize) -> anyhow::Result<()> {
        let asked = self.origin.take_asked();
        self.say(&format!("   origin  {} x  {line}", asked.len()))?;
        ensure!(
            asked.len() == times && asked.iter().all(|seen| seen == line),
            "the origin should have seen {times} x {line:?}, and saw {asked:?}"
        );
        Ok(())
    }

    /// Purges, by the official client if there is one, and waits until the task reads success.
    async fn purge(&self, purge_type: &str, target: &str, method: &str) -> anyhow::Result<()> {
        let Some(tccli) = &self.tccli else {
            return self.purge_by_own_client(purge_type, target, method).await;
        };
        let targets = serde_json::to_string(&[target])?;
        self.say(&format!(
            "   $ tccli teo CreatePurgeTask --ZoneId {} --Type {purge_type} --Method {method} --Targets '{targets}'",
            self.zone_id
        ))?;
        let created = self
            .tccli(
                tccli,
                &[
                    "CreatePurgeTask",
                    "--ZoneId",
                    &self.zone_id,
                    "--Type",
                    purge_type,
                    "--Method",
                    method,
                    "--Targets",
                    &targets,
                ],
            )
            .await?;
        let job_id =
            created["JobId"].as_str().context("CreatePurgeTask answered without a JobId")?.to_owned();
        let filters = serde_json::to_string(&serde_json::json!([{"Name": "job-id", "Values": [job_id]}]))?;
        let deadline = tokio::time::Instant::now() + TASK_TIMEOUT;
        loop {
            let tasks = self
                .tccli(tccli, &["DescribePurgeTasks", "--ZoneId", &self.zone_id, "--Filters", &filters])
                .await?;
            let status = tasks["Tasks"][0]["Status"].as_str().unwrap_or_default().to_owned();
            if status == "success" {
                return self.say(&format!("   job {job_id} reads success: both edges have applied it"));
            }
            if status != "processing" || tokio::time::Instant::now() > deadline {
                bail!("job {job_id} reads {status:?}");
            }
        }
    }

    async fn tccli(&self, tccli: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = tokio::process::Command::new(tccli);
        command
            .arg("teo")
            .args(arguments)
            .args(["--endpoint", &self.served.control.endpoint])
            .args(["--secretId", &self.secret.0, "--secretKey", &self.secret.1])
            .args(["--region", "ap-guangzhou", "--output", "json"])
            // The client writes its settings into the home directory, and would ask a proxy for loopback, too.
            .env("HOME", &self.home)
            .kill_on_drop(true);
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let output = tokio::time::timeout(CLIENT_TIMEOUT, command.output())
            .await
            .with_context(|| format!("tccli did not end within {CLIENT_TIMEOUT:?}"))?
            .with_context(|| format!("cannot run {}", tccli.display()))?;
        ensure!(
            output.status.success(),
            "tccli failed: {}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
        serde_json::from_slice(&output.stdout).context("tccli printed no JSON")
    }

    async fn purge_by_own_client(&self, purge_type: &str, target: &str, method: &str) -> anyhow::Result<()> {
        let kind = match purge_type {
            "purge_cache_tag" => "tag",
            "purge_host" => "host",
            _ => "url",
        };
        let mut words = vec!["everfresh", "purge", kind, target, "--wait"];
        if kind != "url" {
            words.extend(["--method", method]);
        }
        self.say(&format!("   $ {}", words.join(" ")))?;
        let (secret, endpoint) = (self.secret.clone(), self.served.control.endpoint.clone());
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let wall_clock = self.wall_clock;
        let printed = tokio::task::spawn_blocking(move || {
            let environment = move |name: &str| match name {
                "EVERFRESH_ENDPOINT" => Some(endpoint.clone()),
                "EVERFRESH_SECRET_ID" => Some(secret.0.clone()),
                "EVERFRESH_SECRET_KEY" => Some(secret.1.clone()),
                _ => None,
            };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut world = cli::World {
                input: &mut std::io::empty(),
                out: &mut out,
                err: &mut err,
                environment: &environment,
                now: &wall_clock,
                pause: &std::thread::sleep,
            };
            let args: crate::args::Args = clap::Parser::try_parse_from(words)?;
            let crate::args::Role::Client(command) = args.role else {
                bail!("purge is a command of the client")
            };
            let exit = cli::run(command, &mut world);
            ensure!(exit == cli::Exit::Done, "{}", String::from_utf8_lossy(&err));
            Ok(String::from_utf8_lossy(&out).into_owned())
        })
        .await??;
        self.say(&printed.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n"))
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush().context("the standard output is gone")
    }
}

fn get(edge: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).timeout_global(Some(ANSWER_TIMEOUT)).build().into();
    let mut response = agent
        .get(format!("http://{edge}{path}"))
        .header("host", DOMAIN)
        .call()
        .with_context(|| format!("http://{edge}{path}"))?;
    let eo_cache_status = response.headers().get("eo-cache-status").and_then(|value| value.to_str().ok());
    let eo_cache_status = eo_cache_status.unwrap_or_default().to_owned();
    Ok(Answer { body: response.body_mut().read_to_string()?, eo_cache_status })
}

/// A directory of the demo's own, gone with it.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("everfresh-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
