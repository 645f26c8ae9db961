//! CreatePrefetchTask and DescribePrefetchTasks.

use super::directory::read_zone_id;
use super::filter::{self, Filter, Known};
use super::purge_tasks::{EVERY_ZONE, PLANS_MAX, failed_to_wire, read_range, status_to_wire};
use super::{Api, refusal, time_text};
use purge::{JobId, PrefetchMode, TaskStatus, ZoneChoice};
use store::{PrefetchPage, PrefetchQuery, PrefetchRecording, PrefetchRow, RecordError, TargetFilter};
use teo::edgeone::{
    self as wire, CreatePrefetchTaskRequest, CreatePrefetchTaskResponse, DescribePrefetchTasksRequest,
    DescribePrefetchTasksResponse, FailType, PrefetchMediaSegments, QuotaType, Task,
};
use teo::{ApiError, ErrorCode};
use tracing::info;
use zone::HostName;

/// A status that EdgeOne has and we never give.
const INVALID: &str = "invalid";

const FILTERS: [Known; 4] = [
    Known { name: "job-id", several: false, fuzzy: false },
    Known { name: "target", several: false, fuzzy: false },
    Known { name: "domains", several: true, fuzzy: false },
    Known { name: "statuses", several: true, fuzzy: false },
];

impl Api {
    pub(super) async fn create_prefetch_task(
        &self,
        request: CreatePrefetchTaskRequest,
    ) -> Result<CreatePrefetchTaskResponse, ApiError> {
        if request.prefetch_media_segments == PrefetchMediaSegments::On {
            let text = "PrefetchMediaSegments \"on\" is not supported; name the segments as targets, or leave it off";
            return Err(refusal::value(text));
        }
        let targets = request.targets.unwrap_or_default();
        if targets.is_empty() {
            return Err(ApiError::new(ErrorCode::MissingParameter, "Targets needs at least one URL"));
        }
        let headers: Vec<(String, String)> =
            request.headers.into_iter().map(|header| (header.name, header.value)).collect();
        purge::check_prefetch_headers(&headers).map_err(|error| refusal::value(error.to_string()))?;
        let mode = match request.mode {
            wire::PrefetchMode::Default => PrefetchMode::Default,
            wire::PrefetchMode::Edge => PrefetchMode::Edge,
        };
        let mut plans = 0;
        let (job_id, failed, count) = loop {
            let directory = self.directory().await?;
            let zones = if request.zone_id == EVERY_ZONE {
                ZoneChoice::Every
            } else {
                let id = read_zone_id(&request.zone_id)?;
                let name = directory.zone_name(&id)?;
                ZoneChoice::One { id, name }
            };
            let plan = purge::plan_prefetch(&zones, &targets, |host| directory.zone_of(host))
                .map_err(|refusal| refusal::of_plan(&refusal))?;
            let count = plan.tasks.len();
            let recording = PrefetchRecording {
                mode,
                headers: headers.clone(),
                tasks: plan.tasks,
                now_ms: self.now_ms(),
                config_version: directory.version,
            };
            plans += 1;
            match self.parts.store.record_prefetch(recording).await {
                Ok(job_id) => break (job_id, plan.failed, count),
                Err(RecordError::ConfigChanged) if plans < PLANS_MAX => {}
                Err(refusal) => return Err(refusal::of_record(refusal)),
            }
        };
        self.parts.network.wake_prefetch();
        info!(%job_id, mode = mode.as_str(), urls = count, "prefetch recorded");
        Ok(CreatePrefetchTaskResponse { job_id: job_id.to_string(), failed_list: failed_to_wire(failed) })
    }

    pub(super) async fn describe_prefetch_tasks(
        &self,
        request: DescribePrefetchTasksRequest,
    ) -> Result<DescribePrefetchTasksResponse, ApiError> {
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
        let query = PrefetchQuery {
            zones,
            created_secs: created_secs.map(|(start, end)| start..=end),
            offset: u64::try_from(request.offset).unwrap_or(0),
            limit: u32::try_from(request.limit).unwrap_or(0),
            ..PrefetchQuery::default()
        };
        let page = match narrow(query, filters)? {
            Some(query) => self.parts.store.describe_prefetches(&query).await.map_err(refusal::of_store)?,
            None => PrefetchPage::default(),
        };
        Ok(DescribePrefetchTasksResponse {
            total_count: i64::try_from(page.total).unwrap_or(i64::MAX),
            tasks: page.tasks.into_iter().map(task_to_wire).collect(),
        })
    }
}

/// Adds filters to a query; `None` when no task can match them.
fn narrow(mut query: PrefetchQuery, filters: Vec<Filter>) -> Result<Option<PrefetchQuery>, ApiError> {
    let mut possible = true;
    for Filter { name, values, fuzzy: _ } in filters {
        let first = values[0].clone();
        match name {
            // A text that is no job's id is no job's.
            "job-id" => match JobId::parse(&first) {
                Ok(job_id) => query.job_id = Some(job_id),
                Err(_) => possible = false,
            },
            "target" => query.target = Some(TargetFilter::Exact(first)),
            "domains" => {
                query.domains = values.iter().filter_map(|value| HostName::parse(value).ok()).collect();
                possible &= !query.domains.is_empty();
            }
            _ => {
                for value in values.iter().filter(|value| *value != INVALID) {
                    let status = TaskStatus::parse(value).ok_or_else(|| {
                        let shown: String = value.chars().take(64).collect();
                        let known = TaskStatus::EVERY.map(TaskStatus::as_str).join(", ");
                        refusal::value(format!(
                            "the filter {name} knows no \"{shown}\"; it knows {known}, {INVALID}"
                        ))
                    })?;
                    query.statuses.push(status);
                }
                possible &= !query.statuses.is_empty();
            }
        }
    }
    Ok(possible.then_some(query))
}

fn task_to_wire(task: PrefetchRow) -> Task {
    Task {
        job_id: task.job_id.to_string(),
        target: task.target,
        task_type: QuotaType::PrefetchUrl,
        method: None,
        fail_type: (task.status == TaskStatus::Failed).then_some(FailType::OriginPullFailed),
        status: status_to_wire(task.status),
        create_time: time_text::write(task.created_ms),
        update_time: time_text::write(task.updated_ms),
        fail_message: task.fail_message,
    }
}
