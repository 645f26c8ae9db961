//! The operations on cache settings and rules: ModifyL7AccSetting, CreateL7AccRules and their kin.
//!
//! Types and ranges are checked by the declarations; here is what one field demands of another, and the way from the
//! API's objects to settings and back.

use super::directory::read_zone_id;
use super::filter::{self, Known};
use super::{Api, random_bytes, refusal};
use store::ConfigError;
use teo::edgeone::{
    self as wire, ActionName, CookieAction, CreateL7AccRulesRequest, CreateL7AccRulesResponse,
    DeleteL7AccRulesRequest, DeleteL7AccRulesResponse, DescribeL7AccRulesRequest, DescribeL7AccRulesResponse,
    DescribeL7AccSettingRequest, DescribeL7AccSettingResponse, ModifyL7AccRulePriorityRequest,
    ModifyL7AccRulePriorityResponse, ModifyL7AccRuleRequest, ModifyL7AccRuleResponse,
    ModifyL7AccSettingRequest, ModifyL7AccSettingResponse, QueryStringAction, RuleEngineAction,
    RuleEngineItem, RuleStatus, Switch,
};
use teo::{ApiError, ErrorCode};
use tracing::info;
use zone::{
    Action, Branch, CacheConfig, CacheSecs, CacheSettings, Caching, ClientAge, Condition, CookieKey,
    DefaultCache, KeyChange, Names, Percent, QueryKey, Rule, SettingsError, StatusTime, SubRule, ZoneId,
};

/// The longest name of a rule, in characters.
const RULE_NAME_CHARS_MAX: usize = 255;

const FILTERS: [Known; 1] = [Known { name: "rule-id", several: true, fuzzy: false }];

/// Why settings were not changed.
struct Refused(ApiError);

impl From<ConfigError> for Refused {
    fn from(refusal: ConfigError) -> Self {
        Self(refusal::of_config(refusal))
    }
}

impl From<ApiError> for Refused {
    fn from(refusal: ApiError) -> Self {
        Self(refusal)
    }
}

impl Api {
    pub(super) async fn modify_l7_acc_setting(
        &self,
        request: ModifyL7AccSettingRequest,
    ) -> Result<ModifyL7AccSettingResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        self.change_caching(&id, |config| {
            let mut config = config.clone();
            change_site(&mut config.site, request.zone_config)?;
            Ok(config)
        })
        .await?;
        Ok(ModifyL7AccSettingResponse {})
    }

    pub(super) async fn describe_l7_acc_setting(
        &self,
        request: DescribeL7AccSettingRequest,
    ) -> Result<DescribeL7AccSettingResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        let config = self.parts.store.cache_config(&id).await.map_err(refusal::of_config)?;
        let zone_name = self.directory().await?.zone_name(&id)?.to_string();
        let zone_config = Some(site_to_wire(&config.site));
        let zone_setting = Some(wire::ZoneConfigParameters { zone_name, zone_config });
        Ok(DescribeL7AccSettingResponse { zone_setting })
    }

    pub(super) async fn create_l7_acc_rules(
        &self,
        request: CreateL7AccRulesRequest,
    ) -> Result<CreateL7AccRulesResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        if request.rules.is_empty() {
            return Err(invalid("Rules", "at least one rule is needed"));
        }
        let rules = request.rules.into_iter().enumerate();
        let rules = rules.map(|(at, item)| read_rule(&format!("Rules.{at}"), new_rule_id(), item));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let rule_ids = rules.iter().map(|rule| rule.id.clone()).collect();
        self.change_caching(&id, |config| {
            let mut config = config.clone();
            config.rules.extend(rules);
            Ok(config)
        })
        .await?;
        Ok(CreateL7AccRulesResponse { rule_ids })
    }

    pub(super) async fn describe_l7_acc_rules(
        &self,
        request: DescribeL7AccRulesRequest,
    ) -> Result<DescribeL7AccRulesResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        let filters = filter::check(request.filters, &FILTERS)?;
        let config = self.parts.store.cache_config(&id).await.map_err(refusal::of_config)?;
        let rules = config.rules.iter().zip(1..);
        let rules = rules.filter(|(rule, _)| filters.iter().all(|filter| filter.accepts(&rule.id)));
        let (total_count, rules) = filter::page(rules.collect(), request.offset, request.limit);
        let rules = rules.into_iter().map(|(rule, priority)| rule_to_wire(rule, priority)).collect();
        Ok(DescribeL7AccRulesResponse { total_count, rules })
    }

    pub(super) async fn modify_l7_acc_rule(
        &self,
        request: ModifyL7AccRuleRequest,
    ) -> Result<ModifyL7AccRuleResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        let rule_id = request.rule.rule_id.clone().filter(|id| !id.is_empty());
        let rule_id =
            rule_id.ok_or_else(|| invalid("Rule.RuleId", "the id of the rule to change is needed"))?;
        let rule = read_rule("Rule", rule_id, request.rule)?;
        self.change_caching(&id, |config| {
            let mut config = config.clone();
            let at = position(&config, &rule.id)?;
            config.rules[at] = rule;
            Ok(config)
        })
        .await?;
        Ok(ModifyL7AccRuleResponse {})
    }

    pub(super) async fn modify_l7_acc_rule_priority(
        &self,
        request: ModifyL7AccRulePriorityRequest,
    ) -> Result<ModifyL7AccRulePriorityResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        self.change_caching(&id, |config| {
            let mut left = config.clone();
            let mut rules = Vec::with_capacity(left.rules.len());
            for rule_id in &request.rule_ids {
                let at = position(&left, rule_id)?;
                rules.push(left.rules.remove(at));
            }
            if let Some(rule) = left.rules.first() {
                let text = format!("all rules of the zone are needed, each once; {} is missing", rule.id);
                return Err(invalid("RuleIds", &text).into());
            }
            Ok(CacheConfig { rules, ..left })
        })
        .await?;
        Ok(ModifyL7AccRulePriorityResponse {})
    }

    pub(super) async fn delete_l7_acc_rules(
        &self,
        request: DeleteL7AccRulesRequest,
    ) -> Result<DeleteL7AccRulesResponse, ApiError> {
        let id = read_zone_id(&request.zone_id)?;
        self.change_caching(&id, |config| {
            let mut config = config.clone();
            for rule_id in &request.rule_ids {
                let at = position(&config, rule_id)?;
                config.rules.remove(at);
            }
            Ok(config)
        })
        .await?;
        Ok(DeleteL7AccRulesResponse {})
    }

    async fn change_caching(
        &self,
        zone: &ZoneId,
        change: impl FnOnce(&CacheConfig) -> Result<CacheConfig, Refused>,
    ) -> Result<(), ApiError> {
        let changed = self.parts.store.change_cache_config(zone, self.now_ms(), change).await;
        changed.map_err(|Refused(refusal)| refusal)?;
        self.configuration_changed();
        info!(%zone, "cache settings changed");
        Ok(())
    }
}

/// Where a rule stands.
fn position(config: &CacheConfig, rule_id: &str) -> Result<usize, ApiError> {
    config.rules.iter().position(|rule| rule.id == rule_id).ok_or_else(|| {
        let shown: String = rule_id.chars().take(64).collect();
        refusal::value(format!("the zone has no rule \"{shown}\"; DescribeL7AccRules lists those it has"))
    })
}

fn new_rule_id() -> String {
    const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let random = random_bytes();
    let characters = random.iter().take(12).map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]));
    format!("rule-{}", characters.collect::<String>())
}

fn invalid(path: &str, text: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidParameter, format!("{path}: {text}"))
}

/// Turns a value that settings do not allow into a refusal that says where.
fn at<T>(path: &str, read: Result<T, SettingsError>) -> Result<T, ApiError> {
    read.map_err(|error| invalid(path, &error.to_string()))
}

/// A field that another one makes necessary.
fn needed<T>(path: &str, field: &str, given: Option<T>, by: &str) -> Result<T, ApiError> {
    given.ok_or_else(|| invalid(path, &format!("{field} is needed with {by}")))
}

fn is_on(switch: Switch) -> bool {
    switch == Switch::On
}

fn change_site(site: &mut CacheSettings, change: wire::ZoneConfig) -> Result<(), ApiError> {
    if let Some(cache) = change.cache {
        let custom = cache.custom_time.map(|custom| (custom.switch, custom.cache_time, Switch::Off));
        let caching = read_caching("ZoneConfig.Cache", cache.follow_origin, cache.no_cache, custom)?;
        site.caching = caching.unwrap_or(CacheSettings::default().caching);
    }
    if let Some(age) = change.max_age {
        site.client_age = read_client_age("ZoneConfig.MaxAge", &age)?;
    }
    if let Some(key) = change.cache_key {
        let query = read_query("ZoneConfig.CacheKey", key.full_url_cache, key.query_string)?;
        if let Some(query) = query {
            site.keying.query = query;
        }
        if let Some(ignore_case) = key.ignore_case {
            site.keying.ignores_case = is_on(ignore_case);
        }
    }
    if let Some(prefresh) = change.cache_prefresh {
        site.refresh_at = read_prefresh("ZoneConfig.CachePrefresh", &prefresh)?;
    }
    if let Some(offline) = change.offline_cache {
        site.offline = is_on(offline.switch);
    }
    Ok(())
}

/// `custom`: its switch, its time, and whether the origin's Cache-Control is ignored. `None` if nothing is on.
fn read_caching(
    path: &str,
    follow_origin: Option<wire::FollowOrigin>,
    no_cache: Option<wire::NoCache>,
    custom: Option<(Switch, Option<i64>, Switch)>,
) -> Result<Option<Caching>, ApiError> {
    let follow_origin = follow_origin.filter(|follow| is_on(follow.switch));
    let no_cache = no_cache.filter(|no_cache| is_on(no_cache.switch));
    let custom = custom.filter(|(switch, ..)| is_on(*switch));
    match (follow_origin, no_cache, custom) {
        (None, None, None) => Ok(None),
        (Some(follow), None, None) => read_follow_origin(path, &follow).map(Some),
        (None, Some(_), None) => Ok(Some(Caching::NoCache)),
        (None, None, Some((_, time, ignore))) => {
            let time = needed(path, "CustomTime.CacheTime", time, "CustomTime.Switch on")?;
            let secs = at(path, CacheSecs::new(time))?;
            Ok(Some(Caching::CustomTime { secs, ignore_cache_control: is_on(ignore) }))
        }
        _ => Err(invalid(path, "at most one of FollowOrigin, NoCache and CustomTime may have Switch on")),
    }
}

fn read_follow_origin(path: &str, follow: &wire::FollowOrigin) -> Result<Caching, ApiError> {
    let path = &format!("{path}.FollowOrigin");
    let default_cache = needed(path, "DefaultCache", follow.default_cache, "Switch on")?;
    let default = if is_on(default_cache) {
        let strategy = follow.default_cache_strategy;
        let strategy = needed(path, "DefaultCacheStrategy", strategy, "DefaultCache on")?;
        match (strategy, follow.default_cache_time) {
            (Switch::On, None | Some(0)) => DefaultCache::Strategy,
            (Switch::On, Some(_)) => {
                return Err(invalid(path, "DefaultCacheTime must be 0 with DefaultCacheStrategy on"));
            }
            (Switch::Off, time) => {
                let time = needed(path, "DefaultCacheTime", time, "DefaultCacheStrategy off")?;
                DefaultCache::For(at(path, CacheSecs::new(time))?)
            }
        }
    } else {
        DefaultCache::Off
    };
    Ok(Caching::FollowOrigin(default))
}

fn read_client_age(path: &str, age: &wire::MaxAgeParameters) -> Result<ClientAge, ApiError> {
    if is_on(age.follow_origin) {
        return Ok(ClientAge::FollowOrigin);
    }
    let time = needed(path, "CacheTime", age.cache_time, "FollowOrigin off")?;
    Ok(ClientAge::For(at(path, CacheSecs::new(time))?))
}

fn read_prefresh(path: &str, prefresh: &wire::CachePrefreshParameters) -> Result<Option<Percent>, ApiError> {
    if !is_on(prefresh.switch) {
        return Ok(None);
    }
    let percent = needed(path, "CacheTimePercent", prefresh.cache_time_percent, "Switch on")?;
    at(path, Percent::new(percent)).map(Some)
}

fn read_query(
    path: &str,
    full_url_cache: Option<Switch>,
    query_string: Option<wire::CacheKeyQueryString>,
) -> Result<Option<QueryKey>, ApiError> {
    let (full, query) = match (full_url_cache, query_string) {
        (None, None) => return Ok(None),
        (Some(full), Some(query)) => (full, query),
        (Some(_), None) => {
            return Err(invalid(path, "QueryString is needed with FullURLCache, as {\"Switch\": …}"));
        }
        (None, Some(_)) => return Err(invalid(path, "FullURLCache is needed with QueryString")),
    };
    match (full, query.switch) {
        (Switch::On, Switch::On) => {
            Err(invalid(path, "FullURLCache and QueryString.Switch may not both be on"))
        }
        (Switch::On, Switch::Off) => Ok(Some(QueryKey::Whole)),
        (Switch::Off, Switch::Off) => Ok(Some(QueryKey::Ignored)),
        (Switch::Off, Switch::On) => {
            let path = &format!("{path}.QueryString");
            let action = needed(path, "Action", query.action, "Switch on")?;
            let names = at(path, Names::new(needed(path, "Values", query.values, "Switch on")?))?;
            Ok(Some(match action {
                QueryStringAction::IncludeCustom => QueryKey::Only(names),
                QueryStringAction::ExcludeCustom => QueryKey::AllBut(names),
            }))
        }
    }
}

fn read_rule(path: &str, id: String, item: RuleEngineItem) -> Result<Rule, ApiError> {
    if item.rule_name.chars().count() > RULE_NAME_CHARS_MAX {
        let text = format!("RuleName may have at most {RULE_NAME_CHARS_MAX} characters");
        return Err(invalid(path, &text));
    }
    let branch = one(&format!("{path}.Branches"), item.branches)?;
    let path = &format!("{path}.Branches.0");
    let sub_rules = branch.sub_rules.into_iter().enumerate().map(|(index, sub_rule)| {
        let path = format!("{path}.SubRules.{index}.Branches");
        let branch = one(&path, sub_rule.branches)?;
        let branch = read_branch(&format!("{path}.0"), &branch.condition, branch.actions, Vec::new())?;
        Ok(SubRule { notes: sub_rule.description, branch })
    });
    let sub_rules = sub_rules.collect::<Result<_, ApiError>>()?;
    let branch = read_branch(path, &branch.condition, branch.actions, sub_rules)?;
    let enabled = item.status == RuleStatus::Enable;
    Ok(Rule { id, name: item.rule_name, notes: item.description, enabled, branch })
}

fn one<T>(path: &str, branches: Vec<T>) -> Result<T, ApiError> {
    branches.into_iter().next().ok_or_else(|| invalid(path, "one branch is needed"))
}

fn read_branch(
    path: &str,
    condition: &str,
    actions: Vec<RuleEngineAction>,
    sub_rules: Vec<SubRule>,
) -> Result<Branch, ApiError> {
    let condition = Condition::parse(condition);
    let condition = condition.map_err(|error| invalid(&format!("{path}.Condition"), &error.to_string()))?;
    let actions = actions.into_iter().enumerate();
    let actions = actions.map(|(index, action)| read_action(&format!("{path}.Actions.{index}"), action));
    let branch = Branch { condition, actions: actions.collect::<Result<_, _>>()?, sub_rules };
    at(path, branch.check())?;
    Ok(branch)
}

fn read_action(path: &str, action: RuleEngineAction) -> Result<Action, ApiError> {
    let RuleEngineAction {
        name,
        cache_parameters,
        cache_key_parameters,
        cache_prefresh_parameters,
        max_age_parameters,
        status_code_cache_parameters,
        offline_cache_parameters,
        vary_parameters,
    } = action;
    let given = [
        (ActionName::Cache, cache_parameters.is_some()),
        (ActionName::CacheKey, cache_key_parameters.is_some()),
        (ActionName::CachePrefresh, cache_prefresh_parameters.is_some()),
        (ActionName::MaxAge, max_age_parameters.is_some()),
        (ActionName::StatusCodeCache, status_code_cache_parameters.is_some()),
        (ActionName::OfflineCache, offline_cache_parameters.is_some()),
        (ActionName::Vary, vary_parameters.is_some()),
    ];
    if let Some((other, _)) = given.iter().find(|(of, is_given)| *is_given && *of != name) {
        let text = format!("{}Parameters does not belong to Name {}", other.as_str(), name.as_str());
        return Err(invalid(path, &text));
    }
    let missing = || invalid(path, &format!("{0}Parameters is needed with Name {0}", name.as_str()));
    Ok(match name {
        ActionName::Cache => {
            let cache = cache_parameters.ok_or_else(missing)?;
            let custom = cache.custom_time.map(|custom| {
                (custom.switch, custom.cache_time, custom.ignore_cache_control.unwrap_or(Switch::Off))
            });
            let path = format!("{path}.CacheParameters");
            Action::Cache(read_caching(&path, cache.follow_origin, cache.no_cache, custom)?)
        }
        ActionName::CacheKey => {
            let key = cache_key_parameters.ok_or_else(missing)?;
            Action::CacheKey(read_key(&format!("{path}.CacheKeyParameters"), key)?)
        }
        ActionName::CachePrefresh => {
            let prefresh = cache_prefresh_parameters.ok_or_else(missing)?;
            Action::CachePrefresh(read_prefresh(&format!("{path}.CachePrefreshParameters"), &prefresh)?)
        }
        ActionName::MaxAge => {
            let age = max_age_parameters.ok_or_else(missing)?;
            Action::MaxAge(read_client_age(&format!("{path}.MaxAgeParameters"), &age)?)
        }
        ActionName::StatusCodeCache => {
            let times = status_code_cache_parameters.ok_or_else(missing)?.status_code_cache_params;
            let times = times.iter().map(|time| StatusTime::new(time.status_code, time.cache_time));
            let path = format!("{path}.StatusCodeCacheParameters");
            let times = at(&path, times.collect::<Result<_, _>>())?;
            Action::StatusCodeCache(at(&path, StatusTime::list(times))?)
        }
        ActionName::OfflineCache => {
            Action::OfflineCache(is_on(offline_cache_parameters.ok_or_else(missing)?.switch))
        }
        ActionName::Vary => Action::Vary(is_on(vary_parameters.ok_or_else(missing)?.switch)),
    })
}

fn read_key(path: &str, key: wire::CacheKeyParameters) -> Result<KeyChange, ApiError> {
    let fields = match key.header {
        None => None,
        Some(header) if !is_on(header.switch) => Some(None),
        Some(header) => {
            let path = &format!("{path}.Header");
            let names = needed(path, "Values", header.values, "Switch on")?;
            Some(Some(at(path, Names::of_fields(names))?))
        }
    };
    let cookies = match key.cookie {
        None => None,
        Some(cookie) if !is_on(cookie.switch) => Some(CookieKey::Ignored),
        Some(cookie) => {
            let path = &format!("{path}.Cookie");
            let action = needed(path, "Action", cookie.action, "Switch on")?;
            let names = |by: &str| at(path, Names::new(needed(path, "Values", cookie.values, by)?));
            Some(match action {
                CookieAction::Full => CookieKey::Full,
                CookieAction::Ignore => CookieKey::Ignored,
                CookieAction::IncludeCustom => CookieKey::Only(names("Action includeCustom")?),
                CookieAction::ExcludeCustom => CookieKey::AllBut(names("Action excludeCustom")?),
            })
        }
    };
    let change = KeyChange {
        query: read_query(path, key.full_url_cache, key.query_string)?,
        ignores_case: key.ignore_case.map(is_on),
        has_scheme: key.scheme.map(is_on),
        fields,
        cookies,
    };
    if change == KeyChange::default() {
        let text =
            "at least one of FullURLCache with QueryString, IgnoreCase, Header, Scheme and Cookie is needed";
        return Err(invalid(path, text));
    }
    Ok(change)
}

fn switch(on: bool) -> Switch {
    if on { Switch::On } else { Switch::Off }
}

fn site_to_wire(site: &CacheSettings) -> wire::ZoneConfig {
    let (follow_origin, no_cache, custom) = caching_to_wire(Some(site.caching));
    let custom_time = custom
        .map(|custom| wire::CacheConfigCustomTime { switch: custom.switch, cache_time: custom.cache_time });
    let (full_url_cache, query_string) = query_to_wire(&site.keying.query);
    wire::ZoneConfig {
        cache: Some(wire::CacheConfigParameters { follow_origin, no_cache, custom_time }),
        max_age: Some(client_age_to_wire(site.client_age)),
        cache_key: Some(wire::CacheKeyConfigParameters {
            full_url_cache: Some(full_url_cache),
            ignore_case: Some(switch(site.keying.ignores_case)),
            query_string: Some(query_string),
        }),
        cache_prefresh: Some(prefresh_to_wire(site.refresh_at)),
        offline_cache: Some(wire::OfflineCacheParameters { switch: switch(site.offline) }),
    }
}

type CachingOnWire = (Option<wire::FollowOrigin>, Option<wire::NoCache>, Option<wire::CustomTime>);

fn caching_to_wire(caching: Option<Caching>) -> CachingOnWire {
    let mut follow = wire::FollowOrigin {
        switch: Switch::Off,
        default_cache: None,
        default_cache_strategy: None,
        default_cache_time: None,
    };
    let mut no_cache = wire::NoCache { switch: Switch::Off };
    let mut custom = wire::CustomTime { switch: Switch::Off, ignore_cache_control: None, cache_time: None };
    match caching {
        None => {}
        Some(Caching::FollowOrigin(default)) => {
            follow.switch = Switch::On;
            follow.default_cache = Some(switch(default != DefaultCache::Off));
            follow.default_cache_strategy = Some(switch(default == DefaultCache::Strategy));
            follow.default_cache_time = Some(match default {
                DefaultCache::Off | DefaultCache::Strategy => 0,
                DefaultCache::For(secs) => secs.secs().into(),
            });
        }
        Some(Caching::NoCache) => no_cache.switch = Switch::On,
        Some(Caching::CustomTime { secs, ignore_cache_control }) => {
            custom = wire::CustomTime {
                switch: Switch::On,
                ignore_cache_control: Some(switch(ignore_cache_control)),
                cache_time: Some(secs.secs().into()),
            };
        }
    }
    (Some(follow), Some(no_cache), Some(custom))
}

fn client_age_to_wire(age: ClientAge) -> wire::MaxAgeParameters {
    match age {
        ClientAge::FollowOrigin => wire::MaxAgeParameters { follow_origin: Switch::On, cache_time: Some(0) },
        ClientAge::For(secs) => {
            wire::MaxAgeParameters { follow_origin: Switch::Off, cache_time: Some(secs.secs().into()) }
        }
    }
}

fn prefresh_to_wire(percent: Option<Percent>) -> wire::CachePrefreshParameters {
    wire::CachePrefreshParameters {
        switch: switch(percent.is_some()),
        cache_time_percent: percent.map(|percent| percent.number().into()),
    }
}

fn query_to_wire(query: &QueryKey) -> (Switch, wire::CacheKeyQueryString) {
    let custom = |action, names: &Names| wire::CacheKeyQueryString {
        switch: Switch::On,
        action: Some(action),
        values: Some(names.to_vec()),
    };
    let off = wire::CacheKeyQueryString { switch: Switch::Off, action: None, values: None };
    match query {
        QueryKey::Whole => (Switch::On, off),
        QueryKey::Ignored => (Switch::Off, off),
        QueryKey::Only(names) => (Switch::Off, custom(QueryStringAction::IncludeCustom, names)),
        QueryKey::AllBut(names) => (Switch::Off, custom(QueryStringAction::ExcludeCustom, names)),
    }
}

fn rule_to_wire(rule: &Rule, priority: i64) -> RuleEngineItem {
    let sub_rule = |sub_rule: &SubRule| wire::RuleEngineSubRule {
        branches: vec![wire::SubRuleBranch {
            condition: sub_rule.branch.condition.as_str().to_owned(),
            actions: sub_rule.branch.actions.iter().map(action_to_wire).collect(),
        }],
        description: sub_rule.notes.clone(),
    };
    RuleEngineItem {
        status: if rule.enabled { RuleStatus::Enable } else { RuleStatus::Disable },
        rule_id: Some(rule.id.clone()),
        rule_name: rule.name.clone(),
        description: rule.notes.clone(),
        branches: vec![wire::RuleBranch {
            condition: rule.branch.condition.as_str().to_owned(),
            actions: rule.branch.actions.iter().map(action_to_wire).collect(),
            sub_rules: rule.branch.sub_rules.iter().map(sub_rule).collect(),
        }],
        rule_priority: Some(priority),
    }
}

fn action_to_wire(action: &Action) -> RuleEngineAction {
    let mut wire = RuleEngineAction {
        name: ActionName::Cache,
        cache_parameters: None,
        cache_key_parameters: None,
        cache_prefresh_parameters: None,
        max_age_parameters: None,
        status_code_cache_parameters: None,
        offline_cache_parameters: None,
        vary_parameters: None,
    };
    match action {
        Action::Cache(caching) => {
            let (follow_origin, no_cache, custom_time) = caching_to_wire(*caching);
            wire.cache_parameters = Some(wire::CacheParameters { follow_origin, no_cache, custom_time });
        }
        Action::CacheKey(change) => {
            wire.name = ActionName::CacheKey;
            wire.cache_key_parameters = Some(key_to_wire(change));
        }
        Action::MaxAge(age) => {
            wire.name = ActionName::MaxAge;
            wire.max_age_parameters = Some(client_age_to_wire(*age));
        }
        Action::StatusCodeCache(times) => {
            wire.name = ActionName::StatusCodeCache;
            let time = |time: &StatusTime| wire::StatusCodeCacheParam {
                status_code: time.status().into(),
                cache_time: time.secs().into(),
            };
            let status_code_cache_params = times.iter().map(time).collect();
            wire.status_code_cache_parameters =
                Some(wire::StatusCodeCacheParameters { status_code_cache_params });
        }
        Action::CachePrefresh(percent) => {
            wire.name = ActionName::CachePrefresh;
            wire.cache_prefresh_parameters = Some(prefresh_to_wire(*percent));
        }
        Action::OfflineCache(on) => {
            wire.name = ActionName::OfflineCache;
            wire.offline_cache_parameters = Some(wire::OfflineCacheParameters { switch: switch(*on) });
        }
        Action::Vary(on) => {
            wire.name = ActionName::Vary;
            wire.vary_parameters = Some(wire::VaryParameters { switch: switch(*on) });
        }
    }
    wire
}

fn key_to_wire(change: &KeyChange) -> wire::CacheKeyParameters {
    let query = change.query.as_ref().map(query_to_wire);
    let cookie = |cookies: &CookieKey| {
        let (action, names) = match cookies {
            CookieKey::Ignored => (None, None),
            CookieKey::Full => (Some(CookieAction::Full), None),
            CookieKey::Only(names) => (Some(CookieAction::IncludeCustom), Some(names)),
            CookieKey::AllBut(names) => (Some(CookieAction::ExcludeCustom), Some(names)),
        };
        let values = names.map(Names::to_vec);
        wire::CacheKeyCookie { switch: switch(action.is_some()), action, values }
    };
    wire::CacheKeyParameters {
        full_url_cache: query.as_ref().map(|(full, _)| *full),
        query_string: query.map(|(_, query)| query),
        ignore_case: change.ignores_case.map(switch),
        header: change.fields.as_ref().map(|names| wire::CacheKeyHeader {
            switch: switch(names.is_some()),
            values: names.as_ref().map(Names::to_vec),
        }),
        scheme: change.has_scheme.map(switch),
        cookie: change.cookies.as_ref().map(cookie),
    }
}
