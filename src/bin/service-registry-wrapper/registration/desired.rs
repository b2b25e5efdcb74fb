//! Says whether the service should be in the registry. It should, unless a reason keeps it out.

use tokio::sync::watch;

/// The reasons that keep the service out of the registry. Each has one writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reasons {
    maintenance: bool,
}

impl Reasons {
    fn is_listed(self) -> bool {
        !self.maintenance
    }
}

/// Sets reasons. Clones share them.
#[derive(Clone)]
pub(crate) struct Desired(watch::Sender<Reasons>);

/// Sees what the reasons amount to.
#[derive(Clone)]
pub(super) struct DesiredWatch(watch::Receiver<Reasons>);

/// Returns both ends; at first no reason keeps the service out.
pub(super) fn channel() -> (Desired, DesiredWatch) {
    let (set, seen) = watch::channel(Reasons::default());
    (Desired(set), DesiredWatch(seen))
}

impl Desired {
    /// Keeps the service out of the registry for maintenance, or ends that.
    pub(crate) fn set_maintenance(&self, is_on: bool) {
        self.0.send_modify(|reasons| reasons.maintenance = is_on);
    }

    pub(crate) fn has_maintenance(&self) -> bool {
        self.0.borrow().maintenance
    }
}

impl DesiredWatch {
    /// Returns whether the service should be listed; [`changed`](Self::changed) then waits for changes after this.
    pub(super) fn is_listed(&mut self) -> bool {
        self.0.borrow_and_update().is_listed()
    }

    /// Waits for a change. Never returns if there can be none any more.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn maintenance_keeps_the_service_out_until_it_ends() {
        let (desired, mut watch) = channel();
        assert!(watch.is_listed());
        for is_on in [true, false] {
            desired.set_maintenance(is_on);
            watch.changed().await;
            assert_eq!((watch.is_listed(), desired.has_maintenance()), (!is_on, is_on));
        }
    }
}
