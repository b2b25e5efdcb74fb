//! `service-registry serve`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use anyhow::{Context, anyhow};
use service_registry::registry::{Config, Error, Registry, Users};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Serve;
use crate::data;
use crate::exit::Failure;

/// Serves until it is told to stop.
pub(crate) fn run(options: Serve) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    runtime.block_on(async {
        let mut stop = Stop::new().context("watching for signals")?;
        let config = config(&options)?;
        let listener = listen(&options)?;
        let config = keep(config, &options)?;
        let registry = Registry::bind(config, listener).map_err(|error| in_words(error, &options.listen))?;
        announce(registry.local_addr())?;
        registry.serve(stop.told()).await.context("listening")?;
        tracing::info!("stopped");
        Ok(())
    })
}

fn config(options: &Serve) -> Result<Config, Failure> {
    let config = match &options.users {
        Some(file) => Config::with_users(Users::read(file).map_err(|error| anyhow!("--users: {error}"))?),
        None => Config::open(),
    };
    Ok(config.strict_feed(options.strict_feed).events_retention(options.events_retention))
}

/// Says where the data is before anything is done there.
fn keep(config: Config, options: &Serve) -> Result<Config, Failure> {
    if options.in_memory {
        tracing::info!("everything is kept in memory, and gone when this ends");
        return Ok(config);
    }
    let folder = data::folder(options.data_dir.clone())?;
    tracing::info!("data directory: {}", folder.display());
    Ok(config.data_dir(folder))
}

fn listen(options: &Serve) -> Result<TcpListener, Failure> {
    let given = &options.listen;
    let addresses: Vec<SocketAddr> = given
        .to_socket_addrs()
        .map_err(|error| Failure::usage(anyhow!("--listen {given}: {error}; give ADDRESS:PORT, as in 127.0.0.1:7117")))?
        .collect();
    // Before it listens: not even for a moment should others get in.
    if let Some(beyond) = addresses.iter().find(|address| options.users.is_none() && !address.ip().is_loopback()) {
        return Err(in_words(Error::NotLoopback(*beyond), given));
    }
    let cure = "choose another with --listen, or stop what is listening there";
    let listener =
        TcpListener::bind(&addresses[..]).with_context(|| format!("--listen {given}: cannot listen ({cure})"))?;
    Ok(listener)
}

fn in_words(error: Error, given: &str) -> Failure {
    match error {
        Error::NotLoopback(address) => Failure::usage(anyhow!(
            "--listen {given}: without users everyone may come in, so {address} would let other machines in; \
             listen on 127.0.0.1, or say who may come in with --users FILE"
        )),
        other => other.into(),
    }
}

/// The one line on stdout: whoever started this waits for it.
fn announce(address: SocketAddr) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush()).context("writing to stdout")
}

/// The two signals that mean "stop".
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    }
}
