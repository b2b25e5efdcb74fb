//! Errors of the client, as kinds on which a program can base its decisions.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::wire::Fault;

/// The most characters of outside text that a message repeats.
const ECHOED: usize = 400;

/// In bytes: a shorter token is no secret, and could be part of any word.
const SECRET: usize = 8;

/// Why a call failed.
///
/// `Display` is a lower-case fragment that names the URL and the cure. It never contains credentials or
/// tokens, and it repeats outside text without control characters.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument is invalid. Nothing was sent; the caller has to change it.
    #[error("{what}")]
    #[non_exhaustive]
    InvalidArgument {
        /// The setting of [`ClientBuilder`](super::ClientBuilder) that is wrong, if it is one of those.
        setting: Option<Setting>,
        /// The wrong value, and the cure.
        what: String,
    },

    /// There was no response. The request may have been carried out, unless `why` is [`NoAnswer::Connect`].
    #[error("{}", no_answer(*phase, url, *why, *cause, detail))]
    #[non_exhaustive]
    Transport {
        /// The purpose of the request.
        phase: Phase,
        /// The URL of the request.
        url: String,
        /// The phase that the request had reached.
        why: NoAnswer,
        /// The cause, if it is known.
        cause: Cause,
        /// The cause in the words of the system.
        detail: String,
    },

    /// The response is a refusal.
    #[error("{}", refused(*phase, method, url, *status, fault.as_deref()))]
    #[non_exhaustive]
    Status {
        /// The purpose of the request.
        phase: Phase,
        /// The method of the request.
        method: String,
        /// The URL of the request.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The body of the response, if it was a fault in the form of the API.
        fault: Option<Box<Fault>>,
        /// How long the response asks to wait, if it does (`Retry-After`).
        retry_after: Option<Duration>,
    },

    /// The API does not know such a response: another status, no JSON, too long. Something else than a registry listens
    /// there, or stands in between.
    #[error("{phase}the response of {url} {}; is that the address of a service registry?", printable(what))]
    #[non_exhaustive]
    UnexpectedResponse {
        /// The purpose of the request.
        phase: Phase,
        /// The URL of the request.
        url: String,
        /// The fault of the response.
        what: String,
        /// The response has more bytes than the client reads. A shorter page may have fewer.
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

/// The purpose of a request.
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

/// The phase that a request without a response had reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// There was no connection: nothing was sent.
    Connect,
    /// The time limit of the request passed.
    Timeout,
    /// The connection ended before the response was complete.
    Broken,
}

/// The cause of a missing response, as far as the client can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The certificate of the other side is not trusted: none of the known authorities has signed it.
    Certificate,
    /// The certificate of the other side has expired, or is not valid yet.
    CertificateTime,
    /// The certificate of the other side is for other names than that of the URL.
    CertificateName,
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
    /// Returns the HTTP status, if the response is a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns the registry's fault, if it sent one in the form of the API.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Status { fault, .. } => fault.as_deref(),
            _ => None,
        }
    }

    /// Returns whether the fault is of this type: `serviceWithThisIdExists`, `limitReached`, ...
    #[must_use]
    pub fn is_fault(&self, kind: &str) -> bool {
        self.fault().is_some_and(|fault| fault.kind == kind)
    }

    /// Returns the purpose of the failed request; none for [`Error::InvalidArgument`].
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        match self {
            Self::InvalidArgument { .. } => None,
            Self::Transport { phase, .. } | Self::Status { phase, .. } | Self::UnexpectedResponse { phase, .. } => {
                Some(*phase)
            }
        }
    }

    /// Returns the URL of the failed request; none for [`Error::InvalidArgument`].
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::InvalidArgument { .. } => None,
            Self::Transport { url, .. } | Self::Status { url, .. } | Self::UnexpectedResponse { url, .. } => Some(url),
        }
    }

    /// Returns whether the resource does not exist (404). For a heartbeat: the session has expired, or the
    /// token is no longer known, so register again.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.phase() == Some(Phase::Call) && self.status() == Some(404)
    }

    /// Returns whether the same request may succeed later without a change by the caller.
    ///
    /// These are: no response, a response that the API does not know, 408, 425, 429 and 5xx; and of the refusals with
    /// 400 those that pass with time: an id in use, a quota reached, too many requests.
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

    /// Returns the setting of the client that is wrong; none for other errors.
    #[must_use]
    pub fn setting(&self) -> Option<Setting> {
        match self {
            Self::InvalidArgument { setting, .. } => *setting,
            _ => None,
        }
    }

    /// Returns how long the response asks to wait before the next attempt.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns whether the time limit of the request passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Transport { why: NoAnswer::Timeout, .. })
    }

    /// Returns whether there was no connection, so that nothing can have been carried out.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Transport { why: NoAnswer::Connect, .. })
    }

    /// Returns whether the response has more bytes than the client reads. A shorter page may have fewer.
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

    /// Removes a token from outside text: a fault may repeat the one that it refuses.
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
        (NoAnswer::Connect, Cause::CertificateTime) => {
            format!(
                "{phase}the certificate of {url} is not valid now ({detail}); renew it, or set this machine's clock"
            )
        }
        (NoAnswer::Connect, Cause::CertificateName) => {
            format!("{phase}the certificate of {url} is for another name ({detail}); write that name in the URL")
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
        // An open registry refuses a host or an origin; its fault has the cure.
        (_, 403) if fault.is_some_and(|fault| fault.kind == "forbiddenError") => "",
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

/// Returns outside text for a message: without control characters, and bounded.
pub(super) fn printable(text: &str) -> String {
    let mut kept: String = text.chars().filter(|c| !c.is_control()).take(ECHOED + 1).collect();
    if let Some((end, _)) = kept.char_indices().nth(ECHOED) {
        kept.truncate(end);
        kept.push_str("...");
    }
    kept
}
