//! The scale of a tenant's event ids: the wall time, and how far the ids are ahead of it.
//!
//! An id contains the time of its event, and ids rise. After the clock was ahead, the next id is still greater than the
//! last one: from then on the ids of the tenant are ahead of the wall time by a constant. A timestamp is the time in
//! the id without that constant, and events are kept by their timestamps; those from before the clock was set back,
//! which may lie in the future, by how long ago that was.
//!
//! *Not* the last id plus the smallest step, which was the first rule: until the clock had caught up, all timestamps
//! were the same, and no event ever became old. *Not* new ids for the events of the future: pollers hold the old ones.

use super::clock::TOLERATED_MS;
use crate::registry::model::uuid::Uuid1;

/// The most segments that a tenant remembers. Each stands for a clock that was further ahead than ever before.
const MOST: usize = 100;

/// The scale of the ids of a tenant. As long as the clock is never set back, ids are not ahead.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct IdScale {
    /// Oldest first; each is ahead by less than the next.
    pub(crate) past: Vec<Segment>,
    /// How far new ids are ahead of the wall time, in milliseconds.
    pub(crate) ahead: u64,
}

/// Ids that were made before the clock was set back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    /// Above all of its ids, and not above the later ones.
    pub(crate) until: Uuid1,
    /// How far its ids are ahead, in milliseconds.
    pub(crate) ahead: u64,
}

impl IdScale {
    /// Returns the time in an id that is made at this wall time.
    pub(crate) fn id_time(&self, wall: u64) -> u64 {
        wall.saturating_add(self.ahead)
    }

    /// Returns the wall time of an event.
    pub(crate) fn timestamp(&self, id: Uuid1) -> u64 {
        let segment = self.past.partition_point(|segment| segment.until <= id);
        id.unix_ms().saturating_sub(self.past.get(segment).map_or(self.ahead, |segment| segment.ahead))
    }

    /// Returns the lowest id of the events since this wall time. A segment that had ended by then has none; one that
    /// ended later has those with later timestamps.
    pub(crate) fn first_since(&self, wall: u64) -> Uuid1 {
        let mut first = Uuid1::first_of(self.id_time(wall));
        for segment in self.past.iter().rev() {
            if first >= segment.until {
                break;
            }
            first = Uuid1::first_of(wall.saturating_add(segment.ahead)).min(segment.until);
        }
        first
    }

    /// Returns the scale for events after `last`, if the clock does not agree with this one.
    ///
    /// If `last` is ahead, a segment ends. If the wall time has passed the end of an earlier segment, the clock was not
    /// ahead in it but behind since, as on a machine that gets the time from the network after its start: the segments
    /// since then are joined to it.
    pub(crate) fn aligned(&self, wall: u64, last: Uuid1) -> Option<Self> {
        let has_passed = |segment: &Segment| Uuid1::first_of(wall.saturating_add(segment.ahead)) > last;
        let joined = self.past.iter().position(has_passed);
        if let Some(joined) = joined {
            return Some(Self { past: self.past[..joined].to_vec(), ahead: self.past[joined].ahead });
        }
        let is_ahead = last.unix_ms() > self.id_time(wall).saturating_add(TOLERATED_MS);
        is_ahead.then(|| {
            let forgotten = (self.past.len() + 1).saturating_sub(MOST);
            let mut past = self.past[forgotten..].to_vec();
            past.push(Segment { until: Uuid1::lowest(last.ticks() + 1), ahead: self.ahead });
            // The next millisecond: the next id may have the same tick otherwise.
            Self { past, ahead: (last.unix_ms() + 1).saturating_sub(wall) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const NOW: u64 = 1_700_000_000_000;

    /// The scale after the clock was ten days ahead, and the last id from then.
    fn after_ten_days_ahead() -> (IdScale, Uuid1) {
        let last = Uuid1::first_of(NOW + 10 * DAY);
        (IdScale::default().aligned(NOW, last).unwrap(), last)
    }

    #[test]
    fn id_ahead_by_up_to_a_minute_changes_nothing() {
        let scale = IdScale::default();
        for ahead in [0, 1, TOLERATED_MS] {
            assert_eq!(scale.aligned(NOW, Uuid1::first_of(NOW + ahead)), None);
        }
        assert_eq!(scale.aligned(NOW, Uuid1::lowest(0)), None);
        let aligned = scale.aligned(NOW, Uuid1::first_of(NOW + TOLERATED_MS + 1)).unwrap();
        assert_eq!((aligned.ahead, aligned.past.len()), (TOLERATED_MS + 2, 1));
    }

    #[test]
    fn timestamps_follow_a_clock_that_is_set_back_while_ids_rise() {
        let (scale, last) = after_ten_days_ahead();
        let next = Uuid1::first_of(scale.id_time(NOW + 1));
        assert!(next > last);
        assert_eq!([last, next].map(|id| scale.timestamp(id)), [NOW + 10 * DAY, NOW + 1]);
        assert_eq!(scale.aligned(NOW + 1, last), None, "it agrees now");
    }

    #[test]
    fn events_of_the_future_leave_by_the_time_since_the_clock_was_set_back() {
        let (scale, last) = after_ten_days_ahead();
        let early = Uuid1::first_of(NOW - DAY);
        assert!(scale.first_since(NOW - 2 * DAY) <= early, "an event from before the clock was ahead");
        for wall in [NOW - DAY + 1, NOW - 1] {
            let first = scale.first_since(wall);
            assert!(early < first && first <= last, "{wall}");
        }
        assert!(scale.first_since(NOW + 1) > last);
        assert_eq!(scale.first_since(NOW + DAY), Uuid1::first_of(scale.id_time(NOW + DAY)));
        assert!((0..400).map(|hour| scale.first_since(NOW - 2 * DAY + hour * DAY / 24)).is_sorted());
    }

    /// A machine without a battery, again and again.
    #[test]
    fn clock_that_was_behind_at_the_start_leaves_no_trace() {
        let mut scale = IdScale::default();
        for boot in 0..1_000 {
            let off = NOW + boot * DAY;
            scale = scale.aligned(0, Uuid1::first_of(off)).unwrap(); // 1970
            let last = Uuid1::first_of(scale.id_time(5_000));
            assert_eq!(scale.timestamp(last), 5_000);
            scale = scale.aligned(off + 60_000, last).unwrap();
            assert_eq!((&scale, scale.timestamp(last)), (&IdScale::default(), off + 5_001));
        }
    }

    #[test]
    fn clock_that_is_ahead_ever_further_is_remembered_up_to_a_bound() {
        let (mut scale, mut last) = (IdScale::default(), Uuid1::first_of(NOW));
        for _ in 0..10 * MOST {
            let ahead = Uuid1::first_of(last.unix_ms() + 2 * TOLERATED_MS);
            scale = scale.aligned(NOW, ahead).unwrap();
            last = Uuid1::first_of(scale.id_time(NOW + 1));
            assert_eq!(scale.timestamp(last), NOW + 1);
        }
        assert_eq!(scale.past.len(), MOST);
        assert!(scale.past.is_sorted_by_key(|segment| (segment.until, segment.ahead)));
    }
}
