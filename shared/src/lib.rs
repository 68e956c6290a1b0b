//! The wire contract: what a browser or a client library must understand.
//!
//! Everything here is serde types, limits and their parsing; no async, no HTTP library, no
//! consensus library, and it builds for wasm. Compatibility: fields may be added, never renamed or
//! given another meaning; readers ignore fields they do not know.

pub mod cluster;
pub mod error;
pub mod kv;
pub mod limits;
pub mod listing;
pub mod lock;
pub mod metrics;
pub mod read_level;
pub mod requests;
pub mod stream;
pub mod txn;

pub use cluster::{ClusterStatus, MemberAddress, MemberStatus, NodeStatus, Role};
pub use error::{Applied, ErrorCode, Problem};
pub use kv::{Envelope, KeyHistory, KeyVersion, WriteResult};
pub use listing::{Folder, KeyPage};
pub use lock::{
    AcquireLock, LockGrant, LockHolder, LockInfo, LockList, LockProblem, LockReleased, LockWaiter,
    RenewLock,
};
pub use metrics::{Mark, MarkKind, MetricsSeries, SeriesName};
pub use read_level::ReadLevel;
pub use requests::{FirstOutcome, RequestOutcome, RequestStatus};
