//! The templates of contrib/render, with the real proxies: wrapped services come and go, and no request fails (of
//! Caddy: none but those that its reload resets).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::fleet::{command, run};
use crate::bench::kitchen::answered_by;
use crate::bench::{Registry, Running, child, clean, eventually, free_address, get, need, wrapper};

/// A template with the addresses and paths of a test, and the file that it becomes.
struct Place {
    folder: tempfile::TempDir,
    registry: Registry,
    address: String,
    template: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new(template: &str, changes: impl Fn(&str, &Path) -> Vec<(&'static str, String)>) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/render").join(template);
        let mut text = std::fs::read_to_string(page).unwrap();
        for (from, to) in changes(&address, folder.path()) {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            text = text.replace(from, &to);
        }
        let (file, template) = (folder.path().join(template.trim_end_matches(".j2")), folder.path().join(template));
        std::fs::write(&template, text).unwrap();
        Self { folder, registry: Registry::start(), address, template, file }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn render(&self, options: &[&str]) -> Command {
        let names = format!("{}:{}", self.template.display(), self.file.display());
        let mut command = command(&self.registry.url, &["render", "--quiet-time=50ms", &names]);
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap());
        command.args(options).env("PATH", path).env("HOME", self.folder.path());
        command
    }

    /// A wrapped server. After it has left the registry it answers until it is told a second time.
    fn serve(&self, id: &str) -> Running {
        let mut command = wrapper(&self.registry.url);
        command.args(["--tags=api", "--register-when=listening", "--metadata=host=127.0.0.1,port={port}"]);
        command.args(["--drain-delay=60", &format!("--id={id}"), "python3"]).arg(child("named.py")).arg(id);
        let mut running = Running::start(&mut command);
        running.line("ready");
        running
    }

    /// One server comes and goes while requests are sent all the time.
    fn none_fails(&self) {
        let failed = self.failed();
        assert_eq!(failed, [] as [String; 0]);
    }

    /// The same; returns what was wrong.
    fn failed(&self) -> Vec<String> {
        let (is_over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        let address = &self.address;
        let _stays = self.serve("api-0");
        answered_by(&self.address, &["api-0"]);
        let failed = thread::scope(|scope| {
            let client = scope.spawn(|| {
                let mut failed = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    failed.extend(error(get(address, "/")));
                }
                failed
            });
            for _ in 0..3 {
                let mut goes = self.serve("api-1");
                answered_by(&self.address, &["api-0", "api-1"]);
                goes.signal(Signal::SIGTERM);
                answered_by(&self.address, &["api-0"]);
                goes.signal(Signal::SIGTERM);
                goes.end();
            }
            is_over.store(true, Ordering::Relaxed);
            client.join().unwrap()
        });
        assert!(sent.into_inner() > failed.len());
        failed
    }

    /// Makes the file for no services. It passes this check.
    fn is_right_without_services(&self, check: &str) {
        let mut once = Running::start(&mut self.render(&["--once", "--allow-empty", "--check", check]));
        assert_eq!(once.end().code(), Some(0), "{}", once.said_to_the_end());
    }

    fn answers(&self, expected: u16) {
        eventually("an answer", || get(&self.address, "/").is_ok_and(|(status, _)| status == expected).then_some(()));
    }
}

/// What was wrong with an answer.
fn error(answer: Result<(u16, Value), std::io::Error>) -> Option<String> {
    match answer {
        Ok((200, body)) if body["id"].is_string() => None,
        Ok((status, body)) => Some(format!("{status} {body}")),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn nginx_has_the_services() {
    need("nginx");
    let place = Place::new("nginx.conf.j2", |address, folder| {
        let folder = folder.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths: String = kinds.iter().map(|kind| format!("{kind}_temp_path {folder}/{kind};\n")).collect();
        vec![
            ("pid /run/nginx.pid;", format!("pid {folder}/pid;\nerror_log stderr;")),
            ("http {\n", format!("http {{\naccess_log off;\n{paths}")),
            ("listen 80;", format!("listen {address};")),
        ]
    });
    let (check, signal) = ("nginx -t -q -c {}", format!("--signal=HUP:{}", place.path("pid")));
    place.is_right_without_services(check);
    let _nginx = Running::start(clean("nginx").arg("-c").arg(&place.file).args(["-g", "daemon off;"]));
    place.answers(502);
    eventually("nginx", || std::fs::read_to_string(place.path("pid")).ok().filter(|text| !text.is_empty()));
    let _render = Running::start(&mut place.render(&["--check", check, &signal]));
    place.none_fails();
}

#[test]
fn haproxy_has_the_services() {
    need("haproxy");
    let place = Place::new("haproxy.cfg.j2", |address, _| vec![("bind :80", format!("bind {address}"))]);
    let (check, signal) = ("haproxy -c -q -f {}", format!("--signal=USR2:{}", place.path("pid")));
    place.is_right_without_services(check);
    let mut haproxy = clean("haproxy");
    let _haproxy = Running::start(haproxy.args(["-W", "-p", &place.path("pid"), "-f"]).arg(&place.file));
    place.answers(503);
    eventually("HAProxy", || std::fs::read_to_string(place.path("pid")).ok().filter(|text| !text.is_empty()));
    let _render = Running::start(&mut place.render(&["--check", check, &signal]));
    place.none_fails();
}

#[test]
fn caddy_has_the_services() {
    if run_of("caddy").is_none() {
        let _ = writeln!(std::io::stderr(), "left out, caddy is not installed (apt-get install caddy)");
        return;
    }
    let admin = free_address();
    let place = Place::new("Caddyfile.j2", |address, _| {
        vec![("admin localhost:2019", format!("admin {admin}")), (":80 {", format!("http://{address} {{"))]
    });
    let check = "caddy validate --adapter caddyfile --config {}";
    place.is_right_without_services(check);
    let file = place.file.display();
    let mut caddy = clean("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(&place.file).env("HOME", place.folder.path());
    let _caddy = Running::start(&mut caddy);
    place.answers(503);
    let exec = format!("--exec=caddy reload --adapter caddyfile --config {file}");
    let _render = Running::start(&mut place.render(&["--check", check, &exec]));
    // Each reload makes another listening socket (SO_REUSEPORT): what waits at the old one is reset.
    let failed = place.failed();
    assert!(failed.iter().all(|error| error.contains("reset by peer")), "{failed:?}");
}

/// The file of a program in PATH.
fn run_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[test]
fn templates_are_right_without_services_and_with_hostile_ones() {
    let registry = Registry::start();
    let evil = serde_json::json!({"host": "127.0.0.1; } server {", "port": "1"});
    crate::bench::fleet::Fleet::of(&registry).add("evil-0", &["api"], evil);
    for template in ["nginx.conf.j2", "haproxy.cfg.j2", "Caddyfile.j2"] {
        let path = format!("{}/contrib/render/{template}", env!("CARGO_MANIFEST_DIR"));
        let (code, text, said) = run(&registry.url, &["render", "--once", &path]);
        let (_, empty, _) = run(&registry.url, &["render", "--once", "--tag=none", &path]);
        assert!(code == Some(0) && text == empty && !text.contains("evil"), "{said}{text}");
    }
}
