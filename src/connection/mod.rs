//! The way to a registry: the options that both programs have for it, their configuration file, and the clients made
//! from them.
//!
//! In reading order: `options` are the command line and the variables; `origins` says what the user wrote for a value;
//! `keys` and `config_file` read what is below them, `places` says where; `check` makes `access` of them, from which
//! clients come.

mod access;
mod check;
mod config_file;
mod keys;
mod options;
mod origins;
mod places;

pub use access::{Access, Key, Secret, TlsFiles, cure, default_url};
pub use config_file::{ConfigFile, ConfigFiles, Entry, Use};
pub use options::{Region, RegistryOptions};
pub use origins::Origins;
pub use places::{CONFIG_VARIABLE, Place, Role, places};
