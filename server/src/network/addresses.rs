//! Where each member can be dialled now.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::raft::{Member, NodeId};

/// Current addresses, taken from the membership. openraft keeps the client that it made when a
/// node was added, so a connection looks its address up here each time it connects.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Arc<RwLock<BTreeMap<NodeId, Member>>>);

impl Addresses {
    /// Replaces all entries by a membership's.
    pub fn set(&self, members: BTreeMap<NodeId, Member>) {
        *self.0.write() = members;
    }

    pub(super) fn get(&self, id: NodeId) -> Option<Member> {
        self.0.read().get(&id).cloned()
    }
}
