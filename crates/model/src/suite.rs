//! All that is explored: each scenario whole, each mutant in its scenario.

use std::fmt;
use std::hash::Hash;

use crate::content::{Keeping, Stored};
use crate::control::{Control, Plane};
use crate::event::Event;
use crate::mutant::{ContentMutant, ControlMutant, Mutant, NetworkMutant};
use crate::network::{self, Network};
use crate::protocol::Protocol;
use crate::scenario::Scenario;
use crate::search::{Outcome, Told, explore};

/// One exploration.
pub struct Case {
    /// The scenario's model.
    pub model: &'static str,
    /// The scenario.
    pub scenario: &'static str,
    /// The rule dropped.
    pub mutant: Option<String>,
    run: Box<dyn Fn(usize) -> Outcome + Send + Sync>,
}

impl Case {
    fn new<M>(model: &'static str, scenario: &'static str, mutant: Option<String>, protocol: M) -> Self
    where
        M: Told + Send + Sync + 'static,
        M::State: Clone + Hash,
        M::Action: Clone,
    {
        Self { model, scenario, mutant, run: Box::new(move |states_max| explore(&protocol, states_max)) }
    }

    /// Explores it, to its end or to so many states.
    pub fn explore(&self, states_max: usize) -> Outcome {
        (self.run)(states_max)
    }

    /// What must happen in the scenario for its result to mean anything.
    pub fn reaches(&self) -> &'static [Event] {
        reaches(self.scenario)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.mutant {
            Some(mutant) => write!(f, "{mutant} in {} of {}", self.scenario, self.model),
            None => write!(f, "{} of {}", self.scenario, self.model),
        }
    }
}

fn edge(scenario: Scenario, mutant: Option<Mutant>) -> Case {
    let name = scenario.name;
    Case::new("edge", name, mutant.map(|mutant| format!("{mutant:?}")), Protocol { scenario, mutant })
}

fn network(scenario: Network, mutant: Option<NetworkMutant>) -> Case {
    let name = scenario.name;
    let protocol = network::Protocol { scenario, mutant };
    Case::new("network", name, mutant.map(|mutant| format!("{mutant:?}")), protocol)
}

fn control(scenario: Plane, mutant: Option<ControlMutant>) -> Case {
    let name = scenario.name;
    Case::new("control", name, mutant.map(|mutant| format!("{mutant:?}")), Control { scenario, mutant })
}

fn content(scenario: Stored, mutant: Option<ContentMutant>) -> Case {
    let name = scenario.name;
    Case::new("content", name, mutant.map(|mutant| format!("{mutant:?}")), Keeping { scenario, mutant })
}

/// Every scenario of `make test`, with all rules.
pub fn whole() -> Vec<Case> {
    let edges = Scenario::all().into_iter().map(|scenario| edge(scenario, None));
    let networks = Network::all().into_iter().map(|scenario| network(scenario, None));
    let planes = Plane::all().into_iter().map(|scenario| control(scenario, None));
    let stored = Stored::all().into_iter().map(|scenario| content(scenario, None));
    edges.chain(networks).chain(planes).chain(stored).collect()
}

/// What `make model` explores beside those.
pub fn large() -> Vec<Case> {
    let edges = Scenario::large().into_iter().map(|scenario| edge(scenario, None));
    let networks = Network::large().into_iter().map(|scenario| network(scenario, None));
    let planes = Plane::large().into_iter().map(|scenario| control(scenario, None));
    edges.chain(networks).chain(planes).collect()
}

/// Every mutant, in its scenario.
pub fn mutants() -> Vec<Case> {
    let edges = Mutant::ALL.iter().map(|mutant| edge(mutant.scenario(), Some(*mutant)));
    let networks = NetworkMutant::ALL.iter().map(|mutant| network(mutant.scenario(), Some(*mutant)));
    let planes = ControlMutant::ALL.iter().map(|mutant| control(mutant.scenario(), Some(*mutant)));
    let stored = ContentMutant::ALL.iter().map(|mutant| content(mutant.scenario(), Some(*mutant)));
    edges.chain(networks).chain(planes).chain(stored).collect()
}

/// What is not kept, as `docs/model.md` says.
pub fn not_kept() -> Vec<Case> {
    vec![network(Network::tags_forgotten(), None)]
}

fn reaches(scenario: &str) -> &'static [Event] {
    use Event::*;
    match scenario {
        "collapse" => &[Hit, Joined, Refused, FoundDeleted, FoundStale, KeptOut, AdmittedStale, NotModified],
        "tags" => &[Hit, Joined, Refused, TagAdded, FoundDeleted, FoundStale, NotModified],
        "parallel" => &[Hit, Joined, Refused, TagAdded, KeptOut, Swept, NotModified],
        "applying" => &[Hit, Joined, Refused, FoundDeleted, FoundStale],
        "sweeping" => &[Hit, Joined, Refused, Swept, FoundDeleted, KeptOut],
        "walking" => &[Hit, Swept, TagAdded, FoundDeleted, FoundStale],
        "headers" => &[Hit, TagAdded, FoundDeleted, FoundStale],
        "lease" => &[Hit, Joined, Refused, Waited, Fenced, Leased, ByAcks, ByTime],
        "members" => &[Hit, Joined, Fenced, Leased, ByAcks, ByTime, Crashed],
        "restart" => &[Hit, Fenced, Leased, Crashed, ByAcks, ByTime],
        "jumping" => &[Hit, Jumped, Swept, FoundBelowHorizon, Leased],
        "together" => &[Hit, Joined, Jumped, Swept, Crashed, Leased, ByAcks, ByTime],
        "pair" => {
            &[Hit, HitForChild, Joined, JoinedByChild, Refused, PassedOn, Bypassed, NotModifiedByParent]
        }
        "pair_fenced" => &[Hit, HitForChild, JoinedByChild, Fenced, Waited, PassedOn, ByAcks, ByTime, Leased],
        "pair_tags" => &[HitForChild, JoinedByChild, TagAdded, HitTold, NotModifiedByParent, Bypassed],
        "tags_apart" => &[HitForChild, HitTold, NotModifiedByParent, Swept],
        "three_tiers" => &[HitForChild, JoinedByChild, PassedOn, Fenced, Leased, ByAcks, ByTime],
        "two_children" => &[HitForChild, JoinedByChild, Refused, PassedOn, KeptOut],
        "disk" => {
            &[Crashed, Recovered, RecoveredObject, Removed, Noted, Swept, FoundDeleted, FoundStale, Hit]
        }
        "disk_tags" => &[Crashed, RecoveredObject, TagAdded, FoundStale, FoundBelowHorizon, Hit],
        "truncated" => &[Jumped, FoundBelowHorizon, Leased, ByTime, Hit],
        "disk_truncated" => &[Jumped, RecoveredObject, FoundBelowHorizon, Leased, Hit],
        "failover" => &[EpochChanged, Jumped, FoundBelowHorizon, Joined, Refused, Hit],
        "disk_failover" => &[EpochChanged, Jumped, RecoveredObject, FoundBelowHorizon, Hit],
        "shorter_log" => &[EpochChanged, Jumped, FoundBelowHorizon, FoundStale, Hit],
        "late_epoch" => &[GrantsStopped, EpochChanged, Jumped, ByAcks, ByTime, Hit],
        "tiers_failover" => &[EpochChanged, PassedOn, HitForChild, Jumped],
        "two_instances" => &[ByAcks, ByTime, Leased, MarkedLeaving, RowRemoved],
        "two_processes" | "lowered" => &[ByAcks, ByTime, Leased],
        "taken_over" => &[ByAcks, ByTime, Leased, TakenOver],
        "replaced_primary" => &[ByAcks, ByTime, Leased, PrimaryReplaced],
        "stopped_clock" => &[ByAcks, Leased],
        "variants" => &[Hit, FoundDeleted, FoundStale, NotModified, KeptOut],
        "slices" => &[SliceHit, PartStored, TagAdded, FoundDeleted, FoundStale, NotModified],
        "plain" => &[Hit, FoundDeleted, FoundStale, NotModified, KeptOut],
        "keys" => &[Hit, KeysSwitched, FoundDeleted, FoundStale],
        _ => &[],
    }
}
