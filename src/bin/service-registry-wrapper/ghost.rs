//! What a wrapper leaves for its successor: which session was its own, so that the successor does not wait for it to
//! expire.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::warn;

use crate::claim::Claim;

/// A file in `--state-dir`, of the user's own.
#[derive(Clone)]
pub(crate) struct Ghost {
    file: PathBuf,
    claim: Arc<Claim>,
}

impl Ghost {
    /// The place for the service of this id. The folder is made if it is missing.
    pub(crate) fn of(folder: PathBuf, id: &str) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the state directory {}", folder.display()))?;
        let claim = Arc::new(Claim::on(folder.join(format!("{id}.lock"))));
        Ok(Self { file: folder.join(format!("{id}.session")), claim })
    }

    /// Whether what is left there is this wrapper's: its own, or its predecessor's. Not while another wrapper uses it.
    pub(crate) fn is_ours(&self) -> bool {
        self.claim.is_ours()
    }

    /// Takes it if no other wrapper uses it. True if it is this wrapper's now, and was not before.
    pub(crate) fn take(&self) -> bool {
        !self.is_ours() && self.claim.take()
    }

    /// The session of the predecessor.
    pub(crate) fn read(&self) -> Option<String> {
        match fs::read_to_string(&self.file) {
            Ok(session) => Some(session.trim().to_owned()).filter(|session| !session.is_empty()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!("cannot read {}: {error}; a predecessor's session is left to expire", self.file.display());
                None
            }
        }
    }

    /// Leaves this session. Either the old or the new name is in the file, whatever happens meanwhile.
    pub(crate) fn write(&self, session: &str) {
        if !self.is_ours() {
            return;
        }
        let new = self.file.with_extension("new");
        let written = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| writeln!(file, "{session}"))
            .and_then(|()| fs::rename(&new, &self.file));
        if let Err(error) = written {
            warn!("cannot write {}: {error}; a successor will wait for this session to expire", self.file.display());
        }
    }

    /// There is nothing to retire any more.
    pub(crate) fn forget(&self) {
        if self.is_ours() {
            let _ = fs::remove_file(&self.file);
        }
    }
}
