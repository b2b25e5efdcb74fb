//! The time limits of a connection.

use std::time::Duration;

/// How long a connection may wait before it is closed.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Between requests. Clients send heartbeats on one connection at intervals up to the longest timeout, 120 s, and
    /// must find it open: 150 s.
    pub idle: Duration,
    /// Before the first request: 30 s.
    pub newcomer: Duration,
    /// For a request's head, from its first byte: 10 s.
    pub head: Duration,
    /// For a request's body of a few kilobytes: 10 s.
    pub body: Duration,
    /// For the TLS handshake: 10 s.
    pub handshake: Duration,
    /// For a response, while the client reads no byte of it: 30 s.
    pub unread: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            idle: seconds(150),
            newcomer: seconds(30),
            head: seconds(10),
            body: seconds(10),
            handshake: seconds(10),
            unread: seconds(30),
        }
    }
}
