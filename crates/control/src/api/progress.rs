//! DescribeJobProgress and DescribeEdges: how far each edge is.

use super::{Api, refusal, time_text};
use purge::{JobId, PurgeSeq, TaskStatus};
use std::time::Duration;
use store::Job;
use teo::everfresh::{
    DescribeEdgesRequest, DescribeEdgesResponse, DescribeJobProgressRequest, DescribeJobProgressResponse,
    Edge, EdgeProgress, EdgeState, JobStatus,
};
use teo::{ApiError, ErrorCode};
use tokio::time::Instant;

/// How often a waiting call looks for itself: another control plane may have completed the job.
const LOOK_EVERY: Duration = Duration::from_millis(500);

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
        let end_ms = match job.status {
            TaskStatus::Processing => self.now_ms(),
            TaskStatus::Success | TaskStatus::Failed | TaskStatus::Timeout | TaskStatus::Canceled => {
                job.updated_ms
            }
        };
        let edges = self.edges(job.last_seq).await?;
        Ok(DescribeJobProgressResponse {
            job_id: job.job_id.to_string(),
            status: status_to_wire(job.status),
            first_seq: Some(seq_to_wire(job.first_seq)),
            last_seq: Some(seq_to_wire(job.last_seq)),
            elapsed_milliseconds: (end_ms - job.created_ms).max(0),
            edges: edges
                .into_iter()
                .map(|(edge, state)| EdgeProgress {
                    edge_name: edge.edge_name,
                    member_id: edge.member.to_string(),
                    applied_seq: seq_to_wire(edge.applied),
                    state,
                })
                .collect(),
        })
    }

    pub(super) async fn describe_edges(
        &self,
        _: DescribeEdgesRequest,
    ) -> Result<DescribeEdgesResponse, ApiError> {
        let head = self.parts.store.log_head().await.map_err(refusal::of_store)?.head;
        let edges = self.edges(head).await?;
        Ok(DescribeEdgesResponse {
            edges: edges
                .into_iter()
                .map(|(edge, state)| Edge {
                    edge_name: edge.edge_name,
                    member_id: edge.member.to_string(),
                    applied_seq: seq_to_wire(edge.applied),
                    state,
                    join_time: time_text::write(edge.joined_ms),
                })
                .collect(),
        })
    }

    async fn find_job(&self, text: &str) -> Result<Job, ApiError> {
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

    /// Each edge, and how what it has applied compares with `goal`.
    async fn edges(&self, goal: PurgeSeq) -> Result<Vec<(crate::EdgeProgress, EdgeState)>, ApiError> {
        let edges = self.parts.network.edges().await.map_err(refusal::of_store)?;
        let state = |edge: &crate::EdgeProgress| match (edge.leaving, edge.applied >= goal) {
            (true, _) => EdgeState::Leaving,
            (false, true) => EdgeState::Applied,
            (false, false) => EdgeState::Pending,
        };
        Ok(edges
            .into_iter()
            .map(|edge| {
                let state = state(&edge);
                (edge, state)
            })
            .collect())
    }
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
