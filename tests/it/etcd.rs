//! etcd under what judges Conclave: the same clients, faults and checkers.
//!
//! A sanity check of the harness. It must accept what etcd promises, and see that etcd's serializable
//! reads promise less. What it finds at `consistent` is either a defect of the harness or one of etcd's
//! known ones: the counterexample decides. `cargo xtask etcd` installs the server and runs it.

use std::path::Path;
use std::time::Duration;

use conclave_tests::campaign::{Campaign, Kind, System as _};
use conclave_tests::etcd::{self, EtcdCluster};
use conclave_tests::history::{self, Limits};
use conclave_tests::said::{measured, skipped};
use conclave_tests::settings::{CAMPAIGN_SECONDS, number, rounds, seed};
use conclave_tests::sse::Subscription;
use conclave_tests::watch::{Break, Plan, Watcher, Written, check};

/// An election of etcd takes one to two seconds, in which nobody gets an answer.
const ANSWERS_A_SECOND: u64 = 400;
/// While every change goes to all watchers, too.
const WATCHED_ANSWERS_A_SECOND: u64 = 150;
/// Streams that watchers must open again in each minute.
const RESUMES_A_MINUTE: u64 = 200;
const KINDS: [Kind; 2] = [Kind::Kill, Kind::Pause];

#[tokio::test]
async fn etcd_is_judged_as_its_documents_say() {
    let binary = match etcd::binary() {
        Some(binary) if rounds(0, 1) == 1 => binary,
        _ => return skipped("etcd is judged only with CONCLAVE_TEST_FULL=1 and `etcd` on PATH"),
    };
    let seconds = number(CAMPAIGN_SECONDS, 60);
    let seed = seed();
    consistent_reads_and_writes_are_linearizable(&binary, seconds, seed).await;
    serializable_reads_are_found_not_linearizable(&binary, seed).await;
    watches_that_resume_anywhere_lose_nothing(&binary, seconds.div_ceil(2), seed).await;
}

fn campaign(seconds: u64, answers_a_second: u64, seed: u64) -> Campaign {
    let answers = usize::try_from(answers_a_second * seconds).expect(CAMPAIGN_SECONDS);
    Campaign::new(seed)
        .kinds(&KINDS)
        .length(Duration::from_secs(seconds))
        .answers(answers)
}

async fn consistent_reads_and_writes_are_linearizable(binary: &Path, seconds: u64, seed: u64) {
    let mut etcd = EtcdCluster::start(binary).await;
    let campaign = campaign(seconds, ANSWERS_A_SECOND, seed);
    let record = campaign.run(&mut etcd).await;
    let checked = history::check(&record.history, Limits::default());
    measured(&format!("etcd: {record}; {checked}"));
    checked.assert_linearizable();
    record.assert_covered();
}

async fn serializable_reads_are_found_not_linearizable(binary: &Path, seed: u64) {
    let mut etcd = EtcdCluster::start(binary).await;
    let campaign = Campaign::new(seed)
        .level("stale")
        .kinds(&[Kind::Pause])
        .length(Duration::from_secs(5))
        .answers(1_000);
    let record = campaign.run(&mut etcd).await;
    let checked = history::check(&record.history, Limits::default());
    let stale = |text: &&String| text.contains("a stale read");
    let found = checked.violations.iter().filter(stale).count();
    measured(&format!(
        "etcd: {record}; {checked}; {found} keys with a stale read, such as {:?}",
        checked.violations.first()
    ));
    record.assert_covered();
    assert!(found > 0, "{record}\n{checked}");
}

/// Returns what the watchers ask for and how they break off. The keys of a campaign begin with its
/// seed and are numbered.
fn plans(seed: u64) -> Vec<Plan> {
    let all = Subscription::all;
    let ones = format!("c/{seed:x}/1");
    let asked = [
        ("all", all(), Break::Often),
        ("all to the end", all(), Break::Never),
        ("all, slowly", all(), Break::Slowly),
        ("all, with absences", all(), Break::Away),
        ("puts", all().types(&["put"]), Break::Often),
        ("deletes", all().types(&["delete"]), Break::Often),
        ("some keys", all().prefix(&ones), Break::Often),
    ];
    Plan::each(asked, 0, seed)
}

async fn watches_that_resume_anywhere_lose_nothing(binary: &Path, seconds: u64, seed: u64) {
    let mut etcd = EtcdCluster::start(binary).await;
    let addresses = etcd.all_addresses();
    let plans = plans(seed);
    let start =
        |plan: &Plan| Watcher::start_speaking(EtcdCluster::DIALECT, &addresses, plan.clone());
    let watchers: Vec<_> = plans.iter().map(start).collect();
    let campaign = campaign(seconds, WATCHED_ANSWERS_A_SECOND, seed);
    let record = campaign.run(&mut etcd).await;
    let resumes: u64 = watchers.iter().map(Watcher::resumes).sum();

    // All has settled: the newest write of the clients is the end of the history.
    let written = Written::of(&record.history);
    let end = written.iter().filter_map(|write| write.revision).max();
    let end = end.expect("a write");
    let canon = etcd::canon(&addresses[0], end).await;
    for address in &addresses[1..] {
        assert!(
            canon == etcd::canon(address, end).await,
            "{address} tells another history"
        );
    }
    let mut wrong = canon.against(&written);
    let mut delivered = 0;
    for (watcher, plan) in watchers.into_iter().zip(plans) {
        // etcd says nothing of the changes that a watcher has not asked for.
        let asked = canon.select(&plan.subscription);
        let newest = asked.last().expect("a change of each kind").revision;
        let verdict = check(&watcher.finish(newest).await, &canon, None);
        delivered += verdict.delivered;
        wrong.extend(verdict.violations);
    }
    measured(&format!(
        "etcd: {resumes} resumes of watchers, {delivered} events of {} changes delivered, {} \
         violations; {record}",
        canon.changes(),
        wrong.len()
    ));
    let told: Vec<_> = wrong.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    record.assert_covered();
    assert!(
        resumes * 60 >= RESUMES_A_MINUTE * seconds,
        "{resumes} resumes"
    );
}
