//! The protocol keeps its promise in every scenario, and no rule can be dropped.

use std::collections::BTreeSet;

use model::{Mutant, Scenario, explore};

#[test]
fn the_whole_protocol_keeps_the_promise() {
    let mut total = 0;
    for scenario in Scenario::all() {
        let name = scenario.name;
        let outcome = explore(scenario, None);
        assert_eq!(outcome.violation, None, "scenario {name}");
        println!("model: scenario {name}: {} states, no violation", outcome.states);
        total += outcome.states;
    }
    println!("model: {total} states in all, no violation");
}

#[test]
fn each_rule_dropped_is_caught() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        let scenario = mutant.scenario();
        let name = scenario.name;
        let outcome = explore(scenario, Some(*mutant));
        match outcome.violation {
            Some(steps) => println!(
                "model: mutant {mutant:?}: caught in scenario {name} after {} states: {}",
                outcome.states,
                steps.join("; ")
            ),
            None => missed.push(format!("{mutant:?} in {name}: {} states", outcome.states)),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:#?}");
}

#[test]
fn every_mutant_runs_in_a_scenario_that_the_whole_protocol_passes() {
    let all = Scenario::all();
    for mutant in Mutant::ALL {
        assert!(all.contains(&mutant.scenario()), "{mutant:?}");
    }
}

#[test]
fn mutants_are_listed_once() {
    let names: BTreeSet<String> = Mutant::ALL.iter().map(|mutant| format!("{mutant:?}")).collect();
    assert_eq!(names.len(), Mutant::ALL.len());
    let last = Mutant::ALL.iter().map(|mutant| *mutant as usize).max();
    assert_eq!(last, Some(Mutant::ALL.len() - 1), "a variant is missing from ALL");
}
