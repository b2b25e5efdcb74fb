//! Programs that replace themselves, or go into the background: the next main process, which `--pid-file` names.
//!
//! It is accepted once it is the wrapper's own child: only then will `waitpid` return its status. The processes before
//! it exit by themselves, and the wrapper adopts it as a subreaper. So a file that is out of date, or that names a
//! process with a number used again, does no harm.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc::pid_t;
use service_registry::files;
use tokio::time::{Instant, sleep};

use super::blocking::Blocking;
use super::wait;

/// Between two looks at the file.
const PAUSE: Duration = Duration::from_millis(50);

/// For one look, at a file system that may not answer.
const LOOK: Duration = Duration::from_secs(1);

/// In bytes. The first line counts; some programs write more of them.
const LARGEST: u64 = 4096;

/// Waits until the file names a child of the wrapper, and returns it. An error says what the file had instead.
pub(super) async fn find(file: PathBuf, until: Instant, inherited_children: HashSet<pid_t>) -> Result<pid_t, String> {
    let blocking = Blocking::default();
    loop {
        let path = file.clone();
        let wrong = match blocking.run(LOOK, move || files::read_text(&path, LARGEST)).await {
            None => "the file system does not answer".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(text)) => match text.split_whitespace().next().and_then(|number| number.parse().ok()) {
                Some(process) if wait::is_child(process) && !inherited_children.contains(&process) => {
                    return Ok(process);
                }
                Some(process) => format!("process {process} is not a running descendant that the wrapper has adopted"),
                None => "its first line is no process id".to_owned(),
            },
        };
        if Instant::now() >= until {
            return Err(wrong);
        }
        sleep(PAUSE).await;
    }
}
