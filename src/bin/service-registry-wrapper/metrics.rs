//! `--metrics-listen`: the state of the registration and of the child, for Prometheus.
//!
//! Nothing of it is kept: a page is made of the state that the status socket shows as well. It listens once the child
//! runs, and tries again while another process, such as the wrapper before, has the port: the child does not depend on
//! being watched.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::options::WrapperConfig;
use crate::registration::{Desired, RegistrationStatus};
use crate::supervise::ChildLife;

/// The time for a request to arrive, and for its answer to be taken. Requests are answered one after the other.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// In bytes: the most of a request's head.
const LONGEST_HEAD: u64 = 8 << 10;

/// Between two attempts to listen, or to accept.
const RETRY: Duration = Duration::from_secs(2);

struct Watched<'a> {
    id: &'a str,
    status: watch::Receiver<RegistrationStatus>,
    desired: &'a Desired,
    life: &'a ChildLife,
}

/// Serves the metrics, if an option asks for it. Never returns.
pub(super) async fn serve(
    config: &WrapperConfig,
    status: watch::Receiver<RegistrationStatus>,
    desired: &Desired,
    life: &ChildLife,
) -> Infallible {
    let Some(address) = config.metrics_listen else { return std::future::pending().await };
    let watched = Watched { id: &config.service.id, status, desired, life };
    let listener = listen(address).await;
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        if let Err(error) =
            timeout(REQUEST_LIMIT, watched.converse(caller)).await.unwrap_or_else(|late| Err(late.into()))
        {
            debug!("--metrics-listen: {error}");
        }
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut has_warned = false;
    loop {
        match bind(address).await {
            Ok((listener, address)) => {
                info!("metrics: http://{address}/metrics");
                return listener;
            }
            Err(error) if !has_warned => warn!("--metrics-listen {address}: {error}; the wrapper continues to try"),
            Err(_) => {}
        }
        has_warned = true;
        sleep(RETRY).await;
    }
}

async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Watched<'_> {
    async fn converse(&self, mut caller: TcpStream) -> Result<()> {
        let (from, mut to) = caller.split();
        let mut lines = BufReader::new(from.take(LONGEST_HEAD)).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_known = target.split('?').next() == Some("/metrics");
        let (status, page) = match method {
            "GET" | "HEAD" if is_known => ("200 OK", self.page()?),
            "GET" | "HEAD" => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET and HEAD\n".to_owned()),
        };
        let (format, length) = (prometheus_text::CONTENT_TYPE, page.len());
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {format}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        to.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            to.write_all(page.as_bytes()).await?;
        }
        to.shutdown().await?;
        Ok(())
    }

    fn page(&self) -> Result<String, fmt::Error> {
        let labels = [("id".into(), self.id.to_owned().into())];
        let mut registry = Registry::with_prefix_and_labels("service_registry_wrapper", labels.into_iter());
        let status = self.status.borrow().clone();
        let mut gauge = |name: &str, help: &str, value: i64| registry.register(name, help, ConstGauge::new(value));
        gauge("registered", "1 while the registry has the service", status.registered.into());
        let is_wanted = self.desired.reason().is_none();
        gauge("wanted", "0 while the service is kept out: maintenance, not ready, unhealthy", is_wanted.into());
        gauge("maintenance", "1 in maintenance", self.desired.has_maintenance().into());
        gauge("failing", "Requests to the registry that failed since the last success", status.failures.into());
        let end = self.life.end.get();
        gauge("child_running", "1 until the child has exited", end.is_none().into());
        if let Some(end) = end {
            let code = end.code().or_else(|| end.signal().map(|signal| 128 + signal)).unwrap_or_default();
            gauge("child_exit_status", "Exit status of the child; 128+n after signal n", code.into());
        }
        let mut counter = |name: &str, help: &str, value: u64| registry.register(name, help, ConstCounter::new(value));
        counter("heartbeats", "Heartbeats that the registry has accepted", status.totals.heartbeats);
        counter("failures", "Requests to the registry that failed", status.totals.failures);
        counter(
            "sessions",
            "Sessions that were opened: more than one if registrations were lost",
            status.totals.sessions,
        );
        counter("child_starts", "Processes that have been the child", self.life.starts.get());
        let mut time = |name: &str, help: &str, value: f64| {
            registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(value));
        };
        time("child_start_time", "Start of the child, in seconds since 1970", self.life.started.get());
        if let Some(sent) = status.heartbeat_sent {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let at = now.saturating_sub(sent.elapsed());
            time("last_heartbeat_time", "The last accepted heartbeat, in seconds since 1970", at.as_secs_f64());
        }
        let mut page = String::new();
        prometheus_text::encode(&mut page, &registry)?;
        Ok(page)
    }
}
