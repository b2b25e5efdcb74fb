//! The other nodes: sends them requests and reads their answers.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

use super::address::NodeId;
use super::link::{AnswerBody, Link, Lost};
#[cfg(feature = "dns")]
use super::lookup;
use super::outgoing::{Outgoing, remove_hop_by_hop};
use super::pool::Pool;
use super::seal::{FORWARDED, Key, Stamp};
use super::tls;
#[cfg(feature = "dns")]
use crate::registry::http::lookup::Selection;
use crate::registry::http::response::Answer;
#[cfg(feature = "dns")]
use crate::registry::model::{ServiceInfo, TenantId};

/// The owner that a node believes in, in an answer that says: not me.
pub(super) const OWNER: HeaderName = HeaderName::from_static("x-service-registry-owner");
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(1);
/// Answers up to this size are read before they are passed on: a connection that breaks is then no broken answer.
const SMALL: u64 = 16 << 10;
/// How long a handover may take.
const HANDOVER: Duration = Duration::from_secs(30);
/// How long a node may take to look up services: DNS waits no longer.
#[cfg(feature = "dns")]
const LOOKUP: Duration = Duration::from_secs(2);
/// The most bytes of services, which nobody reads by DNS as a whole.
#[cfg(feature = "dns")]
const SERVICES: u64 = 64 << 20;
/// How much of a refusal is read, in bytes.
const REFUSAL: u64 = 4 << 10;

/// What the connections to other nodes need.
#[derive(Debug)]
pub(in crate::registry) struct PeersConfig {
    /// The id of this node.
    pub(in crate::registry) node: NodeId,
    /// The secret of the cluster, from which the key is derived.
    pub(in crate::registry) key: [u8; 32],
    /// PEM: the authority of the other nodes' certificates; without it, the system's.
    pub(in crate::registry) ca: Option<Vec<u8>>,
    /// PEM: this node's certificate and its key, for nodes that demand one.
    pub(in crate::registry) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The other nodes.
pub(in crate::registry) struct Peers {
    node: NodeId,
    pub(super) key: Key,
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    tls: OnceLock<Result<TlsConnector, String>>,
    pool: Arc<Pool>,
}

/// The outcome of forwarding a request.
pub(in crate::registry::http) enum Forwarded {
    Answer(Answer),
    /// The other node is not the owner, and believes that this one is.
    NotOwner(Option<NodeId>),
    /// It was certainly not executed.
    NotSent(String),
    /// It may have been executed.
    Unclear(String),
}

impl Forwarded {
    /// Returns what metrics call it.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Answer(_) => "answered",
            Self::NotOwner(_) => "not_owner",
            Self::NotSent(_) => "not_sent",
            Self::Unclear(_) => "unclear",
        }
    }
}

impl Peers {
    /// # Errors
    ///
    /// If a certificate or the key cannot be used.
    pub(in crate::registry) fn new(config: PeersConfig) -> Result<Self, String> {
        let PeersConfig { node, key, ca, identity } = config;
        let is_given = ca.is_some() || identity.is_some();
        let key = Key::of(&key);
        let peers = Self { node, key, ca, identity, tls: OnceLock::new(), pool: Arc::default() };
        if is_given {
            peers.tls()?;
        }
        Ok(peers)
    }

    /// Sends a request to a node, and returns its answer once the head is there. The node has `wait` until then; a body
    /// that is not small takes as long as its reader.
    pub(in crate::registry::http) async fn forward(
        &self,
        url: &Url,
        request: &Outgoing<'_>,
        wait: Duration,
        client_wait: Duration,
    ) -> Forwarded {
        let sealed = request.request(&self.node, &self.key, client_wait);
        let (link, response) = match self.send(url, sealed, wait).await {
            Ok(sent) => sent,
            Err(Failure::NotSent(why)) => return Forwarded::NotSent(why),
            Err(Failure::Unclear(why)) => return Forwarded::Unclear(why),
        };
        if response.status() == StatusCode::MISDIRECTED_REQUEST
            && let Some(owner) = response.headers().get(OWNER)
        {
            let owner = owner.to_str().ok().filter(|owner| !owner.is_empty()).map(NodeId::from);
            let (_, body) = response.into_parts();
            let _ = self.body(body, link, url).whole().await; // which frees the connection
            return Forwarded::NotOwner(owner);
        }
        self.pass_on(response, link, url, wait).await
    }

    /// Gives a shard's last bytes to its next owner.
    ///
    /// # Errors
    ///
    /// If the node does not take them.
    pub(in crate::registry) async fn handover(&self, url: &Url, shard: u16, bytes: Vec<u8>) -> Result<(), String> {
        let (status, body) = self.post(url, &format!("/internal/v1/handover/{shard}"), bytes, HANDOVER).await?;
        if status.is_success() {
            return body.whole().await.map(drop).map_err(|error| format!("{url}: {error}"));
        }
        let is_short = body.length().is_some_and(|length| length <= REFUSAL);
        let why = if is_short { body.whole().await.unwrap_or_default() } else { Bytes::new() };
        let why = String::from_utf8_lossy(&why);
        Err(format!("{url} refused shard {shard} with {status}: {}", why.trim().escape_debug()))
    }

    /// Looks up services at the owner of an account.
    ///
    /// # Errors
    ///
    /// If the node does not answer, or is not the owner.
    #[cfg(feature = "dns")]
    pub(in crate::registry) async fn look_up(
        &self,
        url: &Url,
        tenant: TenantId,
        selection: &Selection,
    ) -> Result<Vec<Arc<ServiceInfo>>, String> {
        let (path, body) = lookup::request(tenant, selection)?;
        let (status, body) = self.post(url, &path, body, LOOKUP).await?;
        if status != StatusCode::OK || body.length().is_none_or(|length| length > SERVICES) {
            return Err(format!("{url} answers with {status} and {:?} bytes", body.length()));
        }
        let whole = timeout(LOOKUP, body.whole()).await.map_err(|_| format!("{url}: no whole answer in time"))?;
        lookup::decode(&whole.map_err(|error| format!("{url}: {error}"))?)
    }

    /// Sends a request of this node's own.
    async fn post(
        &self,
        url: &Url,
        path: &str,
        bytes: Vec<u8>,
        wait: Duration,
    ) -> Result<(StatusCode, AnswerBody), String> {
        let (address, is_secure) = (std::net::Ipv4Addr::UNSPECIFIED.into(), url.scheme() == "https");
        let stamp = Stamp { node: &self.node, address, is_secure, id: "-", wait };
        let seal = self.key.seal("POST", path, &stamp, &bytes);
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let request = Request::builder().method(Method::POST).uri(path).header("host", host).header(FORWARDED, seal);
        let request = request.body(Full::new(bytes.into())).map_err(|error| error.to_string())?;
        let sent = self.send(url, request, wait).await;
        let (link, response) = sent.map_err(|(Failure::NotSent(why) | Failure::Unclear(why))| why)?;
        let (head, body) = response.into_parts();
        Ok((head.status, self.body(body, link, url)))
    }

    /// Sends a request on a kept connection, or on a new one if those have ended.
    async fn send(
        &self,
        url: &Url,
        mut request: Request<Full<Bytes>>,
        wait: Duration,
    ) -> Result<(Link, Response<Incoming>), Failure> {
        loop {
            let kept = self.pool.take(url.as_str());
            let is_new = kept.is_none();
            let mut link = match kept {
                Some(link) => link,
                None => self.open(url, wait).await.map_err(|why| Failure::NotSent(format!("{url}: {why}")))?,
            };
            match timeout(wait, link.exchange(request)).await {
                Ok(Ok(response)) => return Ok((link, response)),
                Ok(Err(Lost::NotSent(same))) if !is_new => request = *same,
                Ok(Err(Lost::NotSent(_))) => {
                    return Err(Failure::NotSent(format!("{url}: the connection ended at once")));
                }
                Ok(Err(Lost::Unclear(why))) => return Err(Failure::Unclear(format!("{url}: {why}"))),
                Err(_) => return Err(Failure::Unclear(format!("{url}: no answer within {wait:?}"))),
            }
        }
    }

    async fn open(&self, url: &Url, wait: Duration) -> Result<Link, String> {
        let tls = if url.scheme() == "https" { Some(self.tls()?.clone()) } else { None };
        self.pool.close_aged();
        let opened = timeout(CONNECT.min(wait), Link::open(url, tls)).await;
        opened.unwrap_or_else(|_| Err("it takes no connection".to_owned()))
    }

    fn tls(&self) -> Result<&TlsConnector, String> {
        let make = || tls::connector(self.ca.as_deref(), self.identity.as_ref());
        self.tls.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    fn body(&self, body: Incoming, link: Link, url: &Url) -> AnswerBody {
        AnswerBody::new(body, link, self.pool.clone(), url.clone())
    }

    /// Turns the other node's response into this one's.
    async fn pass_on(&self, response: Response<Incoming>, link: Link, url: &Url, wait: Duration) -> Forwarded {
        let (head, body) = response.into_parts();
        let (status, mut headers) = (head.status, head.headers);
        let body = self.body(body, link, url);
        // Some old clients must log in again on a new connection; otherwise theirs outlasts the one between the nodes.
        let is_closing = status == StatusCode::UNAUTHORIZED && headers.contains_key(CONNECTION);
        remove_hop_by_hop(&mut headers);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(DATE); // hyper writes it
        if is_closing {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if body.length().is_none_or(|length| length > SMALL) {
            return Forwarded::Answer(Answer::passed_on(status, headers, Bytes::new(), Some(body.boxed())));
        }
        match timeout(wait, body.whole()).await {
            Ok(Ok(whole)) => Forwarded::Answer(Answer::passed_on(status, headers, whole, None)),
            Ok(Err(error)) => Forwarded::Unclear(format!("{url}: {error}")),
            Err(_) => Forwarded::Unclear(format!("{url}: no whole answer within {wait:?}")),
        }
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("node", &self.node).finish_non_exhaustive()
    }
}

enum Failure {
    NotSent(String),
    Unclear(String),
}
