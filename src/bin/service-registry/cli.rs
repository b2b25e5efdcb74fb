//! The command line. Reading it touches nothing but the arguments and the environment. An empty variable counts as not
//! given, so that `SERVICE_REGISTRY_USERS=` in a container file is harmless.

use std::io::{Write, stdout};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command as Parsed, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use service_registry::connection::Origins;
use service_registry::variables;
use tracing_subscriber::filter::LevelFilter;

use crate::commands::acting::deregister::Deregister;
use crate::commands::acting::lock::Lock;
use crate::commands::acting::register::Register;
use crate::commands::acting::render::Render;
use crate::commands::acting::wait::Wait;
use crate::commands::acting::watch::Watch;
#[cfg(feature = "etcd")]
use crate::commands::cluster::Cluster;
use crate::commands::completions::Completions;
use crate::commands::config_file::ConfigFile;
use crate::commands::reading::config::Config;
use crate::commands::reading::events::Events;
use crate::commands::reading::limits::Limits;
use crate::commands::reading::overview::Overview;
use crate::commands::reading::services::Services;
use crate::commands::reading::sessions::Sessions;
use crate::commands::wrapper::{Maintenance, Status, Update};
use crate::copies::{Backup, Restore};
use crate::serve::Serve;
use crate::{exit, logging};

/// The service registry: service-registry-wrapper and other clients of the v1.0 API register in it.
#[derive(Debug, Parser)]
#[command(name = "service-registry", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) log: Log,
    #[command(subcommand)]
    pub(super) command: Command,
    /// What the user wrote for the values of the command's options.
    #[arg(skip)]
    pub(super) origins: Origins,
}

impl Cli {
    /// Reads arguments and environment; exits if they are wrong, or ask for help.
    pub(super) fn read() -> Self {
        let command = adapted(Self::command());
        let matches = command.clone().try_get_matches().unwrap_or_else(|error| exit_with(&error));
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| exit_with(&error));
        let (command, matches) = innermost(&command, &matches);
        cli.origins = Origins::of(command, matches);
        cli
    }

    /// Returns the command line as the shells complete it.
    pub(super) fn for_completion() -> Parsed {
        adapted(Self::command())
    }
}

/// Returns the command that was given, and the values of its options.
fn innermost<'a>(mut command: &'a Parsed, mut matches: &'a ArgMatches) -> (&'a Parsed, &'a ArgMatches) {
    while let Some((name, given)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else { break };
        (command, matches) = (found, given);
    }
    (command, matches)
}

/// Prints the help, the version, or what is wrong with the options, and exits.
fn exit_with(error: &clap::Error) -> ! {
    let printed = error.print().and_then(|()| stdout().flush());
    let status = match (error.exit_code(), printed) {
        (0, Err(error)) => {
            logging::tell(&format!("writing to stdout: {error}"));
            exit::FAILURE.into()
        }
        (status, _) => status,
    };
    std::process::exit(status)
}

/// Switches accept words, an empty variable counts as not given, and the help has no values of the environment.
fn adapted(command: Parsed) -> Parsed {
    let is_empty = |option: &Arg| option.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|option| if is_empty(&option) { option.env(None::<&str>) } else { option })
        // A short name takes no word behind it.
        .mut_args(|option| if option.get_short().is_some() { option } else { variables::accept_words(option) })
        .mut_args(|option| option.hide_env_values(true))
        .mut_subcommands(adapted)
}

/// The options of the log.
#[derive(Args, Debug)]
#[command(next_help_heading = "Messages")]
pub(super) struct Log {
    /// Format of log lines
    #[arg(long, value_name = "FORMAT", env = "SERVICE_REGISTRY_LOG_FORMAT", default_value = "text", global = true)]
    pub(super) log_format: Format,
    /// Log more (twice: everything)
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_VERBOSE", global = true)]
    pub(super) verbose: u8,
    /// Log less (twice: errors only)
    #[arg(short, long, action = ArgAction::Count, env = "SERVICE_REGISTRY_QUIET", global = true)]
    #[arg(conflicts_with = "verbose")]
    pub(super) quiet: u8,
}

impl Log {
    pub(super) fn level(&self) -> LevelFilter {
        match (self.verbose, self.quiet) {
            (0, 0) => LevelFilter::INFO,
            (1, _) => LevelFilter::DEBUG,
            (2.., _) => LevelFilter::TRACE,
            (_, 1) => LevelFilter::WARN,
            (_, _) => LevelFilter::ERROR,
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Text
    Text,
    /// A JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the registry until SIGTERM or SIGINT
    ///
    /// Prints `listening on http://ADDRESS:PORT` once clients can connect.
    Serve(Box<Serve>),
    /// Copy a registry into a file, also while it runs
    ///
    /// The file is complete or does not exist. It replaces a regular file of the same name, and no other kind of file.
    Backup(Backup),
    /// Verify a copy, and make it the registry of a data directory
    ///
    /// No registry may be running in the directory. Every session gets its full timeout again.
    Restore(Restore),
    /// Show the nodes of a cluster, its shards and the members of etcd, also while no node runs
    #[cfg(feature = "etcd")]
    Cluster(Cluster),
    /// Print the state of a wrapper as JSON, or of all wrappers of this machine as a table
    Status(Status),
    /// Take the service of a running wrapper out of the registry, or put it back
    ///
    /// With --state-dir, the wrapper keeps this over restarts.
    Maintenance(Maintenance),
    /// Change the tags or the metadata of a running wrapper's service, without touching the program
    ///
    /// The next start of the wrapper has those of its options again.
    Update(Update),
    /// List the services, or show one
    Services(Services),
    /// List the sessions, or show one
    Sessions(Sessions),
    /// List the sessions with their services
    Overview(Overview),
    /// List the events of the last hour, or follow them
    Events(Events),
    /// Read and change the configuration values that the registry keeps
    Config(Config),
    /// Show the limits of the account, and their use
    Limits(Limits),
    /// Show what the configuration files of the clients say, and what counts of it
    ConfigFile(ConfigFile),
    /// Print the script by which a shell completes words
    Completions(Completions),
    /// Wait until there are services, then become a command
    Wait(Wait),
    /// Print the services, or run a command, at the start and at each change
    Watch(Watch),
    /// Write files from templates and the services, for proxies and others, at the start and at each change
    Render(Render),
    /// Run a command while no other process of the fleet holds the lock
    Lock(Lock),
    /// Keep a service registered that cannot be wrapped, until SIGTERM or SIGINT
    Register(Register),
    /// Remove services from the registry
    Deregister(Deregister),
    /// Print the hash of the key on stdin, for `api_key_hash` or `password_hash` in the users file
    HashKey,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_variable_is_known() {
        fn check(command: &Parsed) {
            for variable in command.get_arguments().filter_map(Arg::get_env) {
                assert!(variables::is_known(variable.to_str().unwrap()), "{}", variable.display());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
        assert!(variables::is_known(crate::commands::completions::VARIABLE));
    }
}
