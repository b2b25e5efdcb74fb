//! A loss of power: unsynced data is lost, acknowledged changes are not.
//!
//! The registry runs with a library preloaded that keeps a copy of each file, and the names in each directory, as of
//! its last sync. After SIGKILL everything is put back to that: files that were never synced are empty, names that
//! their directory was never synced with are gone. What was removed stays removed, which a real machine may do as well.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::files::library;
use crate::bench::{Registry, Running, clean, eventually, request};

/// What the library has kept of a file or directory.
fn kept(synced: &Path, inode: u64) -> PathBuf {
    synced.join(inode.to_string())
}

fn entries(folder: &Path) -> Vec<(String, PathBuf, fs::Metadata)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let describe =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), entry.path(), entry.metadata().unwrap());
    entries.map(describe).collect()
}

/// Takes everything there is for synced: it has outlived a loss already.
fn remember(folder: &Path, synced: &Path) {
    let entries = entries(folder);
    let names: String = entries.iter().map(|(name, _, metadata)| format!("{} {name}\n", metadata.ino())).collect();
    fs::write(kept(synced, fs::metadata(folder).unwrap().ino()), names).unwrap();
    for (_, path, metadata) in entries {
        if metadata.is_dir() {
            remember(&path, synced);
        } else if metadata.is_file() {
            fs::copy(&path, kept(synced, metadata.ino())).unwrap();
        }
    }
}

/// Puts everything in a directory back to what it was when it was last synced. Returns how many files were there, but
/// not what they should have been.
fn lose_power(folder: &Path, synced: &Path) -> usize {
    let names = fs::read_to_string(kept(synced, fs::metadata(folder).unwrap().ino())).unwrap_or_default();
    let names: HashMap<&str, u64> = names
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(inode, name)| (name, inode.parse().unwrap()))
        .collect();
    let mut lost = 0;
    for (name, path, metadata) in entries(folder) {
        let inode = names.get(&*name).copied();
        if inode == Some(metadata.ino()) && metadata.is_dir() {
            lost += lose_power(&path, synced);
        } else if inode == Some(metadata.ino()) {
            let content = fs::read(kept(synced, metadata.ino())).unwrap_or_default();
            lost += usize::from(metadata.is_file() && fs::read(&path).unwrap() != content);
            if metadata.is_file() {
                fs::write(&path, content).unwrap();
            }
        } else {
            let remove = if metadata.is_dir() { fs::remove_dir_all } else { fs::remove_file };
            remove(&path).unwrap();
            // It may have taken the place of another one, which is there again.
            if let Some(Ok(content)) = inode.map(|inode| fs::read(kept(synced, inode))) {
                fs::write(&path, content).unwrap();
            }
        }
    }
    lost
}

#[test]
fn acknowledged_changes_survive_a_loss_of_power() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), "synced.c");
    let (home, synced) = (folder.path().join("home"), folder.path().join("synced"));
    let data = home.join("data");
    fs::create_dir(&home).unwrap();
    let acknowledged = Mutex::new(Vec::new());
    let mut lost = 0;
    for round in 0..3 {
        let _ = fs::remove_dir_all(&synced); // inodes of files that are gone come again
        fs::create_dir(&synced).unwrap();
        remember(&home, &synced);
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
        lost += lose_power(&home, &synced);
    }
    let registry = Registry::start_with(&["--data-dir", data.to_str().unwrap()]);
    for id in acknowledged.into_inner().unwrap() {
        let (status, _) = request(&registry.url, "GET", &format!("/v1.0/1/services/{id}"), "").unwrap();
        assert_eq!(status, 200, "{id} was acknowledged");
    }
    assert!(lost > 0, "nothing was ever lost: this shows nothing");
}
