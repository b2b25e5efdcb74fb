//! The configuration file of the clients, of both programs.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::commands::{register, run};
use crate::bench::files::{library, mode, pipe};
use crate::bench::users::with_users;
use crate::bench::wrapper::{limited, service};
use crate::bench::{Registry, Running, USERS, clean, is_root_for};

/// A command whose only settings are the configuration files of this home.
fn at_home(home: &Path, arguments: &[&str]) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(arguments).env("HOME", home);
    command
}

fn write(home: &Path, text: &str) -> String {
    let folder = home.join(".config/service-registry");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("client.toml");
    fs::write(&file, text).unwrap();
    mode(&file, 0o600);
    file.to_str().unwrap().to_owned()
}

#[test]
fn file_counts_below_variables_and_options() {
    let (home, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    register(&registry.url, "web-1", &[], &json!({}));
    let (url, home) = (registry.url.as_str(), home.path());
    write(home, &format!("registry-url = [\"http://127.0.0.1:1\", \"{url}\"]\n"));
    assert_eq!(run(&mut at_home(home, &["services", "-o", "name", "-q"])).1, "web-1\n");
    let nowhere = "http://127.0.0.1:2";
    write(home, &format!("# Here\nregistry-url = \"{nowhere}\"\n"));
    assert_eq!(run(&mut at_home(home, &["services"])).0, 4);
    assert_eq!(run(at_home(home, &["services"]).env("SERVICE_REGISTRY_URL", url)).0, 0);
    assert_eq!(run(&mut at_home(home, &["services", "--registry-url", url])).0, 0);
    // Another directory of configuration, and another file.
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("service-registry")).unwrap();
    let file = other.path().join("service-registry/client.toml");
    fs::write(&file, format!("registry-url = \"{url}\"\n")).unwrap();
    assert_eq!(run(at_home(home, &["services"]).env("XDG_CONFIG_HOME", other.path())).0, 0);
    assert_eq!(run(at_home(home, &["services"]).env("SERVICE_REGISTRY_CONFIG", &file)).0, 0);
    let (code, _, said) = run(at_home(home, &["services"]).env("SERVICE_REGISTRY_CONFIG", "/no/such/file"));
    assert_eq!(code, 2);
    assert!(said.contains("configuration file /no/such/file: No such file"), "{said}");
}

#[test]
fn key_in_a_file_logs_both_programs_in() {
    let ((registry, _users), home) = (with_users(USERS), tempfile::tempdir().unwrap());
    let home = home.path();
    let head = format!("registry-url = \"{}\"\nusername = \"joe\"\n", registry.url);
    write(home, &format!("{head}api-key-file = \"key\"\n"));
    let key = home.join(".config/service-registry/key"); // beside the file that names it
    fs::write(&key, "joes-key\n").unwrap();
    mode(&key, 0o600);
    assert_eq!(run(&mut at_home(home, &["limits"])).0, 0);
    let file = write(home, &format!("{head}api-key = \"joes-key\"\n"));
    assert_eq!(run(&mut at_home(home, &["limits"])).0, 0);
    let mut wrapper = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    wrapper.args(["--id=web0", "--abort-on-failure", "--retries=1", "true"]).env("HOME", home);
    let (code, _, said) = run(&mut wrapper);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("registered web0"), "{said}");
    // A rival of what the file says, or the same option, takes its place.
    fs::write(&key, "wrong\n").unwrap();
    let variable = |name: &str, value: &str| run(at_home(home, &["limits"]).env(name, value));
    assert_eq!(variable("SERVICE_REGISTRY_API_KEY_FILE", key.to_str().unwrap()).0, 3);
    assert_eq!(variable("SERVICE_REGISTRY_USERNAME", "ann").0, 3);
    mode(Path::new(&file), 0o644);
    for program in [&mut at_home(home, &["limits"]), wrapper.arg("x")] {
        let (code, _, said) = run(program);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&file) && said.contains("chmod o-r"), "{said}");
    }
}

#[test]
fn mistake_names_file_line_and_key() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for (text, said) in [
        ("\nregistry_url = \"x\"\n", "line 2: registry_url: there is no such key; did you mean registry-url?"),
        ("color = true\n", "line 1: color: there is no such key; there are registry-url, auth-url, "),
        ("username = 7\n", "line 1: username: it is of the type integer; write a string"),
        (
            "registry-url = [\"http://x\", 7]\n",
            "line 1: registry-url: it is of the type integer; write a string or an array",
        ),
        ("username = [\"joe\"]\n", "line 1: username: it is of the type array; write a string"),
        ("region = \"eu\"\n", "line 1: region: is not one of us, uk"),
        ("[registry]\nurl = \"x\"\n", "line 1: registry: there is no such key"),
        ("username = \"joe\"\nusername = \"ann\"\n", "line 2: duplicate key"),
        ("api-key = \"joes-key\n", "line 1: invalid basic string"),
        ("registry-url = \"localhost\"\n", "line 1: registry-url: the registry URL does not begin with http://"),
        ("username = \"joe\"\n", "line 1: username is given without a key"),
    ] {
        let file = write(home, text);
        let mut wrapper = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
        wrapper.args(["--id=web0", "sh", "-c", "echo the child is up"]).env("HOME", home);
        for program in [&mut at_home(home, &["services"]), &mut wrapper] {
            let (code, stdout, stderr) = run(program);
            assert_eq!((code, stdout.as_str()), (2, ""), "{text}: {stderr}");
            assert!(stderr.contains(&format!("{file}: {said}")), "{text}: {stderr}");
            assert!(!stderr.contains("joes-key"), "{stderr}");
        }
    }
}

#[test]
fn unusual_file_blocks_no_program() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let file = write(home, "");
    fs::remove_file(&file).unwrap();
    pipe(Path::new(&file));
    let mut wrapper = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    for program in [&mut at_home(home, &["services"]), wrapper.args(["--id=web0", "true"]).env("HOME", home)] {
        let (code, _, said) = run(program);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&format!("{file}: it is a named pipe; give a regular file")), "{said}");
    }
}

#[test]
fn hanging_file_system_does_not_keep_a_program_from_starting() {
    let (scratch, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let (home, library) = (scratch.path(), library(scratch.path(), "hanging.c"));
    let file = write(home, "registry-url = \"http://127.0.0.1:2\"\n");
    fs::write(format!("{file}.hangs"), "").unwrap();
    let mut wrapper = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    wrapper.args(["--id=web0", "--registry-url", &registry.url, "sh", "-c", "echo the child is up; exec sleep 1000"]);
    wrapper.env("HOME", home).env("LD_PRELOAD", &library).env("HANGS", &file);
    let mut process = Running::start(&mut wrapper);
    process.all(&["the file system has not answered", "the child is up"]);
    crate::bench::eventually("the service", || service(&registry, "web0"));
    let mut services = at_home(home, &["services"]);
    let (code, _, said) = run(services.env("LD_PRELOAD", &library).env("HANGS", &file));
    assert_eq!(code, 2, "{said}");
}

#[test]
fn config_file_says_what_counts() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let show = |variables: &[(&str, &str)], options: &[&str]| {
        let mut command = at_home(home, &[&["config-file", "-o", "json"], options].concat());
        let (code, stdout, stderr) = run(command.envs(variables.iter().copied()));
        assert_eq!((code, stderr.as_str()), (0, ""));
        serde_json::from_str::<Value>(&stdout).unwrap()
    };
    let is_system = |row: &Value| row["file"] == "/etc/service-registry/client.toml";
    assert!(show(&[], &[]).as_array().unwrap().iter().all(|row| is_system(row) || row["state"] == "not there"));
    let file =
        write(home, "registry-url = \"http://x\"\nusername = \"joe\"\napi-key = \"joes-key\"\nregion = \"uk\"\n");
    let rows = |variables: &[(&str, &str)], options: &[&str]| {
        let all = show(variables, options);
        let own = all.as_array().unwrap().iter().filter(|row| row["file"] == *file).cloned();
        own.map(|row| (row["key"].as_str().unwrap().to_owned(), row["state"].as_str().unwrap().to_owned())).collect()
    };
    let used = |key: &str| (key.to_owned(), "used".to_owned());
    let by = |key: &str, name: &str| (key.to_owned(), format!("overridden by {name}"));
    let all: Vec<(String, String)> = rows(&[], &[]);
    assert_eq!(all, ["registry-url", "username", "api-key", "region"].map(used));
    let all: Vec<(String, String)> = rows(
        &[("SERVICE_REGISTRY_URL", "http://y"), ("SERVICE_REGISTRY_API_KEY_FILE", "/k")],
        &["--auth-url=http://z"],
    );
    let expected = [
        by("registry-url", "SERVICE_REGISTRY_URL"),
        used("username"),
        by("api-key", "SERVICE_REGISTRY_API_KEY_FILE"),
        by("region", "--auth-url"),
    ];
    assert_eq!(all, expected);
    let shown = run(&mut at_home(home, &["config-file"])).1;
    assert!(shown.contains(&format!("{file}\t3\tapi-key\t(hidden)\tused\n")), "{shown}");
    assert!(!shown.contains("joes-key"));
    assert_eq!(show(&[("SERVICE_REGISTRY_CONFIG", "/dev/null")], &[]), json!([]));
}

/// Root with the home of a user would otherwise send a file of the user's choice to a registry of the user's choice.
#[test]
fn file_of_another_user_is_not_read() {
    if !is_root_for("a file of another user") {
        return;
    }
    let (scratch, registry) = (tempfile::tempdir().unwrap(), Registry::start());
    let home = scratch.path();
    let file = write(home, "registry-url = \"http://127.0.0.1:2\"\n");
    chown(&file, Some(65534), None).unwrap();
    let (code, _, said) = run(&mut at_home(home, &["services"]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(&format!("{file}: it belongs to user 65534")), "{said}");
    let (code, _, said) = run(&mut at_home(home, &["lock", "job", "--wait=0", "--", "true"]));
    assert_eq!(code, 2, "{said}");
    assert!(run(&mut at_home(home, &["config-file"])).1.contains("not read: it belongs to user 65534"));
    let mut wrapper = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    wrapper.args(["--id=web0", "--registry-url", &registry.url, "true"]).env("HOME", home);
    let (code, _, said) = run(&mut wrapper);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("is not read: it belongs to user 65534"), "{said}");
    // A home that the user may not enter has no file for this user.
    mode(home, 0o700);
    let mut other = limited(env!("CARGO_BIN_EXE_service-registry"));
    let (_, rows, said) = run(other.arg("config-file").env("HOME", home));
    assert!(rows.contains(&format!("{file}\t-\t-\t-\tnot there")), "{rows}{said}");
}
