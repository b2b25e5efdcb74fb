//! The way of a command to the registry: logins, TLS, failover, and the exit statuses.

use std::io::Write;

use serde_json::json;

use crate::bench::authority::Authority;
use crate::bench::commands::{command, register, run};
use crate::bench::files::mode;
use crate::bench::users::with_users;
use crate::bench::{Misbehaving, Registry, Reply, USERS};

const NOWHERE: &str = "http://127.0.0.1:1";

fn key_file(key: &str, bits: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{key}").unwrap();
    mode(file.path(), bits);
    file
}

#[test]
fn command_logs_in_with_a_key_file() {
    let (registry, _users) = with_users(USERS);
    let (right, wrong, public) =
        (key_file("joes-key", 0o600), key_file("anns-key", 0o600), key_file("joes-key", 0o604));
    for (file, status, said) in [
        (&right, 0, ""),
        (&wrong, 3, "(--username, --api-key-file)"),
        (&public, 2, "all users may read it; run chmod o-r"),
    ] {
        let file = file.path().to_str().unwrap();
        let (code, _, stderr) = run(&mut command(&registry.url, &["limits", "--username=joe", "--api-key-file", file]));
        assert_eq!(code, status, "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let (code, _, stderr) = run(&mut command(&registry.url, &["limits"]));
    assert_eq!(code, 3, "{stderr}");
    let (code, _, stderr) = run(&mut command(&registry.url, &["limits", "--username=joe", "--api-key=joes-key"]));
    assert_eq!(code, 0);
    assert!(stderr.contains("use --api-key-file") && !stderr.contains("joes-key"), "{stderr}");
    // What is typed overrides its rival in the environment.
    let mut typed =
        command(&registry.url, &["limits", "--username=joe", "--api-key-file", right.path().to_str().unwrap()]);
    assert_eq!(run(typed.env("SERVICE_REGISTRY_API_KEY", "wrong")).0, 0);
    for (wrong, said) in [
        (&["--username=joe"][..], "--username is given without a key"),
        (&["--api-key=x"], "an API key is given without a user"),
        (&["--registry-url=localhost"], "--registry-url: the registry URL does not begin with http://"),
        (&["--client-cert=x"], "--client-cert is given without its key"),
        (&["--ca-file=/no/such/file"], "--ca-file: cannot use the CA file /no/such/file"),
    ] {
        let (code, _, stderr) = run(&mut command(&registry.url, &[&["services"], wrong].concat()));
        assert_eq!(code, 2, "{wrong:?}: {stderr}");
        assert!(stderr.contains(said), "{wrong:?}: {stderr}");
    }
}

#[test]
fn command_speaks_tls_with_a_client_certificate() {
    let authority = Authority::new();
    authority.sign("client", "client");
    let registry = authority.serve(&["--tls-client-ca", &authority.path("ca")]);
    let url = registry.url.replace("127.0.0.1", "localhost");
    let trust = format!("--ca-file={}", authority.path("ca"));
    let shown = [
        format!("--client-cert={}", authority.path("client")),
        format!("--client-key={}", authority.path("client.key")),
    ];
    assert_eq!(run(&mut command(&url, &["limits", &trust, &shown[0], &shown[1]])).0, 0);
    for (options, said) in [(vec![trust.as_str()], "(--client-cert, --client-key)"), (vec![], "(--ca-file)")] {
        let (code, _, stderr) = run(&mut command(&url, &[&["limits"], &options[..]].concat()));
        assert_eq!(code, 4, "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn next_registry_is_asked_if_one_does_not_answer() {
    let registry = Registry::start();
    register(&registry.url, "web-1", &[], &json!({}));
    let failing = Misbehaving::start(|_| Reply::fault(503, "systemFailureError", "no")).await;
    for first in [NOWHERE, &failing.url] {
        let (code, stdout, stderr) =
            run(&mut command(&format!("{first},{}", registry.url), &["services", "-o", "name"]));
        assert_eq!((code, stdout.as_str()), (0, "web-1\n"), "{stderr}");
        assert!(stderr.contains("asking the next registry"), "{stderr}");
    }
    let refusing = Misbehaving::start(|_| Reply::fault(403, "forbiddenError", "no")).await;
    let both = format!("{},{}", refusing.url, registry.url);
    assert_eq!(run(&mut command(&both, &["services"])).0, 3, "a refusal is an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_answer_is_status_4() {
    let failing = Misbehaving::start(|_| Reply::fault(503, "systemFailureError", "no")).await;
    let other = Misbehaving::start(|_| Reply::Answer { status: 200, headers: Vec::new(), body: "<html>".into() }).await;
    for (url, said) in [
        (NOWHERE, "(--registry-url)"),
        (failing.url.as_str(), "503 systemFailureError"),
        (other.url.as_str(), "is that the address of a service registry? (--registry-url)"),
    ] {
        for arguments in
            [&["services"][..], &["sessions"], &["overview"], &["limits"], &["events"], &["config", "get", "key"]]
        {
            let (code, stdout, stderr) = run(&mut command(url, arguments));
            assert_eq!((code, stdout.as_str()), (4, ""), "{url} {arguments:?}: {stderr}");
            assert!(stderr.contains(said), "{stderr}");
        }
    }
}
