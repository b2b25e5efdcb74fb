//! How a command line describes a service: its id, its interval, and the lists of its tags and metadata, in which
//! placeholders such as `{hostname}` and `{ip:eth0}` are replaced. The wrapper and `service-registry register` use it.
//!
//! `service` has the whole description, `lists` splits and checks tags and pairs, `template` finds placeholders in a
//! text, `value` has their names, `address` finds the addresses of this machine, and `address_watch` waits until these
//! change. Nothing is looked up for a text without placeholders.

mod address;
mod address_watch;
mod lists;
mod service;
mod template;
mod value;

pub use address_watch::watch_addresses;
pub use lists::{metadata, quoted, split};
pub use service::{ServiceTexts, check_id, check_size, interval, session_metadata, size_on_the_wire};
pub use template::{Value, expand};
pub use value::{hostname, ports_needed, value};
