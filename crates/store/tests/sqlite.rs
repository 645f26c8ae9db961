//! The suite on SQLite, and what only a database in a file has to show.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod suite;

use proptest::prelude::*;
use std::path::Path;
use store::{MasterKey, OpenError, Store, StoreOptions};
use suite::{Call, NOW_MS, record_now, record_one, urls, zone_named};

async fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(StoreOptions::new(dir, MasterKey::new(&[1; 32]).unwrap())).await
}

async fn on_sqlite(case: impl AsyncFn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    case(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_jobs() {
    on_sqlite(async |store| suite::entries_come_back_as_they_went_in(store).await).await;
    on_sqlite(async |store| suite::a_group_shares_a_transaction_but_not_its_refusals(store).await).await;
    on_sqlite(async |store| suite::a_quota_begins_anew_with_the_day(store).await).await;
    on_sqlite(async |store| suite::seqs_have_no_gap_under_concurrent_records(store).await).await;
    on_sqlite(async |store| suite::a_job_of_many_targets_keeps_them_all_in_order(store).await).await;
    on_sqlite(async |store| suite::a_job_planned_by_an_old_configuration_is_refused(store).await).await;
    on_sqlite(async |store| suite::jobs_complete_once(store).await).await;
    on_sqlite(async |store| suite::tasks_are_found_by_every_filter(store).await).await;
    on_sqlite(async |store| suite::finished_jobs_are_forgotten_by_age(store).await).await;
    on_sqlite(async |store| suite::the_log_is_trimmed_up_to_the_first_unfinished_job(store).await).await;
    on_sqlite(async |store| suite::a_new_epoch_moves_the_head(store).await).await;
}

#[tokio::test]
async fn prefetches() {
    on_sqlite(async |store| suite::prefetches_are_pending_until_each_task_has_its_outcome(store).await).await;
    on_sqlite(async |store| suite::a_prefetch_spends_its_own_quota_and_nothing_when_refused(store).await)
        .await;
}

#[tokio::test]
async fn members() {
    on_sqlite(async |store| suite::members_join_leave_and_go(store).await).await;
}

#[tokio::test]
async fn configuration() {
    on_sqlite(async |store| suite::zones_keep_what_they_are_given(store).await).await;
    on_sqlite(async |store| suite::domains_keep_what_they_are_given(store).await).await;
    on_sqlite(async |store| suite::the_snapshot_follows_every_change(store).await).await;
    on_sqlite(async |store| suite::what_is_deleted_leaves_the_caches_too(store).await).await;
    on_sqlite(async |store| suite::cache_settings_are_kept_and_keys_change_at_their_entry(store).await).await;
    on_sqlite(async |store| suite::cache_settings_of_all_zones_have_a_limit(store).await).await;
}

#[tokio::test]
async fn keys() {
    on_sqlite(async |store| suite::keys_are_kept_sealed_and_the_last_one_stays(store).await).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn quotas_and_seqs(groups in prop::collection::vec(prop::collection::vec(
        (0..3_usize, any::<bool>(), 0..6_usize, 0..2_i64), 1..8), 1..6))
    {
        let groups: Vec<Vec<Call>> = groups
            .into_iter()
            .map(|group| group.into_iter().map(|(zone, host_type, count, day)| Call { zone, host_type, count, day }))
            .map(Iterator::collect)
            .collect();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(on_sqlite(
            async |store| suite::quotas_and_seqs_are_those_of_a_naive_count(store, &groups).await,
        ));
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_reopening_and_spent_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let zone = zone_named(&store, "a.test").await;
    let first = record_one(&store, urls(&zone, 3, NOW_MS)).await.unwrap();
    let epoch = store.log_head().await.unwrap().epoch;
    // Dropped in the middle of a call, without closing: the group commits whole or not at all.
    let under_way = store.clone();
    let group = vec![urls(&zone, 500, NOW_MS), urls(&zone, 500, NOW_MS)];
    let writer = tokio::spawn(async move { record_now(&under_way, group).await });
    tokio::task::yield_now().await;
    writer.abort();
    assert!(writer.await.is_err_and(|error| error.is_cancelled()));
    store.close().await;
    drop(store);

    let store = open(dir.path()).await.unwrap();
    let head = store.log_head().await.unwrap();
    assert_eq!(head.epoch, epoch);
    assert!([3, 1003].contains(&head.head.number()), "{head:?}");
    assert_eq!(store.pending_jobs().await.unwrap()[0].job_id, first.job_id);
    assert_eq!(store.job(&first.job_id).await.unwrap().unwrap().last_seq, first.last_seq);
    let quota = store.content_quota(&zone, NOW_MS).await.unwrap().unwrap();
    assert_eq!(u64::from(quota[0].available), 100_000 - head.head.number());
    let next = record_one(&store, urls(&zone, 1, NOW_MS)).await.unwrap();
    assert_eq!(next.first_seq, head.head.next());
    store.close().await;
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let refusal = open(dir.path()).await.unwrap_err();
    assert!(matches!(refusal, OpenError::InUse(_)));
    assert!(refusal.to_string().contains("another everfresh process"), "{refusal}");
    store.close().await;
    drop(store);
    open(dir.path()).await.unwrap().close().await;
}

#[tokio::test]
async fn opening_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.unwrap().close().await;
    let other = StoreOptions::new(dir.path(), MasterKey::new(&[2; 32]).unwrap());
    assert!(matches!(Store::open(other).await, Err(OpenError::WrongMasterKey(_))));

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(open(&file).await, Err(OpenError::NotWritable { .. })));

    let garbage = dir.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join("everfresh.db"), "no database, but long enough to be read as one".repeat(9))
        .unwrap();
    assert!(matches!(open(&garbage).await, Err(OpenError::Database { .. })));

    let newer = dir.path().join("newer");
    open(&newer).await.unwrap().close().await;
    let url = format!("sqlite://{}", newer.join("everfresh.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations SELECT 99, description, installed_on, success, checksum, 0 FROM _sqlx_migrations LIMIT 1")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    assert!(matches!(open(&newer).await, Err(OpenError::NewerSchema { found: 99, known: 3, .. })));
}
