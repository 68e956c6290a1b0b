//! A run: fifty writes, and for each node when its own state showed each of them.

use leptos::prelude::{Get, GetUntracked, Memo, RwSignal, Set, Update, With};

use crate::{
    dom::{El, Task, View, all, button, each, el, monotonic_ms, spawn, svg, switch, when, within},
    model::{
        lab::{Line, REACH_LIMIT_MS, RUN, Strip, next_counter, strip::scale},
        nodes::probe::{micros, millis},
    },
    parts::writing_button,
};

use super::{Lab, lines_now, names, of_line};

/// Size of a strip in its own units.
const WIDTH: u64 = 1_000;
const HEIGHT: u64 = 28;

/// Starts a run.
pub(super) fn start_button(lab: Lab) -> El {
    let start = move || {
        if let Some(key) = lab.key.get_untracked() {
            spawn(run(lab, key));
        }
    };
    writing_button(&format!("Run {RUN}"))
        .testid("lab-run")
        .on_click(within(start))
}

/// Stops the run that goes on.
pub(super) fn stop_button(lab: Lab) -> View {
    when(
        move || lab.is_running.get(),
        move || {
            button("Stop the run")
                .testid("lab-stop")
                .on_click(move || lab.is_running.set(false))
                .into()
        },
    )
}

async fn run(lab: Lab, key: String) {
    lab.is_busy.set(true);
    lab.is_running.set(true);
    lab.lines.update(|lines| {
        for line in lines {
            line.strip = Strip::default();
        }
    });
    let mut done = 0;
    let mut problem = None;
    while done < RUN && lab.is_running.get_untracked() {
        match lab.write_probe(&key).await {
            Ok((counter, _)) => look(lab, &key, counter, monotonic_ms()).await,
            Err(why) => {
                problem = Some(why);
                break;
            }
        }
        done += 1;
        lab.said.set(format!("{done} of {RUN} written."));
    }
    if let Some(why) = problem {
        lab.said
            .set(format!("Stopped after {done} of {RUN}: {why}"));
    }
    lab.is_running.set(false);
    lab.read_again().await;
    lab.is_busy.set(false);
}

/// Asks every node for its own state until it shows the counter.
async fn look(lab: Lab, key: &str, counter: u64, wrote: f64) {
    let lines = lines_now(lab);
    let tasks = lines.iter().map(|line| see(lab, key, line, counter, wrote));
    all(tasks.collect()).await;
}

fn see(lab: Lab, key: &str, line: &Line, counter: u64, wrote: f64) -> Task {
    let (node, replica) = (line.node.clone(), Lab::replica(key, line));
    let is_known = line.http.is_empty() || lab.observed.may_ask(&line.http);
    // It has not answered before in this run: asking again would hold up the others.
    let is_gone = line.strip.missed > 0;
    Box::pin(async move {
        let mut seen = None;
        while is_known && !is_gone && monotonic_ms() - wrote < f64::from(REACH_LIMIT_MS) {
            let Ok(value) = replica.value().await else {
                break;
            };
            if next_counter(value.as_deref()).is_some_and(|next| next > counter) {
                seen = Some(micros(monotonic_ms() - wrote));
                break;
            }
        }
        if !lab.is_running.get_untracked() {
            return;
        }
        lab.lines.update(|lines| {
            if let Some(line) = lines.iter_mut().find(|line| line.node == node) {
                line.strip.note(seen);
            }
        });
    })
}

/// Shows when each node showed each write.
pub(super) fn strips(lab: Lab) -> View {
    let edge = Memo::new(move |_| {
        lab.lines
            .with(|lines| scale(lines.iter().map(|line| &line.strip)))
    });
    let has_run = move || {
        lab.lines
            .with(|lines| lines.iter().any(|line| line.strip != Strip::default()))
    };
    let row = move |name: RwSignal<String>| strip(lab, &name.get_untracked(), edge);
    el("section")
        .class("lab-run")
        .attr("aria-label", "Run")
        .child(el("h2").text("How soon each node shows a write"))
        .child(
            el("p")
                .class("quiet")
                .shown_if(move || !has_run())
                .text(&format!(
                    "Run {RUN} writes a counter {RUN} times and asks every node for its own state until \
                     it shows the new value."
                )),
        )
        .child(
            el("div")
                .class("lab-strips")
                .shown_if(has_run)
                .child(each(move || names(lab), String::clone, row))
                .child(
                    el("div")
                        .class("lab-scale number")
                        .attr("aria-hidden", "true")
                        .child(el("span").text("0 ms"))
                        .child(el("span").text_of(move || millis(edge.get() / 2)))
                        .child(el("span").text_of(move || millis(edge.get()))),
                )
                .child(el("p").class("hint").text(
                    "A dot is the end of the first stale read that showed the value, counted from the \
                     write's answer. It has the way from this browser and back in it.",
                )),
        )
        .into()
}

fn strip(lab: Lab, node: &str, edge: Memo<u64>) -> El {
    let (name, said) = (node.to_owned(), node.to_owned());
    let label = node.to_owned();
    let sentence = move |node: &str| of_line(lab, node, |line| line.strip.sentence());
    let dots = switch(
        move || {
            (
                edge.get(),
                of_line(lab, &name, |line| line.strip.seen.clone()),
            )
        },
        |(edge, seen)| {
            let dots = seen.iter().enumerate();
            let dots = dots.map(|(at, us)| dot(at, *us, edge));
            svg("g").children(dots).into()
        },
    );
    el("div")
        .class("lab-strip")
        .testid("lab-strip")
        .attr("data-node", node)
        .attr_of("data-dots", {
            let node = node.to_owned();
            move || Some(of_line(lab, &node, |line| line.strip.seen.len()).to_string())
        })
        .child(el("strong").text(node))
        .child(
            svg("svg")
                .class("lab-dots")
                .attr("viewBox", &format!("0 0 {WIDTH} {HEIGHT}"))
                .attr("preserveAspectRatio", "none")
                .attr("role", "img")
                .attr_of("aria-label", move || {
                    Some(format!("{label}: {}", sentence(&label)))
                })
                .child(dots),
        )
        .child(
            el("span")
                .class("hint number")
                .text_of(move || sentence(&said)),
        )
}

/// A dot: a line without length, whose round ends no width of the strip stretches.
fn dot(at: usize, us: u64, edge: u64) -> El {
    let x = us.min(edge) * WIDTH / edge.max(1);
    // Neighbours stand at different heights, so that equal times do not hide each other.
    let y = (at as u64 * 7) % (HEIGHT - 8) + 4;
    svg("path")
        .class("lab-dot")
        .attr("d", &format!("M{x} {y}h0.01"))
        .attr("vector-effect", "non-scaling-stroke")
}
