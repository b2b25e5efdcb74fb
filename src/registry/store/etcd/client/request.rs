//! Requests for keys, and what comes back.

use super::messages::DESCENDING;
use super::messages::{
    Comparison, DeleteRangeRequest, Expected, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestKind, RequestOp,
};

/// A part of a range of keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) from: Vec<u8>,
    /// The first key that is not part of it.
    pub(crate) to: Vec<u8>,
    /// The most keys; 0 for all.
    pub(crate) limit: i64,
    /// As of this revision; 0 for the current one.
    pub(crate) revision: i64,
    /// From the last key on. etcd then reads the whole range, whatever the limit.
    pub(crate) descending: bool,
    pub(crate) keys_only: bool,
}

impl Page {
    pub(super) fn request(self) -> RangeRequest {
        let Self { from: key, to: range_end, limit, revision, descending, keys_only } = self;
        let sort_order = if descending { DESCENDING } else { 0 };
        RangeRequest { key, range_end, limit, revision, sort_order, keys_only, count_only: false }
    }
}

/// Keys that were found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The revision of the store that they were read at, or the current one if a revision was asked for.
    pub(crate) revision: i64,
    pub(crate) values: Vec<KeyValue>,
    /// There are more than the limit.
    pub(crate) more: bool,
    /// The number of keys in the whole range.
    #[cfg(test)]
    pub(crate) count: i64,
}

impl From<RangeResponse> for Found {
    fn from(response: RangeResponse) -> Self {
        Self {
            revision: response.header.map_or(0, |header| header.revision),
            values: response.values,
            more: response.more,
            #[cfg(test)]
            count: response.count,
        }
    }
}

/// A condition of a transaction. A key that is missing has revision 0, and no value equals its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    ModRevision(Vec<u8>, i64),
    CreateRevision(Vec<u8>, i64),
    Value(Vec<u8>, Vec<u8>),
}

impl From<Compare> for Comparison {
    fn from(compare: Compare) -> Self {
        let (key, expected, target) = match compare {
            Compare::CreateRevision(key, revision) => (key, Expected::CreateRevision(revision), 1),
            Compare::ModRevision(key, revision) => (key, Expected::ModRevision(revision), 2),
            Compare::Value(key, value) => (key, Expected::Value(value), 3),
        };
        Self { target, key, expected: Some(expected) }
    }
}

/// A change of a transaction. No key may be named by two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Without a lease: 0.
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        lease: i64,
    },
    Delete {
        key: Vec<u8>,
    },
    /// Up to, and not including, the second.
    DeleteRange {
        from: Vec<u8>,
        to: Vec<u8>,
    },
}

impl Operation {
    pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: 0 }
    }
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        let kind = match operation {
            Operation::Put { key, value, lease } => RequestKind::Put(PutRequest { key, value, lease }),
            Operation::Delete { key } => RequestKind::DeleteRange(DeleteRangeRequest { key, range_end: Vec::new() }),
            Operation::DeleteRange { from: key, to: range_end } => {
                RequestKind::DeleteRange(DeleteRangeRequest { key, range_end })
            }
        };
        Self { kind: Some(kind) }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The conditions held, and the changes are made.
    pub(crate) succeeded: bool,
    pub(crate) revision: i64,
}
