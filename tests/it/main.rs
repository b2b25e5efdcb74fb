//! The one integration-test binary: a bench, and flat test files beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is what it is for")]

mod bench;
mod client_calls;
mod client_connection;
mod client_events;
mod client_heartbeat;
mod client_login;
mod client_proxy;
mod client_services;
mod client_tls;
mod heal_faults;
mod heal_fence;
mod heal_identity;
mod heal_names;
mod heal_place;
mod heal_stop;
mod linear;
mod misbehaving;
mod parent_exit;
mod parent_systemd;
mod parent_terminal;
mod parent_tree;
mod registry_access;
mod registry_api_documents;
mod registry_backup;
mod registry_bench;
mod registry_cases;
mod registry_disk;
mod registry_durable;
mod registry_expiry;
mod registry_files;
mod registry_http;
mod registry_lists;
mod registry_log;
mod registry_logins;
mod registry_pauses;
mod registry_power;
mod registry_reads;
mod registry_serve;
mod wrapper_child;
mod wrapper_files;
mod wrapper_life;
mod wrapper_options;
mod wrapper_secrets;
mod wrapper_start;
