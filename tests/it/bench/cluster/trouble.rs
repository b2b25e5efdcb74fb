//! Lets faults happen to a cluster, one or two at a time, and writes down when.

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::faults::{Fault, Possible, Shape, Which};
use super::nodes::Cluster;
use crate::bench::history::{Effect, World, is_served};

/// How long a node may take to end after SIGTERM.
const END: Duration = Duration::from_secs(20);
/// How long everything may take to work again.
const RECOVERY: Duration = Duration::from_secs(90);

pub struct Trouble<'a> {
    pub cluster: &'a mut Cluster,
    world: &'a World,
    possible: Possible,
    /// What went wrong, apart from the answers.
    pub complaints: Vec<String>,
    /// The members that a fault is about.
    members: Vec<usize>,
}

impl<'a> Trouble<'a> {
    pub fn new(cluster: &'a mut Cluster, world: &'a World, has_quota: bool, has_clocks: bool) -> Self {
        let has_etcd = cluster.etcd.is_some();
        let possible =
            Possible { etcd: has_etcd, cuts: cluster.network.is_some(), full: has_quota, clocks: has_clocks };
        Self { cluster, world, possible, complaints: Vec::new(), members: Vec::new() }
    }

    /// Random faults for this long.
    pub fn run(&mut self, time: Duration, random: &mut fastrand::Rng) {
        let end = Instant::now() + time;
        while Instant::now() < end && self.complaints.is_empty() {
            sleep(Duration::from_millis(random.u64(3_000..8_000))); // the calm between two faults
            let first = self.choose(random);
            let second = self.choose(random);
            let lasts = |random: &mut fastrand::Rng| Duration::from_millis(random.u64(1_000..20_000));
            if random.u32(..10) < 3 && are_compatible(first, second) {
                let later = Duration::from_millis(random.u64(..4_000));
                self.pair(first, second, later, lasts(random), random.bool());
            } else {
                self.one(first, lasts(random));
            }
        }
    }

    fn choose(&self, random: &mut fastrand::Rng) -> Fault {
        Fault::random(random, self.cluster.nodes.len(), self.possible)
    }

    pub fn one(&mut self, fault: Fault, time: Duration) {
        let from = self.world.now();
        self.begin(fault);
        if !matches!(fault, Fault::Clock(..) | Fault::Rolling) {
            sleep(time);
        }
        self.end(fault);
        let effect = match fault {
            Fault::EndNode(_) | Fault::Clock(..) | Fault::Rolling => Effect::None,
            Fault::KillMajority(_) | Fault::Full => Effect::Standstill,
            _ if self.cluster.nodes.len() == 1 => Effect::Standstill,
            _ => Effect::Takeover,
        };
        self.note(format!("{fault:?}"), from, effect);
        self.await_service();
    }

    /// Two faults, the second of which begins somewhat later, and may end first.
    pub fn pair(&mut self, first: Fault, second: Fault, later: Duration, time: Duration, is_nested: bool) {
        let from = self.world.now();
        self.begin(first);
        sleep(later);
        self.begin(second);
        sleep(time / 2);
        self.end(if is_nested { second } else { first });
        sleep(time / 2);
        self.end(if is_nested { first } else { second });
        self.note(format!("{first:?} with {second:?}"), from, Effect::Standstill);
        self.await_service();
    }

    /// Ends a node while all others are stopped for a time, so that its handovers take that long.
    pub fn slow_move(&mut self, at: usize, time: Duration) {
        let from = self.world.now();
        let others: Vec<usize> = (0..self.cluster.nodes.len()).filter(|other| *other != at).collect();
        others.iter().for_each(|other| self.cluster.signal_node(*other, Signal::SIGSTOP));
        self.cluster.signal_node(at, Signal::SIGTERM);
        sleep(time);
        others.iter().for_each(|other| self.cluster.signal_node(*other, Signal::SIGCONT));
        self.end_node(at);
        self.cluster.start_node(at);
        self.note(format!("slow move away from {at}"), from, Effect::Takeover);
        self.await_service();
    }

    fn note(&mut self, what: String, from: u64, effect: Effect) {
        println!("[{:.1} to {:.1}] {what}", from as f64 / 1e9, self.world.now() as f64 / 1e9);
        self.world.note_fault(what, from, effect);
        while let Some((at, said)) = self.cluster.ended() {
            let last: Vec<&str> = said.lines().rev().take(5).collect();
            self.complaints.push(format!("node {at} has ended by itself: {last:?}"));
            self.cluster.start_node(at);
        }
    }

    /// Waits until every node answers again.
    pub fn await_service(&mut self) {
        let (start, from) = (Instant::now(), self.world.now());
        for at in 0..self.cluster.nodes.len() {
            while !is_served(self.world, at) {
                if start.elapsed() > RECOVERY {
                    self.complaints.push(format!("node {at} does not answer {RECOVERY:?} after everything was mended"));
                    return;
                }
                sleep(Duration::from_millis(200)); // the pause between two looks, not a synchronisation
            }
        }
        if start.elapsed() > Duration::from_secs(5) {
            println!("  all nodes answer after {:.1} s", start.elapsed().as_secs_f64());
            self.world.note_fault("recovery".into(), from, Effect::Standstill);
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillNode(at) => {
                self.cluster.signal_node(at, Signal::SIGKILL);
                self.cluster.reap_node(at, END);
            }
            Fault::StopNode(at) => self.cluster.signal_node(at, Signal::SIGSTOP),
            Fault::EndNode(at) => self.end_node(at),
            Fault::KillMember(which) => {
                let member = self.member(which);
                self.members = vec![member];
                self.etcd().members[member].kill();
            }
            Fault::StopMember(which) => {
                let member = self.member(which);
                self.members = vec![member];
                self.etcd().members[member].signal(Signal::SIGSTOP);
            }
            Fault::KillMajority(at) => {
                self.members = (0..3).filter(|other| *other != at).collect();
                self.members.clone().into_iter().for_each(|member| self.etcd().members[member].kill());
            }
            Fault::Cut(at, shape) => self.directions(at, shape).for_each(|(from, to)| self.network().cut(from, to)),
            Fault::Full => self.etcd().fill(),
            Fault::Clock(at, ahead) => self.cluster.set_clock(at, ahead),
            Fault::Rolling => {
                for at in 0..self.cluster.nodes.len() {
                    self.end_node(at);
                    self.cluster.start_node(at);
                    self.await_service();
                }
            }
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::KillNode(at) | Fault::EndNode(at) => self.cluster.start_node(at),
            Fault::StopNode(at) => self.cluster.signal_node(at, Signal::SIGCONT),
            Fault::KillMember(_) | Fault::KillMajority(_) => {
                std::mem::take(&mut self.members).into_iter().for_each(|member| self.etcd().members[member].start());
            }
            Fault::StopMember(_) => {
                let members = std::mem::take(&mut self.members);
                members.into_iter().for_each(|member| self.etcd().members[member].signal(Signal::SIGCONT));
            }
            Fault::Cut(at, shape) => self.directions(at, shape).for_each(|(from, to)| self.network().heal(from, to)),
            Fault::Full => self.etcd().empty(),
            Fault::Clock(..) | Fault::Rolling => {}
        }
    }

    fn end_node(&mut self, at: usize) {
        self.cluster.signal_node(at, Signal::SIGTERM);
        if !self.cluster.reap_node(at, END) {
            self.complaints.push(format!("node {at} does not end {END:?} after SIGTERM"));
            self.cluster.signal_node(at, Signal::SIGKILL);
            self.cluster.reap_node(at, END);
        }
    }

    fn directions(&self, at: usize, shape: Shape) -> impl Iterator<Item = (usize, usize)> + use<> {
        let size = self.cluster.nodes.len();
        let is_meant = move |from: usize, to: usize| match shape {
            Shape::Whole => from == at || to == at,
            Shape::Outwards => from == at,
            Shape::Inwards => to == at,
            Shape::Partial => [(at, (at + 1) % size), ((at + 1) % size, at)].contains(&(from, to)),
        };
        let all = (0..size).flat_map(move |from| (0..size).map(move |to| (from, to)));
        all.filter(move |(from, to)| from != to && is_meant(*from, *to))
    }

    fn member(&mut self, which: Which) -> usize {
        match which {
            Which::Number(member) => member,
            Which::Leader => self.etcd().leader().unwrap_or(0),
        }
    }

    fn etcd(&mut self) -> &mut crate::bench::etcd::Etcd {
        self.cluster.etcd.as_mut().unwrap()
    }

    fn network(&self) -> &crate::bench::network::Network {
        self.cluster.network.as_ref().unwrap()
    }
}

/// Two faults of etcd, or two of one node, are not two faults.
fn are_compatible(first: Fault, second: Fault) -> bool {
    let kind = |fault| match fault {
        Fault::KillNode(at) | Fault::StopNode(at) | Fault::EndNode(at) => Some(at),
        Fault::KillMember(_) | Fault::StopMember(_) | Fault::KillMajority(_) => Some(100),
        Fault::Cut(..) => Some(200),
        Fault::Clock(..) => Some(300),
        Fault::Full | Fault::Rolling => None,
    };
    matches!((kind(first), kind(second)), (Some(first), Some(second)) if first != second)
}
