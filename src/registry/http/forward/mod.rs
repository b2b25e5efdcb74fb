//! Requests that belong to another node: the owner of their shard answers them, over one more connection.
//!
//! In reading order: `address` names nodes and their places; `seal` is the header by which nodes recognise each other,
//! and `arrival` what it makes of a request; `outgoing` is a request on its way; `link` is a connection, `pool` keeps
//! free ones, `tls` sets up encryption; `peers` sends requests and reads answers; `elsewhere` asks until there is an
//! owner that answers; `handover` reads what a node hands to the next owner, and `lookup` what a node asks for itself.

mod address;
mod arrival;
mod elsewhere;
mod handover;
mod link;
#[cfg(feature = "dns")]
mod lookup;
mod outgoing;
mod peers;
mod pool;
mod seal;
#[cfg(test)]
pub(super) mod test;
mod tls;

pub(in crate::registry) use address::Location;
pub(super) use arrival::arrival;
#[cfg(feature = "dns")]
pub(super) use elsewhere::not_owner;
pub(super) use elsewhere::{Elsewhere, Question, answer_elsewhere};
pub(super) use handover::{handed_over, read as read_handover};
#[cfg(feature = "dns")]
pub(super) use lookup::{encode as encode_services, looked_up};
pub(super) use outgoing::{Outgoing, is_heartbeat, is_repeatable};
pub(in crate::registry) use peers::{Peers, PeersConfig};
pub(in crate::registry) use seal::ForwardedCaller;
