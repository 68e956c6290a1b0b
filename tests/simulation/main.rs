//! Whole clusters in a simulation: the real state machine, read path, forwarding, locks, change
//! streams and Raft, on a virtual clock, with a network that loses, delays and cuts and a disk that
//! forgets what was not synced. Everything follows from a run's seed, which a failure names.
//!
//! ```text
//! cargo test -p conclave-server --features simulation --example simulation
//! CONCLAVE_SIM_SEEDS=5000 …        as many runs
//! CONCLAVE_SIM_SEED=17 …           one run
//! ```

mod checks;
mod cluster;
mod disk;
mod ledger;
mod lock_checks;
mod lockers;
mod network;
mod random;
#[cfg(test)]
mod story;
mod watch_checks;
mod watchers;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conclave_server::clock;
use conclave_server::mutants;
use conclave_server::node::ReadOptions;
use conclave_server::raft::NodeId;
use conclave_server::runtime;
use conclave_server::state::View;
use conclave_shared::ReadLevel;
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;

use cluster::{Cluster, Plan, Sabotage};
use lockers::Locker;
use watchers::{Told, WATCHERS, Watcher};
use workload::{Client, Notes};

/// Runs of the one command, unless the environment says otherwise.
const SEEDS: u64 = 500;
/// Runs within which each sabotage must be noticed.
const SABOTAGED: u64 = 300;
/// Virtual time with faults.
const TROUBLE: Duration = Duration::from_secs(12);
/// Virtual time after them, within which all nodes must agree again.
const PEACE: Duration = Duration::from_secs(8);
/// Clients that read and write, in every run.
const CLIENTS: u64 = 6;
/// Clients that want locks, in every second run: for as long as anybody has a claim the leader
/// commits ticks, and [`cut_off_and_forget`] needs a time in which nothing is written.
const LOCKERS: u64 = 4;
/// Changes that a node keeps in some runs: watchers that are slow or away lose their place.
const KEPT: usize = 64;
/// Time within which the nodes are at the same entry, and watchers are told of it.
const ALIKE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    wrong: Vec<String>,
    /// Differs when anything in the run does.
    digest: (u64, usize, u64),
    counts: Counts,
}

/// What was done in a run, or in all of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    operations: usize,
    replays: u64,
    settled: u64,
    /// Grants of locks that a client was told of.
    grants: usize,
    /// Writes under a token.
    guarded: usize,
    streams: u64,
    /// Times that a watcher was told of changes, or that it has missed some.
    told: usize,
    gaps: usize,
}

impl Counts {
    fn of(notes: &Notes) -> Self {
        let told = || notes.watched.iter().flat_map(|watched| &watched.told);
        let is_gap = |told: &&Told| matches!(told, Told::Gone(_) | Told::Reset);
        Self {
            operations: notes.events.len() + notes.singles.len(),
            replays: notes.replays,
            settled: notes.settled,
            grants: notes.locks.grants.len(),
            guarded: notes.locks.guarded.len(),
            streams: notes.watched.iter().map(|watched| watched.streams).sum(),
            told: told().count(),
            gaps: told().filter(is_gap).count(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.replays += other.replays;
        self.settled += other.settled;
        self.grants += other.grants;
        self.guarded += other.guarded;
        self.streams += other.streams;
        self.told += other.told;
        self.gaps += other.gaps;
    }
}

fn simulate(seed: u64, sabotage: Sabotage) -> Run {
    mutants::choose(sabotage.mutant());
    let run = openraft_rt_sim::SimRuntime::with_seed(seed).block_on(live(seed, sabotage));
    mutants::choose(None);
    run
}

async fn live(seed: u64, sabotage: Sabotage) -> Run {
    let cluster = Cluster::start(Plan {
        size: if seed.is_multiple_of(4) { 5 } else { 3 },
        kept: seed.is_multiple_of(3).then_some(KEPT),
        sabotage,
    })
    .await;
    let notes: Arc<Mutex<Notes>> = Arc::default();
    runtime::sleep(Duration::from_secs(2)).await;
    let end = clock::now() + TROUBLE;
    let started = start_clients(&cluster, &notes, seed, end);
    while clock::now() < end {
        runtime::sleep(Duration::from_millis(20 + random::below(400))).await;
        trouble(&cluster).await;
    }
    cluster.calm_down();
    runtime::sleep(PEACE).await;
    let views = last_views(&cluster).await;
    runtime::sleep(LOOK).await;
    let history = cluster.ledger.history().await;
    let notes = notes.lock();
    let mut wrong = checks::check(&notes, &views, &history);
    if views.len() != cluster.ids.len() {
        wrong.push(format!("only {} nodes answer in the end", views.len()));
    }
    if notes.done != started {
        let done = notes.done;
        wrong.push(format!(
            "{done} of {started} clients have come to their end"
        ));
    }
    let newest = views.values().next();
    let counts = Counts::of(&notes);
    Run {
        wrong,
        digest: (
            newest.map_or(0, |view| view.hash()),
            notes.events.len() + counts.told,
            newest.map_or(0, |view| view.applied_index),
        ),
        counts,
    }
}

/// Starts what a run's clients do until `end`; returns the number of those that come to an end.
fn start_clients(cluster: &Cluster, notes: &Arc<Mutex<Notes>>, seed: u64, end: Instant) -> u64 {
    let lockers = if seed % 4 < 2 { LOCKERS } else { 0 };
    for number in 0..CLIENTS + lockers {
        let client = Client::new(number, cluster, notes);
        let notes = notes.clone();
        runtime::detach(async move {
            match number < CLIENTS {
                true => client.run(end).await,
                false => Locker::new(client, end).run().await,
            }
            notes.lock().done += 1;
        });
    }
    for _ in 0..WATCHERS {
        runtime::detach(Watcher::new(cluster, notes).run());
    }
    CLIENTS + lockers
}

/// Returns what each node that answers has in the end, at the same entry if they get there.
async fn last_views(cluster: &Cluster) -> BTreeMap<NodeId, View> {
    let began = clock::now();
    loop {
        let mut views = BTreeMap::new();
        for id in &cluster.ids {
            let Some(process) = cluster.network.process(*id) else {
                continue;
            };
            let options = ReadOptions::level(ReadLevel::Stale);
            if let Ok(answer) = process.node.view(&options).await {
                views.insert(*id, (*answer.value).clone());
            }
        }
        let mut indexes: Vec<_> = views.values().map(|view| view.applied_index).collect();
        indexes.dedup();
        if indexes.len() == 1 || clock::since(began) > ALIKE {
            return views;
        }
        runtime::sleep(LOOK).await;
    }
}

/// One thing that goes wrong, or is mended.
async fn trouble(cluster: &Cluster) {
    let node = random::pick(&cluster.ids);
    let other = random::pick(&cluster.ids);
    match random::below(14) {
        0 => isolate(cluster, node),
        1 => isolate(cluster, cluster.leader().unwrap_or(node)),
        2 => cluster.network.cut(node, other),
        3 => cluster.network.slow_down(node),
        4..=7 => cluster.network.heal(),
        8 => crash(cluster, &[node], random::below(1_500)).await,
        9 => {
            let leader = cluster.leader().unwrap_or(node);
            crash(cluster, &[leader], random::below(20)).await;
        }
        10 if random::once_in(3) => crash(cluster, &cluster.ids.clone(), random::below(500)).await,
        11 => cut_off_and_forget(cluster).await,
        // Connections also end while their process lives on.
        12 => {
            let leader = cluster.leader().unwrap_or(node);
            cluster.network.end_connections(leader, &cluster.ids);
        }
        _ => {}
    }
}

fn isolate(cluster: &Cluster, node: u64) {
    for other in cluster.ids.iter().filter(|other| **other != node) {
        cluster.network.cut(node, *other);
        cluster.network.cut(*other, node);
    }
}

async fn crash(cluster: &Cluster, ids: &[u64], away_ms: u64) {
    for id in ids {
        cluster.crash(*id).await;
    }
    runtime::sleep(Duration::from_millis(away_ms)).await;
    for id in ids {
        let (cluster, id) = (cluster.clone(), *id);
        runtime::detach(async move { cluster.boot(id).await });
    }
}

/// The leader is cut off while it holds a lease, and one who granted it forgets that. The third,
/// which misses nothing because nobody writes meanwhile, has been waiting to campaign.
async fn cut_off_and_forget(cluster: &Cluster) {
    let Some(leader) = cluster.leader() else {
        return;
    };
    let followers: Vec<_> = cluster
        .ids
        .iter()
        .copied()
        .filter(|id| *id != leader)
        .collect();
    let (forgetful, away) = (followers[0], followers[1]);
    cluster.network.heal();
    cluster.quiet.store(true, Ordering::SeqCst);
    runtime::sleep(Duration::from_millis(500)).await;
    isolate(cluster, away);
    runtime::sleep(Duration::from_millis(1_000 + random::below(1_000))).await;
    cluster.network.heal();
    isolate(cluster, leader);
    cluster.quiet.store(false, Ordering::SeqCst);
    crash(cluster, &[forgetful], 0).await;
    runtime::sleep(Duration::from_millis(900)).await;
}

#[expect(clippy::disallowed_methods, reason = "no node is configured here")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the real time that the runs take"
)]
#[expect(clippy::print_stdout, reason = "the figures of the runs")]
fn every_promise_holds_for_every_seed() {
    let seeds = match setting("CONCLAVE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("CONCLAVE_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let run = simulate(seed, Sabotage::Nothing);
                    assert!(run.wrong.is_empty(), "seed {seed}: {:#?}", run.wrong);
                    all.lock().add(&run.counts);
                }
            });
        }
    });
    let all = all.into_inner();
    let runs = seeds.end - seeds.start;
    let seconds = began.elapsed().as_secs();
    println!("measured: {runs} simulated clusters in {seconds} s, no promise broken: {all:?}");
    assert!(all.operations > 0, "the runs have done nothing");
    if runs > 50 {
        let lost = all.replays > 0 && all.settled > 0;
        assert!(lost, "no run has met a lost answer");
        let held = all.grants > 0 && all.guarded > 0;
        assert!(held, "no run has had a lock");
        let watched = all.told > 0 && all.gaps > 0;
        assert!(watched, "no run has met a gap");
    }
}

fn a_seed_always_gives_the_same_run() {
    for seed in 1..4 {
        let (one, two) = (
            simulate(seed, Sabotage::Nothing),
            simulate(seed, Sabotage::Nothing),
        );
        assert_eq!(one, two, "seed {seed}");
    }
}

#[expect(clippy::print_stdout, reason = "the figure that this test is for")]
/// Runs until something wrong is noticed, and says after how many runs it was.
fn assert_noticed(sabotage: Sabotage) {
    for seed in 0..SABOTAGED {
        let run = simulate(seed, sabotage);
        let mut wrong = run.wrong.iter();
        if let Some(wrong) = wrong.find(|wrong| wrong.starts_with(sabotage.shows_as())) {
            println!("{sabotage:?} was noticed with seed {seed}: {wrong}");
            return;
        }
    }
    panic!("{sabotage:?} went unnoticed in {SABOTAGED} runs");
}

fn main() {
    a_seed_always_gives_the_same_run();
    for sabotage in Sabotage::ALL {
        assert_noticed(sabotage);
    }
    every_promise_holds_for_every_seed();
}

#[cfg(test)]
mod tests {
    use conclave_server::mutants::Mutant;

    use super::*;

    #[test]
    fn every_promise_holds_for_every_seed() {
        super::every_promise_holds_for_every_seed();
    }

    #[test]
    fn a_seed_always_gives_the_same_run() {
        super::a_seed_always_gives_the_same_run();
    }

    #[test]
    fn a_leader_restored_without_an_election_is_noticed() {
        assert_noticed(Sabotage::LeaderRestore);
    }

    #[test]
    fn a_lease_that_a_restarted_voter_forgets_is_noticed() {
        assert_noticed(Sabotage::NoSilence);
    }

    #[test]
    fn an_applied_index_ahead_of_its_data_is_noticed() {
        assert_noticed(Sabotage::AppliedAhead);
    }

    #[test]
    fn an_acknowledgement_before_the_sync_is_noticed() {
        assert_noticed(Sabotage::EarlySync);
    }

    #[test]
    fn a_token_that_comes_again_is_noticed() {
        assert_noticed(Sabotage::Mutant(Mutant::TokenPerLock));
    }

    #[test]
    fn a_lock_that_anybody_may_release_is_noticed() {
        assert_noticed(Sabotage::Mutant(Mutant::ReleaseByAnybody));
    }

    #[test]
    fn a_stream_that_resumes_too_late_is_noticed() {
        assert_noticed(Sabotage::Mutant(Mutant::ResumeOffByOne));
    }

    #[test]
    fn a_gap_that_no_watcher_is_told_of_is_noticed() {
        assert_noticed(Sabotage::Mutant(Mutant::SilentLag));
    }
}
