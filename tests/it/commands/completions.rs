//! `service-registry completions`, in real shells.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::bench::commands::{register, run};
use crate::bench::{Registry, clean, need};

/// A shell that finds the program, speaks to this registry, and has this function to print what it would offer.
fn shell(name: &str, url: &str, script: &str) -> Command {
    need(name);
    let mut command = clean(name);
    let program = Path::new(env!("CARGO_BIN_EXE_service-registry")).parent().unwrap();
    command.env("PATH", format!("{}:{}", program.display(), std::env::var("PATH").unwrap()));
    command.env("SERVICE_REGISTRY_CONFIG", "/dev/null").env("SERVICE_REGISTRY_URL", url);
    command.args(["-c", script]);
    command
}

fn registry() -> Registry {
    let registry = Registry::start();
    register(&registry.url, "web-1", &["www", "api"], &json!({}));
    register(&registry.url, "web-2", &["www"], &json!({}));
    register(&registry.url, "db-1", &["db"], &json!({}));
    register(&registry.url, "odd", &["$(touch /tmp/odd) x"], &json!({}));
    registry
}

const BASH: &str = "
    source <(service-registry completions bash)
    offer() {
        COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMP_LINE=\"$*\" COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMPREPLY=()
        $(complete -p service-registry | sed 's/.*-F \\([^ ]*\\) .*/\\1/') service-registry \"${@: -1}\" \"${@: -2:1}\"
        echo \"${COMPREPLY[@]}\"
    }
";

#[test]
fn bash_completes_commands_options_ids_and_tags() {
    let registry = registry();
    let offer = |words: &str| {
        let (code, stdout, stderr) = run(&mut shell("bash", &registry.url, &format!("{BASH}\noffer {words}")));
        assert_eq!((code, stderr.as_str()), (0, ""), "{words}");
        stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offer("service-registry serv"), ["serve", "services"]);
    assert_eq!(offer("service-registry services web"), ["web-1", "web-2"]);
    assert_eq!(offer("service-registry services --tag ''"), ["api", "db", "www"], "nothing that would need quotes");
    assert_eq!(offer("service-registry services -t w"), ["www"]);
    assert_eq!(offer("service-registry services -o j"), ["json", "jsonl"]);
    assert_eq!(offer("service-registry services --id-p"), ["--id-prefix"]);
    assert_eq!(offer("service-registry config g"), ["get"]);
    assert_eq!(offer("service-registry completions f"), ["fish"]);
    assert!(!Path::new("/tmp/odd").exists());
}

#[test]
fn options_of_the_line_name_the_registry() {
    let registry = registry();
    let line = format!("{BASH}\noffer service-registry services --registry-url {} web", registry.url);
    assert_eq!(run(&mut shell("bash", "http://127.0.0.1:1", &line)).1, "web-1 web-2\n");
    let (code, stdout, stderr) =
        run(&mut shell("bash", "http://127.0.0.1:1", &format!("{BASH}\noffer service-registry services web")));
    assert_eq!((code, stdout.trim(), stderr.as_str()), (0, "", ""), "without an answer it offers nothing, quietly");
}

#[test]
fn fish_and_zsh_accept_their_scripts() {
    let registry = registry();
    let fish = "service-registry completions fish | source; complete -C 'service-registry services web'";
    assert_eq!(run(&mut shell("fish", &registry.url, fish)).1, "web-1\nweb-2\n");
    let zsh = "autoload -U compinit; compinit -u -D; source <(service-registry completions zsh); \
               compadd() { print -r -- ${(P)@[-1]} }; _describe() { print -rl -- ${(P)@[-1]} }; \
               words=(service-registry services web); CURRENT=3; _clap_dynamic_completer_service_registry";
    let (_, stdout, stderr) = run(&mut shell("zsh", &registry.url, zsh));
    assert!(stdout.contains("web-1") && stdout.contains("web-2"), "{stdout}{stderr}");
}
