//! The maintenance of a service, recorded in the state directory, so that it outlives the wrapper.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use service_registry::control;
use service_registry::files::own::OwnFolder;
use tracing::warn;

use super::state_lock::StateLock;
use crate::process::Blocking;

/// In bytes: more than the longest reason.
const LONGEST: u64 = 1024;
/// How long the file system may take.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(2);

/// The record: a file that exists during a maintenance, with its reason.
#[derive(Clone)]
pub(crate) struct MaintenanceFile {
    folder: PathBuf,
    file: String,
    lock: Arc<StateLock>,
    blocking: Blocking,
}

impl MaintenanceFile {
    pub(super) fn new(folder: PathBuf, id: &str, lock: Arc<StateLock>) -> Self {
        Self { folder, file: format!("{id}.maintenance"), lock, blocking: Blocking::default() }
    }

    /// Returns the reason of a maintenance that was begun and not ended. May block.
    pub(in crate::registration) fn read(&self) -> Option<String> {
        if !self.lock.is_ours() {
            return None;
        }
        let read = OwnFolder::open(&self.folder).and_then(|folder| folder.read(&self.file, LONGEST));
        let why = match read {
            Ok(content) => {
                let text = std::str::from_utf8(&content).map_err(|error| error.to_string());
                match text.and_then(control::reason) {
                    Ok(reason) => return Some(reason),
                    Err(why) => why,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        warn!("{}: {why}; the service is in maintenance without a reason", self.folder.join(&self.file).display());
        Some(String::new())
    }

    /// Records the maintenance and its reason, or its end. The error is in words.
    pub(crate) async fn write(&self, reason: Option<String>) -> Result<(), String> {
        if !self.lock.is_ours() {
            return Err("another wrapper uses the directory for this id".to_owned());
        }
        let (folder, file) = (self.folder.clone(), self.file.clone());
        let write = move || {
            let folder = OwnFolder::open(&folder)?;
            match reason {
                Some(reason) => folder.replace(&file, &format!("{file}.new"), reason.as_bytes()),
                None => match folder.remove(&file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                },
            }
        };
        match self.blocking.run(FILE_SYSTEM_LIMIT, write).await {
            Some(written) => written.map_err(|error| error.to_string()),
            None => Err(format!("the file system has not answered for {FILE_SYSTEM_LIMIT:?}")),
        }
    }
}
