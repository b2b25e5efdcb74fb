//! Parses times of servers into the time that is left until then.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// Returns the time until `2030-01-01T00:00:00.000-00:00`, say; none for the past and for other texts.
pub(super) fn until_timestamp(text: &str) -> Option<Duration> {
    until(OffsetDateTime::parse(text, &Rfc3339).ok()?)
}

/// Returns the time until `Sun, 06 Nov 1994 08:49:37 GMT`, say; zero for the past, none for other texts.
pub(super) fn until_http_date(text: &str) -> Option<Duration> {
    Some(until(OffsetDateTime::parse(text, &Rfc2822).ok()?).unwrap_or_default())
}

fn until(then: OffsetDateTime) -> Option<Duration> {
    Duration::try_from(then - OffsetDateTime::now_utc()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn times_of_login_responses_are_parsed() {
        let zulu = until_timestamp("2100-01-01T00:00:00Z").unwrap().as_secs();
        for (text, hours_later) in [
            ("2100-01-01T00:00:00.000-00:00", 0),
            ("2100-01-01T00:00:00.000+00:00", 0),
            ("2100-01-01T00:00:00.123456-05:00", 5),
            ("2100-01-01T02:00:00+02:00", 0),
        ] {
            let read = until_timestamp(text).unwrap().as_secs();
            assert!(read.abs_diff(zulu + hours_later * 3600) <= 1, "{text}: {read} and {zulu}");
        }
        assert!(zulu > 70 * 365 * DAY / 2, "{zulu}");
    }

    #[test]
    fn past_or_invalid_time_is_none() {
        for text in ["1994-11-06T08:49:37Z", "", "tomorrow", "2100-13-01T00:00:00Z", "99999-01-01T00:00:00Z"] {
            assert_eq!(until_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates_are_parsed() {
        assert!(until_http_date("Fri, 01 Jan 2100 00:00:00 GMT").unwrap().as_secs() > 365 * DAY);
        assert_eq!(until_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(until_http_date("soon"), None);
    }
}
