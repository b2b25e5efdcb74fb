//! Where to begin in the feed. A marker is a version-1 UUID, which stands for a time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use service_registry::client::{Error, EventOptions};

use crate::connection::Connection;
use crate::exit::Failure;

/// What the registry returns without a marker.
const USUAL: Duration = Duration::from_secs(60 * 60);

/// How exactly the beginning of a younger account is found.
const PRECISION: Duration = Duration::from_secs(1);

/// Between 1582-10-15, from which version-1 UUIDs count, and 1970, in 100 ns.
const GREGORIAN: u64 = 0x01b2_1dd2_1381_4000;

/// A registry refuses markers from before the account with a message that ends like this.
const BEFORE_ACCOUNT: &str = "greater than or equal to the account creation date";

/// Returns the marker to begin with; none for the last hour. An account that is younger than `since` begins with its
/// first event: the time is found by halves.
pub(super) async fn marker(connection: &Connection, since: Option<Duration>) -> Result<Option<String>, Failure> {
    let Some(since) = since.filter(|since| *since > USUAL) else { return Ok(None) };
    let now = SystemTime::now();
    let (mut late, mut early) = (USUAL, since);
    let mut found = None;
    let mut tried = since;
    loop {
        let marker = uuid(now - tried);
        let options = EventOptions { limit: Some(1), marker: Some(marker.clone()), ..EventOptions::default() };
        let is_there = connection.ask(async |client| match client.events().list(&options).await {
            Ok(_) => Ok(true),
            Err(error) if is_before_account(&error) => Ok(false),
            Err(error) => Err(error),
        });
        if is_there.await? {
            (late, found) = (tried, Some(marker));
        } else {
            early = tried;
        }
        if early.saturating_sub(late) <= PRECISION {
            return Ok(found);
        }
        tried = late + (early - late) / 2;
    }
}

fn is_before_account(error: &Error) -> bool {
    error.fault().is_some_and(|fault| fault.message.ends_with(BEFORE_ACCOUNT))
}

/// Returns whether an event is not older than this.
pub(super) fn is_in(event: &Value, since: Option<Duration>) -> bool {
    let Some(since) = since else { return true };
    let oldest = (SystemTime::now() - since).duration_since(UNIX_EPOCH).unwrap_or_default();
    event["timestamp"].as_u64().is_none_or(|time| u128::from(time) >= oldest.as_millis())
}

/// Returns the first version-1 UUID of a time.
fn uuid(time: SystemTime) -> String {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = GREGORIAN + u64::try_from(since_1970.as_nanos() / 100).unwrap_or_default();
    let (low, middle, high) = (ticks & 0xffff_ffff, ticks >> 32 & 0xffff, ticks >> 48 & 0xfff);
    format!("{low:08x}-{middle:04x}-1{high:03x}-8000-000000000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_stands_for_its_time() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_000);
        let uuid = uuid::Uuid::parse_str(&super::uuid(time)).unwrap();
        assert_eq!(uuid.get_version_num(), 1);
        assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_700_000_000, 0));
    }
}
