//! Reads the users file and the certificate again, on SIGHUP and when they change.
//!
//! Change is found by looking at the files every two seconds. What the kernel tells about changes is about files, not
//! names: it goes deaf when a file is replaced through a link, as container platforms do, and on network file systems.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use service_registry::registry::{Control, Error, Tls, TlsFiles, Users};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

/// How long after a change it is noticed at the latest.
const LOOK: Duration = Duration::from_secs(2);

/// What may change.
pub(crate) struct Reload {
    hangup: Signal,
    users: Option<Watched<PathBuf>>,
    tls: Option<Watched<TlsFiles>>,
}

/// Files, and what they looked like when they were read.
struct Watched<T> {
    what: T,
    files: Vec<PathBuf>,
    seen: Vec<Option<Look>>,
}

/// Device, inode, size, time of change with nanoseconds: one of them is another after any change.
type Look = (u64, u64, u64, i64, i64);

impl Reload {
    /// To be called before the files are read for the first time, so that no change after that is missed.
    pub(crate) fn new(users: Option<PathBuf>, tls: Option<TlsFiles>) -> std::io::Result<Self> {
        let users = users.map(|file| Watched::new(file.clone(), vec![file]));
        let tls = tls.map(|tls| {
            let files = [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()];
            let files = files.into_iter().flatten().cloned().collect();
            Watched::new(tls, files)
        });
        Ok(Self { hangup: signal(SignalKind::hangup())?, users, tls })
    }

    /// Keeps the registry up to date, for as long as it is polled.
    pub(crate) async fn keep(mut self, control: Control) {
        loop {
            let is_told = tokio::select! {
                _ = self.hangup.recv() => true,
                () = sleep(LOOK) => false,
            };
            if let Some(users) = &mut self.users
                && (users.has_changed() || is_told)
            {
                tell("--users", Users::read(&users.what).map(|users| control.replace_users(users)));
            }
            if let Some(tls) = &mut self.tls
                && (tls.has_changed() || is_told)
            {
                tell("--tls-cert", Tls::read(&tls.what).map(|tls| control.replace_tls(tls)));
            }
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

    fn has_changed(&mut self) -> bool {
        let look = |metadata: Metadata| {
            (metadata.dev(), metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
        };
        let seen = self.files.iter().map(|file| std::fs::metadata(file).ok().map(look)).collect();
        std::mem::replace(&mut self.seen, seen) != self.seen
    }
}
