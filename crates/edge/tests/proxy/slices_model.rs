//! Large content against a model of it: random ranges, changed content, purges, restarts and crashes, in little memory.
//!
//! The model knows all versions of each file, which tags answers of the origin gave each of them, and what was purged. An answer
//! must be bytes of one version, and of one that no purge since forbids; and it may break off where that version is no more.

use crate::disk::{copy, count, until_recovered, world_on};
use crate::slicing::File;
use crate::world::{Answer, Exchange, Pending, World, tag, url};
use edge::{DiskConfig, EdgeConfig};
use purge::{Method, Scope};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const SLICE: usize = 4096;
const FILES: usize = 3;
const STEPS: usize = 30;

/// So that each seed stands for one run, which can be had again.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }
}

/// One file of the origin.
struct Path {
    name: String,
    /// All versions; the last is the present one.
    versions: Vec<Version>,
}

struct Version {
    file: File,
    /// Which tags answers have given it.
    tags: BTreeSet<usize>,
    /// Forbidden by a purge that came when the origin had another version already, or before that one came.
    is_purged: bool,
}

impl Path {
    fn new(index: usize, length: usize) -> Self {
        let mut path = Self { name: format!("/{index}"), versions: Vec::new() };
        path.change(File::new(index as u64 + 1, length));
        path
    }

    fn change(&mut self, file: File) {
        self.versions.push(Version { file, tags: BTreeSet::new(), is_purged: false });
    }

    fn now(&mut self) -> &mut Version {
        self.versions.last_mut().unwrap()
    }

    /// All but the present version are forbidden, if `matches` them.
    fn purge(&mut self, matches: impl Fn(&Version) -> bool) {
        let present = self.versions.len() - 1;
        for version in self.versions[..present].iter_mut().filter(|version| matches(version)) {
            version.is_purged = true;
        }
    }
}

struct Run {
    world: World,
    paths: Vec<Path>,
    dice: Dice,
    directory: TempDir,
    /// Where the edge keeps its files now.
    cache: PathBuf,
    starts: usize,
    whole: usize,
    from_disk: u64,
}

fn tag_name(path: usize, number: usize) -> String {
    format!("p{path}-{number}")
}

impl Run {
    async fn start(seed: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let sweeps = seed.is_multiple_of(2);
        let world = world_on(&directory, |config: &mut EdgeConfig| {
            config.memory_bytes = 1 << 20;
            config.object_bytes_max = 16 * 1024;
            config.slice_bytes = SLICE as u64;
            if sweeps {
                config.sweep_interval = Duration::from_millis(20);
            }
        })
        .await;
        let mut dice = Dice(seed);
        let paths = (0..FILES).map(|index| Path::new(index, 100 * SLICE + dice.roll(50 * SLICE))).collect();
        let cache = directory.path().join("cache");
        Self { world, paths, dice, directory, cache, starts: 0, whole: 0, from_disk: 0 }
    }

    /// The origin answers from the present version, with some tags or none.
    fn answer(&mut self, exchange: Exchange) {
        let asked = exchange.first_line().split(' ').nth(1).unwrap().to_owned();
        let index = self.paths.iter().position(|path| path.name == asked).unwrap();
        let given: BTreeSet<usize> = (0..2).filter(|_| self.dice.roll(3) == 0).collect();
        let names: Vec<String> = given.iter().map(|number| tag_name(index, *number)).collect();
        let now = self.paths[index].now();
        now.tags.extend(given);
        let fields = format!("cache-control: max-age=3600\r\ncache-tag: {}\r\n", names.join(","));
        let file = now.file.clone().with(&fields);
        tokio::spawn(async move { file.answer(exchange).await });
    }

    async fn answers(&mut self, asked: Vec<Pending>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for pending in asked {
            tokio::pin!(pending);
            loop {
                let exchange = tokio::select! {
                    answer = &mut pending => break answers.push(answer),
                    Some(exchange) = self.world.origin.any() => exchange,
                };
                self.answer(exchange);
            }
        }
        answers
    }

    /// Asks for parts of one file at once, and for all of it at times.
    async fn ask(&mut self, seed: u64) {
        let index = self.dice.roll(FILES);
        let length = self.paths[index].now().file.content.len();
        let parts: Vec<Option<(usize, usize)>> = (0..=self.dice.roll(3))
            .map(|_| match self.dice.roll(4) {
                0 => None,
                _ => {
                    let first = self.dice.roll(length);
                    Some((first, (first + 1 + self.dice.roll(20 * SLICE)).min(length)))
                }
            })
            .collect();
        let name = self.paths[index].name.clone();
        let fields = |part: &Option<(usize, usize)>| {
            part.map_or_else(String::new, |(first, end)| format!("range: bytes={first}-{}\r\n", end - 1))
        };
        let asked = parts.iter().map(|part| self.world.get_with(&name, &fields(part))).collect();
        for (part, answer) in parts.iter().zip(self.answers(asked).await) {
            if answer.status == 502 {
                continue;
            }
            assert_eq!(answer.status, if part.is_some() { 206 } else { 200 }, "{seed}: {part:?}");
            let path = &self.paths[index];
            let is_of = |version: &&Version| {
                let content = &version.file.content;
                let (first, end) = part.unwrap_or((0, content.len()));
                let bytes = &content[first.min(content.len())..end.min(content.len())];
                answer.field("etag") == version.file.etag
                    && if answer.is_whole { answer.body == bytes } else { bytes.starts_with(&answer.body) }
            };
            let found: Vec<&Version> = path.versions.iter().filter(is_of).collect();
            assert!(!found.is_empty(), "{seed}: {part:?} of {name} is no version's");
            assert!(
                found.iter().any(|version| !version.is_purged),
                "{seed}: {part:?} of {name} was purged, {:?}",
                answer.field("cache-status")
            );
            self.whole += usize::from(answer.is_whole);
        }
    }

    async fn purge(&mut self) {
        let index = self.dice.roll(FILES);
        let method = if self.dice.roll(2) == 0 { Method::Delete } else { Method::Invalidate };
        match self.dice.roll(4) {
            0 => {
                let number = self.dice.roll(2);
                self.world.purge(tag(&tag_name(index, number)), method).await;
                self.paths[index].purge(|version| version.tags.contains(&number));
            }
            1 => {
                self.world.purge(Scope::All, method).await;
                self.paths.iter_mut().for_each(|path| path.purge(|_| true));
            }
            _ => {
                self.world.purge(url(&self.paths[index].name), method).await;
                self.paths[index].purge(|_| true);
            }
        }
    }

    /// Another version; at times one whose validator tells nothing, which a delete makes known.
    async fn change(&mut self) {
        let index = self.dice.roll(FILES);
        let version = (index + 1 + 10 * self.paths[index].versions.len()) as u64;
        let now = self.paths[index].now().file.clone();
        let length = now.content.len();
        if self.dice.roll(3) > 0 {
            let length = length - self.dice.roll(3) * 1000;
            self.paths[index].change(File::new(version, length));
            return;
        }
        self.paths[index].change(File { etag: now.etag, ..File::new(version, length) });
        self.world.purge(url(&self.paths[index].name), Method::Delete).await;
        self.paths[index].purge(|_| true);
    }

    /// Begins anew: after an end in order, or on what was on disk at some time before it.
    async fn restart(mut self) -> Self {
        self.from_disk += count(&self.world, |counts| &counts.hits);
        self.starts += 1;
        let crashes = self.dice.roll(2) == 0;
        let crashed = self.directory.path().join(format!("cache-{}", self.starts));
        let disk = DiskConfig { directory: crashed.clone(), bytes: 64 << 20 };
        if crashes {
            copy(&self.cache, &crashed);
        }
        let before = std::mem::replace(&mut self.cache, crashed.clone());
        let is_purged = self.dice.roll(2) == 0;
        let purged = self.dice.roll(FILES);
        let scope = url(&self.paths[purged].name);
        self.world = self
            .world
            .restarted(|control, config| {
                if !crashes {
                    // Its state is there now.
                    copy(&before, &crashed);
                }
                if is_purged {
                    control.append(scope, Method::Delete);
                }
                config.disk = Some(disk);
            })
            .await;
        if is_purged {
            self.paths[purged].purge(|_| true);
        }
        if self.dice.roll(2) == 0 {
            until_recovered(&self.world).await;
        }
        self
    }
}

#[tokio::test]
async fn what_is_served_of_large_content_is_one_version_that_no_purge_forbids() {
    let (mut whole, mut from_disk) = (0, 0);
    for seed in 1..=5 {
        let mut run = Run::start(seed).await;
        for _ in 0..STEPS {
            match run.dice.roll(20) {
                0..12 => run.ask(seed).await,
                12..15 => run.purge().await,
                15..18 => run.change().await,
                _ => run = run.restart().await,
            }
        }
        from_disk += run.from_disk + count(&run.world, |counts| &counts.hits);
        whole += run.whole;
        run.world.stop().await;
    }
    assert!(whole > 80 && from_disk > 100, "{whole} answers were whole, {from_disk} reads from disk");
}
