//! Writes objects in the form that the options ask for.

use anyhow::{Context, Result};
use serde_json::Value;

use super::options::{Form, OutputOptions, Screen};
use super::shape::{Column, Shape};
use super::table::Part;
use super::template::Template;
use super::text::{acts, visible, visible_json};
use super::{stdout, table};
use crate::exit::Failure;

/// Writes the objects of a command.
pub(crate) struct Printer {
    shape: Shape,
    form: Form,
    template: Option<Template>,
    screen: Screen,
}

impl Printer {
    /// Checks the options before anything is asked.
    pub(crate) fn new(options: OutputOptions, shape: Shape) -> Result<Self, Failure> {
        let template = options.template.map(Template::new).transpose()?;
        Ok(Self { shape, form: options.output, template, screen: Screen::of_stdout() })
    }

    /// Writes a list.
    pub(crate) fn list(&self, all: &[Value]) -> Result<(), Failure> {
        stdout::write(&match (&self.template, self.form) {
            (None, Form::Json) => json(&Value::Array(all.to_vec())),
            (None, Form::Yaml) => yaml(&Value::Array(all.to_vec()))?,
            (None, Form::Table | Form::Wide) => self.table(all),
            _ => self.lines(all)?,
        })
    }

    /// Writes one object.
    pub(crate) fn one(&self, object: &Value) -> Result<(), Failure> {
        match (&self.template, self.form) {
            (None, Form::Json) => stdout::write(&json(object)),
            (None, Form::Yaml) => stdout::write(&yaml(object)?),
            _ => self.list(std::slice::from_ref(object)),
        }
    }

    /// Writes one object with several tables. Where there is no header, each row begins with the name of its table.
    #[cfg(feature = "etcd")]
    pub(crate) fn tables(&self, object: &Value, tables: &[(&str, &'static [Column], &[Value])]) -> Result<(), Failure> {
        if self.template.is_some() || !matches!(self.form, Form::Table | Form::Wide) {
            return self.one(object);
        }
        let text = |(name, all, rows): &(&str, &'static [Column], &[Value])| {
            let columns: Vec<&Column> =
                all.iter().filter(|column| self.form == Form::Wide || !column.is_wide).collect();
            if self.screen.is_terminal {
                return table::for_people(&columns, rows, self.screen, Part::Whole);
            }
            let lines = table::for_programs(&columns, rows);
            lines.lines().map(|line| format!("{name}\t{line}\n")).collect()
        };
        let shown = tables.iter().filter(|(_, _, rows)| !rows.is_empty());
        stdout::write(&shown.map(text).collect::<Vec<_>>().join(if self.screen.is_terminal { "\n" } else { "" }))
    }

    /// Writes objects of a stream: a line, or a document, for each. The first ones come with the header of a table.
    pub(crate) fn stream(&self, next: &[Value], is_first: bool) -> Result<(), Failure> {
        let text = match (&self.template, self.form) {
            (None, Form::Table | Form::Wide) if self.screen.is_terminal => {
                self.part_of_table(next, if is_first { Part::First } else { Part::Next })
            }
            (None, Form::Table | Form::Wide) => self.table(next),
            (None, Form::Yaml) => {
                let documents = next.iter().map(|object| Ok(format!("---\n{}", yaml(object)?)));
                documents.collect::<Result<String>>()?
            }
            _ => self.lines(next)?,
        };
        if text.is_empty() { Ok(()) } else { stdout::write(&text) }
    }

    fn columns(&self) -> Vec<&'static Column> {
        self.shape.columns.iter().filter(|column| self.form == Form::Wide || !column.is_wide).collect()
    }

    fn rows(&self, all: &[Value]) -> Vec<Value> {
        all.iter().flat_map(|object| (self.shape.rows)(object)).collect()
    }

    fn table(&self, all: &[Value]) -> String {
        let (columns, rows) = (self.columns(), self.rows(all));
        match self.screen.is_terminal {
            true if rows.is_empty() => String::new(),
            true => table::for_people(&columns, &rows, self.screen, Part::Whole),
            false => table::for_programs(&columns, &rows),
        }
    }

    fn part_of_table(&self, next: &[Value], part: Part) -> String {
        table::for_people(&self.columns(), &self.rows(next), self.screen, part)
    }

    /// Returns a line for each object.
    fn lines(&self, all: &[Value]) -> Result<String, Failure> {
        let line = |object: &Value| match &self.template {
            Some(template) => template.line(&(self.shape.context)(object)),
            None if self.form == Form::Name => {
                Ok((self.shape.name)(object).split('\n').map(|name| format!("{}\n", visible(name))).collect())
            }
            None => Ok(visible_json(object.to_string()) + "\n"),
        };
        all.iter().map(line).collect()
    }
}

fn json(value: &Value) -> String {
    visible_json(format!("{value:#}\n"))
}

/// Returns YAML. JSON is YAML, too: it stands in where the text would have a character that acts on a terminal.
fn yaml(value: &Value) -> Result<String> {
    let text = serde_saphyr::to_string(value).context("writing YAML")?;
    Ok(if text.contains(|character| character != '\n' && acts(character)) { json(value) } else { text })
}
