//! The working configuration: the options, checked against the rules of the API before anything is contacted.
//!
//! Every error names the option (or environment variable), the rule, and the part that breaks it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use service_registry::connection::Access;
use service_registry::description::{self, ServiceTexts, check_id, check_size, expand, interval, size_on_the_wire};

use super::child_config::{ChildConfig, seconds};
use super::service::Service;
use super::{Health, LogFormat, OnExit, OnLost, Options, Readiness, given};

/// The configuration of the wrapper.
pub(crate) struct WrapperConfig {
    pub access: Access,
    pub service: Service,
    /// No URL was given, so the wrapper may host the registry itself.
    pub may_host: bool,
    pub on_registry_down: OnRegistryDown,
    pub readiness: Readiness,
    /// None without a check.
    pub health: Option<Health>,
    pub on_lost: OnLost,
    pub on_exit: OnExit,
    /// Between the withdrawal and SIGTERM to the child.
    pub drain_delay: Duration,
    pub replace: bool,
    pub state_dir: Option<PathBuf>,
    pub status_socket: Option<PathBuf>,
    pub metrics_listen: Option<SocketAddr>,
    pub child_config: ChildConfig,
    pub command: Vec<OsString>,
    /// Warnings to log once there is a log.
    pub warnings: Vec<String>,
}

/// The condition for the start of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRegistryDown {
    /// The first attempt to register, or two seconds.
    Start,
    /// The registration, or this time.
    Wait(Duration),
    /// The registration. After this many attempts the child is not started.
    Fail { attempts: u32 },
}

/// The settings of the log.
#[derive(Clone, Copy)]
pub(crate) struct LogSettings {
    pub format: LogFormat,
    /// Above 0 more, below 0 less than usual.
    pub level: i16,
}

impl WrapperConfig {
    pub(crate) fn of(options: &Options) -> Result<Self> {
        let mut warnings = options.early_warnings.clone();
        let service = service(options)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        for tag in service.payload.tags.iter().filter(|tag| !tag.chars().all(is_plain)) {
            let (name, tag) = (options.origin("tags"), description::quoted(tag));
            warnings
                .push(format!("{name}: no client can search for {tag}: a search takes letters, digits, _, - and ."));
        }
        let on_registry_down = on_registry_down(options, &mut warnings)?;
        let aborts = matches!(on_registry_down, OnRegistryDown::Fail { .. });
        let health = Health::of(options, &mut warnings)?;
        let path = |option: &Option<OsString>| option.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from);
        let drain_delay = seconds(&options.parent.drain_delay).with_context(|| options.origin("drain_delay"))?;
        let request_limit = Duration::from_secs(service.interval.into()) / 4;
        let on_lost = options.registration.on_lost.unwrap_or(if aborts { OnLost::Stop } else { OnLost::Keep });
        Ok(Self {
            access: options.registry.access(&options.origins, request_limit, &mut warnings)?,
            may_host: options.may_host && options.registry.urls().is_empty(),
            on_registry_down,
            readiness: Readiness::of(options, &service, health.is_some(), &mut warnings)?,
            health,
            on_lost,
            on_exit: options.registration.on_exit,
            drain_delay: drain_delay.unwrap_or_default(),
            replace: options.registration.replace,
            state_dir: path(&options.registration.state_dir),
            status_socket: path(&options.registration.status_socket),
            metrics_listen: metrics_listen(options)?,
            child_config: ChildConfig::of(options, on_lost)?,
            command: options.command.clone(),
            service,
            warnings,
        })
    }
}

impl LogSettings {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            format: options.logging.log_format,
            level: i16::from(options.logging.verbose) - i16::from(options.logging.quiet),
        }
    }
}

/// A name would have to be looked up, and nothing about the metrics may delay the child.
fn metrics_listen(options: &Options) -> Result<Option<SocketAddr>> {
    let Some(given) = given(&options.registration.metrics_listen) else { return Ok(None) };
    let wrong =
        || format!("{}: {given:?}: give an address and a port, as in 127.0.0.1:9117", options.origin("metrics_listen"));
    given.parse().map(Some).with_context(wrong)
}

fn service(options: &Options) -> Result<Service> {
    let id = given(&options.service.id).with_context(|| {
        let behind = options.behind_command().map_or_else(String::new, |(first, option)| {
            let (first, option) = (first.display(), option.display());
            format!(
                "; options end at the first word that is no option, which is {first} here, and {option} is behind it"
            )
        });
        format!("--id is missing: give the service an id, such as --id=my-host1-api0{behind}")
    })?;
    // The session is opened, and files are named for the id, before the command listens.
    let value = |name: &str, argument: Option<&str>| match name {
        "port" => Some(Err(anyhow!("{{port}} can stand in --tags and --metadata only"))),
        _ => description::value(name, argument, &[]),
    };
    let id = expand(id, &value).with_context(|| options.origin("id"))?;
    check_id(&id).with_context(|| options.origin("id"))?;
    let texts = ServiceTexts { tags: options.service.tags.clone(), metadata: options.service.metadata.clone() };
    let unknown_ports = vec![u16::MAX; texts.ports_needed()];
    let payload = texts.payload(&id, &unknown_ports, |option| options.origin(option))?;
    let session_metadata = description::metadata(&options.service.session_metadata, value)
        .with_context(|| options.origin("session_metadata"))?;
    check_size(size_on_the_wire(&session_metadata)?).with_context(|| options.origin("session_metadata"))?;
    let command = options.command.first().and_then(|command| Path::new(command).file_name()?.to_str());
    let session_metadata = description::session_metadata(session_metadata, command);
    let interval = interval(&options.service.interval).with_context(|| options.origin("interval"))?;
    Ok(Service { id, texts, payload, session_metadata, interval })
}

fn on_registry_down(options: &Options, warnings: &mut Vec<String>) -> Result<OnRegistryDown> {
    let attempts = attempts(options)?;
    let given = given(&options.registration.on_registry_down);
    let what = match given {
        None if options.registration.abort_on_failure => OnRegistryDown::Fail { attempts },
        None | Some("start") => OnRegistryDown::Start,
        Some("fail") => OnRegistryDown::Fail { attempts },
        Some(other) => {
            let wait = other.strip_prefix("wait:").and_then(|time| seconds(time.trim_end_matches('s')).ok().flatten());
            OnRegistryDown::Wait(wait.with_context(|| {
                let name = options.origin("on_registry_down");
                format!("{name}: {} is not one of start, wait:SECONDS, fail", description::quoted(other))
            })?)
        }
    };
    let fails = matches!(what, OnRegistryDown::Fail { .. });
    ensure!(
        !options.registration.abort_on_failure || fails,
        "--abort-on-failure means --on-registry-down=fail: leave one of them out"
    );
    if self::given(&options.registration.retries).is_some() && !fails {
        let name = options.origin("retries");
        warnings.push(format!("{name} does nothing without --abort-on-failure: registering goes on until it succeeds"));
    }
    Ok(what)
}

fn attempts(options: &Options) -> Result<u32> {
    // The number and the pause of the original clients: enough to outlive a previous session with the default timeout.
    const DEFAULT: u32 = 15;
    let Some(text) = given(&options.registration.retries) else { return Ok(DEFAULT) };
    text.parse::<u32>().ok().filter(|&number| number > 0).with_context(|| {
        format!("{}: {} is not a number of attempts from 1 up", options.origin("retries"), description::quoted(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::Preparation;

    /// Returns the error about these options, or an empty text.
    fn error_text(options: &[&str]) -> String {
        let arguments = ["service-registry-wrapper"].iter().chain(options).chain(&["true"]).map(OsString::from);
        let config = |options: &Options| {
            let prepared = Preparation::of(&WrapperConfig::of(options)?).prepare();
            prepared.map_err(|wrong| wrong.error.context(options.origin(wrong.option)))
        };
        match Options::read(arguments).map_err(anyhow::Error::new).and_then(|options| config(&options)) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn service_id_outside_the_rules_is_refused() {
        assert!(error_text(&[]).starts_with("--id is missing"));
        assert_eq!(error_text(&["--id=a.b-c_9"]), "");
        assert_eq!(error_text(&["--id=ab"]), "--id: \"ab\" has 2 characters; an id has 3 to 65");
        assert_eq!(error_text(&[&format!("--id={}", "x".repeat(65))]), "");
        assert!(error_text(&[&format!("--id={}", "x".repeat(66))]).contains("has 66 characters"));
        assert!(error_text(&["--id=a/bc"]).starts_with("--id: \"a/bc\" contains '/'"));
        assert!(error_text(&["--id=stra\u{df}e"]).contains("contains '\u{df}'"));
    }

    #[test]
    fn interval_outside_3_to_120_seconds_is_refused() {
        for good in ["3", "30", "120"] {
            assert_eq!(error_text(&["--id=abc", "-i", good]), "");
        }
        for bad in ["2", "121", "abc", "-5", "4.5", ""] {
            let said = error_text(&["--id=abc", &format!("--interval={bad}")]);
            assert!(said.starts_with("--interval: ") && said.contains("3 to 120"), "{bad}: {said}");
        }
    }

    #[test]
    fn metrics_address_without_a_port_is_refused() {
        for bad in ["9117", "localhost:9117", "127.0.0.1"] {
            let said = error_text(&["--id=abc", &format!("--metrics-listen={bad}")]);
            assert!(said.starts_with("--metrics-listen: ") && said.contains("127.0.0.1:9117"), "{bad}: {said}");
        }
        assert_eq!(error_text(&["--id=abc", "--metrics-listen=[::1]:0"]), "");
    }

    #[test]
    fn retries_below_1_are_refused() {
        for bad in ["0", "x", "-1"] {
            assert!(error_text(&["--id=abc", &format!("--retries={bad}")]).starts_with("--retries: "), "{bad}");
        }
    }

    #[test]
    fn incomplete_login_is_refused() {
        assert!(error_text(&["--id=abc", "--username=joe"]).contains("--username is given without a key"));
        assert!(error_text(&["--id=abc", "--api-key=k"]).contains("without a user"));
        assert!(error_text(&["--id=abc", "--region=uk"]).contains("--region says where to log in"));
        assert!(error_text(&["--id=abc", "--api-key-file=/no/such/file", "--username=joe"]).contains("/no/such/file"));
    }

    #[test]
    fn certificate_without_its_key_is_refused() {
        assert!(error_text(&["--id=abc", "--client-cert=c"]).contains("--client-cert is given without its key"));
        assert!(error_text(&["--id=abc", "--client-key=k"]).contains("--client-key is given without a certificate"));
        assert!(
            error_text(&["--id=abc", "--ca-file=/no/such/ca"])
                .starts_with("--ca-file: cannot use the CA file /no/such/ca")
        );
        assert!(error_text(&["--id=abc", "--registry-url=http://x,,http://y"]).contains("between two commas"));
    }

    #[test]
    fn metadata_too_large_for_a_request_is_refused() {
        let pair = |n: usize| format!("--metadata=key{n}={}", "x".repeat(255));
        let options: Vec<String> = (0..20).map(pair).collect();
        let options: Vec<&str> = ["--id=abc"].into_iter().chain(options.iter().map(String::as_str)).collect();
        assert!(error_text(&options).starts_with("--metadata: "), "{}", error_text(&options));
    }
}
