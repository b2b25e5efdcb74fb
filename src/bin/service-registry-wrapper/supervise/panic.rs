//! A defect of the wrapper itself must not take it away from its child.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use anyhow::anyhow;

use crate::exit::Failure;

/// Panics if the variable WRAPPER_PANIC_AT names this place. Debug builds only: the tests look at what follows.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "that is what it is for")]
pub(super) fn panic_point(place: &str) {
    if std::env::var_os("WRAPPER_PANIC_AT").is_some_and(|at| at == place) {
        panic!("WRAPPER_PANIC_AT={place}");
    }
}

/// Runs a future, and turns a panic in it into a failure (exit status 125). The panic hook has logged where it was.
pub(crate) async fn catch<T, E: From<Failure>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let mut future = pin!(future);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))).unwrap_or_else(|_| {
            Poll::Ready(Err(Failure::from(anyhow!("the wrapper itself has failed, see above")).into()))
        })
    })
    .await
}
