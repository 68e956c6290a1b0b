//! A cluster whose members change all the time while clients write. Repeat the changes:
//! `CONCLAVE_TEST_SEED`; three hundred of them: `CONCLAVE_TEST_FULL=1`.

use std::collections::BTreeSet;
use std::time::Duration;

use conclave_tests::cluster::RECOVERED_WITHIN;
use conclave_tests::load::writers::WriteLog;
use conclave_tests::{Cluster, Node, Ports, Random, Request, Writers, said, settings, wait_for};

/// Members at the beginning; from one fewer to one more later.
const MEMBERS: usize = 5;
/// Writes that must be acknowledged between two changes.
const BETWEEN: u64 = 20;
/// Keys that one `POST /key` takes.
const KEYS_AT_ONCE: usize = 128;
/// Longest time until all members agree on who they are.
const AGREED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    RemoveLeader,
    Add,
    WipeAndRejoin,
    Move,
    Transfer,
    StopCleanly,
    Kill,
}

const ALL: [Change; 7] = [
    Change::RemoveLeader,
    Change::Add,
    Change::WipeAndRejoin,
    Change::Move,
    Change::Transfer,
    Change::StopCleanly,
    Change::Kill,
];

struct Churn {
    cluster: Cluster,
    /// The members, by their index in the cluster.
    members: Vec<usize>,
    /// One that is killed while others change.
    down: Option<usize>,
    random: Random,
}

impl Churn {
    /// Returns the changes in their order: each kind once before any comes again.
    fn plan(&mut self, count: usize) -> Vec<Change> {
        let mut plan = Vec::new();
        while plan.len() < count {
            let mut round = ALL;
            for last in (1..round.len()).rev() {
                round.swap(last, self.random.below(last + 1));
            }
            plan.extend(round);
        }
        plan.truncate(count);
        plan
    }

    fn addresses(&self) -> Vec<String> {
        self.cluster.addresses_of(&self.members)
    }

    /// Returns a member that is up.
    fn any(&mut self) -> usize {
        loop {
            let index = self.members[self.random.below(self.members.len())];
            if self.down != Some(index) {
                return index;
            }
        }
    }

    /// Returns a member that is not the given one.
    fn another(&mut self, than: usize) -> usize {
        loop {
            let other = self.any();
            if other != than {
                return other;
            }
        }
    }

    /// Makes a change, now and then with another member down.
    async fn make(&mut self, change: Change) {
        if self.members.len() >= MEMBERS && self.random.one_in(3) {
            let index = self.any();
            self.cluster[index].kill();
            self.down = Some(index);
        }
        self.make_now(change).await;
        if let Some(index) = self.down.take() {
            self.cluster[index].start().await;
        }
    }

    async fn make_now(&mut self, change: Change) {
        match change {
            Change::RemoveLeader if self.members.len() >= MEMBERS => self.remove_leader().await,
            Change::Add if self.members.len() > MEMBERS => self.remove_leader().await,
            Change::RemoveLeader | Change::Add => self.add().await,
            Change::WipeAndRejoin => self.wipe_and_rejoin().await,
            Change::Move => self.move_one().await,
            Change::Transfer => self.transfer().await,
            Change::StopCleanly => {
                let index = self.any();
                let status = self.cluster[index].stop().await;
                assert_eq!(status.code(), Some(0), "{}", self.cluster[index].log_tail());
                self.cluster[index].start().await;
            }
            Change::Kill => {
                let index = self.any();
                self.cluster[index].kill();
                self.cluster[index].start().await;
            }
        }
    }

    /// Asks until the cluster has done it: who is asked to take over may be down.
    async fn insist(&self, asked: usize, request: &Request) {
        let what = format!("{request}");
        wait_for(&what, AGREED_WITHIN, async || {
            let answer = self.cluster[asked].send(request).await;
            match answer.status {
                200 => Ok(()),
                // It was done, and the answer lost.
                404 if answer.json()["code"] == "member_not_found" => Ok(()),
                409 | 503 | 504 => Err(format!("{answer:?}")),
                _ => panic!("{request}: {answer:?}"),
            }
        })
        .await;
    }

    async fn remove_leader(&mut self) {
        let leader = self.cluster.leader().await;
        let asked = self.another(leader);
        let target = format!("/api/cluster/members/{}", self.cluster[leader].name());
        self.insist(asked, &Request::delete(&target)).await;
        self.members.retain(|index| *index != leader);
        if self.random.one_in(2) {
            let status = self.cluster[leader].stop().await;
            assert_eq!(
                status.code(),
                Some(0),
                "{}",
                self.cluster[leader].log_tail()
            );
        }
        self.cluster[leader].kill();
    }

    async fn add(&mut self) {
        let through = self.any();
        let address = self.cluster[through].http_address();
        let index = self.cluster.add_node();
        self.cluster[index].add_args(["-join", &address]);
        self.cluster[index].start().await;
        self.members.push(index);
    }

    /// A member loses its disk and is replaced at once, because somebody who knows says so.
    async fn wipe_and_rejoin(&mut self) {
        let index = self.any();
        let asked = self.another(index);
        let old = self.cluster[index].status_number("id").await;
        let nobody = format!("localhost:{}", Ports::reserve().http);
        self.cluster.wipe(index, &[nobody]);
        self.cluster[index].spawn();
        let node = &self.cluster[index];
        let body = format!(
            r#"{{"name":"{}","http":"{}","raft":"{}"}}"#,
            node.name(),
            node.http_address(),
            node.raft_address()
        );
        let ask = Request::post("/api/cluster/members?replace=true", body);
        // The old one may have led: then there is no leader for a moment, or it still is the old one.
        wait_for("the wiped node is added", AGREED_WITHIN, async || {
            let answer = self.cluster[asked].send(&ask).await;
            match answer.status {
                201 => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
        self.cluster[index].wait_ready().await;
        assert!(self.cluster[index].status_number("id").await > old);
    }

    async fn move_one(&mut self) {
        let index = self.any();
        let name = self.cluster[index].name().to_owned();
        self.cluster[index].kill();
        let mut node = Node::new(&name, self.cluster.folder(), Ports::reserve());
        node.start().await;
        self.cluster[index] = node;
    }

    async fn transfer(&mut self) {
        let leader = self.cluster.leader().await;
        let to = self.another(leader);
        let asked = self.any();
        let body = format!(r#"{{"to":"{}"}}"#, self.cluster[to].name());
        let request = Request::post("/api/cluster/transfer", body);
        self.insist(asked, &request).await;
    }

    /// Waits until every member has the same members, all of them voters, and the same leader.
    async fn agree(&self) {
        let names: BTreeSet<_> = self
            .members
            .iter()
            .map(|i| self.cluster[*i].name())
            .collect();
        wait_for(
            "the members agree on who they are",
            AGREED_WITHIN,
            async || {
                for index in &self.members {
                    let node = &self.cluster[*index];
                    let status = node.try_status().await?;
                    let all = status["members"].as_array().cloned().unwrap_or_default();
                    let voters = all.iter().filter(|member| member["voter"] == true);
                    let voters: Vec<_> = voters
                        .filter_map(|member| member["node"].as_str())
                        .collect();
                    let own = all.iter().find(|member| member["node"] == node.name());
                    let at_home =
                        own.is_some_and(|own| own["raft"] == node.raft_address().as_str());
                    let equal = voters.len() == all.len()
                        && voters.into_iter().collect::<BTreeSet<_>>() == names;
                    if !equal || !at_home {
                        return Err(status.to_string());
                    }
                }
                Ok(())
            },
        )
        .await;
        self.cluster.leader().await;
    }

    /// Checks that there is one cluster with everything that was acknowledged, and that it takes
    /// writes to every key.
    async fn judge(&self, id: &serde_json::Value, log: &WriteLog) {
        for index in &self.members {
            assert_eq!(self.cluster[*index].status().await["cluster_id"], *id);
        }
        let node = &self.cluster[self.members[0]];
        log.assert_kept(node, "consistent").await;
        for attempts in log.attempts.chunks(KEYS_AT_ONCE) {
            let pairs: serde_json::Map<_, _> = attempts
                .iter()
                .map(|attempt| (attempt.key.clone(), "again".into()))
                .collect();
            let body = serde_json::Value::from(pairs).to_string();
            node.post("/key", &body).await.expect_status(200);
        }
        self.cluster.assert_converged().await;
    }
}

#[tokio::test]
async fn nothing_is_lost_while_the_members_change() {
    let changes = settings::rounds(10, 300);
    let random = Random::new(settings::seed());
    let cluster = Cluster::builder().nodes(MEMBERS).start().await;
    let mut churn = Churn {
        cluster,
        members: (0..MEMBERS).collect(),
        down: None,
        random,
    };
    let id = churn.cluster[0].status().await["cluster_id"].clone();
    let writers = Writers::start(&churn.addresses(), 3);
    for (number, change) in churn.plan(changes).into_iter().enumerate() {
        said::measured(&format!("change {number}: {change:?}"));
        churn.make(change).await;
        writers.set_addresses(churn.addresses());
        churn.agree().await;
        writers.wait_acknowledged(BETWEEN, RECOVERED_WITHIN).await;
    }
    let log = writers.stop().await;
    said::measured(&format!(
        "{changes} changes of members: {} of {} writes acknowledged, longest pause {:?}",
        log.acknowledged(),
        log.attempts.len(),
        log.longest_pause()
    ));
    churn.judge(&id, &log).await;
}
