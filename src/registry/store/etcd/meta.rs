//! What all nodes of a cluster share: the form of its data, the secret keys and the number of shards.

use super::Layout;
use super::client::{Compare, EtcdClient, EtcdError, Operation};
use crate::registry::Error;
use crate::registry::model::Keys;

/// The version of the layout, with the form of records.
pub(super) const CURRENT: &[u8] = b"1";
/// A shard has four digits in its keys.
const MOST_SHARDS: u16 = 9_999;
/// How often the first nodes of a cluster try to be the one that makes it.
const TRIES: usize = 3;

/// Returns the keys and the number of shards of a cluster. A new one gets new keys, and this many shards.
///
/// # Errors
///
/// [`Error::Etcd`] if etcd cannot be reached, or has a registry of another version.
pub(crate) async fn open(client: &EtcdClient, layout: &Layout, shards: u16) -> Result<(Keys, u16), Error> {
    let failed = |message: String| Error::Etcd { message };
    if !(1..=MOST_SHARDS).contains(&shards) {
        return Err(failed(format!("--shards {shards}: give a number from 1 to {MOST_SHARDS}")));
    }
    for _ in 0..TRIES {
        if let Some(there) = read(client, layout).await? {
            return Ok(there);
        }
        let keys = Keys::random().map_err(|error| Error::Random(error.to_string()))?;
        let is_new = ["format", "keys", "shards"].map(|name| Compare::CreateRevision(layout.meta(name), 0));
        let values = [
            Operation::put(layout.meta("format"), CURRENT),
            Operation::put(layout.meta("keys"), keys.bytes()),
            Operation::put(layout.meta("shards"), shards.to_string()),
        ];
        match client.transact(is_new.into(), values.into()).await {
            // Read again in any case: another node may have been first.
            Ok(_) | Err(EtcdError::Unclear(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    read(client, layout).await?.ok_or_else(|| failed("etcd gave no clear answer; start again".to_owned()))
}

/// Returns the conditions under which this is still the cluster that was opened: it may be replaced by a restore.
pub(crate) fn is_still(layout: &Layout, keys: &Keys, shards: u16) -> Vec<Compare> {
    vec![
        Compare::Value(layout.meta("format"), CURRENT.to_vec()),
        Compare::Value(layout.meta("keys"), keys.bytes().to_vec()),
        Compare::Value(layout.meta("shards"), shards.to_string().into_bytes()),
    ]
}

/// Returns the keys and the number of shards; none if there is no registry yet.
pub(super) async fn read(client: &EtcdClient, layout: &Layout) -> Result<Option<(Keys, u16)>, Error> {
    let failed = |message: String| Error::Etcd { message };
    let found = client.range(&layout.meta(""), &layout.meta("\u{7f}")).await?.values;
    let value = |name| found.iter().find(|found| found.key == layout.meta(name)).map(|found| &found.value[..]);
    let below = layout.meta("").escape_ascii().to_string();
    match (value("format"), value("keys"), value("shards")) {
        (None, None, None) => Ok(None),
        (None, _, _) => Err(failed(format!(
            "etcd holds a part of a registry below {below}: a restore was interrupted; run it again with --force"
        ))),
        (Some(format), _, _) if format != CURRENT => {
            let (format, current) = (String::from_utf8_lossy(format), String::from_utf8_lossy(CURRENT));
            Err(failed(format!(
                "the data in etcd has format {format:?}, and this version reads format {current:?}; use the version that \
                 wrote it, or another --etcd-prefix"
            )))
        }
        (Some(_), keys, shards) => {
            let keys = keys.and_then(Keys::of_bytes);
            let shards = shards.and_then(|shards| std::str::from_utf8(shards).ok()?.parse().ok());
            let there = keys.zip(shards.filter(|shards| (1..=MOST_SHARDS).contains(shards)));
            there.map(Some).ok_or_else(|| failed(format!("the keys or the number of shards below {below} are damaged")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::store::etcd::client::fixture::Etcd;
    use crate::registry::store::etcd::client::fragile::{Fault, Fragile};

    #[tokio::test(flavor = "multi_thread")]
    async fn nodes_that_start_at_once_agree() {
        let Some(etcd) = Etcd::start(&[]).await else { return };
        let (client, layout) = (etcd.client(), Layout::new("/a/"));
        let opened = (1..=8).map(|shards| {
            let (client, layout) = (client.clone(), layout.clone());
            tokio::spawn(async move { open(&client, &layout, shards).await.unwrap() })
        });
        let mut all = Vec::new();
        for opened in opened.collect::<Vec<_>>() {
            let (keys, shards) = opened.await.unwrap();
            all.push((keys.bytes(), shards));
        }
        assert!(all.iter().all(|one| *one == all[0]), "{:?}", all.iter().map(|(_, shards)| shards).collect::<Vec<_>>());
        let (other, _) = open(&client, &Layout::new("/b/"), 1).await.unwrap();
        assert_ne!(other.bytes(), all[0].0);
    }

    /// The first try of a node is made only after its second one.
    #[tokio::test]
    async fn keys_are_never_replaced() {
        let etcd = Arc::new(Fragile::default());
        let (client, layout) = (EtcdClient::fragile(&etcd), Layout::new("/a/"));
        etcd.next_faults([Fault::Late]);
        let (keys, shards) = open(&client, &layout, 64).await.unwrap();
        etcd.make_late();
        let (again, same) = open(&client, &layout, 8).await.unwrap();
        assert!(keys.bytes() == again.bytes() && (shards, same) == (64, 64));
    }

    #[tokio::test]
    async fn other_format_is_refused_with_both_numbers() {
        let Some(etcd) = Etcd::start(&[]).await else { return };
        let (client, layout) = (etcd.client(), Layout::new("/a/"));
        open(&client, &layout, 64).await.unwrap();
        let put = async |name: &str, value: Option<&[u8]>| {
            let key = layout.meta(name);
            let operation = value.map_or(Operation::Delete { key: key.clone() }, |value| Operation::put(key, value));
            client.transact(Vec::new(), vec![operation]).await.unwrap();
            open(&client, &layout, 64).await.unwrap_err().to_string()
        };
        let error = put("format", Some(b"2")).await;
        assert!(error.contains("has format \"2\"") && error.contains("reads format \"1\""), "{error}");
        assert!(error.contains("--etcd-prefix"), "{error}");
        let error = put("format", None).await;
        assert!(error.contains("restore was interrupted") && error.contains("/a/m/"), "{error}");
        let error = {
            put("shards", Some(b"0")).await;
            put("format", Some(CURRENT)).await
        };
        assert!(error.contains("damaged"), "{error}");
        let error = open(&client, &layout, 0).await.unwrap_err().to_string();
        assert!(error.contains("--shards 0"), "{error}");
    }
}
