//! Verifies that the service is in the registry, in the wrapper's own session, and decides what its absence means for
//! the child.

use std::convert::Infallible;

use service_registry::client::Error;
use service_registry::wire::Service as Found;
use tracing::{debug, info, warn};

use super::holder::Holder;
use super::task::RegistrationTask;
use crate::boot_time::BootTime;

impl RegistrationTask {
    /// Looks the service up. The session may live although an operator has removed the service, or another process has
    /// its id.
    pub(super) async fn verify(&mut self, session: &str) -> Result<(), Error> {
        let (client, id) = (self.endpoints.current(), &self.service.id);
        let sent = BootTime::now();
        let holder = match client.services().get(id).await {
            Ok(Found::InSession(service)) if service.session_id == session => {
                if std::mem::take(&mut self.failed_verifications) > 0 {
                    info!("{id} is still registered");
                }
                self.status.send_modify(|status| status.verified_sent = Some(sent));
                return Ok(());
            }
            Ok(found) => Some(Holder::of(found)),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                self.verification_failed(&error);
                return Ok(());
            }
        };
        if self.has_fenced_place() {
            let why = match holder {
                Some(holder) => format!("{id} is held by {holder}"),
                None => {
                    // A lost session takes its service along; both may be registered again in time.
                    client.sessions().get(session).await?;
                    format!("{id} was removed from the registry, though its session was not")
                }
            };
            match self.lose_place(why).await {}
        }
        if holder.is_none() {
            warn!("{id} is not in the registry any more, though its session is; registering it again");
            self.status.send_modify(|status| status.registered = false);
        }
        self.register(session).await
    }

    /// A verification that failed proves nothing. The fence counts from the last one that succeeded; without a fence,
    /// failing heartbeats are logged instead.
    fn verification_failed(&mut self, error: &Error) {
        if self.has_fence {
            self.failed_verifications = self.failed_verifications.saturating_add(1);
        }
        if self.failed_verifications == 1 {
            warn!("cannot verify that {} is still registered, will try again: {error}", self.service.id);
        } else {
            debug!("cannot verify the registration: {error}");
        }
    }

    pub(super) fn was_ours(&self, session: &str) -> bool {
        self.lost_session.as_deref() == Some(session)
    }

    /// Returns whether the child has a place for whose loss it would be stopped.
    pub(super) fn has_fenced_place(&self) -> bool {
        self.has_fence && self.status.borrow().verified_sent.is_some()
    }

    /// Reports the place as lost. The supervisor then stops the child, and ends this task.
    pub(super) async fn lose_place(&self, why: String) -> Infallible {
        self.status.send_modify(|status| {
            status.registered = false;
            status.last_error = Some(why.clone());
            status.lost = Some(why);
        });
        std::future::pending().await
    }
}
