//! The rules as steps. Owns which steps a state allows; the request's steps are in `request`.
//!
//! Acknowledging, removing a member row that has waited long enough, and `success` are taken as soon as they
//! may be: each only lets a task succeed sooner, and a later success asks less of every request.

use stateright::{Model, Property};

use crate::event::{Event, Events};
use crate::mutant::Mutant;
use crate::scenario::Scenario;
use crate::search::Told;
use crate::state::{Content, Edge, Entry, Object, Phase, Ping, ReadEarly, Row, Seq, State, Task, UNTAGGED};

/// The protocol in a scenario, whole or without one rule.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The world it runs in.
    pub scenario: Scenario,
    /// The rule dropped.
    pub mutant: Option<Mutant>,
}

/// A step. Requests and flights are named by their place in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The clock advances.
    Tick,
    /// A task commits.
    Commit(Entry),
    /// A mutant reads something before it should.
    ReadEarly(Early),
    /// The edge's process writes its member row.
    Join,
    /// The control plane marks a process's row leaving.
    MarkLeaving(u8),
    /// The edge gives up its lease for good, and its row goes.
    Leave,
    /// A process whose row is leaving or gone takes a new id, and keeps what it holds.
    JoinAnew,
    /// The edge pings, with a fresh nonce.
    Ping,
    /// The control plane grants the ping, with the head it reads now.
    Grant,
    /// The edge has applied the granted head, and takes the lease.
    TakeLease,
    /// The next entry's marks become visible (and all of its applying, where that is no step of its own).
    Marks,
    /// The zone's last seq is raised.
    LastSeq,
    /// `applied` is raised.
    Applied,
    /// The edge joins anew at the granted head.
    Jump,
    /// A sweep has walked the objects.
    SweepWalks,
    /// The sweep ends: horizon, then marks.
    SweepEnds,
    /// The process dies, and another starts.
    Crash,
    /// A client's request begins, and reads clock and lease.
    Begin,
    /// A waiting request takes its turn: it reads clock and lease again.
    Turn(u8),
    /// The request's next step.
    Step(u8, Choice),
    /// A response's head arrives: a 304 or a 200, with or without the tag.
    Head { flight: u8, not_modified: bool, tag: bool },
    /// A 200's body ends.
    End(u8),
}

/// What a request's step may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The object is past its freshness.
    pub expired: bool,
    /// It does not join: it sends its own fetch.
    pub alone: bool,
}

/// What a mutant reads early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// The time, before the commit.
    Time,
    /// The members, before the commit.
    Members,
    /// The log's head, before the pings.
    Head,
}

impl Protocol {
    pub(crate) fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn early(&self) -> Option<Early> {
        match self.mutant {
            Some(Mutant::TimeBeforeCommit) => Some(Early::Time),
            Some(Mutant::MembersCached) => Some(Early::Members),
            Some(Mutant::HeadBeforePings) => Some(Early::Head),
            _ => None,
        }
    }

    fn last_seq_target(&self, state: &State) -> Seq {
        if self.has(Mutant::LastSeqBeforeMarks) {
            return state.head();
        }
        state.edge.marks_to
    }

    fn applied_target(&self, state: &State) -> Seq {
        match self.mutant {
            Some(Mutant::AppliedBeforeMarks) => state.head(),
            Some(Mutant::AppliedBeforeLastSeq) => state.edge.marks_to,
            _ => state.edge.last_seq.min(state.edge.marks_to),
        }
    }

    fn control_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let scenario = &self.scenario;
        if state.now < scenario.ticks {
            actions.push(Action::Tick);
        }
        let began = !self.has(Mutant::TimeBeforeCommit) || state.early.began.is_some();
        if state.head() < scenario.purges && began {
            actions.extend(scenario.entries.iter().map(|entry| Action::Commit(*entry)));
        }
        if let Some(early) = self.early()
            && state.early == ReadEarly::default()
        {
            actions.push(Action::ReadEarly(early));
        }
        if !scenario.leases {
            return;
        }
        if let Some(row) = state.rows.last() {
            let room = state.rows.len() < usize::from(scenario.processes);
            match row {
                Row::Absent => actions.push(Action::Join),
                Row::Leaving { .. } | Row::Removed if room => actions.push(Action::JoinAnew),
                _ => {}
            }
            if matches!(state.edge.ping, Ping::Sent { .. }) && self.grants(state, *row) {
                actions.push(Action::Grant);
            }
        }
        if scenario.leaving {
            for (index, row) in state.rows.iter().enumerate() {
                if matches!(row, Row::Member { .. }) {
                    actions.push(Action::MarkLeaving(index as u8));
                }
            }
        }
    }

    fn grants(&self, state: &State, row: Row) -> bool {
        if self.has(Mutant::HeadBeforePings) && state.early.head.is_none() {
            return false;
        }
        match row {
            Row::Member { .. } => true,
            Row::Absent => self.has(Mutant::GrantsToStrangers),
            Row::Leaving { .. } | Row::Removed => self.has(Mutant::GrantsToLeaving),
        }
    }

    fn lease_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let edge = &state.edge;
        let scenario = &self.scenario;
        if scenario.leaving && matches!(state.rows.last(), Some(Row::Member { .. } | Row::Leaving { .. })) {
            actions.push(Action::Leave);
        }
        let longer = edge.lease_end < state.now + scenario.lease_ticks;
        let fresh = match edge.ping {
            Ping::None => true,
            Ping::Sent { t0 } | Ping::Granted { t0, .. } => t0 < state.now,
        };
        if longer && fresh {
            actions.push(Action::Ping);
        }
        let granted = match (edge.ping, state.early.grant) {
            (Ping::Granted { head, .. }, _) => Some(head),
            (Ping::Sent { .. }, old) => old,
            _ => None,
        };
        let Some(head) = granted else { return };
        if edge.applied >= head || self.has(Mutant::LeaseBeforeApplied) {
            actions.push(Action::TakeLease);
        }
        if edge.marks_to < head && state.jumps_left > 0 {
            actions.push(Action::Jump);
        }
    }

    fn edge_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let edge = &state.edge;
        if edge.marks_to < state.head() {
            actions.push(Action::Marks);
        }
        if edge.last_seq < self.last_seq_target(state) {
            actions.push(Action::LastSeq);
        }
        if edge.applied < self.applied_target(state) {
            actions.push(Action::Applied);
        }
        if edge.sweeping.is_some() {
            actions.push(Action::SweepEnds);
        } else if state.sweeps_left > 0 && edge.applied > edge.dropped {
            actions.push(Action::SweepWalks);
        }
        if state.rows.len() < usize::from(self.scenario.processes) {
            actions.push(Action::Crash);
        }
    }

    fn take_lease(&self, state: &mut State) {
        let (Ping::Sent { t0 } | Ping::Granted { t0, .. }) = state.edge.ping else { return };
        state.happened(Event::Leased);
        let from = if self.has(Mutant::LeaseFromGrant) { state.now } else { t0 };
        state.edge.lease_end = state.edge.lease_end.max(from + self.scenario.lease_ticks);
        state.edge.ping = Ping::None;
        state.early.grant = None;
    }

    fn ping(&self, state: &mut State) {
        let t0 = state.now;
        state.edge.ping = match state.edge.ping {
            Ping::Granted { head, .. } if self.has(Mutant::EarlierGrant) => Ping::Granted { t0, head },
            _ => Ping::Sent { t0 },
        };
    }

    fn grant(&self, state: &mut State) {
        let head = state.early.head.take().unwrap_or(state.head());
        if let Ping::Sent { t0 } = state.edge.ping {
            state.edge.ping = Ping::Granted { t0, head };
        }
    }

    fn marks(&self, state: &mut State) {
        state.edge.marks_to += 1;
        if !self.scenario.apply_steps {
            state.edge.last_seq = state.edge.marks_to;
            state.edge.applied = state.edge.marks_to;
        }
    }

    fn jump(&self, state: &mut State) {
        let Ping::Granted { head, .. } = state.edge.ping else { return };
        state.jumps_left -= 1;
        state.happened(Event::Jumped);
        state.edge.marks_to = head;
        state.edge.dropped = head;
        state.edge.sweeping = None;
        match self.mutant {
            Some(Mutant::JumpDropsOnce) => state.replace_variant(None),
            Some(Mutant::JumpKeeps | Mutant::JumpHorizonLast) => {}
            _ => state.edge.horizon = head,
        }
        if !self.scenario.apply_steps {
            state.edge.last_seq = head;
            state.edge.applied = head;
        }
    }

    fn sweep_walks(&self, state: &mut State) {
        let swept_to = state.edge.applied;
        state.sweeps_left -= 1;
        state.edge.sweeping = Some(swept_to);
        let Some(mut object) = state.edge.object else { return };
        let marks = state.marks(object.tagged);
        let below = object.born.max(object.checked) < state.edge.horizon;
        if marks.deleted > object.born || (below && !self.has(Mutant::SweepVouchesBelowHorizon)) {
            state.replace_variant(None);
            return;
        }
        object.checked = object.checked.max(swept_to);
        if marks.invalidated > object.born && !object.stale {
            // What a hit reads is replaced, so that a request that loaded it before keeps the `checked` it loaded.
            object.stale = true;
            state.replace_header();
        }
        state.edge.object = Some(object);
    }

    fn sweep_ends(&self, state: &mut State) {
        let Some(swept_to) = state.edge.sweeping else { return };
        if self.has(Mutant::MarksDroppedFirst) && state.edge.dropped < swept_to {
            state.edge.dropped = swept_to;
            return;
        }
        state.happened(Event::Swept);
        state.edge.sweeping = None;
        state.edge.dropped = state.edge.dropped.max(swept_to);
        if !self.has(Mutant::SweepForgets) {
            state.edge.horizon = state.edge.horizon.max(swept_to);
        }
    }

    fn crash(&self, state: &mut State) {
        if let (true, Ping::Granted { head, .. }) = (self.has(Mutant::OldGrant), state.edge.ping) {
            state.early.grant = Some(head);
        }
        state.happened(Event::Crashed);
        state.edge = Edge::new();
        state.requests.clear();
        state.rows.push(Row::Absent);
    }

    fn read_early(&self, state: &mut State, early: Early) {
        match early {
            Early::Time => state.early.began = Some(state.now),
            Early::Head => state.early.head = Some(state.head()),
            Early::Members => {
                let member = |row: &Row| matches!(row, Row::Member { .. } | Row::Leaving { .. });
                let bits = state.rows.iter().enumerate().filter(|(_, row)| member(row));
                state.early.members = Some(bits.fold(0, |bits, (index, _)| bits | 1 << index));
            }
        }
    }

    /// Takes the steps that are taken at once, and forgets what no step can tell apart.
    fn settle(&self, state: &mut State) {
        let length = self.scenario.lease_ticks;
        let acked_to = if self.has(Mutant::AckBeforeMarks) { state.head() } else { state.edge.applied };
        if let Some(Row::Member { acked } | Row::Leaving { acked, .. }) = state.rows.last_mut() {
            *acked = (*acked).max(acked_to);
        }
        let now = state.now;
        for row in &mut state.rows {
            if let Row::Leaving { since, .. } = *row
                && (now >= since + length || self.has(Mutant::LeaveAtOnce))
            {
                *row = Row::Removed;
            }
        }
        for seq in 1..=state.head() {
            let length = length - u8::from(self.has(Mutant::DeadlineShort));
            let by_time = now >= state.log[usize::from(seq) - 1].accepted_at + length;
            let is_done = state.success & 1 << (seq - 1) != 0;
            if !is_done && (by_time || self.acked(state, seq)) {
                state.happened(if self.acked(state, seq) { Event::ByAcks } else { Event::ByTime });
                state.success |= 1 << (seq - 1);
                state.log[usize::from(seq) - 1].accepted_at = 0;
            }
        }
        if self.scenario.leases {
            if now >= state.edge.lease_end {
                state.edge.lease_end = 0;
            }
            let (Ping::Sent { t0 } | Ping::Granted { t0, .. }) = state.edge.ping else { return };
            if now >= t0 + length && !self.has(Mutant::LeaseFromGrant) && !self.has(Mutant::EarlierGrant) {
                state.edge.ping = Ping::None;
            }
        }
    }

    fn acked(&self, state: &State, seq: Seq) -> bool {
        let counted = state.early.members.unwrap_or(u8::MAX);
        let silent = |(index, row): (usize, &Row)| match row {
            Row::Absent | Row::Removed => false,
            Row::Member { acked } | Row::Leaving { acked, .. } => counted & 1 << index != 0 && *acked < seq,
        };
        self.has(Mutant::SuccessWithoutAcks) || !state.rows.iter().enumerate().any(silent)
    }

    fn take(&self, state: &mut State, action: Action) {
        match action {
            Action::Tick => state.now += 1,
            Action::Commit(entry) => {
                let accepted_at = state.early.began.take().unwrap_or(state.now);
                state.log.push(Task { entry, accepted_at });
            }
            Action::ReadEarly(early) => self.read_early(state, early),
            Action::Join => self.set_row(state, Row::Member { acked: 0 }),
            Action::MarkLeaving(index) => {
                if let Row::Member { acked } = state.rows[usize::from(index)] {
                    state.rows[usize::from(index)] = Row::Leaving { acked, since: state.now };
                }
            }
            Action::Leave => {
                self.set_row(state, Row::Removed);
                state.edge.ping = Ping::None;
                if !self.has(Mutant::LeavesWithLease) {
                    state.edge.lease_end = 0;
                }
            }
            Action::JoinAnew => {
                state.rows.push(Row::Absent);
                state.edge.ping = Ping::None;
            }
            Action::Ping => self.ping(state),
            Action::Grant => self.grant(state),
            Action::TakeLease => self.take_lease(state),
            Action::Marks => self.marks(state),
            Action::LastSeq => state.edge.last_seq = self.last_seq_target(state),
            Action::Applied => {
                state.edge.applied = self.applied_target(state);
                if self.has(Mutant::JumpHorizonLast) {
                    state.edge.horizon = state.edge.dropped;
                }
            }
            Action::Jump => self.jump(state),
            Action::SweepWalks => self.sweep_walks(state),
            Action::SweepEnds => self.sweep_ends(state),
            Action::Crash => self.crash(state),
            Action::Begin => self.begin(state),
            Action::Turn(index) => self.turn(state, index),
            Action::Step(index, choice) => self.step(state, index, choice),
            Action::Head { flight, not_modified: true, tag } => self.not_modified(state, flight, tag),
            Action::Head { flight, not_modified: false, tag } => self.head_arrives(state, flight, tag),
            Action::End(flight) => self.end(state, flight),
        }
    }

    fn set_row(&self, state: &mut State, row: Row) {
        if let Some(last) = state.rows.last_mut() {
            *last = row;
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let scenario = &self.scenario;
        let mut edge = Edge::new();
        if scenario.warm {
            let content = Content { fetched: 0, validated: 0, tag_since: UNTAGGED };
            edge.object = Some(Object { born: 0, checked: 0, tagged: false, stale: false, content });
        }
        let mut row = Row::Absent;
        if scenario.leased {
            row = Row::Member { acked: 0 };
            edge.lease_end = scenario.lease_ticks;
        }
        vec![State {
            now: 0,
            log: Vec::new(),
            success: 0,
            rows: vec![row],
            edge,
            requests: Vec::new(),
            requests_left: scenario.requests,
            sweeps_left: scenario.sweeps,
            jumps_left: scenario.jumps,
            early: ReadEarly::default(),
            broken: None,
            events: Events::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let over = state.requests_left == 0 && state.requests.is_empty();
        if over || state.broken.is_some() {
            return;
        }
        self.control_actions(state, actions);
        self.edge_actions(state, actions);
        if self.scenario.leases {
            self.lease_actions(state, actions);
        }
        self.request_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        state.events = Events::default();
        self.take(&mut state, action);
        self.settle(&mut state);
        state.sort();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        vec![Property::always("the promise", |_, state: &State| state.broken.is_none())]
    }

    fn within_boundary(&self, state: &State) -> bool {
        let waits = |phase: &Phase| matches!(phase, Phase::On { .. });
        // Every request that waits for a flight names one that exists.
        debug_assert!(!state.edge.flights.is_empty() || !state.requests.iter().any(|r| waits(&r.phase)));
        true
    }
}

impl Told for Protocol {
    fn events(&self, state: &State) -> Events {
        state.events
    }

    fn broken(&self, state: &State) -> Option<String> {
        let broken = state.broken?;
        Some(format!(
            "answers after success of task {} with content fetched at {} and validated at {}",
            broken.task, broken.content.fetched, broken.content.validated
        ))
    }

    fn tell(&self, _: &State, action: &Action, _: &State) -> String {
        match action {
            Action::Step(index, choice) => {
                let expired = if choice.expired { ", object expired" } else { "" };
                let alone = if choice.alone { ", does not join" } else { "" };
                format!("request {index} steps{expired}{alone}")
            }
            Action::Head { flight, not_modified, tag } => {
                let status = if *not_modified { 304 } else { 200 };
                let tag = if *tag { " with the tag" } else { "" };
                format!("fetch {flight} answered {status}{tag}")
            }
            Action::Commit(entry) => format!("commit {:?} {:?}", entry.method, entry.scope),
            other => format!("{other:?}"),
        }
    }
}
