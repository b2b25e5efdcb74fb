//! The registry: the API, access, expiry, durability, and what it does under floods and pauses.

mod access;
mod api_documents;
mod backup;
mod cases;
mod disk;
mod durable;
mod expiry;
pub(crate) mod files;
mod http;
mod lists;
mod log;
mod logins;
mod pauses;
pub(crate) mod power;
mod reads;
mod serve;

pub(crate) use access::Authority;
