//! A checker of histories: whether the answers about one record, which several clients read and change at the same
//! time, are those of some order in which one operation follows the other, and in which none is moved out of the time
//! between its request and its answer (linearizability).
//!
//! The search is the algorithm of Wing and Gong with Lowe's memory: it tries every order, but no situation twice.

use std::collections::HashSet;

/// The content of a record: none if it is not there.
pub type Content = Option<u64>;

/// One operation that had an answer, or may have happened without one. What was refused is left out: it must not be
/// seen by anybody.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    needs: Needs,
    sets: Option<Content>,
    /// Points in time, from one clock.
    pub asked: u64,
    /// None if there was no answer: it may happen at any time from then on, or never.
    answered: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    Nothing,
    ThatItIs(Content),
    ThatItIsThere,
    ThatItIsOf(u32),
    ThatItIsNotOf(u32),
}

impl Operation {
    pub fn new(asked: u64, answered: Option<u64>, act: Act) -> Self {
        let (needs, sets) = match act {
            Act::Read(content) => (Needs::ThatItIs(content), None),
            Act::Find => (Needs::ThatItIsThere, None),
            Act::Set(value) => (Needs::Nothing, Some(Some(value))),
            Act::Create(value) => (Needs::ThatItIs(None), Some(Some(value))),
            Act::Update(value) => (Needs::ThatItIsThere, Some(Some(value))),
            Act::Remove => (Needs::ThatItIsThere, Some(None)),
            Act::Hold(holder) => (Needs::ThatItIsOf(holder), None),
            Act::Miss(holder) => (Needs::ThatItIsNotOf(holder), None),
            Act::Expire(holder) => (Needs::ThatItIsOf(holder), Some(None)),
        };
        Self { needs, sets, asked, answered }
    }

    fn after(&self, content: Content) -> Option<Content> {
        let is_possible = match self.needs {
            Needs::Nothing => true,
            Needs::ThatItIs(needed) => content == needed,
            Needs::ThatItIsThere => content.is_some(),
            Needs::ThatItIsOf(holder) => content.is_some_and(|content| holder_of(content) == holder),
            Needs::ThatItIsNotOf(holder) => content.is_none_or(|content| holder_of(content) != holder),
        };
        let after = match (self.needs, self.sets, content) {
            (Needs::ThatItIsThere, Some(Some(new)), Some(old)) => Some(u64::from(holder_of(old)) << 32 | new),
            (_, Some(new), _) => new,
            _ => content,
        };
        is_possible.then_some(after)
    }
}

/// Who holds a record is in the upper half of its content, if that matters; an update leaves it.
fn holder_of(content: u64) -> u32 {
    u32::try_from(content >> 32).unwrap()
}

/// What an operation did.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Read this.
    Read(Content),
    /// Saw that there is something.
    Find,
    /// Set a value, whether there was one or not.
    Set(u64),
    /// Set the first value.
    Create(u64),
    /// Replaced a value.
    Update(u64),
    Remove,
    /// Saw that it belongs to this holder: a heartbeat that was accepted.
    Hold(u32),
    /// Saw that it does not.
    Miss(u32),
    /// Removed it because of this holder's end.
    Expire(u32),
}

/// Whether a history that begins with no record can be explained.
pub fn is_linearizable(history: &[Operation]) -> bool {
    let (mut certain, perhaps): (Vec<Operation>, Vec<Operation>) =
        history.iter().partition(|operation| operation.answered.is_some());
    certain.sort_by_key(|operation| operation.asked);
    let first = Situation { begun: 0, ahead: Vec::new(), happened: Vec::new(), content: None };
    let mut known = HashSet::from([first.clone()]);
    let mut open = vec![first];
    while let Some(situation) = open.pop() {
        if situation.begun == certain.len() {
            return true;
        }
        for next in situation.next(&certain, &perhaps) {
            if known.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    false
}

/// How far an order has come.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Situation {
    /// Of those with an answer, all before this have happened, and this one has not.
    begun: usize,
    /// So have these, which come after it.
    ahead: Vec<usize>,
    /// And these of those without an answer.
    happened: Vec<usize>,
    content: Content,
}

impl Situation {
    /// What there can be after one more operation. The last is tried first.
    fn next(&self, certain: &[Operation], perhaps: &[Operation]) -> Vec<Self> {
        // The first answer that is outstanding: what was asked after it cannot come before it.
        let mut end = u64::MAX;
        let mut left = Vec::new();
        for (at, operation) in certain.iter().enumerate().skip(self.begun).filter(|(at, _)| !self.ahead.contains(at)) {
            if operation.asked > end {
                break;
            }
            end = end.min(operation.answered.unwrap_or(end));
            left.push(at);
        }
        left.retain(|at| certain[*at].asked <= end);
        let after = |operation: &Operation| operation.after(self.content);
        // What changes nothing, and can come next, may as well.
        let is_harmless = |at: &&usize| certain[**at].sets.is_none() && after(&certain[**at]).is_some();
        if let Some(read) = left.iter().find(is_harmless) {
            return vec![self.with(*read, self.content)];
        }
        let mut all: Vec<Self> = Vec::new();
        for at in left {
            match after(&certain[at]) {
                Some(content) => all.push(self.with(at, content)),
                None => all.extend(self.enable(&certain[at], perhaps, end).map(|enabled| {
                    let content = certain[at].after(enabled.content).unwrap();
                    enabled.with(at, content)
                })),
            }
        }
        all
    }

    /// One without an answer may as well happen right before the first that needs it, or never: alone, or with another
    /// one that makes it possible, such as a removal before a creation.
    fn enable(&self, wanted: &Operation, perhaps: &[Operation], end: u64) -> impl Iterator<Item = Self> {
        let once = |situation: &Self| -> Vec<Self> {
            let can_happen = |at: &usize| perhaps[*at].asked <= end && !situation.happened.contains(at);
            let possible = (0..perhaps.len()).filter(can_happen);
            possible.filter_map(|at| Some(situation.having(at, perhaps[at].after(situation.content)?))).collect()
        };
        let one = once(self);
        let two: Vec<Self> = one.iter().flat_map(once).collect();
        let wanted = *wanted;
        one.into_iter().chain(two).filter(move |situation| wanted.after(situation.content).is_some())
    }

    fn having(&self, at: usize, content: Content) -> Self {
        let mut next = Self { content, ..self.clone() };
        next.happened.push(at);
        next.happened.sort_unstable();
        next
    }

    fn with(&self, at: usize, content: Content) -> Self {
        let mut next = Self { content, ..self.clone() };
        next.ahead.push(at);
        next.ahead.sort_unstable();
        while next.ahead.first() == Some(&next.begun) {
            next.ahead.remove(0);
            next.begun += 1;
        }
        next
    }
}

/// What two holders created.
const A: u64 = 1 << 32;
const B: u64 = 2 << 32;

/// Each operation as the time from which it was under way, the time of its answer (0: none came), and what it did.
fn judged(history: &[(u64, u64, Act)]) -> bool {
    let operations = history.iter().map(|&(asked, answered, act)| {
        let answered = (answered > 0).then_some(answered);
        Operation::new(asked, answered, act)
    });
    is_linearizable(&operations.collect::<Vec<_>>())
}

#[test]
fn linearizable_histories_are_accepted() {
    use Act::{Create, Expire, Find, Hold, Miss, Read, Remove, Set, Update};
    let possible: &[&[(u64, u64, Act)]] = &[
        &[],
        &[(1, 2, Read(None)), (3, 4, Set(1)), (5, 6, Read(Some(1)))],
        // Two reads during a write, the earlier one of what was before.
        &[(1, 2, Set(1)), (3, 9, Set(2)), (4, 5, Read(Some(1))), (6, 7, Read(Some(2)))],
        // Two writes at once, and either may be the last.
        &[(1, 9, Set(1)), (1, 9, Set(2)), (10, 11, Read(Some(1)))],
        &[(1, 9, Set(1)), (1, 9, Set(2)), (10, 11, Read(Some(2)))],
        // Without an answer: it happened late, or not.
        &[(1, 0, Set(1)), (2, 3, Read(None)), (4, 5, Read(Some(1)))],
        &[(1, 0, Set(1)), (2, 3, Read(None)), (4, 5, Read(None))],
        &[(1, 2, Create(1)), (3, 0, Remove), (4, 5, Create(2)), (6, 7, Update(3)), (8, 9, Find), (8, 9, Remove)],
        &[(1, 2, Create(1)), (3, 0, Create(2)), (3, 0, Remove), (4, 5, Read(Some(1))), (6, 7, Read(Some(2)))],
        &[(1, 0, Update(1)), (1, 0, Create(2)), (2, 3, Read(None)), (4, 5, Read(Some(1)))],
        // Of one holder after the other.
        &[(1, 2, Create(A)), (3, 4, Update(7)), (5, 6, Hold(1)), (7, 8, Read(Some(A | 7))), (7, 8, Miss(2))],
        &[(1, 2, Create(A)), (3, 9, Expire(1)), (4, 5, Hold(1)), (6, 7, Miss(1)), (8, 9, Create(B))],
    ];
    for history in possible {
        assert!(judged(history), "{history:?}");
    }
}

#[test]
fn impossible_histories_are_rejected() {
    use Act::{Create, Expire, Find, Hold, Miss, Read, Remove, Set, Update};
    let impossible: &[&[(u64, u64, Act)]] = &[
        // A value that was never set, or whose setting was refused.
        &[(1, 2, Set(1)), (3, 4, Read(Some(2)))],
        &[(1, 2, Read(Some(1)))],
        // A write that was lost.
        &[(1, 2, Set(1)), (3, 4, Read(None))],
        &[(1, 2, Set(1)), (3, 4, Set(2)), (5, 6, Read(Some(1)))],
        // Back to what was before.
        &[(1, 2, Set(1)), (3, 9, Set(2)), (4, 5, Read(Some(2))), (6, 7, Read(Some(1)))],
        &[(1, 2, Set(1)), (3, 0, Set(2)), (4, 5, Read(Some(2))), (6, 7, Read(Some(1)))],
        &[(1, 9, Set(1)), (2, 3, Read(Some(1))), (4, 5, Read(None))],
        // Read before it was asked for.
        &[(1, 2, Read(Some(1))), (3, 4, Set(1))],
        &[(1, 2, Read(Some(1))), (3, 0, Set(1))],
        // Made twice, changed or removed without being there.
        &[(1, 2, Create(1)), (3, 4, Create(2))],
        &[(1, 2, Update(1))],
        &[(1, 2, Create(1)), (3, 4, Remove), (5, 6, Remove)],
        &[(1, 2, Create(1)), (3, 4, Remove), (5, 6, Find)],
        // Of a holder whose record it is not, or not any more.
        &[(1, 2, Create(A)), (3, 4, Hold(2))],
        &[(1, 2, Create(A)), (3, 4, Miss(1))],
        &[(1, 2, Create(A)), (3, 4, Expire(2)), (5, 6, Read(None))],
        &[(1, 2, Create(A)), (3, 4, Create(B)), (3, 9, Expire(1)), (5, 6, Hold(1))],
        // Without an answer, twice.
        &[(1, 0, Set(1)), (2, 3, Read(Some(1))), (4, 5, Set(2)), (6, 7, Read(Some(1)))],
        &[(1, 2, Create(1)), (3, 0, Create(2)), (4, 5, Read(Some(2)))],
        // Two writes at once, whose order two readers see differently.
        &[(1, 9, Set(1)), (1, 9, Set(2)), (10, 11, Read(Some(1))), (12, 13, Read(Some(2)))],
    ];
    for history in impossible {
        assert!(!judged(history), "{history:?}");
    }
}

/// A long history with many at once is still judged in no time, right or wrong.
#[test]
fn long_histories_are_judged() {
    let mut history = Vec::new();
    for turn in 0..200 {
        let start = turn * 10;
        history.extend((0..4).map(|client| (start + 1, start + 4, Act::Set(turn * 4 + client))));
        history.extend((0..4).map(|_| (start + 6, start + 8, Act::Read(Some(turn * 4 + 2)))));
        if turn % 5 == 0 {
            history.extend([(start + 5, 0, Act::Remove), (start + 5, 0, Act::Set(10_000 + turn))]);
        }
    }
    assert!(judged(&history));
    history.push((506, 508, Act::Read(Some(3))));
    assert!(!judged(&history));
}
