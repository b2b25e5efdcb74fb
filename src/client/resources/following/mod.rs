//! Streams of what changes, which go on through outages and restarts of the registry.
//!
//! In reading order: `attempts` says when to ask again; `event_follower` is the feed; `service_filter` and
//! `service_watcher` are lists of services, and `services_copy` keeps the newest one.

mod attempts;
mod event_follower;
mod service_filter;
mod service_watcher;
mod services_copy;

pub use event_follower::{EventFollower, Followed};
pub use service_filter::ServiceFilter;
pub use service_watcher::{ServiceWatcher, Watched};
pub use services_copy::{CopiedServices, ServicesCopy};
