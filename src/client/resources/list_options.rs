//! The part of a list that a caller asks for.

/// The part of a list to get. The default is the first page of the registry's size (100 entries).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOptions {
    /// At most this many entries, 1 to 1000.
    pub limit: Option<u32>,
    /// The first id: `next_marker` of the page before.
    pub marker: Option<String>,
}

impl ListOptions {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        let marker = self.marker.clone().map(|marker| ("marker", marker));
        limit.into_iter().chain(marker).collect()
    }
}
