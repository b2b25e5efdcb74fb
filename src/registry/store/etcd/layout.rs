//! Where things are in etcd. A shard has four digits, so that keys sort like shards.

/// The keys below a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: Vec<u8>,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.as_bytes().to_vec() }
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        [&self.prefix[..], rest.as_bytes()].concat()
    }

    /// The layout's version, the secret keys and the number of shards: `format`, `keys`, `shards`.
    pub(crate) fn meta(&self, name: &str) -> Vec<u8> {
        self.key(&format!("m/{name}"))
    }

    /// The range of these.
    pub(crate) fn all_meta(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key("m/"), self.key("m0"))
    }

    /// A live node: the key ends with the node's lease.
    pub(crate) fn node(&self, id: &str) -> Vec<u8> {
        self.key(&format!("n/{id}"))
    }

    /// The range of these.
    pub(crate) fn nodes(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key("n/"), self.key("n0"))
    }

    /// Returns the id in the key of a node.
    pub(crate) fn node_of<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        self.below("n/", key)
    }

    /// Returns the shard in the key of an owner.
    pub(crate) fn shard_of_owner(&self, key: &[u8]) -> Option<u16> {
        self.below("o/", key)?.parse().ok()
    }

    fn below<'a>(&self, folder: &str, key: &'a [u8]) -> Option<&'a str> {
        let rest = key.strip_prefix(&self.prefix[..])?.strip_prefix(folder.as_bytes())?;
        std::str::from_utf8(rest).ok()
    }

    /// The owner of a shard. The revision of its last change is the fence of the shard's commits.
    pub(crate) fn owner(&self, shard: u16) -> Vec<u8> {
        self.key(&format!("o/{shard:04}"))
    }

    /// The range of all nodes and owners.
    pub(crate) fn live(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key("n/"), self.key("p"))
    }

    /// The range of all owners, and that of all sequence numbers.
    pub(crate) fn owners_and_sequences(&self) -> [(Vec<u8>, Vec<u8>); 2] {
        [(self.key("o/"), self.key("o0")), (self.key("q/"), self.key("q0"))]
    }

    /// The sequence number of a shard's last commit, with a random number.
    pub(crate) fn sequence(&self, shard: u16) -> Vec<u8> {
        self.key(&format!("q/{shard:04}"))
    }

    /// The range of a shard's records.
    pub(crate) fn data(&self, shard: u16) -> (Vec<u8>, Vec<u8>) {
        (self.key(&format!("d/{shard:04}/")), self.key(&format!("d/{shard:04}0"))) // 0 follows /
    }

    /// The range of the records of all shards.
    pub(crate) fn all_data(&self) -> (Vec<u8>, Vec<u8>) {
        (self.key("d/"), self.key("d0"))
    }

    /// A record of a shard, whose key begins with the letter of all records.
    pub(crate) fn record(&self, shard: u16, record_key: &[u8]) -> Vec<u8> {
        let (mut key, _) = self.data(shard);
        key.extend(record_key.get(1..).unwrap_or_default());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_agreed_form() {
        let layout = Layout::new("/registry/");
        let text = |key: Vec<u8>| String::from_utf8(key).unwrap();
        assert_eq!(text(layout.meta("format")), "/registry/m/format");
        assert_eq!(text(layout.node("0123456789abcdef")), "/registry/n/0123456789abcdef");
        assert_eq!(text(layout.owner(7)), "/registry/o/0007");
        assert_eq!(text(layout.sequence(1023)), "/registry/q/1023");
        assert_eq!(text(layout.record(63, b"dabc")), "/registry/d/0063/abc");
        assert_eq!(layout.node_of(&layout.node("0123456789abcdef")), Some("0123456789abcdef"));
        assert_eq!((layout.shard_of_owner(&layout.owner(7)), layout.node_of(&layout.owner(7))), (Some(7), None));
        let (from, to) = layout.data(63);
        assert!((from..to).contains(&layout.record(63, b"d\xff\xff\xff\xff")));
        let (from, to) = layout.live();
        assert!([layout.node("x"), layout.owner(9999)].iter().all(|key| (&from..&to).contains(&key)));
        assert!(![layout.meta("x"), layout.sequence(0)].iter().any(|key| (&from..&to).contains(&key)));
    }
}
