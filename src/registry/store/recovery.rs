//! Reads the store back into the state at a start.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::data_dir::DataDir;
use super::fjall::FjallBackend;
use super::record::{self, META, RecordWrite, TOKEN_KEYS, event_key};
use super::{Backend, backup};
use crate::registry::Error;
use crate::registry::model::Keys;
use crate::registry::model::{Now, TenantId, Uuid1};
use crate::registry::state::State;

/// The version of the form of records, and the secret keys.
pub(super) const FORMAT: &[u8] = b"m/format";
pub(super) const CURRENT: &[u8] = b"3";
/// Its records are valid in the current format, too. An earlier version cannot read those that are added, so it must
/// find the number of a format that it refuses.
const PREVIOUS: &[u8] = b"2";

/// The events of a tenant that are kept in memory. Pollers that keep up, and most others, are answered from there.
const RECENT: usize = 10_000;

/// How long a reader of a copy may read nothing.
const UNREAD: Duration = Duration::from_secs(30);

/// An open data directory of this process.
#[derive(Debug)]
pub(crate) struct OpenedStore {
    pub(crate) disk: Arc<dyn Backend>,
    pub(crate) folder: DataDir,
}

/// Opens a data directory. Programs without one never name the function, and do not contain its code.
pub(crate) type Opener = fn(&Path) -> Result<OpenedStore, Error>;

pub(crate) fn open(path: &Path) -> Result<OpenedStore, Error> {
    let folder = DataDir::take(path)?;
    let failed = |source| Error::DataDir { path: path.to_owned(), source };
    let disk = FjallBackend::open(&folder.store()).map_err(failed)?;
    folder.sync().map_err(failed)?;
    Ok(OpenedStore { disk: Arc::new(disk), folder })
}

/// Returns the keys of this disk. A new disk gets new keys.
fn keys(disk: &dyn Backend) -> io::Result<Keys> {
    let put = |key: &[u8], value: &[u8]| RecordWrite { key: key.to_vec(), value: Some(value.to_vec()) };
    let (mut format, mut keys) = (None, None);
    disk.scan(&[META], &[META + 1], &mut |key, value| {
        match key {
            FORMAT => format = Some(value.to_vec()),
            TOKEN_KEYS => keys = Keys::of_bytes(value),
            _ => {}
        }
        Ok(true)
    })?;
    match (format, keys) {
        (Some(format), Some(keys)) if format == CURRENT => Ok(keys),
        (Some(format), Some(keys)) if format == PREVIOUS => {
            disk.commit(&[vec![put(FORMAT, CURRENT)]])?;
            Ok(keys)
        }
        (Some(format), Some(_)) => Err(other_format(&format)),
        (None, None) => {
            let keys = Keys::random().map_err(|error| io::Error::other(error.to_string()))?;
            disk.commit(&[vec![put(FORMAT, CURRENT), put(TOKEN_KEYS, &keys.bytes())]])?;
            Ok(keys)
        }
        _ => Err(io::Error::other("its keys are damaged")),
    }
}

fn other_format(format: &[u8]) -> io::Error {
    let (format, current) = (String::from_utf8_lossy(format), String::from_utf8_lossy(CURRENT));
    io::Error::other(format!(
        "its records have format {format:?}, and this version reads format {current:?}; use the version that wrote it, or \
         start with an empty directory"
    ))
}

/// Refuses records of a format that cannot be read.
#[cfg(feature = "etcd")]
pub(super) fn check_format(format: &[u8]) -> io::Result<()> {
    if [CURRENT, PREVIOUS].contains(&format) { Ok(()) } else { Err(other_format(format)) }
}

/// Returns the state of a disk.
pub(crate) fn state(disk: &dyn Backend, now: Now) -> io::Result<State> {
    let mut state = State::new(Arc::new(keys(disk)?));
    load(disk, now, &mut state)?;
    Ok(state)
}

/// Reads back everything except old events, tenant by tenant.
pub(crate) fn load(disk: &dyn Backend, now: Now, state: &mut State) -> io::Result<()> {
    let mut first = Some(TenantId::MIN);
    while let Some((from, to)) = first.map(record::tenants_from) {
        let mut found = None;
        disk.scan(&from, &to, &mut |key, _| {
            found = Some(record::tenant_of(key).ok_or_else(|| unreadable(key))?);
            Ok(false)
        })?;
        let Some(tenant) = found else { break };
        load_tenant(disk, now, state, tenant)?;
        first = tenant.checked_add(1);
    }
    state.recent = RECENT;
    Ok(())
}

fn load_tenant(disk: &dyn Backend, now: Now, state: &mut State, tenant: TenantId) -> io::Result<()> {
    let (from, to) = record::records_of(tenant);
    disk.scan(&from, &to, &mut |key, value| {
        state.restore(now, record::decode(key, value).ok_or_else(|| unreadable(key))?);
        Ok(true)
    })?;
    let (from, to) = (event_key(tenant, Uuid1::lowest(0)), event_key(tenant, Uuid1::of_parts(u64::MAX, u64::MAX)));
    let mut recent = Vec::new();
    disk.scan_back(&from, &to, &mut |key, value| {
        recent.push(record::event(key, value).ok_or_else(|| unreadable(key))?);
        Ok(recent.len() < RECENT)
    })?;
    state.restore_events(tenant, recent, RECENT);
    Ok(())
}

fn unreadable(key: &[u8]) -> io::Error {
    io::Error::other(format!("a record cannot be read: {}", key.escape_ascii()))
}

/// Gives a copy to each process that connects, as long as the future is polled.
pub(crate) async fn give_copies(folder: &DataDir, disk: Arc<dyn Backend>) {
    let listen = || {
        let socket = folder.listen()?;
        Ok::<_, io::Error>((UnixListener::from_std(socket.listener()?)?, socket))
    };
    let (listener, _socket) = match listen() {
        Ok(listening) => listening,
        Err(error) => {
            tracing::warn!(%error, "no backup can be taken while this registry runs: its socket cannot be made");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let disk = disk.clone();
        let give = move || {
            let mut stream = stream.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_write_timeout(Some(UNREAD))?;
            backup::write(&*disk, &mut stream)
        };
        tokio::task::spawn_blocking(move || match give() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tracing::warn!("a backup was aborted: its reader read nothing for {UNREAD:?}");
            }
            Err(error) => tracing::warn!(%error, "a backup was aborted"),
            Ok(()) => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_format_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FjallBackend::open(&folder.path().join("store")).unwrap();
        keys(&disk).unwrap();
        keys(&disk).unwrap();
        disk.commit(&[vec![RecordWrite { key: FORMAT.to_vec(), value: Some(b"1".to_vec()) }]]).unwrap();
        let error = keys(&disk).unwrap_err().to_string();
        assert!(error.contains("have format \"1\"") && error.contains("reads format \"3\""), "{error}");
    }

    #[test]
    fn store_of_the_previous_format_gets_the_current_number() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FjallBackend::open(&folder.path().join("store")).unwrap();
        let made = keys(&disk).unwrap().bytes();
        disk.commit(&[vec![RecordWrite { key: FORMAT.to_vec(), value: Some(PREVIOUS.to_vec()) }]]).unwrap();
        assert_eq!(keys(&disk).unwrap().bytes(), made);
        let mut format = Vec::new();
        let mut read = |_: &[u8], value: &[u8]| {
            format = value.to_vec();
            Ok(true)
        };
        disk.scan(FORMAT, b"m/format0", &mut read).unwrap();
        assert_eq!(format, CURRENT);
    }
}
