//! The commands that wait, watch and change.

mod deregister;
mod lock;
mod proxies;
mod recipes;
mod register;
mod render;
mod wait;
mod watch;
