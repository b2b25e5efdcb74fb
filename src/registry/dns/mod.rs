//! DNS answers from the registry: the addresses, ports and metadata of services, for programs that cannot be changed.
//!
//! In reading order: `server` has the sockets, the options, and the thread that answers; `udp` and `tcp` are the ways
//! in, with `source_limit` for what a source may ask; `message` reads and writes messages; `resolver` is the way of a
//! query; `name` says what a name asks for; `account_reader` reads the services of an account, and `snapshots` keeps
//! what it has read until it changes; `endpoint` finds addresses in metadata; `snapshot` prepares services for answers,
//! and `records` makes the records.
//!
//! It has a thread of its own: a flood of queries takes one processor at most, and delays no task of the server.

mod account_reader;
mod endpoint;
mod message;
mod name;
mod records;
mod resolver;
mod server;
mod snapshot;
mod snapshots;
mod source_limit;
mod tcp;
mod udp;

pub use server::Dns;
pub(super) use server::{DnsThread, start};
