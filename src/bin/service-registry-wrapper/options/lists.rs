//! Lists on the command line: `api,www` and `port=8000,motto=one\, two`, checked against the rules of the API.

use anyhow::{Result, bail, ensure};
use service_registry::wire::Metadata;
use service_registry::wire::limits::{KEY_OR_VALUE, PAIRS, TAG, TAGS};

use crate::placeholders::{self, expand};

/// Parses the tags in the values of an option, and expands their placeholders; an empty value has none.
pub(super) fn tags(values: &[String]) -> Result<Vec<String>> {
    let tags = values.iter().flat_map(|value| split(value)).map(|tag| expand(&tag, placeholders::value));
    let tags = tags.collect::<Result<Vec<String>>>()?;
    for (position, tag) in tags.iter().enumerate() {
        ensure!(!tag.is_empty(), "tag {} is empty; remove a ','", position + 1);
        check_length("tag", tag, *TAG.end())?;
    }
    ensure!(tags.len() <= TAGS, "{} tags are too many; a service has at most {TAGS}", tags.len());
    Ok(tags)
}

/// Parses the pairs in the values of an option, and expands the placeholders in their values. The first `=` splits a pair; of two pairs with one key the last counts.
pub(super) fn metadata(values: &[String]) -> Result<Metadata> {
    let mut pairs = Metadata::new();
    for item in values.iter().flat_map(|value| split(value)) {
        let Some((key, value)) = item.split_once('=') else {
            bail!("{} is not key=value (a comma in a value is written '\\,')", quoted(&item));
        };
        ensure!(!key.is_empty(), "{} has no key before '='", quoted(&item));
        ensure!(
            !value.is_empty(),
            "key {} has no value; the registry takes values of 1 to 255 characters",
            quoted(key)
        );
        let value = expand(value, placeholders::value)?;
        check_length("key", key, *KEY_OR_VALUE.end())?;
        check_length("value", &value, *KEY_OR_VALUE.end())?;
        pairs.insert(key.to_owned(), value);
    }
    ensure!(pairs.len() <= PAIRS, "{} pairs are too many; at most {PAIRS} are allowed", pairs.len());
    Ok(pairs)
}

/// Splits at commas. `\,` is a comma and `\\` a backslash; any other backslash is itself.
pub(super) fn split(list: &str) -> Vec<String> {
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

/// Counts UTF-16 code units, like the registry.
fn check_length(what: &str, text: &str, longest: usize) -> Result<()> {
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
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    if cut.len() < text.len() { format!("{:?}...", cut) } else { format!("{cut:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags_of(list: &str) -> Result<Vec<String>> {
        tags(&[list.to_owned()])
    }

    fn pairs_of(list: &str) -> String {
        match metadata(&[list.to_owned()]) {
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
        assert_eq!(tags(&["a,b".into(), "c".into()]).unwrap(), ["a", "b", "c"], "repeating adds");
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
