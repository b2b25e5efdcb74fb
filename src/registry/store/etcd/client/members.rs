//! The members of the etcd cluster: one connection to each, made when it is first needed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::call::TRY;
use crate::registry::Error;
use crate::registry::store::etcd::EtcdConfig;

/// The longest time to connect. Shorter than the time of a try, so that a machine that is gone is told apart from one
/// that took the request and did not answer.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a member is asked whether it is still there, while a request or a watch waits for it. etcd closes the
/// connection of a client that asks more often than every 5 s.
const PROBE: Duration = Duration::from_secs(6);
const PROBE_ANSWER: Duration = Duration::from_secs(2);

/// The members by their URLs.
pub(super) struct Members {
    members: Vec<Arc<MemberAt>>,
    /// The one that answered last.
    good: AtomicUsize,
    /// Name and password.
    pub(super) user: Option<(String, String)>,
    token: Mutex<Option<MetadataValue<Ascii>>>,
    config: EtcdConfig,
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|member| &member.url)).finish()
    }
}

/// A member at a URL.
pub(super) struct MemberAt {
    pub(super) url: String,
    endpoint: Endpoint,
    /// The connection, and since when it is used.
    channel: Mutex<Option<(Channel, Instant)>>,
}

impl MemberAt {
    /// Called inside a runtime, where the connection then lives.
    pub(super) fn channel(&self) -> Channel {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.get_or_insert_with(|| (self.endpoint.connect_lazy(), Instant::now())).0.clone()
    }

    /// Lets the next request have a connection of its own, after one that got no answer. After a cut of the network, the
    /// system sends on an old connection as late again as the cut was long.
    pub(super) fn reconnect(&self) {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        // A younger one was made since that request was sent.
        channel.take_if(|(_, since)| since.elapsed() >= TRY);
    }
}

impl Members {
    pub(super) fn new(config: &EtcdConfig) -> Result<Self, Error> {
        if config.endpoints.is_empty() {
            return Err(failed("no member of etcd is named: give --etcd a URL"));
        }
        check_files(config)?;
        let members = config.endpoints.iter().map(|url| member(config, url).map(Arc::new)).collect::<Result<_, _>>()?;
        let (user, token) = (config.user.clone(), Mutex::new(None));
        Ok(Self { members, good: AtomicUsize::new(0), user, token, config: config.clone() })
    }

    /// Returns all of them, beginning with the one that answered last.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (usize, Arc<MemberAt>)> {
        let first = self.good.load(Ordering::Relaxed);
        let count = self.members.len();
        (0..count).map(move |offset| (first + offset) % count).map(|index| (index, self.members[index].clone()))
    }

    /// Lets the next call begin with this member, or with the one after it if it did not answer.
    pub(super) fn note(&self, index: usize, has_answered: bool) {
        let index = if has_answered { index } else { (index + 1) % self.members.len() };
        self.good.store(index, Ordering::Relaxed);
    }

    /// Returns the member at one of these URLs. One that was not configured is connected to for this once.
    pub(super) fn at(&self, urls: &[String]) -> Result<Arc<MemberAt>, Error> {
        let known = self.members.iter().find(|member| urls.iter().any(|url| same(url, &member.url)));
        match (known, urls.first()) {
            (Some(member), _) => Ok(member.clone()),
            (None, Some(url)) => member(&self.config, url).map(Arc::new),
            (None, None) => Err(failed("a member of etcd has no URL for clients: set its --advertise-client-urls")),
        }
    }

    pub(super) fn token(&self) -> Option<MetadataValue<Ascii>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_token(&self, token: Option<MetadataValue<Ascii>>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn failed(message: impl Into<String>) -> Error {
    Error::Etcd { message: message.into() }
}

fn member(config: &EtcdConfig, url: &str) -> Result<MemberAt, Error> {
    let wrong = |error: &dyn std::error::Error| {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        failed(format!("--etcd {url}: {error}{cause}"))
    };
    let is_tls = url.starts_with("https://");
    if !is_tls && !url.starts_with("http://") {
        return Err(failed(format!("--etcd {url}: a URL begins with http:// or https://")));
    }
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| wrong(&error))?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE_ANSWER);
    if is_tls {
        endpoint = with_tls(config, endpoint).map_err(|error| wrong(&*error))?;
    }
    Ok(MemberAt { url: url.to_owned(), endpoint, channel: Mutex::new(None) })
}

fn with_tls(config: &EtcdConfig, endpoint: Endpoint) -> Result<Endpoint, Box<dyn std::error::Error>> {
    let mut tls = ClientTlsConfig::new();
    if let Some((certificate, key)) = &config.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let Some(authorities) = &config.ca {
        return Ok(endpoint.tls_config(tls.ca_certificate(Certificate::from_pem(authorities)))?);
    }
    let verifier = Verifier::new(Arc::new(rustls::crypto::ring::default_provider()))?;
    Ok(endpoint.tls_config_with_verifier(tls, Arc::new(verifier))?)
}

/// Checks the files of TLS, which are otherwise read when a connection is made, or silently have nothing in them.
fn check_files(config: &EtcdConfig) -> Result<(), Error> {
    let has_certificates = |pem: &[u8]| {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        certificates.is_ok_and(|certificates| !certificates.is_empty())
    };
    if config.ca.as_ref().is_some_and(|pem| !has_certificates(pem)) {
        return Err(failed("--etcd-ca-file: there is no certificate (PEM) in it"));
    }
    if config.identity.as_ref().is_some_and(|(pem, _)| !has_certificates(pem)) {
        return Err(failed("--etcd-cert: there is no certificate (PEM) in it"));
    }
    if config.identity.as_ref().is_some_and(|(_, pem)| PrivateKeyDer::from_pem_slice(pem).is_err()) {
        return Err(failed("--etcd-key: there is no private key (PEM) in it"));
    }
    Ok(())
}
