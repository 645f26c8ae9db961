//! The benchmark of framing at a small size, so that it can't rot.

#[path = "../benches/heads/mod.rs"]
mod heads;

use heads::{BROWSER, Connection, SHORT};

#[test]
fn the_benchmarks_cases_do_what_they_say() {
    let mut connection = Connection::open();
    for head in [SHORT, BROWSER] {
        let more = format!("{head}{SHORT}");
        assert_eq!(connection.whole(&more), head.len(), "one head, and nothing of what follows");
        assert_eq!(connection.whole(&head[..head.len() - 1]), 0, "no head that is not whole");
        assert_eq!(connection.whole(head), head.len());
        assert_eq!(connection.all(&head.repeat(16)), 16 * head.len());
        for bytes in [1, 64, head.len()] {
            assert_eq!(connection.pieces(head, bytes), head.len());
        }
    }
}
