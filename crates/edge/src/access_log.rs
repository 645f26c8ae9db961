//! The access log: a line for each request, made when its answer ends.
//!
//! A worker hands what it knows to a bounded queue and goes on; when the queue is full the line is dropped and counted.
//! A thread of its own makes the lines and writes them, and opens its file again when it was renamed or when it is told
//! to. Nothing here can hold up a request.

mod format;

use crate::clock::Clocks;
use crate::counter::Counter;
use crate::listen::PlainRequest;
use crate::outcome::Outcome;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tracing::warn;

/// How many lines wait to be written; more are dropped.
const QUEUED_LINES_MAX: usize = 8192;

/// How often it is looked whether the file was renamed, and how long a line stays in memory at most.
const TURN: Duration = Duration::from_millis(500);

/// How often, and how many times, it is looked whether the writer has ended: two seconds.
const END_POLL: Duration = Duration::from_millis(5);
const END_POLLS_MAX: usize = 400;

/// Where the log goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogConfig {
    /// The file; `None` is the standard output.
    pub file: Option<PathBuf>,
    /// What lines look like.
    pub format: AccessLogFormat,
    /// Of how many requests one is logged, by their numbers. Answers with status 5xx and those that broke off are logged
    /// always. 1 to 1,000,000.
    pub one_in: u64,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// An object of JSON.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

/// What the log wants of a request. Holds the request's own bytes, and copies none.
pub(crate) struct Captured {
    at: SystemTime,
    started: Duration,
    client: SocketAddr,
    is_encrypted: bool,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
}

impl Captured {
    pub(crate) fn of<B>(
        request: &Request<B>,
        client: SocketAddr,
        is_encrypted: bool,
        clocks: &Clocks,
    ) -> Self {
        let field = |name| request.headers().get(name).cloned();
        Self {
            at: (clocks.wall)(),
            started: (clocks.boot)(),
            client,
            is_encrypted,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            host: field(header::HOST),
            user_agent: field(header::USER_AGENT),
            referer: field(header::REFERER),
        }
    }
}

impl Captured {
    /// The same of a request that is known by its bytes. They are copied once: what they lie in is used for the next one.
    pub(crate) fn of_plain(
        head: &[u8],
        request: &PlainRequest<'_>,
        client: SocketAddr,
        is_encrypted: bool,
        clocks: &Clocks,
    ) -> Self {
        let bytes = Bytes::copy_from_slice(head);
        let part = |text: &[u8]| {
            let from = (text.as_ptr() as usize).checked_sub(head.as_ptr() as usize);
            from.map_or_else(Bytes::new, |from| bytes.slice(from..from + text.len()))
        };
        let field = |name: header::HeaderName| {
            let mut fields = request.fields.clone();
            let (_, value) =
                fields.find(|(field, _)| field.eq_ignore_ascii_case(name.as_str().as_bytes()))?;
            HeaderValue::from_maybe_shared(part(value)).ok()
        };
        Self {
            at: (clocks.wall)(),
            started: (clocks.boot)(),
            client,
            is_encrypted,
            method: Method::GET,
            uri: Uri::from_maybe_shared(part(request.target.as_bytes())).unwrap_or_default(),
            version: Version::HTTP_11,
            host: field(header::HOST),
            user_agent: field(header::USER_AGENT),
            referer: field(header::REFERER),
        }
    }
}

/// One request at its end.
pub(crate) struct Entry {
    pub(crate) captured: Box<Captured>,
    /// `None` if the client left before there was an answer.
    pub(crate) answered: Option<(StatusCode, Outcome)>,
    pub(crate) bytes: u64,
    pub(crate) is_whole: bool,
    /// When, on the boot clock.
    pub(crate) ended: Duration,
}

enum Message {
    Line(Entry),
    End,
}

/// The log, as workers see it.
pub(crate) struct AccessLog {
    one_in: u64,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer tells and is told.
#[derive(Default)]
pub(crate) struct Shared {
    /// Lines written.
    pub(crate) written: Counter,
    /// Lines dropped since the queue was full.
    pub(crate) dropped: Counter,
    /// Lines lost since they could not be written.
    pub(crate) failed: Counter,
    reopen: AtomicBool,
}

impl AccessLog {
    /// Opens the log and starts its writer.
    pub(crate) fn start(config: &AccessLogConfig, edge: String) -> std::io::Result<Self> {
        let target = Target::open(config.file.clone())?;
        let (queue, lines) = sync_channel(QUEUED_LINES_MAX);
        let shared = Arc::new(Shared::default());
        let writer =
            Writer { target, edge, format: config.format, shared: Arc::clone(&shared), line: Vec::new() };
        let writer =
            std::thread::Builder::new().name("edge-access-log".into()).spawn(move || writer.run(&lines))?;
        Ok(Self { one_in: config.one_in, queue, shared, writer: Mutex::new(Some(writer)) })
    }

    /// Takes one request in, if it is to be logged.
    pub(crate) fn note(&self, entry: Entry) {
        let is_sampled = match &entry.answered {
            Some((status, outcome)) => {
                !entry.is_whole || status.is_server_error() || outcome.request_id.is_multiple_of(self.one_in)
            }
            None => true,
        };
        if is_sampled && self.queue.try_send(Message::Line(entry)).is_err() {
            self.shared.dropped.add(1);
        }
    }

    pub(crate) fn counts(&self) -> &Shared {
        &self.shared
    }

    /// Opens the file again soon, since it was moved away.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Relaxed);
    }

    /// Writes what was noted before, and ends. Blocks, but not for long: an output that takes nothing more must not keep
    /// the edge from its end.
    pub(crate) fn end(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        for _ in 0..END_POLLS_MAX {
            if self.queue.try_send(Message::End).is_ok() || writer.is_finished() {
                break;
            }
            std::thread::sleep(END_POLL);
        }
        for _ in 0..END_POLLS_MAX {
            if writer.is_finished() {
                let _ = writer.join();
                return;
            }
            std::thread::sleep(END_POLL);
        }
        warn!("the access log's output takes nothing more: its last lines are lost");
    }
}

enum Target {
    StandardOutput(std::io::Stdout),
    File { path: PathBuf, file: BufWriter<File>, is: (u64, u64) },
}

impl Target {
    fn open(path: Option<PathBuf>) -> std::io::Result<Self> {
        let Some(path) = path else { return Ok(Self::StandardOutput(std::io::stdout())) };
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let metadata = file.metadata()?;
        let is = (metadata.dev(), metadata.ino());
        Ok(Self::File { path, file: BufWriter::new(file), is })
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        match self {
            Self::StandardOutput(out) => out.write_all(line),
            Self::File { file, .. } => file.write_all(line),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::StandardOutput(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }

    /// Whether another file than the open one is there, or none.
    fn was_moved(&self) -> bool {
        let Self::File { path, is, .. } = self else { return false };
        let there = std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        there != Some(*is)
    }
}

struct Writer {
    target: Target,
    /// The edge's name, since several may share a file.
    edge: String,
    format: AccessLogFormat,
    shared: Arc<Shared>,
    line: Vec<u8>,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Message>) {
        // How many lines were given to the target since they were last known to be out.
        let mut unsure = 0;
        loop {
            let message = match lines.try_recv() {
                Ok(message) => Ok(message),
                Err(_) => {
                    self.settle(&mut unsure);
                    lines.recv_timeout(TURN)
                }
            };
            match message {
                Ok(Message::Line(entry)) => {
                    self.line.clear();
                    format::line(self.format, &self.edge, &entry, &mut self.line);
                    match self.target.write(&self.line) {
                        Ok(()) => unsure += 1,
                        Err(_) => self.shared.failed.add(1),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                    self.settle(&mut unsure);
                    return;
                }
            }
        }
    }

    /// The queue is empty: gets out what is buffered, and looks after the file.
    fn settle(&mut self, unsure: &mut u64) {
        if *unsure > 0 {
            match self.target.flush() {
                Ok(()) => self.shared.written.add(*unsure),
                Err(error) => {
                    warn!(%error, lines = *unsure, "access log not written");
                    self.shared.failed.add(*unsure);
                    // What is buffered is given up: it would stand before every later line.
                    self.reopen();
                }
            }
            *unsure = 0;
        }
        let told = self.shared.reopen.swap(false, Ordering::Relaxed);
        if told || self.target.was_moved() {
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        let Target::File { path, .. } = &self.target else { return };
        match Target::open(Some(path.clone())) {
            Ok(target) => self.target = target,
            // The old one goes on, and the next turn tries again.
            Err(error) => warn!(%error, "access log not opened again"),
        }
    }
}
