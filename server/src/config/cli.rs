//! What a node can be told, and what follows from it. A setting is one field of [`Flags`]: its
//! attributes give the flag, the variable and the default, and the key of the configuration file has
//! the flag's name. [`resolve`] makes a [`Config`] of all of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser};
use conclave_shared::limits;

use super::forming::{self, Asked, Forming, SeedEnvironment};
use super::{HostPort, InvalidAddress};
use crate::raft::RaftOptions;

/// Distributed key-value and lock store.
///
/// Without -join, -cluster and -discover an empty data directory becomes a new one-node cluster; a
/// used one goes on where it was. Every flag may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, max_term_width = 100, after_help = AFTER_HELP,
          override_usage = "conclave [FLAGS] [DATA_DIR]\n       conclave COMMAND …")]
pub(super) struct Flags {
    /// Read settings from this TOML file; its keys are the names of the flags below. Flags win over
    /// the environment, and the environment over the file.
    #[arg(short = 'c', long, env = "CONCLAVE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Name of this node [default: the Raft address].
    #[arg(long, env = "CONCLAVE_ID", value_name = "NAME")]
    id: Option<String>,

    /// Client API and dashboard: the address that others dial, and that is bound
    /// [default: localhost:11000, or the port of the environment's PORT].
    #[arg(long, env = "CONCLAVE_HADDR", value_name = "HOST:PORT")]
    haddr: Option<String>,

    /// Peer protocol: the address that others dial, and that is bound [default: localhost:12000].
    #[arg(long, env = "CONCLAVE_RADDR", value_name = "HOST:PORT")]
    raddr: Option<String>,

    /// Bind the client API here instead, for example on 0.0.0.0:11000.
    #[arg(long, env = "CONCLAVE_HLISTEN", value_name = "HOST:PORT")]
    hlisten: Option<String>,

    /// Bind the peer protocol here instead.
    #[arg(long, env = "CONCLAVE_RLISTEN", value_name = "HOST:PORT")]
    rlisten: Option<String>,

    /// Join the cluster of any of these members; HTTP or Raft addresses, `:11000` is localhost.
    #[arg(
        long,
        short,
        env = "CONCLAVE_JOIN",
        value_name = "HOST:PORT,…",
        value_delimiter = ','
    )]
    join: Vec<String>,

    /// Form a cluster with these nodes, or join theirs: the HTTP addresses of all, this one's may
    /// be among them. Nothing is formed before all of them answer.
    #[arg(
        long,
        env = "CONCLAVE_CLUSTER",
        value_name = "URL,…",
        value_delimiter = ','
    )]
    cluster: Vec<String>,

    /// Find the nodes of the same -env on this network, and form a cluster with them or join theirs.
    #[arg(long, env = "CONCLAVE_DISCOVER", value_name = "HOW")]
    discover: Option<Discover>,

    /// Empty nodes that form a cluster when they have found each other.
    #[arg(long, env = "CONCLAVE_EXPECT", value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u64).range(1..=limits::VOTERS as u64))]
    expect: u64,

    /// Give up joining after this time.
    #[arg(long, env = "CONCLAVE_JOIN_TIMEOUT", value_name = "TIME", default_value = "30s",
          value_parser = duration)]
    join_timeout: Duration,

    /// Keep everything in memory: nothing is written, every start is a new member.
    #[arg(long, env = "CONCLAVE_INMEM", action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", hide_possible_values = true,
          value_parser = BoolishValueParser::new())]
    inmem: bool,

    /// Name of the environment: shown in the status, and whom -discover looks for.
    #[arg(long, env = "CONCLAVE_ENV", value_name = "NAME", default_value = "dev")]
    env: String,

    /// Start a snapshot after this many log bytes.
    #[arg(long, env = "CONCLAVE_SNAPSHOT_LOG_BYTES", value_name = "BYTES",
          default_value_t = RaftOptions::default().snapshot_log_bytes)]
    snapshot_log_bytes: u64,

    /// Log entries kept below a snapshot for members that were away briefly.
    #[arg(long, env = "CONCLAVE_SNAPSHOT_LOG_KEEP", value_name = "ENTRIES",
          default_value_t = RaftOptions::default().snapshot_log_keep)]
    snapshot_log_keep: u64,

    /// Free space on the data directory's disk below which this node takes no changes; 0 for none
    /// [default: a 16th of the disk, at least 8 MiB, at most 128 MiB].
    #[arg(long, env = "CONCLAVE_DISK_RESERVE_BYTES", value_name = "BYTES")]
    disk_reserve_bytes: Option<u64>,

    /// Revisions that the history keeps at most.
    #[arg(long, env = "CONCLAVE_HISTORY_REVISIONS", value_name = "N",
          default_value_t = HistoryOptions::default().revisions)]
    history_revisions: u64,

    /// Bytes of changes that the history keeps at most.
    #[arg(long, env = "CONCLAVE_HISTORY_BYTES", value_name = "BYTES",
          default_value_t = HistoryOptions::default().bytes)]
    history_bytes: u64,

    /// Age up to which the history keeps changes.
    #[arg(long, env = "CONCLAVE_HISTORY_AGE", value_name = "TIME", default_value = "168h",
          value_parser = duration)]
    history_age: Duration,

    /// Remove a member that has not answered the leader for this long, such as 24h; set it on all
    /// nodes [default: never].
    #[arg(long, env = "CONCLAVE_REMOVE_DEAD_AFTER", value_name = "TIME", value_parser = dead_after)]
    remove_dead_after: Option<Duration>,

    /// Leave the cluster for good before a clean stop.
    #[arg(long, env = "CONCLAVE_LEAVE_ON_STOP")]
    leave_on_stop: bool,

    /// Refuse all changes that clients of this node ask for; it votes and replicates as others do.
    #[arg(long, env = "CONCLAVE_READ_ONLY", action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", hide_possible_values = true,
          value_parser = BoolishValueParser::new())]
    read_only: bool,

    /// Log level and filter, such as `info` or `conclave_server=debug`.
    #[arg(
        long,
        env = "CONCLAVE_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    log: String,

    /// Form of the log lines.
    #[arg(long, env = "CONCLAVE_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,

    /// Data directory, written as a flag [default: ./data/ID].
    #[arg(long, env = "CONCLAVE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Data directory.
    #[arg(value_name = "DATA_DIR")]
    pub(super) directory: Option<PathBuf>,
}

/// What stands below the flags.
const AFTER_HELP: &str = "\
Commands, each with a --help of its own:
  conclave config   prints the configuration that these flags, variables and files come to
  conclave doctor   looks for what would keep a node from running well here
  conclave backup   saves the state of a running or stopped node in a file
  conclave restore  makes a new one-node cluster out of such a file
  conclave recover  makes a new one-node cluster out of the directory of one dead member
A data directory of such a name is written as a path: ./backup.

Exit codes: 0 clean stop, 1 cannot start or go on, 64 wrong command line,
78 wrong configuration file.";
impl Flags {
    fn asked(&self) -> Asked<'_> {
        Asked {
            join: &self.join,
            cluster: &self.cluster,
            expect: self.discover.map(|Discover::Mdns| self.expect),
        }
    }
}

/// How other nodes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Discover {
    Mdns,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How much of the past is kept; what is above any of these goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryOptions {
    pub revisions: u64,
    pub bytes: u64,
    pub age: Duration,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            revisions: 100_000,
            bytes: 1 << 30,
            age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    /// The name was given, so that it must be the data directory's.
    pub name_given: bool,
    pub http: HostPort,
    pub raft: HostPort,
    pub http_listen: HostPort,
    pub raft_listen: HostPort,
    pub join: Vec<HostPort>,
    pub join_timeout: Duration,
    /// How an empty directory comes to its cluster without `join`.
    pub forming: Forming,
    /// `None` keeps everything in memory.
    pub data_dir: Option<PathBuf>,
    pub env: String,
    pub raft_options: RaftOptions,
    /// A clean stop removes the node from its cluster first.
    pub leave_on_stop: bool,
    /// Clients' changes are refused.
    pub read_only: bool,
    pub history: HistoryOptions,
    /// Free space in bytes that the node leaves; `None` is the disk's size's business.
    pub disk_reserve: Option<u64>,
    pub log_filter: String,
    pub log_format: LogFormat,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// clap's own text, already made for people.
    #[error("{0}")]
    Usage(String),
    #[error("{flag}: {source}")]
    Address {
        flag: &'static str,
        source: InvalidAddress,
    },
    #[error(
        "{flag} {address}: nobody can dial an unspecified address; name the one that others use, \
         and bind {address} with {listen}"
    )]
    Unspecified {
        flag: &'static str,
        listen: &'static str,
        address: HostPort,
    },
    #[error(
        "-id: a node name has 1 to {} bytes, without control characters",
        limits::NODE_NAME_BYTES
    )]
    Name,
    #[error("PORT `{0}` is not a port number")]
    Port(String),
    #[error("-join: {0} is this node's own address")]
    JoinSelf(HostPort),
    #[error("{0} and {1} exclude each other: name one")]
    Both(&'static str, &'static str),
    #[error("JOIN is `{0}`, and neither `true` nor `false`")]
    Join(String),
    #[error("JOIN=true needs CLUSTER: the node to join through is its first")]
    JoinNobody,
    #[error(
        "-env: a name has 1 to {} bytes, without control characters",
        limits::NODE_NAME_BYTES
    )]
    Env,
    /// The configuration file cannot be used; the text names it, and the line.
    #[error("{0}")]
    File(String),
}

impl ConfigError {
    /// Returns the flag that it is about.
    pub(super) const fn flag(&self) -> Option<&'static str> {
        match self {
            Self::Address { flag, .. } | Self::Unspecified { flag, .. } => Some(flag),
            Self::Name => Some("-id"),
            Self::JoinSelf(_) => Some("-join"),
            Self::Env => Some("-env"),
            Self::Usage(_)
            | Self::Port(_)
            | Self::Both(..)
            | Self::Join(_)
            | Self::JoinNobody
            | Self::File(_) => None,
        }
    }
}

impl Flags {
    pub(super) fn data_directory(&self, default: Option<PathBuf>) -> Option<PathBuf> {
        let given = self.directory.as_ref().or(self.data_dir.as_ref());
        given.cloned().or(default)
    }
}

pub(super) fn default_directory(name: &str) -> PathBuf {
    PathBuf::from("data").join(file_name(name))
}

/// Makes a configuration of what is set.
pub(super) fn resolve(flags: Flags, seeds: &SeedEnvironment) -> Result<Config, ConfigError> {
    let http = match (&flags.haddr, seeds.port()) {
        (Some(text), _) => address("-haddr", text)?,
        (None, Some(port)) => {
            let number = port
                .parse()
                .map_err(|_not_a_port| ConfigError::Port(port.to_owned()))?;
            HostPort {
                host: "localhost".to_owned(),
                port: number,
            }
        }
        (None, None) => HostPort {
            host: "localhost".to_owned(),
            port: 11_000,
        },
    };
    let raft = match &flags.raddr {
        Some(text) => address("-raddr", text)?,
        None if flags.haddr.is_none() && http.port != 11_000 => HostPort {
            host: http.host.clone(),
            port: consens_raft_port(http.port),
        },
        None => HostPort {
            host: "localhost".to_owned(),
            port: 12_000,
        },
    };
    let http_listen = listen("-haddr", "-hlisten", &http, flags.hlisten.as_deref())?;
    let raft_listen = listen("-raddr", "-rlisten", &raft, flags.rlisten.as_deref())?;
    let (join, forming) = forming::resolve(&flags.asked(), seeds, [&http, &raft])?;
    let raft_options = raft_options(&flags);
    let name_given = flags.id.is_some();
    let name = node_name(flags.id.clone().unwrap_or_else(|| raft.to_string()))?;
    if !is_name(&flags.env) {
        return Err(ConfigError::Env);
    }
    let data_dir = flags.data_directory(Some(default_directory(&name)));
    Ok(Config {
        name_given,
        name,
        http,
        raft,
        http_listen,
        raft_listen,
        join,
        join_timeout: flags.join_timeout,
        forming,
        data_dir: data_dir.filter(|_| !flags.inmem),
        env: flags.env,
        raft_options,
        leave_on_stop: flags.leave_on_stop,
        read_only: flags.read_only,
        history: HistoryOptions {
            revisions: flags.history_revisions,
            bytes: flags.history_bytes,
            age: flags.history_age,
        },
        disk_reserve: flags.disk_reserve_bytes,
        log_filter: flags.log,
        log_format: flags.log_format,
    })
}

/// Checks a node's name.
pub(super) fn node_name(name: String) -> Result<String, ConfigError> {
    match is_name(&name) {
        true => Ok(name),
        false => Err(ConfigError::Name),
    }
}

fn raft_options(flags: &Flags) -> RaftOptions {
    RaftOptions {
        snapshot_log_bytes: flags.snapshot_log_bytes.max(1),
        snapshot_log_keep: flags.snapshot_log_keep,
        remove_dead_after: flags.remove_dead_after,
        ..RaftOptions::default()
    }
}

fn is_name(text: &str) -> bool {
    (1..=limits::NODE_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// consens knows one port per node: the Raft port follows from it.
const fn consens_raft_port(http: u16) -> u16 {
    match http.checked_add(10_000) {
        Some(port) => port,
        None => http - 10_000,
    }
}

pub(super) fn address(flag: &'static str, text: &str) -> Result<HostPort, ConfigError> {
    text.parse()
        .map_err(|source| ConfigError::Address { flag, source })
}

pub(super) fn listen(
    flag: &'static str,
    listen: &'static str,
    advertised: &HostPort,
    bound: Option<&str>,
) -> Result<HostPort, ConfigError> {
    if advertised.is_unspecified() {
        let address = advertised.clone();
        return Err(ConfigError::Unspecified {
            flag,
            listen,
            address,
        });
    }
    bound.map_or_else(|| Ok(advertised.clone()), |text| address(listen, text))
}

/// A node name as one path component: `localhost:12000` becomes `localhost_12000`.
fn file_name(name: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = name
        .chars()
        .map(|c| if safe(c) { c } else { '_' })
        .collect();
    match text.trim_start_matches('.') {
        "" => "node".to_owned(),
        text => text.to_owned(),
    }
}

/// `500ms`, `30s`, `5m`, `24h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is no time such as 500ms, 30s or 5m");
    let number: u64 = number.parse().map_err(|_not_a_number| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// At least some elections long: a member that restarts must not be taken for a dead one.
fn dead_after(text: &str) -> Result<Duration, String> {
    let after = duration(text)?;
    match after >= Duration::from_secs(5) {
        true => Ok(after),
        false => Err(format!("`{text}` is shorter than 5s")),
    }
}
