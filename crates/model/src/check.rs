//! Runs the checker, and tells what it found.

use stateright::{Checker, HasDiscoveries, Model};

use crate::mutant::Mutant;
use crate::protocol::Protocol;
use crate::scenario::Scenario;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Unique states explored: all there are, unless the promise was broken.
    pub states: usize,
    /// The shortest behaviour that breaks the promise, a step a line, if there is one.
    pub violation: Option<Vec<String>>,
}

/// Explores a scenario breadth first: to its end, or to the first state that breaks the promise.
pub fn explore(scenario: Scenario, mutant: Option<Mutant>) -> Outcome {
    let checker =
        Protocol { scenario, mutant }.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let violation = checker.discovery("the promise").map(|path| {
        let broken = path.last_state().broken;
        let mut steps: Vec<String> =
            path.into_actions().iter().map(|action| checker.model().format_action(action)).collect();
        if let Some(broken) = broken {
            steps.push(format!(
                "answers after success of task {} with content fetched at {} and validated at {}",
                broken.task, broken.content.fetched, broken.content.validated
            ));
        }
        steps
    });
    Outcome { states: checker.unique_state_count(), violation }
}
