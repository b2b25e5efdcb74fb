//! Every exit status of the program.

use anyhow::anyhow;
use service_registry::client;
use service_registry::registry::Error;

/// Success.
pub(super) const SUCCESS: u8 = 0;
/// A failure: the address is in use, a file cannot be read, the output cannot be written. Of a command that asks a
/// registry: there is no such object, or nothing was found.
pub(super) const FAILURE: u8 = 1;
/// Wrong usage: an unknown option, options that exclude each other, a configuration file that cannot be used.
pub(super) const USAGE: u8 = 2;
/// Of `serve`, `backup` and `restore`: another process uses the data directory, or nodes of the cluster run.
pub(super) const IN_USE: u8 = 3;
/// Of a command that asks a registry: the registry refused the request or the login.
pub(super) const REFUSED: u8 = 3;
/// Of a command that asks a registry: no registry answered, or it could not do what was asked at the time.
pub(super) const UNREACHABLE: u8 = 4;
/// Of `wait`: the time limit has passed.
pub(super) const TIMED_OUT: u8 = 124;
/// Of a command that runs another one: that cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// Of a command that runs another one: that was not found.
pub(super) const COMMAND_NOT_FOUND: u8 = 127;

/// An error, and the status to exit with.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: anyhow::Error,
    pub(super) code: u8,
}

impl Failure {
    /// An error about options that exclude each other.
    pub(super) fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code: USAGE }
    }

    /// The reader of stdout has seen enough: no error, and nothing to say.
    pub(super) fn closed_pipe() -> Self {
        Self { error: anyhow!("nobody reads stdout any more"), code: SUCCESS }
    }

    /// An error of a request to a registry. `hint` is what to add to the message.
    pub(super) fn of_request(error: &client::Error, hint: &str) -> Self {
        let code = match error.status() {
            _ if matches!(error, client::Error::InvalidArgument { .. }) => USAGE,
            _ if error.is_not_found() => FAILURE,
            Some(..500) => REFUSED,
            _ => UNREACHABLE,
        };
        Self { error: anyhow!("{error}{hint}"), code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::InUse { .. } => IN_USE,
            #[cfg(feature = "etcd")]
            Error::NodesRun(_) => IN_USE,
            _ => FAILURE,
        };
        Self { error: error.into(), code }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { error, code: FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_of_a_request_has_its_status() {
        let client = client::Client::builder().build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let invalid = runtime.block_on(client.services().get("")).unwrap_err();
        assert_eq!(Failure::of_request(&invalid, "").code, 2);
        assert_eq!(Failure::closed_pipe().code, 0);
    }

    #[test]
    fn usage_errors_have_another_status_than_failures() {
        assert_eq!(Failure::usage(anyhow::anyhow!("no")).code, 2);
        assert_eq!(Failure::from(anyhow::anyhow!("no")).code, 1);
        assert_eq!(Failure::from(Error::Occupied("there".into())).code, 1);
        assert_eq!(Failure::from(Error::InUse { path: "there".into(), pid: Some(1) }).code, 3);
    }
}
