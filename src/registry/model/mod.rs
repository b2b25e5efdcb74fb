//! model.

mod change;
mod clock;
mod deadline_queue;
pub(crate) mod heartbeat_token;
mod page;
mod records;
mod served;
mod session_table;
mod string_list;
pub(crate) mod uuid;

pub(crate) use change::{Change, Slot};
pub(crate) use clock::Now;
pub use clock::{Clock, ManualClock};
pub(crate) use deadline_queue::{Deadlines, Owner, QueuedDeadline};
pub(crate) use heartbeat_token::{Access, Keys};
pub(crate) use page::{Entry, Listing, MAX_PAGE_BYTES, Page};
pub(crate) use records::{
    About, Event, Holder, Life, NamedSession, Service, Session, SessionId, TenantId, ValueRemove, ValueUpdate, What,
};
pub(crate) use served::TICK;
pub(crate) use session_table::SessionTable;
pub(crate) use string_list::Packed;
pub(crate) use uuid::Uuid1;
