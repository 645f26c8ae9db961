//! Reading from one edge, by its address whatever names resolve to, and taking an answer apart.

use std::net::SocketAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use crate::Clock;
use crate::content::{self, STAMP, Stamp};
use crate::judge::Seen;
use crate::objects::{Form, Objects};
use crate::random::Random;

/// How long an answer may take.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Content that is read of one answer, in bytes.
pub(crate) const READ_BYTES_MAX: u64 = 64 << 20;

/// An edge as `--edges` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdgeUrl {
    pub(crate) is_encrypted: bool,
    pub(crate) address: SocketAddr,
}

impl EdgeUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" names no edge: write http://ADDRESS:PORT, with an IP address");
        let (is_encrypted, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let rest = rest.trim_end_matches('/');
        let port = if is_encrypted { 443 } else { 80 };
        let with_port = rest.parse().ok().or_else(|| {
            let address = rest.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            Some(SocketAddr::new(address, port))
        });
        with_port.map(|address| Self { is_encrypted, address }).ok_or_else(wrong)
    }
}

impl std::fmt::Display for EdgeUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.is_encrypted { "https" } else { "http" }, self.address)
    }
}

/// Every name is this edge.
#[derive(Debug)]
struct Always(SocketAddr);

impl Resolver for Always {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// Reads objects from one edge.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) url: EdgeUrl,
    agent: Agent,
    base: String,
    clock: Clock,
}

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    language: Option<&'static str>,
    range: Option<(usize, usize)>,
    etag: Option<String>,
}

/// An answer with content of a run, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// What it was made of; `None` if it is a mixture.
    pub(crate) seen: Option<Seen>,
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) etag: Option<String>,
    pub(crate) is_hit: bool,
    pub(crate) status: u16,
    /// The number that the edge gave to the request.
    pub(crate) request_id: String,
    pub(crate) cache_status: String,
    pub(crate) stamp: Option<Stamp>,
}

const LANGUAGES: [&str; 2] = ["de", "en"];

impl Ask {
    /// Draws how an object is asked for. `etag` is what an earlier answer had.
    pub(crate) fn draw(objects: &Objects, number: usize, etag: Option<&str>, random: &mut Random) -> Self {
        let form = objects.all[number].form;
        let mut ask = Self::default();
        if form == Form::Varied {
            ask.language = Some(LANGUAGES[random.below(LANGUAGES.len())]);
        }
        if form == Form::Large && random.percent(70) {
            let from = random.below(objects.large_bytes);
            let to = (from + 1 + random.below(200_000)).min(objects.large_bytes);
            ask.range = Some((from, to));
        } else if random.percent(25) {
            ask.etag = etag.map(str::to_owned);
        }
        ask
    }
}

impl Reader {
    pub(crate) fn new(url: &EdgeUrl, host: &str, clock: Clock) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(READ_TIMEOUT))
            .proxy(None)
            .max_idle_connections_per_host(64)
            .user_agent(concat!("everfresh-verify/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), Always(url.address));
        let scheme = if url.is_encrypted { "https" } else { "http" };
        let base = format!("{scheme}://{host}:{}", url.address.port());
        Self { url: url.clone(), agent, base, clock }
    }

    /// Asks for an object. The error is for people: no answer of a cache in front of our origin came.
    pub(crate) fn read(&self, objects: &Objects, number: usize, ask: &Ask) -> Result<Answer, String> {
        let object = &objects.all[number];
        let mut request = self.agent.get(format!("{}{}", self.base, object.path_and_query));
        if let Some(language) = ask.language {
            request = request.header("accept-language", language);
        }
        if let Some((from, to)) = ask.range {
            request = request.header("range", format!("bytes={from}-{}", to - 1));
        }
        if let Some(etag) = &ask.etag {
            request = request.header("if-none-match", etag);
        }
        let started = self.clock.now();
        let mut response = request.call().map_err(|error| error.to_string())?;
        let body = response.body_mut().with_config().limit(READ_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
        let ended = self.clock.now();
        let status = response.status().as_u16();
        let field = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        if !matches!(status, 200 | 206 | 304) {
            return Err(format!("it answered {status} ({})", field("cache-status")));
        }
        let stamp =
            Stamp::parse(field(STAMP)).filter(|stamp| stamp.run == objects.run && stamp.object == number);
        let etag = Some(field("etag").to_owned()).filter(|etag| !etag.is_empty());
        let seen = take_apart(objects, number, started, status, &body, stamp, etag.as_deref(), ask);
        Ok(Answer {
            seen,
            started,
            ended,
            etag,
            is_hit: field("eo-cache-status").eq_ignore_ascii_case("hit"),
            status,
            request_id: field("eo-log-uuid").to_owned(),
            cache_status: field("cache-status").to_owned(),
            stamp,
        })
    }
}

/// What an answer was made of; `None` if that is no one version's, or no one fetch's.
#[expect(clippy::too_many_arguments, reason = "each is one part of an answer")]
fn take_apart(
    objects: &Objects,
    number: usize,
    started: Duration,
    status: u16,
    body: &[u8],
    stamp: Option<Stamp>,
    etag: Option<&str>,
    ask: &Ask,
) -> Option<Seen> {
    let confirmed = stamp.map(|stamp| stamp.fetched);
    let of_etag = etag.and_then(|etag| content::version_of(etag, objects.run));
    if status == 304 {
        // Not every field comes with a 304: without its validator, the client's own is what it confirms.
        let asked = ask.etag.as_deref().and_then(|etag| content::version_of(etag, objects.run));
        return Some(Seen { started, version: of_etag.or(asked)?, bytes_fetched: None, confirmed });
    }
    if objects.all[number].form != Form::Large {
        let bytes = Stamp::of_content(body)?;
        let is_this = bytes.run == objects.run
            && bytes.object == number
            && of_etag.is_none_or(|of| of == bytes.version);
        let seen = Seen { started, version: bytes.version, bytes_fetched: Some(bytes.fetched), confirmed };
        return is_this.then_some(seen);
    }
    let version = of_etag?;
    let (from, to) = match (status, ask.range) {
        (206, Some(range)) => range,
        _ => (0, objects.large_bytes),
    };
    let is_whole = body == content::large(objects.run, number, version, from, to);
    // Which fetch brought the bytes can't be told of parts; the fetch of their head is no later than the last exchange.
    is_whole.then_some(Seen { started, version, bytes_fetched: confirmed, confirmed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_named_by_their_addresses() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
            ("https://10.0.0.1", Some("https://10.0.0.1:443")),
            ("http://[::1]:81", Some("http://[::1]:81")),
            ("http://[::1]", Some("http://[::1]:80")),
            ("http://edge.example.com", None),
            ("127.0.0.1:8080", None),
            ("ftp://127.0.0.1", None),
        ] {
            assert_eq!(EdgeUrl::parse(text).ok().map(|url| url.to_string()).as_deref(), expected, "{text}");
        }
    }
}
