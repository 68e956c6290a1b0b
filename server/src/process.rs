//! One process: arguments, logging, signals, exit code.

use std::num::NonZero;
use std::process::ExitCode;

use conclave_server::config::{self, ConfigError, LogFormat, Parsed, SeedEnvironment, Tool};
use conclave_server::{app, telemetry, tools};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit statuses for a wrong command line and a wrong configuration file, as BSD's `sysexits.h` has
/// them.
const USAGE: u8 = 64;
const CONFIG: u8 = 78;
/// One thread for consensus, replication and applying for so many cores. A write goes through many
/// tasks there: on one thread each simply follows the other, on two they wake each other.
const CORES_OF_ONE: usize = 4;

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
        Ok(Parsed::Tool(tool)) => return run_tool(&tool),
        Err(error) => {
            eprintln!("conclave: {error}");
            return ExitCode::from(match error {
                ConfigError::File(_) => CONFIG,
                _ => USAGE,
            });
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

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is what a person reads"
)]
fn run_tool(tool: &Tool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match (runtime, telemetry::start("warn", LogFormat::Text)) {
        (Ok(runtime), Ok(())) => runtime,
        (Err(error), _) => {
            eprintln!("conclave: {error}");
            return ExitCode::FAILURE;
        }
        (_, Err(error)) => {
            eprintln!("conclave: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(tools::run(tool, |line| eprintln!("conclave: {line}")));
    runtime.shutdown_background();
    match result {
        Ok(report) => {
            match report.is_aside {
                true => eprintln!("{}", report.text),
                false => println!("{}", report.text),
            }
            match report.has_findings {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            }
        }
        Err(failure) => {
            eprintln!("conclave: {failure}");
            ExitCode::from(failure.status as u8)
        }
    }
}

fn run(config: config::Config) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let clients = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("clients")
        .enable_all()
        .build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / CORES_OF_ONE).max(1))
        .thread_name("consensus")
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
        let result = app::run(config, clients.handle(), stop).await;
        signals.abort();
        result
    });
    // Blocking work that is still running, such as a snapshot, must not hold the exit up.
    clients.shutdown_background();
    runtime.shutdown_background();
    result
}
