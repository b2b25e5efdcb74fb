//! The files that the options name: read, or made, before anything is contacted.
//!
//! All of it in another thread. A file system that does not answer delays the start of the child as little as a registry
//! that does not: registering begins when it answers.

use std::path::PathBuf;

use anyhow::{Context, Error};
use service_registry::files::own::OwnSocket;
use tokio::sync::oneshot;

use super::endpoints::{Access, Endpoints};
use super::previous_session::PreviousSession;
use crate::process::blocking;

/// What is to be prepared.
#[derive(Clone)]
pub(crate) struct Preparation {
    pub access: Access,
    pub state_dir: Option<PathBuf>,
    pub id: String,
    pub status_socket: Option<PathBuf>,
}

/// What registering needs.
pub(crate) struct Prepared {
    pub endpoints: Endpoints,
    pub previous_session: Option<PreviousSession>,
    /// The session of the predecessor.
    pub predecessor: Option<String>,
    pub status_socket: Option<OwnSocket>,
}

/// Why it cannot be done, and which option (by its name in `cli`) is to be changed.
pub(crate) struct Wrong {
    pub option: &'static str,
    pub why: Error,
}

/// A preparation that has begun.
pub(super) type Preparing = oneshot::Receiver<Result<Prepared, Wrong>>;

impl Preparation {
    pub(crate) fn begin(self) -> Preparing {
        if self.access.names_files() || self.state_dir.is_some() || self.status_socket.is_some() {
            return blocking::begin(|| self.prepare());
        }
        let (tell, prepared) = oneshot::channel();
        let _ = tell.send(self.prepare()); // whoever it is for is just told where to look
        prepared
    }

    pub(crate) fn prepare(self) -> Result<Prepared, Wrong> {
        let key = self.access.key().map_err(wrong("api_key_file"))?;
        let endpoints = Endpoints::new(self.access, key).map_err(|why| {
            let option = at_fault(&why.to_string());
            Wrong { option, why }
        })?;
        let previous_session = self
            .state_dir
            .map(|folder| PreviousSession::of(folder, &self.id))
            .transpose()
            .map_err(wrong("state_dir"))?;
        let listen = |path: PathBuf| OwnSocket::listen(&path).with_context(|| path.display().to_string());
        let status_socket = self.status_socket.map(listen).transpose().map_err(wrong("status_socket"))?;
        let predecessor = previous_session.as_ref().and_then(|previous_session| previous_session.take().1);
        Ok(Prepared { endpoints, predecessor, previous_session, status_socket })
    }
}

fn wrong(option: &'static str) -> impl Fn(Error) -> Wrong {
    move |why| Wrong { option, why }
}

/// The option that the client library complains of.
fn at_fault(error_text: &str) -> &'static str {
    let options = [
        ("the auth URL", "auth_url"),
        ("the CA file", "ca_file"),
        ("the client certificate", "client_cert"),
        ("the client key", "client_key"),
    ];
    options.into_iter().find(|(subject, _)| error_text.contains(subject)).map_or("registry_url", |(_, option)| option)
}
