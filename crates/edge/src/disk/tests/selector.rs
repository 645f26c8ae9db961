//! What selects among the responses of a URL, found on disk while an unsafe request removes them.

use super::simulated::Simulated;
use super::{EPOCH, Running};
use crate::shelf::{Entry, Selector};
use http::HeaderMap;
use httpcache::{KeyParts, VaryRule};
use purge::PurgeSeq;
use std::sync::Arc;

fn selector() -> Selector {
    let mut response = HeaderMap::new();
    response.insert("vary", "accept-language".parse().unwrap());
    Selector { parts: KeyParts::default(), rule: VaryRule::of_response(&response) }
}

/// A tier whose disk knows the selector of URL 1, as one that has just started.
fn stored() -> Running {
    let volume = Arc::new(Simulated::new());
    let mut running = Running::start(&volume);
    running.ledger.jump(EPOCH, PurgeSeq::ZERO).unwrap();
    running.disk.save();
    running.work();
    let key = running.key(1);
    running.shelf.place(key, selector(), &HeaderMap::new(), 5).unwrap();
    running.work();
    drop(running);
    let mut running = Running::start(&volume);
    running.work();
    running
}

#[test]
fn a_selector_that_was_removed_while_it_was_found_on_disk_does_not_come_back() {
    let running = stored();
    let key = running.key(1);
    let (found, generation) = running.disk.selector(key).unwrap();
    // Between its finding and its keeping.
    running.shelf.remove(key);
    assert!(running.shelf.keep_selector(&running.disk, key, found, generation).is_none());
    let seen = running.shelf.select(key, &super::url(1), &KeyParts::default(), || panic!("nothing varies"));
    assert!(!seen.varies);

    let running = stored();
    let key = running.key(1);
    let (found, generation) = running.disk.selector(key).unwrap();
    let kept = running.shelf.keep_selector(&running.disk, key, found, generation);
    assert!(matches!(kept, Some(Entry::Varies(_, 5))));
}
