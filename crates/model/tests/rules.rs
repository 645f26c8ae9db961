//! The protocol keeps its promise in every scenario, and no rule can be dropped.

#![expect(clippy::print_stdout, reason = "the number of states is to be read")]

use std::collections::BTreeSet;

use model::suite::{self, Case};
use model::{Event, Outcome, Protocol, Scenario, control, explore, network};
use stateright::Checker as _;

/// More than any scenario of the suite has.
const STATES_MAX: usize = 10_000_000;

fn reached(outcome: &Outcome, event: Event) -> bool {
    outcome.events.iter().any(|(of, count)| *of == event && *count > 0)
}

fn keeps_the_promise(cases: &[Case]) {
    let mut total = 0;
    for case in cases {
        let outcome = case.explore(STATES_MAX);
        assert_eq!(outcome.violation, None, "{case}");
        assert!(outcome.complete, "{case}: more than {STATES_MAX} states");
        assert!(!case.reaches().is_empty(), "{case}: what happens in it is not said");
        let missing: Vec<&Event> = [Event::Checked]
            .iter()
            .chain(case.reaches())
            .filter(|event| !reached(&outcome, **event))
            .collect();
        assert!(missing.is_empty(), "{case}: these never happen: {missing:?}");
        println!("model: {case}: {} states, no violation", outcome.states);
        total += outcome.states;
    }
    println!("model: {total} states in all, no violation");
}

fn are_caught(cases: &[Case]) {
    let mut missed = Vec::new();
    for case in cases {
        let outcome = case.explore(STATES_MAX);
        match outcome.violation {
            Some(steps) => {
                println!("model: {case}: caught after {} states: {}", outcome.states, steps.join("; "))
            }
            None => missed.push(format!("{case}: {} states", outcome.states)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

fn of_edge(cases: Vec<Case>) -> (Vec<Case>, Vec<Case>) {
    cases.into_iter().partition(|case| case.model == "edge")
}

#[test]
fn an_edge_keeps_the_promise() {
    keeps_the_promise(&of_edge(suite::whole()).0);
}

#[test]
fn networks_control_planes_and_what_is_stored_keep_the_promise() {
    keeps_the_promise(&of_edge(suite::whole()).1);
}

#[test]
fn each_rule_of_an_edge_dropped_is_caught() {
    are_caught(&of_edge(suite::mutants()).0);
}

#[test]
fn each_other_rule_dropped_is_caught() {
    are_caught(&of_edge(suite::mutants()).1);
}

#[test]
fn what_the_page_says_does_not_hold_does_not_hold() {
    // What docs/model.md says does not hold. Should this change, that page is wrong.
    for case in suite::not_kept() {
        assert!(case.explore(STATES_MAX).violation.is_some(), "{case}");
    }
}

#[test]
fn another_checker_counts_the_same_states() {
    fn counts<M>(protocol: M)
    where
        M: model::Told + Clone + Send + Sync + 'static,
        M::State: Clone + std::fmt::Debug + std::hash::Hash + Send + Sync + PartialEq,
        M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
    {
        let ours = explore(&protocol, STATES_MAX).states;
        assert_eq!(protocol.checker().spawn_bfs().join().unique_state_count(), ours);
    }
    counts(Protocol { scenario: Scenario::applying(), mutant: None });
    counts(network::Protocol { scenario: network::Network::pair(), mutant: None });
    counts(control::Control { scenario: control::Plane::two_processes(), mutant: None });
}

#[test]
fn every_mutant_runs_in_a_scenario_that_the_whole_protocol_passes() {
    let whole: BTreeSet<&str> = suite::whole().iter().map(|case| case.scenario).collect();
    for case in suite::mutants() {
        assert!(whole.contains(case.scenario), "{case}");
    }
}

#[test]
fn scenarios_and_mutants_are_listed_once() {
    let cases = [suite::whole(), suite::large(), suite::mutants()];
    let names =
        cases.iter().flatten().map(|case| (case.model, case.mutant.clone().unwrap_or(case.scenario.into())));
    let mut once = BTreeSet::new();
    for name in names {
        assert!(once.insert(name.clone()), "{name:?}");
    }
}
