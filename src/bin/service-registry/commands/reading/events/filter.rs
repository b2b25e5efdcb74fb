//! The events that are wanted.

use std::borrow::Cow;

use clap::Args;
use serde_json::Value;
use service_registry::client::{Client, EventFollower};

/// The events that are wanted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Filters")]
pub(super) struct Filter {
    /// Only events of this type, such as service.join; repeatable, for events of any of them
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Also events of the types that old clients do not know: service.update, session.create, session.update,
    /// session.remove
    #[arg(long)]
    extended: bool,
}

/// The types that a registry lists on request only.
const EXTENDED: [&str; 4] = ["service.update", "session.create", "session.update", "session.remove"];

impl Filter {
    /// Returns the parameters. The registry takes one type.
    pub(super) fn query(&self) -> Vec<(Cow<'static, str>, String)> {
        let kind = self.only_type().map(|kind| ("type".into(), kind.to_owned()));
        let extended = self.is_extended().then(|| ("extended".into(), "true".to_owned()));
        kind.into_iter().chain(extended).collect()
    }

    /// Follows the events after this one.
    pub(super) fn follow(&self, client: &Client, after: Option<&str>) -> EventFollower {
        let events = client.events().follow(after);
        let events = if let Some(kind) = self.only_type() { events.of_type(kind) } else { events };
        if self.is_extended() { events.extended() } else { events }
    }

    /// Returns whether the registry must be asked for all types.
    fn is_extended(&self) -> bool {
        self.extended || self.types.iter().any(|kind| EXTENDED.contains(&kind.as_str()))
    }

    fn only_type(&self) -> Option<&str> {
        if let [kind] = self.types.as_slice() { Some(kind) } else { None }
    }

    pub(super) fn wants(&self, event: &Value) -> bool {
        self.types.is_empty() || self.types.iter().any(|kind| event["type"] == **kind)
    }
}
