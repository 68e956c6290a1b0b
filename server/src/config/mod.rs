//! Everything a user can set: parsed and validated once, at start.

mod address;
mod cli;
mod forming;

pub use address::{HostPort, InvalidAddress};
pub use cli::{Config, ConfigError, HistoryOptions, LogFormat, Parsed, parse};
pub use forming::{Forming, SeedEnvironment};
