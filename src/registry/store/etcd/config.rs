//! How etcd is reached.

/// How etcd is reached, and where the registry's data is in it.
#[derive(Clone)]
pub struct EtcdConfig {
    /// The members' client URLs, `http://` or `https://`, without a path.
    pub endpoints: Vec<String>,
    /// What every key begins with.
    pub prefix: String,
    /// Name and password of a user of etcd.
    pub user: Option<(String, String)>,
    /// Authorities (PEM) of the members' certificates; none for the system's.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate and its private key (PEM).
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The members' `--quota-backend-bytes`.
    pub quota: u64,
}

/// Without the secrets.
impl std::fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoints, prefix, quota, .. } = self;
        f.debug_struct("EtcdConfig")
            .field("endpoints", endpoints)
            .field("prefix", prefix)
            .field("quota", quota)
            .finish_non_exhaustive()
    }
}
