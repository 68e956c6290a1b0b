//! Integration tests: the real binary in real processes, and the house rules. One binary, one file
//! per topic. Part of it: `cargo test --test it -- failures::`.

mod clock_jumps;
mod cluster;
mod discovery;
mod failures;
mod formation;
mod gaps;
mod http_input;
mod increments;
mod isolation;
mod linearizable;
mod listing;
mod lock_connections;
mod lock_faults;
mod locks;
mod metrics;
mod moving;
mod past;
mod power;
mod random_input;
mod requests;
mod seeds;
mod stalled_watchers;
mod startup;
mod tidy;
mod transactions;
mod ttl;
mod vanish;
mod watch;
mod watch_faults;
mod watch_gaps;
mod watch_requests;
