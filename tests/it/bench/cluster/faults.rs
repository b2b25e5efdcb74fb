//! What can happen to a cluster, chosen at random.

/// One fault. It begins, lasts, and is mended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// `kill -9`, and a new start when it ends.
    KillNode(usize),
    /// SIGSTOP, and SIGCONT when it ends.
    StopNode(usize),
    /// SIGTERM, and a new start when it ends.
    EndNode(usize),
    KillMember(Which),
    StopMember(Which),
    /// Two members are killed: nothing can be written.
    KillMajority(usize),
    /// The pair's connection to others.
    Cut(usize, Shape),
    /// etcd has no space.
    Full,
    /// The clock of a node is set.
    Clock(usize, i64),
    /// All nodes are ended by SIGTERM and started again, one after the other.
    Rolling,
}

/// A member of etcd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    Leader,
    Number(usize),
}

/// What is cut off from what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// From both others, in both directions.
    Whole,
    /// What it sends to the others.
    Outwards,
    /// What the others send to it.
    Inwards,
    /// From the next one only, in both directions.
    Partial,
}

/// What is possible here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Possible {
    pub etcd: bool,
    pub cuts: bool,
    pub full: bool,
    pub clocks: bool,
}

impl Fault {
    pub fn random(random: &mut fastrand::Rng, nodes: usize, possible: Possible) -> Self {
        let at = random.usize(..nodes);
        let which = if random.bool() { Which::Leader } else { Which::Number(at) };
        let ahead = random.i64(-300..=300);
        loop {
            let is_possible = |yes: bool, fault: Self| yes.then_some(fault);
            let fault = match random.u32(..20) {
                0..3 => Some(Self::KillNode(at)),
                3..7 => Some(Self::StopNode(at)),
                7 => Some(Self::EndNode(at)),
                8 => is_possible(possible.etcd, Self::Rolling),
                9..11 => is_possible(possible.etcd, Self::KillMember(which)),
                11..13 => is_possible(possible.etcd, Self::StopMember(which)),
                13 => is_possible(possible.etcd, Self::KillMajority(at)),
                14..18 => {
                    let shapes = [Shape::Whole, Shape::Outwards, Shape::Inwards, Shape::Partial];
                    is_possible(possible.cuts, Self::Cut(at, shapes[random.usize(..4)]))
                }
                18 => is_possible(possible.full, Self::Full),
                _ => is_possible(possible.clocks, Self::Clock(at, ahead)),
            };
            if let Some(fault) = fault {
                return fault;
            }
        }
    }
}
