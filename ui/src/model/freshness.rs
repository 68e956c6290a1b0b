//! How old the figures on the page are. Times are milliseconds of one monotonic browser clock.

/// Time between two polls of the serving node.
pub const POLL_INTERVAL_MS: f64 = 1_000.0;
/// Silence after which the page no longer calls itself live: two missed polls and a little.
pub const STALE_AFTER_MS: f64 = 2.5 * POLL_INTERVAL_MS;
/// Silence after which the page stops expecting the node to be back in a moment.
pub const OFFLINE_AFTER_MS: f64 = 30_000.0;

/// State of the page's connection to the serving node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Live,
    Reconnecting,
    /// The tab is hidden and asks nothing.
    Paused,
    Offline,
}

impl Stream {
    /// Returns the word on `body[data-stream]`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reconnecting => "reconnecting",
            Self::Paused => "paused",
            Self::Offline => "offline",
        }
    }

    /// Returns the word that a reader sees.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Reconnecting => "Reconnecting",
            Self::Paused => "Paused",
            Self::Offline => "Offline",
        }
    }
}

/// What the page knows about its last answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contact {
    /// When the node last answered, or when the page began to ask if it never did.
    pub heard_at: f64,
    /// True from when the tab is hidden until its first attempt after it is shown again, so that a
    /// reader who comes back does not see an alarm flash.
    pub paused: bool,
}

impl Contact {
    /// Judges the connection at `now`.
    #[must_use]
    pub fn stream(self, now: f64) -> Stream {
        let silence = now - self.heard_at;
        if self.paused {
            Stream::Paused
        } else if silence <= STALE_AFTER_MS {
            Stream::Live
        } else if silence <= OFFLINE_AFTER_MS {
            Stream::Reconnecting
        } else {
            Stream::Offline
        }
    }

    /// Returns the whole seconds without an answer once that is worth saying.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of seconds"
    )]
    pub fn silent_seconds(self, now: f64) -> Option<u64> {
        let silence = now - self.heard_at;
        (silence > STALE_AFTER_MS).then(|| (silence / 1_000.0).floor() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn heard(heard_at: f64) -> Contact {
        Contact {
            heard_at,
            paused: false,
        }
    }

    #[test]
    fn one_late_poll_is_still_live() {
        assert_eq!(heard(1_000.0).stream(3_400.0), Stream::Live);
        assert_eq!(heard(1_000.0).silent_seconds(3_400.0), None);
    }

    #[test]
    fn silence_beyond_two_and_a_half_intervals_is_said_with_its_length() {
        assert_eq!(heard(1_000.0).stream(3_501.0), Stream::Reconnecting);
        assert_eq!(heard(1_000.0).silent_seconds(8_900.0), Some(7));
    }

    #[test]
    fn long_silence_is_offline() {
        assert_eq!(heard(0.0).stream(30_001.0), Stream::Offline);
    }

    #[test]
    fn a_hidden_tab_is_paused_whatever_its_age() {
        let contact = Contact {
            heard_at: 0.0,
            paused: true,
        };
        assert_eq!(contact.stream(90_000.0), Stream::Paused);
    }
}
