//! The promises: what is promised, which figure would prove it, and which tests measure it.
//!
//! The numbers are those of the list of promises that the project began with; what it has and this
//! command does not measure is in [`ELSEWHERE`].

/// A program that measures something.
#[derive(Debug)]
pub(crate) struct Check {
    /// What rows call it.
    pub(crate) name: &'static str,
    pub(crate) program: Program,
    /// What makes it long.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Longest time, minutes.
    pub(crate) minutes: u64,
}

/// What a check runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// A test of `tests/it`, by its full name.
    Test(&'static str),
    /// The simulation.
    Simulation,
    /// The bench, with these arguments.
    Bench(&'static [&'static str]),
}

/// A promise.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) promise: &'static str,
    /// The figure that is aimed at.
    pub(crate) aim: &'static str,
    /// The checks that measure it, each with words that its lines for this row have.
    pub(crate) figures: &'static [(&'static str, &'static [&'static str])],
    /// What these lines must say beyond that nothing failed.
    pub(crate) bars: &'static [Bar],
}

impl Row {
    /// Returns whether a check measures it.
    pub(crate) fn needs(&self, check: &str) -> bool {
        self.figures.iter().any(|(name, _)| *name == check)
    }
}

/// Returns whether some row wants a line of a check.
pub(crate) fn is_figure(check: &str, line: &str) -> bool {
    let mut figures = ROWS.iter().flat_map(|row| row.figures);
    figures.any(|(name, words)| *name == check && words.iter().any(|word| line.contains(word)))
}

/// A number in the lines of a row. It stands in a pattern as `{}`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// All such numbers together are at least that.
    Least(f64, &'static str),
    /// The largest is at most that.
    Most(f64, &'static str),
}

/// Variables of the tests.
const FULL: (&str, &str) = ("CONCLAVE_TEST_FULL", "1");
/// Seconds of the long campaign with faults that overlap; the command sets another number.
pub(crate) const CHAOS: &str = "CONCLAVE_TEST_CHAOS_SECONDS";

/// All checks, in the order in which they run.
pub(crate) const CHECKS: [Check; 23] = [
    Check {
        name: "chaos",
        program: Program::Test("chaos::no_promise_breaks_while_faults_of_all_kinds_overlap"),
        settings: &[(CHAOS, "3600")],
        minutes: 30,
    },
    Check {
        name: "kills",
        program: Program::Test(
            "kills::kills_of_the_leader_of_another_and_of_all_lose_no_acknowledged_write",
        ),
        settings: &[FULL],
        minutes: 120,
    },
    Check {
        name: "two of five",
        program: Program::Test("kills::five_nodes_answer_everything_with_two_of_them_dead"),
        settings: &[FULL],
        minutes: 30,
    },
    Check {
        name: "leader gaps",
        program: Program::Test("gaps::writes_pause_only_briefly_when_the_leader_is_killed"),
        settings: &[FULL],
        minutes: 30,
    },
    Check {
        name: "cuts of one",
        program: Program::Test("power::power_cuts_of_one_node_lose_no_acknowledged_write"),
        settings: &[FULL],
        minutes: 60,
    },
    Check {
        name: "cuts of all",
        program: Program::Test("power::power_cuts_of_all_nodes_at_once_lose_no_acknowledged_write"),
        settings: &[FULL],
        minutes: 30,
    },
    Check {
        name: "damage",
        program: Program::Test(
            "damage::damage_on_a_stopped_follower_is_refused_by_name_or_without_effect",
        ),
        settings: &[FULL],
        minutes: 120,
    },
    Check {
        name: "campaign",
        program: Program::Test(
            "linearizable::consistent_reads_and_writes_are_linearizable_under_kills_pauses_and_cuts",
        ),
        settings: &[("CONCLAVE_TEST_CAMPAIGN_SECONDS", "600")],
        minutes: 40,
    },
    Check {
        name: "thawed leaders",
        program: Program::Test(
            "linearizable::a_thawed_leader_answers_no_default_read_from_before_its_pause",
        ),
        settings: &[("CONCLAVE_TEST_PAUSES", "200")],
        minutes: 40,
    },
    Check {
        name: "stale reads",
        program: Program::Test("isolation::no_stale_read_is_older_than_it_says"),
        settings: &[("CONCLAVE_TEST_READS", "200000")],
        minutes: 40,
    },
    Check {
        name: "increments",
        program: Program::Test(
            "increments::ten_thousand_increments_count_once_each_whatever_is_cut",
        ),
        settings: &[FULL],
        minutes: 30,
    },
    Check {
        name: "fence",
        program: Program::Test("lock_faults::a_token_that_is_too_old_never_writes"),
        settings: &[FULL],
        minutes: 30,
    },
    Check {
        name: "dead holders",
        program: Program::Test("lock_faults::a_lock_whose_holder_is_gone_is_granted_to_the_next"),
        settings: &[FULL],
        minutes: 20,
    },
    Check {
        name: "resumes",
        program: Program::Test(
            "watch_faults::watchers_that_resume_anywhere_see_every_change_once_and_in_order",
        ),
        settings: &[FULL],
        minutes: 40,
    },
    Check {
        name: "churn",
        program: Program::Test("members_churn::nothing_is_lost_while_the_members_change"),
        settings: &[FULL],
        minutes: 60,
    },
    Check {
        name: "snapshots",
        program: Program::Test("large_snapshots::a_large_snapshot_arrives_whole_or_not_at_all"),
        settings: &[FULL],
        minutes: 60,
    },
    Check {
        name: "snapshot kills",
        program: Program::Test("large_snapshots::a_large_snapshot_arrives_whole_or_not_at_all"),
        settings: &[("CONCLAVE_TEST_SNAPSHOT_KILLS", "200")],
        minutes: 60,
    },
    Check {
        name: "clocks",
        program: Program::Test("ttl::keys_expire_in_their_time_while_leaders_die_and_clocks_jump"),
        settings: &[FULL],
        minutes: 40,
    },
    Check {
        name: "full disks",
        program: Program::Test("disk_full::full_disks_refuse_changes_and_recover_by_themselves"),
        settings: &[FULL],
        minutes: 40,
    },
    Check {
        name: "full disk of one",
        program: Program::Test(
            "disk_full::a_single_node_with_a_full_disk_refuses_changes_and_recovers_by_itself",
        ),
        settings: &[FULL],
        minutes: 20,
    },
    Check {
        name: "failed syncs",
        program: Program::Test("failed_sync::a_log_that_fails_ends_its_node_and_nothing_else"),
        settings: &[FULL],
        minutes: 20,
    },
    Check {
        name: "simulation",
        program: Program::Simulation,
        settings: &[("CONCLAVE_SIM_SEEDS", "10000")],
        minutes: 120,
    },
    Check {
        name: "stalled",
        program: Program::Bench(&["--stalled", "200", "--seconds", "60"]),
        settings: &[],
        minutes: 20,
    },
];

/// All rows, in order.
pub(crate) const ROWS: [Row; 19] = [
    Row {
        id: "1",
        promise: "what was acknowledged survives `kill -9` of any node and of all at once",
        aim: "1,000 kills, 1,000,000 acknowledged writes, none lost",
        figures: &[
            ("kills", &["of all at once"]),
            ("chaos", &["acknowledged writes", "kills of one node"]),
        ],
        bars: &[
            Bar::Least(300.0, "{} kills of the leader"),
            Bar::Least(300.0, "{} of all at once"),
            Bar::Least(1_000_000.0, "of {} acknowledged writes lost"),
        ],
    },
    Row {
        id: "2",
        promise: "what was acknowledged survives a power cut of any node and of all at once",
        aim: "500 cuts of one node and 100 of all, none lost, every directory opens",
        figures: &[
            ("cuts of one", &["power cuts"]),
            ("cuts of all", &["power cuts"]),
        ],
        bars: &[
            Bar::Least(500.0, "one node: {} cuts"),
            Bar::Least(100.0, "all nodes: {} cuts"),
        ],
    },
    Row {
        id: "3",
        promise: "corruption is noticed and never served",
        aim: "300 files of stopped followers damaged: each node refuses to start and names the file, or \
              comes to the same state; no acknowledged write lost",
        figures: &[("damage", &["damages of stopped followers"])],
        bars: &[
            Bar::Least(300.0, "{} damages of stopped followers"),
            Bar::Least(100.0, "{} refused by name"),
        ],
    },
    Row {
        id: "4",
        promise: "reads and writes at `consistent` are linearizable",
        aim: "500,000 operations judged under faults of five kinds that overlap, 200 pauses of leaders, no \
              violation and no key undecided",
        figures: &[
            ("chaos", &["checked on", "faults:", "at once in"]),
            ("campaign", &["operations on"]),
        ],
        bars: &[
            Bar::Least(500_000.0, "{} checked on"),
            Bar::Least(200.0, "PauseLeader {}"),
        ],
    },
    Row {
        id: "5",
        promise: "reads at `default` are as good while clocks run at one rate",
        aim: "200 frozen leaders with reads waiting for them; the number of stale answers",
        figures: &[("thawed leaders", &["`default`"])],
        bars: &[
            Bar::Least(200.0, "{} leaders frozen"),
            Bar::Most(0.0, "{} stale"),
        ],
    },
    Row {
        id: "6",
        promise: "a read at `stale` says how old it may be",
        aim: "200,000 reads under faults, none older than it says by more than 50 ms; p99 of what it says \
              below 100 ms while nothing fails",
        figures: &[("stale reads", &["stale reads"])],
        bars: &[
            Bar::Least(200_000.0, "{} stale reads"),
            Bar::Most(0.0, "{} older than they said"),
            Bar::Most(100.0, "p99 {} ms"),
        ],
    },
    Row {
        id: "7",
        promise: "a repeated write counts once, and gets its first answer",
        aim: "100,000 increments that are never given up, none lost and none counted twice",
        figures: &[("increments", &["increments"]), ("chaos", &["increments"])],
        bars: &[Bar::Least(100_000.0, "{} increments")],
    },
    Row {
        id: "8",
        promise: "a fencing token has one holder, and an older one never writes",
        aim: "as many grants as the time allows (20,000 would take hours): tokens only rise, nothing gets \
              past the fence; overlaps without one are counted",
        figures: &[("fence", &["grants"]), ("chaos", &["grants"])],
        bars: &[Bar::Least(1_000.0, "{} grants"), Bar::Most(0.0, "{} wrong")],
    },
    Row {
        id: "9",
        promise: "a lock whose holder is gone is granted to the next in bounded time",
        aim: "500 holders, each time within the TTL and 3 s",
        figures: &[("dead holders", &["holders"])],
        bars: &[
            Bar::Least(500.0, "{} holders"),
            Bar::Most(3_000.0, "max {} ms after"),
        ],
    },
    Row {
        id: "10",
        promise: "a stream that resumes anywhere has every change once and in order, or says that it has not",
        aim: "2,000,000 events and 2,000 resumes through leader changes, no violation of ten guarantees",
        figures: &[("resumes", &["resumes"]), ("chaos", &["resumes"])],
        bars: &[
            Bar::Least(2_000_000.0, "{} events of"),
            Bar::Least(2_000.0, "{} resumes"),
            Bar::Most(0.0, "{} violations"),
        ],
    },
    Row {
        id: "11",
        promise: "a client that does not read costs little and is closed",
        aim: "200 of them at full write load: less than 32 MiB, p99 of the others less than doubled, closed \
              after 30 s",
        figures: &[("stalled", &["stalled", "lost to", "| 0 |", "| 200 |"])],
        bars: &[
            Bar::Most(0.0, "watchers that read: {}"),
            Bar::Most(32.0, "at most {} MiB under load"),
        ],
    },
    Row {
        id: "12",
        promise: "a full disk stops writes and nothing else, and loses nothing",
        aim: "20 cycles of nodes of a cluster and 20 of a single one: writes 507, reads go on, writes again \
              by themselves once there is space, none lost",
        figures: &[
            ("full disks", &["full disks"]),
            ("full disk of one", &["full disks"]),
        ],
        bars: &[Bar::Least(40.0, "{} cycles")],
    },
    Row {
        id: "13",
        promise: "a failed write or sync of the log ends the node, and the others go on",
        aim: "20 failures, each node gone within 1 s",
        figures: &[("failed syncs", &["logs that fail"])],
        bars: &[
            Bar::Least(20.0, "{} nodes ended"),
            Bar::Most(1_000.0, "within {} ms"),
        ],
    },
    Row {
        id: "14",
        promise: "five nodes do with three, and writes pause briefly when the leader dies",
        aim: "every operation with two of five dead; pauses: p50 1 s, p99 3 s, max 5 s",
        figures: &[
            ("two of five", &["two of five"]),
            ("leader gaps", &["writes paused"]),
        ],
        bars: &[
            Bar::Most(1_000.0, "p50 {} ms"),
            Bar::Most(3_000.0, "p99 {} ms"),
            Bar::Most(5_000.0, "max {} ms"),
        ],
    },
    Row {
        id: "15",
        promise: "after any faults all nodes come to the same state",
        aim: "equal hashes within 30 s each time, and every key takes a write and is read",
        figures: &[("chaos", &["equal states"])],
        bars: &[Bar::Most(30.0, "at most {} s after the last fault")],
    },
    Row {
        id: "16",
        promise: "members come, go, lose their disks and move under load",
        aim: "300 changes, nothing lost, one cluster",
        figures: &[("churn", &["changes of members"]), ("chaos", &["faults:"])],
        bars: &[Bar::Least(300.0, "{} changes of members")],
    },
    Row {
        id: "17",
        promise: "a snapshot arrives whole or not at all",
        aim: "200 kills of its sender or receiver",
        figures: &[
            ("snapshots", &["was there"]),
            ("snapshot kills", &["kills of the receiver"]),
        ],
        bars: &[Bar::Least(100.0, "{} kills of the receiver")],
    },
    Row {
        id: "18",
        promise: "clocks that jump by an hour change no read and no time to live",
        aim: "no violation; keys outlive their time by at most an election and 1 s",
        figures: &[
            ("clocks", &["clocks"]),
            ("chaos", &["at once in", "checked on", "faults:"]),
        ],
        bars: &[
            Bar::Most(3_000.0, "max {} ms"),
            Bar::Least(100.0, "Clock {}"),
        ],
    },
    Row {
        id: "22",
        promise: "whole clusters on a virtual clock, by their seeds, keep all of this",
        aim: "10,000 seeds in one command, none fails",
        figures: &[("simulation", &["simulated clusters"])],
        bars: &[Bar::Least(10_000.0, "{} simulated clusters")],
    },
];

/// Promises that this command does not measure, and where something is said of them.
pub(crate) const ELSEWHERE: [(&str, &str, &str); 3] = [
    (
        "19",
        "versions that work side by side",
        "no earlier release; `cargo xtask rolling COMMIT` restarts under load from an earlier commit's server",
    ),
    (
        "20",
        "malformed requests do no harm",
        "`random_input::` and `http_input::` of `tests/it`, in every run of the tests",
    ),
    (
        "21",
        "half-open connections do no harm",
        "`half_open::` of `tests/it`, in every run of the tests",
    ),
];
