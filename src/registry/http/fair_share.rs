//! Something scarce, divided among tenants, so that one that wants much of it takes nothing from the others.
//!
//! A tenant may have as much as it leaves free: half of it if it is alone, a third if there are two, and so on.
//! Whoever comes next always finds some. Who has to wait is served in the order of asking within a tenant, and between
//! tenants the one that has least comes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::registry::objects::TenantId;

/// What is divided.
#[derive(Debug)]
pub(crate) struct FairShare {
    total: usize,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    free: usize,
    /// How often somebody who waited was served.
    served: u64,
    /// Those who have some of it, or wait for some.
    tenants: HashMap<TenantId, Share>,
}

#[derive(Debug, Default)]
struct Share {
    held: usize,
    /// When it was last its turn, as a value of `Pool::served`.
    last_served: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    amount: usize,
    grant: oneshot::Sender<Held>,
}

/// A part of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Arc<FairShare>,
    tenant: TenantId,
    amount: usize,
}

impl FairShare {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        let pool = Pool { free: total, served: 0, tenants: HashMap::new() };
        Arc::new(Self { total, pool: Mutex::new(pool) })
    }

    /// Takes some of it, unless the tenant would have to wait.
    pub(crate) fn try_take(self: &Arc<Self>, tenant: TenantId, amount: usize) -> Option<Held> {
        let amount = amount.min(self.total);
        self.lock().try_take(tenant, amount).then(|| self.held(tenant, amount))
    }

    /// Takes some of it; none if that is not possible until then.
    pub(crate) async fn take(self: &Arc<Self>, tenant: TenantId, amount: usize, until: Instant) -> Option<Held> {
        let amount = amount.min(self.total);
        let granted = {
            let mut pool = self.lock();
            if pool.try_take(tenant, amount) {
                return Some(self.held(tenant, amount));
            }
            let (grant, granted) = oneshot::channel();
            pool.tenants.entry(tenant).or_default().waiting.push_back(Waiting { amount, grant });
            granted
        };
        timeout_at(until, granted).await.ok()?.ok()
    }

    fn held(self: &Arc<Self>, tenant: TenantId, amount: usize) -> Held {
        Held { shares: self.clone(), tenant, amount }
    }

    fn give_back(self: &Arc<Self>, tenant: TenantId, amount: usize) {
        let mut pool = self.lock();
        pool.free += amount;
        if let Some(share) = pool.tenants.get_mut(&tenant) {
            share.held -= amount;
        }
        let grants = pool.serve();
        pool.tenants.retain(|_, share| !share.is_unused());
        drop(pool);
        for (tenant, Waiting { amount, grant }) in grants {
            let _ = grant.send(self.held(tenant, amount)); // who has stopped waiting meanwhile gives it back by that
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn try_take(&mut self, tenant: TenantId, amount: usize) -> bool {
        let share = self.tenants.entry(tenant).or_default();
        share.forget_who_left();
        let fits = share.waiting.is_empty() && share.has_room_for(amount, self.free);
        if fits {
            self.take(tenant, amount);
        } else if share.is_unused() {
            self.tenants.remove(&tenant);
        }
        fits
    }

    fn take(&mut self, tenant: TenantId, amount: usize) {
        self.free -= amount;
        self.tenants.entry(tenant).or_default().held += amount;
    }

    /// Takes for those who wait, as far as there is enough.
    fn serve(&mut self) -> Vec<(TenantId, Waiting)> {
        let mut grants = Vec::new();
        while let Some((tenant, next)) = self.next_served() {
            self.take(tenant, next.amount);
            grants.push((tenant, next));
        }
        grants
    }

    fn next_served(&mut self) -> Option<(TenantId, Waiting)> {
        let free = self.free;
        let able = self.tenants.iter_mut().filter_map(|(tenant, share)| {
            share.forget_who_left();
            let is_next = share.waiting.front().is_some_and(|next| share.has_room_for(next.amount, free));
            is_next.then_some((*tenant, share))
        });
        let (tenant, share) = able.min_by_key(|(_, share)| (share.held, share.last_served))?;
        self.served += 1;
        share.last_served = self.served;
        Some((tenant, share.waiting.pop_front()?))
    }
}

impl Share {
    fn is_unused(&self) -> bool {
        self.held == 0 && self.waiting.is_empty()
    }

    fn has_room_for(&self, amount: usize, free: usize) -> bool {
        amount <= free && (self.held == 0 || self.held + amount <= free - amount)
    }

    fn forget_who_left(&mut self) {
        while self.waiting.front().is_some_and(|next| next.grant.is_closed()) {
            self.waiting.pop_front();
        }
    }
}

impl Held {
    /// Gives back what is more than this.
    pub(crate) fn shrink(&mut self, amount: usize) {
        if let Some(more) = self.amount.checked_sub(amount).filter(|more| *more > 0) {
            self.amount = amount;
            self.shares.give_back(self.tenant, more);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shares.give_back(self.tenant, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn free(shares: &FairShare) -> usize {
        let pool = shares.lock();
        assert_eq!(pool.free + pool.tenants.values().map(|share| share.held).sum::<usize>(), shares.total);
        pool.free
    }

    #[tokio::test]
    async fn greedy_tenant_leaves_half_to_others() {
        let shares = FairShare::new(16);
        let greedy: Vec<Held> = std::iter::from_fn(|| shares.try_take(1, 1)).collect();
        assert_eq!((greedy.len(), free(&shares)), (8, 8));
        let others: Vec<Held> = (2..6).filter_map(|tenant| shares.try_take(tenant, 1)).collect();
        assert_eq!(others.len(), 4);
        drop((greedy, others));
        assert_eq!((free(&shares), shares.lock().tenants.len()), (16, 0), "nobody is remembered");
    }

    #[tokio::test]
    async fn amount_beyond_total_is_all_there_is() {
        let shares = FairShare::new(16);
        let all = shares.try_take(1, 100).unwrap();
        assert_eq!(free(&shares), 0);
        assert!(shares.try_take(2, 1).is_none());
        drop(all);
        assert_eq!(free(&shares), 16);
    }

    #[tokio::test]
    async fn waiting_tenant_that_has_least_is_served_first() {
        let shares = FairShare::new(4);
        let mut all = shares.try_take(9, 4).unwrap();
        let wait = |tenant| {
            let shares = shares.clone();
            tokio::spawn(async move { shares.take(tenant, 1, soon()).await.unwrap() })
        };
        let greedy = [wait(1), wait(1), wait(1)];
        let modest = wait(2);
        while shares.lock().tenants.values().map(|share| share.waiting.len()).sum::<usize>() < 4 {
            tokio::task::yield_now().await;
        }
        all.shrink(2);
        let [first, second, third] = greedy;
        let held = (first.await.unwrap(), modest.await.unwrap());
        assert!(!second.is_finished());
        drop((all, held));
        drop((second.await.unwrap(), third.await.unwrap()));
        assert_eq!(free(&shares), 4);
    }

    #[tokio::test]
    async fn waiting_ends_in_time_and_takes_nothing() {
        let shares = FairShare::new(1);
        let all = shares.try_take(1, 1).unwrap();
        assert!(shares.take(2, 1, Instant::now()).await.is_none());
        drop(all);
        assert_eq!((free(&shares), shares.lock().tenants.len()), (1, 0));
    }
}
