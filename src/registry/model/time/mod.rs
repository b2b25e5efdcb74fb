//! Time: what the registry's clock says, which part of it counts for deadlines, and which deadline is next.
//!
//! In reading order: `clock` has two scales, `id_scale` is a third one for the ids of events, `served` is the time in
//! which the registry could read its sockets, `deadline_queue` orders deadlines.

mod clock;
mod deadline_queue;
mod id_scale;
mod served;

pub(crate) use clock::Now;
pub(crate) use clock::describe;
pub use clock::{Clock, ManualClock};
pub(crate) use deadline_queue::{DeadlineQueue, Owner, QueuedDeadline};
pub(crate) use id_scale::{IdScale, Segment};
pub(crate) use served::TICK;
