//! What a node had to catch up after trouble, told once.

use super::trouble::NEWS_FROM_MS;

/// Words of the node after which its view of the leader is from after the trouble: the first may still
/// carry a view of the cluster from before.
const WORDS: u32 = 2;

/// A look at the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// When, by the browser's steady clock, milliseconds.
    pub at_ms: f64,
    /// The page says that something is wrong.
    pub is_ill: bool,
    /// The page hears its node.
    pub is_heard: bool,
    /// Time of the node's last word by its own clock, milliseconds since 1970.
    pub said_ms: u64,
    /// Index of the last entry the node has applied.
    pub applied: u64,
    /// What the leader has committed, as far as the node has heard from it.
    pub goal: Option<u64>,
}

/// What was caught up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovered {
    pub entries: u64,
    /// Time between the end of the trouble and the word that told of the last entry, milliseconds.
    pub took_ms: f64,
}

/// Follows a node through trouble and back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recovery(Course);

#[derive(Debug, Clone, Copy, Default)]
enum Course {
    #[default]
    Well,
    Ill(Illness),
    Healing {
        from: Illness,
        healed_ms: f64,
        words: u32,
        said_ms: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Illness {
    since_ms: f64,
    /// What was applied when it began: nothing is missed before.
    applied: u64,
}

impl Recovery {
    /// Takes a look at the node, and says so when that completes a recovery. Looks may come more often
    /// than the node speaks.
    pub fn look(&mut self, look: Look) -> Option<Recovered> {
        let (next, recovered) = self.0.after(look);
        self.0 = next;
        recovered
    }
}

impl Course {
    fn after(self, look: Look) -> (Self, Option<Recovered>) {
        if look.is_ill {
            let illness = match self {
                Self::Ill(illness) | Self::Healing { from: illness, .. } => illness,
                Self::Well => Illness {
                    since_ms: look.at_ms,
                    applied: look.applied,
                },
            };
            return (Self::Ill(illness), None);
        }
        if !look.is_heard {
            return (self, None);
        }
        match self {
            Self::Well => (Self::Well, None),
            // Nobody has read that anything was wrong.
            Self::Ill(illness) if look.at_ms - illness.since_ms < NEWS_FROM_MS => {
                (Self::Well, None)
            }
            Self::Ill(from) => {
                let healing = Self::Healing {
                    from,
                    healed_ms: look.at_ms,
                    words: 1,
                    said_ms: look.said_ms,
                };
                (healing, None)
            }
            Self::Healing {
                from,
                healed_ms,
                words,
                said_ms,
            } => {
                let words = words + u32::from(said_ms != look.said_ms);
                if words >= WORDS && look.goal.is_some_and(|goal| look.applied >= goal) {
                    let recovered = Recovered {
                        entries: look.applied.saturating_sub(from.applied),
                        took_ms: look.at_ms - healed_ms,
                    };
                    return (Self::Well, Some(recovered));
                }
                let healing = Self::Healing {
                    from,
                    healed_ms,
                    words,
                    said_ms: look.said_ms,
                };
                (healing, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look at second `second` at a node that is well.
    fn well(second: u32, applied: u64, goal: Option<u64>) -> Look {
        Look {
            at_ms: f64::from(second) * 1_000.0,
            is_ill: false,
            is_heard: true,
            said_ms: 1_700_000_000_000 + u64::from(second) * 1_000,
            applied,
            goal,
        }
    }

    fn ill(second: u32, applied: u64) -> Look {
        Look {
            is_ill: true,
            ..well(second, applied, None)
        }
    }

    fn told(looks: &[Look]) -> Vec<Recovered> {
        let mut recovery = Recovery::default();
        looks
            .iter()
            .filter_map(|look| recovery.look(*look))
            .collect()
    }

    #[test]
    fn what_was_missed_is_told_once() {
        let looks = [
            well(1, 10, Some(10)),
            ill(2, 10),
            ill(5, 10),
            well(6, 30, None),
            well(7, 40, Some(50)),
            well(8, 50, Some(50)),
            well(9, 60, Some(60)),
        ];
        let recovered = Recovered {
            entries: 40,
            took_ms: 2_000.0,
        };
        assert_eq!(told(&looks), [recovered]);
    }

    #[test]
    fn entries_applied_before_the_end_of_the_trouble_was_seen_count() {
        let looks = [
            ill(2, 10),
            ill(5, 50),
            well(6, 50, None),
            well(7, 50, Some(50)),
        ];
        assert_eq!(told(&looks)[0].entries, 40);
    }

    #[test]
    fn trouble_that_comes_back_is_the_same_trouble() {
        let looks = [
            ill(2, 10),
            ill(5, 10),
            well(6, 10, None),
            ill(7, 10),
            well(7, 10, None),
            well(8, 12, Some(12)),
        ];
        let recovered = Recovered {
            entries: 2,
            took_ms: 1_000.0,
        };
        assert_eq!(told(&looks), [recovered]);
    }

    #[test]
    fn what_nobody_could_read_is_no_news() {
        let mut short = ill(2, 10);
        short.at_ms = 5_500.0;
        assert_eq!(
            told(&[short, well(6, 50, Some(50)), well(7, 50, Some(50))]),
            []
        );
    }

    #[test]
    fn a_node_that_is_not_heard_has_not_recovered() {
        let unheard = Look {
            is_heard: false,
            ..well(6, 50, Some(50))
        };
        assert_eq!(told(&[ill(2, 10), unheard, unheard]), []);
    }

    #[test]
    fn the_same_word_twice_is_one() {
        let first = well(6, 50, Some(50));
        assert_eq!(told(&[ill(2, 10), first, first]), []);
        assert_eq!(
            told(&[ill(2, 10), first, first, well(7, 50, Some(50))]).len(),
            1
        );
    }
}
