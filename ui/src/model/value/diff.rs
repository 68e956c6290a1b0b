//! How two texts differ, by lines and, within a changed line, by words.
//!
//! Myers, "An O(ND) difference algorithm and its variations" (1986), in the variant of its section 4b
//! that needs linear space. The work is bounded: where texts have too little in common, a whole
//! stretch counts as replaced. Whatever the bound does, the blocks turn the old text into the new one.

use std::{collections::HashMap, ops::Range};

/// Steps of the search for one pair of texts, all recursions together. About 20 ms in a browser.
const STEPS: usize = 3_000_000;
/// Longest line whose words are compared, bytes.
const WORDS_WITHIN: usize = 2_000;

/// A place where two sequences differ: this range of the old one became that range of the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// Cuts a text into lines that keep their ends.
#[must_use]
pub fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Finds the places where two sequences of lines or words differ, in order, none touching another.
#[must_use]
pub fn blocks(old: &[&str], new: &[&str]) -> Vec<Block> {
    let mut numbers = HashMap::new();
    let mut number = |text| {
        let next = numbers.len();
        *numbers.entry(text).or_insert(next)
    };
    let old_numbers: Vec<usize> = old.iter().map(|text| number(*text)).collect();
    let new_numbers: Vec<usize> = new.iter().map(|text| number(*text)).collect();
    let mut search = Search {
        old: &old_numbers,
        new: &new_numbers,
        forward: Vec::new(),
        backward: Vec::new(),
        steps: STEPS,
        found: Vec::new(),
    };
    search.conquer(0..old.len(), 0..new.len());
    search.found
}

struct Search<'a> {
    old: &'a [usize],
    new: &'a [usize],
    /// Furthest reach on each diagonal, from the start and from the end.
    forward: Vec<isize>,
    backward: Vec<isize>,
    steps: usize,
    found: Vec<Block>,
}

impl Search<'_> {
    fn conquer(&mut self, mut old: Range<usize>, mut new: Range<usize>) {
        while !old.is_empty() && !new.is_empty() && self.old[old.start] == self.new[new.start] {
            old.start += 1;
            new.start += 1;
        }
        while !old.is_empty() && !new.is_empty() && self.old[old.end - 1] == self.new[new.end - 1] {
            old.end -= 1;
            new.end -= 1;
        }
        if old.is_empty() || new.is_empty() {
            return self.differ(old, new);
        }
        match self.middle(&old, &new) {
            // A corner would be the same problem again.
            Some((x, y)) if (x, y) != (old.start, new.start) && (x, y) != (old.end, new.end) => {
                self.conquer(old.start..x, new.start..y);
                self.conquer(x..old.end, y..new.end);
            }
            _ => self.differ(old, new),
        }
    }

    fn differ(&mut self, old: Range<usize>, new: Range<usize>) {
        if old.is_empty() && new.is_empty() {
            return;
        }
        match self.found.last_mut() {
            Some(last) if last.old.end == old.start && last.new.end == new.start => {
                last.old.end = old.end;
                last.new.end = new.end;
            }
            _ => self.found.push(Block { old, new }),
        }
    }

    /// A point on a shortest way from one corner of the box to the other, about half way.
    fn middle(&mut self, old: &Range<usize>, new: &Range<usize>) -> Option<(usize, usize)> {
        let (n, m) = (signed(old.len()), signed(new.len()));
        let delta = n - m;
        let most = (n + m + 1) / 2 + 1;
        let at = |k: isize| unsigned(k + most + 1);
        let size = unsigned(2 * most + 4);
        self.forward.clear();
        self.forward.resize(size, 0);
        self.backward.clear();
        self.backward.resize(size, 0);
        for d in 0..most {
            self.steps = self.steps.checked_sub(unsigned(2 * d + 1))?;
            for k in (-d..=d).rev().step_by(2) {
                let v = &self.forward;
                let is_down = k == -d || (k != d && v[at(k - 1)] < v[at(k + 1)]);
                let mut x = if is_down {
                    v[at(k + 1)]
                } else {
                    v[at(k - 1)] + 1
                };
                let (x0, y0) = (x, x - k);
                let mut y = y0;
                while x < n && (0..m).contains(&y) && self.is_same(old, new, x, y) {
                    x += 1;
                    y += 1;
                }
                self.forward[at(k)] = x;
                let meets = delta % 2 != 0 && (k - delta).abs() < d;
                if meets && x + self.backward[at(delta - k)] >= n {
                    return point(old, new, x0, y0);
                }
            }
            for k in (-d..=d).rev().step_by(2) {
                let v = &self.backward;
                let is_down = k == -d || (k != d && v[at(k - 1)] < v[at(k + 1)]);
                let mut x = if is_down {
                    v[at(k + 1)]
                } else {
                    v[at(k - 1)] + 1
                };
                let mut y = x - k;
                while x < n && (0..m).contains(&y) && self.is_same(old, new, n - x - 1, m - y - 1) {
                    x += 1;
                    y += 1;
                }
                self.backward[at(k)] = x;
                let meets = delta % 2 == 0 && (k - delta).abs() <= d;
                if meets && x + self.forward[at(delta - k)] >= n {
                    return point(old, new, n - x, m - y);
                }
            }
        }
        None
    }

    fn is_same(&self, old: &Range<usize>, new: &Range<usize>, x: isize, y: isize) -> bool {
        self.old[old.start + unsigned(x)] == self.new[new.start + unsigned(y)]
    }
}

/// The point of a box; none for one outside of it.
fn point(old: &Range<usize>, new: &Range<usize>, x: isize, y: isize) -> Option<(usize, usize)> {
    let x = old.start.checked_add_signed(x)?;
    let y = new.start.checked_add_signed(y)?;
    (x <= old.end && y <= new.end).then_some((x, y))
}

fn signed(number: usize) -> isize {
    isize::try_from(number).unwrap_or(isize::MAX)
}

fn unsigned(number: isize) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// A piece of a line, and whether it is what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    pub is_changed: bool,
}

/// Marks the words in which a line and its successor differ. Without enough in common, each is one
/// piece that is not marked: the line as a whole is what differs.
#[must_use]
pub fn words(old: &str, new: &str) -> (Vec<Piece>, Vec<Piece>) {
    let whole = |text: &str| {
        vec![Piece {
            text: text.to_owned(),
            is_changed: false,
        }]
    };
    if old.len().max(new.len()) > WORDS_WITHIN {
        return (whole(old), whole(new));
    }
    let (old_words, new_words) = (split(old), split(new));
    let blocks = blocks(&old_words, &new_words);
    let length = |words: &[&str]| {
        words
            .iter()
            .map(|word| word.trim_end_matches('\n').len())
            .sum::<usize>()
    };
    let changed: usize = blocks
        .iter()
        .map(|block| length(&old_words[block.old.clone()]) + length(&new_words[block.new.clone()]))
        .sum();
    if changed * 3 > (length(&old_words) + length(&new_words)) * 2 {
        return (whole(old), whole(new));
    }
    (
        marked(&old_words, blocks.iter().map(|block| block.old.clone())),
        marked(&new_words, blocks.iter().map(|block| block.new.clone())),
    )
}

fn marked(words: &[&str], changed: impl Iterator<Item = Range<usize>>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut add = |range: Range<usize>, is_changed| {
        if !range.is_empty() {
            let text = words[range].concat();
            pieces.push(Piece { text, is_changed });
        }
    };
    let mut at = 0;
    for range in changed {
        add(at..range.start, false);
        at = range.end;
        add(range, true);
    }
    add(at..words.len(), false);
    pieces
}

/// Cuts a line into words, runs of blanks, and single signs.
fn split(line: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 1,
        c if c.is_whitespace() => 2,
        _ => 0,
    };
    let mut words = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (at, c) in line.char_indices() {
        let now = kind(c);
        if at > start && (now == 0 || last != Some(now)) {
            words.push(&line[start..at]);
            start = at;
        }
        last = Some(now);
    }
    if start < line.len() {
        words.push(&line[start..]);
    }
    words
}

/// What a row of a shown difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Same,
    /// In the old text only.
    Old,
    /// In the new text only.
    New,
    /// So many equal lines are left out here.
    Skipped(usize),
}

/// One row of a shown difference. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub kind: Kind,
    pub old: Option<usize>,
    pub new: Option<usize>,
    pub pieces: Vec<Piece>,
}

/// Lays out a difference, with so many equal lines around each block.
#[must_use]
pub fn rows(old: &str, new: &str, context: usize) -> Vec<Row> {
    let (old, new) = (lines(old), lines(new));
    let mut rows = Vec::new();
    let mut at = (0, 0);
    for block in blocks(&old, &new) {
        same(&mut rows, &old, at, block.old.start, context);
        let paired = block.old.len().min(block.new.len());
        let pairs: Vec<_> = (0..paired)
            .map(|line| words(old[block.old.start + line], new[block.new.start + line]))
            .collect();
        let row = |kind, number: usize, pieces| Row {
            kind,
            old: (kind == Kind::Old).then_some(number + 1),
            new: (kind == Kind::New).then_some(number + 1),
            pieces,
        };
        for (line, number) in block.old.clone().enumerate() {
            let pieces = pairs.get(line).map(|(old, _)| old.clone());
            rows.push(row(
                Kind::Old,
                number,
                pieces.unwrap_or_else(|| plain(old[number])),
            ));
        }
        for (line, number) in block.new.clone().enumerate() {
            let pieces = pairs.get(line).map(|(_, new)| new.clone());
            rows.push(row(
                Kind::New,
                number,
                pieces.unwrap_or_else(|| plain(new[number])),
            ));
        }
        at = (block.old.end, block.new.end);
    }
    same(&mut rows, &old, at, old.len(), context);
    rows
}

fn plain(line: &str) -> Vec<Piece> {
    vec![Piece {
        text: line.to_owned(),
        is_changed: false,
    }]
}

/// Adds equal lines from `at` (old and new) to `end` of the old text, without those far from a block.
fn same(rows: &mut Vec<Row>, old: &[&str], at: (usize, usize), end: usize, context: usize) {
    let head = if at == (0, 0) {
        at.0
    } else {
        (at.0 + context).min(end)
    };
    let tail = if end == old.len() {
        end
    } else {
        end.saturating_sub(context).max(head)
    };
    let row = |number: usize| Row {
        kind: Kind::Same,
        old: Some(number + 1),
        new: Some(number - at.0 + at.1 + 1),
        pieces: plain(old[number]),
    };
    // Leaving out one line would save nothing.
    let skipped = tail - head;
    let head = if skipped < 2 { tail } else { head };
    rows.extend((at.0..head).map(row));
    if skipped >= 2 {
        rows.push(Row {
            kind: Kind::Skipped(skipped),
            old: None,
            new: None,
            pieces: Vec::new(),
        });
    }
    rows.extend((tail..end).map(row));
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small generator, so that a failing seed can be run again.
    pub(in super::super) struct Random(pub(in super::super) u64);

    impl Random {
        pub(in super::super) fn below(&mut self, most: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % most as u64).unwrap()
        }

        pub(in super::super) fn text(&mut self, most: usize) -> String {
            let count = self.below(most + 1);
            let mut text: String = (0..count)
                .map(|_| format!("{}\n", ["a", "b", "cc dd", "", "e"][self.below(5)]))
                .collect();
            if self.below(3) == 0 {
                text.push_str("end");
            }
            text
        }
    }

    fn applied(old: &[&str], new: &[&str], blocks: &[Block]) -> String {
        let mut out = String::new();
        let mut at = 0;
        for block in blocks {
            out.push_str(&old[at..block.old.start].concat());
            out.push_str(&new[block.new.clone()].concat());
            at = block.old.end;
        }
        out + &old[at..].concat()
    }

    #[test]
    fn the_blocks_turn_one_text_into_the_other() {
        for seed in 1..3_000 {
            let mut random = Random(seed);
            let (old, new) = (random.text(30), random.text(30));
            let (a, b) = (lines(&old), lines(&new));
            let blocks = blocks(&a, &b);
            assert_eq!(applied(&a, &b, &blocks), new, "seed {seed}");
            for pair in blocks.windows(2) {
                assert!(
                    pair[0].old.end < pair[1].old.start,
                    "seed {seed}: {blocks:?}"
                );
            }
        }
    }

    #[test]
    fn a_difference_is_as_small_as_the_table_of_all_ways_says() {
        for seed in 1..500 {
            let mut random = Random(seed * 77);
            let (old, new) = (random.text(14), random.text(14));
            let (a, b) = (lines(&old), lines(&new));
            let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
            for x in (0..a.len()).rev() {
                for y in (0..b.len()).rev() {
                    table[x][y] = if a[x] == b[y] {
                        table[x + 1][y + 1] + 1
                    } else {
                        table[x + 1][y].max(table[x][y + 1])
                    };
                }
            }
            let changed: usize = blocks(&a, &b)
                .iter()
                .map(|b| b.old.len() + b.new.len())
                .sum();
            assert_eq!(changed, a.len() + b.len() - 2 * table[0][0], "seed {seed}");
        }
    }

    #[test]
    fn texts_with_nothing_in_common_cost_a_bounded_time() {
        let text = |word: &str| {
            (0..60_000)
                .map(|n| format!("{word}{n}\n"))
                .collect::<String>()
        };
        let (old, new) = (text("a"), text("b"));
        let (a, b) = (lines(&old), lines(&new));
        let found = blocks(&a, &b);
        assert_eq!(applied(&a, &b, &found), new);
        // A few changes in a long text are still found as such.
        let changed = old.replace("a777\n", "x\n").replace("a50000\n", "");
        assert_eq!(blocks(&a, &lines(&changed)).len(), 2);
    }

    #[test]
    fn words_mark_what_differs() {
        let (old, new) = words(
            "{\"port\": 8080, \"host\": \"a\"}\n",
            "{\"port\": 8443, \"host\": \"a\"}\n",
        );
        let marked = |pieces: &[Piece]| -> Vec<String> {
            let changed = pieces.iter().filter(|piece| piece.is_changed);
            changed.map(|piece| piece.text.clone()).collect()
        };
        assert_eq!(marked(&old), ["8080"]);
        assert_eq!(marked(&new), ["8443"]);
        let (old, _) = words("nothing", "at all");
        assert_eq!(marked(&old), [""; 0]);
        assert_eq!(
            split("a_1  b\u{e9}-\u{1f511}c"),
            ["a_1", "  ", "b\u{e9}", "-", "\u{1f511}", "c"]
        );
    }

    #[test]
    fn rows_show_the_blocks_and_some_lines_around_them() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("10\n", "ten\n");
        let shown: Vec<String> = rows(&old, &new, 2)
            .into_iter()
            .map(|row| match row.kind {
                Kind::Skipped(count) => format!("skip {count}"),
                Kind::Same => format!("{}={}", row.old.unwrap(), row.new.unwrap()),
                Kind::Old => format!("-{}", row.old.unwrap()),
                Kind::New => format!("+{}", row.new.unwrap()),
            })
            .collect();
        let expected = [
            "skip 7", "8=8", "9=9", "-10", "+10", "11=11", "12=12", "skip 8",
        ];
        assert_eq!(shown, expected);
        assert_eq!(rows("a\nb\n", "a\nb\n", 3).len(), 1);
        assert!(rows("", "", 3).is_empty());
    }
}
