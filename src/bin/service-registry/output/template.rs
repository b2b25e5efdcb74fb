//! Templates: a line for each entry.

use anyhow::anyhow;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Value, json};

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
        // An entry without `by` has no `by.address` either.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        // Values are of others: what acts on a terminal, or is a line's end, must not get into the lines.
        environment.set_formatter(|output, _, value| {
            let text = if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() };
            output.write_str(&visible(&text)).map_err(Error::from)
        });
        environment.add_template_owned(NAME, text).map_err(|error| wrong(&error))?;
        let template = Self(environment);
        // The names of filters are looked up late; other errors depend on the entry.
        match template.render(&json!({})) {
            Err(error) if is_unknown_name(&error) => Err(wrong(&error)),
            _ => Ok(template),
        }
    }

    /// Returns the line for an entry.
    pub(super) fn line(&self, context: &Value) -> Result<String, Failure> {
        Ok(self.render(context).map_err(|error| wrong(&error))? + "\n")
    }

    fn render(&self, context: &Value) -> Result<String, Error> {
        self.0.get_template(NAME)?.render(Serde(context))
    }
}

fn is_unknown_name(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction)
}

fn wrong(error: &Error) -> Failure {
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    Failure::usage(anyhow!("--template: {}{detail}", error.kind()))
}
