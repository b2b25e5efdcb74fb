//! The options about the wrapper's own messages.

use clap::{ArgAction, Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct LoggingOptions {
    /// Format of the wrapper's own messages (on stderr)
    #[arg(long, value_name = "FORMAT", env = "SERVICE_REGISTRY_LOG_FORMAT", hide_env_values = true)]
    #[arg(default_value = "text")]
    pub log_format: LogFormat,

    /// Log more; twice: everything
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_VERBOSE", hide_env_values = true)]
    pub verbose: u8,

    /// Log less: warnings and errors only; twice: only the reason of an exit
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_QUIET", hide_env_values = true)]
    pub quiet: u8,
}

/// The format of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text
    Text,
    /// A JSON object per line
    Json,
}
