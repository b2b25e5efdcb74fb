//! Lists on the command line: `api,www` and `port=8000,motto=one\, two`, checked against the rules of the API.
//!
//! White space around items, keys and values is removed: a YAML block ends with a line feed, and people put a blank
//! behind a comma. No search could find such a tag.

use anyhow::{Result, bail, ensure};

use super::template::{Value, expand};
use crate::wire::Metadata;
use crate::wire::limits::{KEY_OR_VALUE, PAIRS, TAG, TAGS};

/// Parses the tags in the values of an option, and expands their placeholders; an empty value has none.
pub(super) fn tags(values: &[String], value: impl Value) -> Result<Vec<String>> {
    let tags = values.iter().flat_map(|value| items(value)).map(|tag| expand(&tag, &value));
    let tags = tags.collect::<Result<Vec<String>>>()?;
    for (position, tag) in tags.iter().enumerate() {
        ensure!(!tag.is_empty(), "tag {} is empty; remove a ','", position + 1);
        check("tag", tag, *TAG.end())?;
    }
    ensure!(tags.len() <= TAGS, "{} tags are too many; a service has at most {TAGS}", tags.len());
    Ok(tags)
}

/// Parses the pairs in the values of an option, and expands the placeholders in their values. The first `=` splits a
/// pair; of two pairs with one key the last counts.
///
/// # Errors
///
/// The rule of the API that they break, and the errors of the placeholders.
pub fn metadata(values: &[String], value_of: impl Value) -> Result<Metadata> {
    let mut pairs = Metadata::new();
    for item in values.iter().flat_map(|value| items(value)) {
        let Some((key, value)) = item.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else {
            bail!("{} is not key=value (a comma in a value is written '\\,')", quoted(&item));
        };
        ensure!(!key.is_empty(), "{} has no key before '='", quoted(&item));
        ensure!(
            !value.is_empty(),
            "key {} has no value; the registry takes values of 1 to 255 characters",
            quoted(key)
        );
        let value = expand(value, &value_of)?;
        check("key", key, *KEY_OR_VALUE.end())?;
        check("value", &value, *KEY_OR_VALUE.end())?;
        pairs.insert(key.to_owned(), value);
    }
    ensure!(pairs.len() <= PAIRS, "{} pairs are too many; at most {PAIRS} are allowed", pairs.len());
    Ok(pairs)
}

/// Returns the items of a list, without white space around them. A list of white space has none.
fn items(list: &str) -> impl Iterator<Item = String> {
    split(list.trim()).into_iter().map(|item| item.trim().to_owned())
}

/// Splits at commas. `\,` is a comma and `\\` a backslash; any other backslash is itself.
#[must_use]
pub fn split(list: &str) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    let mut items = vec![String::new()];
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        let literal = match character {
            ',' => {
                items.push(String::new());
                continue;
            }
            '\\' => characters.next_if(|next| matches!(next, ',' | '\\')).unwrap_or('\\'),
            other => other,
        };
        if let Some(item) = items.last_mut() {
            item.push(literal);
        }
    }
    items
}

/// Refuses control characters, and what is too long. Counts UTF-16 code units, like the registry.
fn check(what: &str, text: &str, longest: usize) -> Result<()> {
    if let Some(wrong) = text.chars().find(|character| character.is_control()) {
        bail!("{what} {} contains {wrong:?}; it must have no control characters", quoted(text));
    }
    let (length, characters) = (text.encode_utf16().count(), text.chars().count());
    let counted = if length == characters {
        format!("{length} characters")
    } else {
        format!("{characters} characters, which are {length} UTF-16 code units, as the registry counts them")
    };
    ensure!(length <= longest, "{what} {} has {counted}; at most {longest} are allowed", quoted(text));
    Ok(())
}

/// Quotes text for an error message: control characters are escaped, long text is cut.
#[must_use]
pub fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{:?}...", cut) } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str, _: Option<&str>) -> Option<Result<String>> {
        None
    }

    fn tags_of(list: &str) -> Result<Vec<String>> {
        tags(&[list.to_owned()], none)
    }

    fn pairs_of(list: &str) -> String {
        match metadata(&[list.to_owned()], none) {
            Ok(pairs) => format!("{pairs:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tags_are_split_at_commas() {
        assert_eq!(tags_of("api,www").unwrap(), ["api", "www"]);
        assert_eq!(tags_of("x").unwrap(), ["x"], "one character is enough");
        assert_eq!(tags_of("a\\,b,c\\d").unwrap(), ["a,b", "c\\d"]);
        assert!(tags_of("").unwrap().is_empty());
        assert_eq!(tags(&["a,b".into(), "c".into()], none).unwrap(), ["a", "b", "c"], "repeating adds");
    }

    #[test]
    fn invalid_tags_are_refused() {
        assert_eq!(tags_of("a,b,").unwrap_err().to_string(), "tag 3 is empty; remove a ','");
        assert!(tags_of(&"x".repeat(55)).is_ok());
        assert!(tags_of(&"x".repeat(56)).unwrap_err().to_string().contains("has 56 characters; at most 55"));
        let error = tags_of(&"\u{1F600}".repeat(28)).unwrap_err().to_string();
        assert!(error.contains("has 28 characters, which are 56 UTF-16 code units"), "{error}");
        assert!(tags_of("1,2,3,4,5,6,7,8,9,10").is_ok());
        assert!(tags_of("1,2,3,4,5,6,7,8,9,10,11").unwrap_err().to_string().starts_with("11 tags are too many"));
    }

    #[test]
    fn pair_is_split_at_the_first_equals_sign() {
        assert_eq!(pairs_of("port=8000,host=localhost"), r#"{"host": "localhost", "port": "8000"}"#);
        assert_eq!(pairs_of("query=a=b"), r#"{"query": "a=b"}"#);
        assert_eq!(pairs_of(r"motto=one\, two,path=c:\x"), r#"{"motto": "one, two", "path": "c:\\x"}"#);
        assert_eq!(pairs_of(r"dir=c:\\,a=1"), r#"{"a": "1", "dir": "c:\\"}"#);
        assert_eq!(pairs_of("a=1,a=2"), r#"{"a": "2"}"#);
    }

    #[test]
    fn white_space_around_items_keys_and_values_is_removed() {
        assert_eq!(tags_of(" api, www\t,two words\n").unwrap(), ["api", "www", "two words"]);
        assert!(tags_of(" \n").unwrap().is_empty());
        assert_eq!(pairs_of(" port = 8000,\n motto=one\\, two \n"), r#"{"motto": "one, two", "port": "8000"}"#);
        assert_eq!(tags_of("a, ,b").unwrap_err().to_string(), "tag 2 is empty; remove a ','");
        assert!(pairs_of(" = 1").starts_with("\"= 1\" has no key"));
        assert!(pairs_of("a= ").starts_with("key \"a\" has no value"));
    }

    #[test]
    fn control_characters_are_refused() {
        let refused = "contains '\\n'; it must have no control characters";
        assert_eq!(tags_of("api\nwww").unwrap_err().to_string(), format!("tag \"api\\nwww\" {refused}"));
        assert_eq!(pairs_of("a\nb=1"), format!("key \"a\\nb\" {refused}"));
        assert_eq!(pairs_of("a=1\n2"), format!("value \"1\\n2\" {refused}"));
        assert!(tags_of("a\u{7f}b").is_err() && tags_of("a\u{85}b").is_err());
    }

    #[test]
    fn invalid_pairs_are_refused() {
        assert!(pairs_of("port").starts_with("\"port\" is not key=value"));
        assert!(pairs_of("a=1,").starts_with("\"\" is not key=value"));
        assert_eq!(pairs_of("=1"), "\"=1\" has no key before '='");
        assert!(pairs_of("a=").starts_with("key \"a\" has no value"));
        assert!(pairs_of(&format!("a={}", "x".repeat(256))).contains("has 256 characters; at most 255"));
        assert!(pairs_of("a\u{7}b").starts_with("\"a\\u{7}b\""), "control characters do not reach the terminal");
        let list = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert!(pairs_of(&list(20)).starts_with('{'));
        assert!(pairs_of(&list(21)).starts_with("21 pairs are too many"));
    }
}
