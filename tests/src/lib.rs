//! Test harness: real processes of the real binary, a small HTTP/1.1 client, transcripts.
//!
//! A test starts a [`Cluster`], talks to its [`Node`]s, and ends with
//! [`Cluster::assert_converged`]. What the harness cannot do, such as start a process, is a panic
//! that says what it last saw: a test has nothing better to do with such an error. What the
//! cluster answers is always data. The harness knows the wire contract only, never the server's
//! types, so that a change of the contract breaks a test.
//!
//! Environment: `CONCLAVE_BIN` names the binary to test; else `conclave` next to the test's own
//! executable, which is built when that is needed.

pub mod campaign;
pub mod cluster;
pub mod effort;
pub mod faults;
pub mod history;
pub mod http;
pub mod load;
pub mod random;
pub mod said;
pub mod wait;

pub use cluster::run::run_node;
pub use cluster::{Cluster, Node, Ports};
pub use faults::links::Links;
pub use http::{Client, Request, Response};
pub use load::Writers;
pub use random::Random;
pub use wait::wait_for;
