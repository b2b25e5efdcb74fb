//! How the cluster is, straight from etcd: also while no node runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::registry::Error;
use crate::registry::cluster::view::View;
use crate::registry::store::etcd::{AlarmKind, EtcdClient, EtcdConfig, EtcdError, Layout, Member, Status};

/// The first version of etcd without the errors that docs/cluster.md names.
const GOOD_VERSION: [u32; 3] = [3, 5, 16];
/// The share of the quota, in percent, above which a member needs attention.
const MUCH: u64 = 80;
/// The most shards that a warning lists.
const LISTED: usize = 8;

/// The state of a cluster.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ClusterReport {
    /// The live nodes.
    pub nodes: Vec<NodeReport>,
    /// The shards.
    pub shards: Vec<ShardReport>,
    /// The members of etcd.
    pub members: Vec<MemberReport>,
    /// What needs attention, in sentences.
    pub warnings: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// Random, for each start.
    pub id: String,
    /// Where the other nodes reach it.
    pub url: String,
    /// The version of the program.
    pub version: String,
    /// The start, in milliseconds since 1970.
    pub started: u64,
    /// What is left of its lease, in seconds.
    pub lease: i64,
    /// The number of shards that it owns.
    pub shards: usize,
    /// It hands its shards over to stop.
    pub leaving: bool,
    /// The fingerprint of its users file.
    pub users: String,
}

/// A shard.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ShardReport {
    /// The number of the shard.
    pub shard: u16,
    /// The id of the node that owns it; also of one that is gone.
    pub node: Option<String>,
    /// Where that node is; none if it is gone.
    pub url: Option<String>,
    /// How often the shard has changed its owner.
    pub epoch: u64,
}

/// A member of etcd.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct MemberReport {
    /// The name.
    pub name: String,
    /// Where clients reach it.
    pub url: String,
    /// The version of the program; empty if it does not answer.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// The size of its file, in bytes.
    pub size: u64,
    /// The part of the file that is in use.
    pub in_use: u64,
    /// What the size may become.
    pub quota: u64,
    /// Its alarms.
    pub alarms: Vec<String>,
}

/// Reads the state of a cluster.
///
/// # Errors
///
/// [`Error::Etcd`] if etcd cannot be reached.
pub async fn cluster_report(config: &EtcdConfig) -> Result<ClusterReport, Error> {
    let (client, layout) = (EtcdClient::new(config)?, Layout::new(&config.prefix));
    let mut warnings = Vec::new();
    let (from, to) = layout.live();
    let found = client.range(&from, &to).await?;
    let leases: BTreeMap<String, i64> =
        found.values.iter().filter_map(|entry| Some((layout.node_of(&entry.key)?.to_owned(), entry.lease))).collect();
    let view = View::of(found, &layout);
    let shards = shards(&view, count(&client, &layout, &config.prefix, &mut warnings).await?);
    let nodes = nodes(&client, &view, &leases, &shards).await?;
    warn_of_nodes(&nodes, &shards, &mut warnings);
    let members = members(&client, config.quota, &mut warnings).await?;
    Ok(ClusterReport { nodes, shards, members, warnings })
}

/// Returns the number of shards; 0 if there is no cluster.
async fn count(
    client: &EtcdClient,
    layout: &Layout,
    prefix: &str,
    warnings: &mut Vec<String>,
) -> Result<u16, EtcdError> {
    let (from, to) = layout.all_meta();
    let found = client.range(&from, &to).await?;
    let value = |name: &str| found.values.iter().find(|entry| entry.key == layout.meta(name)).map(|entry| &entry.value);
    let shards = value("shards").and_then(|shards| std::str::from_utf8(shards).ok()?.parse().ok());
    if value("format").is_none() {
        warnings.push(match shards {
            Some(_) => format!("a restore below {prefix} was interrupted, or still runs; run it again"),
            None => format!("there is no registry below {prefix} (--etcd-prefix)"),
        });
    }
    Ok(shards.unwrap_or(0))
}

fn shards(view: &View, count: u16) -> Vec<ShardReport> {
    let report = |shard| {
        let owner = view.owners.get(&shard);
        let url = view.live_owner(shard).map(|(_, member)| member.info.url.clone());
        ShardReport {
            shard,
            node: owner.map(|owner| owner.node.clone()),
            url,
            epoch: owner.map_or(0, |owner| owner.epoch),
        }
    };
    (0..count).map(report).collect()
}

async fn nodes(
    client: &EtcdClient,
    view: &View,
    leases: &BTreeMap<String, i64>,
    shards: &[ShardReport],
) -> Result<Vec<NodeReport>, EtcdError> {
    let mut nodes = Vec::new();
    for (id, member) in &view.nodes {
        let lease = match leases.get(id) {
            None | Some(0) => 0,
            Some(lease) => client.time_to_live(*lease).await?.max(0),
        };
        let info = member.info.clone();
        nodes.push(NodeReport {
            id: id.clone(),
            url: info.url,
            version: info.version,
            started: info.started,
            lease,
            shards: shards.iter().filter(|shard| shard.node.as_ref() == Some(id)).count(),
            leaving: info.leaving,
            users: info.users,
        });
    }
    Ok(nodes)
}

fn warn_of_nodes(nodes: &[NodeReport], shards: &[ShardReport], warnings: &mut Vec<String>) {
    let ownerless: Vec<String> =
        shards.iter().filter(|shard| shard.url.is_none()).map(|shard| shard.shard.to_string()).collect();
    if nodes.is_empty() {
        warnings.push("no node runs".to_owned());
    } else if !ownerless.is_empty() {
        let more = if ownerless.len() > LISTED { ", ..." } else { "" };
        let listed = ownerless[..ownerless.len().min(LISTED)].join(", ");
        warnings.push(format!("{} shards have no owner that runs: {listed}{more}", ownerless.len()));
    }
    for node in nodes.iter().filter(|node| node.lease == 0) {
        warnings.push(format!("node {} ({}) has no lease any more", node.id, node.url));
    }
    let fingerprints: BTreeSet<&str> = nodes.iter().map(|node| node.users.as_str()).collect();
    if fingerprints.len() > 1 {
        let listed: Vec<String> = nodes.iter().map(|node| format!("{} has {}", node.url, node.users)).collect();
        warnings.push(format!("the users files of the nodes differ: {}", listed.join(", ")));
    }
}

async fn members(client: &EtcdClient, quota: u64, warnings: &mut Vec<String>) -> Result<Vec<MemberReport>, EtcdError> {
    let alarms = client.alarms().await?;
    let mut reports = Vec::new();
    for member in client.members().await? {
        let status = client.status(&member).await;
        let raised = alarms.iter().filter(|alarm| alarm.member == member.id).map(|alarm| name(alarm.alarm));
        let report = report(&member, status.as_ref().ok(), quota, raised.collect());
        match status {
            Ok(status) if status.id() != member.id => warnings.push(format!(
                "etcd member {} has the URL of another one: set its --advertise-client-urls",
                member.name
            )),
            Ok(_) => warn_of_member(&report, warnings),
            Err(error) => warnings.push(format!("etcd member {} does not answer: {error}", member.name)),
        }
        reports.push(report);
    }
    if !reports.iter().any(|report| report.leader) {
        warnings.push("no member of etcd that answers is the leader".to_owned());
    }
    Ok(reports)
}

fn report(member: &Member, status: Option<&Status>, quota: u64, alarms: Vec<String>) -> MemberReport {
    let bytes = |size: Option<i64>| size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    MemberReport {
        name: member.name.clone(),
        url: member.urls.first().cloned().unwrap_or_default(),
        version: status.map(|status| status.version.clone()).unwrap_or_default(),
        leader: status.is_some_and(|status| status.leader == member.id),
        size: bytes(status.map(|status| status.size)),
        in_use: bytes(status.map(|status| status.in_use)),
        quota,
        alarms,
    }
}

fn name(alarm: i32) -> String {
    match AlarmKind::try_from(alarm) {
        Ok(AlarmKind::NoSpace) => "NOSPACE".to_owned(),
        Ok(AlarmKind::Corrupt) => "CORRUPT".to_owned(),
        _ => format!("alarm {alarm}"),
    }
}

fn warn_of_member(report: &MemberReport, warnings: &mut Vec<String>) {
    let MemberReport { name, version, size, quota, .. } = report;
    for alarm in &report.alarms {
        warnings.push(format!("etcd member {name} has raised the alarm {alarm}"));
    }
    let percent = size.saturating_mul(100) / (*quota).max(1);
    if percent > MUCH {
        warnings.push(format!("etcd member {name} uses {percent} % of its quota (--etcd-quota)"));
    }
    if numbers(version) < GOOD_VERSION {
        warnings.push(format!("etcd member {name} has version {version}; 3.5.16 and later lack known errors"));
    }
}

/// Returns the numbers of a version, such as 3.5.16 or 3.6.0-rc.1.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::store::etcd::Operation;
    use crate::registry::store::etcd::fixture::Etcd;

    #[test]
    fn version_is_compared_by_its_numbers() {
        assert!(["3.4.23", "3.5.9", "3.5.15", "2.3.8", ""].iter().all(|version| numbers(version) < GOOD_VERSION));
        assert!(["3.5.16", "3.5.100", "3.6.0-rc.1", "4.0"].iter().all(|version| numbers(version) >= GOOD_VERSION));
    }

    #[tokio::test]
    async fn report_warns_of_all_that_is_wrong() {
        let Some(etcd) = Etcd::start(&[]).await else { return };
        let mut config = etcd.config();
        let (client, layout) = (etcd.client(), Layout::new(&config.prefix));
        let put = async |key: Vec<u8>, value: &str, lease: i64| {
            let put = Operation::Put { key, value: value.into(), lease };
            client.transact(Vec::new(), vec![put]).await.unwrap();
        };
        let warned = async |config: &EtcdConfig, text: &str| {
            let report = cluster_report(config).await.unwrap();
            assert!(report.warnings.iter().any(|warning| warning.contains(text)), "{text}: {:?}", report.warnings);
            report
        };
        let old = warned(&config, "there is no registry below /service-registry/").await;
        assert_eq!((old.members.len(), old.members[0].leader), (1, true));
        warned(&config, "3.5.16").await;
        put(layout.meta("shards"), "3", 0).await;
        warned(&config, "restore").await;
        put(layout.meta("format"), "1", 0).await;
        warned(&config, "no node runs").await;
        let lease = client.grant(60).await.unwrap();
        let node = |port: u16, users: &str| {
            format!(
                r#"{{"url":"http://127.0.0.1:{port}","version":"0.1.0","protocol":1,"users":"{users}","started":5,"leaving":false}}"#
            )
        };
        put(layout.node("00000000000000aa"), &node(1, "x"), lease).await;
        put(layout.owner(0), r#"{"node":"00000000000000aa","epoch":7}"#, 0).await;
        put(layout.owner(1), r#"{"node":"00000000000000bb","epoch":2}"#, 0).await;
        let report = warned(&config, "2 shards have no owner that runs: 1, 2").await;
        assert!(!report.warnings.iter().any(|warning| warning.contains("differ") || warning.contains("no lease")));
        let [node_a] = &report.nodes[..] else { panic!("{:?}", report.nodes) };
        assert_eq!((node_a.shards, node_a.started, node_a.lease > 50), (1, 5, true));
        let urls: Vec<Option<&str>> = report.shards.iter().map(|shard| shard.url.as_deref()).collect();
        assert_eq!(urls, [Some("http://127.0.0.1:1"), None, None]);
        put(layout.node("00000000000000bb"), &node(2, "y"), 0).await;
        warned(&config, "node 00000000000000bb (http://127.0.0.1:2) has no lease").await;
        warned(&config, "users files of the nodes differ: http://127.0.0.1:1 has x, http://127.0.0.1:2 has y").await;
        config.quota = 1_000;
        warned(&config, "of its quota (--etcd-quota)").await;
    }
}
