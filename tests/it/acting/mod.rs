//! The commands that wait, watch and change.

mod deregister;
mod lock;
mod register;
mod wait;
mod watch;
