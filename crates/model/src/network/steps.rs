//! The control plane's steps and those of an edge beside its requests.

use super::requests::Choice;
use super::scenario::{Durable, Leases, Network, Restores};
use super::state::{
    Disk, Edge, File, Granted, NO_EPOCH, Object, Phase, Position, Row, Stage, State, Task, Unit,
};
use crate::event::Event;
use crate::mutant::NetworkMutant;
use crate::state::{Entry, Method, Scope, Seq};

/// The protocol in a network, whole or without one rule.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The world it runs in.
    pub scenario: Network,
    /// The rule dropped.
    pub mutant: Option<NetworkMutant>,
}

/// A step. Edges and requests are named by their place in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The clock advances.
    Tick,
    /// A task commits.
    Commit(Entry),
    /// A copy of the log that holds only so many entries is promoted.
    Restore(u8),
    /// The epoch changes, after a restore that did not change it.
    ChangeEpoch,
    /// The log forgets all entries up to its head.
    Truncate,
    /// An edge's process writes its member row.
    Join(u8),
    /// A row is marked leaving.
    MarkLeaving(u8),
    /// An edge gives up its lease for good, and its row goes.
    Leave(u8),
    /// An edge pings, and is granted the head at once. An answer that comes later has a higher head.
    Grant(u8),
    /// An edge has applied the granted head, and takes the lease.
    TakeLease(u8),
    /// An edge applies the next entry.
    Apply(u8),
    /// An edge joins anew at the granted head.
    Jump(u8),
    /// An edge sweeps its memory.
    Sweep(u8),
    /// An edge's process dies, and another starts with what is durable.
    Crash(u8),
    /// The same, and what was not synced is undone.
    PowerFails(u8),
    /// An object is composed for a file.
    Compose(u8),
    /// The file is written.
    Write(u8),
    /// Epoch, applied, marks and the last durable sweep are written as one unit.
    SaveUnit(u8),
    /// A durable sweep walks the files and unlinks.
    SweepFiles(u8),
    /// A durable sweep ends: a sync, then the unit says so.
    EndSweep(u8),
    /// A client asks an edge, which reads lease and `seen`.
    Begin(u8),
    /// A request that waited reads lease and `seen` anew.
    Read(u8),
    /// A request looks at the object, the fetch under way, marks; and acts.
    Look(u8, Choice),
    /// A child's request arrives at the parent, which reads lease and `seen`.
    Arrive(u8),
    /// The parent looks, for a child.
    LookFor(u8, Choice),
    /// The child gives its parent up, and asks the origin.
    GiveUp(u8),
    /// The origin answers an edge.
    Origin {
        /// The edge.
        edge: u8,
        /// 304, not 200.
        not_modified: bool,
        /// It names the tag.
        tagged: bool,
    },
    /// A parent's answer arrives at the child.
    End(u8),
}

pub(crate) fn new_edge() -> Edge {
    Edge {
        lease_end: 0,
        granted: None,
        row: Row::Absent,
        old_row: Row::Absent,
        applied: Position { epoch: NO_EPOCH, seq: 0 },
        horizon: 0,
        marks: Default::default(),
        object: None,
        flight: None,
        disk: Disk::default(),
    }
}

impl Protocol {
    pub(crate) fn has(&self, mutant: NetworkMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn length(&self) -> Option<u8> {
        match self.scenario.leases {
            Leases::Held => None,
            Leases::Granted { length, .. } => Some(length),
        }
    }

    pub(crate) fn control_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let scenario = &self.scenario;
        if let Leases::Granted { ticks, .. } = scenario.leases
            && state.now < ticks
        {
            actions.push(Action::Tick);
        }
        if state.purges_left > 0 && (state.unheard == 0 || self.has(NetworkMutant::EpochKept)) {
            let next = usize::from(scenario.purges - state.purges_left);
            let entries = match scenario.in_order {
                true => &scenario.entries[next..=next],
                false => scenario.entries,
            };
            actions.extend(entries.iter().map(|entry| Action::Commit(*entry)));
        }
        if state.restores_left > 0 && state.head > 0 {
            actions.extend((0..state.head).map(Action::Restore));
        }
        if scenario.restores == Restores::Late && state.restores_left == 0 && state.epoch == 0 {
            actions.push(Action::ChangeEpoch);
        }
        if state.truncations_left > 0 && state.head >= state.first_retained {
            actions.push(Action::Truncate);
        }
    }

    pub(crate) fn edge_actions(&self, state: &State, index: u8, actions: &mut Vec<Action>) {
        let edge = &state.edges[usize::from(index)];
        if edge.applied.epoch == state.epoch && edge.applied.seq < state.head {
            let next = edge.applied.seq + 1;
            if next >= state.first_retained || self.has(NetworkMutant::GapIgnored) {
                actions.push(Action::Apply(index));
            }
        }
        let durable = self.scenario.durable != Durable::None;
        if state.sweeps_left > 0 && edge.applied.seq > edge.horizon && !durable {
            actions.push(Action::Sweep(index));
        }
        if let Leases::Granted { leaving, .. } = self.scenario.leases {
            match edge.row {
                Row::Absent => actions.push(Action::Join(index)),
                Row::Member { .. } => {
                    if leaving {
                        actions.push(Action::MarkLeaving(index));
                        actions.push(Action::Leave(index));
                    }
                    if self.may_ping(state, edge) {
                        actions.push(Action::Grant(index));
                    }
                }
                Row::Leaving { .. } => {}
            }
            self.granted_actions(state, index, actions);
        }
        if durable {
            self.disk_actions(state, index, actions);
        }
        if state.crashes_left > 0 {
            actions.push(Action::Crash(index));
            if self.scenario.durable == Durable::Power {
                actions.push(Action::PowerFails(index));
            }
        }
    }

    fn may_ping(&self, state: &State, edge: &Edge) -> bool {
        let longer = self.length().is_some_and(|length| edge.lease_end < state.now + length);
        longer && edge.granted.is_none_or(|granted| granted.t0 < state.now)
    }

    fn granted_actions(&self, state: &State, index: u8, actions: &mut Vec<Action>) {
        let edge = &state.edges[usize::from(index)];
        let Some(Granted { head, .. }) = edge.granted else { return };
        let of_epoch = edge.applied.epoch == head.epoch;
        if of_epoch && edge.applied.seq >= head.seq {
            actions.push(Action::TakeLease(index));
        }
        if !of_epoch || (edge.applied.seq < head.seq && edge.applied.seq + 1 < state.first_retained) {
            actions.push(Action::Jump(index));
        }
    }

    fn disk_actions(&self, state: &State, index: u8, actions: &mut Vec<Action>) {
        let Edge { disk, object, applied, .. } = &state.edges[usize::from(index)];
        let of_log = applied.epoch != NO_EPOCH;
        if let (Some(object), None, true) = (object, disk.queued, of_log)
            && disk.file.is_none_or(|file| file.object.content != object.content || file.unlinked)
        {
            actions.push(Action::Compose(index));
        }
        if disk.queued.is_some() {
            actions.push(Action::Write(index));
        }
        if disk.sweeping.is_some() {
            actions.push(Action::EndSweep(index));
        } else if of_log {
            if disk.unit != Some(self.unit(&state.edges[usize::from(index)])) {
                actions.push(Action::SaveUnit(index));
            }
            let queued = disk.queued.is_some() && !self.has(NetworkMutant::FilesSweptDuringWrite);
            if state.sweeps_left > 0 && applied.seq > 0 && !queued {
                actions.push(Action::SweepFiles(index));
            }
        }
    }

    pub(crate) fn take_control(&self, state: &mut State, action: Action) {
        match action {
            Action::Tick => state.now += 1,
            Action::Commit(entry) => {
                state.purges_left -= 1;
                self.commit(state, Task { entry, accepted_at: state.now });
            }
            Action::Restore(kept) => self.restore(state, kept),
            Action::ChangeEpoch => self.change_epoch(state),
            Action::Truncate => {
                state.truncations_left -= 1;
                state.first_retained = state.head + 1;
            }
            _ => {}
        }
    }

    fn restore(&self, state: &mut State, kept: Seq) {
        state.restores_left -= 1;
        let lost: u8 = state.log[usize::from(kept)..usize::from(state.head)]
            .iter()
            .fold(0, |lost, moment| lost | 1 << (moment - 1));
        state.head = kept;
        self.forget_acks(state);
        match self.scenario.restores {
            Restores::Late => {
                // Of a task that the log lost nothing is promised before the epoch changes.
                state.success &= !lost;
                for request in &mut state.requests {
                    request.obliged &= !lost;
                }
                state.unheard = (1 << self.scenario.parents.len()) - 1;
            }
            _ if self.has(NetworkMutant::EpochKept) => {}
            _ => self.change_epoch(state),
        }
    }

    fn commit(&self, state: &mut State, task: Task) {
        state.tasks[usize::from(state.moments)] = task;
        state.moments += 1;
        state.log[usize::from(state.head)] = state.moments;
        state.head += 1;
    }

    fn change_epoch(&self, state: &mut State) {
        state.epoch += 1;
        state.stopped = false;
        state.unheard = 0;
        state.happened(Event::EpochChanged);
        if !self.has(NetworkMutant::EpochWithoutEntry) {
            let entry = Entry { scope: Scope::Url, method: Method::Delete };
            self.commit(state, Task { entry, accepted_at: EPOCH_ENTRY });
        }
        self.forget_acks(state);
    }

    fn forget_acks(&self, state: &mut State) {
        for edge in &mut state.edges {
            for row in [&mut edge.row, &mut edge.old_row] {
                if let Row::Member { acked } | Row::Leaving { acked, .. } = row {
                    *acked = 0;
                }
            }
        }
    }

    pub(crate) fn take_edge(&self, state: &mut State, action: Action, index: usize) {
        match action {
            Action::Join(_) => state.edges[index].row = Row::Member { acked: 0 },
            Action::MarkLeaving(_) => {
                if let Row::Member { acked } = state.edges[index].row {
                    state.edges[index].row = Row::Leaving { acked, since: state.now };
                }
            }
            Action::Leave(_) => {
                let edge = &mut state.edges[index];
                (edge.row, edge.lease_end, edge.granted) = (Row::Absent, 0, None);
            }
            Action::Grant(_) => self.grant(state, index),
            Action::TakeLease(_) => {
                state.happened(Event::Leased);
                let Some(granted) = state.edges[index].granted.take() else { return };
                let end = granted.t0 + self.length().unwrap_or(0);
                state.edges[index].lease_end = state.edges[index].lease_end.max(end);
            }
            Action::Apply(_) => {
                let next = state.edges[index].applied.seq + 1;
                // What is below the first retained entry can't be had: only a mutant applies on from there.
                let seq = next.max(state.first_retained.min(state.head));
                let entry = state.entry(seq);
                let edge = &mut state.edges[index];
                edge.marks.add(entry, seq);
                edge.applied.seq = seq;
            }
            Action::Jump(_) => {
                let Some(granted) = state.edges[index].granted else { return };
                let edge = &mut state.edges[index];
                edge.applied = granted.head;
                edge.marks = Default::default();
                edge.disk.swept = 0;
                edge.disk.sweeping = None;
                edge.horizon = granted.head.seq;
                state.happened(Event::Jumped);
            }
            Action::Sweep(_) => {
                state.sweeps_left -= 1;
                self.sweep(state, index, state.edges[index].applied.seq);
            }
            Action::Crash(_) | Action::PowerFails(_) => {
                self.crash(state, index, matches!(action, Action::PowerFails(_)));
            }
            _ => self.take_disk(state, action, index),
        }
    }

    fn grant(&self, state: &mut State, index: usize) {
        state.unheard &= !(1 << index);
        let edge = &mut state.edges[index];
        let ahead = edge.applied.epoch == state.epoch && edge.applied.seq > state.head;
        if ahead && !self.has(NetworkMutant::GrantsBehindEdge) {
            state.stopped = true;
            state.happened(Event::GrantsStopped);
        }
        // Whoever is not granted pings again at the next tick.
        if !state.stopped {
            let head = Position { epoch: state.epoch, seq: state.head };
            state.edges[index].granted = Some(Granted { t0: state.now, head });
        }
    }

    fn sweep(&self, state: &mut State, index: usize, to: Seq) {
        state.happened(Event::Swept);
        let edge = &mut state.edges[index];
        let epoch = edge.applied.epoch;
        if let Some(mut object) = edge.object {
            let born = self.born(&object, epoch);
            let newest = newest(edge, object.tagged);
            if newest.deleted > born || self.below_horizon(edge, &object) {
                edge.object = None;
            } else {
                if newest.invalidated > born {
                    object.stale = newest.invalidated;
                }
                if object.born.epoch == epoch {
                    object.checked = object.checked.max(to);
                }
                edge.object = Some(object);
            }
        }
        self.forget_variant(state, index);
        let edge = &mut state.edges[index];
        edge.horizon = edge.horizon.max(to);
        edge.marks = edge.marks.above(to);
    }

    /// A stored object that went is nobody's any more.
    pub(crate) fn forget_variant(&self, state: &mut State, index: usize) {
        let edge = &mut state.edges[index];
        if edge.object.is_none()
            && let Some(flight) = &mut edge.flight
        {
            flight.current = false;
        }
    }

    fn crash(&self, state: &mut State, index: usize, power: bool) {
        state.crashes_left -= 1;
        state.happened(Event::Crashed);
        let mut disk = state.edges[index].disk;
        disk.queued = None;
        disk.sweeping = None;
        disk.file = disk.file.filter(|file| power || !file.unlinked).map(|file| synced(file, !power));
        let old = state.edges[index];
        let mut edge = new_edge();
        if let Row::Member { acked } | Row::Leaving { acked, .. } = old.row {
            // Marked leaving at once: any later mark lets tasks succeed later.
            edge.old_row = Row::Leaving { acked, since: state.now };
        }
        if self.has(NetworkMutant::LeaseSurvivesRestart) {
            edge.lease_end = old.lease_end;
        }
        if self.scenario.durable == Durable::None {
            disk = Disk::default();
        }
        if let Some(unit) = disk.unit {
            edge.applied = Position { epoch: unit.epoch, seq: unit.applied };
            edge.horizon = unit.horizon;
            edge.marks = unit.marks;
            disk.swept = unit.swept;
            state.happened(Event::Recovered);
            edge.object = disk.file.map(|file| self.recovered(file.object, unit));
            if edge.object.is_some() {
                state.happened(Event::RecoveredObject);
            }
        } else {
            // Without its unit a file means nothing.
            disk = Disk::default();
        }
        edge.disk = disk;
        state.edges[index] = edge;
        self.forget_requests(state, index);
    }

    fn recovered(&self, mut object: Object, unit: Unit) -> Object {
        if object.born.epoch == unit.epoch {
            let vouched = match self.mutant {
                Some(NetworkMutant::RecoveredCheckedToApplied) => unit.applied,
                _ => unit.swept,
            };
            object.checked = object.checked.max(vouched);
        }
        object
    }

    /// A process that died answers nobody: its clients are gone, and its children get no answer.
    fn forget_requests(&self, state: &mut State, index: usize) {
        for request in &mut state.requests {
            if usize::from(request.edge) == index && request.phase != Phase::Free {
                *request = super::state::NO_REQUEST;
            }
        }
        for child in 0..state.edges.len() {
            if let Some(flight) = &mut state.edges[child].flight
                && let Stage::Sent { to, .. }
                | Stage::At { to, .. }
                | Stage::On { to, .. }
                | Stage::Waits { to, .. } = flight.stage
                && usize::from(to) == index
            {
                flight.stage = Stage::Origin { at: state.moments };
            }
        }
    }

    fn take_disk(&self, state: &mut State, action: Action, index: usize) {
        let edge = &mut state.edges[index];
        match action {
            Action::Compose(_) => {
                let Some(mut object) = edge.object else { return };
                let born = self.born(&object, edge.applied.epoch);
                let walked = newest(edge, object.tagged);
                let clear =
                    walked.newest() <= born && object.stale == 0 && !self.below_horizon(edge, &object);
                if clear || self.has(NetworkMutant::FileWrittenUnwalked) {
                    object.checked = edge.applied.seq;
                    object.stale = 0;
                    edge.disk.queued = Some(object);
                }
            }
            Action::Write(_) => {
                let written = edge.disk.queued.take();
                edge.disk.file = written.map(|object| File { object, unlinked: false, noted: 0 });
            }
            Action::SaveUnit(_) => edge.disk.unit = Some(self.unit(edge)),
            Action::SweepFiles(_) => {
                state.sweeps_left -= 1;
                edge.disk.sweeping = Some(edge.applied.seq);
                self.sweep_file(state, index);
            }
            Action::EndSweep(_) => {
                let Some(to) = edge.disk.sweeping.take() else { return };
                let file = edge.disk.file;
                if !self.has(NetworkMutant::SweepWithoutSync) {
                    edge.disk.file = file.filter(|file| !file.unlinked).map(|file| synced(file, true));
                }
                edge.disk.swept = to;
                self.sweep(state, index, to);
            }
            _ => {}
        }
    }

    fn sweep_file(&self, state: &mut State, index: usize) {
        let edge = &state.edges[index];
        let Some(mut file) = edge.disk.file else { return };
        let object = file.object;
        let born = self.born(&object, edge.applied.epoch);
        let of = newest(edge, object.tagged);
        if of.deleted > born || self.below_horizon(edge, &object) {
            file.unlinked = true;
            state.happened(Event::Removed);
        } else if of.invalidated > born {
            file.noted = of.invalidated;
            state.happened(Event::Noted);
        }
        state.edges[index].disk.file = Some(file);
    }

    fn unit(&self, edge: &Edge) -> Unit {
        let mut unit = Unit {
            epoch: edge.applied.epoch,
            applied: edge.applied.seq,
            horizon: edge.horizon,
            swept: edge.disk.swept,
            marks: edge.marks,
        };
        if self.has(NetworkMutant::TornUnit) {
            unit.marks = edge.disk.unit.map_or_else(Default::default, |unit| unit.marks);
        }
        unit
    }

    /// Takes the steps that are taken at once, and forgets what no step can tell apart.
    pub(crate) fn settle(&self, state: &mut State) {
        let now = state.now;
        let counts = self.has(NetworkMutant::AcksBehindEdge) || !(state.stopped || state.unheard != 0);
        for index in 0..self.scenario.parents.len() {
            let edge = &mut state.edges[index];
            let applied = edge.applied.on(state.epoch);
            if let Row::Member { acked } | Row::Leaving { acked, .. } = &mut edge.row
                && counts
            {
                *acked = (*acked).max(applied);
            }
            let Some(length) = self.length() else { continue };
            for row in [&mut edge.row, &mut edge.old_row] {
                if let Row::Leaving { since, .. } = row
                    && now >= *since + length
                {
                    *row = Row::Absent;
                }
            }
            if now >= edge.lease_end {
                edge.lease_end = 0;
            }
            if edge.granted.is_some_and(|granted| now >= granted.t0 + length) {
                edge.granted = None;
            }
        }
        self.succeed(state, counts);
        state.requests.sort_unstable();
    }

    fn succeed(&self, state: &mut State, counts: bool) {
        for seq in 1..=state.head {
            let moment = state.log[usize::from(seq) - 1];
            let bit = 1 << (moment - 1);
            let task = &state.tasks[usize::from(moment) - 1];
            if state.success & bit != 0 || task.accepted_at == EPOCH_ENTRY {
                continue;
            }
            let by_time = self.length().is_some_and(|length| state.now >= task.accepted_at + length);
            let silent = |row: Row| match row {
                Row::Absent => false,
                Row::Member { acked } | Row::Leaving { acked, .. } => acked < seq,
            };
            let mut edges = state.edges[..self.scenario.parents.len()].iter();
            let by_acks = counts && !edges.any(|edge| silent(edge.row) || silent(edge.old_row));
            if by_time || by_acks {
                state.success |= bit;
                state.happened(if by_acks { Event::ByAcks } else { Event::ByTime });
                state.tasks[usize::from(moment) - 1].accepted_at = 0;
            }
        }
    }
}

impl Protocol {
    /// An object's born, as it counts in the log that an edge follows.
    pub(crate) fn born(&self, object: &Object, epoch: u8) -> Seq {
        if self.has(NetworkMutant::BornOfAnyEpoch) { object.born.seq } else { object.born.on(epoch) }
    }

    pub(crate) fn below_horizon(&self, edge: &Edge, object: &Object) -> bool {
        let epoch = edge.applied.epoch;
        let checked = if object.born.epoch == epoch { object.checked } else { 0 };
        self.born(object, epoch).max(checked) < edge.horizon
    }
}

/// A file after a crash, with what was written into it or without.
fn synced(mut file: File, kept: bool) -> File {
    file.unlinked = false;
    let noted = std::mem::take(&mut file.noted);
    if kept && noted > 0 {
        file.object.stale = noted;
    }
    file
}

/// The acceptance of an epoch's entry, which is no task that anybody waits for: a time that no clock reaches.
pub(crate) const EPOCH_ENTRY: u8 = u8::MAX;

pub(crate) fn newest(edge: &Edge, tagged: bool) -> super::state::Newest {
    if tagged { edge.marks.url.with(edge.marks.tag) } else { edge.marks.url }
}
