//! What an edge keeps on disk: over restarts and crashes, under purges, when the disk fails.

use crate::world::{World, tag, until, url};
use edge::{Counter, DiskConfig, DiskCounts, EdgeConfig, list_directory};
use purge::Method;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

const MINUTE: &str = "cache-control: max-age=60\r\n";
const VALIDATED: &str = "cache-control: max-age=60\r\netag: \"1\"\r\ncache-tag: news\r\n";
const SWEPT_OFTEN: Duration = Duration::from_millis(20);

/// An edge with a disk tier in a directory of its own.
pub(crate) async fn world_on(directory: &TempDir, change: impl FnOnce(&mut EdgeConfig)) -> World {
    let disk = DiskConfig { directory: directory.path().join("cache"), bytes: 64 << 20 };
    World::start_with(|config| {
        config.disk = Some(disk);
        change(config);
    })
    .await
}

pub(crate) fn count(world: &World, of: impl Fn(&DiskCounts) -> &Counter) -> u64 {
    world.edge.disk().map(|(_, counts)| of(counts).load(Ordering::Relaxed)).unwrap()
}

pub(crate) async fn until_written(world: &World, objects: u64) {
    until("objects on disk", || count(world, |counts| &counts.written) >= objects).await;
}

pub(crate) async fn until_recovered(world: &World) {
    until("the files of the last run", || world.edge.disk().unwrap().0.is_recovered).await;
}

/// Whether any file below `directory` holds these bytes.
pub(crate) fn holds(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).into_iter().flatten().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        // It may go while it is being looked for.
        std::fs::read(&path).is_ok_and(|found| found.windows(bytes.len()).any(|window| window == bytes))
    })
}

/// Calls `each` with every file of a stored object.
pub(crate) fn each_object(directory: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_object(&path, each);
        } else if path
            .parent()
            .and_then(Path::parent)
            .is_some_and(|above| above.file_name().unwrap().to_string_lossy().starts_with("objects-"))
        {
            each(&path);
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else if from.exists() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_restarted_edge_serves_what_it_had_once_it_has_a_lease() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    let large = "large ".repeat(50_000);
    world.fetch("/a", VALIDATED, "one").await;
    world.fetch("/large", MINUTE, &large).await;
    until_written(&world, 2).await;

    let mut world = world.restarted(|control, _| control.refuse_grants()).await;
    until_recovered(&world).await;
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"), "before its lease nothing of its cache counts");
    asked.reply("200 OK", "cache-control: no-store\r\n", b"fenced").await;
    assert_eq!(pending.await.text(), "fenced");

    world.control.grant(Duration::from_secs(60));
    until("a lease", || world.edge.is_ready()).await;
    let answer = world.hit("/a").await;
    assert_eq!((answer.text(), answer.field("etag").as_str()), ("one", "\"1\""));
    assert_eq!(world.hit("/large").await.text(), large);
    let part = world.get_with("/large", "range: bytes=6-10\r\n").await;
    assert_eq!((part.status, part.text()), (206, "large"));
    assert_eq!(count(&world, |counts| &counts.hits), 2, "then they are in memory");
}

#[tokio::test]
async fn a_crash_costs_nothing_that_was_written() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    world.purge(url("/none"), Method::Delete).await;
    for (path, body) in [("/a", "one"), ("/b", "two")] {
        world.fetch(path, VALIDATED, body).await;
    }
    until_written(&world, 2).await;
    let crashed = directory.path().join("crashed");
    copy(&directory.path().join("cache"), &crashed);
    let mut world = world
        .restarted(|control, config| {
            control.append(url("/a"), Method::Delete);
            config.disk = Some(DiskConfig { directory: crashed, bytes: 64 << 20 });
        })
        .await;
    until_recovered(&world).await;
    assert_eq!(world.hit("/b").await.text(), "two");
    let pending = world.get("/a");
    let asked = world.origin.next().await;
    assert!(!asked.has("if-none-match"));
    asked.reply("200 OK", VALIDATED, b"new").await;
    let answer = pending.await;
    assert_eq!(answer.text(), "new");
    assert!(answer.field("cache-status").contains("purged-by=2"), "{answer:?}");
}

#[tokio::test]
async fn what_is_purged_while_the_edge_is_down_is_purged() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    for path in ["/deleted", "/invalidated", "/kept"] {
        world.fetch(path, VALIDATED, "old").await;
    }
    until_written(&world, 3).await;
    let mut world = world
        .restarted(|control, _| {
            control.append(url("/deleted"), Method::Delete);
            control.append(url("/invalidated"), Method::Invalidate);
        })
        .await;
    until_recovered(&world).await;
    for (path, condition) in [("/deleted", ""), ("/invalidated", "\"1\"")] {
        let pending = world.get(path);
        let asked = world.origin.next().await;
        assert_eq!(asked.has("if-none-match"), !condition.is_empty(), "{path}");
        asked.reply("200 OK", VALIDATED, b"new").await;
        assert_eq!(pending.await.text(), "new", "{path}");
    }
    assert_eq!(world.hit("/kept").await.text(), "old");
}

#[tokio::test]
async fn what_was_purged_before_the_edge_went_down_stays_purged() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    for path in ["/deleted", "/invalidated"] {
        world.fetch(path, VALIDATED, "old").await;
    }
    until_written(&world, 2).await;
    world.purge(url("/deleted"), Method::Delete).await;
    world.purge(tag("news"), Method::Invalidate).await;
    let mut world = world.restarted(|control, _| assert_eq!(control.head(), 2)).await;
    until_recovered(&world).await;
    assert!(world.control.wants().is_empty(), "it goes on where it was");
    for (path, conditional) in [("/deleted", false), ("/invalidated", true)] {
        let pending = world.get(path);
        let asked = world.origin.next().await;
        assert_eq!(asked.has("if-none-match"), conditional, "{path}");
        asked.reply("200 OK", VALIDATED, b"new").await;
        assert_eq!(pending.await.text(), "new", "{path}");
    }
}

#[tokio::test]
async fn an_edge_that_can_not_learn_what_it_missed_trusts_nothing_it_had() {
    for changes_epoch in [false, true] {
        let directory = TempDir::new().unwrap();
        let mut world = world_on(&directory, |_| {}).await;
        world.fetch("/a", VALIDATED, "old").await;
        until_written(&world, 1).await;
        let mut world = world
            .restarted(|control, _| {
                control.append(url("/other"), Method::Delete);
                if changes_epoch { control.change_epoch(2, 0) } else { control.truncate() }
            })
            .await;
        until_recovered(&world).await;
        let pending = world.get("/a");
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match"));
        asked.reply("200 OK", VALIDATED, b"new").await;
        assert_eq!(pending.await.text(), "new", "epoch changed: {changes_epoch}");
    }
}

#[tokio::test]
async fn a_sweep_takes_purged_bytes_off_the_disk_and_what_it_kept_outlives_a_restart() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let mut world = world_on(&directory, |config| config.sweep_interval = SWEPT_OFTEN).await;
    for (path, body) in
        [("/deleted", "SECRET-BYTES"), ("/invalidated", "OLDER-BYTES"), ("/kept", "KEPT-BYTES")]
    {
        world.fetch(path, VALIDATED, body).await;
    }
    until_written(&world, 3).await;
    assert!(holds(&cache, b"SECRET-BYTES"));
    world.purge(url("/deleted"), Method::Delete).await;
    world.purge(url("/invalidated"), Method::Invalidate).await;
    until("the marks to go", || world.edge.marks().0 == 0).await;
    assert!(!holds(&cache, b"SECRET-BYTES") && holds(&cache, b"KEPT-BYTES"));
    until("the state of after the sweep", || list_directory(&cache).unwrap().swept_to.number() >= 2).await;
    let listing = list_directory(&cache).unwrap();
    let mut found: Vec<_> =
        listing.files.iter().map(|file| (&*file.url, file.invalidated.is_some())).collect();
    found.sort_unstable();
    assert_eq!(found, [("www.a.test/invalidated", true), ("www.a.test/kept", false)]);
    assert_eq!((listing.broken, listing.marks), (0, 0));

    // The marks are in no state any more: only the headers tell.
    let mut world = world.restarted(|_, config| config.sweep_interval = Duration::from_secs(3600)).await;
    until_recovered(&world).await;
    assert_eq!(world.hit("/kept").await.text(), "KEPT-BYTES");
    let pending = world.get("/invalidated");
    let asked = world.origin.next().await;
    assert_eq!(asked.field("if-none-match"), "\"1\"");
    asked.not_modified("etag: \"1\"\r\n").await;
    assert_eq!(pending.await.text(), "OLDER-BYTES");
}

#[tokio::test]
async fn memory_is_in_front_of_the_disk() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |config| {
        config.memory_bytes = 1 << 20;
        config.object_bytes_max = 256 << 10;
    })
    .await;
    let body = |n: usize| format!("{n} ").repeat(50_000);
    for n in 0..20 {
        world.fetch(&format!("/{n}"), MINUTE, &body(n)).await;
    }
    until_written(&world, 20).await;
    assert!(world.edge.stored().1 <= 1 << 20);
    for n in 0..20 {
        assert_eq!(world.hit(&format!("/{n}")).await.text(), body(n));
    }
    assert!(count(&world, |counts| &counts.hits) >= 10);
    world.purge(url("/3"), Method::Delete).await;
    world.fetch("/3", MINUTE, "new").await;
    assert_eq!(world.hit("/3").await.text(), "new");
}

#[tokio::test]
async fn the_disk_keeps_to_its_budget_and_what_is_asked_for_twice() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |config| {
        config.memory_bytes = 1 << 20;
        config.object_bytes_max = 200 << 10;
        config.disk.as_mut().unwrap().bytes = 2 << 20;
    })
    .await;
    let body = "x".repeat(100 << 10);
    for n in 0..60 {
        world.fetch(&format!("/{n}"), MINUTE, &body).await;
        assert!(world.edge.disk().unwrap().0.bytes <= 2 << 20);
    }
    let written = count(&world, |counts| &counts.written);
    assert!(written < 40, "{written}: once it is full, what came once is not written");
    world.hit("/59").await;
    until_written(&world, written + 1).await;
    let mut bytes = 0;
    each_object(directory.path(), &mut |path| bytes += path.metadata().map_or(0, |meta| meta.len()));
    assert!(bytes <= 2 << 20, "{bytes}");
}

#[tokio::test]
async fn variants_outlive_a_restart() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    let fields = "cache-control: max-age=60\r\nvary: accept-language\r\n";
    for language in ["de", "en"] {
        let pending = world.get_with("/v", &format!("accept-language: {language}\r\n"));
        world.origin.next().await.reply("200 OK", fields, language.as_bytes()).await;
        pending.await;
    }
    // The rule is one more.
    until_written(&world, 3).await;
    let world = world.restarted(|_, _| {}).await;
    until_recovered(&world).await;
    let asked = world.origin.asked();
    for language in ["de", "en"] {
        let answer = world.get_with("/v", &format!("accept-language: {language}\r\n")).await;
        assert_eq!(answer.text(), language);
    }
    assert_eq!(world.origin.asked(), asked);
}

#[tokio::test]
async fn a_tag_that_a_304_brings_takes_the_file_that_does_not_know_it() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    let stale = "cache-control: max-age=0\r\netag: \"1\"\r\ncache-tag: news\r\n";
    world.fetch("/a", stale, "TAGGED-BYTES").await;
    until_written(&world, 1).await;
    let pending = world.get("/a");
    world.origin.next().await.not_modified("etag: \"1\"\r\ncache-tag: sports\r\n").await;
    assert_eq!(pending.await.text(), "TAGGED-BYTES");
    assert!(!holds(directory.path(), b"TAGGED-BYTES"), "gone before anyone has its answer");
    // Without a new tag it stays.
    world.fetch("/a", stale, "TAGGED-BYTES").await;
    until_written(&world, 2).await;
    let pending = world.get("/a");
    world.origin.next().await.not_modified("etag: \"1\"\r\ncache-tag: news\r\n").await;
    assert_eq!(pending.await.text(), "TAGGED-BYTES");
    assert!(holds(directory.path(), b"TAGGED-BYTES"));
}

#[tokio::test]
async fn damaged_files_are_dropped_and_never_served() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |_| {}).await;
    for n in 0..8 {
        world.fetch(&format!("/{n}"), VALIDATED, &format!("body {n}")).await;
    }
    until_written(&world, 8).await;
    let cache = directory.path().join("cache");
    let mut world = world
        .restarted(|_, _| {
            let mut n = 0;
            each_object(&cache, &mut |path| {
                let mut bytes = std::fs::read(path).unwrap();
                match n % 4 {
                    // Its content, its front, its end, all of it.
                    0 => *bytes.last_mut().unwrap() ^= 1,
                    1 => bytes[40] ^= 1,
                    2 => bytes.truncate(bytes.len() - 1),
                    _ => bytes.clear(),
                }
                std::fs::write(path, bytes).unwrap();
                n += 1;
            });
            assert_eq!(n, 8);
        })
        .await;
    until_recovered(&world).await;
    assert_eq!(world.edge.disk().unwrap().0.files, 2, "only what reading the content shows");
    for n in 0..8 {
        let pending = world.get(&format!("/{n}"));
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match"), "{n}");
        asked.reply("200 OK", VALIDATED, b"new").await;
        assert_eq!(pending.await.text(), "new");
    }
    assert_eq!(count(&world, |counts| &counts.read_errors), 2);
}

#[tokio::test]
async fn a_damaged_state_drops_the_content_and_a_failing_disk_leaves_memory() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let mut world = world_on(&directory, |_| {}).await;
    world.fetch("/a", VALIDATED, "OLD-BYTES").await;
    until_written(&world, 1).await;
    let state = cache.join("state");
    let mut world = world
        .restarted(|_, _| {
            let mut bytes = std::fs::read(&state).unwrap();
            bytes[20] ^= 1;
            std::fs::write(&state, bytes).unwrap();
        })
        .await;
    until_recovered(&world).await;
    assert!(!holds(&cache, b"OLD-BYTES"));
    world.fetch("/a", VALIDATED, "new").await;
    until_written(&world, 1).await;

    // Nowhere to write to any more.
    for entry in std::fs::read_dir(&cache).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    world.fetch("/b", VALIDATED, "two").await;
    until("a failed write", || count(&world, |counts| &counts.write_errors) == 1).await;
    assert!(world.edge.disk().unwrap().0.is_failing);
    assert_eq!(world.hit("/a").await.text(), "new");
    assert_eq!(world.hit("/b").await.text(), "two");
    world.fetch("/c", VALIDATED, "three").await;
    assert_eq!(count(&world, |counts| &counts.write_errors), 1, "it does not try again at once");
}

#[tokio::test]
async fn two_edges_do_not_share_a_directory() {
    let directory = TempDir::new().unwrap();
    let world = world_on(&directory, |_| {}).await;
    let mut config = EdgeConfig::new("f".into(), ([127, 0, 0, 1], 0).into());
    config.disk = Some(DiskConfig { directory: directory.path().join("cache"), bytes: 64 << 20 });
    let feed = feed::InProcess::new(world.accept.clone());
    let refused = edge::start(config, feed, edge::Clocks::with_wall(|| std::time::SystemTime::UNIX_EPOCH));
    assert!(refused.err().unwrap().to_string().contains("is used by another edge"));
}
