//! When etcd is full, what to do about it. No I/O.

/// The shares of the quota, in percent, at which etcd counts as full, and no longer.
const FULL: u64 = 80;
const ROOM: u64 = 75;
/// The share below which an alarm may be cleared: what is written in the meantime must not raise it again.
const CLEAR: u64 = 90;
/// A file that is not larger stays as it is, in bytes.
const SMALL: u64 = 64 << 20;
/// However little room there is, events are kept for this long, in milliseconds.
const SHORTEST_RETENTION: u64 = 10 * 60_000;

/// The file of a member, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) size: u64,
    pub(super) in_use: u64,
}

impl Space {
    /// Returns whether etcd is full, if this is its fullest member. Between the two limits it stays what it was.
    pub(super) fn is_full(self, quota: u64, was_full: bool) -> bool {
        percent(self.size, quota) > if was_full { ROOM } else { FULL }
    }

    /// Returns whether too much is in use: then only less data helps.
    pub(super) fn has_too_much(self, quota: u64) -> bool {
        percent(self.in_use, quota) > ROOM
    }

    pub(super) fn may_clear_alarm(self, quota: u64) -> bool {
        percent(self.size, quota) < CLEAR
    }

    /// Returns whether the member should give unused space back. It answers nothing meanwhile.
    pub(super) fn is_worth_defragmenting(self, is_pressed: bool) -> bool {
        let unused = self.size.saturating_sub(self.in_use);
        self.size > SMALL && unused > self.size / 2 || is_pressed && unused > self.size / 10
    }
}

/// Returns since when events are to be kept, in milliseconds since 1970, to halve the time for which they are kept; none
/// if that is short already.
pub(super) fn trim(now: u64, retention: u64, kept_since: u64) -> Option<u64> {
    let kept_for = now.saturating_sub(kept_since).min(retention);
    let halved = (kept_for / 2).max(SHORTEST_RETENTION);
    (halved < kept_for).then(|| now - halved)
}

fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_is_full_from_80_percent_until_75() {
        let full = |size, was_full| Space { size, in_use: 0 }.is_full(1_000, was_full);
        assert_eq!([800, 810].map(|size| full(size, false)), [false, true]);
        assert_eq!([750, 760].map(|size| full(size, true)), [false, true]);
        assert!(Space { size: 1, in_use: 0 }.is_full(0, false), "a quota of 0 is no room");
    }

    #[test]
    fn file_is_defragmented_if_that_gains_much_or_if_there_is_no_room() {
        let worth = |size, in_use, is_pressed| Space { size, in_use }.is_worth_defragmenting(is_pressed);
        assert_eq!([worth(SMALL, 0, false), worth(SMALL + 2, 1, false)], [false, true]);
        assert_eq!([worth(3 * SMALL, 2 * SMALL, false), worth(3 * SMALL, 2 * SMALL, true)], [false, true]);
        assert_eq!([worth(1_000, 899, true), worth(1_000, 901, true), worth(1_000, 2_000, true)], [true, false, false]);
    }

    #[test]
    fn retention_is_halved_down_to_its_shortest() {
        let (now, day, minute) = (1_700_000_000_000, 86_400_000, 60_000);
        let mut kept_since = 0;
        let mut steps = Vec::new();
        while let Some(next) = trim(now, day, kept_since) {
            assert!(next > kept_since);
            steps.push((now - next) / minute);
            kept_since = next;
        }
        assert_eq!(steps, [720, 360, 180, 90, 45, 22, 11, 10]);
        assert_eq!(trim(now + 20 * minute, day, kept_since), Some(now + 5 * minute));
        assert_eq!(trim(now, 5 * minute, 0), None);
    }
}
