//! Where the bytes of a connection are split changes nothing, and nothing makes the check panic.

use httpcache::{FramingRefusal, HeadLimits, Requests};
use proptest::prelude::*;

const LIMITS: HeadLimits = HeadLimits { head_bytes: 400, target_bytes: 60, fields: 8 };

/// The verdict on a connection whose bytes come in pieces that end at `splits`.
fn passed(
    bytes: &[u8],
    splits: &[usize],
    mut check: impl FnMut(&[u8]) -> httpcache::Checked,
) -> (usize, Option<FramingRefusal>) {
    let mut ends: Vec<usize> = splits.iter().map(|split| split % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut done = 0;
    for end in ends {
        let checked = check(&bytes[done..end]);
        assert!(checked.passed <= end - done);
        done += checked.passed;
        if checked.refusal.is_some() {
            return (done, checked.refusal);
        }
    }
    (done, None)
}

/// Bytes that look like messages, more or less.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => Just("GET / HTTP/1.1\r\nhost: a\r\n".to_owned()),
        2 => Just("POST http://a/x HTTP/1.1\r\nhost: a\r\n".to_owned()),
        4 => Just("\r\n".to_owned()),
        2 => Just("content-length: 4\r\n".to_owned()),
        3 => Just("transfer-encoding: chunked\r\n".to_owned()),
        2 => Just("4\r\nabcd\r\n".to_owned()),
        2 => Just("0\r\n".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\r".to_owned()),
        1 => Just(" ".to_owned()),
        1 => Just(";".to_owned()),
        1 => Just("\u{0}".to_owned()),
        2 => "[ -~]{0,60}",
        1 => "[x-z]{1,9}: [a-c]{0,90}\r\n",
    ];
    prop::collection::vec(part, 0..14).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn splits_change_no_verdict(
        bytes in connection(),
        splits in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let mut whole = Requests::new(LIMITS);
        let mut split = Requests::new(LIMITS);
        let verdict = passed(&bytes, &[], |bytes| whole.check(bytes));
        prop_assert_eq!(passed(&bytes, &splits, |bytes| split.check(bytes)), verdict);
        prop_assert_eq!(split.heads(), whole.heads());
        let every_byte: Vec<usize> = (0..bytes.len()).collect();
        let mut split = Requests::new(LIMITS);
        prop_assert_eq!(passed(&bytes, &every_byte, |bytes| split.check(bytes)), verdict);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let checked = Requests::new(LIMITS).check(&bytes);
        prop_assert!(checked.passed <= bytes.len());
    }
}
