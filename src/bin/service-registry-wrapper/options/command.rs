//! The options about the command.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "Command")]
pub(crate) struct CommandOptions {
    /// Forward another signal instead of this one; TO 0 drops it; repeatable
    #[arg(long, value_name = "FROM:TO,...", env = "SERVICE_REGISTRY_REWRITE_SIGNAL", hide_env_values = true)]
    pub rewrite_signal: Vec<String>,

    /// Forward signals to the child's process group, or to the child alone, which then stays in the wrapper's group;
    /// auto: SIGTERM, SIGINT and job control to the group, all others to the child alone
    #[arg(long, value_name = "SCOPE", env = "SERVICE_REGISTRY_SIGNAL_SCOPE", hide_env_values = true)]
    #[arg(default_value = "auto")]
    pub signal_scope: Scope,

    /// On SIGTERM or SIGINT: time between the withdrawal from the registry and the signal to COMMAND
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_DRAIN_DELAY", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub drain_delay: String,

    /// Kill the remaining processes this long after SIGTERM or SIGINT, or after the exit of COMMAND; 0: never
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_TIMEOUT", hide_env_values = true)]
    #[arg(default_value = "8")]
    pub stop_timeout: String,

    /// Upper bound of withdrawal, drain delay and stop timeout together; 0: none
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_BUDGET", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub stop_budget: String,

    /// Do not terminate the remaining descendants of COMMAND
    #[arg(long, env = "SERVICE_REGISTRY_LEAVE_ORPHANS", hide_env_values = true)]
    pub leave_orphans: bool,

    /// Log each process that the wrapper reaps and has not started
    #[arg(long, env = "SERVICE_REGISTRY_WARN_ON_REAP", hide_env_values = true)]
    pub warn_on_reap: bool,

    /// Exit with another status than COMMAND; repeatable
    #[arg(long, value_name = "STATUS=STATUS,...", env = "SERVICE_REGISTRY_EXIT_MAP", hide_env_values = true)]
    pub exit_map: Vec<String>,

    /// Die of the signal that killed COMMAND, or that came before its start, instead of exiting with 128+n
    #[arg(long, env = "SERVICE_REGISTRY_RERAISE", hide_env_values = true)]
    pub reraise: bool,

    /// Signal that COMMAND gets when the wrapper is killed; none: no signal [default: SIGTERM; with --on-lost=stop:
    /// SIGKILL]
    #[arg(long, value_name = "SIGNAL", env = "SERVICE_REGISTRY_PARENT_DEATH_SIGNAL", hide_env_values = true)]
    pub parent_death_signal: Option<String>,

    /// Start a second process that kills COMMAND and its descendants when the wrapper is killed; --on-lost=stop does so
    /// too
    #[arg(long, env = "SERVICE_REGISTRY_WATCHDOG", hide_env_values = true)]
    pub watchdog: bool,

    /// Notify systemd that the service is ready, for a COMMAND that does not do it itself
    #[arg(long, value_name = "WHEN", env = "SERVICE_REGISTRY_NOTIFY_WHEN", hide_env_values = true)]
    pub notify_when: Option<NotifyWhen>,

    /// Pid file of a COMMAND that replaces itself or goes into the background: when its main process exits, the
    /// descendant that the file names follows it
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_PID_FILE", hide_env_values = true)]
    pub pid_file: Option<OsString>,
}

/// The receivers of forwarded signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// The group for what ends or suspends it, the child alone for other signals
    Auto,
    /// The child alone, in the wrapper's process group
    Child,
    /// The child and its process group
    Group,
}

/// When systemd gets READY=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NotifyWhen {
    /// When the service is registered
    Registered,
    /// When COMMAND has been started
    Spawned,
}
