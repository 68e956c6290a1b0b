//! Starting Raft and the service for a known identity, and stopping them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow};
use conclave_shared::cluster::DiskState;

use super::disk;
use super::form::member;
use crate::config::{Config, HistoryOptions};
use crate::events::Events;
use crate::history::{History, Limits};
use crate::metrics::Metrics;
use crate::network::{Addresses, LocalNode, NetworkFactory, PeerServer, Peers, Running};
use crate::node::{Consensus, Contact, FullDisks, Housekeeping, Node, NodeOptions};
use crate::raft::{Member, NodeId, RaftOptions, openraft_config};
use crate::runtime::{self, Task};
use crate::storage::{DiskSpace, Formation, Identity, Raft, StateMachine, Storage, may_be_bound};

/// A running node with everything that must outlive it.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) node: Node,
    _housekeeping: Housekeeping,
    _sampler: Task,
    _disk: Task,
    past: Past,
}

impl Started {
    /// Hands over, stops Raft, and then closes what it applied to.
    pub(super) async fn stop(self) {
        self.node.shutdown().await;
        self.past.stop().await;
    }

    /// Closes what Raft applied to, after it has stopped by itself.
    pub(super) async fn abandon(self) {
        self.past.stop().await;
    }
}

/// What is kept of the past, and the task that keeps it.
#[derive(Debug)]
struct Past {
    history: History,
    task: Task,
}

impl Past {
    /// Opens `DIR/history`, or memory where the node writes nothing, behind the changes to come.
    async fn open(
        config: &Config,
        identity: &Identity,
        events: &Events,
        disk: DiskSpace,
    ) -> anyhow::Result<Self> {
        let HistoryOptions {
            revisions,
            bytes,
            age,
        } = config.history;
        let limits = Limits {
            revisions,
            bytes,
            age,
        };
        let owner = identity.cluster.to_string();
        let history = match &config.data_dir {
            None => History::in_memory(limits),
            Some(directory) => {
                let path = directory.join("history");
                runtime::blocking(move || History::open(&path, &owner, limits)).await?
            }
        };
        Ok(Self {
            task: history.start(events.clone(), move || disk.state() != DiskState::Full),
            history,
        })
    }

    /// Stores what was taken. Raft must have stopped.
    async fn stop(self) {
        drop(self.task);
        self.history.close().await;
    }
}

/// Recovers the state and starts Raft, the service and its answers to peers.
pub(super) async fn start_node(
    config: &Config,
    storage: Storage,
    identity: Identity,
    peers: &PeerServer,
    metrics: &Metrics,
) -> anyhow::Result<Started> {
    let options = config.raft_options;
    let raft_config = openraft_config(&identity.cluster.to_string(), &options)
        .map_err(|error| anyhow!("raft configuration: {error}"))?;
    let local = local(&identity);
    let addresses = Addresses::default();
    let events = Events::default();
    let disk = disk::of(config)?;
    let past = Past::open(config, &identity, &events, disk.clone()).await?;
    let machine = StateMachine::new(storage.snapshots.clone(), events)
        .measured(metrics.clone())
        .on_disk(disk.clone());
    let published = machine.published();
    let (late, full_disks) = (Arc::default(), FullDisks::default());
    let network = network(&local, &addresses, &options, &late).noting(full_disks.clone());
    let log = storage.log.clone();
    let raft = Raft::build(identity.id, Arc::new(raft_config), network, log, machine)
        .await
        .context("cannot recover the data directory")?;
    if may_be_bound(&mut storage.log.clone(), &published, identity.id).await? {
        let lease = options.lease();
        tracing::info!("staying silent for {lease:?}: a lease may still be running");
        runtime::sleep(lease).await;
    }
    let consensus = Consensus::new(raft.clone(), identity.id, &options, published)
        .on_disk(disk.clone(), full_disks);
    drop(late.set(consensus.clone()));
    raft.run();

    let node = Node::new(
        NodeOptions {
            cluster: identity.cluster,
            env: config.env.clone(),
            member: member_of(config, &identity),
            raft: options,
            ui_build: crate::http::UI_BUILD,
            read_only: config.read_only,
            metrics: metrics.clone(),
        },
        consensus.clone(),
        Arc::new(Peers::new(local.clone(), addresses.clone())),
        Contact::default(),
    );
    node.attach_history(past.history.clone());
    let housekeeping = Housekeeping::start(&node, move |members| addresses.set(members));
    peers.run(Running {
        local,
        invited: identity.unconfirmed.then(|| member_of(config, &identity)),
        raft,
        snapshots: storage.snapshots,
        disk: disk.clone(),
        contact: node.contact(),
        handler: Arc::new(node.clone()),
    });
    if identity.formation == Formation::Formed {
        consensus
            .form(founders(config, &identity))
            .await
            .map_err(|error| anyhow!("cannot form the cluster: {error}"))?;
    }
    Ok(Started {
        _sampler: runtime::spawn(sample(node.clone(), metrics.clone())),
        _disk: runtime::spawn(disk::watch(disk, storage.log)),
        node,
        _housekeeping: housekeeping,
        past,
    })
}

fn local(identity: &Identity) -> LocalNode {
    LocalNode {
        cluster: identity.cluster,
        id: identity.id,
        name: identity.name.clone(),
    }
}

/// Returns the way to the other members. It asks what this node vouches for as a leader, which needs
/// a running Raft: that is told `late`. And it tells that one of members that are back.
fn network(
    local: &LocalNode,
    addresses: &Addresses,
    options: &RaftOptions,
    late: &Arc<OnceLock<Consensus>>,
) -> NetworkFactory {
    let (asked, told) = (late.clone(), late.clone());
    let factory = NetworkFactory::new(
        local.clone(),
        addresses.clone(),
        options.election_max * 2,
        move || asked.get()?.vouch(),
    );
    factory.telling(move |member| {
        if let Some(consensus) = told.get().cloned() {
            runtime::detach(async move { consensus.replicate_at_once(member).await });
        }
    })
}

/// Takes a sample of the node each second. A second that it misses stays without one.
async fn sample(node: Node, metrics: Metrics) {
    loop {
        runtime::sleep(metrics.until_next_sample()).await;
        metrics.sample(&node.status());
    }
}

/// Returns the first members of the cluster, the same on each of them.
fn founders(config: &Config, identity: &Identity) -> BTreeMap<NodeId, Member> {
    match &identity.founding {
        None => BTreeMap::from([(identity.id, member_of(config, identity))]),
        Some(founding) => founding
            .founders
            .iter()
            .map(|founder| (founder.id, founder.member.clone()))
            .collect(),
    }
}

pub(super) fn member_of(config: &Config, identity: &Identity) -> Member {
    Member {
        name: identity.name.clone(),
        ..member(config)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::raft::ClusterId;

    #[tokio::test]
    async fn a_raft_that_has_panicked_is_noticed() {
        let (cluster, id) = (ClusterId([7; 16]), 1);
        let member = Member {
            name: "n".into(),
            http: "127.0.0.1:1".into(),
            raft: "127.0.0.1:2".into(),
        };
        let local = LocalNode {
            cluster,
            id,
            name: member.name.clone(),
        };
        let (addresses, options) = (Addresses::default(), RaftOptions::default());
        let network = network(&local, &addresses, &options, &Arc::default());
        let Storage { log, snapshots } = Storage::in_memory();
        let machine = StateMachine::new(snapshots, Events::default());
        let published = machine.published();
        let config = Arc::new(openraft_config("c", &options).unwrap());
        let raft = Raft::build(id, config, network, log, machine)
            .await
            .unwrap();
        let consensus = Consensus::new(raft.clone(), id, &options, published);
        raft.run();
        let options = NodeOptions {
            cluster,
            env: String::new(),
            member,
            raft: options,
            ui_build: "",
            read_only: false,
            metrics: Metrics::default(),
        };
        let peers = Arc::new(Peers::new(local, addresses));
        let node = Node::new(options, consensus, peers, Contact::default());
        let _housekeeping = Housekeeping::start(&node, |_members| {});
        assert_eq!(node.fatal(), None);
        drop(raft.external_request(|_state| panic!("on purpose")).await);
        let noticed = async {
            while node.fatal().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let noticed = tokio::time::timeout(Duration::from_secs(5), noticed).await;
        assert!(noticed.is_ok(), "it still passes for running");
    }
}
