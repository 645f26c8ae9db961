//! Behaviours of a network, for people.

use super::state::{Broken, NO_EPOCH, Position, Stage, State};
use super::steps::{Action, Protocol};
use crate::event::Events;
use crate::search::Told;

impl Told for Protocol {
    fn events(&self, state: &State) -> Events {
        state.events
    }

    fn broken(&self, state: &State) -> Option<String> {
        let Broken { edge, moment, content } = state.broken?;
        let entry = state.tasks[usize::from(moment) - 1].entry;
        let (method, scope) = (entry.method, entry.scope);
        Some(format!(
            "edge {edge} answers a request begun after success of {method:?} {scope:?} #{moment} with content {}",
            content.told()
        ))
    }

    fn tell(&self, before: &State, action: &Action, after: &State) -> String {
        let mut line = told(before, action, after);
        for moment in 1..=after.moments {
            if (after.success & !before.success) & 1 << (moment - 1) != 0 {
                line.push_str(&format!("; success of #{moment}"));
            }
        }
        line
    }
}

fn told(before: &State, action: &Action, after: &State) -> String {
    let applied = |edge: u8| position(after.edges[usize::from(edge)].applied);
    match *action {
        Action::Tick => format!("tick -> {}", after.now),
        Action::Commit(entry) => {
            format!("commit {:?} {:?} as #{} at seq {}", entry.method, entry.scope, after.moments, after.head)
        }
        Action::Restore(_) => format!("the log is restored, head {}, epoch {}", after.head, after.epoch),
        Action::Grant(edge) => match after.edges[usize::from(edge)].granted {
            Some(granted) => {
                format!("edge {edge} pings at {}, granted {}", granted.t0, position(granted.head))
            }
            None => format!("edge {edge} pings, and is not granted"),
        },
        Action::TakeLease(edge) => {
            format!("edge {edge} takes the lease to {}", after.edges[usize::from(edge)].lease_end)
        }
        Action::Apply(edge) => format!("edge {edge} applies {}", applied(edge)),
        Action::Jump(edge) => format!("edge {edge} jumps to {}", applied(edge)),
        Action::Begin(_)
        | Action::Read(_)
        | Action::Look(..)
        | Action::Arrive(_)
        | Action::LookFor(..)
        | Action::Origin { .. }
        | Action::End(_) => told_of_requests(before, action, after),
        other => format!("{other:?}"),
    }
}

fn told_of_requests(before: &State, action: &Action, after: &State) -> String {
    let expired = |expired: bool| if expired { ", object expired" } else { "" };
    match *action {
        Action::Begin(edge) => format!("edge {edge} asked by a client ({})", reading(before, edge)),
        Action::Read(index) => {
            let edge = before.requests[usize::from(index)].edge;
            format!("edge {edge}: a request that waited reads again ({})", reading(before, edge))
        }
        Action::Look(index, choice) => {
            let edge = before.requests[usize::from(index)].edge;
            format!("edge {edge}: a request looks{}{}", expired(choice.expired), sent(before, edge, after))
        }
        Action::Arrive(edge) => match before.edges[usize::from(edge)].flight.map(|flight| flight.stage) {
            Some(Stage::Sent { to, .. }) => {
                format!("edge {to} asked by edge {edge} ({}){}", reading(before, to), came_of(after, edge))
            }
            _ => String::new(),
        },
        Action::LookFor(edge, choice) => {
            match before.edges[usize::from(edge)].flight.map(|flight| flight.stage) {
                Some(Stage::At { to, .. }) => {
                    let (came, sent) = (came_of(after, edge), sent(before, to, after));
                    format!("edge {to} looks for edge {edge}{}{came}{sent}", expired(choice.expired))
                }
                _ => String::new(),
            }
        }
        Action::Origin { edge, not_modified, tagged } => {
            let status = if not_modified { 304 } else { 200 };
            let tag = if tagged { " with the tag" } else { "" };
            format!("the origin answers edge {edge} {status}{tag}")
        }
        Action::End(edge) => format!("the answer arrives at edge {edge}"),
        other => format!("{other:?}"),
    }
}

fn position(Position { epoch, seq }: Position) -> String {
    match epoch {
        0 => format!("{seq}"),
        NO_EPOCH => "nothing".to_owned(),
        _ => format!("{seq} of epoch {epoch}"),
    }
}

fn reading(state: &State, edge: u8) -> String {
    let edge = usize::from(edge);
    let lease = if state.lease_holds(edge) { "under a lease" } else { "fenced" };
    format!("{lease}, seen {}", position(state.edges[edge].applied))
}

/// The fetch that an edge sent in a step, if it did.
fn sent(before: &State, edge: u8, after: &State) -> String {
    let (None, Some(flight)) =
        (before.edges[usize::from(edge)].flight, after.edges[usize::from(edge)].flight)
    else {
        return String::new();
    };
    let how = if flight.base.is_some() { "conditionally" } else { "unconditionally" };
    let from = match flight.stage {
        Stage::Sent { to, told } => {
            let lease = if told.lease { "leased" } else { "fenced" };
            let hit = match told.hit.newest() {
                0 => String::new(),
                seq => format!(", hit by {seq}"),
            };
            format!("edge {to} (floor {}, {lease}{hit})", position(told.floor))
        }
        _ => "the origin".to_owned(),
    };
    format!(": edge {edge} fetches {how} from {from}, born {}", position(flight.born))
}

/// What became of a child's request in a step.
fn came_of(after: &State, child: u8) -> String {
    match after.edges[usize::from(child)].flight.map(|flight| flight.stage) {
        Some(Stage::Sent { to, .. }) => format!(": passed on to edge {to}"),
        Some(Stage::Origin { .. }) => ": passed on to the origin".to_owned(),
        Some(Stage::On { follows: true, .. }) => ": it joins".to_owned(),
        Some(Stage::Waits { .. }) => ": it waits".to_owned(),
        Some(Stage::Answered { not_modified, content, .. }) => {
            let status = if not_modified { 304 } else { 200 };
            format!(": {status}, {}", content.told())
        }
        _ => String::new(),
    }
}
