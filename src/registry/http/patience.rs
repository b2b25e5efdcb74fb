//! How long a connection is waited for.

use std::time::Duration;

/// How long a connection is waited for before it is closed.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between requests. Holders beat on one connection at intervals of up to the longest timeout, 120 s, and must find
    /// it open: 150 s.
    pub idle: Duration,
    /// Before the first request: 30 s.
    pub newcomer: Duration,
    /// For a request's head, from its first byte: 10 s.
    pub head: Duration,
    /// For a request's body, whose few kilobytes are usually there before they are asked for: 10 s.
    pub body: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let [idle, newcomer, head, body] = [150, 30, 10, 10].map(Duration::from_secs);
        Self { idle, newcomer, head, body }
    }
}
