//! `kill -9` again and again, of the leader, of another node and of all at once: nothing acknowledged is
//! lost and every directory opens; and two nodes of five that stay dead are not missed.
//!
//! CI kills 12 times; `CONCLAVE_TEST_FULL=1` 1,000 times, with a million writes between the kills, in
//! three clusters at once: on two cores they are no faster than one, but crowd each other.
//! `CONCLAVE_TEST_SEED` repeats the distances between them.

use std::time::{Duration, Instant};

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::load::strict_reads::StrictReads;
use conclave_tests::said::measured;
use conclave_tests::settings::{rounds, seed};
use conclave_tests::spread::Spread;
use conclave_tests::{Cluster, Random, Writers, wait_for};
use tokio::task::{JoinSet, LocalSet};

const CLIENTS: usize = 8;
/// Kills between two checks; what was written is then removed, so that a long run stays small.
const BETWEEN_CHECKS: usize = 50;
/// Answers that each client gets while two of five nodes are dead.
const QUIET_ANSWERS: u64 = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Leader,
    Other,
    All,
}

const VICTIMS: [Victim; 3] = [Victim::Leader, Victim::Other, Victim::All];

/// A cluster that is killed, and what came of it.
struct Killed {
    cluster: Cluster,
    random: Random,
    kills: [usize; VICTIMS.len()],
    acknowledged: usize,
    /// The longest time without an acknowledged write at each kill of the leader.
    pauses: Vec<Duration>,
    /// From the kill of all nodes to the first of the next writes.
    outages: Vec<Duration>,
}

impl Killed {
    /// Kills so many times, with about so many writes between two kills.
    async fn run(random: Random, kills: usize, writes: usize) -> Self {
        let mut killed = Self {
            cluster: Cluster::start().await,
            random,
            kills: [0; VICTIMS.len()],
            acknowledged: 0,
            pauses: Vec::new(),
            outages: Vec::new(),
        };
        let mut done = 0;
        while done < kills {
            let count = BETWEEN_CHECKS.min(kills - done);
            killed.round(done, count, writes).await;
            done += count;
        }
        killed
    }

    /// Kills so many times under load, and checks that all that was acknowledged is there.
    async fn round(&mut self, first: usize, count: usize, writes: usize) {
        let writers = Writers::start(&self.cluster.addresses(), CLIENTS);
        let mut leaders = Vec::new();
        for number in first..first + count {
            let distance = 1 + self.random.below(writes) + writes / 2;
            let distance = u64::try_from(distance).expect("a small number");
            writers.wait_acknowledged(distance, RECOVERED_WITHIN).await;
            let place = number % VICTIMS.len();
            let began = Instant::now();
            self.kill(VICTIMS[place], &writers).await;
            self.kills[place] += 1;
            match VICTIMS[place] {
                Victim::Leader => leaders.push((began, Instant::now())),
                Victim::Other => {}
                Victim::All => self.outages.push(began.elapsed()),
            }
        }
        let history = writers.stop().await;
        self.pauses.extend(history.longest_pauses(&leaders));
        self.cluster.assert_converged().await;
        let node = self.random.below(self.cluster.nodes().len());
        history.assert_kept(&self.cluster[node], "consistent").await;
        self.acknowledged += history.acknowledged();
        history.remove_all(&self.cluster[node]).await;
    }

    /// Kills, waits for a write and starts what was killed.
    async fn kill(&mut self, victim: Victim, writers: &Writers) {
        let leader = self.cluster.leader().await;
        let nodes = self.cluster.nodes().len();
        let victim = match victim {
            Victim::Leader => leader,
            Victim::Other => (leader + 1 + self.random.below(nodes - 1)) % nodes,
            Victim::All => {
                self.cluster.restart_all().await;
                return writers.wait_acknowledged(1, RECOVERED_WITHIN).await;
            }
        };
        self.cluster[victim].kill();
        // What the killed one had acknowledged may be noted only now.
        let under_way = CLIENTS as u64 + 1;
        writers.wait_acknowledged(under_way, RECOVERED_WITHIN).await;
        self.cluster[victim].start().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_leader_of_another_and_of_all_lose_no_acknowledged_write() {
    let seed = seed();
    let clusters = rounds(1, 3);
    let kills = rounds(12, 1_000_usize).div_ceil(clusters);
    let writes = rounds(20, 1_000);
    let began = Instant::now();
    let mut random = Random::new(seed);
    // Together on one thread; their clients are on others.
    let (local, mut running) = (LocalSet::new(), JoinSet::new());
    for _ in 0..clusters {
        let random = Random::new(random.number());
        running.spawn_local_on(Killed::run(random, kills, writes), &local);
    }
    let all = local.run_until(running.join_all()).await;
    let total = |count: fn(&Killed) -> usize| all.iter().map(count).sum::<usize>();
    let leaders = total(|killed| killed.kills[0]);
    let others = total(|killed| killed.kills[1]);
    let every = total(|killed| killed.kills[2]);
    measured(&format!(
        "{leaders} kills of the leader, {others} of another node and {every} of all at once, in {clusters} \
         clusters at once, in {:.0} s: 0 of {} acknowledged writes lost, every directory opened (seed {seed})",
        began.elapsed().as_secs_f64(),
        total(|killed| killed.acknowledged),
    ));
    let pauses = all.iter().flat_map(|killed| &killed.pauses).copied();
    let outages = all.iter().flat_map(|killed| &killed.outages).copied();
    measured(&format!(
        "writes paused at {leaders} kills of the leader: {}; at {every} kills of all nodes: {}",
        Spread::of(pauses),
        Spread::of(outages),
    ));
}

#[tokio::test]
async fn five_nodes_answer_everything_with_two_of_them_dead() {
    let deaths = rounds(2, 50);
    let mut cluster = Cluster::builder().nodes(5).start().await;
    let mut pauses = Vec::new();
    let (mut answers, mut acknowledged) = (0, 0);
    for death in 0..deaths {
        let leader = cluster.leader().await;
        let dead = [leader, (leader + 1 + death % 4) % 5];
        let alive: Vec<_> = (0..5).filter(|node| !dead.contains(node)).collect();
        let writers = Writers::start(&cluster.addresses_of(&alive), CLIENTS);
        writers.wait_acknowledged(50, RECOVERED_WITHIN).await;
        let began = Instant::now();
        dead.iter().for_each(|node| cluster[*node].kill());
        let again = 50 + CLIENTS as u64;
        writers.wait_acknowledged(again, RECOVERED_WITHIN).await;
        let ended = Instant::now();
        let history = writers.stop().await;
        pauses.extend(history.longest_pauses(&[(began, ended)]));

        // From here on nothing is wrong but that they are missing.
        cluster.leader().await;
        let reads = StrictReads::start(&cluster.addresses_of(&alive));
        reads.wait_answers(QUIET_ANSWERS, RECOVERED_WITHIN).await;
        let seen = reads.stop().await;
        assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
        answers += seen.reads + seen.writes;
        for node in dead {
            cluster[node].start().await;
        }
        cluster.assert_converged().await;
        history.assert_kept(&cluster[leader], "consistent").await;
        acknowledged += history.acknowledged();
        takes_a_new_counter(&cluster).await;
    }
    measured(&format!(
        "{deaths} times two of five nodes dead, the leader one of them: all of {answers} operations \
         answered well, 0 of {acknowledged} acknowledged writes lost; writes paused: {}",
        Spread::of(pauses)
    ));
}

/// Removes what the strict readers count in.
async fn takes_a_new_counter(cluster: &Cluster) {
    wait_for("the counter is gone", RECOVERED_WITHIN, async || {
        let gone = cluster[0].delete("/api/keys/counter").await;
        match gone.status {
            200 | 404 => Ok(()),
            _ => Err(format!("{gone:?}")),
        }
    })
    .await;
}
