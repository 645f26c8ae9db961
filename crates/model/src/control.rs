//! The control plane alone: several instances on one database, members, leases, a failover; and when a task succeeds.
//!
//! Objects and requests are left to the other models. What they need from this one is the invariant: once a task
//! reads `success`, no process holds a lease without having applied the task's entry, then or later.
//!
//! Instances share the database and nothing else. Each has its own clock, hears its own links, counts its own times.

use stateright::{Model, Property};

use crate::event::{Event, Events};
use crate::mutant::ControlMutant;
use crate::search::Told;
use crate::state::{Seq, Tick};

const PROCESSES: usize = 2;
const INSTANCES: usize = 2;
const TASKS: usize = 2;

/// A bounded control plane. Every number is a limit on how often something may happen in one behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Printed with the results.
    pub name: &'static str,
    /// Processes of edges, at most two.
    pub processes: u8,
    /// Instances, at most two.
    pub instances: u8,
    /// Tasks committed, at most two.
    pub tasks: u8,
    /// The clock's last tick.
    pub ticks: u8,
    /// `L`, in ticks.
    pub lease_ticks: u8,
    /// `L` is lowered by a tick, once.
    pub lowers: bool,
    /// Members may leave, or be marked leaving.
    pub leaving: bool,
    /// Instances restart, this often.
    pub restarts: u8,
    /// The primary is replaced, once, and an instance may not hear of it.
    pub failover: bool,
    /// The clock of the first process may stop, and its member row says so.
    pub stops: bool,
}

const PLANE: Plane = Plane {
    name: "",
    processes: 1,
    instances: 2,
    tasks: 1,
    ticks: 3,
    lease_ticks: 1,
    lowers: false,
    leaving: false,
    restarts: 0,
    failover: false,
    stops: false,
};

impl Plane {
    /// The scenarios of `make test`.
    pub fn all() -> Vec<Plane> {
        vec![
            Plane::two_instances(),
            Plane::two_processes(),
            Plane::taken_over(),
            Plane::replaced_primary(),
            Plane::lowered(),
            Plane::stopped_clock(),
        ]
    }

    /// What `make model` explores beside those, to a cap.
    pub fn large() -> Vec<Plane> {
        vec![
            Plane { name: "two instances, two processes", processes: 2, ticks: 2, ..Plane::two_instances() },
            Plane { name: "two instances, longer", tasks: 2, ticks: 4, ..Plane::two_instances() },
            Plane { name: "taken over, leaving", leaving: true, ticks: 4, ..Plane::taken_over() },
        ]
    }

    /// One edge that may speak to either of two instances, and leave.
    pub fn two_instances() -> Plane {
        Plane { name: "two_instances", leaving: true, ..PLANE }
    }

    /// Two processes, one instance.
    pub fn two_processes() -> Plane {
        Plane { name: "two_processes", processes: 2, instances: 1, ticks: 2, ..PLANE }
    }

    /// Instances restart, and the other takes over.
    pub fn taken_over() -> Plane {
        Plane { name: "taken_over", restarts: 1, lease_ticks: 2, ticks: 3, ..PLANE }
    }

    /// The database's primary is replaced.
    pub fn replaced_primary() -> Plane {
        Plane { name: "replaced_primary", failover: true, tasks: 2, ticks: 2, ..PLANE }
    }

    /// `L` is lowered.
    pub fn lowered() -> Plane {
        Plane { name: "lowered", instances: 1, lease_ticks: 2, ticks: 4, lowers: true, ..PLANE }
    }

    /// A guest whose clock may stop.
    pub fn stopped_clock() -> Plane {
        Plane { name: "stopped_clock", instances: 1, leaving: true, stops: true, ..PLANE }
    }
}

/// The protocol of a control plane, whole or without one rule.
#[derive(Clone, Debug)]
pub struct Control {
    /// The world it runs in.
    pub scenario: Plane,
    /// The rule dropped.
    pub mutant: Option<ControlMutant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Row {
    Absent,
    Active,
    /// Marked for the so-manyth time under this id.
    Leaving {
        mark: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Ping {
    None,
    /// Under way to an instance.
    Sent {
        t0: Tick,
        to: u8,
    },
    Granted {
        t0: Tick,
        length: u8,
        head: Seq,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    /// On its own clock, which is `now` less what it stood still.
    lease_end: Tick,
    /// For how many ticks its clock stood still.
    stood: Tick,
    applied: Seq,
    ping: Ping,
    /// It gave up its lease for good.
    left: bool,
}

const NEVER: Tick = u8::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Instance {
    /// When it first saw each task committed.
    seen: [Tick; TASKS],
    /// Which mark of each row it saw, and when first.
    leaving: [(u8, Tick); PROCESSES],
    /// When it last heard each process, or first saw its row.
    heard: [Tick; PROCESSES],
    /// What each process has acknowledged to it.
    acked: [Seq; PROCESSES],
    /// A turn of its fold has read the tasks up to here, and not yet the members.
    folding: Option<Seq>,
    /// A mutant's: members, as bits, read before the tasks.
    members: Option<u8>,
    /// A mutant's: whom it knows without a row.
    known: u8,
    /// It still speaks to the replaced primary.
    behind: bool,
}

const NEW_INSTANCE: Instance = Instance {
    seen: [NEVER; TASKS],
    leaving: [(0, NEVER); PROCESSES],
    heard: [NEVER; PROCESSES],
    acked: [0; PROCESSES],
    folding: None,
    members: None,
    known: 0,
    behind: false,
};

/// One state of the database, instances and processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaneState {
    now: Tick,
    head: Seq,
    success: u8,
    rows: [Row; PROCESSES],
    /// How often each row was marked leaving.
    marks: [u8; PROCESSES],
    /// A mutant's: when an instance, by its own clock, first saw a task, kept in the database.
    noted: [Tick; TASKS],
    processes: [Process; PROCESSES],
    instances: [Instance; INSTANCES],
    /// The head when the primary was replaced.
    replaced_at: Option<Seq>,
    /// The head that a replica has.
    replica: Seq,
    /// When `L` was lowered.
    lowered_at: Option<Tick>,
    restarts_left: u8,
    events: Events,
}

/// A step. Processes and instances are named by their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneAction {
    /// The clocks advance.
    Tick,
    /// All clocks advance but the first process's.
    TickWithout,
    /// A task commits.
    Commit,
    /// The replica catches up.
    Replicate,
    /// The primary is replaced; an instance hears of it or not.
    Replace(u8),
    /// An instance hears that the primary was replaced.
    Hears(u8),
    /// `L` is lowered.
    Lower,
    /// A process presents itself to an instance, which writes its row.
    Join(u8, u8),
    /// A process gives up its lease for good, and tells an instance.
    Leave(u8, u8),
    /// A process applies the next entry.
    Apply(u8),
    /// A process acknowledges to an instance.
    Ack(u8, u8),
    /// A process pings an instance.
    Ping(u8, u8),
    /// The instance that was pinged reads head and rows, and grants.
    Grant(u8),
    /// A process takes the lease that it was granted.
    Take(u8),
    /// A turn of an instance's fold reads the tasks that are pending, then its clock.
    ReadTasks(u8),
    /// The turn reads the members, and completes what is done.
    ReadMembers(u8),
    /// An instance marks a process leaving that it has not heard for two leases.
    MarkLeaving(u8, u8),
    /// An instance removes a row that has been leaving for a lease.
    Remove(u8, u8),
    /// An instance restarts.
    Restart(u8),
}

impl PlaneState {
    fn time_of(&self, process: usize) -> Tick {
        self.now - self.processes[process].stood
    }

    fn holds(&self, process: usize) -> bool {
        self.time_of(process) < self.processes[process].lease_end
    }

    /// The first task that succeeded and that a process with a lease has not applied.
    fn broken(&self) -> Option<(usize, Seq)> {
        let early = |process: usize, task: Seq| {
            self.success & 1 << (task - 1) != 0
                && self.holds(process)
                && self.processes[process].applied < task
        };
        (0..PROCESSES)
            .flat_map(|process| (1..=self.head).map(move |task| (process, task)))
            .find(|(process, task)| early(*process, *task))
    }
}

impl Control {
    fn has(&self, mutant: ControlMutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// `L` as it is granted.
    fn length(&self, state: &PlaneState) -> u8 {
        self.scenario.lease_ticks - u8::from(state.lowered_at.is_some())
    }

    /// `L` as deadlines count it: a lowered one counts once the old one has passed.
    fn waited(&self, state: &PlaneState) -> u8 {
        let old = self.scenario.lease_ticks;
        match state.lowered_at {
            Some(at) if state.now >= at + old || self.has(ControlMutant::LoweredAtOnce) => old - 1,
            _ => old,
        }
    }

    /// Whose row a process uses.
    fn member(&self, process: u8) -> usize {
        if self.has(ControlMutant::CloneIsMember) { 0 } else { usize::from(process) }
    }

    /// An instance's clock: they agree in pace only.
    fn clock(&self, state: &PlaneState, instance: usize) -> Tick {
        state.now + instance as Tick
    }

    fn acks_only(&self, process: usize) -> bool {
        self.scenario.stops && process == 0
    }

    fn process_actions(&self, state: &PlaneState, process: u8, actions: &mut Vec<PlaneAction>) {
        let of = &state.processes[usize::from(process)];
        if of.applied < state.head {
            actions.push(PlaneAction::Apply(process));
        }
        let now = state.time_of(usize::from(process));
        match of.ping {
            Ping::Sent { .. } => actions.push(PlaneAction::Grant(process)),
            Ping::Granted { head, .. }
                if of.applied >= head && (!of.left || self.has(ControlMutant::LeftTakesGrant)) =>
            {
                actions.push(PlaneAction::Take(process));
            }
            _ => {}
        }
        if of.left {
            return;
        }
        let member = self.member(process);
        for instance in 0..self.scenario.instances {
            if state.rows[member] == Row::Absent {
                actions.push(PlaneAction::Join(process, instance));
            }
            let pinged = match of.ping {
                Ping::None => false,
                Ping::Sent { t0, .. } | Ping::Granted { t0, .. } => t0 == now,
            };
            if of.lease_end < now + self.length(state) && !pinged {
                actions.push(PlaneAction::Ping(process, instance));
            }
            if state.instances[usize::from(instance)].acked[member] < of.applied {
                actions.push(PlaneAction::Ack(process, instance));
            }
            if self.scenario.leaving {
                actions.push(PlaneAction::Leave(process, instance));
            }
        }
    }

    fn instance_actions(&self, state: &PlaneState, index: u8, actions: &mut Vec<PlaneAction>) {
        let instance = &state.instances[usize::from(index)];
        if instance.behind {
            actions.push(PlaneAction::Hears(index));
            return;
        }
        let pending = (1..=state.head).any(|task| state.success & 1 << (task - 1) == 0)
            || (self.scenario.leaving && state.head == 0);
        match (instance.folding, self.has(ControlMutant::MembersBeforeTasks)) {
            (None, false) if pending => actions.push(PlaneAction::ReadTasks(index)),
            (Some(_), false) => actions.push(PlaneAction::ReadMembers(index)),
            (_, true) if instance.members.is_some() => actions.push(PlaneAction::ReadTasks(index)),
            (_, true) => actions.push(PlaneAction::ReadMembers(index)),
            _ => {}
        }
        let clock = self.clock(state, usize::from(index));
        let length = self.waited(state);
        for process in 0..self.scenario.processes {
            let at = usize::from(process);
            // Not for silence alone where a clock may stand still: silence and lease then have different clocks.
            let waits = self.acks_only(at) && !self.has(ControlMutant::StoppedClockRemoved);
            let silent = instance.heard[at] != NEVER && clock >= instance.heard[at] + 2 * length && !waits;
            match state.rows[at] {
                Row::Active if silent && self.scenario.leaving => {
                    actions.push(PlaneAction::MarkLeaving(index, process));
                }
                Row::Leaving { mark } => {
                    let (seen, since) = instance.leaving[at];
                    let is_this = seen == mark || self.has(ControlMutant::EarlierMarkCounts);
                    if since != NEVER && is_this && clock >= since + length {
                        actions.push(PlaneAction::Remove(index, process));
                    }
                }
                _ => {}
            }
        }
        if state.restarts_left > 0 {
            actions.push(PlaneAction::Restart(index));
        }
    }

    fn grant(&self, state: &mut PlaneState, process: u8) {
        let at = usize::from(process);
        let Ping::Sent { t0, to } = state.processes[at].ping else { return };
        let instance = &state.instances[usize::from(to)];
        let mut head = state.head;
        if self.has(ControlMutant::GrantsFromReplica) {
            head = state.replica;
        }
        if let (true, Some(old)) = (instance.behind, state.replaced_at) {
            // A read that includes a write tells that the primary was replaced.
            if !self.has(ControlMutant::ReplacedPrimaryGrants) {
                state.processes[at].ping = Ping::None;
                return;
            }
            head = old;
        }
        let member = self.member(process);
        let known = instance.known & 1 << member != 0;
        state.processes[at].ping = match state.rows[member] == Row::Active || known {
            true => Ping::Granted { t0, length: self.length(state), head },
            false => Ping::None,
        };
    }

    fn read_tasks(&self, state: &mut PlaneState, index: usize) {
        let clock = self.clock(state, index);
        for task in 0..usize::from(state.head) {
            let seen = &mut state.instances[index].seen[task];
            *seen = (*seen).min(clock);
            state.noted[task] = state.noted[task].min(clock);
        }
        state.instances[index].folding = Some(state.head);
        if let Some(members) = state.instances[index].members {
            self.complete(state, index, members);
        }
    }

    fn read_members(&self, state: &mut PlaneState, index: usize) {
        let clock = self.clock(state, index);
        let mut members = 0;
        for (at, row) in state.rows.iter().enumerate() {
            let instance = &mut state.instances[index];
            match row {
                Row::Absent => (instance.leaving[at], instance.heard[at]) = ((0, NEVER), NEVER),
                Row::Active => {
                    instance.heard[at] = if instance.heard[at] == NEVER { clock } else { instance.heard[at] };
                }
                Row::Leaving { mark } => self.see_leaving(instance, at, *mark, clock),
            }
            if *row != Row::Absent {
                members |= 1 << at;
            }
        }
        if self.has(ControlMutant::MembersBeforeTasks) {
            state.instances[index].members = Some(members);
            return;
        }
        self.complete(state, index, members);
    }

    fn complete(&self, state: &mut PlaneState, index: usize, members: u8) {
        let Some(pending) = state.instances[index].folding.take() else { return };
        state.instances[index].members = None;
        let clock = self.clock(state, index);
        for task in 1..=pending {
            let bit = 1 << (task - 1);
            if state.success & bit != 0 {
                continue;
            }
            let instance = &state.instances[index];
            let silent = |at: &usize| members & 1 << at != 0 && instance.acked[*at] < task;
            let mut waited_for = (0..PROCESSES).filter(silent);
            let seen = match self.has(ControlMutant::TakeOverKeepsTime) {
                true => state.noted[usize::from(task) - 1],
                false => instance.seen[usize::from(task) - 1],
            };
            let in_time = clock >= seen + self.waited(state);
            let by_time = in_time && !waited_for.clone().any(|at| self.acks_only(at));
            let by_acks = waited_for.next().is_none();
            if by_acks || by_time {
                state.success |= bit;
                state.events.add(if by_acks { Event::ByAcks } else { Event::ByTime });
            }
        }
    }

    fn see_leaving(&self, instance: &mut Instance, process: usize, mark: u8, clock: Tick) {
        let (seen, since) = &mut instance.leaving[process];
        if *since == NEVER || (*seen != mark && !self.has(ControlMutant::EarlierMarkCounts)) {
            (*seen, *since) = (mark, clock);
        }
    }

    fn mark_leaving(&self, state: &mut PlaneState, process: usize) {
        state.events.add(Event::MarkedLeaving);
        state.marks[process] += 1;
        let mark = state.marks[process];
        state.rows[process] = Row::Leaving { mark };
        let clock = self.clock(state, 0);
        if self.has(ControlMutant::LeavingTimeShared) {
            // By the clock of the first instance, whoever marked it.
            for instance in &mut state.instances {
                self.see_leaving(instance, process, mark, clock);
            }
        }
        if self.has(ControlMutant::SilentRemovedAtOnce) {
            state.rows[process] = Row::Absent;
        }
    }

    fn leave(&self, state: &mut PlaneState, process: u8) {
        let of = &mut state.processes[usize::from(process)];
        (of.left, of.lease_end) = (true, 0);
        state.rows[self.member(process)] = Row::Absent;
    }

    fn take(&self, state: &mut PlaneState, action: PlaneAction) {
        match action {
            PlaneAction::Tick => state.now += 1,
            PlaneAction::TickWithout => {
                state.now += 1;
                state.processes[0].stood += 1;
            }
            PlaneAction::Commit => state.head += 1,
            PlaneAction::Replicate => state.replica = state.head,
            PlaneAction::Replace(behind) => {
                state.replaced_at = Some(state.head);
                state.instances[usize::from(behind)].behind = true;
                state.events.add(Event::PrimaryReplaced);
            }
            PlaneAction::Hears(index) => state.instances[usize::from(index)].behind = false,
            PlaneAction::Lower => state.lowered_at = Some(state.now),
            PlaneAction::Join(process, index) => {
                let member = self.member(process);
                if self.has(ControlMutant::MemberInMemory) {
                    state.instances[usize::from(index)].known |= 1 << member;
                } else {
                    state.rows[member] = Row::Active;
                }
            }
            PlaneAction::Leave(process, _) => self.leave(state, process),
            PlaneAction::Apply(process) => state.processes[usize::from(process)].applied += 1,
            PlaneAction::Ack(process, index) => {
                let clock = self.clock(state, usize::from(index));
                let member = self.member(process);
                let instance = &mut state.instances[usize::from(index)];
                instance.acked[member] = state.processes[usize::from(process)].applied;
                instance.heard[member] = clock;
            }
            PlaneAction::Ping(process, index) => {
                let t0 = state.time_of(usize::from(process));
                state.processes[usize::from(process)].ping = Ping::Sent { t0, to: index };
                let clock = self.clock(state, usize::from(index));
                state.instances[usize::from(index)].heard[self.member(process)] = clock;
            }
            PlaneAction::Grant(process) => self.grant(state, process),
            PlaneAction::Take(process) => {
                let of = &mut state.processes[usize::from(process)];
                if let Ping::Granted { t0, length, .. } = of.ping {
                    of.lease_end = of.lease_end.max(t0 + length);
                    of.ping = Ping::None;
                    state.events.add(Event::Leased);
                }
            }
            PlaneAction::ReadTasks(index) => self.read_tasks(state, usize::from(index)),
            PlaneAction::ReadMembers(index) => self.read_members(state, usize::from(index)),
            PlaneAction::MarkLeaving(_, process) => self.mark_leaving(state, usize::from(process)),
            PlaneAction::Remove(_, process) => {
                state.rows[usize::from(process)] = Row::Absent;
                state.events.add(Event::RowRemoved);
            }
            PlaneAction::Restart(index) => {
                state.restarts_left -= 1;
                state.instances[usize::from(index)] = NEW_INSTANCE;
                state.events.add(Event::TakenOver);
            }
        }
    }

    /// Forgets what no step can tell apart.
    fn settle(&self, state: &mut PlaneState) {
        let length = self.scenario.lease_ticks;
        for at in 0..PROCESSES {
            let now = state.time_of(at);
            let of = &mut state.processes[at];
            if now >= of.lease_end {
                of.lease_end = 0;
            }
            if let Ping::Sent { t0, .. } | Ping::Granted { t0, .. } = of.ping
                && now >= t0 + length
            {
                of.ping = Ping::None;
            }
        }
        let keeps_notes = self.has(ControlMutant::TakeOverKeepsTime);
        for task in 0..TASKS {
            if state.success & 1 << task != 0 {
                for instance in &mut state.instances {
                    instance.seen[task] = NEVER;
                }
                state.noted[task] = NEVER;
            }
            if !keeps_notes {
                state.noted[task] = NEVER;
            }
        }
        if !self.has(ControlMutant::GrantsFromReplica) {
            state.replica = 0;
        }
    }
}

impl Model for Control {
    type State = PlaneState;
    type Action = PlaneAction;

    fn init_states(&self) -> Vec<PlaneState> {
        let process = Process { lease_end: 0, stood: 0, applied: 0, ping: Ping::None, left: false };
        vec![PlaneState {
            now: 0,
            head: 0,
            success: 0,
            rows: [Row::Absent; PROCESSES],
            marks: [0; PROCESSES],
            noted: [NEVER; TASKS],
            processes: [process; PROCESSES],
            instances: [NEW_INSTANCE; INSTANCES],
            replaced_at: None,
            replica: 0,
            lowered_at: None,
            restarts_left: self.scenario.restarts,
            events: Events::default(),
        }]
    }

    fn actions(&self, state: &PlaneState, actions: &mut Vec<PlaneAction>) {
        let scenario = &self.scenario;
        if state.broken().is_some() {
            return;
        }
        if state.now < scenario.ticks {
            actions.push(PlaneAction::Tick);
            if scenario.stops {
                actions.push(PlaneAction::TickWithout);
            }
        }
        if state.head < scenario.tasks {
            actions.push(PlaneAction::Commit);
        }
        if self.has(ControlMutant::GrantsFromReplica) && state.replica < state.head {
            actions.push(PlaneAction::Replicate);
        }
        if scenario.failover && state.replaced_at.is_none() {
            actions.extend((0..scenario.instances).map(PlaneAction::Replace));
        }
        if scenario.lowers && state.lowered_at.is_none() {
            actions.push(PlaneAction::Lower);
        }
        for process in 0..scenario.processes {
            self.process_actions(state, process, actions);
        }
        for instance in 0..scenario.instances {
            self.instance_actions(state, instance, actions);
        }
    }

    fn next_state(&self, last: &PlaneState, action: PlaneAction) -> Option<PlaneState> {
        let mut state = *last;
        state.events = Events::default();
        self.take(&mut state, action);
        self.settle(&mut state);
        if state.success != 0 && (0..PROCESSES).any(|process| state.holds(process)) {
            state.events.add(Event::Checked);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Control>> {
        vec![Property::always("the promise", |_, state: &PlaneState| state.broken().is_none())]
    }
}

impl Told for Control {
    fn events(&self, state: &PlaneState) -> Events {
        state.events
    }

    fn broken(&self, state: &PlaneState) -> Option<String> {
        let (process, task) = state.broken()?;
        Some(format!(
            "process {process} holds a lease after success of task {task}, which it has not applied"
        ))
    }

    fn tell(&self, before: &PlaneState, action: &PlaneAction, after: &PlaneState) -> String {
        let mut line = match *action {
            PlaneAction::Tick => format!("tick -> {}", after.now),
            PlaneAction::TickWithout => format!("tick -> {}, the clock of process 0 stands still", after.now),
            PlaneAction::Commit => format!("task {} commits", after.head),
            PlaneAction::Join(process, instance) => format!("process {process} joins at instance {instance}"),
            PlaneAction::Leave(process, instance) => {
                format!("process {process} leaves at instance {instance}")
            }
            PlaneAction::Apply(process) => format!("process {process} applies"),
            PlaneAction::Ack(process, instance) => {
                format!("process {process} acknowledges to instance {instance}")
            }
            PlaneAction::Ping(process, instance) => format!("process {process} pings instance {instance}"),
            PlaneAction::Grant(process) => match after.processes[usize::from(process)].ping {
                Ping::Granted { head, .. } => format!("process {process} is granted head {head}"),
                _ => format!("process {process} is not granted"),
            },
            PlaneAction::Take(process) => {
                format!(
                    "process {process} takes the lease to {}",
                    after.processes[usize::from(process)].lease_end
                )
            }
            other => format!("{other:?}"),
        };
        for task in 1..=after.head {
            if (after.success & !before.success) & 1 << (task - 1) != 0 {
                line.push_str(&format!("; success of task {task}"));
            }
        }
        line
    }
}
