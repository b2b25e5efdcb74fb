//! The embedded registry, which the wrapper hosts if no URL was given and nothing listens at the default address.

#[cfg(not(feature = "registry"))]
pub(super) use absent::host;
#[cfg(feature = "registry")]
pub(super) use present::host;

#[cfg(feature = "registry")]
mod present {
    use std::io;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use anyhow::{Context, Result};
    use service_registry::registry::{Config, Registry};
    use service_registry::wire::DEFAULT_PORT;
    use tracing::{debug, error, info, warn};

    /// Hosts a registry at the default address, unless another process listens there. Returns true if it has just
    /// begun.
    ///
    /// The bind is the lock: of two wrappers that try at the same time, one succeeds.
    pub(crate) fn host() -> bool {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) {
            Ok(listener) => serve(listener).inspect_err(|why| warn!("cannot host a registry: {why:#}")).is_ok(),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                debug!("another process listens on port {DEFAULT_PORT}");
                false
            }
            Err(error) => {
                warn!("cannot host a registry on port {DEFAULT_PORT}: {error}; name one with --registry-url");
                false
            }
        }
    }

    /// Serves in a thread with an event loop of its own, so that the wrapper never waits for the registry's clients.
    fn serve(listener: TcpListener) -> Result<()> {
        let registry = Registry::bind(Config::anonymous(), listener)?;
        let url = format!("http://{}", registry.local_addr());
        let body = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build_local(Default::default());
            let ended = runtime.and_then(|runtime| runtime.block_on(registry.serve(std::future::pending())));
            if let Err(why) = ended {
                error!("the embedded registry has ended: {why}");
            }
        };
        thread::Builder::new().name("registry".to_owned()).spawn(body).context("no thread")?;
        // As process 1 it is probably in a container, where loopback is the container's own.
        let reach = if std::process::id() == 1 { "; only programs in this container reach it" } else { "" };
        info!("no --registry-url given: hosting a registry at {url} (look: curl {url}/v1.0/services){reach}");
        Ok(())
    }
}

#[cfg(not(feature = "registry"))]
mod absent {
    /// Does nothing: this build contains no registry.
    pub(crate) fn host() -> bool {
        false
    }
}
