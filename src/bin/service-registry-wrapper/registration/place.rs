//! Whether the service has its place in the registry, in the session that the wrapper keeps alive; and what it means for the child
//! if somebody else has it.

use std::convert::Infallible;

use service_registry::client::{Client, Error};
use service_registry::wire::Service as Found;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::task::RegistrationTask;

impl RegistrationTask {
    /// The session may live while somebody has removed the service, or taken its id.
    pub(super) async fn look(&mut self, session: &str) -> Result<(), Error> {
        let (client, id) = (self.endpoints.current(), &self.service.id);
        let sent = Instant::now();
        let held_by = match client.services().get(id).await {
            Ok(Found::InSession(service)) if service.session_id == session => {
                if std::mem::take(&mut self.unseen) > 0 {
                    info!("{id} is registered, as before");
                }
                self.status_now.send_modify(|status_now| status_now.held = Some(sent));
                return Ok(());
            }
            Ok(found) => Some(holder_of(found)),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                self.not_seen(&error);
                return Ok(());
            }
        };
        if self.has_place() {
            let why = match held_by {
                Some((holder, about)) => format!("{id} is held by session {holder}{about}"),
                None => {
                    // A session that is lost takes its service along; both may be there again in time.
                    client.sessions().get(session).await?;
                    format!("{id} was removed from the registry, though its session was not")
                }
            };
            match self.give_away(why).await {}
        }
        warn!("{id} is not in the registry any more, though its session is; registering it again");
        self.status_now.send_modify(|status_now| status_now.registered = false);
        self.register(session).await
    }

    /// A look that failed says nothing. The fence counts from the last one that did not; where there is none, the heartbeats see
    /// to it that this does not go unnoticed.
    fn not_seen(&mut self, error: &Error) {
        if self.fenced {
            self.unseen = self.unseen.saturating_add(1);
        }
        if self.unseen == 1 {
            warn!("cannot see whether {} is still registered, will look again: {error}", self.service.id);
        } else {
            debug!("cannot look for the service: {error}");
        }
    }

    pub(super) fn was_ours(&self, session: &str) -> bool {
        self.previous.as_deref() == Some(session)
    }

    /// Whether the child would be stopped for the loss of a place that it has.
    pub(super) fn has_place(&self) -> bool {
        self.fenced && self.status_now.borrow().held.is_some()
    }

    /// The place is lost, and nothing is left to be done here: whoever stops the child ends this task.
    pub(super) async fn give_away(&self, why: String) -> Infallible {
        self.status_now.send_modify(|status_now| {
            status_now.registered = false;
            status_now.last_error = Some(why.clone());
            status_now.lost = Some(why);
        });
        std::future::pending().await
    }
}

/// The session that holds this id, and what its service says about itself.
pub(super) async fn holder(client: &Client, id: &str) -> Option<(String, String)> {
    client.services().get(id).await.ok().map(holder_of)
}

fn holder_of(found: Found) -> (String, String) {
    let (holder, about) = match found {
        Found::InSession(service) => (service.session_id, service.metadata),
        Found::Own(service) => ("of its own".to_owned(), service.metadata),
    };
    (holder, if about.is_empty() { String::new() } else { format!(" {about:?}") })
}
