//! What clients got, held against the promise.
//!
//! For each answer and each task: if the request arrived at its edge after the task read `success`, and the task matched
//! the content, by the URL asked for or by a tag that the content had, then the content's fetch from the origin must not
//! have begun before the commit; after an `invalidate`, a validation counts as a fetch. Independently of what fields say,
//! the version in the content itself must not have been replaced at the origin before the commit.

use crate::network::seconds;
use crate::origin::Contents;
use std::time::Duration;

/// What a task matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Url(&'static str),
    Prefix(&'static str),
    Tag(&'static str),
    Host,
    All,
}

/// What becomes of copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Invalidate,
    Delete,
}

/// A purge task, as whoever asked for it sees it.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) scope: Scope,
    pub(crate) method: Method,
    pub(crate) job: String,
    pub(crate) last_seq: u64,
    pub(crate) committed: Duration,
    pub(crate) succeeded: Option<Duration>,
}

/// An answer, or what became of a request without one.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) client: u64,
    pub(crate) edge: usize,
    pub(crate) resource: usize,
    pub(crate) asked: &'static str,
    pub(crate) language: &'static str,
    pub(crate) sent: Duration,
    /// When the request's first byte was read at the edge.
    pub(crate) arrived: Option<Duration>,
    pub(crate) ended: Duration,
    pub(crate) status: u16,
    pub(crate) cache_status: String,
    pub(crate) fetch: Option<usize>,
    pub(crate) validated: Option<usize>,
    pub(crate) etag: String,
    pub(crate) body: Body,
}

/// What a body was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// Cells of this variant and version.
    Version(char, usize),
    /// It broke off before there was a cell.
    Broken,
    /// Cells of several versions, or none of the origin's.
    Mixed,
}

impl Scope {
    fn matches(&self, path: &str, tags: &[&[&'static str]]) -> bool {
        match self {
            Self::Url(url) => path == *url,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Tag(tag) => tags.iter().any(|tags| tags.contains(tag)),
            Self::Host | Self::All => true,
        }
    }
}

impl Exchange {
    /// The version that the answer is of, by content or validator.
    fn version(&self) -> Option<usize> {
        match self.body {
            Body::Version(_, version) => Some(version),
            Body::None if self.status == 304 => {
                self.etag.trim_start_matches("W/").trim_matches('"').get(1..)?.parse().ok()
            }
            Body::None | Body::Broken | Body::Mixed => None,
        }
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self, tasks: &[Task], contents: &Contents) -> Option<String> {
        let resource = &contents.resources[self.resource];
        if self.body == Body::Mixed {
            return Some("the content is of several versions, or none of the origin's".into());
        }
        if let Body::Version(variant, _) = self.body {
            let asked = if self.language == "de" && resource.path == "/varying" { 'd' } else { 'e' };
            if variant != asked {
                return Some(format!("variant {variant} for who asked for {asked}"));
            }
        }
        let fetch = |serial: Option<usize>| serial.and_then(|serial| contents.fetches.get(serial));
        let (fetched, validated) = (fetch(self.fetch), fetch(self.validated));
        if [fetched, validated].into_iter().flatten().any(|fetch| fetch.resource != self.resource) {
            return Some("the answer is of another URL".into());
        }
        let arrived = self.arrived?;
        let newest = fetched.map(|fetch| validated.map_or(fetch.began, |later| later.began.max(fetch.began)));
        let replaced = self.version().and_then(|version| resource.versions.get(version + 1));
        // Of content that is not there nothing can be said.
        let has_content = self.version().is_some();
        for task in tasks {
            let Some(succeeded) = task.succeeded.filter(|succeeded| *succeeded < arrived) else { continue };
            // A tag that a validation brought after the commit is none that the task could match.
            let known = validated.filter(|validated| validated.began < task.committed);
            let tags: Vec<&[&'static str]> =
                [fetched, known].into_iter().flatten().map(|fetch| &fetch.tags[..]).collect();
            if !has_content || !task.scope.matches(resource.path, &tags) {
                continue;
            }
            let began = match task.method {
                Method::Delete => fetched.map(|fetch| fetch.began),
                Method::Invalidate => newest,
            };
            let is_old = began.is_some_and(|began| began < task.committed);
            let is_replaced = replaced.is_some_and(|replaced| *replaced < task.committed);
            if is_old || is_replaced {
                let since = |time: Option<Duration>| time.map_or("?".into(), seconds);
                return Some(format!(
                    "{:?} {:?} (seq {}) was committed at {} and succeeded at {}; the request was sent at {} and arrived at {}; its content \
                     began at {}, was validated at {} and replaced at {}",
                    task.method,
                    task.scope,
                    task.last_seq,
                    seconds(task.committed),
                    seconds(succeeded),
                    seconds(self.sent),
                    seconds(arrived),
                    since(fetched.map(|fetch| fetch.began)),
                    since(newest),
                    since(replaced.copied()),
                ));
            }
        }
        None
    }
}
