//! The commands that wait, watch and change: one file, or folder, for each.
//!
//! `deregister` and `register` change the registry; `lock` becomes the wrapper; `wait`, `watch` and `render` need the
//! list of services, which `following` has. `time` reads times, `stop` waits for SIGTERM and SIGINT.

pub(crate) mod deregister;
mod following;
pub(crate) mod lock;
pub(crate) mod register;
pub(crate) mod render;
mod stop;
mod time;
pub(crate) mod wait;
pub(crate) mod watch;
