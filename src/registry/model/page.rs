//! Pages of lists: the number of entries, the first id, and where the next page starts.

/// The most bytes of a page as JSON, except for a single entry that is larger and cannot be divided. A page with the
/// default number of entries is always smaller.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;

/// The page that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The most entries.
    pub(crate) limit: usize,
    /// The id of the first entry, or a lower bound of it.
    pub(crate) marker: Option<String>,
}

impl Page {
    /// Returns the marker as a lower bound; the empty string is below everything.
    pub(crate) fn from(&self) -> &str {
        self.marker.as_deref().unwrap_or_default()
    }
}

/// An entry of a list, as it is copied under the lock: shared parts are not copied, and the JSON is written later.
pub(crate) trait Entry {
    /// Returns the marker of a page that begins with this entry.
    fn marker(&self) -> String;

    /// Returns a lower bound of its size as JSON. It is never an overestimate, since a page must not be cut while it
    /// has room.
    fn min_bytes(&self) -> usize;

    /// Returns the marker of the next part, if this is a part of an entry that is larger than a page.
    fn continuation(&self) -> Option<String> {
        None
    }

    /// Keeps the first half, if it can be divided; returns whether it could.
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
    /// Adds an entry while there is room. Otherwise the next page begins with it. Returns whether there
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

    /// Replaces each entry.
    pub(crate) fn map<U>(self, change: impl FnMut(T) -> U) -> Listing<U> {
        Listing { values: self.values.into_iter().map(change).collect(), next: self.next, min_bytes: self.min_bytes }
    }

    /// Adds the entries of the next part of the same list; where they end, this one does.
    pub(crate) fn extend(&mut self, part: Self, limit: usize) {
        for entry in part.values {
            if !self.add(entry, limit) {
                return;
            }
        }
        self.next = part.next;
    }

    /// Takes entries from an iterator that begins at the marker.
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
    fn page_ends_where_the_next_one_starts() {
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
