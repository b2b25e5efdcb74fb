//! Keeps etcd small: drops old revisions, gives unused space back, and makes room when the quota is near.
//!
//! Every node watches the size, since every node refuses registrations when there is no room. One of them acts.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::space::{Space, trim};
use crate::registry::store::etcd::{AlarmKind, EtcdClient, EtcdError, Layout, Member, Operation, Status};

/// Between two looks at the size.
const LOOK: Duration = Duration::from_secs(10);
/// Revisions are kept for this long at least, and twice as long at most: a backup reads one of them.
const KEPT_REVISIONS: Duration = Duration::from_secs(60);
/// Between two steps in which events are removed: shards need time to remove them, and etcd to drop the revisions.
const TRIM: Duration = Duration::from_secs(60);
/// Between two defragmentations of members that do not seem to gain from it.
const FORCE: Duration = Duration::from_secs(600);
/// The name of the key that says since when events are kept, in milliseconds since 1970.
const TRIMMED: &str = "trimmed";

/// What a node needs to look after etcd.
pub(in crate::registry) struct Upkeep {
    pub(in crate::registry) client: EtcdClient,
    pub(in crate::registry) layout: Layout,
    /// The members' limit, in bytes.
    pub(in crate::registry) quota: u64,
    /// How long events are kept, in milliseconds.
    pub(in crate::registry) retention: u64,
    /// Set while registrations are to be refused.
    pub(in crate::registry) is_full: Arc<AtomicBool>,
}

/// Returns since when events are kept, in milliseconds since 1970: earlier ones were removed to make room. A node that
/// takes a shard must know it before it serves, since followers with an earlier marker may have missed events.
pub(in crate::registry) async fn kept_since(client: &EtcdClient, layout: &Layout) -> Result<u64, EtcdError> {
    let found = client.get(&layout.meta(TRIMMED)).await?;
    Ok(found.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok()).unwrap_or(0))
}

impl Upkeep {
    /// Looks after etcd as long as the future is polled: acts while `is_mine`, and calls `keep_since` with the time since
    /// when events are kept, in milliseconds since 1970, whenever it may have changed.
    pub(in crate::registry) async fn run(
        self,
        is_mine: impl Fn() -> bool + Send + Sync,
        keep_since: impl Fn(u64) + Send + Sync,
    ) -> Infallible {
        let mut work = Work::of(self);
        loop {
            match work.look(&is_mine).await {
                Ok(()) => work.told.end("failed"),
                Err(error) => {
                    work.told.problem("failed", &format!("the upkeep has failed: {error}; it will be tried again"))
                }
            }
            keep_since(work.kept_since);
            sleep(LOOK).await;
        }
    }
}

/// The work of a node, and what it remembers.
struct Work {
    upkeep: Upkeep,
    /// A revision, and when it was the current one.
    noted: Option<(Instant, i64)>,
    /// There was no room at the last look.
    is_pressed: bool,
    kept_since: u64,
    /// When events were removed last.
    trimmed: Option<Instant>,
    /// When all members were defragmented last, whatever they said of their use.
    forced: Option<Instant>,
    told: Told,
}

/// A member that answers.
struct Measured {
    member: Member,
    is_leader: bool,
    space: Space,
    revision: i64,
}

impl Work {
    fn of(upkeep: Upkeep) -> Self {
        let told = Told::default();
        Self { upkeep, noted: None, is_pressed: false, kept_since: 0, trimmed: None, forced: None, told }
    }

    async fn look(&mut self, is_mine: &(impl Fn() -> bool + Sync)) -> Result<(), EtcdError> {
        self.kept_since = kept_since(&self.upkeep.client, &self.upkeep.layout).await?.max(self.kept_since);
        let (members, are_all) = self.measure().await?;
        self.set_full(fullest(&members));
        if !is_mine() {
            self.noted = None;
            return Ok(());
        }
        let alarms = self.upkeep.client.alarms().await?;
        let alarms = alarms.into_iter().filter(|alarm| alarm.alarm == AlarmKind::NoSpace as i32).collect::<Vec<_>>();
        let is_pressed = self.upkeep.is_full.load(Ordering::Relaxed) || !alarms.is_empty();
        self.compact(&members, is_pressed).await?;
        // A member that gives space back does not answer meanwhile: only if the others do.
        if are_all || !alarms.is_empty() {
            self.defragment(is_pressed, !alarms.is_empty()).await?;
        }
        // What a member says of its use is late: only what is still so at the next look needs more.
        let was_pressed = std::mem::replace(&mut self.is_pressed, is_pressed);
        if is_pressed {
            let (members, _) = self.measure().await?;
            let fullest = fullest(&members);
            let has_alarm = !alarms.is_empty();
            for alarm in alarms.into_iter().filter(|_| fullest.may_clear_alarm(self.upkeep.quota)) {
                self.upkeep.client.disarm(alarm).await?;
                tracing::info!("etcd: there is room again; the alarm NOSPACE is cleared");
            }
            self.set_full(fullest);
            if was_pressed && fullest.has_too_much(self.upkeep.quota) {
                self.trim(has_alarm).await?;
            }
        }
        Ok(())
    }

    /// Returns the members that answer, and whether all do.
    async fn measure(&self) -> Result<(Vec<Measured>, bool), EtcdError> {
        let all = self.upkeep.client.members().await?;
        let count = all.len();
        let mut members = Vec::new();
        for member in all {
            if let Ok(status) = self.upkeep.client.status(&member).await {
                members.push(Measured::new(member, &status));
            }
        }
        if members.is_empty() {
            return Err(EtcdError::Refused("no member tells its size".to_owned()));
        }
        let are_all = members.len() == count;
        Ok((members, are_all))
    }

    fn set_full(&mut self, fullest: Space) {
        let was_full = self.upkeep.is_full.load(Ordering::Relaxed);
        let is_full = fullest.is_full(self.upkeep.quota, was_full);
        self.upkeep.is_full.store(is_full, Ordering::Relaxed);
        let percent = fullest.size.saturating_mul(100) / self.upkeep.quota.max(1);
        match (was_full, is_full) {
            (false, true) => tracing::warn!(
                "etcd uses {percent} % of its quota (--etcd-quota): registrations are refused until there is room"
            ),
            (true, false) => {
                tracing::info!("etcd uses {percent} % of its quota: registrations are accepted again");
                self.told.end("much");
            }
            _ => {}
        }
    }

    /// Drops revisions that nobody reads any more.
    async fn compact(&mut self, members: &[Measured], is_pressed: bool) -> Result<(), EtcdError> {
        let current = members.iter().map(|member| member.revision).max().unwrap_or(0);
        let (since, revision) = *self.noted.get_or_insert((Instant::now(), current));
        let is_old = since.elapsed() >= KEPT_REVISIONS;
        let revision = if is_pressed { current } else { revision };
        if (is_old || is_pressed) && revision > 1 {
            self.upkeep.client.compact(revision).await?;
            self.noted = Some((Instant::now(), current));
        }
        Ok(())
    }

    /// Has events removed. Every node learns since when they are kept before any is removed.
    async fn trim(&mut self, has_alarm: bool) -> Result<(), EtcdError> {
        if self.trimmed.is_some_and(|trimmed| trimmed.elapsed() < TRIM) {
            return Ok(());
        }
        let Some(since) = trim(now(), self.upkeep.retention, self.kept_since) else {
            self.told.problem(
                "much",
                "there is too much data, and no event left that could go: raise the members' --quota-backend-bytes, and \
                 --etcd-quota with it",
            );
            return Ok(());
        };
        if has_alarm {
            // A put is refused. There is room after the alarm, or the operator makes some.
            self.told.problem(
                "much",
                "there is no room: raise the members' --quota-backend-bytes, and --etcd-quota with it",
            );
            return Ok(());
        }
        let put = Operation::put(self.upkeep.layout.meta(TRIMMED), since.to_string());
        self.upkeep.client.transact(Vec::new(), vec![put]).await?;
        (self.kept_since, self.trimmed) = (since, Some(Instant::now()));
        let kept = now().saturating_sub(since) / 60_000;
        tracing::warn!("etcd: events older than {kept} minutes are removed to make room");
        Ok(())
    }

    /// Lets members give unused space back, the leader last and one after the other.
    async fn defragment(&mut self, is_pressed: bool, has_alarm: bool) -> Result<(), EtcdError> {
        // A member notices only with its next writes what a compaction has freed, and with an alarm there are none.
        let pause = if has_alarm { TRIM } else { FORCE };
        let is_forced = is_pressed && self.forced.is_none_or(|forced| forced.elapsed() >= pause);
        if is_forced {
            self.forced = Some(Instant::now());
        }
        let (mut members, _) = self.measure().await?;
        members.sort_by_key(|member| member.is_leader);
        for Measured { member, space, .. } in members {
            if !is_forced && !space.is_worth_defragmenting(is_pressed) {
                continue;
            }
            let name = &member.name;
            match self.upkeep.client.defragment(&member).await {
                Ok(()) => {
                    let left = self.upkeep.client.status(&member).await.map_or(0, |status| bytes(status.size));
                    tracing::info!("etcd member {name}: defragmented from {} to {left} bytes", space.size);
                    self.told.end("refused");
                }
                Err(error) => {
                    let cure = "its user needs the role root for that, or do it by `etcdctl defrag`";
                    self.told.problem("refused", &format!("member {name} is not defragmented: {error}; {cure}"));
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Measured {
    fn new(member: Member, status: &Status) -> Self {
        let space = Space { size: bytes(status.size), in_use: bytes(status.in_use) };
        Self { is_leader: status.leader == member.id, space, revision: status.revision(), member }
    }
}

/// What was logged, and is not logged again until it is over.
#[derive(Default)]
struct Told(BTreeSet<&'static str>);

impl Told {
    fn problem(&mut self, topic: &'static str, text: &str) {
        if self.0.insert(topic) {
            tracing::warn!("etcd: {text}");
        }
    }

    fn end(&mut self, topic: &'static str) {
        self.0.remove(topic);
    }
}

/// Returns the space of the member with the largest file, and the most that any of them uses.
fn fullest(members: &[Measured]) -> Space {
    let most = |of: fn(&Space) -> u64| members.iter().map(|member| of(&member.space)).max().unwrap_or(0);
    Space { size: most(|space| space.size), in_use: most(|space| space.in_use) }
}

fn bytes(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "upkeep_test.rs"] // a child module, which sees the fields
mod tests;
