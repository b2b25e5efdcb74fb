//! The checks, and what each needs from one run to the next. All of them run at the same time, each once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::join_all;
use service_registry::client::HttpProbe;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::exec::ExecCheck;
use super::watched::Watched;
use crate::options::{Check, Health};
use crate::process::blocking;

/// In characters: what is repeated of a check in a reason.
const NAME: usize = 60;

/// A check that can be run.
pub(super) struct Probe {
    name: String,
    kind: Kind,
}

enum Kind {
    Tcp(Vec<SocketAddr>),
    /// Whether 3xx is a good status as well.
    Http(Box<HttpProbe>, bool),
    Exec(ExecCheck),
    /// It can never pass, for this reason.
    Impossible(String),
}

impl Probe {
    pub(super) async fn new(check: &Check, health: &Health) -> Self {
        let kind = match check {
            Check::Tcp(_, addresses) => Kind::Tcp(addresses.clone()),
            Check::Exec(command) => Kind::Exec(ExecCheck::new(command.clone())),
            Check::Http(url) => match http(url.clone(), health).await {
                Ok(probe) => Kind::Http(Box::new(probe), health.accepts_3xx),
                Err(why) => Kind::Impossible(why),
            },
        };
        let whole = check.to_string();
        let name: String = whole.chars().take(NAME).collect();
        Self { name: if name.len() < whole.len() { name + "..." } else { name }, kind }
    }

    /// Returns why the check does not pass, behind its name.
    async fn run(&mut self, watched: &Watched<'_>, limit: Duration) -> Result<(), String> {
        let outcome = match &mut self.kind {
            Kind::Tcp(addresses) => connect(addresses, limit).await,
            Kind::Http(probe, accepts_3xx) => match probe.status().await {
                Ok(200..=299) => Ok(()),
                Ok(300..=399) if *accepts_3xx => Ok(()),
                Ok(status) => Err(format!("status {status}")),
                Err(why) => Err(why),
            },
            Kind::Exec(check) => check.run(watched, limit).await,
            Kind::Impossible(why) => Err(why.clone()),
        };
        outcome.map_err(|why| format!("{}: {why}", self.name))
    }
}

/// Runs all checks at the same time; returns what is wrong.
pub(super) async fn run_all(probes: &mut [Probe], watched: &Watched<'_>, limit: Duration) -> Result<(), String> {
    let outcomes = join_all(probes.iter_mut().map(|probe| probe.run(watched, limit))).await;
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

async fn connect(addresses: &[SocketAddr], limit: Duration) -> Result<(), String> {
    match timeout(limit, TcpStream::connect(addresses)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

/// Certificates are files, which are read in a thread.
async fn http(url: Url, health: &Health) -> Result<HttpProbe, String> {
    let (ca_file, limit) = (health.ca_file.as_ref().map(PathBuf::from), health.timeout);
    let probe = blocking::begin(move || HttpProbe::new(&url, ca_file.as_deref(), limit)).await;
    probe.map_err(|_| "the thread that reads certificates has ended".to_owned())?.map_err(|error| error.to_string())
}
