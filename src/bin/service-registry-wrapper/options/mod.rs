//! The command line and the environment: options, variables, `--help`.
//!
//! Reading them opens nothing and contacts nothing. `config` and `child_config` check them, and are the configuration
//! of the wrapper. An empty variable counts as not given, so that `SERVICE_REGISTRY_TAGS=` in a container file is
//! harmless.

mod child_config;
mod command;
mod config;
mod health;
mod logging;
mod readiness;
mod registration;
mod service;

pub(crate) use child_config::ChildConfig;
pub(crate) use config::{LogSettings, OnRegistryDown, WrapperConfig};

use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use service_registry::connection::{CONFIG_VARIABLE, ConfigFiles, Origins, RegistryOptions, Secret};
use service_registry::variables;

pub(crate) use command::{CommandOptions, NotifyWhen, Scope};
pub(crate) use health::{Check, Health, HealthOptions, OnUnhealthy};
pub(crate) use logging::{LogFormat, LoggingOptions};
pub(crate) use readiness::{OnNotReady, Readiness, ReadinessOptions, RegisterWhen};
pub(crate) use registration::{OnExit, OnLost, RegistrationOptions};
pub(crate) use service::Service;
pub(super) use service::ServiceOptions;

const AFTER_HELP: &str = "\
Every option has an environment variable; the command line takes precedence. All words from the first bare word on belong to COMMAND.

Exit status: that of COMMAND, or 128+n if signal n killed it; 2: wrong options; 100: with --abort-on-failure the service could \
not be registered, with --on-lost=stop not be kept registered, with --on-not-ready=stop COMMAND was not ready in time, or with --on-unhealthy=stop was unhealthy; 125: the wrapper itself failed; 126: COMMAND cannot be \
executed; 127: COMMAND was not found.";

/// Make a program discoverable: register it in a service registry, run it, heartbeat while it runs, exit with its
/// status
#[derive(Debug, Parser)]
#[command(name = "service-registry-wrapper", version, after_help = AFTER_HELP, max_term_width = 120)]
#[command(override_usage = "service-registry-wrapper --id=ID [OPTIONS] [--] COMMAND [ARG]...")]
pub(super) struct Options {
    #[command(flatten)]
    pub service: ServiceOptions,

    #[command(flatten)]
    pub registration: RegistrationOptions,

    #[command(flatten)]
    pub readiness: ReadinessOptions,

    #[command(flatten)]
    pub health: HealthOptions,

    #[command(flatten)]
    pub registry: RegistryOptions,

    #[command(flatten)]
    pub parent: CommandOptions,

    #[command(flatten)]
    pub logging: LoggingOptions,

    /// The program to run, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true, help_heading = "Arguments")]
    pub command: Vec<OsString>,

    /// The origins of values, so that an error names what the user wrote.
    #[arg(skip)]
    origins: Origins,

    /// Without a URL, the wrapper may host the registry itself: the files that could name one were read.
    #[arg(skip = true)]
    may_host: bool,

    /// Warnings about variables without effect, and files that could not be read in time.
    #[arg(skip)]
    early_warnings: Vec<String>,
}

#[cfg(feature = "registry")]
const DEFAULT_REGISTRY: &str = "The registry; of several, separated by ',', the next one is tried if one does not answer. \
                                Default: http://127.0.0.1:7117, hosted by the wrapper itself if nothing listens there";
#[cfg(not(feature = "registry"))]
const DEFAULT_REGISTRY: &str = "The registry; of several, separated by ',', the next one is tried if one does not answer. \
                                Default: http://127.0.0.1:7117 (in a container, that is the container itself)";

/// Environment variables that contain or lead to a secret. The child does not get them.
pub(super) const CREDENTIALS: [&str; 6] = [
    "SERVICE_REGISTRY_USERNAME",
    "SERVICE_REGISTRY_API_KEY",
    "SERVICE_REGISTRY_API_KEY_FILE",
    "SERVICE_REGISTRY_CLIENT_CERT",
    "SERVICE_REGISTRY_CLIENT_KEY",
    CONFIG_VARIABLE,
];

/// Returns whether a variable is withheld from the child.
pub(super) fn is_withheld(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(variables::is_of_one_command) || CREDENTIALS.iter().any(|secret| variable == *secret)
}

/// The one that is a secret itself.
#[cfg_attr(test, expect(dead_code, reason = "tests have a `main` of their own"))]
pub(super) const API_KEY: &str = CREDENTIALS[1];

impl Options {
    /// Reads arguments and environment.
    pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command().mut_args(|option| match option.get_id().as_str() {
            "registry_url" => option.help(DEFAULT_REGISTRY),
            _ => variables::accept_words(option),
        });
        // The environment is searched once; usually nothing has to be done about it.
        let mut unknown = Vec::new();
        for (name, value) in std::env::vars_os().filter(|(name, _)| is_own(name)) {
            if let Some(name) = name.to_str().filter(|name| !variables::is_known(name)) {
                unknown.push(variables::warning(name));
            }
            if !value.is_empty() && value.to_str().is_some() {
                continue;
            }
            command = if value.is_empty() { without(command, &name) } else { command };
            if is_unreadable(&command, &name, &value) {
                let text = format!("the variable {} is not UTF-8; write it again", name.display());
                return Err(command.error(ErrorKind::InvalidUtf8, text));
            }
        }
        let mut garbled = None; // kept apart: no copy of the arguments, which may hold a key
        let arguments = arguments.into_iter().inspect(|argument| {
            if garbled.is_none() && argument.to_str().is_none() {
                garbled = Some(argument.clone());
            }
        });
        let matches = command.try_get_matches_from_mut(arguments);
        let matches = matches.map_err(|error| match (error.kind(), &garbled) {
            (ErrorKind::InvalidUtf8, Some(garbled)) => {
                let text = format!("the argument {} is not UTF-8; write it again", garbled.display());
                command.error(ErrorKind::InvalidUtf8, text)
            }
            _ => name_variable(&command, error),
        })?;
        let mut options = Self::from_arg_matches(&matches)?;
        // Either of them overrides the other one from the environment.
        match (typed(&matches, "verbose"), typed(&matches, "quiet")) {
            (true, false) => options.logging.quiet = 0,
            (false, true) => options.logging.verbose = 0,
            _ => {}
        }
        options.origins = Origins::of(&command, &matches);
        options.early_warnings = unknown;
        options.registry.keep_key();
        options.registry.settle_rivals(&options.origins);
        Ok(options)
    }

    /// Restores the key from the environment, which was overwritten before the options were read. Returns the key if it
    /// was typed.
    pub(super) fn take_key(&mut self, from_environment: Option<Secret>) -> Option<&Secret> {
        if self.origins.is_variable("api_key") {
            if self.registry.key.is_some() {
                self.registry.key = from_environment;
            }
            return None;
        }
        self.registry.key.as_ref()
    }

    /// Returns the name that the user wrote: `--interval`, or `SERVICE_REGISTRY_INTERVAL`.
    pub(super) fn origin(&self, option: &str) -> String {
        self.origins.name(option)
    }

    /// Adds what the configuration files say and neither the command line nor a variable does.
    pub(super) fn read_config_files(&mut self) -> Result<(), anyhow::Error> {
        let read = ConfigFiles::read()?;
        for (place, why) in &read.skipped {
            self.may_host = false; // the file may name a registry
            self.early_warnings.push(format!("configuration file {} is not read: {why}", place.path.display()));
        }
        read.complete(&mut self.registry, &mut self.origins)?;
        Ok(())
    }

    /// Returns the first word of the command, and the first of its arguments that looks like an option of the wrapper.
    fn behind_command(&self) -> Option<(&OsStr, &OsStr)> {
        let (first, arguments) = self.command.split_first()?;
        let command = Self::command();
        let is_own = |argument: &&OsString| {
            let name = argument.to_str().and_then(|text| text.strip_prefix("--")?.split('=').next());
            name.is_some_and(|name| command.get_arguments().any(|option| option.get_long() == Some(name)))
        };
        Some((first, arguments.iter().find(is_own)?))
    }
}

/// Returns a value unless it is empty.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

fn is_own(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(variables::PREFIX.as_bytes())
}

/// Removes an empty variable.
fn without(command: Command, variable: &OsStr) -> Command {
    let reads = |option: &&Arg| option.get_env() == Some(variable);
    let id = command.get_arguments().find(reads).map(|option| option.get_id().clone());
    match id {
        Some(id) => command.mut_arg(id, |option| option.env(None::<&str>)),
        None => command,
    }
}

/// Returns whether a variable is not UTF-8 that must be. Names of files need not be.
fn is_unreadable(command: &Command, variable: &OsStr, value: &OsStr) -> bool {
    let files = RegistryOptions::FILES.iter().chain(&["pid_file", "state_dir", "status_socket"]);
    let is_file = |option: &&Arg| files.clone().any(|file| option.get_id() == file);
    let mut texts = command.get_arguments().filter(|option| !is_file(option));
    value.to_str().is_none() && texts.any(|option| option.get_env() == Some(variable))
}

/// Replaces the option in clap's error by the variable that was wrong.
fn name_variable(command: &Command, mut error: clap::Error) -> clap::Error {
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::Suggested); // to write `-- --tag` would make it the command
    }
    let context = |kind| error.get(kind).map(ToString::to_string);
    if let (Some(option), Some(value)) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue)) {
        let found = command.get_arguments().find(|known| known.to_string() == option).and_then(Arg::get_env);
        if let Some(variable) = found.filter(|variable| std::env::var_os(variable) == Some(value.into())) {
            error.insert(ContextKind::InvalidArg, ContextValue::String(variable.display().to_string()));
        }
    }
    error
}

fn typed(matches: &ArgMatches, option: &str) -> bool {
    matches.value_source(option) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_service_and_its_command_are_withheld() {
        for option in Options::command().get_arguments() {
            let Some(variable) = option.get_env() else { continue };
            let heading = option.get_help_heading().unwrap_or_default();
            let is_own = ["Service", "Registration", "Readiness", "Health", "Command"].contains(&heading);
            let is_of_one_command = variables::is_of_one_command(variable.to_str().unwrap());
            assert_eq!(is_of_one_command, is_own && option.get_id() != "status_socket", "{}", variable.display());
        }
    }

    #[test]
    fn every_variable_is_known() {
        for variable in Options::command().get_arguments().filter_map(Arg::get_env) {
            assert!(variables::is_known(variable.to_str().unwrap()), "{}", variable.display());
        }
    }
}
