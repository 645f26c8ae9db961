//! The objects of a run, and which of them a purge matches.

use std::sync::atomic::{AtomicU64, Ordering};

use teo::edgeone::PurgeType;

use crate::random::Random;

/// How many directories there are.
const DIRECTORIES: usize = 4;

/// What an object is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One response.
    Page,
    /// One response, whose URL has a query.
    Query,
    /// A response for each language.
    Varied,
    /// Large content with a strong validator, asked for in whole and in parts.
    Large,
}

const FORMS: [Form; 4] = [Form::Page, Form::Query, Form::Varied, Form::Large];

/// One URL.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) form: Form,
    pub(crate) directory: usize,
    pub(crate) path_and_query: String,
    pub(crate) tags: Vec<String>,
    /// Which version the origin serves.
    version: AtomicU64,
}

impl Object {
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    /// Publishes the next version.
    pub(crate) fn publish(&self) -> u64 {
        self.version.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) all: Vec<Object>,
    pub(crate) run: u64,
    pub(crate) large_bytes: usize,
}

/// A purge that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) kind: PurgeType,
    pub(crate) target: Option<String>,
    /// Which objects it matches.
    pub(crate) matched: Vec<usize>,
}

impl Objects {
    pub(crate) fn new(run: u64, large_bytes: usize) -> Self {
        let object = |number: usize| {
            let (directory, form) = (number / FORMS.len(), FORMS[number % FORMS.len()]);
            let name = match form {
                Form::Page => "page.html",
                Form::Query => "find?q=1&page=2",
                Form::Varied => "varied",
                Form::Large => "large.bin",
            };
            Object {
                form,
                directory,
                path_and_query: format!("/verify/{run:016x}/d{directory}/{name}"),
                tags: vec![
                    format!("verify-{run:016x}-d{directory}"),
                    format!("verify-{run:016x}-t{}", number % 3),
                ],
                version: AtomicU64::new(1),
            }
        };
        Self { all: (0..DIRECTORIES * FORMS.len()).map(object).collect(), run, large_bytes }
    }

    /// The object at this target of a request.
    pub(crate) fn find(&self, path_and_query: &str) -> Option<usize> {
        self.all.iter().position(|object| object.path_and_query == path_and_query)
    }

    /// Draws a purge: mostly small ones, now and then one of much.
    pub(crate) fn draw(&self, random: &mut Random, host: &str, purges_all: bool) -> Planned {
        let number = random.below(self.all.len());
        let object = &self.all[number];
        let url = |path: &str| format!("http://{host}{path}");
        let those = |is_matched: &dyn Fn(&Object) -> bool| {
            (0..self.all.len()).filter(|number| is_matched(&self.all[*number])).collect()
        };
        let (kind, target, matched) = match random.below(if purges_all { 12 } else { 11 }) {
            0..4 => (PurgeType::PurgeUrl, Some(url(&object.path_and_query)), vec![number]),
            4..7 => {
                let directory = object.directory;
                let path = format!("/verify/{:016x}/d{directory}/", self.run);
                (PurgeType::PurgePrefix, Some(url(&path)), those(&|other| other.directory == directory))
            }
            7..10 => {
                let tag = &object.tags[random.below(object.tags.len())];
                (PurgeType::PurgeCacheTag, Some(tag.clone()), those(&|other| other.tags.contains(tag)))
            }
            10 => (PurgeType::PurgeHost, Some(host.to_owned()), those(&|_| true)),
            _ => (PurgeType::PurgeAll, None, those(&|_| true)),
        };
        Planned { kind, target, matched }
    }
}
