//! Cuts the writes of many requests into transactions that etcd accepts: by default at most 128 operations, one of
//! which is the sequence number, and 1.5 MB.

use std::collections::BTreeSet;

use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::RecordWrite;
use crate::registry::store::record;

/// The most operations of a transaction beside the sequence number.
pub(super) const MOST_OPERATIONS: usize = 127;
/// The most bytes of a transaction, about: a third of what etcd accepts is left for what is not counted.
const MOST_BYTES: usize = 1_000_000;
/// The same if events are removed: what remains of their pages is written again.
const MOST_BYTES_OF_REMOVAL: usize = 400_000;
/// For each operation, beside its key and its value.
const OVERHEAD: usize = 200;

/// A write, by what it becomes in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
    /// A session and all services in it, by one operation.
    DeleteSession(&'a [u8]),
    AddEvent(TenantId, Uuid1, &'a [u8]),
    RemoveEvent(TenantId, Uuid1),
}

/// The writes of one request, or of a part of a large one.
pub(super) type Request<'a> = Vec<Write<'a>>;

/// The writes of a transaction. A request is in one transaction, unless it alone is too large.
pub(super) fn cut(requests: &[Vec<RecordWrite>]) -> Vec<Vec<Request<'_>>> {
    let (mut parts, mut part, mut size) = (Vec::new(), Vec::new(), Size::default());
    for request in requests.iter().map(|writes| writes_of(writes)) {
        for request in pieces(request) {
            let with = size.with(&request);
            if with.is_too_large() || size.overlaps(&request) {
                if !part.is_empty() {
                    parts.push(std::mem::take(&mut part));
                }
                size = Size::default().with(&request);
            } else {
                size = with;
            }
            part.push(request);
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// Cuts a transaction in two, which turned out to be too large; none if that is impossible.
pub(super) fn halves(mut part: Vec<Request<'_>>) -> Option<[Vec<Request<'_>>; 2]> {
    if part.len() == 1 {
        let mut only = part.pop()?;
        let second = only.split_off(only.len() / 2);
        return if only.is_empty() { None } else { Some([vec![only], vec![second]]) };
    }
    let second = part.split_off(part.len() / 2);
    Some([part, second])
}

/// Returns a request as it is, or in pieces if it is too large for one transaction.
fn pieces(request: Request<'_>) -> Vec<Request<'_>> {
    if !Size::default().with(&request).is_too_large() {
        return if request.is_empty() { Vec::new() } else { vec![request] };
    }
    let (mut pieces, mut size) = (vec![Vec::new()], Size::default());
    for write in request {
        let only = [write];
        let with = size.with(&only);
        let is_full = with.is_too_large() && pieces.last().is_some_and(|piece| !piece.is_empty());
        size = if is_full { Size::default().with(&only) } else { with };
        if is_full {
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.extend(only);
        }
    }
    pieces
}

/// Returns the writes of a request. The removal of a session includes that of its services.
fn writes_of(writes: &[RecordWrite]) -> Request<'_> {
    let sessions = writes.iter().filter_map(|write| Some((record::session_of(&write.key)?, write)));
    let mut removed: BTreeSet<&[u8]> = BTreeSet::new();
    for (session, write) in sessions.clone().filter(|(session, write)| *session == write.key) {
        if write.value.is_none() {
            removed.insert(session)
        } else {
            removed.remove(session)
        };
    }
    for (session, write) in sessions.filter(|(session, write)| *session != write.key) {
        if write.value.is_some() {
            removed.remove(session); // never so: a service that outlives its session
        }
    }
    writes.iter().filter_map(|write| one(write, &removed)).collect()
}

fn one<'a>(RecordWrite { key, value }: &'a RecordWrite, removed: &BTreeSet<&[u8]>) -> Option<Write<'a>> {
    if let Some((tenant, id)) = record::event_of(key) {
        return Some(value.as_ref().map_or(Write::RemoveEvent(tenant, id), |event| Write::AddEvent(tenant, id, event)));
    }
    let session = record::session_of(key).filter(|session| removed.contains(session));
    match (value, session) {
        (Some(value), _) => Some(Write::Put(key, value)),
        (None, None) => Some(Write::Delete(key)),
        (None, Some(session)) => (session == key).then_some(Write::DeleteSession(key)),
    }
}

/// What a transaction with some requests takes, at most.
#[derive(Clone, Debug, Default)]
struct Size<'a> {
    operations: usize,
    bytes: usize,
    removes_events: bool,
    /// Those that have a page of events in it.
    tenants: BTreeSet<TenantId>,
    removed_sessions: BTreeSet<&'a [u8]>,
}

impl<'a> Size<'a> {
    fn with(&self, request: &[Write<'a>]) -> Self {
        let mut size = self.clone();
        request.iter().for_each(|write| size.add(write));
        size
    }

    fn add(&mut self, write: &Write<'a>) {
        let page = |tenants: &mut BTreeSet<TenantId>, tenant| usize::from(tenants.insert(tenant));
        let (operations, bytes) = match write {
            Write::Put(key, value) => (1, key.len() + value.len()),
            Write::Delete(key) => (1, key.len()),
            Write::DeleteSession(key) => {
                self.removed_sessions.insert(key);
                (1, 2 * key.len())
            }
            Write::AddEvent(tenant, _, event) => (page(&mut self.tenants, *tenant), event.len()),
            // Each may be the last of a page of its own, which then has another key.
            Write::RemoveEvent(tenant, _) => {
                self.removes_events = true;
                (1 + page(&mut self.tenants, *tenant), 0)
            }
        };
        self.operations += operations;
        self.bytes += bytes + OVERHEAD;
    }

    fn is_too_large(&self) -> bool {
        let most = if self.removes_events { MOST_BYTES_OF_REMOVAL } else { MOST_BYTES };
        self.operations > MOST_OPERATIONS || self.bytes > most
    }

    /// Returns whether a request writes to a session that is removed before. etcd refuses a transaction that removes a
    /// range and writes into it.
    fn overlaps(&self, request: &[Write<'_>]) -> bool {
        let is_removed = |key| record::session_of(key).is_some_and(|session| self.removed_sessions.contains(session));
        request.iter().any(|write| matches!(write, Write::Put(key, _) if is_removed(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::record::event_key;

    fn key(tenant: TenantId, rest: &str) -> Vec<u8> {
        [b"d", &tenant.to_be_bytes()[..], rest.as_bytes()].concat()
    }

    fn put(tenant: TenantId, rest: &str, size: usize) -> RecordWrite {
        RecordWrite { key: key(tenant, rest), value: Some(vec![b'x'; size]) }
    }

    fn delete(tenant: TenantId, rest: &str) -> RecordWrite {
        RecordWrite { key: key(tenant, rest), value: None }
    }

    fn event(tenant: TenantId, ticks: u64, value: Option<usize>) -> RecordWrite {
        let value = value.map(|size| vec![b'e'; size]);
        RecordWrite { key: event_key(tenant, Uuid1::new(ticks, 1)), value }
    }

    /// The number of requests, or pieces of one, in each transaction.
    fn lengths(requests: &[Vec<RecordWrite>]) -> Vec<usize> {
        cut(requests).iter().map(Vec::len).collect()
    }

    #[test]
    fn transaction_ends_between_requests() {
        let small = |number: u64| {
            vec![put(1, &format!("v{number:03}"), 9), put(1, &format!("w{number:03}"), 9), event(1, number, Some(9))]
        };
        let requests: Vec<_> = (0..130).map(small).collect();
        assert_eq!(lengths(&requests), [63, 63, 4], "two operations each, and one for all events");
        let large: Vec<_> = (0..5).map(|number| vec![event(1, number, Some(300_000))]).collect();
        assert_eq!(lengths(&large), [3, 2], "a page of events has a size, too");
        let tenants: Vec<_> = (0..130).map(|tenant| vec![event(tenant, 1, Some(9))]).collect();
        assert_eq!(lengths(&tenants), [127, 3], "a page for each tenant");
        assert!(cut(&[Vec::new()]).is_empty());
    }

    #[test]
    fn removal_of_a_session_is_one_operation() {
        let services = (0..500).map(|number| delete(1, &format!("sseABCDEFGH/{number:03}")));
        let mut request: Vec<_> = services.collect();
        request.extend([
            delete(1, "sseABCDEFGH"),
            delete(1, "vother"),
            delete(1, "sseABCDEFGX/api"),
            event(1, 1, Some(9)),
        ]);
        let parts = cut(std::slice::from_ref(&request));
        let (session, other, member) = (key(1, "sseABCDEFGH"), key(1, "vother"), key(1, "sseABCDEFGX/api"));
        let expected = [
            Write::DeleteSession(&session),
            Write::Delete(&other),
            Write::Delete(&member),
            Write::AddEvent(1, Uuid1::new(1, 1), b"eeeeeeeee"),
        ];
        assert_eq!(parts, [[expected]]);
    }

    #[test]
    fn session_that_stays_is_not_removed_by_its_services() {
        let stays = vec![delete(1, "sseABCDEFGH"), put(1, "sseABCDEFGH", 1), delete(1, "sseABCDEFGH/api")];
        assert!(!format!("{:?}", cut(&[stays])).contains("DeleteSession"));
        let survives = vec![delete(1, "sseABCDEFGH"), put(1, "sseABCDEFGH/api", 1)];
        assert!(!format!("{:?}", cut(&[survives])).contains("DeleteSession"));
        let comes_back = [vec![delete(1, "sseABCDEFGH")], vec![put(1, "sseABCDEFGH", 1)]];
        assert_eq!(lengths(&comes_back), [1, 1], "etcd refuses a put into a range that is removed");
    }

    #[test]
    fn request_that_is_too_large_is_cut_by_itself() {
        let small = || vec![put(1, "vsmall", 9)];
        let large = (0..300).map(|number| put(1, &format!("v{number:03}"), 9)).collect();
        assert_eq!(lengths(&[small(), large, small()]), [1, 1, 1, 2]);
        let undone = (0..100).map(|number| event(1, number, None)).collect();
        assert_eq!(lengths(&[undone]), [1]);
    }

    #[test]
    fn halves_are_of_requests_and_then_of_writes() {
        let requests = [vec![put(1, "va", 1), put(1, "vb", 1)], vec![put(1, "vc", 1)]];
        let mut parts = cut(&requests);
        let [first, second] = halves(parts.pop().unwrap()).unwrap();
        assert_eq!((first.len(), second.len()), (1, 1));
        let [first, second] = halves(first).unwrap();
        assert_eq!((first[0].len(), second[0].len()), (1, 1));
        assert_eq!(halves(first), None);
    }
}
