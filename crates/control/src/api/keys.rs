//! The operations on API keys.

use super::{Api, refusal, time_text};
use store::KeyInfo;
use teo::everfresh::{
    CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest, DeleteKeyResponse, DescribeKeysRequest,
    DescribeKeysResponse, Key, KeyStatus, ModifyKeyStatusRequest, ModifyKeyStatusResponse,
};
use teo::{ApiError, SecretText};
use tracing::info;

impl Api {
    pub(super) async fn create_key(&self, request: CreateKeyRequest) -> Result<CreateKeyResponse, ApiError> {
        let comment = request.comment.unwrap_or_default();
        let key = self.parts.store.create_key(&comment, self.now_ms()).await.map_err(refusal::of_key)?;
        info!(secret_id = key.info.secret_id, "key created");
        let secret_key = SecretText(key.secret_key.reveal().to_owned());
        Ok(CreateKeyResponse { secret_id: key.info.secret_id, secret_key })
    }

    pub(super) async fn describe_keys(
        &self,
        _: DescribeKeysRequest,
    ) -> Result<DescribeKeysResponse, ApiError> {
        let keys = self.parts.store.keys().await.map_err(refusal::of_store)?;
        Ok(DescribeKeysResponse { keys: keys.into_iter().map(key_to_wire).collect() })
    }

    pub(super) async fn modify_key_status(
        &self,
        request: ModifyKeyStatusRequest,
    ) -> Result<ModifyKeyStatusResponse, ApiError> {
        let enabled = match request.status {
            KeyStatus::Enabled => true,
            KeyStatus::Disabled => false,
        };
        let store = &self.parts.store;
        store.set_key_enabled(&request.secret_id, enabled).await.map_err(refusal::of_key)?;
        info!(secret_id = request.secret_id, enabled, "key switched");
        Ok(ModifyKeyStatusResponse {})
    }

    pub(super) async fn delete_key(&self, request: DeleteKeyRequest) -> Result<DeleteKeyResponse, ApiError> {
        self.parts.store.delete_key(&request.secret_id).await.map_err(refusal::of_key)?;
        info!(secret_id = request.secret_id, "key deleted");
        Ok(DeleteKeyResponse {})
    }
}

fn key_to_wire(key: KeyInfo) -> Key {
    Key {
        secret_id: key.secret_id,
        comment: key.comment,
        status: if key.enabled { KeyStatus::Enabled } else { KeyStatus::Disabled },
        create_time: time_text::write(key.created_ms),
    }
}
