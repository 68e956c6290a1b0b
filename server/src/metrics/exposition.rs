//! Every family that `/metrics` shows, declared with its unit and help, and their values.
//!
//! Text format of `OpenMetrics` 1.0, which `prometheus-client` writes. A combination of labels that has
//! never occurred is not shown; its family is.

use std::fmt;
use std::sync::atomic::Ordering;

use conclave_shared::cluster::DiskState;
use conclave_shared::{NodeStatus, Role};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::{Latencies, Shown};
use super::requests::{Method, Route};
use super::{Metrics, Proposed, process};

/// What [`Metrics::exposition`] is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One family. The unit, when there is one, follows the name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    unit: &'static str,
    kind: MetricType,
    help: &'static str,
}

macro_rules! families {
    ($($place:ident = $kind:ident $name:literal, $unit:literal, $help:literal;)*) => {
        $(const $place: Family = Family {
            name: $name,
            unit: $unit,
            kind: MetricType::$kind,
            help: $help,
        };)*

        #[cfg(test)]
        const FAMILIES: &[Family] = &[$($place,)*];
    };
}

families! {
    HTTP_REQUESTS = Counter "conclave_http_requests", "",
        "HTTP requests answered, by class of route, read or write, level of the answer and class of status.";
    HTTP_DURATION = Histogram "conclave_http_request_duration", "seconds",
        "Time from an HTTP request to the head of its answer.";
    WATCHERS = Gauge "conclave_watchers", "",
        "Clients that watch for changes on this node.";
    PROPOSALS = Counter "conclave_proposals", "",
        "Proposals made on this node, for its own clients and for other nodes, by what became of them.";
    BATCH = Histogram "conclave_proposal_batch", "proposals",
        "Proposals handed to Raft as one batch.";
    COMMIT = Histogram "conclave_commit_duration", "seconds",
        "Time from a proposal on this node until it was committed and applied.";
    APPLIED = Counter "conclave_applied", "entries",
        "Log entries applied to this node's state.";
    APPLY = Histogram "conclave_apply_duration", "seconds",
        "Time to apply one batch of log entries.";
    SYNC = Histogram "conclave_log_sync_duration", "seconds",
        "Time to make one group of log records durable.";
    LEADER_CHANGES = Counter "conclave_raft_leader_changes", "",
        "New leaders and terms that this node has seen.";
    ROLE = Gauge "conclave_raft_role", "",
        "1 for the role that this node has, 0 for the others.";
    HAS_LEADER = Gauge "conclave_raft_has_leader", "",
        "1 when this node knows a leader.";
    TERM = Gauge "conclave_raft_term", "",
        "Raft term.";
    LAST_LOG = Gauge "conclave_raft_last_log_index", "",
        "Last index of this node's log.";
    COMMITTED = Gauge "conclave_raft_commit_index", "",
        "Last log index that this node knows to be committed.";
    APPLIED_INDEX = Gauge "conclave_raft_applied_index", "",
        "Last log index applied to this node's state.";
    SNAPSHOT = Gauge "conclave_raft_snapshot_index", "",
        "Last log index that the newest snapshot covers.";
    PURGED = Gauge "conclave_raft_purged_index", "",
        "Last log index that is no longer in the log.";
    QUORUM_AGE = Gauge "conclave_raft_quorum_age", "seconds",
        "On a leader: time since the start of the last round that a quorum answered.";
    CONTACT_AGE = Gauge "conclave_raft_leader_contact_age", "seconds",
        "On a follower: time since the leader was heard.";
    LAG = Gauge "conclave_raft_replication_lag", "entries",
        "On a leader: log entries that a follower does not have yet.";
    ACK_AGE = Gauge "conclave_raft_follower_ack_age", "seconds",
        "On a leader: time since a follower's last answer.";
    MEMBERS = Gauge "conclave_raft_members", "",
        "Members of the cluster.";
    DEAD_VOTERS = Gauge "conclave_dead_voters", "",
        "On a leader: voters that have not answered it for 10 s.";
    REVISION = Gauge "conclave_state_revision", "",
        "Revision of this node's state.";
    KEYS = Gauge "conclave_state_keys", "",
        "Keys of this node's state.";
    BYTES = Gauge "conclave_state", "bytes",
        "Keys and values of this node's state.";
    LOCKS = Gauge "conclave_locks", "",
        "Locks that are held, in the whole cluster.";
    DISK_STATE = Gauge "conclave_disk_state", "",
        "1 for what the disk of the data directory has room for, 0 for the others: `ok` everything, `low` no changes of clients, `full` no log entries.";
    DISK_FREE = Gauge "conclave_disk_free", "bytes",
        "Free space on the disk of the data directory.";
    DISK_RESERVE = Gauge "conclave_disk_reserve", "bytes",
        "Free space that the node leaves on that disk.";
    BUILD = Info "conclave_build", "",
        "The program.";
    RESIDENT = Gauge "process_resident_memory", "bytes",
        "Resident memory of the process.";
    OPEN_FDS = Gauge "process_open_fds", "",
        "Open file descriptors of the process.";
    STARTED = Gauge "process_start_time", "seconds",
        "Start of the process, since 1970.";
}

/// Writes all families.
pub(super) fn write(metrics: &Metrics, status: Option<NodeStatus>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        metrics: metrics.clone(),
        status,
    }));
    let mut text = String::with_capacity(16 << 10);
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One answer to `/metrics`.
#[derive(Debug)]
struct Scrape {
    metrics: Metrics,
    status: Option<NodeStatus>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.http(&mut page)?;
        self.writes(&mut page)?;
        self.raft(&mut page)?;
        self.replication(&mut page)?;
        self.state(&mut page)?;
        self.disk(&mut page)?;
        self.process(&mut page)
    }
}

/// Writes one family after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn family(
        &mut self,
        family: &Family,
        fill: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let unit = (!family.unit.is_empty()).then(|| Unit::Other(family.unit.to_owned()));
        let encoder =
            self.0
                .encode_descriptor(family.name, family.help, unit.as_ref(), family.kind)?;
        fill(encoder)
    }

    fn counter(&mut self, family: &Family, value: u64) -> fmt::Result {
        self.family(family, |mut encoder| count(&mut encoder, value))
    }

    fn gauge(&mut self, family: &Family, value: Option<impl EncodeGaugeValue>) -> fmt::Result {
        self.family(family, |mut encoder| match value {
            Some(value) => encoder.encode_gauge(&value),
            None => Ok(()),
        })
    }

    /// Writes one gauge for each value of a label.
    fn gauges<'l>(
        &mut self,
        family: &Family,
        label: &'static str,
        values: impl Iterator<Item = (&'l str, impl EncodeGaugeValue)>,
    ) -> fmt::Result {
        self.family(family, |mut encoder| {
            for (text, value) in values {
                let labels = [(label, text)];
                encoder.encode_family(&labels)?.encode_gauge(&value)?;
            }
            Ok(())
        })
    }

    fn latencies(&mut self, family: &Family, latencies: &Latencies) -> fmt::Result {
        self.family(family, |mut encoder| {
            histogram(&mut encoder, &latencies.shown())
        })
    }
}

fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn histogram(encoder: &mut MetricEncoder<'_>, shown: &Shown) -> fmt::Result {
    encoder.encode_histogram::<NoLabelSet>(shown.sum, shown.count, &shown.buckets, None)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

impl Scrape {
    fn http(&self, page: &mut Page<'_>) -> fmt::Result {
        let inner = &*self.metrics.0;
        page.family(&HTTP_REQUESTS, |mut encoder| {
            for (labels, value) in inner.requests.counted() {
                let labels = [
                    ("route", labels.route.as_str()),
                    ("method", labels.method.as_str()),
                    ("level", labels.level.as_str()),
                    ("status", labels.status.as_str()),
                ];
                count(&mut encoder.encode_family(&labels)?, value)?;
            }
            Ok(())
        })?;
        page.family(&HTTP_DURATION, |mut encoder| {
            for route in Route::ALL {
                for method in Method::ALL {
                    let shown = inner.requests.durations(*route, *method).shown();
                    if shown.count > 0 {
                        let labels = [("route", route.as_str()), ("method", method.as_str())];
                        histogram(&mut encoder.encode_family(&labels)?, &shown)?;
                    }
                }
            }
            Ok(())
        })?;
        page.gauge(&WATCHERS, Some(self.metrics.watchers()))
    }

    fn writes(&self, page: &mut Page<'_>) -> fmt::Result {
        let inner = &*self.metrics.0;
        page.family(&PROPOSALS, |mut encoder| {
            for fate in Proposed::ALL {
                let labels = [("outcome", fate.as_str())];
                let value = inner.proposals[fate as usize].load(Ordering::Relaxed);
                count(&mut encoder.encode_family(&labels)?, value)?;
            }
            Ok(())
        })?;
        page.family(&BATCH, |mut encoder| {
            histogram(&mut encoder, &inner.batches.shown())
        })?;
        page.latencies(&COMMIT, &inner.commit)?;
        page.counter(&APPLIED, inner.applied.load(Ordering::Relaxed))?;
        page.latencies(&APPLY, &inner.apply)?;
        page.latencies(&SYNC, &inner.sync)
    }

    fn raft(&self, page: &mut Page<'_>) -> fmt::Result {
        const ROLES: [Role; 5] = [
            Role::Leader,
            Role::Follower,
            Role::Candidate,
            Role::Learner,
            Role::Removed,
        ];
        let changes = &self.metrics.0.leader_changes;
        page.counter(&LEADER_CHANGES, changes.load(Ordering::Relaxed))?;
        let status = self.status.as_ref();
        let roles = status
            .into_iter()
            .flat_map(|status| ROLES.map(|role| (role.as_str(), u64::from(status.role == role))));
        page.gauges(&ROLE, "role", roles)?;
        let has_leader = status.map(|status| u64::from(status.leader.is_some()));
        page.gauge(&HAS_LEADER, has_leader)?;
        page.gauge(&TERM, status.map(|status| status.term))?;
        page.gauge(&LAST_LOG, status.map(|status| status.last_log_index))?;
        page.gauge(&COMMITTED, status.map(|status| status.commit_index))?;
        page.gauge(&APPLIED_INDEX, status.map(|status| status.applied_index))?;
        page.gauge(&SNAPSHOT, status.map(|status| status.snapshot_index))?;
        page.gauge(&PURGED, status.map(|status| status.purged_index))?;
        let age = |ms: fn(&NodeStatus) -> Option<u64>| status.and_then(ms).map(seconds);
        page.gauge(&QUORUM_AGE, age(|status| status.quorum_ack_age_ms))?;
        page.gauge(&CONTACT_AGE, age(|status| status.leader_contact_age_ms))
    }

    fn replication(&self, page: &mut Page<'_>) -> fmt::Result {
        // While a member is replaced, two have its name; the samples of a family must differ.
        let mut followers = std::collections::BTreeMap::new();
        let mut members = [("voter", 0_u64), ("learner", 0)];
        if let Some(status) = &self.status {
            for follower in &status.followers {
                let lag = status.last_log_index.saturating_sub(follower.match_index);
                let shown = followers.entry(follower.node.as_str());
                let (worst, ack_ms) = shown.or_insert((lag, follower.last_ack_ms));
                if lag > *worst {
                    (*worst, *ack_ms) = (lag, follower.last_ack_ms);
                }
            }
            for member in &status.members {
                members[usize::from(!member.voter)].1 += 1;
            }
        }
        let lags = followers.iter().map(|(node, (lag, _))| (*node, *lag));
        page.gauges(&LAG, "follower", lags)?;
        let acks = followers
            .iter()
            .filter_map(|(node, (_, ack_ms))| Some((*node, seconds((*ack_ms)?))));
        page.gauges(&ACK_AGE, "follower", acks)?;
        let members = members.into_iter().filter(|_| self.status.is_some());
        page.gauges(&MEMBERS, "kind", members)?;
        let dead = self.metrics.0.dead_voters.load(Ordering::Relaxed);
        let leads = |status: &&NodeStatus| status.role == Role::Leader;
        let dead = self.status.as_ref().filter(leads).map(|_| dead);
        page.gauge(&DEAD_VOTERS, dead)
    }

    fn state(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = self.status.as_ref();
        page.gauge(&REVISION, status.map(|status| status.revision))?;
        page.gauge(&KEYS, status.map(|status| status.keys))?;
        page.gauge(&BYTES, status.map(|status| status.bytes))?;
        page.gauge(&LOCKS, status.map(|status| status.locks))
    }

    fn disk(&self, page: &mut Page<'_>) -> fmt::Result {
        const STATES: [DiskState; 3] = [DiskState::Ok, DiskState::Low, DiskState::Full];
        let disk = self.status.as_ref().and_then(|status| status.disk);
        let states = disk
            .into_iter()
            .flat_map(|disk| STATES.map(|it| (it.as_str(), u64::from(disk.state == it))));
        page.gauges(&DISK_STATE, "state", states)?;
        page.gauge(&DISK_FREE, disk.map(|disk| disk.free_bytes))?;
        page.gauge(&DISK_RESERVE, disk.map(|disk| disk.reserve_bytes))
    }

    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        page.family(&BUILD, |mut encoder| {
            encoder.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
        })?;
        page.gauge(&RESIDENT, process::resident_bytes())?;
        page.gauge(&OPEN_FDS, process::open_fds())?;
        let started = seconds(self.metrics.0.started_wall_ms);
        page.gauge(&STARTED, Some(started))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Level, RequestLabels, Status};
    use super::*;

    #[test]
    fn every_family_is_shown_once_with_help_type_and_unit() {
        let text = Metrics::default().exposition(None).unwrap();
        let count = |line: &str| text.lines().filter(|one| one.starts_with(line)).count();
        for family in FAMILIES {
            let Family {
                name, unit, help, ..
            } = family;
            let full = match *unit {
                "" => (*name).to_owned(),
                unit => format!("{name}_{unit}"),
            };
            assert_eq!(count(&format!("# HELP {full} {help}")), 1, "{full}");
            let kind = family.kind.as_str();
            assert_eq!(count(&format!("# TYPE {full} {kind}")), 1, "{full}");
            let units = usize::from(!unit.is_empty());
            assert_eq!(count(&format!("# UNIT {full} {unit}")), units, "{full}");
        }
        assert_eq!(count("# HELP "), FAMILIES.len());
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_recorded_is_shown() {
        let metrics = Metrics::default();
        let labels = RequestLabels {
            route: Route::Keys,
            method: Method::Read,
            level: Level::Stale,
            status: Status::Success,
        };
        for _ in 0..3 {
            metrics.request(labels, Duration::from_micros(150));
        }
        metrics.proposed(Proposed::Committed, Duration::from_millis(3));
        metrics.proposed(Proposed::Unknown, Duration::from_secs(5));
        metrics.batch(2);
        metrics.applied(7, Duration::from_millis(1));
        metrics.leader_changed("a leader".to_owned());
        let _watcher = metrics.watcher();
        let text = metrics.exposition(None).unwrap();
        for line in [
            r#"conclave_http_requests_total{route="keys",method="read",level="stale",status="2xx"} 3"#,
            r#"conclave_http_request_duration_seconds_bucket{le="0.0001",route="keys",method="read"} 0"#,
            r#"conclave_http_request_duration_seconds_bucket{le="0.0002",route="keys",method="read"} 3"#,
            r#"conclave_http_request_duration_seconds_bucket{le="+Inf",route="keys",method="read"} 3"#,
            r#"conclave_proposals_total{outcome="committed"} 1"#,
            r#"conclave_proposals_total{outcome="unknown"} 1"#,
            "conclave_proposal_batch_proposals_sum 2.0",
            "conclave_commit_duration_seconds_sum 0.003",
            "conclave_commit_duration_seconds_count 1",
            "conclave_applied_entries_total 7",
            "conclave_raft_leader_changes_total 1",
            "conclave_watchers 1",
        ] {
            assert!(text.lines().any(|one| one == line), "no {line} in\n{text}");
        }
    }
}
