//! The origin: content in versions, tags that change, and the manners of real servers.
//!
//! Each cell of a body says the version it is of. Each response says, in fields that caches keep, by which request its
//! content came (`x-fetch`), and by which it was validated last (an extension of `Cache-Control`, which a 304 replaces).

use crate::chance::Chance;
use crate::checker::Body as ReadBody;
use crate::lane::Lane;
use crate::machine;
use crate::network::{Incoming, Network};
use crate::stream::{Marks, SimulatedStream};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming as RequestBody;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a cell of content is, in bytes.
pub(crate) const CELL_BYTES: usize = 16;

/// The tags that content may have.
pub(crate) const TAGS: [&str; 4] = ["red", "green", "blue", "gold"];

/// How a resource may be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Long,
    Short,
    Revalidated,
    WithoutValidator,
    WeakValidator,
    Varying,
    Large,
    Unshared,
}

/// One URL of the origin.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) path: &'static str,
    pub(crate) kind: Kind,
    /// When each version began, the first at the beginning.
    pub(crate) versions: Vec<Duration>,
    pub(crate) tags: Vec<&'static str>,
}

/// One request that reached the origin and got content, or was told that content is still good.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// When it was sent.
    pub(crate) began: Duration,
    pub(crate) resource: usize,
    pub(crate) tags: Vec<&'static str>,
}

/// All of it, for the origin to answer with and for the checker to look at.
pub(crate) struct Contents {
    pub(crate) resources: Vec<Resource>,
    pub(crate) fetches: Vec<Fetch>,
    /// How many of each kind of answer.
    pub(crate) validated: u64,
    pub(crate) parts: u64,
    pub(crate) failed: u64,
    pub(crate) broken_off: u64,
    /// What was made once.
    made: BTreeMap<(usize, char, usize), Bytes>,
}

impl Contents {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let all = [
            ("/a", Kind::Long),
            ("/b", Kind::Long),
            ("/dir/c", Kind::Revalidated),
            ("/dir/d?q=1", Kind::Short),
            ("/dir/sub/e", Kind::WeakValidator),
            ("/f", Kind::WithoutValidator),
            ("/varying", Kind::Varying),
            ("/large", Kind::Large),
            ("/unshared", Kind::Unshared),
        ];
        let resource =
            |(path, kind)| Resource { path, kind, versions: vec![Duration::ZERO], tags: some_tags(chance) };
        let resources = all.into_iter().map(resource).collect();
        Self {
            resources,
            fetches: Vec::new(),
            validated: 0,
            parts: 0,
            failed: 0,
            broken_off: 0,
            made: BTreeMap::new(),
        }
    }

    /// Another version, from now on.
    pub(crate) fn renew(&mut self, resource: usize) {
        self.resources[resource].versions.push(machine::now());
    }

    pub(crate) fn retag(&mut self, resource: usize, chance: &mut Chance) {
        self.resources[resource].tags = some_tags(chance);
    }

    /// The content of a version, in cells: variant, version, place.
    fn content(&mut self, resource: usize, variant: char, version: usize) -> Bytes {
        let cells = self.resources[resource].kind.cells();
        let make = || {
            let cell = |place: u64| format!("{variant}{version:06}:{place:07}\n");
            (0..cells).map(cell).collect::<String>().into()
        };
        self.made.entry((resource, variant, version)).or_insert_with(make).clone()
    }

    /// What a body is of, whose first byte is at this offset.
    pub(crate) fn read(&mut self, resource: usize, bytes: &[u8], first: usize, is_whole: bool) -> ReadBody {
        if bytes.is_empty() {
            return if is_whole { ReadBody::None } else { ReadBody::Broken };
        }
        let skipped = (CELL_BYTES - first % CELL_BYTES) % CELL_BYTES;
        let Some(cell) = bytes.get(skipped..skipped + CELL_BYTES) else { return ReadBody::Broken };
        let text = std::str::from_utf8(cell).unwrap_or_default();
        let read = || Some((text.chars().next()?, text.get(1..7)?.parse().ok()?));
        let Some((variant, version)) = read() else { return ReadBody::Mixed };
        if version >= self.resources[resource].versions.len() {
            return ReadBody::Mixed;
        }
        let content = self.content(resource, variant, version);
        match content.get(first..first + bytes.len()) {
            Some(part) if part == bytes => ReadBody::Version(variant, version),
            Some(_) | None => ReadBody::Mixed,
        }
    }

    fn begin(&mut self, resource: usize, began: Duration) -> usize {
        let tags = self.resources[resource].tags.clone();
        self.fetches.push(Fetch { began, resource, tags });
        self.fetches.len() - 1
    }
}

fn some_tags(chance: &mut Chance) -> Vec<&'static str> {
    TAGS.into_iter().filter(|_| chance.permille(350)).collect()
}

impl Kind {
    fn cells(self) -> u64 {
        if self == Self::Large { 2300 } else { 24 }
    }

    fn cache_control(self) -> &'static str {
        match self {
            Self::Short => "max-age=1, stale-while-revalidate=2, stale-if-error=4",
            Self::Revalidated => "no-cache",
            Self::Unshared => "private",
            _ => "max-age=600",
        }
    }
}

/// Answers for as long as it runs.
pub(crate) async fn serve(net: Arc<Network>, listening: Arc<Lane<Incoming>>, contents: Arc<Mutex<Contents>>) {
    let mut connections = 0;
    loop {
        let Ok(arrived) = listening.receive().await else { return };
        let Incoming::Stream(stream) = arrived.message else { continue };
        let Some(stream) = stream.lock().take() else { continue };
        connections += 1;
        let chance = Chance::new(net.seed, "origin", connections);
        tokio::spawn(serve_connection(Arc::clone(&net), stream, chance, Arc::clone(&contents)));
    }
}

async fn serve_connection(
    net: Arc<Network>,
    stream: SimulatedStream,
    chance: Chance,
    contents: Arc<Mutex<Contents>>,
) {
    let marks = Arc::clone(&stream.marks);
    let chance = Arc::new(Mutex::new(chance));
    let service = service_fn(|request: Request<RequestBody>| {
        let began = sent_at(&marks);
        let chance = chance.lock().number();
        answer(Chance::new(chance, "answer", 0), net.is_calm(), Arc::clone(&contents), request, began)
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is the peer's to notice.
    drop(served.await);
}

fn sent_at(marks: &Marks) -> Duration {
    *marks.sent_at.lock()
}

async fn answer(
    mut chance: Chance,
    is_calm: bool,
    contents: Arc<Mutex<Contents>>,
    request: Request<RequestBody>,
    began: Duration,
) -> io::Result<Response<Dripping>> {
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let fate = if is_calm { 500 } else { chance.below(1000) };
    if fate < 15 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let composed = compose(&mut contents.lock(), path, &request, began, fate);
    let late = match chance.below(100) {
        _ if is_calm => Duration::ZERO,
        0..10 => chance.millis(100, 2500),
        10..40 => chance.millis(1, 100),
        _ => Duration::ZERO,
    };
    // The head says what was true when the request came.
    tokio::time::sleep(late).await;
    let Some((mut response, body)) = composed else {
        contents.lock().failed += 1;
        let mut response = Response::new(Dripping::of(Bytes::new(), &mut chance, true));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(response);
    };
    response.headers_mut().insert(header::DATE, date());
    let is_broken = !is_calm && (30..50).contains(&fate) && body.len() > 2 * CELL_BYTES;
    let mut dripping = Dripping::of(body.clone(), &mut chance, is_calm);
    if is_broken {
        contents.lock().broken_off += 1;
        dripping.break_off();
    }
    if request.method() == http::Method::HEAD || response.status() == StatusCode::NOT_MODIFIED {
        return Ok(response.map(|()| Dripping::nothing()));
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    Ok(response.map(|()| dripping))
}

fn date() -> http::HeaderValue {
    let secs = machine::wall_clock().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    http::HeaderValue::from_str(&http_date(secs.as_secs())).unwrap_or(http::HeaderValue::from_static(""))
}

/// `IMF-fixdate` (RFC 9110 §5.6.7) of a time in November 2023.
fn http_date(secs: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    // 2023-11-01 was day 19662.
    let day = secs / 86_400;
    let (of_day, of_month) = (secs % 86_400, day - 19_661);
    let name = DAYS[usize::try_from(day % 7).unwrap_or(0)];
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{name}, {of_month:02} Nov 2023 {hour:02}:{minute:02}:{second:02} GMT")
}

type Composed = Option<(Response<()>, Bytes)>;

/// What the origin says; `None` if it is out of order just now.
fn compose(
    contents: &mut Contents,
    path: &str,
    request: &Request<RequestBody>,
    began: Duration,
    fate: u64,
) -> Composed {
    let found = contents.resources.iter().position(|resource| resource.path == path);
    let index = found.filter(|_| !(15..30).contains(&fate))?;
    let field = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let Resource { kind, versions, tags, .. } = &contents.resources[index];
    let (kind, version, tags) = (*kind, versions.len() - 1, tags.join(","));
    let variant = match kind {
        Kind::Varying if field(header::ACCEPT_LANGUAGE) == "de" => 'd',
        _ => 'e',
    };
    let etag = match kind {
        Kind::WithoutValidator => None,
        Kind::WeakValidator => Some(format!("W/\"{variant}{version}\"")),
        _ => Some(format!("\"{variant}{version}\"")),
    };
    let is_head = request.method() == http::Method::HEAD;
    let mut response = Response::builder();
    if let Some(etag) = &etag {
        response = response.header(header::ETAG, etag);
    }
    if kind == Kind::Varying {
        response = response.header(header::VARY, "accept-language");
    }
    if !tags.is_empty() {
        response = response.header("cache-tag", &tags);
    }
    let serial = contents.begin(index, began);
    if !is_head {
        // The answer to a HEAD says nothing of content, and is not to look as if it did.
        let control = format!("{}, validated={serial}", kind.cache_control());
        response = response.header(header::CACHE_CONTROL, control);
    }
    let has_condition =
        etag.as_ref().is_some_and(|etag| field(header::IF_NONE_MATCH).contains(etag.as_str()));
    if has_condition {
        contents.validated += 1;
        let response = response.status(StatusCode::NOT_MODIFIED).body(()).ok()?;
        return Some((response, Bytes::new()));
    }
    if !is_head {
        response = response.header("x-fetch", serial);
    }
    let whole = contents.content(index, variant, version);
    let range = field(header::RANGE);
    let if_range = field(header::IF_RANGE);
    let is_same = if_range.is_empty() || etag.as_ref() == Some(&if_range);
    if let Some((first, last)) = parse_range(&range, whole.len()).filter(|_| is_same && !is_head) {
        contents.parts += 1;
        let range = format!("bytes {first}-{last}/{}", whole.len());
        let response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range)
            .body(())
            .ok()?;
        return Some((response, whole.slice(first..=last)));
    }
    Some((response.body(()).ok()?, whole))
}

/// The first and the last byte of a satisfiable single range.
fn parse_range(text: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().unwrap_or(usize::MAX).min(length.checked_sub(1)?);
    (first <= last).then_some((first, last))
}

/// A body that comes in pieces, with pauses.
pub(crate) struct Dripping {
    pieces: VecDeque<(Duration, Bytes)>,
    pause: Option<Pin<Box<Sleep>>>,
    breaks: bool,
    left: u64,
}

impl Dripping {
    fn nothing() -> Self {
        Self { pieces: VecDeque::new(), pause: None, breaks: false, left: 0 }
    }

    fn of(mut body: Bytes, chance: &mut Chance, is_calm: bool) -> Self {
        let left = body.len() as u64;
        let mut pieces = VecDeque::new();
        let drips = !is_calm && chance.permille(200);
        while !body.is_empty() {
            let share = if drips { (body.len() / 3).max(CELL_BYTES * 4) } else { body.len() };
            let piece = body.split_to(share.min(body.len()));
            let pause = if drips { chance.millis(10, 500) } else { Duration::ZERO };
            pieces.push_back((pause, piece));
        }
        Self { pieces, pause: None, breaks: false, left }
    }

    fn break_off(&mut self) {
        if self.pieces.len() > 1 {
            self.pieces.pop_back();
        } else if let Some((_, piece)) = self.pieces.front_mut() {
            piece.truncate(piece.len() / 2);
        }
        self.breaks = true;
    }
}

impl Body for Dripping {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some((pause, _)) = self.pieces.front() else {
            return Poll::Ready(self.breaks.then(|| Err(io::ErrorKind::UnexpectedEof.into())));
        };
        let pause = *pause;
        if !pause.is_zero() {
            let sleep = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            std::task::ready!(sleep.as_mut().poll(cx));
            self.pause = None;
        }
        let piece = self.pieces.pop_front().map(|(_, piece)| piece).unwrap_or_default();
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && !self.breaks
    }
}
