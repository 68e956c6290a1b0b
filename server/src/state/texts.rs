//! Texts that many commands and records have in common: content types, and names of nodes.
//!
//! Who decodes a command or a record gets the text that was decoded before it, when it is the same,
//! instead of another copy. That changes nothing that can be observed.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{Error, Visitor};
use xxhash_rust::xxh3::xxh3_64;

/// Texts that each thread remembers.
const REMEMBERED: usize = 64;
/// Longest text that is remembered, bytes.
const LONGEST: usize = 256;

thread_local! {
    static TEXTS: RefCell<[Option<Arc<str>>; REMEMBERED]> = const { RefCell::new([const { None }; REMEMBERED]) };
}

/// Returns a text, shared with those before it where it can be.
#[must_use]
pub fn shared(text: &str) -> Arc<str> {
    if text.len() > LONGEST {
        return text.into();
    }
    let place = xxh3_64(text.as_bytes()) as usize % REMEMBERED;
    TEXTS.with_borrow_mut(|texts| match &texts[place] {
        Some(known) if **known == *text => known.clone(),
        _ => {
            let text: Arc<str> = text.into();
            texts[place] = Some(text.clone());
            text
        }
    })
}

/// Decodes a text as [`shared`] does, for `#[serde(deserialize_with)]`.
pub(super) fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    from.deserialize_str(Shared)
}

struct Shared;

impl Visitor<'_> for Shared {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(shared(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_is_one_allocation_and_a_long_one_is_itself() {
        assert!(Arc::ptr_eq(&shared("text/plain"), &shared("text/plain")));
        let long = "x".repeat(LONGEST + 1);
        assert!(!Arc::ptr_eq(&shared(&long), &shared(&long)));
        // More texts than places.
        for number in 0..4 * REMEMBERED {
            let text = number.to_string();
            assert_eq!(*shared(&text), *text);
        }
    }
}
