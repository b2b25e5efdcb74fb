//! The options of `serve` for a node of a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use service_registry::connection::Origins;
use service_registry::registry::{ClusterConfig, EtcdConfig, TlsFiles};

use crate::etcd_options::{EtcdOptions, certificates, endpoint, is_loopback, key};
use crate::exit::Failure;

#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterOptions {
    #[command(flatten)]
    pub(crate) etcd: EtcdOptions,
    /// URL under which the other nodes reach this one; default: the address of --listen
    #[arg(long, value_name = "URL", env = "SERVICE_REGISTRY_ADVERTISE_URL", requires = "etcd")]
    pub(crate) advertise_url: Option<String>,
    /// Number of shards that the accounts are divided into; counts only when the cluster is made
    #[arg(long, value_name = "N", env = "SERVICE_REGISTRY_SHARDS", default_value_t = 64, requires = "etcd")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=9_999))]
    pub(crate) shards: u16,
    /// File of certificate authorities (PEM) of the other nodes, instead of the system's
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_NODE_CA_FILE", requires = "etcd")]
    pub(crate) node_ca_file: Option<PathBuf>,
}

/// What else a node needs to know of itself.
pub(crate) struct Listening<'a> {
    pub(crate) address: SocketAddr,
    /// With TLS.
    pub(crate) tls: Option<&'a TlsFiles>,
}

impl ClusterOptions {
    /// Reads the files. None if the data is not in etcd; `rivals` are the options given that name another place.
    pub(crate) fn config(
        &self,
        rivals: &[&str],
        listening: &Listening<'_>,
        origins: &Origins,
    ) -> Result<Option<ClusterConfig>, Failure> {
        let Some(etcd) = self.etcd.config(rivals, origins)? else { return Ok(None) };
        let advertise_url = self.advertised(listening, &etcd, origins)?;
        let node_ca = self.node_ca_file.as_deref();
        let node_ca = node_ca.map(|file| certificates("node_ca_file", file, origins)).transpose()?;
        let identity = listening.tls.map(|tls| {
            Ok::<_, anyhow::Error>((
                certificates("tls_cert", &tls.certificate, origins)?,
                key("tls_key", &tls.key, origins)?,
            ))
        });
        Ok(Some(ClusterConfig { etcd, advertise_url, shards: self.shards, node_ca, identity: identity.transpose()? }))
    }

    fn advertised(&self, listening: &Listening<'_>, etcd: &EtcdConfig, origins: &Origins) -> Result<String, Failure> {
        let Listening { address, tls } = listening;
        let name = origins.name("advertise_url");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = match &self.advertise_url {
            Some(given) => endpoint(given).map_err(|error| Failure::usage(error.context(name.clone())))?,
            None if address.ip().is_unspecified() => {
                return Err(Failure::usage(anyhow!(
                    "{name}: the other nodes cannot reach {address}; give the URL under which they reach this one"
                )));
            }
            None => endpoint(&format!("{scheme}://{address}"))?,
        };
        if url.scheme() != scheme {
            return Err(Failure::usage(anyhow!("{name} {url}: this node listens for {scheme}")));
        }
        let is_beyond = |text: &String| endpoint(text).is_ok_and(|url| !is_loopback(&url));
        if is_loopback(&url) && etcd.endpoints.iter().any(is_beyond) {
            return Err(Failure::usage(anyhow!(
                "{name} {url}: only this machine reaches it, but etcd is on others; listen on an address that the \
                 other nodes reach, with --listen"
            )));
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    /// Returns the URL of a node, or what is wrong.
    fn advertised(listening: &str, is_secure: bool, words: &[&str]) -> Result<String, String> {
        let command = ClusterOptions::augment_args(clap::Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let options = ClusterOptions::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = TlsFiles { certificate: file.path().to_owned(), key: file.path().to_owned(), client_ca: None };
        let listening = Listening { address: listening.parse().unwrap(), tls: is_secure.then_some(&files) };
        let config = options.config(&[], &listening, &Origins::default());
        let config = config.map_err(|failure| format!("{:#}", failure.error))?;
        Ok(config.ok_or("no --etcd")?.advertise_url)
    }

    #[test]
    fn node_is_advertised_by_an_address_that_others_reach() {
        let local = "--etcd=http://127.0.0.1:2379";
        assert_eq!(advertised("127.0.0.1:7117", false, &[local]).unwrap(), "http://127.0.0.1:7117");
        assert_eq!(advertised("[::1]:7117", true, &[local]).unwrap(), "https://[::1]:7117");
        let given = ["--advertise-url=https://a.internal:7117/", local];
        assert_eq!(advertised("0.0.0.0:7117", true, &given).unwrap(), "https://a.internal:7117");
        for (listening, is_secure, words) in [
            ("0.0.0.0:7117", false, &[local][..]),
            ("[::]:7117", false, &[local]),
            ("0.0.0.0:7117", false, &given),
            ("0.0.0.0:7117", false, &[local, "--advertise-url=http://a.internal:7117/v1.0"]),
        ] {
            let error = advertised(listening, is_secure, words).unwrap_err();
            assert!(error.contains("--advertise-url"), "{error}");
        }
    }

    #[test]
    fn loopback_is_no_address_for_nodes_of_other_machines() {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "secret").unwrap();
        let file = format!("--etcd-password-file={}", password.path().display());
        let words = ["--etcd=https://10.0.0.1:2379", "--etcd-user=registry", &file];
        assert!(advertised("127.0.0.1:7117", false, &words).unwrap_err().contains("--listen"));
        assert_eq!(advertised("10.0.0.1:7117", false, &words).unwrap(), "http://10.0.0.1:7117");
    }
}
