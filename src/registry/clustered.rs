//! Makes a node of a configuration.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::access::{Authenticator, Users};
use super::cluster::{ClusterConfig, Node, NodeConfig};
use super::counters::Counters;
use super::error::Error;
use super::http::{Clustered, Peers, PeersConfig};
use super::store::etcd::{EtcdClient, EtcdError, Layout, meta};

/// How long events are kept, in milliseconds, unless the configuration says otherwise.
const RETENTION_MS: u64 = 24 * 3_600_000;

/// Between two looks whether etcd answers, at the start.
const RETRY: Duration = Duration::from_millis(500);

/// Reads the keys of the cluster, or makes a new cluster. Waits for etcd, which may start later than this node.
pub(super) fn open(
    config: ClusterConfig,
    users: Option<Users>,
    retention: Option<u64>,
    counters: Arc<Counters>,
) -> Result<(Authenticator, Clustered), Error> {
    let runtime = Handle::try_current().map_err(|error| Error::Thread(io::Error::other(error)))?;
    let (client, layout) = (EtcdClient::new(&config.etcd)?, Layout::new(&config.etcd.prefix));
    let (keys, shards) = runtime.block_on(async {
        await_etcd(&client, &layout).await?;
        meta::open(&client, &layout, config.shards).await
    })?;
    let keys = Arc::new(keys);
    let authenticator = Authenticator::new(keys.clone(), users);
    let node = format!("{:016x}", fastrand::u64(..));
    let peers = PeersConfig { node, key: keys.bytes(), ca: config.node_ca, identity: config.identity };
    let peers = Arc::new(Peers::new(peers).map_err(|why| Error::Tls { file: None, why })?);
    let courier = {
        let peers = peers.clone();
        Box::new(move |url: String, shard, message| {
            let peers = peers.clone();
            Box::pin(async move {
                let url = url.parse().map_err(|error| format!("{url}: {error}"))?;
                peers.handover(&url, shard, message).await
            }) as _
        })
    };
    let node = Node::new(NodeConfig {
        client,
        layout,
        shards,
        keys,
        url: config.advertise_url,
        users: authenticator.users_fingerprint(),
        tenants: authenticator.tenants(),
        retention: retention.unwrap_or(RETENTION_MS),
        quota: config.etcd.quota,
        runtime,
        courier,
        counters,
    });
    Ok((authenticator, Clustered::new(node, peers)))
}

/// Waits until etcd answers.
async fn await_etcd(client: &EtcdClient, layout: &Layout) -> Result<(), EtcdError> {
    let mut is_told = false;
    loop {
        match client.get(&layout.meta("format")).await {
            Err(error @ EtcdError::Unavailable(_)) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!("--etcd: {error}; the node starts as soon as etcd answers");
                }
                sleep(RETRY).await;
            }
            answer => return answer.map(drop),
        }
    }
}
