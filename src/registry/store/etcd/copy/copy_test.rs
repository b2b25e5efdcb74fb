//! Copies between the embedded store and etcd.

use std::path::Path;

use tokio::runtime::Runtime;

use super::place::Place;
use super::writing::{RESTORING, Writing};
use super::{backup_etcd, restore};
use crate::registry::Error;
use crate::registry::model::{Change, Keys, TenantId};
use crate::registry::state::tests::{at, own, session, set, state};
use crate::registry::store::etcd::fixture::Etcd;
use crate::registry::store::etcd::{EtcdClient, EtcdConfig, Layout, Operation, meta};
use crate::registry::store::{Backend, RecordWrite, recovery};

const SHARDS: u16 = 5;

fn shard_of(tenant: TenantId, shards: u16) -> u16 {
    u16::try_from(tenant % TenantId::from(shards)).unwrap()
}

/// Starts etcd; none if it is not installed.
fn start() -> Option<(Runtime, Etcd, EtcdConfig)> {
    let runtime = Runtime::new().unwrap();
    let etcd = runtime.block_on(Etcd::start(&[]))?;
    let config = etcd.config();
    Some((runtime, etcd, config))
}

/// Makes an embedded store with records of each kind, of some tenants, and more events than a page has.
fn embedded(folder: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let opened = recovery::open(folder).unwrap();
    recovery::state(&*opened.disk, at(0)).unwrap();
    let mut state = state();
    own(&mut state, at(0), "own-1", 3);
    session(&mut state, at(0), 30, &["api-1", "api-2"]);
    (0..250).for_each(|number| set(&mut state, at(number), "/name/key", &format!("{number:01000}")));
    let changes = state.take_changes();
    for tenant in [1, 2, 7, 1_000_000] {
        let writes = changes.iter().map(|change| RecordWrite::encode(&Change { tenant, ..change.clone() }));
        opened.disk.commit(&[writes.collect()]).unwrap();
    }
    records(&*opened.disk)
}

fn records(disk: &dyn Backend) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    disk.dump(&mut |key, value| {
        records.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })
    .unwrap();
    records
}

#[test]
fn copy_from_the_embedded_store_to_etcd_and_back_has_the_same_records() {
    let Some((_runtime, _etcd, config)) = start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let written = embedded(&path("one"));
    let count = crate::registry::backup(&path("one"), &path("first")).unwrap();
    assert_eq!((count, count > 4 * 250), (written.len() as u64, true));
    assert_eq!(restore(&path("first"), &config, SHARDS, false, shard_of).unwrap(), count);
    assert_eq!(backup_etcd(&config, &path("second")).unwrap(), count);
    assert_eq!(crate::registry::restore(&path("second"), &path("two"), false).unwrap(), count);
    assert!(records(&*recovery::open(&path("two")).unwrap().disk) == written, "other records");
    // Once more over what is there, with another number of shards.
    let error = restore(&path("second"), &config, SHARDS, false, shard_of).unwrap_err().to_string();
    assert!(error.contains("below /service-registry/") && error.contains("--force"), "{error}");
    restore(&path("second"), &config, 1, true, shard_of).unwrap();
    assert_eq!(backup_etcd(&config, &path("third")).unwrap(), count);
    crate::registry::restore(&path("third"), &path("two"), true).unwrap();
    assert!(records(&*recovery::open(&path("two")).unwrap().disk) == written, "other records");
}

/// Makes a folder with a `copy` of an embedded store, for an etcd without a registry.
fn backed_up(config: &EtcdConfig) -> (tempfile::TempDir, EtcdClient, Layout) {
    let folder = tempfile::tempdir().unwrap();
    embedded(&folder.path().join("one"));
    crate::registry::backup(&folder.path().join("one"), &folder.path().join("copy")).unwrap();
    (folder, EtcdClient::new(config).unwrap(), Layout::new(&config.prefix))
}

#[test]
fn interrupted_restore_leaves_no_registry_that_looks_whole() {
    let Some((runtime, _etcd, config)) = start() else { return };
    let (folder, client, layout) = backed_up(&config);
    let path = |name: &str| folder.path().join(name);
    let open = || runtime.block_on(meta::open(&client, &layout, SHARDS)).map(|(keys, shards)| (keys.bytes(), shards));
    for has_registry in [false, true] {
        let place = Place::new(&config).unwrap();
        let keys = Keys::random().unwrap();
        let mut first = Writing::begin(&place, &keys, SHARDS, has_registry).unwrap();
        assert!(open().unwrap_err().to_string().contains("a restore was interrupted; run it again"));
        assert!(backup_etcd(&config, &path("part")).unwrap_err().to_string().contains("a restore was interrupted"));
        assert!(!path("part").exists());
        // The one that was thought dead cannot write any more.
        let records = restore(&path("copy"), &config, SHARDS, false, shard_of).unwrap();
        first.put(layout.record(0, b"dxxxx"), Vec::new()).unwrap();
        assert!(first.end().unwrap_err().to_string().contains("another restore"));
        open().unwrap();
        assert_eq!(backup_etcd(&config, &path("whole")).unwrap(), records);
    }
}

#[test]
fn restore_is_refused_while_a_node_runs() {
    let Some((runtime, _etcd, config)) = start() else { return };
    let (folder, client, layout) = backed_up(&config);
    let path = |name: &str| folder.path().join(name);
    let change = |operation| runtime.block_on(client.transact(Vec::new(), vec![operation])).unwrap();
    let before = runtime.block_on(meta::open(&client, &layout, SHARDS)).unwrap().0.bytes();
    change(Operation::put(layout.node("00000000000000aa"), r#"{"url":"http://10.0.0.1:7117"}"#));
    for force in [false, true] {
        let refused = restore(&path("copy"), &config, SHARDS, force, shard_of).unwrap_err();
        assert!(matches!(&refused, Error::NodesRun(url) if url == "http://10.0.0.1:7117"), "{refused}");
    }
    // A node that joins while the restore begins: what was there is put back.
    let place = Place::new(&config).unwrap();
    change(Operation::Delete { key: layout.node("00000000000000aa") });
    let (from, to) = layout.all_meta();
    let all = || runtime.block_on(client.range(&from, &to)).unwrap().values;
    let kept = all();
    let mut begun = Writing::begin(&place, &Keys::random().unwrap(), 1, true).unwrap();
    begun.undo(kept).unwrap();
    let (keys, shards) = runtime.block_on(meta::open(&client, &layout, 1)).unwrap();
    assert_eq!((keys.bytes(), shards), (before, SHARDS));
    assert!(!all().iter().any(|entry| entry.key == layout.meta(RESTORING)));
}
