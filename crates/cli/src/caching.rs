//! Cache settings in words: the flags of `settings set` and `rules`, and what `settings show` and `rules list` print.
//!
//! Owns the two directions, so that what is printed can be given again. What the words cannot say (cookies, request
//! fields and the scheme in a cache key, sub-rules) goes as JSON.

use std::str::FromStr;

use clap::Args;
use teo::edgeone::{
    ActionName, CacheConfigCustomTime, CacheConfigParameters, CacheKeyConfigParameters, CacheKeyParameters,
    CacheKeyQueryString, CacheParameters, CachePrefreshParameters, CustomTime, FollowOrigin,
    MaxAgeParameters, NoCache, OfflineCacheParameters, QueryStringAction, RuleEngineAction,
    StatusCodeCacheParam, StatusCodeCacheParameters, Switch, VaryParameters, ZoneConfig,
};

use crate::choice::choice;
use crate::exit::Failure;

/// A time in whole seconds: `90`, `90s`, `10m`, `2h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Secs(pub(crate) i64);

const UNITS: [(char, i64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl FromStr for Secs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no time: write for example 90s, 10m, 2h or 30d");
        let unit = UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, *secs)));
        let (number, unit_secs) = unit.unwrap_or((text, 1));
        let number: u32 = number.parse().map_err(|_| wrong())?;
        i64::from(number).checked_mul(unit_secs).map(Secs).ok_or_else(wrong)
    }
}

impl std::fmt::Display for Secs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fits = |(_, secs): &&(char, i64)| self.0 % secs == 0 && self.0 >= *secs;
        let (unit, secs) = UNITS.iter().find(fits).copied().unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / secs)
    }
}

/// Whether and how long content is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    FollowOrigin,
    NoCache,
    For(Secs),
}

impl FromStr for Keeping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "follow-origin" => Ok(Self::FollowOrigin),
            "no-cache" => Ok(Self::NoCache),
            time => {
                time.parse().map(Self::For).map_err(|error| format!("{error}; or follow-origin, or no-cache"))
            }
        }
    }
}

/// For how long content is kept of which the origin says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultCache {
    Auto,
    Off,
    For(Secs),
}

impl FromStr for DefaultCache {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            time => time.parse().map(Self::For).map_err(|error| format!("{error}; or auto, or off")),
        }
    }
}

/// How long clients may keep content; `None`: as the origin says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxAge(Option<Secs>);

impl FromStr for MaxAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "follow-origin" => Ok(Self(None)),
            time => {
                let secs = time.parse().map_err(|error| format!("{error}; or follow-origin"))?;
                Ok(Self(Some(secs)))
            }
        }
    }
}

/// Which parameters of a query belong to the cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    All,
    None,
    Only(Vec<String>),
    Except(Vec<String>),
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = |list: &str| list.split(',').map(str::to_owned).collect();
        match (text, text.split_once(':')) {
            ("all", _) => Ok(Self::All),
            ("none", _) => Ok(Self::None),
            (_, Some(("only", list))) if !list.is_empty() => Ok(Self::Only(names(list))),
            (_, Some(("except", list))) if !list.is_empty() => Ok(Self::Except(names(list))),
            _ => Err(format!("\"{text}\" is none of all, none, only:NAME,… and except:NAME,…")),
        }
    }
}

/// From which share of its lifetime on content is validated ahead of time; `None`: it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefresh(Option<u8>);

impl FromStr for Prefresh {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let percent =
            text.strip_suffix('%').unwrap_or(text).parse().ok().filter(|percent| (1..=99).contains(percent));
        percent
            .map(|percent| Self(Some(percent)))
            .ok_or_else(|| format!("\"{text}\" is no share: write 1% to 99%, or off"))
    }
}

/// How long a status is kept: `404=10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusTtl {
    status: u16,
    secs: Secs,
}

impl FromStr for StatusTtl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no status with a time: write for example 404=10s");
        let (status, time) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self { status: status.parse().map_err(|_| wrong())?, secs: time.parse()? })
    }
}

/// The settings that a zone and a rule have in common, as flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Caching")]
pub(crate) struct CachingFlags {
    /// Whether and how long edges keep content: follow-origin, no-cache, or a time such as 10m
    #[arg(long, value_name = "HOW")]
    cache: Option<Keeping>,
    /// With follow-origin, for how long where the origin says nothing: auto, off, or a time [default: auto]
    #[arg(long, value_name = "HOW")]
    default_cache: Option<DefaultCache>,
    /// How long clients may keep content: follow-origin, or a time
    #[arg(long, value_name = "HOW")]
    max_age: Option<MaxAge>,
    /// Which parameters of the query belong to the cache key: all, none, only:NAME,… or except:NAME,…
    #[arg(long, value_name = "WHICH")]
    query: Option<Query>,
    /// Whether upper and lower case are one in the cache key
    #[arg(long, value_parser = choice(Switch::ALL), value_name = "SWITCH")]
    ignore_case: Option<Switch>,
    /// Validate content ahead of time, from this share of its lifetime on: 1% to 99%, or off
    #[arg(long, value_name = "SHARE")]
    prefresh: Option<Prefresh>,
    /// Whether stale content is served while the origin is down; never against a purge
    #[arg(long, value_parser = choice(Switch::ALL), value_name = "SWITCH")]
    offline_cache: Option<Switch>,
}

/// What only rules decide, as flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Caching")]
pub(crate) struct RuleCachingFlags {
    #[command(flatten)]
    shared: CachingFlags,
    /// With --cache and a time: whatever the origin's Cache-Control says
    #[arg(long, requires = "cache")]
    ignore_cache_control: bool,
    /// How long a status is kept, such as 404=10s; may be given several times
    #[arg(long, value_name = "STATUS=TIME")]
    status_ttl: Vec<StatusTtl>,
    /// Whether a response's Vary counts
    #[arg(long, value_parser = choice(Switch::ALL), value_name = "SWITCH")]
    vary: Option<Switch>,
}

impl CachingFlags {
    /// Whether content is cached, if a flag says so.
    fn caching(&self) -> Result<Option<(FollowOrigin, NoCache, Option<Secs>)>, Failure> {
        let cache = match (self.cache, self.default_cache) {
            (None, None) => return Ok(None),
            (None, Some(_)) => Keeping::FollowOrigin,
            (Some(cache), _) => cache,
        };
        if self.default_cache.is_some() && cache != Keeping::FollowOrigin {
            let text = "--default-cache is for content of which the origin says nothing: give it with --cache follow-origin";
            return Err(Failure::Usage(text.to_owned()));
        }
        let on = |on: bool| if on { Switch::On } else { Switch::Off };
        let mut follow = FollowOrigin {
            switch: on(cache == Keeping::FollowOrigin),
            default_cache: None,
            default_cache_strategy: None,
            default_cache_time: None,
        };
        if cache == Keeping::FollowOrigin {
            let default = self.default_cache.unwrap_or(DefaultCache::Auto);
            follow.default_cache = Some(on(default != DefaultCache::Off));
            if default != DefaultCache::Off {
                follow.default_cache_strategy = Some(on(default == DefaultCache::Auto));
                follow.default_cache_time =
                    Some(if let DefaultCache::For(secs) = default { secs.0 } else { 0 });
            }
        }
        let secs = if let Keeping::For(secs) = cache { Some(secs) } else { None };
        Ok(Some((follow, NoCache { switch: on(cache == Keeping::NoCache) }, secs)))
    }

    fn query_parts(&self) -> (Option<Switch>, Option<CacheKeyQueryString>) {
        let Some(query) = &self.query else { return (None, None) };
        let full = if *query == Query::All { Switch::On } else { Switch::Off };
        let part = match query {
            Query::All | Query::None => {
                CacheKeyQueryString { switch: Switch::Off, action: None, values: None }
            }
            Query::Only(names) => named(QueryStringAction::IncludeCustom, names),
            Query::Except(names) => named(QueryStringAction::ExcludeCustom, names),
        };
        (Some(full), Some(part))
    }

    fn max_age_part(&self) -> Option<MaxAgeParameters> {
        self.max_age.map(|MaxAge(secs)| MaxAgeParameters {
            follow_origin: if secs.is_none() { Switch::On } else { Switch::Off },
            cache_time: Some(secs.map_or(0, |secs| secs.0)),
        })
    }

    fn prefresh_part(&self) -> Option<CachePrefreshParameters> {
        self.prefresh.map(|Prefresh(percent)| CachePrefreshParameters {
            switch: if percent.is_some() { Switch::On } else { Switch::Off },
            cache_time_percent: percent.map(i64::from),
        })
    }

    /// What these flags change in a zone; nothing if none is given.
    pub(crate) fn zone_config(&self) -> Result<Option<ZoneConfig>, Failure> {
        let cache = self.caching()?.map(|(follow_origin, no_cache, secs)| CacheConfigParameters {
            follow_origin: Some(follow_origin),
            no_cache: Some(no_cache),
            custom_time: Some(CacheConfigCustomTime {
                switch: if secs.is_some() { Switch::On } else { Switch::Off },
                cache_time: secs.map(|secs| secs.0),
            }),
        });
        let (full_url_cache, query_string) = self.query_parts();
        let has_key = full_url_cache.is_some() || self.ignore_case.is_some();
        let config = ZoneConfig {
            cache,
            max_age: self.max_age_part(),
            cache_key: has_key.then_some(CacheKeyConfigParameters {
                full_url_cache,
                ignore_case: self.ignore_case,
                query_string,
            }),
            cache_prefresh: self.prefresh_part(),
            offline_cache: self.offline_cache.map(|switch| OfflineCacheParameters { switch }),
        };
        let is_empty = config
            == ZoneConfig {
                cache: None,
                max_age: None,
                cache_key: None,
                cache_prefresh: None,
                offline_cache: None,
            };
        Ok((!is_empty).then_some(config))
    }
}

fn named(action: QueryStringAction, names: &[String]) -> CacheKeyQueryString {
    CacheKeyQueryString { switch: Switch::On, action: Some(action), values: Some(names.to_vec()) }
}

/// An action without parameters, to be filled.
fn action(name: ActionName) -> RuleEngineAction {
    RuleEngineAction {
        name,
        cache_parameters: None,
        cache_key_parameters: None,
        cache_prefresh_parameters: None,
        max_age_parameters: None,
        status_code_cache_parameters: None,
        offline_cache_parameters: None,
        vary_parameters: None,
    }
}

impl RuleCachingFlags {
    /// Puts what these flags say into a rule's actions: in the place of the action of that name, or behind the others.
    /// True if they say anything.
    pub(crate) fn change(&self, actions: &mut Vec<RuleEngineAction>) -> Result<bool, Failure> {
        let mut changed = Vec::new();
        let CachingFlags { ignore_case, offline_cache, .. } = self.shared;
        if let Some((follow_origin, no_cache, secs)) = self.shared.caching()? {
            if self.ignore_cache_control && secs.is_none() {
                let text = "--ignore-cache-control goes with a time: --cache 10m --ignore-cache-control";
                return Err(Failure::Usage(text.to_owned()));
            }
            let custom_time = CustomTime {
                switch: if secs.is_some() { Switch::On } else { Switch::Off },
                ignore_cache_control: secs
                    .map(|_| if self.ignore_cache_control { Switch::On } else { Switch::Off }),
                cache_time: secs.map(|secs| secs.0),
            };
            let cache_parameters = Some(CacheParameters {
                follow_origin: Some(follow_origin),
                no_cache: Some(no_cache),
                custom_time: Some(custom_time),
            });
            changed.push(RuleEngineAction { cache_parameters, ..action(ActionName::Cache) });
        }
        let (full_url_cache, query_string) = self.shared.query_parts();
        if full_url_cache.is_some() || ignore_case.is_some() {
            // Of a cache key the other parts stay.
            let before = actions.iter().find_map(|action| action.cache_key_parameters.clone());
            let mut key = before.unwrap_or(CacheKeyParameters {
                full_url_cache: None,
                query_string: None,
                ignore_case: None,
                header: None,
                scheme: None,
                cookie: None,
            });
            if full_url_cache.is_some() {
                (key.full_url_cache, key.query_string) = (full_url_cache, query_string);
            }
            key.ignore_case = ignore_case.or(key.ignore_case);
            changed
                .push(RuleEngineAction { cache_key_parameters: Some(key), ..action(ActionName::CacheKey) });
        }
        if let max_age_parameters @ Some(_) = self.shared.max_age_part() {
            changed.push(RuleEngineAction { max_age_parameters, ..action(ActionName::MaxAge) });
        }
        if let cache_prefresh_parameters @ Some(_) = self.shared.prefresh_part() {
            changed.push(RuleEngineAction { cache_prefresh_parameters, ..action(ActionName::CachePrefresh) });
        }
        if let Some(switch) = offline_cache {
            let offline_cache_parameters = Some(OfflineCacheParameters { switch });
            changed.push(RuleEngineAction { offline_cache_parameters, ..action(ActionName::OfflineCache) });
        }
        if !self.status_ttl.is_empty() {
            let param = |ttl: &StatusTtl| StatusCodeCacheParam {
                status_code: i64::from(ttl.status),
                cache_time: ttl.secs.0,
            };
            let params = self.status_ttl.iter().map(param).collect();
            let status_code_cache_parameters =
                Some(StatusCodeCacheParameters { status_code_cache_params: params });
            changed.push(RuleEngineAction {
                status_code_cache_parameters,
                ..action(ActionName::StatusCodeCache)
            });
        }
        if let Some(switch) = self.vary {
            let vary_parameters = Some(VaryParameters { switch });
            changed.push(RuleEngineAction { vary_parameters, ..action(ActionName::Vary) });
        }
        let says_something = !changed.is_empty();
        for change in changed {
            match actions.iter_mut().find(|action| action.name == change.name) {
                Some(action) => *action = change,
                None => actions.push(change),
            }
        }
        Ok(says_something)
    }
}

/// A zone's settings as the flags write them, each with the flag's name.
pub(crate) fn zone_words(config: &ZoneConfig) -> Vec<(&'static str, String)> {
    let mut words = Vec::new();
    if let Some(cache) = &config.cache {
        let custom = cache.custom_time.as_ref().map(|custom| (custom.switch, custom.cache_time, None));
        words.extend(caching_words(cache.follow_origin.as_ref(), cache.no_cache.as_ref(), custom));
    }
    if let Some(age) = &config.max_age {
        words.push(("max-age", max_age_word(age)));
    }
    if let Some(key) = &config.cache_key {
        words.extend(query_word(key.full_url_cache, key.query_string.as_ref()).map(|word| ("query", word)));
        words.extend(key.ignore_case.map(|switch| ("ignore-case", switch.as_str().to_owned())));
    }
    if let Some(prefresh) = &config.cache_prefresh {
        words.push(("prefresh", prefresh_word(prefresh)));
    }
    if let Some(offline) = &config.offline_cache {
        words.push(("offline-cache", offline.switch.as_str().to_owned()));
    }
    words
}

/// A rule's actions as the flags write them; of what no flag says, the name.
pub(crate) fn action_words(actions: &[RuleEngineAction]) -> Vec<String> {
    let mut words = Vec::new();
    for action in actions {
        if let Some(cache) = &action.cache_parameters {
            let custom = cache.custom_time.as_ref();
            let custom = custom.map(|custom| (custom.switch, custom.cache_time, custom.ignore_cache_control));
            let of_cache = caching_words(cache.follow_origin.as_ref(), cache.no_cache.as_ref(), custom);
            words.extend(of_cache.into_iter().map(|(name, word)| {
                if word.is_empty() { name.to_owned() } else { format!("{name}={word}") }
            }));
        }
        if let Some(key) = &action.cache_key_parameters {
            let query = query_word(key.full_url_cache, key.query_string.as_ref());
            words.extend(query.map(|word| format!("query={word}")));
            words.extend(key.ignore_case.map(|switch| format!("ignore-case={}", switch.as_str())));
            words.extend(key.scheme.map(|switch| format!("key-scheme={}", switch.as_str())));
            words.extend(key.header.as_ref().map(|header| format!("key-header={}", header.switch.as_str())));
            words.extend(key.cookie.as_ref().map(|cookie| format!("key-cookie={}", cookie.switch.as_str())));
        }
        words.extend(action.max_age_parameters.as_ref().map(|age| format!("max-age={}", max_age_word(age))));
        let prefresh = action.cache_prefresh_parameters.as_ref();
        words.extend(prefresh.map(|prefresh| format!("prefresh={}", prefresh_word(prefresh))));
        let offline = action.offline_cache_parameters.as_ref();
        words.extend(offline.map(|offline| format!("offline-cache={}", offline.switch.as_str())));
        if let Some(times) = &action.status_code_cache_parameters {
            let word = |ttl: &StatusCodeCacheParam| {
                format!("status-ttl={}={}", ttl.status_code, Secs(ttl.cache_time))
            };
            words.extend(times.status_code_cache_params.iter().map(word));
        }
        words.extend(action.vary_parameters.as_ref().map(|vary| format!("vary={}", vary.switch.as_str())));
    }
    words
}

fn caching_words(
    follow: Option<&FollowOrigin>,
    no_cache: Option<&NoCache>,
    custom: Option<(Switch, Option<i64>, Option<Switch>)>,
) -> Vec<(&'static str, String)> {
    if no_cache.is_some_and(|no_cache| no_cache.switch == Switch::On) {
        return vec![("cache", "no-cache".to_owned())];
    }
    if let Some((Switch::On, secs, ignore)) = custom {
        let mut words = vec![("cache", Secs(secs.unwrap_or(0)).to_string())];
        if ignore == Some(Switch::On) {
            words.push(("ignore-cache-control", String::new()));
        }
        return words;
    }
    let Some(follow) = follow.filter(|follow| follow.switch == Switch::On) else {
        return vec![("cache", "as the zone".to_owned())];
    };
    let default = match (follow.default_cache, follow.default_cache_strategy) {
        (Some(Switch::On), Some(Switch::Off)) => Secs(follow.default_cache_time.unwrap_or(0)).to_string(),
        (Some(Switch::On), _) => "auto".to_owned(),
        _ => "off".to_owned(),
    };
    vec![("cache", "follow-origin".to_owned()), ("default-cache", default)]
}

fn max_age_word(age: &MaxAgeParameters) -> String {
    if age.follow_origin == Switch::On {
        "follow-origin".to_owned()
    } else {
        Secs(age.cache_time.unwrap_or(0)).to_string()
    }
}

fn prefresh_word(prefresh: &CachePrefreshParameters) -> String {
    match (prefresh.switch, prefresh.cache_time_percent) {
        (Switch::On, Some(percent)) => format!("{percent}%"),
        _ => "off".to_owned(),
    }
}

fn query_word(full: Option<Switch>, query: Option<&CacheKeyQueryString>) -> Option<String> {
    let named = query.filter(|query| query.switch == Switch::On);
    match (full?, named) {
        (Switch::On, _) => Some("all".to_owned()),
        (Switch::Off, None) => Some("none".to_owned()),
        (Switch::Off, Some(query)) => {
            let names = query.values.as_deref().unwrap_or_default().join(",");
            let only = query.action == Some(QueryStringAction::IncludeCustom);
            Some(format!("{}:{names}", if only { "only" } else { "except" }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: RuleCachingFlags,
    }

    fn flags(words: &[String]) -> RuleCachingFlags {
        let arguments = words.iter().map(|word| format!("--{word}"));
        let arguments: Vec<String> = ["program".to_owned()].into_iter().chain(arguments).collect();
        Program::try_parse_from(arguments).unwrap().flags
    }

    #[test]
    fn what_is_printed_can_be_given_again() {
        for words in [
            vec!["cache=no-cache"],
            vec!["cache=10m", "max-age=1d"],
            vec!["cache=90s", "ignore-cache-control", "query=none"],
            vec!["cache=follow-origin", "default-cache=auto", "query=only:a,b", "ignore-case=on"],
            vec!["cache=follow-origin", "default-cache=off", "query=except:utm"],
            vec!["cache=follow-origin", "default-cache=0s", "max-age=follow-origin", "prefresh=90%"],
            vec![
                "query=all",
                "prefresh=off",
                "offline-cache=on",
                "status-ttl=404=10s",
                "status-ttl=500=0s",
                "vary=off",
            ],
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            let mut actions = Vec::new();
            assert!(flags(&words).change(&mut actions).unwrap());
            assert_eq!(action_words(&actions), words);
            // A zone has the same words for what it has.
            let config = flags(&words).shared.zone_config().unwrap().unwrap();
            for (name, word) in zone_words(&config) {
                assert!(words.contains(&format!("{name}={word}")), "{name}={word}");
            }
        }
    }

    #[test]
    fn flags_change_what_they_say_and_leave_the_rest() {
        let given = |words: &[&str]| flags(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let mut actions = Vec::new();
        given(&["cache=1h", "query=none", "vary=off"]).change(&mut actions).unwrap();
        given(&["cache=no-cache", "ignore-case=on"]).change(&mut actions).unwrap();
        assert_eq!(action_words(&actions), ["cache=no-cache", "query=none", "ignore-case=on", "vary=off"]);
        assert!(!given(&[]).change(&mut actions).unwrap());
        assert!(given(&["cache=no-cache", "default-cache=1h"]).change(&mut Vec::new()).is_err());
        assert!(given(&["cache=no-cache", "ignore-cache-control"]).change(&mut Vec::new()).is_err());
    }

    #[test]
    fn words_that_say_nothing_are_refused() {
        for wrong in ["", "10w", "-1", "1.5h", "99999999999d", "soon"] {
            assert!(wrong.parse::<Secs>().is_err() && wrong.parse::<Keeping>().is_err(), "{wrong}");
        }
        for wrong in ["some", "only", "only:", "except:", "Only:a"] {
            assert!(wrong.parse::<Query>().is_err(), "{wrong}");
        }
        for wrong in ["0%", "100%", "on", "300"] {
            assert!(wrong.parse::<Prefresh>().is_err(), "{wrong}");
        }
        for wrong in ["404", "404=", "x=1s", "=1s"] {
            assert!(wrong.parse::<StatusTtl>().is_err(), "{wrong}");
        }
    }
}
