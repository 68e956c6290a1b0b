//! The screen's words.

use super::seen::{Place, Seen, Span};
use crate::model::{
    seats::Seat,
    text::{age, grouped},
};

/// Age above which a word is old.
pub const OLD_MS: u64 = 5_000;
/// Age above which it may mean nothing any more.
pub const VERY_OLD_MS: u64 = 30_000;

/// Returns the value of `data-age`, if a word of this moment is old by now.
#[must_use]
pub const fn freshness(heard: Option<u64>, now: u64) -> Option<&'static str> {
    let Some(heard) = heard else {
        return Some("very-old");
    };
    match now.saturating_sub(heard) {
        0..=OLD_MS => None,
        age if age <= VERY_OLD_MS => Some("old"),
        _ => Some("very-old"),
    }
}

/// Says what a member is, and for how long it has been silent: `Unreachable 38 s`.
#[must_use]
pub fn role(place: &Place, now: u64) -> String {
    let word = place.seat.word();
    match (place.seat, place.heard) {
        (Seat::Unreachable, Some(heard)) => format!("{word} {}", age(now.saturating_sub(heard))),
        _ => word.to_owned(),
    }
}

/// Says how far a member is behind: `3 behind, 0.4 s`. Empty for the leader.
#[must_use]
pub fn lag(place: &Place) -> String {
    match (place.seat, place.lag) {
        (Seat::Leader, _) => String::new(),
        (_, None) => "Lag not known".to_owned(),
        (_, Some(0)) => "Up to date".to_owned(),
        (seat, Some(lag)) => match place.behind {
            // How long an unreachable one is silent stands beside it; and that it is behind since
            // before a moment ago says nothing.
            Some(behind)
                if seat != Seat::Unreachable && !(behind.at_least && behind.ms < 1_000) =>
            {
                format!("{} behind, {}", grouped(lag), span(behind))
            }
            _ => format!("{} behind", grouped(lag)),
        },
    }
}

/// Returns the share of the lag's arc that is filled, 0 to 100: a third for 10 entries, all from 1,000 on.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a logarithm of it")]
pub fn arc(place: &Place) -> f64 {
    match place.lag {
        Some(lag) if place.seat != Seat::Leader => {
            ((lag as f64 + 1.0).log10() / 3.0 * 100.0).min(100.0)
        }
        _ => 0.0,
    }
}

fn span(span: Span) -> String {
    let time = age(span.ms);
    if span.at_least {
        format!("over {time}")
    } else {
        time
    }
}

/// Says how many entries are committed per second.
#[must_use]
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), number) + " writes/s"
}

/// Writes a figure: with one decimal below ten.
#[must_use]
pub fn number(number: f64) -> String {
    if number < 9.95 && (number - number.round()).abs() >= 0.05 {
        format!("{number:.1}")
    } else {
        grouped(whole(number))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and far below 2^64"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// Says how far the log is committed.
#[must_use]
pub fn commit(seen: &Seen) -> String {
    let commit = grouped(seen.commit);
    match seen.reign {
        Some(_) => format!("{commit} committed"),
        // What a majority elsewhere commits is not known here.
        None => format!("At least {commit} committed"),
    }
}

/// Says who leads and for how long, or for how long nobody does.
#[must_use]
pub fn reign(seen: &Seen, now: u64) -> String {
    if let Some(reign) = &seen.reign {
        let time = age(now.saturating_sub(reign.since));
        let over = if reign.at_least { "over " } else { "" };
        return format!("{} leads for {over}{time}", reign.leader);
    }
    let Some(since) = seen.leaderless else {
        return String::new();
    };
    let time = age(now.saturating_sub(since));
    if seen.has_majority() {
        format!("Electing, {time}")
    } else {
        format!("No majority, {time}")
    }
}

/// Shortens a name that would not fit into a label.
#[must_use]
pub fn clipped(name: &str) -> String {
    const MOST: usize = 14;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

/// Describes the picture in words: the headline, then a line per member.
#[must_use]
pub fn picture(headline: &str, seen: &Seen, now: u64) -> String {
    let mut text = format!("Round table. {headline} Term {}.", seen.term);
    for place in &seen.places {
        text.push_str(&format!("\n{}: {}", place.node, role(place, now)));
        if let Some(log) = place.log {
            text.push_str(&format!(", applied {}", grouped(log.applied)));
        }
        let lag = lag(place);
        if !lag.is_empty() {
            text.push_str(&format!(", {}", lag.to_lowercase()));
        }
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use conclave_shared::cluster::Role;

    use super::*;
    use crate::model::{overview::seen::tests::cluster, seats::tests::status};

    fn seen(role: Role) -> Seen {
        let status = status(role, 3);
        let mut seen = Seen::default();
        seen.hear(&status, &cluster(&status), 10_000);
        seen
    }

    #[test]
    fn what_is_old_is_said_to_be() {
        assert_eq!(freshness(Some(10_000), 15_000), None);
        assert_eq!(freshness(Some(10_000), 15_001), Some("old"));
        assert_eq!(freshness(Some(10_000), 40_001), Some("very-old"));
        assert_eq!(freshness(None, 0), Some("very-old"));
        assert_eq!(freshness(Some(10_000), 9_000), None, "a clock set back");
    }

    #[test]
    fn a_lag_has_a_number_and_a_time() {
        let mut place = seen(Role::Leader).places.swap_remove(1);
        assert_eq!(lag(&place), "Up to date");
        place.lag = Some(1_204);
        place.behind = Some(Span {
            ms: 430,
            at_least: false,
        });
        assert_eq!(lag(&place), "1,204 behind, 0.4 s");
        place.lag = None;
        assert_eq!(lag(&place), "Lag not known");
    }

    #[test]
    fn the_arc_grows_by_the_logarithm() {
        let mut place = seen(Role::Leader).places.swap_remove(1);
        let mut arc_of = |lag| {
            place.lag = Some(lag);
            arc(&place)
        };
        assert!(arc_of(0).abs() < 0.001);
        assert!((arc_of(9) - 100.0 / 3.0).abs() < 0.001);
        assert!((arc_of(99) - 200.0 / 3.0).abs() < 0.001);
        assert!((arc_of(1_000_000) - 100.0).abs() < 0.001);
    }

    #[test]
    fn a_reign_is_as_long_as_is_known() {
        let mut seen = seen(Role::Leader);
        assert_eq!(reign(&seen, 22_000), "node0 leads for over 12 s");
        seen.learn(&[], Some(1_000));
        assert_eq!(reign(&seen, 22_000), "node0 leads for over 21 s");
    }

    #[test]
    fn an_election_is_told_from_a_lost_majority() {
        let mut seen = seen(Role::Candidate);
        assert_eq!(reign(&seen, 11_200), "Electing, 1.2 s");
        for place in &mut seen.places[1..] {
            place.seat = Seat::Unreachable;
        }
        assert_eq!(reign(&seen, 11_200), "No majority, 1.2 s");
    }

    #[test]
    fn the_picture_has_a_line_per_member() {
        let said = picture("All 3 voters healthy.", &seen(Role::Leader), 10_000);
        assert_eq!(said.lines().count(), 4);
        assert!(said.contains("node0: Leader, applied 41."), "{said}");
        assert!(
            said.contains("node2: Follower, applied 41, up to date."),
            "{said}"
        );
    }

    #[test]
    fn a_rate_below_ten_has_a_decimal() {
        assert_eq!(rate(None), "– writes/s");
        assert_eq!(rate(Some(0.0)), "0 writes/s");
        assert_eq!(rate(Some(0.4)), "0.4 writes/s");
        assert_eq!(rate(Some(3.0)), "3 writes/s");
        assert_eq!(rate(Some(1_204.4)), "1,204 writes/s");
    }
}
