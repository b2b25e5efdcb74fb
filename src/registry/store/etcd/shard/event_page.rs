//! Pages of events: the events of one tenant in one transaction are one value, under the key of the last of them.
//! For each event, oldest first: its id, the length of its value (4 bytes), and its value.

use crate::registry::model::Uuid1;
use crate::registry::store::value::Reader;

/// Adds an event to the value of a page.
pub(in crate::registry::store::etcd) fn put(page: &mut Vec<u8>, id: Uuid1, event: &[u8]) {
    let (ticks, tail) = id.parts();
    page.extend([ticks, tail].map(u64::to_be_bytes).as_flattened());
    page.extend(u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes()); // no event has 4 GiB
    page.extend(event);
}

/// Splits the value of a page; none if it is damaged.
pub(in crate::registry::store::etcd) fn events(page: &[u8]) -> Option<Vec<(Uuid1, &[u8])>> {
    let (mut reader, mut events) = (Reader(page), Vec::new());
    while !reader.0.is_empty() {
        let [ticks, tail] = [reader.array()?, reader.array()?].map(u64::from_be_bytes);
        events.push((Uuid1::of_parts(ticks, tail), reader.bytes()?));
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_read_as_it_was_written_and_a_part_of_it_is_not() {
        let written = [(1, &b"first"[..]), (2, b""), (3, b"x")].map(|(ticks, event)| (Uuid1::new(ticks, 7), event));
        let (mut page, mut ends) = (Vec::new(), vec![0]);
        for (id, event) in written {
            put(&mut page, id, event);
            ends.push(page.len());
        }
        for end in 0..=page.len() {
            let expected = ends.iter().position(|whole| *whole == end).map(|count| written[..count].to_vec());
            assert_eq!(events(&page[..end]), expected, "{end}");
        }
    }
}
