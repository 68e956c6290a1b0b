//! One row of the log: a piece of news, when it was heard, and its words.

use conclave_shared::stream::{KeyChange, LeaderChange, LockChange, MemberChange};

use crate::model::{
    news::{KeyEvent, News},
    text::{grouped, size},
};

/// One row. Rows are numbered in the order in which the tab heard them.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: u64,
    pub news: News,
    /// When it happened or was heard, the cluster's wall clock, milliseconds since 1970.
    pub time_ms: u64,
    /// When it was heard, the tab's monotonic clock, milliseconds.
    pub heard_ms: f64,
}

impl Row {
    /// Returns the word for what it is, as `types` of the API has it; `gap` for what is missing.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match &self.news {
            News::Key(event, _) => event.as_str(),
            News::Lock(_) => "lock",
            News::Member(_) => "member",
            News::Leader(_) => "leader",
            News::Gap { .. } => "gap",
        }
    }

    /// Returns the key or lock that changed.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.news {
            News::Key(_, change) => Some(&change.key),
            News::Lock(change) => Some(&change.lock),
            News::Member(_) | News::Leader(_) | News::Gap { .. } => None,
        }
    }

    /// Returns the node that took the change from its client, and the client's own label.
    #[must_use]
    pub fn by(&self) -> Option<(&str, Option<&str>)> {
        match &self.news {
            News::Key(_, change) => Some((&change.origin, change.client.as_deref())),
            News::Lock(change) => Some((&change.node, Some(&change.owner))),
            News::Member(_) | News::Leader(_) | News::Gap { .. } => None,
        }
    }

    /// Says what happened beside kind, name and origin: for keys the change of the value's size.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.news {
            News::Key(event, change) => size_change(*event, change),
            News::Lock(change) => lock_words(change),
            News::Member(change) => member_words(change),
            News::Leader(change) => leader_words(change),
            News::Gap { after, oldest } => format!(
                "Changes between revision {} and {} are no longer kept.",
                grouped(*after),
                grouped(*oldest)
            ),
        }
    }

    /// Writes it as one line of JSON with the names that the event stream has.
    #[must_use]
    pub fn json(&self) -> String {
        let line = Line::new(self.kind());
        match &self.news {
            News::Key(_, change) => line
                .number("revision", Some(change.revision))
                .text("key", Some(&change.key))
                .text("origin", Some(&change.origin))
                .text("client", change.client.as_deref())
                .number("wall_time_ms", Some(change.wall_time_ms))
                .number("bytes", change.bytes)
                .number("previous_bytes", change.previous_bytes)
                .number("previous_revision", change.previous_revision),
            News::Lock(change) => line
                .number("revision", Some(change.revision))
                .text("lock", Some(&change.lock))
                .text("change", Some(&change.change))
                .text("session", Some(&change.session))
                .text("owner", Some(&change.owner))
                .text("node", Some(&change.node))
                .number("token", change.token)
                .number("waiters", Some(change.waiters))
                .number("wall_time_ms", change.wall_time_ms),
            News::Member(change) => line
                .number("revision", Some(change.revision))
                .text("change", Some(&member_words(change)))
                .number("wall_time_ms", Some(change.wall_time_ms)),
            News::Leader(change) => line
                .text("leader", change.leader.as_deref())
                .number("term", Some(change.term))
                .number("heard_ms", Some(self.time_ms)),
            News::Gap { after, oldest } => line
                .number("after", Some(*after))
                .number("oldest", Some(*oldest)),
        }
        .end()
    }
}

fn size_change(event: KeyEvent, change: &KeyChange) -> String {
    match (event, change.previous_bytes, change.bytes) {
        (KeyEvent::Put, Some(before), Some(now)) if before == now => "same size".to_owned(),
        (KeyEvent::Put, before, Some(now)) => {
            let before = before.unwrap_or(0);
            let sign = if now < before { '\u{2212}' } else { '+' };
            format!("{sign}{}", size(now.abs_diff(before)))
        }
        (_, Some(before), _) => format!("\u{2212}{}", size(before)),
        _ => String::new(),
    }
}

fn lock_words(change: &LockChange) -> String {
    let mut words = change.change.clone();
    if let Some(token) = change.token {
        words.push_str(", token ");
        words.push_str(&grouped(token));
    }
    match change.waiters {
        0 => {}
        1 => words.push_str(", 1 waits"),
        waiters => words.push_str(&format!(", {waiters} wait")),
    }
    words
}

fn member_words(change: &MemberChange) -> String {
    let each = change.changes.iter();
    let words: Vec<String> = each
        .map(|one| format!("{} {}", one.node, one.change))
        .collect();
    words.join(", ")
}

fn leader_words(change: &LeaderChange) -> String {
    match &change.leader {
        Some(leader) => format!("{leader} leads, term {}", grouped(change.term)),
        None => format!(
            "no leader, term {}: nothing can be written",
            grouped(change.term)
        ),
    }
}

/// One object of JSON that is being written. What has no value is left out.
struct Line(String);

impl Line {
    fn new(kind: &str) -> Self {
        Self(format!("{{\"type\":\"{kind}\""))
    }

    fn number(mut self, name: &str, value: Option<u64>) -> Self {
        if let Some(value) = value {
            self.0.push_str(&format!(",\"{name}\":{value}"));
        }
        self
    }

    fn text(mut self, name: &str, value: Option<&str>) -> Self {
        let Some(value) = value else { return self };
        self.0.push_str(&format!(",\"{name}\":\""));
        for letter in value.chars() {
            match letter {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(letter);
                }
                '\0'..='\u{1f}' => {
                    self.0.push_str(&format!("\\u{:04x}", u32::from(letter)));
                }
                _ => self.0.push(letter),
            }
        }
        self.0.push('"');
        self
    }

    fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row of one put.
    pub(in crate::model::events) fn put(id: u64, key: &str, origin: &str) -> Row {
        let change = KeyChange {
            key: key.to_owned(),
            revision: 100 + id,
            origin: origin.to_owned(),
            client: None,
            wall_time_ms: 1_000 * id,
            bytes: Some(12),
            previous_bytes: None,
            previous_revision: None,
        };
        Row {
            id,
            news: News::Key(KeyEvent::Put, change),
            time_ms: 1_000 * id,
            heard_ms: 0.0,
        }
    }

    fn with(before: Option<u64>, now: Option<u64>, event: KeyEvent) -> String {
        let mut row = put(0, "a", "n");
        if let News::Key(kind, change) = &mut row.news {
            *kind = event;
            change.bytes = now;
            change.previous_bytes = before;
        }
        row.words()
    }

    #[test]
    fn a_change_of_size_has_a_sign() {
        assert_eq!(with(None, Some(12), KeyEvent::Put), "+12 B");
        assert_eq!(with(Some(12), Some(12), KeyEvent::Put), "same size");
        assert_eq!(with(Some(12), Some(4), KeyEvent::Put), "\u{2212}8 B");
        assert_eq!(with(Some(4_096), None, KeyEvent::Delete), "\u{2212}4.0 KiB");
        assert_eq!(with(Some(1), None, KeyEvent::Expire), "\u{2212}1 B");
    }

    #[test]
    fn a_line_of_the_export_is_json_whatever_the_key_is_called() {
        for key in ["a\"b\\c", "line\nbreak\u{1}", "ключ 🗝 \u{202e}"] {
            let line = put(1, key, "n1").json();
            assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(read["key"], key);
            assert_eq!(read["type"], "put");
            assert_eq!(read["revision"], 101);
            assert!(read.get("client").is_none());
        }
    }

    #[test]
    fn a_gap_says_revisions_and_no_count() {
        let mut row = put(1, "a", "n");
        row.news = News::Gap {
            after: 48_211,
            oldest: 48_623,
        };
        assert_eq!(
            row.words(),
            "Changes between revision 48,211 and 48,623 are no longer kept."
        );
    }
}
