//! `service-registry lock`: runs a command while no other process of the fleet runs one under the same id.
//!
//! It becomes the wrapper, which does all of it: a service id has one holder, and with `--on-lost=stop` the wrapper
//! ends the command before another process can have the id.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use service_registry::connection::{ConfigFiles, Origins, RegistryOptions, default_url};
use service_registry::{description, variables};

use super::following::process;
use super::time::{self, Limit};
use crate::cli::{Format, Log};
use crate::exit::Failure;

const WRAPPER: &str = "service-registry-wrapper";

/// The pause between two attempts of the wrapper.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  service-registry lock migration -- ./migrate
  service-registry lock nightly-report --wait 0 -- ./report";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Lock {
    /// The id of the lock, which is that of a service: 3 to 65 of letters, digits, '_', '-', '.'
    id: String,
    /// How long to wait for the lock: a time such as 30s, or forever; 0 for one attempt
    #[arg(long, value_name = "TIME", default_value = "forever", value_parser = time::limit)]
    wait: Limit,
    /// Heartbeat timeout in seconds, 3 to 120: after a crash of the holder's machine, the lock is free this much later
    #[arg(short, long, value_name = "SECONDS", default_value = "30", value_parser = interval)]
    interval: u32,
    /// The program to run while the lock is held, and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// Replaces this process by the wrapper. Returns only if that fails.
pub(crate) fn run(options: Lock, origins: Origins, log: &Log) -> Result<(), Failure> {
    description::check_id(&options.id).map_err(Failure::usage)?;
    let program = wrapper();
    let mut wrapper = Command::new(&program);
    // What the environment says about another command could break the lock: SERVICE_REGISTRY_REPLACE=true.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(variables::is_of_one_command) {
            wrapper.env_remove(name);
        }
    }
    for (name, value) in registry_variables(options.registry, origins)?.into_iter().chain(log_variables(log)) {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    wrapper.arg(format!("--id={}", options.id)).arg(format!("--interval={}", options.interval));
    wrapper.args(["--abort-on-failure", "--on-lost=stop"]).arg(format!("--retries={}", attempts(options.wait)));
    let error = wrapper.arg("--").args(&options.command).exec();
    Err(process::cannot_start(program.as_os_str(), &error))
}

/// Returns the wrapper beside this program; else the one in PATH.
fn wrapper() -> PathBuf {
    let beside = env::current_exe().ok().map(|own| own.with_file_name(WRAPPER));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(WRAPPER))
}

/// Returns the options as variables: the arguments of a process can be read by everyone.
fn registry_variables(mut options: RegistryOptions, mut origins: Origins) -> Result<Vec<Variable>, Failure> {
    options.settle_rivals(&origins);
    let text = |value: &Option<String>| value.clone().map(OsString::from);
    let region = options.region.and_then(|region| clap::ValueEnum::to_possible_value(&region));
    let mut variables = vec![
        ("SERVICE_REGISTRY_AUTH_URL", text(&options.auth_url)),
        ("SERVICE_REGISTRY_REGION", region.map(|region| region.get_name().into())),
        ("SERVICE_REGISTRY_USERNAME", text(&options.username)),
        ("SERVICE_REGISTRY_API_KEY", text(&options.api_key)),
        ("SERVICE_REGISTRY_API_KEY_FILE", options.api_key_file.clone()),
        ("SERVICE_REGISTRY_CA_FILE", options.ca_file.clone()),
        ("SERVICE_REGISTRY_CLIENT_CERT", options.client_cert.clone()),
        ("SERVICE_REGISTRY_CLIENT_KEY", options.client_key.clone()),
    ];
    if !options.registry_url.is_empty() {
        variables.push(("SERVICE_REGISTRY_URL", Some(options.registry_url.join(",").into())));
        return Ok(variables);
    }
    // Without any URL the wrapper would host a registry, of which no other machine knows.
    let files = ConfigFiles::read().map_err(Failure::usage)?;
    files.check_skipped().map_err(Failure::usage)?;
    files.complete(&mut options, &mut origins).map_err(Failure::usage)?;
    if options.urls().is_empty() {
        variables.push(("SERVICE_REGISTRY_URL", Some(default_url().into())));
    }
    Ok(variables)
}

/// A variable, and its value; none to remove it.
type Variable = (&'static str, Option<OsString>);

fn log_variables(log: &Log) -> [Variable; 3] {
    let count = |count: u8| (count > 0).then(|| count.to_string().into());
    let format = (log.log_format == Format::Json).then(|| "json".into());
    [
        ("SERVICE_REGISTRY_LOG_FORMAT", format),
        ("SERVICE_REGISTRY_VERBOSE", count(log.verbose)),
        ("SERVICE_REGISTRY_QUIET", count(log.quiet)),
    ]
}

fn attempts(wait: Limit) -> u32 {
    match wait {
        Limit::Forever => u32::MAX,
        Limit::Within(time) => u32::try_from(time.as_secs() / BETWEEN_ATTEMPTS.as_secs() + 1).unwrap_or(u32::MAX),
    }
}

fn interval(seconds: &str) -> Result<u32, String> {
    description::interval(seconds).map_err(|error| error.to_string())
}
