//! The queue in front of the store: its bounds, and that a group is answered job by job.

#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

#[expect(dead_code, reason = "these tests need a store and a network, and no listener")]
mod world;

use control::recorder::{QUEUED_ENTRIES_MAX, QUEUED_JOBS_MAX, Recorder, RecorderError};
use futures_util::FutureExt;
use purge::{Entry, Method, PlannedTask, PurgeType, Scope};
use store::{Recording, Store};
use tokio::sync::watch;
use zone::{HostName, ZoneId};

async fn zone(store: &Store) -> (ZoneId, u64) {
    let name = HostName::parse("a.test").unwrap();
    let zone = store::NewZone { name, alias: String::new(), area: store::Area::Global, tags: Vec::new() };
    let id = store.create_zone(zone, 0).await.unwrap();
    (id, store.config_version().await.unwrap())
}

fn job((zone, config_version): &(ZoneId, u64), entries: usize) -> Recording {
    let entry = Entry { zone: zone.clone(), scope: Scope::All, method: Method::Delete };
    let task = PlannedTask {
        zone: zone.clone(),
        target: "a.test".into(),
        hosts: Vec::new(),
        entries: vec![entry; entries],
    };
    Recording {
        kind: PurgeType::All,
        method: Method::Delete,
        tasks: vec![task],
        now_ms: 0,
        config_version: *config_version,
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_empties_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = world::open_store(dir.path()).await;
    let zone = zone(&store).await;
    let (_stop, stopping) = watch::channel(false);
    let network = world::network(&store, stopping);

    let (recorder, task) = Recorder::new(store.clone(), network.clone());
    // Nobody records yet: each call is queued and waits.
    for _ in 0..QUEUED_ENTRIES_MAX / purge::ENTRIES_PER_JOB_MAX {
        assert!(recorder.record(job(&zone, purge::ENTRIES_PER_JOB_MAX)).now_or_never().is_none());
    }
    let refused = recorder.record(job(&zone, 1)).now_or_never();
    assert!(matches!(refused, Some(Err(RecorderError::Busy))));
    drop(task);

    let (recorder, task) = Recorder::new(store.clone(), network);
    for _ in 0..QUEUED_JOBS_MAX {
        assert!(recorder.record(job(&zone, 1)).now_or_never().is_none());
    }
    let refused = recorder.record(job(&zone, 1)).now_or_never();
    assert!(matches!(refused, Some(Err(RecorderError::Busy))));
    // Whoever has gone away is recorded all the same, up to the zone's 1000 a day; then there is room again.
    let running = tokio::spawn(task.run());
    loop {
        match recorder.record(job(&zone, 1)).await {
            Err(RecorderError::Busy) => tokio::task::yield_now().await,
            Err(RecorderError::Record(store::RecordError::QuotaDaily { left: 0, .. })) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.log_head().await.unwrap().head.number(), 1000);
    drop(recorder);
    running.await.unwrap();
}

#[tokio::test]
async fn jobs_are_told_when_recording_stops() {
    let dir = tempfile::tempdir().unwrap();
    let store = world::open_store(dir.path()).await;
    let zone = zone(&store).await;
    let (_stop, stopping) = watch::channel(false);
    let (recorder, task) = Recorder::new(store.clone(), world::network(&store, stopping));
    drop(task);
    assert!(matches!(recorder.record(job(&zone, 1)).await, Err(RecorderError::Stopped)));
}
