//! What a change did to its key: the value before and after, read when it is shown. The event itself
//! carries no value.

use conclave_shared::Envelope;

use crate::{
    api::http::Request,
    dom::{El, View, el, spawn},
    model::{address::escape, events::row::Row, failure::Failure, news::News, text::size},
    parts::diff,
};

/// Longest value that is compared here, bytes; of longer ones only the size is said.
const LONGEST: usize = 64 << 10;

/// Shows the change of a row.
pub(super) fn detail(row: &Row) -> El {
    let body = el("div").class("ev-more").testid("event-detail");
    let News::Key(_, change) = &row.news else {
        return body;
    };
    let (key, now, before) = (
        change.key.clone(),
        change.bytes.map(|_| change.revision),
        change.previous_revision,
    );
    let waiting = el("p").class("waiting").text("Reading both values…");
    let (place, gone) = (body.element(), waiting.element());
    spawn(async move {
        let before = value(&key, before).await;
        let after = value(&key, now).await;
        gone.remove();
        shown(before, after).mount(&place);
    });
    body.child(waiting)
}

fn shown(before: Result<String, Failure>, after: Result<String, Failure>) -> View {
    match (before, after) {
        (Ok(before), Ok(after)) => diff(&before, &after),
        (Err(failure), _) | (_, Err(failure)) => {
            let text = format!(
                "The values before and after cannot be had. {}",
                failure.sentence()
            );
            el("p").class("quiet").text(&text).into()
        }
    }
}

/// Reads a key's value as it was at a revision; no revision is no value. What cannot be compared is
/// said in its place.
async fn value(key: &str, revision: Option<u64>) -> Result<String, Failure> {
    let Some(revision) = revision else {
        return Ok(String::new());
    };
    let key = escape(key);
    let target = format!("/api/keys?key={key}&revision={revision}&format=json");
    let record: Envelope = Request::get(target).json().await?;
    Ok(match (record.value, record.value_base64) {
        (Some(text), _) if text.len() <= LONGEST => text,
        (Some(text), _) => format!("({}, too long to compare here)", size(text.len() as u64)),
        (None, base64) => {
            let bytes = base64.map_or(0, |text| text.len() / 4 * 3);
            format!("(no text, about {})", size(bytes as u64))
        }
    })
}
