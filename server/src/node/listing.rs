//! Frozen views that paged listings continue from.
//!
//! Owns which revisions are kept and what a cursor says. Pins are this node's memory only: they
//! are lost with the process, and another node continues a cursor only while it is at the same
//! revision itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use conclave_shared::{ReadLevel, limits};

use super::{Answer, AnswerMeta, View};

/// Most views kept; the one not used for longest makes room.
pub const PINS: usize = 64;
/// Time after its last use that a view is kept.
pub const PIN_TTL: Duration = Duration::from_secs(60);

const CURSOR_FORMAT: u8 = 1;

/// Where a listing goes on: a revision and the first entry of the next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub revision: u64,
    pub start: String,
}

impl Cursor {
    /// Returns the opaque text that clients hand back.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(9 + self.start.len());
        bytes.push(CURSOR_FORMAT);
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes.extend_from_slice(self.start.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Returns `None` when `text` was not made by [`encode`](Self::encode).
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > 2 * limits::KEY_BYTES {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (format, rest) = bytes.split_first()?;
        let (revision, start) = rest.split_first_chunk::<8>()?;
        if *format != CURSOR_FORMAT {
            return None;
        }
        let start = String::from_utf8(start.to_vec()).ok()?;
        Some(Self {
            revision: u64::from_be_bytes(*revision),
            start,
        })
    }
}

/// The kept views. Time comes from the caller.
#[derive(Debug, Default)]
pub struct Pins(Mutex<Vec<Pin>>);

#[derive(Debug)]
struct Pin {
    view: Arc<View>,
    meta: AnswerMeta,
    pinned_at: Instant,
    used_at: Instant,
}

impl Pins {
    /// Keeps the view of a listing's first page.
    pub fn keep(&self, answer: &Answer<Arc<View>>, now: Instant) {
        let revision = answer.value.state.revision();
        let mut pins = self.lock();
        forget_unused(&mut pins, now);
        if let Some(pin) = pins.iter_mut().find(|pin| pin.revision() == revision) {
            pin.used_at = now;
            return;
        }
        if pins.len() >= PINS {
            let oldest = (0..pins.len()).min_by_key(|i| pins[*i].used_at);
            oldest.map(|i| pins.swap_remove(i));
        }
        let (view, meta) = (answer.value.clone(), answer.meta.clone());
        pins.push(Pin {
            view,
            meta,
            pinned_at: now,
            used_at: now,
        });
    }

    /// Returns the view of a revision. What it says of itself is `stale`, and as old as it is.
    pub fn find(&self, revision: u64, now: Instant) -> Option<Answer<Arc<View>>> {
        let mut pins = self.lock();
        forget_unused(&mut pins, now);
        let pin = pins.iter_mut().find(|pin| pin.revision() == revision)?;
        pin.used_at = now;
        let mut meta = pin.meta.clone();
        let age = now.saturating_duration_since(pin.pinned_at);
        meta.last_contact = meta.last_contact.map(|before| before + age);
        meta.level = ReadLevel::Stale;
        Some(Answer {
            value: pin.view.clone(),
            meta,
        })
    }

    /// Drops the views that have not been used for [`PIN_TTL`].
    pub fn sweep(&self, now: Instant) {
        forget_unused(&mut self.lock(), now);
    }

    /// Returns how many views are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns true when no view is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Pin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    fn revision(&self) -> u64 {
        self.view.state.revision()
    }
}

fn forget_unused(pins: &mut Vec<Pin>, now: Instant) {
    pins.retain(|pin| now.saturating_duration_since(pin.used_at) < PIN_TTL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Timing;
    use crate::state::State;

    fn answer(revision: u64) -> Answer<Arc<View>> {
        let meta = AnswerMeta {
            revision,
            level: ReadLevel::Consistent,
            term: 1,
            applied_index: revision,
            log_time_ms: 0,
            served_by: "node0".into(),
            leader: None,
            last_contact: Some(Duration::from_millis(5)),
            forwarded: false,
            request_id: None,
            replayed: false,
            timing: Timing::default(),
        };
        let state = State::restore(revision, 0, 0);
        Answer {
            value: Arc::new(View {
                state,
                applied_index: revision,
                applied_term: 1,
                ..View::default()
            }),
            meta,
        }
    }

    #[test]
    fn a_cursor_survives_its_text_and_garbage_does_not_parse() {
        let cursor = Cursor {
            revision: u64::MAX,
            start: "a/é \n".into(),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        for garbage in ["", "!", "AAAA", "AQ", "AgAAAAAAAAAB", &"A".repeat(9_999)] {
            assert_eq!(Cursor::decode(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_view_is_kept_until_it_was_unused_for_a_minute() {
        let (pins, start) = (Pins::default(), crate::clock::now());
        pins.keep(&answer(7), start);
        assert!(pins.find(7, start + PIN_TTL / 2).is_some());
        let found = pins.find(7, start + PIN_TTL).unwrap();
        assert_eq!(found.meta.level, ReadLevel::Stale);
        assert_eq!(
            found.meta.last_contact,
            Some(PIN_TTL + Duration::from_millis(5))
        );
        assert!(pins.find(8, start).is_none());
        pins.sweep(start + PIN_TTL * 2);
        assert!(pins.is_empty());
    }

    #[test]
    fn the_view_unused_for_longest_makes_room() {
        let (pins, start) = (Pins::default(), crate::clock::now());
        for revision in 0..PINS as u64 {
            pins.keep(&answer(revision), start + Duration::from_millis(revision));
        }
        assert!(pins.find(0, start + Duration::from_secs(1)).is_some());
        pins.keep(&answer(1_000), start + Duration::from_secs(2));
        assert_eq!(pins.len(), PINS);
        assert!(
            pins.find(0, start + Duration::from_secs(2)).is_some(),
            "it was used"
        );
        assert!(pins.find(1, start + Duration::from_secs(2)).is_none());
    }
}
