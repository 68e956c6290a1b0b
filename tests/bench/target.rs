//! The nodes under load: three of the bench's own, of Conclave, of etcd or of the floor, or
//! running ones.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use conclave_tests::cluster::usage;
use conclave_tests::etcd::Members;
use conclave_tests::{Client, Cluster, Node, Request};
use serde_json::Value;
use tokio::time::timeout;

use crate::etcd;
use crate::floor::Handlers;
use crate::histogram::Histogram;
use crate::load::Protocol;
use crate::options::Options;

/// Writes measured for the device's own speed.
const SYNCS: u32 = 500;
/// Longest wait for a node that is asked whether it leads.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Longest time until somebody leads.
const LEADER_WITHIN: Duration = Duration::from_secs(30);

/// The nodes of one system, with the leader first.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) addresses: Vec<String>,
    own: Own,
}

/// Processes that are dropped, and so killed, at the end.
#[derive(Debug)]
enum Own {
    Conclave(Cluster),
    Etcd(Members),
    Floor(Handlers),
    /// The nodes run elsewhere and go on.
    Nothing,
}

impl Target {
    /// Starts three nodes of Conclave, or finds the leader of the given ones.
    ///
    /// # Errors
    ///
    /// No given node leads.
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        let mut target = Self {
            name: "Conclave",
            protocol: Protocol::Http,
            addresses: options.urls.clone(),
            own: Own::Nothing,
        };
        if options.urls.is_empty() {
            let args: Vec<_> = options.node_args.iter().map(String::as_str).collect();
            let cluster = Cluster::builder().args(&args).start().await;
            target.addresses = cluster.addresses();
            target.own = Own::Conclave(cluster);
        }
        target.leader_first().await?;
        Ok(target)
    }

    /// Starts three members of etcd and checks that they keep what is put.
    ///
    /// # Errors
    ///
    /// They do not start, or do not.
    pub(crate) async fn open_etcd(binary: &Path, value_bytes: usize) -> Result<Self> {
        let members = Members::start(binary);
        let mut target = Self {
            name: "etcd",
            protocol: Protocol::Grpc,
            addresses: members.addresses(),
            own: Own::Etcd(members),
        };
        target.leader_first().await?;
        etcd::check(&target.addresses, value_bytes).await?;
        Ok(target)
    }

    /// Starts the handlers that are the floor of all reads.
    ///
    /// # Errors
    ///
    /// They do not start.
    pub(crate) async fn open_floor(value_bytes: usize) -> Result<Self> {
        let handlers = Handlers::start(value_bytes)?;
        let target = Self {
            name: "empty handler",
            protocol: Protocol::Http,
            addresses: handlers.addresses(),
            own: Own::Floor(handlers),
        };
        for address in &target.addresses {
            wait_open(address).await?;
        }
        Ok(target)
    }

    /// Puts the leader first; it may have changed since the last row.
    ///
    /// # Errors
    ///
    /// None leads.
    pub(crate) async fn leader_first(&mut self) -> Result<()> {
        let end = Instant::now() + LEADER_WITHIN;
        if matches!(self.own, Own::Floor(_)) {
            return Ok(());
        }
        loop {
            for index in 0..self.addresses.len() {
                if self.leads(index).await {
                    self.addresses.swap(0, index);
                    return Ok(());
                }
            }
            if let Own::Etcd(members) = &mut self.own {
                members.check_alive()?;
            }
            anyhow::ensure!(Instant::now() < end, "none of {:?} leads", self.addresses);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn leads(&self, index: usize) -> bool {
        let address = &self.addresses[index];
        match self.protocol {
            Protocol::Http => role(address).await.as_deref() == Some("leader"),
            Protocol::Grpc => timeout(ANSWER_WITHIN, etcd::leads(address))
                .await
                .is_ok_and(|leads| leads.unwrap_or(false)),
        }
    }

    /// Returns the name and the process of each own node; nothing for nodes elsewhere.
    fn processes(&self) -> Vec<(String, u32)> {
        match &self.own {
            Own::Conclave(cluster) => {
                let process = |node: &Node| (node.name().to_owned(), node.process_id());
                cluster.nodes().iter().map(process).collect()
            }
            Own::Etcd(members) => members.processes(),
            Own::Floor(handlers) => handlers.processes(),
            Own::Nothing => Vec::new(),
        }
    }

    /// Returns the processes of the own node that leads and of the others.
    pub(crate) fn leader_and_followers(&self) -> (Vec<u32>, Vec<u32>) {
        let leader = self.process_at(&self.addresses[0]);
        let processes = self.processes().into_iter();
        processes
            .map(|(_, process)| process)
            .partition(|process| Some(*process) == leader)
    }

    /// Returns the process of the own node at an address.
    pub(crate) fn process_at(&self, address: &str) -> Option<u32> {
        let Own::Conclave(cluster) = &self.own else {
            return None;
        };
        let mut nodes = cluster.nodes().iter();
        let node = nodes.find(|node| node.http_address() == address)?;
        Some(node.process_id())
    }

    /// Returns the resident bytes of each own node by name.
    pub(crate) fn resident_bytes(&self) -> Vec<(String, u64)> {
        let processes = self.processes().into_iter();
        processes
            .filter_map(|(name, process)| Some((name, usage::resident_bytes(process)?)))
            .collect()
    }

    /// Returns the processor time of all own nodes together; `None` for nodes elsewhere.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let processes = self.processes();
        let times = processes
            .iter()
            .map(|(_, process)| usage::cpu_time(*process));
        times
            .sum::<Option<Duration>>()
            .filter(|_| !processes.is_empty())
    }
}

async fn wait_open(address: &str) -> Result<()> {
    let end = Instant::now() + LEADER_WITHIN;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        anyhow::ensure!(Instant::now() < end, "nobody listens at {address}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn role(address: &str) -> Option<String> {
    let mut client = Client::new(address).with_timeout(ANSWER_WITHIN);
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
