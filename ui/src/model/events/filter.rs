//! What a reader wants to see. The node applies it, too; here it sorts the rows that came before.

use super::row::Row;
use crate::model::news::{Interest, News};

/// Kinds that a reader may choose from.
pub const KINDS: [&str; 6] = ["put", "delete", "expire", "lock", "member", "leader"];

/// What a row must have. Empty parts ask for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// How keys and locks begin.
    pub prefix: String,
    pub kinds: Vec<String>,
    /// A part of the name of the node or of the label of the client that made the change. The node
    /// knows no such filter.
    pub by: String,
}

impl Filter {
    /// Reads it from an address; unknown kinds are ignored.
    #[must_use]
    pub fn parse(prefix: Option<String>, types: Option<&str>, by: Option<String>) -> Self {
        let words = types.unwrap_or_default().split(',');
        let kinds = words.filter(|word| KINDS.contains(word));
        Self {
            prefix: prefix.unwrap_or_default(),
            kinds: kinds.map(str::to_owned).collect(),
            by: by.unwrap_or_default(),
        }
    }

    /// Returns what the node can select.
    #[must_use]
    pub fn interest(&self) -> Interest {
        let prefix = Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty());
        Interest {
            prefixes: prefix.into_iter().collect(),
            types: self.kinds.clone(),
        }
    }

    /// Returns whether it asks for anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prefix.is_empty() && self.kinds.is_empty() && self.by.is_empty()
    }

    /// Returns whether a row is to be shown. What is missing always is.
    #[must_use]
    pub fn matches(&self, row: &Row) -> bool {
        if matches!(row.news, News::Gap { .. }) {
            return true;
        }
        let is_wanted = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == row.kind());
        // What has no name, such as a change of the membership, begins with anything.
        let begins = row.name().is_none_or(|name| name.starts_with(&self.prefix));
        is_wanted && begins && (self.by.is_empty() || self.is_by(row))
    }

    fn is_by(&self, row: &Row) -> bool {
        row.by().is_some_and(|(node, client)| {
            node.contains(&self.by) || client.is_some_and(|label| label.contains(&self.by))
        })
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::stream::LeaderChange;

    use super::{super::row::tests::put, *};

    #[test]
    fn a_filter_asks_for_all_of_its_parts() {
        let filter = Filter::parse(Some("app/".into()), Some("put,nonsense"), Some("n1".into()));
        assert_eq!(filter.kinds, ["put"]);
        assert!(filter.matches(&put(1, "app/x", "n1")));
        assert!(!filter.matches(&put(1, "app/x", "n2")));
        assert!(!filter.matches(&put(1, "other", "n1")));
    }

    #[test]
    fn a_gap_passes_every_filter_and_a_leader_every_prefix() {
        let filter = Filter::parse(Some("app/".into()), None, None);
        let mut row = put(1, "x", "n1");
        row.news = News::Leader(LeaderChange {
            leader: None,
            term: 2,
        });
        assert!(filter.matches(&row));
        row.news = News::Gap {
            after: 1,
            oldest: 2,
        };
        let strict = Filter::parse(None, Some("lock"), Some("nobody".into()));
        assert!(strict.matches(&row));
    }

    #[test]
    fn the_node_gets_prefix_and_kinds() {
        let interest =
            Filter::parse(Some("a".into()), Some("put,lock"), Some("me".into())).interest();
        assert_eq!(interest.prefixes, ["a"]);
        assert_eq!(interest.types, ["put", "lock"]);
        assert_eq!(Filter::default().interest(), Interest::default());
    }
}
