//! Tells whether a file has changed since it was read.

use std::fs::{self, Metadata};
use std::path::Path;

/// The state of a file. It differs after any change, also if another file has replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState(Fields);

impl FileState {
    /// Returns the state of the file at this path, or of the one that a link there leads to; nothing if there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|about| Self(fields(&about)))
    }
}

/// Device, inode, size, and time of change with nanoseconds.
#[cfg(unix)]
type Fields = (u64, u64, u64, i64, i64);

#[cfg(unix)]
fn fields(about: &Metadata) -> Fields {
    use std::os::unix::fs::MetadataExt as _;

    (about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec())
}

/// Size and time of change.
#[cfg(not(unix))]
type Fields = (u64, Option<std::time::SystemTime>);

#[cfg(not(unix))]
fn fields(about: &Metadata) -> Fields {
    (about.len(), about.modified().ok())
}
