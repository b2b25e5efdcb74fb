//! Placeholders in the values of options, such as `{hostname}` and `{ip:eth0}`.
//!
//! `template` finds them in a text, `value` has their names, `address` finds the addresses of this machine, and `watch`
//! waits until these change. Nothing is looked up for a text without placeholders.

mod address;
mod template;
mod value;
mod watch;

pub(crate) use template::{Value, expand};
pub(crate) use value::{hostname, ports_needed, value};
pub(crate) use watch::watch_addresses;
