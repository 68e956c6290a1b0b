//! The round table. Seats never move; all that moves is an acknowledgement that came, and the seal
//! when another node leads.

use std::cell::Cell;

use leptos::prelude::{Get, Memo, RwSignal, With};

use super::Shared;
use crate::{
    dom::{El, View, each, el, svg, width_of},
    model::{
        overview::{
            ribbon::COLUMNS,
            seen::{Place, Seen},
            table::{Layout, SEAT, Seat as Spot},
            words,
        },
        seats::Seat,
        text::grouped,
    },
};

/// Side of a mark.
const MARK: f64 = 44.0;
/// Radius of the table from which on the centre has room for large figures.
const ROOMY: f64 = 140.0;

/// Draws the table as wide as there is room.
pub(super) fn picture(shared: Shared) -> El {
    let frame = el("div").class("ov-table-frame");
    let width = width_of(&frame.element());
    let layout = Memo::new(move |_| {
        let count = shared.seen.with(|seen| seen.places.len());
        Layout::of(count, width.get())
    });
    let number = move |pick: fn(&Layout) -> f64| move || Some(format!("{:.0}", layout.with(pick)));
    frame.child(
        svg("svg")
            .class("ov-table")
            .testid("round-table")
            .attr("role", "img")
            .attr_of("aria-label", move || {
                let now = shared.now.get();
                let headline = shared.headline.with(|said| said.text.clone());
                Some(
                    shared
                        .seen
                        .with(|seen| words::picture(&headline, seen, now)),
                )
            })
            .attr_of("viewBox", move || {
                Some(layout.with(|l| format!("0 0 {:.0} {:.0}", l.width, l.height)))
            })
            .attr_of("width", number(|layout| layout.width))
            .attr_of("height", number(|layout| layout.height))
            .child(
                svg("circle")
                    .class("ov-top")
                    .attr_of("cx", number(|layout| layout.x))
                    .attr_of("cy", number(|layout| layout.y))
                    .attr_of("r", number(|layout| layout.radius)),
            )
            .child(chords(shared, layout))
            .child(centre(shared, layout))
            .child(seats(shared, layout))
            .child(seal(shared, layout)),
    )
}

/// A chord from the leader to each other member, along which acknowledgements are told.
fn chords(shared: Shared, layout: Memo<Layout>) -> View {
    let led = move || {
        shared.seen.with(|seen| {
            let Some(leader) = seen.leader() else {
                return Vec::new();
            };
            let others = seen.places.iter();
            others
                .filter(|place| place.node != leader.node)
                .cloned()
                .collect()
        })
    };
    each(
        led,
        |place| place.node.clone(),
        move |place| {
            let chord = move || {
                let leader = shared
                    .seen
                    .with(|seen| seen.leader().map(|leader| leader.at));
                let to = place.with(|place| place.at);
                layout
                    .with(|layout| layout.chord(leader?, to))
                    .map_or((0.0, 0.0, 0.0, 0.0), |chord| chord)
            };
            let chord = Memo::new(move |_| {
                let (x, y, angle, length) = chord();
                [x, y, angle, length]
            });
            svg("g")
                .class("ov-chord")
                .testid("chord")
                .attr_of("data-node", move || Some(place.with(|p| p.node.clone())))
                .attr_of("data-seat", move || {
                    Some(place.with(|p| p.seat.as_str().to_owned()))
                })
                .attr_of("data-beats", move || {
                    Some(place.with(|p| p.beats.to_string()))
                })
                .attr_of("transform", move || {
                    let [x, y, angle, _] = chord.get();
                    Some(format!("translate({x:.1} {y:.1}) rotate({angle:.2})"))
                })
                .child(svg("line").attr_of("x2", move || Some(format!("{:.1}", chord.get()[3]))))
                .child(
                    svg("rect")
                        .class("ov-tick")
                        .attr("x", "-5")
                        .attr("y", "-1.5")
                        .attr("width", "10")
                        .attr("height", "3")
                        .attr("rx", "1.5")
                        .style_of("--length", move || format!("{:.1}px", chord.get()[3]))
                        // Two animations that are alike: a change from one to the other starts anew.
                        .attr_of("data-beat", move || {
                            let beats = place.with(|p| p.beats);
                            (beats > 0)
                                .then(|| if beats % 2 == 0 { "even" } else { "odd" }.to_owned())
                        }),
                )
        },
    )
}

/// The seats and their labels.
fn seats(shared: Shared, layout: Memo<Layout>) -> View {
    let places = move || shared.seen.with(|seen| seen.places.clone());
    each(
        places,
        |place| place.node.clone(),
        move |place| {
            let spot = move || {
                let at = place.with(|place| place.at);
                layout.with(|layout| layout.seats.get(at).copied())
            };
            svg("g")
                .class("ov-seat")
                .testid("seat")
                .attr_of("data-node", move || Some(place.with(|p| p.node.clone())))
                .attr_of("data-role", move || {
                    Some(place.with(|p| p.seat.as_str().to_owned()))
                })
                .attr_of("data-age", move || {
                    let now = shared.now.get();
                    place
                        .with(|p| words::freshness(p.heard, now))
                        .map(str::to_owned)
                })
                .child(seat(place, spot))
                .child(label(shared, place, spot))
        },
    )
}

fn seat(place: RwSignal<Place>, spot: impl Fn() -> Option<Spot> + Copy + 'static) -> El {
    let middle = format!("{}", -MARK / 2.0);
    let size = format!("{MARK}");
    svg("g")
        .attr_of("transform", move || {
            spot().map(|spot| format!("translate({:.1} {:.1})", spot.x, spot.y))
        })
        .child(svg("circle").class("ov-well").attr("r", "25"))
        .child(
            svg("circle")
                .class("ov-arc")
                .attr("r", &format!("{}", SEAT - 1.5))
                .attr("pathLength", "100")
                .attr("transform", "rotate(-90)")
                .attr_of("data-lag", move || {
                    place.with(|p| p.lag).map(|lag| lag.to_string())
                })
                .attr_of("data-far", move || {
                    place.with(|p| p.lag >= Some(COLUMNS)).then(String::new)
                })
                .attr_of("stroke-dasharray", move || {
                    Some(format!("{:.1} 100", place.with(words::arc)))
                })
                .shown_if(move || place.with(words::arc) > 0.0),
        )
        .child(
            svg("use")
                .class("ov-mark")
                .attr("x", &middle)
                .attr("y", &middle)
                .attr("width", &size)
                .attr("height", &size)
                .attr_of("href", move || {
                    // The leader's ring is the seal, which travels.
                    let mark = match place.with(|p| p.seat) {
                        Seat::Leader => Seat::Follower,
                        seat => seat,
                    };
                    Some(format!("#mark-{}", mark.as_str()))
                }),
        )
        .child(
            svg("path")
                .class("ov-here")
                .attr("d", "M-4.5 -29.5L0 -36L4.5 -29.5z")
                .attr_of("transform", move || {
                    spot().map(|spot| format!("rotate({:.1})", spot.angle))
                })
                .shown_if(move || place.with(|p| p.serving)),
        )
}

fn label(
    shared: Shared,
    place: RwSignal<Place>,
    spot: impl Fn() -> Option<Spot> + Copy + 'static,
) -> El {
    let line = move |class: &str, down: f64| {
        svg("text")
            .class(class)
            .attr_of("x", move || {
                spot().map(|spot| format!("{:.1}", spot.text_x()))
            })
            .attr_of("y", move || {
                let is_short = place.with(words::lag).is_empty();
                spot().map(|spot| {
                    let short = if is_short { spot.short_by() } else { 0.0 };
                    format!("{:.1}", spot.label.1 + down + short)
                })
            })
            .attr_of("text-anchor", move || {
                spot().map(|spot| spot.anchor.as_str().to_owned())
            })
    };
    svg("g")
        .class("ov-label")
        .child(
            line("ov-label-name", 13.0)
                .text_of(move || place.with(|p| words::clipped(&p.node)))
                .child(svg("title").text_of(move || place.with(|p| p.node.clone()))),
        )
        .child(line("ov-label-role", 29.0).text_of(move || {
            let now = shared.now.get();
            place.with(|p| words::role(p, now))
        }))
        .child(
            line("ov-label-lag", 45.0)
                .testid("lag")
                .text_of(move || place.with(words::lag)),
        )
}

/// The gilt ring of whoever leads. It travels along the table's edge to a new leader.
fn seal(shared: Shared, layout: Memo<Layout>) -> El {
    let last = Cell::new(0.0_f64);
    let is_sealed = |seen: &Seen| {
        seen.leader()
            .is_some_and(|leader| leader.seat == Seat::Leader)
    };
    svg("g")
        .attr_of("transform", move || {
            Some(layout.with(|l| format!("translate({:.1} {:.1})", l.x, l.y)))
        })
        .child(
            svg("g")
                .class("ov-seal")
                .testid("seal")
                .attr_of("data-shown", move || {
                    Some(shared.seen.with(is_sealed).to_string())
                })
                .style_of("transform", move || {
                    let at = shared
                        .seen
                        .with(|seen| seen.leader().map(|leader| leader.at));
                    let angle = layout.with(|l| Some(l.seats.get(at?)?.angle));
                    if let Some(angle) = angle {
                        // The shorter way round.
                        let turn = (angle - last.get()).rem_euclid(360.0);
                        let turn = if turn > 180.0 { turn - 360.0 } else { turn };
                        last.set(last.get() + turn);
                    }
                    format!("rotate({:.2}deg)", last.get())
                })
                .child(
                    svg("g")
                        .attr_of("transform", move || {
                            Some(layout.with(|l| format!("translate(0 {:.1})", -l.radius)))
                        })
                        .child(svg("circle").attr("r", "20"))
                        .child(svg("path").attr("d", "M0 15.5v9")),
                ),
        )
}

/// What the whole table knows: term, commit index, rate, and who leads.
fn centre(shared: Shared, layout: Memo<Layout>) -> El {
    let is_roomy = move || layout.with(|l| l.radius >= ROOMY);
    let line = move |class: &str, down: f64, closer: f64| {
        svg("text")
            .class(class)
            .attr("text-anchor", "middle")
            .attr_of("x", move || Some(format!("{:.1}", layout.with(|l| l.x))))
            .attr_of("y", move || {
                let down = if is_roomy() { down } else { closer };
                Some(format!("{:.1}", layout.with(|l| l.y) + down))
            })
    };
    svg("g")
        .class("ov-centre")
        .testid("centre")
        .attr_of("data-roomy", move || Some(is_roomy().to_string()))
        .child(line("ov-centre-word", -52.0, -42.0).text("Term"))
        .child(
            line("ov-centre-term", 6.0, 2.0)
                .testid("term")
                .text_of(move || shared.seen.with(|seen| grouped(seen.term))),
        )
        .child(
            line("ov-centre-figure", 36.0, 24.0)
                .testid("commit")
                .text_of(move || shared.seen.with(words::commit)),
        )
        .child(
            line("ov-centre-figure", 55.0, 40.0)
                .testid("rate")
                .text_of(move || shared.seen.with(|seen| words::rate(seen.rate()))),
        )
        .child(
            line("ov-centre-reign", 80.0, 58.0)
                .testid("reign")
                .attr_of("data-leads", move || {
                    Some(shared.seen.with(|seen| seen.reign.is_some()).to_string())
                })
                .text_of(move || {
                    let now = shared.now.get();
                    let said = shared.seen.with(|seen| words::reign(seen, now));
                    match said.split_once(" leads ") {
                        Some((_, time)) if !is_roomy() => time.to_owned(),
                        _ => said,
                    }
                }),
        )
}
