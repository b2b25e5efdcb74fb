//! Why a registry cannot start, or a backup cannot be made.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a registry cannot be. The cause in the words of the system, where there is one, is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry that lets everyone in would be reachable from other machines. Give it users, or a listener on a
    /// loopback address.
    #[error("a registry without users listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    /// The users file is not one.
    #[error("users file: {0}")]
    Users(String),
    /// The data directory cannot be used.
    #[error("data directory {}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("data directory {} is in use by {}", path.display(), holder(*pid))]
    InUse {
        /// Which.
        path: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// There is a registry in the data directory, and nobody said that it may be replaced.
    #[error("there is a registry in {} already", .0.display())]
    Occupied(PathBuf),
    /// A backup cannot be written, or is none.
    #[error("backup {}", path.display())]
    Backup {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread that writes to the disk cannot be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// Certificate, key or authority of clients cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system has no random numbers to make keys of.
    #[error("no random numbers for keys: {0}")]
    Random(String),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
