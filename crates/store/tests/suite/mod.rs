//! What every store does, whatever database it is on: each case takes an empty store.

use proptest::prelude::*;
use purge::{
    Entry, Epoch, FencePolicy, JobId, LogEntry, MemberId, MemberTerms, Method, PlannedTask, PrefetchMode,
    PrefetchTask, PurgeSeq, PurgeType, Scope, TaskStatus, UrlKey, UrlPrefix,
};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{
    Area, CACHE_CONFIGS_BYTES_MAX, ConfigError, DomainChange, DomainRecord, EdgeError, FORGET_JOBS_MAX,
    Ipv6Status, JOIN_TOKENS_MAX, Joined, KeyError, KnownEdge, MemberProcess, MemberState, NewZone,
    OriginRecord, PendingPrefetch, PrefetchOutcome, PrefetchQuery, PrefetchRecording, QuotaKind, QuotaLimits,
    RecordError, Recorded, Recording, Store, StoredEdgeKey, Tag, TargetFilter, TaskQuery, ZoneChange,
};
use zone::{
    Action, Branch, CacheConfig, Condition, HostName, OriginProtocol, Rule, Scheme, ZoneCaching, ZoneId,
};

/// A test for each case, and the property, on whatever `$on` gives a store of.
macro_rules! on_every_database {
    ($on:ident) => {
        $crate::suite::on_every_database!($on:
            entries_come_back_as_they_went_in,
            a_group_shares_a_transaction_but_not_its_refusals,
            a_quota_begins_anew_with_the_day,
            seqs_have_no_gap_under_concurrent_records,
            a_lowered_lease_counts_once_the_longer_ones_have_passed,
            a_job_of_many_targets_keeps_them_all_in_order,
            a_job_planned_by_an_old_configuration_is_refused,
            jobs_complete_once,
            tasks_are_found_by_every_filter,
            finished_jobs_are_forgotten_by_age,
            the_log_is_trimmed_up_to_the_first_unfinished_job,
            a_new_epoch_moves_the_head,
            prefetches_are_pending_until_each_task_has_its_outcome,
            a_prefetch_spends_its_own_quota_and_nothing_when_refused,
            members_join_leave_and_go,
            join_tokens_let_in_until_they_expire_or_are_revoked,
            edges_are_drained_resumed_and_removed,
            zones_keep_what_they_are_given,
            domains_keep_what_they_are_given,
            the_snapshot_follows_every_change,
            what_is_deleted_leaves_the_caches_too,
            cache_settings_are_kept_and_keys_change_at_their_entry,
            cache_settings_of_all_zones_have_a_limit,
            a_host_that_may_pass_to_another_zone_changes_keys,
            keys_are_kept_sealed_and_the_last_one_stays
        );

        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]
            #[test]
            fn quotas_and_seqs(groups in $crate::suite::groups()) {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on($on(
                    async |store| $crate::suite::quotas_and_seqs_are_those_of_a_naive_count(store, &groups).await,
                ));
            }
        }
    };
    ($on:ident: $($case:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $on(async |store| $crate::suite::$case(store).await).await;
        }
    )+};
}
pub(crate) use on_every_database;

/// Groups of calls: zone, type, targets, day.
pub(crate) fn groups() -> impl Strategy<Value = Vec<Vec<Call>>> {
    let call = (0..3_usize, any::<bool>(), 0..6_usize, 0..2_i64)
        .prop_map(|(zone, host_type, count, day)| Call { zone, host_type, count, day });
    prop::collection::vec(prop::collection::vec(call, 1..8), 1..6)
}

/// 2023-11-14T22:13:20Z; 06:13:20 of the next day at UTC+8.
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
const DAY_MS: i64 = 86_400_000;

pub(crate) fn host(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

pub(crate) async fn zone_named(store: &Store, name: &str) -> ZoneId {
    let zone = NewZone { name: host(name), alias: String::new(), area: Area::Global, tags: Vec::new() };
    store.create_zone(zone, NOW_MS).await.unwrap()
}

fn domain(zone: &ZoneId, name: &str) -> DomainRecord {
    DomainRecord {
        zone: zone.clone(),
        name: host(name),
        online: true,
        origin: OriginRecord {
            address: host("127.0.0.1"),
            backup: Some(host("[::1]")),
            host_header: None,
            private_access: true,
            private_parameters: vec![("Id".into(), "x".into())],
        },
        protocol: OriginProtocol::Follow,
        http_port: 8080,
        https_port: 65535,
        ipv6: Ipv6Status::Follow,
        created_ms: NOW_MS,
        modified_ms: NOW_MS,
    }
}

fn task(zone: &ZoneId, target: &str, scopes: Vec<Scope>) -> PlannedTask {
    let entry = |scope| Entry { zone: zone.clone(), scope, method: Method::Delete };
    PlannedTask {
        zone: zone.clone(),
        target: target.into(),
        hosts: vec![host("www.a.test")],
        entries: scopes.into_iter().map(entry).collect(),
    }
}

/// A job of `count` URLs in one zone.
pub(crate) fn urls(zone: &ZoneId, count: usize, now_ms: i64) -> Recording {
    let url = |i| {
        let key = UrlKey::from_normalised(host("www.a.test"), &format!("/{i}")).unwrap();
        task(zone, &format!("http://www.a.test/{i}"), vec![Scope::Url(key)])
    };
    Recording {
        kind: PurgeType::Url,
        method: Method::Delete,
        tasks: (0..count).map(url).collect(),
        now_ms,
        config_version: 0,
    }
}

/// Records a group as planned by the newest configuration.
pub(crate) async fn record_now(
    store: &Store,
    mut group: Vec<Recording>,
) -> Vec<Result<Recorded, RecordError>> {
    let version = store.config_version().await.unwrap();
    group.iter_mut().for_each(|recording| recording.config_version = version);
    store.record(group).await
}

pub(crate) async fn record_one(store: &Store, recording: Recording) -> Result<Recorded, RecordError> {
    record_now(store, vec![recording]).await.remove(0)
}

async fn limit(store: &Store, zone: &ZoneId, kind: PurgeType, batch: u32, daily: u32) {
    let limits = QuotaLimits { batch, daily };
    store.set_quota_override(zone, QuotaKind::Purge(kind), Some(limits)).await.unwrap();
}

async fn available(store: &Store, zone: &ZoneId, kind: PurgeType, now_ms: i64) -> u32 {
    let lines = store.content_quota(zone, now_ms).await.unwrap().unwrap();
    lines.iter().find(|line| line.kind == QuotaKind::Purge(kind)).unwrap().available
}

pub(crate) async fn entries_come_back_as_they_went_in(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let www = || host("www.a.test");
    let tag = |limit| Scope::Tag { tag: purge::CacheTag::parse("news").unwrap(), host: limit };
    let scopes = vec![
        Scope::All,
        Scope::Keys { config_version: 7 },
        Scope::Host(www()),
        Scope::Prefix(UrlPrefix::from_normalised(www(), "/%E5%9B%BE/").unwrap()),
        Scope::Url(UrlKey::from_normalised(www(), "/a?b=%2F&c").unwrap()),
        Scope::Url(UrlKey::from_normalised(www(), "/a").unwrap().with_scheme(Some(Scheme::Https))),
        tag(None),
        tag(Some(www())),
    ];
    let recording = Recording {
        kind: PurgeType::CacheTag,
        method: Method::Delete,
        tasks: vec![task(&zone, "x", scopes.clone())],
        now_ms: NOW_MS,
        config_version: 0,
    };
    let recorded = record_one(store, recording).await.unwrap();
    assert_eq!((recorded.first_seq, recorded.last_seq), (PurgeSeq::new(1), PurgeSeq::new(8)));
    let range = store.entries_after(PurgeSeq::ZERO, 100).await.unwrap();
    assert_eq!(range.head.head, recorded.head);
    let found: Vec<_> = range.entries.iter().map(|entry| entry.entry.scope.clone()).collect();
    assert_eq!(found, scopes);
    assert!(range.entries.iter().all(|entry| entry.entry.zone == zone));
    let tail = store.entries_after(PurgeSeq::new(2), 2).await.unwrap();
    assert_eq!(tail.entries.iter().map(|entry| entry.seq.number()).collect::<Vec<_>>(), [3, 4]);
}

pub(crate) async fn a_group_shares_a_transaction_but_not_its_refusals(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let gone = ZoneId::parse("zone-000000000000").unwrap();
    limit(store, &zone, PurgeType::Url, 3, 6).await;
    let empty = Recording { tasks: Vec::new(), ..urls(&zone, 0, NOW_MS) };
    let group = vec![
        urls(&zone, 3, NOW_MS),
        urls(&zone, 4, NOW_MS),
        urls(&gone, 1, NOW_MS),
        urls(&zone, 2, NOW_MS),
        empty,
        urls(&zone, 2, NOW_MS),
        urls(&zone, 1, NOW_MS),
    ];
    let answers = record_now(store, group).await;
    let seqs: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().map(|job| (job.first_seq.number(), job.last_seq.number())))
        .collect();
    assert_eq!(seqs, [Some((1, 3)), None, None, Some((4, 5)), None, None, Some((6, 6))]);
    assert!(answers.iter().flatten().all(|job| job.head == PurgeSeq::new(6)));
    assert!(matches!(answers[1], Err(RecordError::QuotaBatch { limit: 3, asked: 4, .. })));
    assert!(matches!(&answers[2], Err(RecordError::ZoneNotFound(zone)) if *zone == gone));
    assert!(matches!(answers[4], Err(RecordError::Nothing)));
    assert!(matches!(answers[5], Err(RecordError::QuotaDaily { left: 1, asked: 2, limit: 6, .. })));
    assert_eq!(available(store, &zone, PurgeType::Url, NOW_MS).await, 0);
    assert_eq!(available(store, &zone, PurgeType::Host, NOW_MS).await, 10_000);
    let jobs = store.pending_jobs().await.unwrap();
    assert_eq!(jobs.len(), 3);
    assert_eq!(Some(&jobs[0].job_id), answers[0].as_ref().ok().map(|job| &job.job_id));
    assert!(store.record(Vec::new()).await.is_empty());
}

pub(crate) async fn a_quota_begins_anew_with_the_day(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    limit(store, &zone, PurgeType::Url, 5, 5).await;
    record_one(store, urls(&zone, 5, NOW_MS)).await.unwrap();
    // 16:00 UTC is midnight at UTC+8.
    let midnight_ms = NOW_MS - NOW_MS.rem_euclid(DAY_MS) + 16 * 3_600_000 + DAY_MS;
    assert!(record_one(store, urls(&zone, 1, midnight_ms - 1)).await.is_err());
    assert_eq!(available(store, &zone, PurgeType::Url, midnight_ms).await, 5);
    record_one(store, urls(&zone, 1, midnight_ms)).await.unwrap();
    store.forget_quota_use(midnight_ms).await.unwrap();
    assert_eq!(available(store, &zone, PurgeType::Url, midnight_ms).await, 4);
    store.set_quota_override(&zone, QuotaKind::Purge(PurgeType::Url), None).await.unwrap();
    assert_eq!(available(store, &zone, PurgeType::Url, midnight_ms).await, 99_999);
    let unknown = ZoneId::parse("zone-000000000000").unwrap();
    assert_eq!(store.content_quota(&unknown, NOW_MS).await.unwrap(), None);
}

pub(crate) async fn seqs_have_no_gap_under_concurrent_records(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (store, zone) = (store.clone(), zone.clone());
            tokio::spawn(async move {
                let mut ranges = Vec::new();
                for round in 0..5 {
                    let group = (0..3).map(|i| urls(&zone, 1 + (writer + round + i) % 4, NOW_MS)).collect();
                    for answer in record_now(&store, group).await {
                        let job = answer.unwrap();
                        ranges.push((job.first_seq.number(), job.last_seq.number()));
                    }
                }
                ranges
            })
        })
        .collect();
    let mut ranges = Vec::new();
    for writer in writers {
        ranges.extend(writer.await.unwrap());
    }
    ranges.sort_unstable();
    let mut last = 0;
    for (first, end) in ranges {
        assert_eq!(first, last + 1);
        last = end;
    }
    let range = store.entries_after(PurgeSeq::ZERO, 10_000).await.unwrap();
    assert_eq!(range.head.head.number(), last);
    assert!(range.entries.iter().zip(1..).all(|(entry, seq)| entry.seq.number() == seq));
    assert_eq!(range.entries.len() as u64, last);
}

pub(crate) async fn a_job_planned_by_an_old_configuration_is_refused(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let config_version = store.config_version().await.unwrap();
    let planned = Recording { config_version, ..urls(&zone, 1, NOW_MS) };
    store.create_domain(domain(&zone, "www.a.test")).await.unwrap();
    let answer = store.record(vec![planned.clone()]).await.remove(0);
    assert!(matches!(answer, Err(RecordError::ConfigChanged)));
    assert_eq!(available(store, &zone, PurgeType::Url, NOW_MS).await, 100_000);
    record_one(store, planned).await.unwrap();
}

pub(crate) async fn cache_settings_are_kept_and_keys_change_at_their_entry(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let caching = async || {
        let snapshot = store.config_snapshot().await.unwrap();
        (snapshot.version, snapshot.zones.into_iter().next().unwrap().caching)
    };
    let change = async |change: fn(&mut CacheConfig)| {
        store
            .change_cache_config(&zone, NOW_MS, |config| {
                let mut config = config.clone();
                change(&mut config);
                Ok::<_, ConfigError>(config)
            })
            .await
    };
    assert_eq!(caching().await.1, ZoneCaching::default());
    change(|config| config.site.offline = true).await.unwrap();
    let (version, kept) = caching().await;
    assert_eq!((version, kept.keys_version, kept.keys_seq), (3, 0, 0));
    assert!(kept.config.site.offline && store.cache_config(&zone).await.unwrap().site.offline);
    change(|_| {}).await.unwrap();
    assert_eq!(caching().await.0, 3, "what changes nothing is no change");

    change(|config| config.site.keying.ignores_case = true).await.unwrap();
    let (version, kept) = caching().await;
    assert_eq!((version, kept.keys_version, kept.keys_seq), (4, 4, 1));
    let range = store.entries_after(PurgeSeq::ZERO, 10).await.unwrap();
    let scope = Scope::Keys { config_version: 4 };
    let entry = Entry { zone: zone.clone(), scope, method: Method::Delete };
    assert_eq!(range.entries, [LogEntry { seq: PurgeSeq::new(1), entry }]);
    assert_eq!(store.grant_basis().await.unwrap().config_version, 4);

    change(|config| config.site.offline = false).await.unwrap();
    let (version, kept) = caching().await;
    assert_eq!((version, kept.keys_version, kept.keys_seq), (5, 4, 1));
    let other = zone_named(store, "b.test").await;
    assert_eq!(*store.cache_config(&other).await.unwrap(), CacheConfig::default());
    store.delete_zone(&zone, NOW_MS).await.unwrap();
    assert!(matches!(store.cache_config(&zone).await, Err(ConfigError::ZoneNotFound(_))));
}

/// An edge that takes the host for the old zone's must not have applied what was purged in the new one; and what the old
/// zone stored of it is not found when it comes back.
pub(crate) async fn a_host_that_may_pass_to_another_zone_changes_keys(store: &Store) {
    let outer = zone_named(store, "a.test").await;
    let elsewhere = zone_named(store, "b.test").await;
    let name = host("www.in.a.test");
    let newest = async || {
        let range = store.entries_after(PurgeSeq::ZERO, 100).await.unwrap();
        let changed = range.entries.into_iter().filter_map(|entry| match entry.entry.scope {
            Scope::Keys { config_version } => Some((entry.entry.zone, config_version, entry.seq)),
            _ => None,
        });
        let (changed, snapshot) = (changed.collect::<Vec<_>>(), store.config_snapshot().await.unwrap());
        if let Some((zone, config_version, seq)) = changed.last() {
            assert!(*config_version <= snapshot.version);
            if let Some(zone) = snapshot.zones.iter().find(|known| known.id == *zone) {
                let caching = &zone.caching;
                assert_eq!((caching.keys_version, caching.keys_seq), (*config_version, seq.number()));
            }
        }
        changed.into_iter().map(|(zone, ..)| zone).collect::<Vec<_>>()
    };
    // No other zone could have it: its own content goes, and the keys stay.
    store.create_domain(domain(&outer, "www.in.a.test")).await.unwrap();
    store.delete_domains(&outer, std::slice::from_ref(&name), NOW_MS).await.unwrap();
    assert_eq!(newest().await, []);
    // A zone within may have it from now on.
    let inner = zone_named(store, "in.a.test").await;
    assert_eq!(newest().await, std::slice::from_ref(&outer));
    store.create_domain(domain(&inner, "www.in.a.test")).await.unwrap();
    store.delete_domains(&inner, &[name], NOW_MS).await.unwrap();
    assert_eq!(newest().await, [outer.clone(), inner.clone()]);
    // What no other zone covers changes nothing there.
    store.create_domain(domain(&outer, "www.a.test")).await.unwrap();
    store.delete_domains(&outer, &[host("www.a.test")], NOW_MS).await.unwrap();
    assert_eq!(newest().await.len(), 2);
    let renamed = ZoneChange { name: Some(host("c.a.test")), alias: None, area: None };
    store.modify_zone(&elsewhere, renamed, NOW_MS).await.unwrap();
    assert_eq!(newest().await, [outer.clone(), inner.clone(), outer.clone()]);
    store.delete_zone(&inner, NOW_MS).await.unwrap();
    assert_eq!(newest().await.last(), Some(&inner));
}

/// All of them travel to edges in one message.
pub(crate) async fn cache_settings_of_all_zones_have_a_limit(store: &Store) {
    let fill = async |zone: &ZoneId| {
        store
            .change_cache_config(zone, NOW_MS, |config| {
                let notes = vec!["x".repeat(500_000)];
                let branch = Branch {
                    condition: Condition::parse("*").unwrap(),
                    actions: vec![Action::OfflineCache(true)],
                    sub_rules: Vec::new(),
                };
                let rule = Rule { id: "rule-1".into(), name: String::new(), notes, enabled: true, branch };
                Ok::<_, ConfigError>(CacheConfig { rules: vec![rule], ..config.clone() })
            })
            .await
    };
    for number in 0..8 {
        fill(&zone_named(store, &format!("z{number}.test")).await).await.unwrap();
    }
    let refused = fill(&zone_named(store, "z8.test").await).await;
    assert!(matches!(refused, Err(ConfigError::TooMany { limit: CACHE_CONFIGS_BYTES_MAX, .. })));
}

/// A large job takes several `INSERT`s; no row may be lost at their borders.
pub(crate) async fn a_job_of_many_targets_keeps_them_all_in_order(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let job = record_one(store, urls(&zone, 1001, NOW_MS)).await.unwrap();
    let query = TaskQuery { job_id: Some(job.job_id), offset: 995, limit: 10, ..TaskQuery::default() };
    let page = store.describe_tasks(&query).await.unwrap();
    assert_eq!(page.total, 1001);
    let targets: Vec<_> = page.tasks.iter().map(|task| task.target.as_str()).collect();
    let expected: Vec<_> = (995..1001).map(|i| format!("http://www.a.test/{i}")).collect();
    assert_eq!(targets, expected);
    assert_eq!(store.log_head().await.unwrap().head, PurgeSeq::new(1001));
}

pub(crate) async fn jobs_complete_once(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let first = record_one(store, urls(&zone, 2, NOW_MS)).await.unwrap();
    let second = record_one(store, urls(&zone, 1, NOW_MS + 1)).await.unwrap();
    store.complete_jobs(std::slice::from_ref(&first.job_id), TaskStatus::Success, NOW_MS + 40).await.unwrap();
    store.complete_jobs(std::slice::from_ref(&first.job_id), TaskStatus::Timeout, NOW_MS + 50).await.unwrap();
    let job = store.job(&first.job_id).await.unwrap().unwrap();
    assert_eq!((job.status, job.created_ms, job.updated_ms), (TaskStatus::Success, NOW_MS, NOW_MS + 40));
    assert_eq!((job.first_seq, job.last_seq), (first.first_seq, first.last_seq));
    assert_eq!((job.kind, job.method, job.zones), (PurgeType::Url, Method::Delete, vec![zone]));
    let pending: Vec<_> = store.pending_jobs().await.unwrap().into_iter().map(|job| job.job_id).collect();
    assert_eq!(pending, [second.job_id]);
    assert_eq!(store.job(&JobId::parse("000000000000").unwrap()).await.unwrap(), None);
}

pub(crate) async fn tasks_are_found_by_every_filter(store: &Store) {
    let (a, b) = (zone_named(store, "a.test").await, zone_named(store, "b.test").await);
    let first = record_one(store, urls(&a, 3, NOW_MS)).await.unwrap();
    let mut of_host = task(&b, "www.b.test", vec![Scope::Host(host("www.b.test"))]);
    of_host.hosts = vec![host("www.b.test"), host("img.b.test")];
    let second = Recording {
        kind: PurgeType::Host,
        method: Method::Invalidate,
        tasks: vec![of_host],
        now_ms: NOW_MS + 1500,
        config_version: 0,
    };
    let second = record_one(store, second).await.unwrap();
    store
        .complete_jobs(std::slice::from_ref(&second.job_id), TaskStatus::Success, NOW_MS + 2000)
        .await
        .unwrap();
    let secs = NOW_MS / 1000;
    let all = || TaskQuery { limit: 100, ..TaskQuery::default() };
    let everything = ["www.b.test", "http://www.a.test/0", "http://www.a.test/1", "http://www.a.test/2"];
    let cases: Vec<(TaskQuery, u64, &[&str])> = vec![
        (all(), 4, &everything),
        (TaskQuery { offset: 1, limit: 2, ..all() }, 4, &everything[1..3]),
        (TaskQuery { limit: 0, ..all() }, 4, &[]),
        (TaskQuery { offset: 9, ..all() }, 4, &[]),
        (TaskQuery { zones: Some(vec![a.clone()]), ..all() }, 3, &everything[1..]),
        (TaskQuery { zones: Some(Vec::new()), ..all() }, 0, &[]),
        (TaskQuery { created_secs: Some(secs..=secs), ..all() }, 3, &everything[1..]),
        (TaskQuery { created_secs: Some(secs + 1..=secs + 1), ..all() }, 1, &everything[..1]),
        (TaskQuery { created_secs: Some(i64::MIN..=i64::MAX), ..all() }, 4, &everything),
        (TaskQuery { job_id: Some(first.job_id.clone()), ..all() }, 3, &everything[1..]),
        (TaskQuery { target: Some(TargetFilter::Exact("www.b.test".into())), ..all() }, 1, &everything[..1]),
        (TaskQuery { target: Some(TargetFilter::Exact("b.test".into())), ..all() }, 0, &[]),
        (
            TaskQuery { target: Some(TargetFilter::Containing("test/1".into())), ..all() },
            1,
            &everything[2..3],
        ),
        (TaskQuery { target: Some(TargetFilter::Containing("%".into())), ..all() }, 0, &[]),
        (TaskQuery { domains: vec![host("img.b.test"), host("x.test")], ..all() }, 1, &everything[..1]),
        (TaskQuery { domains: vec![host("b.test")], ..all() }, 0, &[]),
        (TaskQuery { statuses: vec![TaskStatus::Processing], ..all() }, 3, &everything[1..]),
        (TaskQuery { statuses: vec![TaskStatus::Success, TaskStatus::Failed], ..all() }, 1, &everything[..1]),
        (TaskQuery { kind: Some(PurgeType::Host), ..all() }, 1, &everything[..1]),
        (TaskQuery { kind: Some(PurgeType::Host), zones: Some(vec![a.clone()]), ..all() }, 0, &[]),
    ];
    for (query, total, targets) in cases {
        let page = store.describe_tasks(&query).await.unwrap();
        let found: Vec<_> = page.tasks.iter().map(|task| task.target.as_str()).collect();
        assert_eq!((page.total, found.as_slice()), (total, targets), "{query:?}");
    }
    let page = store.describe_tasks(&TaskQuery { limit: 1, ..all() }).await.unwrap();
    let newest = &page.tasks[0];
    assert_eq!((&newest.job_id, &newest.zone, newest.method), (&second.job_id, &b, Method::Invalidate));
    assert_eq!((newest.created_ms, newest.updated_ms), (NOW_MS + 1500, NOW_MS + 2000));
}

pub(crate) async fn finished_jobs_are_forgotten_by_age(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let done = record_one(store, urls(&zone, 2, NOW_MS)).await.unwrap();
    let open = record_one(store, urls(&zone, 1, NOW_MS)).await.unwrap();
    let young = record_one(store, urls(&zone, 1, NOW_MS + 10)).await.unwrap();
    store.complete_jobs(&[done.job_id, young.job_id], TaskStatus::Success, NOW_MS + 20).await.unwrap();
    assert_eq!(store.forget_jobs(NOW_MS + 10).await.unwrap(), 1);
    let query = TaskQuery { limit: 100, ..TaskQuery::default() };
    assert_eq!(store.describe_tasks(&query).await.unwrap().total, 2);
    assert_eq!(store.pending_jobs().await.unwrap()[0].job_id, open.job_id);

    let many = (0..FORGET_JOBS_MAX + 1).map(|_| urls(&zone, 1, NOW_MS - 1)).collect();
    let answers = record_now(store, many).await;
    let ids: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().job_id).collect();
    store.complete_jobs(&ids, TaskStatus::Success, NOW_MS).await.unwrap();
    let steps = [(); 3].map(|()| store.forget_jobs(NOW_MS));
    let [first, second, third] = steps;
    let forgotten = (first.await.unwrap(), second.await.unwrap(), third.await.unwrap());
    assert_eq!(forgotten, (FORGET_JOBS_MAX.into(), 1, 0));
}

pub(crate) async fn the_log_is_trimmed_up_to_the_first_unfinished_job(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let first = record_one(store, urls(&zone, 2, NOW_MS)).await.unwrap();
    let second = record_one(store, urls(&zone, 2, NOW_MS + 5)).await.unwrap();
    assert_eq!(store.first_seq_since(NOW_MS).await.unwrap(), PurgeSeq::new(1));
    assert_eq!(store.first_seq_since(NOW_MS + 1).await.unwrap(), PurgeSeq::new(3));
    assert_eq!(store.first_seq_since(NOW_MS + 6).await.unwrap(), PurgeSeq::new(5));
    assert_eq!(store.trim_log(PurgeSeq::new(5)).await.unwrap(), PurgeSeq::new(1), "both are processing");
    store.complete_jobs(&[first.job_id], TaskStatus::Success, NOW_MS).await.unwrap();
    assert_eq!(store.trim_log(PurgeSeq::new(2)).await.unwrap(), PurgeSeq::new(2));
    assert_eq!(store.trim_log(PurgeSeq::new(99)).await.unwrap(), PurgeSeq::new(3));
    store.complete_jobs(&[second.job_id], TaskStatus::Success, NOW_MS).await.unwrap();
    assert_eq!(store.trim_log(PurgeSeq::new(99)).await.unwrap(), PurgeSeq::new(5));
    assert_eq!(store.trim_log(PurgeSeq::new(1)).await.unwrap(), PurgeSeq::new(5), "it never goes back");
    let range = store.entries_after(PurgeSeq::ZERO, 10).await.unwrap();
    assert!(range.entries.is_empty());
    assert_eq!((range.head.head, range.head.first_retained), (PurgeSeq::new(4), PurgeSeq::new(5)));
    let next = record_one(store, urls(&zone, 1, NOW_MS)).await.unwrap();
    assert_eq!(next.first_seq, PurgeSeq::new(5), "seqs go on where they were");
}

pub(crate) async fn a_new_epoch_moves_the_head(store: &Store) {
    let (a, b) = (zone_named(store, "a.test").await, zone_named(store, "b.test").await);
    let before = store.log_head().await.unwrap();
    let lost = async || {
        let (to_grant, to_read) = (store.grant_basis().await.unwrap(), store.basis().await.unwrap());
        assert_eq!(to_grant, to_read);
        to_grant.lost
    };
    // What the log has is not lost, nor is what another log had.
    store.note_lost(before.epoch, before.head).await.unwrap();
    store.note_lost(Epoch::new(before.epoch.number() ^ 1), PurgeSeq::new(9)).await.unwrap();
    assert_eq!(lost().await, None);
    store.note_lost(before.epoch, PurgeSeq::new(9)).await.unwrap();
    store.note_lost(before.epoch, PurgeSeq::new(5)).await.unwrap();
    assert_eq!(lost().await, Some(PurgeSeq::new(9)));
    let after = store.renew_epoch(NOW_MS).await.unwrap();
    assert_eq!(lost().await, None);
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.head, PurgeSeq::new(2));
    let entries = store.entries_after(PurgeSeq::ZERO, 10).await.unwrap().entries;
    let mut zones: Vec<_> = entries.iter().map(|entry| entry.entry.zone.clone()).collect();
    zones.sort();
    let mut expected = vec![a, b];
    expected.sort();
    assert_eq!(zones, expected);
    assert_eq!(store.grant_basis().await.unwrap().epoch, after.epoch);
}

pub(crate) async fn members_join_leave_and_go(store: &Store) {
    let (one, two) = (MemberId::new(1), MemberId::new(u128::MAX));
    let terms = MemberTerms { policy: FencePolicy::Serve, acks_only: true, has_parent: true };
    let process = MemberProcess { version: "0.1.0".into(), address: "192.0.2.1".into(), key_id: None };
    assert_eq!(store.join_member(one, "fra", terms, &process, NOW_MS).await.unwrap(), Joined::New);
    assert_eq!(
        store.join_member(two, "fra", MemberTerms::default(), &process, NOW_MS + 1).await.unwrap(),
        Joined::New
    );
    assert_eq!(store.join_member(one, "fra", terms, &process, NOW_MS + 2).await.unwrap(), Joined::Already);
    for other in [MemberTerms::default(), MemberTerms { acks_only: false, ..terms }] {
        let refused = store.join_member(one, "fra", other, &process, NOW_MS + 2).await.unwrap();
        assert_eq!(refused, Joined::OtherTerms);
    }
    store.mark_leaving(&[one], NOW_MS + 3).await.unwrap();
    store.mark_leaving(&[one], NOW_MS + 9).await.unwrap();
    assert_eq!(
        store.join_member(one, "fra", terms, &process, NOW_MS + 4).await.unwrap(),
        Joined::StillLeaving
    );
    let basis = store.grant_basis().await.unwrap();
    assert_eq!(basis.head, store.log_head().await.unwrap().head);
    let states: Vec<_> = basis.members.iter().map(|member| (member.id, member.state)).collect();
    assert_eq!(states, [(one, MemberState::Leaving { since_ms: NOW_MS + 3 }), (two, MemberState::Active)]);
    assert_eq!((basis.members[0].terms, basis.members[0].edge_name.as_str()), (terms, "fra"));
    assert_eq!(basis.members[0].process, process);
    store.remove_member(&[one]).await.unwrap();
    assert_eq!(store.members().await.unwrap().len(), 1);
    assert_eq!(store.join_member(one, "fra", terms, &process, NOW_MS + 5).await.unwrap(), Joined::New);
}

pub(crate) async fn join_tokens_let_in_until_they_expire_or_are_revoked(store: &Store) {
    let ids = async |now_ms| -> Vec<String> {
        store.active_join_tokens(now_ms).await.unwrap().into_iter().map(|(id, _)| id).collect()
    };
    let one = store.add_join_token(&[1; 32], "one", None, NOW_MS).await.unwrap();
    let two = store.add_join_token(&[2; 32], "two", Some(NOW_MS + 10), NOW_MS + 1).await.unwrap();
    assert_eq!(store.add_join_token(&[1; 32], "again", None, NOW_MS + 2).await.unwrap(), one);
    assert_eq!(ids(NOW_MS + 9).await, [one.token_id.clone(), two.token_id.clone()]);
    assert_eq!(ids(NOW_MS + 10).await, std::slice::from_ref(&one.token_id));
    assert_eq!(store.active_join_tokens(NOW_MS).await.unwrap()[0].1, [1; 32]);
    store.revoke_join_token(&one.token_id, NOW_MS + 3).await.unwrap();
    store.revoke_join_token(&one.token_id, NOW_MS + 4).await.unwrap();
    let again = store.add_join_token(&[1; 32], "again", None, NOW_MS + 5).await.unwrap();
    assert_eq!(again.revoked_ms, Some(NOW_MS + 3), "what was revoked is not taken in again");
    assert_eq!(ids(NOW_MS).await, std::slice::from_ref(&two.token_id));
    assert_eq!(store.join_tokens().await.unwrap(), [again, two]);
    assert!(matches!(
        store.revoke_join_token("jt-0", NOW_MS).await,
        Err(EdgeError::TokenNotFound(id)) if id == "jt-0"
    ));
    for number in 3..=JOIN_TOKENS_MAX {
        store.add_join_token(&[u8::try_from(number).unwrap(); 32], "", None, NOW_MS).await.unwrap();
    }
    assert!(matches!(
        store.add_join_token(&[255; 32], "", None, NOW_MS).await,
        Err(EdgeError::TooMany { max: JOIN_TOKENS_MAX, .. })
    ));
    store.add_join_token(&[255; 32], "", None, NOW_MS + 20).await.unwrap();
}

pub(crate) async fn edges_are_drained_resumed_and_removed(store: &Store) {
    let key = |key_id: &str, keeps| StoredEdgeKey {
        key_id: key_id.into(),
        edge_name: "fra".into(),
        keeps,
        token_id: "t".into(),
        joined_ms: NOW_MS,
        secret: [7; 32],
    };
    let process = |key_id: &str| MemberProcess { key_id: Some(key_id.into()), ..MemberProcess::default() };
    let join = async |number, key_id: &str| {
        let (id, terms) = (MemberId::new(number), MemberTerms::default());
        store.join_member(id, "fra", terms, &process(key_id), NOW_MS).await.unwrap()
    };
    let states = async || -> Vec<MemberState> {
        store.members().await.unwrap().into_iter().map(|member| member.state).collect()
    };
    assert!(matches!(
        store.drain_edge("fra", NOW_MS).await,
        Err(EdgeError::EdgeNotFound(name)) if name == "fra"
    ));
    assert_eq!(join(1, "kept").await, Joined::Removed, "nobody has that key");
    for (key_id, keeps) in [("kept", true), ("fleeting", false), ("unused", false)] {
        store.keep_edge_key(&key(key_id, keeps)).await.unwrap();
    }
    assert!(store.edge_key("kept").await.unwrap() == Some(key("kept", true)));
    assert_eq!((join(1, "kept").await, join(2, "fleeting").await), (Joined::New, Joined::New));
    let known = KnownEdge { edge_name: "fra".into(), joined_ms: NOW_MS };
    assert_eq!(store.known_edges().await.unwrap(), [known]);
    store.forget_edge_keys(NOW_MS).await.unwrap();
    assert!(store.edge_key("unused").await.unwrap().is_some(), "too young to be forgotten");
    store.forget_edge_keys(NOW_MS + 1).await.unwrap();
    let is_kept = async |key_id| store.edge_key(key_id).await.unwrap().is_some();
    assert!(is_kept("kept").await && is_kept("fleeting").await && !is_kept("unused").await);
    store.drain_edge("fra", NOW_MS + 2).await.unwrap();
    assert_eq!(store.drained_edges().await.unwrap(), ["fra"]);
    assert_eq!(states().await, [MemberState::Leaving { since_ms: NOW_MS + 2 }; 2]);
    assert_eq!(join(3, "kept").await, Joined::Drained);
    store.resume_edge("fra").await.unwrap();
    assert_eq!(join(3, "kept").await, Joined::New);
    store.remove_edge("fra", NOW_MS + 3).await.unwrap();
    assert!(states().await.iter().all(|state| *state != MemberState::Active));
    assert!(!is_kept("kept").await && !is_kept("fleeting").await);
    assert_eq!(join(4, "kept").await, Joined::Removed);
    store.remove_member(&[1, 2, 3].map(MemberId::new)).await.unwrap();
    assert!(matches!(store.remove_edge("fra", NOW_MS).await, Err(EdgeError::EdgeNotFound(_))));
}

pub(crate) async fn a_lowered_lease_counts_once_the_longer_ones_have_passed(store: &Store) {
    let lease = async || {
        let lease = store.grant_basis().await.unwrap().lease;
        (lease.granted.as_millis(), lease.counted.as_millis(), lease.version)
    };
    let set = async |millis| store.set_lease(Duration::from_millis(millis)).await.unwrap();
    assert_eq!(lease().await, (0, 0, 0));
    set(5_000).await;
    assert_eq!(lease().await, (5_000, 5_000, 1));
    set(5_000).await;
    assert_eq!(lease().await, (5_000, 5_000, 1), "what is so already is no change");
    set(9_000).await;
    set(1_000).await;
    assert_eq!(lease().await, (1_000, 9_000, 3));
    set(2_000).await;
    store.settle_lease(3).await.unwrap();
    assert_eq!(lease().await, (2_000, 9_000, 4), "who saw it before the last change has not waited for it");
    store.settle_lease(4).await.unwrap();
    assert_eq!(lease().await, (2_000, 2_000, 5));
}

pub(crate) async fn zones_keep_what_they_are_given(store: &Store) {
    let tags = vec![Tag { key: "team".into(), value: "图\"'".into() }];
    let new = |name: &str| NewZone {
        name: host(name),
        alias: "al.ias".into(),
        area: Area::Mainland,
        tags: tags.clone(),
    };
    let id = store.create_zone(new("a.test"), NOW_MS).await.unwrap();
    assert!(matches!(
        store.create_zone(new("A.test"), NOW_MS).await,
        Err(ConfigError::ZoneNameTaken(name)) if name == host("a.test")
    ));
    let other = zone_named(store, "b.test").await;
    let zone = store.zone(&id).await.unwrap().unwrap();
    assert_eq!((zone.alias.as_str(), zone.area, &zone.tags), ("al.ias", Area::Mainland, &tags));
    let rename = ZoneChange { name: Some(host("b.test")), ..ZoneChange::default() };
    assert!(matches!(store.modify_zone(&id, rename, NOW_MS).await, Err(ConfigError::ZoneNameTaken(_))));
    let change = ZoneChange { alias: Some("new".into()), ..ZoneChange::default() };
    store.modify_zone(&id, change, NOW_MS + 7).await.unwrap();
    store.set_zone_paused(&id, true, NOW_MS + 8).await.unwrap();
    let zone = store.zone(&id).await.unwrap().unwrap();
    assert_eq!((zone.alias.as_str(), zone.area, zone.paused), ("new", Area::Mainland, true));
    assert_eq!((zone.created_ms, zone.modified_ms), (NOW_MS, NOW_MS + 8));
    let mut ids: Vec<_> = store.zones().await.unwrap().into_iter().map(|zone| zone.id).collect();
    ids.sort();
    let mut expected = vec![id, other];
    expected.sort();
    assert_eq!(ids, expected);
    let gone = ZoneId::parse("zone-000000000000").unwrap();
    assert!(matches!(store.set_zone_paused(&gone, true, NOW_MS).await, Err(ConfigError::ZoneNotFound(_))));
}

pub(crate) async fn domains_keep_what_they_are_given(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    store.create_domain(domain(&zone, "www.a.test")).await.unwrap();
    assert_eq!(store.domains(&zone).await.unwrap(), [domain(&zone, "www.a.test")]);
    assert!(matches!(
        store.create_domain(domain(&zone, "www.a.test")).await,
        Err(ConfigError::DomainExists(_))
    ));
    assert!(matches!(
        store.create_domain(domain(&zone, "www.ba.test")).await,
        Err(ConfigError::DomainOutsideZone { .. })
    ));
    let sub = zone_named(store, "www.a.test").await;
    assert!(matches!(
        store.create_domain(domain(&sub, "www.a.test")).await,
        Err(ConfigError::DomainExists(_))
    ));
    let name = host("www.a.test");
    let change = DomainChange { http_port: Some(9), ..DomainChange::default() };
    store.modify_domain(&zone, &name, change, NOW_MS + 1).await.unwrap();
    let unknown = [name.clone(), host("x.a.test")];
    assert!(matches!(
        store.set_domains_online(&zone, &unknown, false, NOW_MS + 2).await,
        Err(ConfigError::DomainNotFound(name)) if name == host("x.a.test")
    ));
    let expected = DomainRecord { http_port: 9, modified_ms: NOW_MS + 1, ..domain(&zone, "www.a.test") };
    assert_eq!(store.domains(&zone).await.unwrap(), [expected], "all or none");
    let rename = ZoneChange { name: Some(host("c.test")), ..ZoneChange::default() };
    assert!(matches!(
        store.modify_zone(&zone, rename, NOW_MS).await,
        Err(ConfigError::DomainOutsideZone { .. })
    ));
}

pub(crate) async fn the_snapshot_follows_every_change(store: &Store) {
    let start = store.config_snapshot().await.unwrap();
    assert_eq!((start.version, start.zones.len()), (1, 0));
    let zone = zone_named(store, "a.test").await;
    let names = [host("www.a.test")];
    let mut versions = vec![start.version, store.config_version().await.unwrap()];
    store.create_domain(domain(&zone, "www.a.test")).await.unwrap();
    versions.push(store.config_version().await.unwrap());
    store.modify_domain(&zone, &names[0], DomainChange::default(), NOW_MS).await.unwrap();
    versions.push(store.config_version().await.unwrap());
    let snapshot = store.config_snapshot().await.unwrap();
    assert_eq!(snapshot.zones[0].domains[0].origin.host_header, "www.a.test");
    assert_eq!(snapshot.zones[0].domains[0].origin.backup, Some(host("[::1]")));
    assert!(snapshot.zones[0].domains[0].online);
    store.set_domains_online(&zone, &names, false, NOW_MS).await.unwrap();
    versions.push(store.config_version().await.unwrap());
    store.set_zone_paused(&zone, true, NOW_MS).await.unwrap();
    let snapshot = store.config_snapshot().await.unwrap();
    assert!(snapshot.zones[0].paused && !snapshot.zones[0].domains[0].online);
    versions.push(snapshot.version);
    store.delete_domains(&zone, &names, NOW_MS).await.unwrap();
    versions.push(store.config_version().await.unwrap());
    store.delete_zone(&zone, NOW_MS).await.unwrap();
    let end = store.config_snapshot().await.unwrap();
    versions.push(end.version);
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(end.zones.is_empty());
    assert_eq!(end.head, PurgeSeq::new(2), "the snapshot is at or after the deletions it shows");
    // A refused change counts as none.
    assert!(store.delete_zone(&zone, NOW_MS).await.is_err());
    assert_eq!(store.config_version().await.unwrap(), end.version);
}

pub(crate) async fn what_is_deleted_leaves_the_caches_too(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    for name in ["www.a.test", "img.a.test"] {
        store.create_domain(domain(&zone, name)).await.unwrap();
    }
    let job = record_one(store, urls(&zone, 2, NOW_MS)).await.unwrap();
    store.delete_domains(&zone, &[host("img.a.test")], NOW_MS).await.unwrap();
    assert!(matches!(
        store.delete_zone(&zone, NOW_MS).await,
        Err(ConfigError::DomainOnline(name)) if name == host("www.a.test")
    ));
    store.set_domains_online(&zone, &[host("www.a.test")], false, NOW_MS).await.unwrap();
    store.delete_zone(&zone, NOW_MS + 9).await.unwrap();
    let entries = store.entries_after(job.last_seq, 10).await.unwrap().entries;
    let scopes: Vec<_> = entries.iter().map(|entry| entry.entry.scope.clone()).collect();
    let config_version = store.config_version().await.unwrap();
    assert_eq!(scopes, [Scope::Host(host("img.a.test")), Scope::Keys { config_version }]);
    assert!(entries.iter().all(|e| e.entry.method == Method::Delete && e.entry.zone == zone));
    // The job's own end does not make a success of tasks that the deletion overtook.
    store.complete_jobs(std::slice::from_ref(&job.job_id), TaskStatus::Success, NOW_MS + 10).await.unwrap();
    let overtaken = store.job(&job.job_id).await.unwrap().unwrap();
    assert_eq!((overtaken.status, overtaken.updated_ms), (TaskStatus::Failed, NOW_MS + 9));
    let query = TaskQuery { job_id: Some(job.job_id), limit: 10, ..TaskQuery::default() };
    let tasks = store.describe_tasks(&query).await.unwrap().tasks;
    assert!(tasks.iter().all(|task| task.status == TaskStatus::Failed && task.updated_ms == NOW_MS + 9));
    assert!(tasks.iter().all(|task| task.fail_message.is_some()));
    // Its name and its domain's are free again, and its quota is gone with it.
    let again = zone_named(store, "a.test").await;
    store.create_domain(domain(&again, "www.a.test")).await.unwrap();
    assert_eq!(available(store, &again, PurgeType::Url, NOW_MS).await, 100_000);
}

pub(crate) async fn keys_are_kept_sealed_and_the_last_one_stays(store: &Store) {
    let first = store.create_key("first", NOW_MS).await.unwrap();
    let id = first.info.secret_id.as_str();
    assert!(id.starts_with("AKID") && id.len() == 36 && first.secret_key.reveal().len() == 32);
    assert_eq!(store.find_key(id).await.unwrap().as_ref(), Some(&first));
    assert!(!format!("{first:?}").contains(first.secret_key.reveal()));
    assert!(matches!(store.set_key_enabled(id, false).await, Err(KeyError::LastEnabled(_))));
    assert!(matches!(store.delete_key(id).await, Err(KeyError::LastEnabled(_))));
    let second = store.import_key("mine", "s3cret/+=", "from the environment", NOW_MS + 1).await.unwrap();
    assert_eq!(store.import_key("mine", "s3cret/+=", "", NOW_MS + 2).await.unwrap(), second, "said twice");
    assert!(matches!(store.import_key("mine", "other", "", NOW_MS).await, Err(KeyError::Exists(_))));
    for (id, secret) in [("", "x"), ("a/b", "x"), ("a,b", "x"), ("a b", "x"), ("a", ""), ("a", "ü")] {
        assert!(matches!(store.import_key(id, secret, "", NOW_MS).await, Err(KeyError::Malformed)), "{id}");
    }
    store.set_key_enabled(id, false).await.unwrap();
    assert!(!store.find_key(id).await.unwrap().unwrap().info.enabled);
    assert!(matches!(store.delete_key("mine").await, Err(KeyError::LastEnabled(_))));
    store.delete_key(id).await.unwrap();
    assert!(matches!(store.delete_key(id).await, Err(KeyError::NotFound(_))));
    assert!(matches!(store.set_key_enabled(id, true).await, Err(KeyError::NotFound(_))));
    let left: Vec<_> = store.keys().await.unwrap().into_iter().map(|key| key.secret_id).collect();
    assert_eq!(left, ["mine"]);
}

/// One step of the property test: a call of `count` targets in one of three zones, at a time.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) zone: usize,
    pub(crate) host_type: bool,
    pub(crate) count: usize,
    pub(crate) day: i64,
}

/// Quotas and seqs, counted naively.
pub(crate) async fn quotas_and_seqs_are_those_of_a_naive_count(store: &Store, groups: &[Vec<Call>]) {
    const BATCH: usize = 4;
    const DAILY: usize = 9;
    let mut zones = Vec::new();
    for name in ["a.test", "b.test"] {
        let zone = zone_named(store, name).await;
        for kind in [PurgeType::Url, PurgeType::Host] {
            limit(store, &zone, kind, BATCH as u32, DAILY as u32).await;
        }
        zones.push(zone);
    }
    zones.push(ZoneId::parse("zone-000000000000").unwrap());
    let (mut used, mut head) = (BTreeMap::<(usize, bool, i64), usize>::new(), 0);
    for group in groups {
        let recordings = group.iter().map(|call| {
            let kind = if call.host_type { PurgeType::Host } else { PurgeType::Url };
            Recording { kind, ..urls(&zones[call.zone], call.count, NOW_MS + call.day * DAY_MS) }
        });
        let answers = record_now(store, recordings.collect()).await;
        for (call, answer) in group.iter().zip(answers) {
            let spent = used.entry((call.zone, call.host_type, call.day)).or_default();
            let fits = call.zone < 2 && (1..=BATCH).contains(&call.count) && *spent + call.count <= DAILY;
            assert_eq!(answer.is_ok(), fits, "{call:?} after {spent}: {answer:?}");
            if let Ok(job) = answer {
                *spent += call.count;
                assert_eq!(job.first_seq.number(), head + 1);
                head += call.count as u64;
                assert_eq!(job.last_seq.number(), head);
            }
        }
        assert_eq!(store.log_head().await.unwrap().head.number(), head);
    }
    for ((zone, host_type, day), spent) in used.into_iter().filter(|((zone, ..), _)| *zone < 2) {
        let kind = if host_type { PurgeType::Host } else { PurgeType::Url };
        let left = available(store, &zones[zone], kind, NOW_MS + day * DAY_MS).await;
        assert_eq!(left as usize, DAILY - spent);
    }
}

fn prefetch_of(zone: &ZoneId, count: usize, now_ms: i64, config_version: u64) -> PrefetchRecording {
    let task = |i| PrefetchTask {
        zone: zone.clone(),
        target: format!("https://www.a.test/{i}"),
        host: host("www.a.test"),
    };
    PrefetchRecording {
        mode: PrefetchMode::Edge,
        headers: vec![("Accept-Encoding".into(), "gzip".into())],
        tasks: (0..count).map(task).collect(),
        now_ms,
        config_version,
    }
}

/// A prefetch is recorded with its quota and the log's head, is pending until each task has its outcome, and is found
/// by every filter.
pub(crate) async fn prefetches_are_pending_until_each_task_has_its_outcome(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    record_one(store, urls(&zone, 2, NOW_MS)).await.unwrap();
    let version = store.config_version().await.unwrap();
    let job_id = store.record_prefetch(prefetch_of(&zone, 3, NOW_MS, version)).await.unwrap();
    let head = store.log_head().await.unwrap();
    let pending = store.pending_prefetches(0, 10).await.unwrap();
    let targets: Vec<_> = pending.iter().map(|task| task.target.as_str()).collect();
    assert_eq!(targets, ["https://www.a.test/0", "https://www.a.test/1", "https://www.a.test/2"]);
    let job = &pending[0].job;
    assert_eq!(
        (&job.job_id, job.mode, job.epoch, job.head),
        (&job_id, PrefetchMode::Edge, head.epoch, head.head)
    );
    assert_eq!(job.headers, [("Accept-Encoding".into(), "gzip".into())]);
    let rest = store.pending_prefetches(pending[0].task_id, 1).await.unwrap();
    assert_eq!(rest, pending[1..2]);
    let outcome = |task: &PendingPrefetch, status, why: Option<&str>| PrefetchOutcome {
        task_id: task.task_id,
        status,
        fail_message: why.map(Into::into),
    };
    let outcomes = [
        outcome(&pending[0], TaskStatus::Success, None),
        outcome(&pending[1], TaskStatus::Failed, Some("404")),
    ];
    store.complete_prefetches(&outcomes, NOW_MS + 5).await.unwrap();
    // A second outcome changes nothing.
    let again = [outcome(&pending[0], TaskStatus::Failed, Some("late"))];
    store.complete_prefetches(&again, NOW_MS + 9).await.unwrap();
    let all = PrefetchQuery { limit: 10, ..PrefetchQuery::default() };
    let page = store.describe_prefetches(&all).await.unwrap();
    let seen: Vec<_> = page
        .tasks
        .iter()
        .map(|task| (task.status, task.fail_message.as_deref(), task.updated_ms - NOW_MS))
        .collect();
    let expected = [
        (TaskStatus::Success, None, 5),
        (TaskStatus::Failed, Some("404"), 5),
        (TaskStatus::Processing, None, 0),
    ];
    assert_eq!((page.total, &seen[..]), (3, &expected[..]));
    let count = async |query: PrefetchQuery| store.describe_prefetches(&query).await.unwrap().total;
    let none = JobId::parse("000000000000").unwrap();
    assert_eq!(count(PrefetchQuery { job_id: Some(job_id), ..all.clone() }).await, 3);
    assert_eq!(count(PrefetchQuery { job_id: Some(none), ..all.clone() }).await, 0);
    assert_eq!(count(PrefetchQuery { zones: Some(vec![zone.clone()]), ..all.clone() }).await, 3);
    assert_eq!(count(PrefetchQuery { domains: vec![host("b.test")], ..all.clone() }).await, 0);
    assert_eq!(count(PrefetchQuery { statuses: vec![TaskStatus::Failed], ..all.clone() }).await, 1);
    let exact = TargetFilter::Exact("https://www.a.test/1".into());
    assert_eq!(count(PrefetchQuery { target: Some(exact), ..all.clone() }).await, 1);
    let second = NOW_MS / 1000;
    assert_eq!(count(PrefetchQuery { created_secs: Some(second..=second), ..all.clone() }).await, 3);
    assert_eq!(count(PrefetchQuery { created_secs: Some(second + 1..=second + 9), ..all.clone() }).await, 0);

    // Nothing is forgotten while a task is processing; a deleted zone's tasks fail.
    assert_eq!(store.forget_prefetches(NOW_MS + DAY_MS).await.unwrap(), 0);
    store.delete_zone(&zone, NOW_MS + 20).await.unwrap();
    assert_eq!(store.pending_prefetches(0, 10).await.unwrap(), []);
    let failed = PrefetchQuery { statuses: vec![TaskStatus::Failed], ..all };
    assert_eq!(count(failed).await, 2);
    assert_eq!(store.forget_prefetches(NOW_MS).await.unwrap(), 0);
    assert_eq!(store.forget_prefetches(NOW_MS + 1).await.unwrap(), 1);
}

pub(crate) async fn a_prefetch_spends_its_own_quota_and_nothing_when_refused(store: &Store) {
    let zone = zone_named(store, "a.test").await;
    let limits = QuotaLimits { batch: 3, daily: 5 };
    store.set_quota_override(&zone, QuotaKind::PrefetchUrl, Some(limits)).await.unwrap();
    let version = store.config_version().await.unwrap();
    let record = async |count| store.record_prefetch(prefetch_of(&zone, count, NOW_MS, version)).await;
    assert!(matches!(record(0).await, Err(RecordError::Nothing)));
    let refused = record(4).await;
    let kind = QuotaKind::PrefetchUrl;
    assert!(
        matches!(refused, Err(RecordError::QuotaBatch { kind: of, limit: 3, asked: 4, .. }) if of == kind)
    );
    record(3).await.unwrap();
    assert!(matches!(record(3).await, Err(RecordError::QuotaDaily { left: 2, asked: 3, .. })));
    record(2).await.unwrap();
    let stale = store.record_prefetch(prefetch_of(&zone, 1, NOW_MS + DAY_MS, version + 1)).await;
    assert!(matches!(stale, Err(RecordError::ConfigChanged)));
    let lines = store.content_quota(&zone, NOW_MS).await.unwrap().unwrap();
    let left = |kind| lines.iter().find(|line| line.kind == kind).unwrap().available;
    assert_eq!((left(kind), left(QuotaKind::Purge(PurgeType::Url))), (0, 100_000));
    let gone = ZoneId::parse("zone-zzzzzzzzzzzz").unwrap();
    let refused = store.record_prefetch(prefetch_of(&gone, 1, NOW_MS, version)).await;
    assert!(matches!(refused, Err(RecordError::ZoneNotFound(zone)) if zone == gone));
}
