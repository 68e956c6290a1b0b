//! The nodes under load: three of the bench's own, or running ones.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use conclave_tests::{Client, Cluster, Request};
use serde_json::Value;

use crate::histogram::Histogram;
use crate::options::Options;

/// Writes measured for the device's own speed.
const SYNCS: u32 = 500;

/// The nodes, with the leader first.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) addresses: Vec<String>,
    /// Dropped, and so killed, at the end.
    own: Option<Cluster>,
}

impl Target {
    /// Starts three nodes, or finds the leader of the given ones.
    ///
    /// # Errors
    ///
    /// No given node leads.
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        if options.urls.is_empty() {
            let args: Vec<_> = options.node_args.iter().map(String::as_str).collect();
            let cluster = Cluster::builder().args(&args).start().await;
            let mut target = Self {
                addresses: cluster.addresses(),
                own: Some(cluster),
            };
            target.leader_first().await?;
            return Ok(target);
        }
        let mut target = Self {
            addresses: options.urls.clone(),
            own: None,
        };
        target.leader_first().await?;
        Ok(target)
    }

    /// Puts the leader first; it may have changed since the last row.
    ///
    /// # Errors
    ///
    /// None leads.
    pub(crate) async fn leader_first(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            for index in 0..self.addresses.len() {
                if role(&self.addresses[index]).await.as_deref() == Some("leader") {
                    self.addresses.swap(0, index);
                    return Ok(());
                }
            }
            anyhow::ensure!(Instant::now() < end, "none of {:?} leads", self.addresses);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the resident bytes of each own node by name; nothing for nodes elsewhere.
    pub(crate) fn resident_bytes(&self) -> Vec<(String, u64)> {
        let nodes = self.own.as_ref().map_or(&[][..], Cluster::nodes);
        nodes
            .iter()
            .map(|node| (node.name().to_owned(), node.resident_bytes()))
            .collect()
    }
}

async fn role(address: &str) -> Option<String> {
    let mut client = Client::new(address).with_timeout(Duration::from_secs(2));
    let response = client.send(&Request::get("/api/status")).await.ok()?;
    let status: Value = serde_json::from_slice(&response.body).ok()?;
    status["role"].as_str().map(str::to_owned)
}

/// Measures appends of one value, each made durable, where the nodes keep their data.
///
/// # Errors
///
/// The device does not take them.
pub(crate) fn measure_device(value_bytes: usize) -> Result<Histogram> {
    let mut file = tempfile::tempfile().context("a temporary file")?;
    let block = vec![b'v'; value_bytes];
    let mut latencies = Histogram::default();
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        latencies.record(started.elapsed());
    }
    Ok(latencies)
}
