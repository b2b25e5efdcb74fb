//! The protocol of the wrapper's status socket: one line with a request, one line of JSON back, with a member `error`
//! if the request failed.

use std::fmt;
use std::str::FromStr;

/// In bytes; every request is shorter.
pub const LONGEST_REQUEST: u64 = 64;

/// In bytes; every reply is shorter.
pub const LONGEST_REPLY: u64 = 64 << 10;

/// A request to a wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Report the state of the registration.
    Status,
    /// Take the service out of the registry (`true`), or put it back.
    Maintenance(bool),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "status",
            Self::Maintenance(true) => "maintenance on",
            Self::Maintenance(false) => "maintenance off",
        })
    }
}

impl FromStr for Request {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Status, Self::Maintenance(true), Self::Maintenance(false)];
        let found = known.into_iter().find(|request| request.to_string() == text.trim());
        found.ok_or("say status, maintenance on, or maintenance off")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_is_written() {
        for request in [Request::Status, Request::Maintenance(true), Request::Maintenance(false)] {
            assert_eq!(format!("{request}\n").parse(), Ok(request));
        }
        assert!("stop".parse::<Request>().is_err());
    }
}
