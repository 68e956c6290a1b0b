//! Numbers in what a test says.

use super::table::Bar;

/// Returns whether the lines have the numbers that a bar asks for. Without one they have not.
pub(super) fn reaches(bar: Bar, lines: &[&str]) -> bool {
    let numbers = |pattern| lines.iter().flat_map(move |line| numbers(line, pattern));
    match bar {
        Bar::Least(least, pattern) => numbers(pattern).sum::<f64>() >= least,
        Bar::Most(most, pattern) => numbers(pattern)
            .reduce(f64::max)
            .is_some_and(|it| it <= most),
    }
}

/// Returns the numbers that stand where the pattern has `{}`.
fn numbers<'a>(line: &'a str, pattern: &'a str) -> Vec<f64> {
    let (before, after) = pattern.split_once("{}").unwrap_or((pattern, ""));
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = line[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + start;
        let rest = &line[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
        at = start + number.len();
        let is_whole = !line[..start].ends_with(|c: char| c.is_alphanumeric() || c == '.');
        if is_whole && line[..start].ends_with(before) && line[at..].starts_with(after) {
            found.extend(number.parse::<f64>().ok());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_the_pattern_says() {
        let line = "5 kills: p50 12 ms, max 12.5 ms; 0 of 300 writes lost, max 7 ms.";
        assert_eq!(numbers(line, "{} kills"), [5.0]);
        assert_eq!(numbers(line, "max {} ms"), [12.5, 7.0]);
        assert_eq!(numbers(line, "0 of {} writes"), [300.0]);
        assert_eq!(numbers(line, "{} lost"), Vec::<f64>::new());
        assert_eq!(numbers("15 kills", "5 {}"), Vec::<f64>::new());
    }

    #[test]
    fn a_bar_is_reached_by_all_together_or_by_the_worst() {
        let lines = ["3 grants, max 4 ms", "chaos: 4 grants, max 9 ms"];
        assert!(reaches(Bar::Least(7.0, "{} grants"), &lines));
        assert!(!reaches(Bar::Least(8.0, "{} grants"), &lines));
        assert!(reaches(Bar::Most(9.0, "max {} ms"), &lines));
        assert!(!reaches(Bar::Most(8.9, "max {} ms"), &lines));
        assert!(!reaches(Bar::Most(9.0, "p99 {} ms"), &lines));
    }
}
