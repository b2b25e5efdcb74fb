//! `--dns`: its options, and what is made of them.

use std::net::ToSocketAddrs;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use service_registry::registry::{Dns, Error, Registry};

use super::options::Serve;
use super::{cure, with_option};
use crate::duration;
use crate::exit::Failure;

#[derive(Args, Debug)]
pub(crate) struct DnsOptions {
    /// Answer DNS queries about services on this address, over UDP and TCP; port 0 takes a free one
    ///
    /// Whoever can send queries there can read all services, also with --users.
    #[arg(long, value_name = "ADDRESS:PORT", env = "SERVICE_REGISTRY_DNS")]
    pub(crate) dns: Option<String>,
    /// Domain that DNS queries are answered for
    #[arg(
        long = "dns-domain",
        value_name = "DOMAIN",
        env = "SERVICE_REGISTRY_DNS_DOMAIN",
        default_value = "registry."
    )]
    dns_domain: String,
    /// With --users: the account of DNS names that contain none; a user's name, or the number of the account
    #[arg(long, requires = "dns", value_name = "ACCOUNT", env = "SERVICE_REGISTRY_DNS_ACCOUNT")]
    dns_account: Option<String>,
    /// How long DNS answers may be kept: a number followed by s, m, h or d, such as 5s
    #[arg(long, value_name = "DURATION", env = "SERVICE_REGISTRY_DNS_TTL", default_value = "0s", value_parser = ttl)]
    dns_ttl: Duration,
}

fn ttl(text: &str) -> Result<Duration, &'static str> {
    let units = [("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    duration::parse(text, &units).ok_or("give a number with s, m, h or d behind it, as in 0s or 1m")
}

/// Lets the registry answer DNS queries, if that is wanted.
pub(super) fn add(registry: Registry, options: &Serve) -> Result<Registry, Failure> {
    let DnsOptions { dns, dns_domain: domain, dns_account: account, dns_ttl } = &options.dns;
    let Some(given) = dns else { return Ok(registry) };
    let name = options.origin("dns");
    let addresses = given
        .to_socket_addrs()
        .map_err(|error| Failure::usage(anyhow!("{name} {given}: {error}; give ADDRESS:PORT, as in 127.0.0.1:5353")))?;
    let Some(address) = addresses.into_iter().next() else {
        return Err(Failure::usage(anyhow!("{name} {given}: no address has this name")));
    };
    let dns = Dns::bind(address)
        .map_err(|error| anyhow!("{name} {given}: cannot listen: {error}; {}", cure(error.kind())))?
        .domain(domain)
        .map_err(|why| Failure::usage(anyhow!("{} {domain}: {why}", options.origin("dns_domain"))))?
        .ttl(*dns_ttl);
    let dns = match account {
        Some(account) => dns.account(account.clone()),
        None => dns,
    };
    let address = dns.local_addr();
    let registry = registry.with_dns(dns).map_err(|error| match error {
        Error::NoAccount(account) => Failure::usage(anyhow!(
            "{} {account}: there is no such user; give the name of one, or the number of an account",
            options.origin("dns_account")
        )),
        error => with_option(error, options, "dns", given),
    })?;
    tracing::info!("answering DNS for {domain} on {address}");
    if options.users.is_some() && !address.ip().is_loopback() {
        tracing::warn!(
            "{name}: whoever can send queries to {address} can read the services of all accounts, without a key"
        );
    }
    Ok(registry)
}
