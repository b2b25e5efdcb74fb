//! Where a cluster is.

use tokio::runtime::{Builder, Runtime};

use crate::registry::Error;
use crate::registry::store::etcd::{EtcdClient, EtcdConfig, EtcdError, Found, Layout, Page};

/// Where a cluster is.
pub(super) struct Place {
    pub(super) client: EtcdClient,
    pub(super) layout: Layout,
    prefix: String,
    pub(super) runtime: Runtime,
}

impl Place {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Error::Thread)?;
        let (client, layout) = (EtcdClient::new(config)?, Layout::new(&config.prefix));
        Ok(Self { client, layout, prefix: config.prefix.clone(), runtime })
    }

    pub(super) fn page(&self, page: Page) -> Result<Found, EtcdError> {
        self.runtime.block_on(self.client.page(page))
    }

    /// Fails if nodes run. One that was killed counts for a few seconds.
    pub(super) fn refuse_nodes(&self) -> Result<(), Error> {
        let (from, to) = self.layout.nodes();
        let found = self.page(Page { from, to, ..Page::default() })?;
        let urls = found.values.iter().map(|entry| {
            let info: serde_json::Value = serde_json::from_slice(&entry.value).unwrap_or_default();
            info["url"].as_str().unwrap_or("an unknown one").to_owned()
        });
        let urls: Vec<String> = urls.collect();
        if urls.is_empty() { Ok(()) } else { Err(Error::NodesRun(urls.join(", "))) }
    }

    pub(super) fn wrong(&self, what: &str) -> Error {
        Error::Etcd { message: format!("etcd, below {}: {what}", self.prefix) }
    }
}
