//! Requests that wait for changes, and responses that go on.
//!
//! In reading order: `interrupts` is what ends a wait early, and `places` bounds how many there are; `pause` is one wait
//! of a request, and `long_poll` and `entity_tag` are what it is for: the feed and the lists. `event_stream` is the feed
//! as a response that goes on. `parameters` reads what a request says about it.

mod entity_tag;
mod event_stream;
mod interrupts;
mod long_poll;
mod parameters;
mod pause;
mod places;

pub(super) use entity_tag::{EntityTag, KnownTags, Tagged};
pub(crate) use interrupts::Interrupts;
#[cfg(feature = "etcd")]
pub(crate) use parameters::client_wait;
pub(crate) use parameters::is_followed;
pub(super) use parameters::{last_event_id, wait, wants_event_stream};
pub(crate) use places::{Place, Places};
