//! The recipes of docs/recipes.md: a folder with the scripts of the page, a registry, and programs for them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::json;

use super::fleet::Fleet;
use super::wrapper::service;
use super::{Registry, Running, clean, eventually, executable, get, need, wrapper};

/// A folder with the scripts of the page, in which its commands run.
pub struct Kitchen {
    pub folder: tempfile::TempDir,
    pub registry: Registry,
    pub fleet: Fleet,
}

impl Kitchen {
    pub fn new() -> Self {
        ["jq", "sh"].into_iter().for_each(need);
        let folder = tempfile::tempdir().unwrap();
        for script in blocks().iter().filter(|block| block.starts_with("#!/bin/sh\n")) {
            let name = script.lines().nth(1).unwrap().trim_start_matches("# ").split(':').next().unwrap();
            executable(&folder.path().join(name), script);
        }
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let registry = Registry::start();
        let fleet = Fleet::of(&registry);
        Self { folder, registry, fleet }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that the recipes find in the folder of the commands, or, with `bin/` before its name, in PATH.
    pub fn program(&self, name: &str, script: &str) {
        executable(&self.path(name), &format!("#!/bin/sh\n{script}\n"));
    }

    /// The command of the page that begins like this.
    pub fn command(&self, beginning: &str) -> Command {
        let all = blocks();
        let mut found = all.iter().filter(|block| block.starts_with(beginning));
        let (text, none) = (found.next().unwrap(), found.next());
        assert!(none.is_none(), "two commands begin with {beginning}");
        let programs = Path::new(env!("CARGO_BIN_EXE_service-registry")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{}:{path}:/usr/sbin", self.path("bin").display(), programs.display());
        let mut command = clean("sh");
        command.args(["-e", "-c", &format!("exec {text}")]).current_dir(self.folder.path());
        command.env("PATH", path).env("SERVICE_REGISTRY_URL", &self.registry.url);
        command.env("STATE_DIRECTORY", self.folder.path()).env("XDG_RUNTIME_DIR", self.folder.path());
        command
    }

    pub fn run(&self, beginning: &str) -> Running {
        Running::start(&mut self.command(beginning))
    }

    /// A wrapper on the same machine, which remembers a maintenance.
    pub fn wrap(&self, id: &str) -> Running {
        let mut command = wrapper(&self.registry.url);
        command.env("XDG_RUNTIME_DIR", self.folder.path()).arg(format!("--id={id}")).arg("--tags=api");
        command.arg("--state-dir").arg(self.path(id)).args(["sh", "-c", "echo up; exec sleep 1000"]);
        let mut running = Running::start(&mut command);
        running.line("up");
        running
    }

    pub fn is_listed(&self, id: &str) -> bool {
        service(&self.registry, id).is_some()
    }

    /// Adds a service behind which a server says its id.
    pub fn serve(&mut self, id: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let body = json!({ "id": id }).to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]); // the check of a proxy may send nothing
                let length = body.len();
                let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            }
        });
        self.fleet.add(id, &["api"], json!({"host": "127.0.0.1", "port": port}));
    }
}

/// The blocks of shell in the page.
pub fn blocks() -> Vec<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// The id of the server that answers through a proxy; none if none does.
pub fn through(address: &str) -> Option<String> {
    let (status, body) = get(address, "/").ok()?;
    body["id"].as_str().filter(|_| status == 200).map(str::to_owned)
}

/// Waits until a proxy has had answers from exactly these, of twenty in a row.
pub fn answered_by(address: &str, servers: &[&str]) {
    eventually("answers from these servers", || {
        let mut seen: Vec<String> = (0..20).map(|_| through(address)).collect::<Option<_>>()?;
        seen.sort();
        seen.dedup();
        (seen == servers).then_some(())
    });
}
