//! Why a call to etcd failed, and whether it may have been carried out.

use std::error::Error;
use std::fmt;
use std::io;

use tonic::{Code, ConnectError, Status};

/// Why a call failed. The texts name the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EtcdError {
    /// It may have been carried out, or may still be.
    Unclear(String),
    /// It certainly was not carried out.
    Refused(String),
    /// It was not carried out, and may be later: no member can be reached, or none has a leader.
    Unavailable(String),
    /// It was not carried out, since a member's file has reached its limit.
    NoSpace,
}

impl fmt::Display for EtcdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclear(text) | Self::Refused(text) | Self::Unavailable(text) => f.write_str(text),
            Self::NoSpace => f.write_str(
                "etcd has reached its quota: compact and defragment its members, or raise --quota-backend-bytes",
            ),
        }
    }
}

impl Error for EtcdError {}

impl From<EtcdError> for io::Error {
    fn from(error: EtcdError) -> Self {
        let kind = match error {
            EtcdError::NoSpace => io::ErrorKind::StorageFull,
            EtcdError::Unclear(_) => io::ErrorKind::TimedOut,
            EtcdError::Refused(_) | EtcdError::Unavailable(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<EtcdError> for crate::registry::Error {
    fn from(error: EtcdError) -> Self {
        Self::Etcd { message: error.to_string() }
    }
}

/// What a failed try at one member means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The member did not take the request: another one can be asked.
    NotTaken,
    /// The member does not accept the name and the password. It may not know yet of a change.
    Login,
    /// The token is missing, or no longer valid.
    Token,
    NoSpace,
    /// Every member would refuse it.
    Refused,
    /// The answer is larger than is accepted.
    TooLarge,
    Unclear,
}

/// A failed try at one member.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn of(member: &str, status: &Status) -> Self {
        Self { kind: kind(status), text: format!("etcd member {member}: {}", describe(status)) }
    }
}

impl From<Failure> for EtcdError {
    fn from(Failure { kind, text }: Failure) -> Self {
        match kind {
            FailureKind::NoSpace => Self::NoSpace,
            FailureKind::Unclear => Self::Unclear(text),
            FailureKind::NotTaken => Self::Unavailable(text),
            FailureKind::Login | FailureKind::Token | FailureKind::Refused | FailureKind::TooLarge => {
                Self::Refused(text)
            }
        }
    }
}

/// The texts are etcd's (`rpctypes/error.go`), which has one code for several cases.
fn kind(status: &Status) -> FailureKind {
    let text = status.message();
    let is = |part: &str| text.contains(part);
    match status.code() {
        _ if is_connect_error(status) => FailureKind::NotTaken,
        // A member checks for a leader before it takes a request, see the header `hasleader`.
        Code::Unavailable if is("etcdserver: no leader") => FailureKind::NotTaken,
        Code::ResourceExhausted if is("space exceeded") => FailureKind::NoSpace,
        Code::ResourceExhausted if is("too many requests") => FailureKind::NotTaken,
        Code::OutOfRange | Code::ResourceExhausted if is("message") && is("too large") => FailureKind::TooLarge,
        Code::Unauthenticated => FailureKind::Token,
        Code::InvalidArgument if is("auth store is old") || is("user name is empty") => FailureKind::Token,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => FailureKind::Refused,
        _ => FailureKind::Unclear,
    }
}

fn is_connect_error(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Returns the cause in the words of the system if a connection failed, etcd's words otherwise.
fn describe(status: &Status) -> String {
    let Some(error) = status.source() else {
        return match status.message().trim_start_matches("etcdserver: ") {
            text @ "user name is empty" => format!("{text}: give --etcd-user and --etcd-password-file"),
            text => text.to_owned(),
        };
    };
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = if is_connect_error(status) { "cannot connect" } else { "the connection broke" };
    format!("{what}: {innermost}")
}
