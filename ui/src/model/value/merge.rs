//! Three-way merge: what each side has made of the text that both began with.

use std::ops::Range;

use super::diff::{Block, blocks, lines};

/// Who has changed a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Same,
    Theirs,
    Yours,
    /// Both, in the same way.
    Both,
    /// Both, each in its own way.
    Conflict,
}

/// Which side a stretch of the result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Opened,
    Theirs,
    Yours,
}

/// A stretch of the three texts that belongs together, as their lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub kind: Kind,
    pub opened: String,
    pub theirs: String,
    pub yours: String,
}

impl Chunk {
    /// Returns the stretch as a side has it.
    #[must_use]
    pub fn of(&self, side: Side) -> &str {
        match side {
            Side::Opened => &self.opened,
            Side::Theirs => &self.theirs,
            Side::Yours => &self.yours,
        }
    }

    /// Returns the side that an honest merge takes; none where only a reader can tell.
    #[must_use]
    pub const fn natural(&self) -> Option<Side> {
        match self.kind {
            Kind::Same => Some(Side::Opened),
            Kind::Theirs => Some(Side::Theirs),
            Kind::Yours | Kind::Both => Some(Side::Yours),
            Kind::Conflict => None,
        }
    }
}

/// Cuts three texts into stretches. Put together, those of a side are that side's text.
#[must_use]
pub fn chunks(opened: &str, theirs: &str, yours: &str) -> Vec<Chunk> {
    let texts = (lines(opened), lines(theirs), lines(yours));
    let their_blocks = blocks(&texts.0, &texts.1);
    let your_blocks = blocks(&texts.0, &texts.2);
    let (mut t, mut y) = (&their_blocks[..], &your_blocks[..]);
    let mut out = Vec::new();
    let chunk = |at: [Range<usize>; 3], is_changed: [bool; 2]| {
        let [opened, theirs, yours] = [
            &texts.0[at[0].clone()],
            &texts.1[at[1].clone()],
            &texts.2[at[2].clone()],
        ];
        let kind = match is_changed {
            [false, false] => Kind::Same,
            [true, false] => Kind::Theirs,
            [false, true] => Kind::Yours,
            [true, true] if theirs == yours => Kind::Both,
            [true, true] => Kind::Conflict,
        };
        Chunk {
            kind,
            opened: opened.concat(),
            theirs: theirs.concat(),
            yours: yours.concat(),
        }
    };
    // Where the last stretch ended in the three texts.
    let mut at = [0; 3];
    while let Some(start) = first(t, y) {
        let mut end = start;
        let (mut of_t, mut of_y) = (0, 0);
        // What touches is one stretch: neither side alone can tell whether the two go together.
        loop {
            if let Some(block) = t.get(of_t).filter(|block| block.old.start <= end) {
                end = end.max(block.old.end);
                of_t += 1;
            } else if let Some(block) = y.get(of_y).filter(|block| block.old.start <= end) {
                end = end.max(block.old.end);
                of_y += 1;
            } else {
                break;
            }
        }
        let same = start - at[0];
        if same > 0 {
            out.push(chunk(
                [at[0]..start, at[1]..at[1] + same, at[2]..at[2] + same],
                [false; 2],
            ));
        }
        let begin = [start, at[1] + same, at[2] + same];
        let ends = [
            end,
            reach(&t[..of_t], begin[1], start, end),
            reach(&y[..of_y], begin[2], start, end),
        ];
        out.push(chunk(
            [begin[0]..ends[0], begin[1]..ends[1], begin[2]..ends[2]],
            [of_t > 0, of_y > 0],
        ));
        (t, y, at) = (&t[of_t..], &y[of_y..], ends);
    }
    if at[0] < texts.0.len() {
        let ends = [texts.0.len(), texts.1.len(), texts.2.len()];
        out.push(chunk(
            [at[0]..ends[0], at[1]..ends[1], at[2]..ends[2]],
            [false; 2],
        ));
    }
    out
}

/// Where the next stretch that somebody changed begins in the opened text.
fn first(theirs: &[Block], yours: &[Block]) -> Option<usize> {
    let start = |blocks: &[Block]| blocks.first().map(|block| block.old.start);
    match (start(theirs), start(yours)) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Where a stretch that begins at `begin` ends in a side's text, when it goes from `start` to `end` in
/// the opened one and these are the side's changes of it.
fn reach(changes: &[Block], begin: usize, start: usize, end: usize) -> usize {
    let mut length = end - start;
    for block in changes {
        length = length + block.new.len() - block.old.len();
    }
    begin + length
}

/// Puts a result together; none while a stretch is undecided.
#[must_use]
pub fn merged(chunks: &[Chunk], taken: &[Option<Side>]) -> Option<String> {
    let mut out = String::new();
    for (chunk, side) in chunks.iter().zip(taken) {
        out.push_str(chunk.of((*side)?));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::{super::diff::tests::Random, *};

    fn all(chunks: &[Chunk], side: Side) -> String {
        merged(chunks, &vec![Some(side); chunks.len()]).unwrap()
    }

    fn natural(opened: &str, theirs: &str, yours: &str) -> Option<String> {
        let chunks = chunks(opened, theirs, yours);
        let taken: Vec<_> = chunks.iter().map(Chunk::natural).collect();
        merged(&chunks, &taken)
    }

    #[test]
    fn taking_one_side_everywhere_gives_its_text() {
        for seed in 1..4_000 {
            let mut random = Random(seed);
            let (opened, theirs, yours) = (random.text(20), random.text(20), random.text(20));
            let chunks = chunks(&opened, &theirs, &yours);
            assert_eq!(all(&chunks, Side::Opened), opened, "seed {seed}");
            assert_eq!(all(&chunks, Side::Theirs), theirs, "seed {seed}");
            assert_eq!(all(&chunks, Side::Yours), yours, "seed {seed}");
        }
    }

    #[test]
    fn where_one_side_is_untouched_the_other_is_taken() {
        for seed in 1..1_000 {
            let mut random = Random(seed * 31);
            let (opened, other) = (random.text(20), random.text(20));
            assert_eq!(
                natural(&opened, &other, &opened),
                Some(other.clone()),
                "seed {seed}"
            );
            assert_eq!(
                natural(&opened, &opened, &other),
                Some(other.clone()),
                "seed {seed}"
            );
            assert_eq!(natural(&opened, &other, &other), Some(other), "seed {seed}");
        }
    }

    #[test]
    fn changes_in_different_places_merge_and_in_one_place_do_not() {
        let opened = "a\nb\nc\nd\ne\n";
        let merge = natural(opened, "a\nB\nc\nd\ne\n", "a\nb\nc\nd\nE\nf\n");
        assert_eq!(merge.as_deref(), Some("a\nB\nc\nd\nE\nf\n"));
        assert_eq!(natural(opened, "a\nB\nc\nd\ne\n", "a\n2\nc\nd\ne\n"), None);
        let kinds: Vec<_> = chunks(opened, "a\nB\nc\nd\ne\n", "a\n2\nc\nd\ne\n")
            .iter()
            .map(|chunk| chunk.kind)
            .collect();
        assert_eq!(kinds, [Kind::Same, Kind::Conflict, Kind::Same]);
        // Two insertions at one place are for the reader to order.
        assert_eq!(natural("a\n", "a\nx\n", "a\ny\n"), None);
    }
}
