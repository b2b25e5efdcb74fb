//! Runs work that may block in a thread: a file system that does not answer delays neither heartbeats nor signals.
//!
//! *Not* tokio's threads: asking for one panics where the system allows none (`ulimit -u`), and an idle one stays for
//! ten seconds, during which the child may lack it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Runs one piece of work at a time: while one hangs, no further thread is started.
#[derive(Clone, Default)]
pub(crate) struct Blocking {
    is_busy: Arc<AtomicBool>,
}

impl Blocking {
    /// Returns the outcome of the work; nothing if it takes longer than `limit`, or if earlier work still hangs.
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

/// Starts the work in a thread; where the system allows no further one, runs it here.
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
