//! Events: `entry` is an event and its place in a list, `kind` says what happened, and `attribution` who did it and
//! why.

mod attribution;
mod entry;
mod kind;

pub(crate) use attribution::{Attribution, Cause, PackedAttribution};
pub(in crate::registry) use entry::{Event, ListedEvent};
pub(in crate::registry) use kind::{EventKind, EventType, ServiceUpdated, ValueRemove, ValueUpdate};
