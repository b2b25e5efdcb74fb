//! The wrapper: its start and its life, the child, the process tree, signals, the registration and how it heals.

mod child;
mod exit;
mod faults;
mod fence;
mod files;
mod identity;
mod life;
mod log;
mod mistakes;
mod names;
mod options;
mod other_user;
mod panic;
mod place;
mod placeholders;
mod refusals;
mod secrets;
mod servers;
mod start;
mod stop;
mod successor;
mod supervisors;
mod systemd;
mod terminal;
mod tree;
mod watchdog;
