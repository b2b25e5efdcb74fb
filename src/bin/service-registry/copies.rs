//! The commands `backup` and `restore`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use service_registry::connection::Origins;
use service_registry::registry;

use crate::data_dir;
#[cfg(feature = "etcd")]
use crate::etcd_options::EtcdOptions;
use crate::exit::Failure;

#[derive(Args, Debug)]
pub(super) struct Backup {
    /// The file to write
    file: PathBuf,
    /// Data directory of the registry; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    etcd: EtcdOptions,
}

#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The file to read
    file: PathBuf,
    /// Data directory to restore to; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Replace the registry that is there
    #[arg(long)]
    force: bool,
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    etcd: EtcdOptions,
    /// Number of shards that the accounts are divided into
    #[cfg(feature = "etcd")]
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_SHARDS", default_value_t = 64, requires = "etcd")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=9_999))]
    shards: u16,
}

pub(super) fn backup(options: Backup, origins: &Origins) -> Result<(), Failure> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = options.etcd.config(&rivals(options.data_dir.as_ref()), origins)? {
        let records = registry::backup_etcd(&etcd, &options.file)?;
        tracing::info!("copied {records} records of etcd, below {}, to {}", etcd.prefix, options.file.display());
        return Ok(());
    }
    #[cfg(not(feature = "etcd"))]
    let _ = origins;
    let folder = data_dir::folder(options.data_dir)?;
    let records = registry::backup(&folder, &options.file)?;
    tracing::info!("copied {records} records of {} to {}", folder.display(), options.file.display());
    Ok(())
}

pub(super) fn restore(options: Restore, origins: &Origins) -> Result<(), Failure> {
    #[cfg(feature = "etcd")]
    if let Some(etcd) = options.etcd.config(&rivals(options.data_dir.as_ref()), origins)? {
        let records = registry::restore_etcd(&options.file, &etcd, options.shards, options.force)?;
        tracing::info!("copied {records} records of {} to etcd, below {}", options.file.display(), etcd.prefix);
        return Ok(());
    }
    #[cfg(not(feature = "etcd"))]
    let _ = origins;
    let folder = data_dir::folder(options.data_dir)?;
    let records = registry::restore(&options.file, &folder, options.force).map_err(|error| in_words(error, &folder))?;
    tracing::info!("copied {records} records of {} to {}", options.file.display(), folder.display());
    Ok(())
}

#[cfg(feature = "etcd")]
fn rivals(data_dir: Option<&PathBuf>) -> Vec<&'static str> {
    data_dir.map(|_| "data_dir").into_iter().collect()
}

fn in_words(error: registry::Error, folder: &Path) -> Failure {
    match error {
        registry::Error::Occupied(_) => anyhow!(
            "there is a registry in {} already; restore to another directory, or replace it with --force",
            folder.display()
        )
        .into(),
        other => other.into(),
    }
}
