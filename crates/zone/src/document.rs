//! The written form of a zone's cache configuration, in which it is kept and carried to edges.
//!
//! JSON, strict in both directions: what is read has passed the same checks as what the API takes. What is at its
//! default is left out.

use crate::cache::{
    Action, Branch, CacheConfig, CacheSecs, CacheSettings, Caching, ClientAge, CookieKey, DefaultCache,
    KeyChange, Names, Percent, QueryKey, RULES_PER_ZONE_MAX, Rule, SettingsError, StatusTime, SubRule,
    UrlKeying,
};
use crate::condition::{Condition, ConditionError};
use serde::{Deserialize, Serialize};

/// The longest written form of one zone's configuration, in bytes.
pub const CACHE_CONFIG_BYTES_MAX: usize = 512 * 1024;

/// Why a text is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON of one.
    #[error("it is no cache configuration")]
    Malformed(#[source] serde_json::Error),
    /// A value that is not allowed.
    #[error(transparent)]
    Setting(#[from] SettingsError),
    /// A condition that can't be read.
    #[error(transparent)]
    Condition(#[from] ConditionError),
    /// Longer than [`CACHE_CONFIG_BYTES_MAX`].
    #[error("settings and rules of the zone come to {0} bytes; at most {CACHE_CONFIG_BYTES_MAX} are allowed")]
    TooLong(usize),
}

impl CacheConfig {
    /// Writes it.
    ///
    /// # Errors
    /// [`DocumentError::TooLong`]: it is larger than a zone's may be. [`DocumentError::Setting`]: it has too many rules.
    pub fn to_document(&self) -> Result<String, DocumentError> {
        if self.rules.len() > RULES_PER_ZONE_MAX {
            return Err(SettingsError::TooManyRules(self.rules.len()).into());
        }
        let config = ConfigForm {
            site: SiteForm::of(&self.site),
            rules: self.rules.iter().map(RuleForm::of).collect(),
        };
        let document = serde_json::to_string(&config).map_err(DocumentError::Malformed)?;
        if document.len() > CACHE_CONFIG_BYTES_MAX {
            return Err(DocumentError::TooLong(document.len()));
        }
        Ok(document)
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is no configuration, and what would not have been taken either.
    pub fn from_document(document: &str) -> Result<Self, DocumentError> {
        if document.len() > CACHE_CONFIG_BYTES_MAX {
            return Err(DocumentError::TooLong(document.len()));
        }
        let config: ConfigForm = serde_json::from_str(document).map_err(DocumentError::Malformed)?;
        if config.rules.len() > RULES_PER_ZONE_MAX {
            return Err(SettingsError::TooManyRules(config.rules.len()).into());
        }
        let rules = config.rules.into_iter().map(RuleForm::read).collect::<Result<_, _>>()?;
        Ok(Self { site: config.site.read()?, rules })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigForm {
    site: SiteForm,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleForm>,
}

/// What a zone's own settings can say.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteForm {
    cache: CachingForm,
    query: QueryForm,
    ignore_case: bool,
    max_age: ClientAgeForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_percent: Option<i64>,
    offline: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum CachingForm {
    FollowOrigin(DefaultForm),
    NoCache,
    Custom { secs: i64, ignore_cache_control: bool },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum DefaultForm {
    Off,
    Strategy,
    For(i64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum QueryForm {
    Whole,
    Ignored,
    Only(Vec<String>),
    AllBut(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum CookieForm {
    Ignored,
    Full,
    Only(Vec<String>),
    AllBut(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ClientAgeForm {
    FollowOrigin,
    For(i64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ActionForm {
    Cache(Option<CachingForm>),
    CacheKey(KeyForm),
    MaxAge(ClientAgeForm),
    StatusCodeCache(Vec<(i64, i64)>),
    CachePrefresh(Option<i64>),
    OfflineCache(bool),
    Vary(bool),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<QueryForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore_case: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheme: Option<bool>,
    /// An empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookies: Option<CookieForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleForm {
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    enabled: bool,
    branch: BranchForm,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchForm {
    condition: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    actions: Vec<ActionForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sub_rules: Vec<SubRuleForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubRuleForm {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    branch: BranchForm,
}

impl SiteForm {
    fn of(site: &CacheSettings) -> Self {
        Self {
            cache: CachingForm::of(site.caching),
            query: QueryForm::of(&site.keying.query),
            ignore_case: site.keying.ignores_case,
            max_age: ClientAgeForm::of(site.client_age),
            refresh_percent: site.refresh_at.map(|percent| percent.number().into()),
            offline: site.offline,
        }
    }

    fn read(self) -> Result<CacheSettings, SettingsError> {
        Ok(CacheSettings {
            caching: self.cache.read()?,
            keying: UrlKeying {
                query: self.query.read()?,
                ignores_case: self.ignore_case,
                ..UrlKeying::DEFAULT
            },
            client_age: self.max_age.read()?,
            refresh_at: self.refresh_percent.map(Percent::new).transpose()?,
            offline: self.offline,
            ..CacheSettings::default()
        })
    }
}

impl CachingForm {
    fn of(caching: Caching) -> Self {
        match caching {
            Caching::FollowOrigin(DefaultCache::Off) => Self::FollowOrigin(DefaultForm::Off),
            Caching::FollowOrigin(DefaultCache::Strategy) => Self::FollowOrigin(DefaultForm::Strategy),
            Caching::FollowOrigin(DefaultCache::For(secs)) => {
                Self::FollowOrigin(DefaultForm::For(secs.secs().into()))
            }
            Caching::NoCache => Self::NoCache,
            Caching::CustomTime { secs, ignore_cache_control } => {
                Self::Custom { secs: secs.secs().into(), ignore_cache_control }
            }
        }
    }

    fn read(self) -> Result<Caching, SettingsError> {
        Ok(match self {
            Self::FollowOrigin(DefaultForm::Off) => Caching::FollowOrigin(DefaultCache::Off),
            Self::FollowOrigin(DefaultForm::Strategy) => Caching::FollowOrigin(DefaultCache::Strategy),
            Self::FollowOrigin(DefaultForm::For(secs)) => {
                Caching::FollowOrigin(DefaultCache::For(CacheSecs::new(secs)?))
            }
            Self::NoCache => Caching::NoCache,
            Self::Custom { secs, ignore_cache_control } => {
                Caching::CustomTime { secs: CacheSecs::new(secs)?, ignore_cache_control }
            }
        })
    }
}

impl QueryForm {
    fn of(query: &QueryKey) -> Self {
        match query {
            QueryKey::Whole => Self::Whole,
            QueryKey::Ignored => Self::Ignored,
            QueryKey::Only(names) => Self::Only(names.to_vec()),
            QueryKey::AllBut(names) => Self::AllBut(names.to_vec()),
        }
    }

    fn read(self) -> Result<QueryKey, SettingsError> {
        Ok(match self {
            Self::Whole => QueryKey::Whole,
            Self::Ignored => QueryKey::Ignored,
            Self::Only(names) => QueryKey::Only(Names::new(names)?),
            Self::AllBut(names) => QueryKey::AllBut(Names::new(names)?),
        })
    }
}

impl CookieForm {
    fn of(cookies: &CookieKey) -> Self {
        match cookies {
            CookieKey::Ignored => Self::Ignored,
            CookieKey::Full => Self::Full,
            CookieKey::Only(names) => Self::Only(names.to_vec()),
            CookieKey::AllBut(names) => Self::AllBut(names.to_vec()),
        }
    }

    fn read(self) -> Result<CookieKey, SettingsError> {
        Ok(match self {
            Self::Ignored => CookieKey::Ignored,
            Self::Full => CookieKey::Full,
            Self::Only(names) => CookieKey::Only(Names::new(names)?),
            Self::AllBut(names) => CookieKey::AllBut(Names::new(names)?),
        })
    }
}

impl ClientAgeForm {
    fn of(age: ClientAge) -> Self {
        match age {
            ClientAge::FollowOrigin => Self::FollowOrigin,
            ClientAge::For(secs) => Self::For(secs.secs().into()),
        }
    }

    fn read(self) -> Result<ClientAge, SettingsError> {
        Ok(match self {
            Self::FollowOrigin => ClientAge::FollowOrigin,
            Self::For(secs) => ClientAge::For(CacheSecs::new(secs)?),
        })
    }
}

impl ActionForm {
    fn of(action: &Action) -> Self {
        match action {
            Action::Cache(caching) => Self::Cache(caching.map(CachingForm::of)),
            Action::CacheKey(change) => Self::CacheKey(KeyForm {
                query: change.query.as_ref().map(QueryForm::of),
                ignore_case: change.ignores_case,
                scheme: change.has_scheme,
                fields: change
                    .fields
                    .as_ref()
                    .map(|names| names.as_ref().map(Names::to_vec).unwrap_or_default()),
                cookies: change.cookies.as_ref().map(CookieForm::of),
            }),
            Action::MaxAge(age) => Self::MaxAge(ClientAgeForm::of(*age)),
            Action::StatusCodeCache(times) => Self::StatusCodeCache(
                times.iter().map(|time| (time.status().into(), time.secs().into())).collect(),
            ),
            Action::CachePrefresh(percent) => {
                Self::CachePrefresh(percent.map(|percent| percent.number().into()))
            }
            Action::OfflineCache(on) => Self::OfflineCache(*on),
            Action::Vary(on) => Self::Vary(*on),
        }
    }

    fn read(self) -> Result<Action, SettingsError> {
        Ok(match self {
            Self::Cache(caching) => Action::Cache(caching.map(CachingForm::read).transpose()?),
            Self::CacheKey(form) => Action::CacheKey(form.read()?),
            Self::MaxAge(age) => Action::MaxAge(age.read()?),
            Self::StatusCodeCache(times) => {
                let times = times.into_iter().map(|(status, secs)| StatusTime::new(status, secs));
                Action::StatusCodeCache(StatusTime::list(times.collect::<Result<_, _>>()?)?)
            }
            Self::CachePrefresh(percent) => Action::CachePrefresh(percent.map(Percent::new).transpose()?),
            Self::OfflineCache(on) => Action::OfflineCache(on),
            Self::Vary(on) => Action::Vary(on),
        })
    }
}

impl KeyForm {
    fn read(self) -> Result<KeyChange, SettingsError> {
        let fields = match self.fields {
            None => None,
            Some(names) if names.is_empty() => Some(None),
            Some(names) => Some(Some(Names::of_fields(names)?)),
        };
        Ok(KeyChange {
            query: self.query.map(QueryForm::read).transpose()?,
            ignores_case: self.ignore_case,
            has_scheme: self.scheme,
            fields,
            cookies: self.cookies.map(CookieForm::read).transpose()?,
        })
    }
}

impl RuleForm {
    fn of(rule: &Rule) -> Self {
        Self {
            id: rule.id.clone(),
            name: rule.name.clone(),
            notes: rule.notes.clone(),
            enabled: rule.enabled,
            branch: BranchForm::of(&rule.branch),
        }
    }

    fn read(self) -> Result<Rule, DocumentError> {
        let branch = self.branch.read()?;
        branch.check()?;
        Ok(Rule { id: self.id, name: self.name, notes: self.notes, enabled: self.enabled, branch })
    }
}

impl BranchForm {
    fn of(branch: &Branch) -> Self {
        let sub_rule = |sub_rule: &SubRule| SubRuleForm {
            notes: sub_rule.notes.clone(),
            branch: Self::of(&sub_rule.branch),
        };
        Self {
            condition: branch.condition.as_str().to_owned(),
            actions: branch.actions.iter().map(ActionForm::of).collect(),
            sub_rules: branch.sub_rules.iter().map(sub_rule).collect(),
        }
    }

    fn read(self) -> Result<Branch, DocumentError> {
        let sub_rule = |form: SubRuleForm| {
            Ok::<_, DocumentError>(SubRule { notes: form.notes, branch: form.branch.read()? })
        };
        Ok(Branch {
            condition: Condition::parse(&self.condition)?,
            actions: self.actions.into_iter().map(ActionForm::read).collect::<Result<_, _>>()?,
            sub_rules: self.sub_rules.into_iter().map(sub_rule).collect::<Result<_, _>>()?,
        })
    }
}
