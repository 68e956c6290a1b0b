//! The edge's handle to everything a handler may use, and the node's life cycle as HTTP shows it.
//!
//! HTTP answers from the moment the listener is bound: before [`Edge::attach`] every request that
//! needs the node is told `starting`, after [`Edge::drain`] new writes are told `draining`.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::serve::HttpOptions;
use crate::clock;
use crate::metrics::Metrics;
use crate::node::listing::Pins;
use crate::node::{Node, ServiceError};

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
            draining: CancellationToken::new(),
            metrics,
            pins: Pins::default(),
        }))
    }

    /// Says what the node is waiting for; shown until it is attached.
    pub fn set_starting(&self, reason: impl Into<String>) {
        self.0.starting.store(Arc::new(reason.into()));
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

    /// Waits until [`drain`](Self::drain) is called: streams end then. Cancel safe.
    pub(crate) async fn draining(&self) {
        self.0.draining.cancelled().await;
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
    /// As [`node`](Self::node), and `Draining`.
    pub(crate) fn node_for_write(&self) -> Result<Arc<Node>, ServiceError> {
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
