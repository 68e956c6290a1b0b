//! What the bench asks members of etcd besides its load: their version, which of them leads, and
//! whether they keep what is put.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::grpc::{Grpc, RANGE_KVS};
use crate::load::{Answer, Request, Session};
use crate::protobuf::{find_bytes, find_number};

const STATUS_HEADER: u64 = 1;
const STATUS_LEADER: u64 = 4;
const HEADER_MEMBER: u64 = 2;
const KV_VALUE: u64 = 5;

/// Returns what `--version` says first.
///
/// # Errors
///
/// The binary cannot be started or is not etcd.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    ensure!(
        line.starts_with("etcd Version"),
        "{} is not an etcd server: `{line}`",
        binary.display()
    );
    Ok(line.to_owned())
}

/// Returns whether the member leads.
///
/// # Errors
///
/// It does not answer.
pub(crate) async fn leads(address: &str) -> io::Result<bool> {
    let mut session = Grpc::open(address).await?;
    let status = session.ask("/etcdserverpb.Maintenance/Status").await?;
    let leader = find_number(status, STATUS_LEADER)?;
    let own = find_number(find_bytes(status, STATUS_HEADER)?, HEADER_MEMBER)?;
    Ok(leader != 0 && leader == own)
}

/// Checks, once before anything is measured, that what is put comes back from every member.
///
/// # Errors
///
/// It does not.
pub(crate) async fn check(addresses: &[String], value_bytes: usize) -> Result<()> {
    let key = "bench-check";
    for (writer, letter) in addresses.iter().zip(b'a'..) {
        let value = vec![letter; value_bytes];
        let put = Request::Put { key, value: &value };
        let answer = Grpc::open(writer).await?.exchange(put).await?;
        ensure!(answer == Answer::Done, "put at {writer}: {answer:?}");
        for reader in addresses {
            // In this order: a member that has answered the first has applied the put.
            for level in ["consistent", "stale"] {
                let mut session = Grpc::open(reader).await?;
                let answer = session.exchange(Request::Get { key, level }).await?;
                ensure!(
                    answer == Answer::Done,
                    "get {level} at {reader}: {answer:?}"
                );
                let pair = find_bytes(session.answer()?, RANGE_KVS)?;
                ensure!(
                    find_bytes(pair, KV_VALUE)? == value,
                    "get {level} at {reader} returned another value"
                );
            }
        }
    }
    Ok(())
}
