//! What may block, in a thread of its own: a file system that does not answer holds up neither heartbeats nor signals.
//!
//! *Not* tokio's threads for this: where the system allows none (`ulimit -u`) asking for one panics, and one that is there
//! stays for ten seconds in the place of one of the child's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Does one thing at a time: while one hangs, no further thread is started, however often that is asked for.
#[derive(Clone, Default)]
pub(crate) struct Blocking {
    is_busy: Arc<AtomicBool>,
}

impl Blocking {
    /// The outcome of this work; nothing if it takes longer than `limit`, or if what was asked for before still hangs.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.is_busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let is_busy = self.is_busy.clone();
        let outcome = begin(move || {
            let outcome = work();
            is_busy.store(false, Ordering::Release);
            outcome
        });
        timeout(limit, outcome).await.ok()?.ok()
    }
}

/// Begins this work; where the system allows no further thread, does it here.
pub(crate) fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (tell, outcome) = oneshot::channel();
    let work = Arc::new(Mutex::new(Some(move || drop(tell.send(work())))));
    let in_thread = work.clone();
    if thread::Builder::new().name("files".to_owned()).spawn(move || finish(&in_thread)).is_err() {
        finish(&work);
    }
    outcome
}

fn finish(work: &Mutex<Option<impl FnOnce()>>) {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(work) = work {
        work();
    }
}
