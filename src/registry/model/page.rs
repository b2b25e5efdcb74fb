//! Pages of lists: how many entries, from which id on, and where the next page starts.

/// The most bytes that a page has as JSON, unless one entry alone, which cannot be cut, has more. A page that has as
/// many entries as callers get unless they ask for more stays below, whatever is in them.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The most entries it may have.
    pub(crate) limit: usize,
    /// The id it starts with, or the next one that there is.
    pub(crate) marker: Option<String>,
}

impl Page {
    /// The marker as a lower bound; the empty string is one for everything.
    pub(crate) fn from(&self) -> &str {
        self.marker.as_deref().unwrap_or_default()
    }
}

/// An entry of a list, as it is copied under the lock: what is shared is not copied, and it is written as JSON later.
pub(crate) trait Entry {
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

    /// Changes each entry.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Listing<U> {
        Listing { values: self.values.into_iter().map(change).collect(), next: self.next, min_bytes: self.min_bytes }
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

    #[derive(Clone, Debug, PartialEq)]
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
