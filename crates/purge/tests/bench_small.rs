//! The benchmark of the ledger at a small size, so that it can't rot.

#[path = "../benches/outstanding/mod.rs"]
mod outstanding;

use outstanding::Outstanding;
use purge::{PurgeSeq, Verdict};

#[test]
fn the_benchmarks_cases_do_what_they_say() {
    // With no mark left the objects are older than what was forgotten; a walk that finds nothing says so.
    for marks in [0, 1_000] {
        let mut zone = Outstanding::with_marks(marks);
        let judgement = zone.walk();
        assert_eq!(judgement.verdict, Verdict::BeyondHorizon);
        assert_eq!(judgement.walked_at, PurgeSeq::new(5 + marks as u64));
        let applied = zone.applied();
        assert!(zone.hit(applied) && !zone.hit(PurgeSeq::ZERO));
    }
    let mut zone = Outstanding::with_objects(1_000);
    for n in 1..=10 {
        let entry = zone.next_entry(5);
        assert_eq!(zone.apply(&entry), PurgeSeq::new(n));
        assert_eq!(zone.walk().verdict, Verdict::Clear, "no purge matches an object");
    }
}
