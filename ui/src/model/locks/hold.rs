//! One claim of this tab on a lock: what to ask of the node when, and what may be said of it. Pure: it
//! is given the time (of [`super::clock`], milliseconds) and answers, and hands out requests.
//!
//! It never says that it holds the lock when it might not: its TTL is counted by the tab's own clock
//! from the moment *before* the request left, which is before the node began to count. Whoever breaks
//! a lock by force can still make it wrong for the time that the news takes; only the token protects.

use conclave_shared::stream::LockChange;

/// Longest time for which a first request is repeated, milliseconds. It has one id, so it claims once.
const CLAIM_MS: f64 = 10_000.0;
/// Shortest and longest pause before a request is repeated that got no answer.
const AGAIN_MS: (f64, f64) = (150.0, 1_000.0);

/// One claim.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Tells it from the tab's other claims.
    pub number: u64,
    pub name: String,
    pub owner: String,
    pub ttl_ms: u64,
    /// Id of the first request.
    pub id: String,
    /// The claim's name at the node, once it is made.
    pub session: Option<String>,
    pub standing: Standing,
    /// When it was asked for.
    pub since: f64,
    /// When the request left that is under way.
    asked: Option<f64>,
    /// When to ask next.
    due: f64,
}

/// How a claim stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// The first request is under way.
    Asking,
    /// In the queue; 1 is next.
    Waiting { place: u64 },
    Held {
        token: u64,
        /// Until when it certainly is.
        until: f64,
        /// When it was granted, as far as this tab knows.
        since: f64,
        /// The last renewal got no answer.
        is_unsure: bool,
    },
    /// Gone without being given back.
    Lost(Lost),
    /// Given back, or given up, and nothing to be said of it. The text is for the reader.
    Over(String),
}

/// A claim that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// None: it had waited only.
    pub token: Option<u64>,
    /// The lock's token now, as far as it is known.
    pub newer: Option<u64>,
    /// When, whole milliseconds.
    pub at: u64,
    pub why: &'static str,
}

/// A request to be made: POST the claim, and tell what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub number: u64,
    pub name: String,
    pub owner: String,
    pub ttl_ms: u64,
    /// Id of the request, for a first one.
    pub id: Option<String>,
    /// The claim to be kept; none makes a new one.
    pub session: Option<String>,
    /// Longest wait for the answer, milliseconds.
    pub timeout_ms: u32,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Granted {
        session: String,
        token: u64,
        ttl_ms: u64,
    },
    Queued {
        session: String,
        place: u64,
    },
    /// The claim is gone; the token is the lock's now.
    Lost {
        newer: Option<u64>,
    },
    /// No answer, or one that settles nothing, such as that there is no leader.
    Nothing(String),
    /// The node will not have it.
    Refused(String),
}

impl Hold {
    /// Wants a lock from now on.
    #[must_use]
    pub const fn new(
        number: u64,
        name: String,
        owner: String,
        ttl_ms: u64,
        id: String,
        now: f64,
    ) -> Self {
        Self {
            number,
            name,
            owner,
            ttl_ms,
            id,
            session: None,
            standing: Standing::Asking,
            since: now,
            asked: None,
            due: now,
        }
    }

    /// Returns whether the tab may act as the holder at this moment.
    #[must_use]
    pub fn holds(&self, now: f64) -> bool {
        matches!(self.standing, Standing::Held { until, .. } if now < until)
    }

    /// Returns whether there is something to be kept: a claim that is made, waits or holds.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.standing, Standing::Lost(_) | Standing::Over(_))
    }

    /// Lets time pass. Returns a request that is due.
    pub fn tick(&mut self, now: f64) -> Option<Ask> {
        if let Standing::Held { token, until, .. } = self.standing
            && now >= until
        {
            self.lose(Some(token), None, until, "expired");
        }
        if !self.is_open() || self.asked.is_some() || now < self.due {
            return None;
        }
        if self.session.is_none() && now - self.since > CLAIM_MS {
            let text = "No node answered. If one took the claim, it ends with its TTL.";
            self.standing = Standing::Over(text.to_owned());
            return None;
        }
        self.asked = Some(now);
        Some(Ask {
            number: self.number,
            name: self.name.clone(),
            owner: self.owner.clone(),
            ttl_ms: self.ttl_ms,
            id: self.session.is_none().then(|| self.id.clone()),
            session: self.session.clone(),
            timeout_ms: timeout(self.ttl_ms),
        })
    }

    /// Takes an answer to the request that is under way. Returns a claim to be released: one that came
    /// when it was no longer wanted.
    pub fn answered(&mut self, said: Said, now: f64) -> Option<String> {
        let asked = self.asked.take()?;
        if !self.is_open() {
            let known = self.session.take();
            return match said {
                Said::Granted { session, .. } | Said::Queued { session, .. } => Some(session),
                Said::Lost { .. } => None,
                Said::Nothing(_) | Said::Refused(_) => known,
            };
        }
        let third = third(self.ttl_ms);
        self.due = asked + third;
        match said {
            Said::Granted {
                session,
                token,
                ttl_ms,
            } => {
                self.session = Some(session);
                let until = asked + millis(ttl_ms.min(self.ttl_ms));
                if until <= now {
                    // It took too long to be sure of it: asked again, with the claim's name, at once.
                    self.due = now;
                    return None;
                }
                let since = match self.standing {
                    Standing::Held { since, .. } => since,
                    _ => now,
                };
                self.standing = Standing::Held {
                    token,
                    until,
                    since,
                    is_unsure: false,
                };
            }
            Said::Queued { session, place } => {
                self.session = Some(session);
                self.standing = Standing::Waiting { place };
            }
            Said::Lost { newer } => self.lose(self.token(), newer, now, "expired"),
            Said::Nothing(_) => {
                self.due = now + (third / 2.0).clamp(AGAIN_MS.0, AGAIN_MS.1);
                if let Standing::Held { is_unsure, .. } = &mut self.standing {
                    *is_unsure = true;
                }
            }
            Said::Refused(why) => match self.token() {
                // A renewal that is refused for another reason than that the claim is gone says
                // nothing of the claim: it stands until its TTL is over.
                Some(_) => self.due = now + third,
                None => self.standing = Standing::Over(why),
            },
        }
        None
    }

    /// Takes news of a lock.
    pub fn heard(&mut self, change: &LockChange, now: f64) {
        if change.lock != self.name {
            return;
        }
        let is_own = self.session.as_deref() == Some(change.session.as_str());
        match (&mut self.standing, change.change.as_str()) {
            (Standing::Waiting { .. }, "granted") if is_own => self.due = now,
            (Standing::Waiting { place }, "granted") => *place = place.saturating_sub(1).max(1),
            // Somebody before or behind it has left: the node knows which.
            (Standing::Waiting { .. }, "left") if !is_own => self.due = now,
            (Standing::Waiting { .. }, "left" | "expired") if is_own => {
                self.lose(None, None, now, "expired");
            }
            (Standing::Held { token, .. }, "released" | "expired" | "broken") if is_own => {
                let token = *token;
                let why = match change.change.as_str() {
                    "released" => "released",
                    "broken" => "broken by force",
                    _ => "expired",
                };
                self.lose(Some(token), None, now, why);
            }
            (Standing::Held { token, .. }, "granted") if !is_own && change.token > Some(*token) => {
                let token = *token;
                self.lose(Some(token), change.token, now, "expired");
            }
            (Standing::Lost(lost), "granted") if change.token > lost.token => {
                lost.newer = change.token.max(lost.newer);
            }
            _ => {}
        }
    }

    /// Gives the claim up. From now on nothing says that it holds. Returns its name at the node, to be
    /// released there; while a renewal is under way that comes with its answer, as the two would cross.
    pub fn leave(&mut self, words: &str) -> Option<String> {
        self.standing = Standing::Over(words.to_owned());
        match self.asked {
            Some(_) => None,
            None => self.session.take(),
        }
    }

    /// As [`Self::leave`], for a page that will hear no answer any more.
    pub fn leave_at_once(&mut self, words: &str) -> Option<String> {
        self.asked = None;
        self.leave(words)
    }

    /// Returns the token while it holds.
    #[must_use]
    pub const fn token(&self) -> Option<u64> {
        match self.standing {
            Standing::Held { token, .. } => Some(token),
            _ => None,
        }
    }

    fn lose(&mut self, token: Option<u64>, newer: Option<u64>, at: f64, why: &'static str) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds since the tab was opened"
        )]
        let at = at.max(0.0) as u64;
        self.standing = Standing::Lost(Lost {
            token,
            newer,
            at,
            why,
        });
        self.session = None;
    }
}

/// A third of a TTL: two renewals may fail before a claim is lost.
fn third(ttl_ms: u64) -> f64 {
    millis(ttl_ms) / 3.0
}

#[expect(clippy::cast_precision_loss, reason = "a TTL is at most an hour")]
const fn millis(ms: u64) -> f64 {
    ms as f64
}

fn timeout(ttl_ms: u64) -> u32 {
    u32::try_from(ttl_ms / 3).map_or(5_000, |third| third.clamp(300, 5_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        Hold::new(1, "jobs".into(), "me".into(), 9_000, "id".into(), 0.0)
    }

    fn granted(token: u64) -> Said {
        Said::Granted {
            session: "7".into(),
            token,
            ttl_ms: 9_000,
        }
    }

    fn news(change: &str, session: &str, token: Option<u64>) -> LockChange {
        LockChange {
            lock: "jobs".into(),
            change: change.into(),
            session: session.into(),
            owner: "x".into(),
            node: "n".into(),
            token,
            waiters: 0,
            revision: 9,
            wall_time_ms: None,
        }
    }

    fn held(token: u64) -> Hold {
        let mut hold = hold();
        assert!(hold.tick(0.0).is_some());
        hold.answered(granted(token), 50.0);
        hold
    }

    #[test]
    fn it_renews_at_a_third_of_the_ttl_and_holds_from_before_the_request() {
        let mut hold = held(41);
        assert!(hold.holds(8_999.0) && !hold.holds(9_000.0));
        assert_eq!(hold.tick(2_999.0), None);
        let ask = hold.tick(3_000.0).unwrap();
        assert_eq!((ask.session.as_deref(), ask.id), (Some("7"), None));
        assert_eq!(hold.tick(3_100.0), None, "one request at a time");
        hold.answered(granted(41), 5_000.0);
        assert!(hold.holds(11_999.0) && !hold.holds(12_000.0));
    }

    #[test]
    fn without_an_answer_it_is_unsure_and_then_lost_by_its_own_clock() {
        let mut hold = held(41);
        let mut now = 0.0;
        while now < 9_000.0 {
            if hold.tick(now).is_some() {
                hold.answered(Said::Nothing("cut off".into()), now + 1.0);
                assert!(matches!(
                    hold.standing,
                    Standing::Held {
                        is_unsure: true,
                        ..
                    }
                ));
            }
            now += 50.0;
        }
        assert_eq!(hold.tick(9_000.0), None);
        let Standing::Lost(lost) = &hold.standing else {
            panic!("{hold:?}");
        };
        assert_eq!((lost.token, lost.newer, lost.at), (Some(41), None, 9_000));
        hold.heard(&news("granted", "8", Some(42)), 9_100.0);
        let Standing::Lost(lost) = &hold.standing else {
            panic!("{hold:?}");
        };
        assert_eq!(lost.newer, Some(42));
    }

    #[test]
    fn a_late_answer_does_not_bring_a_lost_claim_back() {
        let mut hold = held(41);
        assert!(hold.tick(3_000.0).is_some());
        assert_eq!(hold.tick(9_000.0), None);
        let unwanted = hold.answered(granted(41), 9_001.0);
        assert_eq!(unwanted.as_deref(), Some("7"), "it is given back");
        assert!(!hold.is_open() && !hold.holds(9_001.0));
    }

    #[test]
    fn a_grant_that_came_too_late_is_asked_for_again() {
        let mut hold = hold();
        assert!(hold.tick(0.0).is_some());
        hold.answered(granted(41), 9_500.0);
        assert!(!hold.holds(9_500.0));
        let ask = hold.tick(9_500.0).unwrap();
        assert_eq!(ask.session.as_deref(), Some("7"));
        hold.answered(granted(41), 9_600.0);
        assert!(hold.holds(9_600.0));
    }

    #[test]
    fn one_who_waits_moves_up_and_asks_when_it_is_its_turn() {
        let mut hold = hold();
        assert!(hold.tick(0.0).is_some());
        let queued = Said::Queued {
            session: "7".into(),
            place: 3,
        };
        hold.answered(queued, 10.0);
        hold.heard(&news("granted", "5", Some(40)), 20.0);
        assert_eq!(hold.standing, Standing::Waiting { place: 2 });
        hold.heard(&news("granted", "7", Some(41)), 30.0);
        assert!(!hold.holds(30.0), "the news do not say until when");
        assert!(hold.tick(30.0).is_some());
        hold.answered(granted(41), 40.0);
        assert_eq!(hold.token(), Some(41));
    }

    #[test]
    fn the_first_request_keeps_its_id_and_is_given_up() {
        let mut hold = hold();
        let mut now = 0.0;
        while let Some(ask) = hold.tick(now) {
            assert_eq!(ask.id.as_deref(), Some("id"));
            hold.answered(Said::Nothing("no leader".into()), now);
            now += 1_000.0;
        }
        assert!(matches!(hold.standing, Standing::Over(_)) && now > CLAIM_MS);
    }

    #[test]
    fn who_leaves_holds_nothing_from_that_moment() {
        let mut hold = held(41);
        assert!(hold.tick(3_000.0).is_some());
        assert_eq!(hold.leave("Released."), None, "a renewal is under way");
        assert!(!hold.holds(3_000.0) && !hold.is_open());
        assert_eq!(hold.answered(granted(41), 3_001.0), Some("7".to_owned()));
        assert!(!hold.holds(3_001.0) && !hold.is_open());
        assert_eq!(held(41).leave("Released."), Some("7".to_owned()));
    }

    #[test]
    fn a_claim_that_was_given_up_is_released_once_its_renewal_has_ended() {
        let given_up = || {
            let mut hold = held(41);
            assert!(hold.tick(3_000.0).is_some());
            hold.leave("Released.");
            hold
        };
        let unknown = Said::Nothing("no answer".into());
        assert_eq!(given_up().answered(unknown, 4_000.0), Some("7".to_owned()));
        let lost = Said::Lost { newer: None };
        assert_eq!(given_up().answered(lost, 4_000.0), None);
        let mut hold = held(41);
        assert!(hold.tick(3_000.0).is_some());
        assert_eq!(hold.leave_at_once("Gone."), Some("7".to_owned()));
        assert_eq!(hold.answered(granted(41), 3_001.0), None);
    }

    #[test]
    fn a_lock_broken_or_granted_to_another_is_lost_at_once() {
        for change in [
            news("broken", "7", Some(41)),
            news("granted", "8", Some(42)),
        ] {
            let mut hold = held(41);
            hold.heard(&change, 100.0);
            assert!(!hold.holds(100.0), "{change:?}");
        }
        let mut hold = held(41);
        hold.heard(&news("granted", "7", Some(41)), 100.0);
        hold.heard(&news("queued", "8", None), 100.0);
        assert!(hold.holds(100.0));
    }
}
