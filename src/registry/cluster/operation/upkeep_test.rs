//! The upkeep of a real etcd with a small quota.

use super::*;
use crate::registry::store::etcd::fixture::Etcd;

/// A member tells its size up to 100 ms late: what is written in this time is far less than a fifth of this.
const QUOTA: u64 = 64 << 20;
/// The values that fill it, in bytes.
const VALUE: usize = 200_000;
/// After this something hangs.
const DEADLINE: Duration = Duration::from_secs(120);

struct Small {
    client: EtcdClient,
    work: Work,
    _etcd: Etcd,
}

async fn small() -> Option<Small> {
    let etcd = Etcd::start(&["--quota-backend-bytes", &QUOTA.to_string()]).await?;
    let config = etcd.config();
    let (client, layout) = (etcd.client(), Layout::new(&config.prefix));
    let (retention, is_full) = (86_400_000, Arc::default());
    let upkeep = Upkeep { client: client.clone(), layout, quota: QUOTA, retention, is_full };
    let work = Work::of(upkeep);
    Some(Small { client, work, _etcd: etcd })
}

impl Small {
    async fn put(&self, key: &str) -> Result<(), EtcdError> {
        let put = Operation::put(key, vec![fastrand::u8(..); VALUE]);
        self.client.transact(Vec::new(), vec![put]).await.map(drop)
    }

    fn is_full(&self) -> bool {
        self.work.upkeep.is_full.load(Ordering::Relaxed)
    }

    async fn look(&mut self, is_mine: bool) {
        self.work.look(&|| is_mine).await.unwrap();
    }

    /// Looks until there is room.
    async fn recover(&mut self) {
        let start = Instant::now();
        while self.is_full() || !self.client.alarms().await.unwrap().is_empty() {
            assert!(start.elapsed() < DEADLINE, "it does not recover");
            self.look(true).await;
            sleep(Duration::from_millis(50)).await; // between two looks
        }
    }
}

/// What fills it is old: nothing but the upkeep is needed.
#[tokio::test]
async fn etcd_that_is_full_of_old_revisions_recovers_by_itself() {
    let Some(mut small) = small().await else { return };
    small.look(true).await;
    assert!(!small.is_full());
    while small.put("same").await != Err(EtcdError::NoSpace) {}
    assert!(!small.client.alarms().await.unwrap().is_empty());
    small.look(false).await;
    assert!(small.is_full(), "every node knows, and only one acts");
    assert_eq!(small.put("same").await, Err(EtcdError::NoSpace));
    small.recover().await;
    small.put("same").await.unwrap();
    assert_eq!(small.work.kept_since, 0, "no event had to go");
}

#[tokio::test]
async fn events_are_trimmed_and_registrations_refused_while_there_is_too_much_data() {
    let Some(mut small) = small().await else { return };
    let mut count = 0;
    let start = Instant::now();
    while small.work.kept_since == 0 {
        assert!(start.elapsed() < DEADLINE, "no event is trimmed");
        // Not only at the start: after a defragmentation there may be room again.
        while !small.is_full() {
            small.put(&format!("key-{count}")).await.unwrap();
            count += 1;
            small.look(false).await;
        }
        small.look(true).await;
    }
    let day = now() - 86_400_000;
    assert!(small.work.kept_since > day, "half of the events may go");
    let known = kept_since(&small.client, &small.work.upkeep.layout).await.unwrap();
    assert_eq!(known, small.work.kept_since, "other nodes know it");
    small.look(true).await;
    assert_eq!(small.work.kept_since, known, "that takes time");
    let removed = Operation::DeleteRange { from: b"key-".to_vec(), to: b"key.".to_vec() };
    small.client.transact(Vec::new(), vec![removed]).await.unwrap();
    for _ in 0..3 {
        small.look(true).await;
        small.put("other").await.unwrap(); // members notice what was freed
    }
    small.recover().await;
    assert_eq!(small.work.kept_since, known, "what is gone is not there again");
}

#[tokio::test]
async fn revisions_are_dropped_after_their_time() {
    let Some(mut small) = small().await else { return };
    for _ in 0..3 {
        small.put("same").await.unwrap();
    }
    small.look(true).await;
    let (since, revision) = small.work.noted.unwrap();
    small.put("same").await.unwrap();
    small.look(true).await;
    assert_eq!(small.work.noted.unwrap().1, revision, "it is not old yet");
    let page = |revision| crate::registry::store::etcd::Page {
        from: b"same".to_vec(),
        revision,
        ..crate::registry::store::etcd::Page::default()
    };
    small.client.page(page(revision - 1)).await.unwrap();
    small.work.noted = Some((since - KEPT_REVISIONS, revision));
    small.look(true).await;
    let error = small.client.page(page(revision - 1)).await.unwrap_err().to_string();
    assert!(error.contains("compacted"), "{error}");
    small.client.page(page(revision)).await.unwrap();
}
