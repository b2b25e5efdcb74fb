//! The registries, and the credentials for them.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use service_registry::client::Region;
use zeroize::Zeroizing;

/// A key at one place in memory, which is overwritten when its last user drops it.
pub(crate) type Secret = Arc<Zeroizing<String>>;

/// The settings by which registries are reached.
#[derive(Clone)]
pub(crate) struct Access {
    /// In the order in which they are tried; if there are none, the default address.
    pub urls: Vec<String>,
    pub auth_url: Option<String>,
    pub region: Option<Region>,
    pub credentials: Option<(String, Key)>,
    pub tls_files: TlsFiles,
    /// The time limit of one request.
    pub limit: Duration,
}

/// The files for https.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    /// Authorities to trust besides the system's.
    pub ca_file: Option<OsString>,
    /// The client certificate and its key.
    pub client: Option<(OsString, OsString)>,
}

/// An API key.
#[derive(Clone)]
pub(crate) enum Key {
    Text(Secret),
    /// Read again when the registry refuses the key.
    File(OsString),
}
