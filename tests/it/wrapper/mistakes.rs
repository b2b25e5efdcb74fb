//! Wrong command lines and environments: each message names what was written, and the cure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::bench::wrapper::service;
use crate::bench::{Registry, clean, executable, need};

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn program() -> Command {
    clean(env!("CARGO_BIN_EXE_service-registry-wrapper"))
}

#[test]
fn wrong_argument_is_named_with_its_cure() {
    for (arguments, parts) in [
        (&["sleep", "1", "--id=web9"][..], &["--id is missing", "which is sleep here", "--id=web9 is behind it"][..]),
        (&["--tag=foo", "--id=web9", "true"], &["'--tag'", "similar argument exists: '--tags'"]),
        (&["--hlep"], &["similar argument exists: '--help'"]),
        (&["--id=web9", "--interval=4.5", "true"], &["--interval: \"4.5\" is not a whole number of seconds"]),
        (&["--id=web9", "--replace=maybe", "true"], &["--replace", "write true, yes, on or 1, or false, no, off or 0"]),
        (&["--id=web9", "--registry-url=localhost:7117", "true"], &["--registry-url", "mean http://localhost:7117?"]),
        (&["--id=web9", "--registry-url=127.0.0.1:7117", "true"], &["did you mean http://127.0.0.1:7117?"]),
        (&["--id=web9", "--registry-url=registry.internal", "true"], &["did you mean http://registry.internal?"]),
        (&["--id=web9", "--registry-url=http://a:7117/foo", "true"], &["path /foo", "did you mean http://a:7117?"]),
        (&["--id=web9", "--registry-url=http://a:0", "true"], &["port 0"]),
        (&["--id=web9", "--registry-url=http://::1:7117", "true"], &["without brackets", "http://[::1]:7117"]),
        (&["--id=web9", "--registry-url=joe:secret@a", "true"], &["does not begin with http://"]),
    ] {
        let (code, text) = said(program().args(arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
        assert!(!text.contains("'-- -") && !text.contains("secret"), "{arguments:?}: {text}");
    }
    let (code, text) = said(program().args([OsStr::from_bytes(b"--id=w\xffb"), OsStr::new("true")]));
    assert!(code == Some(2) && text.contains("--id=w\u{fffd}b is not UTF-8"), "{text}");
}

#[test]
fn wrong_variable_is_named_with_its_cure() {
    for (name, value, code, parts) in [
        ("SERVICE_REGISTRY_REPLACE", "maybe", 2, &["SERVICE_REGISTRY_REPLACE", "write true, yes, on or 1"][..]),
        ("SERVICE_REGISTRY_INTERVAL", "4.5", 2, &["SERVICE_REGISTRY_INTERVAL: \"4.5\" is not a whole number"]),
        ("SERVICE_REGISTRY_REGISTRY_URL", "http://a", 0, &["REGISTRY_URL has no effect", "SERVICE_REGISTRY_URL?"]),
        ("SERVICE_REGISTRY_API_KEY_FILE", "/no/such/file", 0, &["web9: exited with status 0"]),
        ("SERVICE_REGISTRY_TAG", "www", 0, &["did you mean SERVICE_REGISTRY_TAGS?"]),
    ] {
        let mut command = program();
        let (ended, text) =
            said(command.env(name, value).args(["--id=web9", "--registry-url=http://127.0.0.1:1", "true"]));
        assert_eq!(ended, Some(code), "{name}: {text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{name}: {text}");
        assert!(text.matches("has no effect").count() <= 1, "once: {text}");
    }
    let mut command = program();
    let (_, text) =
        said(command.args(["--id=web9", "--tags=db,web server", "--registry-url=http://127.0.0.1:1", "true"]));
    assert!(text.contains("--tags: no client can search for \"web server\"") && !text.contains("\"db\""), "{text}");
    let (_, text) = said(program().env("SERVICE_REGISTRY_LISTEN", "[::]:1").args([
        "--id=web9",
        "--registry-url=http://127.0.0.1:1",
        "true",
    ]));
    assert!(!text.contains("LISTEN"), "a variable of the other program: {text}");
}

#[test]
fn switch_takes_the_same_words_on_the_command_line_and_in_the_environment() {
    for (word, is_on) in [("true", true), ("YES", true), ("on", true), ("1", true), ("false", false), ("off", false)] {
        let registered = |command: &mut Command| {
            let (code, text) = said(command.args(["--registry-url=http://127.0.0.1:1", "--retries=1", "true"]));
            assert!([Some(0), Some(100)].contains(&code), "{word}: {text}");
            code == Some(0)
        };
        assert_eq!(registered(program().args(["--id=web9", &format!("--abort-on-failure={word}")])), !is_on, "{word}");
        let mut command = program();
        command.env("SERVICE_REGISTRY_ABORT_ON_FAILURE", word).arg("--id=web9");
        assert_eq!(registered(&mut command), !is_on, "{word}");
    }
}

#[test]
fn default_address_is_explained_when_nothing_answers_there() {
    // In a network of its own, where not even the address can be bound.
    let (_, text) =
        said(clean("unshare").args(["-rn", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web9", "true"]));
    assert!(text.contains("no --registry-url was given") && text.contains("container"), "{text}");
}

#[test]
fn end_of_the_child_is_one_line() {
    let lines = |script: &str, options: &[&str]| {
        let mut command = program();
        command.args(["--id=web0", "--registry-url=http://127.0.0.1:1"]).args(options);
        said(command.args(["sh", "-c", script])).1
    };
    let text = lines("exit 3", &[]);
    assert!(text.contains("web0: started, pid ") && text.contains("web0: exited with status 3 after 0 s"), "{text}");
    assert!(!text.contains("status=3"), "the sentence says it: {text}");
    let text = lines("kill -KILL $$", &[]);
    assert!(text.contains("web0: killed by SIGKILL after 0 s"), "{text}");
    let text = lines("kill -TERM $PPID; exec sleep 1000", &[]);
    assert!(text.contains("web0: killed by SIGTERM, which the wrapper forwarded after"), "{text}");
    let text = lines("exit 3", &["--log-format=json"]);
    let line = text.lines().find(|line| line.contains("exited")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["id"], &line["status"]), (&"web0".into(), &3.into()), "{line}");
    assert!(line["pid"].is_u64(), "{line}");
}

/// User-mode emulators turn vfork into fork, so the child's memory is a copy.
#[cfg(target_arch = "x86_64")]
#[test]
fn exec_error_is_reported_under_user_mode_emulation() {
    need("qemu-x86_64");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    executable(&script, "#!/no/such/interpreter\n");
    let registry = Registry::start();
    let mut command = clean("qemu-x86_64");
    command.arg(env!("CARGO_BIN_EXE_service-registry-wrapper")).args(["--id=web0", "--registry-url", &registry.url]);
    let (code, text) = said(command.arg(&script));
    assert!(code == Some(126) && text.contains("interpreter"), "{code:?}: {text}");
    assert!(service(&registry, "web0").is_none(), "it was withdrawn");
}
