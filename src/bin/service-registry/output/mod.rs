//! The output of commands that show objects: tables, JSON, YAML, names, templates.
//!
//! In reading order: `options` is what the user chooses; `shape` is what a command says about its objects; `printer`
//! writes them, as `table`, by a `template` or as data; `text` and `time` make cells; `progress` tells of long lists;
//! `stdout` is the one place that writes to it.

mod options;
mod printer;
mod progress;
mod shape;
mod stdout;
mod table;
mod template;
mod text;
mod time;

pub(crate) use options::OutputOptions;
pub(crate) use printer::Printer;
pub(crate) use progress::{Progress, with_progress};
pub(crate) use shape::{Cell, Column, Shape, pairs, texts};
pub(crate) use stdout::{reader_closed, write};
pub(crate) use text::visible;
