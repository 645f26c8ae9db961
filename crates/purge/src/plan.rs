//! From the checked parts of one CreatePurgeTask call to the tasks and log entries it becomes.
//!
//! Owns what is refused, what fails in part, and what counts once (teo-api §5.1, §5.3). Invariant: every entry of a plan
//! lies in a zone to which its host belongs. Does not know quotas, and asks the caller to whom a host belongs.

use crate::target::parse_host;
use crate::{Entry, Method, PurgeType, Scope, TARGET_BYTES_MAX, Target, TargetError, UrlTarget};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use zone::{CacheConfig, HostName, Scheme, ZoneId};

/// The most log entries that one call may become.
pub const ENTRIES_PER_JOB_MAX: usize = 10_000;

/// How many characters of a refused target an error repeats.
const TARGET_CHARS_SHOWN: usize = 200;

/// Where a call purges (API field `ZoneId`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneChoice {
    /// In one zone.
    One {
        /// Its id.
        id: ZoneId,
        /// Its name, which a `purge_all` task has as its target.
        name: HostName,
    },
    /// In whichever zone each target's host belongs to (`*`).
    Every,
}

/// What one call asks for.
#[derive(Clone, Debug)]
pub struct PlanRequest<'a> {
    /// Where.
    pub zones: ZoneChoice,
    /// Which kind of targets.
    pub purge_type: PurgeType,
    /// What becomes of the copies; see [`PurgeType::method`].
    pub method: Method,
    /// The targets as submitted.
    pub targets: &'a [String],
    /// The hosts that tags are limited to (API field `CacheTag.Domains`); none for the whole zone. Ignored for other
    /// types.
    pub tag_domains: &'a [String],
}

/// What a call becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgePlan {
    /// One task per accepted target, in the order submitted. Never empty.
    pub tasks: Vec<PlannedTask>,
    /// What was not accepted although the rest was (API field `FailedList`).
    pub failed: Vec<Failure>,
}

/// One task to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTask {
    /// The zone it purges in.
    pub zone: ZoneId,
    /// The target as submitted; the zone's name for `purge_all` (API field `Target`).
    pub target: String,
    /// The hosts under which the filter `domains` finds the task.
    pub hosts: Vec<HostName>,
    /// What goes to the log. Never empty.
    pub entries: Vec<Entry>,
}

/// Targets that failed for one reason (API structure `FailReason`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: FailureReason,
    /// The targets, or domains of tags, as submitted.
    pub targets: Vec<String>,
}

/// Why a well-formed target is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// The host belongs to no zone that the call purges in.
    ForeignHost,
}

/// Why a call becomes nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No target where the type needs one.
    #[error("{} needs at least one target", .0.as_str())]
    NoTargets(PurgeType),
    /// A target is not well-formed (API code `InvalidParameter.Target`).
    #[error("target \"{target}\": {reason}")]
    Malformed {
        /// The target, cut short.
        target: String,
        /// What is wrong, and what would be right.
        reason: TargetError,
    },
    /// A target is too long (API code `InvalidParameter.LengthExceedsLimit`).
    #[error("target \"{target}…\" has {bytes} bytes once encoded; at most {TARGET_BYTES_MAX} are allowed")]
    TooLong {
        /// How the target begins.
        target: String,
        /// Its length once encoded.
        bytes: usize,
    },
    /// The host of every target is foreign (API code `InvalidParameter.DomainNotFound`).
    #[error("no target's host belongs to the zone; the first is \"{first}\"")]
    AllHostsForeign {
        /// The first of the targets, or of the domains of tags, cut short.
        first: String,
    },
    /// `purge_all` with `*`.
    #[error("purge_all needs the id of one zone; \"*\" is not allowed with it")]
    AllNeedsOneZone,
    /// Tags with `*` and no domains: they name no zone.
    #[error("purge_cache_tag with ZoneId \"*\" needs CacheTag.Domains; a tag alone names no zone")]
    TagNeedsZone,
    /// More entries than [`ENTRIES_PER_JOB_MAX`].
    #[error("the call comes to {0} purges; at most {ENTRIES_PER_JOB_MAX} are allowed, split it")]
    TooManyEntries(usize),
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignHost => {
                f.write_str("domain not valid: the host does not belong to the zone, or to any for \"*\"")
            }
        }
    }
}

/// Plans one call. `zone_of` tells the zone that a host belongs to: being a domain of it, or lying under its name.
/// `caching_of` tells the cache settings in force there: a target becomes the keys under which they have it stored.
pub fn plan(
    request: &PlanRequest<'_>,
    zone_of: impl Fn(&HostName) -> Option<ZoneId>,
    caching_of: impl Fn(&ZoneId) -> Arc<CacheConfig>,
) -> Result<PurgePlan, PlanError> {
    if request.purge_type == PurgeType::All {
        return plan_all(request);
    }
    let targets = distinct_targets_of(request.purge_type, request.targets)?;
    let zone_of = |host: &HostName| {
        let zone = zone_of(host)?;
        match &request.zones {
            ZoneChoice::One { id, .. } if *id != zone => None,
            _ => Some(zone),
        }
    };
    if request.purge_type == PurgeType::CacheTag {
        plan_tags(request, targets, zone_of)
    } else {
        plan_hosted(request, targets, zone_of, caching_of)
    }
}

fn plan_all(request: &PlanRequest<'_>) -> Result<PurgePlan, PlanError> {
    let ZoneChoice::One { id, name } = &request.zones else { return Err(PlanError::AllNeedsOneZone) };
    // Whoever names targets doesn't mean the whole zone.
    if let Some(text) = request.targets.iter().find(|text| !text.is_empty()) {
        return Err(refusal(text, TargetError::NotWithAll));
    }
    let entry = Entry { zone: id.clone(), scope: Scope::All, method: request.method };
    let task = PlannedTask {
        zone: id.clone(),
        target: name.as_str().to_owned(),
        hosts: vec![name.clone()],
        entries: vec![entry],
    };
    Ok(PurgePlan { tasks: vec![task], failed: Vec::new() })
}

/// Each target once, with the text that named it first.
pub(crate) fn distinct_targets_of(
    purge_type: PurgeType,
    texts: &[String],
) -> Result<Vec<(Target, &str)>, PlanError> {
    if texts.is_empty() {
        return Err(PlanError::NoTargets(purge_type));
    }
    if texts.len() > ENTRIES_PER_JOB_MAX {
        return Err(PlanError::TooManyEntries(texts.len()));
    }
    let mut seen = HashSet::new();
    let mut targets = Vec::new();
    for text in texts {
        let target = Target::parse(purge_type, text).map_err(|reason| refusal(text, reason))?;
        if seen.insert(target.clone()) {
            targets.push((target, text.as_str()));
        }
    }
    Ok(targets)
}

fn plan_hosted(
    request: &PlanRequest<'_>,
    targets: Vec<(Target, &str)>,
    zone_of: impl Fn(&HostName) -> Option<ZoneId>,
    caching_of: impl Fn(&ZoneId) -> Arc<CacheConfig>,
) -> Result<PurgePlan, PlanError> {
    let mut tasks = Vec::new();
    let mut foreign = Vec::new();
    let mut planned = HashSet::new();
    let mut entry_count = 0;
    for (target, text) in targets {
        let host = target.host().cloned();
        let Some((host, zone)) = host.and_then(|host| zone_of(&host).map(|zone| (host, zone))) else {
            foreign.push(text.to_owned());
            continue;
        };
        let scopes = scopes(target, &caching_of(&zone));
        // Two URLs that the zone keeps under one key are one target.
        if !planned.insert(scopes.clone()) {
            continue;
        }
        entry_count += scopes.len();
        let entry = |scope| Entry { zone: zone.clone(), scope, method: request.method };
        let entries = scopes.into_iter().map(entry).collect();
        tasks.push(PlannedTask { zone: zone.clone(), target: text.to_owned(), hosts: vec![host], entries });
    }
    if entry_count > ENTRIES_PER_JOB_MAX {
        return Err(PlanError::TooManyEntries(entry_count));
    }
    finish(tasks, foreign)
}

/// What a target matches under a zone's settings; at least one scope.
fn scopes(target: Target, caching: &CacheConfig) -> Vec<Scope> {
    match target {
        Target::Url(UrlTarget { scheme, url }) => {
            let key = |scheme| url.keyed(scheme, &caching.effective(&url.facts(scheme)).keying);
            let own = key(scheme);
            // Keys without a scheme are those of both; but a rule may tell the two apart.
            let others = Scheme::EVERY.into_iter().map(key);
            let others: Vec<_> = others.filter(|other| other.scheme().is_none() && *other != own).collect();
            std::iter::once(own).chain(others).map(Scope::Url).collect()
        }
        Target::Prefix(prefix) => {
            // Which of the URLs below are kept without regard to case is for rules to say: both forms are purged.
            let folded = caching.ignores_case_somewhere().then(|| prefix.folded());
            let folded = folded.filter(|folded| *folded != prefix);
            std::iter::once(prefix).chain(folded).map(Scope::Prefix).collect()
        }
        Target::Host(host) => vec![Scope::Host(host)],
        Target::Tag(tag) => vec![Scope::Tag { tag, host: None }],
    }
}

fn plan_tags(
    request: &PlanRequest<'_>,
    targets: Vec<(Target, &str)>,
    zone_of: impl Fn(&HostName) -> Option<ZoneId>,
) -> Result<PurgePlan, PlanError> {
    let (domains, foreign) = distinct_domains(request, zone_of)?;
    if domains.is_empty() && !foreign.is_empty() {
        return finish(Vec::new(), foreign);
    }
    let by_zone = if domains.is_empty() {
        let ZoneChoice::One { id, .. } = &request.zones else { return Err(PlanError::TagNeedsZone) };
        BTreeMap::from([(id.clone(), Vec::new())])
    } else {
        let mut by_zone: BTreeMap<ZoneId, Vec<HostName>> = BTreeMap::new();
        for (host, zone) in domains {
            by_zone.entry(zone).or_default().push(host);
        }
        by_zone
    };
    let per_tag: usize = by_zone.values().map(|hosts| hosts.len().max(1)).sum();
    let entries = per_tag.saturating_mul(targets.len());
    if entries > ENTRIES_PER_JOB_MAX {
        return Err(PlanError::TooManyEntries(entries));
    }
    let mut tasks = Vec::new();
    for (target, text) in targets {
        let Target::Tag(tag) = target else { continue };
        for (zone, hosts) in &by_zone {
            let entry = |host: Option<&HostName>| Entry {
                zone: zone.clone(),
                scope: Scope::Tag { tag: tag.clone(), host: host.cloned() },
                method: request.method,
            };
            let entries = if hosts.is_empty() {
                vec![entry(None)]
            } else {
                hosts.iter().map(|host| entry(Some(host))).collect()
            };
            let (zone, hosts) = (zone.clone(), hosts.clone());
            tasks.push(PlannedTask { zone, target: text.to_owned(), hosts, entries });
        }
    }
    finish(tasks, foreign)
}

type ZonedHosts = Vec<(HostName, ZoneId)>;

/// Each domain of the tags once with its zone, and the texts of those that belong to none.
fn distinct_domains(
    request: &PlanRequest<'_>,
    zone_of: impl Fn(&HostName) -> Option<ZoneId>,
) -> Result<(ZonedHosts, Vec<String>), PlanError> {
    if request.tag_domains.len() > ENTRIES_PER_JOB_MAX {
        return Err(PlanError::TooManyEntries(request.tag_domains.len()));
    }
    let mut seen = HashSet::new();
    let mut domains = Vec::new();
    let mut foreign = Vec::new();
    for text in request.tag_domains {
        let host = parse_host(text).map_err(|reason| refusal(text, reason))?;
        if !seen.insert(host.clone()) {
            continue;
        }
        match zone_of(&host) {
            Some(zone) => domains.push((host, zone)),
            None => foreign.push(text.clone()),
        }
    }
    Ok((domains, foreign))
}

fn finish(tasks: Vec<PlannedTask>, foreign: Vec<String>) -> Result<PurgePlan, PlanError> {
    if tasks.is_empty() {
        return Err(refuse_all_foreign(&foreign));
    }
    Ok(PurgePlan { tasks, failed: foreign_failure(foreign) })
}

/// No target's host belongs to a zone of the call.
pub(crate) fn refuse_all_foreign(foreign: &[String]) -> PlanError {
    PlanError::AllHostsForeign { first: foreign.first().map(|text| shown(text)).unwrap_or_default() }
}

/// What is said of the foreign targets beside accepted ones.
pub(crate) fn foreign_failure(foreign: Vec<String>) -> Vec<Failure> {
    if foreign.is_empty() {
        Vec::new()
    } else {
        vec![Failure { reason: FailureReason::ForeignHost, targets: foreign }]
    }
}

fn refusal(text: &str, reason: TargetError) -> PlanError {
    let target = shown(text);
    match reason {
        TargetError::TooLong(bytes) => PlanError::TooLong { target, bytes },
        reason => PlanError::Malformed { target, reason },
    }
}

fn shown(text: &str) -> String {
    text.chars().take(TARGET_CHARS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zone::{Action, Branch, Condition, KeyChange, QueryKey, Rule};

    const A: &str = "zone-aaaaaaaaaaaa";
    const B: &str = "zone-bbbbbbbbbbbb";

    fn zone_of(host: &HostName) -> Option<ZoneId> {
        let within = |parent: &str| host.is_within(&HostName::parse(parent).unwrap());
        let id = if within("a.test") {
            A
        } else if within("b.test") {
            B
        } else {
            return None;
        };
        Some(ZoneId::parse(id).unwrap())
    }

    fn zone_a() -> ZoneChoice {
        ZoneChoice::One { id: ZoneId::parse(A).unwrap(), name: HostName::parse("a.test").unwrap() }
    }

    fn plan_of(
        zones: ZoneChoice,
        purge_type: PurgeType,
        targets: &[&str],
        domains: &[&str],
    ) -> Result<PurgePlan, PlanError> {
        plan_with(&Arc::default(), zones, purge_type, targets, domains)
    }

    fn plan_with(
        caching: &Arc<CacheConfig>,
        zones: ZoneChoice,
        purge_type: PurgeType,
        targets: &[&str],
        domains: &[&str],
    ) -> Result<PurgePlan, PlanError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (targets, tag_domains) = (owned(targets), owned(domains));
        let request = PlanRequest {
            zones,
            purge_type,
            method: Method::Delete,
            targets: &targets,
            tag_domains: &tag_domains,
        };
        plan(&request, zone_of, |_| Arc::clone(caching))
    }

    /// A plan on one line per task: zone's letter, target, hosts, scopes; then what failed.
    fn drawn(plan: &PurgePlan) -> Vec<String> {
        let scope = |entry: &Entry| match &entry.scope {
            Scope::All => "all".to_owned(),
            Scope::Keys { .. } => "keys".to_owned(),
            Scope::Host(host) => format!("host {host}"),
            Scope::Prefix(prefix) => format!("{prefix:?}"),
            Scope::Url(url) => format!("{url:?}"),
            Scope::Tag { tag, host: Some(host) } => format!("{tag:?}@{host}"),
            Scope::Tag { tag, host: None } => format!("{tag:?}"),
        };
        let task = |task: &PlannedTask| {
            assert!(
                task.entries.iter().all(|entry| entry.zone == task.zone && entry.method == Method::Delete)
            );
            let scopes: Vec<_> = task.entries.iter().map(scope).collect();
            format!("{} {} {:?} {}", &task.zone.as_str()[5..6], task.target, task.hosts, scopes.join(" "))
        };
        let failed = plan.failed.iter().map(|failure| format!("failed {}", failure.targets.join(" ")));
        plan.tasks.iter().map(task).chain(failed).collect()
    }

    /// Zones, type, targets and domains of a call.
    type Call<'a> = (ZoneChoice, PurgeType, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn calls_become_tasks() {
        let both = ["http://www.a.test/x", "https://b.test/y"];
        let cases: &[(Call<'_>, &[&str])] = &[
            (
                (
                    zone_a(),
                    PurgeType::Url,
                    &["http://www.a.test/%7Ex", "HTTPS://WWW.A.test:8443/~x", "http://a.test"],
                    &[],
                ),
                &["a http://www.a.test/%7Ex [www.a.test] www.a.test/~x", "a http://a.test [a.test] a.test/"],
            ),
            (
                (zone_a(), PurgeType::Url, &both, &[]),
                &["a http://www.a.test/x [www.a.test] www.a.test/x", "failed https://b.test/y"],
            ),
            (
                (ZoneChoice::Every, PurgeType::Url, &both, &[]),
                &["a http://www.a.test/x [www.a.test] www.a.test/x", "b https://b.test/y [b.test] b.test/y"],
            ),
            (
                (
                    zone_a(),
                    PurgeType::Prefix,
                    &["http://a.test/d/", "http://a.test/d"],
                    &["ignored for this type"],
                ),
                &["a http://a.test/d/ [a.test] a.test/d/*", "a http://a.test/d [a.test] a.test/d*"],
            ),
            ((zone_a(), PurgeType::Host, &["A.test"], &[]), &["a A.test [a.test] host a.test"]),
            ((zone_a(), PurgeType::All, &[], &[]), &["a a.test [a.test] all"]),
            ((zone_a(), PurgeType::All, &[""], &[]), &["a a.test [a.test] all"]),
            ((zone_a(), PurgeType::CacheTag, &["t", "u", "t"], &[]), &["a t [] t", "a u [] u"]),
            (
                (zone_a(), PurgeType::CacheTag, &["t"], &["a.test", "www.a.test:80", "WWW.a.test", "b.test"]),
                &["a t [a.test, www.a.test] t@a.test t@www.a.test", "failed b.test"],
            ),
            (
                (ZoneChoice::Every, PurgeType::CacheTag, &["t"], &["b.test", "a.test"]),
                &["a t [a.test] t@a.test", "b t [b.test] t@b.test"],
            ),
        ];
        for ((zones, purge_type, targets, domains), expected) in cases {
            let plan = plan_of(zones.clone(), *purge_type, targets, domains).unwrap();
            assert_eq!(drawn(&plan), *expected, "{targets:?}");
        }
    }

    #[test]
    fn targets_become_the_keys_in_force() {
        let rule = |condition: &str, change: KeyChange| Rule {
            id: String::new(),
            name: String::new(),
            notes: Vec::new(),
            enabled: true,
            branch: Branch {
                condition: Condition::parse(condition).unwrap(),
                actions: vec![Action::CacheKey(change)],
                sub_rules: Vec::new(),
            },
        };
        let mut caching = CacheConfig::default();
        caching.site.keying.query = QueryKey::Ignored;
        caching.rules = vec![
            rule(
                "${http.request.uri.path} in ['/Fold/*']",
                KeyChange { ignores_case: Some(true), ..KeyChange::default() },
            ),
            rule(
                "${http.request.uri.path} in ['/both/*']",
                KeyChange { has_scheme: Some(true), ..KeyChange::default() },
            ),
            rule(
                "${http.request.full_uri} in ['https://a.test/tls/*']",
                KeyChange { query: Some(QueryKey::Whole), ..KeyChange::default() },
            ),
        ];
        let caching = Arc::new(caching);
        let cases: &[(PurgeType, &[&str], &[&str])] = &[
            (PurgeType::Url, &["http://a.test/X?b", "https://a.test/X?c"], &["a.test/X"]),
            (PurgeType::Url, &["http://a.test/Fold/X?b"], &["a.test/fold/x"]),
            (
                PurgeType::Url,
                &["http://a.test/both/x", "https://a.test/both/x?y"],
                &["http://a.test/both/x", "https://a.test/both/x"],
            ),
            (PurgeType::Url, &["https://a.test/tls/x?y"], &["a.test/tls/x?y a.test/tls/x"]),
            (PurgeType::Prefix, &["http://a.test/Fold/"], &["a.test/Fold/* a.test/fold/*"]),
            (PurgeType::Prefix, &["http://a.test/fold/"], &["a.test/fold/*"]),
        ];
        for (purge_type, targets, expected) in cases {
            let plan = plan_with(&caching, zone_a(), *purge_type, targets, &[]).unwrap();
            let scopes: Vec<_> =
                drawn(&plan).iter().map(|task| task.split("] ").nth(1).unwrap().to_owned()).collect();
            assert_eq!(scopes, *expected, "{targets:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_name() {
        let malformed = |target: &str, reason| PlanError::Malformed { target: target.into(), reason };
        let foreign = |first: &str| PlanError::AllHostsForeign { first: first.into() };
        let cases: &[(Call<'_>, PlanError)] = &[
            ((zone_a(), PurgeType::Url, &[], &[]), PlanError::NoTargets(PurgeType::Url)),
            (
                (zone_a(), PurgeType::Url, &["http://a.test/", "a.test/"], &[]),
                malformed("a.test/", TargetError::Url(crate::UrlError::NoScheme)),
            ),
            ((zone_a(), PurgeType::Host, &["*.a.test"], &[]), malformed("*.a.test", TargetError::Wildcard)),
            ((zone_a(), PurgeType::Host, &["b.test", "c.test"], &[]), foreign("b.test")),
            ((zone_a(), PurgeType::CacheTag, &["t"], &["b.test"]), foreign("b.test")),
            ((zone_a(), PurgeType::CacheTag, &["t"], &["a/"]), malformed("a/", TargetError::HostIsUrl)),
            ((ZoneChoice::Every, PurgeType::CacheTag, &["t"], &[]), PlanError::TagNeedsZone),
            ((ZoneChoice::Every, PurgeType::All, &[], &[]), PlanError::AllNeedsOneZone),
            ((zone_a(), PurgeType::All, &["a.test"], &[]), malformed("a.test", TargetError::NotWithAll)),
        ];
        for ((zones, purge_type, targets, domains), expected) in cases {
            let refused = plan_of(zones.clone(), *purge_type, targets, domains);
            assert_eq!(refused.as_ref(), Err(expected), "{targets:?}");
        }
        let long = format!("http://a.test/{}", "a".repeat(4083));
        let refused = plan_of(zone_a(), PurgeType::Url, &[&long], &[]);
        assert_eq!(refused, Err(PlanError::TooLong { target: long[..200].into(), bytes: 4097 }));
    }

    #[test]
    fn a_job_has_a_limit() {
        let hosts: Vec<_> = (0..101).map(|n| format!("h{n}.a.test")).collect();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let tags: Vec<_> = (0..100).map(|n| format!("t{n}")).collect();
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        assert_eq!(plan_of(zone_a(), PurgeType::CacheTag, &tags, &hosts[..100]).unwrap().tasks.len(), 100);
        let refused = plan_of(zone_a(), PurgeType::CacheTag, &tags, &hosts);
        assert_eq!(refused, Err(PlanError::TooManyEntries(10_100)));
        let refused = plan_of(zone_a(), PurgeType::Host, &["a.test"; 10_001], &[]);
        assert_eq!(refused, Err(PlanError::TooManyEntries(10_001)));
        let refused = plan_of(zone_a(), PurgeType::CacheTag, &["t"], &["a.test"; 10_001]);
        assert_eq!(refused, Err(PlanError::TooManyEntries(10_001)));
    }
}
