//! The origin of a run: HTTP/1.1 on a socket of its own, with answers that come late or drip.
//!
//! What it answers is decided when a request has been read; then it takes its time. So fetches of an old version are
//! under way while a purge is accepted and finished, which is where promises break. Speaks to edges only: what it does
//! not understand it refuses.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::Clock;
use crate::content::{self, STAMP, Stamp};
use crate::objects::{Form, Object, Objects};
use crate::random::Random;

/// How many connections the origin keeps; more are closed at once.
pub(crate) const ORIGIN_CONNECTIONS_MAX: usize = 512;

/// The longest head of a request, in bytes.
pub(crate) const ORIGIN_HEAD_BYTES_MAX: u64 = 64 * 1024;

/// How long a connection may be idle, and an edge may leave an answer unread.
const ORIGIN_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// The longest time that the head of an answer is held back.
const HEAD_DELAY_MS_MAX: usize = 400;

/// In how many parts a body drips.
const DRIP_PARTS: usize = 5;

/// The longest pause within a body.
const DRIP_PAUSE_MS_MAX: usize = 80;

/// What the origin has been asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Answers with content.
    pub(crate) fetches: AtomicU64,
    /// 304s.
    pub(crate) confirmations: AtomicU64,
}

/// Everything that a connection needs.
pub(crate) struct Origin {
    pub(crate) objects: Arc<Objects>,
    pub(crate) clock: Clock,
    pub(crate) slow_percent: u8,
    pub(crate) seed: u64,
    pub(crate) asked: Asked,
    connections: AtomicUsize,
    numbers: AtomicU64,
}

struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

impl Origin {
    pub(crate) fn new(objects: Arc<Objects>, clock: Clock, slow_percent: u8, seed: u64) -> Self {
        let (connections, numbers) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { objects, clock, slow_percent, seed, asked: Asked::default(), connections, numbers }
    }

    /// Answers on `listener` until `ended`; every connection has a thread.
    pub(crate) fn serve(self: &Arc<Self>, listener: TcpListener, ended: Arc<AtomicBool>) {
        let origin = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if origin.connections.fetch_add(1, Ordering::Relaxed) >= ORIGIN_CONNECTIONS_MAX {
                    origin.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let origin = Arc::clone(&origin);
                thread::spawn(move || {
                    // An edge that leaves, or falls silent, is no error of ours.
                    let _ = origin.converse(stream);
                    origin.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }

    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(ORIGIN_IDLE_TIMEOUT))?;
        stream.set_write_timeout(Some(ORIGIN_IDLE_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = Request::read(&mut reader)? {
            self.answer(&request, &mut writer)?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request, out: &mut TcpStream) -> io::Result<()> {
        let number = self.objects.find(&request.target);
        let (Some(number), "GET" | "HEAD") = (number, request.method.as_str()) else {
            return out.write_all(
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nCache-Control: no-store\r\n\r\n",
            );
        };
        let object = &self.objects.all[number];
        // In this order: what is said to have been fetched at a time is no older than the version then.
        let (fetched, version) = (self.clock.now(), object.version());
        let stamp = Stamp { run: self.objects.run, object: number, version, fetched };
        let mut random = Random::new(self.seed, self.numbers.fetch_add(1, Ordering::Relaxed));
        let is_late = random.percent(self.slow_percent);
        let drips = random.percent(self.slow_percent);
        if is_late {
            pause(&mut random, HEAD_DELAY_MS_MAX);
        }
        let Answer { status, fields, body } = self.compose(request, object, &stamp, &mut random);
        let counter = if status.starts_with("304") { &self.asked.confirmations } else { &self.asked.fetches };
        counter.fetch_add(1, Ordering::Relaxed);
        let length = if status.starts_with("304") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        out.write_all(format!("HTTP/1.1 {status}\r\n{fields}{length}\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        if !drips {
            return out.write_all(&body);
        }
        for part in body.chunks(body.len().div_ceil(DRIP_PARTS).max(1)) {
            out.write_all(part)?;
            pause(&mut random, DRIP_PAUSE_MS_MAX);
        }
        Ok(())
    }

    fn compose(&self, request: &Request, object: &Object, stamp: &Stamp, random: &mut Random) -> Answer {
        let is_large = object.form == Form::Large;
        let etag = content::etag(stamp.run, stamp.version, is_large);
        let mut fields = format!(
            "{STAMP}: {stamp}\r\nETag: {etag}\r\nCache-Control: public, max-age=3600\r\nCache-Tag: {}\r\n\
             Content-Type: text/plain\r\n",
            object.tags.join(",")
        );
        if object.form == Form::Varied {
            fields.push_str("Vary: Accept-Language\r\n");
        }
        if request.names(request.field("if-none-match"), &etag) {
            return Answer { status: "304 Not Modified", fields, body: Vec::new() };
        }
        if !is_large {
            let body = stamp.content(1 + random.below(200)).into_bytes();
            return Answer { status: "200 OK", fields, body };
        }
        let whole = self.objects.large_bytes;
        if request.field("if-match").is_some() && !request.names(request.field("if-match"), &etag) {
            return Answer { status: "412 Precondition Failed", fields, body: Vec::new() };
        }
        let applies = request.field("if-range").is_none_or(|asked| asked == etag);
        match request.field("range").and_then(|range| part(range, whole)).filter(|_| applies) {
            Some((from, to)) => {
                fields.push_str(&format!("Content-Range: bytes {from}-{}/{whole}\r\n", to - 1));
                let body = content::large(stamp.run, stamp.object, stamp.version, from, to);
                Answer { status: "206 Partial Content", fields, body }
            }
            None => {
                fields.push_str("Accept-Ranges: bytes\r\n");
                let body = content::large(stamp.run, stamp.object, stamp.version, 0, whole);
                Answer { status: "200 OK", fields, body }
            }
        }
    }
}

struct Answer {
    status: &'static str,
    fields: String,
    body: Vec<u8>,
}

impl Request {
    /// `None` at the end of the connection.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = reader.take(ORIGIN_HEAD_BYTES_MAX);
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(io::Error::other("no request line"));
        };
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(io::Error::other("the head has no end"));
            }
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let request = Self { method, target, headers };
        // Nobody sends a body to what answers GET only.
        if request.field("content-length").is_some() || request.field("transfer-encoding").is_some() {
            return Err(io::Error::other("a body"));
        }
        Ok(Some(request))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a list of validators names this one, compared weakly.
    fn names(&self, list: Option<&str>, etag: &str) -> bool {
        let plain = |etag: &str| etag.trim().trim_start_matches("W/").to_owned();
        list.is_some_and(|list| list.split(',').any(|asked| plain(asked) == plain(etag)))
    }
}

/// The bytes that `bytes=FIRST-[LAST]` names, up to before the last.
fn part(range: &str, whole: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = if last.is_empty() { whole - 1 } else { last.parse::<usize>().ok()?.min(whole - 1) };
    (first <= last).then_some((first, last + 1))
}

fn pause(random: &mut Random, millis_max: usize) {
    thread::sleep(Duration::from_millis(random.below(millis_max) as u64));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_within_the_whole() {
        for (range, expected) in [
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-", Some((90, 100))),
            ("bytes=90-500", Some((90, 100))),
            ("bytes=100-", None),
            ("bytes=-5", None),
            ("bytes=9-3", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(part(range, 100), expected, "{range}");
        }
    }

    #[test]
    fn requests_are_read_up_to_a_limit() {
        let mut good = &b"GET /a HTTP/1.1\r\nHost: a\r\nIf-None-Match: W/\"1\", \"2\"\r\n\r\nGET"[..];
        let request = Request::read(&mut good).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", "/a"));
        assert!(request.names(request.field("if-none-match"), "\"1\""));
        assert!(!request.names(request.field("if-none-match"), "\"3\""));
        let endless = format!("GET /a HTTP/1.1\r\nx: {}", "x".repeat(100_000));
        assert!(Request::read(&mut endless.as_bytes()).is_err());
        let body = b"GET /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert!(Request::read(&mut &body[..]).is_err());
        assert!(Request::read(&mut &b""[..]).unwrap().is_none());
    }
}
