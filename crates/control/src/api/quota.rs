//! DescribeContentQuota, and ModifyContentQuota of our own product.

use super::directory::read_zone_id;
use super::purge_tasks::{quota_type_of, type_of_wire};
use super::{Api, refusal};
use store::{ConfigError, QuotaKind, QuotaLimits, QuotaLine};
use teo::edgeone::{DescribeContentQuotaRequest, DescribeContentQuotaResponse, Quota, QuotaType};
use teo::everfresh::{ModifyContentQuotaRequest, ModifyContentQuotaResponse};
use teo::{ApiError, ErrorCode};
use zone::ZoneId;

impl Api {
    pub(super) async fn describe_content_quota(
        &self,
        request: DescribeContentQuotaRequest,
    ) -> Result<DescribeContentQuotaResponse, ApiError> {
        let (mut purges, mut prefetches) = (Vec::new(), Vec::new());
        for line in self.quota_lines(&read_zone_id(&request.zone_id)?).await? {
            let (list, quota_type) = match line.kind {
                QuotaKind::Purge(kind) => (&mut purges, quota_type_of(kind)),
                QuotaKind::PrefetchUrl => (&mut prefetches, QuotaType::PrefetchUrl),
            };
            list.push(Quota {
                batch: line.limits.batch.into(),
                daily: line.limits.daily.into(),
                daily_available: line.available.into(),
                quota_type,
            });
        }
        Ok(DescribeContentQuotaResponse { purge_quota: Some(purges), prefetch_quota: Some(prefetches) })
    }

    pub(super) async fn modify_content_quota(
        &self,
        request: ModifyContentQuotaRequest,
    ) -> Result<ModifyContentQuotaResponse, ApiError> {
        if request.batch.is_none() && request.daily.is_none() {
            return Err(ApiError::new(ErrorCode::MissingParameter, "give Batch, Daily or both"));
        }
        let zone = read_zone_id(&request.zone_id)?;
        let kind = QuotaKind::Purge(type_of_wire(request.purge_type));
        let lines = self.quota_lines(&zone).await?;
        let now =
            lines.iter().find(|line| line.kind == kind).map_or(kind.default_limits(), |line| line.limits);
        let limit = |asked: Option<i64>, now: u32| {
            asked.map_or(Ok(now), u32::try_from).map_err(|_| refusal::value("a quota is a number from 0 on"))
        };
        let limits =
            QuotaLimits { batch: limit(request.batch, now.batch)?, daily: limit(request.daily, now.daily)? };
        let store = &self.parts.store;
        store.set_quota_override(&zone, kind, Some(limits)).await.map_err(refusal::of_config)?;
        Ok(ModifyContentQuotaResponse {})
    }

    async fn quota_lines(&self, zone: &ZoneId) -> Result<Vec<QuotaLine>, ApiError> {
        let lines = self.parts.store.content_quota(zone, self.now_ms()).await.map_err(refusal::of_store)?;
        lines.ok_or_else(|| refusal::of_config(ConfigError::ZoneNotFound(zone.clone())))
    }
}
