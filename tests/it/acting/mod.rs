//! The commands that wait, watch and change.

mod deregister;
mod lock;
mod recipes;
mod register;
mod wait;
mod watch;
