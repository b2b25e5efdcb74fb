//! The options of `serve`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use service_registry::connection::Origins;
#[cfg(feature = "etcd")]
use service_registry::registry::ClusterConfig;
use service_registry::registry::TrustedProxy;

#[cfg(feature = "etcd")]
use super::cluster_options::{ClusterOptions, Listening};
#[cfg(feature = "dns")]
use super::dns::DnsOptions;
use crate::duration::duration;
#[cfg(feature = "etcd")]
use crate::exit::Failure;

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "SERVICE_REGISTRY_LISTEN",
        default_value_t = format!("127.0.0.1:{}", service_registry::wire::DEFAULT_PORT)
    )]
    pub(crate) listen: String,
    /// Users file (TOML); without it every client on this machine has access
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_USERS")]
    pub(crate) users: Option<PathBuf>,
    /// Data directory; default: that of the systemd unit, /var/lib/service-registry for root, else in the user's home
    #[arg(long, value_name = "DIR", env = "SERVICE_REGISTRY_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep all data in memory, also with --data-dir: it is lost at the exit
    #[arg(long, env = "SERVICE_REGISTRY_IN_MEMORY")]
    pub(crate) in_memory: bool,
    /// How long events are kept: a number followed by s, m, h or d, such as 12h; default: 30d, with --etcd 24h
    #[arg(long, value_name = "DURATION", env = "SERVICE_REGISTRY_EVENTS_RETENTION", value_parser = duration)]
    pub(crate) events_retention: Option<Duration>,
    /// Without --users: allow other machines as well
    #[arg(long, env = "SERVICE_REGISTRY_OPEN")]
    pub(crate) open: bool,
    /// Without --users: a host name under which clients reach this machine; repeatable, or separated by ','
    ///
    /// Requests for other names are refused. Loopback names and addresses of this machine need not be given.
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_HOST_NAMES", value_delimiter = ',')]
    pub(crate) host_name: Vec<String>,
    /// Address of a trusted proxy, whose X-Forwarded-For or Forwarded counts; repeatable, or separated by ','
    ///
    /// Failed logins then count for the client's address instead of the proxy's.
    #[arg(long, value_name = "ADDRESS[/BITS]", env = "SERVICE_REGISTRY_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxy: Vec<TrustedProxy>,
    /// Serve TLS: file with the certificate and the intermediate ones (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with the certificate's private key (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Require client certificates that one of these authorities has signed (PEM)
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_TLS_CLIENT_CA", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Most open connections; if there is one more, an idle one is closed
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_MAX_CONNECTIONS", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: u32,
    /// Serve /metrics and /health here as well, over plain HTTP and without users
    ///
    /// On the address of --listen, only programs of this machine may read the metrics, and users with `metrics = true`.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SERVICE_REGISTRY_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<String>,
    /// Hide events that old clients do not know
    ///
    /// That is `service.remove` for a service in a session: some old clients stop reading the feed at it. Hides also
    /// the members of events that the original did not have (cause, reason, client), and the types that are listed on
    /// request.
    #[arg(long, env = "SERVICE_REGISTRY_STRICT_FEED")]
    pub(crate) strict_feed: bool,
    /// Members of services in lists
    #[arg(long, value_name = "SHAPE", env = "SERVICE_REGISTRY_SERVICE_SHAPE", default_value = "form")]
    pub(crate) service_shape: Shape,
    /// Accept heartbeats for the sessions `null` and `None` as those of the token's owner
    ///
    /// Some old clients send them; otherwise the response is 404, and their sessions expire.
    #[arg(long, env = "SERVICE_REGISTRY_LENIENT_HEARTBEATS")]
    pub(crate) lenient_heartbeats: bool,
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    #[cfg(feature = "dns")]
    #[command(flatten)]
    pub(crate) dns: DnsOptions,
    /// What the user wrote for the values.
    #[arg(skip)]
    pub(crate) origins: Origins,
}

impl Serve {
    /// Returns the name that the user wrote: `--listen`, or `SERVICE_REGISTRY_LISTEN`.
    pub(crate) fn origin(&self, option: &str) -> String {
        self.origins.name(option)
    }

    /// Reads the options of a node. None if the data is not in etcd.
    #[cfg(feature = "etcd")]
    pub(crate) fn cluster(&self, listening: &Listening<'_>) -> Result<Option<ClusterConfig>, Failure> {
        let rivals = [("data_dir", self.data_dir.is_some()), ("in_memory", self.in_memory)];
        let rivals: Vec<&str> = rivals.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect();
        self.cluster.config(&rivals, listening, &self.origins)
    }
}

/// The members of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Those of the form in which they were created
    Form,
    /// Those of both forms, for old clients that want them
    Union,
}
