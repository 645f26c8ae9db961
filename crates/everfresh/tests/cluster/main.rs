//! Many machines, one truth: three control planes on PostgreSQL, NATS, three regions with a parent and two edges each, on
//! hosts of their own with slow ways between them. Each part is killed and started again, a region is cut off and joined,
//! NATS is away for a minute, an edge joins; and all the while `everfresh verify` purges and reads.
//!
//! Needs root: the hosts are network namespaces.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "what it measured")]

mod delay;
mod machines;
mod net;
#[expect(dead_code, reason = "what other tests use")]
#[path = "../../../store/tests/postgres_server/mod.rs"]
mod postgres_server;
#[expect(dead_code, reason = "what other tests use")]
#[path = "../scenarios/parts/process.rs"]
mod process;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use machines::{ADMIN_PORT, API_PORT, EDGE_PORT, FEED_PORT, Machine, PROGRAM, SECRET_ID, SECRET_KEY, client};
use net::{Host, Net, ORIGIN, Place};
use postgres_server::PostgresServer;
use process::{PATIENCE, Process, no_input, until};

const LEASE: Duration = Duration::from_secs(2);

/// The promise's bound on a task, and what a machine with two cores adds where twenty processes share them.
const TASK_TIME_MAX: Duration = Duration::from_millis(2_020 + 8_000);

/// How far each region is from core, one way.
const DELAYS: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(15), Duration::from_millis(40)];

/// For how long `verify` looks at each state of the network.
const LOOK: Duration = Duration::from_secs(5);

/// The first of the ports of a region's gateway by which control planes are reached.
const GATEWAY_PORT: u16 = 9001;

const ORIGIN_PORT: u16 = 9000;

/// Everything that runs. Fields go in this order: what is on the hosts, then the hosts.
struct Cluster {
    verify: Process,
    report: PathBuf,
    controls: Vec<Machine>,
    /// Parents first.
    edges: Vec<Machine>,
    postgres: PostgresServer,
    /// The API, wherever it answers.
    endpoint: String,
    client: Host,
    net: Net,
    directory: TempDir,
}

#[test]
fn the_promise_holds_while_each_part_fails_in_turn() {
    let mut cluster = Cluster::start();
    cluster.stage("all is well", |_| {});

    for control in 0..3 {
        let name = format!("control-{} is killed", control + 1);
        cluster.stage(&name, |cluster| cluster.controls[control].kill());
        cluster.stage("it is started", |cluster| cluster.controls[control].start());
    }
    for (edge, what) in [(0, "a parent"), (4, "an edge")] {
        cluster.stage(&format!("{what} is killed"), |cluster| cluster.edges[edge].kill());
        cluster.stage("it is started", |cluster| cluster.edges[edge].start());
    }

    cluster.stage("a region is cut off", |cluster| cluster.set_joined(3, false));
    cluster.fenced(3);
    cluster.stage("it is joined", |cluster| cluster.set_joined(3, true));

    cluster.postgres.kill();
    cluster.refuses();
    cluster.stage("the database is back", |cluster| cluster.postgres.run());

    cluster.stage("an edge joins", Cluster::join);
    cluster.end();
}

impl Cluster {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (mut net, client) = Net::new(3);
        let host = net.host("postgres", Place::Core, 21);
        let listen = format!("listen_addresses={}", host.address);
        let postgres = PostgresServer::start_by(&host.runner(), &[&listen]);
        let _ = postgres.database();
        let database = format!("postgres://everfresh@{}/test0?sslmode=disable", host.address);

        let mut controls: Vec<Machine> =
            (1..=3).map(|number| control(&mut net, number, &database, directory.path())).collect();
        controls.iter_mut().for_each(Machine::start);
        controls.iter_mut().for_each(|control| control.answers(API_PORT, "/healthz"));
        let address = |control: &Machine, port| SocketAddr::from((control.host.address, port));
        let apis: Vec<SocketAddr> = controls.iter().map(|control| address(control, API_PORT)).collect();
        let endpoint = format!("http://{}", delay::start(&client, API_PORT, &apis, Duration::ZERO));
        let (is_done, _, err) = machines::client(&client, &endpoint, &["zone", "create", "example.com"]);
        assert!(is_done, "{err}");

        for (region, delay) in (1..).zip(DELAYS) {
            for (port, control) in (GATEWAY_PORT..).zip(&controls) {
                delay::start(&net.gateway(region), port, &[address(control, FEED_PORT)], delay);
            }
        }
        let mut edges: Vec<Machine> =
            (1..=3).map(|region| edge(&mut net, region, 0, directory.path())).collect();
        for region in 1..=3 {
            edges.extend((1..=2).map(|number| edge(&mut net, region, number, directory.path())));
        }
        edges.iter_mut().for_each(Machine::start);
        edges.iter_mut().for_each(|edge| edge.answers(ADMIN_PORT, "/readyz"));

        let report = directory.path().join("report.json");
        let verify = verify(&client, &endpoint, &edges, &report, Duration::from_secs(3600));
        Self { verify, report, controls, edges, postgres, endpoint, client, net, directory }
    }

    /// Changes something, has a task done in time, and lets `verify` look for a while.
    fn stage(&mut self, what: &str, change: impl FnOnce(&mut Self)) {
        change(self);
        let changed = Instant::now();
        // The API may be away for a moment: a client tries again.
        let (mut took, mut tries) = (None, 0);
        until(PATIENCE, "a purge should be taken", || {
            tries += 1;
            took = self.purge().ok();
            took
        });
        let took = took.unwrap();
        println!("{what:28} purge {:6} ms, try {tries}", took.as_millis());
        assert!(took <= TASK_TIME_MAX, "{what}: a task took {took:?}\n{}", self.logs());
        while changed.elapsed() < LOOK {
            self.check();
            std::thread::sleep(Duration::from_millis(50));
        }
        for edge in &mut self.edges {
            if edge.runs() && !edge.is_cut_off {
                edge.answers(ADMIN_PORT, "/readyz");
            }
        }
    }

    /// Purges, and says how long the task took from acceptance to success.
    fn purge(&self) -> Result<Duration, String> {
        let arguments = ["purge", "host", "www.example.com", "--wait", "--json"];
        let (is_done, out, err) = client(&self.client, &self.endpoint, &arguments);
        if !is_done {
            return Err(err);
        }
        let told: Value = serde_json::from_str(&out).unwrap();
        Ok(Duration::from_millis(told["Progress"]["ElapsedMilliseconds"].as_u64().unwrap()))
    }

    fn set_joined(&mut self, region: u8, is_joined: bool) {
        self.net.set_joined(region, is_joined);
        for edge in self.edges.iter_mut().filter(|edge| edge.region == region) {
            edge.is_cut_off = !is_joined;
        }
    }

    /// Waits until all edges of a region have no lease.
    fn fenced(&mut self, region: u8) {
        for edge in self.edges.iter_mut().filter(|edge| edge.region == region) {
            edge.is_fenced(ADMIN_PORT);
        }
    }

    /// Without the database nothing is taken, and it is said why.
    fn refuses(&self) {
        let err = until(PATIENCE, "the API should say that its database is away", || self.purge().err());
        assert!(err.contains("InternalError"), "{err}");
    }

    /// One more edge in the first region.
    fn join(&mut self) {
        let mut edge = edge(&mut self.net, 1, 3, self.directory.path());
        edge.start();
        edge.answers(ADMIN_PORT, "/readyz");
        self.edges.push(edge);
    }

    fn check(&mut self) {
        if let Some(status) = self.verify.ended() {
            let report = std::fs::read_to_string(&self.report).unwrap_or_default();
            panic!("verify ended, {status}: {report}\n{}", self.logs());
        }
        self.controls.iter_mut().chain(&mut self.edges).for_each(Machine::check);
    }

    fn logs(&self) -> String {
        let machines = self.controls.iter().chain(&self.edges);
        machines.map(|machine| format!("== {}\n{}\n", machine.name, machine.log_end())).collect()
    }

    /// Ends `verify`, reads what it found, and has all edges looked at once more, the new one among them.
    fn end(mut self) {
        self.verify.signal(Signal::INT);
        self.found("through all of it", 9);
        self.report = self.directory.path().join("last.json");
        self.verify =
            verify(&self.client, &self.endpoint, &self.edges, &self.report, Duration::from_secs(10));
        self.found("at the end", 10);
    }

    fn found(&mut self, when: &str, edges: usize) {
        let status = until(PATIENCE, "verify should end", || self.verify.ended());
        let text = std::fs::read_to_string(&self.report).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let (checks, latency) = (&report["Checks"], &report["LatencyMs"]);
        println!(
            "verify {when}: {checks} checks, {} violations; {} reads, {} hits; purges not taken {}; \
             latency P50 {} ms, P99 {} ms, max {} ms",
            report["ViolationCount"],
            report["Reads"],
            report["Hits"],
            report["PurgesNotTaken"],
            latency["P50"],
            latency["P99"],
            latency["Max"],
        );
        assert!(status.success(), "{status}: {text}\n{}", self.logs());
        assert_eq!(report["ViolationCount"], 0);
        let told = report["Edges"].as_array().unwrap();
        assert_eq!(told.len(), edges);
        for edge in told {
            assert!(edge["Checks"].as_u64() > Some(20), "{edge}");
            assert!(edge["Hits"].as_u64() > Some(20), "{edge}");
        }
    }
}

fn control(net: &mut Net, number: u8, database: &str, directory: &Path) -> Machine {
    let host = net.host(&format!("control-{number}"), Place::Core, 10 + number);
    let data = directory.join(&host.name);
    let arguments = [
        "control".to_owned(),
        format!("--database={database}"),
        format!("--data={}", data.display()),
        format!("--api-listen={}:{API_PORT}", host.address),
        format!("--feed-listen={}:{FEED_PORT}", host.address),
        format!("--lease={}s", LEASE.as_secs()),
        "--allow-plain-text".to_owned(),
        "--rate-limit=0".to_owned(),
    ];
    Machine::new(&host, 0, directory, &arguments)
}

/// The edge of this number in a region; 0 is the parent of the others.
fn edge(net: &mut Net, region: u8, number: u8, directory: &Path) -> Machine {
    let name = if number == 0 { format!("parent-{region}") } else { format!("edge-{region}-{number}") };
    let parent = net.gateway(region).address.octets();
    let parent = format!("http://{}.{}.{}.{}:{EDGE_PORT}", parent[0], parent[1], parent[2], PARENT);
    let host = net.host(&name, Place::Region(region), if number == 0 { PARENT } else { 10 + number });
    let gateway = net.gateway(region).address;
    // Each begins with another one.
    let control = |turn: u16| format!("{gateway}:{}", GATEWAY_PORT + (u16::from(region + number) + turn) % 3);
    let mut arguments = vec![
        "edge".to_owned(),
        format!("--name={name}"),
        format!("--listen={}:{EDGE_PORT}", host.address),
        format!("--control={},{},{}", control(0), control(1), control(2)),
        format!("--admin-listen={}:{ADMIN_PORT}", host.address),
        "--admin-allow-remote".to_owned(),
        "--allow-plain-text".to_owned(),
        "--workers=1".to_owned(),
        "--memory=64MiB".to_owned(),
        format!("--disk={}", directory.join("cache").display()),
        "--disk-size=256MiB".to_owned(),
    ];
    if number > 0 {
        arguments.push(format!("--parent={parent}"));
    }
    Machine::new(&host, region, directory, &arguments)
}

/// The last number of a parent's address.
const PARENT: u8 = 2;

fn verify(client: &Host, endpoint: &str, edges: &[Machine], report: &Path, duration: Duration) -> Process {
    let urls: Vec<String> =
        edges.iter().map(|edge| format!("http://{}:{EDGE_PORT}", edge.host.address)).collect();
    let origin = format!("{ORIGIN}:{ORIGIN_PORT}");
    let mut command = client.command(PROGRAM);
    command.args([
        "verify",
        "--zone=example.com",
        "--purge-all",
        "--outages",
        "--json",
        "--rate=60",
        "--purges=2",
    ]);
    command.arg(format!("--edges={}", urls.join(",")));
    command.arg(format!("--origin-listen={origin}"));
    command.arg(format!("--duration={}s", duration.as_secs()));
    command.env("EVERFRESH_ENDPOINT", endpoint).env("HOME", "/nonexistent");
    command.env("EVERFRESH_SECRET_ID", SECRET_ID).env("EVERFRESH_SECRET_KEY", SECRET_KEY);
    let file = File::create(report).unwrap();
    let errors = File::create(report.with_extension("err")).unwrap();
    command.stdin(no_input()).stdout(file).stderr(errors);
    Process::spawn(&mut command, "apt-get install iproute2")
}
