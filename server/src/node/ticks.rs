//! The leader's tick: lets log time pass while anything has a deadline, and ends what is due.
//!
//! Deadlines are log time, which only commands carry (invariant 1). So while a key or a claim has
//! one, the leader commits a tick at least every [`INTERVAL`], and at once when something is due by
//! its own clock. Without a leader log time stands still: nothing expires, and everything lives on
//! for that long.

use std::time::Duration;

use super::Node;
use crate::clock;
use crate::runtime;
use crate::state::{Op, Outcome};

/// Longest time without a command while anything has a deadline.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at what is due. Short TTLs end this much late.
const LOOK: Duration = Duration::from_millis(100);

/// Runs until it is dropped; does nothing on a node that does not lead.
pub(super) async fn keep_ticking(node: Node) {
    loop {
        runtime::sleep(LOOK).await;
        while node.must_tick() {
            match node.tick().await {
                // There is more to end than one command may.
                Ok(true) => {}
                Ok(false) => break,
                // The leader has no quorum, or leads no more.
                Err(error) => {
                    tracing::debug!(%error, "a tick was not committed: {error}");
                    break;
                }
            }
        }
    }
}

impl Node {
    /// Returns true when something is due by this leader's clock, or log time has stood still for a
    /// while.
    fn must_tick(&self) -> bool {
        let facts = self.facts();
        if !self.is_leader(&facts) {
            return false;
        }
        let published = self.0.consensus.published();
        let (next_ms, applied_ms) = published.read(|view| {
            let state = &view.state;
            (state.next_deadline_ms(), state.log_time_ms())
        });
        let Some(next_ms) = next_ms else {
            return false;
        };
        let now_ms = self.0.log_clock.now_ms(facts.term, applied_ms);
        next_ms <= now_ms || now_ms.saturating_sub(applied_ms) >= clock::millis(INTERVAL)
    }

    async fn tick(&self) -> Result<bool, super::ServiceError> {
        let answer = self.propose(self.own_proposal(Op::Tick)).await?;
        Ok(answer.value == Outcome::Ticked { more: true })
    }
}
