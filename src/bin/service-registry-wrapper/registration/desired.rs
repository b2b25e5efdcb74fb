//! Says whether the service should be in the registry, and with which description. It should be there, unless a reason
//! keeps it out.

use anyhow::Result;
use service_registry::client::ServicePayload;
use service_registry::description::ServiceTexts;
use service_registry::wire::limits::REASON;
use tokio::sync::watch;

use crate::options::Service;

/// The reasons that keep the service out of the registry. Each has one writer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reasons {
    /// What the operator says; empty if that is nothing.
    maintenance: Option<String>,
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
        match self.maintenance.as_deref() {
            Some("") => return Some("maintenance".to_owned()),
            Some(why) => return Some(format!("maintenance: {why}")),
            None => {}
        }
        let not_ready = self.not_ready.as_ref().map(|why| format!("not ready: {why}"));
        let reason = not_ready.or_else(|| self.unhealthy.as_ref().map(|why| format!("unhealthy: {why}")));
        reason.map(|reason| bounded(&reason))
    }
}

/// The description of the service, and what it is made of.
#[derive(Clone, Debug)]
struct Description {
    id: String,
    texts: ServiceTexts,
    /// The ports that the command listens on.
    ports: Vec<u16>,
    payload: ServicePayload,
}

/// Sets reasons and the description. Clones share them.
#[derive(Clone)]
pub(crate) struct Desired {
    reasons: watch::Sender<Reasons>,
    description: watch::Sender<Description>,
}

/// Sees what the reasons amount to, and the description.
#[derive(Clone)]
pub(super) struct DesiredWatch {
    reasons: watch::Receiver<Reasons>,
    description: watch::Receiver<Description>,
}

/// Returns both ends. At first the service is kept out only if something has to be waited for.
pub(super) fn channel(
    service: &Service,
    not_ready: Option<String>,
    unhealthy: Option<String>,
) -> (Desired, DesiredWatch) {
    let (reasons, seen_reasons) = watch::channel(Reasons { not_ready, unhealthy, ..Reasons::default() });
    let (id, texts, payload) = (service.id.clone(), service.texts.clone(), service.payload.clone());
    let (description, seen_description) = watch::channel(Description { id, texts, ports: Vec::new(), payload });
    (Desired { reasons, description }, DesiredWatch { reasons: seen_reasons, description: seen_description })
}

impl Desired {
    /// Keeps the service out of the registry for maintenance, or ends that.
    pub(crate) fn set_maintenance(&self, why: Option<String>) {
        self.reasons.send_modify(|reasons| reasons.maintenance = why);
    }

    pub(crate) fn has_maintenance(&self) -> bool {
        self.reasons.borrow().maintenance.is_some()
    }

    /// Changes the texts that describe the service; returns the description that they make.
    pub(crate) fn set_texts(&self, change: impl FnOnce(&mut ServiceTexts)) -> Result<ServicePayload> {
        self.describe(|description| change(&mut description.texts))
    }

    /// Says which ports the command listens on.
    pub(crate) fn set_ports(&self, ports: Vec<u16>) -> Result<ServicePayload> {
        self.describe(|description| description.ports = ports)
    }

    /// Makes the description again, from the present addresses of this machine.
    pub(crate) fn look_up_again(&self) -> Result<ServicePayload> {
        self.describe(|_| {})
    }

    /// On an error nothing is changed.
    fn describe(&self, change: impl FnOnce(&mut Description)) -> Result<ServicePayload> {
        let mut next = self.description.borrow().clone();
        change(&mut next);
        next.payload = next.texts.payload(&next.id, &next.ports, str::to_owned)?;
        let payload = next.payload.clone();
        self.description.send_modify(|description| *description = next);
        Ok(payload)
    }

    /// Keeps the service out of the registry while the child is not ready, and says why.
    pub(crate) fn set_not_ready(&self, why: Option<String>) {
        self.reasons.send_modify(|reasons| reasons.not_ready = why);
    }

    /// Returns why the child is not ready.
    pub(crate) fn not_ready(&self) -> Option<String> {
        self.reasons.borrow().not_ready.clone()
    }

    /// Waits until the child is ready.
    pub(crate) async fn ready(&self) {
        let _ = self.reasons.subscribe().wait_for(|reasons| reasons.not_ready.is_none()).await; // this is a sender itself
    }

    /// Keeps the service out of the registry while the checks fail, and says why.
    pub(crate) fn set_unhealthy(&self, why: Option<String>) {
        self.reasons.send_if_modified(|reasons| std::mem::replace(&mut reasons.unhealthy, why.clone()) != why);
    }

    pub(crate) fn is_unhealthy(&self) -> bool {
        self.reasons.borrow().unhealthy.is_some()
    }

    /// Waits until the child is ready, and its checks do not fail.
    pub(crate) async fn serving(&self) {
        let is_serving = |reasons: &Reasons| reasons.not_ready.is_none() && reasons.unhealthy.is_none();
        let _ = self.reasons.subscribe().wait_for(is_serving).await; // as above
    }

    /// Returns why the service is kept out of the registry.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reasons.borrow().describe()
    }

    /// Asks for the child to be stopped.
    pub(crate) fn request_stop(&self, why: String) {
        self.reasons.send_modify(|reasons| reasons.stop = Some(bounded(&why)));
    }

    /// Waits until the child is to be stopped; returns why.
    pub(crate) async fn stop_requested(&self) -> String {
        let mut seen = self.reasons.subscribe();
        let reasons = seen.wait_for(|reasons| reasons.stop.is_some()).await;
        reasons.ok().and_then(|reasons| reasons.stop.clone()).unwrap_or_default()
    }
}

impl DesiredWatch {
    /// Returns why the service should be out of the registry, if it should; [`changed`](Self::changed) then waits for
    /// changes after this.
    pub(super) fn reason(&mut self) -> Option<String> {
        self.reasons.borrow_and_update().describe()
    }

    pub(super) fn is_in_maintenance(&self) -> bool {
        self.reasons.borrow().maintenance.is_some()
    }

    /// Returns the description that the service should have; [`changed`](Self::changed) then waits for changes after
    /// this.
    pub(super) fn payload(&mut self) -> ServicePayload {
        self.description.borrow_and_update().payload.clone()
    }

    /// Waits for a change. Never returns if there can be none any more.
    pub(super) async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.reasons.changed() => changed,
            changed = self.description.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending().await
        }
    }
}

/// Cuts a reason to what a registry takes of one, without control characters. It may hold output of a command.
pub(super) fn bounded(reason: &str) -> String {
    let mut length = 0;
    let fits = |character: &char| {
        length += character.len_utf16();
        length <= REASON
    };
    reason.chars().filter(|character| !character.is_control()).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(not_ready: Option<String>, unhealthy: Option<String>) -> (Desired, DesiredWatch) {
        let texts = ServiceTexts { tags: vec!["a".into()], metadata: vec!["port={port}".into()] };
        let (payload, session_metadata) = (ServicePayload::default(), Default::default());
        let service = Service { id: "web0".into(), texts, payload, session_metadata, interval: 30 };
        super::channel(&service, not_ready, unhealthy)
    }

    #[tokio::test]
    async fn description_changes_as_a_whole_or_not_at_all() {
        let (desired, mut watch) = channel(None, None);
        let before = watch.payload();
        let error = desired.look_up_again().unwrap_err();
        assert!(format!("{error:#}").contains("{port}: no port is known"), "{error:#}");
        assert_eq!(watch.payload(), before);
        desired.set_ports(vec![8080]).unwrap();
        watch.changed().await;
        assert_eq!(watch.payload().metadata["port"], "8080");
        assert!(desired.set_texts(|texts| texts.tags = vec!["a,,b".into()]).is_err());
        assert_eq!(watch.payload().tags, ["a"]);
    }

    #[tokio::test]
    async fn maintenance_keeps_the_service_out_until_it_ends() {
        let (desired, mut watch) = channel(None, None);
        assert_eq!(watch.reason(), None);
        for is_on in [true, false] {
            desired.set_maintenance(is_on.then(String::new));
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
        desired.set_maintenance(Some("new disks".to_owned()));
        desired.set_not_ready(None);
        desired.ready().await;
        assert_eq!(watch.reason().unwrap(), "maintenance: new disks");
        desired.set_maintenance(None);
        assert_eq!(watch.reason().unwrap(), "unhealthy: tcp:80: refused");
        desired.set_unhealthy(None);
        desired.serving().await;
        assert_eq!((watch.reason(), desired.reason()), (None, None));
    }
}
