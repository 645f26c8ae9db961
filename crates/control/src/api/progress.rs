//! DescribeJobProgress: how far each edge is with a job.

use super::{Api, refusal};
use purge::{JobId, PurgeSeq, TaskStatus, Wait};
use std::time::Duration;
use store::Job;
use teo::everfresh::{
    DescribeJobProgressRequest, DescribeJobProgressResponse, EdgeProgress, EdgeState, EdgeWait, FencePolicy,
    JobStatus,
};
use teo::{ApiError, ErrorCode};
use tokio::time::Instant;

/// How often a waiting call looks for itself: another control plane may have completed the job.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Api {
    pub(super) async fn describe_job_progress(
        &self,
        request: DescribeJobProgressRequest,
    ) -> Result<DescribeJobProgressResponse, ApiError> {
        let wait_ms = u64::try_from(request.wait_milliseconds).unwrap_or(0);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let mut completed = self.parts.network.completions();
        let job = loop {
            // Seen before the job is read, so that what completes in between wakes us.
            completed.borrow_and_update();
            let job = self.find_job(&request.job_id).await?;
            let now = Instant::now();
            if job.status != TaskStatus::Processing || now >= deadline {
                break job;
            }
            // Running out is no error here, and a network that has stopped only leaves us to look for ourselves.
            let look_at = deadline.min(now + LOOK_EVERY);
            if let Ok(Err(_)) = tokio::time::timeout_at(look_at, completed.changed()).await {
                tokio::time::sleep_until(look_at).await;
            }
        };
        self.progress(job).await
    }

    pub(super) async fn progress(&self, job: Job) -> Result<DescribeJobProgressResponse, ApiError> {
        let end_ms = match job.status {
            TaskStatus::Processing => self.now_ms(),
            TaskStatus::Success | TaskStatus::Failed | TaskStatus::Timeout | TaskStatus::Canceled => {
                job.updated_ms
            }
        };
        let is_processing = job.status == TaskStatus::Processing;
        let (epoch, edges) = self.parts.network.edges_of_log().await.map_err(refusal::of_store)?;
        let deadline = self.parts.network.deadline_in(&job.job_id).filter(|_| is_processing);
        let half_a_lease = self.parts.network.lease() / 2;
        let edge = |edge: crate::EdgeProgress| {
            let is_silent = edge.silent_for.is_none_or(|silent_for| silent_for >= half_a_lease);
            // What ended has not waited for those that are not there yet: their leases had run out.
            let wait = edge.ack().wait(job.last_seq, job.method, !is_processing);
            EdgeProgress {
                state: state(&edge, job.last_seq),
                lag_entries: seq_to_wire(job.last_seq).saturating_sub(seq_to_wire(edge.applied)).max(0),
                waited_for: is_processing && matches!(wait, Wait::Acknowledgement | Wait::AcksOnly),
                reason: reason_to_wire(wait, is_silent),
                fence_policy: policy_to_wire(edge.terms.policy),
                acks_only: edge.terms.acks_only,
                silent_milliseconds: edge.silent_for.map(millis),
                applied_seq: seq_to_wire(edge.applied),
                member_id: edge.member.to_string(),
                edge_name: edge.edge_name,
            }
        };
        Ok(DescribeJobProgressResponse {
            job_id: job.job_id.to_string(),
            status: status_to_wire(job.status),
            first_seq: Some(seq_to_wire(job.first_seq)),
            last_seq: Some(seq_to_wire(job.last_seq)),
            elapsed_milliseconds: (end_ms - job.created_ms).max(0),
            deadline_milliseconds: deadline.map(millis),
            min_seq: Some(format!("{epoch}:{}", job.last_seq)),
            edges: edges.into_iter().map(edge).collect(),
        })
    }

    pub(super) async fn find_job(&self, text: &str) -> Result<Job, ApiError> {
        let found = match JobId::parse(text) {
            Ok(job_id) => self.parts.store.job(&job_id).await.map_err(refusal::of_store)?,
            Err(_) => None,
        };
        found.ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            let text = format!("there is no job \"{shown}\"; it never was, or was forgotten after 30 days");
            ApiError::new(ErrorCode::ResourceNotFound, text)
        })
    }
}

/// How what an edge has applied compares with `goal`.
fn state(edge: &crate::EdgeProgress, goal: PurgeSeq) -> EdgeState {
    match (edge.leaving, edge.applied >= goal) {
        (true, _) => EdgeState::Leaving,
        (false, true) => EdgeState::Applied,
        (false, false) => EdgeState::Pending,
    }
}

fn reason_to_wire(wait: Wait, is_silent: bool) -> EdgeWait {
    match wait {
        Wait::Nothing => EdgeWait::Acknowledged,
        Wait::Acknowledgement if is_silent => EdgeWait::Silent,
        Wait::Acknowledgement => EdgeWait::NotAcknowledged,
        Wait::AcksOnly => EdgeWait::AcksOnly,
        Wait::LeaseOver => EdgeWait::LeaseOver,
        Wait::PromiseGivenUp => EdgeWait::PromiseGivenUp,
    }
}

fn policy_to_wire(policy: purge::FencePolicy) -> FencePolicy {
    match policy {
        purge::FencePolicy::Fetch => FencePolicy::Fetch,
        purge::FencePolicy::Revalidate => FencePolicy::Revalidate,
        purge::FencePolicy::Refuse => FencePolicy::Refuse,
        purge::FencePolicy::Serve => FencePolicy::Serve,
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn status_to_wire(status: TaskStatus) -> JobStatus {
    match status {
        TaskStatus::Processing => JobStatus::Processing,
        TaskStatus::Success => JobStatus::Success,
        TaskStatus::Failed => JobStatus::Failed,
        TaskStatus::Timeout => JobStatus::Timeout,
        TaskStatus::Canceled => JobStatus::Canceled,
    }
}

fn seq_to_wire(seq: PurgeSeq) -> i64 {
    i64::try_from(seq.number()).unwrap_or(i64::MAX)
}
