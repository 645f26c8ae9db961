//! The suite on PostgreSQL, and what only a server that several processes share has to show.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

mod postgres_server;
mod suite;

use postgres_server::PostgresServer;
use proptest::prelude::*;
use purge::{Epoch, MemberId, PurgeSeq};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use store::{MasterKey, OpenError, Place, PostgresPlace, RecordError, Store, StoreError, StoreOptions};
use suite::{NOW_MS, record_now, record_one, urls, zone_named};
use zone::ZoneId;

/// How long what must happen by itself may take.
const PATIENCE: Duration = Duration::from_secs(60);

static SERVER: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

fn options(url: &str) -> StoreOptions {
    StoreOptions::at(Place::Postgres(PostgresPlace::parse(url).unwrap()), MasterKey::new(&[1; 32]).unwrap())
}

async fn open(url: &str) -> Result<Store, OpenError> {
    Store::open(options(url)).await
}

async fn on_postgres(case: impl AsyncFn(&Store)) {
    let store = open(&SERVER.database()).await.unwrap();
    case(&store).await;
    store.close().await;
}

suite::on_every_database!(on_postgres);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_start_at_once_find_one_database() {
    let url = SERVER.database();
    let opened = futures_of(4, |_| {
        let url = url.clone();
        async move { open(&url).await.unwrap() }
    })
    .await;
    let epoch = opened[0].log_head().await.unwrap().epoch;
    for store in &opened {
        assert_eq!(store.log_head().await.unwrap().epoch, epoch);
        store.close().await;
    }
}

async fn futures_of<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    make: impl Fn(usize) -> F,
) -> Vec<T> {
    let tasks: Vec<_> = (0..count).map(|index| tokio::spawn(make(index))).collect();
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn instances_record_at_once_without_a_gap_and_in_the_order_of_commits(
        counts in prop::collection::vec(prop::collection::vec(1..30_usize, 1..12), 2..4)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(recording_at_once(counts));
    }
}

/// One instance for each list of sizes of jobs; another one watches the log grow.
async fn recording_at_once(counts: Vec<Vec<usize>>) {
    let url = SERVER.database();
    let watcher = open(&url).await.unwrap();
    let zone = zone_named(&watcher, "a.test").await;
    let total: usize = counts.iter().flatten().sum();
    let writers: Vec<_> = counts
        .into_iter()
        .map(|sizes| {
            let (url, zone) = (url.clone(), zone.clone());
            tokio::spawn(async move {
                let store = open(&url).await.unwrap();
                for size in sizes {
                    let job = record_one(&store, urls(&zone, size, NOW_MS)).await.unwrap();
                    assert_eq!(job.last_seq.number() + 1 - job.first_seq.number(), size as u64);
                    // What was answered is there for everyone.
                    assert!(store.log_head().await.unwrap().head >= job.last_seq);
                }
                store.close().await;
            })
        })
        .collect();
    let mut seen = 0;
    while seen < total as u64 {
        let range = watcher.entries_after(PurgeSeq::new(seen), 1000).await.unwrap();
        for entry in range.entries {
            seen += 1;
            assert_eq!(entry.seq.number(), seen, "a reader sees no gap, at any moment");
        }
        assert!(range.head.head.number() >= seen);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(watcher.log_head().await.unwrap().head.number(), total as u64);
    watcher.close().await;
}

/// Every job in the log is whole: its entries are consecutive and all there, and so are its tasks.
async fn check_whole(store: &Store, answered: &BTreeMap<String, u64>) {
    let head = store.log_head().await.unwrap().head.number();
    let mut next = 1;
    let mut known = BTreeMap::new();
    for job in store.pending_jobs().await.unwrap() {
        let job = store.job(&job.job_id).await.unwrap().unwrap();
        assert_eq!(job.first_seq.number(), next, "{job:?}");
        next = job.last_seq.number() + 1;
        let query = store::TaskQuery { job_id: Some(job.job_id.clone()), limit: 1, ..Default::default() };
        let tasks = store.describe_tasks(&query).await.unwrap().total;
        assert_eq!(tasks, job.last_seq.number() + 1 - job.first_seq.number());
        known.insert(job.job_id.to_string(), job.last_seq.number());
    }
    assert_eq!(next, head + 1);
    let mut entries = 0;
    while let Some(last) = store.entries_after(PurgeSeq::new(entries), 1000).await.unwrap().entries.last() {
        entries = last.seq.number();
    }
    assert_eq!(entries, head);
    for (job, last_seq) in answered {
        assert_eq!(known.get(job), Some(last_seq), "answered and lost: {job}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_nothing_that_was_answered() {
    let mut server = PostgresServer::start_with(&[]);
    let url = server.database();
    let stores = [open(&url).await.unwrap(), open(&url).await.unwrap()];
    let zone = zone_named(&stores[0], "a.test").await;
    let ended = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let writers: Vec<_> = stores
        .iter()
        .map(|store| {
            let (store, zone) = (store.clone(), zone.clone());
            let (ended, answered) = (Arc::clone(&ended), Arc::clone(&answered));
            tokio::spawn(write_until(store, zone, ended, answered))
        })
        .collect();
    let count = || answered.lock().unwrap().len();
    for _ in 0..2 {
        let before = count();
        wait_until(|| count() >= before + 20).await;
        // The test's own thread waits for the server; the writers have the other one.
        tokio::task::block_in_place(|| {
            server.kill();
            server.run();
        });
    }
    let before = count();
    wait_until(|| count() >= before + 20).await;
    ended.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let answered = answered.lock().unwrap().clone();
    check_whole(&stores[0], &answered).await;
    for store in stores {
        store.close().await;
    }
}

async fn write_until(
    store: Store,
    zone: ZoneId,
    ended: Arc<AtomicBool>,
    answered: Arc<std::sync::Mutex<BTreeMap<String, u64>>>,
) {
    let version = store.config_version().await.unwrap();
    while !ended.load(Ordering::Relaxed) {
        let mut group = vec![urls(&zone, 3, NOW_MS), urls(&zone, 1, NOW_MS)];
        group.iter_mut().for_each(|recording| recording.config_version = version);
        for outcome in store.record(group).await {
            match outcome {
                Ok(job) => {
                    answered.lock().unwrap().insert(job.job_id.to_string(), job.last_seq.number());
                }
                Err(RecordError::Refused(error)) => {
                    assert!(matches!(*error, StoreError::Away(_)), "{error:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(RecordError::Unconfirmed(_)) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
    }
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("it should have come about by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_calls_say_so_and_afterwards_they_work() {
    let mut server = PostgresServer::start();
    let url = server.database();
    let store = open(&url).await.unwrap();
    let zone = zone_named(&store, "a.test").await;
    record_one(&store, urls(&zone, 1, NOW_MS)).await.unwrap();
    let version = store.config_version().await.unwrap();
    server.kill();
    let refused = |error: StoreError| assert!(matches!(error, StoreError::Away(_)), "{error:?}");
    refused(store.log_head().await.unwrap_err());
    refused(store.grant_basis().await.unwrap_err());
    refused(store.find_key("AKID").await.unwrap_err());
    let mut recording = urls(&zone, 2, NOW_MS);
    recording.config_version = version;
    let outcome = store.record(vec![recording]).await.remove(0);
    assert!(matches!(outcome, Err(RecordError::Refused(_))), "{outcome:?}");
    let unopened = open(&url).await.unwrap_err();
    assert!(matches!(unopened, OpenError::Database { source: StoreError::Away(_), .. }), "{unopened:?}");
    server.run();
    assert_eq!(store.log_head().await.unwrap().head, PurgeSeq::new(1), "nothing was half done");
    let job = record_now(&store, vec![urls(&zone, 2, NOW_MS)]).await.remove(0).unwrap();
    assert_eq!(job.first_seq, PurgeSeq::new(2));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_tell_each_other_what_they_heard_and_that_something_changed() {
    let url = SERVER.database();
    let (one, other) = (open(&url).await.unwrap(), open(&url).await.unwrap());
    let mut changes = other.changes();
    // Connected: whatever was before may have been missed.
    tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    let member = MemberId::new(7);
    let acknowledged = |seq| Some((Epoch::new(5), PurgeSeq::new(seq)));
    one.tell_heard(&[(member, None)], false).await.unwrap();
    let told = other.heard_elsewhere().await.unwrap();
    assert_eq!((told.len(), told[0].member, told[0].acknowledged), (1, member, None));
    one.tell_heard(&[(member, acknowledged(9))], true).await.unwrap();
    tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    let later = other.heard_elsewhere().await.unwrap();
    assert_eq!(later[0].acknowledged, acknowledged(9));
    assert_ne!(later[0].beat, told[0].beat);
    // An acknowledgement that comes late takes nothing back, and a mere sign of life neither; another log counts anew.
    one.tell_heard(&[(member, acknowledged(4))], false).await.unwrap();
    one.tell_heard(&[(member, None)], false).await.unwrap();
    assert_eq!(other.heard_elsewhere().await.unwrap()[0].acknowledged, acknowledged(9));
    let anew = Some((Epoch::new(6), PurgeSeq::new(1)));
    one.tell_heard(&[(member, anew)], false).await.unwrap();
    assert_eq!(other.heard_elsewhere().await.unwrap()[0].acknowledged, anew);
    // Of a change of its own an instance is not told, of another's it is.
    zone_named(&other, "own.test").await;
    zone_named(&one, "a.test").await;
    tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
    one.remove_member(&[member]).await.unwrap();
    assert_eq!(other.heard_elsewhere().await.unwrap(), []);
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_are_durable_whatever_the_defaults_of_the_role() {
    let url = SERVER.database();
    let lax = format!("{url}&options=-c%20synchronous_commit%3Doff%20-c%20statement_timeout%3D1");
    let store = open(&lax).await.unwrap();
    let zone = zone_named(&store, "a.test").await;
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    let watch = "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF current_setting('synchronous_commit') <> 'on' THEN RAISE 'not durable'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER watch BEFORE UPDATE ON log FOR EACH ROW EXECUTE FUNCTION watch()";
    sqlx::raw_sql(watch).execute(&pool).await.unwrap();
    // Nor is a statement cut short by the server, and so neither the wait of a commit.
    record_one(&store, urls(&zone, 5000, NOW_MS)).await.unwrap();
    pool.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_character_that_the_server_can_not_hold_is_replaced() {
    let store = open(&SERVER.database()).await.unwrap();
    let zone = zone_named(&store, "a.test").await;
    let change = store::ZoneChange { alias: Some("a\0b".into()), ..Default::default() };
    store.modify_zone(&zone, change, NOW_MS).await.unwrap();
    assert_eq!(store.zone(&zone).await.unwrap().unwrap().alias, "a\u{fffd}b");
    assert_eq!(store.find_key("AKID\0").await.unwrap(), None);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_says_what_is_wrong() {
    for bad in ["", "sqlite://x", "postgres://[", "everfresh-data"] {
        let refused = PostgresPlace::parse(bad).unwrap_err();
        assert!(refused.to_string().contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"), "{refused}");
    }
    let secret = PostgresPlace::parse("postgres://u:hidden@db.test:5433/name").unwrap();
    assert_eq!(
        (secret.to_string(), format!("{secret:?}")),
        ("name at db.test:5433".into(), "PostgresPlace(name at db.test:5433)".into())
    );

    let missing = open(&SERVER.url("missing")).await.unwrap_err();
    assert!(matches!(missing, OpenError::Database { .. }), "{missing:?}");
    assert!(missing.to_string().contains("missing at "), "{missing}");

    let url = SERVER.database();
    open(&url).await.unwrap().close().await;
    let other = StoreOptions { master_key: MasterKey::new(&[2; 32]).unwrap(), ..options(&url) };
    assert!(matches!(Store::open(other).await, Err(OpenError::WrongMasterKey(_))));

    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations SELECT 99, description, installed_on, success, checksum, 0 FROM _sqlx_migrations LIMIT 1")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    assert!(matches!(open(&url).await, Err(OpenError::NewerSchema { found: 99, .. })));
}
