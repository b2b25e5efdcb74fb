//! The id that every answer carries, and that its log line and its fault repeat.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids: `.rh-<4>.h-<host>.r-<8>.c-<counter>.ts-<epoch ms>.v-<version>`.
#[derive(Debug)]
pub(crate) struct ResponseIds {
    prefix: String,
    counter: AtomicU64,
}

impl ResponseIds {
    pub(crate) fn new() -> Self {
        let prefix = format!(".rh-{}.h-{}.r-", random(4).collect::<String>(), host());
        Self { prefix, counter: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self, wall: u64) -> String {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let mut id = String::with_capacity(self.prefix.len() + 72); // every answer has one: no growing in steps
        id.push_str(&self.prefix);
        id.extend(random(8));
        let _ = write!(id, ".c-{counter}.ts-{wall}.v-{}", env!("CARGO_PKG_VERSION"));
        id
    }
}

fn random(length: usize) -> impl Iterator<Item = char> {
    std::iter::repeat_with(fastrand::alphanumeric).take(length)
}

/// The name of this machine, as far as it fits into a header.
fn host() -> String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    #[cfg(not(unix))]
    let name: Option<String> = None;
    let fits = |char: &char| char.is_ascii_alphanumeric() || *char == '-';
    let name: String = name.unwrap_or_default().chars().filter(fits).collect();
    if name.is_empty() { "localhost".into() } else { name }
}
