//! The chain of a shard's commits: each replaces the value of the one before by its own, a number that rises by one and
//! 8 random bytes. A value is never used twice, so a transaction that was overtaken can never be made.

use crate::registry::store::etcd::client::EtcdError;

/// Where the chain is, as far as its owner knows.
#[derive(Debug, Default)]
pub(super) struct Chain {
    current: Vec<u8>,
    /// The values of transactions that may have been made, or may be later.
    unclear: Vec<Vec<u8>>,
    /// The last commit has failed, or is running.
    pub(super) has_failed: bool,
}

/// Where a chain was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The transaction was made.
    Here,
    /// No transaction since the last one that is known was made.
    Before,
    /// This earlier transaction was made.
    Known(Vec<u8>),
    /// Another process has written.
    Foreign,
}

impl Chain {
    pub(super) fn new(current: Vec<u8>) -> Self {
        Self { current, ..Self::default() }
    }

    /// Returns the value that the next transaction must find; empty if it must find none.
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    /// Makes the value of a next transaction.
    pub(super) fn next(&self) -> Result<Vec<u8>, EtcdError> {
        let number = self.current.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| EtcdError::Refused(format!("the system has no random numbers: {error}")))?;
        Ok([number.wrapping_add(1).to_be_bytes(), random].concat())
    }

    /// Notes a transaction that is about to be sent.
    pub(super) fn may_be_at(&mut self, next: &[u8]) {
        if self.unclear.last().is_none_or(|last| last != next) {
            self.unclear.push(next.to_vec());
        }
    }

    /// Notes a transaction that was made. None of those before it can be made any more.
    pub(super) fn is_at(&mut self, made: Vec<u8>) {
        self.unclear.clear();
        self.current = made;
    }

    /// Says what a value means that was found, after `next` was sent.
    pub(super) fn position(&self, found: Vec<u8>, next: &[u8]) -> Position {
        if found == next {
            Position::Here
        } else if found == self.current {
            Position::Before
        } else if self.unclear.contains(&found) {
            Position::Known(found)
        } else {
            Position::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_rises_and_is_never_the_same() {
        let mut chain = Chain::new(Vec::new());
        let (one, other) = (chain.next().unwrap(), chain.next().unwrap());
        assert_eq!((one.len(), &one[..8]), (16, &1u64.to_be_bytes()[..]));
        assert_ne!(one, other);
        chain.is_at(one);
        assert_eq!(chain.next().unwrap()[..8], 2u64.to_be_bytes());
    }

    #[test]
    fn position_tells_the_own_transactions_from_those_of_others() {
        let mut chain = Chain::new(b"old".to_vec());
        for sent in [b"lost", b"next", b"next"] {
            chain.may_be_at(sent);
        }
        let position = |chain: &Chain, found: &[u8]| chain.position(found.to_vec(), b"next");
        assert_eq!(position(&chain, b"next"), Position::Here);
        assert_eq!(position(&chain, b"old"), Position::Before);
        assert_eq!(position(&chain, b"lost"), Position::Known(b"lost".to_vec()));
        assert_eq!(position(&chain, b"other"), Position::Foreign);
        chain.is_at(b"lost".to_vec());
        assert_eq!(position(&chain, b"old"), Position::Foreign, "it is never written again");
    }
}
