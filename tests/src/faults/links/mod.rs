//! Faults between the nodes of a cluster: cuts, one way or both, delays, losses, resets.
//!
//! One TCP proxy stands in front of each node's peer port and knows which node dials it (see
//! `dialler`), so that it needs to know nothing of the protocol. Everything is as TCP has it: a
//! loss is a later delivery, and what a cut holds back flows on, in order, when it is healed, so
//! that old bytes do arrive late. The proxies run on a thread of their own.

mod dialler;
mod proxy;
mod rules;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cluster::Ports;
use crate::random::Random;
use proxy::Proxy;
use rules::{Rule, Rules};

/// Ports tried for a proxy before it is said that there are none.
const PORTS_TRIED: usize = 50;

/// The process id of a node now; 0 while it is down. Clones are the same node.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessId(Arc<AtomicU32>);

impl ProcessId {
    pub(crate) fn set(&self, pid: u32) {
        self.0.store(pid, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The links between the nodes of one cluster, by the nodes' indexes. Clones are cheap and mean
/// the same links.
///
/// Every call takes effect before it returns: no byte that a rule stops passes later. Rules are
/// kept per direction, and stay over a node's end and restart.
#[derive(Debug, Clone)]
pub struct Links(Arc<Inner>);

/// What the tasks of the proxies share. It does not keep the proxies alive.
#[derive(Debug, Clone)]
struct Shared {
    rules: watch::Sender<Rules>,
    nodes: Arc<Mutex<Vec<ProcessId>>>,
    random: Arc<Mutex<Random>>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    /// The accepting task of each node's proxy.
    proxies: Mutex<Vec<AbortHandle>>,
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Links {
    /// Starts the thread; there are no proxies yet.
    ///
    /// # Panics
    ///
    /// There is no thread to be had.
    pub(crate) fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("links")
            .enable_all()
            .build()
            .expect("a thread for the links");
        Self(Arc::new(Inner {
            shared: Shared {
                rules: watch::Sender::default(),
                nodes: Arc::default(),
                random: Arc::new(Mutex::new(Random::new(0))),
            },
            proxies: Mutex::default(),
            runtime: Some(runtime),
        }))
    }

    /// Reserves ports for a node and starts its proxy; one that it had before ends.
    ///
    /// # Panics
    ///
    /// There are no ports.
    pub(crate) fn add(&self, index: usize, process: &ProcessId) -> Ports {
        for _ in 0..PORTS_TRIED {
            let ports = Ports::reserve().behind_proxy();
            if self.try_add(index, process.clone(), ports).is_ok() {
                return ports;
            }
        }
        panic!("{PORTS_TRIED} ports were taken before a proxy had them");
    }

    fn try_add(&self, index: usize, process: ProcessId, ports: Ports) -> std::io::Result<()> {
        let inner = &self.0;
        let runtime = inner.runtime.as_ref().expect("it runs until it is dropped");
        let proxy = Proxy::bind(inner.shared.clone(), index, ports)?;
        let mut nodes = lock(&inner.shared.nodes);
        let mut proxies = lock(&inner.proxies);
        if index < nodes.len() {
            proxies[index].abort();
            nodes[index] = process;
            proxies[index] = runtime.spawn(proxy.run()).abort_handle();
        } else {
            assert_eq!(index, nodes.len(), "nodes are added in their order");
            nodes.push(process);
            proxies.push(runtime.spawn(proxy.run()).abort_handle());
        }
        Ok(())
    }

    /// Sets the seed of the losses; 0 when not called.
    pub fn seed(&self, seed: u64) {
        *lock(&self.0.shared.random) = Random::new(seed);
    }

    /// Holds back what one node sends to another. New connections between the two, whoever dials,
    /// are made only when both directions are healed.
    pub fn cut(&self, from: usize, to: usize) {
        self.change(&[(from, to)], |rule| rule.cut = true);
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: usize) {
        let others: Vec<_> = (0..self.nodes()).filter(|other| *other != node).collect();
        self.partition(&[node], &others);
    }

    /// Cuts each node of one side off from each of the other, both ways.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        let pairs = one
            .iter()
            .flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        self.change(&pairs.collect::<Vec<_>>(), |rule| rule.cut = true);
    }

    /// Delivers what one node sends to another that much later, in the same order.
    pub fn delay(&self, from: usize, to: usize, by: Duration) {
        self.change(&[(from, to)], |rule| rule.delay = by);
    }

    /// Loses each piece that one node sends to another with that probability: it, and so all
    /// behind it, comes 200 ms later, as TCP would send it again.
    pub fn loss(&self, from: usize, to: usize, probability: f64) {
        self.change(&[(from, to)], |rule| rule.loss = probability);
    }

    /// Breaks all connections that there are between two nodes, cut or not, at once; both sides
    /// see a reset, and what was under way is gone.
    pub fn reset(&self, one: usize, other: usize) {
        self.0
            .shared
            .rules
            .send_modify(|rules| rules.reset(one, other));
    }

    /// Takes a cut away: what one node sends to another flows on. Delays and losses stay.
    pub fn mend(&self, from: usize, to: usize) {
        self.change(&[(from, to)], |rule| rule.cut = false);
    }

    /// Takes all rules away: what was held back flows on.
    pub fn heal(&self) {
        self.0.shared.rules.send_modify(Rules::heal);
    }

    fn change(&self, pairs: &[(usize, usize)], change: impl Fn(&mut Rule)) {
        self.0.shared.rules.send_modify(|rules| {
            for (from, to) in pairs {
                change(rules.rule_mut(*from, *to));
            }
        });
    }

    fn nodes(&self) -> usize {
        lock(&self.0.shared.nodes).len()
    }
}

/// A panic elsewhere leaves nothing half changed here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
