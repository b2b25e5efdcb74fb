//! The registry that the wrapper hosts itself when nobody said where one is and nothing listens at the usual place.

#[cfg(not(feature = "registry"))]
pub(crate) use absent::begin;
#[cfg(feature = "registry")]
pub(crate) use present::begin;

#[cfg(feature = "registry")]
mod present {
    use std::io;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use anyhow::{Context, Result};
    use service_registry::registry::{Config, Registry};
    use service_registry::wire::DEFAULT_PORT;
    use tracing::{debug, error, info, warn};

    /// Hosts a registry at the default address from now on, unless somebody does already. True if it is ours and new.
    ///
    /// Binding the address is the lock: of two wrappers that try at the same time, one succeeds.
    pub(crate) fn begin() -> bool {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) {
            Ok(listener) => serve(listener).inspect_err(|why| warn!("cannot host a registry: {why:#}")).is_ok(),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                debug!("something listens on port {DEFAULT_PORT} already");
                false
            }
            Err(error) => {
                warn!("cannot host a registry on port {DEFAULT_PORT}: {error}; say where one is with --registry-url");
                false
            }
        }
    }

    /// In a thread of its own, with an event loop of its own: the wrapper does not wait for the registry's guests.
    fn serve(listener: TcpListener) -> Result<()> {
        let registry = Registry::bind(Config::anonymous(), listener)?;
        let url = format!("http://{}", registry.local_addr());
        let body = move || {
            let events =
                tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build_local(Default::default());
            let ended = events.and_then(|events| events.block_on(registry.serve(std::future::pending())));
            if let Err(why) = ended {
                error!("the registry that was hosted here has ended: {why}");
            }
        };
        thread::Builder::new().name("registry".to_owned()).spawn(body).context("no thread")?;
        info!("hosting a registry at {url} (look: curl {url}/v1.0/services)");
        Ok(())
    }
}

#[cfg(not(feature = "registry"))]
mod absent {
    /// This build has no registry inside.
    pub(crate) fn begin() -> bool {
        false
    }
}
