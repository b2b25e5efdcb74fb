//! `service-registry deregister`: removes services from the registry.

use anyhow::anyhow;
use clap::Args;
use clap_complete::ArgValueCompleter;
use service_registry::client::Client;
use service_registry::connection::{Origins, RegistryOptions};

use crate::commands::reading::completion::service_ids;
use crate::connection::{Connection, block_on};
use crate::exit::{self, Failure};
use crate::{logging, output};

const EXAMPLES: &str = "\
Examples:
  service-registry deregister old-host-api0 old-host-api1 --reason 'the machine is gone'";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Deregister {
    /// The ids of the services
    #[arg(value_name = "ID", required = true, add = ArgValueCompleter::new(service_ids))]
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
        let (mut missing, mut told) = (0, Ok(()));
        for id in &options.ids {
            let remove = async |client: &Client| client.services().remove_because(id, &options.reason).await;
            match connection.ask(remove).await {
                Ok(()) => told = told.and(output::write(&format!("{id}: deregistered\n"))), // whoever reads it
                Err(failure) if failure.code == exit::FAILURE => {
                    missing += 1;
                    logging::tell(&format!("{id}: there is no such service"));
                }
                Err(failure) => return Err(Failure { error: failure.error.context(id.clone()), ..failure }),
            }
        }
        match missing {
            0 => told,
            _ => Err(anyhow!("{missing} of {} services were not there", options.ids.len()).into()),
        }
    })
}
