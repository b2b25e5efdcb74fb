//! What a wrapper leaves for its successor: which session was its own, so that the successor does not wait for it to
//! expire.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use service_registry::files::own::OwnFolder;
use tracing::warn;

use super::claim::Claim;
use crate::process::Blocking;

/// More than the id of any session, in bytes.
const LONGEST_ID: u64 = 255;
/// How long the file system may take to keep an id.
const PATIENCE: Duration = Duration::from_secs(1);

/// A file in `--state-dir`, of the user's own.
#[derive(Clone)]
pub(crate) struct PreviousSession {
    folder: PathBuf,
    file: String,
    /// What it is called until it is complete.
    new: String,
    claim: Arc<Claim>,
    blocking: Blocking,
}

impl PreviousSession {
    /// The place for the service of this id. The folder is made if it is missing.
    pub(super) fn of(folder: PathBuf, id: &str) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the state directory {}", folder.display()))?;
        OwnFolder::open(&folder).with_context(|| format!("cannot use the state directory {}", folder.display()))?;
        let (file, new) = (format!("{id}.session"), format!("{id}.new"));
        let claim = Arc::new(Claim::on(folder.clone(), id));
        Ok(Self { folder, file, new, claim, blocking: Blocking::default() })
    }

    /// Takes the place of the wrapper that used it, if that is gone: whether it is this wrapper's now and was not before, and
    /// the session that was left there. May block.
    pub(super) fn take(&self) -> (bool, Option<String>) {
        let is_new = !self.claim.is_ours() && self.claim.take();
        (is_new, is_new.then(|| self.read()).flatten())
    }

    /// The same, for those who must not be held up.
    pub(super) async fn take_over(&self) -> (bool, Option<String>) {
        if self.claim.is_ours() {
            return (false, None);
        }
        let previous_session = self.clone();
        self.blocking.run(PATIENCE, move || previous_session.take()).await.unwrap_or_default()
    }

    /// The session of the predecessor.
    fn read(&self) -> Option<String> {
        let left_to_expire = |why: String| {
            warn!("{}: {why}; a session of a predecessor is left to expire", self.folder.join(&self.file).display());
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

    /// Leaves this session. Either the old or the new id is in the file, whatever happens meanwhile.
    pub(super) async fn write(&self, session: &str) {
        if !self.claim.is_ours() {
            return;
        }
        let (previous_session, line) = (self.clone(), format!("{session}\n"));
        let write = move || {
            OwnFolder::open(&previous_session.folder)?.replace(
                &previous_session.file,
                &previous_session.new,
                line.as_bytes(),
            )
        };
        let why = match self.blocking.run(PATIENCE, write).await {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => format!("the file system has not answered for {PATIENCE:?}"),
        };
        let file = self.folder.join(&self.file);
        warn!("cannot write {}: {why}; a successor will wait for this session to expire", file.display());
    }

    /// There is nothing to retire any more.
    pub(super) async fn forget(&self) {
        if !self.claim.is_ours() {
            return;
        }
        let previous_session = self.clone();
        let forget = move || OwnFolder::open(&previous_session.folder)?.remove(&previous_session.file);
        let _ = self.blocking.run(PATIENCE, forget).await; // a session that is not there is no trouble to anybody
    }
}

/// The id that is the one line of a file. Anything else was not written by a wrapper, or is damaged.
fn session_id(content: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(content).ok()?.trim();
    let is_id = line.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') && !matches!(line, "" | "." | "..");
    is_id.then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_that_can_be_an_id_is_one() {
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
