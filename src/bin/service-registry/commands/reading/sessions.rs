//! `service-registry sessions`.

use clap::Args;
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::exit::Failure;

#[derive(Args, Debug)]
pub(crate) struct Sessions {
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Sessions, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry, origins)?;
    let all = block_on(connection.ask(async |client| client.sessions().list_all().await))?;
    tracing::debug!("{all:?}");
    Ok(())
}
