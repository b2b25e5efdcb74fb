//! Several nodes of the registry and the members of etcd that keep their data, and what can happen to them.
//!
//! `nodes` has the nodes, `faults` what can happen; `trouble` lets it happen, and `trial` does so while clients use the
//! registry. Where they run is in the room's neighbour `network`.

mod faults;
mod nodes;
mod trial;
mod trouble;

pub use faults::{Fault, Shape, Which};
pub use nodes::{Cluster, Setting};
pub use trial::run;
pub use trouble::Trouble;
