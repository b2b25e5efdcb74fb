//! The services that a command is about.

use clap::Args;
use service_registry::wire::Service;

#[derive(Args, Clone, Debug)]
pub(crate) struct Filter {
    /// Only services with this tag; repeatable: with all of them
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only services with this pair in their metadata; repeatable: with all of them
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only services whose ids begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    id_prefix: String,
}

impl Filter {
    /// Returns a tag to ask the registry for.
    pub(super) fn tag(&self) -> Option<&str> {
        self.tags.first().map(String::as_str)
    }

    pub(super) fn matches(&self, service: &Service) -> bool {
        let (id, tags, metadata) = match service {
            Service::InSession(service) => (&service.id, &service.tags, &service.metadata),
            Service::Own(service) => (&service.id, &service.tags, &service.metadata),
        };
        id.starts_with(&self.id_prefix)
            && self.tags.iter().all(|tag| tags.contains(tag))
            && self.metadata.iter().all(|(key, value)| metadata.get(key) == Some(value))
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
