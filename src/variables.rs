//! What the command lines of the two programs share: their environment variables, and the words for switches. A
//! misspelt variable would have no effect, and nobody would notice: the programs warn about it.

use clap::{Arg, ArgAction};

/// What the names of all variables begin with.
pub const PREFIX: &str = "SERVICE_REGISTRY_";

/// The variables, without the prefix, that say how one command is registered and treated. The child of a wrapper does not
/// get them: a wrapper inside it would wait for the id of the outer one.
const OF_ONE_COMMAND: [&str; 39] = [
    "ABORT_ON_FAILURE",
    "CHECK",
    "CHECK_ACCEPT_3XX",
    "CHECK_INTERVAL",
    "CHECK_START_PERIOD",
    "CHECK_TIMEOUT",
    "DRAIN_DELAY",
    "EXIT_MAP",
    "FALL",
    "FLAP_LIMIT",
    "ID",
    "INTERVAL",
    "LEAVE_ORPHANS",
    "METADATA",
    "METRICS_LISTEN",
    "NOTIFY_WHEN",
    "ON_EXIT",
    "ON_LOST",
    "ON_NOT_READY",
    "ON_REGISTRY_DOWN",
    "ON_UNHEALTHY",
    "PARENT_DEATH_SIGNAL",
    "PID_FILE",
    "READY_FD",
    "READY_TIMEOUT",
    "REGISTER_WHEN",
    "REPLACE",
    "RERAISE",
    "RETRIES",
    "REWRITE_SIGNAL",
    "RISE",
    "SESSION_METADATA",
    "SIGNAL_SCOPE",
    "STATE_DIR",
    "STOP_BUDGET",
    "STOP_TIMEOUT",
    "TAGS",
    "WARN_ON_REAP",
    "WATCHDOG",
];

/// The other variables of both programs: those of the registry, of the way to it and of the log, that of the status
/// socket, which `service-registry status` reads, and those that `service-registry watch` gives its command.
const OTHERS: [&str; 47] = [
    "ADVERTISE_URL",
    "API_KEY",
    "API_KEY_FILE",
    "AUTH_URL",
    "CA_FILE",
    "CLIENT_CERT",
    "CLIENT_KEY",
    "COMPLETE",
    "CONFIG",
    "DATA_DIR",
    "DNS",
    "DNS_ACCOUNT",
    "DNS_DOMAIN",
    "DNS_TTL",
    "ETCD",
    "ETCD_CA_FILE",
    "ETCD_CERT",
    "ETCD_KEY",
    "ETCD_PASSWORD_FILE",
    "ETCD_PREFIX",
    "ETCD_QUOTA",
    "ETCD_USER",
    "EVENTS_RETENTION",
    "HOST_NAMES",
    "IN_MEMORY",
    "LENIENT_HEARTBEATS",
    "LISTEN",
    "LOG_FORMAT",
    "MAX_CONNECTIONS",
    "NODE_CA_FILE",
    "OPEN",
    "QUIET",
    "REGION",
    "SERVICE_SHAPE",
    "SHARDS",
    "STATUS_SOCKET",
    "STRICT_FEED",
    "TLS_CERT",
    "TLS_CLIENT_CA",
    "TLS_KEY",
    "TRUSTED_PROXIES",
    "URL",
    "USERNAME",
    "USERS",
    "VERBOSE",
    "WATCH_COUNT",
    "WATCH_VERSION",
];

/// How similar a known name must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.8;

/// Returns whether a variable with this name has an effect, or does not come from a user of these programs. Both
/// programs know the variables of both, since an environment may be shared.
#[must_use]
pub fn is_known(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_none_or(|rest| known().any(|known| *known == rest) || is_of_kubernetes(rest))
}

/// Returns whether a variable says how one command is registered and treated.
#[must_use]
pub fn is_of_one_command(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| OF_ONE_COMMAND.contains(&rest))
}

fn known() -> impl Iterator<Item = &'static &'static str> {
    OF_ONE_COMMAND.iter().chain(&OTHERS)
}

/// Kubernetes sets such variables in every container if a service has the name `service-registry`.
fn is_of_kubernetes(rest: &str) -> bool {
    rest == "SERVICE_HOST" || rest == "PORT" || rest.starts_with("SERVICE_PORT") || rest.starts_with("PORT_")
}

/// Returns a warning about a variable that has no effect.
#[must_use]
pub fn warning(name: &str) -> String {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    // A word in front of or behind the right name, as in REGISTRY_URL, is a likely mistake; otherwise a wrong letter
    // is.
    let likeness = |known: &str| {
        let before = rest.strip_suffix(known).is_some_and(|before| before.ends_with('_'));
        let behind = rest.strip_prefix(known).is_some_and(|behind| behind.starts_with('_'));
        let part = if (before || behind) && known.len() > 2 { 0.95 } else { 0.0 };
        strsim::jaro_winkler(rest, known).max(part)
    };
    let best = known().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match best.filter(|best| likeness(best) >= SIMILAR) {
        Some(best) => format!("{name} has no effect: there is no such variable; did you mean {PREFIX}{best}?"),
        None => format!("{name} has no effect: there is no such variable (--help lists them)"),
    }
}

/// Returns the warnings about this process's environment.
#[must_use]
pub fn warnings() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    // One that only tests set, in builds with debug assertions.
    let is_switch = |name: &String| cfg!(debug_assertions) && name == "SERVICE_REGISTRY_TEST_DISABLE";
    names.filter(|name| !is_known(name) && !is_switch(name)).map(|name| warning(&name)).collect()
}

/// Lets an option without a value (a switch) have one, with the same words on the command line and in the environment.
#[must_use]
pub fn accept_words(option: Arg) -> Arg {
    if !matches!(option.get_action(), ArgAction::SetTrue) {
        return option;
    }
    let option = option.action(ArgAction::Set).num_args(0..=1).require_equals(true);
    let option = option.default_value("false").default_missing_value("true").hide_default_value(true);
    option.value_name("BOOL").value_parser(boolean)
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("write true, yes, on or 1, or false, no, off or 0"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_name_gets_the_nearest_one() {
        for (wrong, right) in [
            ("REGISTRY_URL", "URL"),
            ("URLS", "URL"),
            ("TAG", "TAGS"),
            ("INTERVALL", "INTERVAL"),
            ("API_KEYFILE", "API_KEY_FILE"),
            ("USER", "USERS"),
            ("STATEDIR", "STATE_DIR"),
        ] {
            let text = warning(&format!("{PREFIX}{wrong}"));
            assert!(text.ends_with(&format!("did you mean {PREFIX}{right}?")), "{text}");
        }
        assert!(warning("SERVICE_REGISTRY_COLOUR").contains("--help"));
        for name in ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_7117_TCP_ADDR"] {
            assert!(is_known(&format!("{PREFIX}{name}")), "{name}");
        }
        assert!(is_known("SERVICE_REGISTRY_URL") && is_known("PATH") && !is_known("SERVICE_REGISTRY_URI"));
    }
}
