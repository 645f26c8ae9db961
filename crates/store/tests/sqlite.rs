//! The suite on SQLite, and what only a database in a file has to show.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod suite;

use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use store::{MasterKey, OpenError, Store, StoreOptions};
use suite::{NOW_MS, record_now, record_one, urls, zone_named};

async fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(StoreOptions::new(dir, MasterKey::new(&[1; 32]).unwrap())).await
}

async fn on_sqlite(case: impl AsyncFn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    case(&store).await;
    store.close().await;
}

suite::on_every_database!(on_sqlite);

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

/// No runtime, no second poll: whoever simulates time sees none pass.
#[test]
fn in_step_each_call_is_done_at_its_first_poll() {
    let in_step = |case: fn(Store) -> Pin<Box<dyn Future<Output = ()>>>| {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(dir.path(), MasterKey::new(&[1; 32]).unwrap());
        options.in_step = true;
        let whole = pin!(async {
            let store = Store::open(options).await.unwrap();
            case(store.clone()).await;
            store.close().await;
        });
        assert_eq!(whole.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
    };
    in_step(|store| Box::pin(async move { suite::entries_come_back_as_they_went_in(&store).await }));
    in_step(|store| {
        Box::pin(async move { suite::a_group_shares_a_transaction_but_not_its_refusals(&store).await })
    });
    in_step(|store| {
        Box::pin(async move { suite::a_job_of_many_targets_keeps_them_all_in_order(&store).await })
    });
    in_step(|store| Box::pin(async move { suite::tasks_are_found_by_every_filter(&store).await }));
    in_step(|store| Box::pin(async move { suite::members_join_leave_and_go(&store).await }));
    in_step(|store| Box::pin(async move { suite::zones_keep_what_they_are_given(&store).await }));
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
    assert!(matches!(open(&newer).await, Err(OpenError::NewerSchema { found: 99, known: 6, .. })));
}
