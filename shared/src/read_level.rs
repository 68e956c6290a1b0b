//! The three read levels and their parsing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How fresh an answer must be.
///
/// Linearizability and the read index: Ongaro's dissertation §6.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadLevel {
    /// The serving node's own applied state, also without a leader. The headers bound its age.
    Stale,
    /// The leader's state under a live lease: not older than one lease.
    #[default]
    Default,
    /// Linearizable: a quorum round that started after the request arrived, then apply.
    Consistent,
}

impl ReadLevel {
    /// All levels, weakest first.
    pub const ALL: [Self; 3] = [Self::Stale, Self::Default, Self::Consistent];

    /// Returns the word used in `?level=` and in `Conclave-Consistency`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Default => "default",
            Self::Consistent => "consistent",
        }
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A level that is none of the three. Never mapped to a weaker or stronger one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReadLevel(pub String);

impl fmt::Display for UnknownReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read level `{}` is not one of stale, default, consistent",
            self.0
        )
    }
}

impl std::error::Error for UnknownReadLevel {}

impl FromStr for ReadLevel {
    type Err = UnknownReadLevel;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == s)
            .ok_or_else(|| UnknownReadLevel(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_parses_back_from_its_word() {
        for level in ReadLevel::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
    }

    #[test]
    fn a_typo_is_an_error_and_not_a_weaker_level() {
        for word in ["consistant", "", "STALE", "strong", "stale "] {
            assert!(word.parse::<ReadLevel>().is_err(), "{word}");
        }
    }
}
