//! `service-registry config`.

use std::io::Write;
use std::process::Stdio;

use crate::bench::Registry;
use crate::bench::commands::{command, output, run, set_values};

#[test]
fn value_is_set_read_listed_and_deleted() {
    let registry = Registry::start();
    let get = |id: &str| run(&mut command(&registry.url, &["config", "get", id]));
    assert_eq!(get("/production/address").0, 1);
    assert_eq!(output(&registry, &["config", "set", "/production/address", "192.0.2.7"]), "");
    assert_eq!(
        output(&registry, &["config", "set", "/production/deep/key", "-5"]),
        "",
        "a value may begin like an option"
    );
    assert_eq!(output(&registry, &["config", "set", "top", "a\tb\nc"]), "");
    assert_eq!(get("/production/address").1, "192.0.2.7\n");
    assert_eq!(get("top").1, "a\tb\nc\n", "as it is");
    assert_eq!(
        output(&registry, &["config", "get", "top", "-o", "jsonl"]),
        "{\"id\":\"top\",\"value\":\"a\\tb\\nc\"}\n"
    );
    let all = "/production/address\t192.0.2.7\n/production/deep/key\t-5\ntop\ta\\tb\\nc\n";
    assert_eq!(output(&registry, &["config", "list"]), all);
    for namespace in ["/production", "production/", "/production/deep"] {
        let listed = output(&registry, &["config", "list", "--namespace", namespace, "-o", "name"]);
        assert!(listed.ends_with("/production/deep/key\n") && !listed.contains("top"), "{namespace}: {listed}");
    }
    assert_eq!(run(&mut command(&registry.url, &["config", "list", "--namespace=none"])).0, 1);
    assert_eq!(run(&mut command(&registry.url, &["config", "list", "--namespace=/"])).0, 2);
    assert_eq!(output(&registry, &["config", "delete", "top"]), "");
    let (status, _, said) = run(&mut command(&registry.url, &["config", "delete", "top"]));
    assert_eq!(status, 1, "{said}");
}

#[test]
fn value_may_come_from_stdin() {
    let registry = Registry::start();
    for (input, value) in [("one\ntwo\n", "one\ntwo\n"), ("bare", "bare\n")] {
        let mut set = command(&registry.url, &["config", "set", "key", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        set.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
        let status = set.wait().unwrap();
        assert!(status.success());
        assert_eq!(output(&registry, &["config", "get", "key"]), value);
    }
}

#[test]
fn refused_value_is_status_3() {
    let registry = Registry::start();
    for arguments in [&["config", "set", "key", &"x".repeat(1025)][..], &["config", "set", "a b c", "x"]] {
        let (status, _, said) = run(&mut command(&registry.url, arguments));
        assert_eq!(status, 3, "{said}");
        assert!(said.contains("400 badRequest"), "{said}");
    }
    assert_eq!(run(&mut command(&registry.url, &["config", "set", "key/", "x"])).0, 2, "refused before it is sent");
}

#[test]
fn list_has_every_page() {
    let registry = Registry::start();
    set_values(&registry.url, (0..2_500).map(|n| format!("key{n:04}")));
    let names = output(&registry, &["config", "list", "-o", "name"]);
    assert!(names.lines().eq((0..2_500).map(|n| format!("key{n:04}"))));
}
