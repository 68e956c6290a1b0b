//! One page of an ordered listing: keys and folders of one frozen state, in byte order.
//!
//! Pure, and bounded in entries, in bytes of values and in keys walked for folder counts. It must
//! not know cursors or pins: where a page ends is a text, [`Page::next`], and nothing else.

use std::sync::Arc;

use conclave_shared::limits;

use super::{Key, Record, State};

/// Keys that one page walks to count its folders; folders met later are capped sooner.
const COUNT_BUDGET: u64 = 100_000;

/// What to list, and how much of it.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Keys with this text after the prefix are grouped into a folder that ends with it.
    pub delimiter: Option<&'a str>,
    /// First key or folder of the page. A start within a folder shows that folder.
    pub start: &'a str,
    /// Most keys and folders together; at least one is returned.
    pub limit: usize,
    /// Most bytes of keys and values; one entry may exceed it.
    pub bytes: usize,
}

/// A key, or the keys that share a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Key(Key, Arc<Record>),
    Folder {
        /// The listing's prefix, the folder's name and the delimiter.
        prefix: String,
        /// Keys in the folder; when `capped`, there are more.
        count: u64,
        capped: bool,
    },
}

/// Entries in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Start of the following page; `None` at the end.
    pub next: Option<String>,
}

/// Returns the page that starts at `listing.start`.
#[must_use]
pub fn page(state: &State, listing: &Listing<'_>) -> Page {
    let mut page = Page::default();
    let mut bytes = 0;
    let mut budget = COUNT_BUDGET;
    let mut at = listing.start.max(listing.prefix).to_owned();
    loop {
        let mut jump = None;
        for (key, record) in state.from(&at) {
            if !key.starts_with(listing.prefix) {
                return page;
            }
            let folder = folder_of(key, listing);
            let size = folder.map_or(key.len() + record.value.len(), str::len);
            let is_full = page.entries.len() >= listing.limit || bytes + size > listing.bytes;
            if is_full && !page.entries.is_empty() {
                page.next = Some(folder.unwrap_or(key).to_owned());
                return page;
            }
            bytes += size;
            let Some(folder) = folder else {
                page.entries.push(Entry::Key(key.clone(), record.clone()));
                continue;
            };
            page.entries.push(count_folder(state, folder, &mut budget));
            jump = after_prefix(folder);
            break;
        }
        match jump {
            Some(next) => at = next,
            None => return page,
        }
    }
}

/// Returns the number of keys that start with `prefix`. Walks all of them.
#[must_use]
pub fn count(state: &State, prefix: &str) -> u64 {
    state.with_prefix(prefix).count() as u64
}

/// Returns the smallest text above every text that starts with `prefix`.
///
/// UTF-8 orders as its code points do, so the last code point that has a successor is replaced by
/// it. `None` when there is no such text.
#[must_use]
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            char::MAX => None,
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

fn folder_of<'k>(key: &'k str, listing: &Listing<'_>) -> Option<&'k str> {
    let delimiter = listing.delimiter.filter(|text| !text.is_empty())?;
    let rest = key.get(listing.prefix.len()..)?;
    let end = listing.prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

fn count_folder(state: &State, folder: &str, budget: &mut u64) -> Entry {
    let most = limits::FOLDER_COUNT.min(*budget).max(1);
    let walked = state.with_prefix(folder).take(most as usize + 1).count() as u64;
    *budget = budget.saturating_sub(walked);
    Entry::Folder {
        prefix: folder.to_owned(),
        count: walked.min(most),
        capped: walked > most,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn state(keys: &[&str]) -> State {
        let mut state = State::restore(1, 0, 0);
        for key in keys {
            let record = Record {
                value: Bytes::from_static(b"0123456789"),
                content_type: "text/plain".into(),
                create_revision: 1,
                mod_revision: 1,
                version: 1,
                origin: "n".into(),
                deadline_ms: None,
            };
            state.restore_key(&Key::try_from(*key).unwrap(), Arc::new(record));
        }
        state
    }

    fn all() -> Listing<'static> {
        Listing {
            prefix: "",
            delimiter: None,
            start: "",
            limit: 1_000,
            bytes: 1 << 20,
        }
    }

    fn shown(page: &Page) -> Vec<String> {
        let show = |entry: &Entry| match entry {
            Entry::Key(key, _) => key.to_string(),
            Entry::Folder {
                prefix,
                count,
                capped,
            } => {
                format!("{prefix}({count}{})", if *capped { "+" } else { "" })
            }
        };
        page.entries.iter().map(show).collect()
    }

    #[test]
    fn keys_and_folders_come_in_one_order() {
        let state = state(&["a", "a/1", "a/2/x", "b", "c/1", "c/2", "d"]);
        let page = page(
            &state,
            &Listing {
                delimiter: Some("/"),
                ..all()
            },
        );
        assert_eq!(shown(&page), ["a", "a/(2)", "b", "c/(2)", "d"]);
        assert_eq!(page.next, None);
    }

    #[test]
    fn pages_of_any_size_join_to_the_whole() {
        let names = [
            "a",
            "a/1",
            "a/2/x",
            "b",
            "c/1",
            "c/2",
            "d",
            "e/",
            "é/x",
            "\u{10FFFF}/z",
        ];
        let state = state(&names);
        for delimiter in [None, Some("/")] {
            let whole = shown(&page(&state, &Listing { delimiter, ..all() }));
            for limit in 1..=names.len() {
                let (mut start, mut joined) = (String::new(), Vec::new());
                loop {
                    let one = page(
                        &state,
                        &Listing {
                            delimiter,
                            limit,
                            start: &start,
                            ..all()
                        },
                    );
                    assert!(one.entries.len() <= limit);
                    joined.extend(shown(&one));
                    let Some(next) = one.next else { break };
                    assert!(next > start, "{next} after {start}");
                    start = next;
                }
                assert_eq!(joined, whole, "limit {limit}");
            }
        }
    }

    #[test]
    fn a_prefix_bounds_keys_and_folders() {
        let state = state(&["a", "a/b/1", "a/b/2", "a/c", "ab", "b/1"]);
        let listing = Listing {
            prefix: "a/",
            delimiter: Some("/"),
            ..all()
        };
        assert_eq!(shown(&page(&state, &listing)), ["a/b/(2)", "a/c"]);
        let past = Listing {
            start: "b",
            ..listing.clone()
        };
        assert_eq!(page(&state, &past), Page::default());
        let within = Listing {
            start: "a/b/2",
            ..listing
        };
        assert_eq!(shown(&page(&state, &within)), ["a/b/(2)", "a/c"]);
    }

    #[test]
    fn bytes_bound_a_page_but_never_empty_it() {
        let state = state(&["a", "b", "c"]);
        let one = page(&state, &Listing { bytes: 5, ..all() });
        assert_eq!(
            (shown(&one), one.next.as_deref()),
            (vec!["a".to_owned()], Some("b"))
        );
        let two = page(&state, &Listing { bytes: 22, ..all() });
        assert_eq!(shown(&two), ["a", "b"]);
    }

    #[test]
    fn folder_counts_are_capped() {
        let names: Vec<String> = (0..=limits::FOLDER_COUNT)
            .map(|i| format!("f/{i}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let page = page(
            &state(&names),
            &Listing {
                delimiter: Some("/"),
                ..all()
            },
        );
        assert_eq!(shown(&page), ["f/(10000+)"]);
    }

    #[test]
    fn the_text_after_a_prefix_is_above_all_that_start_with_it() {
        assert_eq!(after_prefix("a/").as_deref(), Some("a0"));
        assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
