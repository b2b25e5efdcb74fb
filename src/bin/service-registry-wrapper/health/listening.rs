//! Waits until the child, or a descendant of it, listens on a TCP port, and notices when none does any more.
//!
//! The kernel tells nobody when a socket begins to listen, so the wrapper looks: 20 times a second until it finds one,
//! and every five seconds from then on. docs/health.md has what that costs.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::listeners::{self, Listener};
use super::watched::Watched;
use crate::options::Readiness;
use crate::process::descendants;
use crate::registration::Desired;

/// Between two looks for a listening socket. With the look itself and the request, less than 100 ms.
const SEARCH: Duration = Duration::from_millis(50);
/// Between two looks whether it still listens.
const STILL: Duration = Duration::from_secs(5);
/// After this time the wrapper looks at the descriptors of all processes again, although no new socket listens: one may
/// have been passed on to the child.
const ALL: Duration = Duration::from_secs(1);
/// After this time the wrapper says what it waits for.
const HINT: Duration = Duration::from_secs(15);

/// Keeps the service out of the registry while nothing listens. Never returns.
pub(super) async fn watch(readiness: &Readiness, watched: &Watched<'_>, desired: &Desired) -> Infallible {
    let mut search = Search::new(readiness, watched);
    loop {
        let mut found = search.until_found(desired).await;
        let mut known = Vec::new();
        while search.is_enough(&found) {
            if ports(&found) != known {
                report(&found);
                known = ports(&found);
                if let Err(error) = desired.set_ports(known.clone()) {
                    warn!("the description of the service stays as it is: {error:#}");
                }
            }
            desired.set_not_ready(None);
            sleep(STILL).await;
            found = search.still_listening(found).await;
        }
        let why = readiness.awaited().unwrap_or_default();
        warn!("{why} any more");
        desired.set_not_ready(Some(format!("{why} any more")));
    }
}

/// Returns the ports of sockets, in order.
fn ports(found: &[Listener]) -> Vec<u16> {
    let mut ports: Vec<u16> = found.iter().map(|listener| listener.address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn report(found: &[Listener]) {
    let addresses: Vec<String> = found.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    if found.iter().all(|listener| listener.address.ip().to_canonical().is_loopback()) {
        warn!("the command listens on {addresses} only: programs on other machines cannot reach it");
    } else {
        info!("the command listens on {addresses}");
    }
}

/// The search for listening sockets of the child and its descendants.
struct Search<'a> {
    watched: &'a Watched<'a>,
    readiness: &'a Readiness,
    /// Sockets that listened at the last look at all processes, and were not the child's.
    foreign: HashSet<u64>,
    last_look: Option<Instant>,
    /// A process whose descriptors cannot be seen.
    hidden: Option<i32>,
}

impl<'a> Search<'a> {
    fn new(readiness: &'a Readiness, watched: &'a Watched<'a>) -> Self {
        Self { watched, readiness, foreign: HashSet::new(), last_look: None, hidden: None }
    }

    fn is_enough(&self, found: &[Listener]) -> bool {
        ports(found).len() >= self.readiness.ports_needed.max(1)
    }

    async fn until_found(&mut self, desired: &Desired) -> Vec<Listener> {
        let (begun, mut has_hinted) = (Instant::now(), false);
        loop {
            let found = self.look().await;
            if self.is_enough(&found) {
                return found;
            }
            if begun.elapsed() >= HINT && !std::mem::replace(&mut has_hinted, true) {
                self.hint(desired);
            }
            sleep(SEARCH).await;
        }
    }

    fn hint(&self, desired: &Desired) {
        let hidden = self.hidden.map_or_else(String::new, |process| {
            format!(
                "; the sockets of process {process} cannot be seen, because it runs as another user: use \
                 --register-when=ready"
            )
        });
        let why = desired.not_ready().unwrap_or_default();
        info!("not registered yet: {why}{hidden}");
    }

    /// Returns the sockets of the child's that listen. Looks at all processes only if it may be worth it.
    async fn look(&mut self) -> Vec<Listener> {
        let listening = self.of_port(listeners::of(self.watched.child.get()));
        let is_due = self.last_look.is_none_or(|at| at.elapsed() >= ALL);
        if !is_due && listening.iter().all(|listener| self.foreign.contains(&listener.inode)) {
            return Vec::new();
        }
        self.last_look = Some(Instant::now());
        self.foreign = listening.iter().map(|listener| listener.inode).collect();
        self.hidden = None;
        let mut found = Vec::new();
        for process in descendants::descendants(&self.watched.inherited_children).unwrap_or_default() {
            match listeners::inodes(process) {
                Some(inodes) if inodes.is_empty() => {}
                Some(inodes) => {
                    let is_here = listeners::shares_network(process, self.watched.child.get());
                    let own = if is_here { listening.clone() } else { self.of_port(listeners::of(process)) };
                    found.extend(own.into_iter().filter(|listener| inodes.contains(&listener.inode)));
                }
                None => self.hidden = Some(process),
            }
            yield_now().await; // to heartbeats: a server may have hundreds of processes with thousands of descriptors
        }
        found.sort_by_key(|listener| listener.address);
        found.dedup_by_key(|listener| listener.inode); // parents share them with their workers
        found
    }

    /// Returns those that still listen; once one of them does not, all of the child's.
    async fn still_listening(&mut self, found: Vec<Listener>) -> Vec<Listener> {
        let all = self.of_port(listeners::of(self.watched.child.get()));
        if found.iter().all(|listener| all.contains(listener)) {
            return found;
        }
        self.last_look = None;
        self.look().await
    }

    fn of_port(&self, mut listening: Vec<Listener>) -> Vec<Listener> {
        listening.retain(|listener| self.readiness.port.is_none_or(|port| listener.address.port() == port));
        listening
    }
}
