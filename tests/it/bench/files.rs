//! Unusual files, and libraries that are loaded into programs.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::child;

pub fn pipe(path: &Path) {
    mkfifo(path, Mode::S_IRWXU).unwrap();
}

/// A file of three gigabytes, which takes no room.
pub fn large(path: &Path) {
    File::create(path).unwrap().set_len(3 << 30).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Compiles a library to be preloaded.
pub fn library(folder: &Path, source: &str) -> PathBuf {
    let library = folder.join(source).with_extension("so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(child(source)).arg("-ldl");
    let compiled = compiler.output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}
