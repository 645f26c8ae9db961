//! A disk that is full or fails costs fetches: the edge goes on from memory, counts it, and says so once.

use super::simulated::{Simulated, Trouble};
use super::{EPOCH, Running, advance, count, entry, url};
use crate::disk::WRITE_PAUSE;
use parking_lot::Mutex;
use purge::{Method, PurgeSeq, Scope};
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, span};

/// Keeps the texts of warnings and errors.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().push(text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A tier whose files of earlier runs, none, have been found.
fn recovered(volume: &Arc<Simulated>) -> Running {
    let mut running = Running::start(volume);
    running.ledger.jump(EPOCH, PurgeSeq::ZERO).unwrap();
    running.disk.save();
    running.work();
    running
}

fn store(running: &mut Running, numbers: std::ops::Range<u8>) {
    for number in numbers {
        running.store(number, running.ledger.applied(), "", b"content");
    }
    running.work();
}

#[test]
fn a_disk_that_takes_no_writes_is_left_alone_for_a_while_and_warned_of_once() {
    for (kind, said) in [(ErrorKind::StorageFull, "the disk is full"), (ErrorKind::Other, "the disk fails")] {
        for after in 0..4 {
            let (volume, warnings) = (Arc::new(Simulated::new()), Warnings::default());
            let _capturing = tracing::subscriber::set_default(warnings.clone());
            let mut running = recovered(&volume);
            volume.set(Trouble::From(after, kind));
            store(&mut running, 0..4);
            let seen = |running: &Running| {
                let counts = running.counts();
                (count(&counts.written), count(&counts.write_errors), count(&counts.not_written))
            };
            // What waited behind the write that failed is not tried either.
            assert_eq!(seen(&running), (after, 1, 4 - after));
            assert!(running.disk.usage().is_failing);

            store(&mut running, 4..5);
            assert_eq!(seen(&running), (after, 1, 4 - after), "not tried yet");
            advance(WRITE_PAUSE);
            store(&mut running, 5..6);
            assert_eq!(seen(&running), (after, 2, 5 - after), "tried again");
            assert_eq!(running.shelf.objects().count(), 6, "memory has it all");
            let said_so: Vec<String> = warnings.0.lock().clone();
            assert!(matches!(&said_so[..], [one] if one.starts_with(said)), "{said_so:?}");

            volume.set(Trouble::None);
            advance(WRITE_PAUSE);
            store(&mut running, 6..7);
            assert_eq!(seen(&running), (after + 1, 2, 5 - after));
            assert!(!running.disk.usage().is_failing);
        }
    }
}

#[test]
fn whichever_operation_fails_memory_goes_on_and_nothing_is_said_twice() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for after in 0..16 {
            for trouble in [Trouble::Once(after, kind), Trouble::From(after, kind)] {
                let (volume, warnings) = (Arc::new(Simulated::new()), Warnings::default());
                let _capturing = tracing::subscriber::set_default(warnings.clone());
                let mut running = recovered(&volume);
                volume.set(trouble);
                store(&mut running, 0..4);
                let purges = [
                    entry(1, Scope::Url(url(0)), Method::Delete),
                    entry(2, Scope::Url(url(1)), Method::Invalidate),
                ];
                running.ledger.apply(EPOCH, &purges).unwrap();
                for _ in 0..2 {
                    let swept = running.disk.jobs.sweep();
                    running.disk.save();
                    running.work();
                    assert!(swept.blocking_recv().is_ok(), "sweeps of memory go on");
                    advance(WRITE_PAUSE);
                    store(&mut running, 4..6);
                }
                assert_eq!(running.shelf.objects().count(), 6);
                let mut said: Vec<String> = warnings.0.lock().clone();
                said.sort_unstable();
                let times = said.len();
                said.dedup();
                assert_eq!(said.len(), times, "{trouble:?}: {said:?}");
            }
        }
    }
}
