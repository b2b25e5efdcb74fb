//! The data of the registry: records, leases, tokens, deadlines, events, changes. No lock and no I/O.
//!
//! In reading order: `records` are sessions, services and values; `event` is what happened to them; `lease` is what
//! heartbeats renew; `time` has clocks and deadlines; `uuid` and `heartbeat_token` are ids and tokens; `change` is what
//! an operation did; `input` is what a request asks for; `page` is a part of a list. `model` imports nothing of the
//! registry.

mod change;
mod event;
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

pub(crate) use change::{Change, RecordChange};
pub(crate) use event::{Attribution, Cause, PackedAttribution};
pub(super) use event::{Event, EventKind, EventType, ListedEvent, ServiceUpdated, ValueRemove, ValueUpdate};
pub(crate) use heartbeat_token::{Access, Keys};
pub(super) use ids::{SessionId, TenantId};
pub(crate) use input::{NewService, NewServiceKind, NewSession, ServiceFilter, ServiceUpdate, SessionUpdate};
pub(crate) use lease::Lease;
#[cfg(feature = "etcd")]
pub(crate) use lease::LeaseState;
pub(crate) use page::{Entry, Listing, MAX_PAGE_BYTES, Page};
pub(crate) use quota::{Quota, Resource};
pub(super) use records::{
    ListedService, NamedSession, NamedValue, Service, ServiceInfo, ServiceKind, Session, SessionInfo, TenantRecord,
};
pub(crate) use session_table::SessionTable;
pub(crate) use string_list::StringList;
pub use time::{Clock, ManualClock};
pub(crate) use time::{DeadlineQueue, IdScale, Now, Owner, QueuedDeadline, Segment, TICK, describe};
pub(crate) use uuid::Uuid1;
