//! Messages of `/api/events`, as the contract has them.

use serde_json::Value;

use crate::sse::Event;

/// Kinds of changes.
pub(super) const CHANGES: [&str; 5] = ["put", "delete", "expire", "lock", "member"];
/// What a node says of itself; never with an id.
const OBSERVATIONS: [&str; 4] = ["hello", "leader", "hb", "lagged"];
/// Fields of a record that are true only for the moment in which it was sent.
const PASSING: [&str; 1] = ["ttl_ms"];

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub kind: String,
    pub revision: u64,
    /// Of the key or the lock; empty for members.
    pub name: String,
    /// All that was said, without what is true only for the moment.
    pub body: Value,
}

impl Change {
    /// Returns the record after the change; null when there is none, or none was asked for.
    #[must_use]
    pub fn record(&self) -> &Value {
        &self.body["record"]
    }

    /// Returns the record before the change.
    #[must_use]
    pub fn previous(&self) -> &Value {
        &self.body["previous"]
    }

    /// Returns the value that was put.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        self.record()["value"].as_str()
    }

    /// Returns whether it is of a key.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self.kind.as_str(), "put" | "delete" | "expire")
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Hello {
        revision: u64,
        oldest: u64,
    },
    Change {
        change: Change,
        id: Option<u64>,
        /// Part of a state, not of the history.
        snapshot: bool,
    },
    Progress {
        revision: u64,
    },
    Reset {
        revision: u64,
    },
    Synced {
        revision: u64,
    },
    Lagged,
    /// `leader` and `hb`.
    Other(String),
}

impl Message {
    /// Returns the revision that a client may resume after when it has handled this message.
    #[must_use]
    pub const fn mark(&self) -> Option<u64> {
        match self {
            Self::Change { id, .. } => *id,
            Self::Progress { revision } | Self::Synced { revision } => Some(*revision),
            Self::Hello { .. } | Self::Reset { .. } | Self::Lagged | Self::Other(_) => None,
        }
    }

    /// Reads an event.
    ///
    /// # Errors
    ///
    /// It is none that the contract knows; says what is wrong.
    pub fn parse(event: &Event) -> Result<Self, String> {
        let id = event.id.as_deref().map(str::parse::<u64>).transpose();
        let id = id.map_err(|_error| format!("the id is no revision: {event:?}"))?;
        let body: Value =
            serde_json::from_str(&event.data).map_err(|error| format!("{error}: {event:?}"))?;
        let name = event.name.as_str();
        if OBSERVATIONS.contains(&name) && id.is_some() {
            return Err(format!("an observation with an id: {event:?}"));
        }
        let number = |field: &str| {
            let number = body[field].as_u64();
            number.ok_or_else(|| format!("no number `{field}`: {event:?}"))
        };
        let as_id = |revision: u64| {
            let same = id == Some(revision);
            same.then_some(revision)
                .ok_or_else(|| format!("the id is not the revision: {event:?}"))
        };
        match name {
            "hello" => Ok(Self::Hello {
                revision: number("revision")?,
                oldest: number("oldest")?,
            }),
            "progress" => Ok(Self::Progress {
                revision: as_id(number("revision")?)?,
            }),
            "reset" => Ok(Self::Reset {
                revision: number("revision")?,
            }),
            "synced" => Ok(Self::Synced {
                revision: as_id(number("revision")?)?,
            }),
            "lagged" => Ok(Self::Lagged),
            "leader" | "hb" => Ok(Self::Other(name.to_owned())),
            _ if CHANGES.contains(&name) => {
                let revision = number("revision")?;
                if id.is_some() {
                    as_id(revision)?;
                }
                let snapshot = body["snapshot"] == true;
                let change =
                    change(name, revision, body).map_err(|what| format!("{what}: {event:?}"))?;
                Ok(Self::Change {
                    change,
                    id,
                    snapshot,
                })
            }
            _ => Err(format!("an unknown event: {event:?}")),
        }
    }
}

fn change(kind: &str, revision: u64, mut body: Value) -> Result<Change, String> {
    let named = match kind {
        "lock" => body["lock"].as_str(),
        "member" => Some(""),
        _ => body["key"].as_str(),
    };
    let name = named.ok_or("no name")?.to_owned();
    for record in ["record", "previous"] {
        if let Some(record) = body.get_mut(record).and_then(Value::as_object_mut) {
            record.retain(|field, _| !PASSING.contains(&field.as_str()));
        }
    }
    Ok(Change {
        kind: kind.to_owned(),
        revision,
        name,
        body,
    })
}
