//! `service-registry deregister`: removes services from the registry.

use std::io::{Write, stdout};

use anyhow::{Context, anyhow};
use clap::Args;
use service_registry::client::Client;
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::exit::{self, Failure};
use crate::logging;

#[derive(Args, Debug)]
pub(crate) struct Deregister {
    /// The ids of the services
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Why, for those who read the events: at most 255 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// Removes all that are there. One that is not there does not keep the others.
pub(crate) fn run(options: Deregister, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry, origins)?;
    block_on(async {
        let mut missing = 0;
        for id in &options.ids {
            let remove = async |client: &Client| client.services().remove_because(id, &options.reason).await;
            match connection.ask(remove).await {
                Ok(()) => writeln!(stdout(), "{id}: deregistered").context("writing to stdout")?,
                Err(failure) if failure.code == exit::FAILURE => {
                    missing += 1;
                    logging::tell(&format!("{id}: there is no such service"));
                }
                Err(failure) => return Err(Failure { error: failure.error.context(id.clone()), ..failure }),
            }
        }
        match missing {
            0 => Ok(()),
            _ => Err(anyhow!("{missing} of {} services were not there", options.ids.len()).into()),
        }
    })
}
