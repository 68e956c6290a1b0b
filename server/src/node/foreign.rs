//! Nodes of other clusters that take this node's address for that of one of their members: somebody
//! has reused an address, and should be told where it is seen.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conclave_shared::cluster::ForeignPeer;
use parking_lot::Mutex;

use crate::clock;
use crate::raft::{ClusterId, NodeId};

/// Strangers remembered; the one that has been quiet for longest goes.
const MOST: usize = 16;
/// A stranger that has been quiet for this long is shown no more.
const SHOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// A node of another cluster that has been refused here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    pub name: String,
    pub id: NodeId,
    pub cluster: ClusterId,
    pub address: SocketAddr,
}

/// The strangers of late, newest first.
#[derive(Debug, Default)]
pub(super) struct ForeignPeers(Mutex<VecDeque<(Stranger, Instant)>>);

impl ForeignPeers {
    pub(super) fn note(&self, stranger: Stranger) {
        let mut seen = self.0.lock();
        seen.retain(|(old, _)| (old.cluster, old.id) != (stranger.cluster, stranger.id));
        seen.truncate(MOST - 1);
        seen.push_front((stranger, clock::now()));
    }

    pub(super) fn shown(&self) -> Vec<ForeignPeer> {
        let seen = self.0.lock();
        seen.iter()
            .filter(|(_, at)| clock::since(*at) < SHOWN_FOR)
            .map(|(stranger, at)| ForeignPeer {
                node: stranger.name.clone(),
                address: stranger.address.to_string(),
                cluster_id: stranger.cluster.to_string(),
                age_ms: clock::millis(clock::since(*at)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_shown_once_and_not_more_than_a_few_are_kept() {
        let peers = ForeignPeers::default();
        for id in 0..40 {
            peers.note(Stranger {
                name: format!("n{}", id % 20),
                id: id % 20,
                cluster: ClusterId([1; 16]),
                address: "127.0.0.1:1".parse().unwrap(),
            });
        }
        let shown = peers.shown();
        assert_eq!(shown.len(), MOST);
        assert_eq!((&*shown[0].node, &*shown[15].node), ("n19", "n4"));
    }
}
