//! The data of the registry: records, leases, tokens, deadlines, events, changes. No lock and no I/O.
//!
//! In reading order: `records` are sessions, services and events; `lease` is what heartbeats renew; `time` has clocks
//! and deadlines; `uuid` and `heartbeat_token` are ids and tokens; `change` is what an operation did; `input` is what a
//! request asks for; `attribution` is who changed something and why; `page` is a part of a list. `model` imports nothing of the
//! registry.

mod attribution;
mod change;
pub(super) mod heartbeat_token;
mod ids;
mod input;
mod lease;
mod page;
mod quota;
mod records;
mod session_table;
mod string_list;
mod time;
pub(super) mod uuid;

pub(crate) use attribution::{Attribution, Cause, PackedAttribution};
pub(crate) use change::{Change, RecordChange};
pub(crate) use heartbeat_token::{Access, Keys};
pub(super) use ids::{SessionId, TenantId};
pub(crate) use input::{NewService, NewServiceKind, NewSession, ServiceFilter, ServiceUpdate, SessionUpdate};
pub(crate) use lease::Lease;
pub(crate) use page::{Entry, Listing, MAX_PAGE_BYTES, Page};
pub(crate) use quota::{Quota, Resource};
pub(super) use records::{
    Event, EventKind, EventType, ListedEvent, ListedService, NamedSession, NamedValue, Service, ServiceInfo,
    ServiceKind, ServiceUpdated, Session, SessionInfo, TenantRecord, ValueRemove, ValueUpdate,
};
pub(crate) use session_table::SessionTable;
pub(crate) use string_list::StringList;
pub use time::{Clock, ManualClock};
pub(crate) use time::{DeadlineQueue, IdScale, Now, Owner, QueuedDeadline, Segment, TICK, describe};
pub(crate) use uuid::Uuid1;
