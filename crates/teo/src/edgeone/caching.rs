//! Cache settings of zones and rules: the objects in which ModifyL7AccSetting, CreateL7AccRules and their kin speak.
//!
//! Of the many settings and actions that EdgeOne has, those about caching; the others are refused by name.

use super::Switch;
use crate::declare::{choice, shape};
use crate::error::ErrorCode;

/// The longest time that anything is kept, in seconds.
pub const CACHE_TIME_MAX: i64 = 315_360_000;
/// The longest time that a status is kept, in seconds.
pub const STATUS_TIME_MAX: i64 = 31_536_000;
/// The most names of parameters, fields or cookies in one list.
pub const KEY_NAMES_MAX: usize = 64;
/// The longest of them, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 128;
/// The most rules in one call.
pub const RULES_PER_CALL_MAX: usize = 100;
/// The most sub-rules of a rule.
pub const SUB_RULES_MAX: usize = 20;
/// The most actions of a branch.
pub const ACTIONS_MAX: usize = 16;
/// The longest name of a rule, in bytes: 255 characters.
pub const RULE_NAME_BYTES_MAX: usize = 4 * 255;
/// The most notes on a rule.
pub const NOTES_MAX: usize = 16;
/// The longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1024;
/// The longest condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 8192;

shape! {
    /// What to do as the origin says.
    pub struct FollowOrigin {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// Whether content is stored when the origin says nothing of it. Required with Switch on.
        default_cache "DefaultCache": Switch, optional;
        /// Whether the network's default decides for how long then. Required with DefaultCache on.
        default_cache_strategy "DefaultCacheStrategy": Switch, optional;
        /// For how long otherwise, in seconds. Required with DefaultCache on; 0 with DefaultCacheStrategy on.
        default_cache_time "DefaultCacheTime": i64, optional .range(0, CACHE_TIME_MAX);
    }
}

shape! {
    /// Not to cache.
    pub struct NoCache {
        /// Whether this counts.
        switch "Switch": Switch, required;
    }
}

shape! {
    /// To cache for a time, in a zone's settings.
    pub struct CacheConfigCustomTime {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// For how long, in seconds. Required with Switch on.
        cache_time "CacheTime": i64, optional .range(0, CACHE_TIME_MAX);
    }
}

shape! {
    /// To cache for a time, in a rule.
    pub struct CustomTime {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// Whether the origin's Cache-Control is ignored. Required with Switch on.
        ignore_cache_control "IgnoreCacheControl": Switch, optional;
        /// For how long, in seconds. Required with Switch on.
        cache_time "CacheTime": i64, optional .range(0, CACHE_TIME_MAX);
    }
}

shape! {
    /// Whether and how long content is cached in a zone. At most one Switch may be on.
    pub struct CacheConfigParameters {
        /// As the origin says.
        follow_origin "FollowOrigin": FollowOrigin, nullable;
        /// Not at all.
        no_cache "NoCache": NoCache, nullable;
        /// For a time.
        custom_time "CustomTime": CacheConfigCustomTime, nullable;
    }
}

shape! {
    /// Whether and how long content is cached by a rule. At most one Switch may be on.
    pub struct CacheParameters {
        /// As the origin says.
        follow_origin "FollowOrigin": FollowOrigin, nullable;
        /// Not at all.
        no_cache "NoCache": NoCache, nullable;
        /// For a time.
        custom_time "CustomTime": CustomTime, nullable;
    }
}

choice! {
    /// What to do with the parameters of a query that are named.
    pub enum QueryStringAction {
        /// Only these belong to the cache key.
        IncludeCustom = "includeCustom",
        /// All but these do.
        ExcludeCustom = "excludeCustom",
    }
}

shape! {
    /// Which parameters of a query belong to the cache key.
    pub struct CacheKeyQueryString {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// What to do with those named. Required with Switch on.
        action "Action": QueryStringAction, optional;
        /// Their names. Required with Switch on.
        values "Values": Vec<String>, optional .items(KEY_NAMES_MAX, ErrorCode::InvalidParameter).bytes(KEY_NAME_BYTES_MAX);
    }
}

shape! {
    /// A zone's cache key.
    pub struct CacheKeyConfigParameters {
        /// Whether the whole query belongs to it. Given together with QueryString; not both may be on.
        full_url_cache "FullURLCache": Switch, optional;
        /// Whether upper and lower case are one.
        ignore_case "IgnoreCase": Switch, optional;
        /// Which parameters of the query belong to it.
        query_string "QueryString": CacheKeyQueryString, optional;
    }
}

shape! {
    /// Which request fields belong to the cache key.
    pub struct CacheKeyHeader {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// Their names. Required with Switch on.
        values "Values": Vec<String>, optional .items(KEY_NAMES_MAX, ErrorCode::InvalidParameter).bytes(KEY_NAME_BYTES_MAX);
    }
}

choice! {
    /// What to do with cookies in the cache key.
    pub enum CookieAction {
        /// All belong to it.
        Full = "full",
        /// None does.
        Ignore = "ignore",
        /// Those named do.
        IncludeCustom = "includeCustom",
        /// All but those named do.
        ExcludeCustom = "excludeCustom",
    }
}

shape! {
    /// Which cookies belong to the cache key.
    pub struct CacheKeyCookie {
        /// Whether this counts.
        switch "Switch": Switch, required;
        /// What to do. Required with Switch on.
        action "Action": CookieAction, optional;
        /// Names of cookies. Required with includeCustom and excludeCustom.
        values "Values": Vec<String>, optional .items(KEY_NAMES_MAX, ErrorCode::InvalidParameter).bytes(KEY_NAME_BYTES_MAX);
    }
}

shape! {
    /// The cache key by a rule; what is left out stays. At least one part is needed.
    pub struct CacheKeyParameters {
        /// Whether the whole query belongs to it. Given together with QueryString; not both may be on.
        full_url_cache "FullURLCache": Switch, optional;
        /// Which parameters of the query belong to it.
        query_string "QueryString": CacheKeyQueryString, nullable;
        /// Whether upper and lower case are one.
        ignore_case "IgnoreCase": Switch, optional;
        /// Which request fields belong to it.
        header "Header": CacheKeyHeader, nullable;
        /// Whether the scheme belongs to it.
        scheme "Scheme": Switch, optional;
        /// Which cookies belong to it.
        cookie "Cookie": CacheKeyCookie, nullable;
    }
}

shape! {
    /// How long clients may keep content.
    pub struct MaxAgeParameters {
        /// Whether as the origin says.
        follow_origin "FollowOrigin": Switch, required;
        /// For how long otherwise, in seconds. Required with FollowOrigin off.
        cache_time "CacheTime": i64, optional .range(0, CACHE_TIME_MAX);
    }
}

shape! {
    /// How long a status is kept.
    pub struct StatusCodeCacheParam {
        /// One of 400, 401, 403, 404, 405, 407, 414, 500, 501, 502, 503, 504, 509 and 514.
        status_code "StatusCode": i64, required .range(100, 599);
        /// For how long, in seconds; 0: not at all.
        cache_time "CacheTime": i64, required .range(0, STATUS_TIME_MAX);
    }
}

shape! {
    /// How long statuses are kept.
    pub struct StatusCodeCacheParameters {
        /// Each status once.
        status_code_cache_params "StatusCodeCacheParams": Vec<StatusCodeCacheParam>, default(Vec::new()) .items(KEY_NAMES_MAX, ErrorCode::InvalidParameter);
    }
}

shape! {
    /// Validation ahead of time.
    pub struct CachePrefreshParameters {
        /// Whether it is done.
        switch "Switch": Switch, required;
        /// From which share of the lifetime on, in percent. Required with Switch on.
        cache_time_percent "CacheTimePercent": i64, optional .range(1, 99);
    }
}

shape! {
    /// Stale content while the origin is down.
    pub struct OfflineCacheParameters {
        /// Whether it is served.
        switch "Switch": Switch, required;
    }
}

shape! {
    /// A response's Vary.
    pub struct VaryParameters {
        /// Whether it counts.
        switch "Switch": Switch, required;
    }
}

shape! {
    /// The settings of a zone; of a request, those that are to change.
    pub struct ZoneConfig {
        /// Whether and how long content is cached.
        cache "Cache": CacheConfigParameters, nullable;
        /// How long clients may keep content.
        max_age "MaxAge": MaxAgeParameters, nullable;
        /// The cache key.
        cache_key "CacheKey": CacheKeyConfigParameters, nullable;
        /// Validation ahead of time.
        cache_prefresh "CachePrefresh": CachePrefreshParameters, nullable;
        /// Stale content while the origin is down.
        offline_cache "OfflineCache": OfflineCacheParameters, nullable;
    }
}

shape! {
    /// The settings of a zone, with its name.
    pub struct ZoneConfigParameters {
        /// The zone's name.
        zone_name "ZoneName": String, required;
        /// Its settings; those never set are at their default.
        zone_config "ZoneConfig": ZoneConfig, nullable;
    }
}

choice! {
    /// What a rule decides.
    pub enum ActionName {
        /// Whether and how long content is cached.
        Cache = "Cache",
        /// The cache key.
        CacheKey = "CacheKey",
        /// Validation ahead of time.
        CachePrefresh = "CachePrefresh",
        /// How long clients may keep content.
        MaxAge = "MaxAge",
        /// How long statuses are kept.
        StatusCodeCache = "StatusCodeCache",
        /// Stale content while the origin is down.
        OfflineCache = "OfflineCache",
        /// A response's Vary.
        Vary = "Vary",
    }
}

shape! {
    /// One thing that a rule decides: its name, and the parameters of that name.
    pub struct RuleEngineAction {
        /// Which.
        name "Name": ActionName, required;
        /// With Cache.
        cache_parameters "CacheParameters": CacheParameters, optional;
        /// With CacheKey.
        cache_key_parameters "CacheKeyParameters": CacheKeyParameters, optional;
        /// With CachePrefresh.
        cache_prefresh_parameters "CachePrefreshParameters": CachePrefreshParameters, optional;
        /// With MaxAge.
        max_age_parameters "MaxAgeParameters": MaxAgeParameters, optional;
        /// With StatusCodeCache.
        status_code_cache_parameters "StatusCodeCacheParameters": StatusCodeCacheParameters, optional;
        /// With OfflineCache.
        offline_cache_parameters "OfflineCacheParameters": OfflineCacheParameters, optional;
        /// With Vary.
        vary_parameters "VaryParameters": VaryParameters, optional;
    }
}

shape! {
    /// Where a sub-rule counts, and what it decides there. It has no sub-rules of its own.
    pub struct SubRuleBranch {
        /// Where: tests of variables of the URL, joined by and, or, not and parentheses.
        condition "Condition": String, required .bytes(CONDITION_BYTES_MAX);
        /// What.
        actions "Actions": Vec<RuleEngineAction>, default(Vec::new()) .items(ACTIONS_MAX, ErrorCode::InvalidParameter);
    }
}

shape! {
    /// A rule within a rule.
    pub struct RuleEngineSubRule {
        /// What it does; one.
        branches "Branches": Vec<SubRuleBranch>, required .items(1, ErrorCode::InvalidParameter);
        /// Notes.
        description "Description": Vec<String>, default(Vec::new()) .items(NOTES_MAX, ErrorCode::InvalidParameter).bytes(NOTE_BYTES_MAX);
    }
}

shape! {
    /// Where a rule counts, and what it decides there.
    pub struct RuleBranch {
        /// Where: tests of variables of the URL, joined by and, or, not and parentheses.
        condition "Condition": String, required .bytes(CONDITION_BYTES_MAX);
        /// What. Actions and SubRules may not both be empty.
        actions "Actions": Vec<RuleEngineAction>, default(Vec::new()) .items(ACTIONS_MAX, ErrorCode::InvalidParameter);
        /// What is decided for some of those URLs besides, top to bottom.
        sub_rules "SubRules": Vec<RuleEngineSubRule>, default(Vec::new()) .items(SUB_RULES_MAX, ErrorCode::InvalidParameter);
    }
}

choice! {
    /// Whether a rule counts.
    pub enum RuleStatus {
        /// It does.
        Enable = "enable",
        /// It does not.
        Disable = "disable",
    }
}

shape! {
    /// A rule.
    pub struct RuleEngineItem {
        /// Whether it counts.
        status "Status": RuleStatus, default(RuleStatus::Enable);
        /// Its id. Required to modify one, given by CreateL7AccRules.
        rule_id "RuleId": String, optional .bytes(64);
        /// What the operator calls it, at most 255 characters.
        rule_name "RuleName": String, default(String::new()) .bytes(RULE_NAME_BYTES_MAX);
        /// Notes.
        description "Description": Vec<String>, default(Vec::new()) .items(NOTES_MAX, ErrorCode::InvalidParameter).bytes(NOTE_BYTES_MAX);
        /// What it does; one.
        branches "Branches": Vec<RuleBranch>, default(Vec::new()) .items(1, ErrorCode::InvalidParameter);
        /// Its place from the top, from 1. Of answers; ignored in requests.
        rule_priority "RulePriority": i64, optional;
    }
}
