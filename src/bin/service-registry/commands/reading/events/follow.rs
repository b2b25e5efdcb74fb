//! Follows the feed.

use std::time::Duration;

use serde_json::Value;

use super::filter::Filter;
use crate::connection::Connection;
use crate::exit::Failure;

/// The pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Hands over each event after the one with this id, and waits for the next one, until one is not taken. While the
/// registry does not answer, says so once and goes on. A refusal ends it.
pub(super) async fn follow(
    connection: &Connection,
    filter: &Filter,
    after: Option<String>,
    take: impl Fn(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut after, mut is_silent) = (after, false);
    loop {
        let mut poller = connection.client().events().poller().every(EVERY);
        if let Some(kind) = filter.only_type() {
            poller = poller.of_type(kind);
        }
        if let Some(id) = &after {
            poller = poller.after(id);
        }
        let error = loop {
            match poller.next().await {
                Ok(event) => {
                    if is_silent {
                        is_silent = false;
                        tracing::warn!("the registry answers again");
                    }
                    after = Some(event.id.clone());
                    let event = serde_json::to_value(event).map_err(anyhow::Error::from)?;
                    if filter.wants(&event) {
                        take(event)?;
                    }
                }
                Err(error) => break error,
            }
        };
        let failure = connection.failure(&error);
        if !error.is_retryable() {
            return Err(failure);
        }
        if !std::mem::replace(&mut is_silent, true) {
            tracing::warn!("{:#}; waiting for it", failure.error);
        }
        connection.fail_over(&error);
        tokio::time::sleep(EVERY).await;
    }
}
