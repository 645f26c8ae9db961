//! Large content on disk: its head and its slices over restarts and crashes, under purges, in little memory.

use crate::disk::{copy, count, each_object, holds, until_recovered, world_on};
use crate::slicing::{File, served};
use crate::world::{Answer, World, tag, until, url};
use edge::{DiskConfig, EdgeConfig, StoredFile, StoredSlices, list_directory};
use purge::Method;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const SLICE: usize = 16 * 1024;
const SLICES: usize = 21;

/// Not a multiple of a slice.
const LENGTH: usize = 20 * SLICE + 1234;

const SWEPT_OFTEN: Duration = Duration::from_millis(20);

/// Nothing above 64 KiB is stored as one.
fn slicing(config: &mut EdgeConfig) {
    config.object_bytes_max = 64 * 1024;
    config.slice_bytes = SLICE as u64;
}

fn tagged(version: u64, tags: &str) -> File {
    File::new(version, LENGTH).with(&format!("cache-control: max-age=60\r\ncache-tag: {tags}\r\n"))
}

fn range(first: usize, end: usize) -> String {
    format!("range: bytes={first}-{}\r\n", end - 1)
}

/// What is listed of the responses in a directory.
fn listed(directory: &Path) -> Vec<StoredFile> {
    list_directory(directory).unwrap().files
}

/// Waits until so many slices of the one response in `cache` are on disk.
async fn until_stored(cache: &Path, count: u64) {
    until("the slices on disk", || {
        let files = listed(cache);
        let slices = files.first().and_then(|file| file.slices);
        files.len() == 1 && slices.is_some_and(|slices| slices.count == count && slices.of.is_some())
    })
    .await;
}

/// Asks while the origin answers from `file`. Returns also how often it was asked.
async fn ask(world: &mut World, file: &File, fields: &str) -> (Answer, usize) {
    let pending = world.get_with("/a", fields);
    let (answer, asked) = served(&mut world.origin, file, pending).await;
    (answer, asked.len())
}

/// An edge whose disk has the whole of `file`.
async fn warm(directory: &TempDir, file: &File, change: impl FnOnce(&mut EdgeConfig)) -> World {
    let mut world = world_on(directory, |config| {
        slicing(config);
        change(config);
    })
    .await;
    let (answer, asked) = ask(&mut world, file, "").await;
    assert!(answer.is_whole && answer.body == *file.content && asked == 1);
    until_stored(&directory.path().join("cache"), SLICES as u64).await;
    world
}

#[tokio::test]
async fn large_content_outlives_a_restart_whole_and_in_ranges() {
    let directory = TempDir::new().unwrap();
    let file = tagged(1, "t");
    let world = warm(&directory, &file, |_| {}).await;
    let listing = listed(&directory.path().join("cache"));
    let StoredFile { url, tags, content_bytes, slices, .. } = &listing[0];
    assert_eq!((&**url, &**tags, *content_bytes), ("www.a.test/a", "t", LENGTH as u64));
    let all = StoredSlices { count: SLICES as u64, of: Some(SLICES as u64), bytes: LENGTH as u64 };
    assert_eq!(*slices, Some(all));
    let mut world = world.restarted(|_, _| {}).await;
    until_recovered(&world).await;
    let asked = world.origin.asked();
    let cases = [
        (range(100_000, 100_010), 206, 100_000..100_010),
        (range(0, LENGTH), 206, 0..LENGTH),
        ("range: bytes=-5\r\n".to_owned(), 206, LENGTH - 5..LENGTH),
        (String::new(), 200, 0..LENGTH),
        ("if-none-match: \"1\"\r\n".to_owned(), 304, 0..0),
    ];
    for (fields, status, bytes) in cases {
        let answer = world.get_with("/a", &fields).await;
        assert_eq!((answer.status, answer.field("eo-cache-status")), (status, "HIT".into()), "{fields}");
        assert!(answer.is_whole && answer.body == file.content[bytes], "{fields}");
    }
    assert_eq!(world.origin.asked(), asked);
    // By a purge that only the head's tag tells of, it goes from both.
    world.purge(tag("t"), Method::Delete).await;
    let (answer, asked) = ask(&mut world, &tagged(2, "t"), "").await;
    assert!(answer.is_whole && answer.body == *File::new(2, LENGTH).content && asked == 1);
}

#[tokio::test]
async fn a_crash_costs_large_content_nothing_that_was_written() {
    let directory = TempDir::new().unwrap();
    let file = tagged(1, "t");
    let mut world = warm(&directory, &file, |_| {}).await;
    // A crash in the midst of another download: what was written is a copy of the directory at any time.
    let other = File { etag: "\"other\"".into(), ..File::new(7, LENGTH) };
    let crashed = directory.path().join("crashed");
    let pending = world.get("/b");
    let exchange = world.origin.next().await;
    let again = other.clone();
    let answering = tokio::spawn(async move { other.answer(exchange).await });
    until("some of the other", || count(&world, |counts| &counts.written) > SLICES as u64 + 5).await;
    copy(&directory.path().join("cache"), &crashed);
    answering.await.unwrap();
    assert!(pending.await.is_whole);
    let mut world = world
        .restarted(|_, config| {
            config.disk = Some(DiskConfig { directory: crashed, bytes: 64 << 20 });
        })
        .await;
    until_recovered(&world).await;
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.is_whole && answer.body == *file.content && asked == 0);
    let pending = world.get("/b");
    let (answer, _) = served(&mut world.origin, &again, pending).await;
    assert!(answer.is_whole && answer.body == *again.content);
}

#[tokio::test]
async fn what_is_purged_while_the_edge_is_down_takes_all_slices_or_has_them_validated() {
    for (scope, method) in
        [(url("/a"), Method::Delete), (tag("t"), Method::Delete), (tag("t"), Method::Invalidate)]
    {
        let directory = TempDir::new().unwrap();
        let file = tagged(1, "t");
        let world = warm(&directory, &file, |_| {}).await;
        let name = format!("{scope:?} {method:?}");
        let mut world = world.restarted(|control, _| _ = control.append(scope, method)).await;
        until_recovered(&world).await;
        // The validator stays the same; after a delete the bytes may differ.
        let now = match method {
            Method::Delete => File { etag: file.etag.clone(), ..tagged(2, "t") },
            Method::Invalidate => file.clone(),
        };
        let pending = world.get_with("/a", &range(SLICE, 3 * SLICE));
        let exchange = world.origin.next().await;
        assert_eq!(exchange.has("if-none-match"), method == Method::Invalidate, "{name}");
        assert!(!exchange.has("if-range"), "{name}");
        now.answer(exchange).await;
        assert!(pending.await.body == now.content[SLICE..3 * SLICE], "{name}");
        let (answer, asked) = ask(&mut world, &now, "").await;
        assert!(answer.is_whole && answer.body == *now.content, "{name}");
        assert_eq!(asked == 0, method == Method::Invalidate, "{name}: a 304 raises all slices");
    }
}

/// An `invalidate` that a sweep has noted, a 304 that raised the head, and a restart: the slices, which were not written
/// anew, count by the head's born.
#[tokio::test]
async fn a_304_raises_slices_for_good() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let file = tagged(1, "t");
    let mut world = warm(&directory, &file, |config| config.sweep_interval = SWEPT_OFTEN).await;
    let seq = world.purge(tag("t"), Method::Invalidate).await;
    until("a sweep that is durable", || list_directory(&cache).unwrap().swept_to.number() >= seq).await;
    assert!(listed(&cache)[0].invalidated.is_some());
    let (answer, asked) = ask(&mut world, &file, &range(0, 5)).await;
    assert_eq!((answer.field("eo-cache-status"), asked), ("RefreshHit".into(), 1));
    until("the head as the 304 left it", || listed(&cache)[0].invalidated.is_none()).await;
    let mut world = world.restarted(|_, config| config.sweep_interval = Duration::from_secs(3600)).await;
    until_recovered(&world).await;
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.is_whole && answer.body == *file.content && asked == 0);
    world.purge(url("/a"), Method::Invalidate).await;
    let (answer, asked) = ask(&mut world, &File { etag: "\"2\"".into(), ..tagged(2, "t") }, "").await;
    assert!(answer.body == *File::new(2, LENGTH).content && asked == 1);
}

#[tokio::test]
async fn a_sweep_takes_all_bytes_of_a_purged_large_file_off_the_disk() {
    // By what all of it matches, and by a tag that only a later part brought, so that no slice of before has it.
    for by_tag in [false, true] {
        let directory = TempDir::new().unwrap();
        let cache = directory.path().join("cache");
        let mut world = world_on(&directory, |config| {
            slicing(config);
            config.sweep_interval = SWEPT_OFTEN;
        })
        .await;
        let plain = File::new(1, LENGTH);
        ask(&mut world, &plain, &range(0, 5 * SLICE)).await;
        until_stored(&cache, 5).await;
        let (answer, _) = ask(&mut world, &tagged(1, "late"), &range(0, 6 * SLICE)).await;
        assert!(answer.body == plain.content[..6 * SLICE]);
        until_stored(&cache, 6).await;
        assert_eq!(listed(&cache)[0].tags, "late", "the head's file knows it");
        let bytes = &plain.content[2 * SLICE + 100..2 * SLICE + 200];
        assert!(holds(&cache, bytes));
        world.purge(if by_tag { tag("late") } else { url("/a") }, Method::Delete).await;
        until("all of it to go", || listed(&cache).is_empty()).await;
        assert!(!holds(&cache, bytes), "by tag: {by_tag}");
        assert_eq!(world.edge.disk().unwrap().0.files, 0);
    }
}

/// The head's file that does not know a tag goes before anyone has a byte of the part that brought it: no crash brings it back.
#[tokio::test]
async fn a_tag_that_a_206_brings_is_the_heads_on_disk_too_before_its_bytes_count() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let mut world = world_on(&directory, slicing).await;
    let plain = File::new(1, LENGTH);
    ask(&mut world, &plain, &range(0, 5 * SLICE)).await;
    until_stored(&cache, 5).await;
    let crashed = directory.path().join("crashed");
    let pending = world.get_with("/a", &range(5 * SLICE, 8 * SLICE));
    let mut exchange = world.origin.next().await;
    let part = format!("content-range: bytes {}-{}/{LENGTH}\r\n", 5 * SLICE, 8 * SLICE - 1);
    let fields = format!("etag: \"1\"\r\ncache-tag: late\r\ncontent-length: {}\r\n{part}", 3 * SLICE);
    exchange.head_of("206 Partial Content", &fields).await;
    // As soon as the client has a byte of it.
    exchange.write(&plain.content[5 * SLICE..6 * SLICE]).await;
    let mut reader = pending;
    let rest = plain.content[6 * SLICE..8 * SLICE].to_vec();
    until("the first slice", || world.edge.stored().0 >= 7).await;
    copy(&cache, &crashed);
    exchange.write(&rest).await;
    assert!((&mut reader).await.body == plain.content[5 * SLICE..8 * SLICE]);
    let heads = |files: Vec<StoredFile>| -> Vec<String> {
        let heads = files.into_iter().filter(|file| file.slices.is_some_and(|slices| slices.of.is_some()));
        heads.map(|file| file.tags).collect()
    };
    let found = heads(listed(&crashed));
    assert!(found.is_empty() || found == ["late"], "{found:?}");
    // After the crash it is purged by that tag.
    let mut world = world
        .restarted(|control, config| {
            control.append(tag("late"), Method::Delete);
            config.disk = Some(DiskConfig { directory: crashed, bytes: 64 << 20 });
        })
        .await;
    until_recovered(&world).await;
    let new = File { etag: "\"1\"".into(), ..File::new(2, LENGTH) };
    let (answer, _) = ask(&mut world, &new, "").await;
    assert!(answer.is_whole && answer.body == *new.content);
}

#[tokio::test]
async fn of_damaged_files_only_what_they_held_is_fetched_anew() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let file = tagged(1, "t");
    let world = warm(&directory, &file, |_| {}).await;
    let mut damaged = 0;
    let mut world = world
        .restarted(|_, _| {
            each_object(&cache, &mut |path| {
                let mut bytes = std::fs::read(path).unwrap();
                if bytes.len() < SLICE || damaged == 4 {
                    return;
                }
                match damaged {
                    // Its content, its front, its end, all of it.
                    0 => *bytes.last_mut().unwrap() ^= 1,
                    1 => bytes[40] ^= 1,
                    2 => bytes.truncate(bytes.len() - 1),
                    _ => bytes.clear(),
                }
                std::fs::write(path, bytes).unwrap();
                damaged += 1;
            });
        })
        .await;
    assert_eq!(damaged, 4);
    until_recovered(&world).await;
    assert_eq!(world.edge.disk().unwrap().0.files, SLICES + 1 - 3, "only what reading the content shows");
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.is_whole && answer.body == *file.content);
    assert!((1..=4).contains(&asked), "{asked}");
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.body == *file.content && asked == 0);
}

#[tokio::test]
async fn files_of_another_layout_are_dropped() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let file = tagged(1, "t");
    let world = warm(&directory, &file, |_| {}).await;
    let mut world = world
        .restarted(|_, _| {
            each_object(&cache, &mut |path| {
                let mut bytes = std::fs::read(path).unwrap();
                assert_eq!(bytes[3], 2);
                bytes[3] = 1;
                std::fs::write(path, bytes).unwrap();
            });
        })
        .await;
    until_recovered(&world).await;
    assert_eq!((world.edge.disk().unwrap().0.files, listed(&cache).len()), (0, 0));
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.body == *file.content && asked == 1);
}

#[tokio::test]
async fn memory_is_a_window_before_large_content_on_disk() {
    const LONG: usize = 24 << 20;
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |config| {
        slicing(config);
        config.memory_bytes = 1 << 20;
    })
    .await;
    let file = File::new(1, LONG);
    let (answer, _) = ask(&mut world, &file, "").await;
    assert!(answer.is_whole && answer.body == *file.content);
    assert!(world.edge.stored().1 <= 1 << 20);
    until_stored(&directory.path().join("cache"), (LONG / SLICE) as u64).await;
    for fields in [String::new(), range(12_345_678, 13_000_000)] {
        let (answer, asked) = ask(&mut world, &file, &fields).await;
        assert!(answer.is_whole && asked == 0, "{fields}");
        assert!(
            answer.body == file.content[if fields.is_empty() { 0..LONG } else { 12_345_678..13_000_000 }]
        );
        assert!(world.edge.stored().1 <= 1 << 20, "{:?}", world.edge.stored());
    }
}

/// Once there is no room, what is asked for once takes nobody's place: neither a whole crawl of large content.
#[tokio::test]
async fn large_content_that_is_asked_for_once_flushes_nothing() {
    let directory = TempDir::new().unwrap();
    let mut world = world_on(&directory, |config| {
        slicing(config);
        config.memory_bytes = 1 << 20;
        config.disk.as_mut().unwrap().bytes = 2 << 20;
    })
    .await;
    let body = "x".repeat(60 << 10);
    for n in 0..30 {
        world.fetch(&format!("/{n}"), "cache-control: max-age=60\r\n", &body).await;
    }
    until("them on disk", || count(&world, |counts| &counts.written) >= 28).await;
    let file = File::new(1, 8 << 20);
    for crawls in 1..=2 {
        let before = count(&world, |counts| &counts.written);
        let (answer, _) = ask(&mut world, &file, "").await;
        assert!(answer.is_whole && answer.body == *file.content);
        let written = count(&world, |counts| &counts.written) - before;
        let evicted = count(&world, |counts| &counts.evicted);
        assert!(world.edge.disk().unwrap().0.bytes <= 2 << 20);
        if crawls == 1 {
            assert!(written < 20 && evicted <= 4, "{written} written, {evicted} evicted");
        } else {
            until("what is asked for twice", || count(&world, |counts| &counts.written) > before + 20).await;
        }
    }
}

/// After a restart every edge is fenced at first: what ranges bring then does not take the place of what is stored.
#[tokio::test]
async fn a_range_while_fenced_leaves_the_head_with_its_slices() {
    let directory = TempDir::new().unwrap();
    let file = tagged(1, "t");
    let world = warm(&directory, &file, |_| {}).await;
    let mut world = world.restarted(|control, _| control.refuse_grants()).await;
    until_recovered(&world).await;
    let (answer, asked) = ask(&mut world, &file, &range(100, 200)).await;
    assert!(answer.body == file.content[100..200] && asked == 1);
    world.control.grant(Duration::from_secs(60));
    until("a lease", || world.edge.is_ready()).await;
    let (answer, asked) = ask(&mut world, &file, "").await;
    assert!(answer.is_whole && answer.body == *file.content);
    assert_eq!(asked, 0);
}

/// The origin has other content: the head goes from the disk, too, and what was of it is given back.
#[tokio::test]
async fn slices_of_content_that_changed_are_never_served_again() {
    let directory = TempDir::new().unwrap();
    let cache = directory.path().join("cache");
    let mut world = world_on(&directory, slicing).await;
    let (old, new) = (File::new(1, LENGTH), File::new(2, LENGTH));
    ask(&mut world, &old, &range(0, 5 * SLICE)).await;
    until_stored(&cache, 5).await;
    let mut world = world.restarted(|_, _| {}).await;
    until_recovered(&world).await;
    let (answer, _) = ask(&mut world, &new, &range(6 * SLICE, 7 * SLICE)).await;
    assert!(answer.body == new.content[6 * SLICE..7 * SLICE]);
    let (answer, _) = ask(&mut world, &new, "").await;
    assert!(answer.is_whole && answer.body == *new.content);
    until("the new one on disk", || {
        listed(&cache).iter().any(|file| file.slices.is_some_and(|slices| slices.count == SLICES as u64))
    })
    .await;
    let mut world = world.restarted(|_, config| config.sweep_interval = SWEPT_OFTEN).await;
    until_recovered(&world).await;
    until("the old slices to go", || listed(&cache).len() == 1).await;
    let (answer, asked) = ask(&mut world, &new, "").await;
    assert!(answer.is_whole && answer.body == *new.content && asked == 0);
}
