//! Random clients of a registry with several nodes, the log of what they were answered, and the checks of that log.
//!
//! In this order: `log` is what is written down, `line` how a request is sent, `world` what all clients share, `caller`
//! one of them; `holders`, `writers`, `readers` and `followers` are the clients. Then `evidence` puts the log and the
//! feed together, `feed`, `records` and `deaths` each check a part of it, and `check` runs all three.

mod caller;
mod check;
mod deaths;
mod evidence;
mod feed;
mod followers;
mod holders;
mod line;
mod log;
mod readers;
mod records;
mod world;
mod writers;

pub use caller::is_served;
pub use check::{Verdict, Violation, check};
pub use log::{Call, Change, Effect, Entry, Listed, Log, Outcome};
pub use world::{Load, World};

use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

/// The clients of a world. They end when the world is over.
pub struct Clients(Vec<JoinHandle<()>>);

impl Clients {
    pub fn start(world: &Arc<World>, load: &Load) -> Self {
        let mut clients = Vec::new();
        let mut start = |client: Box<dyn FnOnce(&World) + Send>| {
            let world = world.clone();
            clients.push(spawn(move || client(&world)));
        };
        start(Box::new(World::note_stalls));
        for number in 0..load.holders {
            start(Box::new(move |world| holders::hold(world, number)));
        }
        for number in 0..load.writers {
            start(Box::new(move |world| writers::write(world, number)));
        }
        for node in 0..world.nodes.len() {
            start(Box::new(move |world| readers::read(world, node)));
            start(Box::new(move |world| readers::read_patiently(world, node)));
            start(Box::new(move |world| followers::stream(world, node)));
            for account in 0..world.accounts.len() {
                start(Box::new(move |world| followers::follow(world, node, account)));
            }
        }
        Self(clients)
    }

    /// Tells all to end, waits until they have, and passes on the panic of one.
    pub fn end(self, world: &World) {
        world.end();
        for client in self.0 {
            client.join().unwrap();
        }
    }
}
