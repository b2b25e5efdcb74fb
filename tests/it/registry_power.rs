//! A loss of power: what was not synced is gone, and what was acknowledged is not.
//!
//! The registry runs with a library preloaded that keeps a copy of each file as of its last sync. After SIGKILL every
//! file in the data directory is put back to that copy, and files without one are emptied. Names stay: the store syncs
//! directories, too, which this does not watch.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Registry, Running, child, clean, eventually, request};

/// Compiles the library.
fn library(folder: &Path) -> PathBuf {
    let library = folder.join("synced.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(child("synced.c")).arg("-ldl");
    let compiled = compiler.output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    library
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

/// Puts every file back to what it was when it was last synced. Returns how many were not what they should have been.
fn lose_power(data: &Path, synced: &Path) -> usize {
    let mut found = Vec::new();
    files(data, &mut found);
    let mut lost = 0;
    for file in found {
        let inode = std::fs::metadata(&file).unwrap().ino();
        let kept = std::fs::read(synced.join(inode.to_string())).unwrap_or_default();
        if std::fs::read(&file).unwrap() != kept {
            lost += 1;
        }
        std::fs::write(&file, kept).unwrap();
    }
    lost
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let (data, synced) = (folder.path().join("data"), folder.path().join("synced"));
    let acknowledged = Mutex::new(Vec::new());
    let mut lost = 0;
    for round in 0..3 {
        let _ = std::fs::remove_dir_all(&synced); // inodes of files that are gone come again
        std::fs::create_dir(&synced).unwrap();
        let mut there = Vec::new();
        if round > 0 {
            files(&data, &mut there);
        }
        for file in there {
            let inode = std::fs::metadata(&file).unwrap().ino();
            std::fs::copy(file, synced.join(inode.to_string())).unwrap(); // it has outlived one loss already
        }
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command.env("LD_PRELOAD", &library).env("SYNCED", &synced);
        let mut process = Running::start(&mut command);
        let url = process.line("listening on http://").split("listening on ").nth(1).unwrap().to_owned();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (acknowledged, url) = (&acknowledged, &url);
                scope.spawn(move || {
                    for number in 0.. {
                        let id = format!("node-{round}-{thread}-{number}");
                        let body = json!({"id": id, "heartbeat_timeout": 120}).to_string();
                        match request(url, "POST", "/v1.0/1/services", &body) {
                            Ok((201, _)) => acknowledged.lock().unwrap().push(id),
                            _ => break,
                        }
                    }
                });
            }
            let enough = (round + 1) * 40;
            eventually("some registrations", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            process.signal(Signal::SIGKILL);
            process.end();
        });
        lost += lose_power(&data.join("store"), &synced);
    }
    assert!(lost > 0, "nothing was ever lost: this shows nothing");
    let registry = Registry::start_with(&["--data-dir", data.to_str().unwrap()]);
    for id in acknowledged.into_inner().unwrap() {
        let (status, _) = request(&registry.url, "GET", &format!("/v1.0/1/services/{id}"), "").unwrap();
        assert_eq!(status, 200, "{id} was acknowledged");
    }
}
