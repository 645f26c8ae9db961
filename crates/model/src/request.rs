//! A request's steps at the edge, and what a response does when it arrives.
//!
//! Order: clock and lease; `seen`; object, fetches under way, marks; the horizon last.

use crate::event::Event;
use crate::mutant::Mutant;
use crate::protocol::{Action, Choice, Protocol};
use crate::state::{
    Content, Flight, Loaded, Marks, Object, Phase, Request, Role, Seq, State, UNTAGGED, Verdict,
};

/// What a request that must fetch brings along.
#[derive(Clone, Copy)]
struct Need {
    lease: bool,
    seen: Seq,
    conditional: Option<Object>,
    current: bool,
}

fn judge(object: &Object, marks: Marks, horizon: Seq) -> Verdict {
    if object.born.max(object.checked) < horizon || marks.deleted > object.born {
        return Verdict::Gone;
    }
    if object.stale || marks.invalidated > object.born {
        return Verdict::Stale;
    }
    Verdict::Passes
}

impl Protocol {
    pub(crate) fn request_actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.requests_left > 0 {
            actions.push(Action::Begin);
        }
        let room = state.edge.flights.len() < usize::from(self.scenario.flights);
        for (index, request) in state.requests.iter().enumerate() {
            // Equal requests take equal steps.
            if index > 0 && state.requests[index - 1] == *request {
                continue;
            }
            match request.phase {
                Phase::On { .. } => {}
                Phase::Waiting { .. } if room => actions.push(Action::Turn(index as u8)),
                Phase::Waiting { .. } => {}
                _ => self.step_choices(state, index as u8, room, actions),
            }
        }
        for (index, flight) in state.edge.flights.iter().enumerate() {
            let index = index as u8;
            if flight.head.is_some() {
                actions.push(Action::End(index));
                continue;
            }
            let tags: &[bool] = if self.scenario.tags { &[false, true] } else { &[false] };
            for tag in tags {
                actions.push(Action::Head { flight: index, not_modified: false, tag: *tag });
                if flight.conditional.is_some() {
                    actions.push(Action::Head { flight: index, not_modified: true, tag: *tag });
                }
            }
        }
    }

    fn step_choices(&self, state: &State, index: u8, room: bool, actions: &mut Vec<Action>) {
        let expires: &[bool] = if self.scenario.expiry { &[false, true] } else { &[false] };
        let joins = room && !state.edge.flights.is_empty();
        let alones: &[bool] = if joins { &[false, true] } else { &[false] };
        for expired in expires {
            for alone in alones {
                actions.push(Action::Step(index, Choice { expired: *expired, alone: *alone }));
            }
        }
    }

    pub(crate) fn begin(&self, state: &mut State) {
        state.requests_left -= 1;
        let phase = Phase::Arrived { lease: state.lease_holds() };
        state.requests.push(Request { obliged: state.success, phase });
    }

    pub(crate) fn turn(&self, state: &mut State, index: u8) {
        state.requests[usize::from(index)].phase = Phase::Arrived { lease: state.lease_holds() };
    }

    pub(crate) fn step(&self, state: &mut State, index: u8, choice: Choice) {
        let Request { obliged, phase } = state.requests.remove(usize::from(index));
        let phase = match phase {
            Phase::Arrived { lease } if self.scenario.seen_steps => {
                Some(Phase::Ready { lease, seen: state.edge.applied })
            }
            Phase::Arrived { lease } => self.look(state, obliged, lease, state.edge.applied, choice),
            Phase::Ready { seen, .. } if self.has(Mutant::SeenBeforeLease) => {
                self.look(state, obliged, state.lease_holds(), seen, choice)
            }
            Phase::Ready { lease, seen } => self.look(state, obliged, lease, seen, choice),
            Phase::Loaded { seen, loaded } => self.shortcut(state, obliged, seen, loaded, choice),
            Phase::Doubted { seen, loaded } => {
                let marks = state.marks(loaded.header.tagged);
                Some(Phase::Walked { seen, loaded, marks })
            }
            Phase::Walked { seen, loaded, marks } => {
                self.walk_ends(state, obliged, seen, (loaded, marks), choice)
            }
            Phase::Judged { seen, loaded, verdict } if state.lease_holds() => {
                self.act(state, obliged, seen, (loaded, verdict), choice)
            }
            Phase::Judged { seen, .. } => self.fenced(state, obliged, seen, choice),
            Phase::ToSend { lease, seen, conditional, current } => {
                self.fetch(state, obliged, Need { lease, seen, conditional, current }, choice)
            }
            kept @ (Phase::On { .. } | Phase::Waiting { .. }) => Some(kept),
        };
        if let Some(phase) = phase {
            state.requests.push(Request { obliged, phase });
        }
    }

    /// Objects, fetches under way, marks. `None` when the request was answered.
    fn look(&self, state: &mut State, obliged: u8, lease: bool, seen: Seq, choice: Choice) -> Option<Phase> {
        let loaded = state.edge.object.map(|header| Loaded {
            header,
            current: true,
            last_seq: 0,
            horizon: if self.has(Mutant::HorizonBeforeWalk) { state.edge.horizon } else { 0 },
        });
        if self.has(Mutant::LeaseAfterMarks) {
            let verdict = loaded.map_or(Verdict::Gone, |loaded| {
                judge(&loaded.header, state.marks(loaded.header.tagged), state.edge.horizon)
            });
            return Some(Phase::Judged { seen, loaded, verdict });
        }
        if !lease && !self.has(Mutant::FencedServes) {
            return self.fenced(state, obliged, seen, choice);
        }
        let Some(loaded) = loaded else {
            return self.act(state, obliged, seen, (None, Verdict::Gone), choice);
        };
        if self.scenario.walk_steps {
            return Some(Phase::Loaded { seen, loaded });
        }
        self.shortcut(state, obliged, seen, loaded, choice)
    }

    /// One atomic load; the walk only if something was purged since the last one.
    fn shortcut(
        &self,
        state: &mut State,
        obliged: u8,
        seen: Seq,
        loaded: Loaded,
        choice: Choice,
    ) -> Option<Phase> {
        let loaded = Loaded { last_seq: state.edge.last_seq, ..loaded };
        if loaded.last_seq <= loaded.header.checked {
            let verdict = if loaded.header.stale { Verdict::Stale } else { Verdict::Passes };
            return self.act(state, obliged, seen, (Some(loaded), verdict), choice);
        }
        if self.scenario.walk_steps {
            return Some(Phase::Doubted { seen, loaded });
        }
        let marks = state.marks(loaded.header.tagged);
        self.walk_ends(state, obliged, seen, (loaded, marks), choice)
    }

    /// The walk's verdict, and the `checked` it earns.
    fn walk_ends(
        &self,
        state: &mut State,
        obliged: u8,
        seen: Seq,
        (loaded, marks): (Loaded, Marks),
        choice: Choice,
    ) -> Option<Phase> {
        // Read after the marks: a sweep raises it before it drops them.
        let horizon = if self.has(Mutant::HorizonBeforeWalk) { loaded.horizon } else { state.edge.horizon };
        let mut header = loaded.header;
        if let (true, Some(object)) = (self.has(Mutant::CheckedReloaded), state.edge.object) {
            header.checked = object.checked;
        }
        let verdict = judge(&header, marks, horizon);
        let vouches = loaded.current || self.has(Mutant::OldWalkVouches);
        let checked = if self.has(Mutant::CheckedAfterWalk) { state.edge.last_seq } else { loaded.last_seq };
        if let (Verdict::Passes, true, Some(object)) = (verdict, vouches, &mut state.edge.object) {
            object.checked = object.checked.max(checked);
        }
        self.act(state, obliged, seen, (Some(loaded), verdict), choice)
    }

    /// Under a lease, acts on a verdict.
    fn act(
        &self,
        state: &mut State,
        obliged: u8,
        seen: Seq,
        (loaded, verdict): (Option<Loaded>, Verdict),
        choice: Choice,
    ) -> Option<Phase> {
        let need = Need { lease: true, seen, conditional: None, current: false };
        let Some(loaded) = loaded else {
            return self.decide(state, obliged, need, choice);
        };
        let asks = Need { conditional: Some(loaded.header), current: loaded.current, ..need };
        match verdict {
            Verdict::Passes if !choice.expired => {
                state.happened(Event::Hit);
                state.answer(obliged, loaded.header.content);
                None
            }
            Verdict::Passes => self.decide(state, obliged, asks, choice),
            Verdict::Stale => {
                state.happened(Event::FoundStale);
                self.decide(state, obliged, asks, choice)
            }
            Verdict::Gone if self.has(Mutant::ConditionalAfterDelete) => {
                self.decide(state, obliged, asks, choice)
            }
            Verdict::Gone => {
                let below = loaded.header.born.max(loaded.header.checked) < state.edge.horizon;
                state.happened(if below { Event::FoundBelowHorizon } else { Event::FoundDeleted });
                if loaded.current {
                    state.replace_variant(None);
                }
                self.decide(state, obliged, need, choice)
            }
        }
    }

    fn fenced(&self, state: &mut State, obliged: u8, seen: Seq, choice: Choice) -> Option<Phase> {
        state.happened(Event::Fenced);
        let conditional = state.edge.object.filter(|_| self.has(Mutant::FencedRevalidates));
        let need = Need { lease: false, seen, conditional, current: conditional.is_some() };
        self.decide(state, obliged, need, choice)
    }

    fn decide(&self, state: &mut State, obliged: u8, need: Need, choice: Choice) -> Option<Phase> {
        if self.scenario.send_steps && state.edge.flights.is_empty() {
            let Need { lease, seen, conditional, current } = need;
            return Some(Phase::ToSend { lease, seen, conditional, current });
        }
        self.fetch(state, obliged, need, choice)
    }

    /// Joins the fetch under way, waits for the next, or sends one.
    fn fetch(&self, state: &mut State, obliged: u8, need: Need, choice: Choice) -> Option<Phase> {
        let room = state.edge.flights.len() < usize::from(self.scenario.flights);
        let last = state.edge.flights.last().copied();
        if let Some(flight) = last
            && !(choice.alone && room)
        {
            if !need.lease && !self.has(Mutant::FencedJoins) {
                state.happened(Event::Waited);
                return Some(Phase::Waiting { seen: None });
            }
            let Some(tag) = flight.head else {
                let at = state.edge.flights.len() as u8 - 1;
                return Some(Phase::On { flight: at, role: Role::Follower(need.seen) });
            };
            if !self.may_share(state, flight.born, need.seen, tag) {
                state.happened(Event::Refused);
                return Some(Phase::Waiting { seen: Some(need.seen) });
            }
            state.happened(Event::Joined);
            state.answer(obliged, fetched_now(&flight, tag));
            return None;
        }
        let born = if self.has(Mutant::BornAfterLookup) { state.edge.applied } else { need.seen };
        state.happened(if need.conditional.is_some() { Event::AskedConditionally } else { Event::Fetched });
        state.edge.flights.push(Flight {
            born,
            sent_at: state.head(),
            conditional: need.conditional,
            current: need.current,
            head: None,
        });
        let at = state.edge.flights.len() as u8 - 1;
        for request in &mut state.requests {
            if let Phase::Waiting { seen } = request.phase {
                request.phase = Phase::On { flight: at, role: Role::Waited(seen) };
            }
        }
        Some(Phase::On { flight: at, role: Role::Sender })
    }

    /// Whether a follower may share a fetch whose response's tags are known.
    fn may_share(&self, state: &State, born: Seq, seen: Seq, tagged: bool) -> bool {
        if seen <= born || self.has(Mutant::FollowerIgnoresSeen) {
            return true;
        }
        let marks = state.marks(tagged && !self.has(Mutant::FollowerSkipsTags));
        let newest = marks.deleted.max(marks.invalidated);
        if self.has(Mutant::IntervalHighestOnly) && newest > seen {
            return true;
        }
        newest <= born && (born >= state.edge.horizon || self.has(Mutant::FollowerIgnoresHorizon))
    }

    /// Answers who waits for a flight, or sends it to wait for the next.
    ///
    /// Who waited shares a 200, whose bytes were asked for after it came. A 304 only says that old bytes are
    /// still the origin's: its sender may have looked before a delete that the waiting request must heed.
    fn share(
        &self,
        state: &mut State,
        at: u8,
        born: Seq,
        (content, tagged, not_modified): (Content, bool, bool),
    ) {
        for mut request in std::mem::take(&mut state.requests) {
            if let Phase::On { flight, role } = request.phase
                && flight == at
            {
                let (shares, seen) = match role {
                    Role::Sender => (true, None),
                    Role::Waited(seen) if !not_modified || self.has(Mutant::WaitedSharesNotModified) => {
                        (true, seen)
                    }
                    Role::Waited(None) => (false, None),
                    Role::Waited(Some(seen)) | Role::Follower(seen) => {
                        (self.may_share(state, born, seen, tagged), Some(seen))
                    }
                };
                if shares {
                    if role != Role::Sender {
                        state.happened(Event::Joined);
                    }
                    state.answer(request.obliged, content);
                    continue;
                }
                state.happened(Event::Refused);
                request.phase = Phase::Waiting { seen };
            }
            state.requests.push(request);
        }
    }

    /// The walk at admission, with the fetch's born.
    fn admission(&self, state: &State, born: Seq, tagged: bool) -> Verdict {
        if self.has(Mutant::AdmissionWithoutWalk) || self.has(Mutant::AdmissionClaimsWalk) {
            return Verdict::Passes;
        }
        let marks = state.marks(tagged);
        if marks.deleted > born || born < state.edge.horizon {
            return Verdict::Gone;
        }
        if marks.invalidated > born { Verdict::Stale } else { Verdict::Passes }
    }

    fn admitted(&self, state: &State, born: Seq, tagged: bool, verdict: Verdict, content: Content) -> Object {
        let checked = if self.has(Mutant::AdmissionClaimsWalk) { state.edge.last_seq } else { born };
        Object { born, checked, tagged, stale: verdict == Verdict::Stale, content }
    }

    pub(crate) fn not_modified(&self, state: &mut State, at: u8, tag: bool) {
        let flight = state.edge.flights[usize::from(at)];
        let Some(asked) = flight.conditional else { return };
        let stored = state.edge.object.filter(|_| flight.current);
        let base = stored.unwrap_or(asked);
        let late = self.has(Mutant::NotModifiedBornAtAnswer);
        let born = if late { state.edge.applied } else { flight.born };
        let content = Content {
            fetched: base.content.fetched,
            validated: base.content.validated.max(flight.sent_at),
            tag_since: if tag { base.content.tag_since.min(flight.sent_at) } else { base.content.tag_since },
        };
        let header = if self.has(Mutant::NotModifiedRenewsFromOld) { asked } else { base };
        let tagged = tag || (header.tagged && !self.has(Mutant::NotModifiedTakesTags));
        self.share(state, at, born, (content, tagged, true));
        self.land(state, at);
        if stored.is_some() {
            let verdict = self.admission(state, born, tagged);
            state.happened(Event::NotModified);
            if tag && !header.tagged {
                state.happened(Event::TagAdded);
            }
            if verdict == Verdict::Gone {
                state.happened(Event::KeptOut);
                // The object may be younger than the fetch, but the response's tags are the content's too.
                match &mut state.edge.object {
                    Some(object) if self.has(Mutant::NotModifiedRefusedKeepsObject) => {
                        object.content.tag_since = content.tag_since;
                    }
                    _ => state.replace_variant(None),
                }
                return;
            }
            let born = header.born.max(born);
            state.edge.object = Some(self.admitted(state, born, tagged, verdict, content));
            state.replace_header();
        } else if self.has(Mutant::NotModifiedRenewsAnyVariant)
            && let Some(object) = &mut state.edge.object
        {
            object.born = object.born.max(born);
            object.checked = object.born;
            object.stale = false;
        }
    }

    pub(crate) fn head_arrives(&self, state: &mut State, at: u8, tag: bool) {
        let flight = state.edge.flights[usize::from(at)];
        state.edge.flights[usize::from(at)].head = Some(tag);
        self.share(state, at, flight.born, (fetched_now(&flight, tag), tag, false));
        if !self.scenario.body {
            self.end(state, at);
        }
    }

    pub(crate) fn end(&self, state: &mut State, at: u8) {
        let flight = state.edge.flights[usize::from(at)];
        let tagged = flight.head.unwrap_or(false);
        self.land(state, at);
        let verdict = self.admission(state, flight.born, tagged);
        match verdict {
            Verdict::Gone => state.happened(Event::KeptOut),
            Verdict::Stale => state.happened(Event::AdmittedStale),
            Verdict::Passes => {}
        }
        if verdict != Verdict::Gone {
            let content = fetched_now(&flight, tagged);
            let object = self.admitted(state, flight.born, tagged, verdict, content);
            state.replace_variant(Some(object));
        }
    }

    /// A flight is over: those behind it move up.
    fn land(&self, state: &mut State, at: u8) {
        state.edge.flights.remove(usize::from(at));
        for request in &mut state.requests {
            if let Phase::On { flight, .. } = &mut request.phase
                && *flight > at
            {
                *flight -= 1;
            }
        }
    }
}

fn fetched_now(flight: &Flight, tag: bool) -> Content {
    let tag_since = if tag { flight.sent_at } else { UNTAGGED };
    Content { fetched: flight.sent_at, validated: flight.sent_at, tag_since }
}
