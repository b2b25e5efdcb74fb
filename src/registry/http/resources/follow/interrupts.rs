//! What ends a wait early: the registry's stop, and other users.

use tokio::sync::watch;

/// Tells waiting requests what has happened. The value is whether the registry stops.
#[derive(Debug)]
pub(crate) struct Interrupts(watch::Sender<bool>);

/// A view of it, of one request.
#[derive(Debug)]
pub(super) struct Interrupted(watch::Receiver<bool>);

impl Default for Interrupts {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Interrupts {
    /// Ends all waits.
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Lets all waiting requests look whether they are still permitted.
    pub(crate) fn users_replaced(&self) {
        self.0.send_modify(|_| {});
    }

    /// Is ready when the registry stops.
    #[cfg(feature = "etcd")]
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut seen = self.0.subscribe();
        async move {
            if seen.wait_for(|is_stopping| *is_stopping).await.is_err() {
                std::future::pending().await // the registry is gone, and this task ends next
            }
        }
    }

    pub(super) fn subscribe(&self) -> Interrupted {
        Interrupted(self.0.subscribe())
    }
}

impl Interrupted {
    pub(super) fn is_stopping(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for an interrupt.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // the registry is gone, and this task ends next
        }
    }
}
