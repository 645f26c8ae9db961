//! Every invariant over the bytes in `fuzz/seeds`, and over random ones made of them and of the words in `fuzz/words`.

use invariants::{TARGETS, Target};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Random inputs for each reader. The fuzzers try millions.
const INPUTS: u64 = 2_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz().join("seeds").join(target.name);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.expect("a file of the folder").path())
        .map(|path| {
            (
                path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                fs::read(path).expect("a seed"),
            )
        })
        .collect();
    seeds.sort();
    seeds
}

/// The words of a dictionary as libFuzzer reads it: `"word"` on a line of its own, with `\\`, `\"` and `\xAB`.
fn words(target: &Target) -> Vec<Vec<u8>> {
    let text =
        fs::read_to_string(fuzz().join("words").join(format!("{}.dict", target.name))).expect("its words");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let word = |line: &str| {
        let quoted = line.strip_prefix('"').and_then(|line| line.strip_suffix('"'));
        let mut rest = quoted.unwrap_or_else(|| panic!("{line}: a word stands in quotes")).bytes();
        let mut word = Vec::new();
        while let Some(byte) = rest.next() {
            word.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
                (b'\\', Some(b'x')) => {
                    let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                    let (high, low) = digit().zip(digit()).expect("two hex digits");
                    (high * 16 + low) as u8
                }
                (b'\\', Some(escaped)) => escaped,
                (byte, _) => byte,
            });
        }
        word
    };
    lines.map(word).collect()
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// Bytes that begin as a seed or as nothing, changed in some places.
    fn input(&mut self, seeds: &[(String, Vec<u8>)], words: &[Vec<u8>]) -> Vec<u8> {
        let mut input =
            if self.below(4) == 0 { Vec::new() } else { seeds[self.below(seeds.len())].1.clone() };
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(12)).min(input.len());
            match self.below(6) {
                0 | 1 => drop(input.splice(at..at, words[self.below(words.len())].iter().copied())),
                2 => drop(input.splice(at..end, words[self.below(words.len())].iter().copied())),
                3 => drop(input.drain(at..end)),
                4 => input.insert(at, self.below(256) as u8),
                _ => {
                    let copied = input[at..end].to_vec();
                    let to = self.below(input.len() + 1);
                    input.splice(to..to, copied);
                }
            }
        }
        input
    }
}

/// What is wrong with the reading of these bytes.
fn wrong(target: &Target, what: &str, input: &[u8]) -> Option<String> {
    let checked = std::panic::catch_unwind(|| (target.check)(input));
    checked.is_err().then(|| format!("{}, {what}: b\"{}\"", target.name, input.escape_ascii()))
}

#[test]
fn bytes_that_were_found_before_keep_every_invariant() {
    let mut found = Vec::new();
    for target in &TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{}", target.name);
        found.extend(seeds.iter().filter_map(|(name, input)| wrong(target, name, input)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn random_bytes_keep_every_invariant() {
    let mut found = Vec::new();
    for target in &TARGETS {
        let (seeds, words) = (seeds(target), words(target));
        let mut inputs = (0..INPUTS).map(|number| (number, Random(number).input(&seeds, &words)));
        found.extend(
            inputs.find_map(|(number, input)| wrong(target, &format!("random input {number}"), &input)),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every reader has a fuzzer, and every fuzzer is of a reader.
#[test]
fn the_fuzzers_are_those_of_the_readers() {
    let expected: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let manifest: BTreeSet<String> = fs::read_to_string(fuzz().join("Cargo.toml"))
        .unwrap()
        .lines()
        .filter_map(|line| {
            Some(line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\"")?.to_owned())
        })
        .collect();
    assert_eq!(manifest, expected);
    for name in expected {
        let source = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("invariants::{name}(bytes)")), "{name}");
    }
}
