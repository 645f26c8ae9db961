//! What a prefetch is: URLs to fetch ahead of their readers (teo-api §6).
//!
//! Owns the mode, the plan from submitted targets to tasks, and the checks of the request fields that come with them.
//! A prefetch changes nothing in the log: it carries the head at its acceptance, and an edge begins once it has applied
//! that. Does not know to whom a host belongs, nor quotas.

use crate::plan::{distinct_targets_of, foreign_failure, refuse_all_foreign};
use crate::{Failure, PlanError, PurgeType, Target, UrlTarget, ZoneChoice};
use zone::{HostName, ZoneId};

/// How many request fields one prefetch may carry.
pub const PREFETCH_HEADERS_MAX: usize = 20;

/// How long one of them may be, name and value together, in bytes.
pub const PREFETCH_HEADER_BYTES_MAX: usize = 2048;

/// Which edges fetch (API field `Mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PrefetchMode {
    /// Those that ask origins themselves: the parents, where edges have parents; otherwise all.
    #[default]
    Default,
    /// Every edge.
    Edge,
}

impl PrefetchMode {
    /// Reads the mode as the API writes it.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Default, Self::Edge].into_iter().find(|mode| mode.as_str() == text)
    }

    /// The mode as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Edge => "edge",
        }
    }
}

/// One URL to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchTask {
    /// The zone its host belongs to.
    pub zone: ZoneId,
    /// The URL as submitted (API field `Target`).
    pub target: String,
    /// Its host.
    pub host: HostName,
}

/// What a call becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefetchPlan {
    /// One task per accepted target, in the order submitted. Never empty.
    pub tasks: Vec<PrefetchTask>,
    /// What was not accepted although the rest was (API field `FailedList`).
    pub failed: Vec<Failure>,
}

/// Why a request field can't come with a prefetch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefetchHeaderError {
    /// More than [`PREFETCH_HEADERS_MAX`].
    #[error("{0} request fields; at most {PREFETCH_HEADERS_MAX} are allowed")]
    TooMany(usize),
    /// Longer than [`PREFETCH_HEADER_BYTES_MAX`].
    #[error(
        "the request field \"{0}\" is too long: name and value may have {PREFETCH_HEADER_BYTES_MAX} bytes together"
    )]
    TooLong(String),
    /// The name is no token.
    #[error("\"{0}\" is no name of a request field: letters, digits and !#$%&'*+-.^_`|~ only")]
    Name(String),
    /// The value holds what no field may hold.
    #[error("the value of \"{0}\" holds a control character or more than ASCII")]
    Value(String),
    /// The edge says this itself.
    #[error("the request field \"{0}\" is the edge's own to send; leave it out")]
    Reserved(String),
}

/// Request fields that an edge writes itself, or that would make another request of it.
const RESERVED: [&str; 22] = [
    "authorization",
    "cdn-loop",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "cache-control",
    "pragma",
];

/// Checks the request fields of a prefetch (API field `Headers`).
pub fn check_prefetch_headers(headers: &[(String, String)]) -> Result<(), PrefetchHeaderError> {
    if headers.len() > PREFETCH_HEADERS_MAX {
        return Err(PrefetchHeaderError::TooMany(headers.len()));
    }
    for (name, value) in headers {
        let shown = || name.chars().take(64).collect::<String>();
        if name.len() + value.len() > PREFETCH_HEADER_BYTES_MAX {
            return Err(PrefetchHeaderError::TooLong(shown()));
        }
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(PrefetchHeaderError::Name(shown()));
        }
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || lower.starts_with("everfresh-") {
            return Err(PrefetchHeaderError::Reserved(shown()));
        }
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return Err(PrefetchHeaderError::Value(shown()));
        }
    }
    Ok(())
}

/// Plans one call. `zone_of` tells the zone that a host belongs to.
pub fn plan_prefetch(
    zones: &ZoneChoice,
    targets: &[String],
    zone_of: impl Fn(&HostName) -> Option<ZoneId>,
) -> Result<PrefetchPlan, PlanError> {
    let mut tasks = Vec::new();
    let mut foreign = Vec::new();
    for (target, text) in distinct_targets_of(PurgeType::Url, targets)? {
        let Target::Url(UrlTarget { url, .. }) = target else { continue };
        let zone = zone_of(url.host()).filter(|zone| match zones {
            ZoneChoice::One { id, .. } => id == zone,
            ZoneChoice::Every => true,
        });
        match zone {
            Some(zone) => {
                tasks.push(PrefetchTask { zone, target: text.to_owned(), host: url.host().clone() });
            }
            None => foreign.push(text.to_owned()),
        }
    }
    if tasks.is_empty() {
        return Err(refuse_all_foreign(&foreign));
    }
    Ok(PrefetchPlan { tasks, failed: foreign_failure(foreign) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(letter: &str) -> ZoneId {
        ZoneId::parse(&format!("zone-{}", letter.repeat(12))).unwrap()
    }

    fn zone_of(host: &HostName) -> Option<ZoneId> {
        let within = |name: &str| host.is_within(&HostName::parse(name).unwrap());
        if within("a.test") { Some(zone("a")) } else { within("b.test").then(|| zone("b")) }
    }

    fn planned(zones: &ZoneChoice, targets: &[&str]) -> Result<(Vec<String>, Vec<String>), PlanError> {
        let targets: Vec<String> = targets.iter().map(|text| (*text).to_owned()).collect();
        let plan = plan_prefetch(zones, &targets, zone_of)?;
        let failed = plan.failed.into_iter().flat_map(|failure| failure.targets).collect();
        Ok((plan.tasks.into_iter().map(|task| task.target).collect(), failed))
    }

    #[test]
    fn targets_become_tasks_once_and_foreign_ones_fail() {
        let one = ZoneChoice::One { id: zone("a"), name: HostName::parse("a.test").unwrap() };
        let targets =
            ["http://www.a.test/1", "https://www.b.test/2", "http://c.test/", "http://WWW.a.test/1"];
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(planned(&one, &targets), Ok((strings(&targets[..1]), strings(&targets[1..3]))));
        assert_eq!(
            planned(&ZoneChoice::Every, &targets),
            Ok((strings(&targets[..2]), strings(&targets[2..3])))
        );
        assert!(matches!(planned(&one, &["http://c.test/"]), Err(PlanError::AllHostsForeign { .. })));
        assert!(matches!(planned(&one, &["a.test/1"]), Err(PlanError::Malformed { .. })));
        assert!(matches!(planned(&one, &[]), Err(PlanError::NoTargets(_))));
    }

    #[test]
    fn request_fields_are_checked() {
        let check = |name: &str, value: &str| check_prefetch_headers(&[(name.to_owned(), value.to_owned())]);
        assert_eq!(check("Accept-Encoding", "gzip, br"), Ok(()));
        assert_eq!(check("X-A", ""), Ok(()));
        assert!(matches!(check("", "a"), Err(PrefetchHeaderError::Name(_))));
        assert!(matches!(check("X A", "a"), Err(PrefetchHeaderError::Name(_))));
        assert!(matches!(check("X-A", "a\r\nHost: b"), Err(PrefetchHeaderError::Value(_))));
        assert!(matches!(check("X-A", "é"), Err(PrefetchHeaderError::Value(_))));
        for reserved in ["Host", "RANGE", "If-None-Match", "Everfresh-Tier"] {
            assert!(matches!(check(reserved, "a"), Err(PrefetchHeaderError::Reserved(_))), "{reserved}");
        }
        assert!(matches!(check("X-A", &"a".repeat(2046)), Err(PrefetchHeaderError::TooLong(_))));
        let many = vec![("X-A".to_owned(), String::new()); PREFETCH_HEADERS_MAX + 1];
        assert_eq!(check_prefetch_headers(&many), Err(PrefetchHeaderError::TooMany(21)));
    }
}
