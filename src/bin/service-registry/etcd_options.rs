//! The options about etcd, of all commands that use it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use service_registry::connection::Origins;
use service_registry::files::{self, LARGEST_PEM};
use service_registry::registry::EtcdConfig;
use url::{Host, Url};

use crate::exit::Failure;

/// In bytes; no password is longer.
const LARGEST_PASSWORD: u64 = 64 * 1024;

#[derive(Args, Debug)]
#[command(next_help_heading = "etcd")]
pub(crate) struct EtcdOptions {
    /// Keep everything in etcd: the client URLs of its members, separated by ','
    #[arg(long, value_name = "URL,...", env = "SERVICE_REGISTRY_ETCD", value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// What the names of all keys in etcd begin with
    #[arg(long, value_name = "TEXT", env = "SERVICE_REGISTRY_ETCD_PREFIX", default_value = "/service-registry/")]
    #[arg(requires = "etcd")]
    pub(crate) etcd_prefix: String,
    /// User of etcd
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_ETCD_USER")]
    #[arg(requires_all = ["etcd", "etcd_password_file"])]
    pub(crate) etcd_user: Option<String>,
    /// File with that user's password
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_ETCD_PASSWORD_FILE", requires = "etcd_user")]
    pub(crate) etcd_password_file: Option<PathBuf>,
    /// File of certificate authorities (PEM) of the members, instead of the system's
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_ETCD_CA_FILE", requires = "etcd")]
    pub(crate) etcd_ca_file: Option<PathBuf>,
    /// File with the client certificate (PEM), for members that require one
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_ETCD_CERT", requires_all = ["etcd", "etcd_key"])]
    pub(crate) etcd_cert: Option<PathBuf>,
    /// File with the private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_ETCD_KEY", requires = "etcd_cert")]
    pub(crate) etcd_key: Option<PathBuf>,
    /// The members' --quota-backend-bytes
    #[arg(long, value_name = "BYTES", env = "SERVICE_REGISTRY_ETCD_QUOTA", default_value_t = 2_147_483_648)]
    #[arg(requires = "etcd", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) etcd_quota: u64,
}

impl EtcdOptions {
    /// Reads the files, and checks everything that can be checked without asking etcd. None if the data is elsewhere:
    /// without `--etcd`, or if an option on the command line (`rivals` are those that were given) names another place
    /// than a variable does.
    pub(crate) fn config(&self, rivals: &[&str], origins: &Origins) -> Result<Option<EtcdConfig>, Failure> {
        if self.etcd.is_empty() {
            return Ok(None);
        }
        for rival in rivals {
            match (origins.is_variable("etcd"), origins.is_variable(rival)) {
                (true, false) => return Ok(None),
                (false, true) => {}
                _ => {
                    return Err(Failure::usage(anyhow!(
                        "{} and {} name two places for the data: give one of them",
                        origins.name("etcd"),
                        origins.name(rival)
                    )));
                }
            }
        }
        let endpoints: Vec<Url> = self
            .etcd
            .iter()
            .map(|url| endpoint(url))
            .collect::<Result<_>>()
            .map_err(|error| Failure::usage(error.context(origins.name("etcd"))))?;
        let is_known = self.etcd_user.is_some() || self.etcd_cert.is_some();
        if let Some(open) = endpoints.iter().find(|url| !is_loopback(url) && (url.scheme() != "https" || !is_known)) {
            return Err(Failure::usage(anyhow!(
                "{} {open}: whoever can read etcd can make tokens of every user, so beyond this machine it must be \
                 reached by https, and with --etcd-user and --etcd-password-file or --etcd-cert and --etcd-key",
                origins.name("etcd")
            )));
        }
        let prefix = self.etcd_prefix.strip_suffix('/').unwrap_or(&self.etcd_prefix);
        Ok(Some(EtcdConfig {
            endpoints: endpoints.iter().map(|url| url.as_str().trim_end_matches('/').to_owned()).collect(),
            prefix: format!("{prefix}/"),
            user: self.user(origins)?,
            ca: self.etcd_ca_file.as_deref().map(|file| certificates("etcd_ca_file", file, origins)).transpose()?,
            identity: self.identity(origins)?,
            quota: self.etcd_quota,
        }))
    }

    fn user(&self, origins: &Origins) -> Result<Option<(String, String)>> {
        let Some((name, file)) = self.etcd_user.as_ref().zip(self.etcd_password_file.as_ref()) else {
            return Ok(None);
        };
        let place = || format!("{}: {}", origins.name("etcd_password_file"), file.display());
        let bytes = files::read_secret(file, LARGEST_PASSWORD).with_context(place)?;
        let text = files::text(bytes).with_context(place)?;
        let password = text.trim_end_matches(['\r', '\n']);
        ensure!(!password.is_empty(), "{} is empty; it should hold the password", place());
        Ok(Some((name.clone(), password.to_owned())))
    }

    fn identity(&self, origins: &Origins) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Some((certificate, file)) = self.etcd_cert.as_ref().zip(self.etcd_key.as_ref()) else {
            return Ok(None);
        };
        Ok(Some((certificates("etcd_cert", certificate, origins)?, key("etcd_key", file, origins)?)))
    }
}

/// Reads a file of certificates that an option names.
pub(crate) fn certificates(option: &str, file: &Path, origins: &Origins) -> Result<Vec<u8>> {
    let place = || format!("{}: {}", origins.name(option), file.display());
    Ok(files::read(file, LARGEST_PEM).with_context(place)?.to_vec())
}

/// Reads the private key that an option names.
pub(crate) fn key(option: &str, file: &Path, origins: &Origins) -> Result<Vec<u8>> {
    let place = || format!("{}: {}", origins.name(option), file.display());
    Ok(files::read_secret(file, LARGEST_PEM).with_context(place)?.to_vec())
}

/// Reads the URL of a server, which has neither a path nor anything behind it.
pub(crate) fn endpoint(text: &str) -> Result<Url> {
    let url =
        Url::parse(text).map_err(|error| anyhow!("{text}: {error}; give http://HOST:PORT or https://HOST:PORT"))?;
    if !["http", "https"].contains(&url.scheme()) {
        bail!("{text}: it begins with neither http:// nor https://");
    }
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    ensure!(
        is_bare && url.username().is_empty() && url.password().is_none(),
        "give HOST and PORT only, without a path"
    );
    Ok(url)
}

/// Returns whether only this machine can be meant.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn read(words: &[&str]) -> Result<EtcdConfig, String> {
        let command = EtcdOptions::augment_args(clap::Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let options = EtcdOptions::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let config = options.config(&[], &Origins::default()).map_err(|failure| format!("{:#}", failure.error))?;
        config.ok_or_else(|| "no --etcd".to_owned())
    }

    #[test]
    fn etcd_beyond_loopback_needs_tls_and_a_user() {
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), " secret \n").unwrap();
        let file = format!("--etcd-password-file={}", password.path().display());
        let user = ["--etcd-user=registry", &file];
        for url in ["http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:2379", "https://127.0.0.1:2379"] {
            assert!(read(&["--etcd", url]).is_ok(), "{url}");
        }
        let mixed = "http://127.0.0.1:2379,https://10.0.0.1:2379";
        for url in ["http://10.0.0.1:2379", "https://10.0.0.1:2379", "https://etcd.internal:2379", mixed] {
            let error = read(&["--etcd", url]).unwrap_err();
            assert!(error.contains("--etcd ") && error.contains("--etcd-user"), "{error}");
            assert_eq!(read(&["--etcd", url, user[0], user[1]]).is_ok(), url != "http://10.0.0.1:2379", "{url}");
        }
        let config = read(&["--etcd=https://10.0.0.1:2379", user[0], user[1]]).unwrap();
        assert_eq!(config.user, Some(("registry".to_owned(), " secret ".to_owned())));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn endpoints_and_prefix_have_one_form() {
        let config = read(&["--etcd=http://127.0.0.1:2379/,http://localhost:1", "--etcd-prefix=/here"]).unwrap();
        assert_eq!(config.endpoints, ["http://127.0.0.1:2379", "http://localhost:1"]);
        assert_eq!(config.prefix, "/here/");
        for wrong in ["127.0.0.1:2379", "ftp://127.0.0.1", "http://127.0.0.1/v3", "http://joe@127.0.0.1", "http://", ""]
        {
            assert!(read(&["--etcd", wrong]).unwrap_err().contains("--etcd"), "{wrong}");
        }
        assert!(read(&["--etcd-prefix=/here"]).unwrap_err().contains("--etcd"));
    }
}
