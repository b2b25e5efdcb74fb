//! How the command is looked after.

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Command")]
pub(crate) struct CommandOptions {
    /// Pass on another signal than came in; TO 0 drops it; repeatable
    #[arg(long, value_name = "FROM:TO,...", env = "SERVICE_REGISTRY_REWRITE_SIGNAL", hide_env_values = true)]
    pub rewrite_signal: Vec<String>,

    /// Who gets signals: the child's process group, or the child alone, which then stays in the wrapper's group
    #[arg(long, value_name = "SCOPE", env = "SERVICE_REGISTRY_SIGNAL_SCOPE", hide_env_values = true)]
    #[arg(default_value = "group")]
    pub signal_scope: Scope,

    /// On SIGTERM or SIGINT: wait so long between the withdrawal from the registry and passing the signal on
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_DRAIN_DELAY", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub drain_delay: String,

    /// What is left is killed so many seconds after SIGTERM or SIGINT, or after the end of COMMAND; 0: never
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_TIMEOUT", hide_env_values = true)]
    #[arg(default_value = "10")]
    pub stop_timeout: String,

    /// The most that withdrawal, delay and stop timeout may take together; 0: no bound
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_BUDGET", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub stop_budget: String,

    /// Do not end what COMMAND leaves behind
    #[arg(long, env = "SERVICE_REGISTRY_LEAVE_ORPHANS", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub leave_orphans: bool,

    /// Say whenever a process is buried that was not started by the wrapper
    #[arg(long, env = "SERVICE_REGISTRY_WARN_ON_REAP", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub warn_on_reap: bool,

    /// Exit with another status than COMMAND did; repeatable
    #[arg(long, value_name = "STATUS=STATUS,...", env = "SERVICE_REGISTRY_EXIT_MAP", hide_env_values = true)]
    pub exit_map: Vec<String>,

    /// Die of the signal that killed COMMAND, or that came before its start, instead of exiting with 128+n
    #[arg(long, env = "SERVICE_REGISTRY_RERAISE", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub reraise: bool,

    /// What COMMAND gets when the wrapper is killed; none: nothing
    #[arg(long, value_name = "SIGNAL", env = "SERVICE_REGISTRY_PARENT_DEATH_SIGNAL", hide_env_values = true)]
    #[arg(default_value = "SIGTERM")]
    pub parent_death_signal: String,

    /// Tell systemd that the service is ready, on behalf of a COMMAND that does not
    #[arg(long, value_name = "WHEN", env = "SERVICE_REGISTRY_NOTIFY_WHEN", hide_env_values = true)]
    pub notify_when: Option<NotifyWhen>,
}

/// Who gets signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// The child alone
    Child,
    /// The child and whoever is in its process group
    Group,
}

/// When systemd hears READY=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NotifyWhen {
    /// When the service is registered
    Registered,
    /// When COMMAND has been started
    Spawned,
}
