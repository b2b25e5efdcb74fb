//! A JSON value as a client sent it. Keys stay in their order, because the first field that breaks a
//! rule is the one that is reported.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Any JSON value. Numbers are those of JavaScript: the API's are small integers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The object without keys, which an empty body stands for.
    pub(crate) const EMPTY: Self = Self::Object(Vec::new());

    /// Returns the value of a key; none if this is no object, as in JavaScript.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns the value of a key if it is a string.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns whether the original took it for an empty body: `null`, `false`, `0` and `""`.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) => true,
            Self::Number(number) => *number == 0.0,
            Self::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// Returns the number of entries; 0 for a value that is no collection.
    pub(super) fn count(&self) -> usize {
        match self {
            Self::List(items) => items.len(),
            Self::Object(pairs) => pairs.len(),
            _ => 0,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "as in JavaScript; what matters is below 2^53")]
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "as in JavaScript; what matters is below 2^53")]
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut pairs: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = from.next_entry::<String, Json>()? {
            // A repeated key keeps its first place and its last value.
            match pairs.iter_mut().find(|(name, _)| *name == key) {
                Some(pair) => pair.1 = value,
                None => pairs.push((key, value)),
            }
        }
        Ok(Json::Object(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_the_last_value_wins() {
        let json: Json = serde_json::from_str(r#"{"z": 1, "a": [true, null, "x"], "z": 2.5}"#).unwrap();
        let list = Json::List(vec![Json::Bool(true), Json::Null, Json::Text("x".into())]);
        assert_eq!(json, Json::Object(vec![("z".into(), Json::Number(2.5)), ("a".into(), list)]));
        assert_eq!(json.get("a").map(Json::count), Some(3));
        assert_eq!(Json::List(vec![]).get("a"), None);
    }

    #[test]
    fn four_blank_values_count_as_no_body() {
        for text in ["null", "false", "0", "-0", "0.0", "\"\""] {
            assert!(serde_json::from_str::<Json>(text).unwrap().is_blank(), "{text}");
        }
        for text in ["{}", "[]", "true", "1", "\"x\""] {
            assert!(!serde_json::from_str::<Json>(text).unwrap().is_blank(), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(serde_json::from_str::<Json>(&"[".repeat(4_999)).is_err());
    }
}
