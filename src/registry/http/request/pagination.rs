//! The parameters `limit` and `marker` of lists.

use super::validation;
use crate::registry::model::Page;
use crate::registry::state::DomainError;
use crate::wire::limits::{DEFAULT_PAGE, PAGE};

/// As long as the ids of values, which were shorter when the rule that callers are told was written.
const MAX_MARKER: usize = 500;
const MARKER_PATTERN: &str = r"/^[a-z0-9\-:_\.\/]{0,255}$/i";

/// Reads a page, from all values of both parameters.
pub(crate) fn page(limits: &[&str], markers: &[&str]) -> Result<Page, DomainError> {
    Ok(Page { limit: limit(limits)?, marker: marker(markers)? })
}

/// Reads `limit` alone, for the feed, whose markers have rules of their own.
pub(crate) fn limit(values: &[&str]) -> Result<usize, DomainError> {
    let text = match values {
        [] => return Ok(DEFAULT_PAGE),
        [text] if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => text.trim_start_matches('0'),
        _ => return Err(DomainError::PageLimit("Limit must be a number".into())),
    };
    let number = if text.is_empty() { "0" } else { text };
    number.parse().ok().filter(|limit| PAGE.contains(limit)).ok_or_else(|| {
        DomainError::PageLimit(format!(
            "Invalid limit {number}. Minimum limit is {} and maximum limit is {}.",
            PAGE.start(),
            PAGE.end()
        ))
    })
}

fn marker(values: &[&str]) -> Result<Option<String>, DomainError> {
    let marker = values.join(","); // JavaScript joins a repeated parameter; a comma is not allowed
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:_./".contains(&byte);
    validation::parameter("marker", &marker, |marker| {
        let valid = marker.len() <= MAX_MARKER && marker.bytes().all(allowed);
        let rule = || format!("Marker contains invalid characters. Valid characters are: {MARKER_PATTERN}");
        if valid { Ok(()) } else { Err(rule()) }
    })?;
    Ok(Some(marker).filter(|marker| !marker.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_digits_from_1_to_1000() {
        assert_eq!(limit(&[]), Ok(100));
        assert_eq!((limit(&["1"]), limit(&["1000"]), limit(&["007"])), (Ok(1), Ok(1000), Ok(7)));
        for values in [&[""][..], &["ten"], &["-5"], &["+5"], &["1.0"], &[" 1"], &["1", "2"], &["1", "1"], &["٣"]] {
            assert_eq!(limit(values), Err(DomainError::PageLimit("Limit must be a number".into())), "{values:?}");
        }
        for (text, shown) in
            [("0", "0"), ("000", "0"), ("1001", "1001"), ("99999999999999999999999", "99999999999999999999999")]
        {
            let rule = format!("Invalid limit {shown}. Minimum limit is 1 and maximum limit is 1000.");
            assert_eq!(limit(&[text]), Err(DomainError::PageLimit(rule)), "{text}");
        }
    }

    #[test]
    fn marker_has_few_characters_and_empty_means_none() {
        assert_eq!(marker(&[]), Ok(None));
        assert_eq!(marker(&[""]), Ok(None));
        assert_eq!(marker(&["/a-b:c_d.E9"]), Ok(Some("/a-b:c_d.E9".into())));
        assert_eq!(marker(&[&"m".repeat(500)]), Ok(Some("m".repeat(500))));
        for values in [&["a b"][..], &["a", "b"], &["ä"], &["a%"], &[&"m".repeat(501)]] {
            assert!(matches!(marker(values), Err(DomainError::Parameter { name: "marker", .. })), "{values:?}");
        }
    }
}
