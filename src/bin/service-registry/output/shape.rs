//! What a command says about the objects that it shows.

use comfy_table::Color;
use serde_json::Value;

use super::text::visible;

/// The columns of a kind of object, and its other forms.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) columns: &'static [Column],
    /// The rows that an object fills in a table.
    pub(crate) rows: fn(&Value) -> Vec<Value>,
    /// What `-o name` writes of it.
    pub(crate) name: fn(&Value) -> String,
    /// The names that a template finds.
    pub(crate) context: fn(&Value) -> Value,
}

/// A column of a table.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    /// Only with `-o wide`.
    pub(crate) is_wide: bool,
    pub(crate) cell: fn(&Value) -> Cell,
    /// With the blanks behind it, where the rows are not known in advance.
    pub(crate) usual_width: u16,
}

/// The content of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cell {
    #[default]
    Empty,
    Text(String),
    Coloured(String, Color),
    /// Milliseconds since 1970.
    Time(u64),
    /// Bytes.
    #[cfg(feature = "etcd")]
    Size(u64),
}

impl Shape {
    /// Objects that fill a row each and are named by their ids.
    pub(crate) const fn of(columns: &'static [Column]) -> Self {
        Self { columns, rows: |value| vec![value.clone()], name: |value| plain(&value["id"]), context: Value::clone }
    }
}

impl Column {
    pub(crate) const fn new(title: &'static str, cell: fn(&Value) -> Cell) -> Self {
        Self { title, is_wide: false, cell, usual_width: 1 }
    }

    pub(crate) const fn wide(title: &'static str, cell: fn(&Value) -> Cell) -> Self {
        Self { title, is_wide: true, cell, usual_width: 1 }
    }

    pub(crate) const fn usually(mut self, width: u16) -> Self {
        self.usual_width = width;
        self
    }
}

impl Cell {
    /// Makes a cell of a JSON value.
    pub(crate) fn of(value: &Value) -> Self {
        Self::text(plain(value))
    }

    pub(crate) fn text(text: String) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text) }
    }

    /// Makes a cell of milliseconds since 1970.
    pub(crate) fn time(value: &Value) -> Self {
        value.as_u64().map_or(Self::Empty, Self::Time)
    }
}

/// Returns a value as text, without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns an array of texts as `a,b`.
pub(crate) fn texts(value: &Value) -> Cell {
    let texts = value.as_array().into_iter().flatten().map(|text| visible(&plain(text)).into_owned());
    Cell::text(texts.collect::<Vec<_>>().join(","))
}

/// Returns an object as `key=value,key=value`.
pub(crate) fn pairs(value: &Value) -> Cell {
    let pairs = value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", plain(value)));
    Cell::text(pairs.collect::<Vec<_>>().join(","))
}
