//! Bugs of the product that the tests have found, and the tests that would find them again.

/// A bug that was mended.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    /// What found it.
    pub(super) found_by: &'static str,
    /// Tests that fail with it, as `file::test`.
    pub(super) guards: &'static [&'static str],
}

/// All of them, the newest first.
pub(super) const FINDINGS: [Finding; 27] = [
    Finding {
        what: "a follower that was back got nothing for up to a second, until openraft tried again by \
               itself: what was read there at `consistent` ended with 503 `not_caught_up`",
        found_by: "`members_churn::nothing_is_lost_while_the_members_change`",
        guards: &["tests/it/failures.rs::a_follower_that_is_back_answers_at_consistent_at_once"],
    },
    Finding {
        what: "a leader that thawed answered what was asked of the members from before its pause, in the \
               moment before it knew of its successor: a removal with 404, which the asker took for done, and \
               a join with `name_in_use`, at which the node gave up",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 31065604948252",
        guards: &[
            "tests/it/old_leaders.rs::a_member_that_a_frozen_leader_has_missed_is_removed_through_it",
            "tests/it/old_leaders.rs::a_node_whose_name_a_frozen_leader_takes_for_a_members_joins_through_it",
        ],
    },
    Finding {
        what: "a follower that nobody had read for six seconds and more called its state as old as that: it \
               remembered the first heartbeats, and none of the newest",
        found_by: "measuring idle nodes by hand",
        guards: &[
            "server/src/node/contact.rs::memory_is_bounded_while_the_state_lags",
            "tests/it/cluster.rs::a_follower_that_nobody_has_read_for_long_knows_how_old_its_state_is",
        ],
    },
    Finding {
        what: "a node that was to be added when its leader died, after inviting it, was added by no other \
               leader, as it was somebody already: with nobody to ask by itself it waited until \
               `-join-timeout`",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 60211612955629",
        guards: &[
            "tests/it/joins_cut_off.rs::a_node_whose_leader_dies_while_it_adds_it_is_added_by_the_next_one",
        ],
    },
    Finding {
        what: "a node that had missed the replacement of a member took its name for the member that was \
               gone: a removal by that name was answered with 404, and the new member stayed",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 60713695678442",
        guards: &[
            "tests/it/members.rs::a_member_is_removed_by_its_name_through_a_node_that_missed_its_replacement",
        ],
    },
    Finding {
        what: "an append connection that had been idle was closed when its next request had waited for less \
               than the stall time: the time counted from the last answer",
        found_by: "reading the code",
        guards: &[
            "server/src/network/raft_client.rs::a_peer_that_does_not_answer_is_given_up_once_it_was_asked",
        ],
    },
    Finding {
        what: "openraft takes an answer to one append for an answer to news of a commit that it gave \
               later and the peer has not seen: a leader that thawed trusted a lease that was over, and \
               answered at `default` from before its pause",
        found_by: "`linearizable::a_thawed_leader_answers_no_default_read_from_before_its_pause`, seed \
                   133689860998062, once in 200 pauses",
        guards: &[
            "server/src/network/raft_client.rs::an_answer_never_stands_for_a_request_that_was_given_later",
        ],
    },
    Finding {
        what: "a log of small writes counted as a third of its size: no snapshot was due after 740,000 \
               of them, and a start replayed all",
        found_by: "`kills::kills_of_the_leader_of_another_and_of_all_lose_no_acknowledged_write`",
        guards: &[
            "server/src/storage/tests.rs::small_entries_count_for_a_snapshot_as_what_the_log_has",
        ],
    },
    Finding {
        what: "a node whose log failed while it began a new file ended, as it should, but did not say why: \
               what fails outside a sync ended no log",
        found_by: "`failed_sync::a_log_that_fails_ends_its_node_and_nothing_else`",
        guards: &[
            "server/src/storage/tests.rs::a_log_that_could_not_begin_a_new_file_takes_nothing_more",
        ],
    },
    Finding {
        what: "a node that was added by a leader that died over it took its own name, which was in use by \
               itself, for another's, and ended when it needed more than 5 s to catch up",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 50531237066466",
        guards: &["server/src/app/join.rs::a_name_that_this_node_has_itself_is_no_refusal"],
    },
    Finding {
        what: "a node whose leader died between inviting and adding it ended, because the next leader \
               found it to be somebody already; and what begins anew in one process found its own log \
               locked",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 104101532172454",
        guards: &[
            "tests/it/joins_cut_off.rs::a_join_whose_leader_dies_is_finished_by_the_next_one",
        ],
    },
    Finding {
        what: "the dashboard released a claim while its renewal was under way, and said that this failed",
        found_by: "the browser tests of locks, LK-3",
        guards: &[
            "ui/src/model/locks/hold.rs::a_claim_that_was_given_up_is_released_once_its_renewal_has_ended",
        ],
    },
    Finding {
        what: "an outcome that repeats a repetition, nested often enough, used up the stack of its reader",
        found_by: "writing the fuzz target of peer frames",
        guards: &["server/src/state/outcome.rs::a_repetition_repeats_no_repetition"],
    },
    Finding {
        what: "a node cut off from its cluster said up to a second too late that a claim is lost",
        found_by: "writing the simulation of locks",
        guards: &[
            "server/src/node/locks.rs::a_claim_that_cannot_be_renewed_is_lost_before_its_time_is_over",
        ],
    },
    Finding {
        what: "one flipped bit in `node.json` could make a node another member",
        found_by: "`damage::damage_on_a_stopped_follower_is_refused_by_name_or_without_effect`",
        guards: &["server/src/storage/directory.rs::one_flipped_bit_makes_no_other_identity"],
    },
    Finding {
        what: "a joining node gave up when nobody knew what had become of its join, long before \
               `-join-timeout`",
        found_by: "`chaos::no_promise_breaks_while_faults_of_all_kinds_overlap`, seed 4",
        guards: &[
            "server/src/app/join.rs::a_join_of_unknown_outcome_is_asked_for_again",
            "server/src/app/join.rs::only_an_answer_that_may_change_is_asked_for_again",
        ],
    },
    Finding {
        what: "a key that was put again with exactly the same deadline never expired, except on nodes \
               that had it from a snapshot",
        found_by: "`ttl::keys_expire_in_their_time_while_leaders_die_and_clocks_jump`",
        guards: &[
            "server/src/state/machine/tests.rs::a_put_that_ends_when_the_one_before_would_have_still_ends",
        ],
    },
    Finding {
        what: "connections of a peer that had vanished stayed open for ever, and after about ten short \
               partitions there were 512, with which a node accepts no other",
        found_by: "the browser tests of failures, F-3",
        guards: &["tests/it/half_open.rs::connections_of_a_peer_that_vanished_do_not_keep_it_out"],
    },
    Finding {
        what: "a node whose Raft core had panicked stayed up and called itself leader",
        found_by: "the mutant M16",
        guards: &["server/src/app/start.rs::a_raft_that_has_panicked_is_noticed"],
    },
    Finding {
        what: "a hand-over to a voter that does not answer held up writes for two seconds",
        found_by: "`members_churn::nothing_is_lost_while_the_members_change`",
        guards: &["tests/it/members_wrong.rs::a_hand_over_to_a_dead_member_is_refused"],
    },
    Finding {
        what: "a browser that sends no Fetch Metadata, over plain HTTP to another host, took a lock by \
               looking at its address",
        found_by: "the browser tests of locks",
        guards: &[
            "tests/browser/locks.test.mjs::a browser that names no Fetch Metadata takes no lock by looking",
            "server/src/http/dialects/native/locks.rs::only_lock_clients_claim",
        ],
    },
    Finding {
        what: "an `EventSource` gave up for good at the 503 of a node that was starting",
        found_by: "the browser tests of streams",
        guards: &[
            "tests/browser/streams.test.mjs::an EventSource whose node is killed resumes without loss and without repeats",
        ],
    },
    Finding {
        what: "a wholly garbled history passed for a new one, as sled opens such a log as an empty one",
        found_by: "`past::a_damaged_history_is_set_aside_and_the_node_serves`",
        guards: &["tests/it/past.rs::a_damaged_history_is_set_aside_and_the_node_serves"],
    },
    Finding {
        what: "a JSON array was taken for an object whose fields may all be missing",
        found_by: "the tests of bad bodies in `transactions::` and `locks::`",
        guards: &[
            "tests/it/transactions.rs::what_is_no_transaction_is_refused_clearly",
            "tests/it/locks.rs::names_and_times_have_their_limits",
        ],
    },
    Finding {
        what: "a follower called its state up to 1.2 s younger than it was, after a pause or a healed \
               partition: a heartbeat counted from its arrival",
        found_by: "`isolation::no_stale_read_is_older_than_it_says`",
        guards: &[
            "server/src/node/contact.rs::a_heartbeat_counts_from_when_it_was_sent",
            "server/src/node/contact.rs::only_a_heartbeat_that_answers_a_reply_is_dated",
            "tests/it/isolation.rs::no_stale_read_is_older_than_it_says",
        ],
    },
    Finding {
        what: "a node refused its own log after a power cut that left a block of the last record \
               unwritten; and again, when reading it had made data of the hole",
        found_by: "`power::power_cuts_of_one_node_lose_no_acknowledged_write`",
        guards: &[
            "tests/it/power.rs::a_log_whose_last_write_reached_the_disk_in_part_opens",
            "server/src/storage/tests.rs::a_log_with_a_hole_opens_up_to_it",
        ],
    },
    Finding {
        what: "a panic when Raft stopped within a batch of proposals",
        found_by: "the simulation",
        guards: &[
            "server/src/node/proposals.rs::a_raft_that_stops_within_a_batch_leaves_its_rest_unknown",
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// Returns whether a test of a file has this name, by the words that declare it.
    fn declares(text: &str, file: &str, name: &str) -> bool {
        if file.ends_with(".mjs") {
            return ['\'', '"']
                .iter()
                .any(|quote| text.contains(&format!("test({quote}{name}{quote}")));
        }
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let head = format!("fn {name}()");
        let at = lines
            .iter()
            .position(|line| line.trim_start_matches("async ").starts_with(&head));
        let before = &lines[..at.unwrap_or(0)];
        let mut attributes = before
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#["));
        attributes.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    }

    #[test]
    fn every_test_that_guards_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for finding in &FINDINGS {
            for guard in finding.guards {
                let (file, name) = guard.split_once("::").unwrap();
                let text = fs::read_to_string(root.join(file));
                let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(declares(&text, file, name), "no test {guard}");
            }
        }
    }

    #[test]
    fn every_test_that_found_something_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../it");
        let words = FINDINGS
            .iter()
            .flat_map(|finding| finding.found_by.split('`'));
        for named in words.filter(|word| word.contains("::")) {
            let (module, name) = named.split_once("::").unwrap();
            let file = format!("{module}.rs");
            let text = fs::read_to_string(root.join(&file));
            let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                name.is_empty() || declares(&text, &file, name),
                "no test {named}"
            );
        }
    }

    #[test]
    fn a_test_is_declared_by_its_attribute() {
        let text = "#[test]\nfn a() {}\n    #[tokio::test]\n    async fn b() {}\nfn c() {}\n";
        for (name, is_test) in [("a", true), ("b", true), ("c", false), ("d", false)] {
            assert_eq!(declares(text, "x.rs", name), is_test, "{name}");
        }
        assert!(declares("test('a b', async", "x.mjs", "a b"));
        assert!(!declares("test('a b', async", "x.mjs", "a"));
    }
}
