//! Times on the command line.

use std::time::Duration;

/// Parses `90s`, `15m`, `12h`, `30d`. A bare number is refused, since its unit would be a guess.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let rule = "give a number with s, m, h or d behind it, as in 12h or 30d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(rule)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule.into()),
    };
    let number: u32 = number.parse().map_err(|_| rule)?;
    if number == 0 { Err("it must not be 0".into()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
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
