//! What the check of framing costs: a head of a browser, and one of a load generator.

mod heads;

use divan::{Bencher, counter::BytesCount};
use heads::{BROWSER, Connection, SHORT};

fn main() {
    divan::main();
}

#[divan::bench(args = [SHORT, BROWSER])]
fn whole(bencher: Bencher<'_, '_>, head: &str) {
    let mut connection = Connection::open();
    bencher
        .counter(BytesCount::of_str(head))
        .bench_local(move || assert_eq!(connection.whole(divan::black_box(head)), head.len()));
}

#[divan::bench(args = [1, 16])]
fn pipelined(bencher: Bencher<'_, '_>, count: usize) {
    let mut connection = Connection::open();
    let heads = BROWSER.repeat(count);
    bencher
        .counter(BytesCount::of_str(&heads))
        .bench_local(move || assert_eq!(connection.all(divan::black_box(&heads)), heads.len()));
}

#[divan::bench(args = [1, 64])]
fn pieces(bencher: Bencher<'_, '_>, bytes: usize) {
    let mut connection = Connection::open();
    bencher
        .counter(BytesCount::of_str(BROWSER))
        .bench_local(move || assert_eq!(connection.pieces(divan::black_box(BROWSER), bytes), BROWSER.len()));
}
