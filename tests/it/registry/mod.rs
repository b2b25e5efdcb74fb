//! The registry: the API, access, expiry, durability, and what it does under floods and pauses.

mod access;
mod api_documents;
mod backup;
mod cases;
mod clock;
mod discovery;
mod disk;
#[cfg(feature = "dns")]
mod dns_answers;
#[cfg(feature = "dns")]
mod dns_load;
#[cfg(feature = "dns")]
mod dns_resolvers;
mod durable;
mod expiry;
mod feed;
mod files;
mod filters;
mod follow_feed;
mod follow_lists;
mod followers;
mod http;
mod lists;
mod log;
mod logins;
mod metrics;
mod page;
mod pauses;
mod power;
mod reads;
mod roles;
mod serve;
