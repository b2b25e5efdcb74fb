//! `service-registry`: the registry server, and the commands that ask registries and running wrappers.

mod cli;
mod commands;
mod connection;
mod copies;
mod data_dir;
mod duration;
#[cfg(feature = "etcd")]
mod etcd_options;
mod exit;
mod logging;
mod output;
mod serve;

use clap_complete::CompleteEnv;

use cli::{Cli, Command, Format};
use exit::Failure;

fn main() -> std::process::ExitCode {
    CompleteEnv::with_factory(Cli::for_completion).var(commands::completions::VARIABLE).complete(); // if a shell asks
    let cli = Cli::read();
    logging::start(cli.log.level(), cli.log.log_format == Format::Json);
    service_registry::variables::warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(serve::Serve { origins: cli.origins, ..*options }, cli.log.log_format),
        Command::Backup(options) => copies::backup(options, &cli.origins),
        Command::Restore(options) => copies::restore(options, &cli.origins),
        #[cfg(feature = "etcd")]
        Command::Cluster(options) => commands::cluster::run(options, &cli.origins),
        Command::Status(options) => commands::wrapper::status(&options),
        Command::Maintenance(options) => commands::wrapper::maintenance(&options),
        Command::Update(options) => commands::wrapper::update(&options),
        Command::Services(options) => commands::reading::services::run(options, cli.origins),
        Command::Sessions(options) => commands::reading::sessions::run(options, cli.origins),
        Command::Overview(options) => commands::reading::overview::run(options, cli.origins),
        Command::Events(options) => commands::reading::events::run(options, cli.origins),
        Command::Config(options) => commands::reading::config::run(options, cli.origins),
        Command::Limits(options) => commands::reading::limits::run(options, cli.origins),
        Command::ConfigFile(options) => commands::config_file::run(options, cli.origins),
        Command::Completions(options) => commands::completions::run(&options),
        Command::Wait(options) => commands::acting::wait::run(options, cli.origins),
        Command::Watch(options) => commands::acting::watch::run(options, cli.origins),
        Command::Render(options) => commands::acting::render::run(options, cli.origins),
        Command::Lock(options) => commands::acting::lock::run(options, cli.origins, &cli.log),
        Command::Register(options) => commands::acting::register::run(options, cli.origins),
        Command::Deregister(options) => commands::acting::deregister::run(options, cli.origins),
        Command::HashKey => commands::hash_key::run(),
    };
    match outcome {
        Ok(()) => exit::SUCCESS.into(),
        Err(Failure { code: exit::SUCCESS, .. }) => exit::SUCCESS.into(),
        Err(failure) => {
            logging::tell(&format!("{:#}", failure.error));
            failure.code.into()
        }
    }
}
