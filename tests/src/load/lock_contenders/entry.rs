//! What a contender did and was answered; one line of JSON when it is another process.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// What a contender did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It was told that it holds the lock.
    Granted,
    /// It renewed its claim.
    Renewed,
    /// It wrote the guarded key.
    Guarded,
    /// It wrote the cell; `found` is what was there.
    Cell,
    /// It gave the lock back.
    Released,
}

const WORDS: [(What, &str); 5] = [
    (What::Granted, "granted"),
    (What::Renewed, "renewed"),
    (What::Guarded, "guarded"),
    (What::Cell, "cell"),
    (What::Released, "released"),
];

/// One thing that a contender did. Times are nanoseconds of the clock that all processes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub contender: usize,
    pub what: What,
    /// The token that it believes to hold.
    pub token: u64,
    pub session: String,
    /// Of the answer; 0 without one.
    pub status: u16,
    /// That was answered to a guarded write, or the token that was found in the cell.
    pub found: Option<u64>,
    /// When it began to ask.
    pub began: u64,
    pub ended: u64,
}

impl Entry {
    /// Returns the entry as a line.
    #[must_use]
    pub fn line(&self) -> String {
        let word = WORDS.iter().find(|(what, _)| *what == self.what);
        json!({
            "contender": self.contender, "what": word.map(|(_, word)| word), "token": self.token,
            "session": self.session, "status": self.status, "found": self.found,
            "began": self.began, "ended": self.ended,
        })
        .to_string()
    }

    /// Reads a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(line).ok()?;
        let word = body["what"].as_str()?;
        let (what, _) = WORDS.iter().find(|(_, one)| *one == word)?;
        Some(Self {
            contender: usize::try_from(body["contender"].as_u64()?).ok()?,
            what: *what,
            token: body["token"].as_u64()?,
            session: body["session"].as_str()?.to_owned(),
            status: u16::try_from(body["status"].as_u64()?).ok()?,
            found: body["found"].as_u64(),
            began: body["began"].as_u64()?,
            ended: body["ended"].as_u64()?,
        })
    }
}

/// Returns nanoseconds of the clock that all processes of this machine share.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_entry() {
        for (what, _) in WORDS {
            let entry = Entry {
                contender: 3,
                what,
                token: 77,
                session: "s\"1".to_owned(),
                status: 412,
                found: (what == What::Cell).then_some(5),
                began: 1,
                ended: now(),
            };
            assert_eq!(Entry::parse(&entry.line()), Some(entry));
        }
        assert_eq!(Entry::parse("{}"), None);
    }
}
