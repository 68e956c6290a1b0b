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

pub mod binary;
pub mod campaign;
pub mod clocks;
pub mod cluster;
pub mod counter;
pub mod counters;
pub mod effort;
pub mod faults;
pub mod history;
pub mod http;
pub mod judged;
pub mod links;
pub mod loop_disk;
pub mod native;
pub mod node;
pub mod ports;
pub mod power;
pub mod problem;
pub mod random;
pub mod repeats;
pub mod run;
pub mod said;
pub mod transcript;
pub mod usage;
pub mod wait;
pub mod wall_clock;
pub mod writers;

pub use cluster::Cluster;
pub use http::{Client, Request, Response};
pub use links::Links;
pub use node::Node;
pub use random::Random;
pub use run::run_node;
pub use wait::wait_for;
