//! The treatment of the child: the values of `--rewrite-signal`, `--exit-map` and the like.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::libc;
use nix::sys::signal::Signal;
use service_registry::description::{quoted, split};

use super::{NotifyWhen, OnLost, Options, Scope};

/// The settings of the wrapper as a parent.
#[derive(Clone, Debug)]
pub(crate) struct ChildConfig {
    /// The signals to forward instead of others; 0 drops a signal.
    pub rewrites: BTreeMap<i32, i32>,
    pub scope: Scope,
    /// How long after SIGTERM or SIGINT, or after the child's exit, the remaining processes are killed; none for never.
    pub stop_timeout: Option<Duration>,
    /// The longest time of a stop, from SIGTERM or SIGINT on.
    pub stop_budget: Option<Duration>,
    pub leave_orphans: bool,
    pub warn_on_reap: bool,
    /// The statuses to exit with instead of others.
    pub exit_map: BTreeMap<u8, u8>,
    pub reraise: bool,
    /// The signal that the child gets when the wrapper is killed; 0 for none.
    pub parent_death_signal: i32,
    /// A watchdog kills the child and its descendants when the wrapper is killed.
    pub watchdog: bool,
    pub notify_when: Option<NotifyWhen>,
    /// Names the next main process when the present one exits.
    pub pid_file: Option<PathBuf>,
}

impl ChildConfig {
    pub(super) fn of(options: &Options, on_lost: OnLost) -> Result<Self> {
        let named = |option| move || options.origin(option);
        let given = options.parent.parent_death_signal.as_deref().filter(|signal| !signal.is_empty());
        let death = given.unwrap_or(if on_lost == OnLost::Stop { "SIGKILL" } else { "SIGTERM" });
        Ok(Self {
            rewrites: rewrites(&options.parent.rewrite_signal).with_context(named("rewrite_signal"))?,
            scope: options.parent.signal_scope,
            stop_timeout: seconds(&options.parent.stop_timeout).with_context(named("stop_timeout"))?,
            stop_budget: seconds(&options.parent.stop_budget).with_context(named("stop_budget"))?,
            leave_orphans: options.parent.leave_orphans,
            warn_on_reap: options.parent.warn_on_reap,
            exit_map: exit_map(&options.parent.exit_map).with_context(named("exit_map"))?,
            reraise: options.parent.reraise,
            parent_death_signal: if death.eq_ignore_ascii_case("none") {
                0
            } else {
                signal(death).with_context(named("parent_death_signal"))?
            },
            watchdog: options.parent.watchdog || on_lost == OnLost::Stop,
            notify_when: options.parent.notify_when,
            pid_file: options.parent.pid_file.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from),
        })
    }

    /// Returns the signal to forward instead of this one; 0 to drop it.
    pub(crate) fn rewritten(&self, signal: i32) -> i32 {
        self.rewrites.get(&signal).copied().unwrap_or(signal)
    }

    /// Returns whether a signal goes to the child's process group, and not to the child alone.
    ///
    /// With `auto`, those do that ask for the end, also where another signal replaces them, and those of job control. A
    /// server that forks workers passes others on itself, and its workers die of SIGHUP or SIGUSR2.
    pub(crate) fn is_for_group(&self, signal: i32) -> bool {
        let ends = |signal| matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGKILL);
        let suspends = |signal| matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGCONT);
        match self.scope {
            Scope::Auto => [signal, self.rewritten(signal)].into_iter().any(|signal| ends(signal) || suspends(signal)),
            Scope::Group => true,
            Scope::Child => false,
        }
    }

    /// Returns whether the signals of keys are rewritten.
    pub(crate) fn rewrites_keys(&self) -> bool {
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP].iter().any(|key| self.rewrites.contains_key(key))
    }

    /// Returns the status to exit with instead of this one.
    pub(crate) fn mapped(&self, status: u8) -> u8 {
        self.exit_map.get(&status).copied().unwrap_or(status)
    }
}

fn rewrites(lists: &[String]) -> Result<BTreeMap<i32, i32>> {
    let mut rewrites = BTreeMap::new();
    for item in lists.iter().flat_map(|list| split(list)) {
        let (from, to) = item.split_once(':').with_context(|| format!("{} is not FROM:TO", quoted(&item)))?;
        let to = if to == "0" { 0 } else { signal(to)? };
        let from = signal(from)?;
        ensure!(
            from != libc::SIGKILL && from != libc::SIGSTOP,
            "no process can catch {}, so it cannot be rewritten",
            from
        );
        ensure!(from != libc::SIGCHLD, "SIGCHLD is the wrapper's own; it is never passed on");
        rewrites.insert(from, to);
    }
    Ok(rewrites)
}

/// Parses `SIGTERM`, `term`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
fn signal(text: &str) -> Result<i32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = if let Ok(number) = name.parse() {
        number
    } else if let Some(offset) = name.strip_prefix("RTMIN") {
        libc::SIGRTMIN() + real_time_offset(offset).with_context(|| no_signal(text))?
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        libc::SIGRTMAX() + real_time_offset(offset).with_context(|| no_signal(text))?
    } else {
        format!("SIG{name}").parse::<Signal>().ok().with_context(|| no_signal(text))? as i32
    };
    ensure!((1..=libc::SIGRTMAX()).contains(&number), no_signal(text));
    Ok(number)
}

/// Parses `+3`, `-1`, or an empty text.
fn real_time_offset(text: &str) -> Option<i32> {
    if text.is_empty() { Some(0) } else { text.parse().ok().filter(|_| text.starts_with(['+', '-'])) }
}

fn no_signal(text: &str) -> String {
    format!("{} is no signal; write a name such as SIGTERM or RTMIN+1, or a number from 1 to 64", quoted(text))
}

/// Parses a time; none for 0.
pub(super) fn seconds(text: &str) -> Result<Option<Duration>> {
    let number = text.parse().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    let number = number.with_context(|| format!("{} is not a number of seconds from 0 to 86400", quoted(text)))?;
    Ok((number > 0.0).then(|| Duration::from_secs_f64(number)))
}

fn exit_map(lists: &[String]) -> Result<BTreeMap<u8, u8>> {
    let status = |text: &str, item: &str| {
        text.parse::<u8>().ok().with_context(|| format!("{} is not STATUS=STATUS, both 0 to 255", quoted(item)))
    };
    let mut map = BTreeMap::new();
    for item in lists.iter().flat_map(|list| split(list)) {
        let Some((from, to)) = item.split_once('=') else {
            bail!("{} is not STATUS=STATUS", quoted(&item));
        };
        map.insert(status(from, &item)?, status(to, &item)?);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_is_parsed_by_name_or_number() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("15", 15), ("RTMIN", 34), ("sigrtmin+3", 37), ("RTMAX-1", 63), ("64", 64)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for wrong in ["", "0", "65", "-1", "SIG", "SIGNONE", "RTMIN3", "RTMAX+1", "SIGSIGTERM"] {
            assert!(signal(wrong).unwrap_err().to_string().contains("is no signal"), "{wrong}");
        }
    }

    #[test]
    fn repeated_rewrites_add_up() {
        let lists = ["TERM:QUIT,HUP:0".to_owned(), "RTMIN+1:USR1".to_owned()];
        assert_eq!(rewrites(&lists).unwrap(), BTreeMap::from([(15, 3), (1, 0), (35, 10)]));
        for wrong in ["TERM", "TERM:", "KILL:TERM", "STOP:0", "CHLD:0", "0:15"] {
            assert!(rewrites(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_map_and_timeout_out_of_range_are_refused() {
        assert_eq!(exit_map(&["143=0,2=0".to_owned()]).unwrap(), BTreeMap::from([(143, 0), (2, 0)]));
        for wrong in ["143", "143=", "256=0", "1=x", "1=0,"] {
            assert!(exit_map(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert_eq!(seconds("0").unwrap(), None);
        assert_eq!(seconds("0.5").unwrap(), Some(Duration::from_millis(500)));
        for wrong in ["", "-1", "x", "inf", "NaN", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
