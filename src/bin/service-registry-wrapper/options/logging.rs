//! What the wrapper says itself.

use clap::{ArgAction, Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct LoggingOptions {
    /// How the wrapper's own messages look (on stderr)
    #[arg(long, value_name = "FORMAT", env = "SERVICE_REGISTRY_LOG_FORMAT", hide_env_values = true)]
    #[arg(default_value = "text")]
    pub log_format: LogFormat,

    /// Say more; twice: everything
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_VERBOSE", hide_env_values = true)]
    pub verbose: u8,

    /// Say less: only what went wrong; twice: only what ends the wrapper
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_QUIET", hide_env_values = true)]
    pub quiet: u8,
}

/// How messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of prose
    Text,
    /// One JSON object a line
    Json,
}
