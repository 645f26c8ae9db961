//! What an operator decides about caching: for a whole zone, and by rules for some of its URLs (teo-api §9).
//!
//! Owns the checked types and their evaluation: [`CacheConfig::effective`] is a pure function of a URL. The order is
//! the operator's: what a rule further down says counts over what one above it says, and any rule over the zone.

use crate::condition::{Condition, UrlFacts};
use crate::url_form::with_percents_normalised;
use std::borrow::Cow;
use std::sync::Arc;

/// The most rules of one zone.
pub const RULES_PER_ZONE_MAX: usize = 100;

/// The most sub-rules of one rule.
pub const SUB_RULES_PER_RULE_MAX: usize = 20;

/// How deep rules may be nested: a rule, and sub-rules in it.
pub const RULE_DEPTH_MAX: usize = 2;

/// The longest time that anything is kept, in seconds: ten years.
pub const CACHE_SECS_MAX: u32 = 315_360_000;

/// The longest time that a response with another status than 200 is kept, in seconds: one year.
pub const STATUS_SECS_MAX: u32 = 31_536_000;

/// The most names in one list of query parameters, fields or cookies.
pub const NAMES_MAX: usize = 64;

/// The longest of those names, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The statuses that may be cached beside 200 (API field `StatusCode`).
pub const STATUS_CODES: [u16; 14] = [400, 401, 403, 404, 405, 407, 414, 500, 501, 502, 503, 504, 509, 514];

/// Whether and how long content is stored (API field `Cache`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// As the origin says (`FollowOrigin`), and this where it says nothing.
    FollowOrigin(DefaultCache),
    /// Not at all (`NoCache`).
    NoCache,
    /// For this long (`CustomTime`).
    CustomTime {
        /// Seconds.
        secs: CacheSecs,
        /// Whether the origin's `no-store` and the like are ignored.
        ignore_cache_control: bool,
    },
}

/// What becomes of content about which the origin says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultCache {
    /// It is not stored (`DefaultCache` off).
    Off,
    /// The network's default decides (`DefaultCacheStrategy` on).
    Strategy,
    /// It is stored for this long (`DefaultCacheTime`).
    For(CacheSecs),
}

/// A time in seconds, at most [`CACHE_SECS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSecs(u32);

/// A share in percent, 1 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

/// Names of query parameters, of fields or of cookies: at least one, at most [`NAMES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Arc<[String]>);

/// Which part of the query belongs to the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryKey {
    /// All of it (`FullURLCache` on).
    Whole,
    /// None of it.
    Ignored,
    /// These parameters (`includeCustom`).
    Only(Names),
    /// All parameters but these (`excludeCustom`).
    AllBut(Names),
}

/// How the URL part of the cache key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlKeying {
    /// Which part of the query it holds.
    pub query: QueryKey,
    /// Whether upper and lower case are one.
    pub ignores_case: bool,
    /// Whether it holds the scheme.
    pub has_scheme: bool,
}

/// Which cookies belong to the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieKey {
    /// None (`Switch` off, or `ignore`).
    Ignored,
    /// All.
    Full,
    /// These.
    Only(Names),
    /// All but these.
    AllBut(Names),
}

/// How long clients may keep content (API field `MaxAge`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAge {
    /// As the origin says.
    FollowOrigin,
    /// This long.
    For(CacheSecs),
}

/// For how long a response with a status beside 200 is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusTime {
    status: u16,
    secs: u32,
}

/// Everything that is decided about caching, for a zone or for one URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Whether and how long content is stored.
    pub caching: Caching,
    /// The URL part of the cache key.
    pub keying: UrlKeying,
    /// Request fields in the cache key; none by default.
    pub key_fields: Option<Names>,
    /// Cookies in the cache key.
    pub key_cookies: CookieKey,
    /// How long clients may keep content.
    pub client_age: ClientAge,
    /// How long other statuses are kept; `None` for the network's default.
    pub status_times: Option<Arc<[StatusTime]>>,
    /// From which share of its lifetime on content is validated ahead of time (`CachePrefresh`).
    pub refresh_at: Option<Percent>,
    /// Whether stale content answers while the origin is down (`OfflineCache`).
    pub offline: bool,
    /// Whether a response's `Vary` counts.
    pub varies: bool,
}

/// One thing that a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Whether and how long content is stored; `None`, all of its switches being off, decides nothing.
    Cache(Option<Caching>),
    /// The cache key; parts that are `None` stay as they are.
    CacheKey(KeyChange),
    /// How long clients may keep content.
    MaxAge(ClientAge),
    /// How long other statuses are kept.
    StatusCodeCache(Arc<[StatusTime]>),
    /// Validation ahead of time.
    CachePrefresh(Option<Percent>),
    /// Stale content while the origin is down.
    OfflineCache(bool),
    /// Whether `Vary` counts.
    Vary(bool),
}

/// What a rule changes of the cache key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Which part of the query.
    pub query: Option<QueryKey>,
    /// Whether upper and lower case are one.
    pub ignores_case: Option<bool>,
    /// Whether the scheme.
    pub has_scheme: Option<bool>,
    /// Which request fields; `Some(None)` for none.
    pub fields: Option<Option<Names>>,
    /// Which cookies.
    pub cookies: Option<CookieKey>,
}

/// A rule: where its condition holds, its actions decide, then its sub-rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id (API field `RuleId`).
    pub id: String,
    /// What the operator calls it.
    pub name: String,
    /// What the operator notes about it.
    pub notes: Vec<String>,
    /// Whether it counts.
    pub enabled: bool,
    /// What it does.
    pub branch: Branch,
}

/// A condition and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Where it counts.
    pub condition: Condition,
    /// What is decided.
    pub actions: Vec<Action>,
    /// What is decided for some of those URLs besides.
    pub sub_rules: Vec<SubRule>,
}

/// A rule within a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubRule {
    /// What the operator notes about it.
    pub notes: Vec<String>,
    /// What it does.
    pub branch: Branch,
}

/// What an operator decided about caching in one zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// For the whole zone.
    pub site: CacheSettings,
    /// For some of its URLs, top to bottom.
    pub rules: Vec<Rule>,
}

/// Why a value is not allowed in cache settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not 0 to [`CACHE_SECS_MAX`].
    #[error("{0} s is no time to keep content; it must be from 0 to {CACHE_SECS_MAX}")]
    Secs(i64),
    /// Not 0 to [`STATUS_SECS_MAX`].
    #[error("{0} s is no time to keep a status; it must be from 0 to {STATUS_SECS_MAX}")]
    StatusSecs(i64),
    /// Not one of [`STATUS_CODES`].
    #[error("the status {0} can't be given a time; those that can are {STATUS_CODES:?}")]
    Status(i64),
    /// A status given twice.
    #[error("the status {0} is given a time twice")]
    StatusTwice(u16),
    /// Not 1 to 99.
    #[error("{0} is no share; it must be from 1 to 99")]
    Percent(i64),
    /// No name where some are needed.
    #[error("at least one name is needed")]
    NoNames,
    /// More names than [`NAMES_MAX`].
    #[error("{0} names are given; at most {NAMES_MAX} are allowed")]
    TooManyNames(usize),
    /// A name that is empty or longer than [`NAME_BYTES_MAX`].
    #[error("{0:?} is no name: it must have from 1 to {NAME_BYTES_MAX} bytes, without control characters")]
    Name(String),
    /// A name of a field that is none.
    #[error("{0:?} is no name of a header field")]
    FieldName(String),
    /// A rule that decides nothing.
    #[error("a rule needs at least one action or sub-rule")]
    Empty,
    /// Rules nested deeper than [`RULE_DEPTH_MAX`].
    #[error("sub-rules can't have sub-rules of their own; at most {RULE_DEPTH_MAX} levels are allowed")]
    TooDeep,
    /// More sub-rules than [`SUB_RULES_PER_RULE_MAX`].
    #[error("a rule has {0} sub-rules; at most {SUB_RULES_PER_RULE_MAX} are allowed")]
    TooManySubRules(usize),
    /// More rules than [`RULES_PER_ZONE_MAX`].
    #[error("the zone would have {0} rules; at most {RULES_PER_ZONE_MAX} are allowed")]
    TooManyRules(usize),
    /// An action given twice in one branch.
    #[error("the action {0} is given twice for one condition")]
    ActionTwice(&'static str),
}

impl CacheSecs {
    /// From a number of seconds.
    pub fn new(secs: i64) -> Result<Self, SettingsError> {
        let given = u32::try_from(secs).ok().filter(|secs| *secs <= CACHE_SECS_MAX);
        given.map(Self).ok_or(SettingsError::Secs(secs))
    }

    /// Seconds.
    pub const fn secs(self) -> u32 {
        self.0
    }
}

impl Percent {
    /// From a number.
    pub fn new(percent: i64) -> Result<Self, SettingsError> {
        let given = u8::try_from(percent).ok().filter(|percent| (1..=99).contains(percent));
        given.map(Self).ok_or(SettingsError::Percent(percent))
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl StatusTime {
    /// This status for so many seconds.
    pub fn new(status: i64, secs: i64) -> Result<Self, SettingsError> {
        let code = u16::try_from(status).ok().filter(|status| STATUS_CODES.contains(status));
        let time = u32::try_from(secs).ok().filter(|secs| *secs <= STATUS_SECS_MAX);
        let status = code.ok_or(SettingsError::Status(status))?;
        Ok(Self { status, secs: time.ok_or(SettingsError::StatusSecs(secs))? })
    }

    /// Several, each status once.
    pub fn list(times: Vec<Self>) -> Result<Arc<[Self]>, SettingsError> {
        let twice =
            times.iter().enumerate().find(|(at, time)| times[..*at].iter().any(|t| t.status == time.status));
        match twice {
            Some((_, time)) => Err(SettingsError::StatusTwice(time.status)),
            None => Ok(times.into()),
        }
    }

    /// The status.
    pub const fn status(self) -> u16 {
        self.status
    }

    /// Seconds.
    pub const fn secs(self) -> u32 {
        self.secs
    }
}

impl Names {
    /// Names of query parameters or of cookies.
    pub fn new(names: Vec<String>) -> Result<Self, SettingsError> {
        if names.is_empty() {
            return Err(SettingsError::NoNames);
        }
        if names.len() > NAMES_MAX {
            return Err(SettingsError::TooManyNames(names.len()));
        }
        let is_bad = |name: &&String| {
            name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control)
        };
        match names.iter().find(is_bad) {
            Some(bad) => Err(SettingsError::Name(bad.chars().take(80).collect())),
            None => Ok(Self(names.into())),
        }
    }

    /// Names of header fields (RFC 9110 §5.1).
    pub fn of_fields(names: Vec<String>) -> Result<Self, SettingsError> {
        let is_token = |name: &str| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let names = Self::new(names)?;
        let bad = names.iter().find(|name| !is_token(name)).map(str::to_owned);
        bad.map_or(Ok(names), |bad| Err(SettingsError::FieldName(bad)))
    }

    /// The names as given.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// All of them.
    pub fn to_vec(&self) -> Vec<String> {
        self.0.to_vec()
    }
}

impl QueryKey {
    /// What of a normalised query (without its `?`) belongs to the key; `None` if nothing does. Names of parameters
    /// are compared in normalised form, and without regard to case where the key has none.
    pub fn filter<'a>(&self, query: &'a str, ignores_case: bool) -> Option<Cow<'a, str>> {
        let (names, keeps) = match self {
            Self::Whole => return Some(Cow::Borrowed(query)),
            Self::Ignored => return None,
            Self::Only(names) => (names, true),
            Self::AllBut(names) => (names, false),
        };
        let is_named = |argument: &str| {
            let given = argument.split_once('=').map_or(argument, |(name, _)| name);
            names.iter().any(|name| {
                let name = with_percents_normalised(name);
                if ignores_case { name.eq_ignore_ascii_case(given) } else { name == given }
            })
        };
        let kept: Vec<&str> = query.split('&').filter(|argument| is_named(argument) == keeps).collect();
        let is_empty = kept.iter().all(|argument| argument.is_empty());
        (!is_empty).then(|| Cow::Owned(kept.join("&")))
    }
}

impl UrlKeying {
    /// The whole URL without its scheme, case and all.
    pub const DEFAULT: Self = Self { query: QueryKey::Whole, ignores_case: false, has_scheme: false };
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            caching: Caching::FollowOrigin(DefaultCache::Strategy),
            keying: UrlKeying::DEFAULT,
            key_fields: None,
            key_cookies: CookieKey::Ignored,
            client_age: ClientAge::FollowOrigin,
            status_times: None,
            refresh_at: None,
            offline: false,
            varies: true,
        }
    }
}

impl Action {
    /// Its name in the API.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Cache(_) => "Cache",
            Self::CacheKey(_) => "CacheKey",
            Self::MaxAge(_) => "MaxAge",
            Self::StatusCodeCache(_) => "StatusCodeCache",
            Self::CachePrefresh(_) => "CachePrefresh",
            Self::OfflineCache(_) => "OfflineCache",
            Self::Vary(_) => "Vary",
        }
    }

    /// Whether it decides what is found under which key.
    const fn alters_keys(&self) -> bool {
        matches!(self, Self::CacheKey(_) | Self::Vary(_))
    }

    fn apply(&self, settings: &mut CacheSettings) {
        match self {
            Self::Cache(None) => {}
            Self::Cache(Some(caching)) => settings.caching = *caching,
            Self::CacheKey(change) => change.apply(settings),
            Self::MaxAge(age) => settings.client_age = *age,
            Self::StatusCodeCache(times) => settings.status_times = Some(Arc::clone(times)),
            Self::CachePrefresh(percent) => settings.refresh_at = *percent,
            Self::OfflineCache(on) => settings.offline = *on,
            Self::Vary(on) => settings.varies = *on,
        }
    }
}

impl KeyChange {
    fn apply(&self, settings: &mut CacheSettings) {
        if let Some(query) = &self.query {
            settings.keying.query = query.clone();
        }
        if let Some(ignores_case) = self.ignores_case {
            settings.keying.ignores_case = ignores_case;
        }
        if let Some(has_scheme) = self.has_scheme {
            settings.keying.has_scheme = has_scheme;
        }
        if let Some(fields) = &self.fields {
            settings.key_fields.clone_from(fields);
        }
        if let Some(cookies) = &self.cookies {
            settings.key_cookies = cookies.clone();
        }
    }
}

impl Branch {
    /// Checks what a type of its own does not: that it decides something, nothing twice, and is not nested too deep.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.check_at(1)
    }

    fn check_at(&self, depth: usize) -> Result<(), SettingsError> {
        if depth > RULE_DEPTH_MAX {
            return Err(SettingsError::TooDeep);
        }
        if self.actions.is_empty() && self.sub_rules.is_empty() {
            return Err(SettingsError::Empty);
        }
        if self.sub_rules.len() > SUB_RULES_PER_RULE_MAX {
            return Err(SettingsError::TooManySubRules(self.sub_rules.len()));
        }
        let names = self.actions.iter().map(Action::name).enumerate();
        for (at, name) in names {
            if self.actions[..at].iter().any(|action| action.name() == name) {
                return Err(SettingsError::ActionTwice(name));
            }
        }
        self.sub_rules.iter().try_for_each(|sub_rule| sub_rule.branch.check_at(depth + 1))
    }

    fn apply<'a>(&self, url: &UrlFacts<'_>, settings: &mut Cow<'a, CacheSettings>) {
        if !self.condition.holds(url) {
            return;
        }
        for action in &self.actions {
            action.apply(settings.to_mut());
        }
        for sub_rule in &self.sub_rules {
            sub_rule.branch.apply(url, settings);
        }
    }

    /// What of it decides about keys, if anything does.
    fn keying(&self) -> Option<KeyingBranch<'_>> {
        let actions: Vec<&Action> = self.actions.iter().filter(|action| action.alters_keys()).collect();
        let sub_rules: Vec<_> =
            self.sub_rules.iter().filter_map(|sub_rule| sub_rule.branch.keying()).collect();
        let decides = !actions.is_empty() || !sub_rules.is_empty();
        decides.then_some(KeyingBranch { condition: &self.condition, actions, sub_rules })
    }
}

/// A branch without what has nothing to do with keys.
#[derive(PartialEq)]
struct KeyingBranch<'a> {
    condition: &'a Condition,
    actions: Vec<&'a Action>,
    sub_rules: Vec<KeyingBranch<'a>>,
}

impl CacheConfig {
    /// Whether nothing was decided: then every zone's settings are those of the network.
    pub fn is_default(&self) -> bool {
        self.rules.is_empty() && self.site == CacheSettings::default()
    }

    /// What is decided for a URL. Borrowed where no rule says anything about it.
    pub fn effective(&self, url: &UrlFacts<'_>) -> Cow<'_, CacheSettings> {
        let mut settings = Cow::Borrowed(&self.site);
        for rule in self.rules.iter().filter(|rule| rule.enabled) {
            rule.branch.apply(url, &mut settings);
        }
        settings
    }

    /// Whether upper and lower case are one in the keys of some of the zone's URLs.
    pub fn ignores_case_somewhere(&self) -> bool {
        fn of_branch(branch: &Branch) -> bool {
            let by_action = branch
                .actions
                .iter()
                .any(|action| matches!(action, Action::CacheKey(KeyChange { ignores_case: Some(true), .. })));
            by_action || branch.sub_rules.iter().any(|sub_rule| of_branch(&sub_rule.branch))
        }
        self.site.keying.ignores_case || self.rules.iter().any(|rule| rule.enabled && of_branch(&rule.branch))
    }

    /// Whether content stored under one of these is to be found under other keys, or by other requests, under the
    /// other. Says so rather once too often.
    pub fn keys_differ(&self, other: &Self) -> bool {
        let site = |config: &Self| {
            let CacheSettings { keying, key_fields, key_cookies, varies, .. } = &config.site;
            (keying.clone(), key_fields.clone(), key_cookies.clone(), *varies)
        };
        site(self) != site(other) || keying_rules(self) != keying_rules(other)
    }
}

fn keying_rules(config: &CacheConfig) -> Vec<KeyingBranch<'_>> {
    config.rules.iter().filter(|rule| rule.enabled).filter_map(|rule| rule.branch.keying()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condition::Scheme;

    fn names(names: &[&str]) -> Names {
        Names::new(names.iter().map(|name| (*name).to_owned()).collect()).unwrap()
    }

    fn branch(condition: &str, actions: Vec<Action>, sub_rules: Vec<Branch>) -> Branch {
        let sub_rule = |branch| SubRule { notes: Vec::new(), branch };
        let condition = Condition::parse(condition).unwrap();
        Branch { condition, actions, sub_rules: sub_rules.into_iter().map(sub_rule).collect() }
    }

    fn rule(condition: &str, actions: Vec<Action>, sub_rules: Vec<Branch>) -> Rule {
        let branch = branch(condition, actions, sub_rules);
        Rule { id: "rule-1".into(), name: String::new(), notes: Vec::new(), enabled: true, branch }
    }

    fn custom(secs: i64) -> Action {
        let secs = CacheSecs::new(secs).unwrap();
        Action::Cache(Some(Caching::CustomTime { secs, ignore_cache_control: false }))
    }

    fn of<'a>(config: &'a CacheConfig, path_and_query: &str) -> Cow<'a, CacheSettings> {
        config.effective(&UrlFacts { scheme: Scheme::Http, host: "a.test", path_and_query })
    }

    fn secs(config: &CacheConfig, path: &str) -> Option<u32> {
        match of(config, path).caching {
            Caching::CustomTime { secs, .. } => Some(secs.secs()),
            _ => None,
        }
    }

    #[test]
    fn what_stands_below_counts() {
        let jpg = "${http.request.file_extension} in ['jpg']";
        let img = "${http.request.uri.path} in ['/img/*']";
        let mut config = CacheConfig {
            site: CacheSettings::default(),
            rules: vec![
                rule(jpg, vec![custom(1)], vec![]),
                rule(img, vec![custom(2)], vec![branch(jpg, vec![custom(3)], vec![])]),
                rule(jpg, vec![Action::OfflineCache(true)], vec![]),
            ],
        };
        for (path, expected) in
            [("/a.jpg", Some(1)), ("/img/a.png", Some(2)), ("/img/a.jpg", Some(3)), ("/a.png", None)]
        {
            assert_eq!(secs(&config, path), expected, "{path}");
        }
        assert!(of(&config, "/a.jpg").offline && !of(&config, "/img/a.png").offline);
        assert!(matches!(of(&config, "/a.png"), Cow::Borrowed(_)));
        config.rules[1].enabled = false;
        assert_eq!(secs(&config, "/img/a.jpg"), Some(1));
    }

    #[test]
    fn queries_are_filtered() {
        let cases = [
            (QueryKey::Whole, "b=2&a=1", false, Some("b=2&a=1")),
            (QueryKey::Whole, "", false, Some("")),
            (QueryKey::Ignored, "a=1", false, None),
            (QueryKey::Only(names(&["a", "c"])), "b=2&a=1&c", false, Some("a=1&c")),
            (QueryKey::Only(names(&["a"])), "b=2", false, None),
            (QueryKey::Only(names(&["a"])), "A=2", false, None),
            (QueryKey::Only(names(&["A"])), "a=2", true, Some("a=2")),
            (QueryKey::Only(names(&["图"])), "%E5%9B%BE=1&x", false, Some("%E5%9B%BE=1")),
            (QueryKey::AllBut(names(&["utm"])), "utm=x&a=1&a=2", false, Some("a=1&a=2")),
            (QueryKey::AllBut(names(&["utm"])), "utm=x&", false, None),
            (QueryKey::AllBut(names(&["utm"])), "", false, None),
        ];
        for (key, query, ignores_case, expected) in cases {
            assert_eq!(key.filter(query, ignores_case).as_deref(), expected, "{key:?} {query}");
        }
    }

    #[test]
    fn only_what_decides_about_keys_alters_them() {
        let all = "*";
        let ignore_case = || Action::CacheKey(KeyChange { ignores_case: Some(true), ..KeyChange::default() });
        let with = |rules: Vec<Rule>| CacheConfig { site: CacheSettings::default(), rules };
        let plain = with(vec![]);
        let mut longer = plain.clone();
        longer.site.caching = Caching::NoCache;
        longer.site.offline = true;
        let mut folded = plain.clone();
        folded.site.keying.ignores_case = true;
        let mut disabled = with(vec![rule(all, vec![ignore_case()], vec![])]);
        disabled.rules[0].enabled = false;
        let cases = [
            (plain.clone(), false),
            (longer, false),
            (folded, true),
            (disabled, false),
            (with(vec![rule(all, vec![custom(1)], vec![])]), false),
            (with(vec![rule(all, vec![ignore_case()], vec![])]), true),
            (with(vec![rule(all, vec![Action::Vary(false)], vec![])]), true),
            (with(vec![rule(all, vec![], vec![branch(all, vec![ignore_case()], vec![])])]), true),
        ];
        for (config, expected) in cases {
            assert_eq!(plain.keys_differ(&config), expected, "{config:?}");
            assert_eq!(config.keys_differ(&plain), expected, "{config:?}");
        }
        let jpg = with(vec![rule("${http.request.file_extension} in ['jpg']", vec![ignore_case()], vec![])]);
        assert!(jpg.keys_differ(&with(vec![rule(all, vec![ignore_case()], vec![])])), "another condition");
        let noted = with(vec![rule(all, vec![custom(1), ignore_case()], vec![])]);
        assert!(!noted.keys_differ(&with(vec![rule(all, vec![ignore_case(), custom(2)], vec![])])));
        assert!(noted.ignores_case_somewhere() && !plain.ignores_case_somewhere());
    }

    #[test]
    fn branches_are_bounded() {
        let all = "*";
        let leaf = || branch(all, vec![custom(1)], vec![]);
        assert_eq!(branch(all, vec![], vec![]).check(), Err(SettingsError::Empty));
        assert_eq!(
            branch(all, vec![custom(1), custom(2)], vec![]).check(),
            Err(SettingsError::ActionTwice("Cache"))
        );
        assert_eq!(branch(all, vec![], vec![leaf()]).check(), Ok(()));
        assert_eq!(
            branch(all, vec![], vec![branch(all, vec![], vec![leaf()])]).check(),
            Err(SettingsError::TooDeep)
        );
        let subs = |count: usize| (0..count).map(|_| leaf()).collect();
        assert_eq!(branch(all, vec![], subs(SUB_RULES_PER_RULE_MAX)).check(), Ok(()));
        let over = SUB_RULES_PER_RULE_MAX + 1;
        assert_eq!(branch(all, vec![], subs(over)).check(), Err(SettingsError::TooManySubRules(over)));
    }

    #[test]
    fn values_have_their_ranges() {
        assert_eq!(CacheSecs::new(315_360_000).map(CacheSecs::secs), Ok(315_360_000));
        assert_eq!(CacheSecs::new(315_360_001), Err(SettingsError::Secs(315_360_001)));
        assert_eq!(CacheSecs::new(-1), Err(SettingsError::Secs(-1)));
        assert!(Percent::new(1).is_ok() && Percent::new(99).is_ok());
        assert_eq!(
            (Percent::new(0), Percent::new(100)),
            (Err(SettingsError::Percent(0)), Err(SettingsError::Percent(100)))
        );
        assert!(StatusTime::new(404, 31_536_000).is_ok());
        assert_eq!(StatusTime::new(404, 31_536_001), Err(SettingsError::StatusSecs(31_536_001)));
        assert_eq!(StatusTime::new(200, 1), Err(SettingsError::Status(200)));
        let times = vec![StatusTime::new(404, 1).unwrap(), StatusTime::new(404, 2).unwrap()];
        assert_eq!(StatusTime::list(times), Err(SettingsError::StatusTwice(404)));
        let many = |count: usize| Names::new((0..count).map(|n| n.to_string()).collect());
        assert_eq!(many(0), Err(SettingsError::NoNames));
        assert!(many(NAMES_MAX).is_ok());
        assert_eq!(many(NAMES_MAX + 1), Err(SettingsError::TooManyNames(NAMES_MAX + 1)));
        assert!(Names::new(vec!["a".repeat(NAME_BYTES_MAX)]).is_ok());
        assert!(matches!(Names::new(vec!["a".repeat(NAME_BYTES_MAX + 1)]), Err(SettingsError::Name(_))));
        assert!(matches!(Names::of_fields(vec!["x y".into()]), Err(SettingsError::FieldName(_))));
    }

    #[test]
    fn a_configuration_reads_back_as_it_was_written() {
        let secs = |secs| CacheSecs::new(secs).unwrap();
        let site = CacheSettings {
            caching: Caching::FollowOrigin(DefaultCache::For(secs(7))),
            keying: UrlKeying { query: QueryKey::Only(names(&["v"])), ignores_case: true, has_scheme: false },
            client_age: ClientAge::For(secs(9)),
            refresh_at: Some(Percent::new(90).unwrap()),
            offline: true,
            ..CacheSettings::default()
        };
        let key = KeyChange {
            query: Some(QueryKey::AllBut(names(&["utm"]))),
            ignores_case: Some(false),
            has_scheme: Some(true),
            fields: Some(Some(Names::of_fields(vec!["X-Lang".into()]).unwrap())),
            cookies: Some(CookieKey::Only(names(&["theme"]))),
        };
        let none = KeyChange { fields: Some(None), cookies: Some(CookieKey::Full), ..KeyChange::default() };
        let actions = vec![
            Action::Cache(Some(Caching::CustomTime { secs: secs(0), ignore_cache_control: true })),
            Action::CacheKey(key),
            Action::MaxAge(ClientAge::FollowOrigin),
            Action::StatusCodeCache(StatusTime::list(vec![StatusTime::new(502, 3).unwrap()]).unwrap()),
            Action::CachePrefresh(None),
            Action::OfflineCache(false),
            Action::Vary(false),
        ];
        let sub = branch(
            "${http.request.uri.query} exists",
            vec![Action::Cache(None), Action::CacheKey(none)],
            vec![],
        );
        let config = CacheConfig { site, rules: vec![rule("*", actions, vec![sub])] };
        for config in [config, CacheConfig::default()] {
            let document = config.to_document().unwrap();
            assert_eq!(CacheConfig::from_document(&document).unwrap(), config, "{document}");
        }
        let too_many = CacheConfig {
            site: CacheSettings::default(),
            rules: vec![rule("*", vec![custom(1)], vec![]); RULES_PER_ZONE_MAX + 1],
        };
        assert!(too_many.to_document().is_err());
        let mut too_long = CacheConfig { rules: too_many.rules[..1].to_vec(), ..too_many };
        too_long.rules[0].notes = vec!["x".repeat(crate::CACHE_CONFIG_BYTES_MAX)];
        assert!(too_long.to_document().unwrap_err().to_string().contains("bytes"));
        let documents = [
            "",
            "{}",
            "[]",
            r#"{"site":{"cache":{"no_cache":1}}}"#,
            &CacheConfig::default().to_document().unwrap().replace("whole", "half"),
        ];
        for document in documents {
            assert!(CacheConfig::from_document(document).is_err(), "{document}");
        }
    }
}
