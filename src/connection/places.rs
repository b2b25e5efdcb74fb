//! Where configuration files are.

use std::path::PathBuf;

/// Names another configuration file.
pub const CONFIG_VARIABLE: &str = "SERVICE_REGISTRY_CONFIG";

/// The path of the file in a directory of configuration.
const NAME: &str = "service-registry/client.toml";

/// A place at which a configuration file may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path.
    pub path: PathBuf,
    /// Whose file it is.
    pub role: Role,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that the variable names. It must exist, and no other one is read.
    Named,
    /// The user's.
    User,
    /// The system's.
    System,
}

/// Returns the places of this process; a key counts from the first file that has it.
///
/// `/dev/null` in the variable stands for no file.
#[must_use]
pub fn places() -> Vec<Place> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(path) = std::env::var_os(CONFIG_VARIABLE).filter(|path| !path.is_empty()) {
        let named = Place { path: path.into(), role: Role::Named };
        return if named.path == *"/dev/null" { Vec::new() } else { vec![named] };
    }
    let user = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let user = user.map(|folder| Place { path: folder.join(NAME), role: Role::User });
    let system = Place { path: PathBuf::from("/etc").join(NAME), role: Role::System };
    user.into_iter().chain([system]).collect()
}
