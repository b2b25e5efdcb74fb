//! A scarce resource, divided among tenants, so that a tenant that wants much of it takes nothing from the others.
//!
//! A tenant may have as much as it leaves free: half of it if it is alone, a third if there are two, and so on. So a
//! new tenant always finds some. The same rule divides a tenant's part among addresses. Requests of one address are
//! served in order; between addresses, the one that has least is served first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::registry::model::TenantId;

/// The most pages in the making. More would not be faster, and each takes up to
/// [`MAX_PAGE_BYTES`](crate::registry::model::MAX_PAGE_BYTES).
const PAGES_AT_A_TIME: usize = 16;
/// The most bytes of finished, unsent pages.
const MAX_UNSENT_BYTES: usize = 32 << 20;
/// How long a page may have to wait.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// The shares that pages need.
#[derive(Debug)]
pub(crate) struct PageShares {
    pub(super) slots: Arc<FairShare>,
    pub(super) unsent: Arc<FairShare>,
}

impl Default for PageShares {
    fn default() -> Self {
        Self { slots: FairShare::new(PAGES_AT_A_TIME), unsent: FairShare::new(MAX_UNSENT_BYTES) }
    }
}

impl PageShares {
    /// Waits for a place among the pages in the making; none if there is none soon.
    pub(crate) async fn turn(&self, party: Party) -> Option<ShareGuard> {
        self.slots.take(party, 1, Instant::now() + WAIT_LIMIT).await
    }

    /// Waits until this many bytes may be sent; none if they may not soon.
    pub(crate) async fn unsent(&self, party: Party, bytes: usize) -> Option<ShareGuard> {
        self.unsent.take(party, bytes, Instant::now() + WAIT_LIMIT).await
    }
}

/// The resource that is divided.
#[derive(Debug)]
pub(super) struct FairShare {
    total: usize,
    pool: Mutex<Pool>,
}

/// A party: a tenant and an address.
pub(crate) type Party = (TenantId, IpAddr);

#[derive(Debug)]
struct Pool {
    free: usize,
    /// How often a waiting party was served.
    served: u64,
    /// The parties that have some of it, or wait for some.
    shares: HashMap<Party, Share>,
    /// The shares of tenants.
    held: HashMap<TenantId, usize>,
}

#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// When it was last served, as a value of `Pool::served`.
    last_served: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    amount: usize,
    grant: oneshot::Sender<ShareGuard>,
}

/// A share, until it is dropped.
#[derive(Debug)]
pub(crate) struct ShareGuard {
    from: Arc<FairShare>,
    party: Party,
    amount: usize,
}

impl FairShare {
    pub(super) fn new(total: usize) -> Arc<Self> {
        let pool = Pool { free: total, served: 0, shares: HashMap::new(), held: HashMap::new() };
        Arc::new(Self { total, pool: Mutex::new(pool) })
    }

    /// Takes a share, unless the party would have to wait.
    pub(super) fn try_take(self: &Arc<Self>, party: Party, amount: usize) -> Option<ShareGuard> {
        let amount = amount.min(self.total);
        self.lock().try_take(party, amount).then(|| self.held(party, amount))
    }

    /// Takes a share; none if that is impossible until the given time.
    pub(super) async fn take(self: &Arc<Self>, party: Party, amount: usize, until: Instant) -> Option<ShareGuard> {
        let amount = amount.min(self.total);
        let granted = {
            let mut pool = self.lock();
            if pool.try_take(party, amount) {
                return Some(self.held(party, amount));
            }
            let (grant, granted) = oneshot::channel();
            pool.shares.entry(party).or_default().waiting.push_back(Waiting { amount, grant });
            granted
        };
        timeout_at(until, granted).await.ok()?.ok()
    }

    fn held(self: &Arc<Self>, party: Party, amount: usize) -> ShareGuard {
        ShareGuard { from: self.clone(), party, amount }
    }

    fn give_back(self: &Arc<Self>, party: Party, amount: usize) {
        let grants = self.lock().give_back(party, amount);
        for (party, Waiting { amount, grant }) in grants {
            let _ = grant.send(self.held(party, amount)); // a party that has stopped waiting gives its share back
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn try_take(&mut self, party: Party, amount: usize) -> bool {
        let (free, of_tenant) = (self.free, self.held_by(party.0));
        let fits = self.shares.get_mut(&party).map_or_else(
            || Share::default().has_room_for(amount, of_tenant, free),
            |share| share.prune_and_is_idle() && share.has_room_for(amount, of_tenant, free),
        );
        if fits {
            self.take(party, amount);
        }
        fits
    }

    fn held_by(&self, tenant: TenantId) -> usize {
        self.held.get(&tenant).copied().unwrap_or_default()
    }

    fn take(&mut self, party: Party, amount: usize) {
        self.free -= amount;
        *self.held.entry(party.0).or_default() += amount;
        self.shares.entry(party).or_default().held += amount;
    }

    /// Returns a share, and serves waiting parties as far as there is enough.
    fn give_back(&mut self, party: Party, amount: usize) -> Vec<(Party, Waiting)> {
        self.free += amount;
        if let Some(held) = self.held.get_mut(&party.0) {
            *held -= amount;
        }
        if let Some(share) = self.shares.get_mut(&party) {
            share.held -= amount;
        }
        let mut grants = Vec::new();
        while let Some((party, next)) = self.pop_next_waiting() {
            self.take(party, next.amount);
            grants.push((party, next));
        }
        self.held.retain(|_, held| *held > 0);
        self.shares.retain(|_, share| share.held > 0 || !share.waiting.is_empty());
        grants
    }

    fn pop_next_waiting(&mut self) -> Option<(Party, Waiting)> {
        let (free, held) = (self.free, &self.held);
        let able = self.shares.iter_mut().filter_map(|(party, share)| {
            let of_tenant = held.get(&party.0).copied().unwrap_or_default();
            let next = if share.prune_and_is_idle() { None } else { share.waiting.front() };
            let is_able = next.is_some_and(|next| share.has_room_for(next.amount, of_tenant, free));
            is_able.then_some((of_tenant, *party, share))
        });
        let (_, party, share) = able.min_by_key(|(of_tenant, _, share)| (*of_tenant, share.held, share.last_served))?;
        self.served += 1;
        share.last_served = self.served;
        Some((party, share.waiting.pop_front()?))
    }
}

impl Share {
    /// Returns whether a share of this size may be taken, if the whole tenant has `of_tenant`.
    fn has_room_for(&self, amount: usize, of_tenant: usize, free: usize) -> bool {
        let Some(left) = free.checked_sub(amount) else { return false };
        let left_to_tenant = left.checked_sub(of_tenant + amount);
        of_tenant == 0 || left_to_tenant.is_some_and(|left| self.held == 0 || self.held + amount <= left)
    }

    /// Removes waiting parties at the front that have stopped waiting.
    fn prune_and_is_idle(&mut self) -> bool {
        while self.waiting.front().is_some_and(|next| next.grant.is_closed()) {
            self.waiting.pop_front();
        }
        self.waiting.is_empty()
    }
}

impl ShareGuard {
    /// Gives back what exceeds this size.
    pub(super) fn shrink(&mut self, amount: usize) {
        if let Some(more) = self.amount.checked_sub(amount).filter(|more| *more > 0) {
            self.amount = amount;
            self.from.give_back(self.party, more);
        }
    }
}

impl Drop for ShareGuard {
    fn drop(&mut self) {
        self.from.give_back(self.party, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn party(tenant: TenantId, address: u8) -> Party {
        (tenant, [127, 0, 0, address].into())
    }

    fn free(from: &FairShare) -> usize {
        let pool = from.lock();
        let held = pool.shares.values().map(|share| share.held).sum::<usize>();
        assert_eq!((pool.free + held, pool.held.values().sum::<usize>()), (from.total, held));
        pool.free
    }

    #[tokio::test]
    async fn greedy_tenant_leaves_half_to_others() {
        let all = FairShare::new(16);
        let greedy: Vec<ShareGuard> = (1..99).filter_map(|address| all.try_take(party(1, address), 1)).collect();
        assert_eq!((greedy.len(), free(&all)), (8, 8));
        let others: Vec<ShareGuard> = (2..6).filter_map(|tenant| all.try_take(party(tenant, 1), 1)).collect();
        assert_eq!(others.len(), 4);
        drop((greedy, others));
        let pool = all.lock();
        assert_eq!((pool.free, pool.shares.len(), pool.held.len()), (16, 0, 0), "no party is remembered");
    }

    #[tokio::test]
    async fn greedy_address_leaves_some_to_others_of_its_tenant() {
        let all = FairShare::new(16);
        let greedy: Vec<ShareGuard> = std::iter::from_fn(|| all.try_take(party(1, 1), 1)).collect();
        let others: Vec<ShareGuard> = std::iter::from_fn(|| all.try_take(party(1, 2), 1)).collect();
        assert_eq!((greedy.len(), others.len()), (5, 2));
    }

    #[tokio::test]
    async fn amount_above_the_total_is_reduced_to_it() {
        let all = FairShare::new(16);
        let held = all.try_take(party(1, 1), 100).unwrap();
        assert_eq!(free(&all), 0);
        assert!(all.try_take(party(2, 1), 1).is_none());
        drop(held);
        assert_eq!(free(&all), 16);
    }

    #[tokio::test]
    async fn waiting_tenant_with_the_smallest_share_is_served_first() {
        let all = FairShare::new(4);
        let mut first = all.try_take(party(9, 9), 4).unwrap();
        let wait = |tenant| {
            let all = all.clone();
            tokio::spawn(async move { all.take(party(tenant, 1), 1, soon()).await.unwrap() })
        };
        let greedy = [wait(1), wait(1), wait(1)];
        let modest = wait(2);
        while all.lock().shares.values().map(|share| share.waiting.len()).sum::<usize>() < 4 {
            tokio::task::yield_now().await;
        }
        first.shrink(2);
        let [one, two, three] = greedy;
        let held = (one.await.unwrap(), modest.await.unwrap());
        assert!(!two.is_finished());
        drop((first, held));
        drop(two.await.unwrap());
        drop(three.await.unwrap());
        assert_eq!(free(&all), 4);
    }

    #[tokio::test]
    async fn waiting_ends_at_its_limit_without_a_share() {
        let all = FairShare::new(1);
        let held = all.try_take(party(1, 1), 1).unwrap();
        assert!(all.take(party(2, 1), 1, Instant::now()).await.is_none());
        drop(held);
        assert_eq!((free(&all), all.lock().shares.len()), (1, 0));
    }
}
