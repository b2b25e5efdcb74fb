//! The default data directory, and the commands `backup` and `restore`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use service_registry::registry;

use crate::exit::Failure;

#[derive(Args, Debug)]
pub(super) struct Backup {
    /// The file to write
    pub(super) file: PathBuf,
    /// Data directory of the registry; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct Restore {
    /// The file to read
    pub(super) file: PathBuf,
    /// Data directory to restore to; the same default as that of serve
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Replace the registry in the directory
    #[arg(long)]
    pub(super) force: bool,
}

/// Returns the given data directory. The default is the one that systemd made for the unit (`StateDirectory=`),
/// otherwise the system's for root, and one in the home of other users.
pub(super) fn folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given);
    }
    if let Some(of_unit) = std::env::var("STATE_DIRECTORY").ok().filter(|paths| paths.starts_with('/')) {
        let first = of_unit.split(':').next().unwrap_or_default(); // one path for each word of StateDirectory=
        return Ok(PathBuf::from(first));
    }
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/service-registry"));
    }
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = named("XDG_DATA_HOME").or_else(|| named("HOME").map(|home| home.join(".local/share")));
    let nowhere = || anyhow!("there is no HOME to keep data in; name a place with --data-dir, or give --in-memory");
    Ok(user.ok_or_else(|| Failure::usage(nowhere()))?.join("service-registry"))
}

pub(super) fn backup(options: Backup) -> Result<(), Failure> {
    let folder = folder(options.data_dir)?;
    let records = registry::backup(&folder, &options.file)?;
    tracing::info!("copied {records} records of {} to {}", folder.display(), options.file.display());
    Ok(())
}

pub(super) fn restore(options: Restore) -> Result<(), Failure> {
    let folder = folder(options.data_dir)?;
    let records = registry::restore(&options.file, &folder, options.force).map_err(|error| in_words(error, &folder))?;
    tracing::info!("copied {records} records of {} to {}", options.file.display(), folder.display());
    Ok(())
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
