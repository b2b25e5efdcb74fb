//! The manual pages of the commands.

use std::collections::BTreeSet;

use crate::bench::{clean, options_of_help, options_of_page};

/// The page of each command, and the words of the command.
const PAGES: [(&str, &[&[&str]]); 14] = [
    ("service-registry-services.1", &[&["services"]]),
    ("service-registry-sessions.1", &[&["sessions"]]),
    ("service-registry-overview.1", &[&["overview"]]),
    ("service-registry-events.1", &[&["events"]]),
    (
        "service-registry-config.1",
        &[&["config", "get"], &["config", "set"], &["config", "delete"], &["config", "list"]],
    ),
    ("service-registry-limits.1", &[&["limits"]]),
    ("service-registry-config-file.1", &[&["config-file"]]),
    ("service-registry-completions.1", &[&["completions"]]),
    ("service-registry-wait.1", &[&["wait"]]),
    ("service-registry-watch.1", &[&["watch"]]),
    ("service-registry-render.1", &[&["render"]]),
    ("service-registry-lock.1", &[&["lock"]]),
    ("service-registry-register.1", &[&["register"]]),
    ("service-registry-deregister.1", &[&["deregister"]]),
];

fn help(command: &[&str]) -> String {
    let output = clean(env!("CARGO_BIN_EXE_service-registry")).args(command).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// A page has the options of its command, except those that one page has for all commands.
#[test]
fn help_and_manual_pages_list_the_same_options() {
    let shared = options_of_page("service-registry-commands.7");
    let mut all = BTreeSet::new();
    for (page, commands) in PAGES {
        let listed: BTreeSet<String> = commands.iter().flat_map(|command| options_of_help(&help(command))).collect();
        assert_eq!(&listed - &shared, options_of_page(page), "{page}");
        all.extend(listed);
    }
    assert_eq!(&shared - &all, BTreeSet::new(), "a shared option that no command has");
}

/// The page has the options that a build with the feature adds.
#[cfg(feature = "etcd")]
#[test]
fn page_of_clusters_lists_the_options_about_etcd() {
    let shared = &options_of_page("service-registry.1") | &options_of_page("service-registry-commands.7");
    let listed: BTreeSet<String> = [["cluster"], ["serve"], ["backup"], ["restore"]]
        .iter()
        .flat_map(|command| options_of_help(&help(command)))
        .collect();
    assert_eq!(&listed - &shared, options_of_page("service-registry-cluster.1"));
    assert!(help(&["cluster"]).contains("Examples"));
}

#[test]
fn every_command_has_examples_and_is_listed() {
    let listed = help(&[]);
    for (page, words) in PAGES {
        let command = words[0][0];
        assert!(listed.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{page}: {listed}");
        assert!(help(&[command]).contains("Example"), "{page}");
    }
}
