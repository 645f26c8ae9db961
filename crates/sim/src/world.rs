//! One simulation, from its seed to its verdict.

use crate::chance::{Chance, mix};
use crate::checker::{Exchange, Task};
use crate::clients::{self, Clients};
use crate::control_plane::{ControlPlane, Shared};
use crate::disk::SimulatedDisk;
use crate::feed_link::{Lanes, SimulatedFeed};
use crate::machine::{self, ClockRate, MachineId, Process, STEP};
use crate::network::{Incoming, Network};
use crate::origin::{self, Contents};
use crate::plan::{CALM_MAX, Direction, EdgePlan, Fault, Plan, Power, STORMY};
use crate::report::{EdgeCounts, Outcome, Report};
use edge::{Clocks, DiskConfig, EdgeConfig, Embedded, Parent, Randomness, Surroundings, TierToken, Tiers};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use zone::HostName;

const CONTROL: MachineId = 0;
const CLIENTS: MachineId = 1;
const ORIGIN: MachineId = 2;
const FIRST_EDGE: MachineId = 3;

/// How long it takes until an edge that did not start is started again.
const RESTART: Duration = Duration::from_millis(500);

/// How long a graceful end may take.
const STOP_TIME: Duration = Duration::from_secs(1);

/// How long it takes until a link's peer without power is noticed.
const LINK_KEEPALIVE: Duration = Duration::from_secs(2);

/// A machine, and what becomes of its process.
struct Machine {
    clock: ClockRate,
    process: Option<Process>,
    starts: u64,
    frozen_until: Option<Duration>,
    kill_at: Option<Duration>,
    start_at: Option<Duration>,
}

struct EdgeMachine {
    plan: EdgePlan,
    disk: Option<Arc<SimulatedDisk>>,
    disk_fails_until: Option<Duration>,
    embedded: Arc<Mutex<Option<Embedded>>>,
    open: Arc<Mutex<Option<Lanes>>>,
    sever_at: Option<Duration>,
}

/// The whole of it.
pub(crate) struct World {
    seed: u64,
    plan: Plan,
    net: Arc<Network>,
    machines: Vec<Machine>,
    edges: Vec<EdgeMachine>,
    control: Arc<Mutex<Option<Arc<ControlPlane>>>>,
    shared: Shared,
    clients: Arc<Clients>,
    directory: tempfile::TempDir,
    mends: Vec<(Duration, MachineId, MachineId)>,
    /// When the control plane could not work.
    disturbed: Vec<(Duration, Duration)>,
    report: Report,
    now: Duration,
}

/// The name by which edges ask for a machine.
fn name(machine: MachineId) -> String {
    format!("machine-{machine}.sim.test")
}

fn machine_of(host: &HostName) -> Option<MachineId> {
    host.as_str().strip_prefix("machine-")?.split('.').next()?.parse().ok()
}

/// Where files that need not outlive the simulation are quickest.
fn directory() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("everfresh-sim-").tempdir_in(place).expect("a directory can be made")
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let plan = Plan::of(seed);
        let net = Network::new(seed, plan.speed);
        let contents = Arc::new(Mutex::new(Contents::new(&mut Chance::new(seed, "contents", 0))));
        machine::begin(seed, FIRST_EDGE + plan.edges.len());
        let clocks = [plan.control_clock, ClockRate::default(), ClockRate::default()];
        let machines = clocks.into_iter().chain(plan.edges.iter().map(|edge| edge.clock));
        let machine = |clock| Machine {
            clock,
            process: None,
            starts: 0,
            frozen_until: None,
            kill_at: None,
            start_at: Some(Duration::ZERO),
        };
        let edge = |(index, plan): (usize, &EdgePlan)| {
            let chance = Chance::new(seed, "disk", index as u64);
            let disk = plan.disk.map(|(_, read_ms)| Arc::new(SimulatedDisk::new(chance, read_ms)));
            EdgeMachine {
                plan: plan.clone(),
                disk,
                disk_fails_until: None,
                embedded: Arc::default(),
                open: Arc::default(),
                sever_at: None,
            }
        };
        let edges: Vec<EdgeMachine> = plan.edges.iter().enumerate().map(edge).collect();
        let shared = Shared {
            net: Arc::clone(&net),
            contents: Arc::clone(&contents),
            tasks: Arc::default(),
            lease: plan.lease,
            purge_pause_ms: plan.purge_pause_ms,
            is_quiet: Arc::default(),
            refused: Arc::default(),
        };
        let clients = Arc::new(Clients {
            net: Arc::clone(&net),
            machine: CLIENTS,
            edges: (FIRST_EDGE..FIRST_EDGE + edges.len()).collect(),
            contents,
            exchanges: Arc::default(),
            pause_ms: plan.client_pause_ms,
        });
        Self {
            seed,
            net,
            machines: machines.map(machine).collect(),
            edges,
            control: Arc::default(),
            shared,
            clients,
            directory: directory(),
            mends: Vec::new(),
            disturbed: Vec::new(),
            report: Report::default(),
            now: Duration::ZERO,
            plan,
        }
    }

    /// Runs all of it.
    pub(crate) fn run(mut self) -> Outcome {
        let mut faults = self.plan.faults.clone().into_iter().peekable();
        while self.now < STORMY {
            while let Some((_, fault, time)) = faults.next_if(|(at, _, _)| *at <= self.now) {
                self.inflict(fault, time);
            }
            self.step();
        }
        let mut faults = self.become_calm();
        if faults.is_empty() {
            faults.extend(self.visit_all());
        }
        let exchanges = self.clients.exchanges.lock().clone();
        let tasks = self.shared.tasks.lock().clone();
        faults.extend(self.judge(&exchanges, &tasks));
        self.kill_all();
        if machine::panics() > 0 {
            faults.push(format!("{} panics", machine::panics()));
        }
        self.count(&exchanges, &tasks);
        let trace = self.trace(&exchanges, &tasks);
        Outcome { seed: self.seed, faults, report: self.report, trace }
    }

    /// One step of all machines.
    fn step(&mut self) {
        let now = self.now;
        for (_, from, to) in self.mends.extract_if(.., |(at, _, _)| *at <= now) {
            self.net.mend(from, to);
        }
        for edge in &mut self.edges {
            if edge.sever_at.is_some_and(|at| at <= now) {
                edge.sever_at = None;
                if let Some(lanes) = edge.open.lock().take() {
                    lanes.sever();
                }
            }
            if edge.disk_fails_until.is_some_and(|until| until <= now) {
                edge.disk_fails_until = None;
                if let Some(disk) = &edge.disk {
                    disk.set_failing(0);
                }
            }
        }
        for machine in 0..self.machines.len() {
            if self.machines[machine].kill_at.is_some_and(|at| at <= now) {
                self.kill(machine, Power::On);
            }
            if self.machines[machine].process.is_none()
                && self.machines[machine].start_at.is_some_and(|at| at <= now)
            {
                self.start(machine);
            }
            let this = &mut self.machines[machine];
            if this.frozen_until.is_some_and(|until| until > now) {
                continue;
            }
            this.frozen_until = None;
            if let Some(process) = &mut this.process {
                process.run(now, now + STEP);
            }
        }
        self.now += STEP;
        machine::set_time(self.now);
    }

    fn start(&mut self, machine: MachineId) {
        let this = &mut self.machines[machine];
        this.start_at = None;
        this.starts += 1;
        let (clock, starts) = (this.clock, this.starts);
        let listening = self.net.listen(machine);
        let net = Arc::clone(&self.net);
        let process = match machine {
            CONTROL => {
                let (process, control) = Process::start(
                    machine,
                    clock,
                    ControlPlane::start(&self.shared, self.directory.path(), listening, starts),
                );
                *self.control.lock() = Some(Arc::new(control));
                process
            }
            CLIENTS => {
                let clients = Arc::clone(&self.clients);
                let count = self.plan.clients;
                let run = async move {
                    for number in 0..count {
                        tokio::spawn(clients::run(Arc::clone(&clients), number));
                    }
                };
                Process::start(machine, clock, run).0
            }
            ORIGIN => {
                let contents = Arc::clone(&self.shared.contents);
                let run = async move {
                    tokio::spawn(origin::serve(net, listening, contents));
                };
                Process::start(machine, clock, run).0
            }
            edge => self.start_edge(edge, clock, listening),
        };
        self.machines[machine].process = Some(process);
        if let Some(edge) = machine.checked_sub(FIRST_EDGE)
            && self.edges[edge].embedded.lock().is_none()
        {
            // Its disk takes nothing. Whoever started it tries again.
            *self.report.faults.entry("edge not started").or_default() += 1;
            self.kill(machine, Power::On);
            self.machines[machine].start_at = Some(self.now + RESTART);
        }
    }

    fn start_edge(
        &mut self,
        machine: MachineId,
        clock: ClockRate,
        listening: Arc<crate::lane::Lane<Incoming>>,
    ) -> Process {
        let edge = &self.edges[machine - FIRST_EDGE];
        let config = config(machine, &edge.plan);
        let feed = SimulatedFeed {
            net: Arc::clone(&self.net),
            edge: machine,
            control: CONTROL,
            care: self.plan.care,
            open: Arc::clone(&edge.open),
        };
        let net = Arc::clone(&self.net);
        let dial: edge::Dial = Arc::new(move |host, _| {
            let (net, to) = (Arc::clone(&net), machine_of(host));
            Box::pin(async move {
                let to = to.ok_or(std::io::ErrorKind::NotFound)?;
                let stream = net.connect(machine, to).await?;
                Ok(Box::new(stream) as Box<dyn edge::Stream>)
            })
        });
        let surroundings = Surroundings {
            clocks: Clocks { wall: machine::wall_clock, boot: machine::boot_clock },
            randomness: Randomness(machine::randomness),
            dial: Some(dial),
            volume: edge.disk.as_ref().map(|disk| Arc::clone(disk) as Arc<dyn edge::Volume>),
        };
        let pace = Mutex::new(Chance::new(self.seed, "pace", self.machines[machine].starts));
        let (least, most) = edge.plan.disk.map_or((1, 2), |(pause, _)| pause);
        let pause = move || pace.lock().millis(least, most);
        let slot = Arc::clone(&edge.embedded);
        let run = async move {
            let embedded = Embedded::start(config, feed, &surroundings, pause).ok();
            *slot.lock() = embedded;
            tokio::spawn(async move {
                while let Ok(arrived) = listening.receive().await {
                    let Incoming::Stream(stream) = arrived.message else { continue };
                    let Some(stream) = stream.lock().take() else { continue };
                    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
                    if let Some(edge) = &*slot.lock() {
                        tokio::spawn(edge.serve(stream, address));
                    }
                }
            });
        };
        Process::start(machine, clock, run).0
    }

    /// Ends a process at once. It starts again when the machine says so.
    fn kill(&mut self, machine: MachineId, power: Power) {
        self.machines[machine].kill_at = None;
        self.machines[machine].frozen_until = None;
        let Some(process) = self.machines[machine].process.take() else { return };
        self.net.close(machine);
        if machine == CONTROL {
            self.control.lock().take();
        }
        if let Some(edge) = machine.checked_sub(FIRST_EDGE).and_then(|index| self.edges.get_mut(index)) {
            if let Some(embedded) = edge.embedded.lock().take() {
                self.report.edges.add(EdgeCounts::of(&embedded));
            }
            if power == Power::Fails {
                edge.sever_at = Some(self.now + LINK_KEEPALIVE);
            }
        }
        process.kill(power == Power::Fails);
        if let Some(edge) = machine.checked_sub(FIRST_EDGE).and_then(|index| self.edges.get(index))
            && power == Power::Fails
            && let Some(disk) = &edge.disk
        {
            disk.lose_power();
        }
    }

    fn cut(&mut self, from: MachineId, to: MachineId, until: Duration) {
        self.net.cut(from, to);
        self.mends.push((until, from, to));
    }

    fn inflict(&mut self, fault: Fault, time: Duration) {
        let until = self.now + time;
        let faults = &mut self.report.faults;
        match fault {
            Fault::CutFeed(edge, direction) => {
                *faults.entry("feed cut off").or_default() += 1;
                let edge = FIRST_EDGE + edge;
                if direction != Direction::ToControl {
                    self.cut(CONTROL, edge, until);
                }
                if direction != Direction::ToEdge {
                    self.cut(edge, CONTROL, until);
                }
            }
            Fault::CutOrigin(edge) => {
                *faults.entry("origin cut off").or_default() += 1;
                self.cut(FIRST_EDGE + edge, ORIGIN, until);
                self.cut(ORIGIN, FIRST_EDGE + edge, until);
            }
            Fault::CutTier(child, parent) => {
                *faults.entry("parent cut off").or_default() += 1;
                self.cut(FIRST_EDGE + child, FIRST_EDGE + parent, until);
                self.cut(FIRST_EDGE + parent, FIRST_EDGE + child, until);
            }
            Fault::BreakLink(edge) => {
                *faults.entry("link broken").or_default() += 1;
                if let Some(lanes) = self.edges[edge].open.lock().take() {
                    lanes.sever();
                }
            }
            Fault::Freeze(edge) => {
                *faults.entry("edge stopped and continued").or_default() += 1;
                self.machines[FIRST_EDGE + edge].frozen_until = Some(until);
            }
            Fault::Kill(edge, power) => {
                let name = if power == Power::On { "edge killed" } else { "edge without power" };
                *faults.entry(name).or_default() += 1;
                self.kill(FIRST_EDGE + edge, power);
                self.machines[FIRST_EDGE + edge].start_at = Some(until);
            }
            Fault::Stop(edge) => {
                *faults.entry("edge ended and started").or_default() += 1;
                let machine = &mut self.machines[FIRST_EDGE + edge];
                let slot = Arc::clone(&self.edges[edge].embedded);
                if let Some(process) = machine.process.as_ref().filter(|_| machine.frozen_until.is_none()) {
                    if let Some(embedded) = &*slot.lock() {
                        self.report.edges.add(EdgeCounts::of(embedded));
                    }
                    process.now(async move {
                        let embedded = slot.lock().take();
                        if let Some(embedded) = embedded {
                            tokio::spawn(embedded.stop());
                        }
                    });
                    machine.kill_at = Some(self.now + STOP_TIME);
                    machine.start_at = Some(until);
                }
            }
            Fault::FailDisk(edge) => {
                let edge = &mut self.edges[edge];
                if let Some(disk) = &edge.disk {
                    *faults.entry("disk failing").or_default() += 1;
                    disk.set_failing(600);
                    edge.disk_fails_until = Some(until);
                }
            }
            Fault::FreezeControl => {
                *faults.entry("control plane stopped and continued").or_default() += 1;
                self.disturbed.push((self.now, until));
                self.machines[CONTROL].frozen_until = Some(until);
            }
            Fault::KillControl => {
                *faults.entry("control plane killed").or_default() += 1;
                self.disturbed.push((self.now, until));
                self.kill(CONTROL, Power::On);
                self.machines[CONTROL].start_at = Some(until);
            }
            Fault::TrimLog(kept) => {
                *faults.entry("log trimmed").or_default() += 1;
                self.in_control(async move |control| control.trim(kept).await);
            }
            Fault::RenewEpoch => {
                *faults.entry("epoch renewed").or_default() += 1;
                self.in_control(async |control| control.renew_epoch().await);
            }
        }
    }

    fn in_control(&self, something: impl AsyncFnOnce(&ControlPlane)) {
        let control = self.control.lock().clone();
        if let (Some(process), Some(control)) = (&self.machines[CONTROL].process, control) {
            process.now(something(&control));
        }
    }

    /// No more faults and no more purges: after a while all is well. What is not.
    fn become_calm(&mut self) -> Vec<String> {
        self.net.calm();
        *self.shared.is_quiet.lock() = true;
        self.mends.clear();
        for machine in 0..self.machines.len() {
            let this = &mut self.machines[machine];
            this.frozen_until = None;
            if this.process.is_none() || this.kill_at.is_some() {
                this.start_at = this.start_at.or(Some(self.now)).map(|at| at.min(self.now + STOP_TIME));
            }
        }
        for edge in &mut self.edges {
            edge.disk_fails_until = None;
            if let Some(disk) = &edge.disk {
                disk.set_failing(0);
            }
        }
        let until = self.now + CALM_MAX;
        while self.now < until && !self.is_well() {
            self.step();
        }
        let mut faults = Vec::new();
        for index in 0..self.edges.len() {
            if !self.is_ready(index) {
                faults.push(format!("edge {index} has no lease {CALM_MAX:?} after the last fault"));
            }
        }
        let tasks = self.shared.tasks.lock();
        let open = tasks.iter().filter(|task| task.succeeded.is_none());
        faults.extend(open.map(|task| format!("{task:?} is not done {CALM_MAX:?} after the last fault")));
        faults
    }

    fn is_well(&self) -> bool {
        (0..self.edges.len()).all(|index| self.is_ready(index))
            && self.shared.tasks.lock().iter().all(|task| task.succeeded.is_some())
    }

    fn is_ready(&self, index: usize) -> bool {
        // Asked where it runs: the lease is a matter of its clock.
        let slot = Arc::clone(&self.edges[index].embedded);
        let process = self.machines[FIRST_EDGE + index].process.as_ref();
        let asked = process.and_then(|process| {
            process.now(async move { slot.lock().as_ref().is_some_and(Embedded::is_ready) })
        });
        asked == Some(true)
    }

    /// Every edge still answers for everything.
    fn visit_all(&mut self) -> Vec<String> {
        let mut visits = Vec::new();
        for index in 0..self.edges.len() {
            let clients = Arc::clone(&self.clients);
            let Some(handle) = self.machines[CLIENTS].process.as_ref().and_then(Process::handle) else {
                continue;
            };
            visits.push((index, handle.spawn(clients::visit(clients, FIRST_EDGE + index))));
        }
        let until = self.now + CALM_MAX;
        while self.now < until && !visits.iter().all(|(_, visit)| visit.is_finished()) {
            self.step();
        }
        let mut faults = Vec::new();
        for (index, visit) in visits {
            let Some(Some(Ok(exchanges))) = self.machines[CLIENTS]
                .process
                .as_ref()
                .filter(|_| visit.is_finished())
                .map(|process| process.now(visit))
            else {
                faults.push(format!("edge {index} does not answer without any fault"));
                continue;
            };
            // The last of those for each URL.
            let is_last = |index: usize| {
                exchanges
                    .get(index + 1)
                    .is_none_or(|next: &Exchange| next.resource != exchanges[index].resource)
            };
            let bad = (0..exchanges.len()).filter(|index| is_last(*index)).map(|index| &exchanges[index]);
            let bad = bad.filter(|exchange| exchange.status != 200);
            faults.extend(bad.map(|exchange| format!("edge {index} without any fault: {exchange:?}")));
            self.clients.exchanges.lock().extend(exchanges);
        }
        faults
    }

    /// What breaks the promise.
    fn judge(&self, exchanges: &[Exchange], tasks: &[Task]) -> Vec<String> {
        let contents = self.shared.contents.lock();
        let mut faults = Vec::new();
        for exchange in exchanges {
            if let Some(fault) = exchange.fault(tasks, &contents) {
                let path = contents.resources[exchange.resource].path;
                faults.push(format!(
                    "{path} at edge {}: {fault}\n      {exchange:?}",
                    exchange.edge - FIRST_EDGE
                ));
            }
        }
        // L, 1 % more, on a clock of the control plane's that may itself be slow; and the next look at its timers.
        let bound = self.plan.lease + self.plan.lease * 16 / 1000 + Duration::from_millis(20);
        for task in tasks {
            let due = task.committed + bound;
            let is_disturbed = self
                .disturbed
                .iter()
                .any(|(from, until)| *from <= due && *until + STEP + STEP >= task.committed);
            if !is_disturbed && task.succeeded.is_none_or(|succeeded| succeeded > due) {
                faults.push(format!("not done within a lease and its drift: {task:?}"));
            }
        }
        faults
    }

    fn kill_all(&mut self) {
        for machine in 0..self.machines.len() {
            self.kill(machine, Power::On);
        }
    }

    fn count(&mut self, exchanges: &[Exchange], tasks: &[Task]) {
        let report = &mut self.report;
        report.seeds = 1;
        report.simulated += self.now;
        report.requests += exchanges.len() as u64;
        report.answers += exchanges.iter().filter(|exchange| exchange.status != 0).count() as u64;
        report.purges += tasks.len() as u64;
        report.refused += *self.shared.refused.lock();
        for exchange in exchanges {
            let started_after = |task: &&Task| {
                task.succeeded.is_some_and(|at| exchange.arrived.is_some_and(|arrived| at < arrived))
            };
            report.checks += tasks.iter().filter(started_after).count() as u64;
            for word in ["hit", "fwd-status=304", "collapsed", "fwd=bypass", "fwd=stale", "fwd=vary-miss"] {
                if exchange.cache_status.contains(word) {
                    *report.answers_by.entry(word).or_default() += 1;
                }
            }
            *report.answers_by.entry(exchange.asked).or_default() += 1;
            if exchange.status == 304 || exchange.status == 206 {
                let word = if exchange.status == 304 { "304 to a client" } else { "206 to a client" };
                *report.answers_by.entry(word).or_default() += 1;
            }
        }
        let quick = tasks.iter().filter(|task| {
            task.succeeded.is_some_and(|succeeded| succeeded < task.committed + self.plan.lease)
        });
        let quick = quick.count() as u64;
        *report.answers_by.entry("tasks done by acknowledgements").or_default() += quick;
        *report.answers_by.entry("tasks done by time").or_default() += tasks.len() as u64 - quick;
        let contents = self.shared.contents.lock();
        for (word, count) in [
            ("304 of the origin", contents.validated),
            ("206 of the origin", contents.parts),
            ("origin out of order", contents.failed),
            ("origin broke off", contents.broken_off),
        ] {
            *report.answers_by.entry(word).or_default() += count;
        }
        let counts = &self.net.counts;
        let disks = || self.edges.iter().filter_map(|edge| edge.disk.as_ref());
        for (word, count) in [
            ("feed message lost", counts.lost.get()),
            ("feed message doubled", counts.doubled.get()),
            ("feed message overtaken", counts.overtaken.get()),
            ("message late", counts.delayed.get()),
            ("connection refused", counts.refused.get()),
            ("disk operation failed", disks().map(|disk| disk.failures.get()).sum()),
            ("change lost with the power", disks().map(|disk| disk.forgotten.get()).sum()),
        ] {
            *report.faults.entry(word).or_default() += count;
        }
    }

    /// A number that two runs of one seed agree on, if they agree on all that clients, the origin and tasks saw.
    fn trace(&self, exchanges: &[Exchange], tasks: &[Task]) -> u64 {
        let mut parts: BTreeMap<u64, u64> = BTreeMap::new();
        let text = |text: &str| text.bytes().fold(0, |hash: u64, byte| mix(hash ^ u64::from(byte)));
        for exchange in exchanges {
            let part = parts.entry(exchange.client).or_default();
            *part = mix(*part ^ text(&format!("{exchange:?}")));
        }
        for task in tasks {
            let Task { scope, method, last_seq, committed, succeeded, .. } = task;
            let part = parts.entry(u64::MAX - 1).or_default();
            *part =
                mix(*part ^ text(&format!("{scope:?} {method:?} {last_seq} {committed:?} {succeeded:?}")));
        }
        let part = parts.entry(u64::MAX - 2).or_default();
        for fetch in &self.shared.contents.lock().fetches {
            *part = mix(*part ^ text(&format!("{fetch:?}")));
        }
        parts.into_iter().fold(0, |hash, (number, part)| mix(hash ^ mix(number ^ part)))
    }
}

fn config(machine: MachineId, plan: &EdgePlan) -> EdgeConfig {
    let mut config =
        EdgeConfig::new(format!("edge-{}", machine - FIRST_EDGE), (Ipv4Addr::LOCALHOST, 80).into());
    config.workers = 1;
    config.memory_bytes = 1 << 20;
    // Small, so that large content need not be large.
    config.object_bytes_max = 16 * 1024;
    config.slice_bytes = 4096;
    config.sweep_interval = plan.sweep;
    config.tier_wait = plan.tier_wait;
    config.honour_request_directives = plan.honours_directives;
    config.connect_timeout = Duration::from_secs(1);
    config.head_timeout = Duration::from_secs(3);
    config.body_timeout = Duration::from_secs(3);
    config.disk = plan.disk.map(|_| DiskConfig { directory: PathBuf::new(), bytes: 4 << 20 });
    let parent = |parent: &usize| Parent {
        address: HostName::parse(&name(FIRST_EDGE + parent)).expect("it is a name"),
        port: 80,
        is_encrypted: false,
    };
    config.tiers =
        Tiers { parents: plan.parents.iter().map(parent).collect(), token: TierToken::new("simulated").ok() };
    config
}
