//! client.

mod calls;
mod connection;
mod events;
mod heartbeat;
mod login;
mod proxy;
mod services;
mod tls;
