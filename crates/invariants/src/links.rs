//! Messages between control plane and edges.

/// Messages of the feed, of both directions: what was read and is written again reads as the same.
pub fn feed(input: &[u8]) {
    feed::fuzzing::edge_to_control(input);
    feed::fuzzing::to_edge(input);
}
