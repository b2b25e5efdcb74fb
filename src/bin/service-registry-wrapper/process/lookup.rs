//! Looks the command up in PATH, before anything is contacted: a command that cannot run is never registered.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use nix::unistd::{AccessFlags, access};

use crate::exit::{self, Failure};

/// Returns the path of the program, by the rules of execvp(3).
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, Failure> {
    if program.is_empty() {
        return Err(Failure::new(exit::NOT_FOUND, anyhow!("the command is an empty word; give the program to run")));
    }
    if program.as_bytes().contains(&b'/') {
        return executable(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    let mut refused = None;
    for candidate in std::env::split_paths(&path).map(|folder| place_of(folder, program)) {
        match executable(candidate) {
            Ok(found) => return Ok(found),
            Err(failure) if failure.status == exit::NOT_EXECUTABLE => refused = Some(failure),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::new(
            exit::NOT_FOUND,
            anyhow!("{}: not found in PATH; check the spelling or give a path", program.display()),
        )
    }))
}

/// An empty element of PATH is the working directory.
fn place_of(folder: PathBuf, program: &OsStr) -> PathBuf {
    if folder.as_os_str().is_empty() { Path::new(".").join(program) } else { folder.join(program) }
}

fn executable(program: PathBuf) -> Result<PathBuf, Failure> {
    let refuse = |status, why: &str| Err(Failure::new(status, anyhow!("{}: {why}", program.display())));
    match std::fs::metadata(&program) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            refuse(exit::NOT_EXECUTABLE, "permission denied")
        }
        Err(_) => refuse(exit::NOT_FOUND, "no such file"),
        Ok(found) if found.is_dir() => refuse(exit::NOT_EXECUTABLE, "is a directory"),
        Ok(_) if access(&program, AccessFlags::X_OK).is_err() => {
            refuse(exit::NOT_EXECUTABLE, "not executable; try chmod +x")
        }
        Ok(_) => Ok(program),
    }
}
