//! Why a registry cannot start, or a backup cannot be made.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a registry cannot start. The cause in the words of the system, if there is one, is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An open registry would be reachable from other machines. Give it users, or a listener on a
    /// loopback address.
    #[error("a registry without users listens on loopback addresses only, and {0} is not one")]
    NotLoopback(SocketAddr),
    /// There is no such account.
    #[cfg(feature = "dns")]
    #[error("there is no account {0}")]
    NoAccount(String),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    /// The users file is invalid.
    #[error("users file: {0}")]
    Users(String),
    /// The data directory cannot be used.
    #[error("data directory {}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("data directory {} is in use by {}", path.display(), holder(*pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it is known.
        pid: Option<u32>,
    },
    /// There is a registry in the data directory already.
    #[error("there is a registry in {} already", .0.display())]
    Occupied(PathBuf),
    /// A backup cannot be written, or the file is no backup.
    #[error("backup {}", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// etcd cannot be used.
    #[cfg(feature = "etcd")]
    #[error("{message}")]
    Etcd {
        /// The member or option, the fault and, if there is one, the cure.
        message: String,
    },
    /// Nodes of the cluster run that is to be replaced; their URLs.
    #[cfg(feature = "etcd")]
    #[error("nodes of the cluster run, or were killed a few seconds ago: {0}; stop them first")]
    NodesRun(String),
    /// The commit thread cannot be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// The certificate, the key or the authority of clients cannot be used.
    #[error("TLS: {why}")]
    Tls {
        /// The file that is wrong; none if they do not fit together, or TLS cannot be set up.
        file: Option<PathBuf>,
        /// The fault, with the name of the file.
        why: String,
    },
    /// The system has no random numbers for keys.
    #[error("no random numbers for keys: {0}")]
    Random(String),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
