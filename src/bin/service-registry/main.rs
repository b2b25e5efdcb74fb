//! `service-registry`: the registry server.

mod cli;
mod exit;
mod log;
mod serve;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    log::start(&cli.log);
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(options),
    };
    match outcome {
        Ok(()) => exit::SUCCESS.into(),
        Err(failure) => {
            eprintln!("service-registry: {:#}", failure.error);
            failure.code.into()
        }
    }
}
