//! The command line. Reading it touches nothing but the arguments and the environment. An empty variable counts as not
//! given, so that `SERVICE_REGISTRY_USERS=` in a container file is harmless.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, Command as Parsed, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use service_registry::registry::TrustedProxy;
use service_registry::variables;
use tracing_subscriber::filter::LevelFilter;

use crate::{exit, logging};

/// The service registry: service-registry-wrapper and other clients of the v1.0 API register in it.
#[derive(Debug, Parser)]
#[command(name = "service-registry", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) log: Log,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// Reads arguments and environment; exits if they are wrong, or ask for help.
    pub(super) fn read() -> Self {
        let command = adapted(Self::command());
        let matches = command.clone().try_get_matches().unwrap_or_else(|error| exit_with(&error));
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| exit_with(&error));
        if let (Command::Serve(serve), Some((name, given))) = (&mut cli.command, matches.subcommand()) {
            let options = command.find_subcommand(name).into_iter().flat_map(Parsed::get_arguments);
            let of_environment =
                options.filter(|option| given.value_source(option.get_id().as_str()) == Some(ValueSource::EnvVariable));
            serve.variables = of_environment
                .filter_map(|option| Some((option.get_id().to_string(), option.get_env()?.to_str()?.to_owned())))
                .collect();
        }
        cli
    }
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
        .mut_args(|option| variables::accept_words(if is_empty(&option) { option.env(None::<&str>) } else { option }))
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
    Serve(Serve),
    /// Copy a registry into a file, also while it runs
    ///
    /// The file is complete or does not exist. It replaces a regular file of the same name, and no other kind of file.
    Backup(Backup),
    /// Verify a copy, and make it the registry of a data directory
    ///
    /// No registry may be running in the directory. Every session gets its full timeout again.
    Restore(Restore),
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
    /// Print the hash of the key on stdin, for `api_key_hash` or `password_hash` in the users file
    HashKey,
}

#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "SERVICE_REGISTRY_LISTEN",
        default_value_t = format!("127.0.0.1:{}", service_registry::wire::DEFAULT_PORT)
    )]
    pub(super) listen: String,
    /// Users file (TOML); without it every client on this machine has access
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_USERS")]
    pub(super) users: Option<PathBuf>,
    /// Data directory; default: that of the systemd unit, /var/lib/service-registry for root, else in the user's home
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Keep all data in memory, also with --data-dir: it is lost at the exit
    #[arg(long, env = "SERVICE_REGISTRY_IN_MEMORY")]
    pub(super) in_memory: bool,
    /// How long events are kept: a number followed by s, m, h or d, such as 12h
    #[arg(long, value_name = "DURATION", env = "SERVICE_REGISTRY_EVENTS_RETENTION", default_value = "30d", value_parser = duration)]
    pub(super) events_retention: Duration,
    /// Without --users: allow other machines as well
    #[arg(long, env = "SERVICE_REGISTRY_OPEN")]
    pub(super) open: bool,
    /// Without --users: a host name under which clients reach this machine; repeatable, or separated by ','
    ///
    /// Requests for other names are refused. Loopback names and addresses of this machine need not be given.
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_HOST_NAMES", value_delimiter = ',')]
    pub(super) host_name: Vec<String>,
    /// Address of a trusted proxy, whose X-Forwarded-For or Forwarded counts; repeatable, or separated by ','
    ///
    /// Failed logins then count for the client's address instead of the proxy's.
    #[arg(long, value_name = "ADDRESS[/BITS]", env = "SERVICE_REGISTRY_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(super) trusted_proxy: Vec<TrustedProxy>,
    /// Serve TLS: file with the certificate and the intermediate ones (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_CERT", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,
    /// File with the certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_KEY", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
    /// Require client certificates that one of these authorities has signed (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_CLIENT_CA", requires = "tls_cert")]
    pub(super) tls_client_ca: Option<PathBuf>,
    /// Most open connections; if there is one more, an idle one is closed
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_MAX_CONNECTIONS", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_connections: u32,
    /// Hide events that old clients do not know
    ///
    /// That is `service.remove` for a service in a session: some old clients stop reading the feed at it. Hides also
    /// the members of events that the original did not have (cause, reason, client), and the types that are listed on
    /// request.
    #[arg(long, env = "SERVICE_REGISTRY_STRICT_FEED")]
    pub(super) strict_feed: bool,
    /// Members of services in lists
    #[arg(long, value_name = "SHAPE", env = "SERVICE_REGISTRY_SERVICE_SHAPE", default_value = "form")]
    pub(super) service_shape: Shape,
    /// Accept heartbeats for the sessions `null` and `None` as those of the token's owner
    ///
    /// Some old clients send them; otherwise the response is 404, and their sessions expire.
    #[arg(long, env = "SERVICE_REGISTRY_LENIENT_HEARTBEATS")]
    pub(super) lenient_heartbeats: bool,
    /// The options that came from the environment, with the names of their variables.
    #[arg(skip)]
    variables: Vec<(String, String)>,
}

impl Serve {
    /// Returns the name that the user wrote: `--listen`, or `SERVICE_REGISTRY_LISTEN`.
    pub(super) fn origin(&self, option: &str) -> String {
        let variable = self.variables.iter().find(|(id, _)| id == option).map(|(_, variable)| variable.clone());
        variable.unwrap_or_else(|| format!("--{}", option.replace('_', "-")))
    }
}

/// The members of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Those of the form in which they were created
    Form,
    /// Those of both forms, for old clients that want them
    Union,
}

#[derive(Args, Debug)]
pub(super) struct Backup {
    /// The file to write
    pub(super) file: PathBuf,
    /// Data directory of the registry; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The file to read
    pub(super) file: PathBuf,
    /// Data directory to restore to; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Replace the registry in the directory
    #[arg(long)]
    pub(super) force: bool,
}

/// The wrapper to ask.
#[derive(Args, Debug)]
pub(super) struct Wrapper {
    /// The service id of the wrapper
    pub(super) id: Option<String>,
    /// Without an id: the wrapper's --status-socket
    #[arg(long, value_name = "PATH", env = "SERVICE_REGISTRY_STATUS_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) wrapper: Wrapper,
    /// Form of the list of all wrappers
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(super) output: Output,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A table for people
    Table,
    /// A JSON array
    Json,
}

#[derive(Args, Debug)]
pub(super) struct Maintenance {
    /// on: out of the registry; off: back into it
    pub(super) switch: Switch,
    #[command(flatten)]
    pub(super) wrapper: Wrapper,
    /// Why, for those who look at the state of the wrapper: at most 200 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
}

#[derive(Args, Debug)]
pub(super) struct Update {
    #[command(flatten)]
    pub(super) wrapper: Wrapper,
    /// All tags, separated by ','; an empty value removes them
    #[arg(short, long, value_name = "TAG,...")]
    pub(super) tags: Option<String>,
    /// The whole metadata, separated by ','; an empty value removes it
    #[arg(short, long, value_name = "KEY=VALUE,...")]
    pub(super) metadata: Option<String>,
}

/// The state of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// The service is kept out of the registry
    On,
    /// The service is in the registry
    Off,
}

/// Parses `90s`, `15m`, `12h`, `30d`. A bare number is refused, since its unit would be a guess.
fn duration(text: &str) -> Result<Duration, String> {
    let rule = "give a number with s, m, h or d behind it, as in 12h or 30d";
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(rule)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule.into()),
    };
    let number: u32 = number.parse().map_err(|_| rule)?;
    if number == 0 { Err("it must not be 0".into()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
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
        let command = Cli::command();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            for variable in command.get_arguments().filter_map(Arg::get_env) {
                assert!(variables::is_known(variable.to_str().unwrap()), "{}", variable.display());
            }
        }
    }

    #[test]
    fn duration_without_a_unit_is_refused() {
        let seconds = |text| duration(text).ok().map(|duration| duration.as_secs());
        assert_eq!(["1s", "15m", "12h", "30d"].map(seconds), [Some(1), Some(900), Some(43_200), Some(2_592_000)]);
        assert_eq!(["", "30", "d", "0d", "-1d", "1.5h", "1w", "30 d", "3ö"].map(seconds), [None; 9]);
    }
}
