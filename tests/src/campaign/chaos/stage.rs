//! A cluster that several faults are done to at once: each does and undoes its own part.
//!
//! All streams take turns in one task, so that what happens between two awaits happens at once for the
//! others. A fault that meets another at its node gives way: who was killed meanwhile is not thawed, and
//! who runs again is not started twice.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::plan::{Class, Event, Plan, Stream};
use crate::campaign::nemesis::Shape;
use crate::cluster::{Cluster, Node};
use crate::faults::clocks::{WallClock, shows};
use crate::faults::links::Links;
use crate::http::{Client, Request};
use crate::random::Random;
use crate::wait::{self, before_retry};

/// Longest wait for a node that leads: an election while other faults go on.
const LED_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for a status; a frozen node gives none.
const STATUS_WITHIN: Duration = Duration::from_millis(400);
/// Longest delay of a slow link, milliseconds per direction.
const DELAY_MS: usize = 150;
/// Probability that a lossy link loses a piece.
const LOSS: f64 = 0.2;
/// Between two resets of all connections.
const RESET_EVERY: Duration = Duration::from_millis(700);
/// The most that a clock is off, seconds.
const HOUR: usize = 3_600;

/// A fault that has happened.
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    pub class: Class,
    pub began: Instant,
    /// When it was undone.
    pub ended: Instant,
}

/// The cluster and what is being done to it.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    cluster: RefCell<&'a mut Cluster>,
    links: Links,
    clocks: &'a [WallClock],
    /// Nodes that are no members now, by their index: nobody kills, freezes or starts them.
    away: RefCell<BTreeSet<usize>>,
    happened: RefCell<Vec<Happened>>,
    /// How often a joining node has ended without a clear answer and was started again.
    pub(super) gave_up: Cell<usize>,
    /// The node that is a member only for a time.
    pub(super) spare: usize,
}

impl<'a> Stage<'a> {
    /// Puts a cluster whose last node is no member on the stage.
    pub(super) fn new(cluster: &'a mut Cluster, clocks: &'a [WallClock]) -> Self {
        let links = cluster.links();
        let spare = cluster.nodes().len() - 1;
        Self {
            cluster: RefCell::new(cluster),
            links,
            clocks,
            away: RefCell::new([spare].into()),
            happened: RefCell::default(),
            gave_up: Cell::new(0),
            spare,
        }
    }

    /// Does all that is planned, and undoes it; returns what has happened, and how often a node gave a
    /// join up.
    ///
    /// # Panics
    ///
    /// A node ends by itself, or the members do not change although everything is undone in time.
    pub(super) async fn perform(self, plan: &Plan) -> (Vec<Happened>, usize) {
        self.links.seed(plan.seed);
        let streams = plan.streams.iter().map(|stream| self.stream(stream));
        let mut streams: Vec<_> = streams.map(Box::pin).collect();
        std::future::poll_fn(|context| {
            streams.retain_mut(|stream| stream.as_mut().poll(context).is_pending());
            match streams.is_empty() {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        drop(streams);
        self.links.heal();
        (self.happened.into_inner(), self.gave_up.get())
    }

    async fn stream(&self, stream: &Stream) {
        for event in &stream.events {
            wait::pass(event.gap).await;
            let began = Instant::now();
            if self.event(event).await {
                let ended = Instant::now();
                let class = event.class;
                self.happened.borrow_mut().push(Happened {
                    class,
                    began,
                    ended,
                });
            }
        }
    }

    /// Does one fault and undoes it; returns whether it has happened.
    async fn event(&self, event: &Event) -> bool {
        match event.class {
            Class::KillLeader | Class::KillOther => self.kill_one(event).await,
            Class::KillAll => self.kill_all(event).await,
            Class::PauseLeader | Class::PauseOther => self.pause(event).await,
            Class::Isolate => self.cut_one(event, Shape::Isolated).await,
            Class::Deaf => self.cut_one(event, Shape::Deaf).await,
            Class::Mute => self.cut_one(event, Shape::Mute).await,
            Class::OneLink => self.cut_one(event, Shape::OneLink).await,
            Class::Ring => self.ring(event).await,
            Class::LeaderInMinority => self.leader_in_minority(event).await,
            Class::Slow => self.slow(event).await,
            Class::Flaky => self.flaky(event).await,
            Class::Reset => self.reset(event).await,
            Class::Clock => self.clock(event).await,
            Class::Add => self.add(event).await,
            Class::Remove => self.remove(event).await,
            Class::Wipe => self.wipe(event).await,
            Class::Transfer => self.transfer(event).await,
        }
    }

    async fn kill_one(&self, event: &Event) -> bool {
        let Some(node) = self.choose(event).await else {
            return false;
        };
        let killed = self.kill(node);
        wait::pass(event.lasts).await;
        self.start(node);
        killed
    }

    async fn kill_all(&self, event: &Event) -> bool {
        let members = self.members();
        let killed = members.iter().filter(|node| self.kill(**node)).count();
        wait::pass(event.lasts).await;
        members.iter().for_each(|node| self.start(*node));
        killed > members.len() / 2
    }

    async fn pause(&self, event: &Event) -> bool {
        let Some(node) = self.choose(event).await else {
            return false;
        };
        if self.away.borrow().contains(&node) || self.has_ended(node) {
            return false;
        }
        let process = self.node(node).process_id();
        self.node(node).pause();
        wait::pass(event.lasts).await;
        // It may have been killed meanwhile.
        let is_same = !self.has_ended(node) && self.node(node).process_id() == process;
        if is_same {
            self.node(node).resume();
        }
        true
    }

    async fn cut_one(&self, event: &Event, shape: Shape) -> bool {
        let mut random = Random::new(event.choice);
        let nodes = self.node_count();
        let members = self.members();
        let node = members[random.below(members.len())];
        let mut others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
        // The first of them is the one when one link is cut.
        others.rotate_left(random.below(nodes - 1));
        self.cut(event, &shape.cuts(node, &others)).await
    }

    async fn ring(&self, event: &Event) -> bool {
        let mut members = self.members();
        crate::campaign::nemesis::shuffle(&mut members, &mut Random::new(event.choice));
        let majority = members.len() / 2 + 1;
        // So many neighbours on each side make a majority with the node itself.
        let reach = (majority - 1).div_ceil(2);
        let far = |one: usize, other: usize| {
            let apart = one.abs_diff(other);
            apart.min(members.len() - apart) > reach
        };
        let mut pairs = Vec::new();
        for (place, from) in members.iter().enumerate() {
            let others = members.iter().enumerate();
            let cut = others.filter(|(other, _)| far(place, *other));
            pairs.extend(cut.map(|(_, to)| (*from, *to)));
        }
        self.cut(event, &pairs).await && !pairs.is_empty()
    }

    async fn leader_in_minority(&self, event: &Event) -> bool {
        let Some(leader) = self.leader().await else {
            return false;
        };
        let mut others: Vec<_> = (0..self.node_count()).filter(|it| *it != leader).collect();
        crate::campaign::nemesis::shuffle(&mut others, &mut Random::new(event.choice));
        let most = (self.members().len() - 1) / 2;
        let (near, far) = others.split_at(most.saturating_sub(1));
        let with_leader = near.iter().copied().chain([leader]);
        let pairs =
            with_leader.flat_map(|one| far.iter().flat_map(move |it| [(one, *it), (*it, one)]));
        let pairs: Vec<_> = pairs.collect();
        self.cut(event, &pairs).await
    }

    /// Cuts links for a while; only one stream does, so that nobody else has cut the same.
    async fn cut(&self, event: &Event, pairs: &[(usize, usize)]) -> bool {
        pairs
            .iter()
            .for_each(|(from, to)| self.links.cut(*from, *to));
        wait::pass(event.lasts).await;
        pairs
            .iter()
            .for_each(|(from, to)| self.links.mend(*from, *to));
        true
    }

    async fn slow(&self, event: &Event) -> bool {
        let mut random = Random::new(event.choice);
        for (from, to) in self.all_links() {
            let ms = u64::try_from(random.below(DELAY_MS)).unwrap_or(0);
            self.links.delay(from, to, Duration::from_millis(ms));
        }
        wait::pass(event.lasts).await;
        for (from, to) in self.all_links() {
            self.links.delay(from, to, Duration::ZERO);
        }
        true
    }

    async fn flaky(&self, event: &Event) -> bool {
        for (from, to) in self.all_links() {
            self.links.loss(from, to, LOSS);
        }
        wait::pass(event.lasts).await;
        for (from, to) in self.all_links() {
            self.links.loss(from, to, 0.0);
        }
        true
    }

    async fn reset(&self, event: &Event) -> bool {
        let began = Instant::now();
        while began.elapsed() < event.lasts {
            for (one, other) in self.all_links().filter(|(one, other)| one < other) {
                self.links.reset(one, other);
            }
            wait::pass(RESET_EVERY.min(event.lasts)).await;
        }
        true
    }

    /// Sets a node's clock off; it has happened when the node has shown that time.
    async fn clock(&self, event: &Event) -> bool {
        let mut random = Random::new(event.choice);
        let node = random.below(self.clocks.len());
        let seconds = 2 * random.below(HOUR + 1);
        let seconds = i64::try_from(seconds).unwrap_or(0) - 3_600;
        self.clocks[node].set(seconds);
        let began = Instant::now();
        let mut is_shown = false;
        while !is_shown && began.elapsed() < event.lasts {
            let statuses = self.statuses().await;
            let own = statuses.iter().find(|(index, _)| *index == node);
            is_shown = own.is_some_and(|(_, status)| shows(status, seconds));
            before_retry().await;
        }
        wait::pass(event.lasts.saturating_sub(began.elapsed())).await;
        self.clocks[node].set(0);
        is_shown
    }

    /// Returns the node that an event is for; `None` when it is for the leader and nobody leads.
    async fn choose(&self, event: &Event) -> Option<usize> {
        let leader = self.leader().await;
        if matches!(event.class, Class::KillLeader | Class::PauseLeader) {
            return leader;
        }
        let members = self.members();
        let others: Vec<_> = members.iter().filter(|it| Some(**it) != leader).collect();
        let place = Random::new(event.choice).below(others.len());
        others.get(place).map(|node| **node)
    }

    /// Returns the member that leads in the newest term, as soon as there is one.
    pub(super) async fn leader(&self) -> Option<usize> {
        let began = Instant::now();
        while began.elapsed() < LED_WITHIN {
            let statuses = self.statuses().await;
            let leaders = statuses
                .iter()
                .filter(|(_, status)| status["role"] == "leader");
            let newest = leaders.max_by_key(|(_, status)| status["term"].as_u64());
            let newest = newest.map(|(node, _)| *node);
            if let Some(node) = newest.filter(|node| !self.away.borrow().contains(node)) {
                return Some(node);
            }
            before_retry().await;
        }
        None
    }

    /// Asks all nodes for their statuses at once, and returns those that came soon.
    async fn statuses(&self) -> Vec<(usize, Value)> {
        let mut asked = JoinSet::new();
        for (index, node) in self.cluster.borrow().nodes().iter().enumerate() {
            if node.is_started() {
                let mut client = Client::new(node.http_address()).with_timeout(STATUS_WITHIN);
                asked.spawn(async move {
                    let status = client.send(&Request::get("/api/status")).await.ok()?;
                    let body = serde_json::from_slice(&status.body).ok();
                    body.map(|body| (index, body))
                });
            }
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    /// Returns the members that are not being changed.
    pub(super) fn members(&self) -> Vec<usize> {
        let away = self.away.borrow();
        let nodes = 0..self.node_count();
        nodes.filter(|node| !away.contains(node)).collect()
    }

    pub(super) fn set_away(&self, node: usize) {
        self.away.borrow_mut().insert(node);
    }

    pub(super) fn set_back(&self, node: usize) {
        self.away.borrow_mut().remove(&node);
    }

    fn node_count(&self) -> usize {
        self.cluster.borrow().nodes().len()
    }

    fn all_links(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let nodes = self.node_count();
        let pairs = (0..nodes).flat_map(move |from| (0..nodes).map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to)
    }

    pub(super) fn node(&self, node: usize) -> Ref<'_, Node> {
        Ref::map(self.cluster.borrow(), |cluster| &cluster[node])
    }

    pub(super) fn cluster_mut(&self) -> RefMut<'_, &'a mut Cluster> {
        self.cluster.borrow_mut()
    }

    /// Returns whether a node's process is down because somebody here has killed it.
    ///
    /// # Panics
    ///
    /// It has ended by itself.
    fn has_ended(&self, node: usize) -> bool {
        let mut cluster = self.cluster.borrow_mut();
        let node = &mut cluster[node];
        if let Some(status) = node.exited() {
            let (name, log) = (node.name(), node.log_tail());
            panic!("{name} ended by itself with {status}:\n{log}");
        }
        !node.is_started()
    }

    /// Kills a member that runs; returns whether it did.
    fn kill(&self, node: usize) -> bool {
        if self.away.borrow().contains(&node) || self.has_ended(node) {
            return false;
        }
        self.cluster.borrow_mut()[node].kill();
        true
    }

    /// Starts a member that is down.
    fn start(&self, node: usize) {
        if !self.away.borrow().contains(&node) && self.has_ended(node) {
            self.cluster.borrow_mut()[node].spawn();
        }
    }
}
