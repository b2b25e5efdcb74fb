//! The options about the registration and its failures.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Registration")]
pub(crate) struct RegistrationOptions {
    /// Do not start COMMAND before the service is registered; exit 100 if it cannot be
    #[arg(long, env = "SERVICE_REGISTRY_ABORT_ON_FAILURE", hide_env_values = true)]
    pub abort_on_failure: bool,

    /// With --abort-on-failure: number of attempts to register, 2 seconds apart [default: 15]
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_RETRIES", hide_env_values = true)]
    pub retries: Option<String>,

    /// With an unreachable registry: start (after at most 2 seconds), wait:SECONDS, or fail
    /// (exit 100; the same as --abort-on-failure)
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_REGISTRY_DOWN", hide_env_values = true)]
    pub on_registry_down: Option<String>,

    /// Directory in which the wrapper records its session, so that the next wrapper can revoke it at once
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<OsString>,

    /// Take the id over from any other holder
    #[arg(long, env = "SERVICE_REGISTRY_REPLACE", hide_env_values = true)]
    pub replace: bool,

    /// When the registration is lost, or not confirmed any more: keep COMMAND running, or stop it before another
    /// process can take its place (exit 100) [default: keep; with --abort-on-failure: stop]
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_LOST", hide_env_values = true)]
    pub on_lost: Option<OnLost>,

    /// When COMMAND has exited: deregister at once, or let the registration expire
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_EXIT", hide_env_values = true)]
    #[arg(default_value = "deregister")]
    pub on_exit: OnExit,

    /// Unix socket for `service-registry status`, `maintenance` and `update`
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_STATUS_SOCKET", hide_env_values = true)]
    pub status_socket: Option<OsString>,

    /// Serve metrics for Prometheus over HTTP, at /metrics; off by default
    #[arg(long, value_name = "ADDRESS:PORT", env = "SERVICE_REGISTRY_METRICS_LISTEN", hide_env_values = true)]
    pub metrics_listen: Option<String>,
}

/// The consequence of a lost registration for the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// COMMAND runs on
    Keep,
    /// COMMAND is stopped before another process can take its place, or as soon as one has taken it
    Stop,
}

/// The end of the registration after the child's exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    /// The registration expires
    Expire,
    /// The registration is removed
    Deregister,
}
