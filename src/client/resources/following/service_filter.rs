//! The services that a list is to have.

use std::borrow::Cow;

use crate::wire::Metadata;

/// The services that a list is to have: those that have all of this. The default has all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFilter {
    /// At most 10 tags, each of 1 to 65 of letters, digits, `_`, `-`, `.`.
    pub tags: Vec<String>,
    /// At most 20 pairs.
    pub metadata: Metadata,
    /// The beginning of the id.
    pub id_prefix: Option<String>,
}

impl ServiceFilter {
    /// Services with this tag.
    #[must_use]
    pub fn tag(tag: impl Into<String>) -> Self {
        Self { tags: vec![tag.into()], ..Self::default() }
    }

    /// Returns the parameters of a list.
    #[doc(hidden)] // for the programs of this package
    #[must_use]
    pub fn query(&self) -> Vec<(Cow<'static, str>, String)> {
        let tags = self.tags.iter().map(|tag| ("tag".into(), tag.clone()));
        let metadata = self.metadata.iter().map(|(key, value)| (format!("metadata.{key}").into(), value.clone()));
        let prefix = self.id_prefix.iter().map(|prefix| ("id_prefix".into(), prefix.clone()));
        tags.chain(metadata).chain(prefix).collect()
    }
}
