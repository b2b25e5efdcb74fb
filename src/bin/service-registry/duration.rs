//! Times on the command line: a number with a unit behind it.

use std::time::Duration;

/// A unit, in milliseconds.
pub(super) type Unit = (&'static str, u64);

/// Parses a number with one of these units behind it.
pub(super) fn parse(text: &str, units: &[Unit]) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, milliseconds) = units.iter().find(|(name, _)| *name == unit)?;
    let number: u32 = number.parse().ok()?;
    Some(Duration::from_millis(u64::from(number) * milliseconds))
}

/// Parses `90s`, `15m`, `12h`, `30d`. A bare number is refused, since its unit would be a guess.
pub(super) fn duration(text: &str) -> Result<Duration, &'static str> {
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let duration = parse(text, &units).ok_or("give a number with s, m, h or d behind it, as in 12h or 30d")?;
    if duration.is_zero() { Err("it must not be 0") } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_without_a_unit_is_refused() {
        let seconds = |text| duration(text).ok().map(|duration| duration.as_secs());
        assert_eq!(["1s", "15m", "12h", "30d"].map(seconds), [Some(1), Some(900), Some(43_200), Some(2_592_000)]);
        assert_eq!(["", "30", "d", "0d", "-1d", "1.5h", "1w", "30 d", "3ö"].map(seconds), [None; 9]);
    }
}
