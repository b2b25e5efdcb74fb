//! Follows the feed.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use service_registry::client::Followed;

use super::filter::Filter;
use crate::connection::Connection;
use crate::exit::Failure;

/// The pause before the next registry is asked.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands over each event after the one with this id (without one, from now on) until one is not taken. While no registry
/// answers, says so once and goes on. A refusal ends it.
pub(super) async fn follow(
    connection: &Connection,
    filter: &Filter,
    mut after: Option<String>,
    take: impl Fn(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut is_away = false;
    loop {
        let mut events = filter.follow(connection.client(), after.as_deref());
        while let Some(next) = events.next().await {
            match next.map_err(|error| connection.failure(&error))? {
                Followed::Event(event) => {
                    if std::mem::take(&mut is_away) {
                        tracing::warn!("the registry answers again");
                    }
                    after = Some(event.id.clone());
                    let event = serde_json::to_value(event).map_err(anyhow::Error::from)?;
                    if filter.wants(&event) {
                        take(event)?;
                    }
                }
                Followed::Interrupted(error) => {
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!("{:#}; waiting for it", connection.failure(&error).error);
                    }
                    if connection.fail_over(&error) {
                        tracing::warn!("following the next registry: events may be missing, unless both have the same");
                        break;
                    }
                }
                Followed::StartedAgain => {
                    tracing::warn!("events may be missing here: the registry no longer has them, or was set up anew");
                }
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
