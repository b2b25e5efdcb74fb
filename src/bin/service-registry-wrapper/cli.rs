//! The options as they are typed: what they are called, where else they may come from, what `--help` says.
//!
//! Reading them touches nothing but the arguments and the environment. `plan` makes a working configuration of
//! them. An empty variable counts as not given, so that `SERVICE_REGISTRY_TAGS=` in a container file is harmless.

use std::ffi::{OsStr, OsString};

use clap::builder::BoolishValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};

const AFTER_HELP: &str = "\
Every option has an environment variable; the command line wins. What follows the first bare word belongs to COMMAND.

Exit status: that of COMMAND; 128+n when signal n killed it; 2 for wrong options, 100 when \
--abort-on-failure is set and the service could not be registered, 125 when the wrapper itself failed, \
126 when COMMAND cannot be executed, 127 when it is not found.";

/// Make a program discoverable: register it in a service registry, run it, heartbeat while it runs, exit with its status
#[derive(Debug, Parser)]
#[command(name = "service-registry-wrapper", version, after_help = AFTER_HELP, max_term_width = 120)]
#[command(override_usage = "service-registry-wrapper --id=ID [OPTIONS] [--] COMMAND [ARG]...")]
pub(crate) struct Options {
    /// Service id: 3 to 65 of letters, digits, '_', '-', '.'
    #[arg(long, value_name = "ID", env = "SERVICE_REGISTRY_ID", hide_env_values = true)]
    pub id: Option<String>,

    /// Labels to find the service by: at most 10 of 1 to 55 characters, separated by ','; repeatable
    #[arg(short, long, value_name = "TAG,...", env = "SERVICE_REGISTRY_TAGS", hide_env_values = true)]
    pub tags: Vec<String>,

    /// What the service says about itself: at most 20 pairs, separated by ',' (write '\,' for a comma in a value);
    /// the first '=' splits; repeatable
    #[arg(short, long, value_name = "KEY=VALUE,...", env = "SERVICE_REGISTRY_METADATA", hide_env_values = true)]
    pub metadata: Vec<String>,

    /// The same, for the session
    #[arg(long, value_name = "KEY=VALUE,...", env = "SERVICE_REGISTRY_SESSION_METADATA", hide_env_values = true)]
    pub session_metadata: Vec<String>,

    /// Heartbeat timeout in seconds, 3 to 120: this long after the last heartbeat the registry drops the service
    #[arg(short, long, value_name = "SECONDS", env = "SERVICE_REGISTRY_INTERVAL", hide_env_values = true)]
    #[arg(default_value = "30")]
    pub interval: String,

    /// Do not start COMMAND before the service is registered; exit 100 when it cannot be
    #[arg(long, env = "SERVICE_REGISTRY_ABORT_ON_FAILURE", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub abort_on_failure: bool,

    /// With --abort-on-failure: how often registering is attempted, 2 seconds apart
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_RETRIES", hide_env_values = true)]
    pub retries: Option<String>,

    /// What an unreachable registry means for the start: start (after 2 seconds at most), wait:SECONDS, or fail
    /// (exit 100; the same as --abort-on-failure)
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_REGISTRY_DOWN", hide_env_values = true)]
    pub on_registry_down: Option<String>,

    /// The registry; of several, separated by ',', the next is tried when one does not answer. Without it:
    /// http://127.0.0.1:7117, hosted by the wrapper itself when nothing listens there
    #[arg(long, value_name = "URL,...", env = "SERVICE_REGISTRY_URL", hide_env_values = true)]
    pub registry_url: Vec<String>,

    /// Folder in which a wrapper leaves word of its session, so that its successor can retire it at once
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<OsString>,

    /// Take the id over from whoever holds it
    #[arg(long, env = "SERVICE_REGISTRY_REPLACE", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub replace: bool,

    /// When heartbeats are not accepted any more: keep COMMAND running, or stop it before its place can be given away
    /// (exit 100) [default: keep; with --abort-on-failure: stop]
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_LOST", hide_env_values = true)]
    pub on_lost: Option<OnLost>,

    /// When COMMAND has exited: let the registration expire, or deregister at once
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_EXIT", hide_env_values = true)]
    #[arg(default_value = "expire")]
    pub on_exit: OnExit,

    /// On SIGTERM or SIGINT: wait so long between the withdrawal from the registry and passing the signal on
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_DRAIN_DELAY", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub drain_delay: String,

    /// The most that withdrawal, delay and stop timeout may take together; 0: no bound
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_BUDGET", hide_env_values = true)]
    #[arg(default_value = "0")]
    pub stop_budget: String,

    /// Where to listen for `service-registry status` and `service-registry maintenance`
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_STATUS_SOCKET", hide_env_values = true)]
    pub status_socket: Option<OsString>,

    /// Where to log in, when that is not the registry's own origin
    #[arg(long, value_name = "URL", env = "SERVICE_REGISTRY_AUTH_URL", hide_env_values = true)]
    pub auth_url: Option<String>,

    /// Log in at the Rackspace identity endpoint of this region
    #[arg(long, value_name = "REGION", env = "SERVICE_REGISTRY_REGION", hide_env_values = true)]
    #[arg(ignore_case = true)]
    pub region: Option<Region>,

    /// User name to log in with; without one there is no login
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_USERNAME", hide_env_values = true)]
    pub username: Option<String>,

    /// API key; everybody on the machine can read it in the process list, so prefer --api-key-file
    #[arg(long, value_name = "KEY", env = "SERVICE_REGISTRY_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// File that holds the API key
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_API_KEY_FILE", hide_env_values = true)]
    pub api_key_file: Option<OsString>,

    /// Pass on another signal than came in; TO 0 drops it; repeatable
    #[arg(long, value_name = "FROM:TO,...", env = "SERVICE_REGISTRY_REWRITE_SIGNAL", hide_env_values = true)]
    pub rewrite_signal: Vec<String>,

    /// Who gets signals: the child's process group, or the child alone, which then stays in the wrapper's group
    #[arg(long, value_name = "SCOPE", env = "SERVICE_REGISTRY_SIGNAL_SCOPE", hide_env_values = true)]
    #[arg(default_value = "group")]
    pub signal_scope: Scope,

    /// What is left is killed so many seconds after SIGTERM or SIGINT, or after the end of COMMAND; 0: never
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_STOP_TIMEOUT", hide_env_values = true)]
    #[arg(default_value = "10")]
    pub stop_timeout: String,

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

    /// Die of the signal that killed COMMAND, instead of exiting with 128+n
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
    /// File of authorities (PEM) that https may trust besides the system's
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<OsString>,

    /// File with the certificate (PEM) to show to a registry that asks for one
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_CERT", hide_env_values = true)]
    pub client_cert: Option<OsString>,

    /// File with the private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_KEY", hide_env_values = true)]
    pub client_key: Option<OsString>,

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

    /// The program to run, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true)]
    pub command: Vec<OsString>,

    /// Which options came from the environment, so that a complaint names what the user wrote.
    #[arg(skip)]
    from_environment: Vec<String>,
}

/// Who gets signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// The child alone
    Child,
    /// The child and whoever is in its process group
    Group,
}

/// What the loss of the registration means for the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// It runs on
    Keep,
    /// It is stopped before the registry can give its place away
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

/// When systemd hears READY=1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NotifyWhen {
    /// When the service is registered
    Registered,
    /// When COMMAND has been started
    Spawned,
}

/// Which of Rackspace's identity endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Region {
    /// United States
    Us,
    /// United Kingdom
    Uk,
}

/// How messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of prose
    Text,
    /// One JSON object a line
    Json,
}

/// Environment variables that hold or lead to a secret: the child does not get them.
pub(crate) const CREDENTIALS: [&str; 5] = [
    "SERVICE_REGISTRY_USERNAME",
    "SERVICE_REGISTRY_API_KEY",
    "SERVICE_REGISTRY_API_KEY_FILE",
    "SERVICE_REGISTRY_CLIENT_CERT",
    "SERVICE_REGISTRY_CLIENT_KEY",
];

/// Options of which one given on the command line silences the other one when that comes from the environment.
const RIVALS: [[&str; 2]; 3] = [["api_key", "api_key_file"], ["auth_url", "region"], ["verbose", "quiet"]];

impl Options {
    /// Reads arguments and environment.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        // The environment is gone through once; mostly there is nothing to do about it.
        for (name, value) in std::env::vars_os().filter(|(name, value)| is_odd(name, value)) {
            command = if value.is_empty() { without(command, &name) } else { command };
            if is_unreadable(&command, &name, &value) {
                let told = format!("the variable {} is not UTF-8; write it anew", name.display());
                return Err(command.error(ErrorKind::InvalidUtf8, told));
            }
        }
        let matches = command.try_get_matches_from(arguments)?;
        let mut options = Self::from_arg_matches(&matches)?;
        for [one, other] in RIVALS {
            if typed(&matches, one) && !typed(&matches, other) {
                options.forget(other);
            } else if typed(&matches, other) && !typed(&matches, one) {
                options.forget(one);
            }
        }
        options.from_environment = matches
            .ids()
            .filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable))
            .map(ToString::to_string)
            .collect();
        Ok(options)
    }

    /// What the user wrote: `--interval`, or `SERVICE_REGISTRY_INTERVAL`.
    pub(crate) fn origin(&self, option: &str) -> String {
        if self.from_environment.iter().any(|id| id == option) {
            let name = if option == "registry_url" { "url" } else { option };
            format!("SERVICE_REGISTRY_{}", name.to_uppercase())
        } else {
            format!("--{}", option.replace('_', "-"))
        }
    }

    fn forget(&mut self, option: &str) {
        match option {
            "api_key" => self.api_key = None,
            "api_key_file" => self.api_key_file = None,
            "auth_url" => self.auth_url = None,
            "region" => self.region = None,
            "verbose" => self.verbose = 0,
            _ => self.quiet = 0,
        }
    }
}

/// Of ours, and empty or no text.
fn is_odd(name: &OsStr, value: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"SERVICE_REGISTRY_") && (value.is_empty() || value.to_str().is_none())
}

/// An empty variable is as good as none.
fn without(command: Command, variable: &OsStr) -> Command {
    let reads = |option: &&Arg| option.get_env() == Some(variable);
    let id = command.get_arguments().find(reads).map(|option| option.get_id().clone());
    match id {
        Some(id) => command.mut_arg(id, |option| option.env(None::<&str>)),
        None => command,
    }
}

/// Whether a variable that should be text is none. Names of files need not be.
fn is_unreadable(command: &Command, variable: &OsStr, value: &OsStr) -> bool {
    let files = ["api_key_file", "ca_file", "client_cert", "client_key", "state_dir", "status_socket"];
    let mut texts = command.get_arguments().filter(|option| !files.contains(&option.get_id().as_str()));
    value.to_str().is_none() && texts.any(|option| option.get_env() == Some(variable))
}

fn typed(matches: &ArgMatches, option: &str) -> bool {
    matches.value_source(option) == Some(ValueSource::CommandLine)
}
