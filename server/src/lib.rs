//! Conclave node.
