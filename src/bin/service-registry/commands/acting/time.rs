//! Times on the command line (`30`, `30s`, `500ms`, `5m`, `2h`), and waiting for a time that may not come.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::duration;

/// A time that may have no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// At most this long.
    Within(Duration),
    /// Without an end.
    Forever,
}

/// Parses a time: seconds, or a number with a unit.
pub(super) fn time(text: &str) -> Result<Duration, &'static str> {
    let units = [("ms", 1), ("", 1_000), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    duration::parse(text, &units).ok_or("give seconds, or a number with ms, s, m or h behind it, as in 500ms or 5m")
}

/// Parses a time, or `forever`.
pub(super) fn limit(text: &str) -> Result<Limit, String> {
    if text == "forever" {
        return Ok(Limit::Forever);
    }
    time(text).map(Limit::Within).map_err(|rule| format!("{rule}, or forever"))
}

/// Waits until then; for ever without a time.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_number_is_seconds() {
        let milliseconds = |text| time(text).ok().map(|time| time.as_millis());
        assert_eq!(
            ["0", "30", "30s", "500ms", "5m", "2h"].map(milliseconds).map(Option::unwrap),
            [0, 30_000, 30_000, 500, 300_000, 7_200_000]
        );
        assert_eq!(["", "s", "-1", "1.5", "1d", "5 s", "ms", "3ö", "4294967296"].map(milliseconds), [None; 9]);
        assert_eq!(limit("forever"), Ok(Limit::Forever));
        assert_eq!(limit("1m"), Ok(Limit::Within(Duration::from_secs(60))));
        assert!(limit("never").unwrap_err().ends_with("or forever"));
    }
}
