//! The client library against real and faulty servers.

mod calls;
mod connection;
mod events;
mod following;
mod heartbeat;
mod login;
mod proxy;
mod renewal;
mod services;
mod tls;
