//! Version-1 UUIDs: heartbeat tokens and event ids contain the time that they stand for.

use std::fmt;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Milliseconds between the start of the Gregorian calendar, where UUIDs count from, and 1970.
const GREGORIAN_MS: u64 = 12_219_292_800_000;
/// UUIDs count in units of 100 ns.
const TICKS_PER_MS: u64 = 10_000;
/// The time has 60 bits.
const TICKS_MASK: u64 = (1 << 60) - 1;
/// The two highest bits of the second half say "as in RFC 9562".
const VARIANT: u64 = 0b10 << 62;
/// Marks a node that is not a network card's address.
const MULTICAST: u64 = 1 << 40;

/// A version-1 UUID. Ordered by its time, then by the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uuid1 {
    ticks: u64,
    tail: u64,
}

impl Uuid1 {
    /// Makes an id from the time in ticks of 100 ns, and 64 bits of which 61 are kept.
    pub(crate) fn new(ticks: u64, tail: u64) -> Self {
        Self { ticks: ticks & TICKS_MASK, tail: tail & !(0b11 << 62) | VARIANT | MULTICAST }
    }

    /// Returns a bound below all ids of a tick, which is not an id itself.
    pub(crate) fn lowest(ticks: u64) -> Self {
        Self { ticks, tail: 0 }
    }

    /// Returns the lowest id of a millisecond since 1970: a bound, not an id.
    pub(crate) fn first_of(unix_ms: u64) -> Self {
        Self::lowest(ticks_of(unix_ms))
    }

    /// Reads the text form; the error is the text of the API.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        // The crate reads several forms; the length tells this one.
        let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == Hyphenated::LENGTH).ok_or("Invalid UUID")?;
        let (head, tail) = uuid.as_u64_pair();
        if tail >> 62 != VARIANT >> 62 {
            return Err("Unsupported UUID variant");
        }
        if head >> 12 & 0xf != 1 {
            return Err("UUID is not version 1");
        }
        let (low, middle, high) = (head >> 32, head >> 16 & 0xffff, head & 0x0fff);
        Ok(Self { ticks: high << 48 | middle << 32 | low, tail })
    }

    /// Writes its text into a buffer.
    pub(crate) fn text(self, room: &mut [u8; Hyphenated::LENGTH]) -> &str {
        let (low, middle, high) = (self.ticks & 0xffff_ffff, self.ticks >> 32 & 0xffff, self.ticks >> 48);
        let uuid = Uuid::from_u64_pair(low << 32 | middle << 16 | 1 << 12 | high, self.tail);
        uuid.hyphenated().encode_lower(room)
    }

    /// Returns the two halves that it is ordered by, as they are stored.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.ticks, self.tail)
    }

    /// Makes an id from stored halves.
    pub(crate) fn of_parts(ticks: u64, tail: u64) -> Self {
        Self { ticks, tail }
    }

    /// Returns its time in ticks of 100 ns.
    pub(crate) fn ticks(self) -> u64 {
        self.ticks
    }

    /// Returns its time in milliseconds since 1970; 0 for earlier times.
    pub(crate) fn unix_ms(self) -> u64 {
        (self.ticks / TICKS_PER_MS).saturating_sub(GREGORIAN_MS)
    }

    /// Returns the smallest id that is greater in time.
    pub(crate) fn next_tick(self, tail: u64) -> Self {
        Self::new(self.ticks + 1, tail)
    }

    /// Returns the lowest bound above this id, for what follows it.
    pub(crate) fn following(self) -> Self {
        Self { ticks: self.ticks, tail: self.tail.saturating_add(1) }
    }

    /// Returns an id that is lower in time, and above all others that are.
    pub(crate) fn previous_tick(self) -> Self {
        Self::new(self.ticks.saturating_sub(1), u64::MAX)
    }
}

/// Returns the first tick of a millisecond since 1970.
pub(crate) fn ticks_of(unix_ms: u64) -> u64 {
    ((unix_ms + GREGORIAN_MS) * TICKS_PER_MS) & TICKS_MASK
}

/// Returns a tick within a millisecond: `low` selects it.
pub(crate) fn ticks_in(unix_ms: u64, low: u64) -> u64 {
    ticks_of(unix_ms) + low % TICKS_PER_MS
}

impl fmt::Display for Uuid1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text(&mut [0; _]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_agree() {
        let id = Uuid1::new(ticks_in(1_366_667_111_123, 4567), 0x1234_5678_9abc_def0);
        let text = id.to_string();
        assert_eq!(Uuid1::parse(&text), Ok(id));
        assert_eq!(Uuid1::parse(&text.to_uppercase()), Ok(id));
        assert_eq!(id.unix_ms(), 1_366_667_111_123);
        assert_eq!(&text[14..15], "1");
    }

    #[test]
    fn known_uuid_is_parsed_and_printed() {
        // The DNS name space of RFC 9562: 1998-02-04 22:13:53.151183 UTC.
        let id = Uuid1::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8").unwrap();
        assert_eq!(id.unix_ms(), 886_630_433_151);
        assert_eq!(id.to_string(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    }

    #[test]
    fn faults_of_a_uuid_are_reported_in_order() {
        let invalid = [
            "",
            "0",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c",
            "6ba7b810-9dad-11d1-80b4-00c04fd430cg",
            "6ba7b8109dad11d180b400c04fd430c8",
            "6ba7b810_9dad-11d1-80b4-00c04fd430c8",
            "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
        ];
        for text in invalid {
            assert_eq!(Uuid1::parse(text), Err("Invalid UUID"), "{text}");
        }
        assert_eq!(Uuid1::parse("6ba7b810-9dad-41d1-00b4-00c04fd430c8"), Err("Unsupported UUID variant"));
        assert_eq!(Uuid1::parse("6ba7b810-9dad-41d1-80b4-00c04fd430c8"), Err("UUID is not version 1"));
    }

    #[test]
    fn uuids_are_ordered_by_time() {
        let (early, late) = (Uuid1::new(0x0000_0000_ffff_ffff, 9), Uuid1::new(0x0000_0001_0000_0000, 1));
        assert!(early < late && early.to_string() > late.to_string());
        assert!(early < early.next_tick(0));
    }
}
