//! Tells on stderr how far a long list is, if that is a terminal and takes longer than a second.

use std::cell::Cell;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

/// The number of entries read so far.
#[derive(Default)]
pub(crate) struct Progress(Cell<usize>);

impl Progress {
    pub(crate) fn set(&self, entries: usize) {
        self.0.set(entries);
    }
}

/// Waits for the outcome, and shows the progress meanwhile.
pub(crate) async fn with_progress<T>(progress: &Progress, outcome: impl Future<Output = T>) -> T {
    const EVERY: Duration = Duration::from_secs(1);
    let mut outcome = std::pin::pin!(outcome);
    if !stderr().is_terminal() {
        return outcome.await;
    }
    let start = Instant::now();
    let mut ticks = interval_at(start + EVERY, EVERY);
    let mut is_shown = false;
    loop {
        tokio::select! {
            outcome = &mut outcome => {
                if is_shown {
                    show("\r\u{1b}[K");
                }
                return outcome;
            }
            _ = ticks.tick() => {
                is_shown = true;
                show(&format!("\r{} read in {} s...", progress.0.get(), start.elapsed().as_secs()));
            }
        }
    }
}

fn show(text: &str) {
    let _ = stderr().write_all(text.as_bytes()); // nobody is to be told, then
}
