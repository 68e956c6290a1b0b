//! One Conclave node.
//!
//! ```text
//! client ─ HTTP ─► http/                listener, limits, extractors, request id
//!                   └► http/dialects/x  wire shape ⇄ domain request; translates, never decides
//!                          ▼
//!                  node/                validate · read level · local or forward
//!                   ├ read  ──────────► wait until the level's promise holds ──► frozen state
//!                   ├ write ─► Command ─► raft ─┐ replicated, durable on a quorum
//!                   └ forward ─► network/ ─► the leader's node/
//!                          ▼
//!                  storage/state_machine        apply a batch, publish the view, answer
//!                          │ calls       └ changes ─► events/ ─► watchers, history/
//!                          ▼
//!                  state/                       PURE: apply(index, &Command) -> Applied
//! ```
//!
//! `ARCHITECTURE.md` beside `Cargo.toml` has the code map and the numbered invariants.

#[cfg(not(feature = "simulation"))]
pub mod app;
pub mod clock;
#[cfg(not(feature = "simulation"))]
pub mod config;
#[cfg(not(feature = "simulation"))]
pub mod discovery;
mod encoding;
pub mod events;
pub mod formation;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(not(feature = "simulation"))]
pub mod history;
#[cfg(not(feature = "simulation"))]
pub mod http;
pub mod metrics;
pub mod mutants;
#[cfg(not(feature = "simulation"))]
pub mod network;
pub mod node;
pub mod raft;
pub mod runtime;
pub mod state;
pub mod storage;
#[cfg(not(feature = "simulation"))]
pub mod telemetry;
#[cfg(test)]
mod testing;
#[cfg(not(feature = "simulation"))]
pub mod tools;
