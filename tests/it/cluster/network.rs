//! The bench itself: members of etcd that lose each other.

use crate::bench::etcd::{Etcd, is_installed_for};
use crate::bench::eventually;
use crate::bench::network::Network;

#[test]
fn leader_that_is_cut_off_is_replaced() {
    if !is_installed_for("cuts between members") {
        return;
    }
    let Some(network) = Network::new(3) else { return };
    let etcd = Etcd::start(&network.places, None);
    let first = etcd.leader().unwrap();
    let others = [(first + 1) % 3, (first + 2) % 3];
    others.iter().for_each(|other| network.cut(first, *other)); // what it hears is not enough
    let second = eventually("another leader", || etcd.leader().filter(|leader| *leader != first));
    others.iter().for_each(|other| network.heal(first, *other));
    let others = (0..3).filter(|other| *other != second);
    others.clone().for_each(|other| network.cut(other, second)); // nor is what it says
    eventually("a third leader", || etcd.leader().filter(|leader| *leader != second));
}
