//! Requests of clients and of children: one way to look for both.
//!
//! Order: lease and `seen` in one step, then object, fetch under way and marks in another. What lies between them in
//! one edge is the other model's ([`crate::Protocol`]).

use super::state::{
    Broken, EDGES, Edge, Flight, NO_REQUEST, Newest, Object, Phase, Position, Request, Stage, State, Told,
};
use super::steps::{Action, Protocol, newest};
use crate::event::Event;
use crate::mutant::NetworkMutant;
use crate::state::{Content, Method, Scope, Seq, UNTAGGED};

/// What a look may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The object is past its freshness.
    pub expired: bool,
    /// The parent does not answer: the origin is asked.
    pub bypass: bool,
}

/// Who is to be answered.
#[derive(Clone, Copy)]
enum Asker {
    Client(usize),
    Child(usize),
}

enum Verdict {
    Gone,
    Stale,
    Clear,
}

/// What an asker read before it looks.
#[derive(Clone, Copy)]
struct Reading {
    lease: bool,
    seen: Position,
    hit: Newest,
}

struct Answer {
    content: Content,
    tagged: bool,
}

impl Protocol {
    pub(crate) fn request_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.requests_left > 0 {
            actions.extend(self.scenario.asked.iter().map(|edge| Action::Begin(*edge)));
        }
        for (index, request) in state.requests.iter().enumerate() {
            // Equal requests take equal steps.
            if index > 0 && state.requests[index - 1] == *request {
                continue;
            }
            let edge = usize::from(request.edge);
            match request.phase {
                Phase::Again => actions.push(Action::Read(index as u8)),
                Phase::Read { .. } => self.choices(state, edge, |choice| {
                    actions.push(Action::Look(index as u8, choice));
                }),
                Phase::Free | Phase::On { .. } | Phase::Waits => {}
            }
        }
        for index in 0..self.scenario.parents.len() {
            self.flight_actions(state, index, actions);
        }
    }

    fn choices(&self, state: &State, edge: usize, mut push: impl FnMut(Choice)) {
        let can_expire = self.scenario.expiry && state.edges[edge].object.is_some();
        let can_bypass = self.scenario.partition
            && self.scenario.parents[edge].is_some()
            && state.edges[edge].flight.is_none();
        for expired in [false, true] {
            for bypass in [false, true] {
                if (can_expire || !expired) && (can_bypass || !bypass) {
                    push(Choice { expired, bypass });
                }
            }
        }
    }

    fn flight_actions(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let Some(flight) = state.edges[index].flight else { return };
        let edge = index as u8;
        match flight.stage {
            Stage::Sent { .. } => actions.push(Action::Arrive(edge)),
            Stage::At { to, .. } => self.choices(state, usize::from(to), |choice| {
                actions.push(Action::LookFor(edge, choice));
            }),
            Stage::On { .. } | Stage::Waits { .. } => {}
            Stage::Origin { .. } => {
                for tagged in [false, true] {
                    for not_modified in [false, true] {
                        let validates = self.scenario.validates && flight.base.is_some();
                        if (self.scenario.tags || !tagged) && (validates || !not_modified) {
                            actions.push(Action::Origin { edge, not_modified, tagged });
                        }
                    }
                }
                return;
            }
            Stage::Answered { .. } => actions.push(Action::End(edge)),
        }
        if self.scenario.partition {
            actions.push(Action::GiveUp(edge));
        }
    }

    pub(crate) fn take_request(&self, state: &mut State, action: Action) {
        match action {
            Action::Begin(edge) => {
                state.requests_left -= 1;
                let phase = self.read(state, usize::from(edge));
                let free = state.requests.iter_mut().find(|request| request.phase == Phase::Free);
                if let Some(free) = free {
                    *free = Request { phase, edge, obliged: state.success };
                }
            }
            Action::Read(index) => {
                let edge = usize::from(state.requests[usize::from(index)].edge);
                state.requests[usize::from(index)].phase = self.read(state, edge);
            }
            Action::Look(index, choice) => {
                let request = state.requests[usize::from(index)];
                let Phase::Read { lease, seen } = request.phase else { return };
                let reading = Reading { lease, seen, hit: Newest::default() };
                let asker = Asker::Client(usize::from(index));
                self.look(state, usize::from(request.edge), asker, reading, choice);
            }
            Action::Arrive(edge) => self.arrive(state, usize::from(edge)),
            Action::LookFor(edge, choice) => self.look_for(state, usize::from(edge), choice),
            Action::GiveUp(edge) => {
                state.happened(Event::Bypassed);
                self.set_stage(state, usize::from(edge), Stage::Origin { at: state.moments });
            }
            Action::Origin { edge, not_modified, tagged } => {
                let edge = usize::from(edge);
                let Some(Flight { stage: Stage::Origin { at }, .. }) = state.edges[edge].flight else {
                    return;
                };
                let tag_since = if tagged { at } else { UNTAGGED };
                let content = Content { fetched: at, validated: at, tag_since };
                self.land(state, edge, not_modified, Answer { content, tagged });
            }
            Action::End(edge) => {
                let edge = usize::from(edge);
                let Some(flight) = state.edges[edge].flight else { return };
                let Stage::Answered { not_modified, tagged, content } = flight.stage else { return };
                self.land(state, edge, not_modified, Answer { content, tagged });
            }
            _ => {}
        }
    }

    fn read(&self, state: &State, edge: usize) -> Phase {
        Phase::Read { lease: state.lease_holds(edge), seen: state.edges[edge].applied }
    }

    fn set_stage(&self, state: &mut State, edge: usize, stage: Stage) {
        if let Some(flight) = &mut state.edges[edge].flight {
            flight.stage = stage;
        }
    }

    /// The parent reads lease and `seen`, and passes on what its cache may have no part in, or lets it wait.
    fn arrive(&self, state: &mut State, child: usize) {
        let Some(Flight { stage: Stage::Sent { to, told }, .. }) = state.edges[child].flight else { return };
        let node = usize::from(to);
        let own = state.lease_holds(node);
        let seen = state.edges[node].applied;
        let serves = !own && self.has(NetworkMutant::ParentServes);
        let lease = own || told.lease || serves || self.has(NetworkMutant::ParentWithoutLease);
        let of_epoch = told.floor.epoch == seen.epoch || self.has(NetworkMutant::FloorOfAnyEpoch);
        let reached = (of_epoch && seen.seq >= told.floor.seq) || serves || self.has(NetworkMutant::NoFloor);
        if lease && reached {
            let told = Told { lease, ..told };
            self.set_stage(state, child, Stage::At { to, told, seen });
            return;
        }
        if self.has(NetworkMutant::JoinsBelowFloor) && state.edges[node].flight.is_some() {
            self.set_stage(state, child, Stage::On { to, told, seen, follows: true });
            return;
        }
        state.happened(Event::PassedOn);
        let mut floor = told.floor;
        if floor.epoch == seen.epoch && !self.has(NetworkMutant::LowerFloorPassedOn) {
            floor.seq = floor.seq.max(seen.seq);
        }
        let told = Told { floor, lease: own || told.lease, ..told };
        let stage = self.upstream(state, node, told);
        self.set_stage(state, child, stage);
    }

    /// Where a request of a node goes.
    fn upstream(&self, state: &State, node: usize, told: Told) -> Stage {
        match self.scenario.parents[node] {
            Some(to) => Stage::Sent { to, told },
            None => Stage::Origin { at: state.moments },
        }
    }

    fn look_for(&self, state: &mut State, child: usize, choice: Choice) {
        let Some(Flight { stage: Stage::At { to, told, seen }, .. }) = state.edges[child].flight else {
            return;
        };
        let reading = Reading { lease: true, seen, hit: told.hit };
        self.look(state, usize::from(to), Asker::Child(child), reading, choice);
    }

    fn judge(&self, edge: &Edge, object: &Object, hit: Newest) -> (Verdict, Newest) {
        let epoch = edge.applied.epoch;
        let born = self.born(object, epoch);
        let own = newest(edge, object.tagged);
        let by = own.with(hit).with(Newest { deleted: 0, invalidated: object.stale });
        if self.below_horizon(edge, object) {
            return (Verdict::Gone, by);
        }
        let vouched = object.born.epoch == epoch && object.checked >= edge.applied.seq;
        let marks = if vouched { hit } else { own.with(hit) };
        if marks.deleted > born {
            (Verdict::Gone, by)
        } else if object.stale > 0 || marks.invalidated > born {
            (Verdict::Stale, by)
        } else {
            (Verdict::Clear, hit)
        }
    }

    fn look(&self, state: &mut State, node: usize, asker: Asker, reading: Reading, choice: Choice) {
        let Reading { lease, seen, hit } = reading;
        if !lease {
            state.happened(Event::Fenced);
            return self.fetch(state, node, asker, reading, (None, choice.bypass));
        }
        let edge = &state.edges[node];
        let Some(object) = edge.object else {
            return self.fetch(state, node, asker, reading, (None, choice.bypass));
        };
        let (verdict, by) = self.judge(edge, &object, hit);
        let told = Reading { hit: by, ..reading };
        if hit.newest() > 0 && !matches!(verdict, Verdict::Clear) {
            state.happened(Event::HitTold);
        }
        match verdict {
            Verdict::Clear if !choice.expired => {
                if let Some(object) = &mut state.edges[node].object
                    && object.born.epoch == seen.epoch
                    && seen.epoch == state.edges[node].applied.epoch
                {
                    object.checked = object.checked.max(seen.seq);
                }
                state.happened(if matches!(asker, Asker::Client(_)) {
                    Event::Hit
                } else {
                    Event::HitForChild
                });
                self.answer(state, node, asker, Answer { content: object.content, tagged: object.tagged });
            }
            Verdict::Clear => self.fetch(state, node, asker, told, (Some(object), choice.bypass)),
            Verdict::Stale => {
                state.happened(Event::FoundStale);
                self.fetch(state, node, asker, told, (Some(object), choice.bypass));
            }
            Verdict::Gone => {
                let below = self.below_horizon(&state.edges[node], &object);
                state.happened(if below { Event::FoundBelowHorizon } else { Event::FoundDeleted });
                state.edges[node].object = None;
                self.forget_variant(state, node);
                self.fetch(state, node, asker, told, (None, choice.bypass));
            }
        }
    }

    /// Joins the fetch under way, waits for its end, or sends one.
    fn fetch(
        &self,
        state: &mut State,
        node: usize,
        asker: Asker,
        reading: Reading,
        (base, bypass): (Option<Object>, bool),
    ) {
        let Reading { lease, seen, hit } = reading;
        if state.edges[node].flight.is_some() {
            return self.board(state, asker, lease.then_some(seen));
        }
        let mut born = seen;
        if self.has(NetworkMutant::FloorNotBorn) {
            born = state.edges[node].applied;
        }
        let mut floor = seen;
        if self.has(NetworkMutant::LowerFloorPassedOn)
            && let Asker::Child(child) = asker
            && let Some(Flight { stage: Stage::At { told, .. }, .. }) = state.edges[child].flight
        {
            floor = told.floor;
        }
        let hit = if self.has(NetworkMutant::HitNotTold) { Newest::default() } else { hit };
        let lease = lease || self.has(NetworkMutant::FencedChildClaimsLease);
        let told = Told { floor, lease, hit };
        let mut stage = self.upstream(state, node, told);
        if bypass {
            state.happened(Event::Bypassed);
            stage = Stage::Origin { at: state.moments };
        }
        let conditional = base.is_some();
        state.happened(if conditional { Event::AskedConditionally } else { Event::Fetched });
        state.edges[node].flight = Some(Flight { born, base, current: conditional, stage });
        self.place(state, asker, seen, false);
    }

    fn board(&self, state: &mut State, asker: Asker, seen: Option<Position>) {
        if let Some(seen) = seen {
            return self.place(state, asker, seen, true);
        }
        state.happened(Event::Waited);
        match asker {
            Asker::Client(index) => state.requests[index].phase = Phase::Waits,
            Asker::Child(child) => {
                if let Some(Flight { stage: Stage::At { to, told, .. }, .. }) = state.edges[child].flight {
                    self.set_stage(state, child, Stage::Waits { to, told });
                }
            }
        }
    }

    fn place(&self, state: &mut State, asker: Asker, seen: Position, follows: bool) {
        match asker {
            Asker::Client(index) => state.requests[index].phase = Phase::On { seen, follows },
            Asker::Child(child) => {
                if let Some(Flight { stage: Stage::At { to, told, .. }, .. }) = state.edges[child].flight {
                    self.set_stage(state, child, Stage::On { to, told, seen, follows });
                }
            }
        }
    }

    /// Answers a client, which is held against the promise, or a child.
    fn answer(&self, state: &mut State, node: usize, asker: Asker, answer: Answer) {
        let Answer { content, tagged } = answer;
        match asker {
            Asker::Client(index) => {
                let obliged = state.requests[index].obliged;
                state.requests[index] = NO_REQUEST;
                self.check(state, node, obliged, content);
            }
            Asker::Child(child) => {
                let not_modified = state.edges[child].flight.is_some_and(|flight| flight.base.is_some());
                if not_modified {
                    state.happened(Event::NotModifiedByParent);
                }
                let tagged = tagged && !self.has(NetworkMutant::TagsNotHandedOn);
                self.set_stage(state, child, Stage::Answered { not_modified, tagged, content });
            }
        }
    }

    /// The promise: nothing that a task matched, and that was fetched before, for who came after its success.
    fn check(&self, state: &mut State, node: usize, obliged: u8, content: Content) {
        if obliged != 0 {
            state.happened(Event::Checked);
        }
        let mut since = content.tag_since;
        if self.scenario.by_bytes {
            let had = state.had[node].filter(|had| content.fetched <= had.fetched);
            since = since.min(had.map_or(UNTAGGED, |had| had.tag_since));
            if content.tag_since != UNTAGGED {
                state.had[node] = Some(content);
            }
        }
        for moment in 1..=state.moments {
            if obliged & 1 << (moment - 1) == 0 {
                continue;
            }
            let entry = state.tasks[usize::from(moment) - 1].entry;
            let matched = entry.scope == Scope::Url || since < moment;
            let newest_fetch = match entry.method {
                Method::Invalidate => content.validated,
                Method::Delete => content.fetched,
            };
            if matched && newest_fetch < moment {
                state.broken = Some(Broken { edge: node as u8, moment, content });
            }
        }
    }

    /// Whether a follower may share what was fetched.
    fn may_share(&self, edge: &Edge, (born, seen): (Position, Position), tagged: bool, hit: Newest) -> bool {
        let epoch = edge.applied.epoch;
        if self.has(NetworkMutant::JoinsAnyFetch) {
            return true;
        }
        let is_not_later = match self.has(NetworkMutant::FollowerAcrossEpochs) {
            true => seen.on(epoch) <= born.on(epoch),
            false => seen.epoch == born.epoch && seen.seq <= born.seq,
        };
        let born = born.on(epoch);
        if hit.newest() > born {
            return false;
        }
        is_not_later || (newest(edge, tagged).newest() <= born && born >= edge.horizon)
    }

    /// An answer has arrived: it is admitted, and shared.
    fn land(&self, state: &mut State, node: usize, not_modified: bool, answer: Answer) {
        let Some(flight) = state.edges[node].flight.take() else { return };
        let Answer { mut content, mut tagged } = answer;
        let stored = state.edges[node].object.filter(|_| flight.current);
        let mut born = flight.born;
        if let (true, Some(asked)) = (not_modified, flight.base) {
            state.happened(Event::NotModified);
            let base = stored.unwrap_or(asked);
            content = Content {
                fetched: base.content.fetched,
                validated: base.content.validated.max(content.validated),
                tag_since: base.content.tag_since.min(content.tag_since),
            };
            if tagged && !base.tagged {
                state.happened(Event::TagAdded);
                self.add_tag_on_disk(state, node, content.tag_since);
            }
            tagged |= base.tagged;
            if born.epoch == base.born.epoch {
                born.seq = born.seq.max(base.born.seq);
            }
        }
        self.share(state, node, flight.born, content, tagged);
        if not_modified && stored.is_none() {
            return;
        }
        self.admit(state, node, flight.born, Object { born, checked: born.seq, tagged, stale: 0, content });
    }

    fn admit(&self, state: &mut State, node: usize, fetched_at: Position, mut object: Object) {
        let edge = &mut state.edges[node];
        let born = fetched_at.on(edge.applied.epoch);
        let marks = newest(edge, object.tagged);
        if marks.deleted > born || born < edge.horizon {
            edge.object = None;
            state.happened(Event::KeptOut);
            return self.forget_variant(state, node);
        }
        if marks.invalidated > born {
            object.stale = marks.invalidated;
            state.happened(Event::AdmittedStale);
        }
        state.edges[node].object = Some(object);
    }

    /// No file survives that does not know a tag which a 304 brought: it is gone for good before anyone is answered.
    fn add_tag_on_disk(&self, state: &mut State, node: usize, tag_since: Seq) {
        let disk = &mut state.edges[node].disk;
        let file = disk.file.as_mut().map(|file| &mut file.object);
        for object in file.into_iter().chain(&mut disk.queued) {
            // The file does not know it, the promise does.
            object.content.tag_since = object.content.tag_since.min(tag_since);
        }
        if self.has(NetworkMutant::FileWithoutTagSurvives) {
            return;
        }
        disk.queued = None;
        match &mut disk.file {
            Some(file) if self.has(NetworkMutant::TaglessFileUnsynced) => file.unlinked = true,
            _ => disk.file = None,
        }
    }

    fn share(&self, state: &mut State, node: usize, born: Position, content: Content, tagged: bool) {
        for index in 0..state.requests.len() {
            let request = state.requests[index];
            if usize::from(request.edge) != node {
                continue;
            }
            match request.phase {
                Phase::On { seen, follows } => {
                    let edge = &state.edges[node];
                    if !follows || self.may_share(edge, (born, seen), tagged, Newest::default()) {
                        if follows {
                            state.happened(Event::Joined);
                        }
                        self.answer(state, node, Asker::Client(index), Answer { content, tagged });
                    } else {
                        state.happened(Event::Refused);
                        state.requests[index].phase = Phase::Again;
                    }
                }
                Phase::Waits => state.requests[index].phase = Phase::Again,
                _ => {}
            }
        }
        for child in 0..EDGES {
            let Some(flight) = state.edges[child].flight else { continue };
            match flight.stage {
                Stage::On { to, told, seen, follows } if usize::from(to) == node => {
                    let edge = &state.edges[node];
                    if !follows || self.may_share(edge, (born, seen), tagged, told.hit) {
                        if follows {
                            state.happened(Event::JoinedByChild);
                        }
                        self.answer(state, node, Asker::Child(child), Answer { content, tagged });
                    } else {
                        self.set_stage(state, child, Stage::Sent { to, told });
                    }
                }
                Stage::Waits { to, told } if usize::from(to) == node => {
                    self.set_stage(state, child, Stage::Sent { to, told });
                }
                _ => {}
            }
        }
    }
}
