//! When it is registered, and what comes of it when that fails.

use std::ffi::OsString;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Registration")]
pub(crate) struct RegistrationOptions {
    /// Do not start COMMAND before the service is registered; exit 100 when it cannot be
    #[arg(long, env = "SERVICE_REGISTRY_ABORT_ON_FAILURE", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub abort_on_failure: bool,

    /// With --abort-on-failure: how often registering is attempted, 2 seconds apart [default: 15]
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_RETRIES", hide_env_values = true)]
    pub retries: Option<String>,

    /// What an unreachable registry means for the start: start (after 2 seconds at most), wait:SECONDS, or fail
    /// (exit 100; the same as --abort-on-failure)
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_REGISTRY_DOWN", hide_env_values = true)]
    pub on_registry_down: Option<String>,

    /// Folder in which a wrapper leaves word of its session, so that its successor can retire it at once
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<OsString>,

    /// Take the id over from whoever holds it
    #[arg(long, env = "SERVICE_REGISTRY_REPLACE", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub replace: bool,

    /// When the registration is lost, or not confirmed any more: keep COMMAND running, or stop it before its place can be
    /// given away (exit 100) [default: keep; with --abort-on-failure: stop]
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_LOST", hide_env_values = true)]
    pub on_lost: Option<OnLost>,

    /// When COMMAND has exited: let the registration expire, or deregister at once
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_EXIT", hide_env_values = true)]
    #[arg(default_value = "expire")]
    pub on_exit: OnExit,

    /// Where to listen for `service-registry status` and `service-registry maintenance`
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_STATUS_SOCKET", hide_env_values = true)]
    pub status_socket: Option<OsString>,
}

/// What the loss of the registration means for the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// It runs on
    Keep,
    /// It is stopped before the registry can give its place away, or as soon as somebody else has it
    Stop,
}

/// What becomes of the registration when the child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    /// It expires
    Expire,
    /// It is removed
    Deregister,
}
