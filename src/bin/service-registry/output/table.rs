//! Tables: for people on a terminal, separated by tabs elsewhere.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell as Styled, ColumnConstraint, ContentArrangement, Table, Width};
use serde_json::Value;

use super::options::Screen;
use super::shape::{Cell, Column};
use super::text::visible;
use super::time;

/// Stands for an empty cell: programs that split at white space would lose the column.
const EMPTY: &str = "-";
/// The width of a terminal that does not tell its own, in characters.
const UNKNOWN_WIDTH: u16 = 80;

/// What is known of the rows of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of them.
    Whole,
    /// The first ones of a stream: columns have their usual widths, since the other rows are not known yet.
    First,
    /// Further ones of a stream.
    Next,
}

/// Returns the rows, and a header except over further ones, as wide as the terminal.
pub(super) fn for_people(columns: &[&Column], rows: &[Value], screen: Screen, part: Part) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none_or(|width| width == 0) {
        table.set_width(UNKNOWN_WIDTH); // a serial line does not tell
    }
    let title = |column: &&Column| {
        let title = Styled::new(column.title);
        if screen.has_colours { title.add_attribute(Attribute::Bold) } else { title }
    };
    if part != Part::Next {
        table.set_header(columns.iter().map(title));
    }
    // A stream stays on the terminal: what was now is not now for long.
    let now = (part == Part::Whole).then(time::now);
    for row in rows {
        table.add_row(columns.iter().map(|column| styled(&(column.cell)(row), screen, now)));
    }
    // Two blanks between columns, none at the edges.
    let last = columns.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate().take(columns.len()) {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        if part != Part::Whole {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(columns[index].usual_width)));
        }
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    lines.concat()
}

fn styled(cell: &Cell, screen: Screen, now: Option<u64>) -> Styled {
    let styled = Styled::new(content(cell, now));
    match cell {
        Cell::Coloured(_, colour) if screen.has_colours => styled.fg(*colour),
        _ => styled,
    }
}

/// Returns a line for each row, without a header.
pub(super) fn for_programs(columns: &[&Column], rows: &[Value]) -> String {
    let mut lines = String::new();
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| content(&(column.cell)(row), None)).collect();
        let _ = writeln!(lines, "{}", cells.join("\t")); // a text takes everything
    }
    lines
}

/// Returns the text of a cell; a time relative to `now`, if it is given.
fn content(cell: &Cell, now: Option<u64>) -> String {
    match (cell, now) {
        (Cell::Empty, _) => EMPTY.to_owned(),
        (Cell::Text(text) | Cell::Coloured(text, _), _) => visible(text).into_owned(),
        (Cell::Time(time), Some(now)) => time::relative(*time, now),
        (Cell::Time(time), None) => time::iso(*time),
        #[cfg(feature = "etcd")]
        (Cell::Size(bytes), Some(_)) => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        #[cfg(feature = "etcd")]
        (Cell::Size(bytes), None) => bytes.to_string(),
    }
}
