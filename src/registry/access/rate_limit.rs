//! Rate limits: GET requests are counted in sliding sums over short buckets of time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use super::quotas::Rate;
use crate::registry::model::Now;
use crate::registry::model::TenantId;

/// A bucket lasts 100 s, or a hundredth of a shorter period.
const BUCKET_SECONDS: u64 = 100;

/// The sliding sum of one rate: buckets and their counts, oldest first.
#[derive(Debug, Default)]
struct Window(VecDeque<(u64, u64)>);

/// The use of a rate after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The index of the tenant's rate.
    pub(crate) rate: usize,
    pub(crate) used: u64,
    /// The request exceeds the rate, and was not counted.
    pub(crate) exceeded: bool,
}

impl Window {
    /// Returns the number of requests in the period that ends now.
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

/// Counts GET requests against the rates of their tenants.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<HashMap<TenantId, Vec<Window>>>);

impl RateLimiter {
    /// Counts a request of `path`. Returns the first rate that covers it, or the one that it exceeds.
    pub(crate) fn count(&self, now: Now, tenant: TenantId, rates: &[Rate], path: &str) -> Option<Usage> {
        let covering = || rates.iter().enumerate().filter(|(_, rate)| rate.matcher.is_match(path));
        self.with(tenant, rates, |windows| {
            for (at, rate) in covering() {
                let used = windows[at].used(now, rate);
                if used >= rate.limit {
                    return Some(Usage { rate: at, used, exceeded: true });
                }
            }
            for (at, rate) in covering() {
                windows[at].count(now, rate);
            }
            let (at, rate) = covering().next()?;
            Some(Usage { rate: at, used: windows[at].used(now, rate), exceeded: false })
        })
    }

    /// Returns how much of each rate is used.
    pub(crate) fn used(&self, now: Now, tenant: TenantId, rates: &[Rate]) -> Vec<u64> {
        self.with(tenant, rates, |windows| {
            windows.iter_mut().zip(rates).map(|(window, rate)| window.used(now, rate)).collect()
        })
    }

    fn with<T>(&self, tenant: TenantId, rates: &[Rate], act: impl FnOnce(&mut Vec<Window>) -> T) -> T {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let windows = tenants.entry(tenant).or_default();
        windows.resize_with(rates.len(), Window::default);
        act(windows)
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
    fn rate_that_is_used_up_refuses_and_does_not_count() {
        let rates =
            vec![Rate::new("/.*".into(), 5, 60).unwrap(), Rate::new("/v1.0/[0-9]+/events".into(), 1, 60).unwrap()];
        let limiter = RateLimiter::default();
        let count = |path: &str| limiter.count(at(1), 1, &rates, path).unwrap();
        assert_eq!(count("/v1.0/1/events"), Usage { rate: 0, used: 1, exceeded: false });
        assert_eq!(count("/v1.0/1/events"), Usage { rate: 1, used: 1, exceeded: true });
        assert_eq!(count("/v1.0/1/services"), Usage { rate: 0, used: 2, exceeded: false });
        assert_eq!(limiter.used(at(1), 1, &rates), [2, 1]);
        assert_eq!(limiter.used(at(1), 2, &rates), [0, 0], "another tenant");
    }
}
