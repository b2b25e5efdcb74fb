//! An event, and its form as an entry of a list.

use super::attribution::PackedAttribution;
use super::kind::EventKind;
use crate::registry::model::page::Entry;
use crate::registry::model::uuid::Uuid1;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Uuid1,
    pub(crate) kind: EventKind,
    pub(crate) attribution: PackedAttribution,
}

/// An event as an entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedEvent {
    pub(crate) event: Event,
    /// In milliseconds since 1970.
    pub(crate) timestamp: u64,
    /// Only with the members that clients of the original know.
    pub(crate) is_strict: bool,
}

impl Entry for ListedEvent {
    fn marker(&self) -> String {
        self.event.marker()
    }

    fn min_bytes(&self) -> usize {
        self.event.min_bytes()
    }
}
