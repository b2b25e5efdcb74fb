//! What the user wrote for the value of an option, so that an error names it.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::options::RegistryOptions;

/// The origins of values that were not typed.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<(String, Origin)>);

#[derive(Clone, Debug)]
enum Origin {
    /// The name of a variable.
    Variable(String),
    /// A file, the line and the key.
    File(String),
}

impl Origins {
    /// Returns the origins of the values that the parser has found.
    #[must_use]
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let is_variable = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::EnvVariable);
        let of_environment = matches.ids().filter(is_variable);
        let named = of_environment.filter_map(|id| {
            let option = command.get_arguments().find(|option| option.get_id() == id)?;
            Some((id.to_string(), Origin::Variable(option.get_env()?.to_str()?.to_owned())))
        });
        Self(named.collect())
    }

    /// Returns the name that the user wrote: `--ca-file`, `SERVICE_REGISTRY_CA_FILE`, or a place in a file.
    #[must_use]
    pub fn name(&self, option: &str) -> String {
        match self.find(option) {
            Some(Origin::Variable(name) | Origin::File(name)) => name.clone(),
            None => format!("--{}", option.replace('_', "-")),
        }
    }

    /// Returns whether the value came from a variable.
    #[must_use]
    pub fn is_variable(&self, option: &str) -> bool {
        matches!(self.find(option), Some(Origin::Variable(_)))
    }

    /// Returns whether the value is from neither a variable nor a file.
    #[must_use]
    pub fn is_typed(&self, option: &str) -> bool {
        self.find(option).is_none()
    }

    pub(super) fn set_file(&mut self, option: &str, place: String) {
        self.0.retain(|(id, _)| id != option);
        self.0.push((option.to_owned(), Origin::File(place)));
    }

    fn find(&self, option: &str) -> Option<&Origin> {
        self.0.iter().find(|(id, _)| id == option).map(|(_, origin)| origin)
    }
}

impl RegistryOptions {
    /// Removes values from the environment that a rival on the command line overrides.
    pub fn settle_rivals(&mut self, origins: &Origins) {
        for [one, other] in Self::RIVALS {
            if self.is_set(one) && self.is_set(other) && origins.is_variable(one) != origins.is_variable(other) {
                self.forget(if origins.is_variable(one) { one } else { other });
            }
        }
    }
}
