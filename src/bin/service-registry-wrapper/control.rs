//! `--status-socket`: a unix socket that says how things stand, and takes the service out of the registry and puts it back.
//!
//! One line in, one line of JSON out: `status`, `maintenance on`, `maintenance off`.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use nix::libc::pid_t;
use serde_json::{Value, json};
use service_registry::files::own::OwnSocket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use crate::registration::RegistrationStatus;

/// How long a change may take, and a caller to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any of the three requests.
const LONGEST_REQUEST: u64 = 64;

pub(super) struct StatusSocket {
    listener: UnixListener,
    /// Removes it at the end.
    _place: OwnSocket,
}

impl StatusSocket {
    /// To be called inside the event loop.
    pub(super) fn of(socket: OwnSocket) -> Result<Self> {
        Ok(Self { listener: UnixListener::from_std(socket.listener()?)?, _place: socket })
    }

    /// Answers, for ever.
    pub(super) async fn answer(
        &self,
        id: &str,
        child: pid_t,
        wanted: watch::Sender<bool>,
        mut status_now: watch::Receiver<RegistrationStatus>,
    ) -> Infallible {
        loop {
            let Ok((caller, _)) = self.listener.accept().await else {
                tokio::time::sleep(Duration::from_secs(1)).await; // out of descriptors, say
                continue;
            };
            if let Err(error) = converse(caller, id, child, &wanted, &mut status_now).await {
                debug!("status socket: {error}");
            }
        }
    }
}

async fn converse(
    mut caller: UnixStream,
    id: &str,
    child: pid_t,
    wanted: &watch::Sender<bool>,
    status_now: &mut watch::Receiver<RegistrationStatus>,
) -> Result<()> {
    let mut request = String::new();
    let (from, to) = caller.split();
    timeout(PATIENCE, BufReader::new(from.take(LONGEST_REQUEST)).read_line(&mut request)).await??;
    let mut to = to;
    let answer = match request.trim() {
        "status" => status_now.borrow().as_json(id, child, !*wanted.borrow()),
        "maintenance on" => set(false, id, child, wanted, status_now).await,
        "maintenance off" => set(true, id, child, wanted, status_now).await,
        _ => json!({"error": "say status, maintenance on, or maintenance off"}),
    };
    timeout(PATIENCE, to.write_all(format!("{answer}\n").as_bytes())).await??;
    Ok(())
}

/// Asks for the service to be in the registry or out of it, and waits until it is, but not for ever.
async fn set(
    into: bool,
    id: &str,
    child: pid_t,
    wanted: &watch::Sender<bool>,
    status_now: &mut watch::Receiver<RegistrationStatus>,
) -> Value {
    wanted.send_replace(into);
    let done = timeout(PATIENCE, status_now.wait_for(|status_now| status_now.registered == into)).await.is_ok();
    let mut answer = status_now.borrow().as_json(id, child, !into);
    if !done {
        answer["error"] = json!("not done yet; it goes on behind this answer");
    }
    answer
}
