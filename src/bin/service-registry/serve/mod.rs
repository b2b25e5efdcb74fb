//! `service-registry serve`.

#[cfg(feature = "etcd")]
mod cluster_options;
#[cfg(feature = "dns")]
mod dns;
mod notify;
mod options;
mod reload;
mod threads;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use service_registry::registry::{Config, Error, Registry, ServiceShape, Tls, TlsFiles, Users};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Format;
use crate::data_dir;
use crate::exit::Failure;
use options::Shape;
use reload::Reload;

pub(super) use options::Serve;

/// Descriptors that are not for connections: the store, the standard streams, the event loop, files that are read.
const RESERVED: usize = 64;

/// How long the exit waits for other threads: backups, hashes, reads of old events.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Serves until it is told to stop.
pub(super) fn run(options: Serve, format: Format) -> Result<(), Failure> {
    threads::check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    // As a task: then the thread that sees a new connection accepts it. A future in `block_on` runs in this thread,
    // which would have to be woken up for each connection.
    let outcome = runtime.block_on(runtime.spawn(serve(options, format))).context("serving");
    runtime.shutdown_timeout(SHUTDOWN_LIMIT); // otherwise it would wait for a backup that is not read
    outcome?
}

async fn serve(options: Serve, format: Format) -> Result<(), Failure> {
    let mut stop = Stop::new().context("watching for signals")?;
    let hangup = signal(SignalKind::hangup()).context("watching for signals")?;
    // In a thread: a file system may not answer, and signals must be handled all the same.
    let opening = tokio::task::spawn_blocking(move || open(options));
    let (registry, reload, is_secure) = tokio::select! {
        opened = opening => opened.context("opening the files")??,
        () = stop.requested() => return Ok(()),
    };
    let control = registry.control();
    let reloading = reload.keep(hangup, control.clone());
    announce(registry.local_addr(), is_secure, format)?;
    notify::ready(registry.local_addr());
    tokio::select! {
        served = registry.serve(stop.requested()) => served.context("listening")?,
        () = reloading => {}
        () = notify::feed_watchdog(control) => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads the files and the data directory, and listens.
fn open(options: Serve) -> Result<(Registry, Reload, bool), Failure> {
    let tls = tls_files(&options);
    let reload = Reload::new(options.users.clone(), tls.clone());
    let config = config(&options, tls.as_ref())?;
    let listener = listen(&options)?;
    let metrics = listen_for_metrics(&options)?;
    let listening = listener.local_addr().context("listening")?;
    if options.users.is_some() && tls.is_none() && !listening.ip().is_loopback() {
        let name = options.origin("listen");
        tracing::warn!(
            "{name}: keys and tokens cross the network as they are; add --tls-cert and --tls-key, or a proxy with TLS"
        );
    }
    let config = set_place(config, &options, listening, tls.as_ref())?;
    let mut registry =
        Registry::bind(config, listener).map_err(|error| with_option(error, &options, "listen", &options.listen))?;
    if let Some(listener) = metrics {
        let address = listener.local_addr().context("listening")?;
        registry = registry.metrics_on(listener)?;
        tracing::info!("metrics: http://{address}/metrics");
    }
    #[cfg(feature = "dns")]
    let registry = dns::add(registry, &options)?;
    Ok((registry, reload, tls.is_some()))
}

fn tls_files(options: &Serve) -> Option<TlsFiles> {
    let (certificate, key) = options.tls_cert.clone().zip(options.tls_key.clone())?;
    Some(TlsFiles { certificate, key, client_ca: options.tls_client_ca.clone() })
}

fn config(options: &Serve, tls: Option<&TlsFiles>) -> Result<Config, Failure> {
    if options.open && options.users.is_some() {
        let both = "--open lets everyone in, and --users only those in the file: give one of them (or \
                    SERVICE_REGISTRY_OPEN=false)";
        return Err(Failure::usage(anyhow!(both)));
    }
    if options.users.is_some() && !options.host_name.is_empty() {
        return Err(Failure::usage(anyhow!(
            "--host-name: with --users the name that is asked for does not matter; leave it out"
        )));
    }
    let config = match &options.users {
        Some(file) => {
            Config::with_users(Users::read(file).map_err(|error| anyhow!("{}: {error}", options.origin("users")))?)
        }
        None => Config::anonymous().allow_remote_anonymous(options.open).host_names(options.host_name.iter().cloned()),
    };
    let config = match tls {
        Some(files) => config.tls(Tls::read(files).map_err(|error| tls_option(options, files, &error))?),
        None => config,
    };
    let config = config.trusted_proxies(options.trusted_proxy.iter().copied());
    let config = config.max_connections(connections(options));
    let config = config.strict_feed(options.strict_feed).lenient_heartbeats(options.lenient_heartbeats);
    let shape = match options.service_shape {
        Shape::Form => ServiceShape::Form,
        Shape::Union => ServiceShape::Union,
    };
    let config = config.service_shape(shape);
    Ok(match options.events_retention {
        Some(kept) => config.events_retention(kept),
        None => config,
    })
}

/// Adds the option of the wrong file to an error.
fn tls_option(options: &Serve, files: &TlsFiles, error: &Error) -> anyhow::Error {
    let wrong = match error {
        Error::Tls { file, .. } => file.as_ref(),
        _ => None,
    };
    let option = match wrong {
        Some(file) if Some(file) == files.client_ca.as_ref() => "tls_client_ca",
        Some(file) if *file == files.key => "tls_key",
        _ => "tls_cert",
    };
    anyhow!("{}: {error}", options.origin(option))
}

/// Sets where the data is, and logs it before it is opened.
fn set_place(
    config: Config,
    options: &Serve,
    listening: SocketAddr,
    tls: Option<&TlsFiles>,
) -> Result<Config, Failure> {
    #[cfg(feature = "etcd")]
    if let Some(cluster) = options.cluster(&cluster_options::Listening { address: listening, tls })? {
        tracing::info!(
            "data: etcd, below {}; the other nodes reach this one at {}",
            cluster.etcd.prefix,
            cluster.advertise_url
        );
        return Ok(config.cluster(cluster));
    }
    #[cfg(not(feature = "etcd"))]
    let _ = (listening, tls);
    if options.in_memory {
        tracing::info!("all data is in memory, and lost at the exit");
        return Ok(config);
    }
    let folder = data_dir::folder(options.data_dir.clone())?;
    tracing::info!("data directory: {}", folder.display());
    Ok(config.data_dir(folder))
}

/// Returns the number of connections: the requested one, or as many as there are descriptors for.
fn connections(options: &Serve) -> usize {
    let asked = usize::try_from(options.max_connections).unwrap_or(usize::MAX);
    let most = raise_file_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit on open files cannot be raised");
        usize::MAX
    });
    let possible = most.saturating_sub(RESERVED).max(1);
    if possible < asked {
        let name = options.origin("max_connections");
        tracing::warn!("{name}: {possible} instead of {asked}, since only {most} files may be open");
    }
    asked.min(possible)
}

/// Raises the limit on open files, of which every connection is one: many systems allow 1024 by default.
fn raise_file_limit() -> nix::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

fn listen(options: &Serve) -> Result<TcpListener, Failure> {
    let (name, given) = (options.origin("listen"), &options.listen);
    let addresses = resolve(&name, given)?;
    // Checked before listening, so that no other machine gets in even for a moment.
    if let Some(beyond) =
        addresses.iter().find(|address| options.users.is_none() && !options.open && !address.ip().is_loopback())
    {
        return Err(with_option(Error::NotLoopback(*beyond), options, "listen", given));
    }
    bind(&name, given, &addresses)
}

fn listen_for_metrics(options: &Serve) -> Result<Option<TcpListener>, Failure> {
    let name = options.origin("metrics_listen");
    let listen = |given: &String| bind(&name, given, &resolve(&name, given)?);
    options.metrics_listen.as_ref().map(listen).transpose()
}

fn resolve(name: &str, given: &str) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = given.to_socket_addrs();
    let wrong = |error| anyhow!("{name} {given}: {error}; give ADDRESS:PORT, as in 127.0.0.1:7117");
    Ok(addresses.map_err(|error| Failure::usage(wrong(error)))?.collect())
}

fn bind(name: &str, given: &str, addresses: &[SocketAddr]) -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind(addresses)
        .map_err(|error| anyhow!("{name} {given}: cannot listen: {error}; {}", cure(error.kind())))?;
    Ok(listener)
}

/// Returns what to do if an address cannot be listened on.
fn cure(error: ErrorKind) -> &'static str {
    match error {
        ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= in a unit); choose \
             another port, or let a proxy have this one"
        }
        ErrorKind::AddrNotAvailable => "this machine does not have the address; `ip address` shows those it has",
        _ => "choose another address, or stop what is listening there",
    }
}

/// Adds the option of the address to an error.
fn with_option(error: Error, options: &Serve, option: &str, given: &str) -> Failure {
    let name = options.origin(option);
    match error {
        Error::NotLoopback(address) => Failure::usage(anyhow!(
            "{name} {given}: without users everyone may come in, so {address} would let other machines in; \
             listen on 127.0.0.1, say who may come in with --users FILE, or say --open if everyone may"
        )),
        other => other.into(),
    }
}

/// Prints the one line on stdout, for which a script can wait.
fn announce(address: SocketAddr, is_secure: bool, format: Format) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    let scheme = if is_secure { "https" } else { "http" };
    let line = match format {
        Format::Text => format!("listening on {scheme}://{address}"),
        Format::Json => json!({"message": format!("listening on {scheme}://{address}")}).to_string(),
    };
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("writing to stdout")
}

/// The two signals that stop the registry.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        notify::stopping();
    }
}
