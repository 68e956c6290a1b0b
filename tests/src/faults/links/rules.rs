//! What happens now to the bytes between two nodes, per direction.

use std::collections::HashMap;
use std::time::Duration;

/// The rule of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rule {
    pub(super) cut: bool,
    pub(super) delay: Duration,
    /// Probability that a piece is lost and sent again.
    pub(super) loss: f64,
}

/// All rules; a direction without one lets everything pass.
#[derive(Debug, Default)]
pub(super) struct Rules {
    directions: HashMap<(usize, usize), Rule>,
    /// How often the connections of two nodes were reset, the smaller index first.
    resets: HashMap<(usize, usize), u64>,
}

impl Rules {
    pub(super) fn rule(&self, from: usize, to: usize) -> Rule {
        self.directions
            .get(&(from, to))
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn rule_mut(&mut self, from: usize, to: usize) -> &mut Rule {
        self.directions.entry((from, to)).or_default()
    }

    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.rule(from, to).cut
    }

    /// Returns whether a handshake between the two can be completed.
    pub(super) fn connects(&self, one: usize, other: usize) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    pub(super) fn heal(&mut self) {
        self.directions.clear();
    }

    pub(super) fn resets(&self, one: usize, other: usize) -> u64 {
        self.resets.get(&pair(one, other)).copied().unwrap_or(0)
    }

    pub(super) fn reset(&mut self, one: usize, other: usize) {
        *self.resets.entry(pair(one, other)).or_default() += 1;
    }
}

fn pair(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}
