//! Large content, stored in slices: whole answers, ranges, and what an origin does to them.

use crate::world::{Answer, Client, Exchange, HOST, Origin, Pending, World, host, prefix, tag, until, url};
use purge::{Method, Scope};
use std::sync::Arc;
use std::time::Duration;

const SLICE: usize = 16 * 1024;

/// Not a multiple of a slice.
const LENGTH: usize = 40 * SLICE + 1234;

/// An edge that stores nothing above 64 KiB as one.
async fn world() -> World {
    World::start_with(slicing).await
}

fn slicing(config: &mut edge::EdgeConfig) {
    config.object_bytes_max = 64 * 1024;
    config.slice_bytes = SLICE as u64;
}

/// What an origin has under one URL.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) etag: String,
    pub(crate) content: Arc<Vec<u8>>,
    pub(crate) fields: String,
    pub(crate) has_ranges: bool,
}

impl File {
    /// Content that differs from that of any other version nearly everywhere.
    pub(crate) fn new(version: u64, length: usize) -> Self {
        let mut mixed = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let content = (0..length)
            .map(|_| {
                mixed ^= mixed << 13;
                mixed ^= mixed >> 7;
                mixed ^= mixed << 17;
                mixed.to_le_bytes()[3]
            })
            .collect();
        let fields = "cache-control: max-age=60\r\n".to_owned();
        Self { etag: format!("\"{version}\""), content: Arc::new(content), fields, has_ranges: true }
    }

    pub(crate) fn with(self, fields: &str) -> Self {
        Self { fields: fields.to_owned(), ..self }
    }

    fn without_ranges(self) -> Self {
        Self { has_ranges: false, ..self }
    }

    /// The bytes that a request's range names, if it is to get a part.
    fn part(&self, asked: &Exchange) -> Option<(usize, usize)> {
        let applies = self.has_ranges && (!asked.has("if-range") || asked.field("if-range") == self.etag);
        let (first, last) = asked.field("range").strip_prefix("bytes=")?.split_once('-')?;
        let first = first.parse().unwrap();
        let last = last.parse().unwrap_or(usize::MAX).min(self.content.len() - 1);
        applies.then_some((first, last + 1))
    }

    /// Answers as an origin that does it right.
    pub(crate) async fn answer(&self, mut asked: Exchange) {
        let head = format!("{}etag: {}\r\n", self.fields, self.etag);
        if asked.field("if-none-match") == self.etag {
            return asked.not_modified(&head).await;
        }
        let length = self.content.len();
        let (status, head, (first, end)) = match self.part(&asked) {
            Some((first, _)) if first >= length => {
                ("416 Range Not Satisfiable", format!("content-range: bytes */{length}\r\n"), (0, 0))
            }
            Some((first, end)) => {
                let range = format!("content-range: bytes {first}-{}/{length}\r\n", end - 1);
                ("206 Partial Content", head + &range, (first, end))
            }
            None => ("200 OK", head, (0, length)),
        };
        asked.head_of(status, &format!("{head}content-length: {}\r\n", end - first)).await;
        // The edge may have had enough of it.
        if asked.try_write(&self.content[first..end]).await {
            asked.done();
        }
    }
}

/// Waits for an answer while the origin answers from `file`. Returns also which ranges it was asked for.
pub(crate) async fn served(origin: &mut Origin, file: &File, answer: Pending) -> (Answer, Vec<String>) {
    let mut asked = Vec::new();
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return (answer, asked),
            Some(exchange) = origin.any() => {
                asked.push(exchange.field("range").to_owned());
                let file = file.clone();
                tokio::spawn(async move { file.answer(exchange).await });
            }
        }
    }
}

fn range(first: usize, last: usize) -> String {
    format!("range: bytes={first}-{last}\r\n")
}

/// Asks for the whole and has it stored.
async fn warm(world: &mut World, file: &File) {
    let pending = world.get("/a");
    let (answer, asked) = served(&mut world.origin, file, pending).await;
    assert_eq!((answer.status, asked.len()), (200, 1));
    assert!(answer.body == *file.content);
    let slices = file.content.len().div_ceil(SLICE);
    until("all slices", || world.edge.stored().0 == slices + 1).await;
}

/// Has some slices stored, and the head.
async fn warm_part(world: &mut World, file: &File, slices: std::ops::Range<usize>) {
    let pending = world.get_with("/a", &range(slices.start * SLICE, slices.end * SLICE - 1));
    let (answer, _) = served(&mut world.origin, file, pending).await;
    assert_eq!(answer.status, 206);
    assert!(answer.body == file.content[slices.start * SLICE..slices.end * SLICE]);
}

#[tokio::test]
async fn what_is_too_large_for_one_object_is_stored_in_slices() {
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    warm(&mut world, &file).await;
    let asked = world.origin.asked();
    let whole = world.hit("/a").await;
    assert!(whole.body == *file.content);
    assert_eq!((whole.field("content-length"), whole.field("etag")), (LENGTH.to_string(), "\"1\"".into()));
    let cases = [
        (range(0, 0), 206, 0..1),
        (range(SLICE - 1, SLICE), 206, SLICE - 1..SLICE + 1),
        (range(SLICE, 2 * SLICE - 1), 206, SLICE..2 * SLICE),
        (range(100_000, 300_000), 206, 100_000..300_001),
        ("range: bytes=650000-\r\n".to_owned(), 206, 650_000..LENGTH),
        ("range: bytes=-5000\r\n".to_owned(), 206, LENGTH - 5000..LENGTH),
        (format!("{}if-range: \"1\"\r\n", range(5, 9)), 206, 5..10),
        (format!("{}if-range: \"2\"\r\n", range(5, 9)), 200, 0..LENGTH),
        (range(0, 1).replace("0-1", "0-1,5-9"), 200, 0..LENGTH),
        (range(LENGTH, LENGTH + 5), 416, 0..0),
        ("if-none-match: \"1\"\r\n".to_owned(), 304, 0..0),
        ("if-match: \"2\"\r\n".to_owned(), 412, 0..0),
    ];
    for (fields, status, bytes) in cases {
        let answer = world.get_with("/a", &fields).await;
        assert_eq!((answer.status, answer.field("eo-cache-status")), (status, "HIT".into()), "{fields}");
        assert!(answer.field("cache-status").starts_with("e; hit"), "{fields}");
        assert!(answer.is_whole && answer.body == file.content[bytes.clone()], "{fields}");
        let expected = match status {
            206 => format!("bytes {}-{}/{LENGTH}", bytes.start, bytes.end - 1),
            416 => format!("bytes */{LENGTH}"),
            _ => String::new(),
        };
        assert_eq!(answer.field("content-range"), expected, "{fields}");
    }
    let head = format!("HEAD /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").into_bytes();
    let answer = Client::request(world.edge.address(), head).await;
    assert_eq!(answer.field("content-length"), LENGTH.to_string());
    assert_eq!(world.origin.asked(), asked);
}

#[tokio::test]
async fn a_range_of_what_is_not_known_fetches_the_slices_it_needs() {
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    // What it asks for, and how many objects are stored then.
    let mut ask = async |fields: String, stored: usize| {
        let pending = world.get_with("/a", &fields);
        let (answer, asked) = served(&mut world.origin, &file, pending).await;
        until("what came to be stored", || world.edge.stored().0 == stored).await;
        let status = answer.field("cache-status");
        let fwd = status.split("; ").nth(1).unwrap().to_owned();
        (answer, asked, fwd)
    };
    let aligned = |first: usize, after: usize| format!("bytes={}-{}", first * SLICE, after * SLICE - 1);
    let (answer, asked, fwd) = ask(range(100_000, 100_009), 2).await;
    assert_eq!((answer.status, fwd.as_str()), (206, "fwd=uri-miss"));
    assert!(answer.body == file.content[100_000..100_010]);
    assert_eq!(asked, [aligned(6, 7)]);
    // In the same slice, then over its end, then all.
    let (answer, asked, fwd) = ask(range(98_304, 114_687), 2).await;
    assert_eq!((answer.status, asked.len(), fwd.as_str()), (206, 0, "hit"));
    let (answer, asked, fwd) = ask(range(100_000, 120_000), 3).await;
    assert!(answer.body == file.content[100_000..120_001]);
    assert_eq!((asked, fwd.as_str()), (vec![aligned(7, 8)], "fwd=partial"));
    let (answer, asked, fwd) = ask(String::new(), 42).await;
    assert!(answer.status == 200 && answer.body == *file.content);
    assert_eq!(asked, [aligned(0, 6), format!("bytes={}-{}", 8 * SLICE, LENGTH - 1)]);
    assert_eq!(fwd, "fwd=partial");
    let (answer, asked, fwd) = ask(String::new(), 42).await;
    assert!(answer.body == *file.content);
    assert_eq!((asked.len(), fwd.as_str()), (0, "hit"));
}

#[tokio::test]
async fn ranges_that_need_more_than_one_look_are_answered() {
    // A range of what is not known, and what the origin is asked for.
    let cases = [
        (
            LENGTH,
            "bytes=-10",
            vec![format!("bytes=0-{}", SLICE - 1), format!("bytes={}-{}", 40 * SLICE, LENGTH - 1)],
        ),
        (LENGTH, "bytes=656000-", vec![format!("bytes={}-", 40 * SLICE)]),
        (100, "bytes=-10", vec![format!("bytes=0-{}", SLICE - 1)]),
        (100, "bytes=90-99", vec![format!("bytes=0-{}", SLICE - 1)]),
        (100, "bytes=90-", vec!["bytes=0-".to_owned()]),
    ];
    for (length, asks, expected) in cases {
        let mut world = world().await;
        let file = File::new(1, length);
        let pending = world.get_with("/a", &format!("range: {asks}\r\n"));
        let (answer, asked) = served(&mut world.origin, &file, pending).await;
        assert_eq!((answer.status, &asked), (206, &expected), "{asks}");
        assert!(file.content.ends_with(&answer.body), "{asks}");
        // What came whole is stored as one.
        if length == 100 {
            assert_eq!(world.edge.stored().0, 1);
            assert!(world.hit("/a").await.body == *file.content);
        }
    }
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    let beyond = LENGTH + SLICE;
    let pending = world.get_with("/a", &range(beyond, beyond + 1));
    let (answer, asked) = served(&mut world.origin, &file, pending).await;
    assert_eq!((answer.status, answer.field("content-range")), (416, format!("bytes */{LENGTH}")));
    assert_eq!(asked.last().unwrap(), &format!("bytes={beyond}-{}", beyond + 1), "by its own words at last");
}

#[tokio::test]
async fn an_origin_without_ranges_is_asked_for_the_whole() {
    let mut world = world().await;
    let file = File::new(1, LENGTH).without_ranges();
    let pending = world.get_with("/a", &range(300_000, 300_009));
    let (answer, _) = served(&mut world.origin, &file, pending).await;
    assert_eq!((answer.status, answer.body.len()), (206, 10), "{answer:?}");
    assert!(answer.body == file.content[300_000..300_010]);
    let pending = world.get("/a");
    let (answer, _) = served(&mut world.origin, &file, pending).await;
    assert!(answer.body == *file.content);
    assert!(world.hit("/a").await.body == *file.content);
}

#[tokio::test]
async fn content_of_any_length_streams_through_little_memory() {
    const LONG: usize = 24 << 20;
    const FOR_NOBODY: usize = 96 << 20;
    let mut world = World::start_with(|config| {
        slicing(config);
        config.memory_bytes = 1 << 20;
    })
    .await;
    let file = File::new(1, LONG);
    for _ in 0..2 {
        let pending = world.get("/a");
        let (answer, _) = served(&mut world.origin, &file, pending).await;
        assert!(answer.is_whole && answer.body == *file.content);
        assert!(world.edge.stored().1 <= 1 << 20, "{:?}", world.edge.stored());
    }
    // A client that takes nothing holds the origin up.
    let mut slow = Client::connect_narrowly(world.edge.address()).await;
    slow.send(format!("GET /b HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
    let mut asked = world.origin.next().await;
    asked
        .head_of(
            "200 OK",
            &format!("cache-control: max-age=60\r\netag: \"1\"\r\ncontent-length: {FOR_NOBODY}\r\n"),
        )
        .await;
    let content = vec![b'a'; FOR_NOBODY];
    let taken = asked.write_all_it_takes(&content, Duration::from_millis(300)).await;
    assert!(taken < FOR_NOBODY / 2, "all of it went somewhere");
    assert!(world.edge.stored().1 <= 1 << 20);
}

#[tokio::test]
async fn content_that_changed_between_its_parts_is_never_stitched_together() {
    let (old, new) = (File::new(1, LENGTH), File::new(2, LENGTH));
    // From the second slice on the origin has another version: the answer breaks off where the old one ends.
    let mut world = world().await;
    warm_part(&mut world, &old, 0..3).await;
    let pending = world.get("/a");
    let (answer, asked) = served(&mut world.origin, &new, pending).await;
    assert_eq!((answer.status, answer.is_whole, asked.len()), (200, false, 1));
    assert!(answer.body == old.content[..3 * SLICE]);
    let pending = world.get("/a");
    let (answer, _) = served(&mut world.origin, &new, pending).await;
    assert!(answer.is_whole && answer.body == *new.content && answer.field("etag") == "\"2\"");
    // Before the answer began, it is the new version's.
    let mut world = self::world().await;
    warm_part(&mut world, &old, 0..3).await;
    let pending = world.get_with("/a", &range(5 * SLICE, 6 * SLICE - 1));
    let (answer, _) = served(&mut world.origin, &new, pending).await;
    assert!(answer.is_whole && answer.body == new.content[5 * SLICE..6 * SLICE]);
    assert_eq!(answer.field("etag"), "\"2\"");
    let pending = world.get_with("/a", &range(0, SLICE));
    let (answer, _) = served(&mut world.origin, &new, pending).await;
    assert!(answer.body == new.content[..=SLICE]);
}

#[tokio::test]
async fn a_truncated_response_is_stored_as_far_as_its_slices_are_whole() {
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    let pending = world.get("/a");
    let mut asked = world.origin.next().await;
    asked
        .head_of(
            "200 OK",
            &format!("cache-control: max-age=60\r\netag: \"1\"\r\ncontent-length: {LENGTH}\r\n"),
        )
        .await;
    asked.write(&file.content[..5 * SLICE + 100]).await;
    drop(asked);
    let answer = pending.await;
    assert!(!answer.is_whole && answer.body.len() <= 5 * SLICE + 100);
    assert_eq!(world.edge.stored().0, 6, "a head and five slices");
    let pending = world.get("/a");
    let (answer, asked) = served(&mut world.origin, &file, pending).await;
    assert!(answer.is_whole && answer.body == *file.content);
    assert_eq!(asked, [format!("bytes={}-{}", 5 * SLICE, LENGTH - 1)]);
}

/// What an origin may say instead of what it was asked for: none of it is stored, none is put beside what is.
#[tokio::test]
async fn lies_about_parts_are_never_believed() {
    let file = File::new(1, LENGTH);
    let (first, last) = (3 * SLICE, 4 * SLICE - 1);
    let sound = format!("content-range: bytes {first}-{last}/{LENGTH}\r\n");
    let cases = [
        // Another range, too little, too much of it.
        (
            "206 Partial Content",
            format!("etag: \"1\"\r\ncontent-range: bytes {}-{last}/{LENGTH}\r\n", first + 1),
            SLICE - 1,
        ),
        (
            "206 Partial Content",
            format!("etag: \"1\"\r\ncontent-range: bytes 0-{}/{LENGTH}\r\n", SLICE - 1),
            SLICE,
        ),
        (
            "206 Partial Content",
            format!("etag: \"1\"\r\ncontent-range: bytes {first}-{}/{LENGTH}\r\n", last - 1),
            SLICE - 1,
        ),
        ("206 Partial Content", format!("etag: \"1\"\r\n{sound}"), SLICE - 1),
        ("206 Partial Content", format!("etag: \"1\"\r\n{sound}"), SLICE + 1),
        // Another length of the whole, or none.
        (
            "206 Partial Content",
            format!("etag: \"1\"\r\ncontent-range: bytes {first}-{last}/{}\r\n", LENGTH + 1),
            SLICE,
        ),
        ("206 Partial Content", format!("etag: \"1\"\r\ncontent-range: bytes {first}-{last}/*\r\n"), SLICE),
        ("206 Partial Content", "etag: \"1\"\r\n".to_owned(), SLICE),
        ("206 Partial Content", format!("etag: \"1\"\r\n{sound}{sound}"), SLICE),
        // Another validator, a weak one, none.
        ("206 Partial Content", format!("etag: \"2\"\r\n{sound}"), SLICE),
        ("206 Partial Content", format!("etag: W/\"1\"\r\n{sound}"), SLICE),
        ("206 Partial Content", sound.clone(), SLICE),
        // The whole, of another length.
        ("200 OK", "etag: \"1\"\r\n".to_owned(), SLICE),
    ];
    for (status, fields, length) in cases {
        let mut world = world().await;
        warm_part(&mut world, &file, 0..2).await;
        let pending = world.get_with("/a", &range(first, last));
        let asked = world.origin.next().await;
        assert_eq!(
            (asked.field("range"), asked.field("if-range")),
            (&*format!("bytes={first}-{last}"), "\"1\"")
        );
        let lie = vec![0xee; length];
        asked.reply(status, &format!("cache-control: max-age=60\r\n{fields}"), &lie).await;
        // Asked once more, by then without what was stored, the origin tells the truth. A client that has had a part of a
        // lie already sees its answer break off.
        let (answer, _) = served(&mut world.origin, &file, pending).await;
        let is_right = answer.status == 206 && answer.is_whole && answer.body == file.content[first..=last];
        let is_broken = !answer.is_whole || answer.status == 502;
        assert!(is_right || is_broken, "{status} {fields}: {answer:?}");
        let pending = world.get_with("/a", &range(first, last));
        let (answer, _) = served(&mut world.origin, &file, pending).await;
        assert!(answer.body == file.content[first..=last], "{status} {fields}: a lie was stored");
    }
}

#[tokio::test]
async fn a_part_without_what_holds_parts_together_is_only_passed_on() {
    // Weak or no validator, no length of the whole: the client gets what it asked for, each time from the origin.
    for fields in ["etag: W/\"1\"\r\n", "", "etag: \"1\"\r\nx: *"] {
        let mut world = world().await;
        let complete = if fields.ends_with('*') { "*" } else { "9999999" };
        let fields = fields.trim_end_matches("x: *");
        let pending = world.get_with("/a", &range(100_000, 100_003));
        let asked = world.origin.next().await;
        let line =
            format!("cache-control: max-age=60\r\n{fields}content-range: bytes 98304-114687/{complete}\r\n");
        asked.reply("206 Partial Content", &line, &vec![b'a'; SLICE]).await;
        let asked = world.origin.next().await;
        assert_eq!(asked.field("range"), "bytes=100000-100003");
        let line = format!("{fields}content-range: bytes 100000-100003/{complete}\r\n");
        asked.reply("206 Partial Content", &line, b"abcd").await;
        let answer = pending.await;
        assert_eq!((answer.status, answer.text()), (206, "abcd"));
    }
}

#[tokio::test]
async fn requests_for_the_same_missing_slice_share_its_fetch() {
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    // Nothing is known yet: they wait for the head, then for the slice.
    let fields = range(5 * SLICE, 6 * SLICE - 1);
    let waiting: Vec<Pending> = (0..8).map(|_| world.get_with("/a", &fields)).collect();
    let asked = world.origin.next().await;
    until("all to wait", || world.requests() == 8).await;
    file.answer(asked).await;
    for pending in waiting {
        let answer = pending.await;
        assert!(answer.status == 206 && answer.body == file.content[5 * SLICE..6 * SLICE]);
    }
    assert_eq!(world.origin.asked(), 1);
    // The head is known, a slice is missing.
    let fields = range(7 * SLICE + 5, 8 * SLICE - 1);
    let waiting: Vec<Pending> = (0..8).map(|_| world.get_with("/a", &fields)).collect();
    let asked = world.origin.next().await;
    until("all to wait", || world.requests() == 16).await;
    file.answer(asked).await;
    for pending in waiting {
        assert!(pending.await.body == file.content[7 * SLICE + 5..8 * SLICE]);
    }
    assert_eq!(world.origin.asked(), 2);
    // Two for the whole at once share its slices, too.
    let both = [world.get("/a"), world.get("/a")];
    for pending in both {
        let (answer, _) = served(&mut world.origin, &file, pending).await;
        assert!(answer.body == *file.content);
    }
}

fn scopes() -> Vec<Scope> {
    let all = vec![url("/a"), prefix("/"), Scope::Host(host(HOST)), Scope::All, tag("t")];
    all
}

fn tagged(version: u64) -> File {
    File::new(version, LENGTH).with("cache-control: max-age=60\r\ncache-tag: t\r\n")
}

#[tokio::test]
async fn after_a_delete_no_old_slice_is_served_whatever_it_matched_by() {
    for scope in scopes() {
        let mut world = world().await;
        warm(&mut world, &tagged(1)).await;
        let name = format!("{scope:?}");
        world.purge(scope, Method::Delete).await;
        // The validator is the same: only the generation tells the bytes apart.
        let new = File { etag: "\"1\"".into(), ..tagged(2) };
        let pending = world.get_with("/a", &range(SLICE, 3 * SLICE - 1));
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match") && !asked.has("if-range"), "{name}: unconditional");
        new.answer(asked).await;
        assert!(pending.await.body == new.content[SLICE..3 * SLICE], "{name}");
        let pending = world.get("/a");
        let (answer, _) = served(&mut world.origin, &new, pending).await;
        assert!(answer.is_whole && answer.body == *new.content, "{name}");
    }
}

#[tokio::test]
async fn after_an_invalidate_a_304_raises_all_slices() {
    for scope in scopes() {
        let mut world = world().await;
        let file = tagged(1);
        warm(&mut world, &file).await;
        let name = format!("{scope:?}");
        world.purge(scope.clone(), Method::Invalidate).await;
        let pending = world.get_with("/a", &range(SLICE, 3 * SLICE - 1));
        let asked = world.origin.next().await;
        assert_eq!(asked.field("if-none-match"), "\"1\"", "{name}");
        file.answer(asked).await;
        let answer = pending.await;
        assert_eq!(answer.field("eo-cache-status"), "RefreshHit", "{name}");
        assert!(answer.body == file.content[SLICE..3 * SLICE], "{name}");
        assert!(world.hit("/a").await.body == *file.content, "{name}");
        // Changed instead: all of it anew.
        world.purge(scope, Method::Invalidate).await;
        let new = tagged(2);
        let pending = world.get("/a");
        let (answer, _) = served(&mut world.origin, &new, pending).await;
        assert!(answer.is_whole && answer.body == *new.content, "{name}");
    }
}

/// A slice fetched before a delete of a tag, by a head that got that tag later, goes with it.
#[tokio::test]
async fn a_tag_that_a_304_or_a_206_brings_counts_for_all_slices() {
    let plain = File::new(1, LENGTH);
    for by_304 in [true, false] {
        let mut world = world().await;
        if by_304 {
            warm(&mut world, &plain).await;
            world.purge(url("/a"), Method::Invalidate).await;
        } else {
            warm_part(&mut world, &plain, 0..5).await;
        }
        let pending = world.get_with("/a", &range(0, 6 * SLICE - 1));
        let (answer, _) = served(&mut world.origin, &tagged(1), pending).await;
        assert!(answer.body == plain.content[..6 * SLICE]);
        world.purge(tag("t"), Method::Delete).await;
        let new = File { etag: "\"1\"".into(), ..File::new(2, LENGTH) };
        let pending = world.get_with("/a", &range(0, 6 * SLICE - 1));
        let (answer, _) = served(&mut world.origin, &new, pending).await;
        assert!(answer.body == new.content[..6 * SLICE], "by 304: {by_304}");
    }
}

/// Two parts of what nothing is known of, asked for at once: what the second says of tags counts, too.
#[tokio::test]
async fn a_tag_that_only_the_second_of_two_first_parts_has_counts() {
    let mut world = world().await;
    let first = world.get_with("/a", &range(0, SLICE - 1));
    let of_first = world.origin.next().await;
    let second = world.get_with("/a", &range(5 * SLICE, 6 * SLICE - 1));
    let of_second = world.origin.next().await;
    File::new(1, LENGTH).answer(of_first).await;
    assert_eq!(first.await.status, 206);
    tagged(1).answer(of_second).await;
    assert_eq!(second.await.status, 206);
    world.purge(tag("t"), Method::Delete).await;
    let new = File { etag: "\"1\"".into(), ..File::new(2, LENGTH) };
    let pending = world.get_with("/a", &range(0, SLICE - 1));
    let (answer, _) = served(&mut world.origin, &new, pending).await;
    assert!(answer.body == new.content[..SLICE]);
}

/// The answer began before the purge: it may end with what it began with, but not from the cache.
#[tokio::test]
async fn an_answer_under_way_goes_on_from_the_origin_after_a_purge() {
    const LONG: usize = 8 << 20;
    let old = File { content: File::new(1, LONG).content, ..tagged(1) };
    let new = File { content: File::new(2, LONG).content, ..tagged(2) };
    let cases = [(url("/a"), Method::Invalidate), (tag("t"), Method::Delete), (Scope::All, Method::Delete)];
    for (scope, method) in cases {
        for now in [&old, &new] {
            let changes = now.etag != old.etag;
            let name = format!("{scope:?} {method:?} {changes}");
            let mut world = World::start_with(|config| {
                slicing(config);
                config.memory_bytes = 64 << 20;
            })
            .await;
            let pending = world.get("/a");
            let (answer, _) = served(&mut world.origin, &old, pending).await;
            assert!(answer.body == *old.content);
            until("all slices", || world.edge.stored().0 == LONG / SLICE + 1).await;
            let mut slow = Client::connect_narrowly(world.edge.address()).await;
            slow.send(format!("GET /a HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await;
            let mut answer = slow.answer_head().await;
            assert_eq!(answer.field("eo-cache-status"), "HIT");
            let asked = world.origin.asked();
            world.purge(scope.clone(), method).await;
            let rest = async move {
                slow.answer_body(&mut answer).await;
                answer
            };
            tokio::pin!(rest);
            let answer = loop {
                tokio::select! {
                    answer = &mut rest => break answer,
                    Some(exchange) = world.origin.any() => {
                        assert_eq!(exchange.field("if-range"), "\"1\"", "{name}");
                        let now = now.clone();
                        tokio::spawn(async move { now.answer(exchange).await });
                    }
                }
            };
            assert!(world.origin.asked() > asked, "{name}: the rest comes from the origin");
            assert_eq!(answer.is_whole, !changes, "{name}");
            assert!(old.content.starts_with(&answer.body), "{name}: a mixture");
        }
    }
}

#[tokio::test]
async fn a_fenced_edge_serves_nothing_from_slices_and_keeps_them() {
    let mut world = World::with(Some(Duration::from_millis(500)), slicing).await;
    let file = File::new(1, LENGTH);
    warm(&mut world, &file).await;
    world.lose_lease().await;
    for fields in [range(SLICE, 2 * SLICE - 1), String::new()] {
        let pending = world.get_with("/a", &fields);
        let asked = world.origin.next().await;
        assert!(!asked.has("if-none-match") && !asked.has("if-range"));
        // Another version with the same validator: what is stored must not show.
        let other = File { etag: file.etag.clone(), ..File::new(2, LENGTH) };
        other.answer(asked).await;
        let answer = pending.await;
        let part = if fields.is_empty() { 0..LENGTH } else { SLICE..2 * SLICE };
        assert!(answer.body == other.content[part], "{fields}");
    }
}

#[tokio::test]
async fn a_sweep_takes_slices_whose_head_is_gone() {
    let mut world = World::start_with(|config| {
        slicing(config);
        config.sweep_interval = Duration::from_millis(20);
    })
    .await;
    warm(&mut world, &tagged(1)).await;
    world.purge(tag("t"), Method::Delete).await;
    until("all of it to go", || world.edge.stored().0 == 0).await;
}

#[tokio::test]
async fn only_if_cached_asks_nobody_for_missing_slices() {
    let mut world = world().await;
    let file = File::new(1, LENGTH);
    warm_part(&mut world, &file, 0..2).await;
    let asked = world.origin.asked();
    let cases = [(range(0, 2 * SLICE - 1), 206), (range(0, 2 * SLICE), 504), (String::new(), 504)];
    for (fields, status) in cases {
        let answer = world.get_with("/a", &format!("{fields}cache-control: only-if-cached\r\n")).await;
        assert_eq!(answer.status, status, "{fields}");
    }
    assert_eq!(world.origin.asked(), asked);
}
