//! The feed: everything that happened to an account, in order, for 30 days.

use serde::Serialize;

use super::changes::Slot;
use super::clock::Now;
use super::objects::{About, Event, Life, TenantId, What};
use super::pages::Listing;
use super::refusal::Refusal;
use super::state::{State, Tenant};
use super::uuid1::{Uuid1, ticks_of};
use crate::wire;

const TYPES: [&str; 6] = [
    "service.join",
    "service.remove",
    "service.timeout",
    "services.timeout",
    "configuration_value.update",
    "configuration_value.remove",
];

const RETENTION_MS: u64 = 30 * 24 * 3_600_000;
/// How far back the list goes if no marker is given.
const RECENT_MS: u64 = 3_600_000;
/// How many old events leave for every new one, until none is left: the feed shrinks, but nobody waits for it.
const TRIM: usize = 8;

/// Which part of the feed is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) limit: usize,
    /// The first event, or the next one that there is.
    pub(crate) from: Option<Uuid1>,
    /// One of the types, or all.
    pub(crate) kind: Option<&'static str>,
    /// Leaves out what the session era did not know: the removal of a service that lives in a session.
    pub(crate) strict: bool,
}

/// The marker as it was given, however often.
pub(crate) fn marker(values: &[&str]) -> Result<Option<Uuid1>, Refusal> {
    match values {
        [] => Ok(None),
        [text] => Uuid1::parse(text).map(Some).map_err(Refusal::malformed),
        _ => Err(Refusal::malformed("Invalid UUID")),
    }
}

/// The type as it was given, however often.
pub(crate) fn kind(values: &[&str]) -> Result<Option<&'static str>, Refusal> {
    let wanted = values.join(",");
    let known = TYPES.into_iter().find(|kind| *kind == wanted);
    if wanted.is_empty() || known.is_some() {
        return Ok(known);
    }
    let wanted: String = wanted.chars().filter(|char| !char.is_control()).collect();
    Err(Refusal::Malformed(format!("Invalid type: {wanted}. Valid types are: {}", TYPES.join(","))))
}

impl State {
    /// The feed, oldest first.
    pub(crate) fn events(
        &mut self,
        now: Now,
        tenant: TenantId,
        feed: &Feed,
    ) -> Result<Listing<wire::Event<Payload>>, Refusal> {
        let tenant = self.tenants.entry(tenant).or_default();
        let from = match feed.from {
            Some(marker) => tenant.check_marker(now, marker)?,
            None => Uuid1::first_of(tenant.created.max(now.wall.saturating_sub(RECENT_MS))),
        };
        let start = tenant.events.partition_point(|event| event.id < from);
        let wanted = |event: &&Event| {
            feed.kind.is_none_or(|kind| event.what.kind() == kind) && !(feed.strict && event.what.is_beyond_its_era())
        };
        let events = tenant.events.range(start..).filter(wanted);
        Ok(Listing::take(events, feed.limit, Event::to_wire, |event| event.id.to_string()))
    }

    /// Adds to the feed. Everyone who is overdue must have been swept before, or the feed is not in order.
    pub(super) fn happened(&mut self, now: Now, id: TenantId, what: What) {
        let tenant = self.tenants.entry(id).or_default();
        let first = Uuid1::new(ticks_of(now.wall), self.node);
        let last = tenant.last_event();
        let event = if first > last { first } else { last.next_tick(self.node) };
        let old = Uuid1::first_of(now.wall.saturating_sub(RETENTION_MS));
        let old: Vec<Event> = tenant.events.iter().take_while(|event| event.id < old).take(TRIM).cloned().collect();
        for Event { id: event, what } in old {
            self.change(id, Slot::Event { id: event, before: Some(what), after: None });
        }
        self.change(id, Slot::Event { id: event, before: None, after: Some(what) });
    }
}

impl Tenant {
    /// A marker must lie between the account's first day and now; the events there are count as now.
    fn check_marker(&self, now: Now, marker: Uuid1) -> Result<Uuid1, Refusal> {
        let at = marker.unix_ms();
        if at >= now.wall && marker > self.last_event() {
            return Err(Refusal::malformed("from parameter must be smaller than the current time"));
        }
        if at < self.created {
            let rule = "from parameter must be greater than or equal to the account creation date";
            return Err(Refusal::malformed(rule));
        }
        Ok(marker)
    }
}

impl Uuid1 {
    /// The lowest id of a millisecond: a bound, not an id.
    fn first_of(unix_ms: u64) -> Self {
        Self::lowest(ticks_of(unix_ms))
    }
}

impl Event {
    fn to_wire(&self) -> wire::Event<Payload> {
        wire::Event {
            id: self.id.to_string(),
            timestamp: self.id.unix_ms(),
            kind: self.what.kind().to_owned(),
            payload: self.what.payload(),
        }
    }
}

/// What an event tells, in the shape that its type has.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Payload {
    InSession(wire::SessionService),
    Own { id: String, heartbeat_timeout: u8, tags: Vec<String>, metadata: wire::Metadata },
    Several(Vec<Payload>),
    ValueUpdate { old_value: Option<String>, new_value: String, configuration_value_id: String },
    ValueRemove { old_value: String, configuration_value_id: String },
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            Self::Join(_) => TYPES[0],
            Self::Remove(_) => TYPES[1],
            Self::ServiceTimeout(_) => TYPES[2],
            Self::SessionTimeout(_) => TYPES[3],
            Self::ValueUpdate(_) => TYPES[4],
            Self::ValueRemove(_) => TYPES[5],
        }
    }

    fn is_beyond_its_era(&self) -> bool {
        matches!(self, Self::Remove(about) if matches!(about.life, Life::InSession(_)))
    }

    fn payload(&self) -> Payload {
        match self {
            Self::Join(about) | Self::Remove(about) | Self::ServiceTimeout(about) => about.payload(),
            Self::SessionTimeout(services) => Payload::Several(services.iter().map(|about| about.payload()).collect()),
            Self::ValueUpdate(value) => Payload::ValueUpdate {
                old_value: value.old.as_deref().map(str::to_owned),
                new_value: value.new.to_string(),
                configuration_value_id: value.id.to_string(),
            },
            Self::ValueRemove(value) => {
                Payload::ValueRemove { old_value: value.old.to_string(), configuration_value_id: value.id.to_string() }
            }
        }
    }
}

impl About {
    fn payload(&self) -> Payload {
        match self.life {
            Life::InSession(session) => Payload::InSession(self.in_session(session)),
            Life::Own { timeout } => Payload::Own {
                id: self.id.to_string(),
                heartbeat_timeout: timeout,
                tags: self.tags.to_list(),
                metadata: self.metadata.to_metadata(),
            },
        }
    }
}
