//! Fuzzy search: the letters of a query in their order, anywhere in a text.

use crate::model::order::sort;

/// For a letter that begins a word.
const BEGIN: u32 = 8;
/// For a letter right behind the one before.
const RUN: u32 = 5;
/// For any letter that was found.
const FOUND: u32 = 1;
/// For a query that is the beginning of the text.
const PREFIX: u32 = 12;

/// Says how well a text fits a query, the more the better; none when it does not contain its letters in
/// order. Spaces of the query are only for its reader, and case does not matter.
#[must_use]
pub fn score(query: &str, text: &str) -> Option<u32> {
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let query: Vec<char> = query
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .flat_map(char::to_lowercase)
        .collect();
    let starts = text.iter().enumerate();
    let starts = starts.filter(|(_, letter)| Some(*letter) == query.first());
    let best = starts.filter_map(|(start, _)| score_from(&query, &text, start));
    if query.is_empty() {
        Some(0)
    } else {
        best.max()
    }
}

/// Returns the places of the texts that fit, the best first and equals in their order.
#[must_use]
pub fn rank(query: &str, texts: &[String]) -> Vec<usize> {
    let scored = texts.iter().enumerate();
    let scored = scored.filter_map(|(place, text)| Some((place, score(query, text)?)));
    let mut scored: Vec<_> = scored.collect();
    sort(&mut scored, |(_, one), (_, other)| other.cmp(one));
    scored.into_iter().map(|(place, _)| place).collect()
}

/// Takes each letter right behind the one before, else at the beginning of a word that leaves enough for
/// the rest, else at its first place.
fn score_from(query: &[char], text: &[char], start: usize) -> Option<u32> {
    let mut score = if start == 0 { PREFIX } else { 0 };
    let mut at = start;
    for (nth, letter) in query.iter().enumerate() {
        let rest = query.get(nth + 1..).unwrap_or_default();
        let mut found = (at..text.len()).filter(|place| text[*place] == *letter);
        let first = found.next()?;
        let fits = |place: &usize| {
            let behind = text.get(place + 1..).unwrap_or_default();
            begins(text, *place) && contains(rest, behind)
        };
        let is_run = nth > 0 && first == at;
        let place = if is_run || fits(&first) {
            first
        } else {
            found.find(fits).unwrap_or(first)
        };
        score += FOUND;
        score += if begins(text, place) { BEGIN } else { 0 };
        score += if is_run { RUN } else { 0 };
        at = place + 1;
    }
    Some(score)
}

fn contains(query: &[char], text: &[char]) -> bool {
    let mut rest = text.iter();
    query.iter().all(|letter| rest.any(|other| other == letter))
}

fn begins(text: &[char], place: usize) -> bool {
    place == 0 || !text[place - 1].is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(query: &str) -> Option<String> {
        let texts: Vec<String> = [
            "Go to Overview",
            "Go to Nodes",
            "Go to Keys",
            "Go to Events",
            "Use the dark theme",
            "Copy a link to this view",
            "Node node1",
        ]
        .map(str::to_owned)
        .to_vec();
        rank(query, &texts)
            .first()
            .map(|place| texts[*place].clone())
    }

    #[test]
    fn a_few_letters_find_a_command() {
        for (query, expected) in [
            ("ov", "Go to Overview"),
            ("gk", "Go to Keys"),
            ("dark", "Use the dark theme"),
            ("link", "Copy a link to this view"),
            ("node1", "Node node1"),
            ("EVENTS", "Go to Events"),
            ("cal", "Copy a link to this view"),
        ] {
            assert_eq!(best(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn letters_out_of_order_find_nothing() {
        assert_eq!(score("yek", "Keys"), None);
        assert_eq!(score("keysx", "Keys"), None);
        assert_eq!(best("zzz"), None);
    }

    #[test]
    fn nothing_finds_all_in_their_order() {
        let texts = ["b", "a"].map(str::to_owned);
        assert_eq!(rank("", &texts), [0, 1]);
        assert_eq!(rank(" ", &texts), [0, 1]);
    }

    #[test]
    fn the_beginnings_of_words_count_more() {
        assert!(score("nt", "new thing") > score("nt", "want"));
        assert!(score("ke", "keys") > score("ke", "a key"));
    }

    #[test]
    fn a_beginning_that_leaves_nothing_for_the_rest_is_passed_over() {
        assert!(score("ab", "ab a").is_some());
        assert!(score("aba", "xab-a").is_some());
    }
}
