//! The session of the wrapper that ran before, kept in the state directory, so that the next wrapper revokes it instead
//! of waiting until it expires.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use service_registry::files::own::OwnFolder;
use tracing::warn;

use super::maintenance::MaintenanceFile;
use super::state_lock::StateLock;
use crate::process::Blocking;

/// In bytes; no session has a longer id.
const LONGEST_ID: u64 = 255;
/// How long the file system may take.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(1);

/// A file in `--state-dir`.
#[derive(Clone)]
pub(crate) struct PreviousSession {
    folder: PathBuf,
    file: String,
    /// Its name until it is complete.
    new_file: String,
    lock: Arc<StateLock>,
    blocking: Blocking,
}

impl PreviousSession {
    /// Opens the state of the service with this id. Makes the directory if it is missing.
    pub(in crate::registration) fn open(folder: PathBuf, id: &str) -> Result<Self> {
        let place = folder.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the state directory {place}; name another path, or make it"))?;
        OwnFolder::open(&folder).with_context(|| format!("cannot use the state directory {place}"))?;
        let (file, new_file) = (format!("{id}.session"), format!("{id}.new"));
        let lock = Arc::new(StateLock::new(folder.clone(), id));
        Ok(Self { folder, file, new_file, lock, blocking: Blocking::default() })
    }

    /// Returns the record of a maintenance, beside the session's.
    pub(in crate::registration) fn maintenance(&self, id: &str) -> MaintenanceFile {
        MaintenanceFile::new(self.folder.clone(), id, self.lock.clone())
    }

    /// Takes the state over if no other wrapper uses it. Returns whether that has just happened, and the session to
    /// revoke. May block.
    pub(in crate::registration) fn take_over_blocking(&self) -> (bool, Option<String>) {
        let is_new = !self.lock.is_ours() && self.lock.take();
        (is_new, is_new.then(|| self.read()).flatten())
    }

    /// The same, in a thread.
    pub(in crate::registration) async fn take_over(&self) -> (bool, Option<String>) {
        if self.lock.is_ours() {
            return (false, None);
        }
        let previous_session = self.clone();
        self.blocking.run(FILE_SYSTEM_LIMIT, move || previous_session.take_over_blocking()).await.unwrap_or_default()
    }

    /// Reads the recorded session.
    fn read(&self) -> Option<String> {
        let left_to_expire = |why: String| {
            warn!("{}: {why}; a previous session is left to expire", self.folder.join(&self.file).display());
            None
        };
        match OwnFolder::open(&self.folder).and_then(|folder| folder.read(&self.file, LONGEST_ID + 1)) {
            Ok(content) if content.is_empty() => None,
            Ok(content) => match session_id(&content) {
                Some(session) => Some(session.to_owned()),
                None => left_to_expire("it does not hold the id of a session, and is ignored".to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => left_to_expire(error.to_string()),
        }
    }

    /// Records this session. After a crash the file holds either the old or the new id.
    pub(in crate::registration) async fn write(&self, session: &str) {
        if !self.lock.is_ours() {
            return;
        }
        let (previous_session, line) = (self.clone(), format!("{session}\n"));
        let write = move || {
            OwnFolder::open(&previous_session.folder)?.replace(
                &previous_session.file,
                &previous_session.new_file,
                line.as_bytes(),
            )
        };
        let why = match self.blocking.run(FILE_SYSTEM_LIMIT, write).await {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => format!("the file system has not answered for {FILE_SYSTEM_LIMIT:?}"),
        };
        let file = self.folder.join(&self.file);
        warn!("cannot write {}: {why}; the next wrapper will wait until this session expires", file.display());
    }

    /// Removes the record, once the session is gone.
    pub(in crate::registration) async fn forget(&self) {
        if !self.lock.is_ours() {
            return;
        }
        let previous_session = self.clone();
        let forget = move || OwnFolder::open(&previous_session.folder)?.remove(&previous_session.file);
        let _ = self.blocking.run(FILE_SYSTEM_LIMIT, forget).await; // revoking a session that is gone does no harm
    }
}

/// Returns the session id in the content of a file: its only line. Anything else is damaged, or was not written by a
/// wrapper.
fn session_id(content: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(content).ok()?.trim();
    let is_id = line.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') && !matches!(line, "" | "." | "..");
    is_id.then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_is_one_line_without_control_characters() {
        for good in ["seAAAAAAAA", "seAAAAAAAA\n", "a.b~c-d_e"] {
            assert_eq!(session_id(good.as_bytes()), Some(good.trim()));
        }
        let bad: [&[u8]; 8] =
            [b"\n", b"\0\0\0\0", b"se\0A", b"seA\nseB\n", b"..", b"a/b", b"\xff\xfe", "se\u{e4}".as_bytes()];
        for bad in bad {
            assert_eq!(session_id(bad), None, "{}", bad.escape_ascii());
        }
    }
}
