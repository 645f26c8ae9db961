//! CreatePurgeTask and DescribePurgeTasks.

use super::directory::read_zone_id;
use super::filter::{self, Filter, Known};
use super::{Api, refusal, time_text};
use crate::recorder::RecorderError;
use purge::{Failure, FailureReason, JobId, Method, PlanRequest, PurgeType, TaskStatus, ZoneChoice};
use store::{RecordError, Recording, TargetFilter, TaskQuery, TaskRow};
use teo::edgeone::{
    self as wire, CreatePurgeTaskRequest, CreatePurgeTaskResponse, DescribePurgeTasksRequest,
    DescribePurgeTasksResponse, FailReason, FailType, PurgeMethod, QuotaType, Task,
};
use teo::{ApiError, ErrorCode};
use tracing::info;
use zone::{HostName, ZoneId};

/// The longest time range of one query: 7 days.
const RANGE_SECS_MAX: i64 = 7 * 86_400;

/// How often a job is planned at most, when the configuration changes between planning and recording.
pub(super) const PLANS_MAX: usize = 5;

/// The `ZoneId` that stands for all zones.
pub(super) const EVERY_ZONE: &str = "*";

const FILTERS: [Known; 5] = [
    Known { name: "job-id", several: false, fuzzy: false },
    Known { name: "target", several: false, fuzzy: true },
    Known { name: "domains", several: true, fuzzy: false },
    Known { name: "statuses", several: true, fuzzy: false },
    Known { name: "type", several: false, fuzzy: false },
];

impl Api {
    pub(super) async fn create_purge_task(
        &self,
        request: CreatePurgeTaskRequest,
    ) -> Result<CreatePurgeTaskResponse, ApiError> {
        let kind = type_of_wire(request.purge_type);
        let method = kind.method(request.method.map(method_of_wire), self.parts.options.tag_method);
        let targets = request.targets.unwrap_or_default();
        let tag_domains = request.cache_tag.map(|cache_tag| cache_tag.domains).unwrap_or_default();
        // EncodeUrl needs no step of its own: purges and lookups compare URLs in one percent-encoded form.
        let mut plans = 0;
        let (recorded, failed) = loop {
            let directory = self.directory().await?;
            let zones = if request.zone_id == EVERY_ZONE {
                ZoneChoice::Every
            } else {
                let id = read_zone_id(&request.zone_id)?;
                let name = directory.zone_name(&id)?;
                ZoneChoice::One { id, name }
            };
            let plan_request =
                PlanRequest { zones, purge_type: kind, method, targets: &targets, tag_domains: &tag_domains };
            let (zone_of, caching_of) =
                (|host: &HostName| directory.zone_of(host), |zone: &ZoneId| directory.caching_of(zone));
            let plan = purge::plan(&plan_request, zone_of, caching_of)
                .map_err(|refusal| refusal::of_plan(&refusal))?;
            let recording = Recording {
                kind,
                method,
                tasks: plan.tasks,
                now_ms: self.now_ms(),
                config_version: directory.version,
            };
            plans += 1;
            match self.parts.recorder.record(recording).await {
                Ok(recorded) => break (recorded, plan.failed),
                Err(RecorderError::Record(RecordError::ConfigChanged)) if plans < PLANS_MAX => {}
                Err(refusal) => return Err(refusal::of_recorder(refusal)),
            }
        };
        info!(
            job_id = %recorded.job_id,
            kind = kind.as_str(),
            method = method.as_str(),
            first_seq = %recorded.first_seq,
            last_seq = %recorded.last_seq,
            "purge recorded"
        );
        Ok(CreatePurgeTaskResponse {
            job_id: recorded.job_id.to_string(),
            failed_list: failed_to_wire(failed),
        })
    }

    pub(super) async fn describe_purge_tasks(
        &self,
        request: DescribePurgeTasksRequest,
    ) -> Result<DescribePurgeTasksResponse, ApiError> {
        let created_secs = read_range(request.start_time.as_deref(), request.end_time.as_deref())?;
        let filters = filter::check(request.filters, &FILTERS)?;
        if created_secs.is_none() && !filters.iter().any(|filter| filter.name == "job-id") {
            let text = "give StartTime and EndTime, or the filter job-id";
            return Err(ApiError::new(ErrorCode::ParameterError, text));
        }
        let zones = match request.zone_id.as_deref() {
            None | Some(EVERY_ZONE) => None,
            Some(text) => {
                let id = read_zone_id(text)?;
                self.directory().await?.zone_name(&id)?;
                Some(vec![id])
            }
        };
        let query = TaskQuery {
            zones,
            created_secs: created_secs.map(|(start, end)| start..=end),
            offset: u64::try_from(request.offset).unwrap_or(0),
            limit: u32::try_from(request.limit).unwrap_or(0),
            ..TaskQuery::default()
        };
        let page = match narrow(query, filters)? {
            Some(query) => self.parts.store.describe_tasks(&query).await.map_err(refusal::of_store)?,
            None => store::TaskPage::default(),
        };
        Ok(DescribePurgeTasksResponse {
            total_count: i64::try_from(page.total).unwrap_or(i64::MAX),
            tasks: page.tasks.into_iter().map(task_to_wire).collect(),
        })
    }
}

/// Both times, in order and not too far apart; or neither.
pub(super) fn read_range(start: Option<&str>, end: Option<&str>) -> Result<Option<(i64, i64)>, ApiError> {
    let refuse = |text: &str| Err(ApiError::new(ErrorCode::ParameterError, text));
    let (start, end) = match (start, end) {
        (None, None) => return Ok(None),
        (Some(start), Some(end)) => (start, end),
        (Some(_), None) => return refuse("EndTime is missing; a time range has both"),
        (None, Some(_)) => return refuse("StartTime is missing; a time range has both"),
    };
    let (start, end) = (time_text::read("StartTime", start)?, time_text::read("EndTime", end)?);
    if start > end {
        return refuse("StartTime is after EndTime");
    }
    if end - start > RANGE_SECS_MAX {
        return refuse("the time range is longer than 7 days; ask in parts");
    }
    Ok(Some((start, end)))
}

/// Adds filters to a query; `None` when no task can match them.
fn narrow(mut query: TaskQuery, filters: Vec<Filter>) -> Result<Option<TaskQuery>, ApiError> {
    let mut possible = true;
    for Filter { name, values, fuzzy } in filters {
        let unknown = |value: &str, known: Vec<&str>| {
            let shown: String = value.chars().take(64).collect();
            refusal::value(format!("the filter {name} knows no \"{shown}\"; it knows {}", known.join(", ")))
        };
        let first = values[0].clone();
        match name {
            // A text that is no job's id is no job's.
            "job-id" => match JobId::parse(&first) {
                Ok(job_id) => query.job_id = Some(job_id),
                Err(_) => possible = false,
            },
            "target" if fuzzy => query.target = Some(TargetFilter::Containing(first)),
            "target" => query.target = Some(TargetFilter::Exact(first)),
            "domains" => {
                query.domains = values.iter().filter_map(|value| HostName::parse(value).ok()).collect();
                possible &= !query.domains.is_empty();
            }
            "statuses" => {
                for value in &values {
                    let status = TaskStatus::parse(value).ok_or_else(|| {
                        unknown(value, TaskStatus::EVERY.iter().map(|status| status.as_str()).collect())
                    })?;
                    query.statuses.push(status);
                }
            }
            _ => {
                let kind = PurgeType::parse(&first).ok_or_else(|| {
                    unknown(&first, PurgeType::EVERY.iter().map(|kind| kind.as_str()).collect())
                })?;
                query.kind = Some(kind);
            }
        }
    }
    Ok(possible.then_some(query))
}

/// Targets that were not accepted, and why.
pub(super) fn failed_to_wire(failed: Vec<Failure>) -> Vec<FailReason> {
    let to_wire = |failure: Failure| match failure.reason {
        FailureReason::ForeignHost => {
            FailReason { reason: failure.reason.to_string(), targets: failure.targets }
        }
    };
    failed.into_iter().map(to_wire).collect()
}

pub(super) fn status_to_wire(status: TaskStatus) -> wire::TaskStatus {
    match status {
        TaskStatus::Processing => wire::TaskStatus::Processing,
        TaskStatus::Success => wire::TaskStatus::Success,
        TaskStatus::Failed => wire::TaskStatus::Failed,
        TaskStatus::Timeout => wire::TaskStatus::Timeout,
        TaskStatus::Canceled => wire::TaskStatus::Canceled,
    }
}

fn task_to_wire(task: TaskRow) -> Task {
    Task {
        job_id: task.job_id.to_string(),
        target: task.target,
        task_type: quota_type_of(task.kind),
        method: Some(match task.method {
            Method::Invalidate => PurgeMethod::Invalidate,
            Method::Delete => PurgeMethod::Delete,
        }),
        fail_type: (task.status == TaskStatus::Failed).then_some(FailType::TaskFailed),
        status: status_to_wire(task.status),
        create_time: time_text::write(task.created_ms),
        update_time: time_text::write(task.updated_ms),
        fail_message: task.fail_message,
    }
}

pub(super) fn type_of_wire(kind: wire::PurgeType) -> PurgeType {
    match kind {
        wire::PurgeType::PurgeUrl => PurgeType::Url,
        wire::PurgeType::PurgePrefix => PurgeType::Prefix,
        wire::PurgeType::PurgeHost => PurgeType::Host,
        wire::PurgeType::PurgeAll => PurgeType::All,
        wire::PurgeType::PurgeCacheTag => PurgeType::CacheTag,
    }
}

pub(super) fn quota_type_of(kind: PurgeType) -> QuotaType {
    match kind {
        PurgeType::Url => QuotaType::PurgeUrl,
        PurgeType::Prefix => QuotaType::PurgePrefix,
        PurgeType::Host => QuotaType::PurgeHost,
        PurgeType::All => QuotaType::PurgeAll,
        PurgeType::CacheTag => QuotaType::PurgeCacheTag,
    }
}

fn method_of_wire(method: PurgeMethod) -> Method {
    match method {
        PurgeMethod::Invalidate => Method::Invalidate,
        PurgeMethod::Delete => Method::Delete,
    }
}
