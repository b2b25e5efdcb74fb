//! The options about health: the checks that the program must pass to be listed.

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use service_registry::description::quoted;
use url::Url;

use super::child_config::seconds;
use super::{Options, given};

#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthOptions {
    /// List the service only while this check passes: tcp:PORT, tcp:ADDRESS:PORT, http://..., https://..., or
    /// exec:COMMAND (by /bin/sh); repeatable (in the variable: one a line), all must pass
    #[arg(long, value_name = "CHECK", env = "SERVICE_REGISTRY_CHECK", hide_env_values = true)]
    pub check: Vec<String>,

    /// Time between two checks [default: 10]
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_CHECK_INTERVAL", hide_env_values = true)]
    pub check_interval: Option<String>,

    /// Time limit of a check [default: 2]
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_CHECK_TIMEOUT", hide_env_values = true)]
    pub check_timeout: Option<String>,

    /// Time after the start in which failed checks do not count, unless one has passed [default: 0]
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_CHECK_START_PERIOD", hide_env_values = true)]
    pub check_start_period: Option<String>,

    /// An HTTP check also passes with a status of 3xx (redirects are never followed)
    #[arg(long, env = "SERVICE_REGISTRY_CHECK_ACCEPT_3XX", hide_env_values = true)]
    pub check_accept_3xx: bool,

    /// Number of passes in a row after which the program is healthy [default: 1]
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_RISE", hide_env_values = true)]
    pub rise: Option<String>,

    /// Number of failures in a row after which it is unhealthy [default: 3]
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_FALL", hide_env_values = true)]
    pub fall: Option<String>,

    /// Longest time for which a program that became unhealthy several times within ten minutes is held out of the
    /// registry; 0: no damping [default: 300]
    #[arg(long, value_name = "SECONDS", env = "SERVICE_REGISTRY_FLAP_LIMIT", hide_env_values = true)]
    pub flap_limit: Option<String>,

    /// When it is unhealthy: withdraw the service until it is healthy again, or stop COMMAND (exit 100)
    /// [default: withdraw]
    #[arg(long, value_name = "WHAT", env = "SERVICE_REGISTRY_ON_UNHEALTHY", hide_env_values = true)]
    pub on_unhealthy: Option<OnUnhealthy>,
}

/// The consequence of failed checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnhealthy {
    /// The service leaves the registry until the checks pass
    Withdraw,
    /// COMMAND is stopped
    Stop,
}

/// The checks, and what follows from them.
pub(crate) struct Health {
    pub checks: Vec<Check>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_period: Duration,
    pub accepts_3xx: bool,
    pub rise: u32,
    pub fall: u32,
    /// Zero for no damping.
    pub flap_limit: Duration,
    pub on_unhealthy: OnUnhealthy,
    /// Authorities to trust for https besides the system's.
    pub ca_file: Option<OsString>,
}

/// A check. It is displayed as it was given.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// One of these addresses accepts a connection.
    Tcp(String, Vec<SocketAddr>),
    /// A GET is answered with a good status.
    Http(Url),
    /// This command of a shell ends with status 0.
    Exec(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text, _) => write!(f, "tcp:{text}"),
            Self::Http(url) => url.fmt(f),
            Self::Exec(command) => write!(f, "exec:{command}"),
        }
    }
}

impl Health {
    /// Returns the checks, if there are any.
    pub(super) fn of(options: &Options, warnings: &mut Vec<String>) -> Result<Option<Self>> {
        let HealthOptions { check, check_interval, check_timeout, check_start_period, flap_limit, .. } =
            &options.health;
        let lines = check.iter().flat_map(|value| value.lines()).map(str::trim).filter(|line| !line.is_empty());
        let checks: Vec<Check> = lines.map(parse).collect::<Result<_>>().with_context(|| options.origin("check"))?;
        if checks.is_empty() {
            warnings.extend(idle(&options.health).into_iter().map(|option| {
                format!("{} does nothing without --check: there is nothing to check", options.origin(option))
            }));
        }
        let time = |option: &'static str, value: &Option<String>, default: f64| {
            let time = given(value).map_or(Ok(Some(Duration::from_secs_f64(default))), seconds);
            time.map(Option::unwrap_or_default).with_context(|| options.origin(option))
        };
        let longer_than_nothing = |option: &'static str, time: Duration| {
            ensure!(time >= SHORTEST, "{}: a time of at least {SHORTEST:?} is needed", options.origin(option));
            Ok(time)
        };
        let health = Self {
            checks,
            interval: longer_than_nothing("check_interval", time("check_interval", check_interval, 10.0)?)?,
            timeout: longer_than_nothing("check_timeout", time("check_timeout", check_timeout, 2.0)?)?,
            start_period: time("check_start_period", check_start_period, 0.0)?,
            accepts_3xx: options.health.check_accept_3xx,
            rise: count(&options.health.rise, 1).with_context(|| options.origin("rise"))?,
            fall: count(&options.health.fall, 3).with_context(|| options.origin("fall"))?,
            flap_limit: time("flap_limit", flap_limit, 300.0)?,
            on_unhealthy: options.health.on_unhealthy.unwrap_or(OnUnhealthy::Withdraw),
            ca_file: options.registry.ca_file.clone().filter(|file| !file.is_empty()),
        };
        Ok((!health.checks.is_empty()).then_some(health))
    }
}

/// The shortest interval and time limit: more checks would be a load of their own.
const SHORTEST: Duration = Duration::from_millis(100);

/// Returns the options that were given and need a check.
fn idle(options: &HealthOptions) -> Vec<&'static str> {
    let is_given = |value: &Option<String>| given(value).is_some();
    let all = [
        ("check_interval", is_given(&options.check_interval)),
        ("check_timeout", is_given(&options.check_timeout)),
        ("check_start_period", is_given(&options.check_start_period)),
        ("check_accept_3xx", options.check_accept_3xx),
        ("rise", is_given(&options.rise)),
        ("fall", is_given(&options.fall)),
        ("flap_limit", is_given(&options.flap_limit)),
        ("on_unhealthy", options.on_unhealthy.is_some()),
    ];
    all.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option).collect()
}

fn count(value: &Option<String>, default: u32) -> Result<u32> {
    let Some(text) = given(value) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.with_context(|| format!("{} is not a number from 1 to 1000", quoted(text)))
}

fn parse(text: &str) -> Result<Check> {
    match text.split_once(':') {
        Some(("tcp", address)) => Ok(Check::Tcp(address.to_owned(), addresses(address)?)),
        Some(("http" | "https", _)) => Ok(Check::Http(url(text)?)),
        Some(("exec", command)) if !command.trim().is_empty() => Ok(Check::Exec(command.trim().to_owned())),
        _ => bail!(
            "{} is no check; write tcp:PORT, tcp:ADDRESS:PORT, http://HOST:PORT/PATH, https://HOST:PORT/PATH or \
             exec:COMMAND",
            quoted(text)
        ),
    }
}

/// A port alone is this machine's, in both families.
fn addresses(text: &str) -> Result<Vec<SocketAddr>> {
    let all = match (text.parse::<u16>(), text.parse::<SocketAddr>()) {
        (Ok(port), _) => vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()],
        (_, Ok(address)) => vec![address],
        _ => bail!("{} is neither a port nor an address with a port, such as 10.0.0.1:80 or [::1]:80", quoted(text)),
    };
    ensure!(all.iter().all(|address: &SocketAddr| address.port() > 0), "port 0 is no port to connect to");
    Ok(all)
}

fn url(text: &str) -> Result<Url> {
    let mut url = Url::parse(text).with_context(|| format!("{} is no URL", quoted(text)))?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    ensure!(!has_user, "a URL with a user or a password is not supported; let an exec: check send it");
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_is_parsed_by_its_kind() {
        for (text, shown) in [
            ("tcp:80", "tcp:80"),
            ("tcp:10.0.0.1:80", "tcp:10.0.0.1:80"),
            ("tcp:[::1]:80", "tcp:[::1]:80"),
            ("http://127.0.0.1:80/x#y", "http://127.0.0.1:80/x"),
            ("https://[::1]/", "https://[::1]/"),
            ("exec: curl -f http://x", "exec:curl -f http://x"),
        ] {
            assert_eq!(parse(text).unwrap().to_string().replace(":80/x", "/x"), shown.replace(":80/x", "/x"));
        }
        let Check::Tcp(_, both) = parse("tcp:80").unwrap() else { panic!() };
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn invalid_check_is_refused() {
        for wrong in
            ["", "80", "tcp:", "tcp:0", "tcp:x:80", "tcp:70000", "http://", "http://u:p@x/", "exec:", "ftp://x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
