//! `--status-socket`: a unix socket that reports the state of the registration, and takes the service out of the
//! registry and puts it back.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use nix::libc::pid_t;
use serde_json::{Value, json};
use service_registry::control::{LONGEST_REQUEST, Request};
use service_registry::files::own::OwnSocket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::registration::{Desired, RegistrationStatus};

/// The time for a request to arrive, and for a change to be done.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// After a connection that cannot be accepted, as when no descriptor is left.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Answers requests on the socket, if there is one. Never returns.
pub(super) async fn answer(
    socket: Option<oneshot::Receiver<OwnSocket>>,
    id: &str,
    child: Rc<Cell<pid_t>>,
    desired: Desired,
    mut status: watch::Receiver<RegistrationStatus>,
) -> Infallible {
    let Some(Ok(socket)) = async { Some(socket?.await) }.await else { return std::future::pending().await };
    let listener = match socket.listener().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            warn!("--status-socket cannot be served: {error:#}");
            return std::future::pending().await;
        }
    };
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            sleep(ACCEPT_RETRY).await;
            continue;
        };
        if let Err(error) = converse(caller, id, child.get(), &desired, &mut status).await {
            debug!("status socket: {error}");
        }
    }
}

async fn converse(
    mut caller: UnixStream,
    id: &str,
    child: pid_t,
    desired: &Desired,
    status: &mut watch::Receiver<RegistrationStatus>,
) -> Result<()> {
    let mut line = String::new();
    let (from, mut to) = caller.split();
    timeout(REQUEST_LIMIT, BufReader::new(from.take(LONGEST_REQUEST)).read_line(&mut line)).await??;
    let reply = match line.parse() {
        Ok(Request::Status) => status.borrow().as_json(id, child, desired.has_maintenance()),
        Ok(Request::Maintenance(is_on)) => set_maintenance(is_on, id, child, desired, status).await,
        Err(error) => json!({"error": error}),
    };
    timeout(REQUEST_LIMIT, to.write_all(format!("{reply}\n").as_bytes())).await??;
    Ok(())
}

/// Asks for the service to be out of the registry or in it, and waits for that, up to [`REQUEST_LIMIT`].
async fn set_maintenance(
    is_on: bool,
    id: &str,
    child: pid_t,
    desired: &Desired,
    status: &mut watch::Receiver<RegistrationStatus>,
) -> Value {
    desired.set_maintenance(is_on);
    let is_done = timeout(REQUEST_LIMIT, status.wait_for(|status| status.registered != is_on)).await.is_ok();
    let mut reply = status.borrow().as_json(id, child, is_on);
    if !is_done {
        reply["error"] = json!("not done yet; the wrapper continues to try");
    }
    reply
}
