//! What a lookup costs by marks outstanding, and what applying an entry costs by objects cached. Both should be flat.

mod outstanding;

use divan::Bencher;
use outstanding::Outstanding;
use std::cell::RefCell;

/// How many different purges the benchmark of applying cycles through, so that its ledger stays small.
const DIFFERENT_PURGES: usize = 1000;

fn main() {
    divan::main();
}

#[divan::bench(args = [0, 1_000, 1_000_000])]
fn walk(bencher: Bencher<'_, '_>, marks: usize) {
    let mut zone = Outstanding::with_marks(marks);
    bencher.bench_local(move || zone.walk());
}

#[divan::bench(args = [0, 1_000, 1_000_000])]
fn hit(bencher: Bencher<'_, '_>, marks: usize) {
    let mut zone = Outstanding::with_marks(marks);
    let checked = zone.applied();
    bencher.bench_local(move || zone.hit(checked));
}

#[divan::bench(args = [1_000, 1_000_000])]
fn apply(bencher: Bencher<'_, '_>, objects: usize) {
    let zone = RefCell::new(Outstanding::with_objects(objects));
    bencher
        .with_inputs(|| zone.borrow_mut().next_entry(DIFFERENT_PURGES))
        .bench_local_values(|entry| zone.borrow().apply(&entry));
}
