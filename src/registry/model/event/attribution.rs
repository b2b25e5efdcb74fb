//! Who made a change, and why: what the type of an event does not say.

use std::net::IpAddr;
use std::sync::Arc;

/// Why something happened. Events on disk have the number of a cause, so a new one is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Registered,
    /// The service itself was removed by a request.
    Deregistered,
    /// The session was removed by a request.
    SessionRemoved,
    /// A request removed it to take its place.
    Replaced,
    Expired,
    Updated,
    /// A configuration value that was not there.
    Set,
    /// A configuration value.
    Removed,
    /// A session.
    Opened,
}

/// What is known about a change. The cause is given only where the type of the event leaves it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attribution {
    pub(crate) cause: Option<Cause>,
    pub(crate) reason: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) address: Option<IpAddr>,
    /// The client's program, as it names itself.
    pub(crate) agent: Option<String>,
    /// When the holder of an expired lease was last heard, in milliseconds since 1970.
    pub(crate) last_heard: Option<u64>,
}

impl Attribution {
    /// Returns it with the cause that a removal has unless the request gave another one.
    pub(crate) fn or_cause(&self, cause: Cause) -> Self {
        Self { cause: self.cause.or(Some(cause)), ..self.clone() }
    }
}

const CAUSE: u8 = 1;
const REASON: u8 = 2;
const USER: u8 = 3;
const ADDRESS: u8 = 4;
const AGENT: u8 = 5;
const LAST_HEARD: u8 = 6;

/// An [`Attribution`] in one allocation, which the events of a request share: ten thousand events of a tenant are in
/// memory. It is also the form on disk: for each part a letter, its length in two bytes, and its bytes. A reader skips
/// the parts that it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedAttribution(Option<Arc<[u8]>>);

impl PackedAttribution {
    pub(crate) fn of(attribution: &Attribution) -> Self {
        let Attribution { cause, reason, user, address, agent, last_heard } = attribution;
        let address = address.map(|address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        let mut bytes = Vec::new();
        let mut put = |part: u8, content: Option<&[u8]>| {
            let length = content.and_then(|content| u16::try_from(content.len()).ok()); // the API allows far less
            if let (Some(content), Some(length)) = (content, length) {
                bytes.push(part);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(content);
            }
        };
        put(CAUSE, cause.map(|cause| [cause.number()]).as_ref().map(|number| &number[..]));
        put(REASON, reason.as_deref().map(str::as_bytes));
        put(USER, user.as_deref().map(str::as_bytes));
        put(ADDRESS, address.as_deref());
        put(AGENT, agent.as_deref().map(str::as_bytes));
        put(LAST_HEARD, last_heard.map(u64::to_be_bytes).as_ref().map(|time| &time[..]));
        Self((!bytes.is_empty()).then(|| bytes.into()))
    }

    /// Returns its form in memory, which is also the one on disk.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Reads that form; none if the bytes are not made of parts.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let used: usize = parts(bytes).map(|(_, content)| 3 + content.len()).sum();
        (used == bytes.len()).then(|| Self((!bytes.is_empty()).then(|| bytes.into())))
    }

    pub(crate) fn unpack(&self) -> Attribution {
        let mut attribution = Attribution::default();
        for (part, content) in parts(self.bytes()) {
            let text = || std::str::from_utf8(content).ok().map(str::to_owned);
            match part {
                CAUSE => attribution.cause = content.first().and_then(|number| Cause::of_number(*number)),
                REASON => attribution.reason = text(),
                USER => attribution.user = text(),
                ADDRESS => {
                    let v4 = <[u8; 4]>::try_from(content).map(IpAddr::from);
                    attribution.address = v4.or_else(|_| <[u8; 16]>::try_from(content).map(IpAddr::from)).ok();
                }
                AGENT => attribution.agent = text(),
                LAST_HEARD => attribution.last_heard = content.try_into().map(u64::from_be_bytes).ok(),
                _ => {}
            }
        }
        attribution
    }
}

/// Iterates over the parts, up to the first that is cut off.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let ([part, high, low], rest) = bytes.split_first_chunk()?;
        let (content, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        bytes = rest;
        Some((*part, content))
    })
}

impl Cause {
    const ALL: [Self; 9] = [
        Self::Registered,
        Self::Deregistered,
        Self::SessionRemoved,
        Self::Replaced,
        Self::Expired,
        Self::Updated,
        Self::Set,
        Self::Removed,
        Self::Opened,
    ];

    fn number(self) -> u8 {
        self as u8
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Attribution {
        Attribution {
            cause: Some(Cause::Replaced),
            reason: Some("größer".into()),
            user: Some("joe".into()),
            address: Some([192, 0, 2, 7].into()),
            agent: Some("curl/8.5".into()),
            last_heard: Some(1_700_000_000_000),
        }
    }

    #[test]
    fn attribution_is_unpacked_as_it_was_packed() {
        let v6 = Attribution { address: Some("2001:db8::7".parse().unwrap()), ..Attribution::default() };
        for attribution in [full(), v6, Attribution::default()] {
            let packed = PackedAttribution::of(&attribution);
            assert_eq!(packed.unpack(), attribution);
            assert_eq!(PackedAttribution::of_bytes(packed.bytes()), Some(packed));
        }
        for cause in Cause::ALL {
            let attribution = Attribution { cause: Some(cause), ..Attribution::default() };
            assert_eq!(PackedAttribution::of(&attribution).unpack(), attribution);
        }
        assert_eq!(PackedAttribution::of(&Attribution::default()).0, None, "nothing known takes no memory");
        assert_eq!(size_of::<PackedAttribution>(), 16);
    }

    #[test]
    fn unknown_parts_are_skipped_and_cut_ones_refused() {
        let packed = PackedAttribution::of(&full());
        let later = [&[99, 0, 2, 1, 2], packed.bytes(), &[CAUSE, 0, 1, 99]].concat();
        let read = PackedAttribution::of_bytes(&later).unwrap().unpack();
        assert_eq!(read, Attribution { cause: None, ..full() }, "the cause of a later version is not known");
        let starts =
            (0..packed.bytes().len()).filter(|end| PackedAttribution::of_bytes(&packed.bytes()[..*end]).is_some());
        assert_eq!(starts.count(), 6, "nothing, and whole parts");
    }
}
