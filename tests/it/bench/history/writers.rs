//! Clients that change and read configuration values, and services that others hold.

use super::caller::Caller;
use super::log::{Call, Change, Outcome};
use super::world::World;

pub fn write(world: &World, number: usize) {
    let mut random = world.random(1000 + number);
    let mut caller = Caller::new(world, number);
    while !world.is_closing() {
        let account = random.usize(..world.accounts.len());
        caller.node = random.usize(..world.nodes.len());
        let (keys, services) = (world.contested("key"), world.contested("web"));
        let key = keys[random.usize(..keys.len())].clone();
        let service = services[random.usize(..services.len())].clone();
        let change = |id, change| Call::Change { id, number: world.number(), change };
        let call = match random.u32(..14) {
            0..4 => change(key, Change::Set),
            4..6 => change(key, Change::Remove),
            6..9 => Call::Value { id: key },
            9..11 => change(service, Change::Update),
            11 => change(service, Change::Delete),
            _ => Call::Service { id: service },
        };
        let said = caller.ask(account, call);
        let is_down = matches!(said.outcome, Outcome::NotSent | Outcome::Unavailable);
        world.pause_unless_closing(if is_down { 0.3 } else { 0.01 + 0.06 * random.f64() });
    }
}
