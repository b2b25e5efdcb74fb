//! Reads a cluster.

use std::path::Path;

use super::place::Place;
use crate::registry::Error;
use crate::registry::store::backup_file::{Part, Writer};
use crate::registry::store::etcd::{EtcdConfig, ShardReader, meta};
use crate::registry::store::record::TOKEN_KEYS;
use crate::registry::store::recovery;

/// Writes a copy of a cluster to a file, as of one revision, also while nodes run. The file exists as a whole or not at
/// all. Returns the number of its records.
///
/// # Errors
///
/// [`Error::Etcd`]; [`Error::Backup`], also if the file exists and is no regular file.
pub fn backup_etcd(config: &EtcdConfig, file: &Path) -> Result<u64, Error> {
    let failed = |source| Error::Backup { path: file.to_owned(), source };
    let place = Place::new(config)?;
    let (part, to) = Part::create(file).map_err(failed)?;
    let (keys, shards) = place
        .runtime
        .block_on(meta::read(&place.client, &place.layout))?
        .ok_or_else(|| place.wrong("there is no registry; name another --etcd-prefix"))?;
    let mut writer = Writer::begin(&to).map_err(failed)?;
    writer.put(recovery::FORMAT, recovery::CURRENT).map_err(failed)?;
    writer.put(TOKEN_KEYS, &keys.bytes()).map_err(failed)?;
    let (mut revision, mut failure) = (0, None);
    for shard in 0..shards {
        let handle = place.runtime.handle().clone();
        let reader = ShardReader::new(place.client.clone(), place.layout.clone(), shard, handle);
        let copied = reader.dump(revision, &mut |key, value| match writer.put(key, value) {
            Ok(()) => Ok(true),
            Err(error) => {
                failure = Some(error);
                Ok(false)
            }
        });
        if let Some(error) = failure.take() {
            return Err(failed(error));
        }
        // All shards as of the same revision.
        revision = copied.map_err(|error| {
            let is_late = error.to_string().contains("compacted");
            let cure = if is_late { "; a copy must take less than a minute: make it nearer to etcd" } else { "" };
            place.wrong(&format!("{error}{cure}"))
        })?;
    }
    writer.end().and_then(|()| to.sync_all()).map_err(failed)?;
    part.install().map_err(failed)
}
