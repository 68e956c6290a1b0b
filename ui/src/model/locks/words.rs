//! What is said of locks and claims.

use super::hold::Lost;
use crate::model::{
    address::escape,
    text::{age, grouped},
};

/// Says a place in a queue: `next in line`, `3rd in line`.
#[must_use]
pub fn place(place: u64) -> String {
    let ending = match (place % 10, place % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    match place {
        1 => "next in line".to_owned(),
        _ => format!("{}{ending} in line", grouped(place)),
    }
}

/// Says that a claim is gone; `now` is the time of the clock that `lost.at` was taken of.
#[must_use]
pub fn lost(name: &str, lost: &Lost, now: u64) -> String {
    let ago = age(now.saturating_sub(lost.at));
    let Some(token) = lost.token else {
        return format!(
            "You are no longer in line for {name} ({} {ago} ago).",
            lost.why
        );
    };
    let token = grouped(token);
    let tokens = match lost.newer {
        Some(newer) => format!("Token {token} is stale, {} is current.", grouped(newer)),
        None => format!("Token {token} is stale."),
    };
    format!(
        "You no longer hold {name} ({} {ago} ago). {tokens}",
        lost.why
    )
}

/// Writes a command that changes a key only while the lock is held under this token.
#[must_use]
pub fn command(origin: &str, lock: &str, token: u64) -> String {
    format!(
        "curl -X PUT {origin}/api/keys/your-key \\\n  -H 'Conclave-Lock: {};token={token}' \\\n  \
         --data-binary 'your value'",
        escape(lock)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_english_endings() {
        let words: Vec<String> = [1, 2, 3, 4, 11, 22, 113].into_iter().map(place).collect();
        let right = [
            "next in line",
            "2nd in line",
            "3rd in line",
            "4th in line",
            "11th in line",
            "22nd in line",
            "113th in line",
        ];
        assert_eq!(words, right);
    }

    #[test]
    fn a_loss_says_both_tokens() {
        let what = Lost {
            token: Some(41),
            newer: Some(42),
            at: 1_000,
            why: "expired",
        };
        assert_eq!(
            lost("jobs/nightly", &what, 13_000),
            "You no longer hold jobs/nightly (expired 12 s ago). Token 41 is stale, 42 is current."
        );
    }

    #[test]
    fn a_command_is_safe_in_a_shell_whatever_the_lock_is_called() {
        let command = command("http://h:1", "it's; rm -rf /\n", 7);
        assert!(command.contains("Conclave-Lock: it%27s%3B%20rm%20-rf%20%2F%0A;token=7'"));
    }
}
