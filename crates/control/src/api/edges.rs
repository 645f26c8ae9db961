//! The operations on edges and on the tokens that let them in.

use super::{Api, refusal, time_text};
use feed::TokenHash;
use purge::PurgeSeq;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashSet;
use store::{JoinTokenInfo, KnownEdge};
use teo::everfresh::{
    CreateEdgeTokenRequest, CreateEdgeTokenResponse, DescribeEdgeTokensRequest, DescribeEdgeTokensResponse,
    DescribeEdgesRequest, DescribeEdgesResponse, DrainEdgeRequest, DrainEdgeResponse, Edge, EdgeState,
    EdgeToken, EdgeTokenStatus, RemoveEdgeRequest, RemoveEdgeResponse, ResumeEdgeRequest, ResumeEdgeResponse,
    RevokeEdgeTokenRequest, RevokeEdgeTokenResponse,
};
use teo::{ApiError, ErrorCode, SecretText};
use tracing::info;

impl Api {
    pub(super) async fn describe_edges(
        &self,
        _: DescribeEdgesRequest,
    ) -> Result<DescribeEdgesResponse, ApiError> {
        let store = &self.parts.store;
        let head = store.log_head().await.map_err(refusal::of_store)?.head;
        let known = store.known_edges().await.map_err(refusal::of_store)?;
        let drained: HashSet<String> =
            store.drained_edges().await.map_err(refusal::of_store)?.into_iter().collect();
        let members = self.parts.network.edges().await.map_err(refusal::of_store)?;
        let with_process: HashSet<String> = members.iter().map(|member| member.edge_name.clone()).collect();
        let absent = known.into_iter().filter(|edge| !with_process.contains(&edge.edge_name));
        let absent: Vec<_> = absent.map(|edge| absent_to_wire(edge, &drained)).collect();
        let present = members.into_iter().map(|member| member_to_wire(member, head));
        Ok(DescribeEdgesResponse { edges: present.chain(absent).collect() })
    }

    pub(super) async fn drain_edge(&self, request: DrainEdgeRequest) -> Result<DrainEdgeResponse, ApiError> {
        self.parts.store.drain_edge(&request.edge_name, self.now_ms()).await.map_err(refusal::of_edge)?;
        info!(edge = request.edge_name, "edge drained");
        self.parts.network.wake();
        Ok(DrainEdgeResponse {})
    }

    pub(super) async fn resume_edge(
        &self,
        request: ResumeEdgeRequest,
    ) -> Result<ResumeEdgeResponse, ApiError> {
        self.parts.store.resume_edge(&request.edge_name).await.map_err(refusal::of_edge)?;
        info!(edge = request.edge_name, "edge resumed");
        Ok(ResumeEdgeResponse {})
    }

    pub(super) async fn remove_edge(
        &self,
        request: RemoveEdgeRequest,
    ) -> Result<RemoveEdgeResponse, ApiError> {
        self.parts.store.remove_edge(&request.edge_name, self.now_ms()).await.map_err(refusal::of_edge)?;
        info!(edge = request.edge_name, "edge removed");
        self.parts.network.wake();
        Ok(RemoveEdgeResponse {})
    }

    pub(super) async fn create_edge_token(
        &self,
        request: CreateEdgeTokenRequest,
    ) -> Result<CreateEdgeTokenResponse, ApiError> {
        let mut bytes = [0_u8; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| ApiError::new(ErrorCode::SystemError, "the server has no random numbers"))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let now_ms = self.now_ms();
        let expires_ms = request.expire_seconds.map(|secs| now_ms.saturating_add(secs.saturating_mul(1000)));
        let hash = TokenHash::of(&token);
        let comment = request.comment.unwrap_or_default();
        let made = self.parts.store.add_join_token(hash.bytes(), &comment, expires_ms, now_ms).await;
        let made = made.map_err(refusal::of_edge)?;
        info!(token_id = made.token_id, "join token created");
        Ok(CreateEdgeTokenResponse { token_id: made.token_id, token: SecretText(token) })
    }

    pub(super) async fn describe_edge_tokens(
        &self,
        _: DescribeEdgeTokensRequest,
    ) -> Result<DescribeEdgeTokensResponse, ApiError> {
        let now_ms = self.now_ms();
        let tokens = self.parts.store.join_tokens().await.map_err(refusal::of_store)?;
        let tokens = tokens.into_iter().map(|token| token_to_wire(token, now_ms)).collect();
        Ok(DescribeEdgeTokensResponse { tokens })
    }

    pub(super) async fn revoke_edge_token(
        &self,
        request: RevokeEdgeTokenRequest,
    ) -> Result<RevokeEdgeTokenResponse, ApiError> {
        let store = &self.parts.store;
        store.revoke_join_token(&request.token_id, self.now_ms()).await.map_err(refusal::of_edge)?;
        info!(token_id = request.token_id, "join token revoked");
        Ok(RevokeEdgeTokenResponse {})
    }
}

fn member_to_wire(edge: crate::EdgeProgress, head: PurgeSeq) -> Edge {
    let state = match (edge.leaving, edge.applied >= head) {
        (true, _) => EdgeState::Leaving,
        (false, true) => EdgeState::Applied,
        (false, false) => EdgeState::Pending,
    };
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    Edge {
        edge_name: edge.edge_name,
        member_id: Some(edge.member.to_string()),
        applied_seq: Some(number(edge.applied.number())),
        lag: Some(number(head.number().saturating_sub(edge.applied.number()))),
        state,
        version: known(edge.process.version),
        address: known(edge.process.address),
        join_time: time_text::write(edge.joined_ms),
    }
}

fn absent_to_wire(edge: KnownEdge, drained: &HashSet<String>) -> Edge {
    let state = if drained.contains(&edge.edge_name) { EdgeState::Drained } else { EdgeState::Absent };
    Edge {
        edge_name: edge.edge_name,
        member_id: None,
        applied_seq: None,
        lag: None,
        state,
        version: None,
        address: None,
        join_time: time_text::write(edge.joined_ms),
    }
}

fn token_to_wire(token: JoinTokenInfo, now_ms: i64) -> EdgeToken {
    let status = match (token.revoked_ms, token.is_active(now_ms)) {
        (Some(_), _) => EdgeTokenStatus::Revoked,
        (None, true) => EdgeTokenStatus::Active,
        (None, false) => EdgeTokenStatus::Expired,
    };
    EdgeToken {
        token_id: token.token_id,
        comment: token.comment,
        status,
        create_time: time_text::write(token.created_ms),
        expire_time: token.expires_ms.map(time_text::write),
    }
}
