//! What fuzzers may call: messages are private to this crate, and no others read them.

use crate::wire::{Message, frame, unframe};
use crate::{EdgeToControl, ToEdge};
use bytes::{BufMut, BytesMut};
use std::fmt::Debug;

/// Reads these bytes as JSON of a message of an edge. Panics if it does not come back as it was when written again.
pub fn edge_to_control(json: &[u8]) {
    check::<EdgeToControl>(json);
}

/// The same of a message to an edge.
pub fn to_edge(json: &[u8]) {
    check::<ToEdge>(json);
}

fn check<M: Message + Debug>(json: &[u8]) {
    // As a whole stream first: the length in front is input, too.
    let _ = unframe::<M>(&mut BytesMut::from(json));
    let Ok(length) = u32::try_from(json.len()) else { return };
    let mut buffer = BytesMut::new();
    buffer.put_u32(length);
    buffer.extend_from_slice(json);
    let Ok(Some(message)) = unframe::<M>(&mut buffer) else { return };
    assert!(buffer.is_empty());
    let framed = frame(&message).expect("what was read can be written");
    for split in [0, 3, framed.len() - 1] {
        let part = unframe::<M>(&mut BytesMut::from(&framed[..split]));
        assert!(matches!(part, Ok(None)), "a part of a message waits for the rest");
    }
    let again = unframe::<M>(&mut BytesMut::from(&framed[..])).expect("what was written can be read");
    assert_eq!(format!("{:?}", again.as_ref()), format!("{:?}", Some(&message)));
    assert_eq!(again.map(|again| frame(&again).ok()), Some(Some(framed)));
}
