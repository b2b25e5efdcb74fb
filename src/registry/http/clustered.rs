//! Answers requests in a cluster: from a shard that is here, or from the node that has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
#[cfg(feature = "dns")]
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::app::{App, Home};
use super::dispatch::{Admitted, Notes};
use super::error::HttpError;
use super::forward::{Elsewhere, Location, Outgoing, Peers, Question, answer_elsewhere, is_heartbeat, is_repeatable};
#[cfg(feature = "dns")]
use super::forward::{encode_services, not_owner};
#[cfg(feature = "dns")]
use super::lookup::Selection;
use super::metrics;
use super::resources;
use super::response::Answer;
use super::router;
use crate::registry::cluster::{Hold, Node, Place};
#[cfg(feature = "dns")]
use crate::registry::model::{ServiceInfo, TenantId};

/// How long an answer waits until the node's claim to the shard is certain again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the responses of a node that stops ask to close the connection, before it closes those that are idle.
const POLITE: Duration = Duration::from_secs(1);

/// A node of a cluster, and its way to the others.
#[derive(Debug)]
pub(in crate::registry) struct Clustered {
    pub(in crate::registry) node: Arc<Node>,
    pub(super) peers: Arc<Peers>,
    is_closing: AtomicBool,
}

impl Clustered {
    pub(in crate::registry) fn new(node: Arc<Node>, peers: Arc<Peers>) -> Self {
        Self { node, peers, is_closing: AtomicBool::new(false) }
    }

    /// Hands everything over to the other nodes, and lets clients close their connections.
    pub(in crate::registry) async fn retire(&self) {
        self.node.leave().await;
        self.is_closing.store(true, Ordering::Release);
        sleep(POLITE).await;
    }
}

#[cfg(feature = "dns")]
impl Clustered {
    /// Looks up services at the node with this URL, for DNS; none if it does not answer. They have no more than their
    /// ids and metadata.
    pub(in crate::registry) async fn look_up_at(
        &self,
        url: &str,
        tenant: TenantId,
        selection: &Selection,
    ) -> Option<Vec<Arc<ServiceInfo>>> {
        let (url, selection, peers) = (url.parse().ok()?, selection.clone(), self.peers.clone());
        // In the server's runtime, to which the connections belong that all requests share. It ends with its query.
        let mut task = JoinSet::new();
        task.spawn_on(async move { peers.look_up(&url, tenant, &selection).await }, self.node.runtime());
        let answer = task.join_next().await?.ok()?;
        answer.inspect_err(|why| tracing::debug!(why, "no answer to DNS from another node")).ok()
    }
}

/// Returns whether responses should end their connections.
pub(super) fn is_closing(app: &App) -> bool {
    matches!(&app.home, Home::Cluster(cluster) if cluster.is_closing.load(Ordering::Acquire))
}

/// Takes in what another node hands over.
pub(super) fn receive(app: &App, shard: u16, message: &[u8]) -> Result<Answer, HttpError> {
    #[cfg(test)]
    if let Some(table) = &app.table {
        table.take(shard, message.to_vec());
        return Ok(Answer::empty(StatusCode::NO_CONTENT));
    }
    match &app.home {
        Home::Cluster(cluster) if cluster.node.receive(shard, message) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        _ => Err(HttpError::Garbled),
    }
}

/// Looks up services for a node that answers DNS. Like a forwarded request, it goes no further.
#[cfg(feature = "dns")]
pub(super) async fn look_up(app: &App, tenant: TenantId, selection: &[u8]) -> Result<Answer, HttpError> {
    let selection: Selection = serde_json::from_slice(selection).map_err(|_| HttpError::Garbled)?;
    let services = match &app.home {
        Home::Alone(engine) => selection.read(engine, tenant).await, // in tests
        Home::Cluster(cluster) => {
            let Place::Here(hold) = cluster.node.place(tenant) else { return Ok(not_owner(None)) };
            let services = selection.read(hold.engine(), tenant).await;
            if !hold.confirm(Instant::now() + PATIENCE).await {
                return Ok(not_owner(None));
            }
            services
        }
    };
    Ok(encode_services(&services).map_or_else(|error| Answer::not_written(&error), Answer::json_text))
}

impl Admitted<'_> {
    /// Answers from where the data of the account is. A request that comes from another node goes no further.
    pub(super) async fn answer_in_cluster(&self, raw: &Bytes, notes: &mut Notes) -> Result<Answer, HttpError> {
        let (app, id) = (self.app, notes.id.get_or_insert_with(|| self.app.ids.next(self.app.now().wall)).clone());
        let Some(peers) = &app.peers else { return Err(HttpError::NoOwner) };
        if let Home::Cluster(cluster) = &app.home
            && router::is_cluster(&self.base.parts.method, self.rest)
        {
            return Ok(Answer::json(StatusCode::OK, &cluster.node.summary()));
        }
        notes.kind = resources::is_followed(self.query, &self.base.parts.headers).then_some(metrics::FOLLOW);
        loop {
            let (parts, caller) = (self.base.parts, self.caller);
            let outgoing = Outgoing { parts, body: raw, caller, id: &id, listening: app.listening };
            let question = Question::new(app, outgoing, self.tenant, self.query, notes.forwarded.is_some())?;
            match &app.home {
                #[cfg(not(test))]
                Home::Alone(_) => return Err(HttpError::NoOwner), // it has no peers
                #[cfg(test)]
                Home::Alone(engine) => {
                    let Some(table) = &app.table else { return Err(HttpError::NoOwner) };
                    return match answer_elsewhere(app, peers, question, table.place(), table.changed()).await? {
                        Elsewhere::Answered(answer) => Ok(answer),
                        Elsewhere::Here(()) => self.answer(engine, engine.now(), app.authenticator.load(), notes).await,
                    };
                }
                Home::Cluster(cluster) => {
                    let (place, changed) = (place(&cluster.node, self.tenant), changed(&cluster.node));
                    match answer_elsewhere(app, peers, question, place, changed).await? {
                        Elsewhere::Answered(answer) => return Ok(answer),
                        Elsewhere::Here(hold) => {
                            if let Some(outcome) = self.answer_here(&cluster.node, hold, notes).await {
                                return outcome;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Answers from a shard that is here. The answer is given only if the shard was certainly here after it was made:
    /// none if the request is to be answered once more.
    async fn answer_here(&self, node: &Node, hold: Hold, notes: &mut Notes) -> Option<Result<Answer, HttpError>> {
        if self.adds() && node.is_full.load(Ordering::Relaxed) {
            return Some(Err(HttpError::NoOwner));
        }
        let engine = hold.engine().clone();
        let (now, users) = (engine.now(), self.app.authenticator.load());
        let (outcome, is_certain) = if resources::is_followed(self.query, &self.base.parts.headers) {
            // It may wait for long, and a handover does not wait for it.
            let answered = hold.release();
            let outcome = self.answer(&engine, now, users, notes).await;
            (outcome, answered.confirm(Instant::now() + PATIENCE).await)
        } else {
            let outcome = self.answer(&engine, now, users, notes).await;
            (outcome, hold.confirm(Instant::now() + PATIENCE).await)
        };
        match is_certain {
            true => Some(outcome),
            // What may have been done is done again only if that makes no difference.
            false if is_repeatable(self.base.parts) => None,
            false => Some(Err(HttpError::NoOwner)),
        }
    }

    /// Returns whether it adds to what is stored, which is refused while etcd has little room.
    fn adds(&self) -> bool {
        match self.base.parts.method {
            Method::POST => !is_heartbeat(self.base.parts),
            Method::PUT => self.rest.to_ascii_lowercase().starts_with("/configuration"),
            _ => false,
        }
    }
}

/// Tells where an account is.
fn place(node: &Arc<Node>, tenant: u32) -> impl Fn() -> Location<Hold> + Clone + Send + use<> {
    let node = node.clone();
    move || match node.place(tenant) {
        Place::Here(hold) => Location::Here(hold),
        Place::At { node, url } => url.parse().map_or(Location::Unsettled, |url| Location::At { node, url }),
        Place::Unsettled => Location::Unsettled,
    }
}

/// Waits for the next change of places, counted from the call.
fn changed(node: &Arc<Node>) -> impl Fn() -> tokio::sync::futures::OwnedNotified + Clone + Send + use<> {
    let node = node.clone();
    move || node.moved()
}
