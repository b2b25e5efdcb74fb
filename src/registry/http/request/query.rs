//! The query of a URL.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The characters that JavaScript's `encodeURIComponent` does not encode, besides letters and digits.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Names and values, decoded, in order.
#[derive(Debug, Default)]
pub(in crate::registry::http) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(in crate::registry::http) fn parse(text: Option<&'a str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(n, v)| (decode(n), decode(v))).collect(),
        )
    }

    /// Returns all values of a name: a repeated parameter means something else than a single one.
    pub(in crate::registry::http) fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
    }

    /// Returns the names that begin with a prefix, without it, and their values.
    pub(in crate::registry::http) fn prefixed<'b>(
        &'b self,
        prefix: &'b str,
    ) -> impl Iterator<Item = (&'b str, &'b str)> {
        self.0.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, &**value)))
    }

    /// Returns the query with another marker in the place of the present one.
    pub(in crate::registry::http) fn with_marker(&self, marker: &str) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            let separator = if text.is_empty() { "" } else { "&" };
            let (name, value) = (utf8_percent_encode(name, COMPONENT), utf8_percent_encode(value, COMPONENT));
            let _ = write!(text, "{separator}{name}={value}");
        };
        let mut is_placed = false;
        for (name, value) in &self.0 {
            if name == "marker" {
                if !is_placed {
                    add(name, marker);
                }
                is_placed = true;
            } else {
                add(name, value);
            }
        }
        if !is_placed {
            add("marker", marker);
        }
        text
    }
}

/// Decodes leniently: an invalid escape stands for itself.
fn decode(text: &str) -> Cow<'_, str> {
    let plus = if text.contains('+') { Cow::Owned(text.replace('+', " ")) } else { Cow::Borrowed(text) };
    match plus {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8_lossy(),
        Cow::Owned(text) => Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_split_before_it_is_decoded() {
        let query = Query::parse(Some("tag=a%2Fb&limit=1&limit=2&flag&x=1=2&&t=a+b&bad=%zz"));
        assert_eq!(query.values("tag"), ["a/b"]);
        assert_eq!(query.values("limit"), ["1", "2"]);
        assert_eq!((query.values("flag"), query.values("x"), query.values("t")), (vec![""], vec!["1=2"], vec!["a b"]));
        assert_eq!(query.values("bad"), ["%zz"]);
        assert!(Query::parse(Some("")).values("").is_empty() && Query::parse(None).values("a").is_empty());
    }

    #[test]
    fn next_marker_replaces_the_present_one() {
        let next = |text| Query::parse(Some(text)).with_marker("/a:b");
        assert_eq!(next("limit=1"), "limit=1&marker=%2Fa%3Ab");
        assert_eq!(next("marker=x&limit=1"), "marker=%2Fa%3Ab&limit=1");
        assert_eq!(next(""), "marker=%2Fa%3Ab");
        assert_eq!(next("tag=ä b"), "tag=%C3%A4%20b&marker=%2Fa%3Ab");
    }
}
