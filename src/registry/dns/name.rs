//! What a name asks for, and the names of services.
//!
//! DNS ignores the case of names, and its labels end at dots. So names are read in lower case; the dots of an id are
//! dots of the name; and ids, tags and accounts that cannot be written so are escaped: `_x` and the hexadecimal bytes
//! of the text. Labels that are escaped and follow each other are one text, since a label has 63 bytes.

use hickory_proto::rr::Name;

use crate::registry::http::Selection;

/// The beginning of an escaped label.
const ESCAPE: &str = "_x";
/// The most bytes that an escaped label holds.
const ESCAPED: usize = 30;
/// The longest label.
const LABEL: usize = 63;

/// What a name in the zone asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Apex,
    NameServer,
    /// A name that has nothing but names below it, those of this account if it is in one.
    Between(Option<String>),
    Services(Wanted),
    /// A name that cannot exist.
    Nothing,
}

/// The services that a name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// None: the default account.
    pub(super) account: Option<String>,
    pub(super) selection: Selection,
    /// The name is one of RFC 2782, which has no addresses.
    pub(super) is_rfc2782: bool,
}

/// Parses a name; none if it is not in the zone.
pub(super) fn parse(name: &Name, zone: &Name) -> Option<Asked> {
    if !zone.zone_of(name) {
        return None;
    }
    let name = name.to_lowercase();
    let labels: Vec<&[u8]> = name.iter().collect();
    let below = &labels[..labels.len().checked_sub(zone.iter().count())?];
    Some(match below {
        [] => Asked::Apex,
        [label] if *label == b"ns" => Asked::NameServer,
        [.., last] if is_kind(last) => of_kind(None, below),
        [rest @ .., account] => match (text(&[account]), rest) {
            (Some(account), []) => Asked::Between(Some(account)),
            (Some(account), [.., last]) if is_kind(last) => of_kind(Some(account), rest),
            _ => Asked::Nothing,
        },
    })
}

fn is_kind(label: &[u8]) -> bool {
    matches!(label, b"tag" | b"id" | b"_tcp" | b"_udp")
}

/// Parses the labels up to and including the one that says what they are.
fn of_kind(account: Option<String>, labels: &[&[u8]]) -> Asked {
    let Some((kind, labels)) = labels.split_last() else { return Asked::Nothing };
    if labels.is_empty() {
        return Asked::Between(account);
    }
    let is_rfc2782 = kind.starts_with(b"_");
    let tag = || match labels {
        [first, rest @ ..] if is_rfc2782 => text(&[&[first.strip_prefix(b"_")?], rest].concat()),
        _ => text(labels),
    };
    let selection = if *kind == b"id" { text(labels).map(Selection::Id) } else { tag().map(Selection::Tag) };
    selection.map_or(Asked::Nothing, |selection| Asked::Services(Wanted { account, selection, is_rfc2782 }))
}

/// Returns the text that labels stand for; none if it is no text.
fn text(labels: &[&[u8]]) -> Option<String> {
    let (mut text, mut was_escaped) = (Vec::new(), false);
    for (index, label) in labels.iter().enumerate() {
        let escaped = unescape(label);
        if index > 0 && !(was_escaped && escaped.is_some()) {
            text.push(b'.');
        }
        was_escaped = escaped.is_some();
        text.extend(escaped.as_deref().unwrap_or(label));
    }
    String::from_utf8(text).ok().filter(|text| !text.is_empty())
}

fn unescape(label: &[u8]) -> Option<Vec<u8>> {
    let digits = label.strip_prefix(ESCAPE.as_bytes()).filter(|digits| !digits.is_empty())?;
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// Returns the name of a service; none if it is too long for DNS.
pub(super) fn of_service(id: &str, account: Option<&str>, zone: &Name) -> Option<Name> {
    let labels = labels(id).into_iter().chain([b"id".to_vec()]).chain(account.into_iter().flat_map(labels));
    Name::from_labels(labels.collect::<Vec<_>>()).ok()?.append_domain(zone).ok()
}

/// Returns the labels that stand for a text.
fn labels(of: &str) -> Vec<Vec<u8>> {
    let plain: Vec<&[u8]> = of.split('.').map(str::as_bytes).collect();
    let is_plain = plain.iter().all(|label| !label.is_empty() && label.len() <= LABEL)
        && of.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
        && text(&plain).is_some_and(|text| text == of);
    if is_plain {
        return plain.into_iter().map(<[u8]>::to_vec).collect();
    }
    let escape = |part: &[u8]| {
        let digits: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{ESCAPE}{digits}").into_bytes()
    };
    of.as_bytes().chunks(ESCAPED).map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Name {
        Name::from_ascii("registry.").unwrap()
    }

    fn asked(name: &str) -> Option<Asked> {
        parse(&Name::from_ascii(name).unwrap(), &zone())
    }

    fn services(account: Option<&str>, selection: Selection, is_rfc2782: bool) -> Option<Asked> {
        Some(Asked::Services(Wanted { account: account.map(str::to_owned), selection, is_rfc2782 }))
    }

    #[test]
    fn names_ask_for_what_the_manual_says() {
        let tag = |text: &str| Selection::Tag(text.to_owned());
        let id = |text: &str| Selection::Id(text.to_owned());
        assert_eq!(asked("registry."), Some(Asked::Apex));
        assert_eq!(asked("NS.Registry."), Some(Asked::NameServer));
        for (between, account) in
            [("tag", None), ("id", None), ("_tcp", None), ("7", Some("7")), ("tag.joe", Some("joe"))]
        {
            let expected = Some(Asked::Between(account.map(str::to_owned)));
            assert_eq!(asked(&format!("{between}.registry.")), expected, "{between}");
        }
        assert_eq!(asked("web.tag.registry."), services(None, tag("web"), false));
        assert_eq!(asked("WEB.Tag.REGISTRY."), services(None, tag("web"), false));
        assert_eq!(asked("web.tag.7.registry."), services(Some("7"), tag("web"), false));
        assert_eq!(asked("db-1.example.com.id.joe.registry."), services(Some("joe"), id("db-1.example.com"), false));
        assert_eq!(asked("_web._tcp.registry."), services(None, tag("web"), true));
        assert_eq!(asked("_web._udp.7.registry."), services(Some("7"), tag("web"), true));
        assert_eq!(asked("tag.tag.registry."), services(None, tag("tag"), false));
        assert_eq!(asked("id.id.id.registry."), services(None, id("id.id"), false));
        assert_eq!(asked("_x576562.tag.registry."), services(None, tag("Web"), false));
        assert_eq!(asked("__x576562._tcp.registry."), services(None, tag("Web"), true));
        assert_eq!(asked("_x5765._x62.tag._x4A6f65.registry."), services(Some("Joe"), tag("Web"), false));
        assert_eq!(asked("_xyz.tag.registry."), services(None, tag("_xyz"), false));
        for nothing in ["web._tcp.registry.", "a.b.registry.", "web.tag.a.b.registry.", "_xff.tag.registry."] {
            assert_eq!(asked(nothing), Some(Asked::Nothing), "{nothing}");
        }
        for elsewhere in ["example.com.", ".", "notregistry.", "registry.com."] {
            assert_eq!(asked(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn name_of_a_service_asks_for_it() {
        let long = "Ab".repeat(32);
        for id in ["web-1", "db.example.com", "Web-1", "a..b", "_x41", ".x.", &long, &"a".repeat(65), "größe"] {
            for account in [None, Some("7"), Some("Joe Doe")] {
                let name = of_service(id, account, &zone()).unwrap();
                let expected = services(account, Selection::Id(id.to_owned()), false);
                assert_eq!(parse(&name, &zone()), expected, "{id}: {name}");
            }
        }
        assert_eq!(of_service("web-1", None, &zone()).unwrap().to_ascii(), "web-1.id.registry.");
        assert_eq!(of_service(&"A".repeat(200), None, &zone()), None);
    }
}
