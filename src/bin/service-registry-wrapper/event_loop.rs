//! The event loop: tokio's, in one thread.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, LocalRuntime};
use tokio::sync::Notify;

/// The event loop, and the moments at which nothing in it has anything to do.
///
/// A `LocalRuntime`: the linker then leaves out the multi-threaded kind of runtime, and libm with it.
pub(super) struct EventLoop {
    runtime: LocalRuntime,
    idle: Arc<Notify>,
}

impl EventLoop {
    pub(super) fn new() -> Result<Self> {
        let idle = Arc::new(Notify::new());
        let on_idle = idle.clone();
        let mut builder = Builder::new_current_thread();
        builder.enable_io().enable_time().on_thread_park(move || on_idle.notify_waiters());
        let runtime = builder.build_local(Default::default()).context(
            "cannot start the event loop; if too many files are open, raise the limit (ulimit -n, LimitNOFILE=)",
        )?;
        Ok(Self { runtime, idle })
    }

    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Waits until every task waits for something outside of the process.
    pub(super) async fn idle(&self) {
        self.idle.notified().await;
    }
}
