//! Dialogs that change the membership: what a change does is asked of the leader first, then said,
//! then done.

use std::sync::Arc;

use conclave_shared::{ErrorCode, cluster::MemberPlan};
use leptos::prelude::{Get, GetUntracked, RwSignal, Set, With, untrack};

use crate::{
    api::members,
    dom::{El, View, button, checked, el, icon, spawn, target_value, when, within},
    model::{
        failure::Failure,
        nodes::{Action, change},
    },
    parts::{dialog, toast, writing_button},
};

use super::{Ask, Nodes, detail::leader_does_it};

/// What a dialog knows while it is open.
#[derive(Debug, Clone, Copy)]
struct State {
    nodes: Nodes,
    plan: RwSignal<Option<Arc<MemberPlan>>>,
    /// Why the last attempt did not succeed.
    problem: RwSignal<String>,
    is_busy: RwSignal<bool>,
    /// The reader wants it although no majority would answer.
    is_forced: RwSignal<bool>,
    /// Force is needed, and would help.
    needs_force: RwSignal<bool>,
    typed: RwSignal<String>,
}

impl State {
    fn new(nodes: Nodes) -> Self {
        Self {
            nodes,
            plan: RwSignal::new(None),
            problem: RwSignal::new(String::new()),
            is_busy: RwSignal::new(false),
            is_forced: RwSignal::new(false),
            needs_force: RwSignal::new(false),
            typed: RwSignal::new(String::new()),
        }
    }

    /// Ends an attempt: closes the dialog and says the result, or says why there is none.
    fn settle(self, result: Result<String, Failure>) {
        self.is_busy.set(false);
        match result {
            Ok(said) => {
                self.nodes.ask.set(None);
                toast(said);
            }
            Err(failure) => {
                if failure.code() == Some(ErrorCode::WouldLoseQuorum) {
                    self.needs_force.set(true);
                }
                self.problem.set(reason(&failure));
            }
        }
    }
}

/// Says a refusal in the server's words, and what is not known.
fn reason(failure: &Failure) -> String {
    let sentence = failure.sentence();
    match failure.may_be_applied() {
        true => format!("{sentence} It is not known whether it was done: look at the members."),
        false => sentence,
    }
}

/// The dialogs of this screen; one is open while something is asked.
pub(super) fn dialogs(nodes: Nodes) -> View {
    dialog("Change the members", nodes.ask, move |ask: Ask| {
        let state = State::new(nodes);
        match ask.action {
            Action::Add => addition(state),
            Action::Remove | Action::Promote => planned(state, ask),
            Action::Hand | Action::StepDown => hand_over(state, ask),
        }
    })
}

fn planned(state: State, ask: Ask) -> View {
    let Ask { action, node } = ask;
    let ask_plan = {
        let node = node.clone();
        move || {
            let node = node.clone();
            spawn(async move {
                state.problem.set(String::new());
                match members::plan(action, &node).await {
                    Ok(plan) => {
                        let code = plan.refusal;
                        state
                            .needs_force
                            .set(code == Some(ErrorCode::WouldLoseQuorum));
                        state.plan.set(Some(Arc::new(plan)));
                    }
                    Err(failure) => state.problem.set(failure.sentence()),
                }
            });
        }
    };
    ask_plan();
    let is_voter = state.nodes.row(&node, |row| row.voter).unwrap_or(true);
    let has_to_type = action == Action::Remove && is_voter;
    let wanted = node.clone();
    let is_ready = move || {
        let is_allowed = state
            .plan
            .with(|plan| plan.as_ref().is_some_and(|plan| plan.allowed));
        let is_forced = state.needs_force.get() && state.is_forced.get();
        let is_named = !has_to_type || state.typed.with(|typed| *typed == wanted);
        // A refusal that came after the plan counts more than the plan.
        let is_free = is_allowed && !state.needs_force.get();
        (is_free || is_forced) && is_named && !state.is_busy.get()
    };
    let doer = node.clone();
    let run = move || {
        let node = doer.clone();
        state.is_busy.set(true);
        state.problem.set(String::new());
        let is_forced = untrack(|| state.is_forced.get() && state.needs_force.get());
        spawn(async move {
            let done = match is_forced {
                true => members::remove_by_force(&node).await,
                false => members::change(action, &node).await,
            };
            state.settle(done.map(|plan| done_sentence(&plan)));
        });
    };
    frame(state, &action.words(&node), &action.meaning(&node))
        .child(quorums(state))
        .child(force(state, &node))
        .child(has_to_type.then(|| name_field(state, &node)))
        .child(problem(state, Some(ask_plan)))
        .child(buttons(state, &action.words(&node), action, is_ready, run))
        .into()
}

fn done_sentence(plan: &MemberPlan) -> String {
    let verb = match plan.action {
        conclave_shared::cluster::MemberAction::Remove => "was removed",
        conclave_shared::cluster::MemberAction::Promote => "is a voter",
    };
    format!("{} {verb}: {}.", plan.node, change::quorum(&plan.after))
}

/// What the leader says that the change does: before and after.
fn quorums(state: State) -> View {
    let of = move |of: fn(&MemberPlan) -> String| {
        move || {
            state
                .plan
                .with(|plan| plan.as_ref().map_or_else(String::new, |plan| of(plan)))
        }
    };
    let is_planned = move || state.plan.with(Option::is_some);
    let is_waiting =
        move || state.plan.with(Option::is_none) && state.problem.with(String::is_empty);
    View::from(vec![
        el("p")
            .class("waiting")
            .shown_if(is_waiting)
            .text("Asking the leader what it would do…"),
        el("dl")
            .class("properties")
            .testid("member-plan")
            .shown_if(is_planned)
            .child(el("dt").text("Now"))
            .child(
                el("dd")
                    .testid("plan-before")
                    .text_of(of(|plan| change::quorum(&plan.before))),
            )
            .child(el("dt").text("Afterwards"))
            .child(
                el("dd")
                    .testid("plan-after")
                    .text_of(of(|plan| change::quorum(&plan.after))),
            )
            .child(el("dt").text("The leader says"))
            .child(
                el("dd")
                    .testid("plan-text")
                    .text_of(of(|plan| plan.text.clone())),
            ),
        el("p")
            .class("danger")
            .testid("plan-refusal")
            .shown_if(move || {
                state.plan.with(|plan| {
                    plan.as_ref()
                        .is_some_and(|plan| change::refusal(plan).is_some())
                })
            })
            .text_of(of(|plan| change::refusal(plan).unwrap_or_default())),
    ])
}

/// The one refusal that a reader may overrule.
fn force(state: State, node: &str) -> View {
    let label = format!("Remove {node} nevertheless");
    when(
        move || state.needs_force.get(),
        move || {
            let field = el("input")
                .attr("type", "checkbox")
                .testid("member-force")
                .on("change", move |event| state.is_forced.set(checked(&event)));
            el("div")
                .class("problem")
                .child(icon("warn"))
                .child(el("p").class("problem-text").text(
                    "Forced, it leaves a cluster that writes nothing until more voters are back. \
                         Do it only when you know that they will not come back otherwise.",
                ))
                .child(el("label").class("check").child(field).text(&label))
                .into()
        },
    )
}

fn name_field(state: State, node: &str) -> El {
    el("label")
        .class("field")
        .child(
            el("span")
                .class("label")
                .text("Type ")
                .child(el("span").class("mono").text(node))
                .text(" to remove it"),
        )
        .child(
            el("input")
                .class("mono")
                .attr("autocomplete", "off")
                .attr("spellcheck", "false")
                .testid("member-name")
                .on("input", move |event| state.typed.set(target_value(&event))),
        )
}

fn hand_over(state: State, ask: Ask) -> View {
    let Ask { action, node } = ask;
    let to = (action == Action::Hand).then(|| node.clone());
    let run = move || {
        let to = to.clone();
        state.is_busy.set(true);
        state.problem.set(String::new());
        spawn(async move {
            let done = members::hand_over(to.as_deref()).await;
            state.settle(done.map(|leader| format!("{leader} leads.")));
        });
    };
    let words = action.words(&node);
    frame(state, &words, &action.meaning(&node))
        .child(problem(state, None::<fn()>))
        .child(buttons(
            state,
            &words,
            action,
            move || !state.is_busy.get(),
            run,
        ))
        .into()
}

fn addition(state: State) -> View {
    let (http, raft) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let field = |label: &str, id: &str, hint: &str, value: RwSignal<String>| {
        el("label")
            .class("field")
            .child(el("span").class("label").text(label))
            .child(
                el("input")
                    .class("mono")
                    .attr("autocomplete", "off")
                    .attr("spellcheck", "false")
                    .attr("placeholder", hint)
                    .testid(id)
                    .on("input", move |event| value.set(target_value(&event))),
            )
    };
    let is_filled = move || {
        let all = [state.typed, http, raft];
        all.iter()
            .all(|text| text.with(|text| !text.trim().is_empty()))
    };
    let run = move || {
        let [name, http, raft] =
            [state.typed, http, raft].map(|text| text.get_untracked().trim().to_owned());
        state.is_busy.set(true);
        state.problem.set(String::new());
        spawn(async move {
            let done = members::add(&name, &http, &raft).await;
            state.settle(done.map(|()| {
                format!("{name} was added. It learns first and votes once it has caught up.")
            }));
        });
    };
    let words = Action::Add.words("");
    frame(state, &words, &Action::Add.meaning(""))
        .child(field("Name", "add-name", "node3", state.typed))
        .child(field("HTTP address", "add-http", "10.0.0.4:11000", http))
        .child(field("Raft address", "add-raft", "10.0.0.4:12000", raft))
        .child(problem(state, None::<fn()>))
        .child(buttons(
            state,
            &words,
            Action::Add,
            move || is_filled() && !state.is_busy.get(),
            run,
        ))
        .into()
}

fn frame(state: State, heading: &str, meaning: &str) -> El {
    el("div")
        .class("nodes-dialog")
        .child(el("h2").text(heading))
        .child(el("p").text(meaning))
        .child(
            el("p")
                .class("hint")
                .testid("dialog-done-by")
                .text_of(move || leader_does_it(state.nodes)),
        )
}

/// Why it did not succeed, with a way to ask again where something was asked first.
fn problem(state: State, again: Option<impl FnMut() + Clone + 'static>) -> View {
    when(
        move || state.problem.with(|problem| !problem.is_empty()),
        move || {
            let again = again.clone().filter(|_| state.plan.with(Option::is_none));
            let retry = again.map(|again| {
                button("Ask again")
                    .testid("member-again")
                    .on_click(within(again))
            });
            el("div")
                .class("problem")
                .attr("role", "alert")
                .child(icon("warn"))
                .child(
                    el("p")
                        .class("problem-text")
                        .testid("member-problem")
                        .text_of(move || state.problem.get()),
                )
                .child(retry)
                .into()
        },
    )
}

fn buttons(
    state: State,
    words: &str,
    action: Action,
    is_ready: impl Fn() -> bool + 'static,
    run: impl FnMut() + 'static,
) -> El {
    let class = match action {
        Action::Remove => "danger-button",
        _ => "primary",
    };
    // Disabled twice: by what the page cannot do, and by what is still missing here.
    let confirm = writing_button(words)
        .class(class)
        .testid("confirm")
        .on_click(within(run));
    let rest = el("fieldset")
        .class("nodes-confirm")
        .flag_of("disabled", move || !is_ready())
        .child(confirm);
    el("div")
        .class("dialog-actions")
        .child(
            button("Cancel")
                .testid("cancel")
                .on_click(move || state.nodes.ask.set(None)),
        )
        .child(rest)
}
