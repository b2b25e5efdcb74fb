//! The rules for requests, in the words of the API.
//!
//! A rule takes a value and returns its meaning, or the text of the rule that it breaks. Lengths count UTF-16
//! units, as the API's always have.

use std::ops::RangeInclusive;

use super::json::Json;
use crate::registry::model::StringList;
use crate::registry::model::Uuid1;
use crate::registry::state::DomainError;
use crate::wire::limits::{
    CONFIGURATION_ID, CONFIGURATION_VALUE, HEARTBEAT_TIMEOUT, KEY_OR_VALUE, PAIRS, REASON, SERVICE_ID, TAG, TAGS,
};

type Rule<T> = Result<T, String>;

/// Refuses a body that counts as empty.
pub(crate) fn body(body: &Json) -> Result<(), DomainError> {
    if body.is_blank() { Err(DomainError::malformed("Empty Request Body")) } else { Ok(()) }
}

/// Reads a required field.
pub(crate) fn required<'a, T>(
    body: &'a Json,
    field: &'static str,
    rule: impl FnOnce(&'a Json) -> Rule<T>,
) -> Result<T, DomainError> {
    let value = body.get(field).ok_or_else(|| missing(field))?;
    rule(value).map_err(|rule| DomainError::Field { field, rule })
}

/// Returns the error for a required field that is missing.
pub(crate) fn missing(field: &'static str) -> DomainError {
    DomainError::Field { field, rule: format!("Missing required key ({field})") }
}

/// Reads an optional field. `null` is a value like any other, and breaks its rule.
pub(crate) fn given<'a, T>(
    body: &'a Json,
    field: &'static str,
    rule: impl FnOnce(&'a Json) -> Rule<T>,
) -> Result<Option<T>, DomainError> {
    body.get(field).map(rule).transpose().map_err(|rule| DomainError::Field { field, rule })
}

/// Reads an optional field that `null` resets to its default.
pub(crate) fn optional<'a, T: Default>(
    body: &'a Json,
    field: &'static str,
    rule: impl FnOnce(&'a Json) -> Rule<T>,
) -> Result<Option<T>, DomainError> {
    given(body, field, |value| if *value == Json::Null { Ok(T::default()) } else { rule(value) })
}

/// Checks a part of the path or query.
pub(crate) fn parameter(
    name: &'static str,
    text: &str,
    rule: impl FnOnce(&str) -> Rule<()>,
) -> Result<(), DomainError> {
    rule(text).map_err(|rule| DomainError::Parameter { name, rule })
}

/// A string whose number of UTF-16 units is in range.
pub(super) fn string<'a>(value: &'a Json, range: &RangeInclusive<usize>) -> Rule<&'a str> {
    let Json::Text(text) = value else { return Err("Not a string".into()) };
    length(text, range).map(|()| text.as_str())
}

fn length(text: &str, range: &RangeInclusive<usize>) -> Rule<()> {
    let units = text.encode_utf16().count();
    let fits = range.contains(&units);
    if fits { Ok(()) } else { Err(format!("String is not in range ({}..{})", range.start(), range.end())) }
}

fn invalid_unless(valid: bool) -> Rule<()> {
    if valid { Ok(()) } else { Err("Invalid characters".into()) }
}

/// 3 to 65 letters, digits, `_`, `-`, `.`; also the rule for the parameter `tag`.
pub(crate) fn service_id(text: &str) -> Rule<()> {
    length(text, &SERVICE_ID)?;
    invalid_unless(text.bytes().all(|byte| is_word(byte) || byte == b'.'))
}

/// The beginning of an id, or a tag to search for: the characters of ids. The original refused tags of one or two
/// characters, which can be stored.
pub(crate) fn tag_parameter(text: &str) -> Rule<()> {
    let is_short = !text.is_empty() && text.len() < *SERVICE_ID.start();
    if is_short && text.bytes().all(|byte| is_word(byte) || byte == b'.') { Ok(()) } else { service_id(text) }
}

/// The same as [`service_id`], for a field.
pub(crate) fn service_id_field(value: &Json) -> Rule<&str> {
    let Json::Text(text) = value else { return Err("Not a string".into()) };
    service_id(text).map(|()| text.as_str())
}

/// A reason for a removal: at most 255 characters in one line.
pub(crate) fn reason(text: &str) -> Rule<()> {
    length(text, &(0..=REASON))?;
    if text.chars().any(char::is_control) { Err("Control characters are not allowed".into()) } else { Ok(()) }
}

/// A pair of metadata to search for.
pub(crate) fn metadata_parameter(key: &str, value: &str) -> Rule<()> {
    length(key, &KEY_OR_VALUE).map_err(|rule| format!("Key {key}: {rule}"))?;
    length(value, &KEY_OR_VALUE).map_err(|rule| format!("Value for key '{key}': {rule}"))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// `key`, or `/namespace/.../key`: 3 to 500 characters in all.
///
/// Up to 10 times a slash and 3 to 50 word characters, each perhaps followed by a slash; then perhaps 3 to 170 word
/// characters or dots. A slash at the end names a namespace, which is no id.
pub(crate) fn configuration_id(text: &str) -> Rule<()> {
    length(text, &CONFIGURATION_ID)?;
    invalid_unless(!text.ends_with('/') && matches_configuration_id(text.as_bytes()))
}

fn matches_configuration_id(text: &[u8]) -> bool {
    let is_key = |rest: &[u8]| {
        rest.is_empty() || (3..=170).contains(&rest.len()) && rest.iter().all(|&byte| is_word(byte) || byte == b'.')
    };
    let mut starts = vec![0]; // where the text after the namespaces read so far may start
    for _ in 0..=10 {
        if starts.iter().any(|&start| is_key(&text[start..])) {
            return true;
        }
        let mut next: Vec<usize> = starts.iter().flat_map(|&start| ends_of_namespace(text, start)).collect();
        next.sort_unstable();
        next.dedup();
        starts = next;
    }
    false
}

/// Returns where a namespace that starts here can end: after 3 to 50 characters, and after the slash that may follow
/// them.
fn ends_of_namespace(text: &[u8], start: usize) -> impl Iterator<Item = usize> {
    let name = if text.get(start) == Some(&b'/') { &text[start + 1..] } else { &[] };
    let run = name.iter().take_while(|&&byte| is_word(byte)).count().min(50);
    (3..=run).flat_map(move |length| {
        let end = start + 1 + length;
        std::iter::once(end).chain((text.get(end) == Some(&b'/')).then_some(end + 1))
    })
}

/// 1 to 1024 characters.
pub(crate) fn configuration_value(value: &Json) -> Rule<&str> {
    string(value, &CONFIGURATION_VALUE)
}

/// The id of a service's session.
pub(crate) fn session_id(value: &Json) -> Rule<&str> {
    string(value, &(1..=15))
}

/// At most 10 strings of 1 to 55 characters.
pub(crate) fn tags(value: &Json) -> Rule<StringList> {
    item_count(value, TAGS)?;
    let Json::List(items) = value else { return Err("Not an array".into()) };
    let tags: Vec<&str> = items.iter().map(|item| string(item, &TAG)).collect::<Result<_, _>>()?;
    Ok(StringList::new(tags))
}

/// At most 20 pairs of strings of 1 to 255 characters.
pub(crate) fn metadata(value: &Json) -> Rule<StringList> {
    item_count(value, PAIRS)?;
    let Json::Object(pairs) = value else { return Err("Not a hash".into()) };
    let mut strings = Vec::with_capacity(2 * pairs.len());
    for (key, value) in pairs {
        length(key, &KEY_OR_VALUE).map_err(|rule| format!("Key {key}: {rule}"))?;
        strings.push(key.as_str());
        strings.push(string(value, &KEY_OR_VALUE).map_err(|rule| format!("Value for key '{key}': {rule}"))?);
    }
    Ok(StringList::new(strings))
}

fn item_count(value: &Json, most: usize) -> Rule<()> {
    let many = value.count() > most;
    if many { Err(format!("Object needs to have between 0 and {most} items")) } else { Ok(()) }
}

/// 3 to 120 seconds: a JSON integer, or a value that the original accepted as one.
pub(crate) fn heartbeat_timeout(value: &Json) -> Rule<u8> {
    let number = integer(value).ok_or("Invalid integer")?;
    let (least, most) = (HEARTBEAT_TIMEOUT.start(), HEARTBEAT_TIMEOUT.end());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 120, which fits")]
    let fits = (f64::from(*least)..=f64::from(*most)).contains(&number).then_some(number as u8);
    fits.ok_or_else(|| format!("Value out of range ({least}..{most})"))
}

/// `30`, `30.0`, `"30"`, `"30.0"`, `"030"`, `"+30"`, `" 30"`, and even `[30]`.
fn integer(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => (number.fract() == 0.0).then_some(*number),
        Json::Text(text) => integer_text(text.trim()),
        Json::List(items) => match &items[..] {
            [item @ (Json::Number(_) | Json::Text(_))] => integer(item),
            _ => None,
        },
        _ => None,
    }
}

fn integer_text(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let valid = !whole.is_empty()
        && whole.bytes().all(|byte| byte.is_ascii_digit())
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte == b'0');
    if valid { text.parse().ok() } else { None }
}

/// A heartbeat token, and its text as it was sent.
pub(crate) fn token(value: &Json) -> Rule<(Uuid1, &str)> {
    let Json::Text(text) = value else { return Err("Not a string".into()) };
    Ok((Uuid1::parse(text)?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn timeout_is_an_integer_in_many_spellings() {
        for text in ["30", "30.0", "3e1", r#""30""#, r#""30.0""#, r#""030""#, r#""+30""#, r#"" 30""#, "[30]"] {
            assert_eq!(heartbeat_timeout(&json(text)), Ok(30), "{text}");
        }
        for text in [
            "4.5",
            "true",
            "null",
            r#""""#,
            r#"" ""#,
            r#""abc""#,
            r#""4.5""#,
            r#""1e1""#,
            r#""0x1e""#,
            "{}",
            "[]",
            "[30,30]",
            "[[30]]",
            r#""3 0""#,
            r#""NaN""#,
            r#""Infinity""#,
            r#"".0""#,
            r#""30.""#,
        ] {
            assert_eq!(heartbeat_timeout(&json(text)), Err("Invalid integer".into()), "{text}");
        }
        for text in ["2", "121", "-30", "0", "1e300", r#""-30""#, r#""99999999999999999999""#] {
            assert_eq!(heartbeat_timeout(&json(text)), Err("Value out of range (3..120)".into()), "{text}");
        }
        assert_eq!((heartbeat_timeout(&json("3")), heartbeat_timeout(&json("120"))), (Ok(3), Ok(120)));
    }

    #[test]
    fn lengths_count_utf16_units() {
        assert_eq!(tags(&json(&format!("[\"{}\"]", "€".repeat(55)))).unwrap().to_list()[0].chars().count(), 55);
        let surrogates = format!("[\"{}\"]", "😀".repeat(28)); // 56 units
        assert_eq!(tags(&json(&surrogates)), Err("String is not in range (1..55)".into()));
    }

    #[test]
    fn number_of_items_is_checked_before_their_type() {
        let many: Vec<String> = (0..11).map(|n| format!("\"k{n}\": 1")).collect();
        let count = Err("Object needs to have between 0 and 10 items".into());
        assert_eq!(tags(&json(&format!("{{{}}}", many.join(",")))), count);
        assert_eq!(tags(&json("{}")), Err("Not an array".into()));
        assert_eq!(metadata(&json(r#"[1, 2]"#)), Err("Not a hash".into()));
        assert_eq!(tags(&json("[null]")), Err("Not a string".into()));
        assert_eq!(metadata(&json(r#"{"b": 1, "a": 2}"#)), Err("Value for key 'b': Not a string".into()));
    }

    #[test]
    fn configuration_id_is_a_key_with_or_without_namespaces() {
        let segments = |n: usize| format!("{}/key", "/abc".repeat(n));
        let long = "a".repeat(170);
        let wide = format!("/{}", "n".repeat(50));
        for id in [
            "key",
            "a.b",
            "key_one-2.x",
            "/production/cassandra/listen_ip",
            "/abc",
            "/abc/def.ghi",
            "/abc//def",
            &long,
            &wide,
            &format!("{wide}/{long}"),
            &segments(9),
            &segments(10),
            "/aaa.b.c",
        ] {
            assert_eq!(configuration_id(id), Ok(()), "{id}");
        }
        for id in [
            "/prod/cass/ip",
            "/a/bcd",
            "a b",
            "/abc/",
            "key/",
            "//abc",
            "/ab.c/def",
            "größe",
            "/abc///def",
            &format!("{long}a"),
            &segments(11),
            "key/one",
        ] {
            assert_eq!(configuration_id(id), Err("Invalid characters".into()), "{id}");
        }
        for id in ["", "ab", "/a", &"a".repeat(501)] {
            assert_eq!(configuration_id(id), Err("String is not in range (3..500)".into()), "{id}");
        }
    }

    /// The matcher against the expression it stands for.
    #[test]
    fn configuration_ids_match_as_the_expression_does() {
        let whole = regex_lite::Regex::new(r"^(/[A-Za-z0-9_\-]{3,50}/?){0,10}([A-Za-z0-9_\-\.]{3,170})?$").unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let id: String =
                (0..random.usize(3..16)).map(|_| char::from(*random.choice(b"aaab//.-").unwrap())).collect();
            let expected = whole.is_match(&id) && !id.ends_with('/');
            assert_eq!(configuration_id(&id).is_ok(), expected, "{id}");
        }
    }
}
