//! Whole formations by chance: delays, lost messages, crashes at every step, wiped disks.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::clock;
use crate::testing::Random;

/// Repeats the runs of an earlier test.
const SEED: &str = "CONCLAVE_FORMATION_SEED";

/// What survives a crash.
#[derive(Debug, Default)]
struct Disk {
    seeking: Option<Seeking>,
    cluster: Option<ClusterId>,
    founding: Option<Founding>,
    /// The next write fails: 1 before it, 2 after it.
    fault: u8,
}

#[derive(Debug, Clone, Default)]
struct SharedDisk(Arc<Mutex<Disk>>);

impl SharedDisk {
    /// Runs a write that may be cut off.
    fn write(&self, write: impl FnOnce(&mut Disk)) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        match std::mem::take(&mut disk.fault) {
            1 => return Err(io::Error::other("cut off before")),
            2 => {
                write(&mut disk);
                return Err(io::Error::other("cut off after"));
            }
            _ => write(&mut disk),
        }
        Ok(())
    }
}

impl Ledger for SharedDisk {
    fn keep(&mut self, seeking: &Seeking) -> io::Result<()> {
        self.write(|disk| disk.seeking = Some(seeking.clone()))
    }
}

struct Node {
    member: Member,
    disk: SharedDisk,
    seeker: Option<Seeker<SharedDisk>>,
    up: bool,
    round: Vec<Reply>,
}

struct World {
    random: Random,
    nodes: Vec<Node>,
    group: Group,
    now: Instant,
    /// Questions that arrive, perhaps twice, although nobody waits for their answer any more.
    late: Vec<(usize, Question)>,
    /// Who finds whom at the moment.
    links: Vec<Vec<bool>>,
    /// Longest time between two events.
    pace: Duration,
    clusters: BTreeSet<ClusterId>,
}

fn member(name: &str) -> Member {
    Member {
        name: name.to_owned(),
        http: format!("{name}:1"),
        raft: format!("{name}:2"),
    }
}

fn environment(expect: u64) -> Group {
    Group::Environment {
        name: "dev".to_owned(),
        expect,
    }
}

impl World {
    fn new(seed: u64, count: usize, group: Group) -> Self {
        let nodes = (0..count).map(|index| Node {
            member: member(&format!("n{index}")),
            disk: SharedDisk::default(),
            seeker: None,
            up: false,
            round: Vec::new(),
        });
        let mut random = Random::new(seed);
        let pace = [2, 20, 200][random.below(3)];
        Self {
            random,
            links: vec![vec![true; count]; count],
            pace: Duration::from_millis(pace),
            nodes: nodes.collect(),
            group,
            now: clock::now(),
            late: Vec::new(),
            clusters: BTreeSet::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let (kept, is_member) = {
            let disk = node.disk.0.lock().unwrap();
            (disk.seeking.clone(), disk.cluster.is_some())
        };
        node.round.clear();
        node.up = true;
        if !is_member {
            let started = Seeker::start(
                node.member.clone(),
                self.group.clone(),
                kept,
                node.disk.clone(),
            );
            node.seeker = started.ok();
            node.up = node.seeker.is_some();
        }
    }

    fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        (node.up, node.seeker) = (false, None);
        node.disk.0.lock().unwrap().fault = 0;
    }

    fn answer(&mut self, to: usize, question: &Question) -> Option<Reply> {
        let now = self.now;
        let node = &mut self.nodes[to];
        if !node.up {
            return None;
        }
        if let Some(seeker) = &mut node.seeker {
            return Some(seeker.answer(question, now));
        }
        let disk = node.disk.0.lock().unwrap();
        let founding = disk.founding.clone();
        Some(Reply {
            from: disk.seeking.as_ref().map(|seeking| seeking.directory),
            member: node.member.clone(),
            standing: Standing::Member {
                cluster: disk.cluster.expect("a member"),
                environment: "dev".to_owned(),
                founding: founding.filter(|founding| founding.founder(question.from).is_some()),
            },
        })
    }

    fn ask(&mut self, from: usize, to: usize) {
        let Some(seeker) = &self.nodes[from].seeker else {
            return;
        };
        let question = seeker.question();
        let is_pledged = question.pledge.map(|(to, _)| to);
        let leader = self.nodes[to].disk.0.lock().unwrap().seeking.clone();
        // Whoever it is pledged to is asked in any case.
        let asks_leader = leader.is_some_and(|seeking| Some(seeking.directory) == is_pledged);
        if !self.links[from][to] && !asks_leader {
            return;
        }
        if self.chance(15) {
            self.late.push((to, question));
        } else if let Some(reply) = self.answer(to, &question)
            && self.chance(90)
        {
            self.nodes[from].round.push(reply);
        }
    }

    fn decide(&mut self, index: usize) {
        let replies = std::mem::take(&mut self.nodes[index].round);
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(seeker) = &mut node.seeker else {
            return;
        };
        seeker.seek_again();
        match seeker.decide(&replies, now) {
            Err(_) => self.crash(index),
            Ok(Step::Wait(_) | Step::Again) => {}
            Ok(Step::Found(founding) | Step::Adopt(founding)) => {
                let (cluster, kept) = (founding.cluster, Some(founding));
                self.become_member(index, cluster, kept);
            }
            Ok(Step::Join(members)) => {
                let at = self.nodes.iter().position(|n| n.member == members[0]);
                let other = &self.nodes[at.expect("a known node")];
                let cluster = other.disk.0.lock().unwrap().cluster;
                if let Some(cluster) = cluster
                    && other.up
                    && self.chance(70)
                {
                    self.become_member(index, cluster, None);
                }
            }
        }
    }

    fn become_member(&mut self, index: usize, cluster: ClusterId, founding: Option<Founding>) {
        let written = self.nodes[index].disk.write(|disk| {
            disk.cluster = Some(cluster);
            disk.founding = founding;
        });
        if self.nodes[index].disk.0.lock().unwrap().cluster.is_some() {
            self.clusters.insert(cluster);
        }
        match written {
            Ok(()) => self.nodes[index].seeker = None,
            Err(_) => self.crash(index),
        }
    }

    fn act(&mut self, faults: usize) {
        let index = self.below(self.nodes.len());
        let other = self.below(self.nodes.len());
        let percent = u32::try_from(self.below(100)).unwrap();
        self.now += self.pace * percent / 100;
        match self.below(100) {
            0..60 if index != other => self.ask(index, other),
            0..85 => self.decide(index),
            85..92 if !self.late.is_empty() => {
                let at = self.below(self.late.len());
                let (to, question) = self.late[at].clone();
                if self.chance(50) {
                    self.late.swap_remove(at);
                }
                self.answer(to, &question);
            }
            92..96 if !self.nodes[index].up => self.start(index),
            96..98 if self.chance(faults) => self.crash(index),
            98..100 if self.chance(faults) => {
                let fault = if self.chance(50) { 1 } else { 2 };
                self.nodes[index].disk.0.lock().unwrap().fault = fault;
            }
            _ => {}
        }
    }

    /// Lets the nodes find each other differently from now on.
    fn rewire(&mut self, percent: usize) {
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.links[from][to] = self.chance(percent);
            }
        }
    }

    fn wipe(&mut self, index: usize) {
        self.crash(index);
        self.nodes[index].disk = SharedDisk::default();
    }

    fn all_members(&self) -> bool {
        let is_member = |node: &Node| node.disk.0.lock().unwrap().cluster.is_some();
        self.nodes.iter().all(is_member)
    }

    /// Heals everything and waits until every node is a member.
    fn settle(&mut self, seed: u64) {
        self.rewire(100);
        for index in 0..self.nodes.len() {
            self.nodes[index].disk.0.lock().unwrap().fault = 0;
        }
        for _ in 0..100_000 {
            if self.all_members() {
                return;
            }
            self.act(0);
        }
        let kept: Vec<_> = self.nodes.iter().map(|n| n.disk.clone()).collect();
        panic!("seed {seed}: no cluster: {kept:#?}");
    }
}

/// Runs with up to `2 × expect - 1` directories, so that there must be one cluster.
fn one_cluster(seed: u64) {
    let mut random = Random::new(seed.rotate_left(32));
    let expect = 2 + random.below(3);
    let count = expect + random.below(expect);
    let mut wipes = random.below(2 * expect - count);
    let mut world = World::new(seed, count, environment(expect as u64));
    let mut lost = false;
    let (seen, faults) = (30 + random.below(71), random.below(60));
    for _ in 0..50 + random.below(3_000) {
        world.act(faults);
        if world.chance(2) {
            world.rewire(seen);
        }
        if wipes > 0 && world.chance(1) {
            let index = world.below(count);
            // Who was pledged to a lost directory waits for ever; that is said, not solved.
            lost |= !world.all_members();
            world.wipe(index);
            wipes -= 1;
        }
        assert!(
            world.clusters.len() <= 1,
            "seed {seed}: {:?}",
            world.clusters
        );
    }
    if !lost {
        world.settle(seed);
    }
    assert!(
        world.clusters.len() <= 1,
        "seed {seed}: {:?}",
        world.clusters
    );
}

#[test]
fn there_is_one_cluster_whatever_crashes_and_whatever_is_late() {
    let mut seeds = Random::from_environment(SEED);
    for _ in 0..10_000 {
        let seed = seeds.below(1 << 30) as u64 * 2;
        one_cluster(seed);
    }
}

#[test]
fn a_list_forms_one_cluster_and_never_another_while_one_has_data() {
    let mut seeds = Random::from_environment(SEED);
    for _ in 0..1_000 {
        let seed = seeds.below(1 << 30) as u64 * 2;
        let list = (0..3).map(|index| format!("n{index}:1")).collect();
        let mut world = World::new(seed, 3, Group::List(list));
        for _ in 0..world.below(1_000) {
            world.act(60);
        }
        world.settle(seed);
        let formed = world.clusters.clone();
        assert_eq!(formed.len(), 1, "seed {seed}");
        // Two of three lose their disks, and the third one is away or not.
        let keeps = world.below(3);
        for index in (0..3).filter(|index| *index != keeps) {
            world.wipe(index);
            world.start(index);
        }
        world.crash(keeps);
        for _ in 0..1_000 {
            world.act(60);
        }
        world.settle(seed);
        assert_eq!(world.clusters, formed, "seed {seed}");
    }
}

#[test]
fn a_pledge_counts_only_in_its_attempt_and_its_group() {
    let now = clock::now();
    let start = |name: &str, group: Group| {
        Seeker::start(member(name), group, None, SharedDisk::default()).unwrap()
    };
    let mut a = start("a", environment(2));
    let mut b = start("b", environment(2));
    let reply = a.answer(&b.question(), now);
    assert_eq!(b.decide(&[reply], now).unwrap(), Step::Again);
    let pledge = b.question();
    for other in [
        Question {
            group: Some(environment(3)),
            ..pledge.clone()
        },
        Question {
            pledge: pledge.pledge.map(|(to, attempt)| (to, attempt ^ 1)),
            ..pledge.clone()
        },
    ] {
        a.answer(&other, now);
        assert!(matches!(a.decide(&[], now).unwrap(), Step::Wait(_)));
    }
    a.answer(&pledge, now);
    let late = now + Duration::from_secs(60);
    let step = a.decide(&[], late).unwrap();
    assert!(
        matches!(step, Step::Wait(_)),
        "{step:?}: heard too long ago"
    );
    let Step::Found(founding) = a.decide(&[], now).unwrap() else {
        panic!("two of two");
    };
    let ids: Vec<_> = founding
        .founders
        .iter()
        .map(|f| (f.id, &*f.member.name))
        .collect();
    assert_eq!(ids, [(1, "a"), (2, "b")]);
}

#[test]
fn whoever_was_counted_is_not_after_the_attempt_is_over() {
    let now = clock::now();
    let mut seekers = ["a", "b", "c"].map(|name| {
        let disk = SharedDisk::default();
        Seeker::start(member(name), environment(2), None, disk).unwrap()
    });
    let [a, b, c] = &mut seekers;
    let reply = b.answer(&c.question(), now);
    assert_eq!(c.decide(&[reply], now).unwrap(), Step::Again);
    b.answer(&c.question(), now);
    // `b` has enough, but `a` leads before it: the attempt that `c` is pledged to is over.
    let reply = a.answer(&b.question(), now);
    assert_eq!(
        b.decide(std::slice::from_ref(&reply), now).unwrap(),
        Step::Again
    );
    let reply = Reply {
        standing: Standing::Seeking {
            group: environment(2),
            leads: None,
            pledged_to: "z".to_owned(),
        },
        ..reply
    };
    let step = b.decide(&[reply], now).unwrap();
    assert!(
        matches!(step, Step::Wait(_)) && b.kept().leads(),
        "{step:?}"
    );
}

#[test]
fn addresses_compare_as_what_they_mean() {
    for (one, other) in [
        ("LOCALHOST:1", "localhost:1"),
        ("127.0.0.1:1", "localhost:1"),
        ("[::1]:1", "localhost:1"),
        ("Host.example.:80", "host.example:80"),
    ] {
        assert_eq!(normalised(one), normalised(other));
    }
    assert_ne!(normalised("10.0.0.1:1"), normalised("10.0.0.1:2"));
}
