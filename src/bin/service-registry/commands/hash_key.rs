//! `service-registry hash-key`.

use std::io::{IsTerminal, Read, Write, stderr, stdin, stdout};

use anyhow::{Context, anyhow, ensure};
use service_registry::registry::hash_key;

use crate::exit::Failure;

/// In bytes. A longer key does not fit into a request.
const LONGEST: u64 = 4_096;

/// Prints the hash of the key on stdin.
pub(crate) fn run() -> Result<(), Failure> {
    let key = read_key()?;
    let hash = hash_key(&key).map_err(|error| anyhow!("cannot hash the key: {error}"))?;
    writeln!(stdout(), "{hash}").context("writing to stdout")?;
    Ok(())
}

fn read_key() -> anyhow::Result<String> {
    let mut key = String::new();
    if stdin().is_terminal() {
        let _ = writeln!(stderr(), "Type the key (it is shown), then Enter:"); // the user knows what they typed
        stdin().read_line(&mut key).context("reading the key from stdin")?;
    } else {
        stdin().take(LONGEST + 2).read_to_string(&mut key).context("reading the key from stdin")?;
    }
    let key = key.strip_suffix('\n').unwrap_or(&key);
    let key = key.strip_suffix('\r').unwrap_or(key);
    ensure!(!key.is_empty(), "there is no key on stdin");
    ensure!(key.len() as u64 <= LONGEST, "the key on stdin is longer than {LONGEST} bytes");
    ensure!(!key.contains('\n'), "there is more than one line on stdin; a key is one line");
    Ok(key.to_owned())
}
