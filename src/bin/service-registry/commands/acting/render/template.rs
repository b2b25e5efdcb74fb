//! A template: read and checked at the start, rendered for each list. Its errors name file, line and cure.

use std::path::Path;

use anyhow::{Context, anyhow};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use service_registry::files;

use super::view::{NAMES, View};
use crate::exit::Failure;

/// The most bytes of a template.
const LARGEST: u64 = 1 << 20;

/// A template that was checked.
pub(super) struct Template {
    environment: Environment<'static>,
    path: String,
}

impl Template {
    /// Reads and checks a file. A mistake in it is a usage error.
    pub(super) fn read(path: &str) -> Result<Self, Failure> {
        let text =
            files::read_text(Path::new(path), LARGEST).with_context(|| path.to_owned()).map_err(Failure::usage)?;
        Self::new(path, &text).map_err(Failure::usage)
    }

    fn new(path: &str, text: &str) -> anyhow::Result<Self> {
        let of = |error: Error| anyhow!(described(path, &error));
        let mut environment = Environment::new();
        environment.set_debug(true); // errors then have the expression
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None); // also for a path that ends with .json or .html
        // A line that has only a block leaves no line, as in Ansible.
        let mut syntax = SyntaxConfig::builder();
        environment
            .set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build().map_err(of)?);
        environment.add_function("fail", |text: String| Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, text)));
        environment.add_template_owned(path.to_owned(), text.to_owned()).map_err(of)?;
        let template = Self { environment, path: path.to_owned() };
        template.check_names(text)?;
        // The names of filters and tests are looked up late; other errors depend on the list.
        match template.rendered(&View::of(&[])) {
            Err(error) if matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest) => Err(of(error)),
            _ => Ok(template),
        }
    }

    /// Returns the text for a list.
    pub(super) fn render(&self, view: &View) -> anyhow::Result<String> {
        self.rendered(view).map_err(|error| anyhow!(described(&self.path, &error)))
    }

    fn rendered(&self, view: &View) -> Result<String, Error> {
        self.environment.get_template(&self.path)?.render(view.context())
    }

    /// Refuses a name that no list can define. Without this, a misspelt one in a branch is found when that is taken.
    fn check_names(&self, text: &str) -> anyhow::Result<()> {
        let used = self.environment.get_template(&self.path)?.undeclared_variables(false);
        let known: Vec<&str> = NAMES.into_iter().chain(self.environment.globals().map(|(name, _)| name)).collect();
        let Some(name) = used.iter().filter(|name| !known.contains(&name.as_str())).min() else { return Ok(()) };
        let is_in = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
        let line = text.lines().position(is_in).map_or(0, |line| line + 1);
        Err(anyhow!(
            "{}:{line}: there is no {name}; a template has {}, and what it sets itself",
            self.path,
            NAMES.join(" and ")
        ))
    }
}

/// Says where a template has failed, why, and what helps.
fn described(path: &str, error: &Error) -> String {
    let place = error.line().map_or_else(|| path.to_owned(), |line| format!("{path}:{line}"));
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let cure = match error.kind() {
        ErrorKind::UndefinedError => {
            "; write `NAME | default(...)`, or ask `NAME is defined`, where a service may have none"
        }
        _ => "",
    };
    format!("{place}: {}{detail}{cure}", error.kind())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(text: &str) -> String {
        format!("{:#}", Template::new("a.j2", text).err().unwrap())
    }

    fn rendered(text: &str) -> Result<String, String> {
        let services = [
            json!({"id": "b", "tags": ["api", "eu"], "metadata": {"host": "h2", "port": "2", "zone": "x\ny"}}),
            json!({"id": "a", "tags": ["api"], "metadata": {"host": "h1", "port": "1"}}),
            json!({"id": "c", "tags": [], "metadata": {}}),
        ];
        let template = Template::new("a.j2", text).unwrap();
        template.render(&View::of(&services)).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn services_are_filtered_grouped_and_in_order() {
        let of = |text| rendered(text).unwrap();
        assert_eq!(of("{% for s in services %}{{ s.id }}{% endfor %} {{ services | length }}"), "abc 3");
        assert_eq!(of("{% for s in services(tag='api') %}{{ s.endpoint }} {% endfor %}"), "h1:1 h2:2 ");
        assert_eq!(of("{% for s in services(tag=['api', 'eu']) %}{{ s.id }}{% endfor %}"), "b");
        assert_eq!(of("{% for s in services(metadata={'port': 1}) %}{{ s.id }}{% endfor %}"), "a");
        assert_eq!(of("{% for s in services(id_prefix='c') %}{{ s.id }}{{ s.port }}{% endfor %}"), "cNone");
        assert_eq!(of("{% for tag, of in by_tag | items %}{{ tag }}={{ of | length }} {% endfor %}"), "api=2 eu=1 ");
        assert_eq!(of("{{ services(tag='no') | length }}{% if not services(tag='no') %} none{% endif %}"), "0 none");
        assert_eq!(of("{{ services | selectattr('endpoint') | map(attribute='port') | join(',') }}"), "1,2");
        assert_eq!(of("{{ (services(tag='eu') | first).metadata.zone }}"), "x\\ny", "a line of the configuration");
    }

    #[test]
    fn lines_of_blocks_leave_no_lines() {
        let text = "pool {\n  {% for s in services(tag='api') %}\n  server {{ s.id }};\n  {% endfor %}\n}\n";
        assert_eq!(rendered(text).unwrap(), "pool {\n  server a;\n  server b;\n}\n");
    }

    #[test]
    fn mistakes_name_file_line_and_cure() {
        assert!(wrong("\n{% for %}").starts_with("a.j2:2: syntax error"), "{}", wrong("\n{% for %}"));
        assert!(wrong("x\n{% if services %}{{ servces }}{% endif %}").starts_with("a.j2:2: there is no servces;"));
        assert!(wrong("\n{{ services | uper }}").starts_with("a.j2:2: unknown filter"));
        let error = rendered("\n{% for s in services %}{{ s.metadata.zone }}{% endfor %}").unwrap_err();
        assert!(
            error.starts_with("a.j2:2: undefined value: `s.metadata.zone` is undefined; write `NAME | default("),
            "{error}"
        );
        assert_eq!(rendered("{{ services[0].weight | default(7) }}").unwrap(), "7");
        assert!(rendered("{{ fail('too few') }}").unwrap_err().starts_with("a.j2:1: invalid operation: too few"));
        assert!(rendered("{{ services(tags='api') }}").unwrap_err().contains("tags"));
    }
}
