//! The last events as one line each.

use crate::model::{
    address::{Address, Screen},
    news::{KeyEvent, News},
    text::size,
};

/// Lines that the screen shows.
pub const SHOWN: usize = 8;
/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Tells it from all others.
    pub number: u64,
    pub revision: Option<u64>,
    /// What happened, one word.
    pub kind: String,
    /// To what.
    pub what: String,
    /// Size, holder, or whatever else is worth a word.
    pub more: String,
    /// Where the dashboard shows it.
    pub to: Address,
}

/// Puts a piece of news into one line; `number` tells it from all others.
#[must_use]
pub fn line(number: u64, news: &News) -> Line {
    let (kind, what, more, to) = match news {
        News::Key(event, change) => (
            event.as_str(),
            change.key.clone(),
            match (event, change.bytes) {
                (KeyEvent::Put, Some(bytes)) => size(bytes),
                _ => String::new(),
            },
            Address::of(Screen::Keys).with("key", Some(&change.key)),
        ),
        News::Lock(change) => (
            change.change.as_str(),
            change.lock.clone(),
            change.owner.clone(),
            Address::of(Screen::Locks).with("lock", Some(&change.lock)),
        ),
        News::Member(change) => {
            let words = change
                .changes
                .iter()
                .map(|one| format!("{} {}", one.node, one.change));
            (
                "members",
                words.collect::<Vec<_>>().join(", "),
                String::new(),
                Address::of(Screen::Nodes),
            )
        }
        News::Leader(change) => (
            "leader",
            change
                .leader
                .clone()
                .unwrap_or_else(|| "none known".to_owned()),
            format!("term {}", change.term),
            Address::of(Screen::Nodes),
        ),
        News::Gap { after, oldest } => (
            "gap",
            format!("{after} to {oldest} are not kept"),
            String::new(),
            Address::of(Screen::Events),
        ),
    };
    Line {
        number,
        revision: news.revision(),
        kind: kind.to_owned(),
        what,
        more,
        to,
    }
}

#[cfg(test)]
mod tests {
    use conclave_shared::stream::{KeyChange, LeaderChange};

    use super::*;

    fn put(revision: u64) -> News {
        let change = KeyChange {
            key: format!("k{revision}"),
            revision,
            origin: "node0".to_owned(),
            client: None,
            wall_time_ms: 0,
            bytes: Some(2_048),
            previous_bytes: None,
            previous_revision: None,
        };
        News::Key(KeyEvent::Put, change)
    }

    #[test]
    fn a_line_leads_to_what_it_names() {
        let line = line(1, &put(7));
        assert_eq!(line.to.href(), "/ui/keys?key=k7");
        assert_eq!((line.kind.as_str(), line.more.as_str()), ("put", "2.0 KiB"));
        assert_eq!(line.revision, Some(7));
    }

    #[test]
    fn a_lost_leader_is_an_event() {
        let lost = News::Leader(LeaderChange {
            leader: None,
            term: 8,
        });
        assert_eq!(line(1, &lost).what, "none known");
    }
}
