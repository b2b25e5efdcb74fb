//! Says whether the service should be in the registry. It should, unless a reason keeps it out.

use tokio::sync::watch;

/// In UTF-16 code units, by which registries count.
const LONGEST_REASON: usize = 255;

/// The reasons that keep the service out of the registry. Each has one writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reasons {
    maintenance: bool,
    /// What the child has not done yet, or does not do any more.
    not_ready: Option<String>,
    /// What the checks have found.
    unhealthy: Option<String>,
    /// Not a reason to leave the registry: why the child is to be stopped.
    stop: Option<String>,
}

impl Reasons {
    /// Returns the reason in words, as the log and the status socket have it; nothing if the service should be listed.
    fn describe(&self) -> Option<String> {
        if self.maintenance {
            return Some("maintenance".to_owned());
        }
        let not_ready = self.not_ready.as_ref().map(|why| format!("not ready: {why}"));
        let reason = not_ready.or_else(|| self.unhealthy.as_ref().map(|why| format!("unhealthy: {why}")));
        reason.map(|reason| bounded(&reason))
    }
}

/// Sets reasons. Clones share them.
#[derive(Clone)]
pub(crate) struct Desired(watch::Sender<Reasons>);

/// Sees what the reasons amount to.
#[derive(Clone)]
pub(super) struct DesiredWatch(watch::Receiver<Reasons>);

/// Returns both ends. At first the service is kept out only if something has to be waited for.
pub(super) fn channel(not_ready: Option<String>, unhealthy: Option<String>) -> (Desired, DesiredWatch) {
    let (set, seen) = watch::channel(Reasons { not_ready, unhealthy, ..Reasons::default() });
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

    /// Keeps the service out of the registry while the child is not ready, and says why.
    pub(crate) fn set_not_ready(&self, why: Option<String>) {
        self.0.send_modify(|reasons| reasons.not_ready = why);
    }

    /// Returns why the child is not ready.
    pub(crate) fn not_ready(&self) -> Option<String> {
        self.0.borrow().not_ready.clone()
    }

    /// Waits until the child is ready.
    pub(crate) async fn ready(&self) {
        let _ = self.0.subscribe().wait_for(|reasons| reasons.not_ready.is_none()).await; // this is a sender itself
    }

    /// Keeps the service out of the registry while the checks fail, and says why.
    pub(crate) fn set_unhealthy(&self, why: Option<String>) {
        self.0.send_if_modified(|reasons| std::mem::replace(&mut reasons.unhealthy, why.clone()) != why);
    }

    pub(crate) fn is_unhealthy(&self) -> bool {
        self.0.borrow().unhealthy.is_some()
    }

    /// Waits until the child is ready, and its checks do not fail.
    pub(crate) async fn serving(&self) {
        let is_serving = |reasons: &Reasons| reasons.not_ready.is_none() && reasons.unhealthy.is_none();
        let _ = self.0.subscribe().wait_for(is_serving).await; // as above
    }

    /// Returns why the service is kept out of the registry.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.borrow().describe()
    }

    /// Asks for the child to be stopped.
    pub(crate) fn request_stop(&self, why: String) {
        self.0.send_modify(|reasons| reasons.stop = Some(bounded(&why)));
    }

    /// Waits until the child is to be stopped; returns why.
    pub(crate) async fn stop_requested(&self) -> String {
        let mut seen = self.0.subscribe();
        let reasons = seen.wait_for(|reasons| reasons.stop.is_some()).await;
        reasons.ok().and_then(|reasons| reasons.stop.clone()).unwrap_or_default()
    }
}

impl DesiredWatch {
    /// Returns why the service should be out of the registry, if it should; [`changed`](Self::changed) then waits for
    /// changes after this.
    pub(super) fn reason(&mut self) -> Option<String> {
        self.0.borrow_and_update().describe()
    }

    /// Waits for a change. Never returns if there can be none any more.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Cuts a reason to what a registry takes of one, without control characters. It may hold output of a command.
fn bounded(reason: &str) -> String {
    let mut length = 0;
    let fits = |character: &char| {
        length += character.len_utf16();
        length <= LONGEST_REASON
    };
    reason.chars().filter(|character| !character.is_control()).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn maintenance_keeps_the_service_out_until_it_ends() {
        let (desired, mut watch) = channel(None, None);
        assert_eq!(watch.reason(), None);
        for is_on in [true, false] {
            desired.set_maintenance(is_on);
            watch.changed().await;
            assert_eq!((watch.reason().is_some(), desired.has_maintenance()), (is_on, is_on));
        }
    }

    #[test]
    fn reason_is_cut_to_what_a_registry_takes() {
        let (desired, mut watch) = channel(None, Some("a\tb\u{1b}".to_owned()));
        assert_eq!(watch.reason().unwrap(), "unhealthy: ab");
        desired.set_unhealthy(Some("\u{1F600}".repeat(300)));
        assert_eq!(watch.reason().unwrap().encode_utf16().count(), 255);
    }

    #[tokio::test]
    async fn service_is_out_while_any_reason_is_left() {
        let (desired, mut watch) = channel(Some("it does not listen".to_owned()), Some("tcp:80: refused".to_owned()));
        assert_eq!(watch.reason().unwrap(), "not ready: it does not listen");
        desired.set_maintenance(true);
        desired.set_not_ready(None);
        desired.ready().await;
        assert_eq!(watch.reason().unwrap(), "maintenance");
        desired.set_maintenance(false);
        assert_eq!(watch.reason().unwrap(), "unhealthy: tcp:80: refused");
        desired.set_unhealthy(None);
        desired.serving().await;
        assert_eq!((watch.reason(), desired.reason()), (None, None));
    }
}
