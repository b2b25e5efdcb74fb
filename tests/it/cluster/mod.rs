//! The registry on several nodes: what its clients see under faults, and whether the checker sees what is wrong.

mod checker;
#[cfg(feature = "dns")]
mod dns;
mod example;
mod history;
mod network;
mod operation;
mod page;
mod rolling;
mod rules;
