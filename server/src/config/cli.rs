//! Flags and environment. Every flag with one dash or two; flags win over the environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use conclave_shared::limits;

use super::forming::{self, Asked, Forming, SeedEnvironment};
use super::{HostPort, InvalidAddress};
use crate::raft::RaftOptions;

/// Distributed key-value and lock store.
///
/// Without -join, -cluster and -discover an empty data directory becomes a new one-node cluster; a
/// used one goes on where it was. Every flag may be written with one dash or two.
#[derive(Debug, Parser)]
#[command(name = "conclave", version, max_term_width = 100)]
struct Flags {
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
    #[arg(long, env = "CONCLAVE_INMEM")]
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

    /// Revisions that the history keeps at most.
    #[arg(long, env = "CONCLAVE_HISTORY_REVISIONS", value_name = "N",
          default_value_t = HistoryOptions::default().revisions)]
    history_revisions: u64,

    /// Bytes of changes that the history keeps at most.
    #[arg(long, env = "CONCLAVE_HISTORY_BYTES", value_name = "BYTES",
          default_value_t = HistoryOptions::default().bytes)]
    history_bytes: u64,

    /// Age up to which the history keeps changes [default: 168h].
    #[arg(long, env = "CONCLAVE_HISTORY_AGE", value_name = "TIME", value_parser = duration)]
    history_age: Option<Duration>,

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

    /// Data directory [default: ./data/ID].
    #[arg(value_name = "DATA_DIR", env = "CONCLAVE_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

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
    pub history: HistoryOptions,
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
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    Run(Box<Config>),
    /// `--help` or `--version`: print the text and end well.
    Show(String),
}

/// Parses flags and environment.
///
/// # Errors
///
/// A flag is unknown, or a value is not acceptable; the text names it.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    seeds: &SeedEnvironment,
) -> Result<Parsed, ConfigError> {
    let flags = match Flags::try_parse_from(arguments.into_iter().map(two_dashes)) {
        Ok(flags) => flags,
        Err(error) if !error.use_stderr() => return Ok(Parsed::Show(error.to_string())),
        Err(error) => return Err(ConfigError::Usage(error.to_string().trim_end().to_owned())),
    };
    resolve(flags, seeds).map(|config| Parsed::Run(Box::new(config)))
}

/// Go's flag package, which the seeds use, takes `-id` and `--id` alike.
fn two_dashes(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else {
        return argument;
    };
    let long = text.strip_prefix('-').filter(|rest| {
        rest.len() > 1 && rest.starts_with(|first: char| first.is_ascii_alphabetic())
    });
    match long {
        // `-c file` and `-h` stay short; everything longer is a long flag.
        Some(rest) => format!("--{rest}").into(),
        None => argument,
    }
}

fn resolve(flags: Flags, seeds: &SeedEnvironment) -> Result<Config, ConfigError> {
    let http = match (&flags.haddr, seeds.port()) {
        (Some(text), _) => address("-haddr", text)?,
        (None, Some(port)) => {
            let number = port
                .parse()
                .map_err(|_not_a_port| ConfigError::Port(port.clone()))?;
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
    let name_given = flags.id.is_some();
    let name = flags.id.unwrap_or_else(|| raft.to_string());
    if !is_name(&name) {
        return Err(ConfigError::Name);
    }
    if !is_name(&flags.env) {
        return Err(ConfigError::Env);
    }
    let data_dir = flags
        .data_dir
        .unwrap_or_else(|| PathBuf::from("data").join(file_name(&name)));
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
        data_dir: (!flags.inmem).then_some(data_dir),
        env: flags.env,
        raft_options: RaftOptions {
            snapshot_log_bytes: flags.snapshot_log_bytes.max(1),
            snapshot_log_keep: flags.snapshot_log_keep,
            ..RaftOptions::default()
        },
        history: HistoryOptions {
            revisions: flags.history_revisions,
            bytes: flags.history_bytes,
            age: flags.history_age.unwrap_or(HistoryOptions::default().age),
        },
        log_filter: flags.log,
        log_format: flags.log_format,
    })
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

fn listen(
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Result<Config, ConfigError> {
        with_seeds(arguments, &SeedEnvironment::default())
    }

    fn with_port(arguments: &[&str], port: Option<&str>) -> Result<Config, ConfigError> {
        let port = port.map(str::to_owned);
        let seeds = SeedEnvironment {
            port,
            ..SeedEnvironment::default()
        };
        with_seeds(arguments, &seeds)
    }

    fn with_seeds(arguments: &[&str], seeds: &SeedEnvironment) -> Result<Config, ConfigError> {
        let all = std::iter::once("conclave").chain(arguments.iter().copied());
        match parse(all.map(OsString::from), seeds)? {
            Parsed::Run(config) => Ok(*config),
            Parsed::Show(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_seeds_flags_work_with_one_dash_and_two() {
        for dash in ["-", "--"] {
            let flag = |name: &str| format!("{dash}{name}");
            let config = run(&[
                &flag("id"),
                "node1",
                &flag("haddr"),
                "localhost:11001",
                &flag("raddr"),
                "localhost:12001",
                &flag("join"),
                ":11000",
                "/tmp/node1",
            ])
            .unwrap();
            assert_eq!(config.name, "node1");
            assert_eq!(config.http.to_string(), "localhost:11001");
            assert_eq!(config.join[0].to_string(), "localhost:11000");
            assert_eq!(
                config.data_dir.as_deref(),
                Some(std::path::Path::new("/tmp/node1"))
            );
        }
    }

    #[test]
    fn defaults_are_those_of_keyval() {
        let config = run(&[]).unwrap();
        assert_eq!(config.http.to_string(), "localhost:11000");
        assert_eq!(config.raft.to_string(), "localhost:12000");
        assert_eq!(
            (config.name.as_str(), config.name_given),
            ("localhost:12000", false)
        );
        assert_eq!(
            config.data_dir.unwrap(),
            PathBuf::from("data/localhost_12000")
        );
    }

    #[test]
    fn port_alone_sets_both_ports_as_consens_would() {
        let config = with_port(&[], Some("3000")).unwrap();
        assert_eq!(config.http.to_string(), "localhost:3000");
        assert_eq!(config.raft.to_string(), "localhost:13000");
        let high = with_port(&[], Some("60000")).unwrap();
        assert_eq!(high.raft.port, 50_000);
        let flag = with_port(&["-haddr", "localhost:9"], Some("3000")).unwrap();
        assert_eq!(flag.http.port, 9, "a flag wins over the environment");
    }

    fn consens(cluster: &str, port: Option<&str>, join: Option<&str>) -> SeedEnvironment {
        SeedEnvironment {
            port: port.map(str::to_owned),
            cluster: Some(cluster.to_owned()),
            join: join.map(str::to_owned),
        }
    }

    #[test]
    fn the_environment_of_consens_is_a_list_of_the_others() {
        let others = "http://localhost:4000,http://localhost:5000";
        let config = with_seeds(&[], &consens(others, None, None)).unwrap();
        assert_eq!(config.http.to_string(), "localhost:3000");
        assert_eq!(config.raft.to_string(), "localhost:13000");
        let Forming::List(list) = &config.forming else {
            panic!("{:?}", config.forming);
        };
        let list: Vec<_> = list.iter().map(ToString::to_string).collect();
        assert_eq!(list, ["localhost:4000", "localhost:5000"]);

        let config = with_seeds(&[], &consens(others, Some("6000"), Some("true"))).unwrap();
        assert_eq!(config.join[0].to_string(), "localhost:4000");
        assert_eq!((config.join.len(), config.http.port), (1, 6000));
        assert_eq!(config.forming, Forming::Alone);

        let config = with_seeds(&["-j", ":9"], &consens(others, None, None)).unwrap();
        assert_eq!(config.join[0].port, 9, "a flag wins over the environment");
        for (seeds, word) in [
            (consens(others, None, Some("perhaps")), "perhaps"),
            (consens("", None, Some("true")), "CLUSTER"),
            (consens("nonsense", None, None), "CLUSTER"),
        ] {
            let error = with_seeds(&[], &seeds).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn there_is_one_way_to_a_cluster() {
        let config = run(&["-cluster", "http://a:1,b:2/"]).unwrap();
        assert!(matches!(config.forming, Forming::List(list) if list.len() == 2));
        let config = run(&["-discover", "mdns", "-expect", "5", "-env", "x"]).unwrap();
        assert_eq!(config.forming, Forming::Discover { expect: 5 });
        for (arguments, word) in [
            (vec!["-cluster", "a:1", "-join", "b:1"], "-join"),
            (vec!["-cluster", "a:1", "-discover", "mdns"], "-discover"),
            (vec!["-join", "a:1", "-discover", "mdns"], "-discover"),
            (vec!["-cluster", "a"], "-cluster"),
            (vec!["-discover", "gossip"], "discover"),
            (vec!["-discover", "mdns", "-expect", "0"], "expect"),
            (vec!["-discover", "mdns", "-expect", "8"], "expect"),
            (vec!["-env", ""], "-env"),
        ] {
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn bad_values_name_the_flag() {
        for (arguments, word) in [
            (vec!["-haddr", "nonsense"], "-haddr"),
            (vec!["-haddr", "0.0.0.0:11000"], "-hlisten"),
            (vec!["-raddr", "0.0.0.0:11000"], "-rlisten"),
            (vec!["-id", ""], "-id"),
            (vec!["-join", "localhost:11000"], "-join"),
            (vec!["-join-timeout", "soon"], "join-timeout"),
            (vec!["-nope"], "nope"),
            (vec!["a", "b"], "'b'"),
        ] {
            let error = run(&arguments).unwrap_err().to_string();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
        let error = with_port(&[], Some("x")).unwrap_err().to_string();
        assert!(error.contains("PORT"), "{error}");
    }

    #[test]
    fn an_unspecified_address_can_be_bound_with_the_listen_flag() {
        let config = run(&["-haddr", "n1:11000", "-hlisten", "0.0.0.0:11000"]).unwrap();
        assert_eq!(config.http_listen.to_string(), "0.0.0.0:11000");
        assert_eq!(config.http.to_string(), "n1:11000");
    }

    #[test]
    fn help_is_no_error() {
        for flag in ["-h", "-help", "--help"] {
            let all = ["conclave", flag].map(OsString::from);
            let parsed = parse(all, &SeedEnvironment::default());
            assert!(matches!(parsed, Ok(Parsed::Show(_))), "{flag}");
        }
    }
}
