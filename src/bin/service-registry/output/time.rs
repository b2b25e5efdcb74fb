//! Times: relative on a terminal, elsewhere by ISO 8601.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Returns the milliseconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Returns `2026-11-28T05:49:43.123Z`, always with three digits, so that texts are in the order of the times.
pub(super) fn iso(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    time.map_or_else(|| milliseconds.to_string(), |time| format!("{time:.3}"))
}

/// Returns `3 min ago`.
pub(super) fn relative(milliseconds: u64, now: u64) -> String {
    let seconds = now.abs_diff(milliseconds) / 1_000;
    let distance = match seconds {
        0 => return "now".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    // The clock of the registry may be ahead of that of this machine.
    if milliseconds > now { format!("in {distance}") } else { format!("{distance} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_told_in_its_largest_unit() {
        let ago = |seconds: u64| relative(1_000_000_000, 1_000_000_000 + seconds * 1_000);
        assert_eq!([0, 1, 59, 60, 3_599].map(ago), ["now", "1 s ago", "59 s ago", "1 min ago", "59 min ago"]);
        assert_eq!([3_600, 172_799, 172_800].map(ago), ["1 h ago", "47 h ago", "2 days ago"]);
        assert_eq!(relative(5_000, 0), "in 5 s");
    }

    #[test]
    fn time_of_a_machine_has_three_digits() {
        assert_eq!(iso(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(iso(u64::MAX), u64::MAX.to_string());
    }
}
