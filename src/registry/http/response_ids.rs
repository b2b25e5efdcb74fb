//! The id that every answer carries, and that its log line and its fault repeat.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes ids: `.rh-<4>.h-<host>.r-<8>.c-<counter>.ts-<epoch ms>.v-<version>`.
#[derive(Debug)]
pub(super) struct ResponseIds {
    prefix: String,
    counter: AtomicU64,
}

impl ResponseIds {
    pub(super) fn new() -> Self {
        let prefix = format!(".rh-{}.h-{}.r-", String::from_iter(random::<4>()), host());
        Self { prefix, counter: AtomicU64::new(0) }
    }

    pub(super) fn next(&self, wall: u64) -> String {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let numbers = [counter, wall].map(|number| number.max(1).ilog10() as usize + 1);
        let marks = 8 + ".c-.ts-.v-".len() + VERSION.len();
        // Every answer has one: no growing in steps, and nothing to spare, since a header would need one more allocation.
        let mut id = String::with_capacity(self.prefix.len() + marks + numbers[0] + numbers[1]);
        id.push_str(&self.prefix);
        id.extend(random::<8>());
        let _ = write!(id, ".c-{counter}.ts-{wall}.v-{VERSION}");
        id
    }
}

/// Letters and digits, all of one number.
fn random<const LENGTH: usize>() -> [char; LENGTH] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut number = fastrand::u64(..);
    [(); LENGTH].map(|()| {
        let digit = DIGITS[(number % 62) as usize];
        number /= 62;
        char::from(digit)
    })
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
