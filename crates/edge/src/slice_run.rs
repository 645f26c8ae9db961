//! One response of an origin, cut into slices as it comes.
//!
//! It comes as fast as whoever sent its request takes it, and no slice begins before that one has taken the one before the
//! last: so a response of any length is in memory with two slices at most, beside what the store keeps. Within a slice
//! nobody is waited for, so that others may read it meanwhile. Where the next slice is stored or under way already, or
//! whoever sent it is gone, the response is broken off at the slice's end.
//!
//! A response that goes to disk, too, comes no faster than the disk takes its slices, as long as the disk keeps up.
//!
//! A slice is stored when it is whole, by itself: what comes after it changes nothing about its bytes. What the response
//! says about itself is checked before a byte of it is used, and its end is checked before its last slice is.

use crate::body::{Reader, Writer};
use crate::fetch::{Job, StoringBytes, UNSHARED_FOR, is_kept};
use crate::flight::{Arrival, ArrivalSource, FetchFailure, Landing, Sharing};
use crate::intake::{TagsRead, read_tags};
use crate::object::{Birth, NewObject, Object};
use crate::origin::ResponseBody;
use crate::shelf::Tagged;
use crate::slices::{SliceId, SliceOf, Slices, part_conditions};
use crate::upstream;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use httpcache::ContentRange;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// How often the tags of a part are added to a head whose file others bring back meanwhile. Then the head goes.
const SETTLES_MAX: usize = 4;

/// What is brought: the index of a slice and a reader of it.
pub(crate) type Brought = Result<(u64, Reader), FetchFailure>;

/// The slices that a response brings, for whoever sent its request.
pub(crate) struct Run {
    /// The first of them, as far as is known.
    pub(crate) first: u64,
    brought: mpsc::Receiver<Brought>,
}

/// A stretch of slices to ask for.
pub(crate) struct Stretch {
    pub(crate) job: Arc<Job>,
    /// The head of the response whose slices these are, as whoever asks has it.
    pub(crate) head: Arc<Object>,
    pub(crate) slices: Arc<Slices>,
    /// The first slice.
    pub(crate) index: u64,
    /// The offset after the last byte: the end of a slice.
    pub(crate) end: u64,
    /// Whether to store them. If not, nobody else is to read them either.
    pub(crate) keeps: bool,
}

impl Run {
    /// Room for what a response brings, from the slice `first` on.
    pub(crate) fn channel(first: u64) -> (mpsc::Sender<Brought>, Self) {
        // One slice waits while the one before it is read.
        let (out, brought) = mpsc::channel(1);
        (out, Self { first, brought })
    }

    /// Asks the origin for a stretch, in a task of its own. `leased` is `None` for a fetch that is yet to be sent, and
    /// then reads for itself.
    pub(crate) fn send(stretch: Stretch, landing: Landing, leased: Option<bool>) -> Self {
        let (out, run) = Self::channel(stretch.index);
        tokio::spawn(async move {
            if let Err(failure) = stretch.fetch(landing, leased, &out).await {
                tracing::debug!(reason = failure.name(), "no slices");
                // If nobody waits any more, nobody needs to know.
                let _ = out.send(Err(failure)).await;
            }
        });
        run
    }

    /// The next slice; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Brought> {
        self.brought.recv().await
    }
}

impl Stretch {
    async fn fetch(
        self,
        landing: Landing,
        leased: Option<bool>,
        out: &mpsc::Sender<Brought>,
    ) -> Result<(), FetchFailure> {
        let state = Arc::clone(&self.job.state);
        let leased = match leased {
            Some(leased) => leased,
            None => {
                landing.depart(|| state.lease.holds((state.clocks.boot)())).await;
                let reading = state.read(self.job.route.zone());
                landing.set_birth(&reading);
                reading.leased
            }
        };
        let ceiling = if leased { &state.fetches } else { &state.fenced_fetches };
        let asked = match ceiling.try_acquire() {
            Ok(permit) => self.ask(&landing, leased).await.map(|asked| (permit, asked)),
            Err(_) => Err(FetchFailure::TooManyFetches),
        };
        let (permit, (at, end, response)) = match asked {
            Ok(asked) => asked,
            Err(failure) => {
                landing.fail(failure);
                return Err(failure);
            }
        };
        // The ceiling of a fenced edge shields the origin, and holds for all that is under way.
        let _held = (!leased).then_some(permit);
        let birth = landing.birth().cloned().ok_or(FetchFailure::Abandoned)?;
        let (parts, body) = response.into_parts();
        let head = self.add_tags(&landing, &parts.headers).await;
        let cut = Cut {
            keeps: self.keeps && head.is_some(),
            head: head.unwrap_or(self.head),
            of: SliceOf { head: self.job.key, generation: self.slices.generation },
            job: self.job,
            slices: self.slices,
            birth,
            body,
            left_over: Bytes::new(),
            at,
            end,
            wanted: self.index,
            landing: Some(landing),
            begun: None,
            disk_keeps_up: true,
        };
        cut.run(out).await;
        Ok(())
    }

    /// Asks, and tells which bytes come. What is no part of the same representation says that there are none any more.
    async fn ask(
        &self,
        landing: &Landing,
        leased: bool,
    ) -> Result<(u64, u64, Response<ResponseBody>), FetchFailure> {
        let birth = landing.birth().ok_or(FetchFailure::Abandoned)?;
        let child = upstream::child_of(&self.job.state, birth, leased, None);
        let first = self.slices.start_of(self.index);
        let response = self.job.request(part_conditions(&self.slices, first, self.end), child).await?;
        match part_of(&self.slices, &response, first, self.end) {
            Ok((at, end)) => Ok((at, end, response)),
            Err(failure) => {
                let state = &self.job.state;
                if matches!(failure, FetchFailure::PartChanged | FetchFailure::PartWrong) {
                    let of = SliceOf { head: self.job.key, generation: self.slices.generation };
                    state.shelf.forget_head(of);
                }
                if failure == FetchFailure::PartWrong {
                    state.shelf.insert_unshared(self.job.key, (state.clocks.wall)() + UNSHARED_FOR);
                }
                Err(failure)
            }
        }
    }

    /// Adds the tags that a part names to the stored head: a purge of any must find all that belongs to it. `None` if the
    /// head is not stored, or can't have them all and goes.
    async fn add_tags(&self, landing: &Landing, part: &HeaderMap) -> Option<Arc<Object>> {
        let of = SliceOf { head: self.job.key, generation: self.slices.generation };
        let shelf = &self.job.state.shelf;
        let TagsRead { tags, ignored } = read_tags(&self.job.state.config.tag_headers, part);
        // Memory may have forgotten what the disk has.
        let _ = shelf.at(of.head, &self.job.url).await;
        for settled in 0..SETTLES_MAX {
            match landing.store(of.head, |_| shelf.add_tags(of, &tags, ignored, settled > 0)) {
                Tagged::Head(head) => return Some(head),
                Tagged::Unsettled if shelf.settle(of.head).await => {}
                Tagged::Gone => return None,
                Tagged::Unsettled | Tagged::GoneUnsettled => break,
            }
        }
        landing.store(of.head, |_| shelf.forget_head(of));
        shelf.settle(of.head).await;
        None
    }
}

/// Which bytes an answer to a request for a part brings, from the first to before the last: those asked for, or all, from
/// an origin that ignores ranges. Anything else is a lie or another representation.
fn part_of(
    slices: &Slices,
    response: &Response<ResponseBody>,
    first: u64,
    end: u64,
) -> Result<(u64, u64), FetchFailure> {
    let (status, headers) = (response.status(), response.headers());
    let declared = response.body().size_hint().exact();
    let is_same = slices.validator.is_of(headers);
    match status {
        StatusCode::OK if is_same && declared == Some(slices.length) => Ok((0, slices.length)),
        StatusCode::OK
        | StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::RANGE_NOT_SATISFIABLE => Err(FetchFailure::PartChanged),
        StatusCode::PARTIAL_CONTENT => match ContentRange::of_response(headers) {
            Some(ContentRange::Part { first: from, last, complete: Some(complete) }) => {
                let is_asked_for = from == first
                    && last.checked_add(1) == Some(end)
                    && declared.is_none_or(|declared| declared == end - first);
                match (is_same && complete == slices.length, is_asked_for) {
                    (true, true) => Ok((first, end)),
                    (true, false) => Err(FetchFailure::PartWrong),
                    (false, _) if names_another(slices, headers) || complete != slices.length => {
                        Err(FetchFailure::PartChanged)
                    }
                    (false, _) => Err(FetchFailure::PartWrong),
                }
            }
            _ => Err(FetchFailure::PartWrong),
        },
        _ => Err(FetchFailure::PartRefused),
    }
}

/// Whether a response has a validator, which is not that of these slices.
fn names_another(slices: &Slices, headers: &HeaderMap) -> bool {
    !slices.validator.is_of(headers) && !httpcache::Validators::of_response(headers).is_empty()
}

/// A response that is being cut.
pub(crate) struct Cut {
    pub(crate) job: Arc<Job>,
    pub(crate) head: Arc<Object>,
    pub(crate) slices: Arc<Slices>,
    pub(crate) of: SliceOf,
    /// The birth of the fetch, which all its slices have.
    pub(crate) birth: Birth,
    pub(crate) body: ResponseBody,
    /// What came of the next slice with the last bytes of the one before.
    pub(crate) left_over: Bytes,
    /// The offset of the next byte: the start of a slice.
    pub(crate) at: u64,
    /// The offset after the last byte.
    pub(crate) end: u64,
    /// The slice that whoever sent the request waits for. Those before it come unasked.
    pub(crate) wanted: u64,
    /// That slice's, where others wait for it already.
    pub(crate) landing: Option<Landing>,
    pub(crate) keeps: bool,
    /// The first slice, where others must find it under way before they hear of this response.
    pub(crate) begun: Option<Piece>,
    /// Whether the disk has taken slices as fast as they came.
    pub(crate) disk_keeps_up: bool,
}

/// One slice of it while it comes.
pub(crate) struct Piece {
    writer: Writer,
    object: Arc<Object>,
    landing: Option<Landing>,
    is_kept: bool,
}

/// Why a response is not cut any further.
enum Stop {
    /// It broke off, or brought what it should not.
    Broken,
    /// Nobody reads it.
    Unread,
}

impl Cut {
    /// Cuts until the end, or until it is of no more use.
    pub(crate) async fn run(mut self, out: &mpsc::Sender<Brought>) {
        while self.at < self.end {
            let place = out.reserve().await;
            let index = self.slices.index_of(self.at);
            // Others may read what has begun, if whoever asked for it is gone.
            let piece = match (self.begun.take(), &place) {
                (Some(begun), _) => begun,
                (None, Ok(_)) => match self.begin(index) {
                    Some(piece) => piece,
                    None => return,
                },
                (None, Err(_)) => return,
            };
            let job = Arc::clone(&self.job);
            let mut storing = StoringBytes::new(&job.state);
            if piece.is_kept {
                storing.add(self.slices.end_of(index) - self.at);
            }
            let is_wanted = index >= self.wanted;
            if let Ok(place) = place
                && is_wanted
                && let Some(reader) = piece.object.content.reader(0, None)
            {
                place.send(Ok((index, reader)));
            }
            let writer = (is_wanted || piece.is_kept).then_some(&piece.writer);
            match self.fill(writer, self.slices.end_of(index)).await {
                Ok(()) => {
                    self.store(index, piece);
                    self.wait_for_disk().await;
                }
                Err(Stop::Broken | Stop::Unread) => return,
            }
        }
    }

    /// Begins a slice. `None` where this response is better left, since the slice can be had otherwise.
    pub(crate) fn begin(&mut self, index: u64) -> Option<Piece> {
        let state = &self.job.state;
        let key = state.shelf.slice_key(self.of.head, self.of.generation, index);
        let landing = if index == self.wanted { self.landing.take() } else { None };
        let is_known = landing.is_none() && state.shelf.holds(key);
        let length = self.slices.end_of(index) - self.slices.start_of(index);
        let has_room = state.storing_bytes.load(Ordering::Relaxed) < state.config.memory_bytes;
        let make = |kept_bytes_max| {
            let (writer, content) = Writer::of_slice(SliceId { of: self.of, index }, kept_bytes_max);
            let object = Object::new(NewObject {
                url: self.job.url.clone(),
                birth: self.birth.clone(),
                tags: self.head.tags.clone(),
                tags_ignored: 0,
                // The head has the groups.
                grouping: None,
                status: StatusCode::PARTIAL_CONTENT,
                headers: HeaderMap::new(),
                freshness: self.head.freshness,
                declared_length: Some(length),
                content,
            });
            (writer, object)
        };
        let (writer, object) = make(length);
        let is_clear = is_kept(object.standing(&state.ledger));
        if self.keeps && landing.is_none() && index > self.wanted && (is_known || !is_clear) {
            // Stored by another, or too old for what was purged meanwhile: whoever waits looks anew.
            return None;
        }
        let arrival = |object: &Arc<Object>, is_kept: bool| {
            let sharing = if is_kept { Sharing::Everyone(key) } else { Sharing::Nobody };
            let (object, source) = (Arc::clone(object), ArrivalSource::Origin);
            let unshared = HeaderMap::new();
            Arc::new(Arrival { object, source, sharing, is_stored: is_kept, unshared })
        };
        if self.keeps && has_room && is_clear && !is_known {
            if let Some(mut landing) = landing {
                landing.arrive(arrival(&object, true));
                return Some(Piece { writer, object, landing: Some(landing), is_kept: true });
            }
            let entered = state.flights.enter(self.job.url_key, key, arrival(&object, true));
            match entered {
                Some(landing) => {
                    return Some(Piece { writer, object, landing: Some(landing), is_kept: true });
                }
                // Under way by another.
                None if index > self.wanted => return None,
                None => {}
            }
        }
        let (writer, object) = make(0);
        if let Some(mut landing) = landing {
            landing.arrive(arrival(&object, false));
            landing.leave_slot();
        }
        Some(Piece { writer, object, landing: None, is_kept: false })
    }

    /// Takes bytes up to `slice_end`; at the response's end also sees to it that nothing more comes. Without a writer they
    /// are of no use to anyone.
    async fn fill(&mut self, writer: Option<&Writer>, slice_end: u64) -> Result<(), Stop> {
        while self.at < slice_end {
            if self.left_over.is_empty() {
                self.left_over = self.more().await?.ok_or(Stop::Broken)?;
            }
            let wanted = usize::try_from(slice_end - self.at).unwrap_or(usize::MAX);
            let bytes = self.left_over.split_to(self.left_over.len().min(wanted));
            self.at += bytes.len() as u64;
            if let Some(writer) = writer {
                writer.write(bytes).await.map_err(|_| Stop::Unread)?;
            }
        }
        if self.at < self.end {
            return Ok(());
        }
        let is_over = self.left_over.is_empty() && self.more().await?.is_none();
        is_over.then_some(()).ok_or(Stop::Broken)
    }

    /// The next bytes; `None` at the end of the response.
    async fn more(&mut self) -> Result<Option<Bytes>, Stop> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    Ok(_) | Err(_) => {}
                },
                Some(Err(failure)) => {
                    tracing::debug!(url = ?self.job.url, reason = failure.name(), "response not whole");
                    return Err(Stop::Broken);
                }
            }
        }
    }

    /// Lets the disk catch up: a response that comes faster than its slices are written would leave holes there. A disk that
    /// does not is waited for once.
    async fn wait_for_disk(&mut self) {
        if let Some(disk) = self.job.state.shelf.disk().filter(|_| self.keeps) {
            self.disk_keeps_up = disk.room(self.slices.slice_bytes, self.disk_keeps_up).await;
        }
    }

    /// Stores a whole slice, if its head is still stored and nothing purged it meanwhile.
    fn store(&self, index: u64, piece: Piece) {
        let state = &self.job.state;
        piece.writer.finish();
        let Some(landing) = piece.landing else { return };
        let key = state.shelf.slice_key(self.of.head, self.of.generation, index);
        landing.store(key, |allowed| {
            let has_head = state.shelf.head_standing(self.of, &state.ledger).is_some_and(is_kept);
            if allowed && has_head && is_kept(piece.object.standing(&state.ledger)) {
                state.shelf.insert_slice(key, piece.object, self.of);
            }
        });
    }
}
