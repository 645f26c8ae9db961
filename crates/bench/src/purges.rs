//! Purges as each server knows them.

use crate::api::{Api, read_answer};
use crate::load::HOST;
use crate::servers::Server;
use anyhow::{Context, bail};
use serde_json::json;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many connections send purges, so that a rate is kept that one could not.
const SENDERS: u32 = 8;

/// How long a purge may take until it shows.
const SHOWS_TIMEOUT: Duration = Duration::from_secs(60);

/// What is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Url,
    Tag,
    Prefix,
    Host,
    All,
}

impl Kind {
    /// Those that match most come last.
    pub(crate) const ALL: [Kind; 5] = [Self::Url, Self::Tag, Self::Prefix, Self::Host, Self::All];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Tag => "tag",
            Self::Prefix => "prefix",
            Self::Host => "host",
            Self::All => "all",
        }
    }
}

/// Which things.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Something stored: the object of key 0, its tag, all objects of its size, its host.
    Stored { bytes: u64 },
    /// Nothing that is stored, and something else each time. There is no such purge of everything.
    Nothing(u64),
}

/// One sender of purges.
pub(crate) enum Sender {
    Everfresh { api: Box<Api>, zone: String },
    Varnish(BufReader<TcpStream>),
}

impl Sender {
    pub(crate) fn connect(server: &Server) -> anyhow::Result<Self> {
        if let Some((address, zone)) = &server.api {
            return Ok(Self::Everfresh { api: Box::new(Api::connect(*address)?), zone: zone.clone() });
        }
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        Ok(Self::Varnish(BufReader::new(stream)))
    }

    /// Sends one purge and waits until it is accepted: a job's number from Everfresh.
    pub(crate) fn send(&mut self, kind: Kind, target: Target) -> anyhow::Result<String> {
        match self {
            Self::Everfresh { api, zone } => {
                let (kind_name, targets) = everfresh(kind, target);
                let mut call = json!({"ZoneId": zone, "Type": kind_name, "Method": "invalidate"});
                if let Some(targets) = targets {
                    call["Targets"] = json!([targets]);
                }
                let fields = api.call("2022-09-01", "CreatePurgeTask", &call)?;
                if fields
                    .get("FailedList")
                    .and_then(|list| list.as_array())
                    .is_some_and(|list| !list.is_empty())
                {
                    bail!("targets failed: {fields:?}");
                }
                fields.get("JobId").and_then(|id| id.as_str()).map(str::to_owned).context("no JobId")
            }
            Self::Varnish(stream) => {
                stream.get_mut().write_all(varnish(kind, target).as_bytes())?;
                let (head, _) = read_answer(stream)?;
                if head.split(' ').nth(1) != Some("200") {
                    bail!("Varnish refused a purge: {head}");
                }
                Ok(String::new())
            }
        }
    }

    /// Waits until a job of Everfresh is a success. Varnish has done it when it answers.
    pub(crate) fn finish(&mut self, job: &str) -> anyhow::Result<()> {
        let Self::Everfresh { api, .. } = self else { return Ok(()) };
        let fields = api.call(
            "2026-11-01",
            "DescribeJobProgress",
            &json!({"JobId": job, "WaitMilliseconds": 30_000}),
        )?;
        match fields.get("Status").and_then(|status| status.as_str()) {
            Some("success") => Ok(()),
            other => bail!("the job ended as {other:?}"),
        }
    }
}

fn everfresh(kind: Kind, target: Target) -> (&'static str, Option<String>) {
    match (kind, target) {
        (Kind::Url, Target::Stored { bytes }) => ("purge_url", Some(format!("http://{HOST}/{bytes}/0"))),
        (Kind::Url, Target::Nothing(n)) => ("purge_url", Some(format!("http://{HOST}/none/{n}"))),
        (Kind::Tag, Target::Stored { .. }) => ("purge_cache_tag", Some("t0".into())),
        (Kind::Tag, Target::Nothing(n)) => ("purge_cache_tag", Some(format!("none{n}"))),
        (Kind::Prefix, Target::Stored { bytes }) => ("purge_prefix", Some(format!("http://{HOST}/{bytes}/"))),
        (Kind::Prefix, Target::Nothing(n)) => ("purge_prefix", Some(format!("http://{HOST}/none/{n}/"))),
        (Kind::Host, Target::Stored { .. }) => ("purge_host", Some(HOST.into())),
        (Kind::Host, Target::Nothing(n)) => ("purge_host", Some(format!("none{n}.bench.test"))),
        (Kind::All, _) => ("purge_all", None),
    }
}

fn varnish(kind: Kind, target: Target) -> String {
    let (method, path, host, tag) = match (kind, target) {
        (Kind::Url, Target::Stored { bytes }) => ("PURGE", format!("/{bytes}/0"), HOST.into(), String::new()),
        (Kind::Url, Target::Nothing(n)) => ("PURGE", format!("/none/{n}"), HOST.into(), String::new()),
        (Kind::Tag, Target::Stored { .. }) => ("XKEY", "/".into(), HOST.into(), "t0".into()),
        (Kind::Tag, Target::Nothing(n)) => ("XKEY", "/".into(), HOST.into(), format!("none{n}")),
        (Kind::Prefix, Target::Stored { bytes }) => ("BAN", format!("/{bytes}/"), HOST.into(), String::new()),
        (Kind::Prefix, Target::Nothing(n)) => ("BAN", format!("/none/{n}/"), HOST.into(), String::new()),
        (Kind::Host, Target::Stored { .. }) => ("BANHOST", "/".into(), HOST.into(), String::new()),
        (Kind::Host, Target::Nothing(n)) => {
            ("BANHOST", "/".into(), format!("none{n}.bench.test"), String::new())
        }
        (Kind::All, _) => ("BANALL", "/".into(), HOST.into(), String::new()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nx-tag: {tag}\r\n\r\n")
}

/// Sends purges of nothing at a rate until `stop`; how many were accepted.
pub(crate) fn at_rate(server: &Server, kind: Kind, per_sec: u32, stop: &AtomicBool) -> anyhow::Result<u64> {
    let (numbers, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let senders = SENDERS.min(per_sec);
    let pause = Duration::from_secs_f64(f64::from(senders) / f64::from(per_sec));
    std::thread::scope(|scope| {
        let sending: Vec<_> = (0..senders)
            .map(|_| {
                scope.spawn(|| {
                    let mut sender = Sender::connect(server)?;
                    let mut due = Instant::now();
                    while !stop.load(Ordering::Relaxed) {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        sender.send(kind, Target::Nothing(number))?;
                        sent.fetch_add(1, Ordering::Relaxed);
                        // Late is late: what was missed is not caught up with.
                        due = (due + pause).max(Instant::now());
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for sender in sending {
            sender.join().map_err(|_| anyhow::anyhow!("a sender of purges ended by a panic"))??;
        }
        anyhow::Ok(())
    })?;
    Ok(sent.into_inner())
}

/// How long one purge takes: until the server says that it is done, and until the object of key 0 is not a hit any more.
pub(crate) fn time(server: &Server, kind: Kind, bytes: u64) -> anyhow::Result<(Duration, Duration)> {
    let mut sender = Sender::connect(server)?;
    let mut client = Client::connect(server)?;
    client.is_hit(bytes)?;
    let begun = Instant::now();
    let job = sender.send(kind, Target::Stored { bytes })?;
    while client.is_hit(bytes)? {
        if begun.elapsed() > SHOWS_TIMEOUT {
            bail!("{}: a purge by {} does not show", server.kind.name(), kind.name());
        }
    }
    let shown = begun.elapsed();
    sender.finish(&job)?;
    // Again for the other one: asking for the object took time of the server's.
    let begun = Instant::now();
    let job = sender.send(kind, Target::Stored { bytes })?;
    sender.finish(&job)?;
    Ok((begun.elapsed(), shown))
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Whether key 0 is answered from the cache, without asking the origin.
    fn is_hit(&mut self, bytes: u64) -> anyhow::Result<bool> {
        write!(self.stream.get_mut(), "GET /{bytes}/0 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
        let (head, _) = read_answer(&mut self.stream)?;
        Ok(is_hit(&head))
    }
}

/// Everfresh says so; Varnish names two transactions.
fn is_hit(head: &str) -> bool {
    let head = head.to_ascii_lowercase();
    match crate::machine::field(&head, "eo-cache-status") {
        Some(word) => word == "hit",
        None => crate::machine::field(&head, "x-varnish").is_some_and(|ids| ids.split(' ').count() == 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_words() {
        for kind in Kind::ALL {
            let (name, target) = everfresh(kind, Target::Nothing(7));
            assert!(name.starts_with("purge_"), "{name}");
            assert_eq!(target.is_none(), kind == Kind::All);
            let text = varnish(kind, Target::Stored { bytes: 1024 });
            assert!(text.ends_with("\r\n\r\n") && text.contains("Host: www.bench.test\r\n"), "{text}");
        }
    }

    #[test]
    fn hits_are_told_from_misses() {
        assert!(is_hit("HTTP/1.1 200 OK\r\nEO-Cache-Status: HIT\r\n"));
        assert!(!is_hit("HTTP/1.1 200 OK\r\nEO-Cache-Status: RefreshHit\r\n"));
        assert!(is_hit("HTTP/1.1 200 OK\r\nX-Varnish: 32770 3\r\n"));
        assert!(!is_hit("HTTP/1.1 200 OK\r\nX-Varnish: 32770\r\n"));
    }
}
