//! Changes of the members while other faults go on: each is insisted on until it is done.
//!
//! The first two nodes are never wiped, so that somebody has the whole history of a leg.

use std::time::{Duration, Instant};

use super::plan::Event;
use super::stage::Stage;
use crate::cluster::Ports;
use crate::http::{Client, Request};
use crate::random::Random;
use crate::wait::{self, before_retry};

/// Nodes that keep their disks.
pub(super) const KEEPERS: usize = 2;
/// Longest time until a change is done: quorums are lost and come back meanwhile.
const CHANGED_WITHIN: Duration = Duration::from_secs(120);
/// Longest wait for one answer of a change.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for a transfer, which has no sense later.
const TRANSFERRED_WITHIN: Duration = Duration::from_secs(20);
const PROBED_WITHIN: Duration = Duration::from_secs(2);
/// What a node says that ends because the leader did not reach it: that looks like a wrong address.
/// Somebody has to start it again, and how often is told.
const GAVE_UP: &str = "does not wait to be joined: cannot connect";
/// Nodes that one joins through.
const THROUGH: usize = 3;

impl Stage<'_> {
    /// Lets the spare node join, and removes it.
    pub(super) async fn add(&self, event: &Event) -> bool {
        let node = self.spare;
        self.join_empty(node).await;
        wait::pass(event.lasts).await;
        self.set_away(node);
        self.take_out(node, event).await;
        self.cluster_mut()[node].kill();
        true
    }

    /// Removes a member, and lets it join again with nothing.
    pub(super) async fn remove(&self, event: &Event) -> bool {
        let Some(node) = self.one_to_lose(event).await else {
            return false;
        };
        self.set_away(node);
        self.take_out(node, event).await;
        wait::pass(event.lasts).await;
        self.join_empty(node).await;
        true
    }

    /// Takes a member's disk away and replaces it at once, because somebody who knows says so.
    pub(super) async fn wipe(&self, event: &Event) -> bool {
        let Some(node) = self.one_to_lose(event).await else {
            return false;
        };
        self.set_away(node);
        let nobody = format!("localhost:{}", Ports::reserve().http);
        self.cluster_mut().wipe(node, &[nobody]);
        self.cluster_mut()[node].spawn();
        let body = format!(
            r#"{{"name":"{}","http":"{}","raft":"{}"}}"#,
            self.node(node).name(),
            self.node(node).http_address(),
            self.node(node).raft_address()
        );
        let ask = Request::post("/api/cluster/members?replace=true", body);
        let mut random = Random::new(event.choice);
        let began = Instant::now();
        let mut is_asked = false;
        let mut seen = String::new();
        while !self.is_ready(node).await {
            if !is_asked {
                let (status, answer) = self.ask(&ask, &mut random).await;
                is_asked = status == 201;
                seen = answer;
            }
            let told = || format!("{seen}\n{}", self.node(node).log_tail());
            assert_in_time(began, "a wiped node is replaced", told);
            before_retry().await;
        }
        self.set_back(node);
        true
    }

    /// Asks for another leader.
    pub(super) async fn transfer(&self, event: &Event) -> bool {
        let mut random = Random::new(event.choice);
        let began = Instant::now();
        while began.elapsed() < TRANSFERRED_WITHIN {
            let leader = self.leader().await;
            let others: Vec<_> = self
                .members()
                .into_iter()
                .filter(|it| Some(*it) != leader)
                .collect();
            let to = others[random.below(others.len())];
            let body = format!(r#"{{"to":"{}"}}"#, self.node(to).name());
            let request = Request::post("/api/cluster/transfer", body);
            if self.ask(&request, &mut random).await.0 == 200 {
                return true;
            }
            before_retry().await;
        }
        false
    }

    /// Returns a member that may lose its disk: every other time the leader, when it may.
    async fn one_to_lose(&self, event: &Event) -> Option<usize> {
        let mut random = Random::new(event.choice);
        let leader = self.leader().await.filter(|_| random.one_in(2));
        let may = |node: &usize| *node >= KEEPERS && *node != self.spare;
        let others: Vec<_> = self.members().into_iter().filter(may).collect();
        let one = others.get(random.below(others.len())).copied();
        leader.filter(may).or(one)
    }

    /// Insists on the removal of a member.
    async fn take_out(&self, node: usize, event: &Event) {
        let target = format!("/api/cluster/members/{}", self.node(node).name());
        let request = Request::delete(&target);
        let mut random = Random::new(event.choice);
        let began = Instant::now();
        loop {
            let (status, answer) = self.ask(&request, &mut random).await;
            // It was done, and the answer lost.
            let is_gone = status == 404 && answer.contains("member_not_found");
            if status == 200 || is_gone {
                return;
            }
            assert_in_time(began, &request.to_string(), || answer);
            before_retry().await;
        }
    }

    /// Starts a node with an empty directory and waits until it is a member.
    async fn join_empty(&self, node: usize) {
        let through = self.members();
        let through: Vec<_> = through.into_iter().take(THROUGH).collect();
        let through = self.cluster_mut().addresses_of(&through);
        self.cluster_mut().wipe(node, &through);
        self.cluster_mut()[node].spawn();
        let began = Instant::now();
        while !self.is_ready(node).await {
            assert_in_time(began, "a node joins", || self.node(node).log_tail());
            before_retry().await;
        }
        self.set_back(node);
    }

    async fn is_ready(&self, node: usize) -> bool {
        let exited = self.cluster_mut()[node].exited();
        if let Some(status) = exited {
            let log = self.node(node).log_tail();
            let last = log.lines().last().unwrap_or_default();
            let gave_up = last.contains("refused the join") && last.contains(GAVE_UP);
            assert!(gave_up, "who joins ended with {status}:\n{log}");
            self.gave_up.set(self.gave_up.get() + 1);
            self.cluster_mut()[node].spawn();
        }
        let address = self.node(node).http_address();
        let mut client = Client::new(address).with_timeout(PROBED_WITHIN);
        let ready = client.send(&Request::get("/readyz")).await;
        ready.is_ok_and(|response| response.status == 200)
    }

    /// Asks one of the members; returns the status, 0 without one, and the answer.
    async fn ask(&self, request: &Request, random: &mut Random) -> (u16, String) {
        let members = self.members();
        let member = members[random.below(members.len())];
        let address = self.node(member).http_address();
        let mut client = Client::new(address).with_timeout(ANSWER_WITHIN);
        match client.send(request).await {
            Ok(response) => (response.status, format!("{response:?}")),
            Err(failure) => (0, failure.to_string()),
        }
    }
}

fn assert_in_time(began: Instant, what: &str, seen: impl FnOnce() -> String) {
    assert!(
        began.elapsed() < CHANGED_WITHIN,
        "{what}: not within {CHANGED_WITHIN:?}; last seen: {}",
        seen()
    );
}
