//! The status socket: reports the state of the registration, takes the service out of the registry and puts it back,
//! and changes its tags and metadata.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use nix::libc::pid_t;
use serde_json::{Value, json};
use service_registry::control::{LONGEST_REQUEST, Request, Update, default_socket};
use service_registry::files::own::OwnSocket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::options::WrapperConfig;
use crate::registration::{ControlFiles, Desired, MaintenanceFile, RegistrationStatus};

/// The time for a change to be done.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The time for a request to arrive. Requests are answered one after the other.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks whether the wrapper that had the id before has left the default path.
const RETRY_DEFAULT: Duration = Duration::from_secs(2);

/// After a connection that cannot be accepted, as when no descriptor is left.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// A command that ends sooner needs no socket in the default directory, and its start is not delayed by one.
const BEFORE_DEFAULT: Duration = Duration::from_millis(200);

/// What requests are about.
struct Controlled<'a> {
    id: &'a str,
    child: Rc<Cell<pid_t>>,
    desired: &'a Desired,
    status: watch::Receiver<RegistrationStatus>,
    maintenance_file: Option<MaintenanceFile>,
}

/// Answers requests on the socket, if there is one. Never returns.
pub(super) async fn answer(
    files: Option<oneshot::Receiver<ControlFiles>>,
    config: &WrapperConfig,
    child: Rc<Cell<pid_t>>,
    desired: &Desired,
    status: watch::Receiver<RegistrationStatus>,
) -> Infallible {
    let Some(Ok(files)) = async { Some(files?.await) }.await else { return std::future::pending().await };
    let id = &config.service.id;
    let socket = match files.socket {
        Some(socket) => socket,
        None => match default(id).await {
            Ok(socket) => socket,
            Err(error) => {
                debug!("no status socket: {}: {error}", default_socket(id).display());
                return std::future::pending().await;
            }
        },
    };
    let listener = match socket.listener().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            warn!("--status-socket cannot be served: {error:#}");
            return std::future::pending().await;
        }
    };
    let mut controlled = Controlled { id, child, desired, status, maintenance_file: files.maintenance };
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        if let Err(error) = controlled.converse(caller).await {
            debug!("status socket: {error}");
        }
    }
}

async fn default(id: &str) -> io::Result<OwnSocket> {
    sleep(BEFORE_DEFAULT).await;
    loop {
        match OwnSocket::listen(&default_socket(id)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(RETRY_DEFAULT).await,
            listening => return listening,
        }
    }
}

impl Controlled<'_> {
    async fn converse(&mut self, mut caller: UnixStream) -> Result<()> {
        let mut line = String::new();
        let (from, mut to) = caller.split();
        timeout(ARRIVAL_LIMIT, BufReader::new(from.take(LONGEST_REQUEST)).read_line(&mut line)).await??;
        let reply = match line.parse() {
            Ok(Request::Status) => self.reply(),
            Ok(Request::MaintenanceOn(reason)) => self.set_maintenance(Some(reason)).await,
            Ok(Request::MaintenanceOff) => self.set_maintenance(None).await,
            Ok(Request::Update(update)) => self.update(update).await,
            Err(error) => json!({"error": error}),
        };
        timeout(REQUEST_LIMIT, to.write_all(format!("{reply}\n").as_bytes())).await??;
        Ok(())
    }

    fn reply(&self) -> Value {
        self.status.borrow().as_json(self.id, self.child.get(), self.desired)
    }

    /// Asks for the service to be out of the registry or in it, and waits for that.
    async fn set_maintenance(&mut self, reason: Option<String>) -> Value {
        let recorded = match &self.maintenance_file {
            Some(file) => file.write(reason.clone()).await,
            None => Ok(()),
        };
        match &reason {
            Some(reason) if reason.is_empty() => info!("maintenance of {} was requested", self.id),
            Some(reason) => info!("maintenance of {} was requested: {reason}", self.id),
            None => info!("the end of the maintenance of {} was requested", self.id),
        }
        self.desired.set_maintenance(reason);
        let desired = self.desired;
        // Another reason may keep the service out when the maintenance ends.
        let mut reply = self.done(|status| status.registered == desired.reason().is_none()).await;
        if let Err(why) = recorded {
            reply["error"] = json!(format!("done, but it will not outlive the wrapper: --state-dir: {why}"));
        }
        reply
    }

    /// Changes tags and metadata, and waits until the registry has them. A service that is out of the registry has them
    /// when it is back.
    async fn update(&mut self, update: Update) -> Value {
        let described = self.desired.set_texts(|texts| {
            if let Some(tags) = update.tags {
                texts.tags = vec![tags];
            }
            if let Some(metadata) = update.metadata {
                texts.metadata = vec![metadata];
            }
        });
        match described {
            Ok(payload) => {
                let desired = self.desired;
                let is_out = || desired.reason().is_some();
                self.done(|status| status.payload.as_ref() == Some(&payload) || is_out()).await
            }
            Err(error) => json!({"error": format!("{error:#}")}),
        }
    }

    /// Waits until the registration is as it should be, up to [`REQUEST_LIMIT`].
    async fn done(&mut self, is_done: impl Fn(&RegistrationStatus) -> bool) -> Value {
        let is_done = timeout(REQUEST_LIMIT, self.status.wait_for(|status| is_done(status))).await.is_ok();
        let mut reply = self.reply();
        if !is_done {
            reply["error"] = json!("not done yet; the wrapper continues to try");
        }
        reply
    }
}
