//! What the pane does to its key. Each write names the revision that its writer has seen, and is told
//! as done or as refused only when that is certain.

use std::sync::Arc;

use conclave_shared::limits;
use gloo_net::http::Method;
use leptos::prelude::WithUntracked;

use super::desk::Work;
use crate::{
    api::{
        http::Answer,
        values,
        write::{Phase, Write},
    },
    dom::{after, monotonic_ms},
    model::{
        address::escape,
        failure::Failure,
        text::{grouped, size},
        value::{
            editing::{Deleted, Draft, Saving},
            json,
            record::{Ends, Record, Stamps, written},
        },
    },
    parts::toast,
};

/// How long a deletion can be undone, milliseconds.
pub(super) const UNDO_MS: u32 = 10_000;

/// What came of a write.
enum Outcome {
    Done(Answer),
    /// The key is not as its writer has seen it.
    Conflict,
    /// Said to the reader already.
    Over,
}

/// The page's steady clock.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a clock that starts at 0 with the page"
)]
pub(super) fn clock() -> u64 {
    monotonic_ms() as u64
}

/// Saves the draft over the revision that was opened.
pub(super) fn save(work: Work) {
    let seen = work.state.with_untracked(|state| state.seen());
    save_over(work, seen);
}

/// Saves the draft over a revision; 0: where there is no such key.
pub(super) fn save_over(work: Work, over: u64) {
    let now = work.state.with_untracked(|state| {
        let theirs = state.compared.as_ref().and_then(|c| c.theirs.clone());
        let base = theirs.filter(|theirs| theirs.revision == over);
        let base = base.or_else(|| state.opened().cloned());
        let draft = state.draft.clone().filter(|_| !state.is_writing());
        draft.map(|draft| (draft, base, state.opened().cloned()))
    });
    let Some((draft, base, opened)) = now else {
        return;
    };
    let (bytes, content_type) = content(&draft, opened.as_deref());
    let mut write = Write::put(&work.key())
        .cas(over)
        .content_type(&content_type)
        .body_bytes(&bytes);
    // A write without a TTL would make the key stay for ever.
    let ttl_ms = base.and_then(|base| base.ttl_left_ms(clock()));
    let ttl_ms = ttl_ms.filter(|_| over != 0);
    if let Some(ttl_ms) = ttl_ms {
        write = write.query("ttl", &ttl(ttl_ms));
    }
    work.update(|state| state.saving = Saving::Sent);
    work.spawn(async move {
        match run(work, write, "It was not saved").await {
            Outcome::Done(answer) => {
                let record = saved(&answer, bytes, content_type, ttl_ms);
                toast(format!("Saved as revision {}.", grouped(record.revision)));
                work.update(|state| state.saved(Arc::new(record), Some(&draft)));
                // Its other stamps, and what came after it.
                work.read();
            }
            Outcome::Conflict => compare(work).await,
            Outcome::Over => {}
        }
    });
}

fn content(draft: &Draft, opened: Option<&Record>) -> (Vec<u8>, String) {
    match draft {
        Draft::File {
            bytes,
            content_type,
            ..
        } => (bytes.to_vec(), content_type.clone()),
        Draft::Text(text) => {
            let ends = opened.map_or(Ends::Lf, Record::ends);
            let content_type = match opened {
                Some(opened) => opened.content_type.clone(),
                None if json::is_document(text) => "application/json".to_owned(),
                None => "text/plain".to_owned(),
            };
            (written(text, ends).into_bytes(), content_type)
        }
    }
}

/// The record that a write has made, as far as its answer says.
fn saved(answer: &Answer, bytes: Vec<u8>, content_type: String, ttl_ms: Option<u64>) -> Record {
    let revision = values::etag(answer).or_else(|| answer.number("conclave-revision"));
    let revision = revision.unwrap_or(0);
    let stamps = Stamps {
        revision,
        create_revision: answer
            .number("conclave-create-revision")
            .unwrap_or(revision),
        version: answer.number("conclave-version").unwrap_or(1),
        ttl_ms,
        read_at_ms: clock(),
        copy_age_ms: None,
    };
    Record::new(bytes, content_type, stamps)
}

fn ttl(left_ms: u64) -> String {
    format!("{}ms", left_ms.max(*limits::KEY_TTL_MS.start()))
}

/// Lays the draft beside what the cluster has now.
pub(super) async fn compare(work: Work) {
    match values::value(&work.key()).await {
        Ok(read) => work.update(|state| {
            state.saving = Saving::Idle;
            state.compare(read);
        }),
        Err(why) => work.update(|state| state.saving = Saving::Refused(why.sentence())),
    }
}

/// Deletes the revision that was opened.
pub(super) fn delete(work: Work) {
    let Some(record) = work.state.with_untracked(|state| state.opened().cloned()) else {
        return;
    };
    let write = Write::delete(&work.key()).cas(record.revision);
    work.update(|state| state.saving = Saving::Sent);
    work.spawn(async move {
        match run(work, write, "It was not deleted").await {
            Outcome::Done(answer) => {
                let revision = answer
                    .number("conclave-revision")
                    .unwrap_or(record.revision);
                let until_ms = clock() + u64::from(UNDO_MS);
                let mut is_back = false;
                work.update(|state| is_back = state.gone(revision, Deleted { record, until_ms }));
                after(UNDO_MS, move || work.update(|state| state.deleted = None));
                if is_back {
                    work.read();
                }
            }
            Outcome::Conflict => not_as_seen(work, "It was not deleted"),
            Outcome::Over => {}
        }
    });
}

/// Creates a deleted key again, unless somebody else has.
pub(super) fn undo(work: Work) {
    let deleted = work.state.with_untracked(|state| state.deleted.clone());
    let Some(Deleted { record, .. }) = deleted else {
        return;
    };
    let mut write = Write::put(&work.key())
        .cas(0)
        .content_type(&record.content_type)
        .body_bytes(&record.bytes);
    if let Some(left_ms) = record.ttl_left_ms(clock()) {
        write = write.query("ttl", &ttl(left_ms));
    }
    work.update(|state| state.saving = Saving::Sent);
    work.spawn(async move {
        match run(work, write, "Nothing was undone").await {
            Outcome::Done(_) => {
                work.update(|state| {
                    state.saving = Saving::Idle;
                    state.deleted = None;
                });
                toast("The key is there again.");
                work.read();
            }
            Outcome::Conflict => {
                work.update(|state| state.deleted = None);
                not_as_seen(work, "Nothing was undone");
            }
            Outcome::Over => {}
        }
    });
}

/// Writes an old version back over what is shown.
pub(super) fn restore(work: Work, revision: u64) {
    let seen = work.state.with_untracked(|state| state.seen());
    let target = format!("/api/keys?key={}&restore={revision}", escape(&work.key()));
    let write = Write::of(Method::POST, target).cas(seen);
    work.update(|state| state.saving = Saving::Sent);
    work.spawn(async move {
        match run(work, write, "Nothing was restored").await {
            Outcome::Done(_) => {
                work.update(|state| state.saving = Saving::Idle);
                toast(format!("Restored as it was at {}.", grouped(revision)));
                work.read();
            }
            Outcome::Conflict => not_as_seen(work, "Nothing was restored"),
            Outcome::Over => {}
        }
    });
}

fn not_as_seen(work: Work, what: &str) {
    let sentence = format!("{what}: somebody else has changed the key meanwhile. Look again.");
    work.update(|state| state.saving = Saving::Refused(sentence));
    work.read();
}

/// Learns what an unknown write came to, by looking at the key.
pub(super) fn look(work: Work) {
    work.spawn(async move {
        let Ok(read) = values::value(&work.key()).await else {
            return;
        };
        work.update(|state| {
            let (bytes, _) = match &state.draft {
                Some(draft) => content(draft, state.opened().map(AsRef::as_ref)),
                None => Default::default(),
            };
            let draft = state.draft.clone();
            state.saving = Saving::Idle;
            match read {
                Ok(record) if draft.is_some() && record.bytes == bytes => {
                    state.saved(record, draft.as_ref());
                }
                read => state.arrived(read),
            }
        });
    });
}

/// Sends a write; `undone` says of it that it was not done.
async fn run(work: Work, write: Write, undone: &str) -> Outcome {
    let tell = move |phase| {
        work.update(|state| {
            state.saving = match phase {
                Phase::Sent => Saving::Sent,
                Phase::Asking => Saving::Asking,
                Phase::Retrying => Saving::Retrying,
            }
        });
    };
    match write.send(tell).await {
        Ok(answer) => Outcome::Done(answer),
        Err(why) if why.status() == 412 => Outcome::Conflict,
        Err(why) => {
            let sentence = sentence(&why);
            work.update(|state| {
                state.saving = if why.is_unknown() {
                    Saving::Unknown(sentence)
                } else {
                    Saving::Refused(format!("{undone}. {sentence}"))
                };
            });
            Outcome::Over
        }
    }
}

fn sentence(why: &Failure) -> String {
    let limit = match why {
        Failure::Refused { problem, .. } => problem.as_ref().and_then(|problem| problem.limit),
        _ => None,
    };
    match limit {
        Some(limit) => format!("{} The limit is {}.", why.sentence(), size(limit)),
        None => why.sentence(),
    }
}
