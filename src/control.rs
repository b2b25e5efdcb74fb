//! The protocol of the wrapper's status socket: one line with a request, one line of JSON back, with a member `error`
//! if the request failed. Also the places where wrappers and those who ask them expect the sockets.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// In bytes; every request is shorter. The registry refuses tags and metadata of more than 5000 bytes.
pub const LONGEST_REQUEST: u64 = 16 << 10;

/// In bytes; every reply is shorter.
pub const LONGEST_REPLY: u64 = 64 << 10;

/// In characters: the most of the reason for maintenance.
const LONGEST_REASON: usize = 200;

/// The directory of sockets below a runtime directory.
const FOLDER: &str = "service-registry";

/// A request to a wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `status`: report the state of the registration.
    Status,
    /// `maintenance on`, or `maintenance on REASON`: take the service out of the registry.
    MaintenanceOn(String),
    /// `maintenance off`: put it back.
    MaintenanceOff,
    /// `update JSON`: change what is registered.
    Update(Update),
}

/// New tags and metadata of a service, as the values of the wrapper's options; those that are not given stay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// As in `--tags`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// As in `--metadata`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::MaintenanceOn(reason) if reason.is_empty() => f.write_str("maintenance on"),
            Self::MaintenanceOn(reason) => write!(f, "maintenance on {reason}"),
            Self::MaintenanceOff => f.write_str("maintenance off"),
            Self::Update(update) => {
                write!(f, "update {}", serde_json::to_string(update).map_err(|_| fmt::Error)?)
            }
        }
    }
}

impl FromStr for Request {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match text {
            "status" => return Ok(Self::Status),
            "maintenance on" => return Ok(Self::MaintenanceOn(String::new())),
            "maintenance off" => return Ok(Self::MaintenanceOff),
            _ => {}
        }
        if let Some(given) = text.strip_prefix("maintenance on ") {
            return reason(given).map(Self::MaintenanceOn);
        }
        if let Some(update) = text.strip_prefix("update ") {
            return serde_json::from_str(update).map(Self::Update).map_err(|error| format!("update: {error}"));
        }
        Err("say status, maintenance on [REASON], maintenance off, or update {\"tags\": \"...\", \"metadata\": \"...\"}".into())
    }
}

/// Checks the reason for maintenance.
///
/// # Errors
///
/// The rule that it breaks.
pub fn reason(given: &str) -> Result<String, String> {
    let given = given.trim();
    if given.chars().any(char::is_control) {
        return Err("the reason has a control character; give one line of text".into());
    }
    let length = given.chars().count();
    if length > LONGEST_REASON {
        return Err(format!("the reason has {length} characters; give at most {LONGEST_REASON}"));
    }
    Ok(given.to_owned())
}

/// Returns the default path of the socket of the wrapper with this id: in the directory that systemd made for the unit,
/// in that of the user's login, or in `/run`. Nobody but root can make the last one.
#[must_use]
pub fn default_socket(id: &str) -> PathBuf {
    let first = |paths: &OsStr| env::split_paths(paths).next().filter(|path| path.is_absolute());
    let named = |name: &str| env::var_os(name).and_then(|paths| first(&paths));
    let folder = named("RUNTIME_DIRECTORY");
    let folder = folder.unwrap_or_else(|| named("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into()).join(FOLDER));
    folder.join(format!("{id}.sock"))
}

/// Returns the directories in which wrappers of this machine may have their sockets, as far as this user can read
/// them: those of the two defaults, and those that systemd makes for the instances of a unit.
#[must_use]
pub fn socket_folders() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/run").join(FOLDER)];
    folders.extend(env::var_os("XDG_RUNTIME_DIR").map(|own| PathBuf::from(own).join(FOLDER)));
    let below = |path: &str| std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    folders.extend(below("/run/user").map(|user| user.path().join(FOLDER)));
    folders.extend(below("/run/service-registry-wrapper").map(|instance| instance.path()));
    folders.sort();
    folders.dedup();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_read_as_it_is_written() {
        for request in [
            Request::Status,
            Request::MaintenanceOn(String::new()),
            Request::MaintenanceOn("new disks, until 5 pm".into()),
            Request::MaintenanceOff,
            Request::Update(Update { tags: Some("a,b".into()), metadata: None }),
            Request::Update(Update { tags: None, metadata: Some("port=80,motto=\"\u{e4}\"".into()) }),
        ] {
            assert_eq!(format!("{request}\n").parse(), Ok(request));
        }
        for wrong in ["stop", "update", "update {", "update {\"tag\": \"a\"}", "maintenance on a\tb"] {
            assert!(wrong.parse::<Request>().is_err(), "{wrong}");
        }
        assert!(reason(&"x".repeat(LONGEST_REASON)).is_ok() && reason(&"x".repeat(LONGEST_REASON + 1)).is_err());
    }
}
