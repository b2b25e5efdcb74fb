//! Every exit status of the program.

use service_registry::registry::Error;

/// Success.
pub(super) const SUCCESS: u8 = 0;
/// A failure: the address is in use, a file cannot be read.
pub(super) const FAILURE: u8 = 1;
/// Wrong usage: an unknown option, or options that exclude each other.
pub(super) const USAGE: u8 = 2;
/// Another process uses the data directory.
pub(super) const IN_USE: u8 = 3;

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
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if matches!(error, Error::InUse { .. }) { IN_USE } else { FAILURE };
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
    fn usage_errors_have_another_status_than_failures() {
        assert_eq!(Failure::usage(anyhow::anyhow!("no")).code, 2);
        assert_eq!(Failure::from(anyhow::anyhow!("no")).code, 1);
        assert_eq!(Failure::from(Error::Occupied("there".into())).code, 1);
        assert_eq!(Failure::from(Error::InUse { path: "there".into(), pid: Some(1) }).code, 3);
    }
}
