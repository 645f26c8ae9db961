//! How a response becomes a head and slices: one that is too large for one object, or a part of one that nothing is known
//! of yet.
//!
//! Both need a length and a strong validator: without them nothing could ever be added to what came first.

use crate::fetch::{Job, is_kept};
use crate::flight::{Arrival, ArrivalSource, FetchFailure, Landing, Sharing};
use crate::object::{NewObject, Object};
use crate::origin::ResponseBody;
use crate::shelf::ObjectKey;
use crate::slice_run::{Brought, Cut, Run};
use crate::slices::{SliceOf, Slices};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use httpcache::{ByteRange, ContentRange, StrongValidator};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The part of an unknown response that is asked for: whole slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstPart {
    /// The offset of the first byte.
    pub(crate) first: u64,
    /// The offset after the last byte, if not all that follows is wanted.
    end: Option<u64>,
}

impl FirstPart {
    /// The slices that a client's range needs. Where the range counts from the end, that end is not known yet: the first
    /// slice tells it.
    pub(crate) fn of(range: ByteRange, slice_bytes: u64) -> Self {
        let start = |position: u64| position - position % slice_bytes;
        let end = |last: u64| (last / slice_bytes).saturating_add(1).saturating_mul(slice_bytes);
        match range {
            ByteRange::FromTo { first, last } => Self { first: start(first), end: Some(end(last)) },
            ByteRange::From(first) => Self { first: start(first), end: None },
            ByteRange::Last(_) => Self { first: 0, end: Some(slice_bytes) },
        }
    }

    /// The field that asks for it.
    pub(crate) fn conditions(self) -> HeaderMap {
        HeaderMap::from_iter([(header::RANGE, httpcache::range_value(self.first, self.end))])
    }

    /// The length of the whole, and where the part ends that a 206 brings, if that is what was asked for.
    pub(crate) fn brought(self, headers: &HeaderMap, declared: Option<u64>) -> Result<Covered, FetchFailure> {
        let Some(ContentRange::Part { first, last, complete: Some(complete) }) =
            ContentRange::of_response(headers)
        else {
            return Err(FetchFailure::PartWrong);
        };
        let end = last.saturating_add(1);
        let wanted_end = self.end.unwrap_or(complete).min(complete);
        let is_asked_for = first == self.first && end == wanted_end && declared == Some(end - first);
        is_asked_for.then_some(Covered { first, end, complete }).ok_or(FetchFailure::PartWrong)
    }
}

/// Which bytes of a content of `complete` bytes a response brings: from `first` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) complete: u64,
}

impl Covered {
    pub(crate) fn is_all(self) -> bool {
        self.first == 0 && self.end == self.complete
    }
}

/// A response that is to be stored in slices.
pub(crate) struct InSlices {
    pub(crate) key: ObjectKey,
    pub(crate) covered: Covered,
    pub(crate) slices: Arc<Slices>,
    /// Fields that only the client may have that asked.
    pub(crate) unshared: HeaderMap,
    pub(crate) head: NewObject,
}

/// A head that was admitted, and its response to cut.
pub(crate) struct AdmittedSlices {
    cut: Cut,
    out: mpsc::Sender<Brought>,
}

impl AdmittedSlices {
    /// Cuts the response into slices for as long as someone wants them.
    pub(crate) async fn take(self) {
        self.cut.run(&self.out).await;
    }
}

impl Job {
    /// What the slices of a new response have in common.
    pub(crate) fn slices(
        &self,
        validator: StrongValidator,
        length: u64,
        brought_by: StatusCode,
    ) -> Arc<Slices> {
        let slice_bytes = self.state.config.slice_length();
        let generation = self.state.next_request_id();
        Arc::new(Slices { generation, length, slice_bytes, validator, brought_by })
    }

    /// Admission of a head: walks the marks with the fetch's born, stores it, and hands it on. Its slices follow.
    pub(crate) async fn admit_slices(
        self: &Arc<Self>,
        landing: &mut Landing,
        parts: InSlices,
        body: ResponseBody,
    ) -> AdmittedSlices {
        let InSlices { key, covered, slices, unshared, head } = parts;
        let state = &self.state;
        let birth = head.birth.clone();
        let head = Object::new(head);
        let keeps = is_kept(head.standing(&state.ledger));
        let is_part = slices.brought_by == StatusCode::PARTIAL_CONTENT;
        // What memory has forgotten, or has not asked for yet since the start, the disk may have.
        let from_disk = if is_part { state.shelf.at(key, &head.url).await } else { None };
        let is_stored = landing.store(key, |allowed| {
            // A 206 raises no born: what it would only replace by its like stays as it is, with all its slices. An edge
            // without a lease, which may not use it now, finds it warm later.
            let has_like = is_part
                && state.shelf.peek(key).or(from_disk).is_some_and(|there| {
                    is_kept(there.standing(&state.ledger)) && is_like(&there, &slices, &head)
                });
            let stores = allowed && keeps && !has_like;
            if stores {
                state.shelf.insert(key, Arc::clone(&head));
            }
            stores
        });
        let sharing = if head.freshness.is_fresh((state.clocks.wall)()) {
            Sharing::Everyone(key)
        } else {
            Sharing::ThoseBefore
        };
        let first = slices.index_of(covered.first);
        let (out, run) = Run::channel(first);
        let source = ArrivalSource::Origin;
        let arrival = Arrival { object: Arc::clone(&head), source, sharing, is_stored, unshared };
        let of = SliceOf { head: key, generation: slices.generation };
        let mut cut = Cut {
            job: Arc::clone(self),
            head,
            slices,
            of,
            birth,
            body,
            left_over: Bytes::new(),
            at: covered.first,
            end: covered.end,
            wanted: first,
            landing: None,
            keeps: is_stored,
            begun: None,
            disk_keeps_up: true,
        };
        cut.begun = cut.begin(first);
        landing.arrive_in_slices(Arc::new(arrival), run);
        AdmittedSlices { cut, out }
    }
}

/// Whether a stored response is of the same representation, and has all the tags that this one names.
fn is_like(there: &Object, slices: &Slices, head: &Object) -> bool {
    there.url == head.url
        && there.status == head.status
        && there.declared_length == head.declared_length
        && head.tags_ignored == 0
        && there.tags.union(&head.tags).is_ok_and(|all| all == there.tags)
        && StrongValidator::of_response(&there.head.unpack()).as_ref() == Some(&slices.validator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_range_is_widened_to_slices() {
        let part = |first, end| FirstPart { first, end };
        let cases = [
            (ByteRange::FromTo { first: 0, last: 0 }, part(0, Some(10))),
            (ByteRange::FromTo { first: 9, last: 10 }, part(0, Some(20))),
            (ByteRange::FromTo { first: 10, last: 19 }, part(10, Some(20))),
            (ByteRange::FromTo { first: 11, last: u64::MAX }, part(10, Some(u64::MAX))),
            (ByteRange::From(25), part(20, None)),
            (ByteRange::Last(1000), part(0, Some(10))),
        ];
        for (range, expected) in cases {
            assert_eq!(FirstPart::of(range, 10), expected, "{range:?}");
        }
    }

    #[test]
    fn a_206_brings_what_was_asked_for_or_nothing() {
        let covered = |first, end, complete| Some(Covered { first, end, complete });
        let cases = [
            (10, Some(20), "bytes 10-19/35", Some(10), covered(10, 20, 35)),
            (10, Some(20), "bytes 10-14/15", Some(5), covered(10, 15, 15)),
            (0, Some(20), "bytes 0-14/15", Some(15), covered(0, 15, 15)),
            (10, None, "bytes 10-34/35", Some(25), covered(10, 35, 35)),
            (10, Some(20), "bytes 10-18/35", Some(9), None),
            (10, Some(20), "bytes 0-19/35", Some(20), None),
            (10, Some(20), "bytes 10-19/35", Some(9), None),
            (10, Some(20), "bytes 10-19/35", None, None),
            (10, Some(20), "bytes 10-19/*", Some(10), None),
            (10, Some(20), "bytes */35", Some(10), None),
            (10, Some(20), "", Some(10), None),
        ];
        for (first, end, text, declared, expected) in cases {
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, text.parse().unwrap())]);
            let found = FirstPart { first, end }.brought(&headers, declared).ok();
            assert_eq!(found, expected, "{first} {end:?} {text:?} {declared:?}");
        }
        assert!(covered(0, 15, 15).unwrap().is_all() && !covered(0, 10, 15).unwrap().is_all());
    }
}
