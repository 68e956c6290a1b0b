//! The rows of the table: which operation, by how many clients, through which nodes.

use crate::load::Operation;

/// Where the clients of a row connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    Leader,
    Followers,
    AllNodes,
}

impl Through {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Followers => "followers",
            Self::AllNodes => "all nodes",
        }
    }

    /// Returns the addresses out of those with the leader first.
    pub(crate) fn addresses(self, all: &[String]) -> Vec<String> {
        match self {
            Self::Followers if all.len() > 1 => all[1..].to_vec(),
            Self::Leader | Self::Followers => all[..1].to_vec(),
            Self::AllNodes => all.to_vec(),
        }
    }
}

/// A row before it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) operation: Operation,
    pub(crate) through: Through,
    pub(crate) clients: usize,
}

/// Fills the systems, and is measured like any other.
pub(crate) const LOAD: Row = Row {
    operation: Operation::Load,
    through: Through::Leader,
    clients: 64,
};

impl Row {
    /// Returns the name with what etcd does where it has another word or nothing of the kind.
    pub(crate) fn name_beside_etcd(self) -> String {
        let note = match self.operation {
            Operation::Put | Operation::Load => "",
            Operation::Get("stale") => " (etcd: serializable)",
            Operation::Get("default") => " (etcd has no lease reads: linearizable)",
            Operation::Get(_) => " (etcd: linearizable)",
        };
        self.name() + note
    }

    /// Returns what the table calls it.
    pub(crate) fn name(self) -> String {
        let what = match self.operation {
            Operation::Put => "put",
            Operation::Load => "load",
            Operation::Get("stale") => "get stale",
            Operation::Get("default") => "get default",
            Operation::Get(_) => "get consistent",
        };
        let plural = if self.clients == 1 { "" } else { "s" };
        format!(
            "{what}, {} client{plural}, {}",
            self.clients,
            self.through.as_str()
        )
    }
}

/// Returns all rows after the load.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for through in [Through::Leader, Through::Followers, Through::AllNodes] {
        // One client of all nodes would be one of the leader.
        let few = if through == Through::AllNodes {
            &[][..]
        } else {
            &[1][..]
        };
        for &clients in few.iter().chain(&[16, 64, 256]) {
            rows.push(Row {
                operation: Operation::Put,
                through,
                clients,
            });
        }
    }
    for level in ["stale", "default", "consistent"] {
        for through in [Through::AllNodes, Through::Leader] {
            rows.push(Row {
                operation: Operation::Get(level),
                through,
                clients: 64,
            });
        }
    }
    rows
}
