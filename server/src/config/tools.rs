//! The command lines of what is no node: `conclave config`, `doctor`, `backup`, `restore`, `recover`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use conclave_shared::ReadLevel;

use super::HostPort;
use super::cli::{Config, ConfigError, Flags, listen, node_name};
use super::layers::Unusable;

/// First words that are no data directories.
pub(super) const COMMANDS: [&str; 5] = ["config", "doctor", "backup", "restore", "recover"];

/// What to do instead of running a node.
#[derive(Debug)]
pub enum Tool {
    Doctor { config: Box<Config>, json: bool },
    Backup(Backup),
    Restore(Restore),
    Recover(Recover),
}

/// Prints the configuration that flags, environment and file come to, as a file for -c.
///
/// Behind each value stands where it comes from. Nothing is started or written. The flags are those
/// of a node.
#[derive(Debug, Parser)]
#[command(
    name = "conclave config",
    override_usage = "conclave config [FLAGS] [DATA_DIR]",
    max_term_width = 100,
    after_help = "\
Examples:
  conclave config -c node1.toml
  conclave config -id node1 -join n0:11000 > node1.toml && conclave -c node1.toml

Exit codes: 0 printed, 64 wrong command line, 78 wrong configuration file."
)]
pub(super) struct ConfigFlags {
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Looks for what would keep a node with these flags from running well on this machine.
///
/// Prints a line for each thing: `ok`, `warn` or `FAIL`, the figure, and what to do. The flags are
/// those of a node; give the same ones. Nothing is changed: the disk is measured with a file that has
/// no name. It can be asked beside a running node.
#[derive(Debug, Parser)]
#[command(
    name = "conclave doctor",
    override_usage = "conclave doctor [--json] [FLAGS] [DATA_DIR]",
    max_term_width = 100,
    after_help = "\
Examples:
  conclave doctor -c node1.toml
  conclave doctor -id node1 -haddr n1:11000 -raddr n1:12000 -join n0:11000 /var/lib/conclave
  conclave doctor --json ./data | jq '.checks[] | select(.verdict != \"ok\")'

Exit codes: 0 nothing fails, 1 something does, 64 wrong command line, 78 wrong configuration file."
)]
pub(super) struct DoctorFlags {
    #[command(flatten)]
    pub(super) flags: Flags,

    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub(super) json: bool,
}

/// Saves all keys, locks and request outcomes of a cluster at one revision in a file.
///
/// From a running node, over its HTTP port, while it serves: everything that was acknowledged before
/// is in the file. Or from the directory of a stopped one. The file is checked before it gets its
/// name, and never replaces another one.
#[derive(Debug, Parser)]
#[command(
    name = "conclave backup",
    bin_name = "conclave backup",
    max_term_width = 100,
    after_help = "\
Examples:
  conclave backup --from localhost:11000 --out conclave-$(date +%F).snap
  conclave backup --from localhost:11000 --level stale --out rescue.snap   (no quorum is left)
  conclave backup --data-dir ./node0 --out node0.snap                      (the node is stopped)
  conclave backup --from localhost:11000 --out - | ssh vault 'cat > conclave.snap'

What the history kept of the past is not in it. conclave restore reads it.

Exit codes: 0 saved, 64 wrong command line, 65 what came or was there is damaged,
66 no such directory, 69 the node cannot be reached or refuses, 73 the file is there already or
cannot be made, 74 the disk fails, 75 a node runs on the directory."
)]
pub struct Backup {
    #[command(flatten)]
    source: BackupSource,

    /// The file to make, or `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// How fresh the state must be: `consistent`, `default`, or `stale` for what the node has.
    #[arg(long, value_name = "LEVEL", default_value = "consistent")]
    pub level: ReadLevel,
}

/// Where a backup is taken from.
#[derive(Debug)]
pub enum Origin<'a> {
    Node(&'a HostPort),
    Directory(&'a PathBuf),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct BackupSource {
    /// HTTP address of a running node.
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<HostPort>,

    /// Data directory of a stopped node.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Backup {
    /// Returns where it is taken from.
    ///
    /// # Panics
    ///
    /// It was made without either, which the command line does not take.
    #[must_use]
    pub fn source(&self) -> Origin<'_> {
        match (&self.source.from, &self.source.data_dir) {
            (Some(node), _) => Origin::Node(node),
            (None, Some(directory)) => Origin::Directory(directory),
            (None, None) => unreachable!("the command line asks for one of them"),
        }
    }
}

/// Makes a new one-node cluster out of a backup.
///
/// The new node has an identity of its own, and what the backup has of keys, locks and request
/// outcomes. Start it, and have others join it with empty directories. Members of the cluster that
/// the backup came from are never spoken to.
#[derive(Debug, Parser)]
#[command(
    name = "conclave restore",
    bin_name = "conclave restore",
    max_term_width = 100,
    after_help = "\
Examples:
  conclave restore --in conclave-2026-01-31.snap --out ./node0 --id node0
  conclave -id node0 ./node0
  conclave -id node1 -haddr localhost:11001 -raddr localhost:12001 -join :11000 ./node1

Exit codes: 0 restored, 64 wrong command line, 65 the file is damaged or no backup,
66 no such file, 73 the directory is not empty or cannot be made, 74 the disk fails."
)]
pub struct Restore {
    /// The backup, or `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub r#in: PathBuf,

    /// Data directory to make. It must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    #[command(flatten)]
    pub node: NewNode,
}

/// Makes a new one-node cluster out of the data directory of one dead member.
///
/// For the day on which a majority of the disks is lost. The directory of the member is read whole
/// and never changed; its last entries are taken along even where nobody can tell any more whether
/// they were committed. Try every directory that is left with --dry-run first, and take the one with
/// the highest last entry (term, then index). Members of the old cluster are refused by the new one:
/// start them again with empty directories and -join.
#[derive(Debug, Parser)]
#[command(
    name = "conclave recover",
    bin_name = "conclave recover",
    max_term_width = 100,
    after_help = "\
Examples:
  conclave recover --data-dir ./node2 --dry-run
  conclave recover --data-dir ./node2 --out ./node2-new
  conclave -id node2 -haddr localhost:11002 -raddr localhost:12002 ./node2-new

Exit codes: 0 recovered, 64 wrong command line, 65 the directory is damaged or holds nothing,
66 no such directory, 73 the new directory is not empty or cannot be made, 74 the disk fails,
75 a node runs on the directory."
)]
pub struct Recover {
    /// Data directory of the dead member. It is only read.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Data directory to make. It must not exist, or be empty.
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,

    /// Only say what would be recovered.
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub node: NewNode,
}

/// Who a new one-node cluster's node is.
#[derive(Debug, Clone, Default, Args)]
pub struct NewNode {
    /// Name of the new node [default: as before, or else its Raft address].
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,

    /// Its HTTP address [default: as before, or else localhost:11000].
    #[arg(long, value_name = "HOST:PORT")]
    pub haddr: Option<HostPort>,

    /// Its Raft address [default: as before, or else localhost:12000].
    #[arg(long, value_name = "HOST:PORT")]
    pub raddr: Option<HostPort>,
}

impl NewNode {
    fn check(&self) -> Result<(), ConfigError> {
        if let Some(name) = &self.id {
            node_name(name.clone())?;
        }
        for (flag, bind, address) in [
            ("-haddr", "-hlisten", &self.haddr),
            ("-raddr", "-rlisten", &self.raddr),
        ] {
            if let Some(address) = address {
                listen(flag, bind, address, None)?;
            }
        }
        Ok(())
    }
}

/// Parses the rest of a command line.
pub(super) fn parse(command: &str, arguments: &[OsString]) -> Result<Tool, Unusable> {
    let tool = match command {
        "backup" => Tool::Backup(parsed(arguments)?),
        "restore" => Tool::Restore(parsed(arguments)?),
        _ => Tool::Recover(parsed(arguments)?),
    };
    match &tool {
        Tool::Restore(Restore { node, .. }) | Tool::Recover(Recover { node, .. }) => {
            node.check()?
        }
        Tool::Doctor { .. } | Tool::Backup(_) => {}
    }
    Ok(tool)
}

fn parsed<T: CommandFactory + FromArgMatches>(arguments: &[OsString]) -> Result<T, Unusable> {
    let matches = T::command().try_get_matches_from(arguments)?;
    Ok(T::from_arg_matches(&matches)?)
}
