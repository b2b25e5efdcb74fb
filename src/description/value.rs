//! The names of placeholders, and where their values come from.

use std::cell::Cell;
use std::env;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dns_lookup::{AddrInfoHints, getaddrinfo};
use nix::libc::AI_CANONNAME;
use nix::unistd::gethostname;

use super::address::{Family, Place, find};
use super::template::expand;

/// How long the resolver may take for the full name of this machine. The start of the command waits for it.
const RESOLVER_LIMIT: Duration = Duration::from_secs(2);

/// Returns the value of a placeholder; nothing for a name that is none. `ports` are those that the command listens on.
#[must_use]
pub fn value(name: &str, argument: Option<&str>, ports: &[u16]) -> Option<Result<String>> {
    let value = match (name, argument) {
        ("port", _) => {
            let port = ports.get(port_number(argument)? - 1);
            port.map(u16::to_string).with_context(|| match ports.len() {
                0 => "no port is known; the wrapper looks for them with --register-when=listening".to_owned(),
                count => format!("the command listens on {count} port(s)"),
            })
        }
        ("hostname", None) => hostname(),
        ("fqdn", None) => fqdn(),
        ("ip", place) => address(Family::V4, place),
        ("ip6", place) => address(Family::V6, place),
        ("pid", None) => Ok(std::process::id().to_string()),
        ("env", Some(variable)) => variable_of(variable),
        ("uuid", None) => Ok(uuid().to_owned()),
        _ => return None,
    };
    let whole = || argument.map_or_else(|| format!("{{{name}}}"), |argument| format!("{{{name}:{argument}}}"));
    Some(value.with_context(whole))
}

/// Returns the most ports that a text has placeholders for.
#[must_use]
pub fn ports_needed(text: &str) -> usize {
    let most = Cell::new(0);
    let note = |name: &str, argument: Option<&str>| {
        let number = (name == "port").then(|| port_number(argument)).flatten()?;
        most.set(most.get().max(number));
        Some(Ok(String::new()))
    };
    let _ = expand(text, &note); // nothing fails in it
    most.get()
}

/// Reads the argument of `{port}`, `{port:1}`, `{port:2}`.
fn port_number(argument: Option<&str>) -> Option<usize> {
    argument.map_or(Some(1), |number| number.parse().ok().filter(|number| *number > 0))
}

/// Returns the name of this machine.
///
/// # Errors
///
/// The system does not tell it, or it is not UTF-8.
pub fn hostname() -> Result<String> {
    let name = gethostname().context("the system does not tell the host name")?;
    name.into_string().map_err(|name| anyhow::anyhow!("the host name {} is not UTF-8", name.display()))
}

/// Asks the resolver for the canonical name of the host name, as `hostname --fqdn` does.
fn fqdn() -> Result<String> {
    let hostname = hostname()?;
    let (answer, answered) = channel();
    let asked = hostname.clone();
    // The resolver has no time limit of its own that would be short enough.
    let begun = thread::Builder::new().spawn(move || answer.send(canonical_name(&asked)));
    begun.context("no thread can be started to ask the resolver")?;
    match answered.recv_timeout(RESOLVER_LIMIT) {
        Ok(Some(name)) => Ok(name),
        Ok(None) => {
            bail!("the resolver knows no name with a domain for {hostname}; see /etc/hosts, or use {{hostname}}")
        }
        Err(_) => bail!("the resolver did not answer for {hostname} in {RESOLVER_LIMIT:?}; use {{hostname}}"),
    }
}

fn address(family: Family, place: Option<&str>) -> Result<String> {
    let place = place.map_or(Ok(Place::DefaultRoute), Place::parse)?;
    Ok(find(family, &place)?.to_string())
}

fn variable_of(name: &str) -> Result<String> {
    match env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(env::VarError::NotPresent) => bail!("the environment has no variable {name}, or an empty one"),
        Err(env::VarError::NotUnicode(_)) => bail!("the variable {name} is not UTF-8"),
    }
}

/// Returns the name with a domain that the resolver knows for a host name.
fn canonical_name(hostname: &str) -> Option<String> {
    let hints = AddrInfoHints { flags: AI_CANONNAME, ..AddrInfoHints::default() };
    let mut found = getaddrinfo(Some(hostname), None, Some(hints)).ok()?;
    found.find_map(|entry| entry.ok()?.canonname).filter(|name| name.contains('.'))
}

/// One for the whole life of the wrapper, so that several options can have the same.
fn uuid() -> &'static str {
    static UUID: OnceLock<String> = OnceLock::new();
    UUID.get_or_init(|| uuid::Uuid::new_v4().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_counted_and_found_by_their_order() {
        for (text, needed) in [("a", 0), ("{port}", 1), ("{port:2}", 2), ("{port}-{port:3}", 3), ("{{port}{port:x}", 0)]
        {
            assert_eq!(ports_needed(text), needed, "{text}");
        }
        let port = |argument| value("port", argument, &[80, 443]).map(Result::ok);
        assert_eq!([None, Some("1"), Some("2")].map(port), ["80", "80", "443"].map(|port| Some(Some(port.into()))));
        assert_eq!((port(Some("3")), port(Some("0"))), (Some(None), None));
    }
}
