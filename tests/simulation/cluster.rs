//! Simulated nodes: the real Raft settings, state machine and service over a simulated disk and
//! network, started and crashed as processes are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use conclave_server::events::Events;
use conclave_server::metrics::Metrics;
use conclave_server::mutants::Mutant;
use conclave_server::node::{Consensus, Contact, Housekeeping, Node, NodeOptions};
use conclave_server::raft::{ClusterId, Member, NodeId, RaftOptions, openraft_config};
use conclave_server::runtime;
use conclave_server::storage::{Raft, Snapshots, StateMachine, Storage, may_be_bound};
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::network::{Endpoint, Links, Network, Process};

/// What is wrong on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    Nothing,
    /// A restarted leader goes on without an election.
    LeaderRestore,
    /// A restarted voter does not wait for the lease that it may have granted.
    NoSilence,
    /// The view says that it has applied one entry more than it has.
    AppliedAhead,
    /// The disk says that it has synced what it has only taken.
    EarlySync,
    /// The nodes have a defect of their own.
    Mutant(Mutant),
}

impl Sabotage {
    /// All that is wrong.
    pub(crate) const ALL: [Self; 8] = [
        Self::LeaderRestore,
        Self::NoSilence,
        Self::AppliedAhead,
        Self::EarlySync,
        Self::Mutant(Mutant::TokenPerLock),
        Self::Mutant(Mutant::ReleaseByAnybody),
        Self::Mutant(Mutant::ResumeOffByOne),
        Self::Mutant(Mutant::SilentLag),
    ];

    /// Returns the defect of the nodes.
    pub(crate) const fn mutant(self) -> Option<Mutant> {
        match self {
            Self::Mutant(mutant) => Some(mutant),
            _ => None,
        }
    }

    /// Returns how what must be noticed begins; others may notice it, too.
    pub(crate) const fn shows_as(self) -> &'static str {
        match self.mutant() {
            Some(Mutant::TokenPerLock | Mutant::ReleaseByAnybody) => "locks",
            Some(Mutant::ResumeOffByOne | Mutant::SilentLag) => "watcher",
            _ => "",
        }
    }
}

/// What outlives the processes of a node.
struct Machine {
    disk: Disk,
    snapshots: Snapshots,
    /// Stopped with the process.
    housekeeping: Option<Housekeeping>,
}

/// The nodes of one run.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) network: Network,
    pub(crate) ids: Vec<NodeId>,
    machines: Arc<Mutex<BTreeMap<NodeId, Machine>>>,
    next_number: Arc<Mutex<u64>>,
    /// While it is set, clients only read.
    pub(crate) quiet: Arc<AtomicBool>,
    calm: Arc<AtomicBool>,
    pub(crate) ledger: Ledger,
    plan: Plan,
}

/// What is particular to a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) size: u64,
    /// Changes that a node keeps; `None`: as many as a real one.
    pub(crate) kept: Option<usize>,
    pub(crate) sabotage: Sabotage,
}

fn member(id: NodeId) -> Member {
    Member {
        name: format!("node{id}"),
        http: format!("host{id}:1"),
        raft: format!("host{id}:2"),
    }
}

fn options() -> RaftOptions {
    RaftOptions {
        // Small, so that snapshots are built and sent within a run.
        snapshot_log_bytes: 30_000,
        snapshot_log_keep: 40,
        ..RaftOptions::default()
    }
}

impl Cluster {
    /// Starts a cluster of nodes that know each other.
    pub(crate) async fn start(plan: Plan) -> Self {
        let cluster = Self {
            network: Network::default(),
            ids: (1..=plan.size).collect(),
            machines: Arc::default(),
            next_number: Arc::default(),
            quiet: Arc::default(),
            calm: Arc::default(),
            ledger: Ledger::default(),
            plan,
        };
        for id in &cluster.ids {
            let lies = plan.sabotage == Sabotage::EarlySync;
            let machine = Machine {
                disk: Disk::new(lies, cluster.ledger.clone()),
                snapshots: Storage::in_memory().snapshots,
                housekeeping: None,
            };
            cluster.machines.lock().insert(*id, machine);
            cluster.boot(*id).await;
        }
        let members: BTreeMap<_, _> = cluster.ids.iter().map(|id| (*id, member(*id))).collect();
        let first = cluster.network.process(cluster.ids[0]).expect("it runs");
        first.raft.initialize(members).await.expect("it is empty");
        cluster
    }

    /// Starts a node's process, as `app::start` does.
    pub(crate) async fn boot(&self, id: NodeId) {
        let number = {
            let mut next = self.next_number.lock();
            *next += 1;
            *next
        };
        let (disk, snapshots) = {
            let machines = self.machines.lock();
            let machine = &machines[&id];
            (machine.disk.clone(), machine.snapshots.clone())
        };
        self.network.connect(id, number);
        let endpoint = Endpoint {
            network: self.network.clone(),
            id,
            number,
        };
        let events = self.plan.kept.map_or_else(Events::default, Events::keeping);
        let mut state_machine = StateMachine::new(snapshots.clone(), events);
        if self.plan.sabotage == Sabotage::AppliedAhead {
            state_machine.run_ahead();
        }
        let published = state_machine.published();
        let links = Links {
            endpoint: endpoint.clone(),
            consensus: Arc::new(OnceLock::new()),
        };
        let mut log = disk.open();
        let options = options();
        let config = Arc::new(self.config(&options));
        let built = Raft::build(id, config, links.clone(), log.clone(), state_machine).await;
        let Ok(raft) = built else {
            return; // crashed again meanwhile
        };
        let bound = may_be_bound(&mut log, &published, id).await;
        if self.plan.sabotage != Sabotage::NoSilence && bound.unwrap_or(true) {
            runtime::sleep(options.lease()).await;
        }
        let consensus = Consensus::new(raft.clone(), id, &options, published);
        drop(links.consensus.set(consensus.clone()));
        raft.run();
        let node_options = NodeOptions {
            cluster: ClusterId([7; 16]),
            env: "sim".to_owned(),
            member: member(id),
            raft: options,
            ui_build: "",
            read_only: false,
            metrics: Metrics::default(),
        };
        let peers = Arc::new(endpoint.clone());
        let node = Node::new(node_options, consensus, peers, Contact::default());
        let housekeeping = Housekeeping::start(&node, |_members| {});
        let mut machines = self.machines.lock();
        if let Some(machine) = machines.get_mut(&id).filter(|_| endpoint.is_alive()) {
            machine.housekeeping = Some(housekeeping);
            let process = Process::new(number, node, raft, snapshots);
            self.network.start(id, process);
        }
    }

    fn config(&self, options: &RaftOptions) -> openraft::Config {
        let mut config = openraft_config("simulation", options).expect("good settings");
        // In steps that a short run gets to see.
        config.purge_batch_size = 16;
        if self.plan.sabotage == Sabotage::LeaderRestore {
            config.enable_leader_restore = Some(true);
        }
        config
    }

    /// Crashes a node: the process is gone, and with it what was not synced.
    pub(crate) async fn crash(&self, id: NodeId) {
        let process = self.network.stop(id);
        {
            let mut machines = self.machines.lock();
            if let Some(machine) = machines.get_mut(&id) {
                machine.housekeeping = None;
                machine.disk.crash();
            }
        }
        self.network.end_connections(id, &self.ids);
        if let Some(process) = process {
            // Only the tasks are left of it.
            drop(process.raft.shutdown().await);
        }
    }

    /// Mends everything: nothing fails any more.
    pub(crate) fn calm_down(&self) {
        self.network.heal();
        self.calm.store(true, Ordering::SeqCst);
    }

    /// Returns whether nothing fails any more.
    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::SeqCst)
    }

    /// Returns the node that leads, as far as one says so of itself.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leads = |id: &NodeId| {
            let process = self.network.process(*id);
            process.is_some_and(|process| process.raft.is_leader())
        };
        self.ids.iter().copied().find(leads)
    }
}
