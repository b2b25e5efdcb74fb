//! What can go wrong between a program and its registry, told so that the program can decide what to do.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::wire::Fault;

/// How much of a text that came from outside is repeated in a message.
const ECHOED: usize = 400;

/// A token shorter than this many bytes is no secret, and might be a part of any word.
const SECRET: usize = 8;

/// Why a call failed.
///
/// `Display` is a lower-case fragment that names the URL and what to do about it. It never contains credentials or
/// tokens, and text that the other side wrote is repeated without its control characters.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument that cannot work. Nothing was sent; the caller has to change it.
    #[error("{what}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The setting of [`ClientBuilder`](super::ClientBuilder) that is wrong, if it is one of those.
        setting: Option<Setting>,
        /// What is wrong with which value, and what would be right.
        what: String,
    },

    /// No answer came. The request may or may not have been carried out, unless `why` says [`NoAnswer::Connect`].
    #[error("{}", no_answer(*phase, url, *why, *cause, detail))]
    #[non_exhaustive]
    Transport {
        /// What the request was for.
        phase: Phase,
        /// Where it was sent.
        url: String,
        /// How far it came.
        why: NoAnswer,
        /// What kept it from coming further, if that is known.
        cause: Cause,
        /// The cause in the words of the system.
        detail: String,
    },

    /// An answer came and says no.
    #[error("{}", refused(*phase, method, url, *status, fault.as_deref()))]
    #[non_exhaustive]
    Status {
        /// What the request was for.
        phase: Phase,
        /// The method of the request.
        method: String,
        /// Where it was sent.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The body of the answer, if it was a fault as the API describes it.
        fault: Option<Box<Fault>>,
        /// How long the answer asks to wait, if it does (`Retry-After`).
        retry_after: Option<Duration>,
    },

    /// An answer came that the API does not know: another status, no JSON, too long. Something else listens there,
    /// or stands in between.
    #[error("{phase}the response of {url} {}; is that the address of a service registry?", printable(what))]
    #[non_exhaustive]
    UnexpectedResponse {
        /// What the request was for.
        phase: Phase,
        /// Where it was sent.
        url: String,
        /// What is wrong with the answer.
        what: String,
        /// The answer has more bytes than the client reads. A shorter page may have fewer.
        is_too_long: bool,
    },
}

/// A setting of [`ClientBuilder`](super::ClientBuilder).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// [`registry_url`](super::ClientBuilder::registry_url).
    RegistryUrl,
    /// [`auth_url`](super::ClientBuilder::auth_url).
    AuthUrl,
    /// [`ca_file`](super::ClientBuilder::ca_file).
    CaFile,
    /// The certificate of [`client_certificate`](super::ClientBuilder::client_certificate).
    ClientCertificate,
    /// The key of [`client_certificate`](super::ClientBuilder::client_certificate).
    ClientKey,
}

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Exchanging user name and API key for a token.
    Login,
    /// The call itself.
    Call,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "logging in: ",
            Self::Call => "",
        })
    }
}

/// How far a request came that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// No connection: nothing was sent.
    Connect,
    /// The time limit of the request passed.
    Timeout,
    /// The connection ended before the answer was complete.
    Broken,
}

/// What kept a request from being answered, as far as the client can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The certificate of the other side is not trusted.
    Certificate,
    /// The other side demands a client certificate, or does not trust the one it got.
    ClientCertificate,
    /// The other side does not speak TLS.
    NotTls,
    /// The other side does not speak HTTP.
    NotHttp,
    /// This process may not open more files.
    OpenFiles,
    /// Something else.
    #[default]
    Other,
}

impl Error {
    /// The HTTP status, if there was an answer that refused the request.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the registry says is wrong, if it said so in the documented shape.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Status { fault, .. } => fault.as_deref(),
            _ => None,
        }
    }

    /// Whether the fault is of this type: `serviceWithThisIdExists`, `limitReached`, ...
    #[must_use]
    pub fn is_fault(&self, kind: &str) -> bool {
        self.fault().is_some_and(|fault| fault.kind == kind)
    }

    /// What the failed request was for; none for [`Error::InvalidArgument`].
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::InvalidArgument { .. } => None,
            Self::Transport { phase, .. } | Self::Status { phase, .. } | Self::UnexpectedResponse { phase, .. } => {
                Some(*phase)
            }
        }
    }

    /// Where the failed request was sent; none for [`Error::InvalidArgument`].
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::InvalidArgument { .. } => None,
            Self::Transport { url, .. } | Self::Status { url, .. } | Self::UnexpectedResponse { url, .. } => Some(url),
        }
    }

    /// Whether the thing that was asked for is not there (404). Of a heartbeat: the session has expired or the
    /// token is no longer known, so register anew.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.phase() == Some(Phase::Call) && self.status() == Some(404)
    }

    /// Whether the same request may succeed later without the caller changing anything.
    ///
    /// So are: no answer, an answer that makes no sense, 408, 425, 429 and 5xx; and of the refusals with 400 those
    /// that pass with time: an id still taken, a quota reached, too many requests.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::InvalidArgument { .. } => false,
            Self::Transport { .. } | Self::UnexpectedResponse { .. } => true,
            Self::Status { status, fault, .. } => {
                let kind = fault.as_ref().map_or("", |fault| &fault.kind);
                matches!(status, 408 | 425 | 429 | 500 | 502..=599)
                    || matches!(kind, "serviceWithThisIdExists" | "limitReached" | "rateLimitReached")
            }
        }
    }

    /// The setting of the client that is wrong; none for other errors.
    #[must_use]
    pub fn setting(&self) -> Option<Setting> {
        match self {
            Self::InvalidArgument { setting, .. } => *setting,
            _ => None,
        }
    }

    /// How long the answer asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the time limit of the request passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport { why: NoAnswer::Timeout, .. })
    }

    /// Whether there was no connection, so that nothing can have been carried out.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Transport { why: NoAnswer::Connect, .. })
    }

    /// Whether the answer has more bytes than are read. A shorter page may have fewer.
    pub(super) fn is_too_long(&self) -> bool {
        matches!(self, Self::UnexpectedResponse { is_too_long: true, .. })
    }

    pub(super) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidArgument { setting: None, what: what.into() }
    }

    /// Adds the setting that an invalid argument came from.
    pub(super) fn of(self, setting: Setting) -> Self {
        match self {
            Self::InvalidArgument { what, .. } => Self::InvalidArgument { setting: Some(setting), what },
            other => other,
        }
    }

    /// Takes a token out of the texts the other side wrote: a fault likes to repeat the one it did not know.
    pub(super) fn without(mut self, secret: &str) -> Self {
        if let Self::Status { fault: Some(fault), .. } = &mut self
            && secret.len() >= SECRET
        {
            fault.message = fault.message.replace(secret, "(token)");
            if let serde_json::Value::String(details) = &mut fault.details {
                *details = details.replace(secret, "(token)");
            }
        }
        self
    }
}

fn no_answer(phase: Phase, url: &str, why: NoAnswer, cause: Cause, detail: &str) -> String {
    let detail = printable(detail);
    match (why, cause) {
        (NoAnswer::Connect, Cause::Certificate) => {
            format!(
                "{phase}cannot trust {url} ({detail}); check whose certificate it shows, and the authorities trusted here"
            )
        }
        (NoAnswer::Connect, Cause::OpenFiles) => {
            format!(
                "{phase}cannot connect to {url} ({detail}); raise the limit on open files (ulimit -n, LimitNOFILE=)"
            )
        }
        (NoAnswer::Connect, Cause::NotTls) => {
            format!("{phase}cannot connect to {url} ({detail}); if it speaks no TLS, write http:// instead of https://")
        }
        (NoAnswer::Connect, _) => {
            format!("{phase}cannot connect to {url} ({detail}); check the address and that a registry runs there")
        }
        (NoAnswer::Timeout, _) => format!("{phase}no answer from {url} {detail}; it may be overloaded or cut off"),
        (NoAnswer::Broken, Cause::ClientCertificate) => {
            format!("{phase}{url} requires a client certificate that it trusts ({detail}); give one")
        }
        (NoAnswer::Broken, Cause::NotHttp) => {
            format!("{phase}{url} did not reply with HTTP ({detail}); if it is TLS, write https:// instead of http://")
        }
        (NoAnswer::Broken, _) => {
            format!("{phase}the connection to {url} ended before the answer was complete ({detail}); try again")
        }
    }
}

fn refused(phase: Phase, method: &str, url: &str, status: u16, fault: Option<&Fault>) -> String {
    let mut text = format!("{phase}{method} {url} was refused with {status}");
    if let Some(fault) = fault {
        let _ = write!(text, " {}: {}", printable(&fault.kind), printable(&fault.message));
        match &fault.details {
            serde_json::Value::String(details) if *details != fault.message => {
                let _ = write!(text, ": {}", printable(details));
            }
            _ => {}
        }
    }
    text.push_str(match (phase, status) {
        (Phase::Login, 400..=403) => "; check user name and API key",
        (Phase::Login, 404) => "; check the address for logging in",
        (_, 401 | 403) => "; give a user name and an API key that this registry knows",
        (_, 413) => "; the request is larger than the registry accepts: shorten metadata, tags or value",
        (_, 300..=399) => "; redirects are not followed, so give the address it leads to",
        (_, 429) => "; try again later",
        (Phase::Call, 404) | (_, 500..=599) if fault.is_none() => {
            "; no registry answers like this: check the address and what stands in between"
        }
        (_, 500..=599) => "; the trouble is on the other side, try again later",
        _ => "",
    });
    text
}

/// Text from outside, as it may stand in a message: no control characters, and not without end.
pub(super) fn printable(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).take(ECHOED + 1).collect();
    if let Some((end, _)) = kept.char_indices().nth(ECHOED) {
        kept.truncate(end);
        kept.push_str("...");
    }
    kept
}
