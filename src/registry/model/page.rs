//! Pages of lists: how many entries, from which id on, and where the next page starts.

use serde::Serialize;

use crate::registry::http::request::validation;
use crate::registry::state::DomainError;

/// The most bytes that a page has as JSON, unless one entry alone, which cannot be cut, has more. A page that has as
/// many entries as callers get unless they ask for more stays below, whatever is in them.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;

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
    pub(crate) fn read(limits: &[&str], markers: &[&str]) -> Result<Self, DomainError> {
        Ok(Self { limit: Self::limit(limits)?, marker: Self::marker(markers)? })
    }

    /// `limit` alone, for the list whose markers have rules of their own.
    pub(crate) fn limit(values: &[&str]) -> Result<usize, DomainError> {
        let text = match values {
            [] => return Ok(DEFAULT_LIMIT),
            [text] if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.trim_start_matches('0')
            }
            _ => return Err(DomainError::PageLimit("Limit must be a number".into())),
        };
        let number = if text.is_empty() { "0" } else { text };
        number.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
            DomainError::PageLimit(format!(
                "Invalid limit {number}. Minimum limit is 1 and maximum limit is {MAX_LIMIT}."
            ))
        })
    }

    fn marker(values: &[&str]) -> Result<Option<String>, DomainError> {
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

/// An entry of a list, as it is copied under the lock: what is shared is not copied, and it is written as JSON later.
pub(crate) trait Entry: Serialize {
    /// Where a page begins that begins with this entry.
    fn marker(&self) -> String;

    /// How many bytes of JSON it has at least. What a page has room for must not be cut, so it is never an overestimate.
    fn min_bytes(&self) -> usize;

    /// Where it continues, if this is a part of an entry that is longer than a page.
    fn continuation(&self) -> Option<String> {
        None
    }

    /// Leaves the first half of it, if it can be cut; says whether it could.
    fn halve(&mut self) -> bool {
        false
    }
}

/// A page: its entries, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing<T> {
    pub(crate) values: Vec<T>,
    pub(crate) next: Option<String>,
    min_bytes: usize,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { values: Vec::new(), next: None, min_bytes: 0 }
    }
}

impl<T: Entry> Listing<T> {
    /// Adds an entry, as long as there is room. If there is none, the next page begins with it. Returns whether there
    /// may be room for more.
    pub(crate) fn add(&mut self, entry: T, limit: usize) -> bool {
        if self.next.is_some() {
            return false;
        }
        if self.values.len() >= limit || self.min_bytes >= MAX_PAGE_BYTES {
            self.next = Some(entry.marker());
            return false;
        }
        self.min_bytes += entry.min_bytes();
        self.next = entry.continuation();
        self.values.push(entry);
        self.next.is_none()
    }

    /// The first entries of what is left from the marker on.
    pub(crate) fn take(mut entries: impl Iterator<Item = T>, limit: usize) -> Self {
        let mut listing = Self::default();
        while entries.next().is_some_and(|entry| listing.add(entry, limit)) {}
        listing
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
            assert_eq!(Page::limit(values), Err(DomainError::PageLimit("Limit must be a number".into())), "{values:?}");
        }
        for (text, shown) in
            [("0", "0"), ("000", "0"), ("1001", "1001"), ("99999999999999999999999", "99999999999999999999999")]
        {
            let rule = format!("Invalid limit {shown}. Minimum limit is 1 and maximum limit is 1000.");
            assert_eq!(Page::limit(&[text]), Err(DomainError::PageLimit(rule)), "{text}");
        }
    }

    #[test]
    fn markers_are_of_few_characters_and_empty_means_none() {
        assert_eq!(Page::marker(&[]), Ok(None));
        assert_eq!(Page::marker(&[""]), Ok(None));
        assert_eq!(Page::marker(&["/a-b:c_d.E9"]), Ok(Some("/a-b:c_d.E9".into())));
        assert_eq!(Page::marker(&[&"m".repeat(500)]), Ok(Some("m".repeat(500))));
        for values in [&["a b"][..], &["a", "b"], &["ä"], &["a%"], &[&"m".repeat(501)]] {
            assert!(matches!(Page::marker(values), Err(DomainError::Parameter { name: "marker", .. })), "{values:?}");
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize)]
    struct Text(String);

    impl Entry for Text {
        fn marker(&self) -> String {
            self.0.clone()
        }

        fn min_bytes(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn a_page_ends_where_the_next_one_starts() {
        let page = |limit| Listing::take((1..=5).map(|n| Text(format!("id{n}"))), limit);
        let ids = |listing: &Listing<Text>| listing.values.iter().map(|text| text.0.clone()).collect::<Vec<_>>();
        assert_eq!((ids(&page(2)), page(2).next), (vec!["id1".into(), "id2".into()], Some("id3".into())));
        assert_eq!((ids(&page(5)).len(), page(5).next), (5, None));
    }

    #[test]
    fn page_ends_where_bytes_exceed_the_bound() {
        let long = |n: usize| Text(n.to_string().repeat(MAX_PAGE_BYTES / 2));
        let page = Listing::take((1..=5).map(long), 1000);
        assert_eq!((page.values.len(), page.next), (2, Some(long(3).0)));
        let page = Listing::take([Text("x".repeat(3 * MAX_PAGE_BYTES)), long(2)].into_iter(), 1000);
        assert_eq!((page.values.len(), page.next), (1, Some(long(2).0)), "one alone always fits");
    }
}
