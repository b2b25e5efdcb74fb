//! `service-registry services`.

use clap::Args;
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::exit::Failure;

#[derive(Args, Debug)]
pub(crate) struct Services {
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Services, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry, origins)?;
    let all = block_on(connection.ask(async |client| client.services().list_all().await))?;
    tracing::debug!("{all:?}");
    Ok(())
}
