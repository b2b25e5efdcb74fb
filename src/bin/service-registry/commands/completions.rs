//! `service-registry completions`: the script by which a shell completes words.
//!
//! The script asks this program for the words, by a variable that `main` looks at first of all.

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use crate::exit::Failure;
use crate::output;

/// Says that a shell asks for words.
pub(crate) const VARIABLE: &str = "SERVICE_REGISTRY_COMPLETE";

const PROGRAM: &str = "service-registry";

const EXAMPLES: &str = "\
Examples:
  source <(service-registry completions bash)
  service-registry completions zsh >/usr/local/share/zsh/site-functions/_service-registry
  service-registry completions fish >~/.config/fish/completions/service-registry.fish";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// bash 4 or later
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

pub(crate) fn run(options: &Completions) -> Result<(), Failure> {
    let name = match options.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let shell = shells.completer(name).with_context(|| anyhow!("no completion for {name}"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script).context("writing the script")?;
    output::write(&String::from_utf8(script).context("writing the script")?)
}
