//! Pages of lists: how many entries, from which id on, and where the next page starts.

use super::refusal::Refusal;
use super::validation;

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// As long as the ids of values, which were shorter when the rule that callers are told was written.
const MAX_MARKER: usize = 500;
const MARKER_PATTERN: &str = r"/^[a-z0-9\-:_\.\/]{0,255}$/i";

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The most entries it may have.
    pub(crate) limit: usize,
    /// The id it starts with, or the next one that there is.
    pub(crate) marker: Option<String>,
}

impl Page {
    /// From the values of `limit` and `marker` as they were given, however often.
    pub(crate) fn read(limits: &[&str], markers: &[&str]) -> Result<Self, Refusal> {
        Ok(Self { limit: Self::limit(limits)?, marker: Self::marker(markers)? })
    }

    /// `limit` alone, for the list whose markers have rules of their own.
    pub(crate) fn limit(values: &[&str]) -> Result<usize, Refusal> {
        let text = match values {
            [] => return Ok(DEFAULT_LIMIT),
            [text] if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.trim_start_matches('0')
            }
            _ => return Err(Refusal::PageLimit("Limit must be a number".into())),
        };
        let number = if text.is_empty() { "0" } else { text };
        number.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
            Refusal::PageLimit(format!("Invalid limit {number}. Minimum limit is 1 and maximum limit is {MAX_LIMIT}."))
        })
    }

    fn marker(values: &[&str]) -> Result<Option<String>, Refusal> {
        let marker = values.join(","); // what JavaScript makes of a repeated one; the comma is not allowed
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:_./".contains(&byte);
        validation::parameter("marker", &marker, |marker| {
            let valid = marker.len() <= MAX_MARKER && marker.bytes().all(allowed);
            let rule = || format!("Marker contains invalid characters. Valid characters are: {MARKER_PATTERN}");
            if valid { Ok(()) } else { Err(rule()) }
        })?;
        Ok(Some(marker).filter(|marker| !marker.is_empty()))
    }

    /// The marker as a lower bound; the empty string is one for everything.
    pub(crate) fn from(&self) -> &str {
        self.marker.as_deref().unwrap_or_default()
    }
}

/// A page: its entries, and the id that the next one starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing<T> {
    pub(crate) values: Vec<T>,
    pub(crate) next: Option<String>,
}

impl<T> Listing<T> {
    /// The first entries of what is left from the marker on.
    pub(crate) fn take<E>(
        mut entries: impl Iterator<Item = E>,
        limit: usize,
        show: impl Fn(E) -> T,
        id: impl Fn(&E) -> String,
    ) -> Self {
        let values = entries.by_ref().take(limit).map(show).collect();
        Self { values, next: entries.next().as_ref().map(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_digits_from_1_to_1000() {
        assert_eq!(Page::limit(&[]), Ok(100));
        assert_eq!((Page::limit(&["1"]), Page::limit(&["1000"]), Page::limit(&["007"])), (Ok(1), Ok(1000), Ok(7)));
        for values in [&[""][..], &["ten"], &["-5"], &["+5"], &["1.0"], &[" 1"], &["1", "2"], &["1", "1"], &["٣"]] {
            assert_eq!(Page::limit(values), Err(Refusal::PageLimit("Limit must be a number".into())), "{values:?}");
        }
        for (text, shown) in
            [("0", "0"), ("000", "0"), ("1001", "1001"), ("99999999999999999999999", "99999999999999999999999")]
        {
            let rule = format!("Invalid limit {shown}. Minimum limit is 1 and maximum limit is 1000.");
            assert_eq!(Page::limit(&[text]), Err(Refusal::PageLimit(rule)), "{text}");
        }
    }

    #[test]
    fn markers_are_of_few_characters_and_empty_means_none() {
        assert_eq!(Page::marker(&[]), Ok(None));
        assert_eq!(Page::marker(&[""]), Ok(None));
        assert_eq!(Page::marker(&["/a-b:c_d.E9"]), Ok(Some("/a-b:c_d.E9".into())));
        assert_eq!(Page::marker(&[&"m".repeat(500)]), Ok(Some("m".repeat(500))));
        for values in [&["a b"][..], &["a", "b"], &["ä"], &["a%"], &[&"m".repeat(501)]] {
            assert!(matches!(Page::marker(values), Err(Refusal::Parameter { name: "marker", .. })), "{values:?}");
        }
    }

    #[test]
    fn a_page_ends_where_the_next_one_starts() {
        let page = |limit| Listing::take(1..=5, limit, |n| n * 10, |n| format!("id{n}"));
        assert_eq!(page(2), Listing { values: vec![10, 20], next: Some("id3".into()) });
        assert_eq!(page(5), Listing { values: vec![10, 20, 30, 40, 50], next: None });
    }
}
