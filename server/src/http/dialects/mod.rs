//! The client APIs that one node speaks, all over one key space.
//!
//! A dialect translates, it never decides: extract → convert → one call on `node` → convert. It
//! holds no rule about leadership, read levels, time or storage (invariant 8), and it uses no other
//! dialect.

pub(crate) mod consens;
pub(crate) mod native;
pub(crate) mod raftdb;
pub(crate) mod tansu;
pub(crate) mod yzma;
