//! Verifies a file, and makes a cluster of it.

use std::io;
use std::path::Path;

use super::place::Place;
use super::target::{ShardOf, Target};
use super::writing::Writing;
use crate::registry::Error;
use crate::registry::model::Keys;
use crate::registry::store::backup_file::read;
use crate::registry::store::etcd::EtcdConfig;
use crate::registry::store::record::TOKEN_KEYS;
use crate::registry::store::recovery;

/// Verifies a copy, and makes a cluster of it with this many shards. Replaces a registry that is there only with
/// `force`. Returns the number of records.
///
/// # Errors
///
/// [`Error::Backup`] if the copy is damaged, and [`Error::NodesRun`] if nodes run: then nothing was changed.
/// [`Error::Etcd`].
pub(in crate::registry) fn restore(
    file: &Path,
    config: &EtcdConfig,
    shards: u16,
    force: bool,
    shard_of: ShardOf,
) -> Result<u64, Error> {
    let broken = |source| Error::Backup { path: file.to_owned(), source };
    let (mut format, mut keys) = (None, None);
    let records = read(file, |key, value| {
        match key {
            recovery::FORMAT => format = Some(value.to_vec()),
            TOKEN_KEYS => keys = Keys::of_bytes(value),
            _ => {}
        }
        Ok(())
    });
    let records = records.map_err(broken)?;
    recovery::check_format(&format.unwrap_or_default()).map_err(broken)?;
    let keys = keys.ok_or_else(|| broken(io::Error::other("its keys are damaged")))?;
    let place = Place::new(config)?;
    let mut writing = Writing::begin(&place, &keys, shards, force)?;
    writing.clear()?;
    let mut target = Target::new(&mut writing, shards, shard_of);
    let mut failure = None;
    let written = read(file, |key, value| {
        target.put(key, value).map_err(|error| {
            failure = Some(error);
            io::Error::other("etcd")
        })
    });
    match failure {
        Some(error) => return Err(error),
        None => drop(written.map_err(broken)?),
    }
    target.end_page()?;
    writing.end()?;
    Ok(records)
}
