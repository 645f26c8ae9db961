//! Content that is stored in slices, and how an answer reads it.
//!
//! A response that is too large for one object, or of which only a part was asked for, is stored as a *head* under the key
//! that the whole would have, and *slices*: aligned parts of its content, each an [`Object`] of its own under a key made of
//! the head's key, a *generation* and its index. So eviction, sweep and disk work slice by slice, and a range fetches what
//! it needs. What holds them together, by the purge protocol's rule for pieces:
//!
//! - **A piece joins only the object it was fetched for, with the same strong validator.** A head's generation is random,
//!   never reused, and has one strong validator and one length for good. A slice is found only through its head's
//!   generation, and its fetch asks with `If-Range` and is checked against validator and length (see
//!   [`crate::slice_run`]). A head that was fetched anew has another generation, so that no slice of old joins it: neither
//!   after a `delete`, when the fetch is unconditional, nor after a 200 to a conditional one.
//! - **The lowest born among them counts.** Head and slice are both judged, each by its own born: a mark above the lowest
//!   is above that of the one that has it. Every slice carries the URL of its head and the tags known when it was fetched;
//!   the head has all tags that any response with the same content has brought (a 206 that names a new one adds it to the
//!   head before its bytes are used), so that a purge of any of them meets the head.
//! - **A 304 raises all**, through the head, whose born is the 304's: an `invalidate` found at a slice counts only if it is
//!   above the head's born. A `delete` is walked from the slice's own born: nothing resurrects what it matched. It can't be
//!   between a head's first born and its present one either, since a request that sees the mark sends no condition.
//! - **206 never raises born**: fetching a slice leaves the head's birth as it is.
//!
//! On disk a head and each slice are files of their own (see [`crate::disk`]); memory is a window before them. Which tier has a head or a slice
//! makes no difference to any of this.
//!
//! A long answer reads lease, `seen`, head and slice anew for each slice, in the protocol's order, as a request that starts
//! then. While that finds the head clear and of its generation, slices come from the cache, from fetches under way by the
//! rules for followers, or from a fetch of its own that is stored. As soon as it does not (the edge is fenced, the head was
//! purged, replaced or evicted), nothing more comes from the cache: the answer goes on from the origin, tied by `If-Range` to
//! the representation it began with, and breaks off if the origin has another one by then. So no answer mixes versions, and
//! none gives what a purge matched after it heard of it.

use crate::body::Reader;
use crate::fetch::Job;
use crate::flight::{Boarding, FetchFailure, Joins, Sharing, may_share};
use crate::object::{Object, Standing};
use crate::respond::AnswerError;
use crate::shelf::ObjectKey;
use crate::slice_run::{Run, Stretch};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use httpcache::StrongValidator;
use purge::Ledger;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// How many slices one request to the origin asks for, at most: it goes on as long as the next one is missing.
pub(crate) const SLICES_PER_FETCH_MAX: u64 = 64;

/// How far before the bytes that are wanted a response under way may be for an answer to wait for it, in slices.
const SKIPPED_SLICES_MAX: u64 = 4;

/// How many slices of a range are looked at to tell whether an answer comes from the cache alone.
const LOOKED_AT_MAX: u64 = 1024;

/// How often an answer looks for one slice.
const LOOKS_PER_SLICE_MAX: usize = 6;

/// What all slices of one response have in common. Never changed.
#[derive(Debug)]
pub(crate) struct Slices {
    pub(crate) generation: u64,
    /// The length of the whole content, in bytes; above 0.
    pub(crate) length: u64,
    /// The length of each slice but the last, in bytes; above 0.
    pub(crate) slice_bytes: u64,
    pub(crate) validator: StrongValidator,
    /// The status of the response that made the head: 200, or 206 where a part was asked for.
    pub(crate) brought_by: StatusCode,
}

impl Slices {
    pub(crate) fn index_of(&self, position: u64) -> u64 {
        position / self.slice_bytes
    }

    /// Where a slice begins.
    pub(crate) fn start_of(&self, index: u64) -> u64 {
        index.saturating_mul(self.slice_bytes)
    }

    /// Where a slice ends: the offset of the first byte after it.
    pub(crate) fn end_of(&self, index: u64) -> u64 {
        self.start_of(index.saturating_add(1)).min(self.length)
    }

    /// Where the slice ends that the byte before `end` lies in.
    fn aligned(&self, end: u64) -> u64 {
        self.end_of(self.index_of(end.saturating_sub(1)))
    }
}

/// Which response a slice belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SliceOf {
    pub(crate) head: ObjectKey,
    pub(crate) generation: u64,
}

/// One slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceId {
    pub(crate) of: SliceOf,
    pub(crate) index: u64,
}

impl SliceOf {
    /// Whether this is the head of the response, whatever a 304 has made of it since.
    pub(crate) fn is_of(self, head: &Object) -> bool {
        head.content.slices().is_some_and(|slices| slices.generation == self.generation)
    }
}

/// Whether a stored slice may be used by whoever found `head` clear: by its own born no `delete` matches it, and every
/// `invalidate` that does is older than the head's last validation.
pub(crate) fn is_usable(ledger: &Ledger, slice: &Object, head: &Object, length: u64) -> bool {
    if slice.content.whole().map(crate::body::Pieces::length) != Some(length) {
        return false;
    }
    match slice.standing(ledger) {
        Standing::Clear => true,
        Standing::Invalidated(seq) => {
            Arc::ptr_eq(&slice.birth.clock, &head.birth.clock) && seq <= head.birth.born
        }
        Standing::Deleted(_) | Standing::BeyondHorizon => false,
    }
}

/// Reads a stretch of sliced content, slice by slice.
pub(crate) struct Walk {
    job: Arc<Job>,
    /// The head that the answer begins with.
    head: Arc<Object>,
    slices: Arc<Slices>,
    /// The next byte that is wanted.
    position: u64,
    /// The offset after the last byte that is wanted.
    end: u64,
    run: Option<Run>,
}

impl Walk {
    /// A walk over the bytes from `first` to before `end`. `run` brings some of them already. `None` if the content of
    /// this head lies in no slices.
    pub(crate) fn new(
        job: Job,
        head: &Arc<Object>,
        first: u64,
        end: Option<u64>,
        run: Option<Run>,
    ) -> Option<Self> {
        let slices = Arc::clone(head.content.slices()?);
        let wanted = slices.index_of(first);
        let run = run.filter(|run| run.first <= wanted && wanted - run.first <= SKIPPED_SLICES_MAX);
        let end = end.unwrap_or(slices.length).min(slices.length);
        Some(Self { job: Arc::new(job), head: Arc::clone(head), slices, position: first, end, run })
    }

    /// Whether all that is wanted is stored, as far as that is looked at.
    pub(crate) fn is_all_stored(&self) -> bool {
        let (first, last) =
            (self.slices.index_of(self.position), self.slices.index_of(self.end.saturating_sub(1)));
        (first..=last.min(first + LOOKED_AT_MAX)).all(|index| self.job.state.shelf.holds(self.key(index)))
    }

    fn key(&self, index: u64) -> ObjectKey {
        self.job.state.shelf.slice_key(self.job.key, self.slices.generation, index)
    }

    fn slice_of(&self) -> SliceOf {
        SliceOf { head: self.job.key, generation: self.slices.generation }
    }

    /// The reader of the next slice.
    async fn next(&mut self) -> Result<Reader, FetchFailure> {
        let mut joins = Joins::Any;
        for _ in 0..LOOKS_PER_SLICE_MAX {
            if let Some(reader) = self.look(&mut joins).await? {
                self.position = self.slices.end_of(self.slices.index_of(self.position)).min(self.end);
                return Ok(reader);
            }
        }
        Err(FetchFailure::Abandoned)
    }

    /// One pass over lease, `seen`, head, slice, fetches under way and marks.
    async fn look(&mut self, joins: &mut Joins) -> Result<Option<Reader>, FetchFailure> {
        let index = self.slices.index_of(self.position);
        if let Some(reader) = self.of_run(index).await? {
            return Ok(Some(reader));
        }
        let (from, to) = self.within(index);
        let (job, state) = (Arc::clone(&self.job), Arc::clone(&self.job.state));
        let reading = state.read(job.route.zone());
        let head = if reading.may_serve() { self.stored_head().await } else { None };
        let Some(head) = head else {
            let landing = state.flights.alone(job.url_key, &job.url, &reading);
            let stretch = self.stretch(index, self.slices.aligned(self.end), false);
            self.run = Some(Run::send(stretch, landing, Some(reading.leased)));
            return Ok(None);
        };
        let key = self.key(index);
        if let Some(slice) = state.shelf.at(key, &job.url).await {
            let length = self.slices.end_of(index) - self.slices.start_of(index);
            // To read it may have taken time.
            if head.standing(&state.ledger) != Standing::Clear {
                return Ok(None);
            }
            if is_usable(&state.ledger, &slice, &head, length)
                && let Some(reader) = slice.content.reader(from, to)
            {
                return Ok(Some(reader));
            }
            state.shelf.forget_slice(key, &slice);
        }
        let stretch = self.stretch(index, self.missing_from(index), true);
        if *joins == Joins::Nothing {
            let landing = state.flights.alone(job.url_key, &job.url, &reading);
            self.run = Some(Run::send(stretch, landing, Some(reading.leased)));
            return Ok(None);
        }
        match state.flights.board(job.url_key, key, &job.url, &reading, &state.ledger, *joins) {
            Boarding::Send(landing) => self.run = Some(Run::send(stretch, landing, Some(reading.leased))),
            Boarding::SendNext(landing) => self.run = Some(Run::send(stretch, landing, None)),
            Boarding::Follow { flight, before_sent } => {
                let arrival = flight.arrival().await?;
                if arrival.sharing == Sharing::Nobody {
                    *joins = Joins::Nothing;
                } else if !before_sent && !may_share(&arrival.object, &reading, &state.ledger) {
                    *joins = Joins::Unsent;
                } else {
                    return Ok(arrival.object.content.reader(from, to));
                }
            }
        }
        Ok(None)
    }

    fn stretch(&self, index: u64, end: u64, keeps: bool) -> Stretch {
        let (job, head, slices) = (Arc::clone(&self.job), Arc::clone(&self.head), Arc::clone(&self.slices));
        Stretch { job, head, slices, index, end, keeps }
    }

    /// What this answer's own fetch brings of a slice. `None` once it brings nothing more.
    async fn of_run(&mut self, index: u64) -> Result<Option<Reader>, FetchFailure> {
        let (from, to) = self.within(index);
        while let Some(run) = &mut self.run {
            match run.next().await {
                Some(Ok((brought, mut reader))) if brought == index => {
                    reader.narrow(from, to.unwrap_or(u64::MAX));
                    return Ok(Some(reader));
                }
                // Before what is wanted: it is the response to a condition.
                Some(Ok((brought, _))) if brought < index => {}
                Some(Err(failure)) => {
                    self.run = None;
                    return Err(failure);
                }
                Some(Ok(_)) | None => self.run = None,
            }
        }
        Ok(None)
    }

    /// What is wanted of a slice, counted from its start. Its own end is left open: whoever writes it waits for readers to
    /// come to it.
    fn within(&self, index: u64) -> (u64, Option<u64>) {
        let start = self.slices.start_of(index);
        let to = (self.end < self.slices.end_of(index)).then(|| self.end - start);
        (self.position - start, to)
    }

    /// The head, if it may be used for a reading made just before.
    async fn stored_head(&self) -> Option<Arc<Object>> {
        let state = &self.job.state;
        let stored = state.shelf.at(self.job.key, &self.job.url).await;
        let head = stored.filter(|head| self.slice_of().is_of(head))?;
        let is_clear = head.standing(&state.ledger) == Standing::Clear && !head.is_outdated();
        is_clear.then_some(head)
    }

    /// Up to where nothing is stored or under way that is wanted, from a slice that isn't.
    fn missing_from(&self, index: u64) -> u64 {
        let state = &self.job.state;
        let last = self.slices.index_of(self.end.saturating_sub(1)).min(index + SLICES_PER_FETCH_MAX - 1);
        let is_missing = |index: &u64| {
            let key = self.key(*index);
            !state.shelf.holds(key) && !state.flights.is_under_way(key)
        };
        let missing = (index + 1..=last).take_while(is_missing).last().unwrap_or(index);
        self.slices.end_of(missing)
    }
}

/// A step of a walk under way.
type Step = Pin<Box<dyn Future<Output = (Walk, Result<Reader, FetchFailure>)> + Send>>;

/// The body of an answer whose content lies in slices.
pub(crate) struct SlicedBody {
    current: Option<Reader>,
    /// Taken while a step is under way.
    walk: Option<Walk>,
    step: Option<Step>,
    /// How much is still to be handed out, in bytes.
    left: u64,
}

impl SlicedBody {
    /// Goes to the first byte, so that what stands in the way there is known before the answer begins.
    pub(crate) async fn begin(mut walk: Walk) -> Result<Self, FetchFailure> {
        let left = walk.end - walk.position;
        let current = Some(walk.next().await?);
        Ok(Self { current, walk: Some(walk), step: None, left })
    }

    /// How much is still to be handed out, in bytes.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        while self.left > 0 {
            if let Some(reader) = &mut self.current {
                let Some(frame) = ready!(Pin::new(reader).poll_frame(cx)) else {
                    self.current = None;
                    continue;
                };
                let frame = frame?;
                self.left = self.left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(mut walk) = self.walk.take() {
                self.step = Some(Box::pin(async move {
                    let read = walk.next().await;
                    (walk, read)
                }));
            }
            let Some(step) = &mut self.step else {
                return Poll::Ready(Some(Err(FetchFailure::Abandoned.into())));
            };
            let (walk, read) = ready!(step.as_mut().poll(cx));
            self.step = None;
            self.current = Some(read?);
            self.walk = Some(walk);
        }
        Poll::Ready(None)
    }
}

/// The fields of a request for a part of a representation and no other.
pub(crate) fn part_conditions(slices: &Slices, first: u64, end: u64) -> HeaderMap {
    let mut conditions = HeaderMap::with_capacity(2);
    conditions.insert(http::header::RANGE, httpcache::range_value(first, Some(end)));
    conditions.insert(http::header::IF_RANGE, slices.validator.if_range());
    conditions
}
