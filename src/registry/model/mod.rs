//! model.

mod change;
mod clock;
mod deadline_queue;
pub(super) mod heartbeat_token;
mod page;
mod records;
mod served;
mod session_table;
mod string_list;
pub(super) mod uuid;

pub(crate) use change::{Change, RecordChange};
pub(crate) use clock::Now;
pub use clock::{Clock, ManualClock};
pub(crate) use deadline_queue::{DeadlineQueue, Owner, QueuedDeadline};
pub(crate) use heartbeat_token::{Access, Keys};
pub(crate) use page::{Entry, Listing, MAX_PAGE_BYTES, Page};
pub(super) use records::{
    Event, EventKind, Lease, NamedSession, Service, ServiceInfo, ServiceKind, Session, SessionId, TenantId,
    ValueRemove, ValueUpdate,
};
pub(crate) use served::TICK;
pub(crate) use session_table::SessionTable;
pub(crate) use string_list::StringList;
pub(crate) use uuid::Uuid1;
