//! Test harness: real processes of the real binary, a small HTTP/1.1 client, transcripts.
//!
//! A test starts a [`Cluster`], talks to its [`Node`]s, and ends with
//! [`Cluster::assert_converged`]. What the harness cannot do, such as start a process, is a panic
//! that says what it last saw: a test has nothing better to do with such an error. What the
//! cluster answers is always data. The harness knows the wire contract only, never the server's
//! types, so that a change of the contract breaks a test.
//!
//! Where things are:
//!
//! - [`cluster`]: processes of the binary, their ports, what they print and what they use.
//! - [`etcd`]: another system under the same campaigns and checkers, which shows what these are worth.
//! - [`http`]: the client, the shape of error answers, golden transcripts.
//! - [`sse`]: the client of event streams.
//! - [`faults`]: what is done to a cluster: links, clocks, power.
//! - [`load`]: what clients do meanwhile, each with its check.
//! - [`campaign`]: load and faults together, for a history.
//! - [`history`]: the checker of linearizability.
//! - [`watch`]: watchers of change streams, and the checker of what they saw.
//! - [`wait`], [`random`], [`spread`], [`said`] and [`settings`]: the small tools of all of them.
//!
//! What they read from the environment:
//!
//! - `CONCLAVE_BIN`: the binary to test; else `conclave` next to the test's own executable, which is
//!   built when that is needed.
//! - `CONCLAVE_EARLIER_BIN`: the server that rolling restarts begin with; else the binary to test.
//! - `CONCLAVE_TEST_SEED`: repeats the faults or requests of a random test, which prints its seed.
//! - `CONCLAVE_TEST_FULL`: `1` makes the long tests do ten times as much and more, for minutes to hours,
//!   and lets the harness judge etcd where that is installed.
//! - `CONCLAVE_TEST_READS`: stale reads under faults; 20,000 when not said.
//! - `CONCLAVE_TEST_REQUESTS`: random requests; 10,000 when not said.
//! - `CONCLAVE_TEST_CAMPAIGN_SECONDS`: length of the long campaign; 40 when not said, and
//!   60 for etcd.
//! - `CONCLAVE_TEST_PAUSES`: frozen leaders with `default` reads waiting; 3 when not said.
//! - `CONCLAVE_TEST_SNAPSHOT_KILLS`: kills of who sends or receives a snapshot; 4 when not said, or 20 of
//!   a larger one with `CONCLAVE_TEST_FULL`.
//! - `CONCLAVE_TEST_CHAOS_SECONDS`: length of the campaign with several faults at once; 20 when not said.

pub mod campaign;
pub mod cluster;
pub mod etcd;
pub mod faults;
pub mod history;
pub mod http;
pub mod load;
pub mod random;
pub mod said;
pub mod settings;
pub mod spread;
pub mod sse;
pub mod wait;
pub mod watch;

pub use cluster::run::run_node;
pub use cluster::{Cluster, Node, Ports};
pub use faults::links::Links;
pub use http::{Client, Request, Response};
pub use load::Writers;
pub use random::Random;
pub use wait::{wait_closely_for, wait_for};
