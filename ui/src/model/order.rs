//! Order of short lists.

use std::cmp::Ordering;

/// Sorts a short list, such as that of the members; equal items keep their order. Insertion: for a
/// few dozen items as fast as the library's sort, whose code for each type of items would be the
/// largest function of a page.
pub fn sort<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && compare(&items[at - 1], &items[at]) == Ordering::Greater {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sorts_as_the_library_does() {
        let mut seed = 7_u64;
        for length in 0..40 {
            let mut items: Vec<(u64, usize)> = Vec::new();
            for place in 0..length {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                items.push((seed >> 60, place));
            }
            let mut wanted = items.clone();
            wanted.sort_by_key(|item| item.0);
            sort(&mut items, |a, b| a.0.cmp(&b.0));
            assert_eq!(items, wanted);
        }
    }
}
