//! The options about the output, and the terminal that gets it.

use std::io::{IsTerminal, stdout};

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputOptions {
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    pub(super) output: Form,
    /// Write each entry by a template (Jinja), such as '{{address}}:{{port}}'
    #[arg(long, value_name = "TEXT", conflicts_with = "output")]
    pub(super) template: Option<String>,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table on a terminal, otherwise the same columns separated by tabs
    Table,
    /// More columns
    Wide,
    /// JSON: an array, or an object if one was asked for
    Json,
    /// A line of JSON for each entry
    Jsonl,
    /// YAML
    Yaml,
    /// The ids only
    Name,
}

/// What stdout takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) is_terminal: bool,
    pub(crate) has_colours: bool,
}

impl Screen {
    /// Looks at stdout. `NO_COLOR` (no-color.org) and a terminal without abilities exclude colours.
    pub(crate) fn of_stdout() -> Self {
        let is_terminal = stdout().is_terminal();
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|terminal| terminal.is_empty() || terminal == "dumb");
        Self { is_terminal, has_colours: is_terminal && !is_plain }
    }
}

impl OutputOptions {
    /// Returns whether neither a form nor a template was chosen.
    pub(crate) fn is_default(&self) -> bool {
        self.output == Form::Table && self.template.is_none()
    }
}
