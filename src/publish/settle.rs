//! Records the broker's answers in the outbox.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::context::Progress;
use super::json_output::JSON;
use crate::store::{RowId, StoreError, StoreHandle};

/// How long a connection that begins or ends waits for the store.
pub(super) const STORE_LIMIT: Duration = Duration::from_secs(5);

/// The same once the agent stops: a store that does not answer must not delay the end for long.
pub(super) const STORE_LIMIT_AT_END: Duration = Duration::from_secs(2);

/// Deletes acknowledged rows from the outbox, and marks refused ones there. Returns acknowledged rows that could not be
/// deleted, so that the caller retries. A row whose refusal could not be recorded is sent again.
pub(super) async fn settle(
    store: StoreHandle,
    acknowledged: Vec<RowId>,
    refused: Vec<(RowId, String)>,
) -> Result<Vec<RowId>, StoreError> {
    for (row, why) in refused {
        match store.refused(JSON, row, Timestamp::now(), why).await {
            Err(StoreError::Ended) => return Err(StoreError::Ended),
            Err(error) => {
                tracing::warn!(%error, "a refusal could not be recorded in the outbox; the verdict is sent again");
            }
            Ok(()) => {}
        }
    }
    if acknowledged.is_empty() {
        return Ok(acknowledged);
    }
    match store.acknowledged(JSON, acknowledged.clone()).await {
        Ok(()) => Ok(Vec::new()),
        Err(StoreError::Ended) => Err(StoreError::Ended),
        Err(error) => {
            tracing::warn!(%error, "acknowledged verdicts could not be deleted from the outbox; trying again");
            Ok(acknowledged)
        }
    }
}

/// The same after a connection has ended. What the store does not take within `limit` is kept for later; at worst a verdict is
/// sent twice.
pub(super) async fn settle_within(
    limit: Duration,
    store: &StoreHandle,
    progress: &mut Progress,
) -> Result<(), StoreError> {
    let rows = std::mem::take(&mut progress.acknowledged);
    let refused = std::mem::take(&mut progress.refused);
    match timeout(limit, settle(store.clone(), rows.clone(), refused.clone())).await {
        Ok(left) => progress.acknowledged = left?,
        Err(_) => (progress.acknowledged, progress.refused) = (rows, refused),
    }
    Ok(())
}
