//! The edge's handle to everything a handler may use, and the node's life cycle as HTTP shows it.
//!
//! HTTP answers from the moment the listener is bound: before [`Edge::attach`] every request that
//! needs the node is told `starting`, after [`Edge::drain`] new writes are told `draining`.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use conclave_shared::NodeStatus;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::serve::HttpOptions;
use crate::clock;
use crate::metrics::Metrics;
use crate::node::listing::Pins;
use crate::node::{Joined, Node, ServiceError};

/// Asks whoever started this node to make it a member of another cluster.
#[derive(Debug)]
pub struct Move {
    /// Members of that cluster, `host:port`.
    pub peers: Vec<String>,
    /// What became of it; the node is as it was after an error.
    pub reply: oneshot::Sender<Result<Joined, ServiceError>>,
}

/// Who this node is, before and after it has a cluster.
#[derive(Debug, Clone, Default)]
pub struct Whoami {
    pub name: String,
    /// `host:port` of the peer protocol.
    pub raft: String,
}

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    options: HttpOptions,
    /// `host:port` that others reach this node's HTTP under.
    http_address: String,
    node: ArcSwapOption<Node>,
    /// Wakes streams that wait for the node.
    attached: Notify,
    starting: ArcSwap<String>,
    /// Ends the streams of a node that is taken away.
    attachment: ArcSwap<CancellationToken>,
    whoami: ArcSwap<Whoami>,
    /// Whom a node without a leader waits for.
    waiting: ArcSwapOption<String>,
    mover: ArcSwapOption<mpsc::Sender<Move>>,
    draining: CancellationToken,
    metrics: Metrics,
    pins: Pins,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge")
            .field("http_address", &self.0.http_address)
            .field("attached", &self.0.node.load().is_some())
            .field("draining", &self.is_draining())
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Returns an edge without a node. `http_address` is what others dial, `host:port`.
    #[must_use]
    pub fn new(options: HttpOptions, http_address: impl Into<String>) -> Self {
        Self::measured(options, http_address, Metrics::default())
    }

    /// As [`Self::new`], and counts requests in `metrics`.
    #[must_use]
    pub fn measured(
        options: HttpOptions,
        http_address: impl Into<String>,
        metrics: Metrics,
    ) -> Self {
        Self(Arc::new(Inner {
            options,
            http_address: http_address.into(),
            node: ArcSwapOption::empty(),
            attached: Notify::new(),
            starting: ArcSwap::from_pointee("the node is not up yet".to_owned()),
            attachment: ArcSwap::default(),
            whoami: ArcSwap::default(),
            waiting: ArcSwapOption::empty(),
            mover: ArcSwapOption::empty(),
            draining: CancellationToken::new(),
            metrics,
            pins: Pins::default(),
        }))
    }

    /// Says what the node is waiting for; shown until it is attached.
    pub fn set_starting(&self, reason: impl Into<String>) {
        self.0.starting.store(Arc::new(reason.into()));
    }

    /// Says who this node is: others learn its Raft address here.
    pub fn set_whoami(&self, whoami: Whoami) {
        self.0.whoami.store(Arc::new(whoami));
    }

    /// Says whom a running node waits for while it has no leader.
    pub fn set_waiting(&self, reason: Option<String>) {
        self.0.waiting.store(reason.map(Arc::new));
    }

    /// Lets requests move this node to another cluster.
    pub fn set_mover(&self, mover: mpsc::Sender<Move>) {
        self.0.mover.store(Some(Arc::new(mover)));
    }

    /// Moves this node to another cluster.
    ///
    /// # Errors
    ///
    /// It may not, or could not; it is as it was.
    pub(crate) async fn move_to(&self, peers: Vec<String>) -> Result<Joined, ServiceError> {
        let mover = self.0.mover.load_full();
        let mover = mover.ok_or_else(|| ServiceError::Internal("nobody moves it".to_owned()))?;
        let (reply, replied) = oneshot::channel();
        let busy = "this node is moved already".to_owned();
        mover
            .try_send(Move { peers, reply })
            .map_err(|_full| ServiceError::MembershipConflict(busy))?;
        replied.await.map_err(|_stopped| ServiceError::Draining)?
    }

    pub(crate) fn whoami(&self) -> Arc<Whoami> {
        self.0.whoami.load_full()
    }

    /// Returns what the node waits for: until it is attached, or until it has a leader.
    pub(crate) fn waiting(&self, status: Option<&NodeStatus>) -> Option<String> {
        match status {
            None => Some(self.0.starting.load().to_string()),
            Some(status) if status.leader.is_some() => None,
            Some(_) => Some(self.0.waiting.load().as_deref().map_or_else(
                || "no leader is known".to_owned(),
                |reason| format!("no leader is known: {reason}"),
            )),
        }
    }

    /// Takes the node away: requests are told `starting` and why, streams end.
    pub fn detach(&self, reason: impl Into<String>) {
        self.set_starting(reason);
        self.0.node.store(None);
        self.0.attachment.swap(Arc::default()).cancel();
    }

    /// Puts the node behind all routes.
    pub fn attach(&self, node: Node) {
        self.0.node.store(Some(Arc::new(node)));
        self.0.attached.notify_waiters();
    }

    /// Makes the node not ready and refuses new writes; reads and running requests go on, streams end.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Waits until the node stops or is taken away: streams end then. Cancel safe.
    pub(crate) async fn draining(&self) {
        let attachment = self.0.attachment.load_full();
        tokio::select! {
            () = self.0.draining.cancelled() => {}
            () = attachment.cancelled() => {}
        }
    }

    /// Returns true once [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Returns the node.
    ///
    /// # Errors
    ///
    /// `Starting` with its reason before a node is attached.
    pub(crate) fn node(&self) -> Result<Arc<Node>, ServiceError> {
        self.0
            .node
            .load_full()
            .ok_or_else(|| ServiceError::Starting(self.0.starting.load().to_string()))
    }

    /// Returns the node for a stream, which waits for a node that is starting: a browser's
    /// `EventSource` never tries again after an answer that is not 200.
    ///
    /// # Errors
    ///
    /// As [`node`](Self::node), after [`HttpOptions::starting_wait`].
    pub(crate) async fn node_for_stream(&self) -> Result<Arc<Node>, ServiceError> {
        let attached = async {
            loop {
                let next = self.0.attached.notified();
                if let Some(node) = self.0.node.load_full() {
                    return node;
                }
                next.await;
            }
        };
        match tokio::time::timeout(self.0.options.starting_wait, attached).await {
            Ok(node) => Ok(node),
            Err(_elapsed) => self.node(),
        }
    }

    /// Returns the node for a change of anything.
    ///
    /// # Errors
    ///
    /// As [`node`](Self::node), `Draining`, and `ReadOnly`.
    pub(crate) fn node_for_write(&self) -> Result<Arc<Node>, ServiceError> {
        if self.0.options.read_only {
            return Err(ServiceError::ReadOnly);
        }
        if self.is_draining() {
            return Err(ServiceError::Draining);
        }
        self.node()
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    pub(crate) fn http_address(&self) -> &str {
        &self.0.http_address
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn pins(&self) -> &Pins {
        &self.0.pins
    }

    /// Lets go of what nobody has used for a while. Called every few seconds by the server.
    pub(crate) fn sweep(&self) {
        self.0.pins.sweep(clock::now());
    }
}
