//! The command line of the bench.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub(crate) const USAGE: &str = "\
conclave-bench [flags] [BINARY]

Starts three nodes of BINARY (else of CONCLAVE_BIN, else of `conclave` beside this program) on this
machine and prints one table.

  --url LIST     measure running nodes instead: host:port or http://host:port, separated by commas;
                 the first one that leads counts as the leader
  --seconds N    time for each row (10)
  --keys N       keys that the requests are spread over (100000)
  --value N      bytes of each value (256)
  --only TEXT    only rows whose name contains TEXT; the keys are loaded all the same
  --inmem        nodes without a disk
  --etcd PATH    also start three members of this etcd server binary and run each row against both
                 systems, one after the other, while the other one is idle; prints the ratios
  --goals        with --etcd: also measure a stale read beside an empty axum handler, and print which
                 goals are met
  --watch        measure change streams instead, of 1, 100 and 1,000 watchers at one node
  --watchers N   with --watch: only N watchers
  --rate N       with --watch: writes per second (1000)
  --stalled N    measure what N watchers that never read do to 20 others at full write load
  --repeat N     with --etcd: measure each row but the load N times for each system, in turns, and
                 print the medians (1)";

/// Longest value beside etcd: its request is one frame.
const BESIDE_ETCD: usize = 16_000;

/// What to measure.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) binary: Option<PathBuf>,
    pub(crate) urls: Vec<String>,
    pub(crate) seconds: Duration,
    pub(crate) keys: usize,
    pub(crate) value_bytes: usize,
    pub(crate) only: String,
    pub(crate) node_args: Vec<String>,
    pub(crate) etcd: Option<PathBuf>,
    pub(crate) repeat: u64,
    pub(crate) goals: bool,
    pub(crate) watch: Option<Watch>,
    pub(crate) rate: u64,
}

/// Which change streams are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watch {
    /// So many watchers that read, a row for each number.
    Readers(Vec<usize>),
    /// So many that never read.
    Stalled(usize),
}

impl Options {
    /// Returns `None` when help is asked for.
    ///
    /// # Errors
    ///
    /// A flag is unknown or has no good value.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            binary: None,
            urls: Vec::new(),
            seconds: Duration::from_secs(10),
            keys: 100_000,
            value_bytes: 256,
            only: String::new(),
            node_args: Vec::new(),
            etcd: None,
            repeat: 1,
            goals: false,
            watch: None,
            rate: 1_000,
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "-h" | "--help" => return Ok(None),
                "--url" => options.urls = addresses(&value()?)?,
                "--seconds" => options.seconds = Duration::from_secs(number(&value()?)?.max(1)),
                "--keys" => options.keys = usize::try_from(number(&value()?)?)?.max(1),
                "--value" => options.value_bytes = usize::try_from(number(&value()?)?)?.max(8),
                "--only" => options.only = value()?,
                "--inmem" => options.node_args.push("-inmem".to_owned()),
                "--etcd" => options.etcd = Some(value()?.into()),
                "--goals" => options.goals = true,
                "--watch" if options.watch.is_none() => {
                    options.watch = Some(Watch::Readers(vec![1, 100, 1_000]));
                }
                "--watch" => {}
                "--watchers" => {
                    let watchers = usize::try_from(number(&value()?)?.max(1))?;
                    options.watch = Some(Watch::Readers(vec![watchers]));
                }
                "--stalled" => {
                    let stalled = usize::try_from(number(&value()?)?)?;
                    options.watch = Some(Watch::Stalled(stalled));
                }
                "--rate" => options.rate = number(&value()?)?.max(1),
                "--repeat" => options.repeat = number(&value()?)?.max(1),
                flag if flag.starts_with('-') => bail!("unknown flag `{flag}`\n\n{USAGE}"),
                path => options.binary = Some(path.into()),
            }
        }
        ensure!(
            options.etcd.is_none() || options.value_bytes <= BESIDE_ETCD,
            "values of more than {BESIDE_ETCD} bytes cannot be measured beside etcd"
        );
        ensure!(
            options.etcd.is_some() || !options.goals,
            "--goals needs --etcd"
        );
        ensure!(
            options.etcd.is_none() || options.watch.is_none(),
            "change streams are not measured beside etcd"
        );
        Ok(Some(options))
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse()
        .with_context(|| format!("`{text}` is no number"))
}

fn addresses(list: &str) -> Result<Vec<String>> {
    let mut addresses = Vec::new();
    for url in list.split(',').filter(|url| !url.is_empty()) {
        let (address, _) = conclave_tests::http::split_url(url.trim())
            .with_context(|| format!("`{url}` is no address"))?;
        addresses.push(address);
    }
    ensure!(!addresses.is_empty(), "--url names no node");
    Ok(addresses)
}
