//! The commands of `service-registry` that ask a registry.

mod completions;
mod config;
mod config_file;
mod connection;
mod events;
mod manual;
mod output;
mod services;
mod sessions;
