//! The mutants: what is wrong with each, which test notices it, and by which words.

/// A defect of `server/src/mutants.rs`.
#[derive(Debug)]
pub(crate) struct Mutant {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    /// The test that notices it, by its full name in `tests/it`.
    pub(crate) check: &'static str,
    /// What that test says then.
    pub(crate) words: &'static str,
    /// Within this time, seconds.
    pub(crate) budget: u64,
}

/// All of them, in order.
pub(crate) const MUTANTS: [Mutant; 16] = [
    Mutant {
        id: "M1",
        what: "an append is acknowledged before the sync",
        check: "stalled_disks::a_write_that_no_majority_has_synced_is_not_acknowledged",
        words: "acknowledged with one disk of three",
        budget: 60,
    },
    Mutant {
        id: "M2",
        what: "a vote is given before the sync",
        check: "stalled_disks::a_vote_that_is_not_synced_elects_nobody",
        words: "elected by one disk",
        budget: 60,
    },
    Mutant {
        id: "M3",
        what: "a consistent read asks no quorum",
        check: "isolation::a_cut_off_leader_refuses_what_needs_a_quorum_and_tells_its_age",
        words: "failed: status 200",
        budget: 60,
    },
    Mutant {
        id: "M4",
        what: "a read index is not waited for",
        check: "isolation::a_node_that_has_much_to_catch_up_on_shows_the_newest_at_consistent_or_nothing",
        words: "older than what was acknowledged",
        budget: 60,
    },
    Mutant {
        id: "M5",
        what: "a repeated request id is applied again",
        check: "requests::a_repeated_write_of_any_kind_gets_its_first_outcome",
        words: "failed: status 201",
        budget: 60,
    },
    Mutant {
        id: "M6",
        what: "a forwarded write of unknown fate is sent again under another id",
        check: "increments::ten_thousand_increments_count_once_each_whatever_is_cut",
        words: "increments succeeded",
        budget: 240,
    },
    Mutant {
        id: "M7",
        what: "deadlines come from the clock of the node that applies",
        check: "ttl::a_key_lives_for_its_time_and_not_for_much_longer",
        words: "equal states on all nodes: not within",
        budget: 90,
    },
    Mutant {
        id: "M8",
        what: "changes of one command in the order of a hash map",
        check: "watch::every_node_tells_the_changes_of_one_revision_in_the_same_order",
        words: "another order at",
        budget: 60,
    },
    Mutant {
        id: "M9",
        what: "a snapshot without sync and rename",
        check: "power::power_cuts_of_one_node_lose_no_acknowledged_write",
        words: "instead of being ready",
        budget: 300,
    },
    Mutant {
        id: "M10",
        what: "lock tokens from a counter of the lock",
        check: "locks::a_write_under_a_lock_is_applied_only_while_it_is_held_under_that_token",
        words: "failed: status 200",
        budget: 60,
    },
    Mutant {
        id: "M11",
        what: "a release ignores session and token",
        check: "locks::only_the_holder_releases_unless_somebody_forces_it",
        words: "failed: status 200",
        budget: 60,
    },
    Mutant {
        id: "M12",
        what: "a stream resumes one revision too late",
        check: "watch::a_last_event_id_wins_over_since_and_counts_on_every_node",
        words: "changes: not from",
        budget: 60,
    },
    Mutant {
        id: "M13",
        what: "a watcher that lags loses changes silently",
        check: "watch_gaps::a_gap_is_always_announced",
        words: "Reliable: ",
        budget: 240,
    },
    Mutant {
        id: "M14",
        what: "watchers are told before the commit",
        check: "isolation::a_watcher_of_a_cut_off_leader_is_told_of_nothing_that_is_never_committed",
        words: "told of what was never there",
        budget: 60,
    },
    Mutant {
        id: "M15",
        what: "a snapshot's applied index is taken after its state",
        check: "failures::twenty_kills_of_a_single_node_lose_no_acknowledged_write",
        words: "writes are wrong on node0",
        budget: 120,
    },
    Mutant {
        id: "M16",
        what: "a wiped node gets its old id again",
        check: "startup::a_wiped_node_rejoins_under_its_name_with_a_new_id",
        words: "the nodes agree on a leader: not within",
        budget: 90,
    },
];
