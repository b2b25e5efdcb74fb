//! The options about readiness: when the program can serve, so that the service may be registered.

use std::os::fd::RawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use service_registry::description::quoted;
use service_registry::wire::Metadata;

use super::child_config::seconds;
use super::service::Service;
use super::{Options, given};

#[derive(Debug, Args)]
#[command(next_help_heading = "Readiness")]
pub(crate) struct ReadinessOptions {
    /// Register the service when COMMAND is about to start, when it listens on a TCP port (that of --metadata=port=N,
    /// or any), when it is ready (READY=1 of sd_notify, or a line to --ready-fd), or when its checks pass
    #[arg(long, value_name = "WHEN", env = "SERVICE_REGISTRY_REGISTER_WHEN", hide_env_values = true)]
    #[arg(default_value = "start")]
    pub register_when: RegisterWhen,

    /// With --register-when=ready: COMMAND gets this descriptor, and writes a line to it when it is ready
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_READY_FD", hide_env_values = true)]
    pub ready_fd: Option<String>,

    /// Time after the start of COMMAND within which it should be ready; 0: no limit [default: 0]
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_READY_TIMEOUT", hide_env_values = true)]
    pub ready_timeout: Option<String>,

    /// If it is not ready by then: wait on, or stop COMMAND (exit 100) [default: wait]
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_NOT_READY", hide_env_values = true)]
    pub on_not_ready: Option<OnNotReady>,
}

/// The condition for the first registration of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RegisterWhen {
    /// COMMAND is about to start
    Start,
    /// COMMAND listens on a TCP port
    Listening,
    /// COMMAND says that it is ready
    Ready,
    /// The checks of COMMAND pass
    Healthy,
}

/// The consequence of a program that is not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnNotReady {
    /// The wrapper waits on
    Wait,
    /// COMMAND is stopped
    Stop,
}

/// When the program counts as ready.
pub(crate) struct Readiness {
    pub when: RegisterWhen,
    /// With `listening`: the port to listen on; none for any.
    pub port: Option<u16>,
    /// With `listening`: how many ports the placeholders in tags and metadata stand for.
    pub ports_needed: usize,
    /// The child's descriptor for a line that says that it is ready.
    pub fd: Option<RawFd>,
    pub timeout: Option<Duration>,
    pub on_not_ready: OnNotReady,
}

impl Readiness {
    pub(super) fn of(
        options: &Options,
        service: &Service,
        has_checks: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let given_options = &options.readiness;
        let ports_needed = service.texts.ports_needed();
        let when = match given_options.register_when {
            RegisterWhen::Start if ports_needed > 0 => RegisterWhen::Listening,
            when => when,
        };
        ensure!(
            ports_needed == 0 || when == RegisterWhen::Listening,
            "{{port}} waits until the command listens, so it needs --register-when=listening"
        );
        ensure!(
            when != RegisterWhen::Healthy || has_checks,
            "{}=healthy waits for a check: add --check",
            options.origin("register_when")
        );
        let fd =
            given(&given_options.ready_fd).map(descriptor).transpose().with_context(|| options.origin("ready_fd"))?;
        ensure!(
            fd.is_none() || when == RegisterWhen::Ready,
            "{} is for --register-when=ready: add that, or leave the descriptor out",
            options.origin("ready_fd")
        );
        let timeout = given(&given_options.ready_timeout).map_or(Ok(None), seconds);
        let timeout = timeout.with_context(|| options.origin("ready_timeout"))?;
        if when == RegisterWhen::Start && timeout.is_some() {
            let name = options.origin("ready_timeout");
            warnings.push(format!("{name} does nothing with --register-when=start: nothing is waited for"));
        }
        let on_not_ready = given_options.on_not_ready.unwrap_or(OnNotReady::Wait);
        ensure!(
            on_not_ready == OnNotReady::Wait || timeout.is_some(),
            "{}=stop needs a time after which it applies: add --ready-timeout",
            options.origin("on_not_ready")
        );
        let port = if when == RegisterWhen::Listening && ports_needed == 0 {
            port(&service.payload.metadata).with_context(|| options.origin("metadata"))?
        } else {
            None
        };
        Ok(Self { when, port, ports_needed, fd, timeout, on_not_ready })
    }

    /// What the child has to do before the wrapper registers the service, in words; nothing if it does not wait for
    /// the child.
    pub(crate) fn awaited(&self) -> Option<String> {
        match (self.when, self.port, self.fd) {
            (RegisterWhen::Start | RegisterWhen::Healthy, ..) => None,
            (RegisterWhen::Listening, Some(port), _) => Some(format!("the command does not listen on TCP port {port}")),
            (RegisterWhen::Listening, None, _) if self.ports_needed > 1 => {
                Some(format!("the command does not listen on {} TCP ports", self.ports_needed))
            }
            (RegisterWhen::Listening, None, _) => Some("the command does not listen on any TCP port".to_owned()),
            (RegisterWhen::Ready, _, Some(fd)) => {
                Some(format!("the command has neither sent READY=1 nor written a line to descriptor {fd}"))
            }
            (RegisterWhen::Ready, _, None) => Some("the command has not sent READY=1".to_owned()),
        }
    }
}

/// The first three are the standard ones.
fn descriptor(text: &str) -> Result<RawFd> {
    let number = text.parse().ok().filter(|number| (3..=65_535).contains(number));
    number.with_context(|| format!("{} is not the number of a descriptor from 3 to 65535", quoted(text)))
}

/// Returns the port that the metadata name.
fn port(metadata: &Metadata) -> Result<Option<u16>> {
    let Some(text) = metadata.get("port") else { return Ok(None) };
    match text.parse() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => bail!(
            "port={} is not a number from 1 to 65535; --register-when=listening waits for this port, or for any if \
             there is no `port`",
            quoted(text)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_the_metadata_must_be_a_number() {
        let metadata = |port: &str| Metadata::from([("port".to_owned(), port.to_owned())]);
        assert_eq!(port(&Metadata::new()).unwrap(), None);
        assert_eq!(port(&metadata("8080")).unwrap(), Some(8080));
        for wrong in ["0", "65536", "http", "-1", " 80"] {
            assert!(port(&metadata(wrong)).unwrap_err().to_string().contains("from 1 to 65535"), "{wrong}");
        }
    }

    #[test]
    fn standard_descriptors_are_refused() {
        assert_eq!(descriptor("3").unwrap(), 3);
        for wrong in ["0", "2", "-1", "x", "70000"] {
            assert!(descriptor(wrong).is_err(), "{wrong}");
        }
    }
}
