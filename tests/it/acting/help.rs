//! The manual pages of the commands.

use crate::bench::{clean, compare_with_manual};

#[test]
fn manual_pages_have_the_options_of_the_help() {
    for command in ["wait", "watch", "lock", "register", "deregister"] {
        let mut asked = clean(env!("CARGO_BIN_EXE_service-registry"));
        let help = String::from_utf8(asked.args([command, "-h"]).output().unwrap().stdout).unwrap();
        assert!(help.contains("Examples:"), "{help}");
        // Those about the registry and the messages are in service-registry(1).
        let own = |section: &&str| !section.starts_with("Registry:") && !section.starts_with("Messages:");
        let own: Vec<&str> = help.split("\n\n").filter(own).collect();
        let own: Vec<&str> =
            own.iter().flat_map(|part| part.lines()).filter(|line| !line.contains("-h, --help")).collect();
        compare_with_manual(&own.join("\n"), &format!("service-registry-{command}.1"));
    }
}
