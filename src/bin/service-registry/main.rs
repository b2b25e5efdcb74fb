//! `service-registry`: the registry server, and what is asked of a running wrapper.

mod cli;
mod data;
mod exit;
mod hash_key;
mod log;
#[cfg(target_os = "linux")]
mod pages;
mod reload;
mod serve;
mod wrapper;

use cli::{Cli, Command};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: pages::LargePages = pages::LargePages;

fn main() -> std::process::ExitCode {
    let cli = Cli::read();
    log::start(&cli.log);
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(options),
        Command::Backup(options) => data::backup(options),
        Command::Restore(options) => data::restore(options),
        Command::Status(options) => wrapper::status(&options),
        Command::Maintenance(options) => wrapper::maintenance(&options),
        Command::HashKey => hash_key::run(),
    };
    match outcome {
        Ok(()) => exit::SUCCESS.into(),
        Err(failure) => {
            log::tell(&format!("{:#}", failure.error));
            failure.code.into()
        }
    }
}
