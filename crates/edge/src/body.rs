//! The content of a response: written once by its fetch, read by any number of requests meanwhile and after.
//!
//! Content that is kept grows in memory as fast as the origin sends, so that no slow reader holds up another. Content
//! that is only passed on is a window: the writer waits for the slowest reader, and drops what all have read. Kept
//! content that outgrows its limit becomes such a window. Kept content is packed as it comes into pieces of
//! [`PIECE_BYTES`], each an allocation of its own size, so that no worker stands still to copy all of it at its end.

use crate::slices::{SliceId, SliceOf, Slices};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How large a piece of stored content is, in bytes; the last one may be smaller.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// How much of passed-on content waits for the slowest reader, in bytes.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// How long the writer of a window waits for its slowest reader before it goes on without it.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The content of one response.
#[derive(Default)]
pub(crate) struct Content {
    whole: OnceLock<Pieces>,
    growing: Mutex<Growing>,
    /// Where the content is, if not here: this is a large response's, whose slices are stored by themselves.
    slices: Option<Arc<Slices>>,
    /// Which slice of a larger response this is, if it is one.
    slice: Option<SliceId>,
}

/// Content that is all there.
pub(crate) struct Pieces {
    pieces: Box<[Bytes]>,
    length: u64,
}

#[derive(Default)]
struct Growing {
    /// What came, with the offset of each; kept content is in pieces as far as there are full ones.
    chunks: VecDeque<(u64, Bytes)>,
    /// How many of the chunks, from the first, are full pieces.
    pieces: usize,
    /// The offset of the first chunk.
    base: u64,
    /// How much was written.
    written: u64,
    end: Option<End>,
    windowed: bool,
    /// In the order in which they came.
    readers: BTreeMap<u64, Waiting>,
    reader_ids: u64,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

struct Waiting {
    position: u64,
    waker: Option<Waker>,
}

/// Why content ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    /// The fetch broke off.
    #[error("the origin broke off its response")]
    Broken,
    /// This reader was too slow for content that is not kept.
    #[error("this reader fell behind content that is not kept")]
    FellBehind,
}

/// All readers of passed-on content are gone: there is nobody left to write for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NobodyReads;

impl Content {
    /// Content that lies in slices.
    pub(crate) fn in_slices(slices: Arc<Slices>) -> Arc<Self> {
        Arc::new(Self { slices: Some(slices), ..Self::default() })
    }

    /// The slices it lies in, if it does.
    pub(crate) fn slices(&self) -> Option<&Arc<Slices>> {
        self.slices.as_ref()
    }

    /// Which slice of which response it is, if it is one.
    pub(crate) fn slice(&self) -> Option<SliceId> {
        self.slice
    }

    /// The response whose slice it is, if it is one.
    pub(crate) fn slice_of(&self) -> Option<SliceOf> {
        self.slice.map(|slice| slice.of)
    }

    /// Whether two are the same content, which may have been read from disk twice.
    pub(crate) fn is_same(this: &Arc<Self>, other: &Arc<Self>) -> bool {
        let generation = |content: &Self| content.slices.as_ref().map(|slices| slices.generation);
        Arc::ptr_eq(this, other) || generation(this).is_some() && generation(this) == generation(other)
    }

    /// Content that is all there. Its pieces share one allocation.
    pub(crate) fn of_whole(bytes: Bytes) -> Arc<Self> {
        Self::default().filled(bytes)
    }

    /// The same for a slice of a larger response.
    pub(crate) fn of_whole_slice(slice: SliceId, bytes: Bytes) -> Arc<Self> {
        Self { slice: Some(slice), ..Self::default() }.filled(bytes)
    }

    fn filled(self, mut bytes: Bytes) -> Arc<Self> {
        let length = bytes.len() as u64;
        let mut pieces = Vec::with_capacity(bytes.len().div_ceil(PIECE_BYTES));
        while !bytes.is_empty() {
            pieces.push(bytes.split_to(bytes.len().min(PIECE_BYTES)));
        }
        let _ = self.whole.set(Pieces { pieces: pieces.into(), length });
        Arc::new(self)
    }

    /// The pieces, once the content is whole.
    pub(crate) fn whole(&self) -> Option<&Pieces> {
        self.whole.get()
    }

    /// Whether a reader from the start can still be had.
    pub(crate) fn can_be_joined(&self) -> bool {
        self.whole.get().is_some() || {
            let growing = self.growing.lock();
            growing.base == 0 && growing.end != Some(End::Failed)
        }
    }

    /// A reader of the bytes from `first` to before `end` (`None`: to the end). `None` once the front is dropped, and for
    /// content that lies in slices.
    pub(crate) fn reader(self: &Arc<Self>, first: u64, end: Option<u64>) -> Option<Reader> {
        let end = end.unwrap_or(u64::MAX);
        if self.slices.is_some() {
            return None;
        }
        if self.whole.get().is_some() {
            return Some(Reader { content: Arc::clone(self), id: None, position: first, end });
        }
        let mut growing = self.growing.lock();
        if growing.base > 0 || growing.end == Some(End::Failed) {
            return None;
        }
        let id = growing.reader_ids;
        growing.reader_ids += 1;
        growing.readers.insert(id, Waiting { position: first, waker: None });
        Some(Reader { content: Arc::clone(self), id: Some(id), position: first, end })
    }
}

impl Pieces {
    /// How long the content is, in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The pieces, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// The bytes from `position` on, piece by piece.
    pub(crate) fn from(&self, position: u64) -> impl Iterator<Item = &[u8]> {
        let first = usize::try_from(position / self.piece_bytes()).unwrap_or(usize::MAX);
        let mut skipped = usize::try_from(position % self.piece_bytes()).unwrap_or(usize::MAX);
        self.pieces.iter().skip(first).filter_map(move |piece| piece.get(std::mem::take(&mut skipped)..))
    }

    /// The size of every piece but the last (a single piece may have any).
    fn piece_bytes(&self) -> u64 {
        self.pieces.first().map_or(1, Bytes::len).max(1) as u64
    }

    fn read(&self, position: u64, end: u64) -> Option<Bytes> {
        let end = end.min(self.length);
        if position >= end {
            return None;
        }
        let size = self.piece_bytes();
        let index = usize::try_from(position / size).ok()?;
        let piece = self.pieces.get(index)?;
        let start = index as u64 * size;
        let from = usize::try_from(position - start).ok()?;
        let to = usize::try_from((end - start).min(piece.len() as u64)).ok()?;
        Some(piece.slice(from..to))
    }
}

/// Writes the content of one fetch. Dropped before [`Writer::finish`], it marks the content as broken off.
pub(crate) struct Writer {
    content: Arc<Content>,
    kept_bytes_max: u64,
}

impl Writer {
    /// Begins content that is kept up to `kept_bytes_max` bytes; 0 passes everything on.
    pub(crate) fn new(kept_bytes_max: u64) -> (Self, Arc<Content>) {
        Self::with(Content::default(), kept_bytes_max)
    }

    /// The same for a slice of a larger response.
    pub(crate) fn of_slice(slice: SliceId, kept_bytes_max: u64) -> (Self, Arc<Content>) {
        Self::with(Content { slice: Some(slice), ..Content::default() }, kept_bytes_max)
    }

    fn with(content: Content, kept_bytes_max: u64) -> (Self, Arc<Content>) {
        let content = Arc::new(content);
        content.growing.lock().windowed = kept_bytes_max == 0;
        (Self { content: Arc::clone(&content), kept_bytes_max }, content)
    }

    /// Appends. Waits only while the content is passed on and its slowest reader has [`WINDOW_BYTES`] to read.
    pub(crate) async fn write(&self, bytes: Bytes) -> Result<(), NobodyReads> {
        if bytes.is_empty() {
            return Ok(());
        }
        {
            let mut growing = self.content.growing.lock();
            growing.push(bytes);
            if growing.written > self.kept_bytes_max {
                growing.windowed = true;
            }
            if !growing.windowed {
                growing.pack_full_pieces();
            }
            growing.wake_readers();
        }
        loop {
            match tokio::time::timeout(STALL_TIMEOUT, std::future::poll_fn(|cx| self.poll_room(cx))).await {
                Ok(room) => return room,
                Err(_) => self.content.growing.lock().drop_slowest_reader(),
            }
        }
    }

    /// Whether the content is still kept whole with `more` bytes.
    pub(crate) fn keeps(&self, more: usize) -> bool {
        let growing = self.content.growing.lock();
        !growing.windowed && growing.written + more as u64 <= self.kept_bytes_max
    }

    /// Whether the content is still kept whole.
    pub(crate) fn keeps_all(&self) -> bool {
        !self.content.growing.lock().windowed
    }

    /// The content is complete. Returns its length.
    pub(crate) fn finish(self) -> u64 {
        let mut growing = self.content.growing.lock();
        growing.end = Some(End::Complete);
        if !growing.windowed {
            let length = growing.written;
            let loose = growing.take_loose();
            let mut pieces: Vec<Bytes> = growing.chunks.drain(..).map(|(_, piece)| piece).collect();
            if !loose.is_empty() {
                pieces.push(joined(loose));
            }
            let _ = self.content.whole.set(Pieces { pieces: pieces.into(), length });
        }
        growing.wake_readers();
        growing.written
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), NobodyReads>> {
        let mut growing = self.content.growing.lock();
        if !growing.windowed {
            return Poll::Ready(Ok(()));
        }
        if growing.readers.is_empty() {
            return Poll::Ready(Err(NobodyReads));
        }
        growing.drop_what_all_have_read();
        if growing.written - growing.base <= WINDOW_BYTES as u64 {
            return Poll::Ready(Ok(()));
        }
        growing.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut growing = self.content.growing.lock();
        if growing.end.is_none() {
            growing.end = Some(End::Failed);
            growing.chunks.clear();
            growing.wake_readers();
        }
    }
}

impl Growing {
    fn wake_readers(&mut self) {
        for reader in self.readers.values_mut() {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    fn drop_what_all_have_read(&mut self) {
        let read = self.readers.values().map(|reader| reader.position).min().unwrap_or(self.base);
        while let Some((start, chunk)) = self.chunks.front() {
            let chunk_end = start + chunk.len() as u64;
            if chunk_end > read {
                break;
            }
            self.base = chunk_end;
            self.chunks.pop_front();
        }
    }

    fn drop_slowest_reader(&mut self) {
        let slowest = self.readers.iter().min_by_key(|(_, reader)| reader.position).map(|(id, _)| *id);
        if let Some(waker) = slowest.and_then(|id| self.readers.remove(&id)).and_then(|reader| reader.waker) {
            waker.wake();
        }
    }

    /// The bytes at `position` that are there, up to `end`.
    fn read(&self, position: u64, end: u64) -> Option<Bytes> {
        let after = self.chunks.partition_point(|(start, _)| *start <= position);
        let (start, chunk) = self.chunks.get(after.checked_sub(1)?)?;
        let from = usize::try_from(position - start).ok()?;
        let to = usize::try_from((end - start).min(chunk.len() as u64)).ok()?;
        (from < to).then(|| chunk.slice(from..to))
    }

    fn push(&mut self, bytes: Bytes) {
        let start = self.written;
        self.written += bytes.len() as u64;
        self.chunks.push_back((start, bytes));
    }

    /// Joins loose chunks to pieces, as long as they fill one.
    fn pack_full_pieces(&mut self) {
        let mut at = self.pieces as u64 * PIECE_BYTES as u64;
        let mut left = usize::try_from(self.written - at).unwrap_or(usize::MAX);
        if left < PIECE_BYTES {
            return;
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        for (_, mut chunk) in self.take_loose() {
            while left >= PIECE_BYTES && !chunk.is_empty() {
                let taken = chunk.split_to(chunk.len().min(PIECE_BYTES - piece.len()));
                piece.extend_from_slice(&taken);
                if piece.len() == PIECE_BYTES {
                    left -= PIECE_BYTES;
                    let next = BytesMut::with_capacity(if left < PIECE_BYTES { 0 } else { PIECE_BYTES });
                    self.chunks.push_back((at, std::mem::replace(&mut piece, next).freeze()));
                    self.pieces += 1;
                    at += PIECE_BYTES as u64;
                }
            }
            if !chunk.is_empty() {
                let start = at;
                at += chunk.len() as u64;
                self.chunks.push_back((start, chunk));
            }
        }
    }

    /// Takes out the chunks after the last full piece.
    fn take_loose(&mut self) -> VecDeque<(u64, Bytes)> {
        self.chunks.split_off(self.pieces)
    }
}

/// One allocation of the chunks' own size, so that what is stored holds no memory but its own.
fn joined(chunks: VecDeque<(u64, Bytes)>) -> Bytes {
    let mut piece = BytesMut::with_capacity(chunks.iter().map(|(_, chunk)| chunk.len()).sum());
    for (_, chunk) in chunks {
        piece.extend_from_slice(&chunk);
    }
    piece.freeze()
}

/// Reads content from an offset to an end, as it comes.
pub(crate) struct Reader {
    content: Arc<Content>,
    /// The place among those the writer waits for and wakes; `None` when the content was whole from the start.
    id: Option<u64>,
    position: u64,
    end: u64,
}

impl Reader {
    /// Reads only the bytes from `first` to before `end`. Called before anything was read.
    pub(crate) fn narrow(&mut self, first: u64, end: u64) {
        self.position = first;
        self.end = end;
        if let Some(id) = self.id
            && let Some(waiting) = self.content.growing.lock().readers.get_mut(&id)
        {
            waiting.position = first;
        }
    }

    fn poll_growing(&mut self, cx: &Context<'_>, id: u64) -> Poll<Option<Result<Bytes, ContentError>>> {
        let mut growing = self.content.growing.lock();
        // Packed since the caller looked: the chunks are gone, and no end of theirs is the content's.
        if let Some(pieces) = self.content.whole.get() {
            let bytes = pieces.read(self.position, self.end);
            self.position += bytes.as_ref().map_or(0, Bytes::len) as u64;
            return Poll::Ready(bytes.map(Ok));
        }
        if !growing.readers.contains_key(&id) {
            return Poll::Ready(Some(Err(ContentError::FellBehind)));
        }
        if let Some(bytes) = growing.read(self.position, self.end) {
            self.position += bytes.len() as u64;
            if let Some(waiting) = growing.readers.get_mut(&id) {
                waiting.position = self.position;
            }
            if growing.windowed {
                growing.drop_what_all_have_read();
                if let Some(writer) = growing.writer.take() {
                    writer.wake();
                }
            }
            return Poll::Ready(Some(Ok(bytes)));
        }
        match growing.end {
            Some(End::Complete) => Poll::Ready(None),
            Some(End::Failed) => Poll::Ready(Some(Err(ContentError::Broken))),
            None => {
                if let Some(waiting) = growing.readers.get_mut(&id) {
                    waiting.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        if self.position >= self.end {
            return Poll::Ready(None);
        }
        if let Some(pieces) = self.content.whole.get() {
            let bytes = pieces.read(self.position, self.end);
            self.position += bytes.as_ref().map_or(0, Bytes::len) as u64;
            return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
        }
        let Some(id) = self.id else { return Poll::Ready(None) };
        self.poll_growing(cx, id).map(|read| read.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let end = self.content.whole.get().map_or(self.end, |pieces| self.end.min(pieces.length));
        self.position >= end
    }

    fn size_hint(&self) -> SizeHint {
        match self.content.whole.get() {
            Some(pieces) => SizeHint::with_exact(self.end.min(pieces.length).saturating_sub(self.position)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut growing = self.content.growing.lock();
        growing.readers.remove(&id);
        if let Some(writer) = growing.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn next(reader: &mut Reader) -> Option<Result<Bytes, ContentError>> {
        reader.frame().await.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    async fn rest(reader: &mut Reader) -> Result<Vec<u8>, ContentError> {
        let mut all = Vec::new();
        while let Some(bytes) = next(reader).await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn kept_content_never_waits_and_reads_the_same_before_and_after_its_end() {
        let all: Vec<u8> = (0..300_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for chunk_bytes in [7_001, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 200_000, 300_000] {
            let (writer, content) = Writer::new(1 << 20);
            let mut early = content.reader(0, None).unwrap();
            let mut meanwhile = content.reader(0, None).unwrap();
            let mut part = content.reader(70_000, Some(200_003)).unwrap();
            let mut read = Vec::new();
            for chunk in all.chunks(chunk_bytes) {
                writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
                read.extend_from_slice(&next(&mut meanwhile).await.unwrap().unwrap());
            }
            assert!(content.whole().is_none());
            let before = next(&mut early).await.unwrap().unwrap();
            assert_eq!(writer.finish(), 300_000);
            assert_eq!([before.to_vec(), rest(&mut early).await.unwrap()].concat(), all);
            assert_eq!([read, rest(&mut meanwhile).await.unwrap()].concat(), all, "{chunk_bytes}");
            assert_eq!(rest(&mut part).await.unwrap(), all[70_000..200_003]);
            let mut late = content.reader(65_535, Some(65_537)).unwrap();
            assert_eq!(late.size_hint().exact(), Some(2));
            assert_eq!(rest(&mut late).await.unwrap(), all[65_535..65_537]);
            assert_eq!(content.whole().map(Pieces::length), Some(300_000));
        }
    }

    #[tokio::test]
    async fn passed_on_content_waits_for_its_slowest_reader_only_so_long() {
        tokio::time::pause();
        let (writer, content) = Writer::new(0);
        let mut quick = content.reader(0, None).unwrap();
        let mut slow = content.reader(0, None).unwrap();
        let chunk = Bytes::from(vec![1; WINDOW_BYTES]);
        writer.write(chunk.clone()).await.unwrap();
        assert_eq!(next(&mut quick).await.unwrap().unwrap().len(), WINDOW_BYTES);
        // Time is paused: the wait ends only when the stall's timer does.
        writer.write(chunk.clone()).await.unwrap();
        assert_eq!(next(&mut slow).await, Some(Err(ContentError::FellBehind)));
        assert_eq!(next(&mut quick).await.unwrap().unwrap().len(), WINDOW_BYTES);
        assert!(content.reader(0, None).is_none(), "nobody joins once the front is gone");
        drop(quick);
        drop(slow);
        assert_eq!(writer.write(chunk).await, Err(NobodyReads));
    }

    #[tokio::test]
    async fn kept_content_over_its_limit_becomes_a_window() {
        let (writer, content) = Writer::new(10);
        let mut reader = content.reader(0, None).unwrap();
        writer.write(Bytes::from_static(b"0123456789")).await.unwrap();
        assert!(writer.keeps_all());
        writer.write(Bytes::from_static(b"ab")).await.unwrap();
        assert!(!writer.keeps_all());
        writer.finish();
        assert_eq!(rest(&mut reader).await.unwrap(), b"0123456789ab");
        assert!(content.whole().is_none());
    }

    /// A reader that looked just before the content was packed found neither chunks nor pieces, and took that for the
    /// content's end.
    #[tokio::test]
    async fn content_that_becomes_whole_under_its_readers_loses_nothing() {
        let read_all = |mut reader: Reader| {
            let mut rest = Box::pin(rest(&mut reader));
            loop {
                let mut cx = Context::from_waker(Waker::noop());
                if let Poll::Ready(all) = rest.as_mut().poll(&mut cx) {
                    return all;
                }
            }
        };
        for _ in 0..300 {
            let (writer, content) = Writer::new(100);
            let reader = || content.reader(0, None).unwrap();
            let readers: Vec<_> = (0..2).map(|_| reader()).collect();
            let reading: Vec<_> =
                readers.into_iter().map(|reader| std::thread::spawn(move || read_all(reader))).collect();
            writer.write(Bytes::from_static(b"abc")).await.unwrap();
            writer.finish();
            for reading in reading {
                assert_eq!(reading.join().unwrap().unwrap(), b"abc");
            }
        }
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_off_breaks_its_readers() {
        let (writer, content) = Writer::new(10);
        let mut reader = content.reader(0, None).unwrap();
        drop(writer);
        assert_eq!(next(&mut reader).await, Some(Err(ContentError::Broken)));
        assert!(content.reader(0, None).is_none());
    }
}
