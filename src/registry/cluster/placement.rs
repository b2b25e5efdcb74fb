//! Which shard an account belongs to, and which node should have a shard.

use crate::registry::model::TenantId;

/// Returns the shard of an account. Part of the layout: every node must agree, also one of a later version.
pub(super) fn shard_of(tenant: TenantId, shards: u16) -> u16 {
    let shard = mix(u64::from(tenant)) % u64::from(shards.max(1));
    u16::try_from(shard).unwrap_or(0) // it is less than `shards`
}

/// Returns the node that should have a shard, by rendezvous hashing: if a node joins or leaves, only those shards move
/// that it gets or had. Nodes of different versions may disagree, since only ownership decides.
pub(super) fn wanted<'a>(shard: u16, nodes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nodes.max_by_key(|node| {
        let number = u64::from_str_radix(node, 16).unwrap_or_default();
        (mix(number ^ mix(u64::from(shard))), *node)
    })
}

/// The finaliser of SplitMix64: each bit of the number changes about half of the bits of the result.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_of_an_account_never_changes() {
        assert_eq!([1, 2, 3, 2_147_483_647].map(|tenant| shard_of(tenant, 64)), [1, 14, 45, 39]);
        assert!((1..10_000).all(|tenant| shard_of(tenant, 7) < 7));
        assert_eq!(shard_of(5, 1), 0);
    }

    #[test]
    fn node_that_joins_takes_its_part_and_moves_nothing_else() {
        let nodes: Vec<String> = (0..4).map(|_| format!("{:016x}", fastrand::u64(..))).collect();
        let place = |count: usize| -> Vec<&str> {
            (0..1024).map(|shard| wanted(shard, nodes[..count].iter().map(String::as_str)).unwrap()).collect()
        };
        let (three, four) = (place(3), place(4));
        let moved: Vec<&str> = three.iter().zip(&four).filter(|(old, new)| old != new).map(|(_, new)| *new).collect();
        assert!(moved.iter().all(|node| *node == nodes[3]));
        assert!((150..360).contains(&moved.len()), "{} of 1,024", moved.len());
        assert_eq!(wanted(3, std::iter::empty()), None);
    }
}
