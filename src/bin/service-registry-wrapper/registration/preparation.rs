//! Opens the files and directories that the options name, before anything is contacted.
//!
//! A thread does this. A file system that does not answer delays the start of the child no longer than a registry that
//! does not; the registration begins when it answers.

use std::path::PathBuf;

use anyhow::{Context, Error};
use service_registry::connection::{Access, RegistryOptions};
use service_registry::files::own::OwnSocket;
use tokio::sync::oneshot;

use super::endpoints::Endpoints;
use super::state_dir::{MaintenanceFile, PreviousSession};
use crate::options::WrapperConfig;
use crate::process::blocking;

/// The files to open, and the settings that need them.
#[derive(Clone)]
pub(crate) struct Preparation {
    pub access: Access,
    /// The wrapper hosts a registry if it finds none.
    pub may_host: bool,
    pub state_dir: Option<PathBuf>,
    pub id: String,
    pub status_socket: Option<PathBuf>,
}

/// Everything that the registration needs.
pub(crate) struct Prepared {
    pub endpoints: Endpoints,
    pub previous_session: Option<PreviousSession>,
    /// A session to revoke.
    pub to_revoke: Option<String>,
    pub status_socket: Option<OwnSocket>,
    pub maintenance_file: Option<MaintenanceFile>,
    /// The reason of a maintenance that was begun before the start.
    pub maintenance: Option<String>,
}

/// An option (by its name in `options`) that cannot work, and why.
pub(crate) struct WrongOption {
    pub option: &'static str,
    pub error: Error,
}

/// A preparation that has begun.
pub(crate) type Preparing = oneshot::Receiver<Result<Prepared, WrongOption>>;

impl Preparation {
    pub(crate) fn of(config: &WrapperConfig) -> Self {
        Self {
            access: config.access.clone(),
            may_host: config.may_host,
            state_dir: config.state_dir.clone(),
            id: config.service.id.clone(),
            status_socket: config.status_socket.clone(),
        }
    }

    pub(crate) fn begin(self) -> Preparing {
        if self.access.names_files() || self.state_dir.is_some() || self.status_socket.is_some() {
            return blocking::begin(|| self.prepare());
        }
        let (tell, prepared) = oneshot::channel();
        let _ = tell.send(self.prepare()); // the receiver is still here
        prepared
    }

    pub(crate) fn prepare(self) -> Result<Prepared, WrongOption> {
        let key = self.access.key().map_err(wrong("api_key_file"))?;
        let may_host = self.may_host;
        let endpoints = Endpoints::new(self.access, key, may_host)
            .map_err(|error| WrongOption { option: RegistryOptions::option_of(&error), error: error.into() })?;
        let previous_session = self
            .state_dir
            .map(|folder| PreviousSession::open(folder, &self.id))
            .transpose()
            .map_err(wrong("state_dir"))?;
        let listen = |path: PathBuf| OwnSocket::listen(&path).with_context(|| path.display().to_string());
        let status_socket = self.status_socket.map(listen).transpose().map_err(wrong("status_socket"))?;
        let to_revoke = previous_session.as_ref().and_then(|previous_session| previous_session.take_over_blocking().1);
        let maintenance_file = previous_session.as_ref().map(|state| state.maintenance(&self.id));
        let maintenance = maintenance_file.as_ref().and_then(MaintenanceFile::read);
        Ok(Prepared { endpoints, to_revoke, previous_session, status_socket, maintenance_file, maintenance })
    }
}

fn wrong(option: &'static str) -> impl Fn(Error) -> WrongOption {
    move |error| WrongOption { option, error }
}
