//! A new text beside the file that it will be: complete on the disk before it takes the file's place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use service_registry::files;

/// The mode of a file that did not exist.
const MODE: u32 = 0o644;

/// A file that is not yet in its place; removed unless it gets there.
pub(super) struct Draft {
    pub(super) path: PathBuf,
    /// What it replaces. Not a link: the file that a link points to.
    pub(super) file: PathBuf,
}

impl Draft {
    /// Writes a text beside a file, with the mode and the owner of the file. None if it has this text already.
    pub(super) fn make(file: &Path, text: &str) -> anyhow::Result<Option<Self>> {
        Self::write(file, text).with_context(|| file.display().to_string())
    }

    fn write(file: &Path, text: &str) -> io::Result<Option<Self>> {
        let file = fs::canonicalize(file).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(file.to_owned()),
            _ => Err(error),
        })?;
        let old = match files::open(&file) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let about = old.as_ref().map(File::metadata).transpose()?;
        if let (Some(old), Some(about)) = (old, &about)
            && about.len() == text.len() as u64
            && files::read_all(old, about.len()).is_ok_and(|old| *old == text.as_bytes())
        {
            return Ok(None);
        }
        let name = file.file_name().ok_or(ErrorKind::IsADirectory)?.display().to_string();
        // Not found by `include conf.d/*.conf`.
        let draft = Self { path: file.with_file_name(format!(".{name}.new")), file };
        match fs::remove_file(&draft.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {} // one that a killed process has left
        }
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.path)?;
        let own = new.metadata()?;
        if let Some(about) = about.as_ref().filter(|about| (about.uid(), about.gid()) != (own.uid(), own.gid())) {
            fchown(&new, Some(about.uid()), Some(about.gid())).map_err(|error| {
                let (user, group) = (about.uid(), about.gid());
                io::Error::new(error.kind(), format!("it belongs to user {user} and group {group}: {error}"))
            })?;
        }
        new.set_permissions(Permissions::from_mode(about.map_or(MODE, |about| about.mode() & 0o7777)))?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        Ok(Some(draft))
    }

    /// Puts it in the place of the file, at once for all readers. After a crash of the machine the file is the old one
    /// or the new one, and never a part.
    pub(super) fn replace(self) -> anyhow::Result<()> {
        fs::rename(&self.path, &self.file).with_context(|| self.file.display().to_string())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // it is in its place
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn file_appears_with_its_mode_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.conf");
        fs::write(folder.path().join(".a.conf.new"), "of a killed process").unwrap();
        drop(Draft::make(&file, "one\n").unwrap().unwrap());
        assert_eq!(names(folder.path()), [] as [&str; 0], "a draft that is not used");
        Draft::make(&file, "one\n").unwrap().unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
        assert!(Draft::make(&file, "one\n").unwrap().is_none());
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        Draft::make(&file, "two\n").unwrap().unwrap().replace().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(
            (fs::read_to_string(&file).unwrap().as_str(), names(folder.path())),
            ("two\n", vec!["a.conf".to_owned()])
        );
    }

    #[test]
    fn link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink("real", &link).unwrap();
        Draft::make(&link, "new").unwrap().unwrap().replace().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in [folder.path(), Path::new("/dev/null"), &folder.path().join("no/such")] {
            let error = format!("{:#}", Draft::make(wrong, "new").err().unwrap());
            assert!(error.contains(&wrong.display().to_string()), "{error}");
        }
    }
}
