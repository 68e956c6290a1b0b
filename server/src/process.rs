//! One process: arguments, logging, signals, exit code.

use std::process::ExitCode;

use conclave_server::config::{self, Parsed, SeedEnvironment};
use conclave_server::{app, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status for a wrong command line, as BSD's `sysexits.h` has it.
const USAGE: u8 = 64;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what a person reads"
)]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read once, here"
)]
pub(crate) fn main() -> ExitCode {
    let seeds = SeedEnvironment {
        port: std::env::var("PORT").ok(),
        cluster: std::env::var("CLUSTER").ok(),
        join: std::env::var("JOIN").ok(),
    };
    let config = match config::parse(std::env::args_os(), &seeds) {
        Ok(Parsed::Run(config)) => *config,
        Ok(Parsed::Show(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("conclave: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = telemetry::start(&config.log_filter, config.log_format) {
        eprintln!("conclave: {error}");
        return ExitCode::from(USAGE);
    }
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conclave: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: config::Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let signalled = stop.clone();
        let signals = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
                _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            }
            signalled.cancel();
        });
        let result = app::run(config, stop).await;
        signals.abort();
        result
    });
    // Blocking work that is still running, such as a snapshot, must not hold the exit up.
    runtime.shutdown_background();
    result
}
