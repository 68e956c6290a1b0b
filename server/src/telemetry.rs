//! Logging: readable lines by default, JSON on request, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Libraries that say more than a person wants at `info`.
const QUIET: &str = "openraft=error,raft_log=warn,chunked_wal=warn,hyper=warn,sled=off";

/// Starts logging for this process.
///
/// # Errors
///
/// The filter cannot be parsed, or logging was started before.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))
        .map_err(|error| format!("-log: `{filter}` is no filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .try_init(),
    };
    started.map_err(|error| error.to_string())
}
