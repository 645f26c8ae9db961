//! Readers against the one writer: what a walk misses must not be vouched for.
#![expect(clippy::unwrap_used, reason = "a test's own preparations must not fail")]

use purge::{
    Entry, Epoch, Ledger, LogEntry, Method, PurgeSeq, Scope, Subject, Tags, UrlKey, Verdict, ZoneClock,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use zone::{HostName, ZoneId};

const READERS: u64 = 3;
const URLS: u64 = 16;

fn zone() -> ZoneId {
    ZoneId::parse("zone-aaaaaaaaaaaa").unwrap()
}

fn urls() -> Vec<UrlKey> {
    let host = HostName::parse("a.test").unwrap();
    (0..URLS).map(|n| UrlKey::of_request(host.clone(), &format!("/dir/{n}")).unwrap()).collect()
}

/// Which URL the entry at `seq` deletes.
fn url_of(seq: u64) -> u64 {
    seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60
}

fn entry(urls: &[UrlKey], seq: u64) -> LogEntry {
    let scope = Scope::Url(urls[url_of(seq) as usize].clone());
    LogEntry { seq: PurgeSeq::new(seq), entry: Entry { zone: zone(), scope, method: Method::Delete } }
}

/// Whether an entry in `(after, up_to]` deletes the URL numbered `url`.
fn deleted_within(url: u64, after: u64, up_to: u64) -> bool {
    (after + 1..=up_to).any(|seq| url_of(seq) == url)
}

/// Ends the readers when the writer ends, by a failure too.
struct EndsReaders<'a>(&'a AtomicBool);

impl Drop for EndsReaders<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A reader judges objects born a little before its `seen`, while entries come and marks go (with no sweep: objects
/// below the horizon stay, and must be found to be). Sometimes the writer jumps over a few entries.
#[test]
fn no_walk_misses_a_mark_that_was_applied_before_it() {
    const ENTRIES: u64 = 30_000;
    let (ledger, epoch, urls) = (Ledger::new([1; 16]), Epoch::new(1), urls());
    ledger.jump(epoch, PurgeSeq::ZERO).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..READERS {
            let (ledger, urls, done) = (&ledger, &urls, &done);
            scope.spawn(move || {
                let mut round = reader;
                while !done.load(Ordering::Acquire) {
                    let clock = ledger.clock(&zone());
                    let seen = ledger.applied().number();
                    // Mostly a URL whose mark comes or goes right now, born right before.
                    let url = url_of((seen + round / 8 % 6).saturating_sub(2));
                    let born = seen.saturating_sub([0, 1, 2, 3, 1, 0, 20, 50][(round % 8) as usize]);
                    round = round.wrapping_add(1);
                    let born_seq = PurgeSeq::new(born);
                    if clock.has_nothing_after(born_seq) {
                        assert_eq!(seen, born, "every entry is of this zone");
                    }
                    let subject = Subject { clock: &clock, url: &urls[url as usize], tags: &Tags::NONE };
                    let judgement = ledger.judge(subject, born_seq, born_seq);
                    let certain_to = seen.max(judgement.walked_at.number());
                    match judgement.verdict {
                        Verdict::Clear => {
                            assert!(!deleted_within(url, born, certain_to), "{url} {born} {judgement:?}");
                        }
                        Verdict::Deleted(seq) => {
                            assert!(seq > born_seq && url_of(seq.number()) == url, "{url} {born} {seq}");
                        }
                        Verdict::Invalidated(_) => panic!("nothing was invalidated"),
                        Verdict::BeyondHorizon => assert!(born_seq < ledger.horizon()),
                    }
                }
            });
        }
        let _ends = EndsReaders(&done);
        let mut seq = 0;
        while seq < ENTRIES {
            seq += 1;
            ledger.apply(epoch, &[entry(&urls, seq)]).unwrap();
            if seq.is_multiple_of(2) {
                ledger.forget(epoch, PurgeSeq::new(seq - seq % 3)).unwrap();
            }
            if seq.is_multiple_of(11) {
                seq += 3;
                ledger.jump(epoch, PurgeSeq::new(seq)).unwrap();
            }
        }
    });
}

/// Each log's head lies below that of the log before, so that an old position taken for one of the new log would
/// vouch for anything.
#[test]
fn nothing_of_an_old_epoch_is_vouched_for() {
    const EPOCHS: u64 = 3_000;
    const SPAN: u64 = 1_000;
    const APPLIED_EACH: u64 = 20;
    let head_of = |epoch: u64| (EPOCHS - epoch) * SPAN;
    let (ledger, urls) = (Ledger::new([2; 16]), urls());
    ledger.jump(Epoch::new(0), PurgeSeq::new(head_of(0))).unwrap();
    let (done, jumped_to) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..READERS {
            let (ledger, urls, done, jumped_to) = (&ledger, &urls, &done, &jumped_to);
            scope.spawn(move || {
                let mut held: Option<(u64, Arc<ZoneClock>, PurgeSeq)> = None;
                let url = &urls[reader as usize];
                while !done.load(Ordering::Acquire) {
                    let epoch = jumped_to.load(Ordering::Acquire);
                    let clock = ledger.clock(&zone());
                    let seen = ledger.applied();
                    if !clock.is_retired() {
                        // The clock is still of the newest log, so `seen` is too.
                        let head = PurgeSeq::new(seen.number() / SPAN * SPAN);
                        assert!(
                            clock.has_nothing_after(PurgeSeq::new(head.number() + SPAN - 1))
                                || clock.is_retired()
                        );
                        assert!(
                            head == PurgeSeq::ZERO
                                || !clock.has_nothing_after(PurgeSeq::new(head.number() - 1))
                        );
                    }
                    if let Some((held_epoch, held_clock, born)) = &held
                        && *held_epoch < epoch
                    {
                        let subject = Subject { clock: held_clock, url, tags: &Tags::NONE };
                        let verdict = ledger.judge(subject, *born, *born).verdict;
                        assert_eq!(verdict, Verdict::BeyondHorizon, "born {born} under epoch {held_epoch}");
                        held = None;
                    }
                    if held.is_none() && !clock.is_retired() {
                        held = Some((EPOCHS - seen.number() / SPAN, clock, seen));
                    }
                }
            });
        }
        let _ends = EndsReaders(&done);
        for epoch in 1..=EPOCHS {
            ledger.jump(Epoch::new(epoch), PurgeSeq::new(head_of(epoch))).unwrap();
            jumped_to.store(epoch, Ordering::Release);
            for seq in (head_of(epoch) + 1..).take(APPLIED_EACH as usize) {
                ledger.apply(Epoch::new(epoch), &[entry(&urls, seq)]).unwrap();
            }
        }
    });
}
