//! Reads the users file and the certificate again, on SIGHUP and when they change.
//!
//! It checks the files every two seconds. The kernel's notifications are about files, not names: they miss a file that
//! is replaced through a link, as container platforms do, and changes on network file systems.

use std::path::PathBuf;
use std::time::Duration;

use service_registry::files::FileState;
use service_registry::registry::{Control, Error, Tls, TlsFiles, Users};
use tokio::signal::unix::Signal;
use tokio::time::{sleep, timeout};

use super::notify;

/// The longest time until a change is noticed.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How long the file system may take before that is logged.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(10);

/// The files that may change.
pub(super) struct Reload {
    users: Option<Watched<PathBuf>>,
    tls: Option<Watched<TlsFiles>>,
}

/// The results of reading them again.
struct Found {
    users: Option<Result<Users, Error>>,
    tls: Option<Result<Tls, Error>>,
}

/// Files, and their state when they were read.
struct Watched<T> {
    what: T,
    files: Vec<PathBuf>,
    seen: Vec<Option<FileState>>,
}

impl Reload {
    /// Must be called before the files are read for the first time, so that no later change is missed.
    pub(super) fn new(users: Option<PathBuf>, tls: Option<TlsFiles>) -> Self {
        let users = users.map(|file| Watched::new(file.clone(), vec![file]));
        let tls = tls.map(|tls| {
            let files = [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()];
            let files = files.into_iter().flatten().cloned().collect();
            Watched::new(tls, files)
        });
        Self { users, tls }
    }

    /// Updates the registry, as long as the future is polled.
    pub(super) async fn keep(mut self, mut hangup: Signal, control: Control) {
        loop {
            let is_told = tokio::select! {
                _ = hangup.recv() => true,
                () = sleep(CHECK_INTERVAL) => false,
            };
            if is_told {
                notify::reloading();
            }
            // In a thread: while a file system does not answer, requests are served.
            let mut looking = tokio::task::spawn_blocking(move || {
                let found = self.look(is_told);
                (self, found)
            });
            let looked = match timeout(FILE_SYSTEM_LIMIT, &mut looking).await {
                Ok(looked) => looked,
                Err(_) => {
                    tracing::warn!("--users, --tls-cert: the file system has not answered for {FILE_SYSTEM_LIMIT:?}");
                    looking.await
                }
            };
            let found;
            (self, found) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "--users and --tls-cert are not read again any more");
                    return std::future::pending().await;
                }
            };
            if let Some(users) = found.users {
                tell("--users", users.map(|users| control.replace_users(users)));
            }
            if let Some(tls) = found.tls {
                tell("--tls-cert", tls.map(|tls| control.replace_tls(tls)));
            }
            if is_told {
                notify::reloaded();
            }
        }
    }

    fn look(&mut self, is_told: bool) -> Found {
        Found {
            users: self.users.as_mut().and_then(|users| users.changed(is_told)).map(|file| Users::read(file)),
            tls: self.tls.as_mut().and_then(|tls| tls.changed(is_told)).map(Tls::read),
        }
    }
}

fn tell(option: &str, outcome: Result<(), Error>) {
    match outcome {
        Ok(()) => tracing::info!("{option}: read again"),
        Err(error) => tracing::error!("{option}: {error}; what was read before stays in force"),
    }
}

impl<T> Watched<T> {
    fn new(what: T, files: Vec<PathBuf>) -> Self {
        let mut watched = Self { what, files, seen: Vec::new() };
        watched.has_changed();
        watched
    }

    /// Returns the file to read again, after a change or on request.
    fn changed(&mut self, is_told: bool) -> Option<&T> {
        (self.has_changed() || is_told).then_some(&self.what)
    }

    fn has_changed(&mut self) -> bool {
        let seen = self.files.iter().map(|file| FileState::of(file)).collect();
        std::mem::replace(&mut self.seen, seen) != self.seen
    }
}
