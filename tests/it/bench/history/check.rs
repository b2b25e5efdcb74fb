//! All checks of a log.

use std::fmt;

use super::evidence::Evidence;
use super::log::{Effect, Log, Outcome, SECOND, Time};
use super::{deaths, feed, records};

/// Something that must not happen.
#[derive(Debug)]
pub struct Violation {
    /// In a word: what the rule is about.
    pub rule: &'static str,
    pub text: String,
}

impl Violation {
    pub fn new(rule: &'static str, account: usize, text: impl fmt::Display) -> Self {
        Self { rule, text: format!("account {account}: {text}") }
    }
}

/// What a log shows.
pub struct Verdict {
    pub violations: Vec<Violation>,
    pub operations: usize,
    pub acknowledged: usize,
    pub events: usize,
    pub timeouts: usize,
    /// Holders that expired although they tried to send heartbeats all the time. It is allowed if nobody answered.
    pub unheard: usize,
    pub faults: Vec<String>,
}

pub fn check(log: &Log) -> Verdict {
    let mut verdict = Verdict {
        violations: Vec::new(),
        operations: log.entries.len(),
        acknowledged: log.entries.iter().filter(|entry| entry.outcome == Outcome::Done).count(),
        events: 0,
        timeouts: 0,
        unheard: 0,
        faults: log
            .faults
            .iter()
            .filter(|fault| fault.effect != Effect::Stall)
            .map(|fault| fault.what.clone())
            .collect(),
    };
    for entry in &log.entries {
        if let Outcome::Wrong(answer) = &entry.outcome {
            let text = format!("{} was answered with {answer}", entry);
            verdict.violations.push(Violation::new("answer", entry.account, text));
        }
    }
    for account in 0..log.accounts {
        let evidence = Evidence::of(log, account);
        verdict.events += evidence.events.len();
        verdict.violations.extend(feed::check(log, &evidence));
        verdict.violations.extend(records::check(&evidence));
        let deaths = deaths::check(log, &evidence);
        verdict.timeouts += deaths.timeouts;
        verdict.unheard += deaths.unheard;
        verdict.violations.extend(deaths.violations);
    }
    verdict
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, acknowledged, events, timeouts, unheard, faults, violations } = self;
        write!(
            f,
            "{operations} operations, {acknowledged} acknowledged changes and heartbeats, {events} events, {timeouts} \
             timeouts ({unheard} of holders whom nobody answered), {} faults, {} violations",
            faults.len(),
            violations.len()
        )?;
        for fault in faults {
            write!(f, "\n  fault: {fault}")?;
        }
        for Violation { rule, text } in violations {
            write!(f, "\n{rule}: {text}")?;
        }
        Ok(())
    }
}

/// Until when a holder may be there whose deadline is this: a takeover gives it its whole timeout again.
pub fn bound(log: &Log, last: Time, timeout: u64) -> Time {
    // A second is the promise. The other one is for what a busy machine makes of it.
    const AT_ONCE: u64 = 2 * SECOND;
    const TAKEOVER: u64 = 10 * SECOND;
    let mut bound = last + timeout + AT_ONCE;
    let mut faults: Vec<_> = log.faults.iter().collect();
    faults.sort_by_key(|fault| fault.from);
    for fault in faults {
        let since = if fault.effect == Effect::Stall { fault.until } else { fault.until + TAKEOVER };
        if fault.from > bound || since < last {
            continue;
        }
        match fault.effect {
            Effect::None => {}
            Effect::Takeover => bound = bound.max(fault.from + timeout + TAKEOVER),
            Effect::Standstill => bound = bound.max(fault.until + timeout + TAKEOVER),
            Effect::Stall => bound += fault.until - fault.from,
        }
    }
    bound
}
