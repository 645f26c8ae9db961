//! The purge protocol in a network: up to three edges in tiers, an origin, a control plane, and what is durable.
//!
//! Coarser than the model of one edge ([`crate::Protocol`]): an edge applies an entry in one step, and a request takes
//! two, reading lease and `seen`, then looking at all else. In return there are children, parents and grandparents,
//! disks, restored logs and epochs.

mod requests;
mod scenario;
mod state;
mod steps;
mod tell;

pub use requests::Choice;
pub use scenario::{Durable, Leases, Network, Restores};
pub use state::State;
pub use steps::{Action, Protocol};

use self::state::{EDGES, NO_REQUEST, NO_TASK, Object, Phase, Position, REQUESTS, Row, TASKS};
use crate::event::Events;
use crate::state::{Content, UNTAGGED};
use stateright::{Model, Property};

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let scenario = &self.scenario;
        let mut edges = [steps::new_edge(); EDGES];
        let mut had = [None; EDGES];
        for (index, edge) in edges.iter_mut().enumerate().take(scenario.parents.len()) {
            edge.applied = Position { epoch: 0, seq: 0 };
            if scenario.warm & 1 << index != 0 {
                let tagged = scenario.warm_tagged & 1 << index != 0;
                let tag_since = if tagged { 0 } else { UNTAGGED };
                let content = Content { fetched: 0, validated: 0, tag_since };
                had[index] = Some(content).filter(|_| tagged && scenario.by_bytes);
                edge.object = Some(Object { born: edge.applied, checked: 0, tagged, stale: 0, content });
            }
            match scenario.leases {
                Leases::Held => {
                    edge.row = Row::Member { acked: 0 };
                    edge.lease_end = u8::MAX;
                }
                Leases::Granted { length, at_start, .. } if at_start & 1 << index != 0 => {
                    edge.row = Row::Member { acked: 0 };
                    edge.lease_end = length;
                }
                Leases::Granted { .. } => {}
            }
        }
        vec![State {
            now: 0,
            epoch: 0,
            tasks: [NO_TASK; TASKS],
            moments: 0,
            log: [0; TASKS],
            head: 0,
            first_retained: 1,
            success: 0,
            unheard: 0,
            stopped: false,
            edges,
            requests: [NO_REQUEST; REQUESTS],
            requests_left: scenario.requests,
            purges_left: scenario.purges,
            crashes_left: scenario.crashes,
            sweeps_left: scenario.sweeps,
            truncations_left: scenario.truncations,
            restores_left: u8::from(scenario.restores != Restores::None),
            had,
            broken: None,
            events: Events::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let free = |request: &state::Request| request.phase == Phase::Free;
        if state.broken.is_some() || (state.requests_left == 0 && state.requests.iter().all(free)) {
            return;
        }
        self.control_actions(state, actions);
        for index in 0..self.scenario.parents.len() {
            self.edge_actions(state, index as u8, actions);
        }
        self.request_actions(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        state.events = Events::default();
        match action {
            Action::Tick
            | Action::Commit(_)
            | Action::Restore(_)
            | Action::ChangeEpoch
            | Action::Truncate => self.take_control(&mut state, action),
            Action::Begin(_)
            | Action::Read(_)
            | Action::Look(..)
            | Action::Arrive(_)
            | Action::LookFor(..)
            | Action::GiveUp(_)
            | Action::Origin { .. }
            | Action::End(_) => self.take_request(&mut state, action),
            Action::Join(edge)
            | Action::MarkLeaving(edge)
            | Action::Leave(edge)
            | Action::Grant(edge)
            | Action::TakeLease(edge)
            | Action::Apply(edge)
            | Action::Jump(edge)
            | Action::Sweep(edge)
            | Action::Crash(edge)
            | Action::PowerFails(edge)
            | Action::Compose(edge)
            | Action::Write(edge)
            | Action::SaveUnit(edge)
            | Action::SweepFiles(edge)
            | Action::EndSweep(edge) => self.take_edge(&mut state, action, usize::from(edge)),
        }
        self.settle(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        vec![Property::always("the promise", |_, state: &State| state.broken.is_none())]
    }
}
