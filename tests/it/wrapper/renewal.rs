//! Certificates that are renewed while the wrapper runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::authority::Authority;
use crate::bench::files::library;
use crate::bench::{Registry, Running, child, clean, free_port};

/// The wrapper in front of the registry at this address, whose certificate is for localhost.
fn wrapped(address: &str) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.arg(format!("--registry-url=https://{}", address.replace("127.0.0.1", "localhost")));
    command.args(["--id=web0", "--interval=3"]);
    command
}

fn start(command: &mut Command) -> Running {
    let mut wrapped = Running::start(command.arg("python3").arg(child("signals.py")));
    wrapped.all(&["registered web0", "ready "]);
    wrapped
}

/// Ends the registry, and all connections with it.
fn end(mut registry: Registry) {
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
}

#[test]
fn renewed_client_certificate_is_used_after_a_reconnect() {
    let (authority, renewed) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let shows = |from: &Authority, file: &str| fs::copy(from.path(file), path(file)).unwrap();
    authority.sign("client", "client");
    renewed.sign("client", "client");
    shows(&authority, "client");
    shows(&authority, "client.key");
    let (old, new) = (authority.path("ca"), renewed.path("ca"));
    let address = free_port("127.0.0.1");
    let registry = authority.serve_at(&address, &["--tls-client-ca", &old]);
    let (certificate, key) = (path("client"), path("client.key"));
    let files = ["--ca-file", &old, "--client-cert", &certificate, "--client-key", &key];
    let mut wrapped = start(wrapped(&address).args(files));
    // Half-way through the renewal.
    shows(&renewed, "client");
    end(registry);
    let registry = authority.serve_at(&address, &["--tls-client-ca", &old]);
    wrapped.all(&["the client key does not fit the client certificate", "registered web0"]);
    shows(&renewed, "client.key");
    end(registry);
    let _registry = authority.serve_at(&address, &["--tls-client-ca", &new]);
    wrapped.line("registered web0");
    assert!(!wrapped.has_ended());
}

/// The registry's certificate is trusted by the system's bundle, as `$SSL_CERT_FILE` names it.
#[test]
fn replaced_system_bundle_is_used_after_a_reconnect() {
    let (authority, wrong) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let (bundle, new) = (folder.path().join("bundle"), folder.path().join("new"));
    let replace = |by: &Authority| {
        fs::copy(by.path("ca"), &new).unwrap();
        fs::rename(&new, &bundle).unwrap();
    };
    replace(&authority);
    let address = free_port("127.0.0.1");
    let registry = authority.serve_at(&address, &[]);
    let mut wrapped = start(wrapped(&address).env("SSL_CERT_FILE", &bundle));
    replace(&wrong);
    end(registry);
    let _registry = authority.serve_at(&address, &[]);
    wrapped.line("cannot trust https://localhost");
    replace(&authority);
    wrapped.line("registered web0");
}

/// A certificate that has changed behind a link in a directory: nothing about the directory has changed.
#[test]
fn authorities_are_read_again_after_a_refused_certificate() {
    let (authority, wrong) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let (linked, directory) = (folder.path().join("ca"), folder.path().join("certs"));
    fs::copy(wrong.path("ca"), &linked).unwrap();
    fs::create_dir(&directory).unwrap();
    symlink(&linked, directory.join("ca.pem")).unwrap();
    let address = free_port("127.0.0.1");
    let _registry = authority.serve_at(&address, &[]);
    let mut command = wrapped(&address);
    command.env("SSL_CERT_DIR", &directory).arg("python3").arg(child("signals.py"));
    let mut wrapped = Running::start(&mut command);
    wrapped.line("cannot trust https://localhost");
    fs::copy(authority.path("ca"), &linked).unwrap();
    wrapped.line("registered web0");
}

#[test]
fn hanging_ca_file_does_not_keep_the_wrapper_from_reconnecting() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), "hanging.c");
    let file = folder.path().join("ca");
    let copy = |to: &Path| fs::copy(authority.path("ca"), to).unwrap();
    copy(&file);
    let address = free_port("127.0.0.1");
    let registry = authority.serve_at(&address, &[]);
    let mut command = wrapped(&address);
    command.env("LD_PRELOAD", &library).env("HANGS", &file).arg("--ca-file").arg(&file);
    let mut wrapped = start(&mut command);
    fs::write(folder.path().join("ca.hangs"), "").unwrap();
    copy(&file); // it has changed, so it is read again
    end(registry);
    let registry = authority.serve_at(&address, &[]);
    wrapped.all(&["it hangs", "registered web0"]);
    end(registry);
    let _registry = authority.serve_at(&address, &[]);
    wrapped.line("registered web0");
    let threads = fs::read_dir(format!("/proc/{}/task", wrapped.pid)).unwrap();
    let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default());
    assert_eq!(
        names.filter(|name| name == "certificates\n").count(),
        1,
        "one thread hangs, however often it is needed"
    );
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
}
