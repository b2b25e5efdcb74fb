//! Clients that hold a service or a session with heartbeats for a while, and then end it, or leave it to its timeout.

use std::time::Duration;

use super::caller::{Caller, LIMIT, With};
use super::log::{Call, Change, Lease, Outcome};
use super::world::World;

/// How long a client goes on to send heartbeats that nobody answers.
const GIVE_UP: usize = 60;

pub fn hold(world: &World, number: usize) {
    let mut random = world.random(number);
    let mut caller = Caller::new(world, number);
    while !world.is_closing() {
        let account = random.usize(..world.accounts.len());
        let timeout = random.u32(3..=10);
        if random.u32(..3) == 0 {
            hold_session(&mut caller, account, timeout, &mut random);
        } else {
            hold_service(&mut caller, account, timeout, &mut random);
        }
        if random.u32(..4) == 0 {
            caller.fail_over();
        }
    }
}

fn hold_service(caller: &mut Caller<'_>, account: usize, timeout: u32, random: &mut fastrand::Rng) {
    let number = caller.world.number();
    let contested = caller.world.contested("web");
    let own = format!("own-{number}");
    let id = if random.u32(..3) == 0 { own } else { contested[random.usize(..contested.len())].clone() };
    let change = Change::Create { timeout: Some(timeout) };
    let said = caller.ask(account, Call::Change { id: id.clone(), number, change });
    let Some(token) = said.token.filter(|_| said.outcome == Outcome::Done) else {
        return pause_after(caller, &said.outcome);
    };
    let mut lease = Lease { account, id, holder: number, is_session: false, timeout, token };
    let is_held = keep(caller, &mut lease, random);
    if is_held && random.bool() {
        let number = caller.world.number();
        caller.ask(account, Call::Change { id: lease.id, number, change: Change::Delete });
    } else {
        caller.world.leave(lease);
    }
}

/// A session with a service that nobody else touches, by which its end is seen, and one that others want as well.
fn hold_session(caller: &mut Caller<'_>, account: usize, timeout: u32, random: &mut fastrand::Rng) {
    let number = caller.world.number();
    let said = caller.ask(account, Call::Change { id: String::new(), number, change: Change::Open { timeout } });
    let Some(token) = said.token.filter(|_| said.outcome == Outcome::Done) else {
        return pause_after(caller, &said.outcome);
    };
    let contested = caller.world.contested("web");
    let ids = [format!("anchor-{number}"), contested[random.usize(..contested.len())].clone()];
    let with = With { session: Some(&said.id), ..With::default() };
    for id in ids {
        let number = caller.world.number();
        let create = Call::Change { id, number, change: Change::Create { timeout: None } };
        caller.ask_with(account, create, with, LIMIT);
    }
    let mut lease = Lease { account, id: said.id, holder: number, is_session: true, timeout, token };
    let is_held = keep(caller, &mut lease, random);
    if is_held && random.bool() {
        let number = caller.world.number();
        caller.ask(account, Call::Change { id: lease.id, number, change: Change::Close });
    } else {
        caller.world.leave(lease);
    }
}

fn pause_after(caller: &mut Caller<'_>, outcome: &Outcome) {
    if *outcome != Outcome::Denied {
        caller.fail_over();
    }
    caller.world.pause_unless_closing(0.5);
}

/// Sends heartbeats for a while. Returns whether the last one was answered with success.
fn keep(caller: &mut Caller<'_>, lease: &mut Lease, random: &mut fastrand::Rng) -> bool {
    let beats = random.u32(0..12);
    for _ in 0..beats {
        caller.world.pause_unless_closing(f64::from(lease.timeout) * (0.2 + 0.4 * random.f64()));
        if caller.world.is_closing() || !beat(caller, lease) {
            return false;
        }
        if random.u32(..6) == 0 && !lease.is_session {
            let number = caller.world.number();
            caller.ask(lease.account, Call::Change { id: lease.id.clone(), number, change: Change::Update });
        }
    }
    true
}

/// One heartbeat, at one node after the other until one answers it.
fn beat(caller: &mut Caller<'_>, lease: &mut Lease) -> bool {
    let limit = Duration::from_secs_f64((f64::from(lease.timeout) * 0.25).max(1.0));
    for _ in 0..GIVE_UP {
        let call = Call::Heartbeat { id: lease.id.clone(), holder: lease.holder, is_session: lease.is_session };
        let with = With { token: &lease.token, ..With::default() };
        let said = caller.ask_with(lease.account, call, with, limit);
        match (said.outcome, said.token) {
            (Outcome::Done, Some(token)) => {
                lease.token = token;
                return true;
            }
            (Outcome::Denied, _) => return false,
            _ => caller.fail_over(),
        }
        if caller.world.is_closing() {
            return false;
        }
        caller.world.pause_unless_closing(0.1);
    }
    false
}
