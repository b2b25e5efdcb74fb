//! Counting requests: sliding sums over short buckets of time.

use std::collections::VecDeque;

use super::quotas::{Quotas, Rate};
use crate::registry::model::Now;
use crate::registry::model::TenantId;
use crate::registry::state::State;

/// A bucket lasts 100 s, or a hundredth of a shorter period.
const BUCKET_SECONDS: u64 = 100;

/// The counts of a tenant, one for each of its rates.
pub(crate) type Windows = Vec<Window>;

/// One count: how many in which bucket, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<(u64, u64)>);

/// What is left of a rate after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Which of the tenant's rates.
    pub(crate) rate: usize,
    pub(crate) used: u64,
    /// The request was one too many, and was not counted.
    pub(crate) exceeded: bool,
}

impl Window {
    /// How many in the period that ends now.
    fn used(&mut self, now: Now, rate: &Rate) -> u64 {
        let oldest = bucket(now, rate).saturating_sub(rate.period / width(rate));
        while self.0.front().is_some_and(|(bucket, _)| *bucket < oldest) {
            self.0.pop_front();
        }
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn count(&mut self, now: Now, rate: &Rate) {
        let current = bucket(now, rate);
        match self.0.back_mut() {
            Some((bucket, count)) if *bucket == current => *count += 1,
            _ => self.0.push_back((current, 1)),
        }
    }
}

fn width(rate: &Rate) -> u64 {
    (rate.period / 100).clamp(1, BUCKET_SECONDS)
}

fn bucket(now: Now, rate: &Rate) -> u64 {
    now.mono / 1000 / width(rate)
}

impl State {
    /// Counts a GET request of `path`. Tells about the first rate that it falls under, or the one it exceeds.
    pub(crate) fn count(&mut self, now: Now, id: TenantId, quotas: &Quotas, path: &str) -> Option<Usage> {
        let windows = &mut self.tenants.entry(id).or_default().windows;
        windows.resize_with(quotas.rates.len(), Window::default);
        let rates = || quotas.rates.iter().enumerate().filter(|(_, rate)| rate.matcher.is_match(path));
        for (at, rate) in rates() {
            let used = windows[at].used(now, rate);
            if used >= rate.limit {
                return Some(Usage { rate: at, used, exceeded: true });
            }
        }
        for (at, rate) in rates() {
            windows[at].count(now, rate);
        }
        let (at, rate) = rates().next()?;
        Some(Usage { rate: at, used: windows[at].used(now, rate), exceeded: false })
    }

    /// How much of each rate is used.
    pub(crate) fn used(&mut self, now: Now, id: TenantId, quotas: &Quotas) -> Vec<u64> {
        let Some(tenant) = self.tenants.get_mut(&id) else { return vec![0; quotas.rates.len()] };
        tenant.windows.resize_with(quotas.rates.len(), Window::default);
        tenant.windows.iter_mut().zip(&quotas.rates).map(|(window, rate)| window.used(now, rate)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: seconds * 1000, wall: seconds * 1000 }
    }

    #[test]
    fn counts_leave_the_window_bucket_by_bucket() {
        let rate = Rate::new("/.*".into(), 10, 86_400).unwrap();
        let mut window = Window::default();
        for second in [0, 99, 100, 86_000] {
            window.count(at(second), &rate);
        }
        assert_eq!(window.used(at(86_399), &rate), 4);
        assert_eq!(window.used(at(86_500), &rate), 2, "the first bucket has left");
        assert_eq!(window.used(at(86_600), &rate), 1);
        assert_eq!(window.used(at(200_000), &rate), 0);
    }

    #[test]
    fn the_rate_that_is_used_up_refuses_and_counts_no_further() {
        let rates =
            vec![Rate::new("/.*".into(), 5, 60).unwrap(), Rate::new("/v1.0/[0-9]+/events".into(), 1, 60).unwrap()];
        let quotas = Quotas { rates, ..Quotas::default() };
        let mut state = State::new(std::sync::Arc::new(crate::registry::model::Keys::random().unwrap()));
        let mut count = |path: &str| state.count(at(1), 1, &quotas, path).unwrap();
        assert_eq!(count("/v1.0/1/events"), Usage { rate: 0, used: 1, exceeded: false });
        assert_eq!(count("/v1.0/1/events"), Usage { rate: 1, used: 1, exceeded: true });
        assert_eq!(count("/v1.0/1/services"), Usage { rate: 0, used: 2, exceeded: false });
        assert_eq!(state.used(at(1), 1, &quotas), [2, 1]);
        assert_eq!(state.used(at(1), 2, &quotas), [0, 0], "another tenant");
    }
}
