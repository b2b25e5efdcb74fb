//! Templates: a line for each entry.

use anyhow::{Context, anyhow};
use minijinja::{Environment, Error};
use serde_json::Value;

use super::text::visible;
use crate::exit::Failure;

/// The name of the template; messages do not show it.
const NAME: &str = "template";

/// A template that was checked.
pub(super) struct Template(Environment<'static>);

impl Template {
    /// Checks the text. A mistake in it is a usage error.
    pub(super) fn new(text: String) -> Result<Self, Failure> {
        let mut environment = Environment::new();
        // Values are of others: what acts on a terminal, or is a line's end, must not get into the lines.
        environment.set_formatter(|output, _, value| {
            let text = if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() };
            output.write_str(&visible(&text)).map_err(Error::from)
        });
        environment.add_template_owned(NAME, text).map_err(|error| wrong(&error))?;
        Ok(Self(environment))
    }

    /// Returns the line for an entry.
    pub(super) fn line(&self, context: &Value) -> Result<String, Failure> {
        let template = self.0.get_template(NAME).context("--template")?;
        Ok(template.render(minijinja::value::Serde(context)).map_err(|error| wrong(&error))? + "\n")
    }
}

fn wrong(error: &Error) -> Failure {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    Failure::usage(anyhow!("--template: {}{detail}", error.kind()))
}
