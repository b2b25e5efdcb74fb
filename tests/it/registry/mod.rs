//! The registry: the API, access, expiry, durability, and what it does under floods and pauses.

mod access;
mod api_documents;
mod backup;
mod cases;
mod clock;
mod discovery;
mod disk;
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
mod pauses;
mod power;
mod reads;
mod roles;
mod serve;
