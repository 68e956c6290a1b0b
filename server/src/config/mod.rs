//! Everything a user can set: command line, environment and configuration file, parsed and validated
//! once, at start.

mod address;
mod cli;
mod file;
mod forming;
mod layers;
mod parse;
mod tools;

pub use address::{HostPort, InvalidAddress};
pub use cli::{Config, ConfigError, HistoryOptions, LogFormat};
pub use forming::{Forming, SeedEnvironment};
pub use parse::{Parsed, parse};
pub use tools::{Backup, NewNode, Origin, Recover, Restore, Tool};
