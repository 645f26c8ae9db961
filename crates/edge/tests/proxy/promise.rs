//! The promise under a random schedule: once a purge has succeeded, no request that starts afterwards is answered with
//! what the purge matched and whose fetch began before it was accepted.
//!
//! Purges of all scopes, slow origins, collapsed requests, sweeps, lost entries and lost leases at once. What the seed
//! does not decide is how the threads interleave.

use crate::world::{Client, Control, Exchange, HOST, World, host, prefix, tag, url};
use purge::{Method, Scope};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const URLS: u64 = 6;
const CLIENTS: u64 = 12;
const PURGES: u64 = 60;

/// Short, so that it can run out, and renewed often.
const LEASE: Duration = Duration::from_millis(400);

/// Some numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// What a response said of itself.
#[derive(Clone, Copy, Debug)]
struct Content {
    url: u64,
    /// Which version of the URL; grows when the origin publishes.
    version: u64,
    /// Which of all requests that reached the origin brought the bytes.
    fetch: u64,
}

impl Content {
    fn text(self) -> String {
        format!("{} {} {}\n", self.url, self.version, self.fetch)
    }

    fn parse(text: &str) -> Self {
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Self { url: next(), version: next(), fetch: next() }
    }

    fn tags(self) -> [String; 2] {
        [format!("u{}", self.url % 3), format!("v{}", self.version % 4)]
    }
}

fn path(url: u64) -> String {
    format!("/d{}/{url}", url % 2)
}

/// What a purge matches, as the test understands it.
#[derive(Clone, Debug)]
enum Matches {
    All,
    Url(u64),
    Directory(u64),
    Tag(String),
}

impl Matches {
    fn roll(dice: &mut Dice) -> (Self, Scope) {
        match dice.roll(6) {
            0 => (Self::All, Scope::All),
            1 => (Self::All, Scope::Host(host(HOST))),
            2 => {
                let number = dice.roll(2);
                (Self::Directory(number), prefix(&format!("/d{number}/")))
            }
            3 => {
                let number = dice.roll(URLS);
                (Self::Url(number), url(&path(number)))
            }
            kind => {
                let text =
                    if kind == 4 { format!("u{}", dice.roll(3)) } else { format!("v{}", dice.roll(4)) };
                (Self::Tag(text.clone()), tag(&text))
            }
        }
    }

    fn holds_for(&self, content: Content) -> bool {
        match self {
            Self::All => true,
            Self::Url(url) => content.url == *url,
            Self::Directory(number) => content.url % 2 == *number,
            Self::Tag(tag) => content.tags().contains(tag),
        }
    }
}

/// A purge that has succeeded, and what the origin was like when it was accepted.
#[derive(Clone, Debug)]
struct Purged {
    matches: Matches,
    method: Method,
    versions: Vec<u64>,
    fetches: u64,
}

impl Purged {
    fn forbids(&self, content: Content) -> bool {
        let is_old = content.version < self.versions[usize::try_from(content.url).unwrap()];
        // After a delete the bytes themselves must be newer.
        let has_old_bytes = self.method == Method::Delete && content.fetch < self.fetches;
        self.matches.holds_for(content) && (is_old || has_old_bytes)
    }
}

struct Truth {
    seed: u64,
    versions: Mutex<Vec<u64>>,
    fetches: AtomicU64,
    succeeded: Mutex<Vec<Purged>>,
    over: AtomicBool,
    answers: AtomicU64,
    hits: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_schedule_breaks_the_promise() {
    for seed in [1, 2, 3] {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let sweep_often = |config: &mut edge::EdgeConfig| config.sweep_interval = Duration::from_millis(15);
    let World { edge, control, mut origin, .. } = World::with(Some(LEASE), sweep_often).await;
    let truth = Arc::new(Truth {
        seed,
        versions: Mutex::new(vec![0; usize::try_from(URLS).unwrap()]),
        fetches: AtomicU64::new(0),
        succeeded: Mutex::default(),
        over: AtomicBool::new(false),
        answers: AtomicU64::new(0),
        hits: AtomicU64::new(0),
    });
    let serving = Arc::clone(&truth);
    let origin = tokio::spawn(async move {
        let mut number = 0;
        while let Some(asked) = origin.any().await {
            number += 1;
            tokio::spawn(answer(Arc::clone(&serving), asked, Dice(serving.seed << 32 | number)));
        }
    });
    let address = edge.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(ask(Arc::clone(&truth), address, Dice(seed << 40 | number))))
        .collect();
    let mut dice = Dice(seed);
    let mut purges = 0;
    // A loaded machine is slow to answer: it takes more purges until anything is shown.
    while purges < PURGES || (!truth.has_shown_enough() && purges < PURGES * 20) {
        purge(&truth, &control, &mut dice).await;
        purges += 1;
    }
    truth.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    origin.abort();
    let (answers, hits) = truth.counts();
    assert!(
        truth.has_shown_enough(),
        "seed {seed}: only {answers} answers, {hits} hits in {purges} purges: nothing is shown"
    );
}

impl Truth {
    fn counts(&self) -> (u64, u64) {
        (self.answers.load(Ordering::SeqCst), self.hits.load(Ordering::SeqCst))
    }

    fn has_shown_enough(&self) -> bool {
        let (answers, hits) = self.counts();
        answers > 500 && hits > 50
    }
}

/// One purge from its acceptance to its success.
async fn purge(truth: &Truth, control: &Control, dice: &mut Dice) {
    tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
    for version in truth.versions.lock().unwrap().iter_mut() {
        *version += dice.roll(2);
    }
    let (matches, scope) = Matches::roll(dice);
    let method = if dice.roll(2) == 0 { Method::Delete } else { Method::Invalidate };
    let versions = truth.versions.lock().unwrap().clone();
    let fetches = truth.fetches.load(Ordering::SeqCst);
    let purged = Purged { matches, method, versions, fetches };
    match dice.roll(20) {
        // Told, not told so that it shows with the next entry, or with the next grant.
        0 => {
            control.append(scope, method);
            control.append(url("/elsewhere"), method);
            control.push();
            control.until_acknowledged(control.head()).await;
        }
        1 => {
            let seq = control.append(scope, method);
            control.until_acknowledged(seq).await;
        }
        // Cut off: the task succeeds by time, once no lease can be left.
        2 => {
            control.refuse_grants();
            control.answer_wants(false);
            let seq = control.append(scope, method);
            tokio::time::sleep(LEASE * 101 / 100).await;
            truth.succeeded.lock().unwrap().push(purged);
            tokio::time::sleep(Duration::from_millis(30)).await;
            control.answer_wants(true);
            control.grant(LEASE);
            control.until_acknowledged(seq).await;
            return;
        }
        _ => {
            let seq = control.append(scope, method);
            control.push();
            control.until_acknowledged(seq).await;
        }
    }
    truth.succeeded.lock().unwrap().push(purged);
}

/// The origin: what it answers is decided when the request reaches it, when it answers by the dice.
async fn answer(truth: Arc<Truth>, asked: Exchange, mut dice: Dice) {
    let fetch = truth.fetches.fetch_add(1, Ordering::SeqCst);
    let target = asked.first_line().split(' ').nth(1).unwrap().to_owned();
    let Some(number) = target.rsplit('/').next().and_then(|text| text.parse().ok()) else { return };
    let content = Content {
        url: number,
        version: truth.versions.lock().unwrap()[usize::try_from(number).unwrap()],
        fetch,
    };
    let etag = format!("\"{}\"", content.version);
    let mut fields = format!("etag: {etag}\r\ncache-tag: {}\r\n", content.tags().join(","));
    fields.push_str(match (content.url, content.version % 5) {
        (0, 1) => "cache-control: no-store\r\n",
        (1, _) => "cache-control: max-age=0\r\n",
        (4, _) => "cache-control: max-age=60\r\nvary: x-variant\r\n",
        _ => "cache-control: max-age=60\r\n",
    });
    pause(&mut dice).await;
    if asked.field("if-none-match") == etag {
        asked.not_modified(&fields).await;
        return;
    }
    respond(asked, &fields, content, dice).await;
}

async fn respond(mut asked: Exchange, fields: &str, content: Content, mut dice: Dice) {
    let text = content.text();
    let (first, second) = text.split_at(text.len() / 2);
    let (begin, end) = if dice.roll(2) == 0 {
        (format!("content-length: {}\r\n\r\n{first}", text.len()), second.to_owned())
    } else {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        (format!("transfer-encoding: chunked\r\n\r\n{}", chunk(first)), format!("{}0\r\n\r\n", chunk(second)))
    };
    let begun = asked.try_write(format!("HTTP/1.1 200 OK\r\n{fields}{begin}").as_bytes()).await;
    pause(&mut dice).await;
    if begun && asked.try_write(end.as_bytes()).await {
        asked.done();
    }
}

/// A slow origin, now and then.
async fn pause(dice: &mut Dice) {
    match dice.roll(4) {
        0 => tokio::time::sleep(Duration::from_millis(dice.roll(40))).await,
        1 => tokio::time::sleep(Duration::from_millis(dice.roll(5))).await,
        _ => {}
    }
}

/// One client: asks, and holds each answer against what had succeeded before it asked.
async fn ask(truth: Arc<Truth>, edge: std::net::SocketAddr, mut dice: Dice) {
    let mut client = Client::connect(edge).await;
    while !truth.over.load(Ordering::SeqCst) {
        let number = dice.roll(URLS);
        let request =
            format!("GET {} HTTP/1.1\r\nhost: {HOST}\r\nx-variant: {}\r\n\r\n", path(number), dice.roll(2));
        let bound = truth.succeeded.lock().unwrap().len();
        client.send(request.as_bytes()).await;
        let answer = client.answer(false).await;
        assert!(answer.status == 200 && answer.is_whole, "seed {}: {answer:?}", truth.seed);
        let content = Content::parse(answer.text());
        assert_eq!(content.url, number, "seed {}: {answer:?}", truth.seed);
        let succeeded = truth.succeeded.lock().unwrap()[..bound].to_vec();
        let broken = succeeded.iter().find(|purged| purged.forbids(content));
        assert!(
            broken.is_none(),
            "seed {}: {content:?} after {broken:?}: {}",
            truth.seed,
            answer.field("cache-status")
        );
        truth.answers.fetch_add(1, Ordering::SeqCst);
        truth.hits.fetch_add(u64::from(answer.field("eo-cache-status") == "HIT"), Ordering::SeqCst);
        if dice.roll(8) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.roll(10))).await;
        }
    }
}
