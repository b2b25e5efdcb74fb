//! Clients that read at one node, whatever happens to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use std::time::Duration;

use super::caller::{Caller, LIMIT, With};
use super::log::{Call, Outcome};
use super::world::World;

/// Longer than any pause of a node: what was asked for while it lasts is answered at last.
const PATIENT: Duration = Duration::from_secs(30);
/// How many patient requests are open at a node at most.
const MOST: usize = 30;

pub fn read(world: &World, node: usize) {
    let mut random = world.random(2000 + node);
    let mut caller = Caller::new(world, node);
    while !world.is_over() {
        let account = random.usize(..world.accounts.len());
        let call = choose(world, account, &mut random);
        let said = caller.ask_with(account, call, With::default(), LIMIT);
        let is_down = matches!(said.outcome, Outcome::NotSent | Outcome::Unavailable);
        world.pause(if is_down { 0.3 } else { 0.05 + 0.15 * random.f64() });
    }
}

/// Asks again and again without waiting for the answers: so a node that was stopped has requests of the whole time, also
/// of when others had taken over from it.
pub fn read_patiently(world: &World, node: usize) {
    let mut random = world.random(3000 + node);
    let open = &AtomicUsize::new(0);
    scope(|scope| {
        while !world.is_over() {
            let mut random = fastrand::Rng::with_seed(random.u64(..));
            if open.fetch_add(1, Ordering::Relaxed) < MOST {
                scope.spawn(move || {
                    ask_patiently(world, node, &mut random);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            } else {
                open.fetch_sub(1, Ordering::Relaxed);
            }
            world.pause(0.7);
        }
    });
}

fn ask_patiently(world: &World, node: usize, random: &mut fastrand::Rng) {
    let mut caller = Caller::new(world, node);
    if random.u32(..3) == 0
        && !world.is_closing()
        && let Some(lease) = world.some_lease(random)
    {
        // In the name of its holder, with a token of which it is not known whether it is still the newest.
        return caller.ask_for_another(&lease, PATIENT);
    }
    let account = random.usize(..world.accounts.len());
    let call = choose(world, account, random);
    caller.ask_with(account, call, With::default(), PATIENT);
}

fn choose(world: &World, account: usize, random: &mut fastrand::Rng) -> Call {
    let (keys, services) = (world.contested("key"), world.contested("web"));
    match random.u32(..12) {
        0..3 => Call::Value { id: keys[random.usize(..keys.len())].clone() },
        3..5 => Call::Service { id: services[random.usize(..services.len())].clone() },
        5..8 => Call::Services { known: world.known("web") },
        8..10 => Call::Values { known: world.known("key") },
        10 => Call::Sessions,
        _ => Call::Events { marker: world.accounts[account].marker.clone(), is_repeated: true },
    }
}
