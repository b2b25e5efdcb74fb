//! The calls of the API, one file for each resource, and what lists share.
//!
//! In reading order: `sessions`, `services`, `configuration`, `events`, `account` and `views` are the resources;
//! `pagination` reads all pages of a list, `follow` polls the feed, `following` has streams of events and lists, `cache`
//! keeps the last list of services, `reason` says why something is removed; `raw` returns JSON as it came.

mod account;
mod cache;
mod configuration;
mod events;
mod follow;
mod following;
mod list_options;
mod pagination;
mod raw;
mod reason;
mod services;
mod sessions;
mod views;

pub use account::Account;
pub(crate) use cache::ResponseCache;
pub use cache::{ServiceList, Stale};
pub use configuration::Configuration;
pub use events::{EventOptions, Events};
pub use follow::{DEFAULT_POLL_INTERVAL, EventsPoller};
pub use following::{CopiedServices, EventFollower, Followed, ServiceFilter, ServiceWatcher, ServicesCopy, Watched};
pub use list_options::ListOptions;
pub use services::{ServicePayload, ServiceUpdate, Services};
pub use sessions::{NewSession, SessionUpdate, Sessions};
pub use views::Views;
