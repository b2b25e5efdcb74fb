//! Options: their end, the environment, and mistakes that are reported before anything happens.

use std::net::TcpListener;
use std::process::Output;

use crate::bench::steps::scripted_registry;
use crate::bench::{clean, wrapper};

const NOWHERE: &str = "http://127.0.0.1:1";

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn options_end_at_the_first_bare_word() {
    for (arguments, expected) in [
        (&["echo", "--port=8000", "-v", "--help"][..], "--port=8000 -v --help\n"),
        (&["--", "echo", "--port=8000", "-v"], "--port=8000 -v\n"),
        (&["echo", "--", "-v", "--"], "-- -v --\n"),
        (&["--", "echo", "--", "a"], "-- a\n"),
        (&["-q", "echo", "--id=other", "007"], "--id=other 007\n"),
    ] {
        let mut command = wrapper(NOWHERE);
        let output = command.arg("--id=web0").args(arguments).output().unwrap();
        assert_eq!(stdout(&output), expected, "{arguments:?}");
    }
}

#[test]
fn help_and_version_need_no_registry() {
    for option in ["--help", "-h", "--version"] {
        let output = run(&[option], &[]);
        assert_eq!(output.status.code(), Some(0), "{option}");
        assert!(stdout(&output).contains("service-registry-wrapper"), "{option}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_in_lists_is_removed() {
    let registry = scripted_registry(|_, _| None).await;
    let mut command = wrapper(&registry.url);
    let environment = [
        ("SERVICE_REGISTRY_TAGS", " api, www\n"),
        ("SERVICE_REGISTRY_METADATA", "port = 8000,\n motto=one\\, two\n"),
        ("SERVICE_REGISTRY_SESSION_METADATA", "\n"),
    ];
    command.envs(environment).args(["--id=web0", "--abort-on-failure", "true"]);
    assert_eq!(command.output().unwrap().status.code(), Some(0));
    let sent: Vec<_> = registry.seen().iter().map(crate::bench::Seen::json).collect();
    let of_session: Vec<&String> = sent[0]["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(of_session, ["command", "host", "pid", "version"], "those of the wrapper only");
    assert_eq!(sent[1]["tags"], serde_json::json!(["api", "www"]));
    assert_eq!(sent[1]["metadata"], serde_json::json!({"port": "8000", "motto": "one, two"}));
}

#[test]
fn help_that_cannot_be_written_is_a_failure() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (wrapper, registry) = (env!("CARGO_BIN_EXE_service-registry-wrapper"), env!("CARGO_BIN_EXE_service-registry"));
    for (program, status) in [(wrapper, 125), (registry, 1)] {
        for option in ["--help", "--version"] {
            let output = clean(program).arg(option).stdout(full()).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{program} {option}");
            assert!(stderr(&output).contains("writing to stdout: No space left"), "{}", stderr(&output));
        }
        let wrong = clean(program).arg("--no-such-option").stderr(full()).status().unwrap();
        assert_eq!(wrong.code(), Some(2), "{program}");
    }
}

#[test]
fn wrong_option_is_reported_before_any_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("--registry-url=http://{}", listener.local_addr().unwrap());
    for (wrong, named) in [
        (&["--id=a"][..], "--id: \"a\" has 1 characters"),
        (&[], "--id is missing"),
        (&["--id=web0", "--interval=2"], "--interval: \"2\" is not a whole number of seconds from 3 to 120"),
        (&["--id=web0", "--tags=a,,b"], "--tags: tag 2 is empty"),
        (&["--id=web0", "--tags=a\nb"], "--tags: tag \"a\\nb\" contains '\\n'; it must have no control characters"),
        (&["--id=web0", "--metadata=port"], "--metadata: \"port\" is not key=value"),
        (&["--id=web0", "--session-metadata=x="], "--session-metadata: key \"x\" has no value"),
        (&["--id=web0", "--retries=0", "--abort-on-failure"], "--retries: \"0\" is not a number"),
        (&["--id=web0", "--username=joe"], "--username is given without a key"),
        (&["--id=web0", "--register-when=listening", "-mport=http"], "--metadata: port=\"http\" is not a number"),
        (&["--id=web0", "--ready-fd=3"], "--ready-fd is for --register-when=ready"),
        (&["--id=web0", "--register-when=ready", "--ready-fd=2"], "--ready-fd: \"2\" is not the number"),
        (&["--id=web0", "--register-when=healthy"], "--register-when=healthy waits for a check: add --check"),
        (&["--id=web0", "--check=8080"], "--check: \"8080\" is no check; write tcp:PORT"),
        (&["--id=web0", "--check=tcp:x"], "--check: \"x\" is neither a port nor an address"),
        (&["--id=web0", "--check=http://"], "--check: \"http://\" is no URL"),
        (&["--id=web0", "--check=http://u:p@x/"], "--check: a URL with a user"),
        (&["--id=web0", "--check=tcp:80", "--check-interval=0"], "--check-interval: a time of at least 100ms"),
        (&["--id=web0", "--check=tcp:80", "--check-timeout=x"], "--check-timeout: \"x\" is not a number of seconds"),
        (&["--id=web0", "--check=tcp:80", "--fall=0"], "--fall: \"0\" is not a number from 1"),
        (&["--id=web0", "--check=tcp:80", "--rise=x"], "--rise: \"x\" is not a number from 1"),
        (&["--id=web0", "--ready-timeout=x"], "--ready-timeout: \"x\" is not a number of seconds"),
        (&["--id=web0", "--register-when=ready", "--on-not-ready=stop"], "add --ready-timeout"),
        (&["--id=web0", "--no-such-option"], "--no-such-option"),
        (&["--id=web0", "--registry-url=ftp://x"], "--registry-url"),
        (&["--id=web0", "--registry-url=nonsense"], "--registry-url"),
        (&["--id=web0", "--status-socket=/no/such/folder/socket"], "--status-socket: /no/such/folder/socket: "),
    ] {
        let mut arguments = vec![url.as_str()];
        if wrong.iter().any(|option| option.starts_with("--registry-url")) {
            arguments.clear();
        }
        arguments.extend(wrong);
        arguments.extend(["echo", "the child"]);
        let output = run(&arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{wrong:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{wrong:?}");
    }
    assert!(run(&[], &[]).status.code() == Some(2), "no command");
    assert!(listener.accept().is_err(), "the wrapper connected to a registry");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_has_a_variable() {
    let help = stdout(&run(&["--help"], &[]));
    let options = help.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    let options: Vec<&str> = options.filter(|line| !line.contains("--help") && !line.contains("--version")).collect();
    assert!(options.len() >= 15, "{help}");
    assert_eq!(help.matches("[env: SERVICE_REGISTRY_").count(), options.len(), "{help}");

    let registry = scripted_registry(|_, _| None).await;
    let output = run(
        &["true"],
        &[
            ("SERVICE_REGISTRY_ID", "web0"),
            ("SERVICE_REGISTRY_TAGS", ""),
            ("SERVICE_REGISTRY_METADATA", "a=1,b=2"),
            ("SERVICE_REGISTRY_INTERVAL", "10"),
            ("SERVICE_REGISTRY_URL", &registry.url),
            ("SERVICE_REGISTRY_ABORT_ON_FAILURE", "yes"),
            ("SERVICE_REGISTRY_LOG_FORMAT", "json"),
            ("SERVICE_REGISTRY_VERBOSE", "1"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = stderr(&output).lines().find(|line| line.contains("registered web0")).unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "INFO");
}

#[test]
fn wrong_variable_is_reported_by_name() {
    let output = run(&["--id=web0", "true"], &[("SERVICE_REGISTRY_INTERVAL", "2")]);
    assert!(stderr(&output).contains("SERVICE_REGISTRY_INTERVAL: \"2\""), "{}", stderr(&output));
    let output = run(&["--id=web0", "true"], &[("SERVICE_REGISTRY_URL", "nonsense")]);
    assert!(stderr(&output).contains("SERVICE_REGISTRY_URL"), "{}", stderr(&output));
}

#[test]
fn variable_that_is_not_utf_8_is_reported() {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    let garbage = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xff");
    let output = command.args(["--id=web0", "true"]).env("SERVICE_REGISTRY_TAGS", garbage).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("SERVICE_REGISTRY_TAGS is not UTF-8"), "{}", stderr(&output));
}

#[test]
fn empty_variable_counts_as_not_given() {
    let help = stdout(&run(&["-h"], &[]));
    let names = help.split("[env:").skip(1).map(|rest| rest.trim_start().split(']').next().unwrap().trim());
    let environment: Vec<(&str, &str)> = names.map(|name| (name, "")).collect();
    assert!(environment.len() >= 15);
    let output = run(&["--id=web0", &format!("--registry-url={NOWHERE}"), "true"], &environment);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn command_line_precedes_the_environment() {
    let registry = scripted_registry(|_, _| None).await;
    let url = format!("--registry-url={}", registry.url);
    let elsewhere = [
        ("SERVICE_REGISTRY_URL", NOWHERE),
        ("SERVICE_REGISTRY_INTERVAL", "2"),
        ("SERVICE_REGISTRY_TAGS", "a,,b"),
        ("SERVICE_REGISTRY_API_KEY_FILE", "/no/such/file"),
        ("SERVICE_REGISTRY_REGION", "us"),
        ("SERVICE_REGISTRY_QUIET", "2"),
        ("SERVICE_REGISTRY_ID", "x"),
    ];
    let auth = format!("--auth-url={}", registry.url);
    let typed = ["--id=web0", "-i", "10", "-t", "ok", "--username=joe", "--api-key=k", "-v", &url, &auth, "true"];
    let output = run(&typed, &elsewhere);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("use --api-key-file"), "a key on the command line is warned of");
    assert!(registry.lines().contains(&"POST /v2.0/tokens".to_owned()));
}

#[test]
fn repeated_list_options_add_up() {
    let output = run(&["--id=web0", "-t", "1,2,3,4,5,6", "-t", "7,8,9,10,11", "true"], &[]);
    assert!(stderr(&output).contains("--tags: 11 tags are too many"), "{}", stderr(&output));
}

#[test]
fn help_and_manual_list_the_same_options() {
    crate::bench::compare_with_manual(&stdout(&run(&["-h"], &[])), "service-registry-wrapper.1");
}
