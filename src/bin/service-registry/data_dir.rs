//! The default data directory.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::exit::Failure;

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
